"""`python -m benchmarks.simulated`: how much of each of Klaviyo's limits the governor uses, in simulated time.

The governor's arithmetic against a server that counts requests as Klaviyo might, and beside others who spend the same
quota: threads that always have work, latency with jitter. No time passes, so a busy machine changes no figure.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

from benchmarks.harness import table
from sources.klaviyo.catalog.model import XL, XS, L, M, Rate, S
from sources.klaviyo.extract.tuning import DEFAULT
from sources.klaviyo.http.rate_limit import Bucket

RATES = {"XS": XS, "S": S, "M": M, "L": L, "XL": XL}
#: How a server may count: windows that the clock cuts, windows that begin with a request, spans that slide.
Counting = Literal["clock", "first", "sliding"]
#: Who else spends the quota: nobody; a client that sends half of it evenly, whatever happens; the same at random
#: moments; a second one like ours, with endless work; one that sends from four threads until it is refused.
Other = Literal["nobody", "even", "random", "alike", "greedy"]

#: Which window the headers of an answer tell of: in live answers nearly always the second.
Named = Literal["second", "minute"]

Headers = Mapping[str, str]


class Server(Protocol):
    """Counts requests against one limit."""

    def answer(self, now: float) -> tuple[bool, Headers]:
        """Whether a request that arrives now passes, and the headers of the answer."""


@dataclass
class Fixed:
    """Two fixed windows whose phases are nobody's business."""

    rate: Rate
    second_phase: float = 0.0
    minute_phase: float = 0.0
    used: dict[int, Counter[int]] = field(default_factory=lambda: {1: Counter(), 60: Counter()})
    names: Named = "second"

    def answer(self, now: float) -> tuple[bool, Headers]:
        left: dict[int, float] = {}
        spans = ((60, self.minute_phase, self.rate.steady), (1, self.second_phase, self.rate.burst))
        for span, phase, limit in spans:
            number = math.floor((now + phase) / span)
            left[span] = (number + 1) * span - phase - now
            if self.used[span][number] >= limit:
                return _refusal(left[span])
        for span, phase, _ in spans:
            self.used[span][math.floor((now + phase) / span)] += 1
        spent = {
            span: self.used[span][math.floor((now + phase) / span)]
            for span, phase in ((60, self.minute_phase), (1, self.second_phase))
        }
        return _passage(self.rate, spent, left, self.names)


@dataclass
class FromFirst:
    """Two windows that begin with the first request after the last one ended."""

    rate: Rate
    started: dict[int, float] = field(default_factory=lambda: {1: -math.inf, 60: -math.inf})
    used: dict[int, int] = field(default_factory=lambda: {1: 0, 60: 0})
    names: Named = "second"

    def answer(self, now: float) -> tuple[bool, Headers]:
        limits = {60: self.rate.steady, 1: self.rate.burst}
        for span in limits:
            if now - self.started[span] >= span:
                self.started[span], self.used[span] = now, 0
        for span, limit in limits.items():
            if self.used[span] >= limit:
                return _refusal(self.started[span] + span - now)
        for span in limits:
            self.used[span] += 1
        return _passage(self.rate, self.used, {span: self.started[span] + span - now for span in limits}, self.names)


@dataclass
class Sliding:
    """No second and no minute, wherever it begins, holds more than the limit."""

    rate: Rate
    passed: deque[float] = field(default_factory=deque)
    names: Named = "second"

    def answer(self, now: float) -> tuple[bool, Headers]:
        while self.passed and self.passed[0] <= now - 60:
            self.passed.popleft()
        for span, limit in ((60, self.rate.steady), (1, self.rate.burst)):
            if len(self.passed) >= limit and self.passed[-limit] > now - span:
                return _refusal(self.passed[-limit] + span - now)
        self.passed.append(now)
        last = [when for when in self.passed if when > now - 1]
        spent, left = {60: len(self.passed), 1: len(last)}, {60: self.passed[0] + 60 - now, 1: last[0] + 1 - now}
        return _passage(self.rate, spent, left, self.names)


def _refusal(left_s: float) -> tuple[bool, Headers]:
    return False, {"Retry-After": str(max(1, math.ceil(left_s)))}


def _passage(rate: Rate, spent: Mapping[int, int], left_s: Mapping[int, float], names: Named) -> tuple[bool, Headers]:
    span, limit = (1, rate.burst) if names == "second" else (60, rate.steady)
    # Live answers that name the second say Reset 0 [seen].
    reset = math.floor(left_s[span]) if names == "second" else math.ceil(left_s[span])
    return True, {
        "RateLimit-Limit": f"{limit}, {rate.burst};w=1, {rate.steady};w=60",
        "RateLimit-Remaining": str(limit - spent[span]),
        "RateLimit-Reset": str(reset),
    }


def server(counting: Counting, rate: Rate, chance: random.Random, names: Named = "second") -> Server:
    """A server with windows of any phase."""
    if counting == "clock":
        return Fixed(rate, chance.random(), 60 * chance.random(), names=names)
    return FromFirst(rate, names=names) if counting == "first" else Sliding(rate, names=names)


@dataclass
class Tally:
    """What was answered to one client."""

    passed: int = 0
    refused: int = 0

    @property
    def share_refused(self) -> float:
        return self.refused / max(1, self.passed + self.refused)


