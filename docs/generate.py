"""Writes the parts of the documentation that repeat what the code declares: `make generate`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from sources.klaviyo.catalog.model import Rate  # noqa: E402
from sources.klaviyo.catalog.report import Report  # noqa: E402
from sources.klaviyo.catalog.reports import REPORT_SPANS, described  # noqa: E402
from sources.klaviyo.catalog.reports import reports as predefined  # noqa: E402
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION, REVISIONS  # noqa: E402
from sources.klaviyo.config.settings import (  # noqa: E402
    ACCOUNT_SETTINGS,
    ANALYTICS_SETTINGS,
    METRIC_SETTINGS,
    REPORT_SETTINGS,
    Period,
    Setting,
)
from sources.klaviyo.windows import SplitBy  # noqa: E402

HEADER = "<!-- Written by docs/generate.py (make generate). Change the code, not this file. -->\n"


def configuration() -> str:
    """docs/configuration.md: every setting, its default, what is allowed."""
    lines = [
        HEADER,
        "# Configuration",
        "",
        "Every setting can be given, strongest first, as a flag (`--start-date`), as an argument of `klaviyo()`, in the",
        "environment (`SOURCES__KLAVIYO__START_DATE`), in `.dlt/secrets.toml` or in `.dlt/config.toml` under",
        "`[sources.klaviyo]`. Settings of one pipeline stand under its name (`[klaviyo_acme.sources.klaviyo]`) and beat",
        "those without one. An unknown setting is an error, not a surprise.",
        "",
        "## The account",
        "",
        "| setting | default | allowed | |",
        "|---|---|---|---|",
    ]
    lines += [_setting(one) for one in ACCOUNT_SETTINGS.values()]
    lines += [
        "",
        "## Every report, or one",
        "",
        "Under `[sources.klaviyo]` these count for all reports, under `[sources.klaviyo.<report>]` for one:",
        "",
        "    [sources.klaviyo]",
        '    start_date = "2026-01-01"',
        "",
        "    [sources.klaviyo.events]",
        "    lookback_days = 3",
        "",
        "| setting | default | allowed | |",
        "|---|---|---|---|",
    ]
    lines += [_setting(one) for one in REPORT_SETTINGS.values()]
    lines += [
        "",
        "Dates are UTC. A date without a time as `end_date` includes that day; a time is the first moment left out.",
        f"Periods: {', '.join(f'`{name}`' for name in get_args(Period))}; weeks begin on Monday.",
        f"Splits: {', '.join(f'`{name}`' for name in get_args(SplitBy))}.",
        "",
        "## Events of some metrics",
        "",
        "Under `[sources.klaviyo.events]`:",
        "",
        "    [sources.klaviyo.events]",
        '    metrics = ["Placed Order", "Opened*"]',
        "    split_tables = true",
        "",
        "| setting | default | allowed | |",
        "|---|---|---|---|",
        *(_setting(one) for one in METRIC_SETTINGS.values()),
        "",
        "Each metric is a line of its own in what a run reports, and remembers for itself what is loaded: see",
        "[how it works](how-it-works.md#events-of-some-metrics).",
        "",
        "## Switches of single reports",
        "",
        "| report | switch | |",
        "|---|---|---|",
    ]
    for report in map(described, REPORT_SPANS):
        for option in report.optional_fields:
            rate = report.endpoint.rate_overrides.get(option)
            cost = f"lowers its rate to {rate.burst} requests a second and {rate.steady} a minute" if rate else ""
            lines.append(f"| `{report.name}` | `{option}` | asks Klaviyo for it; {cost} |")
    lines += [
        "",
        "## Reports that count",
        "",
        "Under `[sources.klaviyo.<report>]`; wrong values are refused before any request, with what is allowed:",
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
        "| setting | allowed | |",
        "|---|---|---|",
        *(f"| `{one.name}` | {one.allowed} | {one.doc} |" for one in ANALYTICS_SETTINGS.values()),
        "",
        "| report | settings | `interval` | `lookback_days` | conversion metric, or metrics |",
        "|---|---|---|---|---|",
    ]
    for report in map(described, REPORT_SPANS):
        if analytics := report.endpoint.analytics:
            kinds = ", ".join(
                f"`{kind}`" + " (default)" * (kind == analytics.default_interval) for kind in analytics.intervals
            )
            lines.append(
                f"| [`{report.name}`](reports.md#{report.name}) | {', '.join(f'`{name}`' for name in analytics.settings)} "
                f"| {kinds} | {analytics.lookback_days:g} | {f'`{analytics.default_metric}`' if analytics.default_metric else ''} |"
            )
    return "\n".join(lines) + "\n"


def reports() -> str:
    """docs/reports.md: every report, how it is read, and its columns."""
    everything = [described(name) for name in REPORT_SPANS]
    lines = [
        HEADER,
        "# Reports",
        "",
        f"Klaviyo's API has revisions, and serves each for two years. `revision` chooses one: {_revisions()}. Tables keep",
        "their columns from one to the next, and an account may go from one to the other; a column says where a revision",
        "has no value for it, and a report where a revision does not have it.",
        "",
        "## Loaded by default",
        "",
        *_overview(report for report in everything if report.on_by_default),
        "",
        "## Loaded where they are named",
        "",
        "Off by default: what takes a request for each metric, form or action is not what one expects of a run every",
        'hour, and many accounts have none of the rest. Name them (`reports = ["events", "coupons"]`, `run coupons`), or',
        'take all there are (`reports = ["all"]`, `run all`); `plan` says what that costs.',
        "",
        *_overview(report for report in everything if not report.on_by_default),
        "",
        "## What all tables have in common",
        "",
        "Every table has a column `_extra`: values that no column holds or whose type is not the column's, path to",
        "value; null where everything fits. `_dlt_load_id` names the load that brought the row. Tables of",
        "memberships keep history: `_dlt_valid_from` and `_dlt_valid_to` say from when to when the row was seen, and",
        "who is a member now is `_dlt_valid_to is null`. Tables of what lies inside a profile have `_deleted`, by which the",
        "destination is told what is gone; it is null.",
    ]
    for report in everything:
        contract = report.contract
        lines += [
            "",
            f"## {report.name}",
            "",
            contract.description,
            "",
            *_requests(report),
            f"{'On' if report.on_by_default else 'Off'} by default{_only(report)}.",
            "",
            "| column | type | |",
            "|---|---|---|",
        ]
        lines += [
            f"| `{column.name}` | {column.data_type}{' (key)' if column.primary_key else ''} | {column.description} |"
            for column in contract.columns
        ]
    return "\n".join(lines) + "\n"


def _revisions() -> str:
    default = " (the default)"
    return " or ".join(
        f"`{revision}`{default * (revision == DEFAULT_REVISION)}, served until {end}"
        for revision, end in REVISIONS.items()
    )


def _overview(listed: Iterable[Report]) -> list[str]:
    lines = ["| report | read | key scopes | rows |", "|---|---|---|---|"]
    for report in listed:
        contract = report.contract
        scopes = ", ".join(f"`{scope}`" for scope in report.scopes)
        rows = contract.description + (
            f" {REPORT_SPANS[report.name].capitalize()}." if REPORT_SPANS[report.name] else ""
        )
        lines.append(f"| [`{report.name}`](#{report.name}) | {_how(report)} | {scopes} | {rows} |")
    return lines


def _requests(report: Report) -> list[str]:
    """How a report is read; line by line where revisions of the API differ."""
    told: dict[str, list[str]] = {}
    for revision in REVISIONS:
        if made := predefined(revision).get(report.name):
            endpoint, rate = made.endpoint, made.rate
            method = "POST" if endpoint.analytics else "GET"
            told.setdefault(f"`{method} {endpoint.path}`, {_limits(rate)}, {_how(made)}.", []).append(revision)
    if len(told) == 1:
        return list(told)
    return [*(f"- {' and '.join(having)}: {text}" for text, having in told.items()), ""]


def _only(report: Report) -> str:
    """Under which revisions a report exists, where not under all."""
    span = REPORT_SPANS[report.name].replace(" ", " revision ")
    return f", {span} of the API" if span else ""


def _limits(rate: Rate) -> str:
    daily = f", {rate.daily} a day" if rate.daily else ""
    return f"{rate.burst} requests a second and {rate.steady} a minute{daily}"


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
        each = "one request for many" if analytics.series else "one request for each"
        return f"incremental by whole intervals ({intervals}; {analytics.default_interval} by default), {each}"
    owner = "" if endpoint is own and report.rows is None else f" of its {endpoint.type}"
    start = ", from the beginning on a first run" if endpoint.cursor.from_start else ""
    return f"incremental by `{endpoint.cursor.field}`{owner}{start}{per_parent}"


def _setting(one: Setting) -> str:
    default = one.default
    shown = "" if default in (None, ()) else f"`{str(default).lower() if isinstance(default, bool) else default}`"
    return f"| `{one.name}` | {shown} | {one.allowed} | {one.doc} |"


PAGES = {"configuration.md": configuration, "reports.md": reports}


def main() -> None:
    """Write every generated page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
