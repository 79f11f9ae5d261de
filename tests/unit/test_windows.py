"""Windows: what is read, what is loaded, and the chunks between, against sets of seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.klaviyo.windows import (
    BEGINNING,
    END_OF_TIME,
    EVERYTHING,
    SplitBy,
    Window,
    chunks,
    high_water,
    intersection,
    split,
    subtract,
    union,
)

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(second: int) -> datetime:
    return T0 + timedelta(seconds=second)


def window(start: int, end: int) -> Window:
    return Window(at(start), at(end))


def seconds(*windows: Window) -> set[int]:
    """The seconds after T0 that lie in the windows: an independent, slow model of them."""
    return {
        second
        for window in windows
        for second in range(
            int((window.start - T0).total_seconds()),
            int((window.end - T0).total_seconds()),
        )
    }


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@st.composite
def small_windows(draw: st.DrawFn) -> Window:
    start = draw(st.integers(0, 40))
    return window(start, start + draw(st.integers(1, 15)))


lists = st.lists(small_windows(), max_size=6)
moments = st.datetimes(datetime(2019, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (at(5), at(5)),
        (at(6), at(5)),
        (at(0).replace(microsecond=1), at(5)),
        (at(0), at(5).replace(microsecond=999_999)),
        (at(0).astimezone(timezone(timedelta(hours=2))), at(5)),
        (at(0), datetime(2026, 1, 2)),
    ],
)
def test_a_window_needs_utc_whole_seconds_and_a_start_before_its_end(start: datetime, end: datetime) -> None:
    with pytest.raises((ValueError, TypeError)):
        Window(start, end)


def test_a_window_says_which_of_its_ends_are_open() -> None:
    assert str(window(0, 61)) == "[2026-01-01T00:00:00Z, 2026-01-01T00:01:01Z)"
    assert str(EVERYTHING) == "[the beginning, open)"


@given(lists)
def test_a_union_has_the_same_seconds_sorted_and_apart(windows: list[Window]) -> None:
    merged = union(windows)
    assert seconds(*merged) == seconds(*windows)
    assert all(a.end < b.start for a, b in pairwise(merged))


@given(small_windows(), lists)
def test_subtracting_leaves_the_seconds_that_are_in_no_covered_window(whole: Window, covered: list[Window]) -> None:
    rest = subtract(whole, covered)
    assert seconds(*rest) == seconds(whole) - seconds(*covered)
    assert rest == union(rest)


@given(lists, lists)
def test_an_intersection_has_the_seconds_that_are_in_both(some: list[Window], others: list[Window]) -> None:
    both = intersection(some, others)
    assert seconds(*both) == seconds(*some) & seconds(*others)
    assert both == sorted(both)


@given(st.integers(0, 40), lists)
def test_the_high_water_mark_is_the_first_second_from_the_start_on_that_is_not_loaded(
    start: int, covered: list[Window]
) -> None:
    loaded = seconds(*covered)
    first_missing = next(second for second in range(start, 100) if second not in loaded)
    assert high_water(at(start), covered) == (at(first_missing) if first_missing > start else None)


@given(moments, st.integers(1, 400 * 86_400), st.sampled_from(get_args(SplitBy)))
def test_chunks_follow_one_another_from_start_to_end_with_nothing_between(
    start: datetime, length_s: int, by: SplitBy
) -> None:
    if by == "hour":
        length_s //= 24
    whole = Window(start, start + timedelta(seconds=max(1, length_s)))
    found = split(whole, by)
    assert found[0].start == whole.start
    assert found[-1].end == whole.end
    assert all(a.end == b.start for a, b in pairwise(found))


@given(moments, st.integers(1, 400 * 86_400))
def test_every_cut_lies_on_the_calendar_and_every_boundary_of_the_calendar_is_a_cut(
    start: datetime, length_s: int
) -> None:
    whole = Window(start, start + timedelta(seconds=length_s))
    midnights = [
        moment
        for n in range(1, length_s // 86_400 + 2)
        if whole.start < (moment := start.replace(hour=0, minute=0, second=0) + timedelta(days=n)) < whole.end
    ]
    cuts = {by: [chunk.start for chunk in split(whole, by)[1:]] for by in ("day", "week", "month")}
    assert cuts["day"] == midnights
    assert cuts["week"] == [moment for moment in midnights if moment.weekday() == 0]
    assert cuts["month"] == [moment for moment in midnights if moment.day == 1]


def test_hours_are_cut_on_the_hour_also_where_clocks_change_elsewhere() -> None:
    # 2026-03-29 01:00 UTC: summer time begins in Europe. UTC knows nothing of it.
    night = Window(datetime(2026, 3, 28, 23, 30, tzinfo=UTC), datetime(2026, 3, 29, 3, 0, tzinfo=UTC))
    assert [chunk.start.strftime("%H:%M") for chunk in split(night, "hour")] == ["23:30", "00:00", "01:00", "02:00"]
    spring = split(Window(day("2026-03-28"), day("2026-03-31")), "day")
    assert {chunk.end - chunk.start for chunk in spring} == {timedelta(days=1)}


@pytest.mark.parametrize("by", ["none", "auto"])
def test_none_and_auto_leave_a_period_whole(by: SplitBy) -> None:
    assert split(window(0, 10_000_000), by) == [window(0, 10_000_000)]


@pytest.mark.parametrize("by", get_args(SplitBy))
def test_a_period_without_a_beginning_is_not_cut(by: SplitBy) -> None:
    assert split(EVERYTHING, by) == [EVERYTHING]
    assert split(Window(BEGINNING, T0), by) == [Window(BEGINNING, T0)]


@given(st.integers(0, 60), st.integers(0, 60), lists, st.integers(0, 20), st.sampled_from(get_args(SplitBy)))
def test_a_plan_reads_what_is_missing_and_the_lookback_and_nothing_else(
    start: int, end: int, covered: list[Window], lookback: int, by: SplitBy
) -> None:
    found = chunks(at(start), at(end), covered=covered, lookback=timedelta(seconds=lookback), split_by=by)
    loaded = seconds(*covered)
    again: set[int] = set()
    mark = start
    while mark in loaded:
        mark += 1
    for end_of_loaded in {mark if mark > start else -100, max(loaded, default=-100) + 1}:
        again |= set(range(end_of_loaded - lookback, end_of_loaded))
    last = max(loaded, default=-100) + 1
    moved_on = start < end and lookback and last <= start <= last + lookback
    assert seconds(*found) == set(range(last - lookback if moved_on else start, end)) - (loaded - again)
    assert sum(len(seconds(chunk)) for chunk in found) == len(seconds(*found))
    assert found == sorted(found)


def test_a_first_run_reads_the_whole_period_without_a_lookback_before_its_start() -> None:
    assert chunks(at(100), at(200), lookback=timedelta(seconds=50)) == [window(100, 200)]


def test_a_second_run_goes_on_at_the_mark_less_the_lookback() -> None:
    found = chunks(at(0), at(300), covered=[window(0, 200)], lookback=timedelta(seconds=50))
    assert found == [window(150, 300)]


def test_a_lookback_never_reaches_behind_the_start() -> None:
    found = chunks(at(180), at(300), covered=[window(0, 200)], lookback=timedelta(seconds=50))
    assert found == [window(180, 300)]


def test_a_start_that_moves_on_with_every_run_leaves_no_gap_and_no_late_record_behind() -> None:
    # "yesterday", run at midnight: the last minute of the day was not visible yet.
    first = chunks(at(0), at(240), lookback=timedelta(seconds=100))
    assert chunks(at(300), at(540), covered=first, lookback=timedelta(seconds=100)) == [window(140, 540)]
    # A period that has nothing to do with the last one stays as it is.
    assert chunks(at(900), at(999), covered=first, lookback=timedelta(seconds=100)) == [window(900, 999)]


def test_a_run_without_new_time_reads_the_lookback_alone() -> None:
    found = chunks(at(0), at(200), covered=[window(0, 200)], lookback=timedelta(seconds=50))
    assert found == [window(150, 200)]


def test_a_gap_is_read_again_and_what_is_loaded_beyond_it_is_not() -> None:
    assert chunks(at(0), at(300), covered=[window(0, 100), window(200, 300)]) == [window(100, 200)]


def test_the_mark_stands_before_the_first_gap_whatever_is_loaded_beyond_it() -> None:
    assert high_water(at(0), [window(0, 100), window(200, 300)]) == at(100)
    assert high_water(at(0), [window(1, 100)]) is None


def test_an_earlier_start_does_not_cost_the_lookback_behind_what_is_loaded() -> None:
    # Nothing is contiguous from the new start on, yet late records are due behind the last run's end.
    found = chunks(at(0), at(300), covered=[window(100, 200)], lookback=timedelta(seconds=20))
    assert found == [window(0, 100), window(180, 300)]


def test_the_lookback_of_a_report_without_a_start_lies_behind_its_mark() -> None:
    found = chunks(BEGINNING, at(300), covered=[Window(BEGINNING, at(200))], lookback=timedelta(seconds=50))
    assert found == [window(150, 300)]


def test_an_empty_period_needs_no_reading() -> None:
    assert chunks(at(5), at(5)) == []
    assert chunks(at(6), at(5), covered=[window(0, 3)], lookback=timedelta(days=1)) == []


def test_everything_is_wider_than_any_period() -> None:
    assert (EVERYTHING.start, EVERYTHING.end) == (BEGINNING, END_OF_TIME)
    assert subtract(window(0, 10), [EVERYTHING]) == []
