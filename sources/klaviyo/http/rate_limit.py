"""The rate governor: how many requests an endpoint may be sent, and when. The clock comes in as an argument.

Klaviyo counts two fixed windows at once, a second (burst) and a minute (steady), whose phase a client does not know.
A log of the last requests that never holds more than the limit in any span of that length can not break a fixed window,
wherever it starts. What the log can not know, that somebody else spends the same quota, the headers tell.
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

# A request sent at the end of one window can arrive in the next: spans a little longer than the windows absorb it.
_BURST_SPAN_S = 1.15


_STEADY_SPAN_S = 60.25


_STEADY_S = 60.0
_SECOND_S = 1.0

#: The moment that a window ends is known to a second, and to the way of the answer.
_RESET_GRAIN_S = 2.5

#: What an answer tells is as old as its way, and a request arrives as much later.
_UNSEEN_S = 1.0

#: How long somebody else is believed to spend the same quota, after what they spent was last seen.
_BELIEVED_S = 150.0
#: The same, where a refusal is all that was seen of them.
_DOUBTED_S = 30.0

#: How often a waiting thread looks again, for what headers may have told meanwhile.
_LOOK_AGAIN_S = 0.25


#: Only a spent daily quota asks for waits of this length.
_DAY_LIKE_S = 900


def too_long(wait_s: float, message: str) -> RateLimited:
    """The error for a wait that nobody sleeps through."""
    kind = DailyQuotaExhausted if wait_s > _DAY_LIKE_S else RateLimited
    return kind(message, retry_after_s=wait_s)


class Bucket:
    """The arithmetic of one endpoint's limits. Not thread-safe, no clock: `Governor` adds both.

    Alone, requests go as fast as both limits let them. Beside somebody else, whose requests the headers count and the
    log does not, they go evenly, at the pace that uses up what the other one leaves, or half of all if that is more:
    bursts would collide, and so would the last requests of a minute.
    """

    def __init__(self, rate: Rate, chance: Callable[[], float] = random.random) -> None:
        self.burst, self.steady = rate.burst, rate.steady
        #: Held by the thread that sends next.
        self.turn = threading.Lock()
        self._chance = chance
        self.in_flight = 0
        self._sent: list[float] = []
        self._blocked_until = 0.0
        # When the last answers came, as far back as a second's count can reach.
        self._answers: deque[float] = deque()
        # Of the steady window, as the last answer had it; None where answers tell of the second alone.
        self._remaining: int | None = None
        self._reset_at = 0.0
        self._answered_at = 0.0
        self._foreign = 0
        self._by_second = False
        self._noticed_at = self._seen_at = -math.inf
        # Until when somebody else is believed to be there, and what they sent in the window before.
        self._shared_until = 0.0
        self._foreign_before = 0
        #: When the last request was due, had all gone evenly.
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
            # Whoever else waited for the new window begins in this moment too.
            self._paced_at = max(self._paced_at, now - self._gap_s(now) * self._chance())
        if shared:
            waits.append(self._paced_at + self._gap_s(now) - now)
        if self._remaining is not None:
            # What somebody else has sent since, or sends until ours arrives.
            foreign = self._foreign_per_s(now) * (now - self._answered_at + _UNSEEN_S) if shared else 0.0
            if self._remaining - foreign < 1:
                waits.append(self._reset_at - now)
        return max(0.0, *waits)

    def _foreign_per_s(self, now: float) -> float:
        """How fast somebody else has been spending, over this window and the one before."""
        if self._by_second:
            # A second's count shows that there is somebody, not how much of the minute they take: half of it at first,
            # and less the longer nothing more is seen of them.
            span_s = self._shared_until - self._noticed_at
            gone = min(1.0, (now - self._noticed_at) / span_s) if span_s > 0 else 1.0
            return self.steady / _STEADY_S / 2 * (1 - gone)
        elapsed_s = max(0.0, _STEADY_S - max(0.0, self._reset_at - now))
        return (self._foreign_before + self._foreign) / (_STEADY_S + elapsed_s)

    def _gap_s(self, now: float) -> float:
        """Seconds between two requests of ours that use up what the other one leaves until the window ends."""
        remaining, left_s = (self.steady, _STEADY_S)
        if self._remaining is not None:
            remaining, left_s = self._remaining, self._reset_at - now
        fair_per_s = self.steady / _STEADY_S / 2
        left_per_s = remaining / left_s - self._foreign_per_s(now)
        return 1 / max(fair_per_s, min(left_per_s, self.burst / 2))

    def send(self, now: float) -> None:
        """Count a request that is about to be sent."""
        # A pace that was not kept for want of a free thread is caught up with, within reason.
        self._paced_at = max(self._paced_at + self._gap_s(now), now - 1) if now < self._shared_until else now
        if len(self._sent) >= 2 * self.steady and self._sent[-self.steady] < now - 2 * _STEADY_S:
            del self._sent[: -self.steady]
        self._sent.append(now)
        self.in_flight += 1
        if self._remaining is not None:
            self._remaining -= 1

    def answered(self, now: float, headers: Mapping[str, str], took_s: float = 0.0) -> None:
        """Learn from an answer other than 429.

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
        # What is in flight may or may not be counted in the answer: the cautious reading, until the next answer.
        self._remaining = remaining - self.in_flight
        self._reset_at = now + reset_s
        self._answered_at = now
        # All that we sent since the window began, or may have begun.
        ours = len(self._sent) - bisect_left(self._sent, self._reset_at - _STEADY_S - _RESET_GRAIN_S)
        self._foreign = max(0, self.steady - remaining - ours)
        if self._foreign > self.steady / 100:
            self._notice(now)

    def refused(self, now: float, retry_after_s: float) -> None:
        """A 429: nobody sends before the wait is over. The log keeps to the limits, so somebody else is there."""
        self.in_flight -= 1
        self._notice(now)
        self._blocked_until = max(self._blocked_until, now + retry_after_s)
        # Whoever sends evenly too would be met again after the next gap.
        self._paced_at = max(self._paced_at, now + retry_after_s - self._gap_s(now) * self._chance())

    def failed(self) -> None:
        """A request that got no answer."""
        self.in_flight -= 1

    def _notice(self, now: float) -> None:
        """Somebody else spends the same quota, or so it seems: a refusal alone may have been a late request of ours."""
        seen = not self._by_second or now - self._seen_at < _BELIEVED_S
        self._noticed_at = now
        self._shared_until = now + (_BELIEVED_S if seen else _DOUBTED_S)


class Governor:
    """Lets requests through, one bucket an endpoint, for all threads of one account.

    Args:
        clock: where time comes from.
        max_wait_s: the longest wait that is slept through; a longer one raises.
        stop: set when the run ends early; ends every wait.
        chance: 0 to 1, so that two who share a key don't keep meeting.
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
        """Wait for a place among the requests of one endpoint and take it.

        Raises:
            RateLimited: the wait is longer than `max_wait_s`.
        """
        with self._lock:
            bucket = self._buckets.setdefault(name, Bucket(rate, self._chance))
        # One thread watches the clock for all that want the same: they would wake together, and all but one in vain.
        with bucket.turn:
            while not self.stop.is_set():
                with self._lock:
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

    def answered(self, bucket: Bucket, headers: Mapping[str, str], took_s: float) -> None:
        with self._lock:
            bucket.answered(self.clock.monotonic(), headers, took_s)

    def refused(self, bucket: Bucket, retry_after_s: float) -> None:
        with self._lock:
            bucket.refused(self.clock.monotonic(), retry_after_s)

    def failed(self, bucket: Bucket) -> None:
        with self._lock:
            bucket.failed()
