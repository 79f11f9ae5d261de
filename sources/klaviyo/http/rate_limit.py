"""The rate governor: when the next request to an endpoint may be sent. The clock is an argument.

Klaviyo counts two fixed windows at once, a second (burst) and a minute (steady). A client does not know when they
begin. So the governor logs its own requests and never sends more than the limit in any span of that length: then no
fixed window can exceed the limit, wherever it begins. Requests of other clients with the same quota are not in the log;
they are estimated from the headers of the answers.
"""

from __future__ import annotations

import math
import random
import re
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping

from ..catalog.model import Rate
from ..clock import Clock
from ..errors import DailyQuotaExhausted, RateLimited

# A request sent at the end of one window can arrive in the next one. Spans a little longer than the windows allow for
# it.
_BURST_SPAN_S = 1.15
_STEADY_SPAN_S = 60.25
_STEADY_S = 60.0
_SECOND_S = 1.0

#: Uncertainty of the end of a window: the header has whole seconds, and the answer takes time to arrive.
_RESET_GRAIN_S = 2.5

#: Allowance for the time that an answer and the next request spend on the network.
_UNSEEN_S = 1.0

#: How long another client is assumed to be active after its requests were last noticed.
_BELIEVED_S = 150.0
#: The same, where a refusal is all that was seen of them.
_DOUBTED_S = 30.0

#: How often a waiting thread recalculates its wait, since headers may have changed it.
_RECHECK_S = 0.25

#: Only an exhausted daily quota asks for waits longer than this.
_DAY_LIKE_S = 900


def too_long(wait_s: float, message: str) -> RateLimited:
    """The error for a wait of so many seconds: `DailyQuotaExhausted` beyond 15 minutes, else `RateLimited`."""
    kind = DailyQuotaExhausted if wait_s > _DAY_LIKE_S else RateLimited
    return kind(message, retry_after_s=wait_s)


