"""Campaigns with their messages and estimations, and flows with their actions and messages."""

from __future__ import annotations

from ..store.store import Resource
from .lists_and_segments import DAY_S, Maker, ids, to
from .timestamps import iso

CHANNELS = ["email", "email", "sms", "email", "mobile_push"]
TRIGGERS = ["Metric", "Added to List", "Date Based", "Unconfigured", "Price Drop", "Low Inventory"]
STRATEGIES = ["static", "immediate", "throttled", "smart_send_time"]

# what the rarer kinds of actions send
MESSAGES: dict[str, Resource] = {
    "send-webhook": {
        "url": "https://hooks.example.com/flows?a=1&b=ü",
        "headers": {"Authorization": "Bearer made-up", "X-Größe": "1"},
        "body": '{"email": "{{ email }}"}',
        "name": "Webhook #1",
    },
    "send-mobile-push": {
        "title": "Neu",
        "body": "Zurück im Lager 🎉",
        "sound": True,
        "badge": True,
        "badge_options": {"badge_config": "increment_one"},
        "image_id": "7",
        "dynamic_image": None,
        "video_asset_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "on_open": "link",
        "ios_link": "nordlys://items/1?ü",
        "android_link": "nordlys://items/1",
        "web_url": "https://nordlys.example.com/",
        "push_type": "standard",
        "kv_pairs": {"sku": "a.b", "n": "1"},
        "conversion_metric_id": "made-up",
        "smart_sending_enabled": True,
        "additional_filters": None,
        "action_buttons": [{"label": "Öffnen", "action_type": "open_app", "position": 0}],
        "name": "Push #1",
    },
    "send-internal-alert": {
        "from_email": "hello@nordlys.example.com",
        "from_label": "Nordlys",
        "to_emails": ["team@nordlys.example.com", "a@nordlys.example.com"],
        "subject_line": "Neuer VIP",
        "template_id": None,
        "name": "Alert #1",
    },
    "send-whatsapp": {
        "name": "WhatsApp #1",
        "vendor_id": "wa-1",
        "smart_sending_enabled": False,
        "transactional": True,
    },
}


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
    """Campaigns of all three channels, their messages, and the recipient estimations that some of them have."""
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
                    "image": to("image", image),
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
                "relationships": {"campaign-messages": ids("campaign-message", own), "tags": ids("tag", [])},
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


def _action(kind: str, identity: str, following: str | None, message: str, template: str | None) -> Resource:
    link = {"next": following}
    content: Resource
    if kind == "send-email":
        content = {
            "from_email": "hello@nordlys.example.com",
            "from_label": "Nordlys",
            "reply_to_email": "reply@nordlys.example.com",
            "cc_email": "cc@nordlys.example.com",
            "bcc_email": "bcc@nordlys.example.com",
            "subject_line": "Willkommen, {{ first_name }}",
            "preview_text": "",
            "template_id": template,
            "smart_sending_enabled": True,
            "transactional": False,
            "add_tracking_params": False,
            "custom_tracking_params": [{"param": "utm_medium", "value": "email"}],
            "additional_filters": {"condition_groups": []} if template else None,
            "name": "Email #1",
            "id": message,
        }
        return {"id": identity, "type": kind, "links": link, "data": {"message": content, "status": "live"}}
    if kind == "send-sms":
        content = {
            "body": "Your cart misses you 🛒",
            "image_id": None,
            "dynamic_image": "{{ event.image }}",
            "message_hierarchy": [{"type": "sms", "body": "Für dich"}],
            "shorten_links": True,
            "include_contact_card": False,
            "add_org_prefix": True,
            "add_info_link": False,
            "add_opt_out_language": True,
            "smart_sending_enabled": True,
            "sms_quiet_hours_enabled": True,
            "transactional": False,
            "add_tracking_params": True,
            "custom_tracking_params": None,
            "template_id": None,
            "additional_filters": None,
            "name": "SMS #1",
            "id": message,
        }
        return {"id": identity, "type": kind, "links": link, "data": {"message": content, "status": "draft"}}
    if kind in MESSAGES:
        content = MESSAGES[kind] | {"id": message}
        return {"id": identity, "type": kind, "links": link, "data": {"message": content, "status": "manual"}}
    if kind == "conditional-split":
        condition = {
            "type": "profile-property",
            "property": "tier",
            "filter": {"type": "string", "operator": "equals", "value": "gold"},
        }
        return {
            "id": identity,
            "type": kind,
            "links": {"next_if_true": following, "next_if_false": None},
            "data": {"profile_filter": {"condition_groups": [{"conditions": [condition]}]}},
        }
    return {"id": identity, "type": "time-delay", "links": link, "data": {"unit": "hours", "value": 4}}


