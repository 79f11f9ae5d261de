"""Arrow tables of rows: made from a contract, cut by value, measured in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..catalog.contracts import Contract
from ..windows import Window
from .values import ARROW


@dataclass(slots=True)
class Shaped:
    """The rows of one page.

    Attributes:
        table: the rows, with the contract's columns in its order.
        misfits: path -> how many values of this page are in `_extra`, since they do not fit their column.
        new_fields: path -> how many values of this page are in `_extra`, since no column declares their field.
    """

    table: pa.Table
    misfits: Counter[str] = field(default_factory=Counter)
    new_fields: Counter[str] = field(default_factory=Counter)


def schema_of(contract: Contract) -> pa.Schema:
    """The Arrow schema of a contract's columns."""
    return pa.schema([pa.field(column.name, ARROW[column.data_type]) for column in contract.columns])


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """A table of rows given as dicts; a missing key is null."""
    return pa.table([pa.array([row.get(field.name) for row in rows], field.type) for field in schema], schema=schema)


def without(table: pa.Table, column: str, surplus: Sequence[Window]) -> pa.Table:
    """The rows whose timestamp `column` lies in no window of `surplus`; rows with null there are kept."""
    low, high, _ = span(table, column) if surplus else (None, None, True)
    values = table.column(column)
    for window in surplus:
        if low is None or high is None or high < window.start or window.end <= low:
            continue
        start, end = pa.scalar(window.start, values.type), pa.scalar(window.end, values.type)
        inside = pc.and_(pc.greater_equal(values, start), pc.less(values, end))
        if pc.any(inside).as_py():
            table = table.filter(pc.invert(pc.fill_null(inside, False)))
            values = table.column(column)
    return table


def span(table: pa.Table, column: str) -> tuple[datetime | None, datetime | None, bool]:
    """Least and greatest value of a timestamp column, and whether it ascends when cut to seconds, Klaviyo's grain."""
    moments = microseconds(table, column)
    if not moments:
        return None, None, True
    ordered = sorted(moments)
    # Most columns are in order already.
    ascends = moments == ordered or (seconds := [moment // 1_000_000 for moment in moments]) == sorted(seconds)
    return moment_at(ordered[0]), moment_at(ordered[-1]), ascends


def microseconds(table: pa.Table, column: str) -> list[int]:
    """The values of a timestamp column without nulls, in microseconds since 1970."""
    # Not with Arrow's functions: each of them releases the GIL, and then waits for it behind all threads that fetch.
    moments: list[int] = []
    for values in table.column(column).chunks:
        present = values.drop_null() if values.null_count else values
        if len(present):
            numbers = memoryview(present.buffers()[1]).cast("q")
            moments += numbers[present.offset : present.offset + len(present)].tolist()
    return moments


def moment_at(microseconds: int) -> datetime:
    """Microseconds since 1970 as aware UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
