"""The column contracts in `schemas/` against the response models of Klaviyo's official SDK.

A contract declares the columns of one report and where each value lies in Klaviyo's answer. The SDK's pydantic
models say what Klaviyo documents. Every documented field must have a column, and every column a documented field, of
a fitting type; the few deviations are listed below, each with its reason. When Klaviyo ships a revision, the failures
name the fields that came, went or changed. This asks the installed SDK; `test_every_sdk.py` asks the others.
"""

from __future__ import annotations

import datetime
import enum
import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import openapi_client.models as sdk
import pytest
import yaml
from dlt.common.normalizers.naming.snake_case import NamingConvention
from pydantic import BaseModel

from sources.klaviyo.catalog.endpoints import endpoints
from sources.klaviyo.catalog.reports import reports
from tests.support import sdks
from tests.support.sdk_responses import responses

REVISION = sdks.first()
SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
RESPONSES = responses(REVISION)

# Objects that come in one of several shapes: the SDK leaves them untyped and has no models of the shapes. Here are the
# fields of all shapes together, by Klaviyo's OpenAPI file, below the path of the object.
CAMPAIGN_MESSAGE_SHAPES: dict[tuple[str, str], dict[str, Any]] = {
    ("campaign_messages", "attributes.definition"): {
        "channel": str,
        "label": str,
        "notification_type": str,
        "kv_pairs": dict,
        "content.subject": str,
        "content.preview_text": str,
        "content.from_email": str,
        "content.from_label": str,
        "content.reply_to_email": str,
        "content.cc_email": str,
        "content.bcc_email": str,
        "content.title": str,
        "content.body": str,
        "content.media_url": str,
        "content.dynamic_image": str,
        "content.action_buttons": list,
        "render_options.shorten_links": bool,
        "render_options.add_org_prefix": bool,
        "render_options.add_info_link": bool,
        "render_options.add_opt_out_language": bool,
        "options.on_open": dict,
        "options.badge": dict,
        "options.play_sound": bool,
    },
}
# By the OpenAPI file of the preview of 2026-10-15: email, SMS, push and WhatsApp.
CAMPAIGN_VARIATION_SHAPES: dict[tuple[str, str], dict[str, Any]] = {
    ("campaign_variations", "attributes.definition.details"): {
        "channel": str,
        "template_id": str,
        "from_label": str,
        "from_email": str,
        "reply_to_email": str,
        "cc_email": str,
        "bcc_email": str,
        "subject": str,
        "preview_text": str,
        "cost": float,
        "mms_static_image_asset_id": int,
        "shorten_links": bool,
        "include_contact_card": bool,
        "body": str,
        "add_org_prefix": bool,
        "add_info_link": bool,
        "add_opt_out_language": bool,
        "mms_dynamic_image_template": str,
        "text_message_type": str,
        "message_hierarchy": list,
        "title": str,
        "badge": bool,
        "badge_config": str,
        "badge_value": str,
        "sound_file_name": str,
        "static_asset_id": int,
        "sound": bool,
        "open_action": int,
        "dynamic_media_template": str,
        "kv_pairs": dict,
        "push_type": str,
        "ios_deep_link": str,
        "android_deep_link": str,
        "web_url": str,
        "content_available": bool,
        "mutable_content": bool,
        "video_asset_id": str,
        "action_buttons": list,
    },
}
SHAPES: dict[tuple[str, str], dict[str, Any]] = {
    # Twenty kinds of actions; the type that tells them apart is what they have in common, besides ids and links.
    ("flow_actions", "attributes.definition"): {"type": str},
    ("flow_messages", "attributes.definition"): {
        "id": str,
        "name": str,
        "template_id": str,
        "subject_line": str,
        "preview_text": str,
        "from_email": str,
        "from_label": str,
        "reply_to_email": str,
        "cc_email": str,
        "bcc_email": str,
        "to_emails": list,
        "title": str,
        "body": str,
        "message_hierarchy": list,
        "image_id": str,
        "dynamic_image": str,
        "video_asset_id": str,
        "shorten_links": bool,
        "include_contact_card": bool,
        "add_org_prefix": bool,
        "add_info_link": bool,
        "add_opt_out_language": bool,
        "sms_quiet_hours_enabled": bool,
        "smart_sending_enabled": bool,
        "transactional": bool,
        "add_tracking_params": bool,
        "custom_tracking_params": list,
        "additional_filters": dict,
        "sound": bool,
        "badge": bool,
        "badge_options": dict,
        "on_open": str,
        "ios_link": str,
        "android_link": str,
        "web_url": str,
        "push_type": str,
        "kv_pairs": dict,
        "action_buttons": list,
        "conversion_metric_id": str,
        "url": str,
        "headers": dict,
        "vendor_id": str,
    },
    ("reviews", "attributes.status"): {"rejection_reason": dict, "value": str},
    ("tracking_settings", "attributes.utm_source.flow"): {"type": str, "value": str},
    ("tracking_settings", "attributes.utm_source.campaign"): {"type": str, "value": str},
    ("tracking_settings", "attributes.utm_medium.flow"): {"type": str, "value": str},
    ("tracking_settings", "attributes.utm_medium.campaign"): {"type": str, "value": str},
    ("tracking_settings", "attributes.utm_campaign.flow"): {"type": str, "value": str},
    ("tracking_settings", "attributes.utm_campaign.campaign"): {"type": str, "value": str},
    ("tracking_settings", "attributes.utm_id.flow"): {"type": str, "value": str},
    ("tracking_settings", "attributes.utm_id.campaign"): {"type": str, "value": str},
    ("tracking_settings", "attributes.utm_term.flow"): {"type": str, "value": str},
    ("tracking_settings", "attributes.utm_term.campaign"): {"type": str, "value": str},
    ("universal_content", "attributes.definition"): {"content_type": str, "type": str},
}
SHAPES |= {"2026-07-15": CAMPAIGN_MESSAGE_SHAPES, "2026-10-15": CAMPAIGN_VARIATION_SHAPES}[REVISION]

