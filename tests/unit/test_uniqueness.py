"""Rows that may be appended: what is called new is new, and an orderly read is never suspected."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sources.klaviyo.extract.uniqueness import Uniqueness
from sources.klaviyo.windows import Window

T0 = datetime(2026, 6, 1, tzinfo=UTC)
SCHEMA = pa.schema([("id", pa.string()), ("at", pa.timestamp("us", "UTC"))])
WINDOW = Window(T0, T0 + timedelta(seconds=4))

#: id, half seconds after T0; None where the moment could not be read
Row = tuple[str | None, int | None]

rows = st.tuples(st.none() | st.sampled_from("abcdefgh"), st.none() | st.integers(-1, 9))
pages = st.lists(st.lists(rows, max_size=5), max_size=5)


def page(of: Sequence[Row]) -> pa.Table:
    moments = [None if half is None else T0 + timedelta(seconds=half / 2) for _, half in of]
    return pa.table([[key for key, _ in of], moments], schema=SCHEMA)


def accepted(of: Sequence[Sequence[Row]]) -> list[Row]:
    """The rows of the pages up to the first that does not hold."""
    uniqueness, found = Uniqueness("id", "at"), list[Row]()
    for one in of:
        if not uniqueness.holds(page(one), WINDOW):
            break
        found += one
    return found


@given(pages)
def test_what_is_called_new_lies_in_the_window_and_comes_once(of: list[list[Row]]) -> None:
    # One record has one moment, whatever page it is on.
    moment = {key: half for one in of for key, half in one}
    fixed = [[(key, moment[key]) for key, _ in one] for one in of]
    found = accepted(fixed)
    keys = [key for key, _ in found]
    assert len(keys) == len(set(keys))
    assert all(key is not None and half is not None and 0 <= half < 8 for key, half in found)


@given(st.lists(st.integers(0, 7), max_size=30), st.lists(st.integers(1, 6), min_size=30, max_size=30))
def test_pages_in_order_are_new_however_many_rows_share_a_second(halves: list[int], sizes: list[int]) -> None:
    # Within a second, Klaviyo's order is anybody's guess.
    ordered = sorted(halves, key=lambda half: half // 2)
    records: list[Row] = [(f"r{n}", half) for n, half in enumerate(ordered)]
    cut, start = [], 0
    for size in sizes:
        cut.append(records[start : start + size])
        start += size
    assert accepted(cut) == records


def test_a_record_that_comes_again_pages_later_in_the_same_second_is_noticed() -> None:
    uniqueness = Uniqueness("id", "at")
    for one in ([("a", 1), ("b", 2)], [("c", 2)], [("d", 3)]):
        assert uniqueness.holds(page(one), WINDOW)
    assert not uniqueness.holds(page([("b", 2), ("e", 3)]), WINDOW)


def test_a_record_of_the_last_second_that_comes_again_with_a_later_moment_is_noticed() -> None:
    uniqueness = Uniqueness("id", "at")
    assert uniqueness.holds(page([("a", 1), ("b", 2)]), WINDOW)
    assert not uniqueness.holds(page([("c", 4), ("b", 6)]), WINDOW)


def test_a_page_that_goes_back_is_not_new() -> None:
    uniqueness = Uniqueness("id", "at")
    assert uniqueness.holds(page([("a", 4)]), WINDOW)
    assert not uniqueness.holds(page([("b", 3), ("c", 6)]), WINDOW)


def test_a_page_without_rows_says_nothing() -> None:
    uniqueness = Uniqueness("id", "at")
    assert uniqueness.holds(page([]), WINDOW)
    assert uniqueness.holds(page([("a", 0)]), WINDOW)
    assert uniqueness.holds(page([]), WINDOW)
