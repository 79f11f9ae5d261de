"""Makes the dlt resource of a report. While dlt extracts it, it yields tables and writes the state that belongs to them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import dlt
import pyarrow as pa
from dlt.common.configuration.specs import BaseConfiguration
from dlt.extract import DltResource

from ..catalog.contracts import DELETED, ROW_VERSION
from ..catalog.model import AnalyticsQuery
from ..catalog.report import Report
from ..decode.nested import deletions, standing
from ..decode.raw import unpacked
from ..decode.storable import storable
from ..extract.buffer import Drained
from ..extract.handle import Handle
from ..plan import state
from ..plan.daily_quota import counted_from
from ..plan.plan import Disposition, Plan, fingerprint
from ..windows import BEGINNING, EVERYTHING, Window, union, until
from . import redefinition
from .destination import type_of
from .latest import Latest
from .package import Package
from .prepare import Run

log = logging.getLogger("klaviyo")

#: How deep dlt unpacks what it infers; its own default.
_NESTED = 1000
#: Destinations that refuse some texts and JSON.
_PARTICULAR = ("postgres", "redshift")


def resource(report: Report, disposition: Disposition, rows: Callable[[], Iterator[Any]]) -> DltResource:
    """The dlt resource of one report.

    Args:
        rows: yields the tables of the report; called again whenever the resource is extracted.
    """
    inferred = report.custom is not None and report.custom.inferred
    columns = _columns(report)
    keys: dict[str, Any] = {"primary_key": report.contract.primary_key}
    if report.endpoint.analytics is not None:
        # A period that is read again is replaced whole: groupings that it no longer has must go.
        keys = {"merge_key": redefinition.period_columns(report)}
    if disposition is Disposition.HISTORY:
        columns[ROW_VERSION] = {"data_type": "text", "nullable": False, "description": "What dlt compares rows by."}
    elif disposition is not Disposition.REPLACE:
        if DELETED in columns:
            columns[DELETED]["hard_delete"] = True
        if (newest := _sorts_duplicates(report)) is not None:
            columns[newest]["dedup_sort"] = "desc"

    # dlt calls a generator function anew for each extraction, and takes no `partial` for one.
    def read() -> Iterator[Any]:
        yield from rows()

    made: DltResource = dlt.resource(
        read,
        name=report.name,
        table_name=report.table or report.name,
        columns=columns,
        **keys,
        write_disposition=write_disposition(disposition),
        max_table_nesting=_NESTED if inferred else 0,
        file_format="preferred" if inferred else "parquet",
        # Settings are read and checked in `config`, so dlt injects none.
        spec=BaseConfiguration,
    )
    # dlt writes it as a comment on Databricks, `comments.py` on DuckDB and Postgres.
    made.apply_hints(additional_table_hints={"description": report.contract.description})
    return made


def _columns(report: Report) -> dict[str, Any]:
    """dlt's hints of the columns, as far as they are declared."""
    inferred = report.custom is not None and report.custom.inferred
    return {
        column.name: {"data_type": column.data_type, "nullable": column.nullable, "description": column.description}
        for column in report.contract.columns
        if not inferred or column.primary_key
    }


def write_disposition(disposition: Disposition) -> Any:
    """The disposition in dlt's words."""
    if disposition is Disposition.HISTORY:
        return {"disposition": "merge", "strategy": "scd2", "row_version_column_name": ROW_VERSION}
    if disposition is Disposition.REPLACE:
        return {"disposition": "replace"}
    if disposition is Disposition.APPEND:
        return "append"
    return {"disposition": "merge", "strategy": "delete-insert"}


def _sorts_duplicates(report: Report) -> str | None:
    """The column by which dlt chooses among rows with one key: it keeps the one with the greatest cursor value."""
    cursor, custom = report.endpoint.cursor, report.custom
    if cursor is None or (custom is not None and custom.inferred):
        return None
    # Only the first: a user may have put the same value into a column of another name.
    found = (one.name for one in report.contract.columns if one.path == f"attributes.{cursor.field}")
    return next(found, None)


def rows_of(run: Run, name: str, package: Package, *, append: bool = False, reused: bool = False) -> Iterator[Any]:
    """The tables of one report for one load package; None while there is nothing yet, so that others go on.

    Args:
        package: when it is full, the rows that are left go into the next one.
        append: the load package appends them, so it ends before the first row that would have to be merged.
        reused: the resource may be extracted again by another run, and dlt keeps the hints that come with an item.

    Raises:
        KlaviyoError: the report failed, and the run raises errors.
    """
    resource_state = dlt.current.resource_state(name)
    if run.add(name, resource_state):
        # dlt asks every resource once before it goes on. Then all reports start together and share requests.
        yield None
    run.start()
    handle = run.handle(name)
    writer = _Writer(run, handle, package, resource_state, reused)
    try:
        if handle.plan.whole:
            yield from writer.whole()
        elif writer.is_redefined:
            yield from writer.redefined()
        else:
            yield from writer.windowed(append)
    except GeneratorExit:
        # Another resource failed, or the user wanted a few rows only (`add_limit`). No coverage is stored.
        handle.drop()
        raise


