"""Campaigns that only revision 2026-10-15 can show: built on a canvas, with several channels and audiences."""

from __future__ import annotations

from collections.abc import Iterator

from .campaigns_2026_10_15 import AUDIENCE, CAMPAIGN, MESSAGE, VARIATION
from .maker import Maker
from .resources import Resource, to_many, to_one
from .timestamps import iso


def canvas_campaigns(
    make: Maker, count: int, groups: list[str], templates: list[str], metrics: list[str]
) -> Iterator[tuple[str, Resource]]:
    """(kind, record) of campaigns with two audiences and five messages: all channels, all states."""
    for place in range(count):
        created = make.second()
        updated = make.second(created)
        identity = make.ulid()
        audiences = [make.identity(32).lower() for _ in range(2)]
        # One message for each entry of `channels`. A message does not state its channel, only its variations do.
        messages = [make.ulid() for _ in range(5)]
        owners = [audiences[number % 2] for number in range(5)]
        channels: list[Resource] = [
            {
                "channel": "email",
                "template_id": templates[place % len(templates)] if templates else None,
                "from_label": "Nordlys",
                "from_email": "hello@nordlys.example.com",
                "reply_to_email": "",
                "cc_email": "",
                "bcc_email": "",
                "subject": f"Große Reise № {place} ✈️",
                "preview_text": "",
            },
            {"channel": "sms", "body": f"Abflug {place}", "text_message_type": "RCS", "message_hierarchy": None},
            {"channel": "whatsapp", "template_id": None, "shorten_links": True},
            {"channel": "push", "title": "Los!", "body": None, "kv_pairs": {"a.b": "1"}, "push_type": "standard"},
            {"channel": "email", "template_id": None, "subject": None},
        ]
        yield (
            CAMPAIGN,
            {
                "type": "campaign",
                "id": identity,
                "attributes": {
                    "created_at": iso(created),
                    "updated_at": iso(updated),
                    "definition": {
                        "name": f"Sommer {place} — alle Kanäle",
                        "builder": "canvas",
                        "archived": place % 3 == 2,
                        "color": "ff5733",
                        "description": "Erst Mail, dann SMS; zuletzt „Push“." if place % 2 == 0 else None,
                        "send_settings": {
                            "send_timezone": "Europe/Berlin",
                            "send_strategy": "static",
                            "send_passed_rltz_immediately": False,
                            "exit_condition_enabled": bool(metrics),
                            "exit_condition_conversion_metric_id": metrics[0] if metrics else None,
                        },
                    },
                },
                "relationships": {
                    "campaign-audiences": to_many(AUDIENCE, audiences),
                    "campaign-messages": to_many("campaign-message", messages),
                    "tags": to_many("tag", []),
                },
            },
        )
        for priority, audience in enumerate(audiences, 1):
            own = [message for message, owner in zip(messages, owners, strict=True) if owner == audience]
            yield (
                AUDIENCE,
                {
                    "type": AUDIENCE,
                    "id": audience,
                    "attributes": {
                        "created": iso(created),
                        "updated": iso(updated),
                        "definition": {
                            "name": f"Zielgruppe {priority}",
                            "included": groups[priority : priority + 2],
                            "excluded": groups[:1],
                            "priority": priority,
                        },
                    },
                    "relationships": {
                        "campaign": to_one("campaign", identity),
                        "campaign-messages": to_many("campaign-message", own),
                    },
                },
            )
        for number, (message, status) in enumerate(
            zip(messages, ["sent", "scheduled", "draft", "cancelled", "sending"], strict=True)
        ):
            # Messages are edited independently of their campaign.
            moved = make.second(created)
            arms = [make.identity(32).lower() for _ in range(2 if number == 0 else 1)]
            yield (
                MESSAGE,
                {
                    "type": "campaign-message",
                    "id": message,
                    "attributes": {
                        "created": iso(created),
                        "updated": iso(moved),
                        "definition": {
                            "name": f"Schritt {number}" if number else None,
                            "status": status,
                            "tracking_options": None,
                            "send_options": None
                            if status == "draft"
                            else {
                                "send_time": iso(moved),
                                "send_times": None,
                                "send_strategy": "static",
                                "recipient_percentage": 100,
                                "throttling_type": "none",
                                "throttle_unit": None,
                                "is_ignoring_unsubscribes": number == 4,
                            },
                            "ab_test": None,
                        },
                    },
                    "relationships": {
                        "campaign": to_one("campaign", identity),
                        "campaign-audience": to_one(AUDIENCE, owners[number]),
                        "campaign-variations": to_many(VARIATION, arms),
                        "tags": to_many("tag", []),
                        "template": to_one("template", channels[number].get("template_id")),
                        "image": to_one("image", None),
                    },
                },
            )
            for arm, variation in enumerate(arms):
                yield (
                    VARIATION,
                    {
                        "type": VARIATION,
                        "id": variation,
                        "attributes": {
                            "created": iso(created),
                            "updated": iso(moved),
                            "definition": {"name": f"Variante {arm}", "details": channels[number]},
                        },
                        "relationships": {
                            "campaign-message": to_one("campaign-message", message),
                            "translation": to_one("translation", None),
                            "image": to_one("image", None),
                        },
                    },
                )
