"""Checks everything that was set, and makes the settings of a run. No I/O: the clock comes in as an argument.

Every error says what is wrong, where it was set and what is allowed. All of them are raised together, before any request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar, cast

from ..catalog.capabilities import capabilities
from ..catalog.model import AnalyticsQuery
from ..catalog.report import Report
from ..catalog.reports import reports
from ..catalog.revisions import DEFAULT_REVISION
from ..errors import ConfigError
from .analytics import analytics_query
from .custom_reports import INCLUDED, WrittenReport, names
from .parse import authorization, flag
from .raw_settings import RawSettings, listed, nearest, show, without_secrets
from .report_facts import ReportFacts, facts, facts_of
from .settings import (
    ACCOUNT_SETTINGS,
    ALL,
    CUSTOM_REPORTS,
    METRIC_SETTINGS,
    REPORT_SETTINGS,
    VISIBILITY_LAG,
    Period,
    ReportSettings,
    Setting,
    Settings,
)

#: Tables that dlt itself reads in the section of a source or a resource. A value that is no table is a setting of ours.
_DLT_TABLES = ("data_writer", "extract", "load", "normalize", "schema", "schema_contract")

Found = TypeVar("Found")


def settings_from(raw: RawSettings, now: datetime) -> Settings:
    """Check all settings, those of custom and analytics reports among them.

    Args:
        raw: what was set, and where.
        now: aware UTC.

    Raises:
        ConfigError: with one line for each thing that is wrong.
    """
    problems: list[str] = []
    written, custom = _custom_reports(raw, problems)
    revision = revision_of(raw)
    checked: dict[str, ReportFacts] = facts(revision)
    values = {key: value for key, value in raw.values.items() if key != CUSTOM_REPORTS}
    origins = dict(raw.origins)
    for one in written:
        if one.name in checked or not isinstance(one.table, Mapping):
            continue
        mine = one.made
        # A report with a problem keeps its name, so that the problem is reported once.
        checked.update({key: facts_of(report) for key, report in mine.items()} or {one.name: ReportFacts()})
        # In the place of a report's own settings, they are checked as those of a predefined report.
        applying = {*REPORT_SETTINGS, *(key for report in mine.values() for key in facts_of(report).analytics_settings)}
        own = {key: value for key, value in one.table.items() if key in applying}
        beside = raw.values.get(one.name)
        for table in mine or (one.name,):
            if isinstance(beside, Mapping) or beside is None:
                values[table] = {**own, **(beside or {}), **(raw.values.get(table) or {})}
            for key in own:
                origins.setdefault(f"{table}.{key}", raw.origins.get(f"{CUSTOM_REPORTS}.{one.name}.{key}", ""))
    if values.get("reports") is not None:
        values["reports"] = _with_included(values["reports"], custom)
    merged = RawSettings(values, origins)
    settings = _attempt(problems, build, merged, checked, now)
    predefined = reports(revision)
    queries: dict[str, AnalyticsQuery] = {}
    for name in settings.reports if settings else [name for name in (*predefined, *custom) if name in values]:
        report = custom.get(name) or predefined.get(name)
        if report is not None and report.endpoint.analytics is not None:
            query = _attempt(problems, analytics_query, merged, report, capabilities(revision)[report.endpoint.path])
            if query is not None:
                queries[name] = query
    if problems or settings is None:
        raise _error(problems, raw)
    counting = {name: replace(settings.reports[name], analytics=query) for name, query in queries.items()}
    return replace(settings, custom=custom, reports={**settings.reports, **counting})


def custom_reports(raw: RawSettings) -> dict[str, Report]:
    """The custom reports that the user wrote, whatever else of the settings is missing.

    Raises:
        ConfigError: one of them is wrong.
    """
    problems: list[str] = []
    _, found = _custom_reports(raw, problems)
    if problems:
        raise _error(problems, raw)
    return found


class _Custom(WrittenReport):
    """A custom report together with what was made of it."""

    def __init__(self, raw: RawSettings, name: str, revision: str) -> None:
        super().__init__(raw, name, revision)
        self.made = self.reports()


def _custom_reports(raw: RawSettings, problems: list[str]) -> tuple[list[_Custom], dict[str, Report]]:
    tables = raw.values.get(CUSTOM_REPORTS)
    if tables is not None and not isinstance(tables, Mapping):
        problems.append(f"{CUSTOM_REPORTS} = {show(tables)}{raw.where(CUSTOM_REPORTS)}: a table a report is needed.")
    written = [_Custom(raw, name, revision_of(raw)) for name in names(raw)]
    for one in written:
        problems += one.problems
    return written, {name: report for one in written for name, report in one.made.items()}


def _with_included(chosen: Any, custom: Collection[str]) -> Any:
    """The chosen reports, each with the table of what is included with it."""
    chosen = listed(chosen)
    if not isinstance(chosen, Sequence):
        return chosen
    found: list[Any] = []
    for name in chosen:
        found.append(name)
        if isinstance(name, str) and name + INCLUDED in custom:
            found.append(name + INCLUDED)
    return found


def build(raw: RawSettings, facts: Mapping[str, ReportFacts], now: datetime) -> Settings:
    """Check the settings of the account and of every report.

    Args:
        raw: what was set, and where.
        facts: report name -> what its settings are checked against.
        now: aware UTC.

    Raises:
        ConfigError: with one line for each thing that is wrong.
    """
    problems: list[str] = []
    attempt = partial(_attempt, problems)
    raw = _without_dlt_tables(raw, facts)
    attempt(_known_keys, raw, facts)
    chosen = attempt(_report_names, raw, facts) or []
    found = {name: _report(raw, name, facts[name], now, problems) for name in chosen}
    header = attempt(authorization, raw) or ""
    account: dict[str, Any] = {
        name: attempt(_parsed, raw, setting) for name, setting in ACCOUNT_SETTINGS.items() if setting.parse
    }
    if problems:
        raise _error(problems, raw)
    return Settings(authorization=header, reports=found, **account)


def revision_of(raw: RawSettings) -> str:
    """The chosen revision; the default where none is chosen, or none that is known."""
    try:
        return cast(str, _parsed(raw, ACCOUNT_SETTINGS["revision"]))
    except ConfigError:
        return DEFAULT_REVISION


def _parsed(raw: RawSettings, setting: Setting, default: Any = None) -> Any:
    if setting.parse is None:
        raise ValueError(f"{setting.name} has no parser of its own")
    return setting.parse(raw, setting.name, setting.default if default is None else default)


def _attempt(problems: list[str], check: Callable[..., Found], *args: Any) -> Found | None:
    """What the check returns; None where it found something wrong, which joins the problems."""
    try:
        return check(*args)
    except ConfigError as error:
        problems += str(error).splitlines()
        return None


def _without_dlt_tables(raw: RawSettings, facts: Collection[str]) -> RawSettings:
    """The settings without those that dlt reads itself (`[sources.klaviyo.data_writer]`)."""

    def ours(values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: value
            for key, value in values.items()
            if not (key in _DLT_TABLES and (isinstance(value, Mapping) or key == "schema_contract"))
        }

    values = {
        key: ours(value) if key in facts and isinstance(value, Mapping) else value
        for key, value in ours(raw.values).items()
    }
    return RawSettings(values, raw.origins)


def _known_keys(raw: RawSettings, facts: Mapping[str, ReportFacts]) -> None:
    problems = []
    top = [*ACCOUNT_SETTINGS, *REPORT_SETTINGS]
    for key, value in raw.values.items():
        if key in facts:
            if not isinstance(value, Mapping):
                problems.append(f"{key}: a report's settings are a table, not {show(value)}{raw.where(key)}")
                continue
            allowed = [*REPORT_SETTINGS, *sorted(facts[key].options), *facts[key].analytics_settings]
            allowed += METRIC_SETTINGS if facts[key].by_metric else ()
            for inner in value:
                if inner not in allowed:
                    problems.append(
                        f'unknown setting "{inner}" for report {key}{raw.where(f"{key}.{inner}")}'
                        f"{nearest(inner, allowed)} Allowed: {', '.join(allowed)}."
                    )
        elif key not in top:
            kind = "report" if isinstance(value, Mapping) else "setting"
            choices = list(facts) if isinstance(value, Mapping) else top
            problems.append(
                f'unknown {kind} "{key}"{raw.where(key)}{nearest(key, [*top, *facts])} Allowed: {", ".join(choices)}.'
            )
    if problems:
        raise ConfigError("\n".join(problems))


def _report_names(raw: RawSettings, facts: Mapping[str, ReportFacts]) -> list[str]:
    value = listed(raw.values.get("reports"))
    here = [name for name, fact in facts.items() if not fact.exists]
    if value is None:
        return [name for name in here if facts[name].on_by_default]
    if not isinstance(value, Sequence) or not value or not all(isinstance(name, str) for name in value):
        raise ConfigError(
            f"reports = {show(raw.values['reports'])}{raw.where('reports')}: a list of report names is needed. "
            f"Allowed: {', '.join(here)}, {ALL}."
        )
    unknown = [name for name in value if name not in facts and name != ALL]
    if unknown:
        raise ConfigError(
            "\n".join(
                f"unknown report {show(name)}{raw.where('reports')}{nearest(name, here)} "
                f"Allowed: {', '.join(here)}, {ALL}."
                for name in unknown
            )
        )
    elsewhere = [name for name in value if name != ALL and facts[name].exists]
    if elsewhere:
        raise ConfigError(
            "\n".join(
                f"report {show(name)}{raw.where('reports')}: Klaviyo has it {facts[name].exists}, and revision = "
                f"{show(revision_of(raw))}{raw.where('revision')}: choose another revision, or leave the report out."
                for name in elsewhere
            )
        )
    return here if ALL in value else list(dict.fromkeys(value))


def _report(raw: RawSettings, name: str, fact: ReportFacts, now: datetime, problems: list[str]) -> ReportSettings:
    attempt = partial(_attempt, problems)
    layer, own = _layer(raw, name, fact)
    found = len(problems)
    extract = attempt(_parsed, layer, REPORT_SETTINGS["extract"])
    start, end = _period(layer, now, problems)
    if len(problems) == found and extract == "incremental" and fact.needs_start and start is None:
        problems.append(
            f"{name}: no start_date. An incremental extract needs one: set start_date (for example "
            '`start_date = "2026-01-01"` in .dlt/config.toml under [sources.klaviyo], or --start-date), '
            'or extract everything with extract = "all" (--extract all).'
        )
    # Never from the settings for all reports: there `metrics` is the table of the report `metrics`.
    of_metrics = RawSettings({key: own.get(key) if fact.by_metric else None for key in METRIC_SETTINGS}, layer.origins)
    metrics = _attempt_of(name, problems, _parsed, of_metrics, METRIC_SETTINGS["metrics"]) or ()
    split_tables = bool(attempt(_parsed, of_metrics, METRIC_SETTINGS["split_tables"]))
    if split_tables and own.get("metrics") is None:
        problems.append(
            f"{name}: split_tables{layer.where('split_tables')} needs metrics, the names of those that get a table: "
            'metrics = ["Placed Order", "Opened*"], or metrics = ["*"] for every one.'
        )
    return ReportSettings(
        extract=cast(Any, extract),
        start=start,
        end=end,
        lookback=cast(timedelta, attempt(_parsed, layer, REPORT_SETTINGS["lookback_days"], fact.lookback_days)),
        split_by=cast(Any, attempt(_parsed, layer, REPORT_SETTINGS["split_by"])),
        advance_on_failure=bool(attempt(_parsed, layer, REPORT_SETTINGS["advance_on_failure"])),
        reread=bool(attempt(_parsed, layer, REPORT_SETTINGS["reread"])),
        options=frozenset(option for option in sorted(fact.options) if attempt(flag, layer, option, False)),
        metrics=metrics,
        split_tables=split_tables,
    )


def _layer(raw: RawSettings, name: str, fact: ReportFacts) -> tuple[RawSettings, Mapping[str, Any]]:
    """The settings that apply to one report, its own before those for all; and its own alone."""
    own = raw.values.get(name)
    own = own if isinstance(own, Mapping) else {}

    def origin(key: str) -> str:
        return f"{name}.{key}" if own.get(key) is not None else key

    values = {**raw.values, **{key: value for key, value in own.items() if value is not None}}
    # A period is a start and an end: one kind given for the report beats the other kind given for all.
    if own.get("period") is not None:
        values |= {"start_date": own.get("start_date"), "end_date": own.get("end_date")}
    elif own.get("start_date") is not None or own.get("end_date") is not None:
        values["period"] = None
    keys = [*REPORT_SETTINGS, *METRIC_SETTINGS, *fact.options]
    return RawSettings(values, {key: raw.origins.get(origin(key), "") for key in keys}), own


def _error(problems: Iterable[str], raw: RawSettings) -> ConfigError:
    """One error for all problems, each told once and without a key."""
    return ConfigError(without_secrets("\n".join(dict.fromkeys(problems)), raw))


def _attempt_of(report: str, problems: list[str], check: Callable[..., Found], *args: Any) -> Found | None:
    """As `_attempt`, for a setting that only this report has: the message begins with its name."""
    try:
        return check(*args)
    except ConfigError as error:
        problems.append(f"{report}: {error}")
        return None


def _period(raw: RawSettings, now: datetime, problems: list[str]) -> tuple[datetime | None, datetime]:
    """Start and end of the period, both UTC whole seconds, the end exclusive and not after what is visible."""
    visible = (now - VISIBILITY_LAG).replace(microsecond=0)
    attempt = partial(_attempt, problems)
    name = raw.values.get("period")
    if name is not None:
        for other in ("start_date", "end_date"):
            if raw.values.get(other) not in (None, ""):
                problems.append(
                    f"period = {show(name)}{raw.where('period')} and {other} = {show(raw.values[other])}"
                    f"{raw.where(other)} exclude each other: leave one out."
                )
        if attempt(_parsed, raw, REPORT_SETTINGS["period"]) is None:
            return None, visible
        first, last = _named_period(cast(Period, name), now)
        # In the first minute of a day nothing of it is visible yet: an empty period, not an error.
        return first, max(min(last, visible), first)
    start = attempt(_parsed, raw, REPORT_SETTINGS["start_date"])
    end = attempt(_parsed, raw, REPORT_SETTINGS["end_date"])
    said = f"start_date = {show(raw.values.get('start_date'))}{raw.where('start_date')}"
    if start is not None and start > now:
        problems.append(f"{said} lies in the future: a moment up to now is needed.")
    if start is not None and end is not None and start >= end:
        problems.append(f"{said} is not before end_date = {show(raw.values['end_date'])}{raw.where('end_date')}.")
    return start, min(end or visible, visible)


def _named_period(name: Period, now: datetime) -> tuple[datetime, datetime]:
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    monday = today - timedelta(days=today.weekday())
    first = today.replace(day=1)
    return {
        "yesterday": (today - timedelta(days=1), today),
        "week_to_date": (monday, now),
        "previous_week": (monday - timedelta(weeks=1), monday),
        "month_to_date": (first, now),
        "previous_month": ((first - timedelta(days=1)).replace(day=1), first),
        "year_to_date": (today.replace(month=1, day=1), now),
    }[name]
