"""The spool: rows of a report that must be loaded as a whole, until it is complete. On disk beyond a few megabytes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from ..decode.keys import Newest, key_hashes
from .tuning import DEFAULT, Tuning


class Spool:
    """Takes tables, then returns all rows with each key once.

    Records can move to a later page while pages are read: a member who joins again appears twice. dlt does not
    deduplicate a table that is replaced or compared as a whole, so the spool does: the newest row of a key stays.

    Args:
        schema: schema of every table.
        key: columns that make a row unique.
        newest: the timestamp column that decides which row is the newest; None if the last one read is.
    """

    def __init__(self, schema: pa.Schema, key: Sequence[str], newest: str | None, tuning: Tuning = DEFAULT) -> None:
        self._tuning = tuning
        self._schema = schema
        self._key = list(key)
        self._newest = newest
        # Through a PythonFile of its own, since pyarrow closes what it writes to: the file must stay open for reading.
        self._file = tempfile.SpooledTemporaryFile(max_size=tuning.spool_bytes)  # noqa: SIM115 - closed by close()
        self._sink = pa.PythonFile(self._file, mode="w")
        self._writer = pa.ipc.new_stream(self._sink, schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))
        self._hashes: list[np.ndarray] = []
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._pending_bytes = 0

    def add(self, table: pa.Table) -> None:
        """Take the rows of one page."""
        self._pending.append(table)
        self._pending_rows += table.num_rows
        self._pending_bytes += table.nbytes
        if self._pending_rows >= self._tuning.spool_table_rows or self._pending_bytes >= self._tuning.spool_bytes:
            self._flush()

    def tables(self) -> Iterator[pa.Table]:
        """All rows, each key once. Call once, after the last `add`."""
        self._flush()
        self._writer.close()
        hashes = np.concatenate(self._hashes) if self._hashes else np.empty(0, np.int64)
        newest, position = Newest(self._read, hashes, self._key, self._newest), 0
        for table in self._read():
            yield newest.kept(table, position)
            position += table.num_rows

    def close(self) -> None:
        """Release memory and disk space."""
        self._file.close()

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending).combine_chunks()
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0
        for batch in table.to_batches():
            self._writer.write_batch(batch)
            self._hashes.append(key_hashes(pa.Table.from_batches([batch]), self._key))

    def _read(self) -> Iterator[pa.Table]:
        self._file.seek(0)
        with pa.ipc.open_stream(pa.PythonFile(self._file, mode="r")) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch], self._schema)