class Simulation:
    """A server, and clients that send to it in simulated time.

    Args:
        server: counts.
        latency_s: from sending to the answer, half of it each way.
        jitter: mean of what comes on top, as a share of the latency. Where there is jitter, one request in a hundred
            takes three times as long.
    """

    def __init__(self, server: Server, *, latency_s: float = 0.3, jitter: float = 0.1, seed: int = 0) -> None:
        self._server = server
        self._latency_s, self._jitter = latency_s, jitter
        self._chance = random.Random(seed)  # noqa: S311 - jitter
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self.now = 0.0

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Put something on the agenda."""
        self._order += 1
        heapq.heappush(self._agenda, (when, self._order, what))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        while self._agenda[0][0] < seconds:
            self.now, _, what = heapq.heappop(self._agenda)
            what()

    def _way_s(self) -> float:
        if not self._jitter:
            return self._latency_s / 2
        slow = 3 if self._chance.random() < 0.01 else 1
        return self._latency_s / 2 * (slow + self._chance.expovariate(1 / self._jitter))

    def send(self, then: Callable[[bool, Headers], None]) -> None:
        """One request, which arrives, is counted and answered."""

        def arrive() -> None:
            answer = self._server.answer(self.now)
            self.at(self.now + self._way_s(), lambda: then(*answer))

        self.at(self.now + self._way_s(), arrive)

    def governed(self, rate: Rate, threads: int, tally: Tally, begin_s: float = 0.0) -> None:
        """Threads that always have work send through one bucket."""
        bucket = Bucket(rate, self._chance.random)
        idle = 0
        asking = False

        def ask() -> None:
            # As in the governor, one thread waits for its turn, the others behind it.
            nonlocal idle, asking
            wait_s = bucket.wait_s(self.now)
            if wait_s > 0:
                self.at(self.now + min(wait_s, 0.25), ask)
                return
            bucket.send(self.now)
            sent_s = self.now
            self.send(lambda passed, headers: answered(passed, headers, self.now - sent_s))
            idle -= 1
            asking = idle > 0
            if asking:
                ask()

        def free() -> None:
            nonlocal idle, asking
            idle += 1
            if not asking:
                asking = True
                ask()

        def answered(passed: bool, headers: Headers, took_s: float) -> None:
            if passed:
                tally.passed += 1
                bucket.answered(self.now, headers, took_s)
            else:
                tally.refused += 1
                bucket.refused(self.now, float(headers["Retry-After"]))
            free()

        for _ in range(threads):
            self.at(begin_s, free)

    def open_loop(self, gap_s: Callable[[], float], tally: Tally) -> None:
        """Somebody sends at moments of their own, whatever the answers are."""

        def answered(passed: bool, _: Headers) -> None:
            tally.passed += passed
            tally.refused += not passed

        def ask() -> None:
            self.send(answered)
            self.at(self.now + gap_s(), ask)

        self.at(gap_s(), ask)

    def greedy(self, threads: int, tally: Tally) -> None:
        """Somebody sends as fast as answers come, each thread sleeping through the waits that it is told itself."""

        def answered(passed: bool, headers: Headers) -> None:
            tally.passed += passed
            tally.refused += not passed
            self.at(self.now + float(headers.get("Retry-After", 0)), ask)

        def ask() -> None:
            self.send(answered)

        for number in range(threads):
            self.at(0.01 * number, ask)


def simulate(
    rate: Rate,
    counting: Counting | Server = "clock",
    other: Other = "nobody",
    *,
    threads: int | None = None,
    latency_s: float = 0.3,
    jitter: float = 0.1,
    minutes: float = 10,
    seed: int = 0,
    names: Named = "second",
) -> tuple[Tally, Tally]:
    """Our client and, where there is one, another; what was answered to each."""
    chance = random.Random(seed)  # noqa: S311 - phases
    counts = server(counting, rate, chance, names) if isinstance(counting, str) else counting
    simulation = Simulation(counts, latency_s=latency_s, jitter=jitter, seed=seed)
    threads = threads or DEFAULT.threads(rate, latency_s)
    ours, others = Tally(), Tally()
    simulation.governed(rate, threads, ours)
    gap_s = 120 / rate.steady
    if other == "even":
        simulation.open_loop(lambda: gap_s, others)
    elif other == "random":
        simulation.open_loop(lambda: chance.expovariate(1 / gap_s), others)
    elif other == "alike":
        simulation.governed(rate, threads, others, begin_s=0.4)
    elif other == "greedy":
        simulation.greedy(4, others)
    simulation.run(minutes * 60)
    return ours, others


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulated", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--latency-ms", type=int, default=300)
    parser.add_argument("--others", nargs="+", choices=get_args(Other), default=get_args(Other))
    parser.add_argument("--names", choices=get_args(Named), default="second", help="the window that headers tell of")
    parser.add_argument("--counting", nargs="+", choices=get_args(Counting), default=get_args(Counting))
    given = parser.parse_args()
    rows: list[list[object]] = []
    for other in given.others:
        for name, rate in RATES.items():
            row: list[object] = [f"{name} {rate.burst}/s {rate.steady}/min", other]
            for counting in given.counting:
                ours, others = simulate(
                    rate, counting, other, latency_s=given.latency_ms / 1000, minutes=given.minutes, names=given.names
                )
                allowed = rate.steady * given.minutes
                row += [
                    f"{100 * (ours.passed + others.passed) / allowed:.1f}",
                    f"{100 * ours.passed / allowed:.1f}",
                    f"{100 * ours.share_refused:.2f}",
                    f"{100 * others.share_refused:.1f}" if other != "nobody" else "-",
                ]
            rows.append(row)
    headers = ["rate", "beside"]
    for counting in given.counting:
        headers += [f"{counting}: % used", "by us", "% refused", "theirs"]
    table(f"{given.minutes:g} simulated minutes, {given.latency_ms} ms and jitter", headers, rows)


if __name__ == "__main__":
    main()
