"""Each key once in a load package: of two rows with one key the newer one, or the one received last. Pure.

dlt removes duplicates of a load package itself, but only by one column: of two rows with the same time it keeps either.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..decode.keys import Newest, key_hashes

#: An odd number with its bits spread, so that a key and its time are hashed together.
_SPREAD = np.int64(-7046029254386353131)


class Latest:
    """Follows the tables of one load package that merges.

    Args:
        key: columns that make a row unique.
        newest: the timestamp column that decides which row is the newest; None if the last one is.
        sorted_later: dlt compares that column too, so rows with different times may go into one package.
    """

    def __init__(self, key: Sequence[str], newest: str | None, *, sorted_later: bool) -> None:
        self._key = key
        self._newest = newest
        self._sorted_later = sorted_later and newest is not None
        self._marks = np.empty(0, np.int64)

    def settled(self, table: pa.Table) -> pa.Table | None:
        """The next table with each key once; None if it belongs into the next package, since one of its rows replaces
        a row of this package and dlt would not know which of the two to keep."""
        hashes = key_hashes(table, self._key)
        once = Newest(lambda: [table], hashes, self._key, self._newest).kept(table, 0)
        if once.num_rows < table.num_rows:
            hashes = key_hashes(once, self._key)
        marks = np.sort(self._marked(once, hashes))
        if len(self._marks) and len(marks):
            # A mark that two different rows share only makes the package end earlier.
            places = np.searchsorted(self._marks, marks)
            if np.any(self._marks[np.minimum(places, len(self._marks) - 1)] == marks):
                return None
        # Two sorted runs: a stable sort merges them.
        self._marks = np.sort(np.concatenate([self._marks, marks]), kind="stable")
        return once

    def _marked(self, table: pa.Table, hashes: np.ndarray) -> np.ndarray:
        """The same number for rows that dlt cannot tell apart."""
        if not self._sorted_later:
            return hashes
        moments = pc.fill_null(table.column(self._newest).cast(pa.int64()), np.iinfo(np.int64).min)
        with np.errstate(over="ignore"):
            marks: np.ndarray = hashes ^ (moments.to_numpy() * _SPREAD)
        return marks
