"""Product reviews, ratings and questions."""

from __future__ import annotations

from .maker import DAY_S, Maker
from .resources import Resource, to_many, to_one
from .timestamps import iso

REVIEW_STATES: list[Resource | None] = [
    {"value": "published"},
    {"value": "featured"},
    {"value": "rejected", "rejection_reason": {"reason": "other", "status_explanation": "Nur Großbuchstaben"}},
    {"value": "pending"},
    {"value": "rejected", "rejection_reason": {"reason": "fake"}},
    {"value": "unpublished"},
    None,
]


def reviews(make: Maker, items: list[Resource], events: list[str]) -> list[Resource]:
    """Reviews, ratings and questions in every state."""
    built = []
    for place in range(28):
        created = make.second(make.start - 30 * DAY_S)
        updated = make.second(created)
        item = items[place % len(items)]
        kind = ["review", "rating", "question", "store"][place % 4]
        attributes: Resource = {
            "email": f"person{place}@example.com" if place % 5 else None,
            "status": REVIEW_STATES[place % len(REVIEW_STATES)],
            "verified": place % 2 == 0,
            "review_type": kind,
            "created": iso(created),
            "updated": iso(updated),
            "images": [f"https://images.example.com/review-{place}.jpg"] if place % 3 == 0 else [],
            "rating": None if kind == "question" else 1 + place % 5,
            "author": "Zoë 🌿" if place % 4 else None,
            "content": "Sehr schön.\nGerne wieder!" if kind != "rating" else None,
            "title": "Schön" if place % 3 else None,
            "smart_quote": "Gerne wieder!" if place % 8 == 4 else None,
        }
        if kind != "store":
            attributes["product"] = {
                "url": f"https://nordlys.example.com/items/{place}",
                "name": str(item["attributes"]["title"]),
                "image_url": item["attributes"]["image_full_url"],
                "external_id": item["attributes"]["external_id"],
            }
        if place % 6 == 1:
            attributes["public_reply"] = {"content": "Danke!", "author": "Nordlys", "updated": iso(updated)}
        built.append(
            {
                "type": "review",
                "id": f"{place:02d}{make.identity(30).lower()}",
                "attributes": attributes,
                "relationships": {
                    "events": to_many("event", events[place : place + place % 3]),
                    "item": to_one("catalog-item", item["id"] if kind != "store" else None),
                },
            }
        )
    return built
