"""Events, computed from their number: ten million of them cost no memory.

The number rises with `datetime`. Hours of the history have weights; within an hour events are even, or, after a
campaign send, dense at its start. The last few are dated in the future.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import accumulate, count
from typing import Any, Literal

from ..data.ids import MASK, Codec, mix
from .profiles import ProfileStore
from .sorted_runs import Handle, Run
from .store import Entry, Resource, Store, dig

HOUR_S = 3600
DAY_S = 86400
VARIANTS = 256
# one variant writes its datetimes with a space and a fraction, as seen in Klaviyo's answers now and then
ODD_VARIANT = 77
# one event in so many has lost its metric
LOST_METRIC = 4093

Shape = Literal["bursty", "even"]


@dataclass(frozen=True)
class Sketch:
    """What reports and aggregates count an event by.

    `touches` are its attributions: what each points at, by relationship (`campaign-message`, `attributed-event`, ...).
    Base events of one kind share a sketch, and their one touch points at the event before them.
    """

    metric: str
    touches: tuple[dict[str, str], ...]
    properties: Resource


def _weights(hours: int, seed: int, shape: Shape) -> list[int]:
    """How many events fall into each hour, relatively."""
    if shape == "even":
        return [1000] * hours
    weights = []
    for hour in range(hours):
        x = mix(hour, seed)
        day = hour // 24
        quiet = mix(day, seed + 1) % 5 == 0
        weight = (0 if x % 10 else 40) if quiet else 300 + x % 700 + 40 * min(hour % 24, 24 - hour % 24)
        weights.append(weight)
    for week in range(0, hours, 168):
        weights[min(week + 41, hours - 1)] += 20 * 600
    for month in range(0, hours, 720):
        # one send a month brings a third of the month
        place = min(month + 250, hours - 1)
        weights[place] += max(1, sum(weights[month : month + 720]) // 2)
    return weights


class EventStore(Store):
    """Events of an account.

    Args:
        size: how many.
        seed: of the account.
        start, end: the history, in seconds since 1970.
        profiles: whose events they are.
        metrics: (id, name) of each.
        campaigns, flows, forms: what to point at, as (id, id of the message or version).
        shape: "bursty" or "even".
    """

    default_order = "datetime"

    def __init__(
        self,
        size: int,
        seed: int,
        start: int,
        end: int,
        profiles: ProfileStore,
        metrics: list[tuple[str, str]],
        campaigns: list[tuple[str, str]],
        flows: list[tuple[str, str]],
        forms: list[tuple[str, str]],
        shape: Shape = "bursty",
    ) -> None:
        super().__init__("event")
        self.base_size = size if profiles.base_size and metrics else 0
        self._start, self._end = start, end
        self._profiles = profiles
        self._campaigns, self._flows, self._forms = campaigns, flows, forms
        self._future = min(20, self.base_size // 500)
        self._salt = mix(seed, 5)
        self.codec = Codec("5", seed + 2)
        hours = max(1, -(-(end - start) // HOUR_S))
        weights = _weights(hours, seed, shape)
        past, total = self.base_size - self._future, sum(weights)
        self._bounds = [0, *(past * upto // total for upto in accumulate(weights))]
        usual = sorted(weights)[hours // 2]
        self._sends = (
            {hour for hour, weight in enumerate(weights) if weight > 4 * usual} if shape == "bursty" else set()
        )
        self._turns = {"campaign": count(), "flow": count(), "form": count()}
        self._variants = [self._variant(v, mix(v, seed + 3), metrics) for v in range(VARIANTS)] if metrics else []
        self._sketches = [self._sketch(variant) for variant in self._variants]
        self._templates: dict[bytes, list[tuple[bytes, bytes]]] = {}
        self._attribution_templates: dict[tuple[object, int], bytes] = {}

    def base_number(self, identity: str) -> int | None:
        return self.codec.decode(identity)

    def second(self, number: int) -> int:
        """When a base event happened."""
        past = self.base_size - self._future
        if number >= past:
            return self._end + HOUR_S + (number - past) * 10 * DAY_S
        hour = bisect_right(self._bounds, number) - 1
        return self._start + self._within(hour, number)

    def _within(self, hour: int, number: int) -> int:
        first, stop = self._bounds[hour], self._bounds[hour + 1]
        part = (number - first) / (stop - first)
        length = min(HOUR_S, self._end - self._start - hour * HOUR_S)
        return hour * HOUR_S + int(length * (part**4 if hour in self._sends else part))

    def _walk(self, places: range) -> Iterator[Handle]:
        start, bounds, past = self._start, self._bounds, self.base_size - self._future
        hour = -1
        first = stop = 0
        for number in places:
            if not first <= number < stop:
                if number >= past:
                    yield self.second(number), number
                    continue
                hour = bisect_right(bounds, number) - 1
                first, stop = bounds[hour], bounds[hour + 1]
            yield start + self._within(hour, number), number

    def base_runs(self, order: str) -> list[Run] | None:
        if order in ("datetime", "timestamp"):
            return [Run(self.base_size, lambda place: (self.second(place), place), self._walk)]
        return [Run(self.base_size, lambda place: (place, place))] if order == "number" else None

    def _bits(self, number: int) -> int:
        x = (number * 0x9E3779B97F4A7C15 + self._salt) & MASK
        return x ^ (x >> 29)

    def profile_number(self, number: int) -> int:
        """The profile of a base event."""
        return (self._bits(number) >> 20) % self._profiles.base_size

    def metric_id(self, number: int) -> str | None:
        """The metric of a base event; None for one whose metric is lost."""
        x = self._bits(number)
        return None if x % LOST_METRIC == 0 else str(self._variants[(x >> 9) % VARIANTS]["metric"])

    def attributions(self, number: int) -> list[Resource]:
        """The attribution resources of a base event."""
        chosen = self._variants[(self._bits(number) >> 9) % VARIANTS]["attribution"]
        if not chosen:
            return []
        identity, earlier = self.codec.encode(number).decode(), self.codec.encode(max(0, number - 1)).decode()
        return [self._attribution(identity, {"attributed-event": earlier, **chosen})]

    def attribution_row(self, number: int, write: Callable[[Resource], bytes], writer: object) -> bytes | None:
        """JSON of the attribution of a base event; None if it has none.

        Args:
            write: makes the JSON of a resource; asked once a variant.
            writer: tells one `write` from another.
        """
        variant = (self._bits(number) >> 9) % VARIANTS
        chosen = self._variants[variant]["attribution"]
        if not chosen:
            return None
        template = self._attribution_templates.get((writer, variant))
        if template is None:
            template = write(self._attribution("@event@", {"attributed-event": "@earlier@", **chosen}))
            self._attribution_templates[writer, variant] = template
        row = template.replace(b"@event@", self.codec.encode(number))
        return row.replace(b"@earlier@", self.codec.encode(max(0, number - 1)))

    @staticmethod
    def _attribution(identity: str, chosen: dict[str, str]) -> Resource:
        data = {
            "event": identity,
            "attributed-event": None,
            "campaign": None,
            "campaign-message": None,
            "flow": None,
            "flow-message": None,
            "flow-message-variation": None,
        } | chosen
        kinds = {"attributed-event": "event", "flow-message-variation": "flow-message"}
        return {
            "type": "attribution",
            "id": f"{identity}-1",
            "relationships": {
                name: {"data": {"type": kinds.get(name, name), "id": target} if target else None}
                for name, target in data.items()
            },
        }

    def values(self, number: int, field: str) -> list[Any]:
        if self.in_overlay(number) is None:
            if field in ("metric_id", "metric"):
                return [self.metric_id(number)]
            if field in ("profile_id", "profile"):
                return [self._profiles.identity(self.profile_number(number))]
            if field in ("datetime", "timestamp"):
                return [self.second(number)]
        return super().values(number, field)

    def base_resource(self, number: int) -> Resource:
        record: Resource = json.loads(self.render([(self.second(number), number)], b"", True)[0])
        del record["links"]
        for relation in record["relationships"].values():
            del relation["links"]
        record["relationships"]["attributions"].setdefault("data", [])
        return record

    def _variant(self, variant: int, x: int, metrics: list[tuple[str, str]]) -> dict[str, Any]:
        of_forms = [metric for metric in metrics if metric[1] in FORM_METRICS]
        others = [metric for metric in metrics if metric not in of_forms]
        if x % 8 == 2 and of_forms and self._forms:
            turn = next(self._turns["form"])
            form, version = self._forms[turn % min(BUSY, len(self._forms))]
            metric_id, _ = of_forms[turn // BUSY % len(of_forms)]
            return {"metric": metric_id, "attribution": {}, "properties": _form_properties(x, form, version)}
        # a few metrics make up most of the events
        metric_id, name = others[min(x % len(others), (x >> 8) % len(others))]
        attribution: dict[str, str] = {}
        if self._campaigns and x % 8 == 0:
            turn = next(self._turns["campaign"])
            campaign, message = self._campaigns[turn % min(BUSY, len(self._campaigns))]
            attribution = {"campaign": campaign, "campaign-message": message}
        elif self._flows and x % 8 == 1:
            turn = next(self._turns["flow"])
            flow, message = self._flows[turn % min(BUSY, len(self._flows))]
            attribution = {"flow": flow, "flow-message": message, "flow-message-variation": message}
        of_messages = [metric for told in ATTRIBUTED_METRICS for metric in metrics if metric[1] == told]
        if attribution and of_messages:
            # half of the metrics for one message, the other half for the next
            metric_id, name = of_messages[(turn // BUSY + turn % BUSY % 2 * 8) % len(of_messages)]
        properties = _properties(variant, x, name)
        if "$message" in properties and attribution:
            properties["$message"] = attribution.get("campaign-message") or attribution["flow-message"]
        return {"metric": metric_id, "attribution": attribution, "properties": properties}

    @staticmethod
    def _sketch(variant: dict[str, Any]) -> Sketch:
        touches = (variant["attribution"],) if variant["attribution"] else ()
        return Sketch(variant["metric"], touches, variant["properties"])

    def sketched(
        self,
        low: int,
        high: int,
        wanted: Callable[[Sketch], bool],
        attributed: Callable[[int], list[Resource]],
        *,
        brought: bool = False,
    ) -> Iterator[tuple[int, Sketch]]:
        """Numbers and sketches of the events dated in `[low, high]`, but for those that have lost their metric.

        Args:
            low, high: seconds since 1970.
            wanted: which ones; asked once for all base events of a kind.
            attributed: the attributions of an event of the overlay, by number.
            brought: also those that an event dated in the period may have brought about; some others come with them.
        """
        chosen = [wanted(sketch) for sketch in self._sketches]
        places = range(self.base_size)
        first = bisect_left(places, low, key=self.second)
        stop = bisect_right(places, high, key=self.second)
        numbers: Iterable[int] = range(first, min(stop + 1, self.base_size) if brought else stop)
        changed = set(self._overlay) | self._hidden
        if brought:
            numbers = sorted({*numbers} | {n + 1 for n in changed if n + 1 < self.base_size}) if changed else numbers
        for number in numbers:
            x = self._bits(number)
            v = (x >> 9) % VARIANTS
            if chosen[v] and x % LOST_METRIC and number not in changed:
                yield number, self._sketches[v]
        for number, entry in list(self._overlay.items()):
            sketch = _overlay_sketch(entry, attributed(number))
            if sketch is not None and wanted(sketch) and (brought or low <= self.when(number) <= high):
                yield number, sketch

    def sent(self, number: int, touch: dict[str, str]) -> float:
        """The second of the event that an event is attributed to; its own where that is not there."""
        earlier: int | None = max(0, number - 1)
        if number in self._overlay:
            earlier = self.number(touch.get("attributed-event", ""))
        return self.when(number if earlier is None or not self.exists(earlier) else earlier)

    def when(self, number: int) -> float:
        """The second of an event; -inf for one of the overlay without a date."""
        return float(self.order_value(number, "datetime")) if number in self._overlay else self.second(number)

    def who(self, number: int) -> str | int | None:
        """What tells the profile of one event from that of another."""
        if number not in self._overlay:
            return self.profile_number(number)
        identity = next(iter(dig(self._overlay[number].resource, ["relationships", "profile", "data", "id"])), None)
        known = self._profiles.base_number(str(identity))
        return known if known is not None and known < self._profiles.base_size else identity

    def worth(self, number: int) -> Decimal:
        """The `$value` of an event."""
        if number not in self._overlay:
            x = self._bits(number)
            return Decimal(x % 900 * 100 + (x >> 11) % 100).scaleb(-2)
        found = dig(self._overlay[number].resource, ["attributes", "event_properties", "$value"])
        return amount(found[0] if found else None)

    def _compiled(self, base: bytes) -> list[tuple[bytes, bytes]]:
        """A template a variant, and its attributions' data; both to be filled with `%`."""
        compiled = self._templates.get(base)
        if compiled is None:
            compiled = [self._compile(variant, base) for variant in self._variants]
            self._templates[base] = compiled
        return compiled

    @staticmethod
    def _compile(variant: dict[str, Any], base: bytes) -> tuple[bytes, bytes]:
        def related(name: bytes) -> bytes:
            own = base + b"/api/events/%b/"
            return b'"links":{"self":"' + own + b"relationships/" + name + b'/","related":"' + own + name + b'/"}'

        properties = json.dumps(variant["properties"], ensure_ascii=False, separators=(",", ":")).encode()
        metric = b'{"type":"metric","id":"' + variant["metric"].encode() + b'"}'
        template = (
            b'{"type":"event","id":"%b","attributes":{"timestamp":%d,"event_properties":{"$event_id":"%b",'
            b'"$value":%d.%02d,' + properties[1:].replace(b"%", b"%%") + b',"datetime":"%b","uuid":"%b"},'
            b'"relationships":{"profile":{"data":{"type":"profile","id":"%b"},' + related(b"profile") + b"},"
            b'"metric":{"data":' + metric + b"," + related(b"metric") + b'},"attributions":{%b' + related(b"attributions")
            + b'}},"links":{"self":"' + base + b'/api/events/%b/"}}'
        )  # fmt: skip
        data = b'"data":[{"type":"attribution","id":"%b-1"}],' if variant["attribution"] else b""
        return template, data

    def render(self, handles: Iterable[Handle], base: bytes, with_attributions: bool) -> list[bytes]:
        """JSON of base events; those of the overlay are for the caller to render.

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
                row = row.replace(b'"metric":{"data":{"type":"metric","id":"' + self._metric(v) + b'"}', LOST, 1)
            rows.append(row)
        return rows

    def _metric(self, variant: int) -> bytes:
        return str(self._variants[variant]["metric"]).encode()


LOST = b'"metric":{"data":null'

# base events are of the first few messages and forms, so that each of these has some of most kinds
BUSY = 4
# what attributed events are, in turn
ATTRIBUTED_METRICS = (
    "Received Email", "Opened Email", "Placed Order", "Received SMS", "Clicked Email", "Bounced Email",
    "Unsubscribed from Email Marketing", "Active on Site",
    "Received Email", "Opened Email", "Placed Order", "Received SMS", "Clicked SMS", "Failed to Deliver SMS",
    "Marked Email as Spam", "Clicked Email",
)  # fmt: skip
FORM_METRICS = (
    "Viewed Form", "Viewed Form Step", "Closed Form", "Submitted Form Step", "Submitted Form", "Qualified Form",
)  # fmt: skip
EMAIL_METRICS = (
    "Received Email", "Opened Email", "Clicked Email", "Bounced Email", "Unsubscribed from Email Marketing",
    "Marked Email as Spam",
)  # fmt: skip
TEXT_METRICS = ("Received SMS", "Clicked SMS", "Failed to Deliver SMS", "Unsubscribed from SMS Marketing")

WORDS = ["Ünïcode Tee", "Wool Socks", "Lampe «Nuit»", "茶 set", "Mug 12oz", 'Poster 24"', "Gift 🎁 Card", "100% Cotton"]


def _properties(variant: int, x: int, metric: str) -> Resource:
    """Event properties: nested, of changing types, some 450 bytes."""
    if metric in TEXT_METRICS:
        return {
            "$message": f"01K{x % 10**9:09d}",
            "Message Name": f"Sale № {x % 40}",
            "Message Format": ["sms", "mms"][x % 2],
            "Segment Count": 1 + x % 3,
            "$usage_amount": [1, 3][x % 2] * (1 + x % 3),
            "From Number": "+15550199",
            "From Phone Region": "US",
            "To Phone Region": ["US", "CA", "DE"][x % 3],
        }
    if metric in EMAIL_METRICS:
        return {
            "Subject": f"{WORDS[x % 8]} — week {x % 52}",
            "Campaign Name": f"Newsletter {x % 40}",
            "$message": f"01K{x % 10**9:09d}",
            "Email Domain": ["gmail.com", "example.com", "web.de"][x % 3],
            "Client Name": ["Apple Mail", "Gmail", "Outlook"][x % 3],
            "Client OS": ["iOS", "Android", "Windows", None][x % 4],
            "Client Type": "mobile",
            "URL": f"https://shop.example.com/p/{x % 900}?utm_source=klaviyo&utm_campaign=week%20{x % 52}",
            "$_cohort$message_send_cohort": f"{1700000000 + x % 10**7}:01K{x % 10**9:09d}",
            "machine_open": bool(x % 2),
            "tags": [f"t{x % 9}", "ü"],
        }
    items = [
        {
            "ProductID": x % 5000 + n,
            "SKU": f"sku-{(x + n) % 997}",
            "ProductName": WORDS[(x >> n) % 8],
            "Quantity": 1 + (x >> n) % 3 if n else str(1 + x % 3),
            "ItemPrice": round((x >> n) % 20000 / 100, 2),
            "Brand": {"Name": "日用品", "Since": 1962 + n, "note": None},
        }
        for n in range(1 + x % 3)
    ]
    return {
        "OrderId": x % 10**12 if variant % 3 else f"#{x % 10**6}",
        "big": (1 << 53) + 1 + x % 997 if variant % 16 == 3 else 1,
        "Items": items,
        "ItemNames": [item["ProductName"] for item in items],
        "DiscountCode": "WELCOME10" if x % 3 == 0 else None,
        "DiscountValue": x % 10 if variant % 2 else f"{x % 10}.00",
        "BillingAddress": {"City": "Łódź", "Zip": f"{x % 99999:05d}", "Lines": ["1 Main St", ""]},
        "empty": {},
        "Currency": ["USD", "EUR", "JPY"][x % 3],
        f"custom field {x % 7}": [None, True, 1.5, "x", {"a": []}][x % 5],
    }


def _form_properties(x: int, form: str, version: str) -> Resource:
    return {
        "form_id": form,
        "form_version_id": version,
        "form_type": ["POPUP", "FLYOUT"][x % 2],
        "page_url": f"https://shop.example.com/p/{x % 900}",
        "hostname": "shop.example.com",
        "is_client_event": bool(x % 3),
    }


def _overlay_sketch(entry: Entry, attributions: list[Resource]) -> Sketch | None:
    """The sketch of an event of the overlay; None without a metric."""
    metric = dig(entry.resource, ["relationships", "metric", "data", "id"])
    found = dig(entry.resource, ["attributes", "event_properties"])
    if not metric or not isinstance(metric[0], str):
        return None
    touches = [
        {name: str(link["data"]["id"]) for name, link in attribution["relationships"].items() if link.get("data")}
        for attribution in attributions
    ]
    return Sketch(metric[0], tuple(touches), found[0] if found and isinstance(found[0], dict) else {})


def amount(value: Any) -> Decimal:
    """A number of an event's properties as it is written; 0 for anything else."""
    return Decimal(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else Decimal(0)