def flows(
    make: Maker, count: int, metrics: list[Resource], lists: list[Resource], templates: list[Resource]
) -> tuple[list[Resource], list[Resource], list[Resource]]:
    """Flows with their actions and the messages of these; triggers are noted on metrics and lists."""
    built, actions, messages = [], [], []
    kinds = ["time-delay", "send-email", "conditional-split", "send-sms", *MESSAGES]
    for place in range(count):
        created = make.second(make.start - 100 * DAY_S)
        updated = make.second(created)
        identity = make.identity()
        own = [str(make.random.randrange(10**7, 10**8)) for _ in range(place % 5)]
        definitions = []
        for step, action in enumerate(own):
            kind = kinds[(place + step) % len(kinds)]
            message = make.identity()
            template = templates[(place + step) % len(templates)]["id"] if templates and kind == "send-email" else None
            following = own[step + 1] if step + 1 < len(own) else None
            definition = _action(kind, action, following, message, template)
            definitions.append(definition)
            sends = kind.startswith("send-")
            when = {"created": iso(created + step), "updated": iso(updated)}
            actions.append(
                {
                    "type": "flow-action",
                    "id": action,
                    "attributes": when | {"definition": definition},
                    "relationships": {
                        "flow": {"data": {"type": "flow", "id": identity}},
                        "flow-messages": ids("flow-message", [message] if sends else []),
                    },
                }
            )
            if sends:
                messages.append(
                    {
                        "type": "flow-message",
                        "id": message,
                        "attributes": {"channel": kind.removeprefix("send-").replace("-", "_"), **when}
                        | {
                            "definition": definition["data"]["message"],
                            "name": definition["data"]["message"]["name"],
                            "content": {"body": definition["data"]["message"].get("body")},
                        },
                        "relationships": {
                            "flow-action": {"data": {"type": "flow-action", "id": action}},
                            "template": {"data": {"type": "template", "id": template} if template else None},
                        },
                    }
                )
        trigger = TRIGGERS[place % len(TRIGGERS)]
        triggers: list[Resource] = []
        if trigger == "Metric" and metrics:
            metric = metrics[place % len(metrics)]
            metric["relationships"]["flow-triggers"]["data"].append({"type": "flow", "id": identity})
            triggers = [{"type": "metric", "id": metric["id"]}]
        elif trigger == "Added to List" and lists:
            group = lists[place % len(lists)]
            group["relationships"]["flow-triggers"]["data"].append({"type": "flow", "id": identity})
            triggers = [{"type": "list", "id": group["id"]}]
        built.append(
            {
                "type": "flow",
                "id": identity,
                "attributes": {
                    "name": f"Flow {place}: {trigger} → hallo",
                    "status": ["live", "draft", "manual"][place % 3],
                    "archived": place % 5 == 4,
                    "created": iso(created),
                    "updated": iso(updated),
                    "trigger_type": trigger,
                    "definition": {
                        "triggers": triggers,
                        "profile_filter": {"condition_groups": []} if place % 3 == 1 else None,
                        "actions": definitions,
                        "entry_action_id": own[0] if own else None,
                        **({"reentry_criteria": {"duration": 1 + place, "unit": "week"}} if place % 4 == 1 else {}),
                    },
                },
                "relationships": {"flow-actions": ids("flow-action", own), "tags": ids("tag", [])},
            }
        )
    return built, actions, messages
