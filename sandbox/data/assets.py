"""Images and web feeds."""

from __future__ import annotations

from .maker import DAY_S, Maker
from .resources import Resource
from .timestamps import iso


def images(make: Maker) -> list[Resource]:
    """Images in the library; their ids are numbers."""
    return [
        {
            "type": "image",
            "id": str(7 + 3 * place),
            "attributes": {
                "name": f"Möwe {place}" if place % 4 else "",
                "image_url": f"https://images.example.com/company/{place}.jpeg",
                "format": ["jpeg", "png", "gif"][place % 3],
                "size": make.random.randrange(100, 5_000_000),
                "hidden": place % 5 == 4,
                "updated_at": iso(make.second(make.start - 50 * DAY_S)),
            },
            "relationships": {},
        }
        for place in range(15)
    ]


def web_feeds(make: Maker) -> list[Resource]:
    """Web feeds: more than a page of 20."""
    built = []
    for place in range(23):
        created = make.second(make.start - 50 * DAY_S)
        built.append(
            {
                "type": "web-feed",
                "id": make.identity(12),
                "attributes": {
                    "name": f"Blog_{place}" if place else "ブログ",
                    "url": f"https://blog.example.com/feed/{place}.json?n=5&lang=de",
                    "request_method": ["get", "post"][place % 2],
                    "content_type": ["json", "xml"][place % 2],
                    "created": iso(created),
                    "updated": iso(make.second(created)),
                    "status": ["ok", "refreshing", "disabled", None][place % 4],
                },
                "relationships": {},
            }
        )
    return built
