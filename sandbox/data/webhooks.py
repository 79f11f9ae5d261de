"""Webhooks and the topics they listen to."""

from __future__ import annotations

from .maker import DAY_S, Maker
from .resources import Resource, to_many
from .timestamps import iso

TOPICS = ["event:klaviyo.sent_sms", "event:klaviyo.received_sms", "event:klaviyo.opened_email"]


def webhooks(make: Maker) -> tuple[list[Resource], list[Resource]]:
    """Webhooks and their topics. A topic has only an id, no attributes."""
    topics: list[Resource] = [{"type": "webhook-topic", "id": topic, "relationships": {}} for topic in TOPICS]
    built = []
    for place in range(4):
        created = make.second(make.start - 50 * DAY_S)
        built.append(
            {
                "type": "webhook",
                "id": make.ulid(),
                "attributes": {
                    "name": f"Empfänger {place}",
                    "description": None if place % 2 else "SMS, hin und zurück",
                    "endpoint_url": "https://hooks.example.com/…",
                    "enabled": place != 2,
                    "created_at": iso(created) if place != 3 else None,
                    "updated_at": iso(make.second(created)) if place != 3 else None,
                },
                "relationships": {"webhook-topics": to_many("webhook-topic", TOPICS[:place])},
            }
        )
    return built, topics
