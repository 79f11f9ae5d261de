"""Answers with the shapes and oddities of live recordings, written anew, and the rows that they have to become.

No copies: names, ids and numbers are made up. What an answer shows is said beside it, with *(seen)* where a recording of a
live account has it; the rest is by Klaviyo's SDK. There is no public recording of revision 2026-10-15 yet. Where it has
resources of its own, the shapes here are the SDK's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

OLD, NEW = "2026-07-15", "2026-10-15"
HOST = "https://a.klaviyo.com/api"

Record = dict[str, Any]
#: A row without its nulls; JSON columns are parsed.
Row = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        name: what it shows.
        body: the document.
        rows: report -> its rows.
        revisions: under which it can come.
        context: what the request knows.
        next: `links.next`.
        looked_up: id of a campaign message -> the answer with its variations.
    """

    name: str
    body: str
    rows: Mapping[str, Sequence[Row]]
    revisions: tuple[str, ...] = (OLD, NEW)
    context: Mapping[str, str | None] = field(default_factory=dict)
    next: str | None = None
    looked_up: Mapping[str, str] = field(default_factory=dict)


def utc(text: str) -> datetime:
    """A moment."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def related(path: str, name: str, data: Any = ...) -> Record:
    """A relationship: with links alone where nothing was included (seen)."""
    links = {"self": f"{HOST}/{path}/relationships/{name}/", "related": f"{HOST}/{path}/{name}/"}
    return {"links": links} if data is ... else {"data": data, "links": links}


def record(kind: str, identity: str, attributes: Any = None, **relationships: Any) -> Record:
    """A record. The names of its relationships have `_` for `-`."""
    path = f"{kind}s/{identity}"
    named = {name.replace("_", "-"): data for name, data in relationships.items()}
    made: Record = {"type": kind, "id": identity}
    if attributes is not None:
        made["attributes"] = attributes
    if named:
        made["relationships"] = {name: related(path, name, data) for name, data in named.items()}
    return made | {"links": {"self": f"{HOST}/{path}/"}}


def ref(kind: str, identity: str) -> Record:
    """What a relationship points at."""
    return {"type": kind, "id": identity}


def page(data: Any, included: Sequence[Record] | None = None, **links: str | None) -> str:
    """A document. Klaviyo writes `included` between data and links (seen)."""
    between = {} if included is None else {"included": included}
    return json.dumps({"data": data, **between, "links": {"self": f"{HOST}/x", "next": None, "prev": None} | links})


#: Every profile has it, and nobody has consented to anything (seen).
NO_CONSENT: Record = {
    "consent": "NEVER_SUBSCRIBED", "consent_timestamp": None, "last_updated": None, "created_timestamp": None,
    "metadata": None, "can_receive": False, "valid_until": None,
}  # fmt: skip
NOWHERE: Record = dict.fromkeys(
    ("address1", "address2", "city", "country", "latitude", "longitude", "region", "zip", "timezone", "ip")
)
NO_PREDICTION: Record = dict.fromkeys(
    ("historic_number_of_orders", "predicted_number_of_orders", "average_days_between_orders", "average_order_value",
     "historic_clv", "predicted_clv", "total_clv", "churn_probability", "expected_date_of_next_order",
     "ranked_channel_affinity")
)  # fmt: skip
SUPPRESSED_AT = "2026-09-04T13:39:33.601782+00:00"
SUBSCRIPTIONS: Record = {
    "email": {
        "marketing": {
            "can_receive_email_marketing": False, "consent": "NEVER_SUBSCRIBED", "consent_timestamp": None,
            "last_updated": SUPPRESSED_AT, "method": None, "method_detail": "", "custom_method_detail": None,
            "double_optin": None, "suppression": [{"reason": "USER_SUPPRESSED", "timestamp": SUPPRESSED_AT}],
            "list_suppressions": [{"list_id": "Xyz123", "reason": "USER_SUPPRESSED", "timestamp": SUPPRESSED_AT}],
        },
        "open_tracking": NO_CONSENT,
        # Beside `marketing`, with revision 2026-07-15 already (seen).
        "click_tracking": NO_CONSENT | {"consent": "SUBSCRIBED", "can_receive": True},
    },
    "sms": {
        "marketing": {"can_receive_sms_marketing": False, "consent": "NEVER_SUBSCRIBED", "consent_timestamp": None,
                      "method": None, "method_detail": None, "last_updated": None},
    },
    "mobile_push": {"marketing": {"can_receive_push_marketing": False, "consent": "NEVER_SUBSCRIBED",
                                  "consent_timestamp": None}},
    # null, not an object without members (seen).
    "whatsapp": None,
}  # fmt: skip
_EMAIL, _MARKETING = "subscriptions_email", "subscriptions_email_marketing"
_SUPPRESSION = {"reason": "USER_SUPPRESSED", "timestamp": SUPPRESSED_AT}

PROFILES = [
    Answer(
        "a full profile: microseconds, fields of no schema, consents and predictions that are null, links alone",
        page(
            [
                record(
                    "profile",
                    "01M1AAA",
                    {
                        "email": "ann@example.com", "phone_number": None, "external_id": None, "anonymous_id": None,
                        "whatsapp_bsuid": None, "first_name": None, "last_name": "", "organization": None,
                        "locale": None, "title": None, "image": None, "created": "2026-09-04T13:40:25.420136+00:00",
                        "updated": "2026-09-04T13:40:25.420154+00:00", "last_event_date": None, "location": NOWHERE,
                        "properties": {}, "subscriptions": SUBSCRIPTIONS, "predictive_analytics": NO_PREDICTION,
                    },
                    lists=..., segments=..., push_tokens=..., conversation=...,
                )
            ],
            # On the first page (seen).
            prev=f"{HOST}/profiles?page%5Bcursor%5D=%3CFilters%3E",
            next=f"{HOST}/profiles?page%5Bcursor%5D=bmV4dA",
        ),
        {
            "profiles": [
                {
                    "id": "01M1AAA", "email": "ann@example.com", "last_name": "",
                    "created": utc("2026-09-04T13:40:25.420136"), "updated": utc("2026-09-04T13:40:25.420154"),
                    "properties": {}, f"{_MARKETING}_can_receive_email_marketing": False,
                    f"{_MARKETING}_consent": "NEVER_SUBSCRIBED",
                    f"{_MARKETING}_last_updated": utc("2026-09-04T13:39:33.601782"),
                    f"{_MARKETING}_method_detail": "", f"{_MARKETING}_suppression": [_SUPPRESSION],
                    f"{_MARKETING}_list_suppressions": [{"list_id": "Xyz123"} | _SUPPRESSION],
                    f"{_EMAIL}_open_tracking_consent": "NEVER_SUBSCRIBED",
                    f"{_EMAIL}_open_tracking_can_receive": False,
                    f"{_EMAIL}_click_tracking_consent": "SUBSCRIBED", f"{_EMAIL}_click_tracking_can_receive": True,
                    "subscriptions_sms_marketing_can_receive_sms_marketing": False,
                    "subscriptions_sms_marketing_consent": "NEVER_SUBSCRIBED",
                    "subscriptions_mobile_push_marketing_can_receive_push_marketing": False,
                    "subscriptions_mobile_push_marketing_consent": "NEVER_SUBSCRIBED",
                }
            ],
            "subscriptions": [
                {
                    "profile_id": "01M1AAA", "channel": "email", "purpose": "marketing",
                    "updated": utc("2026-09-04T13:40:25.420154"), "consent": "NEVER_SUBSCRIBED",
                    "last_updated": utc("2026-09-04T13:39:33.601782"), "can_receive": False, "method_detail": "",
                    "suppression": [_SUPPRESSION], "list_suppressions": [{"list_id": "Xyz123"} | _SUPPRESSION],
                },
                *(
                    {
                        "profile_id": "01M1AAA", "channel": channel, "purpose": purpose, "consent": consent,
                        "can_receive": can_receive, "updated": utc("2026-09-04T13:40:25.420154"),
                    }
                    for channel, purpose, consent, can_receive in (
                        ("email", "open_tracking", "NEVER_SUBSCRIBED", False),
                        ("email", "click_tracking", "SUBSCRIBED", True),
                        ("sms", "marketing", "NEVER_SUBSCRIBED", False),
                        ("mobile_push", "marketing", "NEVER_SUBSCRIBED", False),
                    )
                ),
            ],
            "suppressions": [
                {
                    "profile_id": "01M1AAA", "position": 0, "reason": "USER_SUPPRESSED",
                    "timestamp": utc("2026-09-04T13:39:33.601782"), "updated": utc("2026-09-04T13:40:25.420154"),
                }
            ],
            "list_suppressions": [
                {
                    "profile_id": "01M1AAA", "list_id": "Xyz123", "position": 0, "reason": "USER_SUPPRESSED",
                    "timestamp": utc("2026-09-04T13:39:33.601782"), "updated": utc("2026-09-04T13:40:25.420154"),
                }
            ],
        },
        context={"list_id": "Xyz123"},
        next=f"{HOST}/profiles?page%5Bcursor%5D=bmV4dA",
    ),
    Answer(
        "profiles with numbers as texts, texts as numbers, other times, and members that are absent or null",
        page(
            [
                record(
                    "profile",
                    "01M1BBB",
                    {
                        "external_id": 90071992547409931, "anonymous_id": "a1b2", "whatsapp_bsuid": "US.134912",
                        "first_name": "", "created": "2026-06-23 00:15:23.918411+00:00",
                        "updated": "2026-06-23T00:15:23+00:00",
                        "location": {"latitude": "55.66", "longitude": 12.57, "zip": "02300", "city": ""},
                        "properties": {"Größe": None, "n": 9007199254740993}, "subscriptions": None,
                        "predictive_analytics": None,
                    },
                    lists=[], segments=[ref("segment", "S1")],
                ),
                record("profile", "01M1CCC", {"updated": "2026-06-23T00:15:23Z", "external_id": "0017"}),
            ]
        ),
        {
            "profiles": [
                {
                    "id": "01M1BBB", "external_id": "90071992547409931", "anonymous_id": "a1b2",
                    "whatsapp_bsuid": "US.134912", "first_name": "", "created": utc("2026-06-23T00:15:23.918411"),
                    "updated": utc("2026-06-23T00:15:23"), "location_latitude": 55.66, "location_longitude": 12.57,
                    "location_zip": "02300", "location_city": "",
                    "properties": {"Größe": None, "n": 9007199254740993}, "list_ids": [], "segment_ids": ["S1"],
                },
                {"id": "01M1CCC", "updated": utc("2026-06-23T00:15:23"), "external_id": "0017"},
            ]
        },
    ),
]  # fmt: skip

METRIC = record("metric", "SkDfHe", {"name": "Placed Order"}, flow_triggers=...)
ATTRIBUTION = {
    "type": "attribution",
    "id": "7qWkC6JPz7g-1",
    "relationships": {
        "event": {"data": ref("event", "7qWkC6JPz7g")},
        "attributed-event": {"data": ref("event", "7qWkA1")},
        "campaign": {"data": ref("campaign", "01K1")},
        "campaign-message": {"data": ref("campaign-message", "01K2")},
        # Either form where there is none.
        "flow": {"data": None},
        "flow-message": None,
    },
}
EVENTS = [
    Answer(
        "events with both forms of times, included records in another order, and a metric that no longer resolves",
        page(
            [
                record(
                    "event",
                    "7qWkC6JPz7g",
                    {
                        "timestamp": 1788529135, "datetime": "2026-09-04T13:38:55+00:00", "uuid": "f9204180-a865",
                        # `$message` of an event of a campaign may be the campaign's own id (seen).
                        "event_properties": {"$value": 3, "$message": "01K1", "$event_id": "n-1", "": 1.10},
                    },
                    profile=ref("profile", "01M1AAA"), metric=ref("metric", "SkDfHe"),
                    attributions=[ref("attribution", "7qWkC6JPz7g-1")],
                ),
                record(
                    "event",
                    "7qWkY8hhfKA",
                    {
                        "timestamp": 1788529134, "datetime": "2026-09-04 13:38:54.5+00:00", "uuid": "f887ab00",
                        "event_properties": {},
                    },
                    profile=ref("profile", "01M1BBB"), metric=ref("metric", "Gone01"), attributions=[],
                ),
                record(
                    "event",
                    "7qWkZ9",
                    {"timestamp": 1788529133, "datetime": "2026-09-04T13:38:53+00:00", "event_properties": None},
                    metric=None, attributions=...,
                ),
            ],
            [record("metric", "Other1", {"name": "Nobody asked"}), ATTRIBUTION, METRIC, METRIC],
            next=f"{HOST}/events?page%5Bcursor%5D=WzE3ODg1MjkxMzQsICI3cVdrIl0",
        ),
        {
            "events": [
                {
                    "id": "7qWkC6JPz7g", "uuid": "f9204180-a865", "datetime": utc("2026-09-04T13:38:55"),
                    "timestamp": 1788529135, "metric_id": "SkDfHe", "metric_name": "Placed Order",
                    "event_properties": {"$value": 3, "$message": "01K1", "$event_id": "n-1", "": 1.1},
                    "profile_id": "01M1AAA", "attribution_ids": ["7qWkC6JPz7g-1"], "attributions": [ATTRIBUTION],
                    "attributed_campaign_ids": ["01K1"], "attributed_campaign_message_ids": ["01K2"],
                    "attributed_flow_ids": [], "attributed_flow_message_ids": [],
                    "attributed_flow_message_variation_ids": [], "attributed_event_ids": ["7qWkA1"],
                },
                {
                    "id": "7qWkY8hhfKA", "uuid": "f887ab00", "datetime": utc("2026-09-04T13:38:54.500"),
                    "timestamp": 1788529134, "metric_id": "Gone01", "event_properties": {}, "profile_id": "01M1BBB",
                    "attribution_ids": [], "attributions": [], "attributed_campaign_ids": [],
                    "attributed_campaign_message_ids": [], "attributed_flow_ids": [],
                    "attributed_flow_message_ids": [], "attributed_flow_message_variation_ids": [],
                    "attributed_event_ids": [],
                },
                {"id": "7qWkZ9", "datetime": utc("2026-09-04T13:38:53"), "timestamp": 1788529133},
            ]
        },
        next=f"{HOST}/events?page%5Bcursor%5D=WzE3ODg1MjkxMzQsICI3cVdrIl0",
    ),
    Answer("a page without records, as the last one often is", page([], []), {"events": []}),
]  # fmt: skip

API = {"object": "integration", "id": "7FtS4J", "key": "api", "name": "API", "category": "API"}
APPLICATION: Record = {
    "object": "application", "id": "01APP", "key": "", "name": "Ads", "category": {"id": 15, "category": "Advertising"},
}  # fmt: skip
_DAY = utc("2026-04-07T01:34:26")


def metric(identity: str, integration: Any, **relationships: Any) -> Record:
    """Two metrics may share a name (seen): all have this one."""
    moment = "2026-04-07T01:34:26+00:00"
    attributes = {"name": "Placed Order", "created": moment, "updated": moment, "integration": integration}
    return record("metric", identity, attributes, **relationships)


METRICS = [
    Answer(
        "metrics of the API, of an OAuth app whose category is an object, and of no integration",
        page(
            [
                metric("M1", API, flow_triggers=[]),
                metric("M2", APPLICATION, flow_triggers=[ref("flow", "F1")]),
                metric("M3", None, flow_triggers=...),
                metric("M4", {"object": "integration", "category": None}),
            ],
            [record("flow", "F1", {"name": "Welcome"})],
            prev=f"{HOST}/metrics?page%5Bcursor%5D=x",
        ),
        {
            "metrics": [
                {
                    "id": "M1", "name": "Placed Order", "created": _DAY, "updated": _DAY, "integration": API,
                    "integration_object": "integration", "integration_id": "7FtS4J", "integration_key": "api",
                    "integration_name": "API", "integration_category": "API", "flow_trigger_ids": [],
                },
                {
                    "id": "M2", "name": "Placed Order", "created": _DAY, "updated": _DAY, "integration": APPLICATION,
                    "integration_object": "application", "integration_id": "01APP", "integration_key": "",
                    "integration_name": "Ads", "integration_category": "Advertising", "integration_category_id": "15",
                    "flow_trigger_ids": ["F1"],
                },
                {"id": "M3", "name": "Placed Order", "created": _DAY, "updated": _DAY},
                {
                    "id": "M4", "name": "Placed Order", "created": _DAY, "updated": _DAY,
                    "integration": {"object": "integration", "category": None}, "integration_object": "integration",
                },
            ]
        },
    )
]  # fmt: skip

_JOINED = [
    record("profile", "01M1AAA", {"joined_group_at": "2026-09-04T13:39:38+00:00"}, lists=..., conversation=...),
    record("profile", "01M1BBB", {"joined_group_at": "2026-09-04 13:39:38.25+00:00"}),
]
_JOINS = {"01M1AAA": utc("2026-09-04T13:39:38"), "01M1BBB": utc("2026-09-04T13:39:38.250")}
GROUPS = [
    Answer(
        "lists, with a link to a page before the first",
        page(
            [
                record(
                    "list",
                    "TjmPN9",
                    {"name": "", "created": "2026-09-04T13:39:29+00:00", "updated": "2026-09-04T13:39:29+00:00",
                     "opt_in_process": "double_opt_in"},
                    profiles=..., tags=[], flow_triggers=...,
                )
            ],
            [],
            prev=f"{HOST}/lists?page%5Bcursor%5D=%3CFilters%3A+any%28id%29%3E",
        ),
        {
            "lists": [
                {
                    "id": "TjmPN9", "name": "", "created": utc("2026-09-04T13:39:29"),
                    "updated": utc("2026-09-04T13:39:29"), "opt_in_process": "double_opt_in", "tag_ids": [],
                }
            ]
        },
    ),
    Answer(
        "the members of a list",
        page(_JOINED),
        {"list_profiles": [{"list_id": "L1", "profile_id": one, "joined_group_at": at} for one, at in _JOINS.items()]},
        context={"list_id": "L1"},
    ),
    Answer(
        "a new segment, which is processing for minutes",
        page(
            [
                record(
                    "segment",
                    "SAx2Kq",
                    {"name": "VIP", "definition": {"condition_groups": [{"conditions": [{"timeframe_filter": None}]}]},
                     "created": "2026-09-04T13:38:52+00:00", "updated": "2026-09-04T13:38:52+00:00",
                     "is_active": True, "is_processing": True, "is_starred": False},
                    profiles=..., tags=[ref("tag", "T1")], flow_triggers=[],
                )
            ],
            [record("tag", "T1", {"name": "x"}, tag_group=...)],
        ),
        {
            "segments": [
                {
                    "id": "SAx2Kq", "name": "VIP", "is_active": True, "is_processing": True, "is_starred": False,
                    "definition": {"condition_groups": [{"conditions": [{"timeframe_filter": None}]}]},
                    "created": utc("2026-09-04T13:38:52"), "updated": utc("2026-09-04T13:38:52"), "tag_ids": ["T1"],
                    "flow_trigger_ids": [],
                }
            ]
        },
    ),
    Answer(
        "the members of a segment",
        page(_JOINED),
        {
            name: [{"segment_id": "S1", "profile_id": one, "joined_group_at": at} for one, at in _JOINS.items()]
            for name in ("segment_profiles", "profile_segments")
        },
        context={"segment_id": "S1"},
    ),
    Answer(
        "tags, whose groups come in another order",
        page(
            [
                record("tag", "b320", {"name": "one"}, tag_group=ref("tag-group", "34c0"), lists=..., flows=...),
                record("tag", "f837", {"name": ""}, tag_group=ref("tag-group", "c8aa"), campaigns=..., segments=...),
            ],
            [
                record("tag-group", "c8aa", {"name": "", "exclusive": True, "default": False}, tags=...),
                record("tag-group", "34c0", {"name": "Ungrouped Tags", "exclusive": False, "default": True}, tags=...),
            ],
        ),
        {
            "tags": [
                {"id": "b320", "name": "one", "tag_group_id": "34c0", "tag_group_name": "Ungrouped Tags"},
                {"id": "f837", "name": "", "tag_group_id": "c8aa", "tag_group_name": ""},
            ]
        },
    ),
]  # fmt: skip
