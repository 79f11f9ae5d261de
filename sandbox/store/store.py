"""The records of one kind: a computed base, and an overlay of the records that were added or changed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..data.resources import Resource
from .fields import found_in, sort_value
from .sorted_runs import Handle, Run, listed, scan


@dataclass
class Entry:
    """A record and how it is served.

    Attributes:
        raw: JSON that is served as it is, if set.
        second: the moment that the record sorts by, if it is not that of its JSON.
    """

    resource: Resource
    raw: bytes | None = None
    second: int | None = None


class Store:
    """Records of a kind, each with a number.

    The base are the records that are computed from their number. They take the numbers below `base_size`. The overlay
    holds changed records of the base under their old numbers, and new records above them. A subclass with a base
    overrides the `base_` members.
    """

    base_size = 0
    # The order of a list without `sort`. "number" is the order in which records were put.
    default_order = "number"

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.version = 0
        self._next = 0
        self._overlay: dict[int, Entry] = {}
        self._numbers: dict[str, int] = {}
        # Numbers of the base that were changed or removed.
        self._hidden: set[int] = set()
        self._overlay_runs: dict[str, tuple[int, Run]] = {}
        self._base_lists: dict[str, Run] = {}
        self._lock = threading.RLock()

    def base_resource(self, number: int) -> Resource:
        """A record of the base, by number."""
        raise IndexError(number)

    def base_number(self, identity: str) -> int | None:
        """The number of a base record, by id."""
        return None

    def base_runs(self, order: str) -> list[Run] | None:
        """The base as sorted runs in an order; None if it has to be sorted for that."""
        return [] if self.base_size == 0 else None

    def number(self, identity: str) -> int | None:
        """The number of a record, by id; None if there is no such record."""
        number = self._numbers.get(identity)
        if number is None:
            number = self.base_number(identity)
            if number is None or not 0 <= number < self.base_size or number in self._hidden:
                return None
        return number

    def exists(self, number: int) -> bool:
        """Whether there is a record with this number."""
        return number in self._overlay or (number < self.base_size and number not in self._hidden)

    def entry(self, number: int) -> Entry:
        """A record, by number."""
        entry = self._overlay.get(number)
        return entry if entry is not None else Entry(self.base_resource(number))

    def get(self, identity: str) -> Resource | None:
        """A record, by id; None if there is no such record."""
        number = self.number(identity)
        return None if number is None else self.entry(number).resource

    def in_overlay(self, number: int) -> Entry | None:
        """A record of the overlay, by number; None if the record is the base's own."""
        return self._overlay.get(number)

    def values(self, number: int, field: str) -> list[Any]:
        """Values of a filter field of a record."""
        return found_in(self.kind, self.entry(number).resource, field)

    def order_value(self, number: int, order: str) -> Any:
        """What a record sorts by in an order."""
        if order == "number":
            return number
        entry = self.entry(number)
        return sort_value(self.kind, entry.resource, order, entry.second)

    def put(self, resource: Resource, raw: bytes | None = None, second: int | None = None) -> int:
        """Insert a record, or replace the one with the same id.

        Returns:
            Its number.
        """
        with self._lock:
            identity = str(resource.get("id"))
            number = self.number(identity)
            if number is None:
                number = max(self._next, self.base_size)
                self._next = number + 1
            if number < self.base_size:
                self._hidden.add(number)
            self._numbers[identity] = number
            self._overlay[number] = Entry(resource, raw, second)
            self.version += 1
            return number

    def remove(self, identity: str) -> None:
        """Remove a record.

        Raises:
            KeyError: there is no record with this id.
        """
        with self._lock:
            number = self.number(identity)
            if number is None:
                raise KeyError(identity)
            self._numbers.pop(identity, None)
            self._overlay.pop(number, None)
            if number < self.base_size:
                self._hidden.add(number)
            self.version += 1

    def _runs(self, order: str) -> list[Run]:
        with self._lock:
            base = self.base_runs(order)
            if base is None:
                if order not in self._base_lists:
                    numbers = range(self.base_size)
                    keyed = [
                        (sort_value(self.kind, self.base_resource(n), order) if order != "number" else n, n)
                        for n in numbers
                    ]
                    self._base_lists[order] = listed(keyed)
                base = [self._base_lists[order]]
            if self._hidden:
                base = [self._without_hidden(run) for run in base]
            version, run = self._overlay_runs.get(order, (-1, None))
            if run is None or version != self.version:
                run = listed([(self.order_value(number, order), number) for number in self._overlay])
                self._overlay_runs[order] = (self.version, run)
            return [*base, run]

    def _without_hidden(self, run: Run) -> Run:
        hidden = self._hidden
        return Run(run.size, run.at, lambda places: (h for h in run.walk(places) if h[1] not in hidden))

    def scan(
        self,
        order: str = "number",
        *,
        low: float | None = None,
        high: float | None = None,
        after: Handle | None = None,
        descending: bool = False,
    ) -> Iterator[Handle]:
        """Handles of all records in an order; see `sorted_runs.scan`."""
        return scan(self._runs(order), low=low, high=high, after=after, descending=descending)

    def __iter__(self) -> Iterator[Resource]:
        for _, number in self.scan():
            yield self.entry(number).resource

    def put_raw(self, raw: bytes, second: int | None, fallback_id: str) -> str:
        """Insert a record that is served byte for byte.

        Args:
            raw: JSON, which need not be valid.
            second: the moment that the record sorts by.
            fallback_id: the id of a record whose JSON has none.

        Returns:
            Its id.
        """
        try:
            resource = json.loads(raw)
        except ValueError:
            resource = {}
        if not isinstance(resource, dict):
            resource = {}
        resource.setdefault("id", fallback_id)
        self.put(resource, raw, second)
        return str(resource["id"])
