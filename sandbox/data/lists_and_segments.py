"""The small collections of an account: metrics, tags, lists, segments, templates, and the account itself."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from ..store.store import Resource
from .timestamps import iso

DAY_S = 86400
ALPHABET = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

METRICS = [
    ("Placed Order", "Shopify", "eCommerce"),
    ("Opened Email", "Klaviyo", "Internal"),
    ("Received Email", "Klaviyo", "Internal"),
    ("Viewed Product", "API", "API"),
    ("Clicked Email", "Klaviyo", "Internal"),
    ("Ordered Product", "Shopify", "eCommerce"),
    ("Active on Site", "API", "API"),
    ("Checkout Started", "Shopify", "eCommerce"),
    ("Added to Cart", "API", "API"),
    ("Fulfilled Order", "Shopify", "eCommerce"),
    ("Received SMS", "Klaviyo", "Internal"),
    ("Bounced Email", "Klaviyo", "Internal"),
    ("Unsubscribed from Email Marketing", "Klaviyo", "Internal"),
    ("Refunded Order", "Shopify", "eCommerce"),
    ("Clicked SMS", "Klaviyo", "Internal"),
    ("Failed to Deliver SMS", "Klaviyo", "Internal"),
    ("Marked Email as Spam", "Klaviyo", "Internal"),
    ("Viewed Form", "Klaviyo", "Internal"),
    ("Viewed Form Step", "Klaviyo", "Internal"),
    ("Submitted Form Step", "Klaviyo", "Internal"),
    ("Submitted Form", "Klaviyo", "Internal"),
    ("Closed Form", "Klaviyo", "Internal"),
    ("Qualified Form", "Klaviyo", "Internal"),
]
TAGS = ["VIP", "Q4 — Black Friday", "lifecycle", "日本", "Test", "Win-back", "sms", "Naïve", "Holiday"]
LIST_NAMES = ["Empty list", "Newsletter", "SMS subscribers", "Früh-Zugang", "Beta testers", "Store: München", "VIP"]
SEGMENT_NAMES = ["Nobody", "Engaged 30 days", "Churn risk", "Big spenders", "Never purchased", "Kund:innen", "EU"]


@dataclass
class Maker:
    """What the builders share: one source of chance, the history in seconds since 1970, unique short ids."""

    random: Random
    start: int
    end: int

    def identity(self, length: int = 6) -> str:
        """A new id."""
        return "".join(self.random.choices(ALPHABET, k=length))

    def ulid(self) -> str:
        """A new id of the long form that campaigns and tags have."""
        return "01J" + "".join(self.random.choices("0123456789ABCDEFGHJKMNPQRSTVWXYZ", k=23))

    def second(self, low: int | None = None, high: int | None = None) -> int:
        """A moment, by default within the history."""
        low = self.start if low is None else low
        return self.random.randint(low, max(low, (self.end if high is None else high) - 1))

    def flip(self, chance: float) -> bool:
        """True with a chance."""
        return self.random.random() < chance


def ids(kind: str, identities: list[str]) -> Resource:
    """A to-many relationship."""
    return {"data": [{"type": kind, "id": identity} for identity in identities]}


def to(kind: str, identity: str | None) -> Resource:
    """A to-one relationship, to nothing where the id is None."""
    return {"data": {"type": kind, "id": identity} if identity is not None else None}


def account(make: Maker) -> Resource:
    """The account resource."""
    return {
        "type": "account",
        "id": make.identity(),
        "attributes": {
            "test_account": False,
            "contact_information": {
                "default_sender_name": "Nordlys & Söhne",
                "default_sender_email": "hello@nordlys.example.com",
                "website_url": "https://nordlys.example.com",
                "organization_name": "Nordlys",
                "street_address": {
                    "address1": "1 Harbour St",
                    "address2": "2nd floor",
                    "city": "Boston",
                    "region": "MA",
                    "country": "United States",
                    "zip": "02111",
                },
            },
            "industry": "Ecommerce, Home & Garden",
            "timezone": "America/New_York",
            "preferred_currency": "USD",
            "public_api_key": make.identity(),
            "locale": "en-US",
        },
        "relationships": {},
    }


def metrics(make: Maker, count: int) -> list[Resource]:
    """Metrics, the best known first; some are older than the history."""
    built = []
    integrations = {name: make.identity() for name in ("Shopify", "Klaviyo", "API")}
    for place in range(count):
        name, source, category = METRICS[place] if place < len(METRICS) else (f"Custom event {place}", "API", "API")
        created = make.second(make.start - 400 * DAY_S)
        integration = {
            "object": "integration",
            "id": integrations[source],
            "key": source.lower(),
            "name": source,
            "category": category,
        }
        built.append(
            {
                "type": "metric",
                "id": make.identity(),
                "attributes": {
                    "name": name,
                    "created": iso(created),
                    "updated": iso(make.second(created)),
                    "integration": integration,
                },
                "relationships": {"flow-triggers": ids("flow", [])},
            }
        )
    return built


def tag_groups(make: Maker) -> list[Resource]:
    """The default tag group and an exclusive one."""
    return [
        {
            "type": "tag-group",
            "id": make.ulid(),
            "attributes": {"name": name, "exclusive": exclusive, "default": default},
            "relationships": {"tags": ids("tag", [])},
        }
        for name, exclusive, default in (("Default Tag Group", False, True), ("Season", True, False))
    ]


def tags(make: Maker, count: int, groups: list[Resource]) -> list[Resource]:
    """Tags; what carries them is filled in by `link_tags`."""
    built = []
    for place in range(count):
        group = groups[place % len(groups)]
        tag = {
            "type": "tag",
            "id": make.ulid(),
            "attributes": {"name": TAGS[place] if place < len(TAGS) else f"tag {place}"},
            "relationships": {
                "tag-group": {"data": {"type": "tag-group", "id": group["id"]}},
                "lists": ids("list", []),
                "segments": ids("segment", []),
                "campaigns": ids("campaign", []),
                "flows": ids("flow", []),
            },
        }
        group["relationships"]["tags"]["data"].append({"type": "tag", "id": tag["id"]})
        built.append(tag)
    return built


def link_tags(make: Maker, tags_: list[Resource], carriers: list[Resource]) -> None:
    """Give each carrier none, one or two tags, both ways."""
    for carrier in carriers:
        for tag in make.random.sample(tags_, k=min(len(tags_), make.random.choice([0, 0, 1, 2]))):
            carrier["relationships"]["tags"]["data"].append({"type": "tag", "id": tag["id"]})
            tag["relationships"][f"{carrier['type']}s"]["data"].append({"type": carrier["type"], "id": carrier["id"]})


def lists(make: Maker, count: int) -> list[Resource]:
    """Lists; the first will be empty, the second large."""
    built = []
    for place in range(count):
        created = make.second(make.start - 300 * DAY_S, make.end)
        built.append(
            {
                "type": "list",
                "id": make.identity(),
                "attributes": {
                    "name": LIST_NAMES[place] if place < len(LIST_NAMES) else f"List {place}",
                    "created": iso(created),
                    "updated": iso(make.second(created)),
                    "opt_in_process": ["double_opt_in", "single_opt_in"][place % 2],
                    "profile_count": 0,
                },
                "relationships": {"tags": ids("tag", []), "flow-triggers": ids("flow", [])},
            }
        )
    return built


def segments(make: Maker, count: int, metrics_: list[Resource]) -> list[Resource]:
    """Segments with definitions; the first will be empty."""
    built = []
    for place in range(count):
        created = make.second(make.start - 300 * DAY_S, make.end)
        conditions: list[Resource] = [
            {
                "type": "profile-property",
                "property": "location['country']",
                "filter": {"type": "string", "operator": "equals", "value": "Germany"},
            }
        ]
        if metrics_ and place % 2:
            conditions.append(
                {
                    "type": "profile-metric",
                    "metric_id": metrics_[place % len(metrics_)]["id"],
                    "measurement": "count",
                    "measurement_filter": {"type": "numeric", "operator": "greater-than-or-equal", "value": place},
                    "timeframe_filter": {"type": "date", "operator": "in-the-last", "unit": "day", "quantity": 30},
                    "metric_filters": None,
                }
            )
        built.append(
            {
                "type": "segment",
                "id": make.identity(),
                "attributes": {
                    "name": SEGMENT_NAMES[place] if place < len(SEGMENT_NAMES) else f"Segment {place}",
                    "definition": {"condition_groups": [{"conditions": [condition]} for condition in conditions]},
                    "created": iso(created),
                    "updated": iso(make.second(created)),
                    "is_active": place % 7 != 5,
                    "is_processing": False,
                    "is_starred": place % 4 == 1,
                    "profile_count": 0,
                },
                "relationships": {"tags": ids("tag", []), "flow-triggers": ids("flow", [])},
            }
        )
    return built


def templates(make: Maker, count: int) -> list[Resource]:
    """Templates with HTML of some kilobytes."""
    built = []
    for place in range(count):
        created = make.second(make.start - 200 * DAY_S)
        draggable = place % 3 == 0
        paragraphs = "".join(f"<p>Grüße, {{{{ first_name|default:'friend' }}}} — № {n}</p>\n" for n in range(20))
        definition: Resource = {}
        if draggable:
            definition["definition"] = {
                "id": make.identity(),
                "template_id": make.identity(),
                "body": {
                    "properties": {"css_class": None},
                    "styles": {"background_color": "#ffffff", "width": 600},
                    "sections": [],
                },
                "styles": [],
            }
        built.append(
            {
                "type": "template",
                "id": make.identity(),
                "attributes": {
                    "name": f"Vorlage «{place}»",
                    "editor_type": "SYSTEM_DRAGGABLE" if draggable else "CODE",
                    "html": f"<html><body>\n{paragraphs}</body></html>",
                    "text": None if place % 4 == 1 else f"Hello {{{{ first_name }}}} {place}",
                    "amp": None,
                    "created": iso(created),
                    "updated": iso(make.second(created)),
                    "screenshot_url": f"https://images.example.com/templates/{place}.png?e=1&s=ü"
                    if place % 3
                    else None,
                    **definition,
                },
                "relationships": {},
            }
        )
    return built
