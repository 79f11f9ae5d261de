"""Calendar intervals in an account's own timezone: none twice, none missing, whatever the clock does."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.klaviyo import calendar as periods
from sources.klaviyo.calendar import Interval
from sources.klaviyo.windows import Window, intersection, subtract

NEW_YORK = ZoneInfo("America/New_York")
#: Whole hours and parts of them, midnights that are skipped or come twice, half an hour of daylight saving, and a day
#: that never was (Samoa, 30 December 2011).
ZONES = [
    "UTC", "America/New_York", "America/Santiago", "America/Havana", "Asia/Beirut", "Asia/Kathmandu",
    "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Auckland", "Europe/Berlin",
]  # fmt: skip

zones = st.sampled_from(ZONES).map(ZoneInfo)
kinds: st.SearchStrategy[Interval] = st.sampled_from(["hour", "day", "week", "month"])
seconds = st.datetimes(datetime(2011, 1, 1), datetime(2027, 1, 1)).map(
    lambda one: one.replace(microsecond=0, tzinfo=UTC)
)
spans = st.tuples(seconds, st.integers(1, 40 * 86_400)).map(
    lambda one: Window(one[0], one[0] + timedelta(seconds=one[1]))
)


@given(span=spans, interval=kinds, zone=zones)
def test_intervals_hold_their_window_and_follow_one_another_without_gap_or_overlap(
    span: Window, interval: Interval, zone: ZoneInfo
) -> None:
    found = list(periods.intervals(span, interval, zone))
    assert all(before.end == after.start for before, after in pairwise(found))
    assert found[0].start <= span.start < found[0].end
    assert found[-1].start < span.end <= found[-1].end


@given(moment=seconds, interval=kinds, zone=zones)
def test_every_moment_of_an_interval_has_the_same_beginning(
    moment: datetime, interval: Interval, zone: ZoneInfo
) -> None:
    start = periods.beginning(moment, interval, zone)
    end = periods.following(start, interval, zone)
    assert start <= moment < end
    for inside in (start, start + (end - start) / 2, end - timedelta(seconds=1)):
        assert periods.beginning(inside, interval, zone) == start
    assert periods.beginning(end, interval, zone) == end


@given(start=seconds, count=st.integers(1, 90), zone=zones)
def test_no_day_of_the_calendar_is_missing_or_there_twice(start: datetime, count: int, zone: ZoneInfo) -> None:
    window = Window(start, start + timedelta(days=count))
    named = [one.start.astimezone(zone).date() for one in periods.intervals(window, "day", zone)]
    first = start.astimezone(zone).date()
    last = (window.end - timedelta(seconds=1)).astimezone(zone).date()
    calendar = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    # Samoa went to the other side of the date line and had no such day.
    skipped = {date(2011, 12, 30)} if zone.key == "Pacific/Apia" else set()
    assert named == [day for day in calendar if day not in skipped]


@given(gaps=st.lists(spans, max_size=4), interval=kinds, zone=zones, most=st.integers(1, 60), now=seconds)
def test_requests_hold_what_is_missing_once_and_none_is_longer_than_allowed(
    gaps: list[Window], interval: Interval, zone: ZoneInfo, most: int, now: datetime
) -> None:
    found = periods.cut(gaps, interval, zone, most=most, end=now)
    wanted = intersection(gaps, [Window(datetime(2000, 1, 1, tzinfo=UTC), now)])
    assert [rest for gap in wanted for rest in subtract(gap, found)] == []
    assert all(before.end <= after.start for before, after in pairwise(found))
    assert all(one.end <= now for one in found)
    assert all(len(list(periods.intervals(one, interval, zone))) <= most for one in found)


def test_a_day_on_which_the_clock_changes_has_23_or_25_hours() -> None:
    for day, hours in ((date(2026, 3, 8), 23), (date(2026, 11, 1), 25), (date(2026, 7, 4), 24)):
        noon = datetime(day.year, day.month, day.day, 16, tzinfo=UTC)
        start = periods.beginning(noon, "day", NEW_YORK)
        assert periods.following(start, "day", NEW_YORK) - start == timedelta(hours=hours)


def test_a_timeframe_is_told_on_the_accounts_clock_with_both_ends_in_it() -> None:
    window = Window(datetime(2026, 6, 1, 4, tzinfo=UTC), datetime(2026, 6, 3, 4, tzinfo=UTC))
    assert periods.days(window, NEW_YORK) == (datetime(2026, 6, 1), datetime(2026, 6, 2, 23, 59, 59))


def test_a_date_is_the_accounts_own_and_a_time_is_a_moment() -> None:
    midnight, noon = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert periods.own_day(midnight, NEW_YORK) == datetime(2026, 6, 1, 4, tzinfo=UTC)
    assert periods.own_day(noon, NEW_YORK) == noon


@pytest.mark.parametrize("offset", ["+00:00", "-04:00", ""])
def test_the_dates_of_a_series_are_the_accounts_days_however_klaviyo_writes_them(offset: str) -> None:
    window = Window(datetime(2026, 6, 1, 4, tzinfo=UTC), datetime(2026, 6, 3, 4, tzinfo=UTC))
    found = periods.moments([f"2026-06-0{day}T00:00:00{offset}" for day in (1, 2)], window, NEW_YORK)
    assert found == [datetime(2026, 6, day, 4, tzinfo=UTC) for day in (1, 2)]


def test_the_dates_of_a_series_can_be_moments_of_utc() -> None:
    window = Window(datetime(2026, 6, 1, 4, tzinfo=UTC), datetime(2026, 6, 3, 4, tzinfo=UTC))
    found = periods.moments(["2026-06-01T04:00:00+00:00", "2026-06-02T04:00:00Z", "soon"], window, NEW_YORK)
    assert found == [datetime(2026, 6, 1, 4, tzinfo=UTC), datetime(2026, 6, 2, 4, tzinfo=UTC), None]


def test_an_hour_that_comes_twice_is_two_hours() -> None:
    window = Window(datetime(2026, 11, 1, 4, tzinfo=UTC), datetime(2026, 11, 1, 8, tzinfo=UTC))
    found = periods.moments([f"2026-11-01T0{hour}:00:00+00:00" for hour in (0, 1, 1, 2)], window, NEW_YORK)
    assert found == [datetime(2026, 11, 1, hour, tzinfo=UTC) for hour in (4, 5, 6, 7)]