# Included resources that columns reach into: a model of the SDK, or the fields where the SDK has no model of it.
INCLUDED: dict[tuple[str, str], str | dict[str, Any]] = {
    ("events", "attributions"): {
        "relationships.attributed-event.data.id": str,
        "relationships.campaign-message.data.id": str,
        "relationships.campaign.data.id": str,
        "relationships.event.data.id": str,
        "relationships.flow-message-variation.data.id": str,
        "relationships.flow-message.data.id": str,
        "relationships.flow.data.id": str,
    },
    ("events", "metric"): "MetricResponseObjectResource",
    ("tags", "tag-group"): "TagGroupResponseObjectResource",
}
# What no answer includes: the source asks for it by itself and puts it there.
LOOKED_UP = {("campaigns", "campaign-variations"), ("campaign_messages", "campaign-variations")}
if REVISION == "2026-10-15":
    INCLUDED |= {
        ("campaigns", "campaign-audiences"): "AudienceResponseObjectResource",
        ("campaigns", "campaign-messages"): "MessageResponseObjectResource",
    }

# Reports whose rows lie inside the records: where, as a pattern of Klaviyo's paths and as the contract writes it, and
# what the request knows of a row already.
INSIDE: dict[str, tuple[str, str, str | None]] = {
    "subscriptions": (
        r"attributes\.subscriptions\.\w+\.\w+(?=\.)",
        "attributes.subscriptions.{channel}.{purpose}",
        None,
    ),
    "suppressions": (
        r"attributes\.subscriptions\.email\.marketing\.suppression\[\]",
        "attributes.subscriptions.email.marketing.suppression.{position}",
        None,
    ),
    "list_suppressions": (
        r"attributes\.subscriptions\.email\.marketing\.list_suppressions\[\]",
        "attributes.subscriptions.email.marketing.list_suppressions.{position}",
        "list_id",
    ),
}
# Fields of such rows that are called differently for each place and are one column.
ALIKE = {"can_receive_email_marketing", "can_receive_sms_marketing", "can_receive_sms_transactional",
         "can_receive_push_marketing", "can_receive"}  # fmt: skip

# Reports that ask for a few fields of a resource that another report holds: they are held to these alone.
SPARSE: dict[str, set[str]] = {
    "flow_definitions": {"attributes.definition"},
    "form_definitions": {"attributes.definition"},
    "list_profile_counts": {"attributes.profile_count"},
    "segment_profile_counts": {"attributes.profile_count"},
    "list_profiles": {"attributes.joined_group_at"},
    **{report: {path} for report, (_, path, _) in INSIDE.items()},
    "profile_segments": {"attributes.joined_group_at"},
    "segment_profiles": {"attributes.joined_group_at"},
}

# To-one relationships that the request knows, since it names the parent: Klaviyo sends their ids only when one asks to
# include them, which these endpoints do not offer. Their column comes from the context.
ASKED_BY = {
    ("flow_messages", "flow-action"),
    ("form_versions", "form"),
    ("metric_properties", "metric"),
}