class Bucket:
    """The arithmetic of one endpoint's limits. Not thread-safe and without a clock: `Governor` adds both.

    With no other client, requests go as fast as both limits allow. While another client uses the same quota (its
    requests are counted in the headers, but not in the log), requests are evenly spaced: at the pace that uses up what
    the other client leaves, or at half of the limit if that is more. Bursts of two clients would collide, and so would
    their last requests of a minute.

    All times are seconds on the clock's monotonic scale.

    Args:
        rate: the limits to begin with; the headers of answers correct them.
        chance: returns a random number from 0 to 1.
    """

    def __init__(self, rate: Rate, chance: Callable[[], float] = random.random) -> None:
        self.burst, self.steady = rate.burst, rate.steady
        #: Held by the thread that sends next.
        self.turn = threading.Lock()
        self._chance = chance
        self.in_flight = 0
        self._sent: list[float] = []
        self._blocked_until = 0.0
        # When the last answers came, as far back as the count of a second can reach.
        self._answers: deque[float] = deque()
        # State of the steady window according to the last answer, None where answers tell of the second only; `_foreign`
        # counts the requests of other clients.
        self._remaining: int | None = None
        self._reset_at = 0.0
        self._answered_at = 0.0
        self._foreign = 0
        self._by_second = False
        self._noticed_at = self._seen_at = -math.inf
        # Until when another client is assumed to be active, and its requests in the previous window.
        self._shared_until = 0.0
        self._foreign_before = 0
        # When the last request was due by even spacing.
        self._paced_at = 0.0

    def wait_s(self, now: float) -> float:
        """Seconds until a request may be sent; 0 means now."""
        waits = [self._blocked_until - now]
        for span_s, limit in ((_STEADY_SPAN_S, self.steady), (_BURST_SPAN_S, self.burst)):
            if len(self._sent) >= limit:
                waits.append(self._sent[-limit] + span_s - now)
        shared = now < self._shared_until
        if self._remaining is not None and now >= self._reset_at:
            self._remaining = None
            # Another client that waited for the new window also begins now: a random part of a gap keeps us apart.
            self._paced_at = max(self._paced_at, now - self._gap_s(now) * self._chance())
        if shared:
            waits.append(self._paced_at + self._gap_s(now) - now)
        if self._remaining is not None:
            # What other clients have sent since the answer, or will send until our request arrives.
            foreign = self._foreign_per_s(now) * (now - self._answered_at + _UNSEEN_S) if shared else 0.0
            if self._remaining - foreign < 1:
                waits.append(self._reset_at - now)
        return max(0.0, *waits)

    def _foreign_per_s(self, now: float) -> float:
        """Requests a second of other clients, over this window and the previous one."""
        if self._by_second:
            # The count of a second shows that there is another client, not how much of the minute it takes: assume half
            # at first, and less the longer nothing more is seen of it.
            span_s = self._shared_until - self._noticed_at
            gone = min(1.0, (now - self._noticed_at) / span_s) if span_s > 0 else 1.0
            return self.steady / _STEADY_S / 2 * (1 - gone)
        elapsed_s = max(0.0, _STEADY_S - max(0.0, self._reset_at - now))
        return (self._foreign_before + self._foreign) / (_STEADY_S + elapsed_s)

    def _gap_s(self, now: float) -> float:
        """Seconds between two of our requests so that they use up what other clients leave until the window ends."""
        remaining, left_s = (self.steady, _STEADY_S)
        if self._remaining is not None:
            remaining, left_s = self._remaining, self._reset_at - now
        fair_per_s = self.steady / _STEADY_S / 2
        left_per_s = remaining / left_s - self._foreign_per_s(now)
        return 1 / max(fair_per_s, min(left_per_s, self.burst / 2))

    def send(self, now: float) -> None:
        """Count a request that is about to be sent."""
        # Requests that were late because no thread was free are caught up with, by one second at most.
        self._paced_at = max(self._paced_at + self._gap_s(now), now - 1) if now < self._shared_until else now
        if len(self._sent) >= 2 * self.steady and self._sent[-self.steady] < now - 2 * _STEADY_S:
            del self._sent[: -self.steady]
        self._sent.append(now)
        self.in_flight += 1
        if self._remaining is not None:
            self._remaining -= 1

    def answered(self, now: float, headers: Mapping[str, str], took_s: float = 0.0) -> None:
        """Take the headers of an answer other than 429.

        `RateLimit-Limit` holds all limits, and first the one that `RateLimit-Remaining` and `-Reset` are about:
        `75, 75;w=1, 750;w=60` in nearly every live answer (the second), `750, 75;w=1, 750;w=60` in others (the minute).

        Args:
            took_s: how long the answer took.
        """
        self.in_flight -= 1
        self._answers.append(now)
        limits = headers.get("RateLimit-Limit", "")
        windows = {span: int(count) for count, span in re.findall(r"(\d+);w=(\d+)", limits)}
        self.burst = max(1, windows.get("1", self.burst))
        self.steady = max(1, windows.get("60", self.steady))
        try:
            remaining, reset_s = int(headers["RateLimit-Remaining"]), float(headers["RateLimit-Reset"])
        except (KeyError, ValueError):
            return
        named = limits.partition(",")[0].strip()
        self._by_second = named == str(windows.get("1")) and named != str(windows.get("60"))
        if self._by_second:
            self._learn_from_second(now, remaining, took_s)
        elif not named or named == str(windows.get("60")):
            self._learn_from_minute(now, remaining, reset_s)

    def _learn_from_second(self, now: float, remaining: int, took_s: float) -> None:
        self._remaining = None
        # The second that the answer tells of began at most a second before the request arrived, and that was while it
        # was under way. Each of ours that may have arrived in it counts as ours.
        since = now - took_s - _SECOND_S
        while self._answers and self._answers[0] < since:
            self._answers.popleft()
        if self.burst - remaining > len(self._answers) + self.in_flight:
            self._seen_at = now
            self._notice(now)

    def _learn_from_minute(self, now: float, remaining: int, reset_s: float) -> None:
        if now + reset_s > self._reset_at + _RESET_GRAIN_S:
            self._foreign_before = self._foreign
        # Requests in flight may or may not be counted in this answer. Assume that they are not, until the next answer.
        self._remaining = remaining - self.in_flight
        self._reset_at = now + reset_s
        self._answered_at = now
        # Our requests since the earliest moment at which the window can have begun.
        ours = len(self._sent) - bisect_left(self._sent, self._reset_at - _STEADY_S - _RESET_GRAIN_S)
        self._foreign = max(0, self.steady - remaining - ours)
        if self._foreign > self.steady / 100:
            self._notice(now)

    def refused(self, now: float, retry_after_s: float) -> None:
        """Take an answer 429: no request before the wait is over.

        Our own requests keep to the limits, so another client must be active.
        """
        self.in_flight -= 1
        self._notice(now)
        self._blocked_until = max(self._blocked_until, now + retry_after_s)
        # With the same even spacing we would collide with the other client again: start at a random part of the gap.
        self._paced_at = max(self._paced_at, now + retry_after_s - self._gap_s(now) * self._chance())

    def failed(self) -> None:
        """Count a request that got no answer."""
        self.in_flight -= 1

    def _notice(self, now: float) -> None:
        """Somebody else spends the same quota, or so it seems: a refusal alone may have been a late request of ours."""
        seen = not self._by_second or now - self._seen_at < _BELIEVED_S
        self._noticed_at = now
        self._shared_until = now + (_BELIEVED_S if seen else _DOUBTED_S)


