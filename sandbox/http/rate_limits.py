"""Klaviyo's rate limits, per account and endpoint: fixed windows of a second, a minute and, for reports, a day."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

#: Which window the headers of an answer name first.
Named = Literal["second", "minute"]

BURST_S = 1.0
STEADY_S = 60.0
DAY_S = 86400.0


@dataclass
class _Window:
    length_s: float
    started_at: float = -math.inf
    used: int = 0

    def turn(self, now: float) -> None:
        if now - self.started_at >= self.length_s:
            self.started_at, self.used = now, 0

    def left_s(self, now: float) -> int:
        return max(1, math.ceil(self.started_at + self.length_s - now))


@dataclass(frozen=True)
class Verdict:
    """Whether a request is allowed, and the rate limit headers of its answer."""

    allowed: bool
    headers: dict[str, str]

    @property
    def retry_after_s(self) -> int:
        """Seconds until the end of the window that is used up; 0 if the request is allowed."""
        return int(self.headers.get("Retry-After", 0))


class Limiter:
    """Counts requests per bucket. A window starts with the first request in it.

    Args:
        clock: monotonic seconds.
        names: the window that the headers name first and whose rest they tell: the second in nearly every live answer
            [seen], the minute in a few [seen].
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, names: Named = "second") -> None:
        self._clock = clock
        self._names = names
        self._windows: dict[tuple[str, ...], tuple[_Window, _Window, _Window]] = {}
        self._lock = threading.Lock()

    def ask(self, bucket: tuple[str, ...], burst: int, steady: int, daily: int | None = None) -> Verdict:
        """Count one request in a bucket that allows `burst` a second, `steady` a minute and `daily` a day, if any."""
        with self._lock:
            now = self._clock()
            windows = self._windows.setdefault(bucket, (_Window(BURST_S), _Window(STEADY_S), _Window(DAY_S)))
            for window in windows:
                window.turn(now)
            second, minute, day = windows
            if daily is not None and day.used >= daily:
                return Verdict(False, {"Retry-After": str(day.left_s(now))})
            if minute.used >= steady:
                return Verdict(False, {"Retry-After": str(minute.left_s(now))})
            if second.used >= burst:
                return Verdict(False, {"Retry-After": str(second.left_s(now))})
            second.used += 1
            minute.used += 1
            day.used += 1
            limit, window = (burst, second) if self._names == "second" else (steady, minute)
            # A second that is not over has 0 whole seconds left [seen].
            reset_s = 0 if self._names == "second" else minute.left_s(now)
            per_day = "" if daily is None else f", {daily};w=86400"
            return Verdict(
                True,
                {
                    "RateLimit-Limit": f"{limit}, {burst};w=1, {steady};w=60{per_day}",
                    "RateLimit-Remaining": str(limit - window.used),
                    "RateLimit-Reset": str(reset_s),
                },
            )
