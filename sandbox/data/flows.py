"""Flows, their actions and their messages."""

from __future__ import annotations

from .maker import DAY_S, Maker
from .resources import Resource, to_many
from .timestamps import iso

TRIGGERS = ["Metric", "Added to List", "Date Based", "Unconfigured", "Price Drop", "Low Inventory"]

# Type of a flow action -> the message that it sends.
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
    """Flows, actions and messages. Metrics and lists that trigger a flow get it as a `flow-triggers` relationship."""
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
                        "flow-messages": to_many("flow-message", [message] if sends else []),
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
                "relationships": {"flow-actions": to_many("flow-action", own), "tags": to_many("tag", [])},
            }
        )
    return built, actions, messages
