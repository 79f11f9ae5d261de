"""The brand library of an account, since revision 2026-10-15: the look of its messages and the brand voice."""

from __future__ import annotations

from .maker import Maker
from .resources import Resource, to_one


def _text(size: int) -> Resource:
    return {
        "color": "#1a1a1a",
        "font_size": size,
        "font_style": "normal",
        "font_family": "Großbuch, 'Helvetica Neue', sans-serif",
        "font_weight": 400 + 100 * (size % 3),
        # A number, or a string with a unit.
        "letter_spacing": 0 if size % 2 else "0.5px",
        "text_decoration": "none" if size % 2 else "",
    }


def _link(color: str) -> Resource:
    return {"color": color, "font_style": "italic", "text_decoration": "line-through underline"}


def brand_library(make: Maker, account_id: str) -> dict[str, list[Resource]]:
    """Type -> records: buttons, colours, logos, social groups, email defaults and the voice."""
    numbers = iter(range(41, 1000))

    def record(kind: str, attributes: Resource, relationships: Resource | None = None) -> Resource:
        identity = str(next(numbers))
        return {"type": kind, "id": identity, "attributes": attributes, "relationships": relationships or {}}

    buttons = [
        record(
            "brand-button",
            {
                "name": name,
                "is_primary": place == 0,
                "style": {
                    "background_color": "#0a7",
                    "border_radius": 4 * place,
                    "box_shadow": "0 1px 2px rgba(0,0,0,.2)",
                    "is_shadow_active": place == 1,
                },
                "border": {
                    "border_color": "#000000",
                    "border_style": ["solid", "dashed", "dotted"][place],
                    "border_width": place,
                    "is_border_active": place > 0,
                }
                if place < 2
                else None,
                "spacing": {f"padding_{side}": 8 + place for side in ("top", "right", "bottom", "left")},
                "text": _text(14 + place),
                "preview_page_hex": "#ffffff" if place else None,
            },
        )
        for place, name in enumerate(["Kaufen »", "Zweitrangig", "幽霊"])
    ]
    colors = [
        record(
            "brand-color",
            {
                "name": name,
                "colors": [{"hex": f"#{make.random.randrange(16**6):06x}", "name": f"Ton {n}"} for n in range(count)],
            },
        )
        for name, count in (("Nordlicht", 5), ("Leer", 0))
    ]
    logos = [
        record(
            "brand-logo",
            {
                "width": 200 if place else None,
                "height": 60 if place else None,
                "alt_text": "Nordlys — Zuhause" if place else None,
                "link_url": "https://nordlys.example.com/?ref=logo",
                "name": f"Logo {place}",
            },
            {"image": to_one("image", image)},
        )
        for place, image in enumerate(["7", "10", None])
    ]
    socials = [
        record(
            "brand-social-group",
            {
                "name": name,
                "social_links": [{"type": "instagram", "url": "https://instagram.example.com/nordlys"}] * count,
            },
        )
        for name, count in (("Fußzeile", 2), ("Ohne", 0))
    ]
    defaults = record(
        "brand-email-default",
        {
            "body": {
                "background_color": "#ffffff",
                "body_background_color": "#f4f4f4",
                "text": _text(14),
                **{f"h{level}_text": _text(30 - 4 * level) for level in (1, 2, 3, 4)},
                "link_text": _link("#00aa77"),
            },
            "header": {
                "background_color": "#ffffff",
                "links": [{"text": "Läden", "url": "https://nordlys.example.com/stores"}],
                "link_text": _link("#000000") | {"font_size": 12, "font_weight": 700, "letter_spacing": 1},
                "logo_max_width": None,
            },
            "footer": {
                "background_color": "#eeeeee",
                "text": _text(11),
                "link_text": _link("#333333"),
                "social_group_color": "grey",
            },
        },
        {
            "brand-button": to_one("brand-button", buttons[0]["id"]),
            "brand-logo": to_one("brand-logo", logos[1]["id"]),
            "brand-social-group": to_one("brand-social-group", socials[0]["id"]),
        },
    )
    voice: Resource = {
        "type": "brand-voice",
        "id": account_id,
        "attributes": {
            "version": "v1",
            "tone_descriptors": [
                {"name": "Warm", "description": "Wie ein Brief von Freunden.", "user_modified": True},
                {"name": "Kurz", "description": ""},
            ],
            "language_patterns": [],
        },
        "relationships": {},
    }
    return {
        "brand-button": buttons,
        "brand-color": colors,
        "brand-logo": logos,
        "brand-social-group": socials,
        "brand-email-default": [defaults],
        "brand-voice": [voice],
    }
