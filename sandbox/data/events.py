"""The contents of base events: each event is one of a few variants.

A variant fixes the metric, the attribution and the properties. Only ids, moments and `$value` differ from event to
event, so the JSON of an event is a template of its variant with these filled in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

from .ids import mix
from .resources import Resource

VARIANTS = 256
# One variant writes its datetimes with a space and a fraction, as seen in Klaviyo's answers now and then.
ODD_VARIANT = 77
# One event in so many has no metric: its relationship is null.
LOST_METRIC = 4093
LOST = b'"metric":{"data":null'

# Base events belong to the first few messages and forms only, so that each of these has events of most metrics.
BUSY = 4
# Metrics of attributed events, in turn.
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


@dataclass(frozen=True)
class EventTargets:
    """What base events point at.

    Attributes:
        metrics: (id, name) of each.
        campaigns, flows: (id, id of a message).
        forms: (id, id of a version).
    """

    metrics: list[tuple[str, str]]
    campaigns: list[tuple[str, str]]
    flows: list[tuple[str, str]]
    forms: list[tuple[str, str]]

    @classmethod
    def of(cls, records: Mapping[str, list[Resource]]) -> EventTargets:
        """The targets among the records of an account, by kind."""
        flow_of = {action["id"]: _target(action, "flow") for action in records["flow-action"]}
        return cls(
            metrics=[(metric["id"], metric["attributes"]["name"]) for metric in records["metric"]],
            campaigns=_campaign_messages(records["campaign-message"]),
            flows=[(flow_of[_target(message, "flow-action")], message["id"]) for message in records["flow-message"]],
            forms=[(_target(version, "form"), version["id"]) for version in records["form-version"]],
        )

    @property
    def named_by_campaign(self) -> frozenset[str]:
        """Every second campaign: Klaviyo gives its own id where the id of its message belongs.

        Seen in `$message` of events and in `campaign_message_id` of campaign values, but not for all campaigns.
        """
        return frozenset(campaign for campaign, _ in self.campaigns[1::2])


def _target(resource: Resource, relationship: str) -> str:
    return str(resource["relationships"][relationship]["data"]["id"])


def _campaign_messages(messages: list[Resource]) -> list[tuple[str, str]]:
    """(campaign, its first message), sent campaigns first. Only first messages keep their id in every revision."""
    ordered = sorted(messages, key=lambda message: not message["attributes"]["send_times"])
    shown: dict[str, str] = {}
    for message in ordered:
        shown.setdefault(_target(message, "campaign"), message["id"])
    return [*shown.items()]


@dataclass(frozen=True)
class Variant:
    """What the events of a variant share.

    Attributes:
        metric: id of the metric.
        attribution: relationship -> id; empty for events without an attribution.
    """

    metric: str
    attribution: dict[str, str]
    properties: Resource


def variants(seed: int, targets: EventTargets) -> list[Variant]:
    """All variants; none without metrics."""
    if not targets.metrics:
        return []
    turns = {"campaign": count(), "flow": count(), "form": count()}
    return [_variant(number, mix(number, seed + 3), targets, turns) for number in range(VARIANTS)]


def _variant(number: int, x: int, targets: EventTargets, turns: dict[str, count[int]]) -> Variant:
    """A variant from 64 pseudo-random bits; `turns` counts the variants of each kind of target."""
    metrics = targets.metrics
    of_forms = [metric for metric in metrics if metric[1] in FORM_METRICS]
    others = [metric for metric in metrics if metric not in of_forms]
    if x % 8 == 2 and of_forms and targets.forms:
        turn = next(turns["form"])
        form, version = targets.forms[turn % min(BUSY, len(targets.forms))]
        metric_id, _ = of_forms[turn // BUSY % len(of_forms)]
        return Variant(metric_id, {}, _form_properties(x, form, version))
    # A few metrics make up most of the events.
    metric_id, name = others[min(x % len(others), (x >> 8) % len(others))]
    attribution: dict[str, str] = {}
    if targets.campaigns and x % 8 == 0:
        turn = next(turns["campaign"])
        campaign, message = targets.campaigns[turn % min(BUSY, len(targets.campaigns))]
        attribution = {"campaign": campaign, "campaign-message": message}
    elif targets.flows and x % 8 == 1:
        turn = next(turns["flow"])
        flow, message = targets.flows[turn % min(BUSY, len(targets.flows))]
        attribution = {"flow": flow, "flow-message": message, "flow-message-variation": message}
    of_messages = [metric for wanted in ATTRIBUTED_METRICS for metric in metrics if metric[1] == wanted]
    if attribution and of_messages:
        # Half of the metrics for one message, the other half for the next.
        metric_id, name = of_messages[(turn // BUSY + turn % BUSY % 2 * 8) % len(of_messages)]
    properties = _properties(number, x, name)
    if "$message" in properties and attribution:
        properties["$message"] = attribution.get("campaign-message") or attribution["flow-message"]
        if attribution.get("campaign") in targets.named_by_campaign:
            properties["$message"] = attribution["campaign"]
    return Variant(metric_id, attribution, properties)


def _properties(variant: int, x: int, metric: str) -> Resource:
    """Event properties, about 450 bytes: nested, and with fields whose type differs between events."""
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


def attribution(event_id: str, targets: Mapping[str, str]) -> Resource:
    """The attribution resource of an event.

    Args:
        targets: relationship -> id; relationships that are not given point at nothing.
    """
    data = {
        "event": event_id,
        "attributed-event": None,
        "campaign": None,
        "campaign-message": None,
        "flow": None,
        "flow-message": None,
        "flow-message-variation": None,
    } | dict(targets)
    kinds = {"attributed-event": "event", "flow-message-variation": "flow-message"}
    return {
        "type": "attribution",
        "id": f"{event_id}-1",
        "relationships": {
            name: {"data": {"type": kinds.get(name, name), "id": target} if target else None}
            for name, target in data.items()
        },
    }


def template(variant: Variant, base: bytes) -> tuple[bytes, bytes]:
    """The JSON of a variant's events, and the `data` of their attributions, both to be filled in with `%`.

    Args:
        base: start of every link, such as `http://127.0.0.1:8400`.
    """

    def related(name: bytes) -> bytes:
        own = base + b"/api/events/%b/"
        return b'"links":{"self":"' + own + b"relationships/" + name + b'/","related":"' + own + name + b'/"}'

    properties = json.dumps(variant.properties, ensure_ascii=False, separators=(",", ":")).encode()
    metric = b'{"type":"metric","id":"' + variant.metric.encode() + b'"}'
    event = (
        b'{"type":"event","id":"%b","attributes":{"timestamp":%d,"event_properties":{"$event_id":"%b",'
        b'"$value":%d.%02d,' + properties[1:].replace(b"%", b"%%") + b',"datetime":"%b","uuid":"%b"},'
        b'"relationships":{"profile":{"data":{"type":"profile","id":"%b"},' + related(b"profile") + b"},"
        b'"metric":{"data":' + metric + b"," + related(b"metric") + b'},"attributions":{%b' + related(b"attributions")
        + b'}},"links":{"self":"' + base + b'/api/events/%b/"}}'
    )  # fmt: skip
    data = b'"data":[{"type":"attribution","id":"%b-1"}],' if variant.attribution else b""
    return event, data
