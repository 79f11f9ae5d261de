"""Rows become dlt resources: what was planned is read, tables are yielded, the state is written."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import dlt
import pyarrow as pa
from dlt.destinations._adbc_jobs import AdbcParquetCopyJob
from dlt.extract import DltResource

from . import state
from .contracts import DELETED, ROW_VERSION
from .custom import fingerprint
from .each import standing
from .engine import Engine, Output
from .errors import ConfigError, KlaviyoError
from .limits import Clock, SystemClock
from .planning import Plan, differs, loaded_by, plan_again, settings_of_metric
from .raw import unpacked
from .reports import contract_of, dated_by, endpoint_of, is_windowed, report_of, reports
from .results import PERIOD_KEY
from .revisions import ending
from .settings import ReportSettings, Settings
from .shape import without_nuls
from .spec import OfMetric, Report
from .windows import BEGINNING, EVERYTHING, Window, union

log = logging.getLogger("klaviyo")

#: How deep dlt unpacks what it infers; its own default.
_NESTED = 1000
#: Destinations whose text cannot hold the character U+0000.
_WITHOUT_NULS = ("postgres", "redshift")

# A report without records comes as a file without rows, which dlt 1.31 hands to ADBC as a stream without schema: the
# load fails for good. By the row group every table that is handed over has one, and it is still one transaction.
AdbcParquetCopyJob._ingest_per_rowgroup = True


class _HintsAreMeant(logging.Filter):
    """dlt warns for every table that JSON travels as text, and that a replaced one keeps hints for merges: both meant."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        meant = ("when merging arrow schema with dlt schema", '"dedup_sort" column hint', '"hard_delete" column hint')
        return not any(part in message for part in meant)


