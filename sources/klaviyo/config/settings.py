"""Every setting, declared once: parser, flag and reference are made from these declarations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..catalog.model import AnalyticsQuery
from ..catalog.revisions import DEFAULT_REVISION, REVISIONS
from ..windows import SplitBy
from . import parse
from .parse import DEFAULT_BASE_URL, Parser

if TYPE_CHECKING:
    # Every dlt process makes the flags from these declarations: to load the tables of columns for that takes too long.
    from ..catalog.report import Report

Extract = Literal["incremental", "all"]
Period = Literal["yesterday", "week_to_date", "previous_week", "month_to_date", "previous_month", "year_to_date"]

#: Stands for every report, those that are off by default too.
ALL = "all"
#: The table of settings that holds the custom reports.
CUSTOM_REPORTS = "custom_reports"
#: Klaviyo shows what it was just sent with a small delay. A run never reads closer to now than this.
VISIBILITY_LAG = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: in files, in the environment, as an argument and, with hyphens, as a flag.
        allowed: what is allowed, in words.
        doc: what it does.
        default: its value where it is not set.
        parse: makes the value of what the user wrote; None where several settings are read together.
        metavar: how the flag's value is called in help; None where there is no such flag.
        switch: the flag takes no value.
    """

    name: str
    allowed: str
    doc: str
    default: Any = None
    parse: Parser | None = None
    metavar: str | None = None
    switch: bool = False

    @property
    def flag(self) -> str:
        """`--start-date`"""
        return "--" + self.name.replace("_", "-")

    @property
    def help(self) -> str:
        """What the flag's help says."""
        default = "" if self.default in (None, False, ()) else f" (default: {self.default})"
        choices = f" One of {self.allowed}." if self.metavar == "NAME" else ""
        return self.doc.replace("`", "") + choices + default


def _by_name(*settings: Setting) -> Mapping[str, Setting]:
    return {setting.name: setting for setting in settings}


_SECONDS = "a number of seconds above 0"
_SECONDS_OR_NONE = "a number of seconds, 0 or more"
_DAYS = "a number of days, 0 or more"
_A_DATE = "a date or a time"
_SWITCH = "true, false"

