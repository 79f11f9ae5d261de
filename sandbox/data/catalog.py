"""The shop side of an account: catalog, coupons with their codes, reviews."""

from __future__ import annotations

from ..store.store import Resource
from .lists_and_segments import DAY_S, Maker, ids, to
from .timestamps import iso

CATALOG = "$custom:::$default:::"
ITEMS = ["Ocean Blue Shirt", "Früchtetee «Waldbeere»", "茶碗", "Kerze № 5", "Lámpara", "Sparse"]
CATEGORIES = ["Apparel", "Küche & Bad", "新着", "Empty"]
# more than a page of a hundred
ITEM_COUNT = 130
CODE_COUNT = 120
CODE_STATES = ["UNASSIGNED", "ASSIGNED_TO_PROFILE", "USED", "DELETING", "PROCESSING", "VERSION_NOT_ACTIVE"]
REVIEW_STATES: list[Resource | None] = [
    {"value": "published"},
    {"value": "featured"},
    {"value": "rejected", "rejection_reason": {"reason": "other", "status_explanation": "Nur Großbuchstaben"}},
    {"value": "pending"},
    {"value": "rejected", "rejection_reason": {"reason": "fake"}},
    {"value": "unpublished"},
    None,
]


def catalog(make: Maker) -> tuple[list[Resource], list[Resource], list[Resource]]:
    """Items, their variants and the categories they are in; the last category is empty."""
    categories: list[Resource] = [
        {
            "type": "catalog-category",
            "id": f"{CATALOG}CATEGORY-{place}",
            "attributes": {
                "external_id": f"CATEGORY-{place}",
                "name": name,
                "updated": iso(make.second()) if place % 3 else None,
            },
            "relationships": {"items": ids("catalog-item", [])},
        }
        for place, name in enumerate(CATEGORIES)
    ]
    items, variants = [], []
    for place in range(ITEM_COUNT):
        item = _item(make, place)
        item["relationships"]["categories"] = ids("catalog-category", [])
        for category in (c for n, c in enumerate(categories[:-1]) if place % (n + 1) == 0 and place % 4 != 3):
            item["relationships"]["categories"]["data"].append({"type": "catalog-category", "id": category["id"]})
            category["relationships"]["items"]["data"].append({"type": "catalog-item", "id": item["id"]})
        own = [_variant(make, item, place, size) for size in range(place % 4 if place < 12 else place % 2)]
        item["relationships"]["variants"] = ids("catalog-variant", [variant["id"] for variant in own])
        items.append(item)
        variants += own
    return items, variants, categories


def _item(make: Maker, place: int) -> Resource:
    name = ITEMS[place % len(ITEMS)]
    created = make.second(make.start - 200 * DAY_S)
    attributes: Resource = {
        "external_id": f"ITEM-{place}",
        "title": f"{name} {place}",
        "description": "Weich, warm; \u2028 zwei Zeilen." if place % 5 else "",
        "price": [42, 19.99, 0.1, None][place % 4],
        "url": f"https://nordlys.example.com/items/{place}?ref=a%20b&c=1",
        "image_full_url": f"https://images.example.com/{place}.png",
        "image_thumbnail_url": f"https://images.example.com/{place}-s.png" if place % 2 else None,
        "images": [f"https://images.example.com/{place}-{n}.png" for n in range(place % 3)] if place % 4 else None,
        "custom_metadata": {"Top Pick": True, "Material": "Leinen", "big": 2**53 + place} if place % 3 else {},
        "published": place % 7 != 6,
        "created": iso(created),
        "updated": iso(make.second(created)),
    }
    if name == "Sparse":
        attributes = {key: attributes[key] if key in ("external_id", "created") else None for key in attributes}
    return {"type": "catalog-item", "id": f"{CATALOG}ITEM-{place}", "attributes": attributes, "relationships": {}}


def _variant(make: Maker, item: Resource, place: int, size: int) -> Resource:
    created = make.second()
    return {
        "type": "catalog-variant",
        "id": f"{item['id']}-{'SML'[size]}",
        "attributes": {
            "external_id": f"ITEM-{place}-{'SML'[size]}",
            "title": f"{item['attributes']['title']} Größe {'SML'[size]}",
            "description": None if size else "Variante",
            "sku": f"SKU-{place}-{size}",
            "inventory_policy": [0, 1, 2, None][(place + size) % 4],
            "inventory_quantity": [25, 0, 3.5, None][(place + size) % 4],
            "price": 42.5 if size else None,
            "url": f"https://nordlys.example.com/items/{place}/{size}",
            "image_full_url": f"https://images.example.com/{place}-{size}.png" if size else None,
            "image_thumbnail_url": f"https://images.example.com/{place}-{size}-s.png" if size else None,
            "images": [] if size else ["https://images.example.com/variant.png"],
            "custom_metadata": {"colour": "青"} if size else None,
            "published": True,
            "created": iso(created),
            "updated": iso(make.second(created)),
        },
        "relationships": {"item": to("catalog-item", item["id"])},
    }


def coupons(make: Maker, profiles: list[str]) -> tuple[list[Resource], list[Resource]]:
    """Coupons and their codes: one with more than a page of them, one without any, one whose id needs quoting."""
    built, codes = [], []
    for place, (name, count) in enumerate([("10OFF", CODE_COUNT), ("Frühling 20%", 5), ('5"off', 3), ("UNUSED", 0)]):
        own: list[Resource] = []
        for number in range(count):
            unique = f"{make.identity(10).upper()}{number}"
            given = profiles[number % len(profiles)] if profiles and number % 3 else None
            own.append(
                {
                    "type": "coupon-code",
                    "id": f"{name}-{unique}",
                    "attributes": {
                        "unique_code": unique,
                        "expires_at": iso(make.end + number * DAY_S) if number % 4 else None,
                        "status": CODE_STATES[number % len(CODE_STATES)],
                    },
                    "relationships": {
                        "coupon": to("coupon", name),
                        "profile": to("profile", given),
                    },
                }
            )
        codes += own
        built.append(
            {
                "type": "coupon",
                "id": name,
                "attributes": {
                    "external_id": name,
                    "description": None if place == 3 else f"{name} — für Käufe über 50 €",
                    "monitor_configuration": [{"low_balance_threshold": 500}, {}, None, None][place],
                    "assigner_configuration": {"used": "ASSIGN_IF_EXPIRED", "unused_expired": "ALWAYS_ASSIGN"}
                    if place % 2
                    else None,
                },
                "relationships": {"coupon-codes": ids("coupon-code", [code["id"] for code in own])},
            }
        )
    return built, codes


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
                    "events": ids("event", events[place : place + place % 3]),
                    "item": to("catalog-item", item["id"] if kind != "store" else None),
                },
            }
        )
    return built
