"""The rows of one report between the decoder and the loader."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa

from ..decode.analytics import AnalyticsShaper
from ..decode.nested import NestedShaper, deletions
from ..decode.raw import RawShaper
from ..decode.records import Shaper
from ..decode.tables import Shaped
from ..plan.plan import Plan
from ..windows import Window
from .buffer import Buffer, Drained
from .new_fields import NewFields
from .spool import Spool
from .tuning import Tuning


@dataclass(slots=True)
class Taken:
    """Rows to load now.

    Attributes:
        tables: Arrow tables.
        covered: the periods that are loaded once these rows are, or None where nothing is to be stored.
        ended: nothing more will come.
        needs_merge: there are rows that must not be appended, and appending was asked for.
    """

    tables: Drained
    covered: list[Window] | None
    ended: bool
    needs_merge: bool = False


class Output:
    """The rows of one report on their way from the decoder to the loader. Not thread-safe.

    A report that must be loaded as a whole is spooled until it is complete; any other waits in a buffer.

    Args:
        known: the new fields of the run that have been named already; shared by all outputs of an engine.

    Attributes:
        new: every row so far is proved to be the only one with its key in the table, so rows may be appended. Once one
            is not, it and all that follow must be merged.
        rows: how many were decoded, without those that delete one.
        misfits: path -> values that went to `_extra`, since they do not fit their column.
        new_fields: path -> values that went to `_extra`, since no column declares their field.
        loaded: dlt has all rows.
        dropped: the rows are not needed any more.
    """

    def __init__(self, plan: Plan, tuning: Tuning, known: NewFields | None = None) -> None:
        report = plan.report
        self.plan = plan
        self.new = plan.append
        self.shaper: Shaper | RawShaper | NestedShaper | AnalyticsShaper
        if report.custom is not None:
            self.shaper = RawShaper(report.contract, included=report.rows is not None)
        elif report.nested is not None:
            self.shaper = NestedShaper(report.contract, report.nested)
        elif report.endpoint.analytics is not None:
            self.shaper = AnalyticsShaper(report.contract)
        else:
            self.shaper = Shaper(report.contract, rows=report.rows, row_version=report.history)
        self.cursor_column = report.cursor_column
        self.buffer = Buffer(tuning)
        self.spool: Spool | None = None
        if plan.whole:
            self.spool = Spool(self.shaper.schema, report.key_columns, self.cursor_column, tuning)
        self.rows = 0
        self.misfits: Counter[str] = Counter()
        self.new_fields: Counter[str] = Counter()
        self._known = known or NewFields()
        self.loaded = False
        self.dropped = False

    def count(self, shaped: Shaped) -> None:
        """Count what a page has in `_extra`."""
        self.misfits.update(shaped.misfits)
        if shaped.new_fields:
            report = self.plan.report
            self._known.count(report.name, report.like or report.name, shaped.new_fields, self.new_fields)

    def add(self, table: pa.Table, *, new: bool) -> None:
        """Take the rows of one page.

        Args:
            new: they are proved to be new.
        """
        if table.num_rows == 0 or self.dropped:
            return
        self.new = self.new and new
        self.rows += table.num_rows - deletions(table)
        if self.spool is not None:
            self.spool.add(table)
        else:
            self.buffer.add(table)

    def drop(self) -> None:
        """Give up all rows, now and later."""
        self.dropped = True
        self.buffer.drain()
        self.close()

    def close(self) -> None:
        """Give the space on disk back."""
        if self.spool is not None:
            self.spool.close()
