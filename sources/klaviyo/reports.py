"""The predefined reports: one row a table, with what is asked for in the requests that fill it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import cast

from .contracts import EXTRA_COLUMN, Column, Contract, DataType, load_contract, with_deletions
from .endpoints import endpoints
from .revisions import DEFAULT_REVISION, REVISIONS, rows_of, span
from .settings import ReportFacts, Settings
from .spec import Analytics, Each, Endpoint, Grammar, Rate, Report

_MEMBERS = {"profile": ("joined_group_at",)}
_SUPPRESSED = {"profile": ("updated", "subscriptions")}
# What one can consent to, by Klaviyo's OpenAPI file; whatever comes beside these is a row too.
_CONSENTS = (
    ("email", "marketing"),
    ("email", "open_tracking"),
    ("sms", "marketing"),
    ("sms", "transactional"),
    ("mobile_push", "marketing"),
    ("whatsapp", "marketing"),
    ("whatsapp", "transactional"),
    ("whatsapp", "conversational"),
)
# More than Klaviyo has reasons to suppress somebody.
_PLACES = tuple((place,) for place in range(8))
#: Included for its id alone.
_OWNERS = {"campaign": ("created_at",)}

_TABLE = (
    Report("profiles", "profiles", additional_fields=("subscriptions",), optional_fields=("predictive_analytics",)),
    Report("events", "events", include=("metric", "attributions"), fields={"metric": ("name",)}, by_metric=True),
    Report("metrics", "metrics", include=("flow-triggers",), fields={"flow": ("name",)}),
    Report("flows", "flows", include=("flow-actions", "tags")),
    Report("flow_actions", "flows", include=("flow-actions", "tags"), rows="flow-action"),
    Report("campaigns", "campaigns", include=("campaign-messages", "tags"), until="2026-07-15"),
    Report(
        "campaigns",
        "campaigns",
        include=("campaign-audiences", "campaign-messages", "tags"),
        lookup="campaign_variations",
        since="2026-10-15",
    ),
    Report(
        "campaign_messages",
        "campaigns",
        include=("campaign-messages", "tags"),
        rows="campaign-message",
        until="2026-07-15",
    ),
    Report(
        "campaign_messages",
        "campaign_messages",
        include=("campaign",),
        fields=_OWNERS,
        lookup="campaign_variations",
        since="2026-10-15",
    ),
    Report(
        "campaign_variations",
        "campaign_messages",
        include=("campaign",),
        fields=_OWNERS,
        lookup="campaign_variations",
        rows="campaign-variation",
        since="2026-10-15",
    ),
    Report(
        "campaign_audiences",
        "campaigns",
        include=("campaign-audiences",),
        rows="campaign-audience",
        since="2026-10-15",
    ),
    Report("campaign_recipient_estimations", "campaign_recipient_estimations"),
    Report("templates", "templates", additional_fields=("definition",)),
    Report("lists", "lists", include=("flow-triggers", "tags")),
    Report("list_profiles", "list_profiles", fields=_MEMBERS, history=True),
    Report("segments", "segments", include=("flow-triggers", "tags")),
    Report("segment_profiles", "segment_profiles", fields=_MEMBERS, history=True),
    Report("profile_segments", "segment_profiles", fields=_MEMBERS, history=True),
    Report("tags", "tags", include=("tag-group",)),
)

# Not what everybody expects of a run every hour: a request for each metric, form or action, or tables that stay empty
# in most accounts. Loaded where they are named, or all are.
_OFF_BY_DEFAULT = (
    # The very requests of profiles: loaded together they cost none of their own.
    Report(
        "subscriptions",
        "profiles",
        additional_fields=("subscriptions",),
        each=Each("attributes.subscriptions.{channel}.{purpose}", _CONSENTS),
    ),
    Report(
        "suppressions",
        "suppressions",
        additional_fields=("subscriptions",),
        fields=_SUPPRESSED,
        each=Each("attributes.subscriptions.email.marketing.suppression.{position}", _PLACES),
    ),
    Report(
        "list_suppressions",
        "list_suppressions",
        additional_fields=("subscriptions",),
        fields=_SUPPRESSED,
        each=Each(
            "attributes.subscriptions.email.marketing.list_suppressions.{position}", _PLACES, {"list_id": "list_id"}
        ),
    ),
    Report("accounts", "accounts"),
    Report("flow_definitions", "flow_definitions", additional_fields=("definition",), fields={"flow": ("definition",)}),
    Report("flow_messages", "flow_messages"),
    Report("forms", "forms"),
    Report("form_definitions", "form_definitions", fields={"form": ("definition",)}),
    Report("form_versions", "form_versions"),
    Report(
        "list_profile_counts",
        "list_profile_counts",
        additional_fields=("profile_count",),
        fields={"list": ("profile_count",)},
        whole=True,
    ),
    Report(
        "segment_profile_counts",
        "segment_profile_counts",
        additional_fields=("profile_count",),
        fields={"segment": ("profile_count",)},
        whole=True,
    ),
    Report("tag_groups", "tag_groups"),
    Report("custom_metrics", "custom_metrics", include=("metrics",), fields={"metric": ("name",)}),
    Report(
        "mapped_metrics",
        "mapped_metrics",
        include=("custom-metric", "metric"),
        fields={"custom-metric": ("name",), "metric": ("name",)},
    ),
    Report("metric_properties", "metric_properties", additional_fields=("sample_values",)),
    Report("push_tokens", "push_tokens", include=("profile",), fields={"profile": ("updated",)}),
    # One conversation a channel and profile: those of the profiles that changed, a hundred profiles a request.
    Report(
        "conversations",
        "profiles",
        include=("conversations",),
        fields={"profile": ("updated",)},
        rows="conversation",
    ),
    # Reviews can be filtered by their creation alone: what is decided on them later comes by lookback, or with `all`.
    Report("reviews", "reviews", include=("events",), fields={"event": ("datetime",)}),
    Report("catalog_items", "catalog_items", include=("variants",), fields={"catalog-variant": ("external_id",)}),
    Report("catalog_variants", "catalog_variants"),
    Report("catalog_categories", "catalog_categories"),
    Report("catalog_category_items", "catalog_category_items"),
    Report("coupons", "coupons"),
    Report("coupon_codes", "coupon_codes", include=("coupon",), fields={"coupon": ("external_id",)}),
    Report("images", "images"),
    Report("universal_content", "universal_content"),
    Report("web_feeds", "web_feeds"),
    Report("webhooks", "webhooks", include=("webhook-topics",)),
    Report("webhook_topics", "webhook_topics"),
    Report("tracking_settings", "tracking_settings"),
    Report("data_sources", "data_sources"),
    Report(
        "object_types",
        "object_types",
        include=("current-schema", "draft-schema"),
        fields={"object-schema": ("title",)},
    ),
    Report("object_records", "object_records"),
    Report("object_schemas", "object_schemas"),
    Report("object_type_relations", "object_type_relations"),
    Report("object_type_profile_relations", "object_type_profile_relations"),
    Report("object_schema_relations", "object_schema_relations"),
    Report("object_schema_profile_relations", "object_schema_profile_relations"),
    Report("source_mappings", "source_mappings"),
    Report(
        "object_ingestion_logs",
        "object_ingestion_logs",
        include=("object-record", "object-type"),
        fields={"object-record": ("id",), "object-type": ("title",)},
    ),
    Report("profile_bulk_import_jobs", "profile_bulk_import_jobs"),
    Report("profile_bulk_import_job_errors", "profile_bulk_import_job_errors"),
    Report("profile_bulk_import_job_lists", "profile_bulk_import_job_lists"),
    Report("profile_bulk_import_job_profiles", "profile_bulk_import_job_profiles"),
    Report("profile_suppression_bulk_create_jobs", "profile_suppression_bulk_create_jobs"),
    Report("profile_suppression_bulk_delete_jobs", "profile_suppression_bulk_delete_jobs"),
    Report("coupon_code_bulk_create_jobs", "coupon_code_bulk_create_jobs"),
    Report("catalog_item_bulk_create_jobs", "catalog_item_bulk_create_jobs"),
    Report("catalog_item_bulk_update_jobs", "catalog_item_bulk_update_jobs"),
    Report("catalog_item_bulk_delete_jobs", "catalog_item_bulk_delete_jobs"),
    Report("catalog_variant_bulk_create_jobs", "catalog_variant_bulk_create_jobs"),
    Report("catalog_variant_bulk_update_jobs", "catalog_variant_bulk_update_jobs"),
    Report("catalog_variant_bulk_delete_jobs", "catalog_variant_bulk_delete_jobs"),
    Report("catalog_category_bulk_create_jobs", "catalog_category_bulk_create_jobs"),
    Report("catalog_category_bulk_update_jobs", "catalog_category_bulk_update_jobs"),
    Report("catalog_category_bulk_delete_jobs", "catalog_category_bulk_delete_jobs"),
    Report(
        "translations",
        "translations",
        include=("campaign-variation", "flow-message", "template", "template-universal-content"),
        fields={
            "campaign-variation": ("created",),
            "flow-message": ("created",),
            "template": ("created",),
            "template-universal-content": ("created",),
        },
        since="2026-10-15",
    ),
    Report(
        "text_messaging_senders",
        "text_messaging_senders",
        include=("text-messaging-sender-registration",),
        since="2026-10-15",
    ),
    Report(
        "text_messaging_sender_registrations",
        "text_messaging_senders",
        include=("text-messaging-sender-registration",),
        rows="text-messaging-sender-registration",
        since="2026-10-15",
    ),
    Report("text_messaging_configurations", "text_messaging_configurations", since="2026-10-15"),
    Report("billing_usage", "billing_usage", since="2026-10-15"),
    Report("brand_buttons", "brand_buttons", since="2026-10-15"),
    Report("brand_colors", "brand_colors", since="2026-10-15"),
    Report(
        "brand_email_defaults",
        "brand_email_defaults",
        include=("brand-button", "brand-logo", "brand-social-group"),
        fields={"brand-button": ("name",), "brand-logo": ("name",), "brand-social-group": ("name",)},
        since="2026-10-15",
    ),
    Report("brand_logos", "brand_logos", include=("image",), fields={"image": ("name",)}, since="2026-10-15"),
    Report("brand_social_groups", "brand_social_groups", since="2026-10-15"),
    Report("brand_voices", "brand_voices", since="2026-10-15"),
    Report("campaign_values", "campaign_values"),
    Report("flow_values", "flow_values"),
    Report("flow_series", "flow_series"),
    Report("form_values", "form_values"),
    Report("form_series", "form_series"),
    Report("segment_values", "segment_values"),
    Report("segment_series", "segment_series"),
    Report("metric_aggregates", "metric_aggregates"),
)

_REPORTS = (*_TABLE, *(replace(report, on_by_default=False) for report in _OFF_BY_DEFAULT))

#: Report -> under which revisions it exists, in words; empty where under all.
REPORT_SPANS: Mapping[str, str] = {
    name: span(report for report in _REPORTS if report.name == name)
    for name in dict.fromkeys(report.name for report in _REPORTS)
}


@cache
def reports(revision: str) -> Mapping[str, Report]:
    """Name -> predefined report, of those that a revision has."""
    return {name: replace(row, revision=revision) for name, row in rows_of(revision, _REPORTS).items()}


def described(name: str) -> Report:
    """A predefined report as a reference shows it: under the default revision, or the newest that has it."""
    having = [revision for revision in REVISIONS if name in reports(revision)]
    return reports(DEFAULT_REVISION if DEFAULT_REVISION in having else having[-1])[name]


def report_of(settings: Settings, name: str) -> Report:
    """A report by its name, predefined or written by the user."""
    return settings.custom.get(name) or reports(settings.revision)[name]


def endpoint_of(report: Report) -> Endpoint:
    """What a report reads: a row of the table, or the endpoint as a custom report asks it."""
    return report.own or endpoints(report.revision)[report.endpoint]


def contract_of(report: Report) -> Contract:
    """The columns of a report: declared in `schemas/`, or those of a raw table."""
    if report.custom is not None:
        return _raw_contract(report)
    contract = load_contract(report.like or report.name, report.revision)
    goes = report.each is not None or endpoint_of(report).analytics is not None
    return with_deletions(contract) if goes else contract


def _raw_contract(report: Report) -> Contract:
    """Columns of a custom report's table, or of the one with its included records."""
    endpoint, included = endpoint_of(report), report.rows is not None
    above = [] if included else list(context_columns(endpoint))
    parents = endpoint.parent.context if endpoint.parent else {}
    columns = [
        *(
            Column(name, "text", f"context.{name}", "What the request knows.", name not in parents, name in parents)
            for name in above
        ),
        Column("id", "text", "id", "Id of the record.", nullable=False, primary_key=True),
        # Records of several types stand in the table of included ones.
        Column("type", "text", "type", "JSON:API type of the record.", not included, included),
    ]
    if endpoint.cursor is not None and not included:
        name, path = raw_column(endpoint.cursor.field), f"attributes.{endpoint.cursor.field}"
        columns.append(Column(name, "timestamp", path, "When the record happened or changed, UTC."))
    columns += [
        Column(name, "json", name, f"The {name} of the record as Klaviyo sent them.")
        for name in ("attributes", "relationships", "links")
    ]
    if report.custom is not None and not included:
        columns += [
            Column(name, cast(DataType, kind), path, f"Lifted out of {path}.")
            for name, (kind, path) in report.custom.columns.items()
        ]
    doc = f"What is included with {report.name.rpartition('__')[0]}." if included else endpoint.doc
    return Contract(report.name, endpoint.type, doc, (*columns, EXTRA_COLUMN))


