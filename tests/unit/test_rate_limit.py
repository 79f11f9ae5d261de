"""The rate governor against a simulated Klaviyo: two fixed windows of any phase, other clients, latency. No time passes."""

from __future__ import annotations

import threading
from datetime import UTC
from typing import get_args

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from benchmarks.simulated import RATES, Counting, Fixed, Headers, Named, Other, Tally, simulate
from sources.klaviyo.catalog.model import XS, L, M, Rate, S
from sources.klaviyo.clock import SystemClock
from sources.klaviyo.errors import RateLimited
from sources.klaviyo.http.rate_limit import Bucket, Governor
from tests.support.clock import FakeClock


def used(rate: Rate, minutes: float, *tallies: Tally) -> float:
    """What passed, as a share of what so many minutes allow."""
    return sum(tally.passed for tally in tallies) / (rate.steady * minutes)


# A simulation is too slow to be made smaller hundreds of times when it fails.
@settings(max_examples=15, phases=[Phase.generate])
@given(
    name=st.sampled_from(["XS", "S", "M", "L"]),
    counting=st.sampled_from(["clock", "first", "sliding"]),
    latency_s=st.sampled_from([0.001, 0.3, 1.0]),
    seed=st.integers(0, 1000),
    names=st.sampled_from(["second", "minute"]),
)
def test_one_client_is_never_refused_and_uses_what_is_allowed_however_the_windows_lie(
    name: str, counting: Counting, latency_s: float, seed: int, names: Named
) -> None:
    ours, _ = simulate(RATES[name], counting, latency_s=latency_s, jitter=0, minutes=5, seed=seed, names=names)
    assert ours.refused == 0
    assert used(RATES[name], 5, ours) >= 0.95


@pytest.mark.parametrize("names", get_args(Named))
@pytest.mark.parametrize("name", RATES)
def test_answers_that_come_late_cost_next_to_nothing(name: str, names: Named) -> None:
    for counting in get_args(Counting):
        ours, _ = simulate(RATES[name], counting, minutes=20 if name != "XL" else 3, names=names)
        # Where a second holds one request, the late ones among hundreds meet the next.
        assert ours.share_refused < (0.02 if name == "XS" else 0.01)
        assert used(RATES[name], 20 if name != "XL" else 3, ours) >= 0.95


@pytest.mark.parametrize("counting", ["clock", "first"])
@pytest.mark.parametrize("other", ["even", "alike"])
@pytest.mark.parametrize("name", ["S", "M", "L", "XL"])
def test_a_shared_key_is_refused_in_less_than_one_of_a_hundred_requests_and_nothing_is_left_unused(
    name: str, other: Other, counting: Counting
) -> None:
    rate, minutes = RATES[name], 10 if name != "XL" else 4
    ours, others = simulate(rate, counting, other, minutes=minutes, names="minute")
    assert ours.share_refused < 0.01
    assert used(rate, minutes, ours, others) >= 0.95
    # Whoever sends evenly comes by a place left over less often than whoever asks again and again.
    assert 0.45 <= used(rate, minutes, ours) <= 2 / 3


@pytest.mark.parametrize("counting", ["clock", "first"])
@pytest.mark.parametrize("other", ["even", "alike"])
@pytest.mark.parametrize("name", ["S", "M", "L", "XL"])
def test_a_shared_key_is_noticed_by_a_second_too(name: str, other: Other, counting: Counting) -> None:
    rate, minutes = RATES[name], 10 if name != "XL" else 4
    ours, others = simulate(rate, counting, other, minutes=minutes, names="second")
    # A second of three or ten requests tells little: what is not seen in it shows as a refusal.
    assert ours.share_refused < {"S": 0.04, "M": 0.015}.get(name, 0.01)
    assert used(rate, minutes, ours, others) >= 0.95
    assert 0.45 <= used(rate, minutes, ours) <= 0.62


@pytest.mark.parametrize("counting", ["clock", "first"])
def test_where_a_second_holds_one_request_two_clients_share_all_the_same(counting: Counting) -> None:
    ours, others = simulate(XS, counting, "alike", minutes=30, names="minute")
    assert used(XS, 30, ours, others) >= 0.9
    assert 0.4 <= used(XS, 30, ours) <= 0.6
    # Neither can know when the other one sends: at 7.5 a minute each they meet in one second of sixteen at the least.
    assert ours.share_refused < 0.1


@pytest.mark.parametrize("name", ["L", "XL"])
def test_who_sends_until_refused_does_not_get_us_refused(name: str) -> None:
    ours, _ = simulate(RATES[name], "clock", "greedy", minutes=5)
    assert ours.share_refused < 0.01
    assert used(RATES[name], 5, ours) >= 0.3


def test_a_client_that_was_refused_once_still_uses_what_is_allowed() -> None:
    class Moody(Fixed):
        def answer(self, now: float) -> tuple[bool, Headers]:
            return (False, {"Retry-After": "1"}) if 10 < now < 12 else super().answer(now)

    for rate in (S, M, L):
        ours, _ = simulate(rate, Moody(rate), minutes=10)
        assert used(rate, 10, ours) >= 0.94


