"""Each key once in a load package: the newer row, or the one received last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sources.klaviyo.load.latest import Latest

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SCHEMA = pa.schema([("id", pa.string()), ("updated", pa.timestamp("us", "UTC")), ("name", pa.string())])
Row = tuple[str | None, int | None, str]


def table(*rows: Row) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"id": key, "updated": None if minute is None else NOON + timedelta(minutes=minute), "name": name}
            for key, minute, name in rows
        ],
        SCHEMA,
    )


def names(found: pa.Table | None) -> list[str] | None:
    return None if found is None else found.column("name").to_pylist()


def latest(*, sorted_later: bool = True, newest: str | None = "updated") -> Latest:
    return Latest(["id"], newest, sorted_later=sorted_later)


def test_of_two_rows_with_one_id_the_newer_one_stays() -> None:
    assert names(latest().settled(table(("a", 2, "new"), ("b", 1, "other"), ("a", 1, "old")))) == ["new", "other"]


def test_of_two_rows_of_the_same_moment_the_one_received_last_stays() -> None:
    assert names(latest().settled(table(("a", 1, "first"), ("a", 1, "last")))) == ["last"]


def test_a_row_without_a_moment_is_older_than_any_other() -> None:
    assert names(latest().settled(table(("a", 1, "dated"), ("a", None, "undated")))) == ["dated"]


def test_a_row_that_dlt_could_not_tell_from_an_earlier_one_waits_for_the_next_package() -> None:
    package = latest()
    assert names(package.settled(table(("a", 1, "first")))) == ["first"]
    assert package.settled(table(("b", 1, "other"), ("a", 1, "last"))) is None


def test_rows_of_other_moments_go_into_the_same_package_since_dlt_compares_them() -> None:
    package = latest()
    assert names(package.settled(table(("a", 1, "old")))) == ["old"]
    assert names(package.settled(table(("a", 2, "new")))) == ["new"]


def test_where_dlt_compares_nothing_any_second_row_waits() -> None:
    package = latest(sorted_later=False)
    assert names(package.settled(table(("a", 1, "old")))) == ["old"]
    assert package.settled(table(("a", 2, "new"))) is None


def test_without_a_time_the_row_received_last_stays() -> None:
    assert names(latest(newest=None).settled(table(("a", 2, "first"), ("a", 1, "last")))) == ["last"]


ROWS = st.tuples(st.sampled_from([*"abcd", None]), st.none() | st.integers(0, 3), st.uuids().map(str))


@given(st.lists(st.lists(ROWS, max_size=6), max_size=8), st.booleans())
def test_after_all_packages_each_key_has_the_row_that_is_newest_and_last(
    tables: list[list[Row]], sorted_later: bool
) -> None:
    loaded: dict[str | None, Row] = {}
    waiting = [table(*rows) for rows in tables]
    while waiting:
        package, merged = latest(sorted_later=sorted_later), list[Row]()
        while waiting:
            settled = package.settled(waiting[0])
            if settled is None:
                break
            waiting.pop(0)
            merged += [(row["id"], minute(row["updated"]), row["name"]) for row in settled.to_pylist()]
        keyed: dict[str | None, list[Row]] = {}
        for row in merged:
            keyed.setdefault(row[0], []).append(row)
        for key, rows in keyed.items():
            # As dlt does: it keeps the greatest, and any of those that are equal. There are none.
            assert len({row[1] for row in rows}) == len(rows)
            loaded[key] = max(rows, key=lambda row: -1 if row[1] is None else row[1])
    everything = [row for rows in tables for row in rows]
    assert set(loaded) == {row[0] for row in everything}
    for key, row in loaded.items():
        alike = [one for one in everything if one[0] == key and one[1] == row[1]]
        assert row in alike
        if len({one[1] for one in everything if one[0] == key}) == 1:
            assert row == alike[-1]


def minute(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - NOON) // timedelta(minutes=1)
