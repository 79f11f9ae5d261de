"""Rows on their way from the decoder to the loader."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sources.klaviyo.extract.buffer import Buffer
from sources.klaviyo.extract.tuning import Tuning

TABLE = pa.table({"id": pa.array([str(n) for n in range(100)]), "properties": pa.array(['{"a": 1}', None] * 50)})


@given(sizes=st.lists(st.integers(1, 30), max_size=30), drains=st.sets(st.integers(0, 29)))
def test_every_row_comes_out_once_and_in_order_packed_or_not(sizes: list[int], drains: set[int]) -> None:
    kept, found, expected = Buffer(Tuning(table_rows=20)), [], []
    for number, size in enumerate(sizes):
        page = TABLE.slice(number, size)
        kept.add(page)
        expected += page.to_pylist()
        if number in drains:
            found += [row for table in kept.drain() for row in table.to_pylist()]
            assert (kept.rows, kept.nbytes, kept.enough) == (0, 0, False)
    drained = kept.drain()
    assert drained.rows == len(expected) - len(found)
    assert found + [row for table in drained for row in table.to_pylist()] == expected


def test_what_waits_long_takes_a_fraction_of_its_memory() -> None:
    kept = Buffer()
    page = pa.table(
        {"properties": pa.array([f'{{"number": {n}, "what": "the same in every row"}}' for n in range(1000)])}
    )
    for _ in range(100):
        kept.add(page)
    assert kept.rows == 100_000
    # Up to two tables lie there as they are: they may be asked for at any moment.
    assert kept.nbytes < 0.5 * 100 * page.nbytes