def test_somebody_else_is_noticed_by_the_headers_and_forgotten_when_gone() -> None:
    bucket = Bucket(L)
    bucket.send(0.0)
    bucket.answered(0.1, {"RateLimit-Remaining": "449", "RateLimit-Reset": "60"})
    bucket.send(0.2)
    # 749 of 750 were there to be left; 300 went elsewhere, so we take what is left evenly, and no burst.
    assert 0.05 < waits(bucket, 0.2) < 0.2
    bucket.answered(0.3, {"RateLimit-Remaining": "448", "RateLimit-Reset": "60"})
    for minute in range(1, 4):
        bucket.send(60.0 * minute)
        bucket.answered(60.0 * minute + 0.1, {"RateLimit-Remaining": "749", "RateLimit-Reset": "60"})
    bucket.send(180.2)
    assert waits(bucket, 180.2) == 0


def test_our_own_requests_are_not_taken_for_somebody_elses() -> None:
    bucket = Bucket(L)
    for number in range(70):
        bucket.send(number / 100)
    for number in range(70):
        bucket.answered(1.0, {"RateLimit-Remaining": str(749 - number), "RateLimit-Reset": "59"})
    assert waits(bucket, 1.8) == 0


def waits(bucket: Bucket, now: float) -> float:
    return round(bucket.wait_s(now), 6)


def test_a_second_and_a_minute_hold_what_the_rate_allows() -> None:
    bucket = Bucket(Rate(burst=2, steady=3))
    for _ in range(2):
        assert waits(bucket, 0.0) == 0
        bucket.send(0.0)
    assert waits(bucket, 0.0) == 1.15
    assert waits(bucket, 1.15) == 0
    bucket.send(1.15)
    assert waits(bucket, 1.15) == 59.1
    assert waits(bucket, 60.25) == 0


def test_a_quota_that_somebody_else_spent_is_waited_for() -> None:
    bucket = Bucket(L, chance=lambda: 1.0)
    bucket.send(0.0)
    bucket.answered(0.3, {"RateLimit-Remaining": "0", "RateLimit-Reset": "20"})
    assert waits(bucket, 0.3) == 20
    assert waits(bucket, 20.3) == 0


def test_what_is_on_its_way_counts_as_spent() -> None:
    bucket = Bucket(Rate(burst=10, steady=6))
    for _ in range(3):
        bucket.send(0.0)
    bucket.answered(0.3, {"RateLimit-Remaining": "3", "RateLimit-Reset": "20"})
    assert waits(bucket, 0.3) == 0
    bucket.send(0.3)
    assert waits(bucket, 0.3) == 20
    bucket.answered(0.4, {"RateLimit-Remaining": "3", "RateLimit-Reset": "20"})
    assert waits(bucket, 0.4) == 0


SECOND = {"RateLimit-Limit": "75, 75;w=1, 750;w=60", "RateLimit-Remaining": "74", "RateLimit-Reset": "0"}


def test_what_is_left_of_a_second_is_not_taken_for_what_is_left_of_the_minute() -> None:
    bucket = Bucket(L)
    for number in range(40):
        bucket.send(float(number))
        bucket.answered(number + 0.2, SECOND, took_s=0.2)
        assert waits(bucket, number + 0.2) == 0


def test_a_second_that_holds_more_than_ours_shows_somebody_else_until_nobody_is_seen_any_more() -> None:
    bucket = Bucket(L, chance=lambda: 1.0)
    bucket.send(0.0)
    bucket.answered(0.2, {**SECOND, "RateLimit-Remaining": "60"}, took_s=0.2)
    bucket.send(0.3)
    bucket.send(0.32)
    # Half of 750 a minute is one in 0.16 s.
    assert 0.15 < waits(bucket, 0.32) <= 0.16
    for now in (0.5, 0.52):
        bucket.answered(now, SECOND, took_s=0.2)
    assert waits(bucket, 200.0) == 0
    bucket.send(200.0)
    assert waits(bucket, 200.0) == 0


def test_of_a_second_all_of_ours_that_may_have_arrived_in_it_count_as_ours() -> None:
    bucket = Bucket(L)
    for number in range(20):
        bucket.send(number / 100)
    for number in range(20):
        # They took from a tenth of a second to two, and 20 of them arrived in the second of the last one.
        bucket.answered(0.3 + number / 10, {**SECOND, "RateLimit-Remaining": str(74 - number)}, took_s=2.0)
    assert waits(bucket, 2.5) == 0


@pytest.mark.parametrize(
    "limits",
    ["1, 1;w=1, 2;w=60, 225;w=86400", "75, 75;w=1, 700;w=60", "700, 75;w=1, 700;w=60", "10, 10;w=1, 150;w=60"],
)
def test_limits_as_live_answers_write_them_are_learnt_whichever_they_name_first(limits: str) -> None:
    bucket = Bucket(Rate(5, 50))
    bucket.send(0.0)
    bucket.answered(0.1, {"RateLimit-Limit": limits, "RateLimit-Remaining": "0", "RateLimit-Reset": "0"}, took_s=0.1)
    _, second, minute, *_ = (int(part.split(";")[0]) for part in limits.split(","))
    assert (bucket.burst, bucket.steady) == (second, minute)