# Columns without a documented field, each with its reason.
_INTEGRATION = "documented as an object without properties; Klaviyo sends object, id, key, name and category in it"
_EVERY_PROFILE = "in every recorded answer that has all attributes, from 2023 to 2026, and in no response schema [seen]"
UNDOCUMENTED = {
    ("metrics", "attributes.integration.category"): _INTEGRATION,
    ("metrics", "attributes.integration.category.id"): "the category of an OAuth app is an object with an id [seen]",
    ("metrics", "attributes.integration.id"): _INTEGRATION,
    ("metrics", "attributes.integration.key"): _INTEGRATION,
    ("metrics", "attributes.integration.name"): _INTEGRATION,
    ("metrics", "attributes.integration.object"): _INTEGRATION,
    ("profiles", "attributes.anonymous_id"): _EVERY_PROFILE,
    ("profiles", "attributes.whatsapp_bsuid"): "in the answers of September 2026 that have all attributes [seen]",
}
if REVISION == "2026-07-15":
    _TRACKING = ("can_receive", "consent", "consent_timestamp", "created_timestamp", "last_updated", "metadata")
    UNDOCUMENTED |= {
        ("profiles", f"attributes.subscriptions.email.click_tracking.{name}"): "recorded with 2026-07-15 already [seen]"
        for name in (*_TRACKING, "valid_until")
    }

# Columns whose type deviates from the documented one, each with its reason.
RETYPED = {
    (
        "flow_definitions",
        "attributes.definition.reentry_criteria.unit",
    ): "an object in the SDK, a word in the OpenAPI file",
    ("metrics", "attributes.created"): "documented as a string that holds an ISO 8601 datetime",
    ("metrics", "attributes.updated"): "documented as a string that holds an ISO 8601 datetime",
    ("profiles", "attributes.location.latitude"): "a number or a numeric string: one number for the analyst",
    ("profiles", "attributes.location.longitude"): "a number or a numeric string: one number for the analyst",
    ("push_tokens", "attributes.recorded_date"): "documented as a string that holds a date",
}

# What a request knows and the record does not say.
CONTEXT = {
    "campaign_id",
    "catalog_category_id",
    "channel",
    "flow_action_id",
    "form_id",
    "list_id",
    "metric_id",
    "object_schema_id",
    "object_type_id",
    "profile_bulk_import_job_id",
    "segment_id",
    "segment_name",
}

# Keys other than the id. Histories hold one row a period of membership: no column of Klaviyo's is unique in them.
KEYS: dict[str, list[str]] = {
    "catalog_category_items": ["catalog_category_id", "catalog_item_id"],
    "list_profiles": [],
    "list_suppressions": ["profile_id", "list_id", "position"],
    "object_schema_profile_relations": ["object_schema_id", "relation_id"],
    "object_schema_relations": ["object_schema_id", "relation_id"],
    "object_type_profile_relations": ["object_type_id", "relation_id"],
    "object_type_relations": ["object_type_id", "relation_id"],
    "profile_bulk_import_job_lists": ["profile_bulk_import_job_id", "list_id"],
    "profile_bulk_import_job_profiles": ["profile_bulk_import_job_id", "profile_id"],
    "profile_segments": [],
    "segment_profiles": [],
    "subscriptions": ["profile_id", "channel", "purpose"],
    "suppressions": ["profile_id", "position"],
}

DATA_TYPES = {"text", "bigint", "double", "bool", "timestamp", "date", "json"}
COLUMN_KEYS = {"data_type", "nullable", "primary_key", "path", "description", "values", "member", "paths"}
LONGEST_NAME = 63  # the shortest limit of the common destinations: Postgres cuts longer names

Contract = dict[str, Any]


