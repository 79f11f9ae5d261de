"""The run loop: reads an account side by side and loads it in packages, one every few minutes of work."""

from __future__ import annotations

import gc
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import dlt

from pipelines.klaviyo_recovery import recover
from pipelines.klaviyo_warehouse import never_loaded, prepare
from sources.klaviyo import source_of, state
from sources.klaviyo.errors import KlaviyoError
from sources.klaviyo.limits import Clock
from sources.klaviyo.planning import loaded_by
from sources.klaviyo.reports import windows_endpoint
from sources.klaviyo.resources import Run
from sources.klaviyo.settings import ReportSettings, Settings
from sources.klaviyo.windows import BEGINNING, Window, high_water

log = logging.getLogger("klaviyo")

#: A package costs about a second of dlt's own time; half a million rows make that small.
PACKAGE_ROWS = 500_000
PACKAGE_S = 180.0
#: Rows worth a package of their own while more are still being read.
_WORTH_LOADING_ROWS = 100_000
_PROGRESS_S = 0.25


@dataclass
class Outcome:
    """One report after a run.

    Attributes:
        windows: what was to be read.
        whole: read and loaded as a whole.
        high_water: end of what is loaded without a gap, None for whole reports.
        error: what ended the report, or made it skip a window.
        failed_windows: what was not read.
        misfits: path -> values that went to `_extra`.
        shared_with: the report whose requests filled this one too.
        deferred: what a quota a day left to later runs.
    """

    report: str
    windows: list[Window]
    whole: bool
    rows: int
    requests: int
    refused: int
    retries: int
    seconds: float
    high_water: datetime | None
    error: KlaviyoError | None = None
    failed_windows: list[Window] = field(default_factory=list)
    loaded: bool = False
    misfits: Counter[str] = field(default_factory=Counter)
    shared_with: str | None = None
    deferred: list[Window] = field(default_factory=list)


@dataclass
class Progress:
    """One report while it is read.

    Attributes:
        fraction: part of the period that is read, 0 to 1; None where nobody can tell.
    """

    report: str
    rows: int
    requests: int
    steady_per_minute: int
    done: bool
    failed: bool
    fraction: float | None
    started_s: float


def run(
    pipeline: dlt.Pipeline,
    settings: Settings,
    *,
    clock: Clock | None = None,
    on_progress: Callable[[list[Progress]], None] | None = None,
    stop: threading.Event | None = None,
    package_rows: int = PACKAGE_ROWS,
) -> list[Outcome]:
    """Read what is missing and load it, package by package.

    Args:
        on_progress: called a few times a second from another thread.
        stop: set it to end after the package in hand.

    Returns:
        One outcome a report; a report that failed does not keep the others from loading.
    """
    prepare(pipeline)
    recover(pipeline)
    stop = stop or threading.Event()
    reading = Run(settings, clock=clock, rows=package_rows, seconds=PACKAGE_S, raise_errors=False)
    # dlt reads it from disk, each time that it is asked.
    remembered = pipeline.state
    reading.prepare(remembered)
    for name in reading.settings.reports:
        reading.add(name, state.of_report(remembered, name))
        planned = reading.plans[name]
        by = loaded_by(planned.report, planned.settings)
        if never_loaded(pipeline, planned, state.covered(state.of_report(remembered, name), by)):
            reading.append(name)
    # What exists now stays; the collector need not walk it again and again.
    gc.freeze()
    reading.start()
    watcher = threading.Thread(target=_watch, args=(reading, on_progress, stop), daemon=True)
    watcher.start()
    try:
        while names := _next_package(reading, stop):
            reading.begin_package()
            pipeline.run(source_of(reading, names))
        outcomes = [_refusal(reading, name, settings.reports[name]) for name in reading.refused]
        remembered = pipeline.state
        outcomes += [_outcome(reading, name, remembered) for name in reading.settings.reports]
    finally:
        reading.engine.close()
        watcher.join()
        gc.unfreeze()
    if on_progress:
        on_progress(_progress(reading))
    return outcomes


def _next_package(reading: Run, stop: threading.Event) -> list[str]:
    """The reports of the next load package, once it is worth one; empty when there is nothing left to load."""
    engine = reading.engine
    waited_since_s = reading.clock.monotonic()
    while True:
        engine.raise_crash()
        outputs = {name: output for name, output in engine.outputs.items() if not output.loaded}
        ended = {name: engine.read_of(name).ended for name in outputs}
        # A replace that has nothing to say would empty its table, so whole reports join when they are complete.
        complete = [n for n, o in outputs.items() if o.whole and ended[n] and not engine.read_of(n).failed]
        windowed = [n for n, o in outputs.items() if not o.whole]
        everything_read = all(ended.values())
        waited_s = reading.clock.monotonic() - waited_since_s
        worth = (
            engine.buffered_rows() >= _WORTH_LOADING_ROWS
            or engine.full()
            or (waited_s >= PACKAGE_S and (complete or engine.buffered_rows()))
        )
        if stop.is_set():
            if reading.closing:
                return []
            reading.closing = reading.end_package = True
            engine.halt()
            return [*windowed, *complete]
        if everything_read or worth:
            return [*windowed, *complete]
        reading.clock.wait(0.05, stop)


def _watch(reading: Run, on_progress: Callable[[list[Progress]], None] | None, stop: threading.Event) -> None:
    while not reading.engine.stop.wait(_PROGRESS_S):
        if stop.is_set() and not reading.end_package:
            reading.end_package = True
            reading.engine.halt()
        if on_progress:
            on_progress(_progress(reading))


def _progress(reading: Run) -> list[Progress]:
    found = []
    for name, output in reading.engine.outputs.items():
        read = reading.engine.read_of(name)
        found.append(
            Progress(
                report=name,
                rows=output.rows,
                requests=read.traffic.requests if read.report.name == name else 0,
                steady_per_minute=read.rate.steady,
                done=read.ended,
                failed=read.failed,
                fraction=read.fraction(reading.clock.now()),
                started_s=read.started_s,
            )
        )
    return found


def _refusal(reading: Run, name: str, settings: ReportSettings) -> Outcome:
    """A report of which at least a part was not even asked for."""
    windows = (
        [Window(settings.start or BEGINNING, settings.end)] if (settings.start or BEGINNING) < settings.end else []
    )
    return Outcome(name, windows, False, 0, 0, 0, 0, 0.0, None, error=reading.refused[name], failed_windows=windows)


def _outcome(reading: Run, name: str, remembered: Mapping[str, Any]) -> Outcome:
    engine, planned = reading.engine, reading.plans[name]
    output, read = engine.outputs[name], engine.read_of(name)
    leads = read.report.name == name
    mark = None
    cursor = windows_endpoint(planned.report).cursor
    if not planned.whole and cursor is not None:
        start = BEGINNING if cursor.from_start else planned.settings.start or BEGINNING
        by = loaded_by(planned.report, planned.settings)
        mark = high_water(start, state.covered(state.of_report(remembered, name), by))
    return Outcome(
        report=name,
        windows=sorted(planned.windows),
        whole=planned.whole,
        rows=output.rows,
        requests=read.traffic.requests if leads else 0,
        refused=read.traffic.refused if leads else 0,
        retries=read.traffic.retries if leads else 0,
        seconds=(read.ended_s if read.ended else reading.clock.monotonic()) - read.started_s,
        high_water=mark,
        error=reading.error(name),
        failed_windows=read.missing(),
        loaded=output.loaded and not read.failed,
        misfits=output.misfits,
        shared_with=None if leads else read.report.name,
        deferred=read.deferred,
    )
