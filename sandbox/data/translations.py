"""Translations of messages and templates, since revision 2026-10-15."""

from __future__ import annotations

from .maker import DAY_S, Maker
from .resources import Resource, to_one
from .timestamps import iso

# (type of a record that can be translated, channel of the translation).
TRANSLATED = [
    ("campaign-variation", "email"),
    ("flow-message", "sms"),
    ("template", "email"),
    ("template-universal-content", "email"),
]


def translations(make: Maker, targets: dict[str, list[str]]) -> list[Resource]:
    """Translations of every third record, at most 12 for a type.

    Args:
        targets: type -> ids of the records that can be translated.
    """
    built = []
    for place in range(12):
        for kind, channel in TRANSLATED:
            if 3 * place >= len(targets[kind]):
                continue
            target = targets[kind][3 * place]
            created = make.second(make.start - 20 * DAY_S)
            locales = ["de-DE", "fr", "ja"][: place % 4]
            built.append(
                {
                    "type": "translation",
                    "id": f"{kind}::{channel}::{make.ulid()}",
                    "attributes": {
                        "source_locale": "en",
                        "target_locales": locales,
                        "fallback_locale": "en" if place % 2 else None,
                        "channel": channel,
                        "metadata": {"template_name": f"Vorlage «{place}»", "n": 2**53 + 1} if place % 3 == 0 else None,
                        "created": iso(created) if place % 5 else None,
                        "updated": iso(make.second(created)) if place % 5 else None,
                        "values": [
                            {"id": f"block-{n}", "source": "Hello", "translations": dict.fromkeys(locales, "Grüß Gott")}
                            for n in range(place % 3)
                        ],
                    },
                    "relationships": {
                        name: to_one(name, target if name == kind else None)
                        for name, _ in (*TRANSLATED, ("consent-page", ""))
                    },
                }
            )
    return built
