"""Answers with the shapes and oddities of live recordings: campaigns, flows and templates, numbers, raw records."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from sources.klaviyo.decode.analytics import OBSERVED_AT
from tests.support.live_answers import NEW, OLD, Answer, Record, page, record, ref, utc

_CREATED, _UPDATED = "2026-09-04T13:38:44.935203+00:00", "2026-09-04T13:38:45+00:00"
_AT = {"created_at": utc("2026-09-04T13:38:44.935203"), "updated_at": utc("2026-09-04T13:38:45")}
_SINCE = {"created": _CREATED, "updated": _UPDATED}
_SINCE_AT = {"created": utc("2026-09-04T13:38:44.935203"), "updated": utc("2026-09-04T13:38:45")}

AUDIENCES = {"included": ["VAnKig"], "excluded": []}
STRATEGY = {"method": "static", "datetime": "2026-10-04T09:00:00+00:00", "options": {"is_local": False}}
SMS: Record = {
    "channel": "sms", "content": {"body": "Hi", "media_url": None},
    "render_options": {"shorten_links": True, "add_org_prefix": True, "add_info_link": True,
                       "add_opt_out_language": False},
}  # fmt: skip
EMAIL: Record = {
    "channel": "email", "label": "",
    "content": {"subject": "Über uns", "preview_text": "", "from_email": "a@example.com", "from_label": "A",
                "reply_to_email": None, "cc_email": None, "bcc_email": None},
}  # fmt: skip

CAMPAIGNS = [
    Answer(
        "campaigns that are not sent yet, and messages whose template and image are links alone or null",
        page(
            [
                record(
                    "campaign",
                    "01K1",
                    {
                        "name": "Autumn", "status": "Draft", "archived": False, "audiences": AUDIENCES,
                        "send_options": {"use_smart_sending": True}, "tracking_options": {"custom_tracking_params": []},
                        "send_strategy": STRATEGY, "created_at": _CREATED, "scheduled_at": None,
                        "updated_at": _UPDATED, "send_time": None,
                    },
                    campaign_messages=[ref("campaign-message", "01K2"), ref("campaign-message", "01K3")], tags=[],
                ),
                record(
                    "campaign",
                    "01K9",
                    {
                        "name": "", "status": "Sent", "archived": True, "audiences": {"included": None},
                        "send_options": None, "tracking_options": None, "send_strategy": {"method": "immediate"},
                        "created_at": "2024-01-02 03:04:05.000006+00:00", "updated_at": _UPDATED,
                        "scheduled_at": "2024-01-02T03:04:05+00:00", "send_time": "2024-01-02T03:04:06+00:00",
                    },
                    campaign_messages=[], tags=...,
                ),
            ],
            [
                record(
                    "campaign-message",
                    "01K3",
                    {"definition": SMS, "send_times": [], "created_at": _CREATED, "updated_at": _UPDATED},
                    campaign=ref("campaign", "01K1"), template=None, image=None,
                ),
                record(
                    "campaign-message",
                    "01K2",
                    {"definition": EMAIL, "send_times": [{"datetime": _UPDATED, "is_local": False}],
                     "created_at": _CREATED, "updated_at": None},
                    campaign=ref("campaign", "01K1"), template=..., image=...,
                ),
            ],
        ),
        {
            "campaigns": [
                {
                    "id": "01K1", "channel": "email", "name": "Autumn", "status": "Draft", "archived": False,
                    "audiences": AUDIENCES, "audiences_included": ["VAnKig"], "audiences_excluded": [],
                    "send_options": {"use_smart_sending": True}, "tracking_options": {"custom_tracking_params": []},
                    "send_strategy": STRATEGY, **_AT, "campaign_message_ids": ["01K2", "01K3"], "tag_ids": [],
                },
                {
                    "id": "01K9", "channel": "email", "name": "", "status": "Sent", "archived": True,
                    "audiences": {"included": None}, "send_strategy": {"method": "immediate"},
                    "created_at": utc("2024-01-02T03:04:05.000006"), "updated_at": _AT["updated_at"],
                    "scheduled_at": utc("2024-01-02T03:04:05"), "send_time": utc("2024-01-02T03:04:06"),
                    "campaign_message_ids": [],
                },
            ],
            "campaign_messages": [
                {
                    "id": "01K3", "campaign_id": "01K1", "channel": "email", "definition": SMS,
                    "definition_channel": "sms", "definition_content_body": "Hi", "send_times": [], **_AT,
                    "definition_render_options_shorten_links": True,
                    "definition_render_options_add_org_prefix": True,
                    "definition_render_options_add_info_link": True,
                    "definition_render_options_add_opt_out_language": False,
                },
                {
                    "id": "01K2", "campaign_id": "01K1", "channel": "email", "definition": EMAIL,
                    "definition_channel": "email", "definition_label": "", "definition_content_subject": "Über uns",
                    "definition_content_preview_text": "", "definition_content_from_email": "a@example.com",
                    "definition_content_from_label": "A", "created_at": _AT["created_at"],
                    "send_times": [{"datetime": _UPDATED, "is_local": False}],
                },
            ],
        },
        (OLD,),
        # By the filter of the request.
        {"channel": "email"},
    ),
    Answer(
        "an estimation, which is a single record",
        page(record("campaign-recipient-estimation", "01K1", {"estimated_recipient_count": 0})),
        {"campaign_recipient_estimations": [{"id": "01K1", "campaign_id": "01K1", "estimated_recipient_count": 0}]},
        context={"campaign_id": "01K1"},
    ),
]  # fmt: skip

SEND_OPTIONS: Record = {"send_time": "2026-10-20T09:00:00+00:00", "send_times": None, "send_strategy": "static"}
MESSAGE: Record = {
    "name": "Autumn", "status": "scheduled", "tracking_options": {"is_add_utm": True}, "send_options": SEND_OPTIONS,
    "ab_test": None,
}  # fmt: skip
DETAILS: Record = {
    "channel": "push", "title": "Now", "body": "", "push_type": "standard", "kv_pairs": {}, "cost": 2, "sound": None,
    "action_buttons": None,
}  # fmt: skip
VARIATIONS = page(
    [
        record(
            "campaign-variation",
            "V1",
            {"definition": {"name": None, "details": DETAILS}, **_SINCE},
            campaign_message=ref("campaign-message", "01K2"), translation=None, image=...,
        )
    ]
)  # fmt: skip


def _message(**relationships: Any) -> Record:
    return record("campaign-message", "01K2", {"definition": MESSAGE, **_SINCE}, **relationships)


CANVAS_CAMPAIGNS = [
    Answer(
        "a campaign with its parts as resources of their own",
        page(
            [
                record(
                    "campaign",
                    "01K1",
                    {
                        "created_at": _CREATED, "updated_at": _UPDATED,
                        "definition": {"name": "Autumn", "builder": "wizard", "archived": False, "color": None,
                                       "description": "", "send_settings": None},
                    },
                    campaign_audiences=[ref("campaign-audience", "A1")],
                    campaign_messages=[ref("campaign-message", "01K2")], tags=...,
                )
            ],
            [
                _message(campaign=ref("campaign", "01K1"), campaign_variations=...),
                record(
                    "campaign-audience",
                    "A1",
                    {"definition": {"name": None, **AUDIENCES, "priority": 1}, **_SINCE},
                    campaign=ref("campaign", "01K1"), campaign_messages=[ref("campaign-message", "01K2")],
                ),
            ],
        ),
        {
            "campaigns": [
                {
                    "id": "01K1", "channel": "mobile_push", "name": "Autumn", "status": "Scheduled", "archived": False,
                    "definition_builder": "wizard", "definition_description": "",
                    "audiences": {"name": None, **AUDIENCES, "priority": 1}, "audiences_included": ["VAnKig"],
                    "audiences_excluded": [], "send_options": SEND_OPTIONS, "tracking_options": {"is_add_utm": True},
                    **_AT, "send_time": utc("2026-10-20T09:00:00"), "campaign_message_ids": ["01K2"],
                    "campaign_audience_ids": ["A1"],
                }
            ],
            "campaign_audiences": [
                {
                    "id": "A1", "campaign_id": "01K1", "campaign_message_ids": ["01K2"],
                    "definition_included": ["VAnKig"], "definition_excluded": [], "definition_priority": 1, **_SINCE_AT,
                }
            ],
        },
        (NEW,),
        looked_up={"01K2": VARIATIONS},
    ),
    Answer(
        "a message with its variation",
        page(
            [_message(campaign=ref("campaign", "01K1"), campaign_audience=ref("campaign-audience", "A1"), tags=...)],
            [record("campaign", "01K1", {"created_at": _CREATED})],
        ),
        {
            "campaign_messages": [
                {
                    "id": "01K2", "campaign_id": "01K1", "campaign_audience_id": "A1", "campaign_variation_ids": ["V1"],
                    "channel": "mobile_push", "definition": MESSAGE, "definition_label": "Autumn",
                    "definition_status": "scheduled", "definition_notification_type": "standard",
                    "definition_send_options_send_time": utc("2026-10-20T09:00:00"),
                    "definition_content_title": "Now", "definition_content_body": "", "definition_kv_pairs": {},
                    "created_at": _AT["created_at"], "updated_at": _AT["updated_at"],
                }
            ],
            "campaign_variations": [
                {
                    "id": "V1", "campaign_message_id": "01K2", "definition_details": DETAILS,
                    "definition_details_channel": "push", "definition_details_title": "Now",
                    "definition_details_body": "", "definition_details_push_type": "standard",
                    "definition_details_kv_pairs": {}, "definition_details_cost": 2.0, **_SINCE_AT,
                }
            ],
        },
        (NEW,),
        looked_up={"01K2": VARIATIONS},
    ),
]  # fmt: skip

SEND_EMAIL: Record = {
    "id": "116466132", "type": "send-email", "links": {"next": None},
    "data": {"message": {"template_id": "Ug5pJx", "cc_email": None}, "status": "draft"},
}  # fmt: skip
DELAY: Record = {"id": "116466131", "type": "time-delay", "data": {"value": 2}, "links": {"next": "116466132"}}
_ACTION = {"created": "2026-09-04T13:40:13+00:00", "updated": "2026-09-04T13:40:13+00:00"}
_ACTION_AT = {"created": utc("2026-09-04T13:40:13"), "updated": utc("2026-09-04T13:40:13")}

FLOWS = [
    Answer(
        "a flow whose actions come in another order",
        page(
            [
                record(
                    "flow",
                    "T6EyQF",
                    {"name": "Welcome", "status": "draft", "archived": False, "trigger_type": "Unconfigured", **_SINCE},
                    flow_actions=[ref("flow-action", "116466132"), ref("flow-action", "116466131")], tags=[],
                )
            ],
            [
                record("flow-action", "116466131", {"definition": DELAY, **_ACTION},
                       flow=ref("flow", "T6EyQF"), flow_messages=...),
                record("flow-action", "116466132", {"definition": SEND_EMAIL, **_ACTION},
                       flow=ref("flow", "T6EyQF"), flow_messages=[ref("flow-message", "StDwe4")]),
            ],
        ),
        {
            "flows": [
                {
                    "id": "T6EyQF", "name": "Welcome", "status": "draft", "archived": False,
                    "trigger_type": "Unconfigured", **_SINCE_AT, "flow_action_ids": ["116466132", "116466131"],
                    "tag_ids": [],
                }
            ],
            "flow_actions": [
                {"id": "116466131", "flow_id": "T6EyQF", "definition": DELAY, "definition_type": "time-delay",
                 **_ACTION_AT},
                {"id": "116466132", "flow_id": "T6EyQF", "definition": SEND_EMAIL, "definition_type": "send-email",
                 **_ACTION_AT, "flow_message_ids": ["StDwe4"]},
            ],
        },
    ),
    Answer(
        "templates: without relationships, and one of another editor",
        page(
            [
                record("template", "Vm6eis", {"name": "Code", "editor_type": "CODE", "html": "<p>\u2028</p>",
                                              "text": "", "amp": None, "definition": None, **_SINCE}),
                record("template", "SpfvU7", {"name": "", "editor_type": "SYSTEM_DRAGGABLE", "html": None,
                                              "text": None, "definition": {"body": {"sections": []}}}),
            ]
        ),
        {
            "templates": [
                {"id": "Vm6eis", "name": "Code", "editor_type": "CODE", "html": "<p>\u2028</p>", "text": "",
                 **_SINCE_AT},
                {"id": "SpfvU7", "name": "", "editor_type": "SYSTEM_DRAGGABLE",
                 "definition": {"body": {"sections": []}}},
            ]
        },
    ),
]  # fmt: skip

_READ_AT = utc("2026-06-12T06:00:00")
_DAYS = {
    "timezone": "America/New_York", "interval": "day", "start": "2026-06-01T04:00:00+00:00",
    "end": "2026-06-03T04:00:00+00:00", OBSERVED_AT: _READ_AT.isoformat(),
}  # fmt: skip
_ORDERS = {"conversion_metric_id": "M1", "conversion_metric_name": "Placed Order"}
_COUNTED = {"observed_at": _READ_AT, "interval": "day"}


def _report(kind: str, **attributes: Any) -> str:
    """An answer of an analytics endpoint: a single record under an id of its own."""
    return page({"type": kind, "id": "d1a4b623-a90d", "attributes": attributes})


ANALYTICS = [
    Answer(
        "no campaign was sent",
        _report("campaign-values-report", results=[]),
        {"campaign_values": []},
        context=_DAYS | _ORDERS,
    ),
    Answer(
        "the campaign's own id as that of the message, counts as 12.0, a rate as 0",
        _report(
            "campaign-values-report",
            results=[
                {
                    "groupings": {"campaign_id": "01K1", "campaign_message_id": "01K1", "send_channel": "email"},
                    "statistics": {"recipients": 12.0, "open_rate": 0, "conversion_value": 9.5, "clicks": None},
                }
            ],
        ),
        {
            "campaign_values": [
                {
                    "campaign_id": "01K1", "campaign_message_id": "01K1", "send_channel": "email", **_ORDERS,
                    **_COUNTED, "period_start": date(2026, 6, 1), "period_end": date(2026, 6, 1), "recipients": 12,
                    "open_rate": 0.0, "conversion_value": 9.5,
                }
            ]
        },
        context=_DAYS | _ORDERS,
    ),
    Answer(
        "dates of a report are local days, although they end in +00:00",
        _report(
            "flow-series-report",
            date_times=["2026-06-01T00:00:00+00:00", "2026-06-02T00:00:00+00:00"],
            results=[
                {
                    "groupings": {"flow_id": "T6EyQF", "flow_message_id": "StDwe4", "send_channel": "email"},
                    "statistics": {"opens": [1.0, 0], "open_rate": [0.5, None]},
                }
            ],
        ),
        {
            "flow_series": [
                {
                    "flow_id": "T6EyQF", "flow_message_id": "StDwe4", "send_channel": "email", **_ORDERS, **_COUNTED,
                    "date": date(2026, 6, 1), "starts_at": utc("2026-06-01T04:00:00"), "opens": 1, "open_rate": 0.5,
                },
                {
                    "flow_id": "T6EyQF", "flow_message_id": "StDwe4", "send_channel": "email", **_ORDERS, **_COUNTED,
                    "date": date(2026, 6, 2), "starts_at": utc("2026-06-02T04:00:00"), "opens": 0,
                },
            ]
        },
        context=_DAYS | _ORDERS,
    ),
    Answer(
        "dates of an aggregate are moments, and a dimension may be empty",
        _report(
            "metric-aggregate",
            dates=["2026-06-01T04:00:00+00:00", "2026-06-02T04:00:00+00:00"],
            data=[{"dimensions": [""], "measurements": {"count": [3.0, 0.0], "sum_value": [9.5, 0]}}],
        ),
        {
            "metric_aggregates": [
                {"metric_id": "M1", **_COUNTED, "date": date(2026, 6, 1), "starts_at": utc("2026-06-01T04:00:00"),
                 "count": 3, "sum_value": 9.5},
                {"metric_id": "M1", **_COUNTED, "date": date(2026, 6, 2), "starts_at": utc("2026-06-02T04:00:00"),
                 "count": 0, "sum_value": 0.0},
            ]
        },
        context=_DAYS | {"metric_id": "M1", "groups": json.dumps(["$flow"])},
    ),
]  # fmt: skip
