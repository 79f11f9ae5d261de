"""The members of a list or segment and when they joined: a computed base, and an overlay of later changes."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from ..data.ids import coprime
from .profiles import ProfileStore
from .sorted_runs import Handle, Run, listed, scan


class Members:
    """The members of one list or segment, in the order of joining.

    Args:
        profiles: members are taken from the established profiles of this store.
        size: number of members.
        salt: different salts choose different members.
        start, end: they joined in this time, in seconds since 1970.
    """

    def __init__(self, profiles: ProfileStore, size: int, salt: int, start: int, end: int) -> None:
        self._profiles = profiles
        self._modulus = profiles.established
        self._size = min(size, self._modulus)
        self._factor = coprime(int(self._modulus * 0.381) + salt % 1009, self._modulus)
        self._inverse = pow(self._factor, -1, self._modulus) if self._modulus > 1 else 0
        self._shift = salt % max(1, self._modulus)
        self._start, self._end = start, max(start + 1, end)
        # Number of a profile -> second of its join, or None if it left.
        self._changed: dict[int, int | None] = {}
        self._joined = listed([])
        # (second, 1 for a join or -1 for a leave) of every change.
        self._log: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def _at(self, place: int) -> Handle:
        return self._second(place), (place * self._factor + self._shift) % self._modulus

    def _second(self, place: int) -> int:
        return self._start + (self._end - self._start) * place // self._size

    def _place(self, number: int) -> int | None:
        if number >= self._modulus:
            return None
        place = (number - self._shift) * self._inverse % self._modulus
        return place if place < self._size else None

    def _sorted_base(self) -> Run:
        """The base as a sorted run. With more members than seconds, the members of one second are sorted by number."""
        if self._end - self._start >= self._size:
            return Run(self._size, self._at)
        return Run(self._size, self._at_crowded)

    def _at_crowded(self, place: int) -> Handle:
        second, span = self._second(place), self._end - self._start
        first = -(-(second - self._start) * self._size // span)
        stop = min(self._size, -(-(second + 1 - self._start) * self._size // span))
        numbers = sorted((p * self._factor + self._shift) % self._modulus for p in range(first, stop))
        return second, numbers[place - first]

    def join(self, number: int, second: int) -> None:
        """Add a profile, also one that is a member already."""
        self.gone(number, second)
        self._log.append((second, 1))
        self._change(number, second)

    def leave(self, number: int, second: int) -> None:
        """Remove a profile."""
        self.gone(number, second)
        self._change(number, None)

    def gone(self, number: int, second: int) -> None:
        """Log that a profile is no longer a member, if it was one."""
        if self.joined(number) is not None:
            self._log.append((second, -1))

    def changes(self, low: float, high: float) -> tuple[int, int]:
        """Number of joins and number of leaves within `[low, high]`, in seconds since 1970."""
        base = self._sorted_base()
        places = range(base.size)
        first = bisect_left(places, low, key=self._second)
        added = bisect_right(places, high, key=self._second) - first
        log = [change for second, change in self._log if low <= second <= high]
        return added + log.count(1), log.count(-1)

    def _change(self, number: int, second: int | None) -> None:
        with self._lock:
            changed = self._changed | {number: second}
            self._joined = listed([(at, who) for who, at in changed.items() if at is not None])
            self._changed = changed

    def joined(self, number: int) -> int | None:
        """The second when a profile joined; None if it is not a member."""
        if number in self._changed:
            return self._changed[number]
        place = self._place(number)
        return None if place is None else self._second(place)

    def scan(
        self,
        *,
        low: float | None = None,
        high: float | None = None,
        after: Handle | None = None,
        descending: bool = False,
    ) -> Iterator[Handle]:
        """(second of the join, number of the profile), without deleted profiles; see `sorted_runs.scan`."""
        changed = self._changed
        base = self._sorted_base()
        if changed:
            run = base
            base = Run(run.size, run.at, lambda places: (h for h in run.walk(places) if h[1] not in changed))
        profiles = self._profiles
        for handle in scan([base, self._joined], low=low, high=high, after=after, descending=descending):
            if profiles.exists(handle[1]):
                yield handle

    def count(self) -> int:
        """Number of members."""
        return sum(1 for _ in self.scan())