class Governor:
    """Makes the threads of one account wait for their turn, with one bucket for each endpoint and rate. Thread-safe.

    Args:
        clock: where time comes from.
        max_wait_s: the longest wait to sleep through; a longer one raises.
        stop: set when the run ends early; ends every wait.
        chance: returns a random number from 0 to 1, so that two clients with the same key do not stay in step.
    """

    def __init__(
        self, clock: Clock, max_wait_s: float, stop: threading.Event, chance: Callable[[], float] = random.random
    ) -> None:
        self.clock = clock
        self._chance = chance
        self.max_wait_s = max_wait_s
        self.stop = stop
        self._lock = threading.Lock()
        self._buckets: dict[str, Bucket] = {}

    def acquire(self, name: str, rate: Rate) -> Bucket:
        """Wait until a request may be sent, and count it as sent.

        Args:
            name: name of the bucket: the endpoint's path, a space, and a text that is different for each of its rates.

        Raises:
            RateLimited: the wait is longer than `max_wait_s`, or the run is ending.
        """
        with self._lock:
            bucket = self._buckets.setdefault(name, Bucket(rate, self._chance))
        # One thread at a time watches the clock: otherwise all would wake up together, and all but one wait again.
        with bucket.turn:
            while not self.stop.is_set():
                with self._lock:
                    now = self.clock.monotonic()
                    wait_s = bucket.wait_s(now)
                    if wait_s <= 0:
                        bucket.send(now)
                        return bucket
                # The end of a steady window is always waited for. Only a wait that Klaviyo asks for can be longer.
                if wait_s > max(self.max_wait_s, _STEADY_SPAN_S):
                    raise too_long(wait_s, f"{name.partition(' ')[0]} has to wait {wait_s:.0f} s")
                self.clock.wait(min(wait_s, _RECHECK_S), self.stop)
        raise RateLimited("the run is ending", retry_after_s=0)

    def answered(self, bucket: Bucket, headers: Mapping[str, str], took_s: float) -> None:
        """As `Bucket.answered`, now."""
        with self._lock:
            bucket.answered(self.clock.monotonic(), headers, took_s)

    def refused(self, bucket: Bucket, retry_after_s: float) -> None:
        """As `Bucket.refused`, now."""
        with self._lock:
            bucket.refused(self.clock.monotonic(), retry_after_s)

    def failed(self, bucket: Bucket) -> None:
        """As `Bucket.failed`."""
        with self._lock:
            bucket.failed()