logging.getLogger("dlt").addFilter(_HintsAreMeant())


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
        self.began = self.clock.now()
        #: Reports that are not read, and why.
        self.refused: dict[str, KlaviyoError] = {}
        #: Reports that ask for other rows than those that are loaded.
        self.anew: set[str] = set()
        # Report of a metric -> what is loaded of all events into the same table.
        self._inherited: dict[str, list[Window]] = {}
        self.end_package = False
        #: The last package is under way; set by the run loop.
        self.closing = False
        self._rows, self._seconds = rows, seconds
        self._package_rows = 0
        self._package_started_s = self.clock.monotonic()
        self._waiting: list[Plan] = []

    def prepare(self, pipeline_state: Mapping[str, Any]) -> None:
        """Choose the metrics of reports that are read by metric, and see which reports changed since they were loaded.

        Asks Klaviyo for its metrics where there is something to choose.

        Raises:
            KlaviyoError: a name that no metric has, or no metrics at all, where errors are to be raised.
        """
        known = state.known_metrics(pipeline_state)
        for name, own in list(self.settings.reports.items()):
            if own.metrics:
                self._choose(name, own, known)
                every = report_of(self.settings, name)
                loaded = state.covered(state.of_report(pipeline_state, name), dated_by(every))
                for report in self.settings.custom.values():
                    if report.table == name:
                        self._inherited[report.name] = loaded
        for name in list(self.settings.reports):
            report, resource_state = report_of(self.settings, name), state.of_report(pipeline_state, name)
            if not differs(report, resource_state):
                continue
            before, now = (told.split()[0] for told in (state.fingerprint(resource_state) or "", fingerprint(report)))
            if before != now:
                # dlt cannot turn the one table into the other.
                self._refuse(
                    name,
                    ConfigError(
                        f'{name}: its table was made with mode = "{before}", which "{now}" does not fit: drop it with '
                        f"`dlt pipeline NAME drop {name}`, or give the report another name"
                    ),
                )
            else:
                self.anew.add(name)
                log.info("%s: what it asks for has changed, so its period is read again and its table replaced", name)

    def _choose(self, name: str, own: ReportSettings, known: Mapping[str, OfMetric]) -> None:
        taken = {*reports(self.settings.revision), *self.settings.custom}
        made, error = self.engine.metrics.chosen(
            report_of(self.settings, name), own.metrics, own.split_tables, known, taken
        )
        if error is not None:
            self._refuse(name, error)
        chosen = {report.name: report for report in made}
        read = {key: value for key, value in self.settings.reports.items() if key != name}
        self.settings = replace(
            self.settings,
            reports={**dict.fromkeys(chosen, settings_of_metric(own)), **read},
            custom={**self.settings.custom, **chosen},
        )

    def _refuse(self, name: str, error: KlaviyoError) -> None:
        if self.raise_errors:
            self.engine.close()
            raise error
        self.refused[name] = error
        self.settings = replace(
            self.settings, reports={key: value for key, value in self.settings.reports.items() if key != name}
        )

    def add(self, name: str, resource_state: Mapping[str, Any]) -> bool:
        """Plan a report that is to be read; False if it was already."""
        if name in self.plans:
            return False
        report, settings = report_of(self.settings, name), self.settings.reports[name]
        # Without a timezone the engine says why, and reads nothing.
        zone = None if settings.analytics is None else self.engine.account.timezone()
        made = plan_again(
            report,
            settings,
            resource_state,
            self.began,
            zone=zone,
            anew=name in self.anew,
            inherited=self._inherited.get(name, ()),
        )
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
        figures = output.settings.analytics
        first = not resource_state
        by = loaded_by(output.report, output.settings)
        while True:
            last = self.package_ends()
            taken = self.engine.take(name, last=last, append=append)
            for table in taken.tables:
                first = False
                self._package_rows += table.num_rows
                yield self._fitted(output, table)
            if taken.ended or last or taken.refused:
                break
            if not taken.tables.rows:
                yield None
        self._raise(name)
        if first:
            # The table exists, with all its columns, even if the account has no such records.
            yield self._empty(output)
        if taken.refused:
            # What is covered includes the rows that wait to be merged; they bring it with them.
            return
        loaded, covered = state.covered(resource_state, by), taken.covered or []
        if figures is not None:
            state.remember_counting(resource_state, figures, self.began, self.engine.read_of(name).traffic.requests)
        # What is read again and was not reached is to be read by the next run. Where this one got no further than the
        # last, that looks back as far anyway, and the high-water mark stays where it was.
        if first or union([*loaded, *covered]) != loaded:
            state.remember(resource_state, covered, by)
        self._note(output.report, resource_state)
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
            windows = self.plans[name].windows
            whole = [Window(BEGINNING, output.settings.end)] if windows == [EVERYTHING] else windows
            state.remember(resource_state, whole, dated_by(output.report))
        self._note(output.report, resource_state)

    @staticmethod
    def _note(report: Report, resource_state: dict[str, Any]) -> None:
        """Remember what the rows were asked for by."""
        if report.of_metric is not None:
            state.remember_metric(resource_state, report.of_metric)
        if report.custom is not None and is_windowed(report):
            state.remember_fingerprint(resource_state, fingerprint(report))

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
    counts = endpoint_of(report).analytics is not None
    if report.history:
        columns[ROW_VERSION] = {"data_type": "text", "nullable": False, "description": "What dlt compares rows by."}
        disposition = {"disposition": "merge", "strategy": "scd2", "row_version_column_name": ROW_VERSION}
    elif not counts and (not is_windowed(report) or settings.extract == "all" or name in run.anew):
        disposition = {"disposition": "replace"}
    else:
        disposition = "append" if append else {"disposition": "merge", "strategy": "delete-insert"}
        if DELETED in columns:
            columns[DELETED]["hard_delete"] = True
        cursor = endpoint_of(report).cursor
        for column in contract.columns:
            if cursor is not None and column.path == f"attributes.{cursor.field}" and not inferred:
                columns[column.name]["dedup_sort"] = "desc"
                # A user may have lifted the same value into a column of another name.
                break
    keys: dict[str, Any] = {"primary_key": contract.primary_key}
    if counts:
        # A period that is read again is replaced whole, as it is read: groupings that it no longer has must go.
        keys = {"merge_key": [column.name for column in contract.columns if column.path in PERIOD_KEY]}
    made: DltResource = dlt.resource(
        run.rows(name, append),
        name=name,
        table_name=report.table or name,
        columns=columns,
        **keys,
        write_disposition=disposition,
        max_table_nesting=_NESTED if inferred else 0,
        file_format="preferred" if inferred else "parquet",
    )
    return made
