"""The rate governor against a simulated Klaviyo: two fixed windows of any phase, other clients, latency. No time passes."""

from __future__ import annotations

import heapq
import math
import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sources.klaviyo.errors import RateLimited
from sources.klaviyo.limits import Bucket, Governor, SystemClock
from sources.klaviyo.spec import XL, XS, L, M, Rate, S
from tests.clock import FakeClock

RATES = {"XS": XS, "S": S, "M": M, "L": L, "XL": XL}


@dataclass
class Server:
    """Counts two fixed windows as Klaviyo does; their phases are nobody's business."""

    rate: Rate
    second_phase: float = 0.0
    minute_phase: float = 0.0
    used: dict[int, Counter[int]] = field(default_factory=lambda: {1: Counter(), 60: Counter()})

    def answer(self, now: float) -> tuple[bool, dict[str, str]]:
        """Whether a request that arrives now passes, and the headers of the answer."""
        left: dict[int, float] = {}
        for span, phase, limit in ((60, self.minute_phase, self.rate.steady), (1, self.second_phase, self.rate.burst)):
            number = math.floor((now + phase) / span)
            left[span] = (number + 1) * span - phase - now
            if self.used[span][number] >= limit:
                return False, {"Retry-After": str(max(1, math.ceil(left[span])))}
        for span, phase in ((60, self.minute_phase), (1, self.second_phase)):
            self.used[span][math.floor((now + phase) / span)] += 1
        remaining = self.rate.steady - self.used[60][math.floor((now + self.minute_phase) / 60)]
        return True, {
            "RateLimit-Limit": f"{self.rate.steady}, {self.rate.burst};w=1, {self.rate.steady};w=60",
            "RateLimit-Remaining": str(remaining),
            "RateLimit-Reset": str(math.ceil(left[60])),
        }


@dataclass
class Tally:
    """What a simulation counted."""

    passed: int = 0
    refused: int = 0
    others_passed: int = 0

    @property
    def share_refused(self) -> float:
        return self.refused / (self.passed + self.refused)


def simulate(
    rate: Rate,
    server: Server,
    *,
    latency_s: float = 0.1,
    jitter_s: float = 0.04,
    threads: int = 30,
    minutes: float = 5,
    others_per_s: float = 0.0,
    seed: int = 0,
) -> Tally:
    """Threads that always have work send through one bucket; somebody else may spend the same quota evenly."""
    chance = random.Random(seed)
    bucket, tally = Bucket(rate), Tally()
    agenda: list[tuple[float, int, str, tuple[bool, dict[str, str]] | None]] = []
    order = 0

    def later(when: float, what: str, answer: tuple[bool, dict[str, str]] | None = None) -> None:
        nonlocal order
        order += 1
        heapq.heappush(agenda, (when, order, what, answer))

    for _ in range(threads):
        later(0.0, "ask")
    if others_per_s:
        later(0.01, "other")
    while agenda[0][0] < minutes * 60:
        now, _, what, answer = heapq.heappop(agenda)
        if what == "other":
            tally.others_passed += server.answer(now)[0]
            later(now + 1 / others_per_s, "other")
        elif what == "ask":
            wait_s = bucket.wait_s(now)
            if wait_s > 0:
                later(now + min(wait_s, 0.25), "ask")
            else:
                bucket.send(now)
                later(now + latency_s / 2 + chance.uniform(0, jitter_s), "arrive")
        elif what == "arrive":
            later(now + latency_s / 2, "answered", server.answer(now))
        elif answer is not None:
            passed, headers = answer
            if passed:
                tally.passed += 1
                bucket.answered(now, headers)
            else:
                tally.refused += 1
                bucket.refused(now, float(headers["Retry-After"]))
            later(now, "ask")
    return tally


# A simulation is too slow to be made smaller hundreds of times when it fails.
@settings(max_examples=12, phases=[Phase.generate])
@given(
    name=st.sampled_from(["XS", "S", "M", "L"]),
    second_phase=st.floats(0, 1),
    minute_phase=st.floats(0, 60),
    latency_s=st.sampled_from([0.001, 0.3]),
)
def test_one_client_is_never_refused_and_uses_what_is_allowed_whatever_the_phase_of_the_windows(
    name: str, second_phase: float, minute_phase: float, latency_s: float
) -> None:
    rate = RATES[name]
    tally = simulate(rate, Server(rate, second_phase, minute_phase), latency_s=latency_s)
    assert tally.refused == 0
    assert tally.passed >= 0.95 * rate.steady * 5


def test_the_largest_rate_is_used_up_too() -> None:
    tally = simulate(XL, Server(XL, 0.4, 21.0), latency_s=0.3, threads=32, minutes=3)
    assert tally.refused == 0
    assert tally.passed >= 0.95 * XL.steady * 3


