"""Email templates, and the universal content (saved blocks and sections) that they use."""

from __future__ import annotations

from .maker import DAY_S, Maker
from .resources import Resource
from .timestamps import iso

BLOCKS: list[Resource | None] = [
    {"content_type": "block", "type": "button", "data": None},
    {"content_type": "section", "type": "section", "data": None},
    None,
    {"content_type": "block", "type": "html", "data": {"content": "<b>Grüße</b>", "display_options": {}}},
]


def templates(make: Maker, count: int) -> list[Resource]:
    """Templates with a few kilobytes of HTML."""
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


def universal_content(make: Maker) -> list[Resource]:
    """Blocks and sections. Some have no definition, as those that the API cannot express."""
    built = []
    for place in range(11):
        created = make.second(make.start - 50 * DAY_S)
        built.append(
            {
                "type": "template-universal-content",
                "id": make.ulid(),
                "attributes": {
                    "name": f"Fußzeile {place}",
                    "definition": BLOCKS[place % len(BLOCKS)],
                    "created": iso(created),
                    "updated": iso(make.second(created)),
                    "screenshot_status": ["completed", "generating", "failed", "not_renderable"][place % 4],
                    "screenshot_url": f"https://images.example.com/shots/{place}.png" if place % 4 == 0 else "",
                },
                "relationships": {},
            }
        )
    return built
