"""The tables of endpoints and reports against what Klaviyo's official SDK says of the API.

`sources/klaviyo/catalog/data/<revision>.json` holds the SDK's facts, one file a revision; the SDK of each must still say what
its file does (`test_every_sdk.py` asks those that are not installed). Every row of the tables must agree with the facts, and every collection that one can read needs a row, or
a reason in `UNREAD`. A complaint names the row and the field, what each side says and what to do. When Klaviyo ships a
revision: install its SDK, put the one before beside it (in the Makefile), run `python -m tools.sdk_facts`, add the
revision to `revisions.REVISIONS`, and follow these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import pytest

from sources.klaviyo.catalog.capabilities import FOLDER, Capabilities, FilterField, capabilities, revisions
from sources.klaviyo.catalog.endpoints import endpoints
from sources.klaviyo.catalog.model import (
    Analytics,
    AnalyticsApi,
    Cursor,
    Endpoint,
    Ops,
    Parent,
    Rate,
    ReportRow,
    Variant,
)
from sources.klaviyo.catalog.reports import _REPORTS as REPORT_ROWS
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import REVISIONS, rows_of
from tests.support import sdks

Api = Mapping[str, Capabilities]

REGENERATE = "run `python -m tools.sdk_facts` and read the diff"

# Rows without a cursor although their records can be filtered by date, each with its reason.
NO_CURSOR: dict[str, str] = {"coupon_codes": "`expires_at` is when a code ends, not when it changed"}

# Told in prose alone: beside suppressions Klaviyo takes one condition on a date.
ALONE = "suppression"

# What one can read and no row reads, each with its reason.
_INCLUDED = "travels as an include of"
UNREAD: dict[str, str] = {
    "/api/campaign-recipient-estimation-jobs/{id}": "the state of a job that only a write starts; no list of them",
    "/api/campaign-send-jobs/{id}": "the state of a job that only a write starts; no list of them",
    "/api/campaigns/{id}/campaign-messages": f"{_INCLUDED} campaigns",
    "/api/campaigns/{id}/tags": f"{_INCLUDED} campaigns",
    "/api/catalog-categories/{id}/items": "catalog_items lists the items, catalog_category_items says whose they are",
    "/api/catalog-items/{id}/categories": "the inverse of catalog_category_items, a request an item",
    "/api/catalog-items/{id}/variants": "catalog_variants lists them, and ids travel as an include of catalog_items",
    "/api/coupons/{id}/coupon-codes": "coupon_codes asks the flat endpoint, at over four times the rate",
    "/api/custom-metrics/{id}/metrics": f"{_INCLUDED} custom_metrics",
    "/api/flows/{id}/flow-actions": f"{_INCLUDED} flows",
    "/api/flows/{id}/tags": f"{_INCLUDED} flows",
    "/api/lists/{id}/flow-triggers": f"{_INCLUDED} lists",
    "/api/lists/{id}/tags": f"{_INCLUDED} lists",
    "/api/metrics/{id}/flow-triggers": f"{_INCLUDED} metrics",
    "/api/profile-bulk-import-jobs/{id}/lists": "lists has the lists, profile_bulk_import_job_lists says whose they are",
    "/api/profile-bulk-import-jobs/{id}/profiles": "profiles has them, profile_bulk_import_job_profiles says whose they are",
    "/api/profiles/{id}/conversations": f"{_INCLUDED} profiles",
    "/api/profiles/{id}/lists": "the inverse of list_profiles, a request a profile",
    "/api/profiles/{id}/push-tokens": "push_tokens lists them all",
    "/api/profiles/{id}/segments": "profile_segments is this, out of the members of the segments",
    "/api/segments/{id}/flow-triggers": f"{_INCLUDED} segments",
    "/api/segments/{id}/tags": f"{_INCLUDED} segments",
    "/api/source-mappings/{id}": "source_mappings asks by the schema, whose id is known",
    "/api/tag-groups/{id}/tags": f"{_INCLUDED} tags: each states its group",
    "/api/tags/{id}/relationships/campaigns": "the inverse of campaigns, which include their tags",
    "/api/tags/{id}/relationships/flows": "the inverse of flows, which include their tags",
    "/api/tags/{id}/relationships/lists": "the inverse of lists, which include their tags",
    "/api/tags/{id}/relationships/segments": "the inverse of segments, which include their tags",
    # Since 2026-10-15
    "/api/campaign-audiences/{id}/campaign-messages": "campaign_messages lists them all, each states its audience",
    "/api/campaign-messages/{id}/tags": "a request a message; the tags of its campaign travel as an include of campaigns",
    "/api/campaigns/{id}/campaign-audiences": f"{_INCLUDED} campaigns",
    "/api/text-messaging-sender-registrations/{id}": f"{_INCLUDED} text-messaging-senders",
    "/api/text-messaging-senders/{id}/text-messaging-sender-registration": f"{_INCLUDED} text-messaging-senders",
}


# What a row should say


def comparison(field: str, filter_field: FilterField) -> Ops | None:
    """The best that a filter on a field allows for windows of time; None where it allows none."""
    ops = {*filter_field.ops}
    if ALONE in field and "greater-or-equal" in ops:
        return Ops.SINCE
    if filter_field.type != "date-time":
        return None
    if {"greater-or-equal", "less-than"} <= ops:
        return Ops.RANGE
    if {"greater-than", "less-than"} <= ops:
        return Ops.STRICT
    if {"greater-or-equal", "less-or-equal"} <= ops:
        return Ops.CLOSED
    return Ops.AFTER if "greater-than" in ops else None


def terms(expression: str) -> Iterator[tuple[str, str, str]]:
    """Operator, field and value of every term of a filter in Klaviyo's grammar."""
    for operator, field, value in re.findall(r"([a-z-]+)\(([^,()]+),((?:\"[^\"]*\"|[^()])*)\)", expression):
        yield operator, field, value.strip("'\"")