class _NoDuplicates(yaml.SafeLoader):
    """Refuses a key that stands twice, where YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f"twice in one mapping: {', '.join(twice)}")
        return super().construct_mapping(node, deep)


def load(path: Path) -> Contract:
    """A contract as this revision has it: without the columns that it has no value for.

    `paths` of a column are those of all revisions.
    """
    contract: Contract = yaml.load(path.read_text(encoding="utf-8"), Loader=_NoDuplicates)
    for name, column in list(contract["columns"].items()):
        told = column["path"] if isinstance(column["path"], dict) else {"": column["path"]}
        column["paths"] = [path for path in told.values() if path]
        column["path"] = told[max(since)] if (since := [first for first in told if first <= REVISION]) else None
        if column["path"] is None:
            del contract["columns"][name]
    return contract


CONTRACTS = {name: load(SCHEMAS / f"{name}.yaml") for name in sorted(reports(REVISION))}
every_report = pytest.mark.parametrize("report", sorted(CONTRACTS))
# Rows of what counts come out of objects that the SDK leaves untyped; test_analytics.py holds them against its enums.
COUNTING = {name for name, row in endpoints(REVISION).items() if row.analytics is not None}
every_held_report = pytest.mark.parametrize("report", sorted({*CONTRACTS} - COUNTING))


# What the SDK documents


def bare(annotation: Any) -> Any:
    """The annotation without `Annotated` and `Optional`; `float | int` is a float."""
    if typing.get_origin(annotation) is typing.Annotated:
        return bare(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) is typing.Union:
        kinds = {bare(arg) for arg in typing.get_args(annotation) if arg is not type(None)}
        if kinds == {float, int}:
            return float
        if len(kinds) == 1:
            return kinds.pop()
    return annotation


def is_model(kind: Any) -> typing.TypeGuard[type[BaseModel]]:
    return inspect.isclass(kind) and issubclass(kind, BaseModel)


def fields(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every field below the model as (dotted path, type): objects first, then their fields; lists are not entered."""
    for name, info in model.model_fields.items():
        at = f"{path}.{info.alias or name}".lstrip(".")
        kind = bare(info.annotation)
        yield at, kind
        if is_model(kind):
            yield from fields(kind, at)


def record_model(report: str) -> type[BaseModel]:
    """The model of one record of the report."""
    data = bare(getattr(sdk, RESPONSES[report]).model_fields["data"].annotation)
    record = typing.get_args(data)[0] if typing.get_origin(data) is list else data
    assert is_model(record), f"{report}: {record} is no model"
    return record


def documented(report: str) -> dict[str, Any]:
    """Path to type, of every attribute of the report's records, shapes included."""
    known = {path: kind for path, kind in fields(record_model(report)) if path.startswith("attributes.")}
    for (name, path), shape in SHAPES.items():
        if name == report:
            known |= {f"{path}.{below}": kind for below, kind in shape.items()}
    return inside(report, known) if report in INSIDE else known


