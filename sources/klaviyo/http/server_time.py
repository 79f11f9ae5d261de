"""Klaviyo's clock, as the `Date` of its answers tells it: this machine's own may be wrong."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from ..clock import Clock

log = logging.getLogger("klaviyo")

#: A difference that is named. Less is the way of an answer, or harmless.
_NAMED = timedelta(minutes=2)


class ServerTime:
    """What time it is at Klaviyo. Thread-safe.

    Args:
        clock: this machine's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ahead: timedelta | None = None
        self._named = False

    def note(self, date: str | None) -> None:
        """Learn from the `Date` header of an answer that was just received; a missing or odd one changes nothing."""
        try:
            told = parsedate_to_datetime(date or "")
        except (TypeError, ValueError, IndexError):
            return
        if told.tzinfo is None:
            return
        ahead = self._clock.now() - told.astimezone(UTC)
        with self._lock:
            # A date is in whole seconds and as old as its answer: the least difference is the nearest to the truth.
            self._ahead = ahead if self._ahead is None else min(self._ahead, ahead)
            tell, self._named = not self._named and abs(self._ahead) >= _NAMED, self._named or abs(ahead) >= _NAMED
        if tell:
            minutes, which = abs(ahead) / timedelta(minutes=1), "ahead of" if ahead > timedelta(0) else "behind"
            log.warning("this machine's clock is %.0f minutes %s Klaviyo's: set it right", minutes, which)

    def now(self) -> datetime:
        """Aware UTC; this machine's time until an answer told Klaviyo's."""
        with self._lock:
            return self._clock.now() - (self._ahead or timedelta(0))