def raw_column(field: str) -> str:
    """The column of a raw table that holds a field."""
    return field.replace(".", "_")


def context_columns(endpoint: Endpoint) -> list[str]:
    """Columns that the request knows and the record does not: the parent's, and those of the variants."""
    found = dict.fromkeys(endpoint.parent.context if endpoint.parent else ())
    for variant in endpoint.variants:
        found.update(dict.fromkeys(variant.context))
    return list(found)


def rate_of(report: Report, additional_fields: Iterable[str] | None = None) -> Rate:
    """The rate limit of the requests for the rows, with what the report asks for beyond the usual fields."""
    endpoint = endpoint_of(report)
    asked = report.additional_fields if additional_fields is None else additional_fields
    dearer = [endpoint.dearer[name] for name in asked if name in endpoint.dearer]
    return min([endpoint.rate, *dearer], key=lambda rate: rate.steady)


def lookup_of(report: Report) -> tuple[Endpoint, Endpoint] | None:
    """What is asked once for each parent in a page, and the endpoint of these parents; None where nothing is."""
    rows = endpoints(report.revision) if report.lookup else {}
    endpoint = rows[report.lookup] if report.lookup else None
    return (endpoint, rows[endpoint.parent.endpoint]) if endpoint and endpoint.parent else None


def lineage(report: Report) -> list[Endpoint]:
    """The endpoints that are read for a report, from the one that is asked first down to the report's own."""
    found = [endpoint_of(report)]
    while parent := found[0].parent:
        above = endpoints(report.revision)[parent.endpoint]
        found.insert(0, replace(above, cursor=None) if parent.undated else above)
    return found


