"""Campaigns, their messages and their recipient estimations, as revision 2026-07-15 shows them."""

from __future__ import annotations

from .maker import Maker
from .resources import Resource, to_many, to_one
from .timestamps import iso

CHANNELS = ["email", "email", "sms", "email", "mobile_push"]
STRATEGIES = ["static", "immediate", "throttled", "smart_send_time"]


def _strategy(make: Maker, method: str, second: int) -> Resource:
    if method == "static":
        local = make.flip(0.5)
        options = {"is_local": True, "send_past_recipients_immediately": False} if local else {"is_local": False}
        return {"method": "static", "datetime": iso(second), "options": options}
    if method == "throttled":
        return {"method": "throttled", "datetime": iso(second), "throttle_percentage": 20}
    if method == "smart_send_time":
        return {"method": "smart_send_time", "date": iso(second)[:10]}
    return {"method": "immediate"}


def _definition(channel: str, place: int) -> Resource:
    if channel == "email":
        return {
            "channel": "email",
            "label": f"Variation {place % 2 + 1}",
            "content": {
                "subject": f"Woche {place}: {{{{ first_name }}}}, schön ✨",
                "preview_text": None if place % 3 == 0 else "Only today",
                "from_email": "hello@nordlys.example.com",
                "from_label": "Nordlys",
                "reply_to_email": None,
                "cc_email": None,
                "bcc_email": None,
            },
        }
    if channel == "sms":
        return {
            "channel": "sms",
            "content": {"body": f"Sale № {place}! Reply STOP", "media_url": None},
            "render_options": {
                "shorten_links": True,
                "add_org_prefix": True,
                "add_info_link": place % 2 == 0,
                "add_opt_out_language": False,
            },
        }
    if place % 10 == 9:
        return {"channel": "mobile_push", "notification_type": "silent", "kv_pairs": {"refresh": "catalog"}}
    return {
        "channel": "mobile_push",
        "notification_type": "standard",
        "content": {"title": "Back in stock", "body": f"Item {place}", "dynamic_image": None},
        "kv_pairs": {"sku": f"sku-{place}"},
        "options": {"on_open": {"type": "open_app"}, "badge": {"display": False}, "play_sound": True},
    }


def campaigns(
    make: Maker, count: int, lists: list[Resource], segments: list[Resource], templates: list[Resource]
) -> tuple[list[Resource], list[Resource], list[Resource]]:
    """Campaigns of all three channels, their messages, and recipient estimations for some of them."""
    audiences = [group["id"] for group in lists + segments]
    built, messages, estimations = [], [], []
    for place in range(count):
        channel = CHANNELS[place % len(CHANNELS)]
        created = make.second()
        updated = make.second(created)
        status = ["Sent", "Sent", "Draft", "Scheduled", "Cancelled"][make.random.randrange(5)]
        scheduled = make.second(created, updated + 1)
        identity = make.ulid()
        own = []
        for variation in range(2 if channel == "email" and place % 4 == 0 else 1):
            template = templates[place % len(templates)]["id"] if channel == "email" and templates else None
            image = str(7 + 3 * (place % 15)) if channel != "email" else None
            message: Resource = {
                "type": "campaign-message",
                "id": make.ulid(),
                "attributes": {
                    "definition": _definition(channel, place + variation),
                    "send_times": [{"datetime": iso(scheduled), "is_local": False}] if status == "Sent" else [],
                    "created_at": iso(created),
                    "updated_at": iso(updated),
                },
                "relationships": {
                    "campaign": {"data": {"type": "campaign", "id": identity}},
                    "template": {"data": {"type": "template", "id": template} if template else None},
                    "image": to_one("image", image),
                },
            }
            own.append(message["id"])
            messages.append(message)
        tracking: Resource | None = None
        if channel == "email":
            parameters = [{"type": "dynamic", "value": "campaign_id", "name": "utm_id"}]
            tracking = {
                "add_tracking_params": True,
                "custom_tracking_params": parameters if place % 2 else [],
                "is_tracking_clicks": True,
                "is_tracking_opens": place % 2 == 0,
            }
        elif channel == "sms":
            tracking = {"add_tracking_params": False, "custom_tracking_params": []}
        built.append(
            {
                "type": "campaign",
                "id": identity,
                "attributes": {
                    "name": f"Kampagne {place} — {channel}",
                    "status": status,
                    "archived": place % 6 == 5,
                    "audiences": {
                        "included": make.random.sample(audiences, k=min(2, len(audiences))),
                        "excluded": audiences[:1] if place % 3 == 0 else [],
                    },
                    "send_options": {"use_smart_sending": place % 2 == 0},
                    "tracking_options": tracking,
                    "send_strategy": _strategy(make, STRATEGIES[place % len(STRATEGIES)], scheduled),
                    "created_at": iso(created),
                    "scheduled_at": iso(scheduled) if status in ("Sent", "Scheduled") else None,
                    "updated_at": iso(updated),
                    "send_time": iso(scheduled) if status == "Sent" else None,
                },
                "relationships": {"campaign-messages": to_many("campaign-message", own), "tags": to_many("tag", [])},
            }
        )
        if place % 5 != 3:
            estimations.append(
                {
                    "type": "campaign-recipient-estimation",
                    "id": identity,
                    "attributes": {"estimated_recipient_count": make.random.randrange(100_000)},
                    "relationships": {},
                }
            )
    return built, messages, estimations
