"""The catalog: items, variants and categories."""

from __future__ import annotations

from .maker import DAY_S, Maker
from .resources import Resource, to_many, to_one
from .timestamps import iso

CATALOG = "$custom:::$default:::"
ITEMS = ["Ocean Blue Shirt", "Früchtetee «Waldbeere»", "茶碗", "Kerze № 5", "Lámpara", "Sparse"]
CATEGORIES = ["Apparel", "Küche & Bad", "新着", "Empty"]
# More than a page of 100.
ITEM_COUNT = 130


def catalog(make: Maker) -> tuple[list[Resource], list[Resource], list[Resource]]:
    """Items, variants and categories. The last category is empty."""
    categories: list[Resource] = [
        {
            "type": "catalog-category",
            "id": f"{CATALOG}CATEGORY-{place}",
            "attributes": {
                "external_id": f"CATEGORY-{place}",
                "name": name,
                "updated": iso(make.second()) if place % 3 else None,
            },
            "relationships": {"items": to_many("catalog-item", [])},
        }
        for place, name in enumerate(CATEGORIES)
    ]
    items, variants = [], []
    for place in range(ITEM_COUNT):
        item = _item(make, place)
        item["relationships"]["categories"] = to_many("catalog-category", [])
        for category in (c for n, c in enumerate(categories[:-1]) if place % (n + 1) == 0 and place % 4 != 3):
            item["relationships"]["categories"]["data"].append({"type": "catalog-category", "id": category["id"]})
            category["relationships"]["items"]["data"].append({"type": "catalog-item", "id": item["id"]})
        own = [_variant(make, item, place, size) for size in range(place % 4 if place < 12 else place % 2)]
        item["relationships"]["variants"] = to_many("catalog-variant", [variant["id"] for variant in own])
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
        "relationships": {"item": to_one("catalog-item", item["id"])},
    }
