"""Rows become dlt resources: what to read is planned from the state, tables are yielded, the state is written."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dlt
import pyarrow as pa
from dlt.extract import DltResource

from . import state
from .contracts import DELETED, ROW_VERSION
from .each import standing
from .engine import Engine, Output
from .errors import KlaviyoError
from .limits import Clock, SystemClock
from .raw import unpacked
from .reports import contract_of, dated_by, endpoint_of, is_windowed, report_of, windows_endpoint
from .revisions import ending
from .settings import ReportSettings, Settings
from .shape import without_nuls
from .spec import Report
from .windows import BEGINNING, EVERYTHING, Window, plan, subtract, union

log = logging.getLogger("klaviyo")

#: How deep dlt unpacks what it infers; its own default.
_NESTED = 1000
#: Destinations whose text cannot hold the character U+0000.
_WITHOUT_NULS = ("postgres", "redshift")


class _HintsAreMeant(logging.Filter):
    """dlt warns for every table that JSON travels as text, and that a replaced one keeps hints for merges: both meant."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        meant = ("when merging arrow schema with dlt schema", '"dedup_sort" column hint', '"hard_delete" column hint')
        return not any(part in message for part in meant)


logging.getLogger("dlt").addFilter(_HintsAreMeant())


@dataclass(frozen=True, slots=True)
class Plan:
    """How one report is read by one run.

    Attributes:
        windows: what to read, oldest first; empty where everything is loaded already.
        covered: what is loaded and not read again.
        whole: loaded as a whole, once all of it is read.
        settings: as given, or as the extract method needs them.
        new: the table has no row of these windows, and none of its rows will ever come into them: to be appended.
    """

    report: Report
    settings: ReportSettings
    windows: Sequence[Window]
    covered: Sequence[Window]
    whole: bool
    new: bool = False


def plan_report(report: Report, settings: ReportSettings, loaded: Sequence[Window]) -> Plan:
    """Windows to read, from what is loaded already."""
    if not is_windowed(report) or settings.extract == "all":
        if settings.split_by != "none":
            # Without a period there is no calendar to cut by.
            settings = replace(settings, split_by="auto")
        return Plan(report, settings, [EVERYTHING], [], True)
    cursor = windows_endpoint(report).cursor
    start = BEGINNING if cursor is not None and cursor.from_start else settings.start or BEGINNING
    windows = plan(
        start,
        settings.end,
        covered=() if settings.reread else loaded,
        lookback=settings.lookback,
        split_by=settings.split_by,
    )
    kept = [rest for window in loaded for rest in subtract(window, windows)]
    return Plan(report, settings, windows, kept, False)


