"""Events, computed from their number: ten million of them need no memory. The number rises with `datetime`."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ..data import events as content
from ..data.event_times import EventTimes, Shape
from ..data.events import LOST, LOST_METRIC, ODD_VARIANT, VARIANTS, EventTargets, Variant
from ..data.ids import MASK, Codec, mix
from ..data.resources import Resource, dig
from .profiles import ProfileStore
from .sorted_runs import Handle, Run
from .store import Entry, Store


@dataclass(frozen=True)
class EventSummary:
    """The part of an event that analytics reports and metric aggregates look at.

    Base events of one variant share a summary. Their one attribution has no `attributed-event`: it is the event before.

    Attributes:
        metric: id of the metric.
        attributions: relationship (`campaign-message`, `attributed-event`, ...) -> id, for each attribution.
        properties: the event properties.
    """

    metric: str
    attributions: tuple[dict[str, str], ...]
    properties: Resource


class EventStore(Store):
    """Events of an account.

    Args:
        size: number of events.
        seed: of the account.
        start, end: the history, in seconds since 1970.
        profiles: whose events they are.
        targets: what they point at.
        shape: "bursty" or "even".
    """

    default_order = "datetime"

    def __init__(
        self, size: int, seed: int, start: int, end: int, profiles: ProfileStore, targets: EventTargets, shape: Shape
    ) -> None:
        super().__init__("event")
        self.base_size = size if profiles.base_size and targets.metrics else 0
        self._profiles = profiles
        self._salt = mix(seed, 5)
        self.codec = Codec("5", seed + 2)
        self._times = EventTimes(self.base_size, seed, start, end, shape)
        self._variants = content.variants(seed, targets)
        self._summaries = [_variant_summary(variant) for variant in self._variants]
        self._templates: dict[bytes, list[tuple[bytes, bytes]]] = {}
        self._attribution_templates: dict[tuple[object, int], bytes] = {}

    def base_number(self, identity: str) -> int | None:
        return self.codec.decode(identity)

    def base_runs(self, order: str) -> list[Run] | None:
        if order in ("datetime", "timestamp"):
            second = self._times.second
            return [Run(self.base_size, lambda number: (second(number), number), self._times.walk)]
        return [Run(self.base_size, lambda number: (number, number))] if order == "number" else None

    def _bits(self, number: int) -> int:
        """Pseudo-random bits of a base event: they choose its variant, its profile and its `$value`."""
        x = (number * 0x9E3779B97F4A7C15 + self._salt) & MASK
        return x ^ (x >> 29)

    def _variant(self, number: int) -> Variant:
        return self._variants[(self._bits(number) >> 9) % VARIANTS]

    def profile_number(self, number: int) -> int:
        """The number of a base event's profile."""
        return (self._bits(number) >> 20) % self._profiles.base_size

    def metric_id(self, number: int) -> str | None:
        """The metric of a base event; None for one that has lost its metric."""
        return None if self._bits(number) % LOST_METRIC == 0 else self._variant(number).metric

    def attributions(self, number: int) -> list[Resource]:
        """The attribution resources of a base event."""
        targets = self._variant(number).attribution
        if not targets:
            return []
        identity, earlier = self.codec.encode(number).decode(), self.codec.encode(max(0, number - 1)).decode()
        return [content.attribution(identity, {"attributed-event": earlier, **targets})]

    def attribution_row(self, number: int, write: Callable[[Resource], bytes], writer: object) -> bytes | None:
        """JSON of the attribution of a base event; None if it has none.

        Args:
            write: makes the JSON of a resource; called once for each variant.
            writer: identifies `write`: calls with an equal `writer` share their templates.
        """
        variant = (self._bits(number) >> 9) % VARIANTS
        targets = self._variants[variant].attribution
        if not targets:
            return None
        template = self._attribution_templates.get((writer, variant))
        if template is None:
            template = write(content.attribution("@event@", {"attributed-event": "@earlier@", **targets}))
            self._attribution_templates[writer, variant] = template
        row = template.replace(b"@event@", self.codec.encode(number))
        return row.replace(b"@earlier@", self.codec.encode(max(0, number - 1)))

    def values(self, number: int, field: str) -> list[Any]:
        if self.in_overlay(number) is None:
            if field in ("metric_id", "metric"):
                return [self.metric_id(number)]
            if field in ("profile_id", "profile"):
                return [self._profiles.identity(self.profile_number(number))]
            if field in ("datetime", "timestamp"):
                return [self._times.second(number)]
        return super().values(number, field)

    def base_resource(self, number: int) -> Resource:
        record: Resource = json.loads(self.render([(self._times.second(number), number)], b"", True)[0])
        del record["links"]
        for relation in record["relationships"].values():
            del relation["links"]
        record["relationships"]["attributions"].setdefault("data", [])
        return record

    def summaries(
        self,
        low: int,
        high: int,
        wanted: Callable[[EventSummary], bool],
        attributions_of: Callable[[int], list[Resource]],
        *,
        attributed_too: bool = False,
    ) -> Iterator[tuple[int, EventSummary]]:
        """Numbers and summaries of the events dated in `[low, high]`. Events that have lost their metric are left out.

        Args:
            low, high: seconds since 1970.
            wanted: which events; called once for all base events of a variant.
            attributions_of: the attributions of an event of the overlay, by number.
            attributed_too: also give the events that are attributed to an event dated in `[low, high]`. Some others
                come with them: the caller has to look at `attributed_second`.
        """
        chosen = [wanted(summary) for summary in self._summaries]
        places = range(self.base_size)
        first = bisect_left(places, low, key=self._times.second)
        stop = bisect_right(places, high, key=self._times.second)
        numbers: Iterable[int] = range(first, min(stop + 1, self.base_size) if attributed_too else stop)
        changed = set(self._overlay) | self._hidden
        if attributed_too and changed:
            # A changed event can be dated anywhere now, and the base event after it is attributed to it.
            numbers = sorted({*numbers} | {n + 1 for n in changed if n + 1 < self.base_size})
        for number in numbers:
            x = self._bits(number)
            v = (x >> 9) % VARIANTS
            if chosen[v] and x % LOST_METRIC and number not in changed:
                yield number, self._summaries[v]
        for number, entry in list(self._overlay.items()):
            summary = _overlay_summary(entry, attributions_of(number))
            if summary is not None and wanted(summary) and (attributed_too or low <= self.second(number) <= high):
                yield number, summary

    def attributed_second(self, number: int, attribution: dict[str, str]) -> float:
        """The second of the event that an event is attributed to; its own if that event does not exist."""
        earlier: int | None = max(0, number - 1)
        if number in self._overlay:
            earlier = self.number(attribution.get("attributed-event", ""))
        return self.second(number if earlier is None or not self.exists(earlier) else earlier)

    def second(self, number: int) -> float:
        """The second of an event, since 1970; -inf for one of the overlay without a date."""
        return float(self.order_value(number, "datetime")) if number in self._overlay else self._times.second(number)

    def profile_key(self, number: int) -> str | int | None:
        """A value that is equal for events of the same profile only."""
        if number not in self._overlay:
            return self.profile_number(number)
        identity = next(iter(dig(self._overlay[number].resource, ["relationships", "profile", "data", "id"])), None)
        known = self._profiles.base_number(str(identity))
        return known if known is not None and known < self._profiles.base_size else identity

    def amount(self, number: int) -> Decimal:
        """The `$value` of an event."""
        if number not in self._overlay:
            x = self._bits(number)
            return Decimal(x % 900 * 100 + (x >> 11) % 100).scaleb(-2)
        found = dig(self._overlay[number].resource, ["attributes", "event_properties", "$value"])
        return to_decimal(found[0] if found else None)

    def _compiled(self, base: bytes) -> list[tuple[bytes, bytes]]:
        """The templates of each variant, see `content.template`."""
        compiled = self._templates.get(base)
        if compiled is None:
            compiled = [content.template(variant, base) for variant in self._variants]
            self._templates[base] = compiled
        return compiled

    def render(self, handles: Iterable[Handle], base: bytes, with_attributions: bool) -> list[bytes]:
        """JSON of base events; the caller renders those of the overlay.

        Args:
            base: start of every link, such as `http://127.0.0.1:8400`.
            with_attributions: whether the to-many relationship carries its data.
        """
        compiled, encode, encode_profile = self._compiled(base), self.codec.encode, self._profiles.codec.encode
        profiles, salt = self._profiles.base_size, self._salt
        rows = []
        last = -1
        moment = odd = b""
        for second, number in handles:
            # `_bits`, written out: this loop decides how many events a second the sandbox serves.
            x = (number * 0x9E3779B97F4A7C15 + salt) & MASK
            x ^= x >> 29
            v = (x >> 9) % VARIANTS
            template, data = compiled[v]
            if second != last:
                moment = datetime.fromtimestamp(second, UTC).isoformat().encode()
                odd = moment[:10] + b" " + moment[11:19] + b".918411+00:00"
                last = second
            identity = encode(number)
            attributions = (
                data % identity if with_attributions and data else b'"data":[],' if with_attributions else b""
            )
            row = template % (
                identity,
                second,
                identity,
                x % 900,
                (x >> 11) % 100,
                odd if v == ODD_VARIANT else moment,
                b"%08x-%04x-11f0-8000-%012x" % (second, x & 0xFFFF, number),
                encode_profile((x >> 20) % profiles),
                identity,
                identity,
                identity,
                identity,
                attributions,
                identity,
                identity,
                identity,
            )
            if x % LOST_METRIC == 0:
                metric = self._variants[v].metric.encode()
                row = row.replace(b'"metric":{"data":{"type":"metric","id":"' + metric + b'"}', LOST, 1)
            rows.append(row)
        return rows


def _variant_summary(variant: Variant) -> EventSummary:
    return EventSummary(variant.metric, (variant.attribution,) if variant.attribution else (), variant.properties)


def _overlay_summary(entry: Entry, attributions: list[Resource]) -> EventSummary | None:
    """The summary of an event of the overlay; None without a metric."""
    metric = dig(entry.resource, ["relationships", "metric", "data", "id"])
    found = dig(entry.resource, ["attributes", "event_properties"])
    if not metric or not isinstance(metric[0], str):
        return None
    targets = [
        {name: str(link["data"]["id"]) for name, link in attribution["relationships"].items() if link.get("data")}
        for attribution in attributions
    ]
    return EventSummary(metric[0], tuple(targets), found[0] if found and isinstance(found[0], dict) else {})


def to_decimal(value: Any) -> Decimal:
    """A number of an event's properties as it is written; 0 for anything else."""
    return Decimal(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else Decimal(0)
