"""The run loop: reads an account side by side and loads it in packages, one every few minutes of work."""

from __future__ import annotations

import gc
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import dlt

from ..clock import Clock
from ..config.settings import Settings
from ..errors import KlaviyoError
from ..extract.progress import Progress
from ..extract.tuning import DEFAULT, Tuning
from ..plan import state
from ..plan.plan import selections, start_of
from ..windows import BEGINNING, Window, high_water
from . import dlt_compat, duckdb, fits, postgres, snowflake
from .comments import describe
from .doubles import remove_doubles
from .package import Package
from .prepare import Run
from .recovery import forget_old_packages, recover
from .source import source_of
from .staging import Staging
from .turn import Turn

log = logging.getLogger("klaviyo")


@dataclass(frozen=True, slots=True)
class Unfinished:
    """How far a new definition of an analytics report is staged, in requests."""

    done: int
    requests: int


@dataclass
class Outcome:
    """One report after a run.

    Attributes:
        windows: what was to be read.
        whole: read and loaded as a whole.
        rows: decoded.
        requests, refused, retries: attempts sent, answers 429, attempts after a passing fault.
        seconds: how long reading took.
        high_water: end of what is loaded without a gap, None for whole reports.
        error: what ended the report, or made it skip a window.
        failed_windows: what was not read.
        loaded: everything that was read is in the table.
        misfits: path -> values that went to `_extra`, since they do not fit their column.
        new_fields: path -> values that went to `_extra`, since no column declares their field; a few at most.
        shared_with: the report whose requests filled this one too.
        deferred: what the daily quota leaves to later runs.
        left_out: nothing was read, since Klaviyo does not filter events by its metric, which a pattern chose.
        unfinished: set where the report has a new definition, and its table still holds the old one.
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
    new_fields: Counter[str] = field(default_factory=Counter)
    shared_with: str | None = None
    deferred: list[Window] = field(default_factory=list)
    left_out: bool = False
    unfinished: Unfinished | None = None


def run(
    pipeline: dlt.Pipeline,
    settings: Settings,
    *,
    clock: Clock | None = None,
    on_progress: Callable[[list[Progress]], None] | None = None,
    stop: threading.Event | None = None,
    tuning: Tuning = DEFAULT,
    turn: Turn | None = None,
) -> list[Outcome]:
    """Read what is missing and load it, package by package.

    Args:
        on_progress: called a few times a second from another thread.
        stop: set it to end after the package in hand.
        turn: what keeps other runs away, entered before the pipeline was opened; default one of this call, which
            waits for nobody.

    Returns:
        One outcome a report. A report that failed does not keep the others from loading.

    Raises:
        ConfigError: the installed dlt is not one that this package knows, or the destination cannot keep a report exact.
        PipelineBusy: another run works with the pipeline.
        LeaseLost: another run took over; nothing more was loaded.
    """
    fits.check(pipeline, selections(settings).values())
    with ExitStack() as stack:
        if turn is None:
            turn = stack.enter_context(Turn(pipeline.pipeline_name, pipeline.pipelines_dir))
        stack.enter_context(dlt_compat.applied(pipeline, one_worker=duckdb.duckdb_file(pipeline) is not None))
        stack.enter_context(turn.at_destination(pipeline, tuning.lease_s))
        duckdb.prepare(pipeline, private=settings.private_files)
        postgres.prepare(pipeline, settings.postgres_json)
        snowflake.prepare(pipeline.destination)
        staging = Staging(pipeline)
        recover(pipeline)
        loop = _Loop(pipeline, settings, clock, stop or threading.Event(), tuning, turn, staging)
        outcomes = loop.run(on_progress)
        staging.empty()
        return outcomes


class _Loop:
    """One run of the loop."""

    def __init__(
        self,
        pipeline: dlt.Pipeline,
        settings: Settings,
        clock: Clock | None,
        stop: threading.Event,
        tuning: Tuning,
        turn: Turn,
        staging: Staging,
    ) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._stop = stop
        self._tuning = tuning
        self._turn = turn
        self._staging = staging
        self._reading = Run(settings, clock=clock, tuning=tuning, raise_errors=False)
        self._package = Package(self._reading.clock, tuning.package_rows, tuning.package_s)
        #: The last package is under way, since the run is to end early.
        self._closing = False

    def run(self, on_progress: Callable[[list[Progress]], None] | None) -> list[Outcome]:
        reading = self._reading
        self._plan()
        # Objects that exist now live until the end, so the garbage collector need not look at them.
        gc.freeze()
        reading.start()
        watcher = threading.Thread(target=self._watch, args=(on_progress,), daemon=True)
        watcher.start()
        altered = False
        try:
            while names := self._next_package():
                self._package.begin()
                self._staging.begin()
                loaded = self._pipeline.run(source_of(reading, names, self._package))
                self._staging.loaded(loaded)
                packages = loaded.load_packages if loaded else ()
                altered = altered or any(package.schema_update for package in packages)
                forget_old_packages(self._pipeline)
            stored = self._pipeline.state
            self._compare(stored)
            describe(self._pipeline, changed=altered)
            if altered:
                postgres.add_indexes(self._pipeline)
            outcomes = [self._refusal(name) for name in reading.refused]
            outcomes += [self._outcome(name, stored) for name in reading.selected]
        finally:
            reading.close()
            watcher.join()
            gc.unfreeze()
        if on_progress:
            on_progress(self._progress())
        return outcomes

    def _plan(self) -> None:
        # dlt reads the state from disk, each time that it is asked.
        reading, stored = self._reading, self._pipeline.state
        reading.prepare(stored)
        # Those of a run that was killed before it compared them. That they are compared is stored with the next rows.
        reading.compared |= self._compare(stored)
        for name in reading.selected:
            own = state.of_report(stored, name)
            reading.add(name, own)
            plan = reading.plan(name)
            if duckdb.never_loaded(self._pipeline, plan, state.covered(own, plan.loaded_by)):
                reading.allow_append(name)

    def _compare(self, stored: Mapping[str, Any]) -> set[str]:
        """Keep the newest of each row that was appended twice; the reports whose rows were compared."""
        found = {name: state.appended(state.of_report(stored, name)) for name in self._reading.selected}
        for name, windows in found.items():
            remove_doubles(self._pipeline, self._reading.selected[name].report, windows)
        return {name for name, windows in found.items() if windows}

    def _next_package(self) -> list[str]:
        """The reports of the next load package, once it is worth one; empty when there is nothing left to load."""
        reading, clock = self._reading, self._reading.clock
        waited_since_s = clock.monotonic()
        while True:
            reading.raise_crash()
            self._turn.raise_lost()
            left = [handle for handle in reading.handles if not handle.output.loaded]
            ended = {handle.plan.report.name: handle.ended for handle in left}
            # A replace without rows would empty its table, so whole reports join when they are complete.
            complete = [
                handle.plan.report.name
                for handle in left
                if handle.plan.whole
                and ended[handle.plan.report.name]
                and not handle.failed
                and handle.left_out is None
            ]
            windowed = [handle.plan.report.name for handle in left if not handle.plan.whole]
            buffered_rows, waited_s = reading.buffered_rows, clock.monotonic() - waited_since_s
            worth = (
                buffered_rows >= self._tuning.worth_loading_rows
                or reading.full
                or (waited_s >= self._tuning.package_s and (complete or buffered_rows))
            )
            if self._stop.is_set():
                if self._closing:
                    return []
                self._closing = True
                self._end_early()
                return [*windowed, *complete]
            if all(ended.values()) or worth:
                return [*windowed, *complete]
            clock.wait(0.05, self._stop)

    def _end_early(self) -> None:
        self._package.last = True
        self._reading.halt()

    def _watch(self, on_progress: Callable[[list[Progress]], None] | None) -> None:
        while not self._reading.wait_closed(self._tuning.progress_s):
            if self._stop.is_set() and not self._package.last:
                self._end_early()
            if on_progress:
                on_progress(self._progress())

    def _progress(self) -> list[Progress]:
        return [handle.progress() for handle in self._reading.handles]

    def _refusal(self, name: str) -> Outcome:
        """A report of which at least a part was not even asked for."""
        own = self._settings.reports[name]
        start = own.start or BEGINNING
        windows = [Window(start, own.end)] if start < own.end else []
        error = self._reading.refused[name]
        return Outcome(name, windows, False, 0, 0, 0, 0, 0.0, None, error=error, failed_windows=windows)

    def _outcome(self, name: str, stored: Mapping[str, Any]) -> Outcome:
        plan, handle, own = self._reading.plan(name), self._reading.handle(name), state.of_report(stored, name)
        read, mark, unfinished = handle.outcome(), None, None
        if not plan.whole and plan.report.cursor is not None:
            mark = high_water(start_of(plan.report, plan.settings), state.covered(own, plan.loaded_by))
        if plan.redefined is not None and state.loaded_by(own) != plan.loaded_by:
            staged = state.staged(own)
            covered = staged.covered if staged is not None and staged.by == plan.loaded_by else []
            each = handle.requests_per_window
            unfinished = Unfinished(each * plan.redefined.done(covered), each * len(plan.redefined.parts))
        return Outcome(
            report=name,
            windows=sorted(plan.windows),
            whole=plan.whole,
            rows=read.rows,
            requests=read.requests,
            refused=read.refused,
            retries=read.retries,
            seconds=read.seconds,
            high_water=mark,
            error=read.error,
            failed_windows=read.missing,
            loaded=(read.loaded or read.left_out) and not read.failed,
            misfits=read.misfits,
            new_fields=read.new_fields,
            shared_with=read.shared_with,
            deferred=read.deferred,
            left_out=read.left_out,
            unfinished=unfinished,
        )
