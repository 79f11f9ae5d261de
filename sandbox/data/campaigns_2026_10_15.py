"""Campaigns as revision 2026-10-15 shows them: campaign, audiences, messages, and variations of content.

The account keeps them as 2026-07-15 shows them, one channel a campaign; `campaigns` derives the other view from that, so
that a change is seen in both. A campaign keeps its id, and its message that of the first message it had: what used to be
its further messages, the arms of an A/B test, are variations of that one. Whether Klaviyo carries ids over so is not
documented. Campaigns of several messages, channels and audiences have no older form: `canvas` makes some that 2026-10-15
alone shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from ..http.filter_grammar import epoch_second
from ..store.store import Derived, Resource, Store, dig
from .lists_and_segments import Maker, ids, to
from .timestamps import iso

CAMPAIGN = "campaign@2026-10-15"
MESSAGE = "campaign-message@2026-10-15"
AUDIENCE = "campaign-audience"
VARIATION = "campaign-variation"
SOURCES = ("campaign", "campaign-message", "translation")
DERIVED = (CAMPAIGN, AUDIENCE, MESSAGE, VARIATION)

STRATEGIES = {"throttled": "throttled", "smart_send_time": "send_time_optimization"}


def _hex(*parts: str) -> str:
    """An id of the form that audiences and variations have."""
    return hashlib.md5("/".join(parts).encode(), usedforsecurity=False).hexdigest()


def variation_id(message_id: str) -> str:
    """The id of the variation that a message of 2026-07-15 is."""
    return _hex("variation", message_id)


def _object(value: Any) -> Resource:
    """A value that should be an object; an empty one if it is something else, as in records made to be odd."""
    return value if isinstance(value, dict) else {}


def _latest(*moments: Any) -> Any:
    """The latest of some timestamps, as it is written."""
    return max(moments, key=lambda moment: epoch_second(moment) or 0)


def _status(told: Any) -> str:
    """A message's status by that of an older campaign: `Cancelled: No Recipients` is cancelled."""
    first = str(told).partition(":")[0].lower()
    sending = ("adding recipients", "preparing to send", "preparing to schedule", "queued without recipients")
    return (
        "sending" if first in sending else first if first in ("cancelled", "scheduled", "sending", "sent") else "draft"
    )


def details(definition: Resource, template: str | None, image: str | None) -> Resource:
    """What a variation says, by the definition of an older message and what it points at."""
    content, options = _object(definition.get("content")), _object(definition.get("options"))
    render = _object(definition.get("render_options"))
    channel = definition.get("channel")
    asset = int(image) if image and image.isdecimal() else None
    if channel == "email":
        return {"channel": "email", "template_id": template} | {
            name: content.get(name)
            for name in (
                "from_label",
                "from_email",
                "reply_to_email",
                "cc_email",
                "bcc_email",
                "subject",
                "preview_text",
            )
        }
    if channel == "sms":
        return {
            "channel": "sms",
            "template_id": None,
            "cost": 0.0075,
            "mms_static_image_asset_id": asset,
            "shorten_links": render.get("shorten_links"),
            "include_contact_card": False,
            "body": content.get("body"),
            "add_org_prefix": render.get("add_org_prefix"),
            "add_info_link": render.get("add_info_link"),
            "add_opt_out_language": render.get("add_opt_out_language"),
            "mms_dynamic_image_template": None,
            "text_message_type": "SMS" if asset is None else "MMS",
            "message_hierarchy": None,
        }
    return {
        "channel": "push",
        "title": content.get("title"),
        "body": content.get("body"),
        "badge": _object(options.get("badge")).get("display", False),
        "badge_config": "increment-one",
        "badge_value": "1",
        "sound_file_name": None,
        "static_asset_id": asset,
        "sound": options.get("play_sound", False),
        "open_action": 0,
        "dynamic_media_template": content.get("dynamic_image"),
        "kv_pairs": definition.get("kv_pairs"),
        "push_type": definition.get("notification_type"),
        "ios_deep_link": None,
        "android_deep_link": None,
        "web_url": None,
        "content_available": None,
        "mutable_content": None,
        "video_asset_id": None,
        "action_buttons": content.get("action_buttons"),
    }


