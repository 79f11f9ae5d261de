"""The table of predefined reports: one row for each report (and span of revisions), with what its requests ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from .contracts import load_contract
from .endpoints import endpoints
from .model import Endpoint, Nested, ReportRow
from .report import Lookup, Report
from .revisions import DEFAULT_REVISION, REVISIONS, rows_of, span

# Sparse fieldsets that several reports share.
_MEMBERS = {"profile": ("joined_group_at",)}
_SUPPRESSED = {"profile": ("updated", "subscriptions")}
# A campaign is included for its id only.
_OWNERS = {"campaign": ("created_at",)}

# Channel and purpose of every consent in Klaviyo's SDK. Consents beside these become rows too.
_CONSENTS = (
    ("email", "marketing"),
    ("email", "open_tracking"),
    ("email", "click_tracking"),
    ("sms", "marketing"),
    ("sms", "transactional"),
    ("mobile_push", "marketing"),
    ("whatsapp", "marketing"),
    ("whatsapp", "transactional"),
    ("whatsapp", "conversational"),
)

# More positions than Klaviyo has reasons to suppress a profile.
_POSITIONS = tuple((position,) for position in range(8))

_TABLE = (
    ReportRow("profiles", "profiles", additional_fields=("subscriptions",), optional_fields=("predictive_analytics",)),
    ReportRow("events", "events", include=("metric", "attributions"), fields={"metric": ("name",)}, by_metric=True),
    ReportRow("metrics", "metrics", include=("flow-triggers",), fields={"flow": ("name",)}),
    ReportRow("flows", "flows", include=("flow-actions", "tags")),
    ReportRow("flow_actions", "flows", include=("flow-actions", "tags"), rows="flow-action"),
    ReportRow("campaigns", "campaigns", include=("campaign-messages", "tags"), until="2026-07-15"),
    ReportRow(
        "campaigns",
        "campaigns",
        include=("campaign-audiences", "campaign-messages", "tags"),
        lookup="campaign_variations",
        since="2026-10-15",
    ),
    ReportRow(
        "campaign_messages",
        "campaigns",
        include=("campaign-messages", "tags"),
        rows="campaign-message",
        until="2026-07-15",
    ),
    ReportRow(
        "campaign_messages",
        "campaign_messages",
        include=("campaign",),
        fields=_OWNERS,
        lookup="campaign_variations",
        since="2026-10-15",
    ),
    ReportRow(
        "campaign_variations",
        "campaign_messages",
        include=("campaign",),
        fields=_OWNERS,
        lookup="campaign_variations",
        rows="campaign-variation",
        since="2026-10-15",
    ),
    ReportRow(
        "campaign_audiences",
        "campaigns",
        include=("campaign-audiences",),
        rows="campaign-audience",
        since="2026-10-15",
    ),
    ReportRow("campaign_recipient_estimations", "campaign_recipient_estimations"),
    ReportRow("templates", "templates", additional_fields=("definition",)),
    ReportRow("lists", "lists", include=("flow-triggers", "tags")),
    ReportRow("list_profiles", "list_profiles", fields=_MEMBERS, history=True),
    ReportRow("segments", "segments", include=("flow-triggers", "tags")),
    ReportRow("segment_profiles", "segment_profiles", fields=_MEMBERS, history=True),
    ReportRow("profile_segments", "segment_profiles", fields=_MEMBERS, history=True),
    ReportRow("tags", "tags", include=("tag-group",)),
)

# Too costly or too rare for every hourly run: one request for each metric, form or action, or tables that stay empty in
# most accounts. They are loaded when they are named in the settings, or with `all`.
_OFF_BY_DEFAULT = (
    # Same requests as profiles: loaded together, they cost no requests of their own.
    ReportRow(
        "subscriptions",
        "profiles",
        additional_fields=("subscriptions",),
        nested=Nested("attributes.subscriptions.{channel}.{purpose}", _CONSENTS),
    ),
    ReportRow(
        "suppressions",
        "suppressions",
        additional_fields=("subscriptions",),
        fields=_SUPPRESSED,
        nested=Nested("attributes.subscriptions.email.marketing.suppression.{position}", _POSITIONS),
    ),
    ReportRow(
        "list_suppressions",
        "list_suppressions",
        additional_fields=("subscriptions",),
        fields=_SUPPRESSED,
        nested=Nested(
            "attributes.subscriptions.email.marketing.list_suppressions.{position}", _POSITIONS, {"list_id": "list_id"}
        ),
    ),
    ReportRow("accounts", "accounts"),
    ReportRow(
        "flow_definitions", "flow_definitions", additional_fields=("definition",), fields={"flow": ("definition",)}
    ),
    ReportRow("flow_messages", "flow_messages"),
    ReportRow("forms", "forms"),
    ReportRow("form_definitions", "form_definitions", fields={"form": ("definition",)}),
    ReportRow("form_versions", "form_versions"),
    ReportRow(
        "list_profile_counts",
        "list_profile_counts",
        additional_fields=("profile_count",),
        fields={"list": ("profile_count",)},
        whole=True,
    ),
    ReportRow(
        "segment_profile_counts",
        "segment_profile_counts",
        additional_fields=("profile_count",),
        fields={"segment": ("profile_count",)},
        whole=True,
    ),
    ReportRow("tag_groups", "tag_groups"),
    ReportRow("custom_metrics", "custom_metrics", include=("metrics",), fields={"metric": ("name",)}),
    ReportRow(
        "mapped_metrics",
        "mapped_metrics",
        include=("custom-metric", "metric"),
        fields={"custom-metric": ("name",), "metric": ("name",)},
    ),
    ReportRow("metric_properties", "metric_properties", additional_fields=("sample_values",)),
    ReportRow("push_tokens", "push_tokens", include=("profile",), fields={"profile": ("updated",)}),
    # One conversation for each channel and profile. Read for the profiles that changed, a hundred profiles a request.
    ReportRow(
        "conversations",
        "profiles",
        include=("conversations",),
        fields={"profile": ("updated",)},
        rows="conversation",
    ),
    # Reviews can only be filtered by their creation. Later decisions on them are found by the lookback, or by a run
    # with extract = "all".
    ReportRow("reviews", "reviews", include=("events",), fields={"event": ("datetime",)}),
    ReportRow("catalog_items", "catalog_items", include=("variants",), fields={"catalog-variant": ("external_id",)}),
    ReportRow("catalog_variants", "catalog_variants"),
    ReportRow("catalog_categories", "catalog_categories"),
    ReportRow("catalog_category_items", "catalog_category_items"),
    ReportRow("coupons", "coupons"),
    ReportRow("coupon_codes", "coupon_codes", include=("coupon",), fields={"coupon": ("external_id",)}),
    ReportRow("images", "images"),
    ReportRow("universal_content", "universal_content"),
    ReportRow("web_feeds", "web_feeds"),
    ReportRow("webhooks", "webhooks", include=("webhook-topics",)),
    ReportRow("webhook_topics", "webhook_topics"),
    ReportRow("tracking_settings", "tracking_settings"),
    ReportRow("data_sources", "data_sources"),
    ReportRow(
        "object_types",
        "object_types",
        include=("current-schema", "draft-schema"),
        fields={"object-schema": ("title",)},
    ),
    ReportRow("object_records", "object_records"),
    ReportRow("object_schemas", "object_schemas"),
    ReportRow("object_type_relations", "object_type_relations"),
    ReportRow("object_type_profile_relations", "object_type_profile_relations"),
    ReportRow("object_schema_relations", "object_schema_relations"),
    ReportRow("object_schema_profile_relations", "object_schema_profile_relations"),
    ReportRow("source_mappings", "source_mappings"),
    ReportRow(
        "object_ingestion_logs",
        "object_ingestion_logs",
        include=("object-record", "object-type"),
        fields={"object-record": ("id",), "object-type": ("title",)},
    ),
    ReportRow("profile_bulk_import_jobs", "profile_bulk_import_jobs"),
    ReportRow("profile_bulk_import_job_errors", "profile_bulk_import_job_errors"),
    ReportRow("profile_bulk_import_job_lists", "profile_bulk_import_job_lists"),
    ReportRow("profile_bulk_import_job_profiles", "profile_bulk_import_job_profiles"),
    ReportRow("profile_suppression_bulk_create_jobs", "profile_suppression_bulk_create_jobs"),
    ReportRow("profile_suppression_bulk_delete_jobs", "profile_suppression_bulk_delete_jobs"),
    ReportRow("coupon_code_bulk_create_jobs", "coupon_code_bulk_create_jobs"),
    ReportRow("catalog_item_bulk_create_jobs", "catalog_item_bulk_create_jobs"),
    ReportRow("catalog_item_bulk_update_jobs", "catalog_item_bulk_update_jobs"),
    ReportRow("catalog_item_bulk_delete_jobs", "catalog_item_bulk_delete_jobs"),
    ReportRow("catalog_variant_bulk_create_jobs", "catalog_variant_bulk_create_jobs"),
    ReportRow("catalog_variant_bulk_update_jobs", "catalog_variant_bulk_update_jobs"),
    ReportRow("catalog_variant_bulk_delete_jobs", "catalog_variant_bulk_delete_jobs"),
    ReportRow("catalog_category_bulk_create_jobs", "catalog_category_bulk_create_jobs"),
    ReportRow("catalog_category_bulk_update_jobs", "catalog_category_bulk_update_jobs"),
    ReportRow("catalog_category_bulk_delete_jobs", "catalog_category_bulk_delete_jobs"),
    ReportRow(
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
    ReportRow(
        "text_messaging_senders",
        "text_messaging_senders",
        include=("text-messaging-sender-registration",),
        since="2026-10-15",
    ),
    ReportRow(
        "text_messaging_sender_registrations",
        "text_messaging_senders",
        include=("text-messaging-sender-registration",),
        rows="text-messaging-sender-registration",
        since="2026-10-15",
    ),
    ReportRow("text_messaging_configurations", "text_messaging_configurations", since="2026-10-15"),
    ReportRow("billing_usage", "billing_usage", since="2026-10-15"),
    ReportRow("brand_buttons", "brand_buttons", since="2026-10-15"),
    ReportRow("brand_colors", "brand_colors", since="2026-10-15"),
    ReportRow(
        "brand_email_defaults",
        "brand_email_defaults",
        include=("brand-button", "brand-logo", "brand-social-group"),
        fields={"brand-button": ("name",), "brand-logo": ("name",), "brand-social-group": ("name",)},
        since="2026-10-15",
    ),
    ReportRow("brand_logos", "brand_logos", include=("image",), fields={"image": ("name",)}, since="2026-10-15"),
    ReportRow("brand_social_groups", "brand_social_groups", since="2026-10-15"),
    ReportRow("brand_voices", "brand_voices", since="2026-10-15"),
    ReportRow("campaign_values", "campaign_values"),
    ReportRow("flow_values", "flow_values"),
    ReportRow("flow_series", "flow_series"),
    ReportRow("form_values", "form_values"),
    ReportRow("form_series", "form_series"),
    ReportRow("segment_values", "segment_values"),
    ReportRow("segment_series", "segment_series"),
    ReportRow("metric_aggregates", "metric_aggregates"),
)

_REPORTS = (*_TABLE, *(replace(row, on_by_default=False) for row in _OFF_BY_DEFAULT))

#: Report -> under which revisions it exists, in words; empty if under all.
REPORT_SPANS: Mapping[str, str] = {
    name: span(row for row in _REPORTS if row.name == name) for name in dict.fromkeys(row.name for row in _REPORTS)
}


@cache
def reports(revision: str) -> Mapping[str, Report]:
    """Name -> predefined report, for those that exist under a revision."""
    return {name: _resolved(row, revision) for name, row in rows_of(revision, _REPORTS).items()}


def _resolved(row: ReportRow, revision: str) -> Report:
    """The report of a row, with the endpoints and columns that the row names."""
    by_name = endpoints(revision)
    if row.endpoint not in by_name:
        raise LookupError(f"report {row.name}: catalog/endpoints.py has no row {row.endpoint!r} in revision {revision}")
    endpoint = by_name[row.endpoint]
    return Report(
        name=row.name,
        revision=revision,
        endpoint=endpoint,
        parents=parents_of(endpoint, revision),
        declared=load_contract(row.name, revision),
        include=row.include,
        additional_fields=row.additional_fields,
        optional_fields=row.optional_fields,
        fields=row.fields,
        rows=row.rows,
        nested=row.nested,
        history=row.history,
        whole=row.whole,
        on_by_default=row.on_by_default,
        lookup=_lookup(row.lookup, by_name) if row.lookup else None,
        beside=_beside(endpoint, by_name),
        by_metric=row.by_metric,
    )


def parents_of(endpoint: Endpoint, revision: str) -> tuple[Endpoint, ...]:
    """The endpoints that list the parents of an endpoint, top-most first: the order in which they are requested."""
    parents: tuple[Endpoint, ...] = ()
    below = endpoint
    while parent := below.parent:
        above = endpoints(revision)[parent.endpoint]
        below = replace(above, cursor=None) if parent.undated else above
        parents = (below, *parents)
    return parents


def _lookup(name: str, by_name: Mapping[str, Endpoint]) -> Lookup:
    endpoint = by_name[name]
    if endpoint.parent is None:
        raise ValueError(f"a lookup sends one request for each parent, but {name} has no parent")
    return Lookup(endpoint, by_name[endpoint.parent.endpoint])


def _beside(endpoint: Endpoint, by_name: Mapping[str, Endpoint]) -> tuple[Endpoint, ...]:
    """The endpoints that an analytics report needs first: for the account's timezone, and for its metrics."""
    if endpoint.analytics is None:
        return ()
    accounts, metrics = by_name["accounts"], by_name["metrics"]
    return (accounts,) if endpoint.analytics.default_metric is None else (accounts, metrics)


def described(name: str) -> Report:
    """A predefined report as the documentation shows it: under the default revision, or the newest that has it."""
    having = [revision for revision in REVISIONS if name in reports(revision)]
    return reports(DEFAULT_REVISION if DEFAULT_REVISION in having else having[-1])[name]