def inside(report: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the rows that lie inside the records, at the path that the contract has for all of them."""
    pattern, path, by_request = INSIDE[report]
    found: dict[str, Any] = {"attributes.updated": known["attributes.updated"]}
    lists = {
        f"{at}[].{below}": inner
        for at, kind in known.items()
        if pattern.endswith(r"\[\]")
        if typing.get_origin(kind) is list and is_model(typing.get_args(kind)[0])
        for below, inner in fields(typing.get_args(kind)[0])
    }
    for at, kind in {**known, **lists}.items():
        match = re.match(pattern, at)
        name = at[match.end() + 1 :] if match else ""
        if name and name != by_request:
            found[f"{path}.{'can_receive*' if name in ALIKE else name}"] = kind
    return found


def relationships(model: type[BaseModel]) -> dict[str, bool]:
    """Name of every relationship of the model, and whether it leads to many."""
    return {
        path.split(".")[1]: typing.get_origin(kind) is list
        for path, kind in fields(model)
        if re.fullmatch(r"relationships\.[^.]+\.data", path)
    }


# The checks, each a list of complaints


def missing(report: str, contract: Contract) -> list[str]:
    """Documented fields that no column carries."""
    columns = contract["columns"].values()
    paths = {column["path"] for column in columns}
    known_by_request = {f"relationships.{name}.data.id" for table, name in ASKED_BY if table == report}
    whole = tuple(column["path"] + "." for column in columns if column["data_type"] == "json")
    wanted = [path for path, kind in documented(report).items() if not is_model(kind)]
    wanted += [
        f"relationships.{name}.data[].id" if many else f"relationships.{name}.data.id"
        for name, many in relationships(record_model(report)).items()
    ]
    asked = SPARSE.get(report)
    if asked is not None:
        wanted = [path for path in wanted if path in asked or path.startswith(tuple(f"{path}." for path in asked))]
    return [
        f"{report}: {path} has no column"
        for path in wanted
        if path not in paths and not path.startswith(whole) and path not in known_by_request
    ]


def kind_at(report: str, path: str) -> Any:
    """The documented type of the value that a column's path leads to; None where Klaviyo documents none."""
    head, _, rest = path.partition(".")
    if head == "id":
        return str
    if head.startswith("{"):
        return int if head == "{position}" else str
    if head == "attributes":
        return documented(report).get(path)
    if head == "context":
        return str if rest in CONTEXT else None
    name, _, below = rest.partition(".")
    every = below == "data[].id" if head == "relationships" else name.endswith("[]")
    many = every or name.endswith("[0]")
    name = name.removesuffix("[]").removesuffix("[0]")
    if head == "included" and (report, name) in LOOKED_UP:
        known = documented("campaign_variations") | dict(fields(record_model("campaign_variations")))
        return known.get(below)
    if relationships(record_model(report)).get(name) is not many:
        return None
    if head == "relationships":
        return {"data.id": str, "data[].id": list}.get(below)
    included = INCLUDED.get((report, name))
    if head != "included" or included is None:
        return None
    known = included if isinstance(included, dict) else dict(fields(getattr(sdk, included)))
    return list if every and (not below or below in known) else known.get(below)


def unknown(report: str, contract: Contract) -> list[str]:
    """Columns whose path leads to nothing that Klaviyo documents."""
    return [
        f"{report}.{name}: nothing is documented at {column['path']}"
        for name, column in contract["columns"].items()
        if kind_at(report, column["path"]) is None and (report, column["path"]) not in UNDOCUMENTED
    ]


def fitting(kind: Any) -> str:
    """The data type of a column whose documented type is this."""
    shape = typing.get_origin(kind) or kind
    if shape in (list, dict, typing.Union, Any) or is_model(shape):
        return "json"
    if issubclass(shape, enum.Enum):
        return "text"
    plain = {bool: "bool", int: "bigint", float: "double", str: "text"}
    return {**plain, datetime.datetime: "timestamp", datetime.date: "date"}[shape]


def misfits(report: str, contract: Contract) -> list[str]:
    """Columns whose data type does not fit what Klaviyo documents there."""
    return [
        f"{report}.{name}: {column['data_type']} for {fitting(kind)}"
        for name, column in contract["columns"].items()
        if (report, column["path"]) not in RETYPED
        and (kind := kind_at(report, column["path"])) is not None
        and column["data_type"] != fitting(kind)
    ]


def test_every_contract_is_held_against_a_response_of_the_sdk() -> None:
    assert sorted({*CONTRACTS} - COUNTING) == sorted(RESPONSES)


@every_held_report
def test_every_documented_field_and_relationship_has_a_column(report: str) -> None:
    assert missing(report, CONTRACTS[report]) == []


@every_held_report
def test_every_column_leads_to_a_documented_field_or_says_why_not(report: str) -> None:
    assert unknown(report, CONTRACTS[report]) == []


@every_held_report
def test_every_data_type_fits_the_documented_type(report: str) -> None:
    assert misfits(report, CONTRACTS[report]) == []


@every_held_report
def test_the_resource_is_the_type_that_the_records_state(report: str) -> None:
    stated = bare(record_model(report).model_fields["type"].annotation)
    assert [member.value for member in stated] == [CONTRACTS[report]["resource"]]


@every_report
def test_a_contract_has_a_name_a_resource_a_description_and_columns(report: str) -> None:
    contract = CONTRACTS[report]
    assert list(contract) == ["name", "resource", "description", "columns"]
    assert contract["name"] == report
    assert contract["description"].endswith(".")
    for name, column in contract["columns"].items():
        assert column.keys() <= COLUMN_KEYS, name
        assert {"data_type", "path", "description"} <= column.keys(), name
        assert column["data_type"] in DATA_TYPES, name


@every_report
def test_column_names_survive_every_destination(report: str) -> None:
    naming = NamingConvention(max_length=LONGEST_NAME)
    for name in CONTRACTS[report]["columns"]:
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name), name
        assert naming.normalize_identifier(name) == name


@every_report
def test_no_two_columns_carry_the_same_value(report: str) -> None:
    paths = [column["path"] for column in CONTRACTS[report]["columns"].values()]
    assert sorted(paths) == sorted(set(paths))


def named_after(path: str, otherwise: str) -> str:
    """What a column with a path is called."""
    head, _, rest = path.partition(".")
    rest = rest.replace("-", "_")
    if head == "attributes":
        return rest.replace(".", "_")
    if head == "relationships" and rest.endswith(".data.id"):
        return rest.removesuffix(".data.id") + "_id"
    if rest.endswith("[].id"):
        return re.sub("(ie)?s$", lambda end: "y" if end[1] else "", rest.removesuffix(".data[].id")) + "_ids"
    return rest if head == "context" else otherwise


