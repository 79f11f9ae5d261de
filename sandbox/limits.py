"""Klaviyo's rate limits: two fixed windows, of a second and of a minute, per account and endpoint."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

BURST_S = 1.0
STEADY_S = 60.0


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
    """Whether a request may pass, and the headers of its answer."""

    allowed: bool
    headers: dict[str, str]

    @property
    def retry_after_s(self) -> int:
        """Seconds until the window that refused it ends; 0 if it was allowed."""
        return int(self.headers.get("Retry-After", 0))


class Limiter:
    """Counts requests per bucket. A window starts with the first request in it.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, ...], tuple[_Window, _Window]] = {}
        self._lock = threading.Lock()

    def ask(self, bucket: tuple[str, ...], burst: int, steady: int) -> Verdict:
        """Count one request in a bucket that allows `burst` a second and `steady` a minute."""
        with self._lock:
            now = self._clock()
            pair = self._windows.setdefault(bucket, (_Window(BURST_S), _Window(STEADY_S)))
            for window in pair:
                window.turn(now)
            second, minute = pair
            if minute.used >= steady:
                return Verdict(False, {"Retry-After": str(minute.left_s(now))})
            if second.used >= burst:
                return Verdict(False, {"Retry-After": str(second.left_s(now))})
            second.used += 1
            minute.used += 1
            return Verdict(
                True,
                {
                    "RateLimit-Limit": f"{steady}, {burst};w=1, {steady};w=60",
                    "RateLimit-Remaining": str(steady - minute.used),
                    "RateLimit-Reset": str(minute.left_s(now)),
                },
            )
