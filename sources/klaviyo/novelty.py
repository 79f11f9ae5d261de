"""Proves that rows are new to their table, so that they need not be compared with what is there. Pure."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from .shape import span
from .windows import Window


class Novelty:
    """Follows the pages of one chain and tells of each whether its rows are the first and only ones with their keys.

    Two rows of one record have the same moment (the cursor is fixed), so they lie in the same window, and windows share
    no second. Within a chain, moments that don't go back leave one place for a second copy: the second in which the
    last page ended. Its keys are remembered, and nothing else.

    Args:
        key: the column that identifies a record.
        cursor: the column with its moment.
    """

    def __init__(self, key: str, cursor: str) -> None:
        self._key = key
        self._cursor = cursor
        self._second: datetime | None = None
        self._keys: set[str] = set()

    def holds(self, table: pa.Table, window: Window) -> bool:
        """Whether all rows of the chain's next page are new.

        Args:
            table: the rows, without those that another chain reads.
            window: what the chain reads; nothing of it was in the table before.
        """
        if table.num_rows == 0:
            return True
        moments, keys = table.column(self._cursor), table.column(self._key)
        low, high, _ = span(table, self._cursor)
        if low is None or high is None or moments.null_count or keys.null_count:
            return False
        if not (window.start <= low and high < window.end) or pc.count_distinct(keys).as_py() < table.num_rows:
            return False
        if self._second is not None and (low < self._second or not self._keys.isdisjoint(keys.to_pylist())):
            return False
        second = high.replace(microsecond=0)
        keys = set(keys.filter(pc.greater_equal(moments, pa.scalar(second, moments.type))).to_pylist())
        self._keys = self._keys | keys if second == self._second else keys
        self._second = second
        return True