@every_report
def test_column_names_follow_their_paths(report: str) -> None:
    for name, column in CONTRACTS[report]["columns"].items():
        # After the first of several, so that a table keeps its columns from one revision to the next.
        path = column["paths"][0]
        if report in INSIDE and path.startswith(INSIDE[report][1]):
            assert name == path.removeprefix(f"{INSIDE[report][1]}.").removesuffix("*")
        elif path.startswith("{"):
            assert name == path.partition(".")[0].strip("{}")
        else:
            assert named_after(path, name) == name


@every_report
def test_every_column_is_described_in_one_short_sentence(report: str) -> None:
    for name, column in CONTRACTS[report]["columns"].items():
        text = column["description"]
        assert 5 <= len(text) <= 160, f"{name}: {len(text)} characters"
        assert text[0].isupper(), name
        assert text.endswith("."), name


@every_report
def test_the_key_is_the_id_or_what_is_listed(report: str) -> None:
    columns = CONTRACTS[report]["columns"]
    keys = [name for name, column in columns.items() if column.get("primary_key")]
    assert keys == KEYS.get(report, ["id"])
    for name in keys:
        assert columns[name]["nullable"] is False


def test_every_exception_is_still_needed() -> None:
    types = {(r, column["path"]): column["data_type"] for r, c in CONTRACTS.items() for column in c["columns"].values()}
    assert [where for where in UNDOCUMENTED if where not in types or kind_at(*where) is not None] == []
    assert [where for where in RETYPED if types.get(where) in (None, fitting(kind_at(*where)))] == []


def test_every_object_with_a_list_of_shapes_is_untyped_in_the_sdk() -> None:
    for report, path in SHAPES:
        known = dict(fields(record_model(report)))
        assert typing.get_origin(known[path]) is dict, f"{report}: {path} has a model now; its shapes can go"


# The checks themselves must bite


def altered(report: str, column: str, **change: Any) -> Contract:
    """A copy of the contract with one column changed, or left out when nothing is given to change."""
    contract = CONTRACTS[report]
    columns = {name: dict(settings) for name, settings in contract["columns"].items()}
    if change:
        columns[column].update(change)
    else:
        del columns[column]
    return {**contract, "columns": columns}


@pytest.mark.parametrize(
    ("report", "column", "path"),
    [
        ("profiles", "location_city", "attributes.location.city"),
        ("profiles", "subscriptions_sms_marketing_consent", "attributes.subscriptions.sms.marketing.consent"),
        ("profiles", "properties", "attributes.properties"),
        ("events", "metric_id", "relationships.metric.data.id"),
        ("lists", "flow_trigger_ids", "relationships.flow-triggers.data[].id"),
        ("list_profiles", "joined_group_at", "attributes.joined_group_at"),
    ],
)
def test_a_field_that_no_column_carries_is_named(report: str, column: str, path: str) -> None:
    assert missing(report, altered(report, column)) == [f"{report}: {path} has no column"]


@pytest.mark.parametrize(
    ("report", "column", "path"),
    [
        ("profiles", "location_city", "attributes.location.town"),
        ("events", "metric_id", "relationships.metric.data[].id"),
        ("events", "metric_name", "included.metric.attributes.title"),
        ("events", "attributed_flow_ids", "included.attributions[].relationships.flows.data.id"),
        ("form_versions", "form_id", "context.medium"),
        ("flow_messages", "definition_subject_line", "attributes.definition.subject"),
    ],
)
def test_a_path_that_klaviyo_does_not_document_is_named(report: str, column: str, path: str) -> None:
    complaint = f"{report}.{column}: nothing is documented at {path}"
    assert unknown(report, altered(report, column, path=path)) == [complaint]


@pytest.mark.parametrize(
    ("report", "column", "wrong", "right"),
    [
        ("profiles", "created", "text", "timestamp"),
        ("profiles", "predictive_analytics_total_clv", "bigint", "double"),
        ("profiles", "properties", "text", "json"),
        ("events", "timestamp", "timestamp", "bigint"),
        ("events", "attributed_flow_ids", "text", "json"),
        ("flows", "archived", "text", "bool"),
    ],
)
def test_a_type_that_does_not_fit_is_named(report: str, column: str, wrong: str, right: str) -> None:
    contract = altered(report, column, data_type=wrong)
    assert misfits(report, contract) == [f"{report}.{column}: {wrong} for {right}"]


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("columns:\n  id: {data_type: text}\n  id: {data_type: json}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="twice in one mapping: id"):
        load(path)
