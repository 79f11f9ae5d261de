"""Profiles, computed from their number: any number of profiles needs no memory.

Profiles with a number below `established` were created before the history. Their last updates are spread over the
history, in another order than their creation, and bulk imports update many of them in one second. The other profiles
were created during the history and updated shortly after that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..data import profiles as content
from ..data.ids import Codec, coprime, mix
from ..data.maker import DAY_S
from ..data.resources import Resource
from .sorted_runs import Handle, Run
from .store import Store

# Established profiles were created in this time before the history.
ESTABLISHED_S = 730 * DAY_S
# From the creation of a new profile to its update.
FIRST_UPDATE_S = 90


class ProfileStore(Store):
    """Profiles of an account.

    Args:
        size: number of profiles.
        seed: of the account.
        start, end: the history, in seconds since 1970.
        list_ids: lists that suppressions may name.
    """

    default_order = "created"

    def __init__(
        self,
        size: int,
        seed: int,
        start: int,
        end: int,
        list_ids: list[str],
    ) -> None:
        super().__init__("profile")
        self.base_size = size
        self.established = size - size // 10
        self._seed = seed
        self._start, self._end = start, end
        self._list_ids = list_ids
        self.codec = Codec("01HKSANDBX" + f"{mix(seed, 7) % 10**10:010d}", seed + 1)
        n = self.established
        self._factor = coprime(int(n * 0.618), n)
        self._inverse = pow(self._factor, -1, n) if n > 1 else 0
        self._block = max(40, min(n // 8, 5000))
        self._clump = min(self._block // 2, 2500)

    def identity(self, number: int) -> str:
        """The id of a base profile."""
        return self.codec.encode(number).decode()

    def base_number(self, identity: str) -> int | None:
        return self.codec.decode(identity)

    def created(self, number: int) -> int:
        """When a base profile was created, in seconds since 1970; rises with the number."""
        if number < self.established:
            return self._start - ESTABLISHED_S + ESTABLISHED_S * number // self.established
        place, young = number - self.established, self.base_size - self.established
        return self._start + (self._end - self._start - FIRST_UPDATE_S - 1) * place // young

    def _updated_of_rank(self, rank: int) -> int:
        within = rank % self._block
        if within < self._clump:
            rank -= within
        return self._start + (self._end - self._start) * rank // self.established

    def updated(self, number: int) -> int:
        """When a base profile was last updated, in seconds since 1970."""
        if number < self.established:
            return self._updated_of_rank(number * self._factor % self.established)
        return self.created(number) + FIRST_UPDATE_S

    def base_runs(self, order: str) -> list[Run] | None:
        n = self.established
        if order == "number":
            return [Run(self.base_size, lambda place: (place, place))]
        if order == "created":
            return [Run(self.base_size, lambda place: (self.created(place), place))]
        if order == "updated":
            # `_ranked` sorts the profiles of a bulk import, which share a second, by number.
            young = Run(self.base_size - n, lambda place: (self.created(n + place) + FIRST_UPDATE_S, n + place))
            return [Run(n, self._ranked, self._walk_ranked), young]
        return None

    def _ranked(self, rank: int) -> Handle:
        start, stop = self._clump_around(rank)
        if stop - start == 1:
            return self._updated_of_rank(rank), rank * self._inverse % self.established
        return self._updated_of_rank(rank), self._sorted_clump(start, stop)[rank - start]

    def _walk_ranked(self, places: range) -> Iterator[Handle]:
        return map(self._ranked, places)

    def _clump_around(self, rank: int) -> tuple[int, int]:
        """The half-open range of ranks with the same second as a rank."""
        n, span = self.established, self._end - self._start
        within = rank % self._block
        if within < self._clump:
            start = rank - within
            stop = min(start + self._clump, n)
        else:
            start, stop = rank, rank + 1
        second = self._start + span * start // n
        # With more profiles than seconds, the neighbours can have the same second too.
        while start > 0 and self._updated_of_rank(start - 1) == second:
            start -= 1
        while stop < n and self._updated_of_rank(stop) == second:
            stop += 1
        return start, stop

    def _sorted_clump(self, start: int, stop: int) -> list[int]:
        kept = getattr(self, "_kept_clump", None)
        if kept is None or kept[0] != start:
            numbers = sorted(rank * self._inverse % self.established for rank in range(start, stop))
            kept = self._kept_clump = (start, numbers)
        return kept[1]

    def values(self, number: int, field: str) -> list[Any]:
        if field in ("id", "created", "updated") and self.in_overlay(number) is None:
            if field == "id":
                return [self.identity(number)]
            return [self.created(number) if field == "created" else self.updated(number)]
        return super().values(number, field)

    def base_resource(self, number: int) -> Resource:
        """A base profile without its lists and segments, which the account adds."""
        return {
            "type": "profile",
            "id": self.identity(number),
            "attributes": self._attributes(number),
            "relationships": {"push-tokens": {"data": []}, "conversations": {"data": []}},
        }

    def _attributes(self, number: int) -> Resource:
        bits = mix(number, self._seed)
        return content.attributes(
            number,
            bits,
            created=self.created(number),
            updated=self.updated(number),
            last_event=self._start + (bits >> 20) % max(1, self._end - self._start),
            list_ids=self._list_ids,
        )
