"""Sorted runs of records: scanned from any place and merged, without holding them in memory."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Any

# (value of the sort field, number of the record): sorts by the value, then by the number.
Handle = tuple[Any, int]


class Run:
    """A sorted sequence of handles, computed on demand.

    Args:
        size: number of handles.
        at: the handle at a place. Handles must not decrease from one place to the next.
        walk: the handles of a range of places, if there is a faster way than `at` for each.
    """

    def __init__(
        self, size: int, at: Callable[[int], Handle], walk: Callable[[range], Iterator[Handle]] | None = None
    ) -> None:
        self.size = size
        self.at = at
        self._walk = walk

    def walk(self, places: range) -> Iterator[Handle]:
        """The handles of a range of places with step 1 or -1."""
        return self._walk(places) if self._walk else map(self.at, places)


def listed(handles: list[Handle]) -> Run:
    """A run of handles in memory. Sorts the list in place."""
    handles.sort()
    return Run(len(handles), handles.__getitem__)


def scan(
    runs: list[Run],
    *,
    low: float | None = None,
    high: float | None = None,
    after: Handle | None = None,
    descending: bool = False,
) -> Iterator[Handle]:
    """The handles of all runs in one order.

    Args:
        low, high: inclusive bounds of the value; only for runs ordered by a number.
        after: start behind this handle, in the direction of the scan. The handle need not exist any more.
    """
    pieces = []
    for run in runs:
        places = range(run.size)
        start, stop = 0, run.size
        if low is not None and low != -math.inf:
            start = bisect_left(places, (low, -1), key=run.at)
        if high is not None and high != math.inf:
            stop = bisect_left(places, (high, math.inf), key=run.at)
        if after is not None and descending:
            stop = min(stop, bisect_left(places, after, key=run.at))
        elif after is not None:
            start = max(start, bisect_right(places, after, key=run.at))
        if start < stop:
            pieces.append(run.walk(range(stop - 1, start - 1, -1) if descending else range(start, stop)))
    if len(pieces) == 1:
        return pieces[0]
    return heapq.merge(*pieces, reverse=descending)