def _counted(table: pa.Table) -> int:
    """How many rows of a table are no delete markers."""
    return int(table.num_rows) - deletions(table)


class _Writer:
    """Hands the rows of one report to dlt, and writes into its state what they cover."""

    def __init__(
        self, run: Run, handle: Handle, package: Package, resource_state: dict[str, Any], reused: bool
    ) -> None:
        self._run = run
        self._handle = handle
        self._plan: Plan = handle.plan
        self._package = package
        self._state = resource_state
        self._reused = reused
        self._begun = False

    @property
    def is_redefined(self) -> bool:
        """Whether the table holds the rows of another definition."""
        return self._plan.redefined is not None and state.loaded_by(self._state) != self._plan.loaded_by

    def windowed(self, append: bool) -> Iterator[Any]:
        """The rows that are there, until the package is full or the report is read."""
        plan, handle, query = self._plan, self._handle, self._plan.settings.analytics
        first, latest, waits = not self._state, None, False
        if not (append or plan.disposition is Disposition.REPLACE_PERIODS):
            newest = _sorts_duplicates(plan.report)
            latest = Latest(
                plan.report.key_columns, newest or plan.report.cursor_column, sorted_later=newest is not None
            )
        if plan.report.name in self._run.compared:
            self._run.compared.discard(plan.report.name)
            state.remember_appended(self._state, [])
        while True:
            last = self._package.full
            taken = handle.take(last=last, append=append)
            waits, tables = taken.needs_merge, iter(taken.tables)
            for table in tables:
                settled = table if latest is None else latest.settled(table)
                if settled is None and not self._package.single:
                    handle.put_back([table, *tables])
                    waits = True
                    break
                # A plain `pipeline.run` has one package: of two rows that dlt cannot tell apart it keeps either.
                kept = table if settled is None else settled
                handle.uncount(_counted(table) - _counted(kept))
                table = kept
                first = False
                self._package.add(table.num_rows)
                yield self._fitted(table)
            if taken.ended or last or waits:
                break
            if not taken.tables.rows:
                yield None
        self._raise()
        if append:
            state.remember_appended(self._state, [*state.appended(self._state), *plan.windows])
        if handle.left_out is not None:
            # Neither a table nor coverage: what was loaded before stays, and the next run asks again.
            handle.output.loaded = True
            return
        if first:
            # The table exists, with all its columns, even if the account has no such records.
            yield self._empty()
        if waits:
            # Don't save coverage yet: it counts rows still buffered for the next merge package.
            return
        # Stored and new coverage never lies in the future, whatever this machine's clock says: what Klaviyo gets until
        # then would never be read.
        now = self._run.server_now()
        loaded, covered = state.covered(self._state, plan.loaded_by), until(taken.covered or [], now)
        if query is not None:
            self._remember_requests(query)
            yield from self._unstaged()
        # A period that is read again and was not reached is left to the next run. If nothing new was covered, the
        # lookback of the next run reaches as far back anyway, and the high-water mark stays where it was.
        if first or until(loaded, now) != loaded or union([*loaded, *covered]) != loaded:
            state.remember(self._state, covered, plan.loaded_by)
        self._note()
        handle.output.loaded = taken.ended and not state.has_leftover(self._state)

    def redefined(self) -> Iterator[Any]:
        """The rows of a new definition: they are staged, and once none is missing, all of them replace the table.

        Between the two the state says that the table's definition is in doubt, since rows and state are not committed
        at the same moment. Without it, a kill and a lost working folder would leave the old definition in the state and
        the new one in the table. A run with a single package has no time for that.
        """
        plan, handle, query = self._plan, self._handle, self._plan.settings.analytics
        if plan.redefined is None or query is None:
            raise ValueError(f"{plan.report.name} has no new definition")
        found = state.staged(self._state)
        known = found if found is not None and found.by == plan.loaded_by else None
        build = known.build if known else uuid4().hex
        may_replace = self._package.single or state.is_in_doubt(self._state)
        handed_over = False
        while True:
            last = self._package.full
            taken = handle.take(last=last)
            covered = until(taken.covered or [], self._run.server_now())
            complete = taken.ended and plan.redefined.is_complete(covered, self._run.server_now())
            if complete and may_replace and not handed_over:
                break
            for table in taken.tables:
                handed_over = True
                self._package.add(table.num_rows)
                yield redefinition.staged(plan.report, self._storable(table), build)
            if taken.ended or last:
                break
            if not taken.tables.rows:
                yield None
        self._raise()
        self._remember_requests(query)
        if complete and may_replace and not handed_over:
            yield from self._replacement(known, taken.tables)
            state.remember(self._state, covered, plan.loaded_by)
            state.forget_staged(self._state)
            handle.output.loaded = not state.has_leftover(self._state)
            return
        # Rows of one metric may be staged before its period is covered, which takes those of all metrics.
        if known is not None or covered or handed_over:
            state.remember_staged(self._state, state.Staged(plan.loaded_by, build, covered))
        if complete:
            # The next load package replaces the table.
            state.doubt(self._state)
        handle.output.loaded = taken.ended and not complete

    def _replacement(self, known: state.Staged | None, tables: Drained) -> Iterator[Any]:
        """The items that replace the table: what is staged, and what was read since.

        Args:
            known: what is staged of the definition.
        """
        report = self._plan.report
        columns = _columns(report)
        fresh = [self._storable(table) for table in tables]
        empty = True
        if known is not None:
            pipeline = dlt.current.pipeline()
            for table in redefinition.read_back(pipeline, report, known.build, fresh):
                empty = False
                self._package.add(table.num_rows)
                yield redefinition.replacing(report, table, columns, read_back=True)
        for table in map(standing, fresh):
            empty = False
            self._package.add(table.num_rows)
            yield redefinition.replacing(report, table, columns, read_back=False)
        if empty:
            yield redefinition.replacing(report, self._handle.output.shaper.empty(), columns, read_back=False)

    def _remember_requests(self, query: AnalyticsQuery) -> None:
        run, requests, per_minute = self._run, self._handle.requests, self._plan.report.rate.steady
        counted = counted_from(run.began, run.clock.now().replace(microsecond=0), requests, per_minute)
        state.remember_analytics(self._state, query, run.began, requests, counted)

    def _unstaged(self) -> Iterator[Any]:
        """Delete staged rows that nothing refers to; those that are not needed any more are left to the next package."""
        if state.has_leftover(self._state):
            yield redefinition.nothing_staged(self._plan.report, self._handle.output.shaper.empty())
            state.forget_leftover(self._state)
        else:
            state.forget_staged(self._state)

    def whole(self) -> Iterator[Any]:
        """All rows, once all of them are read."""
        plan, handle = self._plan, self._handle
        while not handle.take(last=False).ended:
            yield None
        self._raise()
        spool = handle.output.spool
        if handle.left_out is not None and self._state:
            # dlt would empty a table that is replaced by nothing. The run loop leaves such a resource out.
            raise handle.left_out
        if handle.failed or handle.left_out is not None or spool is None:
            return
        rows = 0
        for table in map(standing, spool.tables()):
            rows += table.num_rows
            self._package.add(table.num_rows)
            yield self._fitted(table)
        handle.uncount(handle.output.rows - rows)
        if not rows:
            # dlt replaces or retires nothing for a resource that yields nothing.
            yield self._empty()
        spool.close()
        handle.output.loaded = True
        if plan.report.is_windowed:
            everything = list(plan.windows) == [EVERYTHING]
            whole = [Window(BEGINNING, plan.settings.end)] if everything else plan.windows
            state.remember(self._state, until(whole, self._run.server_now()), plan.report.dated_by)
        self._note()

    def _note(self) -> None:
        """Write into the state what the rows were asked for by."""
        report = self._plan.report
        state.remember_childless(self._state, self._handle.childless)
        self._run.note(dlt.current.source_state())
        if report.event_metric is not None:
            state.remember_metric(self._state, report.event_metric)
        if report.is_users_own and report.is_windowed:
            state.remember_fingerprint(self._state, fingerprint(report))

    def _empty(self) -> Any:
        """An item without rows, for which dlt makes or empties the table all the same."""
        inferred = self._plan.report.custom is not None and self._plan.report.custom.inferred
        item = dlt.mark.materialize_table_schema() if inferred else self._handle.output.shaper.empty()
        return self._with_disposition(item)

    def _with_disposition(self, item: Any) -> Any:
        """The first item of a custom report with the disposition of this run; any other as it is."""
        if self._begun:
            return item
        self._begun = True
        if self._plan.report.custom is None or not self._reused:
            return item
        # Where its definition was changed, its table is replaced.
        hints = dlt.mark.make_hints(write_disposition=write_disposition(self._plan.disposition))
        return dlt.mark.with_hints(item, hints)

    def _fitted(self, table: Any) -> Any:
        """The table as the destination can hold it; or the dicts that dlt is to infer the columns of."""
        table, custom = self._storable(table), self._plan.report.custom
        item = unpacked(table, self._plan.report.contract) if custom is not None and custom.inferred else table
        return self._with_disposition(item)

    def _storable(self, table: pa.Table) -> pa.Table:
        """The table with values that the destination can hold: one that it refuses would fail the load for good."""
        if type_of(dlt.current.pipeline()) in _PARTICULAR:
            table, misfits = storable(table, self._plan.report.contract)
            self._handle.output.misfits.update(misfits)
        return table

    def _raise(self) -> None:
        error = self._handle.error
        if self._run.raise_errors and self._handle.failed and error is not None:
            self._run.close()
            raise error