def test_limits_in_the_headers_beat_those_of_the_table() -> None:
    bucket = Bucket(L)
    bucket.send(0.0)
    bucket.answered(0.1, {"RateLimit-Limit": "15, 1;w=1, 15;w=60"})
    assert (bucket.burst, bucket.steady) == (1, 15)
    assert waits(bucket, 0.1) == 1.05


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"RateLimit-Remaining": "0"},
        {"RateLimit-Reset": "10"},
        {"RateLimit-Limit": "nonsense", "RateLimit-Remaining": "many", "RateLimit-Reset": "soon"},
        {"RateLimit-Limit": "0, 0;w=1, 0;w=60", "RateLimit-Remaining": "1", "RateLimit-Reset": ""},
    ],
)
def test_headers_that_say_nothing_change_nothing(headers: dict[str, str]) -> None:
    bucket = Bucket(L)
    bucket.send(0.0)
    bucket.answered(0.1, headers)
    assert waits(bucket, 2) == (59.25 - 1 if bucket.steady == 1 else 0)


def test_retry_after_holds_everybody_back_and_the_longest_one_counts() -> None:
    bucket = Bucket(L, chance=lambda: 1.0)
    for _ in range(3):
        bucket.send(0.0)
    bucket.refused(1.0, 30)
    bucket.refused(1.1, 5)
    bucket.answered(1.2, {"RateLimit-Remaining": "700", "RateLimit-Reset": "1"})
    assert waits(bucket, 1.2) == 29.8
    assert waits(bucket, 31.1) == 0
    assert bucket.in_flight == 0


# --- the governor: the same for many threads, with a clock


def governor(max_wait_s: float = 300.0) -> tuple[Governor, FakeClock, threading.Event]:
    clock, stop = FakeClock(), threading.Event()
    return Governor(clock, max_wait_s, stop, chance=lambda: 1.0), clock, stop


def test_acquiring_waits_as_long_as_it_takes_and_no_longer() -> None:
    governs, clock, _ = governor()
    server = Fixed(S, 0.7, 11.0)
    passed = 0
    while clock.seconds < 1300:
        bucket = governs.acquire("a", S)
        good, headers = server.answer(clock.seconds)
        assert good
        governs.answered(bucket, headers, 0.0)
        passed += 1
    assert passed >= 0.95 * 60 * 5
    assert max(clock.waits) <= 0.25


def test_each_endpoint_has_a_bucket_of_its_own() -> None:
    governs, clock, _ = governor()
    first = governs.acquire("a", XS)
    assert governs.acquire("b", XS) is not first
    assert clock.waits == []
    assert governs.acquire("a", XS) is first
    assert sum(clock.waits) == pytest.approx(1.15)


def test_a_wait_within_the_cap_is_slept_through() -> None:
    governs, clock, _ = governor(max_wait_s=300)
    governs.refused(governs.acquire("a", L), 299)
    governs.acquire("a", L)
    assert sum(clock.waits) == pytest.approx(299)


def test_a_wait_beyond_the_cap_is_an_error_that_says_how_long() -> None:
    governs, clock, _ = governor(max_wait_s=300)
    governs.refused(governs.acquire("a", L), 301)
    with pytest.raises(RateLimited) as caught:
        governs.acquire("a", L)
    assert caught.value.retry_after_s == pytest.approx(301)
    assert clock.waits == []


def test_the_minutes_own_window_is_waited_for_however_low_the_cap() -> None:
    governs, clock, _ = governor(max_wait_s=0)
    rate = Rate(burst=5, steady=5)
    for _ in range(6):
        governs.acquire("a", rate)
    assert sum(clock.waits) == pytest.approx(60.25)


def test_a_waiting_thread_learns_what_others_were_told() -> None:
    governs, clock, _ = governor()
    bucket = governs.acquire("a", XS)

    def refuse() -> None:
        clock.on_wait = lambda: None
        governs.refused(bucket, 10)

    clock.on_wait = refuse
    governs.acquire("a", XS)
    assert sum(clock.waits) == pytest.approx(10.25)


def test_nobody_waits_once_the_run_is_ending() -> None:
    governs, clock, stop = governor()
    governs.acquire("a", XS)
    clock.on_wait = stop.set
    with pytest.raises(RateLimited):
        governs.acquire("a", XS)
    assert len(clock.waits) == 1


def test_threads_share_one_quota() -> None:
    governs, clock, stop = governor()
    rate = Rate(burst=10, steady=10)
    taken: list[int] = []
    clock.on_wait = stop.set

    def take(number: int) -> None:
        try:
            while True:
                governs.acquire("a", rate)
                taken.append(number)
        except RateLimited:
            pass

    threads = [threading.Thread(target=take, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert len(taken) == 10


def test_the_real_clock_is_utc_and_can_be_woken() -> None:
    clock, stop = SystemClock(), threading.Event()
    assert clock.now().tzinfo is UTC
    started = clock.monotonic()
    stop.set()
    clock.wait(60, stop)
    assert clock.monotonic() - started < 30