class Run:
    """One reading of an account: the engine, and the bounds of the load package in hand.

    Args:
        settings: what to read.
        clock: where time comes from.
        rows: rows after which a load package ends; None for a single package.
        seconds: time after which it ends.
        raise_errors: let the first report that fails end the load, as a plain `pipeline.run` expects. The run loop
            loads what there is and reports instead.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        rows: int | None = None,
        seconds: float | None = None,
        raise_errors: bool = True,
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        if told := ending(settings.revision, self.clock.now()):
            log.warning(told)
        self.engine = Engine(settings, self.clock)
        self.raise_errors = raise_errors
        self.plans: dict[str, Plan] = {}
        self.end_package = False
        #: The last package is under way; set by the run loop.
        self.closing = False
        self._rows, self._seconds = rows, seconds
        self._package_rows = 0
        self._package_started_s = self.clock.monotonic()
        self._waiting: list[Plan] = []

    def add(self, name: str, resource_state: Mapping[str, Any]) -> bool:
        """Plan a report that is to be read; False if it was already."""
        if name in self.plans:
            return False
        report = report_of(self.settings, name)
        made = plan_report(report, self.settings.reports[name], state.covered(resource_state, dated_by(report)))
        self.plans[name] = made
        self._waiting.append(made)
        return True

    def start(self) -> None:
        """Begin to read what was added since the last call."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self.engine.start((p.report, p.settings, p.windows, p.covered, p.whole, p.new) for p in waiting)

    def append(self, name: str) -> None:
        """Let the rows of a report that was added be appended as long as they are new. To be called before `start`.

        Whoever calls it answers for it that its windows are not in the table, and for taking back the rows of a load
        that was interrupted.
        """
        made = self.plans[name]
        self.plans[name] = replace(made, new=True)
        self._waiting = [self.plans[waiting.report.name] for waiting in self._waiting]

    def appends(self, name: str) -> bool:
        """Whether the next load package may append the rows of a report."""
        output = self.engine.outputs.get(name)
        return output is not None and output.new

    def begin_package(self) -> None:
        self._package_rows = 0
        self._package_started_s = self.clock.monotonic()

    def package_ends(self) -> bool:
        """Whether the load package in hand has enough."""
        return self.end_package or bool(
            (self._rows is not None and self._package_rows >= self._rows)
            or (self._seconds is not None and self.clock.monotonic() - self._package_started_s >= self._seconds)
        )

    def rows(self, name: str, append: bool = False) -> Iterator[Any]:
        """The tables of one report for one load package; None while there is nothing yet, so that others go on.

        Args:
            append: the load package appends them, so it ends before the first row that would have to be merged.
        """
        resource_state = dlt.current.resource_state()
        if self.add(name, resource_state):
            # Once every selected resource was asked, they start together: side by side, and sharing requests.
            yield None
        self.start()
        output = self.engine.outputs[name]
        try:
            if output.whole:
                yield from self._whole(name, output, resource_state)
            else:
                yield from self._windowed(name, output, resource_state, append)
        except GeneratorExit:
            # The load failed elsewhere, or somebody wanted to see a few rows only.
            self.engine.drop(name)
            raise

    def _windowed(self, name: str, output: Output, resource_state: dict[str, Any], append: bool) -> Iterator[Any]:
        first = not resource_state
        while True:
            last = self.package_ends()
            taken = self.engine.take(name, last=last, append=append)
            for table in taken.tables:
                first = False
                self._package_rows += table.num_rows
                yield self._fitted(output, table)
            if taken.ended or last or taken.refused:
                break
            if not taken.tables:
                yield None
        self._raise(name)
        if first:
            # The table exists, with all its columns, even if the account has no such records.
            yield self._empty(output)
        if taken.refused:
            # What is covered includes the rows that wait to be merged; they bring it with them.
            return
        by = dated_by(output.report)
        loaded, covered = state.covered(resource_state, by), taken.covered or []
        # What is read again and was not reached is to be read by the next run. Where this one got no further than the
        # last, that looks back as far anyway, and the high-water mark stays where it was.
        if first or union([*loaded, *covered]) != loaded:
            state.remember(resource_state, covered, by)
        output.loaded = taken.ended

    def _whole(self, name: str, output: Output, resource_state: dict[str, Any]) -> Iterator[Any]:
        while not self.engine.take(name, last=False).ended:
            yield None
        self._raise(name)
        if self.engine.read_of(name).failed or output.spool is None:
            return
        # One table at least, for dlt empties or retires nothing on account of a resource without items.
        yield self._empty(output)
        for table in map(standing, output.spool.tables()):
            self._package_rows += table.num_rows
            yield self._fitted(output, table)
        output.spool.close()
        output.loaded = True
        if is_windowed(output.report):
            state.remember(resource_state, [Window(BEGINNING, output.settings.end)], dated_by(output.report))

    @staticmethod
    def _empty(output: Output) -> Any:
        """An item without rows, for which dlt makes or empties the table all the same."""
        custom = output.report.custom
        return dlt.mark.materialize_table_schema() if custom and custom.inferred else output.shaper.empty()

    def _fitted(self, output: Output, table: pa.Table) -> Any:
        """The table as the destination can hold it, a text that it refuses would fail the load for good; or the dicts
        that dlt is to infer the columns of."""
        destination = dlt.current.pipeline().destination
        if destination is not None and destination.destination_type.rpartition(".")[2] in _WITHOUT_NULS:
            table, misfits = without_nuls(table, output.shaper.contract)
            output.misfits.update(misfits)
        custom = output.report.custom
        return unpacked(table, output.shaper.contract) if custom and custom.inferred else table

    def _raise(self, name: str) -> None:
        read = self.engine.read_of(name)
        if self.raise_errors and read.failed:
            self.engine.close()
            raise read.errors[0][1]

    def error(self, name: str) -> KlaviyoError | None:
        """Why a report failed, or None."""
        read = self.engine.read_of(name)
        return read.errors[0][1] if read.errors else None


def resource(run: Run, name: str) -> DltResource:
    """The dlt resource of one report."""
    report, settings = report_of(run.settings, name), run.settings.reports[name]
    contract = contract_of(report)
    inferred = report.custom is not None and report.custom.inferred
    columns: dict[str, Any] = {
        column.name: {"data_type": column.data_type, "nullable": column.nullable, "description": column.description}
        for column in contract.columns
        if not inferred or column.primary_key
    }
    disposition: Any
    append = run.appends(name)
    if report.history:
        columns[ROW_VERSION] = {"data_type": "text", "nullable": False, "description": "What dlt compares rows by."}
        disposition = {"disposition": "merge", "strategy": "scd2", "row_version_column_name": ROW_VERSION}
    elif not is_windowed(report) or settings.extract == "all":
        disposition = {"disposition": "replace"}
    else:
        disposition = "append" if append else {"disposition": "merge", "strategy": "delete-insert"}
        if report.each is not None:
            columns[DELETED]["hard_delete"] = True
        cursor = endpoint_of(report).cursor
        for column in contract.columns:
            if cursor is not None and column.path == f"attributes.{cursor.field}" and not inferred:
                columns[column.name]["dedup_sort"] = "desc"
                # A user may have lifted the same value into a column of another name.
                break
    return dlt.resource(
        run.rows(name, append),
        name=name,
        columns=columns,
        primary_key=contract.primary_key,
        write_disposition=disposition,
        max_table_nesting=_NESTED if inferred else 0,
        file_format="preferred" if inferred else "parquet",
    )
