"""What people make in Klaviyo besides messages: forms, images, universal content; and feeds, webhooks, UTM settings."""

from __future__ import annotations

from ..store.store import Resource
from .lists_and_segments import DAY_S, Maker, ids, to
from .timestamps import iso

FORM_TYPES = ["popup", "flyout", "embed", "full_page", "banner"]
# what a form's definition calls them
DEFINITION_TYPES = ["popup", "flyout", "embed", "full_screen", "banner"]
BLOCKS: list[Resource | None] = [
    {"content_type": "block", "type": "button", "data": None},
    {"content_type": "section", "type": "section", "data": None},
    None,
    {"content_type": "block", "type": "html", "data": {"content": "<b>Grüße</b>", "display_options": {}}},
]
TOPICS = ["event:klaviyo.sent_sms", "event:klaviyo.received_sms", "event:klaviyo.opened_email"]


def forms(make: Maker) -> tuple[list[Resource], list[Resource]]:
    """Forms and their versions; the first has none, some are A/B tests."""
    built, versions = [], []
    for place in range(9):
        created = make.second(make.start - 100 * DAY_S)
        updated = make.second(created)
        identity = make.identity()
        is_test = place % 4 == 2
        own: list[Resource] = []
        for number in range(0 if place == 0 else 1 + place % 3):
            began = make.second(created, updated + 1)
            attributes: Resource = {
                "form_type": FORM_TYPES[place % 5],
                "variation_name": f"Variante {number + 1}",
                "status": ["live", "draft"][number % 2],
                "created_at": iso(began),
                "updated_at": iso(make.second(began, updated + 1)),
            }
            if is_test:
                attributes["ab_test"] = {"variation_name": f"Größerer Knopf {number}"}
            own.append(
                {
                    "type": "form-version",
                    "id": str(make.random.randrange(10**6, 10**7)),
                    "attributes": attributes,
                    "relationships": {"form": to("form", identity)},
                }
            )
        versions += own
        built.append(
            {
                "type": "form",
                "id": identity,
                "attributes": {
                    "name": f"Newsletter — „{place}“",
                    "status": ["live", "draft"][place % 2],
                    "ab_test": is_test,
                    "created_at": iso(created),
                    "updated_at": iso(updated),
                    "definition": {
                        "versions": [
                            {
                                "id": int(version["id"]),
                                "name": version["attributes"]["variation_name"],
                                "steps": [{"id": "01J", "name": "E-Mail", "columns": [], "steps": None}],
                                "type": DEFINITION_TYPES[place % 5],
                                "location": None,
                                "status": version["attributes"]["status"],
                                "ab_test": is_test,
                            }
                            for version in own
                        ]
                    },
                },
                "relationships": {"form-versions": ids("form-version", [version["id"] for version in own])},
            }
        )
    return built, versions


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


def universal_content(make: Maker) -> list[Resource]:
    """Blocks and sections, some without a definition that the API can express."""
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


def web_feeds(make: Maker) -> list[Resource]:
    """Web feeds, more than a page of twenty."""
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


def webhooks(make: Maker) -> tuple[list[Resource], list[Resource]]:
    """Webhooks and their topics; a topic is nothing but its name."""
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
                "relationships": {"webhook-topics": ids("webhook-topic", TOPICS[:place])},
            }
        )
    return built, topics


def tracking_setting(account_id: str) -> Resource:
    """The UTM settings of an account: static, dynamic, left out and null ones."""
    return {
        "type": "tracking-setting",
        "id": account_id,
        "attributes": {
            "auto_add_parameters": True,
            "utm_source": {
                "flow": {"type": "static", "value": "Klaviyo — flow"},
                "campaign": {"type": "dynamic", "value": "campaign_name"},
            },
            "utm_medium": {"flow": {"type": "dynamic", "value": "message_type"}, "campaign": None},
            "utm_campaign": {"flow": {"type": "dynamic", "value": "flow_name"}},
            "utm_term": {"flow": {"type": "static", "value": ""}, "campaign": {"type": "dynamic", "value": "group_id"}},
            "utm_id": {"flow": None, "campaign": {"type": "dynamic", "value": "campaign_id"}},
            "custom_parameters": [
                {
                    "name": "tw_profile_id",
                    "flow": {"type": "dynamic", "value": "profile_id"},
                    "campaign": {"type": "static", "value": "ü"},
                }
            ],
        },
        "relationships": {},
    }