def windows_endpoint(report: Report) -> Endpoint:
    """The endpoint whose cursor bounds a report: that of its parents, where they have one."""
    endpoints = lineage(report)
    return next((endpoint for endpoint in endpoints if endpoint.cursor), endpoints[0])


def dated_by(report: Report) -> str:
    """What the period of a report is one of: a field of an endpoint, as a revision has it.

    What is loaded by another one says nothing of this one: where Klaviyo changes an endpoint, it may show records that it
    did not show before.
    """
    endpoint = windows_endpoint(report)
    named = (endpoint.path, endpoint.cursor.field if endpoint.cursor else "", endpoint.since or "")
    return " ".join(filter(None, named))


def is_windowed(report: Report) -> bool:
    """Whether a date window applies. Memberships are compared as a whole, and what has no date filter is whole."""
    return not (report.history or report.whole) and windows_endpoint(report).cursor is not None


def facts(revision: str) -> dict[str, ReportFacts]:
    """What settings are checked against, report by report; those too that other revisions have."""
    here = reports(revision)
    return {
        name: facts_of(here[name]) if name in here else ReportFacts(on_by_default=False, exists=told)
        for name, told in REPORT_SPANS.items()
    }


def facts_of(report: Report) -> ReportFacts:
    """What the settings of one report are checked against."""
    cursor = windows_endpoint(report).cursor
    windowed = is_windowed(report)
    analytics = endpoint_of(report).analytics
    return ReportFacts(
        figures=figure_settings(analytics) if analytics else (),
        lookback_days=analytics.lookback_days if analytics else 1.0,
        windowed=windowed,
        needs_start=windowed and cursor is not None and not cursor.from_start,
        options=frozenset(report.optional_fields),
        on_by_default=report.on_by_default,
        by_metric=report.by_metric,
    )


