"""THE TABLE: one row an endpoint. What is true of an endpoint is said here and nowhere else.

Source: Klaviyo's OpenAPI file and official SDKs; what neither says and others observed is marked "seen". A row that is
not true of every revision says `since` or `until`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache

from .revisions import rows_of
from .spec import XL, XS, Analytics, Cursor, Endpoint, Grammar, Interval, L, M, Ops, Parent, Rate, S, Variant

# To 2026-07-15 a filter on the channel is required, and without one on `archived` archived campaigns are left out (seen).
CAMPAIGN_VARIANTS = tuple(
    Variant(f'equals(messages.channel,"{channel}"),equals(archived,{archived})', {"channel": channel})
    for channel in ("email", "sms", "mobile_push")
    for archived in ("false", "true")
)
ARCHIVED_OR_NOT = (Variant("equals(archived,false)"), Variant("equals(archived,true)"))
# Delays, splits and changes of records: half the actions of an account and more. The other kinds, and those to come, are
# asked for their messages.
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

# --- numbers instead of records

REPORTING = Rate(1, 2, daily=225)
TIMEFRAME = Cursor("timeframe", ascending=False)
# Klaviyo takes 7 days by the hour, 60 by the day, a year by the week and 52 weeks by the month.
SERIES: Mapping[Interval, int] = {"hour": 7 * 24, "day": 60, "week": 52, "month": 11}
VALUES: Mapping[Interval, int] = {"day": 1, "week": 1, "month": 1}
# A year at most.
AGGREGATES: Mapping[Interval, int] = {"hour": 31 * 24, "day": 365, "week": 52, "month": 11}
# Numbers are those of the day of the sending: an open or a click some weeks later changes them, and so does what is
# bought within the five days or so that the account attributes to it. By the day, 30 days are still one request.
ATTRIBUTION_DAYS = 30.0
# Segments have no history before.
SEGMENTS_SINCE = date(2023, 6, 1)

# --- parents of several endpoints

_OBJECT_TYPE = Parent("object_types", {"object_type_id": "id"}, absent_ok=True)
_OBJECT_SCHEMA = Parent("object_schemas", {"object_schema_id": "id"}, absent_ok=True)
_IMPORT_JOB = Parent("profile_bulk_import_jobs", {"profile_bulk_import_job_id": "id"}, absent_ok=True)

_TABLE = (
    Endpoint(
        "accounts", "/api/accounts", "account", rate=XS, page_size=None, scopes=("accounts:read",),
        doc="The account that the key belongs to.",
    ),
    Endpoint(
        "profiles", "/api/profiles", "profile", rate=L, cursor=Cursor("updated", Ops.STRICT),
        scopes=("profiles:read",), dearer={"predictive_analytics": Rate(10, 150)},
        doc="People you can message, one row each.",
    ),
    Endpoint(
        "events", "/api/events", "event", rate=XL, page_size=1000, cursor=Cursor("datetime", fixed=True),
        scopes=("events:read",),
        doc="What people did or received, one row an event.",
    ),
    Endpoint(
        "metrics", "/api/metrics", "metric", rate=M, page_size=None, scopes=("metrics:read",),
        doc="Kinds of event, one row each.",
    ),
    Endpoint(
        "flows", "/api/flows", "flow", rate=S, page_size=50, cursor=Cursor("updated", ascending=False),
        variants=ARCHIVED_OR_NOT, scopes=("flows:read",),
        doc="Automations, one row each.",
    ),
    Endpoint(
        "campaigns", "/api/campaigns", "campaign", rate=M, cursor=Cursor("updated_at", ascending=False),
        variants=CAMPAIGN_VARIANTS, scopes=("campaigns:read",), until="2026-07-15",
        doc="One-off sends of every channel, archived ones too.",
    ),
    Endpoint(
        "campaigns", "/api/campaigns", "campaign", rate=M, cursor=Cursor("updated_at", ascending=False),
        variants=ARCHIVED_OR_NOT, scopes=("campaigns:read",), since="2026-10-15",
        doc="One-off sends, archived ones too.",
    ),
    Endpoint(
        "campaign_messages", "/api/campaign-messages", "campaign-message", rate=M, cursor=Cursor("updated"),
        scopes=("campaigns:read",), since="2026-10-15",
        doc="Messages of the campaigns.",
    ),
    Endpoint(
        "campaign_variations", "/api/campaign-messages/{id}/campaign-variations", "campaign-variation", rate=M,
        page_size=None, parent=Parent("campaign_messages", {"campaign_message_id": "id"}, absent_ok=True),
        scopes=("campaigns:read",), since="2026-10-15",
        doc="What a message is sent as, several in an A/B test; the only place that tells channel and content.",
    ),
    Endpoint(
        "campaign_recipient_estimations", "/api/campaign-recipient-estimations/{id}",
        "campaign-recipient-estimation", rate=M, page_size=None, scopes=("campaigns:read",),
        # A campaign without an estimation answers 404 (seen).
        parent=Parent("campaigns", {"campaign_id": "id"}, absent_ok=True),
        doc="How many people a campaign was estimated to reach.",
    ),
    Endpoint(
        "templates", "/api/templates", "template", rate=L, page_size=10, cursor=Cursor("updated"),
        scopes=("templates:read",),
        doc="Message templates, one row each.",
    ),
    Endpoint(
        "lists", "/api/lists", "list", rate=L, page_size=10, cursor=Cursor("updated", Ops.AFTER, from_start=True),
        scopes=("lists:read",),
        doc="Lists, one row each.",
    ),
    Endpoint(
        "list_profiles", "/api/lists/{id}/profiles", "profile", rate=L, cursor=Cursor("joined_group_at"),
        parent=Parent("lists", {"list_id": "id"}, absent_ok=True), scopes=("lists:read", "profiles:read"),
        dearer={"predictive_analytics": Rate(10, 150)},
        doc="Who is in which list.",
    ),
    Endpoint(
        "segments", "/api/segments", "segment", rate=L, page_size=10,
        cursor=Cursor("updated", Ops.AFTER, from_start=True), scopes=("segments:read",),
        doc="Segments, one row each.",
    ),
    Endpoint(
        "segment_profiles", "/api/segments/{id}/profiles", "profile", rate=L, cursor=Cursor("joined_group_at"),
        parent=Parent("segments", {"segment_id": "id"}, absent_ok=True),
        scopes=("profiles:read", "segments:read"),
        doc="Who is in which segment.",
    ),
    Endpoint(
        "tags", "/api/tags", "tag", rate=S, page_size=50, scopes=("tags:read",),
        doc="Tags, one row each.",
    ),
    # --- off by default
    Endpoint(
        "suppressions", "/api/profiles", "profile", rate=L, scopes=("profiles:read",),
        dearer={"predictive_analytics": Rate(10, 150)},
        # Sorted by it, a profile with several suppressions stands nobody knows where: no chain is cut by it.
        cursor=Cursor(
            "subscriptions.email.marketing.suppression.timestamp", Ops.SINCE, ascending=False, from_start=True,
            always=True,
        ),
        doc="Profiles that get no marketing email at all.",
    ),
    Endpoint(
        "list_suppressions", "/api/profiles", "profile", rate=L, scopes=("lists:read", "profiles:read"),
        dearer={"predictive_analytics": Rate(10, 150)},
        cursor=Cursor(
            "subscriptions.email.marketing.list_suppressions.timestamp", Ops.SINCE, ascending=False, from_start=True,
            always=True,
        ),
        parent=Parent(
            "lists", {"list_id": "id"}, filter="subscriptions.email.marketing.list_suppressions.list_id", undated=True,
        ),
        doc="Profiles that get no marketing email of a list.",
    ),
    Endpoint(
        "flow_definitions", "/api/flows/{id}", "flow", rate=S, page_size=None,
        parent=Parent("flows", {}, absent_ok=True), scopes=("flows:read",),
        doc="The structure of a flow, which the list of flows leaves out.",
    ),
    Endpoint(
        "flow_messages", "/api/flow-actions/{id}/flow-messages", "flow-message", rate=S, page_size=50,
        cursor=Cursor("updated"),
        parent=Parent(
            "flows", {"flow_action_id": "id"}, absent_ok=True, include=("flow-actions",), rows="flow-action",
            childless={"attributes.definition.type": ACTIONS_WITHOUT_MESSAGES},
        ),
        scopes=("flows:read",),
        doc="What the actions of flows send, one row a message.",
    ),
    Endpoint(
        "forms", "/api/forms", "form", rate=S, cursor=Cursor("updated_at"), scopes=("forms:read",),
        doc="Sign-up forms, one row each.",
    ),
    Endpoint(
        "form_definitions", "/api/forms/{id}", "form", rate=S, page_size=None,
        parent=Parent("forms", {}, absent_ok=True), scopes=("forms:read",),
        doc="The structure of a form, which the list of forms leaves out.",
    ),
    Endpoint(
        "form_versions", "/api/forms/{id}/form-versions", "form-version", rate=S, cursor=Cursor("updated_at"),
        parent=Parent("forms", {"form_id": "id"}, absent_ok=True), scopes=("forms:read",),
        doc="Versions of the sign-up forms.",
    ),
    Endpoint(
        "list_profile_counts", "/api/lists/{id}", "list", rate=L, page_size=None,
        parent=Parent("lists", {}, absent_ok=True), scopes=("lists:read",), dearer={"profile_count": XS},
        doc="One list, with what the list of lists leaves out.",
    ),
    Endpoint(
        "segment_profile_counts", "/api/segments/{id}", "segment", rate=L, page_size=None,
        parent=Parent("segments", {}, absent_ok=True), scopes=("segments:read",), dearer={"profile_count": XS},
        doc="One segment, with what the list of segments leaves out.",
    ),
    Endpoint(
        "tag_groups", "/api/tag-groups", "tag-group", rate=S, page_size=25, scopes=("tags:read",),
        doc="Groups of tags, one row each.",
    ),
    Endpoint(
        "custom_metrics", "/api/custom-metrics", "custom-metric", rate=S, page_size=None, scopes=("metrics:read",),
        doc="Metrics that the account has composed of others.",
    ),
    Endpoint(
        "mapped_metrics", "/api/mapped-metrics", "mapped-metric", rate=S, page_size=None, scopes=("metrics:read",),
        doc="Which metric stands for what in Klaviyo's own analytics.",
    ),
    Endpoint(
        "metric_properties", "/api/metrics/{id}/metric-properties", "metric-property", rate=XS, page_size=None,
        parent=Parent("metrics", {"metric_id": "id"}, absent_ok=True), scopes=("metrics:read",),
        doc="Properties that the events of a metric have.",
    ),
    Endpoint(
        "push_tokens", "/api/push-tokens", "push-token", rate=M, scopes=("profiles:read", "push-tokens:read"),
        doc="Devices that can receive push notifications.",
    ),
    Endpoint(
        "reviews", "/api/reviews", "review", rate=M, cursor=Cursor("created", Ops.CLOSED), scopes=("reviews:read",),
        doc="Product and store reviews, ratings and questions.",
    ),
    Endpoint(
        "catalog_items", "/api/catalog-items", "catalog-item", rate=XL, scopes=("catalogs:read",),
        doc="Products of the catalog, one row each.",
    ),
    Endpoint(
        "catalog_variants", "/api/catalog-variants", "catalog-variant", rate=XL, scopes=("catalogs:read",),
        doc="Variants of the catalog's items.",
    ),
    Endpoint(
        "catalog_categories", "/api/catalog-categories", "catalog-category", rate=XL, scopes=("catalogs:read",),
        doc="Categories of the catalog.",
    ),
    Endpoint(
        "catalog_category_items", "/api/catalog-categories/{id}/relationships/items", "catalog-item", rate=XL,
        parent=Parent("catalog_categories", {"catalog_category_id": "id"}, absent_ok=True),
        scopes=("catalogs:read",),
        doc="Which items are in which category: their ids alone.",
    ),
    Endpoint(
        "coupons", "/api/coupons", "coupon", rate=L, scopes=("coupons:read",),
        doc="Coupons, one row each.",
    ),
    Endpoint(
        "coupon_codes", "/api/coupon-codes", "coupon-code", rate=XL, scopes=("coupon-codes:read", "coupons:read"),
        # A filter on a coupon or a profile is required.
        parent=Parent("coupons", {}, absent_ok=True, filter="coupon.id"),
        doc="Single codes of the coupons.",
    ),
    Endpoint(
        "images", "/api/images", "image", rate=M, cursor=Cursor("updated_at"), scopes=("images:read",),
        doc="Images in the account's library.",
    ),
    Endpoint(
        "universal_content", "/api/template-universal-content", "template-universal-content", rate=L,
        cursor=Cursor("updated"), scopes=("templates:read",),
        doc="Blocks and sections that are used in many templates.",
    ),
    Endpoint(
        "web_feeds", "/api/web-feeds", "web-feed", rate=XS, page_size=20, cursor=Cursor("updated"),
        scopes=("web-feeds:read",),
        doc="Web feeds that templates draw content from.",
    ),
    Endpoint(
        "webhooks", "/api/webhooks", "webhook", rate=XS, page_size=None, scopes=("webhooks:read",),
        doc="Webhooks that Klaviyo calls on events in the account.",
    ),
    Endpoint(
        "webhook_topics", "/api/webhook-topics", "webhook-topic", rate=XS, page_size=None,
        scopes=("webhooks:read",),
        doc="Topics that a webhook can be called for.",
    ),
    Endpoint(
        "tracking_settings", "/api/tracking-settings", "tracking-setting", rate=M, page_size=1,
        scopes=("tracking-settings:read",),
        doc="UTM parameters that the account adds to links.",
    ),
    Endpoint(
        "data_sources", "/api/data-sources", "data-source", rate=S, scopes=("custom-objects:read",),
        doc="Sources that custom objects are fed from.",
    ),
    Endpoint(
        "object_types", "/api/object-types", "object-type", rate=S, page_size=None,
        scopes=("custom-objects:read",),
        doc="Types of custom objects.",
    ),
    Endpoint(
        "object_records", "/api/object-types/{id}/object-records", "object-record", rate=S,
        parent=_OBJECT_TYPE, scopes=("custom-objects:read",),
        doc="Records of custom objects.",
    ),
    Endpoint(
        "object_schemas", "/api/object-types/{id}/schema-versions", "object-schema", rate=S, page_size=None,
        parent=_OBJECT_TYPE, scopes=("custom-objects:read",),
        doc="Versions of the schemas of custom objects.",
    ),
    Endpoint(
        "object_type_relations", "/api/object-types/{id}/relationships/object-types", "object-type", rate=S,
        page_size=None, parent=_OBJECT_TYPE,
        scopes=("custom-objects:read",),
        doc="Relations of types of custom objects to one another: their ids alone.",
    ),
    Endpoint(
        "object_type_profile_relations", "/api/object-types/{id}/relationships/profile-object-types",
        "profile-object-type", rate=S, page_size=None,
        parent=_OBJECT_TYPE, scopes=("custom-objects:read",),
        doc="Relations of types of custom objects to profiles: their ids alone.",
    ),
    Endpoint(
        "object_schema_relations", "/api/object-schemas/{id}/relationships/object-schemas", "object-schema", rate=S,
        page_size=None, parent=_OBJECT_SCHEMA,
        scopes=("custom-objects:read",),
        doc="Relations of schemas of custom objects to one another: their ids alone.",
    ),
    Endpoint(
        "object_schema_profile_relations", "/api/object-schemas/{id}/relationships/profile-object-schemas",
        "profile-object-schema", rate=S, page_size=None,
        parent=_OBJECT_SCHEMA,
        scopes=("custom-objects:read",),
        doc="Relations of schemas of custom objects to profiles: their ids alone.",
    ),
    Endpoint(
        "source_mappings", "/api/object-schemas/{id}/source-mapping", "source-mapping", rate=S, page_size=None,
        parent=_OBJECT_SCHEMA,
        scopes=("custom-objects:read",),
        doc="How the properties of custom objects are filled.",
    ),
    Endpoint(
        # Newest first, 50 a page, and Klaviyo keeps them for 14 days.
        "object_ingestion_logs", "/api/object-types/{id}/object-ingestion-logs", "object-ingestion-log", rate=XS,
        page_size=None, cursor=Cursor("timestamp", ascending=False),
        parent=Parent("object_types", {}, absent_ok=True), scopes=("custom-objects:read",),
        doc="Failures while custom objects were taken in.",
    ),
    Endpoint(
        "profile_bulk_import_jobs", "/api/profile-bulk-import-jobs", "profile-bulk-import-job", rate=M,
        scopes=("lists:read", "profiles:read"),
        doc="Jobs that imported profiles in bulk.",
    ),
    Endpoint(
        "profile_bulk_import_job_errors", "/api/profile-bulk-import-jobs/{id}/import-errors", "import-error", rate=M,
        parent=_IMPORT_JOB,
        scopes=("profiles:read",),
        doc="Errors of the jobs that imported profiles in bulk.",
    ),
    Endpoint(
        "profile_bulk_import_job_lists", "/api/profile-bulk-import-jobs/{id}/relationships/lists", "list", rate=M,
        page_size=None, parent=_IMPORT_JOB,
        scopes=("lists:read",),
        doc="Lists that the jobs added profiles to: their ids alone.",
    ),
    Endpoint(
        "profile_bulk_import_job_profiles", "/api/profile-bulk-import-jobs/{id}/relationships/profiles", "profile",
        rate=M, parent=_IMPORT_JOB,
        scopes=("profiles:read",),
        doc="Profiles that the jobs imported: their ids alone.",
    ),
    Endpoint(
        "profile_suppression_bulk_create_jobs", "/api/profile-suppression-bulk-create-jobs",
        "profile-suppression-bulk-create-job", rate=L, page_size=None, scopes=("subscriptions:read",),
        doc="Jobs that suppressed profiles in bulk.",
    ),
    Endpoint(
        "profile_suppression_bulk_delete_jobs", "/api/profile-suppression-bulk-delete-jobs",
        "profile-suppression-bulk-delete-job", rate=L, page_size=None, scopes=("subscriptions:read",),
        doc="Jobs that unsuppressed profiles in bulk.",
    ),
    Endpoint(
        "coupon_code_bulk_create_jobs", "/api/coupon-code-bulk-create-jobs", "coupon-code-bulk-create-job", rate=L,
        page_size=None, scopes=("coupon-codes:read",),
        doc="Jobs that created coupon codes in bulk.",
    ),
    Endpoint(
        "catalog_item_bulk_create_jobs", "/api/catalog-item-bulk-create-jobs",
        "catalog-item-bulk-create-job", rate=L, page_size=None, scopes=("catalogs:read",),
        doc="Jobs that created catalog items in bulk.",
    ),
    Endpoint(
        "catalog_item_bulk_update_jobs", "/api/catalog-item-bulk-update-jobs",
        "catalog-item-bulk-update-job", rate=L, page_size=None, scopes=("catalogs:read",),
        doc="Jobs that updated catalog items in bulk.",
    ),
    Endpoint(
        "catalog_item_bulk_delete_jobs", "/api/catalog-item-bulk-delete-jobs",
        "catalog-item-bulk-delete-job", rate=XL, page_size=None, scopes=("catalogs:read",),
        doc="Jobs that deleted catalog items in bulk.",
    ),
    Endpoint(
        "catalog_variant_bulk_create_jobs", "/api/catalog-variant-bulk-create-jobs",
        "catalog-variant-bulk-create-job", rate=L, page_size=None, scopes=("catalogs:read",),
        doc="Jobs that created catalog variants in bulk.",
    ),
    Endpoint(
        "catalog_variant_bulk_update_jobs", "/api/catalog-variant-bulk-update-jobs",
        "catalog-variant-bulk-update-job", rate=L, page_size=None, scopes=("catalogs:read",),
        doc="Jobs that updated catalog variants in bulk.",
    ),
    Endpoint(
        "catalog_variant_bulk_delete_jobs", "/api/catalog-variant-bulk-delete-jobs",
        "catalog-variant-bulk-delete-job", rate=XL, page_size=None, scopes=("catalogs:read",),
        doc="Jobs that deleted catalog variants in bulk.",
    ),
    Endpoint(
        "catalog_category_bulk_create_jobs", "/api/catalog-category-bulk-create-jobs",
        "catalog-category-bulk-create-job", rate=XL, page_size=None, scopes=("catalogs:read",),
        doc="Jobs that created catalog categories in bulk.",
    ),
    Endpoint(
        "catalog_category_bulk_update_jobs", "/api/catalog-category-bulk-update-jobs",
        "catalog-category-bulk-update-job", rate=XL, page_size=None, scopes=("catalogs:read",),
        doc="Jobs that updated catalog categories in bulk.",
    ),
    Endpoint(
        "catalog_category_bulk_delete_jobs", "/api/catalog-category-bulk-delete-jobs",
        "catalog-category-bulk-delete-job", rate=XL, page_size=None, scopes=("catalogs:read",),
        doc="Jobs that deleted catalog categories in bulk.",
    ),
    Endpoint(
        "translations", "/api/translations", "translation", rate=M, scopes=("translations:read",), since="2026-10-15",
        doc="Translations of messages, templates and blocks.",
    ),
    Endpoint(
        "text_messaging_senders", "/api/text-messaging-senders", "text-messaging-sender", rate=S, page_size=20,
        scopes=("sender-config:read",), since="2026-10-15",
        doc="Numbers and names that text messages are sent from.",
    ),
    Endpoint(
        "text_messaging_configurations", "/api/text-messaging-configurations/{id}", "text-messaging-configuration",
        rate=S, page_size=None, scopes=("sender-config:read",), since="2026-10-15",
        # Its id is the account's, and an account that sends no text messages has none.
        parent=Parent("accounts", {}, absent_ok=True),
        doc="How the account sends text messages.",
    ),
    Endpoint(
        "billing_usage", "/api/billing-usage", "billing-usage", rate=M, page_size=None, scopes=("usage:read",),
        since="2026-10-15",
        doc="What the plan allows and how much of it is used.",
    ),
    Endpoint(
        "brand_buttons", "/api/brand-buttons", "brand-button", rate=M, page_size=None, scopes=("brands:read",),
        since="2026-10-15",
        doc="Buttons of the brand library.",
    ),
    Endpoint(
        "brand_colors", "/api/brand-colors", "brand-color", rate=M, page_size=None, scopes=("brands:read",),
        since="2026-10-15",
        doc="Palettes of the brand library.",
    ),
    Endpoint(
        "brand_email_defaults", "/api/brand-email-defaults", "brand-email-default", rate=M, page_size=None,
        scopes=("brands:read",), since="2026-10-15",
        doc="What emails look like by default.",
    ),
    Endpoint(
        "brand_logos", "/api/brand-logos", "brand-logo", rate=M, page_size=None, scopes=("brands:read",),
        since="2026-10-15",
        doc="Logos of the brand library.",
    ),
    Endpoint(
        "brand_social_groups", "/api/brand-social-groups", "brand-social-group", rate=M, page_size=None,
        scopes=("brands:read",), since="2026-10-15",
        doc="Groups of social links in the brand library.",
    ),
    Endpoint(
        "brand_voices", "/api/brand-voice/{id}", "brand-voice", rate=M, page_size=None, scopes=("brands:read",),
        since="2026-10-15",
        # Its id is the account's.
        parent=Parent("accounts", {}, absent_ok=True),
        doc="How the brand speaks.",
    ),
    # --- numbers
    Endpoint(
        "campaign_values", "/api/campaign-values-reports", "campaign-values-report", rate=REPORTING, page_size=None,
        cursor=TIMEFRAME, scopes=("campaigns:read",),
        analytics=Analytics(
            Grammar.REPORT, VALUES, "month", series=False, groups=("campaign_id", "campaign_message_id", "send_channel"),
            default_metric="Placed Order", lookback_days=ATTRIBUTION_DAYS,
        ),
        doc="What campaigns achieved, by the time they were sent.",
    ),
    Endpoint(
        "flow_values", "/api/flow-values-reports", "flow-values-report", rate=REPORTING, page_size=None,
        cursor=TIMEFRAME, scopes=("flows:read",),
        analytics=Analytics(
            Grammar.REPORT, VALUES, "month", series=False, groups=("flow_id", "flow_message_id", "send_channel"),
            default_metric="Placed Order", lookback_days=ATTRIBUTION_DAYS,
        ),
        doc="What the messages of flows achieved.",
    ),
    Endpoint(
        "flow_series", "/api/flow-series-reports", "flow-series-report", rate=REPORTING, page_size=None,
        cursor=TIMEFRAME, scopes=("flows:read",),
        analytics=Analytics(
            Grammar.REPORT, SERIES, "day", series=True, groups=("flow_id", "flow_message_id", "send_channel"),
            default_metric="Placed Order", lookback_days=ATTRIBUTION_DAYS,
        ),
        doc="What the messages of flows achieved, day by day.",
    ),
    Endpoint(
        "form_values", "/api/form-values-reports", "form-values-report", rate=REPORTING, page_size=None,
        cursor=TIMEFRAME, scopes=("forms:read",),
        analytics=Analytics(
            Grammar.REPORT, VALUES, "month", series=False, groups=("form_id",),
            together={"form_version_id": ("form_id",)},
        ),
        doc="How often sign-up forms were seen and sent.",
    ),
    Endpoint(
        "form_series", "/api/form-series-reports", "form-series-report", rate=REPORTING, page_size=None,
        cursor=TIMEFRAME, scopes=("forms:read",),
        analytics=Analytics(
            Grammar.REPORT, SERIES, "day", series=True, groups=("form_id",),
            together={"form_version_id": ("form_id",)},
        ),
        doc="How often sign-up forms were seen and sent, day by day.",
    ),
    Endpoint(
        "segment_values", "/api/segment-values-reports", "segment-values-report", rate=REPORTING, page_size=None,
        cursor=TIMEFRAME, scopes=("segments:read",),
        analytics=Analytics(Grammar.REPORT, VALUES, "month", series=False, since=SEGMENTS_SINCE),
        doc="How segments grew and shrank.",
    ),
    Endpoint(
        "segment_series", "/api/segment-series-reports", "segment-series-report", rate=REPORTING, page_size=None,
        cursor=TIMEFRAME, scopes=("segments:read",),
        analytics=Analytics(Grammar.REPORT, SERIES, "day", series=True, since=SEGMENTS_SINCE),
        doc="How segments grew and shrank, day by day.",
    ),
    Endpoint(
        "metric_aggregates", "/api/metric-aggregates", "metric-aggregate", rate=S, page_size=None,
        cursor=Cursor("datetime", ascending=False), scopes=("metrics:read",),
        analytics=Analytics(
            Grammar.AGGREGATE, AGGREGATES, "day", series=True, default_metric="*",
        ),
        doc="Klaviyo's own count of the events of each metric.",
    ),
)  # fmt: skip


@cache
def endpoints(revision: str) -> Mapping[str, Endpoint]:
    """Name -> row, of the endpoints that a revision has."""
    return rows_of(revision, _TABLE)
