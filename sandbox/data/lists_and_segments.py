"""Lists and segments. `store.members` decides who is in them."""

from __future__ import annotations

from .maker import DAY_S, Maker
from .resources import Resource, to_many
from .timestamps import iso

LIST_NAMES = ["Empty list", "Newsletter", "SMS subscribers", "Früh-Zugang", "Beta testers", "Store: München", "VIP"]
SEGMENT_NAMES = ["Nobody", "Engaged 30 days", "Churn risk", "Big spenders", "Never purchased", "Kund:innen", "EU"]


def lists(make: Maker, count: int) -> list[Resource]:
    """Lists. The first gets no members, the second most profiles."""
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
                "relationships": {"tags": to_many("tag", []), "flow-triggers": to_many("flow", [])},
            }
        )
    return built


def segments(make: Maker, count: int, metrics_: list[Resource]) -> list[Resource]:
    """Segments with definitions. The first gets no members."""
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
                "relationships": {"tags": to_many("tag", []), "flow-triggers": to_many("flow", [])},
            }
        )
    return built
