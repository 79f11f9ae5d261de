"""Windows: half-open UTC intervals of whole seconds, their set arithmetic, and splitting periods into chunks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal

SplitBy = Literal["none", "hour", "day", "week", "month", "auto"]

#: "No lower bound" and "no upper bound": the query leaves the comparison out.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """The half-open interval `[start, end)`, both aware UTC and whole seconds, `start < end`."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for bound in (self.start, self.end):
            if bound.utcoffset() != timedelta(0) or bound.microsecond:
                raise ValueError(f"a window's bounds are UTC whole seconds, not {bound!r}")
        if self.start >= self.end:
            raise ValueError(f"a window's start must lie before its end: {self.start} .. {self.end}")

    def __str__(self) -> str:
        start = "the beginning" if self.start == BEGINNING else f"{self.start:%Y-%m-%dT%H:%M:%SZ}"
        end = "open" if self.end == END_OF_TIME else f"{self.end:%Y-%m-%dT%H:%M:%SZ}"
        return f"[{start}, {end})"


EVERYTHING = Window(BEGINNING, END_OF_TIME)


def union(windows: Iterable[Window]) -> list[Window]:
    """The same seconds as sorted, disjoint windows that don't touch."""
    merged: list[Window] = []
    for window in sorted(windows):
        if merged and window.start <= merged[-1].end:
            merged[-1] = Window(merged[-1].start, max(merged[-1].end, window.end))
        else:
            merged.append(window)
    return merged


def subtract(window: Window, covered: Iterable[Window]) -> list[Window]:
    """The parts of `window` that are not in `covered`, oldest first."""
    rest: list[Window] = []
    start = window.start
    for done in union(covered):
        if done.start >= window.end:
            break
        if done.start > start:
            rest.append(Window(start, done.start))
        start = max(start, done.end)
    if start < window.end:
        rest.append(Window(start, window.end))
    return rest


def intersection(some: Iterable[Window], others: Iterable[Window]) -> list[Window]:
    """The seconds that are in both, as sorted, disjoint windows."""
    others = union(others)
    return [
        Window(max(a.start, b.start), min(a.end, b.end))
        for a in union(some)
        for b in others
        if a.start < b.end and b.start < a.end
    ]


def high_water(start: datetime, covered: Iterable[Window]) -> datetime | None:
    """High-water mark: end of the coverage without a gap from `start` on; None where `start` itself is not covered."""
    for window in union(covered):
        if window.start <= start < window.end:
            return window.end
    return None


def until(windows: Iterable[Window], end: datetime) -> list[Window]:
    """What of the windows lies before a moment, to whole seconds."""
    end = end.replace(microsecond=0)
    return intersection(windows, [Window(BEGINNING, end)]) if end > BEGINNING else []


def chunks(
    start: datetime,
    end: datetime,
    *,
    covered: Iterable[Window] = (),
    lookback: timedelta = timedelta(0),
    split_by: SplitBy = "auto",
) -> list[Window]:
    """Split the period to read into contiguous chunks, oldest first.

    Reads the parts of `[start, end)` that are not in `covered`, and re-reads the `lookback` before two points: the
    high-water mark, and the end of the newest covered window. The two differ while there are gaps, and late records can
    appear before both. With nothing covered this is the whole period.

    Bounds are whole UTC seconds, the grain of Klaviyo's filters.

    Args:
        split_by: size of a chunk. `auto` gives one chunk for each gap; it is cut further while it is read, where its
            data is dense.
    """
    if start >= end:
        return []
    covered = union(covered)
    if lookback and covered and covered[-1].end <= start <= covered[-1].end + lookback:
        # A start that moves with every run, like "yesterday", can lie after all that is covered. The lookback before
        # the end of the coverage is still due, and so is the minute that was not visible yet when the last run ended.
        start = max(BEGINNING, covered[-1].end - lookback)
    marks = {high_water(start, covered), *(window.end for window in covered[-1:])}
    again = [Window(mark - lookback, mark) for mark in marks if mark is not None and lookback]
    covered = [rest for window in covered for rest in subtract(window, again)]
    gaps = subtract(Window(start, end), covered)
    return [chunk for gap in gaps for chunk in split(gap, split_by)]


def split(window: Window, by: SplitBy) -> list[Window]:
    """Cut a window at calendar boundaries in UTC (weeks begin on Monday); `none` and `auto` leave it whole."""
    if by in ("none", "auto") or window.start == BEGINNING:
        return [window]
    bounds = [window.start, *_boundaries(window, by), window.end]
    return [Window(a, b) for a, b in pairwise(bounds)]


def _boundaries(window: Window, by: SplitBy) -> Iterator[datetime]:
    midnight = window.start.replace(hour=0, minute=0, second=0)
    if by == "month":
        boundary = midnight.replace(day=1)
    elif by == "week":
        boundary = midnight - timedelta(days=midnight.weekday())
    elif by == "day":
        boundary = midnight
    else:
        boundary = window.start.replace(minute=0, second=0)
    steps = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}
    while boundary < window.end:
        if boundary > window.start:
            yield boundary
        # Day 1 plus 32 days is always in the next month.
        boundary = (boundary + timedelta(days=32)).replace(day=1) if by == "month" else boundary + steps[by]
