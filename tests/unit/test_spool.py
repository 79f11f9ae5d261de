"""The spool: each key once, with its newest row, whatever it takes on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.klaviyo.extract import spool
from sources.klaviyo.extract.spool import Spool
from sources.klaviyo.extract.tuning import DEFAULT, Tuning

T0 = datetime(2026, 6, 1, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("list_id", pa.string()),
        ("id", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("n", pa.int64()),
    ]
)

#: list id, id, seconds after T0 or None
Row = tuple[str | None, str | None, int | None]

keys = st.sampled_from(["a", "b", "a|b", "|", "", "ab"]) | st.none()
rows = st.tuples(keys, keys, st.none() | st.integers(0, 3))
pages = st.lists(st.lists(rows, max_size=6), max_size=5)


def tables(of: Sequence[Sequence[Row]]) -> Iterator[pa.Table]:
    """Pages as tables; column `n` numbers the rows in the order in which they come."""
    n = 0
    for page in of:
        numbers = range(n, n + len(page))
        n += len(page)
        moments = [None if s is None else T0 + timedelta(seconds=s) for _, _, s in page]
        yield pa.table([[a for a, _, _ in page], [b for _, b, _ in page], moments, list(numbers)], schema=SCHEMA)


def spooled(
    of: Iterable[pa.Table],
    newest: str | None = "at",
    key: Sequence[str] = ("list_id", "id"),
    tuning: Tuning = DEFAULT,
) -> list[Any]:
    """The numbers of the rows that are left, in order."""
    kept = Spool(SCHEMA, key, newest, tuning)
    for table in of:
        kept.add(table)
    numbers: list[Any] = []
    for table in kept.tables():
        assert table.schema == SCHEMA
        numbers += table.column("n").to_pylist()
    kept.close()
    return numbers


def winners(of: Sequence[Sequence[Row]], by_moment: bool) -> list[int]:
    """The model: of each key the newest row, of equally new ones and without moments the last."""
    best: dict[tuple[str | None, str | None], tuple[int, int]] = {}
    for n, (a, b, second) in enumerate(row for page in of for row in page):
        rank = (-1 if second is None else second, n) if by_moment else (0, n)
        best[a, b] = max(rank, best.get((a, b), rank))
    return sorted(n for _, n in best.values())


@given(pages, st.booleans())
def test_each_key_stays_once_with_its_newest_row(of: list[list[Row]], by_moment: bool) -> None:
    assert spooled(tables(of), newest="at" if by_moment else None) == winners(of, by_moment)


@given(pages)
def test_keys_that_share_a_hash_are_told_apart(of: list[list[Row]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "hash", lambda _: 0, raising=False)
        assert spooled(tables(of)) == winners(of, True)


@given(pages)
def test_it_does_not_matter_how_rows_are_cut_into_tables_or_batches(of: list[list[Row]]) -> None:
    assert spooled(tables(of), tuning=Tuning(spool_table_rows=2)) == winners(of, True)
    whole = pa.concat_tables([SCHEMA.empty_table(), *tables(of)])
    assert spooled([whole]) == winners(of, True)


def many(pages: int, rows_per_page: int, distinct: int) -> list[list[Row]]:
    return [
        [("L", f"id-{(page * rows_per_page + n) % distinct}", page % 7) for n in range(rows_per_page)]
        for page in range(pages)
    ]


def test_beyond_a_few_megabytes_rows_wait_on_disk() -> None:
    of = many(pages=40, rows_per_page=250, distinct=9_000)
    kept = Spool(SCHEMA, ["list_id", "id"], "at", Tuning(spool_bytes=10_000))
    assert not on_disk(kept)
    for table in tables(of):
        kept.add(table)
    assert on_disk(kept)
    numbers = [n for table in kept.tables() for n in table.column("n").to_pylist()]
    assert numbers == winners(of, True)
    assert len(numbers) == 9_000
    kept.close()


def on_disk(kept: Spool) -> bool:
    return bool(vars(kept._file)["_rolled"])


def test_a_few_rows_never_touch_the_disk() -> None:
    kept = Spool(SCHEMA, ["list_id", "id"], "at")
    for table in tables(many(3, 10, 30)):
        kept.add(table)
    assert sum(table.num_rows for table in kept.tables()) == 30
    assert not on_disk(kept)
    kept.close()


def test_tables_come_back_in_handy_sizes_and_not_one_a_page() -> None:
    kept = Spool(SCHEMA, ["list_id", "id"], "at", Tuning(spool_table_rows=100))
    for table in tables(many(95, 10, 950)):
        kept.add(table)
    assert [table.num_rows for table in kept.tables()] == [100] * 9 + [50]
    kept.close()


def test_nothing_in_is_nothing_out() -> None:
    assert spooled([]) == []
    assert spooled([SCHEMA.empty_table()]) == []


def test_one_column_is_key_enough() -> None:
    assert spooled(tables([[("x", "a", 1), ("y", "a", 0), ("y", "b", 0)]]), key=["id"]) == [0, 2]


def test_closing_gives_the_space_back_also_before_anything_was_read() -> None:
    kept = Spool(SCHEMA, ["id"], None)
    kept.add(next(tables([[("x", "a", 1)]])))
    kept.close()
    assert kept._file.closed