def _campaign(campaign: Resource, audiences: list[str], messages: list[str]) -> Resource:
    attributes = _object(campaign.get("attributes"))
    strategy = _object(attributes.get("send_strategy"))
    options = _object(strategy.get("options"))
    is_local = bool(options.get("is_local"))
    return {
        "type": "campaign",
        "id": campaign["id"],
        "attributes": {
            "created_at": attributes.get("created_at"),
            "updated_at": attributes.get("updated_at"),
            "definition": {
                "name": attributes.get("name"),
                "builder": "wizard",
                "archived": attributes.get("archived"),
                "color": None,
                "description": None,
                "send_settings": {
                    "send_timezone": "UTC" if is_local else "America/New_York",
                    "send_strategy": "timezone" if is_local else "static",
                    "send_passed_rltz_immediately": bool(options.get("send_past_recipients_immediately")),
                    "exit_condition_enabled": False,
                    "exit_condition_conversion_metric_id": None,
                },
            },
        },
        "relationships": {
            "campaign-audiences": ids(AUDIENCE, audiences),
            "campaign-messages": ids("campaign-message", messages),
            "tags": _object(campaign.get("relationships")).get("tags") or ids("tag", []),
        },
    }


def _audience(campaign: Resource, identity: str, messages: list[str]) -> Resource:
    attributes = _object(campaign.get("attributes"))
    groups = _object(attributes.get("audiences"))
    return {
        "type": AUDIENCE,
        "id": identity,
        "attributes": {
            "created": attributes.get("created_at"),
            "updated": attributes.get("updated_at"),
            "definition": {
                "name": None,
                "included": groups.get("included") or [],
                "excluded": groups.get("excluded") or [],
                "priority": 1,
            },
        },
        "relationships": {
            "campaign": to("campaign", campaign["id"]),
            "campaign-messages": ids("campaign-message", messages),
        },
    }


def _message(campaign: Resource, messages: list[Resource], audience: str, variations: list[str]) -> Resource:
    attributes, first = _object(campaign.get("attributes")), _object(messages[0].get("attributes"))
    strategy = _object(attributes.get("send_strategy"))
    is_local = bool(_object(strategy.get("options")).get("is_local"))
    method = STRATEGIES.get(str(strategy.get("method")), "local_timezone" if is_local else "static")
    time = attributes.get("send_time") or attributes.get("scheduled_at")
    tracking = attributes.get("tracking_options")
    smart = _object(attributes.get("send_options")).get("use_smart_sending")
    relationships = _object(messages[0].get("relationships"))
    return {
        "type": "campaign-message",
        "id": messages[0]["id"],
        "attributes": {
            "created": first.get("created_at") or attributes.get("created_at"),
            # status and time of sending, which were the campaign's, are the message's now
            "updated": _latest(attributes.get("updated_at"), *(dig(messages, ["attributes", "updated_at"]))),
            "definition": {
                "name": attributes.get("name"),
                "status": _status(attributes.get("status")),
                "tracking_options": tracking
                and {
                    "is_add_utm": tracking.get("add_tracking_params"),
                    "is_tracking_clicks": tracking.get("is_tracking_clicks"),
                    "is_tracking_opens": tracking.get("is_tracking_opens"),
                },
                "send_options": {
                    "send_time": time,
                    "send_times": dict.fromkeys(variations, time) if method == "send_time_optimization" else None,
                    "send_strategy": method,
                    "recipient_percentage": strategy.get("throttle_percentage"),
                    "throttling_type": "throttle-for-campaigns-and-flows" if smart else "none",
                    "throttle_unit": "hour" if method == "throttled" else None,
                    "is_ignoring_unsubscribes": False,
                },
                "ab_test": {"winner_metric": "opens_unique", "winner_percentage": 80, "winner_wait_hours": 6}
                if len(variations) > 1
                else None,
            },
        },
        "relationships": {
            "campaign": to("campaign", campaign["id"]),
            "campaign-audience": to(AUDIENCE, audience),
            "campaign-variations": ids(VARIATION, variations),
            "tags": _object(campaign.get("relationships")).get("tags") or ids("tag", []),
            "template": relationships.get("template") or to("template", None),
            "image": relationships.get("image") or to("image", None),
        },
    }