#: Settings of the account and of the run as a whole.
ACCOUNT_SETTINGS = _by_name(
    Setting("api_key", "a private key, `pk_…`", "Private API key of the account. Give this or `access_token`."),
    Setting("access_token", "an OAuth access token", "OAuth access token, instead of `api_key`."),
    Setting(
        "base_url",
        "an http(s) URL",
        "Where the API is; for the sandbox or a proxy.",
        DEFAULT_BASE_URL,
        parse.base_url,
    ),
    Setting(
        "allow_http",
        _SWITCH,
        "Send the key without encryption to an `http://` address that is not on this machine.",
        False,
        parse.flag,
    ),
    Setting("revision", ", ".join(REVISIONS), "Revision of Klaviyo's API.", DEFAULT_REVISION, parse.choice(*REVISIONS)),
    Setting(
        "reports",
        "names of reports, all",
        "What to load; if left out, the reports that are on by default. `all` is every report.",
    ),
    Setting(
        "request_timeout_s",
        _SECONDS,
        "How long to wait for one answer.",
        60.0,
        parse.seconds(_SECONDS, zero=False),
    ),
    Setting(
        "max_wait_s",
        _SECONDS_OR_NONE,
        "The longest wait that Klaviyo may ask for before the report ends as `resume later`.",
        300.0,
        parse.seconds(_SECONDS_OR_NONE, zero=True),
    ),
    Setting(
        "postgres_json",
        "jsonb, json",
        "Type of the JSON columns of tables that are made in Postgres. `json` keeps every byte, `jsonb` can be indexed.",
        "jsonb",
        parse.choice("jsonb", "json"),
    ),
    Setting(
        "private_files",
        _SWITCH,
        "Only the user who runs may read new files: the DuckDB file and dlt's working folder. For `run` and `sync`; "
        "files that exist keep their modes. No effect on Windows.",
        True,
        parse.flag,
    ),
)
#: Settings of every report, for all of them or for one.
REPORT_SETTINGS = _by_name(
    Setting(
        "extract",
        "incremental, all",
        "`incremental` reads a period; `all` reads everything and replaces what is loaded.",
        "incremental",
        parse.choice(*get_args(Extract)),
        metavar="|".join(get_args(Extract)),
    ),
    Setting(
        "start_date",
        _A_DATE,
        "Where the period starts, UTC: 2026-01-31 or 2026-01-31T09:30:00Z. Mandatory for incremental reports.",
        None,
        parse.moment(is_end=False),
        metavar="DATE",
    ),
    Setting(
        "end_date",
        _A_DATE,
        "Where it ends, UTC; a date includes that day. Empty means now.",
        None,
        parse.moment(is_end=True),
        metavar="DATE",
    ),
    Setting(
        "period",
        ", ".join(get_args(Period)),
        "Start and end date by name, relative to now, UTC.",
        None,
        parse.choice(*get_args(Period)),
        metavar="NAME",
    ),
    Setting(
        "lookback_days",
        _DAYS,
        "Days before the end of the last run that are read again.",
        1.0,
        parse.days(_DAYS),
        metavar="N",
    ),
    Setting(
        "split_by",
        ", ".join(get_args(SplitBy)),
        "How the period is cut into chunks; `auto` cuts where data is dense.",
        "auto",
        parse.choice(*get_args(SplitBy)),
        metavar="|".join(get_args(SplitBy)),
    ),
    Setting(
        "advance_on_failure",
        _SWITCH,
        "Move on over a chunk that failed for good. The next run does not read it again.",
        False,
        parse.flag,
        switch=True,
    ),
    Setting(
        "reread",
        _SWITCH,
        "Read the whole period even where it is loaded already.",
        False,
        parse.flag,
        switch=True,
    ),
)
#: Settings of reports whose rows can be chosen by metric.
METRIC_SETTINGS = _by_name(
    Setting(
        "metrics",
        "names of metrics, `*` for any text",
        "Load the events of these metrics only, by their names in this account. Each has a period of its own to read.",
        (),
        parse.names("names of metrics, `*` for any text"),
    ),
    Setting(
        "split_tables",
        _SWITCH,
        "Write a table for each of the `metrics` instead of one for all.",
        False,
        parse.flag,
    ),
)
#: Settings of analytics reports. Which of them a report has, and what is allowed, differs from one to the next.
ANALYTICS_SETTINGS = _by_name(
    Setting("interval", "hour, day, week, month", "The interval of the numbers, in the account's own timezone."),
    Setting("statistics", "a list of Klaviyo's statistics", "Which numbers; if left out, all."),
    Setting("measurements", "count, sum_value, unique", "Which numbers; if left out, all."),
    Setting("group_by", "a list of Klaviyo's groupings", "What to group by."),
    Setting("by", "a list of Klaviyo's dimensions", "What to group by; if left out, only the metric."),
    Setting("filter", "Klaviyo's filter grammar", "What to count; if left out, everything."),
    Setting(
        "conversion_metric",
        "the name or the id of a metric",
        "What counts as a conversion. Where several metrics have this name, the id of one of them is needed.",
    ),
    Setting(
        "metrics",
        "a list of names or ids, `*` for any text",
        "Which metrics to count; of metrics that share a name all, each with rows of its own.",
    ),
)
#: Settings of a custom report, under `custom_reports`.
CUSTOM_SETTINGS = _by_name(
    Setting(
        "endpoint", "a name or a path", "What to read: `events`, `/api/lists/{id}/tags`. This or `like` is mandatory."
    ),
    Setting(
        "like",
        "the name of an analytics report",
        "Instead of `endpoint`: another definition of this report. Its own settings stand beside it: see below.",
    ),
    Setting("filter", "Klaviyo's filter grammar", "Which records; the period is added to it."),
    Setting(
        "metric",
        "the name of a metric",
        "Events of this metric only; the id is looked up at the start of a run.",
    ),
    Setting("fields", "a list, or a table type -> list", "Sparse fieldsets, of the records or of included types too."),
    Setting("include", "a list of relationships", "Related records, once each, in table `<report>__included`."),
    Setting("additional_fields", "a list of fields", "What Klaviyo leaves out unless asked."),
    Setting("sort", "a field, `-` before it for backwards", "In which order to ask; if left out, by time."),
    Setting(
        "columns",
        "a table column -> path, or column -> {path, type}",
        "Paths of the record that become columns beside the JSON: text, unless a type is given.",
    ),
    Setting(
        "mode", "raw, inferred", "`raw` (the default): JSON as Klaviyo sent it. `inferred`: dlt unpacks the records."
    ),
)


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """How one report is read.

    Attributes:
        extract: `incremental` or `all`.
        start: lower bound, aware UTC, or None where none was given.
        end: upper bound (exclusive), aware UTC, never later than now less the visibility lag.
        lookback: how long before the high-water mark to read again.
        split_by: how to cut the period.
        advance_on_failure: whether coverage moves over chunks that failed for good.
        reread: whether to read again what is loaded already.
        options: switches of this report alone (`predictive_analytics`).
        analytics: which numbers an analytics report asks for.
        metrics: names and patterns of the metrics whose events are wanted; empty means all events.
        split_tables: whether each of these metrics has a table of its own.
    """

    extract: Extract
    start: datetime | None
    end: datetime
    lookback: timedelta
    split_by: SplitBy
    advance_on_failure: bool = False
    reread: bool = False
    options: frozenset[str] = frozenset()
    analytics: AnalyticsQuery | None = None
    metrics: tuple[str, ...] = ()
    split_tables: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a run needs to know, checked.

    Attributes:
        authorization: value of the `Authorization` header; kept out of `repr`.
        reports: report name -> how to read it, in the order to show them.
        custom: name -> report, of those that the user wrote.
    """

    authorization: str = field(repr=False)
    base_url: str
    allow_http: bool
    revision: str
    request_timeout_s: float
    max_wait_s: float
    postgres_json: str
    private_files: bool
    reports: Mapping[str, ReportSettings]
    custom: Mapping[str, Report] = field(default_factory=dict)
