"""The bounds of the load package in hand."""

from __future__ import annotations

from ..clock import Clock


class Package:
    """When the load package in hand has enough.

    Args:
        rows: rows after which it ends; None for a single package.
        seconds: time after which it ends.

    Attributes:
        last: it ends at the next chance, and no other follows.
    """

    def __init__(self, clock: Clock, rows: int | None = None, seconds: float | None = None) -> None:
        self._clock = clock
        self._most_rows, self._most_seconds = rows, seconds
        self.last = False
        self.begin()

    def begin(self) -> None:
        """A new package begins."""
        self._rows = 0
        self._started_s = self._clock.monotonic()

    @property
    def single(self) -> bool:
        """Whether the run has no other package."""
        return self._most_rows is None and self._most_seconds is None

    def add(self, rows: int) -> None:
        """Count rows that are handed to dlt."""
        self._rows += rows

    @property
    def full(self) -> bool:
        """Whether it has enough."""
        return self.last or bool(
            (self._most_rows is not None and self._rows >= self._most_rows)
            or (self._most_seconds is not None and self._clock.monotonic() - self._started_s >= self._most_seconds)
        )
