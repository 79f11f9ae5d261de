"""Writes the pages of the documentation that repeat what the code declares: `make generate`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

from sources.klaviyo.catalog.model import Rate
from sources.klaviyo.catalog.report import Report
from sources.klaviyo.catalog.reports import REPORT_SPANS, described
from sources.klaviyo.catalog.reports import reports as predefined
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION, REVISIONS
from sources.klaviyo.cli.options import COMMANDS, configure
from sources.klaviyo.config.settings import (
    ACCOUNT_SETTINGS,
    ANALYTICS_SETTINGS,
    CUSTOM_SETTINGS,
    METRIC_SETTINGS,
    REPORT_SETTINGS,
    Period,
    Setting,
)
from sources.klaviyo.windows import SplitBy

DOCS = Path(__file__).resolve().parents[1] / "docs"
HEADER = "<!-- Written by tools/docs.py (make generate). Change the code, not this file. -->\n"
#: Around a generated part of a page that is otherwise written by hand.
BEGIN = "<!-- Written by tools/docs.py (make generate): begin -->\n"
END = "<!-- Written by tools/docs.py (make generate): end -->\n"


@dataclass(frozen=True, slots=True)
class Topic:
    """One page of reports.

    Attributes:
        page: name of the file in `docs/reports/`, without its ending.
        reports: in the order of the page. A report is on one page only.
    """

    page: str
    title: str
    reports: tuple[str, ...]


TOPICS = (
    Topic(
        "profiles-and-consent",
        "Profiles and consent",
        ("profiles", "subscriptions", "suppressions", "list_suppressions", "push_tokens", "conversations"),
    ),
    Topic(
        "events-and-metrics",
        "Events and metrics",
        ("events", "metrics", "custom_metrics", "mapped_metrics", "metric_properties"),
    ),
    Topic(
        "campaigns",
        "Campaigns",
        (
            "campaigns",
            "campaign_messages",
            "campaign_variations",
            "campaign_audiences",
            "campaign_recipient_estimations",
        ),
    ),
    Topic("flows", "Flows", ("flows", "flow_actions", "flow_messages", "flow_definitions")),
    Topic(
        "lists-and-segments",
        "Lists, segments and tags",
        (
            "lists",
            "list_profiles",
            "list_profile_counts",
            "segments",
            "segment_profiles",
            "profile_segments",
            "segment_profile_counts",
            "tags",
            "tag_groups",
        ),
    ),
    Topic(
        "templates-and-content",
        "Templates and content",
        (
            "templates",
            "universal_content",
            "images",
            "web_feeds",
            "translations",
            "brand_buttons",
            "brand_colors",
            "brand_email_defaults",
            "brand_logos",
            "brand_social_groups",
            "brand_voices",
        ),
    ),
    Topic(
        "catalog-and-coupons",
        "Catalog and coupons",
        (
            "catalog_items",
            "catalog_variants",
            "catalog_categories",
            "catalog_category_items",
            "coupons",
            "coupon_codes",
        ),
    ),
    Topic("forms-and-reviews", "Forms and reviews", ("forms", "form_definitions", "form_versions", "reviews")),
    Topic(
        "custom-objects",
        "Custom objects",
        (
            "data_sources",
            "object_types",
            "object_records",
            "object_schemas",
            "object_type_relations",
            "object_type_profile_relations",
            "object_schema_relations",
            "object_schema_profile_relations",
            "source_mappings",
            "object_ingestion_logs",
        ),
    ),
    Topic(
        "bulk-jobs",
        "Bulk jobs",
        (
            "profile_bulk_import_jobs",
            "profile_bulk_import_job_errors",
            "profile_bulk_import_job_lists",
            "profile_bulk_import_job_profiles",
            "profile_suppression_bulk_create_jobs",
            "profile_suppression_bulk_delete_jobs",
            "coupon_code_bulk_create_jobs",
            "catalog_item_bulk_create_jobs",
            "catalog_item_bulk_update_jobs",
            "catalog_item_bulk_delete_jobs",
            "catalog_variant_bulk_create_jobs",
            "catalog_variant_bulk_update_jobs",
            "catalog_variant_bulk_delete_jobs",
            "catalog_category_bulk_create_jobs",
            "catalog_category_bulk_update_jobs",
            "catalog_category_bulk_delete_jobs",
        ),
    ),
    Topic(
        "account-and-settings",
        "Account and settings",
        (
            "accounts",
            "tracking_settings",
            "webhooks",
            "webhook_topics",
            "text_messaging_senders",
            "text_messaging_sender_registrations",
            "text_messaging_configurations",
            "billing_usage",
        ),
    ),
    Topic(
        "analytics",
        "Analytics reports",
        (
            "campaign_values",
            "flow_values",
            "flow_series",
            "form_values",
            "form_series",
            "segment_values",
            "segment_series",
            "metric_aggregates",
        ),
    ),
)


def link(report: str) -> str:
    """Where a report is described, from `docs/reports/`."""
    (page,) = (topic.page for topic in TOPICS if report in topic.reports)
    return f"{page}.md#{report}"


def configuration() -> str:
    """docs/configuration.md: every setting, its default, what is allowed."""
    lines = [
        HEADER,
        "# Configuration",
        "",
        "A setting can be given in several places. The first place of this list that has it wins:",
        "",
        "1. a flag of the command line: `--start-date`",
        "2. an argument of `klaviyo()`: `start_date=`",
        "3. the environment: `SOURCES__KLAVIYO__START_DATE`",
        "4. `.dlt/secrets.toml`, under `[sources.klaviyo]`",
        "5. `.dlt/config.toml`, under `[sources.klaviyo]`",
        "",
        "A setting of one pipeline stands under the pipeline's name: `[klaviyo_acme.sources.klaviyo]`. It goes before the",
        "same setting without a name. An unknown setting is an error, and the message names what is allowed.",
        "",
        "dlt's own settings of a source (`data_writer`, `extract`, `normalize`, `load`, `schema`, `schema_contract`) may",
        "stand beside these; dlt reads them.",
        "",
        "## The account",
        "",
        *_settings_table(ACCOUNT_SETTINGS.values()),
        "",
        "## Every report, or one",
        "",
        "Under `[sources.klaviyo]` a setting counts for all reports, under `[sources.klaviyo.<report>]` for one:",
        "",
        "    [sources.klaviyo]",
        '    start_date = "2026-01-01"',
        "",
        "    [sources.klaviyo.events]",
        "    lookback_days = 3",
        "",
        *_settings_table(REPORT_SETTINGS.values()),
        "",
        "- Dates are UTC. An `end_date` without a time includes that day. An `end_date` with a time is exclusive: the",
        "  period ends just before it.",
        f"- Periods: {', '.join(f'`{name}`' for name in get_args(Period))}. Weeks begin on Monday.",
        f"- Splits: {', '.join(f'`{name}`' for name in get_args(SplitBy))}.",
        "- A report that is read whole has no period: start, end, lookback and split have no effect on it.",
        "",
        "## Events of some metrics",
        "",
        "Under `[sources.klaviyo.events]`:",
        "",
        "    [sources.klaviyo.events]",
        '    metrics = ["Placed Order", "Opened*"]',
        "    split_tables = true",
        "",
        *_settings_table(METRIC_SETTINGS.values()),
        "",
        "Each metric has a line of its own in the summary of a run and a coverage of its own in the state: see",
        "[how it works](how-it-works.md#events-of-some-metrics).",
        "",
        "## Switches of single reports",
        "",
        "| report | switch | what it does |",
        "|---|---|---|",
    ]
    for report in map(described, REPORT_SPANS):
        lines += [
            f"| {_linked(report.name, 'reports/')} | `{name}` | {_switch(report, name)} |"
            for name in report.optional_fields
        ]
    lines += [
        "",
        "## Analytics reports",
        "",
        "Under `[sources.klaviyo.<report>]`. A wrong value is refused before any request, and the message names what is",
        "allowed:",
        "",
        "    [sources.klaviyo.campaign_values]",
        '    interval = "week"',
        '    conversion_metric = "Placed Order"',
        '    statistics = ["recipients", "open_rate", "click_rate", "conversion_value"]',
        "",
        "    [sources.klaviyo.metric_aggregates]",
        '    metrics = ["Placed Order", "Opened *"]',
        '    by = ["$attributed_message"]',
        "",
        "| setting | allowed | what it does |",
        "|---|---|---|",
        *(f"| `{one.name}` | {one.allowed} | {one.doc} |" for one in ANALYTICS_SETTINGS.values()),
        "",
        "| report | settings | `interval` | `lookback_days` | default metric |",
        "|---|---|---|---|---|",
    ]
    for report in map(described, REPORT_SPANS):
        if analytics := report.endpoint.analytics:
            intervals = ", ".join(
                f"`{kind}`" + " (default)" * (kind == analytics.default_interval) for kind in analytics.intervals
            )
            metric = f"`{analytics.metric_setting} = {analytics.default_metric}`" if analytics.default_metric else ""
            lines.append(
                f"| {_linked(report.name, 'reports/')} | {', '.join(f'`{name}`' for name in analytics.settings)} "
                f"| {intervals} | {analytics.lookback_days:g} | {metric} |"
            )
    lines += ["", "Settings of custom reports: see [custom reports](custom-reports.md#settings)."]
    return "\n".join(lines) + "\n"


def commands() -> str:
    """docs/commands.md: every command with its options."""
    lines = [
        HEADER,
        "# Commands",
        "",
        "`dlt pipeline klaviyo COMMAND` runs a command for the pipeline `klaviyo`. The name of a pipeline begins with",
        "`klaviyo`: `klaviyo_acme` is another pipeline, for another account. In a clone,",
        "`python pipelines/klaviyo_pipeline.py COMMAND` runs the same commands; there `--pipeline NAME` names the pipeline.",
        "",
        "| command | what it does |",
        "|---|---|",
        *(f"| [`{name}`](#{name}) | {text}. |" for name, text in COMMANDS.items()),
        "",
        "| exit code | meaning |",
        "|---|---|",
        "| 0 | everything that was asked for is done |",
        "| 1 | a report or the destination failed; reports that did not fail are loaded |",
        "| 2 | a setting or an option is wrong |",
        "| 3 | another run works with the pipeline, or took it over; the message names it |",
        "| 130, 143 | stopped by SIGINT (Ctrl-C) or SIGTERM, after the load package in hand |",
        "",
        "A second Ctrl-C stops at once. The next run loads what such a stop leaves behind.",
    ]
    for name, text in COMMANDS.items():
        parser = argparse.ArgumentParser(add_help=False)
        configure(name, parser)
        lines += [
            "",
            f"## {name}",
            "",
            f"{text}: `dlt pipeline klaviyo {name} [REPORT ...] [options]`",
            "",
            "| argument | what it does |",
            "|---|---|",
        ]
        for action in parser._actions:
            metavar = str(action.metavar or "").replace("|", "\\|")
            options = [f"`{option} {metavar}".rstrip() + "`" for option in action.option_strings] or [f"`{metavar}`"]
            lines.append(f"| {', '.join(options)} | {action.help} |")
    return "\n".join(lines) + "\n"


def index() -> str:
    """docs/reports/README.md: one table of all reports, and what all tables have in common."""
    lines = [
        HEADER,
        "# Reports",
        "",
        "A report is a table that a run can fill. The pages by topic list its columns, endpoint, key scopes and settings:",
        "",
        *(f"- [{topic.title}]({topic.page}.md)" for topic in TOPICS),
        "",
        "## Which reports a run loads",
        "",
        "Without the setting `reports` a run loads the reports that are on by default. The others are off by default because",
        "they cost a request for each metric, form or action, or because many accounts have no such records. Name them",
        '(`reports = ["events", "coupons"]`, `run coupons`), or take all (`reports = ["all"]`, `run all`). `plan` shows how',
        "many requests that costs.",
        "",
        "## Revisions of the API",
        "",
        "Klaviyo serves each revision of its API for two years. The setting `revision` chooses one:",
        "",
        *(
            f"- `{revision}`, served until {end}{' (the default)' * (revision == DEFAULT_REVISION)}"
            for revision, end in REVISIONS.items()
        ),
        "",
        "The tables keep their columns from one revision to the next, and an account may change the revision between runs.",
        "The description of a column says where a revision has no value for it. The description of a report says which",
        "revisions have it.",
        "",
        "## All reports",
        "",
        "How to read the column *read*:",
        "",
        "- **incremental** by a date field: a run reads the missing part of the period and the lookback, and merges the rows.",
        "- **whole, replaced**: every run reads everything and replaces the table in one transaction.",
        "- **whole, kept as history**: every run reads everything and compares it with the last snapshot (dlt's `scd2`).",
        "- **one request or more for each of** a parent: the cost grows with the number of parents.",
        "",
        "| report | rows | read | by default | topic |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {_linked(name)} | {_about(report)} | {_how(report)} | {'yes' if report.on_by_default else 'no'} "
        f"| [{topic.title}]({topic.page}.md) |"
        for topic in TOPICS
        for name in topic.reports
        for report in [described(name)]
    ]
    lines += [
        "",
        "## What all tables have in common",
        "",
        "- `_extra`: the values of a record that no column holds, or whose type is not the column's, as path -> value. Null",
        "  where everything fits.",
        "- `_dlt_load_id`: the load that brought the row.",
        "- Tables of memberships keep history. `_dlt_valid_from` and `_dlt_valid_to` say from when to when the row was seen.",
        "  A row with `_dlt_valid_to is null` is a member now.",
        "- `_deleted`: in tables whose rows lie inside a profile, and in analytics reports. It tells the destination which",
        "  rows are gone; in the table it is always null.",
    ]
    return "\n".join(lines) + "\n"


def topic_page(topic: Topic) -> str:
    """docs/reports/<topic>.md: each report with endpoint, scopes, settings and columns."""
    lines = [HEADER, f"# {topic.title}", "", "[All reports](README.md)", ""]
    lines += [f"- [`{name}`](#{name})" for name in topic.reports]
    for report in map(described, topic.reports):
        lines += [
            "",
            f"## {report.name}",
            "",
            report.contract.description,
            "",
            *_requests(report),
            f"- By default: {'on' if report.on_by_default else 'off'}{_only(report)}",
            f"- Key scopes: {', '.join(f'`{scope}`' for scope in report.scopes)}",
            f"- Settings: {_own_settings(report)}",
            "",
            "| column | type | description |",
            "|---|---|---|",
        ]
        lines += [
            f"| `{column.name}` | {column.data_type}{' (key)' if column.primary_key else ''} | {column.description} |"
            for column in report.contract.columns
        ]
    return "\n".join(lines) + "\n"


def custom_reports() -> str:
    """docs/custom-reports.md, with its table of settings written anew."""
    page = (DOCS / "custom-reports.md").read_text(encoding="utf-8")
    lines = ["| setting | allowed | what it does |", "|---|---|---|"]
    lines += [f"| `{one.name}` | {one.allowed} | {one.doc} |" for one in CUSTOM_SETTINGS.values()]
    table = BEGIN + "\n" + "\n".join(lines) + "\n\n" + END
    return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: table, page, flags=re.DOTALL)


def _settings_table(settings: Iterable[Setting]) -> list[str]:
    lines = ["| setting | default | allowed | what it does |", "|---|---|---|---|"]
    for one in settings:
        default = one.default
        shown = "" if default in (None, ()) else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        lines.append(f"| `{one.name}` | {shown} | {one.allowed} | {one.doc} |")
    return lines


def _linked(report: str, folder: str = "") -> str:
    return f"[`{report}`]({folder}{link(report)})"


def _about(report: Report) -> str:
    """What the rows are, and which revisions have them."""
    span = REPORT_SPANS[report.name]
    return report.contract.description + (f" {span.capitalize()}." if span else "")


def _requests(report: Report) -> list[str]:
    """Endpoint, rate limit and way to read; a line for each revision where they differ."""
    told: dict[str, list[str]] = {}
    for revision in REVISIONS:
        if made := predefined(revision).get(report.name):
            method = "POST" if made.endpoint.analytics else "GET"
            text = f"`{method} {made.endpoint.path}`, {_limits(made.rate)}; {_how(made)}"
            if made.lookup:
                text += f" (`GET {made.lookup.endpoint.path}`, {_limits(made.lookup.endpoint.rate)})"
            told.setdefault(text, []).append(revision)
    if len(told) == 1:
        return [f"- Endpoint: {text}" for text in told]
    return [f"- Endpoint in {' and '.join(having)}: {text}" for text, having in told.items()]


def _only(report: Report) -> str:
    """Under which revisions a report exists, where not under all."""
    span = REPORT_SPANS[report.name].replace(" ", " revision ")
    return f" ({span} of the API)" if span else ""


def _limits(rate: Rate) -> str:
    daily = f", {rate.daily} a day" if rate.daily else ""
    return f"{rate.burst} {'request' if rate.burst == 1 else 'requests'} a second and {rate.steady} a minute{daily}"


def _how(report: Report) -> str:
    endpoint = report.dated_endpoint
    own = report.endpoint
    asked = [*report.lineage, *([report.lookup.endpoint] if report.lookup else ())]
    parents = " and ".join(f"`{below.parent.records}`" for below in asked if below.parent)
    per_parent = f", one request or more for each of {parents}" if parents else ""
    if report.history:
        return f"whole, kept as history{per_parent}"
    if not report.is_windowed or endpoint.cursor is None:
        return f"whole, replaced{per_parent}"
    if analytics := own.analytics:
        intervals = ", ".join(analytics.intervals)
        each = "one request for many intervals" if analytics.series else "one request for each interval"
        return f"incremental by whole intervals ({intervals}; {analytics.default_interval} by default), {each}"
    owner = "" if endpoint is own and report.rows is None else f" of its {endpoint.type}"
    start = ", from the beginning of the account on a first run" if endpoint.cursor.from_start else ""
    return f"incremental by `{endpoint.cursor.field}`{owner}{start}{per_parent}"


def _own_settings(report: Report) -> str:
    """The settings that a report has beside those of every report."""
    configuration_page = "../configuration.md"
    found = [f"those of [every report]({configuration_page}#every-report-or-one)"]
    if report.by_metric:
        names = " and ".join(f"`{name}`" for name in METRIC_SETTINGS)
        found.append(f"{names} ([events of some metrics]({configuration_page}#events-of-some-metrics))")
    found += [f"`{name}`, which {_switch(report, name)}" for name in report.optional_fields]
    if analytics := report.endpoint.analytics:
        names = ", ".join(f"`{name}`" for name in analytics.settings)
        found.append(f"{names} ([analytics reports]({configuration_page}#analytics-reports))")
        found.append(f"`lookback_days` is {analytics.lookback_days:g} by default")
    elif not report.is_windowed:
        found.append("the report is read whole, so those of the period have no effect")
    return "; ".join(found)


def _switch(report: Report, name: str) -> str:
    """What a switch of a report does."""
    rate = report.endpoint.rate_overrides.get(name)
    return "asks Klaviyo for this field" + (f" and lowers the rate limit to {_limits(rate)}" if rate else "")


#: Path in docs/ -> what it should hold.
PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": configuration,
    "commands.md": commands,
    "custom-reports.md": custom_reports,
    "reports/README.md": index,
    **{f"reports/{topic.page}.md": partial(topic_page, topic) for topic in TOPICS},
}


def main() -> None:
    """Write every generated page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
