"""Rows that share a key: found by hash, told apart by the key itself, and the newest of them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def key_hashes(table: pa.Table, key: Sequence[str]) -> np.ndarray:
    """A 64-bit hash of the key of each row, the same for equal keys within one process.

    Args:
        key: columns that make a row unique.
    """
    columns = [table.column(name).cast(pa.string()) for name in key]
    texts = pc.binary_join_element_wise(*columns, "|", null_handling="replace")
    return np.fromiter(map(hash, texts.to_pylist()), np.int64, len(texts))


def repeated(hashes: np.ndarray) -> np.ndarray:
    """The hashes that occur more than once."""
    ordered = np.sort(hashes)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


class Newest:
    """Of all rows with one key the newest, among rows that share their hash with another.

    Args:
        tables: gives the tables; called once here.
        hashes: of the rows of all tables.
        key: columns that make a row unique.
        newest: the timestamp column that decides which row is the newest; None if the last one is. Of two rows with
            the same time the last one is.
    """

    def __init__(
        self,
        tables: Callable[[], Iterable[pa.Table]],
        hashes: np.ndarray,
        key: Sequence[str],
        newest: str | None,
    ) -> None:
        self._key = key
        self._hashes = hashes
        # Different keys can share a hash, so their keys are compared below.
        self._suspects = repeated(hashes)
        self._winners: dict[tuple[object, ...], int] = {}
        best: dict[tuple[object, ...], tuple[float, int]] = {}
        position = 0
        for table in tables() if len(self._suspects) else ():
            for row in self._suspected(table, position):
                when = table.column(newest)[row].as_py() if newest else None
                rank = (when.timestamp() if when is not None else float("-inf"), position + row)
                best[self._key_of(table, row)] = max(rank, best.get(self._key_of(table, row), rank))
            position += table.num_rows
        self._winners = {name: place for name, (_, place) in best.items()}

    def kept(self, table: pa.Table, position: int) -> pa.Table:
        """The rows of a table that stay.

        Args:
            position: how many rows lie before it, in the order of the hashes.
        """
        if not self._winners:
            return table
        keep = np.ones(table.num_rows, bool)
        for row in self._suspected(table, position):
            keep[row] = self._winners[self._key_of(table, row)] == position + row
        return table.filter(pa.array(keep))

    def _suspected(self, table: pa.Table, position: int) -> list[int]:
        hashes = self._hashes[position : position + table.num_rows]
        return [int(row) for row in np.nonzero(np.isin(hashes, self._suspects))[0]]

    def _key_of(self, table: pa.Table, row: int) -> tuple[object, ...]:
        return tuple(table.column(name)[row].as_py() for name in self._key)
