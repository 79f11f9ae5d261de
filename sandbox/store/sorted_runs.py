"""Records in an order, without holding them: sorted runs, scanned from any place, merged."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Any

# (value of the order field, number of the record): sorts by the value, ties by the number.
Handle = tuple[Any, int]


class Run:
    """A sorted sequence of handles that is computed place by place.

    Args:
        size: how many.
        at: the handle at a place; must not fall from one place to the next.
        walk: handles of a range of places, if there is a faster way than `at` for each.
    """

    def __init__(
        self, size: int, at: Callable[[int], Handle], walk: Callable[[range], Iterator[Handle]] | None = None
    ) -> None:
        self.size = size
        self.at = at
        self._walk = walk

    def walk(self, places: range) -> Iterator[Handle]:
        """Handles of a range of places (the step is 1 or -1)."""
        return self._walk(places) if self._walk else map(self.at, places)


def listed(handles: list[Handle]) -> Run:
    """A run over handles that are in memory; sorts them."""
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
    """Handles of all runs in order.

    Args:
        low, high: inclusive bounds of the value; only for runs ordered by a number.
        after: leave out everything up to this handle, in the direction of the scan. It need not be there any more.
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