@pytest.mark.parametrize("latency_s", [0.005, 0.3])
@pytest.mark.parametrize("name", ["S", "M", "L", "XL"])
def test_a_shared_key_is_refused_in_less_than_one_of_a_hundred_requests_and_nothing_is_left_unused(
    name: str, latency_s: float
) -> None:
    rate = RATES[name]
    tally = simulate(
        rate,
        Server(rate, 0.3, 17.0),
        latency_s=latency_s,
        threads=8 if name != "XL" else 31,
        others_per_s=rate.steady / 120,
    )
    assert tally.share_refused < 0.01
    assert tally.passed + tally.others_passed >= 0.95 * rate.steady * 5
    assert tally.passed >= 0.5 * rate.steady * 5
    # Nor is the other one starved: half of what it asked for at the least, though it never waits.
    assert tally.others_passed >= 0.25 * rate.steady * 5


def test_a_client_that_was_refused_once_still_uses_what_is_allowed() -> None:
    class Moody(Server):
        def answer(self, now: float) -> tuple[bool, dict[str, str]]:
            return (False, {"Retry-After": "1"}) if 10 < now < 12 else super().answer(now)

    for rate in (S, M, L):
        tally = simulate(rate, Moody(rate), minutes=10)
        assert tally.passed >= 0.94 * rate.steady * 10


def waits(bucket: Bucket, now: float) -> float:
    return round(bucket.wait_s(now), 6)


def test_a_second_and_a_minute_hold_what_the_rate_allows() -> None:
    bucket = Bucket(Rate(burst=2, steady=3))
    for _ in range(2):
        assert waits(bucket, 0.0) == 0
        bucket.send(0.0)
    assert waits(bucket, 0.0) == 1.05
    assert waits(bucket, 1.05) == 0
    bucket.send(1.05)
    assert waits(bucket, 1.05) == 59.2
    assert waits(bucket, 60.25) == 0


def test_a_quota_that_somebody_else_spent_is_waited_for() -> None:
    bucket = Bucket(L)
    bucket.send(0.0)
    bucket.answered(0.3, {"RateLimit-Remaining": "0", "RateLimit-Reset": "20"})
    assert waits(bucket, 0.3) == 20
    assert waits(bucket, 20.3) == 0


def test_what_is_on_its_way_counts_as_spent() -> None:
    bucket = Bucket(L)
    for _ in range(3):
        bucket.send(0.0)
    bucket.answered(0.3, {"RateLimit-Remaining": "3", "RateLimit-Reset": "20"})
    assert waits(bucket, 0.3) == 0
    bucket.send(0.3)
    assert waits(bucket, 0.3) == 20
    bucket.answered(0.4, {"RateLimit-Remaining": "3", "RateLimit-Reset": "20"})
    assert waits(bucket, 0.4) == 0


def test_limits_in_the_headers_beat_those_of_the_table() -> None:
    bucket = Bucket(L)
    bucket.send(0.0)
    bucket.answered(0.1, {"RateLimit-Limit": "15, 1;w=1, 15;w=60"})
    assert (bucket.burst, bucket.steady) == (1, 15)
    assert waits(bucket, 0.1) == 0.95


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
    bucket = Bucket(L)
    for _ in range(3):
        bucket.send(0.0)
    bucket.refused(1.0, 30)
    bucket.refused(1.1, 5)
    bucket.answered(1.2, {"RateLimit-Remaining": "700", "RateLimit-Reset": "1"})
    assert waits(bucket, 1.2) == 29.8
    assert waits(bucket, 31.0) == 0
    assert bucket.in_flight == 0


# --- the governor: the same for many threads, with a clock


def governor(max_wait_s: float = 300.0) -> tuple[Governor, FakeClock, threading.Event]:
    clock, stop = FakeClock(), threading.Event()
    return Governor(clock, max_wait_s, stop), clock, stop


def test_acquiring_waits_as_long_as_it_takes_and_no_longer() -> None:
    governs, clock, _ = governor()
    server = Server(S, 0.7, 11.0)
    passed = 0
    while clock.seconds < 1300:
        bucket = governs.acquire("a", S)
        good, headers = server.answer(clock.seconds)
        assert good
        governs.answered(bucket, headers)
        passed += 1
    assert passed >= 0.95 * 60 * 5
    assert max(clock.waits) <= 0.25


def test_each_endpoint_has_a_bucket_of_its_own() -> None:
    governs, clock, _ = governor()
    first = governs.acquire("a", XS)
    assert governs.acquire("b", XS) is not first
    assert clock.waits == []
    assert governs.acquire("a", XS) is first
    assert sum(clock.waits) == pytest.approx(1.05)


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
