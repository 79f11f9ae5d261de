"""The records of one type: a computed base and an overlay of what was added, changed or removed."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..http.filter_grammar import epoch_second
from .resource_types import FIELD_PATHS, NESTED, RELATION_FIELDS
from .sorted_runs import Handle, Run, listed, scan

Resource = dict[str, Any]

# Orders whose values are moments, compared in whole seconds.
TIMES = {"created", "updated", "created_at", "updated_at", "scheduled_at", "datetime", "timestamp", "joined_group_at"}
LAST_STRING = "\U0010ffff"


@dataclass
class Entry:
    """A record of the overlay. `raw` is served verbatim where it is set; `second` overrides its place in time."""

    resource: Resource
    raw: bytes | None = None
    second: int | None = None


def dig(value: Any, path: list[str]) -> list[Any]:
    """All values at a path; arrays on the way are gone into."""
    for place, name in enumerate(path):
        if isinstance(value, list):
            return [found for item in value for found in dig(item, path[place:])]
        if not isinstance(value, dict) or name not in value:
            return []
        value = value[name]
    return value if isinstance(value, list) else [value]


def without(value: Resource, names: Iterable[str]) -> Resource:
    """An object less some fields; dots lead into objects."""
    kept = dict(value)
    for name in names:
        first, _, rest = name.partition(".")
        if not rest:
            kept.pop(first, None)
        elif isinstance(kept.get(first), dict):
            kept[first] = without(kept[first], [rest])
    return kept


def found_in(kind: str, resource: Resource, field: str) -> list[Any]:
    """Values of a filter or sort field in a record."""
    if field in ("id", "ids"):
        return [resource.get("id")]
    relationship = RELATION_FIELDS.get((kind, field))
    if relationship:
        return dig(resource.get("relationships"), [relationship, "data", "id"])
    path = FIELD_PATHS.get((kind, field))
    if path:
        return dig(resource.get("attributes"), path.split("."))
    found = dig(resource.get("attributes"), field.split("."))
    if not found:
        relation, _, tail = field.rpartition("." if field.endswith(".id") else "_")
        if tail == "id" and relation:
            return dig(resource.get("relationships"), [relation, "data", "id"])
        return dig(resource.get("relationships"), [field, "data", "id"])
    return found


def is_time(order: str) -> bool:
    """Whether an order compares moments."""
    return order.rsplit(".", 1)[-1] in TIMES


def order_value(kind: str, entry: Entry, order: str) -> Any:
    """What a record sorts by: whole seconds or text, never None (absent moments first, absent texts last)."""
    found = [value for value in found_in(kind, entry.resource, order) if value is not None]
    if is_time(order):
        if entry.second is not None:
            return entry.second
        told = found if order.startswith(NESTED) else found[:1]
        return max((second for second in map(epoch_second, told) if second is not None), default=-math.inf)
    if found and isinstance(found[0], int | float):
        return f"{found[0]:030.6f}"
    return str(found[0]) if found else LAST_STRING


class Store:
    """Records of a type by number. A subclass with a computed base overrides the `base_` members.

    Numbers below `base_size` are the base's; the overlay's new records follow.
    """

    base_size = 0
    # the order of a list without `sort`; "number" is the order of creation
    default_order = "number"

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.version = 0
        self._next = 0
        self._overlay: dict[int, Entry] = {}
        self._numbers: dict[str, int] = {}
        self._hidden: set[int] = set()
        self._overlay_runs: dict[str, tuple[int, Run]] = {}
        self._base_lists: dict[str, Run] = {}
        self._lock = threading.RLock()

    def base_resource(self, number: int) -> Resource:
        """The whole record with this number of the base."""
        raise IndexError(number)

    def base_number(self, identity: str) -> int | None:
        """The number of a base record, by id."""
        return None

    def base_runs(self, order: str) -> list[Run] | None:
        """The base in an order; None if it can only be had by sorting all of it."""
        return [] if self.base_size == 0 else None

    def number(self, identity: str) -> int | None:
        """The number of a record that exists."""
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
        """A record by number."""
        entry = self._overlay.get(number)
        return entry if entry is not None else Entry(self.base_resource(number))

    def get(self, identity: str) -> Resource | None:
        """A record by id."""
        number = self.number(identity)
        return None if number is None else self.entry(number).resource

    def in_overlay(self, number: int) -> Entry | None:
        """The record if it is not the base's own."""
        return self._overlay.get(number)

    def values(self, number: int, field: str) -> list[Any]:
        """Values of a filter field."""
        return found_in(self.kind, self.entry(number).resource, field)

    def order_value(self, number: int, order: str) -> Any:
        """What a record sorts by."""
        return number if order == "number" else order_value(self.kind, self.entry(number), order)

    def put(self, resource: Resource, raw: bytes | None = None, second: int | None = None) -> int:
        """Insert a record, or replace the one with its id; its number."""
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
            KeyError: there is none with this id.
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
                        (order_value(self.kind, Entry(self.base_resource(n)), order) if order != "number" else n, n)
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
        """Handles of all records in an order; see `runs.scan`."""
        return scan(self._runs(order), low=low, high=high, after=after, descending=descending)

    def __iter__(self) -> Iterator[Resource]:
        for _, number in self.scan():
            yield self.entry(number).resource

    def put_raw(self, raw: bytes, second: int | None, fallback_id: str) -> str:
        """Insert a record that is served byte for byte; its id."""
        try:
            resource = json.loads(raw)
        except ValueError:
            resource = {}
        if not isinstance(resource, dict):
            resource = {}
        resource.setdefault("id", fallback_id)
        self.put(resource, raw, second)
        return str(resource["id"])


class Derived(Store):
    """Records that follow from those of other types, besides some of its own.

    What is put or removed here is its own from then on, and follows nothing.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self._own: set[str] = set()
        self._derived: set[str] = set()

    def derive(self, resources: list[Resource]) -> None:
        """Become what follows now; records that stay keep their numbers."""
        wanted = {str(resource["id"]): resource for resource in resources}
        with self._lock:
            for gone in self._derived - {*wanted} - self._own:
                super().remove(gone)
            for identity, resource in wanted.items():
                if identity not in self._own and self.get(identity) != resource:
                    super().put(resource)
            self._derived = {*wanted}

    def put(self, resource: Resource, raw: bytes | None = None, second: int | None = None) -> int:
        """Insert a record of its own, or make the one with its id its own; its number."""
        self._own.add(str(resource.get("id")))
        return super().put(resource, raw, second)

    def remove(self, identity: str) -> None:
        """Remove a record, for good.

        Raises:
            KeyError: there is none with this id.
        """
        self._own.add(identity)
        super().remove(identity)
