"""The run loop: reads an account side by side and loads it in packages, one every few minutes of work."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import dlt
from dlt.common.configuration import resolve_configuration
from dlt.common.destination import Destination
from dlt.common.pipeline import get_dlt_pipelines_dir
from dlt.pipeline.configuration import PipelineConfiguration

from pipelines.klaviyo_recovery import heal, recover
from pipelines.klaviyo_warehouse import duckdb_file, never_loaded, prepare
from sources.klaviyo import config, source_of, state
from sources.klaviyo.custom import settings_from
from sources.klaviyo.errors import KlaviyoError
from sources.klaviyo.limits import Clock, SystemClock
from sources.klaviyo.metrics import chosen
from sources.klaviyo.reports import report_of, windows_endpoint
from sources.klaviyo.resources import Plan, Run, differs, loaded_by, plan_again, settings_of_metric
from sources.klaviyo.settings import ReportSettings, Settings
from sources.klaviyo.spec import Report
from sources.klaviyo.windows import BEGINNING, Window, high_water

log = logging.getLogger("klaviyo")

#: A package costs about a second of dlt's own time; half a million rows make that small.
PACKAGE_ROWS = 500_000
PACKAGE_S = 180.0
#: Rows worth a package of their own while more are still being read.
_WORTH_LOADING_ROWS = 100_000
_PROGRESS_S = 0.25
DEFAULT_DESTINATION = "warehouse"


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


def load_settings(pipeline_name: str, flags: Mapping[str, Any], clock: Clock | None = None) -> Settings:
    """Settings of a pipeline out of flags and dlt's configuration, checked.

    Raises:
        ConfigError: a setting is wrong or missing.
    """
    return settings_from(config.read(pipeline_name, flags, "the flag {}"), (clock or SystemClock()).now())


def open_pipeline(
    name: str, destination: str | None = None, dataset: str | None = None, pipelines_dir: str | None = None
) -> dlt.Pipeline:
    """The dlt pipeline, mended if its last run was killed.

    Args:
        name: of the pipeline; one pipeline an account.
        destination: dlt's name of a destination; default what `[pipelines.<name>]` says, else DuckDB.
        dataset: default what the configuration says, else the pipeline's name.
    """
    # Rows carry the load that brought them, so that an interrupted load can be taken back.
    os.environ.setdefault("NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID", "true")
    # dlt keeps the files of every package that it loaded otherwise.
    os.environ.setdefault("LOAD__DELETE_COMPLETED_JOBS", "true")
    heal(Path(pipelines_dir or get_dlt_pipelines_dir()) / name)
    configured = resolve_configuration(PipelineConfiguration(pipeline_name=name), sections=("pipelines", name))
    chosen = _destination(
        destination or configured.destination_type, configured.destination_name if not destination else None
    )
    return dlt.pipeline(
        name,
        pipelines_dir=pipelines_dir or get_dlt_pipelines_dir(),
        destination=chosen,
        dataset_name=dataset or configured.dataset_name or name,
    )


def _destination(reference: Any, name: str | None) -> Any:
    """A destination that replaces and merges in one transaction."""
    if reference in (None, "duckdb", DEFAULT_DESTINATION):
        # A file named like the dataset makes DuckDB's names ambiguous; dlt's tools find the file by this name again.
        # Without the last argument dlt runs delete and insert of a merge as two transactions on DuckDB.
        os.environ.setdefault("LOAD__WORKERS", "1")
        return dlt.destinations.duckdb(
            destination_name=name or DEFAULT_DESTINATION,
            replace_strategy="insert-from-staging",
            supports_transactions=True,
        )
    options: dict[str, Any] = {"destination_name": name} if name else {}
    made: Any = Destination.from_reference(str(reference), **options)
    if "insert-from-staging" in (made.capabilities().supported_replace_strategies or ()):
        made = Destination.from_reference(str(reference), replace_strategy="insert-from-staging", **options)
    return made


def plan(pipeline: dlt.Pipeline, settings: Settings, clock: Clock | None = None) -> list[Plan]:
    """What a run would read, from the state in the destination; sends nothing to Klaviyo.

    Until a first run has asked for it, the account's timezone is taken to be UTC.
    """
    file = duckdb_file(pipeline)
    loaded: Mapping[str, Any] = {}
    # Nothing is loaded where there is no file, and asking dlt would make one.
    if file is None or file.exists():
        pipeline.sync_destination()
        loaded = pipeline.state
    now = (clock or SystemClock()).now()
    found = []
    for name, own in settings.reports.items():
        report, remembered = report_of(settings, name), state.of_report(loaded, name)
        if own.metrics:
            found += _of_known_metrics(report, own, loaded, now)
        found.append(plan_again(report, own, remembered, now, anew=differs(report, remembered)))
    return found


def _of_known_metrics(report: Report, settings: ReportSettings, loaded: Mapping[str, Any], now: datetime) -> list[Plan]:
    """Plans of the metrics that earlier runs chose; those to come only Klaviyo knows."""
    known = state.known_metrics(loaded)
    ids: dict[str, list[str]] = {}
    for metric in known.values():
        ids.setdefault(metric.names[-1], []).append(metric.id)
    made, _ = chosen(ids, report, settings.metrics, settings.split_tables, known, ())
    own = settings_of_metric(settings)
    inherited = state.covered(state.of_report(loaded, report.name), loaded_by(report, settings))
    return [
        plan_again(one, own, state.of_report(loaded, one.name), now, inherited=inherited if one.table else ())
        for one in made
        if one.name in known
    ]


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
    reading.prepare(pipeline.state)
    for name in reading.settings.reports:
        reading.add(name, state.of_report(pipeline.state, name))
        planned = reading.plans[name]
        by = loaded_by(planned.report, planned.settings)
        if never_loaded(pipeline, planned, state.covered(state.of_report(pipeline.state, name), by)):
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
        outcomes += [_outcome(reading, name, pipeline) for name in reading.settings.reports]
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


def _outcome(reading: Run, name: str, pipeline: dlt.Pipeline) -> Outcome:
    engine, planned = reading.engine, reading.plans[name]
    output, read = engine.outputs[name], engine.read_of(name)
    leads = read.report.name == name
    mark = None
    cursor = windows_endpoint(planned.report).cursor
    if not planned.whole and cursor is not None:
        start = BEGINNING if cursor.from_start else planned.settings.start or BEGINNING
        by = loaded_by(planned.report, planned.settings)
        mark = high_water(start, state.covered(state.of_report(pipeline.state, name), by))
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
