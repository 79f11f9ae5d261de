"""Numbers, durations, times and windows as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ..windows import BEGINNING, END_OF_TIME, EVERYTHING, Window


def number(count: int) -> str:
    """`1,234,567`."""
    return f"{count:,}"


def counted(count: int, noun: str) -> str:
    """`1 request`, `2 requests`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def moment(when: datetime) -> str:
    """A moment in UTC; at midnight the date only."""
    return f"{when:%Y-%m-%d}" if when.hour == when.minute == when.second == 0 else f"{when:%Y-%m-%d %H:%M:%S}"


def span(window: Window) -> str:
    """A window; the end shown is not part of it."""
    if window == EVERYTHING:
        return "everything"
    if window.end == END_OF_TIME:
        return f"from {moment(window.start)}"
    start = "" if window.start == BEGINNING else f"{moment(window.start)} "
    return f"{start}to {moment(window.end)}"


def extent(windows: Sequence[Window]) -> str:
    """From the start of the first window to the end of the last."""
    return span(Window(windows[0].start, windows[-1].end)) if windows else "nothing to read"


def spans(windows: Sequence[Window]) -> str:
    """The extent of some windows, and their number if there are several."""
    return extent(windows) + (f" in {len(windows)} windows" if len(windows) > 1 else "")


def listed(windows: Sequence[Window], most: int = 3) -> str:
    """The first `most` windows one by one, and the number of the others."""
    rest = f" and {len(windows) - most} more windows" if len(windows) > most else ""
    return "; ".join(span(window) for window in windows[:most]) + rest
