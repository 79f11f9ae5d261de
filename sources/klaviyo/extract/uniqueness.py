"""Proves that rows are new to their table, so that they can be appended instead of merged. Pure."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ..decode.tables import microseconds, moment_at
from ..windows import Window


class Uniqueness:
    """Follows the pages of one chain and checks whether each page's rows are the first and only ones with their keys.

    Two copies of a record have the same value of the cursor, which is fixed. So they lie in the same window, since
    windows do not overlap. If the values never go back within a chain, an earlier copy can only lie in the second in
    which the previous page ended. Only the keys of that second are kept.

    Args:
        key: the column that identifies a record.
        cursor: the timestamp column of the cursor.
    """

    def __init__(self, key: str, cursor: str) -> None:
        self._key = key
        self._cursor = cursor
        self._second: int | None = None
        self._keys: set[str] = set()

    def holds(self, table: pa.Table, window: Window) -> bool:
        """Whether all rows of the chain's next page are proved to be new.

        Args:
            table: the rows, without those that another chain reads.
            window: what the chain reads. Precondition: the table had no row in it before.
        """
        if table.num_rows == 0:
            return True
        keys = table.column(self._key)
        moments = microseconds(table, self._cursor)
        if len(moments) < table.num_rows or keys.null_count:
            return False
        low, high = min(moments), max(moments)
        if not (window.start <= moment_at(low) and moment_at(high) < window.end):
            return False
        if pc.count_distinct(keys).as_py() < table.num_rows:
            return False
        if self._second is not None and low // 1_000_000 < self._second:
            return False
        if pc.any(pc.is_in(keys, pa.array(list(self._keys), keys.type))).as_py():
            return False
        second = high // 1_000_000
        ending = {keys[row].as_py() for row, moment in enumerate(moments) if moment // 1_000_000 == second}
        self._keys = self._keys | ending if second == self._second else ending
        self._second = second
        return True
