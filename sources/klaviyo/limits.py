"""The rate governor: how many requests an endpoint may be sent, and when. The clock comes in as an argument.

Klaviyo counts two fixed windows at once, a second (burst) and a minute (steady), whose phase a client does not know.
A log of the last requests that never holds more than the limit in any span of that length can not break a fixed window,
wherever it starts. What the log can not know, that somebody else spends the same quota, the headers tell.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

from .errors import DailyQuotaExhausted, RateLimited
from .spec import Rate

# A request sent at the end of one window can arrive in the next: spans a little longer than the windows absorb it.
_BURST_SPAN_S = 1.05
_STEADY_SPAN_S = 60.25
#: How often a waiting thread looks again, for what headers may have told meanwhile.
_LOOK_AGAIN_S = 0.25


#: Only a spent daily quota asks for waits of this length.
_DAY_LIKE_S = 900


def too_long(wait_s: float, message: str) -> RateLimited:
    """The error for a wait that nobody sleeps through."""
    kind = DailyQuotaExhausted if wait_s > _DAY_LIKE_S else RateLimited
    return kind(message, retry_after_s=wait_s)


class Clock(Protocol):
    """Time as the source sees it."""

    def now(self) -> datetime:
        """Aware UTC."""

    def monotonic(self) -> float:
        """Seconds that never run backwards."""

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Sleep, or less if `stop` is set."""


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float, stop: threading.Event) -> None:
        stop.wait(seconds)


class Bucket:
    """The arithmetic of one endpoint's limits. Not thread-safe, no clock: `Governor` adds both."""

    def __init__(self, rate: Rate) -> None:
        self.burst, self.steady = rate.burst, rate.steady
        self._shared = False
        self.in_flight = 0
        self._sent: deque[float] = deque()
        self._remaining: int | None = None
        self._reset_at = 0.0
        self._blocked_until = 0.0

    def wait_s(self, now: float) -> float:
        """Seconds until a request may be sent; 0 means now."""
        while self._sent and self._sent[0] <= now - _STEADY_SPAN_S:
            self._sent.popleft()
        waits = [self._blocked_until - now]
        if len(self._sent) >= self.steady:
            waits.append(self._sent[-self.steady] + _STEADY_SPAN_S - now)
        burst = min(self.burst, math.ceil(self.steady / 60)) if self._shared else self.burst
        if len(self._sent) >= burst:
            waits.append(self._sent[-burst] + _BURST_SPAN_S - now)
        if self._remaining is not None and now >= self._reset_at:
            self._remaining = None
        spare = math.ceil(self.steady / 100) if self._shared else 0
        if self._remaining is not None and self._remaining <= spare:
            waits.append(self._reset_at - now)
        return max(0.0, *waits)

    def send(self, now: float) -> None:
        """Count a request that is about to be sent."""
        self._sent.append(now)
        self.in_flight += 1
        if self._remaining is not None:
            self._remaining -= 1

    def answered(self, now: float, headers: Mapping[str, str]) -> None:
        """Learn from an answer other than 429: `RateLimit-Limit`, `-Remaining`, `-Reset` of the steady window."""
        self.in_flight -= 1
        for count, span in re.findall(r"(\d+);w=(\d+)", headers.get("RateLimit-Limit", "")):
            if span == "1":
                self.burst = max(1, int(count))
            elif span == "60":
                self.steady = max(1, int(count))
        try:
            remaining, reset_s = int(headers["RateLimit-Remaining"]), float(headers["RateLimit-Reset"])
        except (KeyError, ValueError):
            return
        # What is in flight may or may not be counted in the answer: the cautious reading, until the next answer.
        self._remaining = remaining - self.in_flight
        self._reset_at = now + reset_s

    def refused(self, now: float, retry_after_s: float) -> None:
        """A 429: nobody sends before the wait is over.

        The log keeps to the limits, so somebody else spends the same quota: bursts collide, and so do the last requests
        of a minute. Sending evenly costs nothing, as it is no slower than the minute allows, and one percent is left.
        """
        self.in_flight -= 1
        self._shared = True
        self._blocked_until = max(self._blocked_until, now + retry_after_s)

    def failed(self) -> None:
        """A request that got no answer."""
        self.in_flight -= 1


class Governor:
    """Lets requests through, one bucket an endpoint, for all threads of one account.

    Args:
        clock: where time comes from.
        max_wait_s: the longest wait that is slept through; a longer one raises.
        stop: set when the run ends early; ends every wait.
    """

    def __init__(self, clock: Clock, max_wait_s: float, stop: threading.Event) -> None:
        self.clock = clock
        self.max_wait_s = max_wait_s
        self.stop = stop
        self._lock = threading.Lock()
        self._buckets: dict[str, Bucket] = {}

    def acquire(self, name: str, rate: Rate) -> Bucket:
        """Wait for a place among the requests of one endpoint and take it.

        Raises:
            RateLimited: the wait is longer than `max_wait_s`.
        """
        while not self.stop.is_set():
            with self._lock:
                bucket = self._buckets.setdefault(name, Bucket(rate))
                now = self.clock.monotonic()
                wait_s = bucket.wait_s(now)
                if wait_s <= 0:
                    bucket.send(now)
                    return bucket
            # A minute's window always passes; only what Klaviyo asked for can be longer.
            if wait_s > max(self.max_wait_s, _STEADY_SPAN_S):
                raise too_long(wait_s, f"{name.partition(' ')[0]} has to wait {wait_s:.0f} s")
            self.clock.wait(min(wait_s, _LOOK_AGAIN_S), self.stop)
        raise RateLimited("the run is ending", retry_after_s=0)

    def answered(self, bucket: Bucket, headers: Mapping[str, str]) -> None:
        with self._lock:
            bucket.answered(self.clock.monotonic(), headers)

    def refused(self, bucket: Bucket, retry_after_s: float) -> None:
        with self._lock:
            bucket.refused(self.clock.monotonic(), retry_after_s)

    def failed(self, bucket: Bucket) -> None:
        with self._lock:
            bucket.failed()
