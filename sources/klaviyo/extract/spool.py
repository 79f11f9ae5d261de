"""The spool: rows of a report that must be loaded as a whole, until it is complete. On disk beyond a few megabytes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
        # Rows that share a hash with another row. Different keys can share one too, so their keys are compared below.
        ordered = np.sort(hashes)
        suspects = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        del ordered
        winners = self._winners(hashes, suspects) if len(suspects) else {}
        position = 0
        for table in self._read():
            size = table.num_rows
            if winners:
                keep = np.ones(size, bool)
                for row in np.nonzero(np.isin(hashes[position : position + size], suspects))[0]:
                    keep[row] = winners[self._key_of(table, int(row))] == position + int(row)
                table = table.filter(pa.array(keep))
            position += size
            yield table

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
            texts = pc.binary_join_element_wise(
                *[batch.column(name).cast(pa.string()) for name in self._key], "|", null_handling="replace"
            )
            self._hashes.append(np.fromiter(map(hash, texts.to_pylist()), np.int64, len(texts)))

    def _read(self) -> Iterator[pa.Table]:
        self._file.seek(0)
        with pa.ipc.open_stream(pa.PythonFile(self._file, mode="r")) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch], self._schema)

    def _key_of(self, table: pa.Table, row: int) -> tuple[object, ...]:
        return tuple(table.column(name)[row].as_py() for name in self._key)

    def _winners(self, hashes: np.ndarray, suspects: np.ndarray) -> dict[tuple[object, ...], int]:
        """Key -> position of the row to keep, for keys whose hash occurs more than once."""
        best: dict[tuple[object, ...], tuple[float, int]] = {}
        position = 0
        for table in self._read():
            for row in np.nonzero(np.isin(hashes[position : position + table.num_rows], suspects))[0]:
                key = self._key_of(table, int(row))
                when = table.column(self._newest)[int(row)].as_py() if self._newest else None
                rank = (when.timestamp() if when is not None else float("-inf"), position + int(row))
                if key not in best or rank > best[key]:
                    best[key] = rank
            position += table.num_rows
        return {key: rank[1] for key, rank in best.items()}