def _variation(message: Resource, identity: str, owner: str, translation: str | None) -> Resource:
    attributes = _object(message.get("attributes"))
    definition = _object(attributes.get("definition"))
    targets = {
        name: next(iter(dig(message, ["relationships", name, "data", "id"])), None) for name in ("template", "image")
    }
    return {
        "type": VARIATION,
        "id": identity,
        "attributes": {
            "created": attributes.get("created_at"),
            "updated": attributes.get("updated_at"),
            "definition": {
                "name": definition.get("label"),
                "details": details(definition, targets["template"], targets["image"]),
            },
        },
        "relationships": {
            "campaign-message": to("campaign-message", owner),
            "translation": to("translation", translation),
            "image": to("image", targets["image"] if definition.get("channel") == "mobile_push" else None),
        },
    }


def campaigns(stores: Mapping[str, Store]) -> Iterator[tuple[str, Resource]]:
    """The records, each after its kind, that the campaigns and messages of 2026-07-15 are since 2026-10-15."""
    translated = {
        target: str(translation["id"])
        for translation in stores["translation"]
        for target in dig(translation, ["relationships", VARIATION, "data", "id"])
    }
    for campaign in stores["campaign"]:
        own = dig(campaign, ["relationships", "campaign-messages", "data", "id"])
        messages = [message for identity in own if (message := stores["campaign-message"].get(str(identity)))]
        owner = [str(messages[0]["id"])] if messages else []
        audience = _hex("audience", str(campaign["id"]))
        yield CAMPAIGN, _campaign(campaign, [audience], owner)
        yield AUDIENCE, _audience(campaign, audience, owner)
        variations = [variation_id(str(message["id"])) for message in messages]
        if messages:
            yield MESSAGE, _message(campaign, messages, audience, variations)
        for message, variation in zip(messages, variations, strict=True):
            yield VARIATION, _variation(message, variation, owner[0], translated.get(variation))


def canvas(
    make: Maker, count: int, groups: list[str], templates: list[str], metrics: list[str]
) -> Iterator[tuple[str, Resource]]:
    """Campaigns that were built on a canvas: two audiences, a message of each channel, in every state."""
    for place in range(count):
        created = make.second()
        updated = make.second(created)
        identity = make.ulid()
        audiences = [make.identity(32).lower() for _ in range(2)]
        # one a channel, which their variations alone tell
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
                    "campaign-audiences": ids(AUDIENCE, audiences),
                    "campaign-messages": ids("campaign-message", messages),
                    "tags": ids("tag", []),
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
                        "campaign": to("campaign", identity),
                        "campaign-messages": ids("campaign-message", own),
                    },
                },
            )
        for number, (message, status) in enumerate(
            zip(messages, ["sent", "scheduled", "draft", "cancelled", "sending"], strict=True)
        ):
            # edited when it liked, whatever its campaign says
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
                        "campaign": to("campaign", identity),
                        "campaign-audience": to(AUDIENCE, owners[number]),
                        "campaign-variations": ids(VARIATION, arms),
                        "tags": ids("tag", []),
                        "template": to("template", channels[number].get("template_id")),
                        "image": to("image", None),
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
                            "campaign-message": to("campaign-message", message),
                            "translation": to("translation", None),
                            "image": to("image", None),
                        },
                    },
                )


def derive(stores: Mapping[str, Store], derived: Mapping[str, Derived]) -> None:
    """Bring the stores of the kinds in `DERIVED` up to date with the others."""
    found: dict[str, list[Resource]] = {kind: [] for kind in DERIVED}
    for kind, resource in campaigns(stores):
        found[kind].append(resource)
    for kind, resources in found.items():
        derived[kind].derive(resources)