def endpoint_complaints(row: Endpoint, api: Api, rows: Mapping[str, Endpoint]) -> list[str]:
    """What a row of the endpoint table says and the SDK does not."""
    known = api.get(row.path)
    if known is None:
        return [f"{row.name}.path: {row.path} in endpoints.py, no such path by the SDK: correct or delete the row"]

    def complaint(field: str, ours: Any, theirs: Any, advice: str = "") -> str:
        return f"{row.name}.{field}: {ours} in endpoints.py, {theirs} by the SDK: {advice or f'set {field}={theirs}'}"

    found = []
    if row.type != known.type:
        found.append(complaint("type", row.type, known.type))
    if row.rate != known.rate:
        found.append(complaint("rate", row.rate, known.rate))
    if {*row.scopes} != {*known.scopes}:
        found.append(complaint("scopes", (*sorted(row.scopes),), (*sorted(known.scopes),)))
    greatest = known.page_size.max if known.page_size else None
    if row.page_size != greatest:
        found.append(complaint("page_size", row.page_size, greatest))
    rate_overrides = {
        each.value: each.rate for each in known.rate_overrides if each.parameter == f"additional-fields[{known.type}]"
    }
    if dict(row.rate_overrides) != rate_overrides:
        found.append(complaint("rate_overrides", dict(row.rate_overrides), rate_overrides))

    by_date = {field: ops for field, told in known.filters.items() if (ops := comparison(field, told))}
    offered = {field: ops.name for field, ops in by_date.items()} or None
    if row.cursor is None and offered and row.name not in NO_CURSOR:
        found.append(complaint("cursor", None, offered, "add a cursor, or a reason to NO_CURSOR in this test"))
    if row.analytics is not None:
        found += body_complaints(row, row.analytics, known)
    elif row.cursor is not None:
        ops = by_date.get(row.cursor.field)
        if ops is None:
            found.append(
                complaint("cursor.field", row.cursor.field, offered, "take a field that can be filtered by date")
            )
        elif row.cursor.ops is not ops:
            found.append(complaint("cursor.ops", row.cursor.ops.name, ops.name))
        if ops and row.cursor.ascending and row.cursor.field not in known.sort:
            advice = (
                "set ascending=False" if not known.sort else f"set ascending=False, {row.cursor.field} is not in it"
            )
            found.append(complaint("cursor.ascending", True, f"sort={known.sort}", advice))

    asked = [variant.filter for variant in row.variants]
    if row.parent and row.parent.filter:
        asked = [f"equals({row.parent.filter},an id)"]
    for expression in asked:
        if "filter" in known.required and not expression:
            found.append(complaint("variants", "no filter", "required", f"filter by one of {sorted(known.filters)}"))
        for operator, field, value in terms(expression):
            told = known.filters.get(field)
            if told is None:
                found.append(complaint("variants", f"a filter on {field}", sorted(known.filters), "take one of these"))
            elif operator not in told.ops:
                found.append(complaint("variants", f"{operator}({field},…)", told.ops, "take one of these operators"))
            elif told.values and value not in told.values:
                found.append(complaint("variants", f"{field} {value!r}", told.values, "take one of these values"))

    per_parent = row.parent is not None and row.parent.filter is None
    if ("{" in row.path) is not per_parent:
        found.append(
            complaint("parent", row.parent, row.path, "a path with an id needs a parent, and only such a path")
        )
    if row.parent is not None:
        found += parent_complaints(row, row.parent, api, rows)
    return found