def figure_settings(analytics: Analytics) -> tuple[str, ...]:
    """The settings of its own that a report has which counts."""
    if analytics.grammar is Grammar.AGGREGATE:
        return "interval", "measurements", "by", "metrics"
    grouped = ("group_by",) if analytics.groups else ()
    metric = ("conversion_metric",) if analytics.default_metric else ()
    return "interval", "statistics", *grouped, "filter", *metric


def scopes_of(report: Report) -> tuple[str, ...]:
    """What a key needs to read a report: for its endpoint, and for what is asked beforehand."""
    endpoint = endpoint_of(report)
    beside: list[Endpoint] = []
    if endpoint.analytics is not None:
        rows = endpoints(report.revision)
        beside.append(rows["accounts"])
        if endpoint.analytics.default_metric is not None:
            beside.append(rows["metrics"])
    return tuple(dict.fromkeys(scope for one in (endpoint, *beside) for scope in one.scopes))


def cursor_column(report: Report) -> str | None:
    """The column that tells a row's place in time, where rows are the endpoint's own records."""
    endpoint = endpoint_of(report)
    cursor = endpoint.cursor
    if cursor is None or report.rows is not None or endpoint.analytics is not None:
        return None
    path = f"attributes.{cursor.field}"
    found = (column.name for column in contract_of(report).columns if column.path == path)
    # Rows out of lists inside a record have no place in time of their own.
    return next(found) if report.each is None else next(found, None)
