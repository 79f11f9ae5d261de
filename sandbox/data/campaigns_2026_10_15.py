"""Campaigns as revision 2026-10-15 shows them: campaigns, audiences, messages and variations.

The account keeps campaigns as 2026-07-15 shows them, with one channel each. `convert` makes the other form from that,
so that a change is seen in both revisions. A campaign keeps its id. Its message has the id of the first message that
the campaign had. The further messages, which were the arms of an A/B test, are variations of that message. Klaviyo does
not document whether it carries ids over. Campaigns with several messages, channels and audiences have no older form:
see `canvas_campaigns`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from .resources import Resource, dig, to_many, to_one
from .timestamps import epoch_second

CAMPAIGN = "campaign@2026-10-15"
MESSAGE = "campaign-message@2026-10-15"
AUDIENCE = "campaign-audience"
VARIATION = "campaign-variation"
# Kinds that are read for the conversion.
SOURCES = ("campaign", "campaign-message", "translation")
# Kinds that the conversion makes.
DERIVED = (CAMPAIGN, AUDIENCE, MESSAGE, VARIATION)

# Name of a send strategy in 2026-07-15 -> its name in 2026-10-15, where they differ.
STRATEGIES = {"throttled": "throttled", "smart_send_time": "send_time_optimization"}


class Records(Protocol):
    """Records that can be found by id."""

    def get(self, identity: str) -> Resource | None:
        """A record, by id; None if there is no such record."""
        ...


def _hex(*parts: str) -> str:
    """An id as audiences and variations have it: 32 hexadecimal digits."""
    return hashlib.md5("/".join(parts).encode(), usedforsecurity=False).hexdigest()


def variation_id(message_id: str) -> str:
    """The id of the variation that a message of 2026-07-15 becomes."""
    return _hex("variation", message_id)


def _object(value: Any) -> Resource:
    """A value that should be an object; an empty one for anything else, as tests put it into records."""
    return value if isinstance(value, dict) else {}


def _latest(*moments: Any) -> Any:
    """The latest of some timestamps, as it was written."""
    return max(moments, key=lambda moment: epoch_second(moment) or 0)


def _status(campaign_status: Any) -> str:
    """The status of a message, by that of its older campaign: `Cancelled: No Recipients` becomes `cancelled`."""
    first = str(campaign_status).partition(":")[0].lower()
    sending = ("adding recipients", "preparing to send", "preparing to schedule", "queued without recipients")
    return (
        "sending" if first in sending else first if first in ("cancelled", "scheduled", "sending", "sent") else "draft"
    )


def details(definition: Resource, template: str | None, image: str | None) -> Resource:
    """The content of a variation, from the `definition` of an older message and the ids it points at."""
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
            "campaign-audiences": to_many(AUDIENCE, audiences),
            "campaign-messages": to_many("campaign-message", messages),
            "tags": _object(campaign.get("relationships")).get("tags") or to_many("tag", []),
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
            "campaign": to_one("campaign", campaign["id"]),
            "campaign-messages": to_many("campaign-message", messages),
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
            # Status and send time moved from the campaign to the message, so a change of either changes the message.
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
            "campaign": to_one("campaign", campaign["id"]),
            "campaign-audience": to_one(AUDIENCE, audience),
            "campaign-variations": to_many(VARIATION, variations),
            "tags": _object(campaign.get("relationships")).get("tags") or to_many("tag", []),
            "template": relationships.get("template") or to_one("template", None),
            "image": relationships.get("image") or to_one("image", None),
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
            "campaign-message": to_one("campaign-message", owner),
            "translation": to_one("translation", translation),
            "image": to_one("image", targets["image"] if definition.get("channel") == "mobile_push" else None),
        },
    }


def convert(
    campaigns: Iterable[Resource], messages: Records, translations: Iterable[Resource]
) -> Iterator[tuple[str, Resource]]:
    """(kind, record) of 2026-10-15 for all campaigns and messages of 2026-07-15."""
    translated = {
        target: str(translation["id"])
        for translation in translations
        for target in dig(translation, ["relationships", VARIATION, "data", "id"])
    }
    for campaign in campaigns:
        ids = dig(campaign, ["relationships", "campaign-messages", "data", "id"])
        own = [message for identity in ids if (message := messages.get(str(identity)))]
        owner = [str(own[0]["id"])] if own else []
        audience = _hex("audience", str(campaign["id"]))
        yield CAMPAIGN, _campaign(campaign, [audience], owner)
        yield AUDIENCE, _audience(campaign, audience, owner)
        variations = [variation_id(str(message["id"])) for message in own]
        if own:
            yield MESSAGE, _message(campaign, own, audience, variations)
        for message, variation in zip(own, variations, strict=True):
            yield VARIATION, _variation(message, variation, owner[0], translated.get(variation))
