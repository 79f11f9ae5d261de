"""Metrics, custom metrics, mapped metrics, and the properties that Klaviyo infers from a metric's events."""

from __future__ import annotations

from .maker import DAY_S, Maker
from .resources import Resource, to_many, to_one
from .timestamps import iso

METRICS = [
    ("Placed Order", "Shopify", "eCommerce"),
    ("Opened Email", "Klaviyo", "Internal"),
    ("Received Email", "Klaviyo", "Internal"),
    ("Viewed Product", "API", "API"),
    ("Clicked Email", "Klaviyo", "Internal"),
    ("Ordered Product", "Shopify", "eCommerce"),
    ("Active on Site", "API", "API"),
    ("Checkout Started", "Shopify", "eCommerce"),
    ("Added to Cart", "Cart Booster", "Advertising"),
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
    # Names are not unique: an account of at least 24 metrics has two of this one.
    ("Placed Order", "API", "API"),
]

#: OAuth apps -> id of their category, which Klaviyo sends as an object (seen).
APPLICATIONS = {"Cart Booster": 15}

MAPPINGS = ["revenue", "ordered_product", "started_checkout", "added_to_cart", "viewed_product"]
PROPERTIES: list[tuple[str, str, list[object] | None]] = [
    ("Items", "List", ["Wool socks", "茶碗"]),
    ("$value", "Number", [19.9, 2**53 + 1, 0]),
    ("Größe", "String", ["S", ""]),
    ("is_first", "Boolean", [True, False]),
    ("empty", "String", []),
    ("unseen", "String", None),
]


def metrics(make: Maker, count: int) -> list[Resource]:
    """Metrics, Klaviyo's and Shopify's before custom ones. Some are older than the history."""
    built = []
    integrations = {name: make.identity() for name in ("Shopify", "Klaviyo", "API", *APPLICATIONS)}
    for place in range(count):
        name, source, category = METRICS[place] if place < len(METRICS) else (f"Custom event {place}", "API", "API")
        created = make.second(make.start - 400 * DAY_S)
        category_id = APPLICATIONS.get(source)
        integration = {
            "object": "integration" if category_id is None else "application",
            "id": integrations[source],
            "key": source.lower(),
            "name": source,
            "category": category if category_id is None else {"id": category_id, "category": category},
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
                "relationships": {"flow-triggers": to_many("flow", [])},
            }
        )
    return built


def custom_metrics(make: Maker, metrics: list[str]) -> list[Resource]:
    """Custom metrics, which combine other metrics; none if there are no metrics."""
    built = []
    for place in range(4 if metrics else 0):
        created = make.second(make.start - 30 * DAY_S)
        used = list(dict.fromkeys(metrics[place : place + 1 + place % 3] or metrics[:1]))
        condition = {"property": "total", "filter": {"type": "numeric", "operator": "greater-than", "value": 100}}
        built.append(
            {
                "type": "custom-metric",
                "id": make.identity(32).lower(),
                "attributes": {
                    "name": f"Große Bestellungen {place}",
                    "created": iso(created),
                    "updated": iso(make.second(created)),
                    "definition": {
                        "aggregation_method": ["count", "value"][place % 2],
                        "metric_groups": [
                            {
                                "metric_id": metric,
                                "metric_filters": [condition] if place == 2 else None,
                                "value_property": "total" if place % 2 else None,
                            }
                            for metric in used
                        ],
                    },
                },
                "relationships": {"metrics": to_many("metric", used)},
            }
        )
    return built


def mapped_metrics(make: Maker, metrics: list[str], custom: list[Resource]) -> list[Resource]:
    """Mapped metrics: each is mapped to a metric, a custom metric, or nothing."""
    built = []
    for place, name in enumerate(MAPPINGS):
        by_custom = place == 1 and bool(custom)
        metric = metrics[place] if place < len(metrics) and not by_custom and place != 4 else None
        built.append(
            {
                "type": "mapped-metric",
                "id": name,
                "attributes": {"updated": iso(make.second())},
                "relationships": {
                    "metric": to_one("metric", metric),
                    "custom-metric": to_one("custom-metric", custom[0]["id"] if by_custom else None),
                },
            }
        )
    return built


def metric_properties(make: Maker, metrics: list[Resource]) -> list[Resource]:
    """Metric properties. The metrics get them as a relationship; every fourth metric has none."""
    built = []
    for place, metric in enumerate(metrics):
        own: list[Resource] = []
        for name, kind, samples in PROPERTIES[: 0 if place % 4 == 3 else 2 + place % 5]:
            own.append(
                {
                    "type": "metric-property",
                    "id": make.identity(32).lower(),
                    "attributes": {"label": name.strip("$"), "property": name, "inferred_type": kind}
                    | {"sample_values": samples},
                    "relationships": {"metric": to_one("metric", metric["id"])},
                }
            )
        metric["relationships"]["metric-properties"] = to_many("metric-property", [item["id"] for item in own])
        built += own
    return built
