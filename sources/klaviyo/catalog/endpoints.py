"""The table of endpoints: one row each, with what this project decides about it.

What Klaviyo says about an endpoint (type, rate limits, scopes, page size) is not repeated here: it comes from the
packaged SDK facts (`capabilities`). Behaviour that was observed and is not documented is marked "seen". A row that does
not apply to every revision has `since` or `until`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache

from ..calendar import Interval
from .capabilities import Capabilities, capabilities
from .model import Analytics, AnalyticsApi, Cursor, Endpoint, EndpointRow, Ops, Parent, Variant
from .revisions import rows_of

# Up to 2026-07-15 a filter on the channel is mandatory, and without a filter on `archived` Klaviyo leaves out archived
# campaigns (seen).
CAMPAIGN_VARIANTS = tuple(
    Variant(f'equals(messages.channel,"{channel}"),equals(archived,{archived})', {"channel": channel})
    for channel in ("email", "sms", "mobile_push")
    for archived in ("false", "true")
)

ARCHIVED_OR_NOT = (Variant("equals(archived,false)"), Variant("equals(archived,true)"))
# Without a filter on `hidden` Klaviyo leaves out hidden images (seen).
HIDDEN_OR_NOT = (Variant("equals(hidden,false)"), Variant("equals(hidden,true)"))

# Delays, splits and changes of records: at least half of an account's flow actions. All other kinds, future ones too,
# are asked for their messages.
ACTIONS_WITHOUT_MESSAGES = frozenset(
    {
        "action-output-split",
        "back-in-stock-delay",
        "code",
        "conditional-split",
        "countdown-delay",
        "internal-service",
        "list-update",
        "multi-branch-split",
        "target-date",
        "time-delay",
        "trigger-split",
        "update-profile",
    }
)

# --- analytics

TIMEFRAME = Cursor("timeframe", ascending=False)

# The most intervals of one request. For series, Klaviyo's limits are 7 days by the hour, 60 days by the day, a year by
# the week and 52 weeks by the month.
SERIES: Mapping[Interval, int] = {"hour": 7 * 24, "day": 60, "week": 52, "month": 11}
VALUES: Mapping[Interval, int] = {"day": 1, "week": 1, "month": 1}
# Klaviyo's limit is a year.
AGGREGATES: Mapping[Interval, int] = {"hour": 31 * 24, "day": 365, "week": 52, "month": 11}

# Klaviyo counts by the day of the sending. An open or a click some weeks later still changes the numbers of that day,
# and so does a purchase within the account's attribution window, about five days. At interval = "day", 30 days are
# still one request.
ATTRIBUTION_DAYS = 30.0

# Segments have no earlier history.
SEGMENTS_SINCE = date(2023, 6, 1)

_ESTIMATIONS = "How many people a campaign was estimated to reach."

# --- parents of several endpoints

_OBJECT_TYPE = Parent("object_types", {"object_type_id": "id"}, absent_ok=True)
_OBJECT_SCHEMA = Parent("object_schemas", {"object_schema_id": "id"}, absent_ok=True)
_IMPORT_JOB = Parent("profile_bulk_import_jobs", {"profile_bulk_import_job_id": "id"}, absent_ok=True)

_TABLE = (
    EndpointRow("accounts", "/api/accounts", doc="The account that the key belongs to."),
    EndpointRow(
        "profiles", "/api/profiles", cursor=Cursor("updated", Ops.STRICT), doc="People you can message, one row each."
    ),
    EndpointRow(
        "events",
        "/api/events",
        cursor=Cursor("datetime", fixed=True),
        doc="What people did or received, one row for each event.",
    ),
    EndpointRow("metrics", "/api/metrics", doc="Kinds of events, one row each."),
    EndpointRow(
        "flows",
        "/api/flows",
        cursor=Cursor("updated", ascending=False),
        variants=ARCHIVED_OR_NOT,
        doc="Automations, one row each.",
    ),
    EndpointRow(
        "campaigns",
        "/api/campaigns",
        cursor=Cursor("updated_at", ascending=False),
        variants=CAMPAIGN_VARIANTS,
        until="2026-07-15",
        doc="One-off sends of every channel, including archived ones.",
    ),
    EndpointRow(
        "campaigns",
        "/api/campaigns",
        cursor=Cursor("updated_at", ascending=False),
        variants=ARCHIVED_OR_NOT,
        since="2026-10-15",
        doc="One-off sends, including archived ones.",
    ),
    EndpointRow(
        "campaign_messages",
        "/api/campaign-messages",
        cursor=Cursor("updated"),
        since="2026-10-15",
        doc="Messages of the campaigns.",
    ),
    EndpointRow(
        "campaign_variations",
        "/api/campaign-messages/{id}/campaign-variations",
        parent=Parent("campaign_messages", {"campaign_message_id": "id"}, absent_ok=True),
        since="2026-10-15",
        doc="Variations of campaign messages, several in an A/B test; only they hold channel and content.",
    ),
    # For a campaign without an estimation Klaviyo answers 404, and for many of them for good (seen).
    EndpointRow(
        "campaign_recipient_estimations",
        "/api/campaign-recipient-estimations/{id}",
        parent=Parent("campaigns", {"campaign_id": "id"}, absent_ok=True, settled=("attributes.status", "Sent")),
        until="2026-07-15",
        doc=_ESTIMATIONS,
    ),
    EndpointRow(
        "campaign_recipient_estimations",
        "/api/campaign-recipient-estimations/{id}",
        parent=Parent(
            "campaigns",
            {"campaign_id": "id"},
            absent_ok=True,
            include=("campaign-messages",),
            settled=("included.campaign-messages[].attributes.definition.status", "sent"),
        ),
        since="2026-10-15",
        doc=_ESTIMATIONS,
    ),
    EndpointRow("templates", "/api/templates", cursor=Cursor("updated"), doc="Message templates, one row each."),
    EndpointRow(
        "lists", "/api/lists", cursor=Cursor("updated", Ops.AFTER, from_start=True), doc="Lists, one row each."
    ),
    EndpointRow(
        "list_profiles",
        "/api/lists/{id}/profiles",
        cursor=Cursor("joined_group_at"),
        parent=Parent("lists", {"list_id": "id"}, absent_ok=True),
        doc="Members of lists, one row for each list and profile.",
    ),
    EndpointRow(
        "segments", "/api/segments", cursor=Cursor("updated", Ops.AFTER, from_start=True), doc="Segments, one row each."
    ),
    EndpointRow(
        "segment_profiles",
        "/api/segments/{id}/profiles",
        cursor=Cursor("joined_group_at"),
        parent=Parent("segments", {"segment_id": "id"}, absent_ok=True),
        doc="Members of segments, one row for each segment and profile.",
    ),
    EndpointRow("tags", "/api/tags", doc="Tags, one row each."),
    # --- off by default
    # Not sorted by the cursor: the place of a profile with several suppressions would be unknown. So no chain is cut.
    EndpointRow(
        "suppressions",
        "/api/profiles",
        cursor=Cursor(
            "subscriptions.email.marketing.suppression.timestamp",
            Ops.SINCE,
            ascending=False,
            from_start=True,
            always=True,
        ),
        doc="Profiles that receive no marketing email at all.",
    ),
    EndpointRow(
        "list_suppressions",
        "/api/profiles",
        cursor=Cursor(
            "subscriptions.email.marketing.list_suppressions.timestamp",
            Ops.SINCE,
            ascending=False,
            from_start=True,
            always=True,
        ),
        parent=Parent(
            "lists",
            {"list_id": "id"},
            filter="subscriptions.email.marketing.list_suppressions.list_id",
            undated=True,
        ),
        doc="Profiles that receive no marketing email of a list.",
    ),
    EndpointRow(
        "flow_definitions",
        "/api/flows/{id}",
        parent=Parent("flows", {}, absent_ok=True),
        doc="The structure of each flow, which the list of flows leaves out.",
    ),
    EndpointRow(
        "flow_messages",
        "/api/flow-actions/{id}/flow-messages",
        cursor=Cursor("updated"),
        parent=Parent(
            "flows",
            {"flow_action_id": "id"},
            absent_ok=True,
            include=("flow-actions",),
            rows="flow-action",
            childless={"attributes.definition.type": ACTIONS_WITHOUT_MESSAGES},
        ),
        doc="Messages that flow actions send, one row each.",
    ),
    EndpointRow("forms", "/api/forms", cursor=Cursor("updated_at", unique=False), doc="Sign-up forms, one row each."),
    EndpointRow(
        "form_definitions",
        "/api/forms/{id}",
        parent=Parent("forms", {}, absent_ok=True),
        doc="The structure of each form, which the list of forms leaves out.",
    ),
    EndpointRow(
        "form_versions",
        "/api/forms/{id}/form-versions",
        cursor=Cursor("updated_at"),
        parent=Parent("forms", {"form_id": "id"}, absent_ok=True),
        doc="Versions of the sign-up forms.",
    ),
    EndpointRow(
        "list_profile_counts",
        "/api/lists/{id}",
        parent=Parent("lists", {}, absent_ok=True),
        doc="Lists one by one, with the number of their profiles.",
    ),
    EndpointRow(
        "segment_profile_counts",
        "/api/segments/{id}",
        parent=Parent("segments", {}, absent_ok=True),
        doc="Segments one by one, with the number of their profiles.",
    ),
    EndpointRow("tag_groups", "/api/tag-groups", doc="Groups of tags, one row each."),
    EndpointRow("custom_metrics", "/api/custom-metrics", doc="Metrics that the account composed from other metrics."),
    EndpointRow(
        "mapped_metrics", "/api/mapped-metrics", doc="Which metric Klaviyo's own analytics use for which purpose."
    ),
    EndpointRow(
        "metric_properties",
        "/api/metrics/{id}/metric-properties",
        parent=Parent("metrics", {"metric_id": "id"}, absent_ok=True),
        doc="Properties that the events of a metric have.",
    ),
    EndpointRow("push_tokens", "/api/push-tokens", doc="Devices that can receive push notifications."),
    EndpointRow(
        "reviews",
        "/api/reviews",
        cursor=Cursor("created", Ops.CLOSED),
        doc="Product and store reviews, ratings and questions.",
    ),
    EndpointRow("catalog_items", "/api/catalog-items", doc="Products of the catalog, one row each."),
    EndpointRow("catalog_variants", "/api/catalog-variants", doc="Variants of the catalog's items."),
    EndpointRow("catalog_categories", "/api/catalog-categories", doc="Categories of the catalog."),
    EndpointRow(
        "catalog_category_items",
        "/api/catalog-categories/{id}/relationships/items",
        parent=Parent("catalog_categories", {"catalog_category_id": "id"}, absent_ok=True),
        doc="Which items are in which category: ids only.",
    ),
    EndpointRow("coupons", "/api/coupons", doc="Coupons, one row each."),
    # A filter on a coupon or a profile is mandatory.
    EndpointRow(
        "coupon_codes",
        "/api/coupon-codes",
        parent=Parent("coupons", {}, absent_ok=True, filter="coupon.id"),
        doc="Codes of the coupons, one row each.",
    ),
    EndpointRow(
        "images",
        "/api/images",
        cursor=Cursor("updated_at"),
        variants=HIDDEN_OR_NOT,
        asked="hidden too",
        doc="Images in the account's library, hidden ones too.",
    ),
    EndpointRow(
        "universal_content",
        "/api/template-universal-content",
        cursor=Cursor("updated"),
        doc="Blocks and sections that are used in many templates.",
    ),
    EndpointRow(
        "web_feeds",
        "/api/web-feeds",
        cursor=Cursor("updated", unique=False),
        doc="Web feeds that templates draw content from.",
    ),
    EndpointRow("webhooks", "/api/webhooks", doc="Webhooks that Klaviyo calls when something happens in the account."),
    EndpointRow("webhook_topics", "/api/webhook-topics", doc="Topics that a webhook can subscribe to."),
    EndpointRow("tracking_settings", "/api/tracking-settings", doc="UTM parameters that the account adds to links."),
    EndpointRow("data_sources", "/api/data-sources", doc="Sources that feed custom objects."),
    EndpointRow("object_types", "/api/object-types", doc="Types of custom objects."),
    EndpointRow(
        "object_records", "/api/object-types/{id}/object-records", parent=_OBJECT_TYPE, doc="Records of custom objects."
    ),
    EndpointRow(
        "object_schemas",
        "/api/object-types/{id}/schema-versions",
        parent=_OBJECT_TYPE,
        doc="Versions of the schemas of custom objects.",
    ),
    EndpointRow(
        "object_type_relations",
        "/api/object-types/{id}/relationships/object-types",
        parent=_OBJECT_TYPE,
        doc="Relations between types of custom objects: ids only.",
    ),
    EndpointRow(
        "object_type_profile_relations",
        "/api/object-types/{id}/relationships/profile-object-types",
        parent=_OBJECT_TYPE,
        doc="Relations of types of custom objects to profiles: ids only.",
    ),
    EndpointRow(
        "object_schema_relations",
        "/api/object-schemas/{id}/relationships/object-schemas",
        parent=_OBJECT_SCHEMA,
        doc="Relations between schemas of custom objects: ids only.",
    ),
    EndpointRow(
        "object_schema_profile_relations",
        "/api/object-schemas/{id}/relationships/profile-object-schemas",
        parent=_OBJECT_SCHEMA,
        doc="Relations of schemas of custom objects to profiles: ids only.",
    ),
    EndpointRow(
        "source_mappings",
        "/api/object-schemas/{id}/source-mapping",
        parent=_OBJECT_SCHEMA,
        doc="Which fields of the data sources fill the properties of custom objects.",
    ),
    # Newest first, 50 on a page. Klaviyo keeps them for 14 days.
    EndpointRow(
        "object_ingestion_logs",
        "/api/object-types/{id}/object-ingestion-logs",
        cursor=Cursor("timestamp", ascending=False),
        parent=Parent("object_types", {}, absent_ok=True),
        doc="Failures while records of custom objects were ingested.",
    ),
    EndpointRow(
        "profile_bulk_import_jobs", "/api/profile-bulk-import-jobs", doc="Jobs that imported profiles in bulk."
    ),
    EndpointRow(
        "profile_bulk_import_job_errors",
        "/api/profile-bulk-import-jobs/{id}/import-errors",
        parent=_IMPORT_JOB,
        doc="Errors of the jobs that imported profiles in bulk.",
    ),
    EndpointRow(
        "profile_bulk_import_job_lists",
        "/api/profile-bulk-import-jobs/{id}/relationships/lists",
        parent=_IMPORT_JOB,
        doc="Lists that the import jobs added profiles to: ids only.",
    ),
    EndpointRow(
        "profile_bulk_import_job_profiles",
        "/api/profile-bulk-import-jobs/{id}/relationships/profiles",
        parent=_IMPORT_JOB,
        doc="Profiles that the import jobs imported: ids only.",
    ),
    EndpointRow(
        "profile_suppression_bulk_create_jobs",
        "/api/profile-suppression-bulk-create-jobs",
        doc="Jobs that suppressed profiles in bulk.",
    ),
    EndpointRow(
        "profile_suppression_bulk_delete_jobs",
        "/api/profile-suppression-bulk-delete-jobs",
        doc="Jobs that unsuppressed profiles in bulk.",
    ),
    EndpointRow(
        "coupon_code_bulk_create_jobs",
        "/api/coupon-code-bulk-create-jobs",
        doc="Jobs that created coupon codes in bulk.",
    ),
    EndpointRow(
        "catalog_item_bulk_create_jobs",
        "/api/catalog-item-bulk-create-jobs",
        doc="Jobs that created catalog items in bulk.",
    ),
    EndpointRow(
        "catalog_item_bulk_update_jobs",
        "/api/catalog-item-bulk-update-jobs",
        doc="Jobs that updated catalog items in bulk.",
    ),
    EndpointRow(
        "catalog_item_bulk_delete_jobs",
        "/api/catalog-item-bulk-delete-jobs",
        doc="Jobs that deleted catalog items in bulk.",
    ),
    EndpointRow(
        "catalog_variant_bulk_create_jobs",
        "/api/catalog-variant-bulk-create-jobs",
        doc="Jobs that created catalog variants in bulk.",
    ),
    EndpointRow(
        "catalog_variant_bulk_update_jobs",
        "/api/catalog-variant-bulk-update-jobs",
        doc="Jobs that updated catalog variants in bulk.",
    ),
    EndpointRow(
        "catalog_variant_bulk_delete_jobs",
        "/api/catalog-variant-bulk-delete-jobs",
        doc="Jobs that deleted catalog variants in bulk.",
    ),
    EndpointRow(
        "catalog_category_bulk_create_jobs",
        "/api/catalog-category-bulk-create-jobs",
        doc="Jobs that created catalog categories in bulk.",
    ),
    EndpointRow(
        "catalog_category_bulk_update_jobs",
        "/api/catalog-category-bulk-update-jobs",
        doc="Jobs that updated catalog categories in bulk.",
    ),
    EndpointRow(
        "catalog_category_bulk_delete_jobs",
        "/api/catalog-category-bulk-delete-jobs",
        doc="Jobs that deleted catalog categories in bulk.",
    ),
    EndpointRow(
        "translations", "/api/translations", since="2026-10-15", doc="Translations of messages, templates and blocks."
    ),
    EndpointRow(
        "text_messaging_senders",
        "/api/text-messaging-senders",
        since="2026-10-15",
        doc="Numbers and names that text messages are sent from.",
    ),
    # The id is the account's. An account that sends no text messages has no configuration.
    EndpointRow(
        "text_messaging_configurations",
        "/api/text-messaging-configurations/{id}",
        since="2026-10-15",
        parent=Parent("accounts", {}, absent_ok=True),
        doc="How the account sends text messages.",
    ),
    EndpointRow(
        "billing_usage",
        "/api/billing-usage",
        since="2026-10-15",
        doc="What the account's plan allows, and how much of it is used.",
    ),
    EndpointRow("brand_buttons", "/api/brand-buttons", since="2026-10-15", doc="Buttons of the brand library."),
    EndpointRow("brand_colors", "/api/brand-colors", since="2026-10-15", doc="Palettes of the brand library."),
    EndpointRow(
        "brand_email_defaults", "/api/brand-email-defaults", since="2026-10-15", doc="What emails look like by default."
    ),
    EndpointRow("brand_logos", "/api/brand-logos", since="2026-10-15", doc="Logos of the brand library."),
    EndpointRow(
        "brand_social_groups",
        "/api/brand-social-groups",
        since="2026-10-15",
        doc="Groups of social links in the brand library.",
    ),
    # The id is the account's.
    EndpointRow(
        "brand_voices",
        "/api/brand-voice/{id}",
        since="2026-10-15",
        parent=Parent("accounts", {}, absent_ok=True),
        doc="Tone and language of the brand.",
    ),
    # --- analytics
    EndpointRow(
        "campaign_values",
        "/api/campaign-values-reports",
        cursor=TIMEFRAME,
        analytics=Analytics(
            AnalyticsApi.REPORT,
            VALUES,
            "month",
            series=False,
            groups=("campaign_id", "campaign_message_id", "send_channel"),
            default_metric="Placed Order",
            lookback_days=ATTRIBUTION_DAYS,
        ),
        doc="Performance of campaigns, by the day they were sent.",
    ),
    EndpointRow(
        "flow_values",
        "/api/flow-values-reports",
        cursor=TIMEFRAME,
        analytics=Analytics(
            AnalyticsApi.REPORT,
            VALUES,
            "month",
            series=False,
            groups=("flow_id", "flow_message_id", "send_channel"),
            default_metric="Placed Order",
            lookback_days=ATTRIBUTION_DAYS,
        ),
        doc="Performance of flow messages.",
    ),
    EndpointRow(
        "flow_series",
        "/api/flow-series-reports",
        cursor=TIMEFRAME,
        analytics=Analytics(
            AnalyticsApi.REPORT,
            SERIES,
            "day",
            series=True,
            groups=("flow_id", "flow_message_id", "send_channel"),
            default_metric="Placed Order",
            lookback_days=ATTRIBUTION_DAYS,
        ),
        doc="Performance of flow messages, as a time series.",
    ),
    EndpointRow(
        "form_values",
        "/api/form-values-reports",
        cursor=TIMEFRAME,
        analytics=Analytics(
            AnalyticsApi.REPORT,
            VALUES,
            "month",
            series=False,
            groups=("form_id",),
            together={"form_version_id": ("form_id",)},
        ),
        doc="Views and submissions of sign-up forms.",
    ),
    EndpointRow(
        "form_series",
        "/api/form-series-reports",
        cursor=TIMEFRAME,
        analytics=Analytics(
            AnalyticsApi.REPORT,
            SERIES,
            "day",
            series=True,
            groups=("form_id",),
            together={"form_version_id": ("form_id",)},
        ),
        doc="Views and submissions of sign-up forms, as a time series.",
    ),
    EndpointRow(
        "segment_values",
        "/api/segment-values-reports",
        cursor=TIMEFRAME,
        analytics=Analytics(AnalyticsApi.REPORT, VALUES, "month", series=False, since=SEGMENTS_SINCE),
        doc="Growth of segments: members, and those added and removed.",
    ),
    EndpointRow(
        "segment_series",
        "/api/segment-series-reports",
        cursor=TIMEFRAME,
        analytics=Analytics(AnalyticsApi.REPORT, SERIES, "day", series=True, since=SEGMENTS_SINCE),
        doc="Growth of segments, as a time series.",
    ),
    EndpointRow(
        "metric_aggregates",
        "/api/metric-aggregates",
        cursor=Cursor("datetime", ascending=False),
        analytics=Analytics(
            AnalyticsApi.AGGREGATE,
            AGGREGATES,
            "day",
            series=True,
            default_metric="*",
        ),
        doc="Klaviyo's own counts of the events of each metric.",
    ),
)


@cache
def endpoints(revision: str) -> Mapping[str, Endpoint]:
    """Name -> endpoint, for those that exist under a revision.

    Raises:
        LookupError: a row has a path that the SDK of this revision does not know.
    """
    facts_by_path = {facts.template: facts for facts in capabilities(revision).values()}
    rows = rows_of(revision, _TABLE)
    unknown = [f"{name}: {row.path}" for name, row in rows.items() if row.path not in facts_by_path]
    if unknown:
        raise LookupError(f"catalog/endpoints.py: revision {revision} has no such path: {', '.join(unknown)}")
    return {name: endpoint_of(row, facts_by_path[row.path]) for name, row in rows.items()}


def endpoint_of(row: EndpointRow, facts: Capabilities) -> Endpoint:
    """The endpoint of a row of the table, completed by what the SDK says about its path."""
    return Endpoint(
        name=row.name,
        path=row.path,
        type=facts.type,
        doc=row.doc,
        rate=facts.rate,
        scopes=facts.scopes,
        page_size=facts.page_size.max if facts.page_size else None,
        cursor=row.cursor,
        variants=row.variants,
        parent=row.parent,
        rate_overrides=facts.field_rates,
        since=row.since,
        analytics=row.analytics,
        asked=row.asked,
    )