def body_complaints(row: Endpoint, analytics: Analytics, known: Capabilities) -> list[str]:
    """What a row says of the body that its endpoint takes and the SDK does not."""

    def complaint(field: str, ours: Any, theirs: Any) -> str:
        return f"{row.name}.analytics.{field}: {ours} in endpoints.py, {theirs} by the SDK"

    body, found = known.body, []
    reports = analytics.api is AnalyticsApi.REPORT
    if reports is not ("timeframe" in body):
        found.append(complaint("api", analytics.api.name, sorted(body)))
    if analytics.series is not ("interval" in body):
        found.append(complaint("series", analytics.series, sorted(body)))
    words = {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month"} if reports else {}
    offered = (
        sorted(words.get(value, value) for value in body["interval"].values)
        if analytics.series
        else ["day", "month", "week"]
    )
    if sorted(analytics.intervals) != offered:
        found.append(complaint("intervals", sorted(analytics.intervals), offered))
    if (analytics.default_metric is not None) is not ({"metric_id", "conversion_metric_id"} & {*body} != set()):
        found.append(complaint("default_metric", analytics.default_metric, sorted(body)))
    rule = body.get("group_by" if reports else "by")
    allowed, needed = (rule.values, rule.needed) if rule else ((), ())
    if not {*needed} <= {*analytics.groups} <= {*allowed}:
        found.append(complaint("groups", analytics.groups, f"{allowed}, with {needed}"))
    return found


def parent_complaints(row: Endpoint, parent: Parent, api: Api, rows: Mapping[str, Endpoint]) -> list[str]:
    """What a row says of its parents and the SDK does not."""
    if parent.endpoint not in rows:
        return [f"{row.name}.parent: {parent.endpoint} has no row in endpoints.py: add it, or name another"]
    above = api.get(rows[parent.endpoint].path)
    include = above.include if above else {}
    found = [
        f"{row.name}.parent.include: {name} in endpoints.py, {sorted(include)} by the SDK: take one of these"
        for name in parent.include
        if name not in include
    ]
    kinds = sorted({include[name] for name in parent.include if name in include})
    if parent.rows is not None and parent.rows not in kinds:
        found.append(f"{row.name}.parent.rows: {parent.rows} in endpoints.py, {kinds} included: take one of these")
    return found


def report_complaints(report: ReportRow, api: Api, rows: Mapping[str, Endpoint]) -> list[str]:
    """What a report asks for and the SDK's endpoint does not offer."""
    known = api.get(rows[report.endpoint].path)
    if known is None:
        return [f"{report.name}.endpoint: {report.endpoint} has no path by the SDK: correct its row in endpoints.py"]

    def complaint(field: str, ours: str, theirs: Any) -> str:
        return f"{report.name}.{field}: {ours} in reports.py, {theirs} by the SDK: take one of these"

    found = [complaint("include", name, sorted(known.include)) for name in report.include if name not in known.include]
    included = {known.include[name] for name in report.include if name in known.include}
    if report.lookup is not None:
        looked_up = rows.get(report.lookup)
        above = rows.get(looked_up.parent.endpoint) if looked_up and looked_up.parent else None
        if looked_up is None or above is None or "{id}" not in looked_up.path:
            found.append(complaint("lookup", report.lookup, sorted(name for name, row in rows.items() if row.parent)))
        elif above.type not in {known.type, *included}:
            found.append(complaint("lookup", f"what has {above.type} above it", sorted({known.type, *included})))
        else:
            included.add(looked_up.type)
    if report.rows is not None and report.rows not in included:
        found.append(complaint("rows", report.rows, sorted(included)))
    more = known.additional_fields.get(known.type, ())
    for field, names in (("additional_fields", report.additional_fields), ("optional_fields", report.optional_fields)):
        found += [complaint(field, name, more) for name in names if name not in more]
    for kind, names in report.fields.items():
        if kind not in {known.type, *included} or kind not in known.fields:
            found.append(complaint("fields", kind, sorted({known.type, *included} & {*known.fields})))
            continue
        wrong = [name for name in names if not known.allows_field(kind, name)]
        found += [complaint(f"fields[{kind}]", name, sorted(known.fields[kind])) for name in wrong]
    return found


def unread(api: Api, rows: Mapping[str, Endpoint]) -> list[str]:
    """What one can read and no row reads.

    Lists, reports, and single records of a type that nothing lists. Lists of ids count only where no list of the records
    themselves is beside them.
    """
    read = {row.path for row in rows.values()}
    listed = {known.type for known in api.values() if known.many and not known.relationship}
    found = []
    for path, known in api.items():
        if known.relationship:
            wanted = known.many and path.replace("/relationships/", "/") not in api
        else:
            wanted = known.many or bool(known.body) or known.type not in listed
        if wanted and path not in read:
            found.append(path)
    return found


# The facts


def test_the_installed_sdk_still_says_what_its_file_does() -> None:
    from tools import sdk_facts  # here, since it takes a second to import the SDK's models

    path = FOLDER / f"{sdks.first()}.json"
    assert path.exists(), f"the installed SDK stands for a revision without a file, {path.stem}: {REGENERATE}"
    committed, now = path.read_text(encoding="utf-8").splitlines(), sdk_facts.dump(sdk_facts.extract()).splitlines()
    gone = [f"- {line}" for line in committed if line not in {*now}]
    come = [f"+ {line}" for line in now if line not in {*committed}]
    assert not gone + come, f"{path.name} is not what the installed SDK says: {REGENERATE}\n" + "\n".join(gone + come)


def test_every_fact_in_the_files_is_read() -> None:
    names = {field.name for field in fields(Capabilities)} - {"fields"}
    for revision in revisions():
        written = json.loads((FOLDER / f"{revision}.json").read_bytes())
        assert written["revision"] == revision
        assert {key for endpoint in written["endpoints"] for key in endpoint} <= names


def test_every_supported_revision_has_its_facts() -> None:
    assert [*REVISIONS] == revisions()


# Each row


@pytest.mark.parametrize(("name", "revision"), [(name, each) for each in REVISIONS for name in endpoints(each)])
def test_a_row_of_the_endpoint_table_agrees_with_the_sdk(name: str, revision: str) -> None:
    rows = endpoints(revision)
    assert endpoint_complaints(rows[name], capabilities(revision), rows) == []


@pytest.mark.parametrize(("name", "revision"), [(name, each) for each in REVISIONS for name in reports(each)])
def test_a_report_asks_for_what_its_endpoint_offers(name: str, revision: str) -> None:
    assert report_complaints(rows_of(revision, REPORT_ROWS)[name], capabilities(revision), endpoints(revision)) == []


# The gaps


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_key_needs_the_scopes_of_everything_that_is_asked_for_a_report(revision: str) -> None:
    api = capabilities(revision)
    for report in reports(revision).values():
        asked = [*report.lineage, *([report.lookup.endpoint] if report.lookup else ())]
        wanted = {scope for endpoint in asked for scope in api[endpoint.path].scopes}
        if report.endpoint.analytics is not None:
            wanted |= {"accounts:read", *(["metrics:read"] if report.endpoint.analytics.default_metric else [])}
        assert {*report.scopes} == wanted, report.name


@pytest.mark.parametrize("revision", REVISIONS)
def test_everything_that_one_can_read_has_a_row_or_a_reason(revision: str) -> None:
    gaps = [path for path in unread(capabilities(revision), endpoints(revision)) if path not in UNREAD]
    assert gaps == [], "add a row to endpoints.py and a report, or a reason to UNREAD in this test"


def test_every_reason_is_still_needed() -> None:
    still = {path for revision in REVISIONS for path in unread(capabilities(revision), endpoints(revision))}
    assert sorted({*UNREAD} - still) == [], "has a row now, or is gone: delete the reason"
    without = {name for revision in REVISIONS for name, row in endpoints(revision).items() if row.cursor is None}
    assert sorted({*NO_CURSOR} - without) == []


# The checks themselves must bite


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("profiles", {"path": "/api/people"}, "profiles.path: /api/people in endpoints.py, no such path"),
        ("profiles", {"type": "person"}, "profiles.type: person in endpoints.py, profile by the SDK"),
        ("events", {"page_size": 200}, "events.page_size: 200 in endpoints.py, 1000 by the SDK: set page_size=1000"),
        ("metrics", {"page_size": 100}, "metrics.page_size: 100 in endpoints.py, None by the SDK"),
        ("lists", {"rate": Rate(10, 150)}, "lists.rate: Rate(burst=10, steady=150, daily=None) in endpoints.py, Rate("),
        ("tags", {"scopes": ("profiles:read",)}, "tags.scopes: ('profiles:read',) in endpoints.py, ('tags:read',) by"),
        (
            "profiles",
            {"rate_overrides": {}},
            "profiles.rate_overrides: {} in endpoints.py, {'predictive_analytics': Rate(burst=10,",
        ),
        ("profiles", {"cursor": None}, "profiles.cursor: None in endpoints.py, {'created': 'STRICT',"),
        (
            "events",
            {"cursor": Cursor("created")},
            "events.cursor.field: created in endpoints.py, {'datetime': 'RANGE'}",
        ),
        ("profiles", {"cursor": Cursor("updated")}, "profiles.cursor.ops: RANGE in endpoints.py, STRICT by the SDK"),
        (
            "lists",
            {"cursor": Cursor("updated", Ops.STRICT)},
            "lists.cursor.ops: STRICT in endpoints.py, AFTER by the SDK",
        ),
        (
            "object_ingestion_logs",
            {"cursor": Cursor("timestamp")},
            "object_ingestion_logs.cursor.ascending: True in endpoints.py, sort=() by the SDK: set ascending=False",
        ),
        (
            "flows",
            {"variants": (Variant("equals(old,true)"),)},
            "flows.variants: a filter on old in endpoints.py, ['arch",
        ),
        (
            "flows",
            {"variants": (Variant("any(archived,[true])"),)},
            "flows.variants: any(archived,…) in endpoints.py, ('equals',) by the SDK: take one of these operators",
        ),
        (
            "coupon_codes",
            {"parent": None, "scopes": ("coupon-codes:read",)},
            "coupon_codes.variants: no filter in endpoints.py, required by the SDK: filter by one of ['coupon.id',",
        ),
        ("list_profiles", {"parent": None}, "list_profiles.parent: None in endpoints.py, /api/lists/{id}/profiles by"),
        ("form_versions", {"parent": Parent("froms", {})}, "form_versions.parent: froms has no row in endpoints.py"),
        (
            "flow_messages",
            {"parent": Parent("flows", {}, include=("actions",))},
            "flow_messages.parent.include: actions in endpoints.py, ['flow-actions', 'tags'] by the SDK",
        ),
        (
            "flow_messages",
            {"parent": Parent("flows", {}, include=("tags",), rows="flow-action")},
            "flow_messages.parent.rows: flow-action in endpoints.py, ['tag'] included: take one of these",
        ),
    ],
)
def test_an_altered_row_is_named_with_both_values(name: str, change: dict[str, Any], complaint: str) -> None:
    rows = endpoints("2026-07-15")
    found = endpoint_complaints(replace(rows[name], **change), capabilities("2026-07-15"), rows)
    assert [text[: len(complaint)] for text in found] == [complaint]


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("events", {"include": ("metrics",), "fields": {}}, "events.include: metrics in reports.py, ['attributions',"),
        (
            "flow_actions",
            {"rows": "flow-message"},
            "flow_actions.rows: flow-message in reports.py, ['flow-action', 'tag']",
        ),
        (
            "profiles",
            {"additional_fields": ("consent",)},
            "profiles.additional_fields: consent in reports.py, ('predictive_analytics', 'subscriptions') by the SDK",
        ),
        ("profiles", {"optional_fields": ("scores",)}, "profiles.optional_fields: scores in reports.py, ('predictive_"),
        ("profiles", {"fields": {"event": ("id",)}}, "profiles.fields: event in reports.py, ['profile'] by the SDK"),
        (
            "metrics",
            {"fields": {"metric": ("title",)}},
            "metrics.fields[metric]: title in reports.py, ['created', 'id', 'integration'",
        ),
    ],
)
def test_an_altered_report_is_named_with_both_values(name: str, change: dict[str, Any], complaint: str) -> None:
    row = replace(rows_of("2026-07-15", REPORT_ROWS)[name], **change)
    found = report_complaints(row, capabilities("2026-07-15"), endpoints("2026-07-15"))
    assert [text[: len(complaint)] for text in found] == [complaint]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"lookup": "tags"}, "campaigns.lookup: tags in reports.py, ["),
        ({"lookup": "campaign_variation"}, "campaigns.lookup: campaign_variation in reports.py, ["),
        (
            {"include": ("tags",)},
            "campaigns.lookup: what has campaign-message above it in reports.py, ['campaign', 'tag'] by the SDK",
        ),
    ],
)
def test_a_lookup_that_cannot_be_is_named(change: dict[str, Any], complaint: str) -> None:
    row = replace(rows_of("2026-10-15", REPORT_ROWS)["campaigns"], **change)
    found = report_complaints(row, capabilities("2026-10-15"), endpoints("2026-10-15"))
    assert [text[: len(complaint)] for text in found] == [complaint]


