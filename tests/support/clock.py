"""A clock for tests in which nobody should wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime


class FakeClock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.waits: list[float] = []
        self.on_wait: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, seconds: float, stop: threading.Event) -> None:
        assert seconds > 0
        self.waits.append(seconds)
        self.seconds += seconds
        self.on_wait()
