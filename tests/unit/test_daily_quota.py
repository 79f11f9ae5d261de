"""A quota a day: how many requests a run may send, so that no 24 hours see too many and every run has its turn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.klaviyo.catalog.model import AnalyticsQuery
from sources.klaviyo.plan import daily_quota as quota
from sources.klaviyo.plan import state

NOW = datetime(2026, 6, 30, 12, 0, 30, tzinfo=UTC)
QUOTA, PER_MINUTE = 225, 2
DAY_S = 24 * 3600

waits = st.integers(1, 40 * 3600)
#: Wait before a run, how many requests it would like to send, and how many seconds more than needed each of them takes.
runs = st.lists(st.tuples(waits, st.integers(0, 400), st.sampled_from([0, 0, 1, 20, 90])), max_size=40)


@given(runs=runs)
def test_no_24_hours_see_more_requests_than_the_quota_however_long_the_runs_take(
    runs: list[tuple[int, int, int]],
) -> None:
    spent: list[tuple[datetime, int]] = []
    sent_s: list[float] = []
    now_s = 0.0
    for wait_s, wanted, slower_s in runs:
        now_s += wait_s
        began = NOW + timedelta(seconds=now_s)
        for number in range(min(wanted, quota.share(QUOTA, spent, began))):
            # A full minute lets two of them pass.
            now_s += (60 if number and number % PER_MINUTE == 0 else 0) + slower_s
            sent_s.append(now_s)
        requests = sum(moment >= (began - NOW).total_seconds() for moment in sent_s)
        until = NOW + timedelta(seconds=now_s)
        spent = [*quota.recent(spent, began), (quota.counted_from(began, until, requests, PER_MINUTE), requests)]
    for number, moment in enumerate(sent_s):
        assert sum(moment - DAY_S < earlier for earlier in sent_s[: number + 1]) <= QUOTA


@given(before=runs, spare_s=st.lists(st.integers(0, 1800), min_size=50, max_size=50))
def test_a_run_an_hour_or_more_after_the_last_one_always_has_its_turn(
    before: list[tuple[int, int, int]], spare_s: list[int]
) -> None:
    spent: list[tuple[datetime, int]] = []
    now = NOW
    for wait_s, wanted, _ in before:
        now += timedelta(hours=1, seconds=wait_s)
        spent = [*quota.recent(spent, now), (now, min(wanted, quota.share(QUOTA, spent, now)))]
    for more_s in spare_s:
        now += timedelta(hours=1, seconds=more_s)
        assert quota.share(QUOTA, spent, now) >= 1
        spent = [*quota.recent(spent, now), (now, quota.share(QUOTA, spent, now))]


@pytest.mark.parametrize(("every_hours", "least"), [(24, 200), (12, 102), (6, 52), (1, 9)])
def test_each_of_several_runs_a_day_has_its_share(every_hours: int, least: int) -> None:
    spent: list[tuple[datetime, int]] = [(NOW - timedelta(hours=every_hours), 1)]
    now, shares = NOW, []
    for _ in range(3 * 24 // every_hours):
        shares.append(quota.share(QUOTA, spent, now))
        spent = [*quota.recent(spent, now), (now, shares[-1])]
        now += timedelta(hours=every_hours)
    assert min(shares) == least


def test_a_first_run_may_send_the_quota_of_a_day_but_for_the_turns_of_later_runs() -> None:
    assert quota.share(QUOTA, [], NOW) == 200
    spent, shares = [(NOW, 200)], []
    for hour in range(1, 26):
        now = NOW + timedelta(hours=hour)
        shares.append(quota.share(QUOTA, spent, now))
        spent = [*quota.recent(spent, now), (now, shares[-1])]
    assert min(shares[:23]) >= 1
    # A day later what the first run sent is free again.
    assert shares[24] == 9


def test_what_an_earlier_version_left_of_the_quota_is_never_exceeded() -> None:
    earlier = NOW - timedelta(minutes=1)
    assert [quota.share(QUOTA, [(earlier, sent)], NOW) for sent in (220, 224, 225, 230)] == [1, 1, 0, 0]


def test_a_run_that_was_held_up_counts_from_later_on() -> None:
    query = AnalyticsQuery("day", ("opens",), most_requests=200)
    stored: dict[str, object] = {"spent": [["2026-06-30T12:00:00+00:00", 20]]}
    # Ten requests take five minutes at two a minute; this run needed an hour.
    counted = quota.counted_from(NOW, NOW + timedelta(hours=1), 10, PER_MINUTE)
    state.remember_analytics(stored, query, NOW, 4, NOW)
    state.remember_analytics(stored, query, NOW, 10, counted)
    assert state.spent(stored) == [
        (datetime(2026, 6, 30, 12, tzinfo=UTC), 20),
        (NOW + timedelta(minutes=55), 10),
    ]
    assert quota.counted_from(NOW, NOW + timedelta(minutes=4), 10, PER_MINUTE) == NOW
