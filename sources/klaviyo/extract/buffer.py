"""The buffer: rows that are decoded and not yet loaded.

Many rows are packed, so that reading can go on while dlt loads a load package.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import pyarrow as pa

from .tuning import DEFAULT, Tuning

#: Packs events to a fraction of their size, in a fraction of the time that decoding them takes.
_PACKED = pa.ipc.IpcWriteOptions(compression="zstd")


class Buffer:
    """The buffered tables of one report. Not thread-safe.

    Attributes:
        rows: how many rows are buffered.
    """

    def __init__(self, tuning: Tuning = DEFAULT) -> None:
        self._tuning = tuning
        self._clear()

    def _clear(self) -> None:
        self.rows = 0
        self._packed: deque[pa.Buffer] = deque()
        self._packed_bytes = 0
        self._tables: list[pa.Table] = []
        self._table_rows = 0
        self._table_bytes = 0

    @property
    def nbytes(self) -> int:
        """Memory of the buffered tables, in bytes."""
        return self._packed_bytes + self._table_bytes

    @property
    def enough(self) -> bool:
        """Whether there are enough rows to hand them to the loader."""
        return self.rows >= self._tuning.table_rows or self.nbytes >= self._tuning.table_bytes

    def add(self, table: pa.Table) -> None:
        """Buffer the rows of one page."""
        self.rows += table.num_rows
        self._tables.append(table)
        self._table_rows += table.num_rows
        self._table_bytes += table.nbytes
        # Twice what the loader would take at once: it is busy.
        if self._table_rows >= 2 * self._tuning.table_rows or self._table_bytes >= 2 * self._tuning.table_bytes:
            self._pack()

    def _pack(self) -> None:
        sink = pa.BufferOutputStream()
        table = pa.concat_tables(self._tables).combine_chunks()
        with pa.ipc.new_stream(sink, table.schema, options=_PACKED) as writer:
            writer.write_table(table)
        packed = sink.getvalue()
        self._packed.append(packed)
        self._packed_bytes += packed.size
        self._tables, self._table_rows, self._table_bytes = [], 0, 0

    def put_back(self, tables: Iterable[pa.Table]) -> None:
        """Buffer tables that were drained, before all others."""
        for table in (*tables, *self.drain()):
            self.add(table)

    def drain(self) -> Drained:
        """Return all rows and empty the buffer."""
        drained = Drained(self.rows, self._packed, self._tables)
        self._clear()
        return drained


class Drained:
    """Tables to load. Iterate once: each table is unpacked when its turn comes.

    Attributes:
        rows: rows in all tables.
    """

    def __init__(self, rows: int, packed: deque[pa.Buffer], tables: list[pa.Table]) -> None:
        self.rows = rows
        self._packed = packed
        self._tables = tables

    def __iter__(self) -> Iterator[pa.Table]:
        while self._packed:
            with pa.ipc.open_stream(self._packed.popleft()) as reader:
                yield reader.read_all()
        if self._tables:
            yield pa.concat_tables(self._tables)


NOTHING = Drained(0, deque(), [])