def test_a_filter_value_that_the_sdk_does_not_list_is_named() -> None:
    rows = endpoints("2026-10-15")
    row = replace(rows["forms"], variants=(Variant('equals(status,"open")'),))
    assert endpoint_complaints(row, capabilities("2026-10-15"), rows) == [
        "forms.variants: status 'open' in endpoints.py, ('live', 'draft') by the SDK: take one of these values"
    ]


@pytest.mark.parametrize("name", ["webhooks", "catalog_category_items", "campaign_recipient_estimations"])
def test_a_row_that_is_taken_away_leaves_a_gap_or_is_read_by_a_sibling(name: str) -> None:
    rows = endpoints("2026-07-15")
    rest = {row.name: row for row in rows.values() if row.name != name}
    expected = [] if name == "catalog_category_items" else [rows[name].path]
    assert [path for path in unread(capabilities("2026-07-15"), rest) if path not in UNREAD] == expected


@pytest.mark.parametrize(
    ("ops", "kind", "expected"),
    [
        (("greater-or-equal", "greater-than", "less-or-equal", "less-than"), "date-time", Ops.RANGE),
        (("greater-or-equal", "less-than"), "date-time", Ops.RANGE),
        (("greater-than", "less-than"), "date-time", Ops.STRICT),
        (("greater-or-equal", "less-or-equal"), "date-time", Ops.CLOSED),
        (("greater-than",), "date-time", Ops.AFTER),
        (("equals",), "date-time", None),
        (("greater-than", "less-than"), "integer", None),
    ],
)
def test_the_comparisons_of_a_filter_make_the_ops_of_a_cursor(
    ops: tuple[str, ...], kind: Any, expected: Ops | None
) -> None:
    assert comparison("updated", FilterField(ops, kind)) is expected
