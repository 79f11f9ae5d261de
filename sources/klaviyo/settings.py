"""Validated settings. No I/O: the clock and the names of reports come in as arguments.

Every error says what is wrong, where it was set and what is allowed, and is raised before any request.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

import pendulum

from .errors import ConfigError
from .revisions import DEFAULT_REVISION, REVISIONS
from .spec import Figures, Grammar, Report
from .windows import BEGINNING, END_OF_TIME, SplitBy

Extract = Literal["incremental", "all"]
Period = Literal["yesterday", "week_to_date", "previous_week", "month_to_date", "previous_month", "year_to_date"]

DEFAULT_BASE_URL = "https://a.klaviyo.com"

#: Stands for every report, those that are off by default too.
ALL = "all"

#: Klaviyo shows what it has just been sent with a small delay; a run never reads closer to now than this.
VISIBILITY_LAG = timedelta(seconds=60)

#: Setting -> (default, what is allowed, what it does). The configuration reference is made from this.
ACCOUNT_SETTINGS: Mapping[str, tuple[Any, str, str]] = {
    "api_key": (None, "a private key, `pk_…`", "Private API key of the account. Give this or `access_token`."),
    "access_token": (None, "an OAuth access token", "OAuth access token, instead of `api_key`."),
    "base_url": (DEFAULT_BASE_URL, "an http(s) URL", "Where the API lives; for the sandbox or a proxy."),
    "revision": (DEFAULT_REVISION, ", ".join(REVISIONS), "Revision of Klaviyo's API."),
    "reports": (
        None,
        "names of reports, all",
        "What to load; if left out, the reports that are on by default. `all` is every report.",
    ),
    "request_timeout_s": (60.0, "a number of seconds above 0", "How long to wait for one answer."),
    "max_wait_s": (
        300.0,
        "a number of seconds, 0 or more",
        "The longest wait that Klaviyo may ask for before the report ends as `resume later`.",
    ),
}
REPORT_SETTINGS: Mapping[str, tuple[Any, str, str]] = {
    "extract": (
        "incremental",
        "incremental, all",
        "`incremental` reads a period; `all` reads everything and replaces.",
    ),
    "start_date": (None, "a date or a time", "Where the period starts, UTC. Mandatory for incremental reports."),
    "end_date": (None, "a date or a time", "Where it ends, UTC; a date includes that day. Empty means now."),
    "period": (None, ", ".join(get_args(Period)), "Start and end date by name, relative to now, UTC."),
    "lookback_days": (1.0, "a number of days, 0 or more", "Days behind the last run's end that are read again."),
    "split_by": (
        "auto",
        ", ".join(get_args(SplitBy)),
        "How the period is cut into chunks; `auto` cuts where data is dense.",
    ),
    "advance_on_failure": (
        False,
        "true, false",
        "Move on over a chunk that failed for good instead of reading it again by the next run.",
    ),
    "reread": (False, "true, false", "Read the whole period even where it is loaded already."),
}
#: The same, of reports whose rows can be chosen by metric.
METRIC_SETTINGS: Mapping[str, tuple[Any, str, str]] = {
    "metrics": (
        None,
        "names of metrics, `*` for any text",
        "Load the events of these metrics alone, by their names in this account; each has a past of its own to read.",
    ),
    "split_tables": (False, "true, false", "Write a table for each of the `metrics` instead of one for all."),
}


#: The same for reports that count, which have some of these: what is allowed differs from one to the other.
FIGURE_SETTINGS: Mapping[str, tuple[str, str]] = {
    "interval": ("hour, day, week, month", "What numbers are counted by, in the account's own timezone."),
    "statistics": ("a list of Klaviyo's statistics", "Which numbers; if left out, all."),
    "measurements": ("count, sum_value, unique", "Which numbers; if left out, all."),
    "group_by": ("a list of Klaviyo's groupings", "What to count apart."),
    "by": ("a list of Klaviyo's dimensions", "What to count apart; if left out, nothing but the metric."),
    "filter": ("Klaviyo's filter grammar", "What to count; if left out, everything."),
    "conversion_metric": ("the name of a metric", "What counts as a conversion; all metrics of this name, each apart."),
    "metrics": ("a list of names, `*` for any text", "Which metrics to count."),
}
#: The one of them that names metrics.
METRIC_SETTING: Mapping[Grammar, str] = {Grammar.REPORT: "conversion_metric", Grammar.AGGREGATE: "metrics"}


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """How one report is read.

    Attributes:
        extract: `incremental` or `all`.
        start: lower bound, aware UTC, or None where none was given.
        end: upper bound (exclusive), aware UTC, never later than now less the visibility lag.
        lookback: how far behind the high-water mark to read again.
        split_by: how to cut the period.
        advance_on_failure: whether coverage moves over chunks that failed for good.
        reread: whether to read again what is loaded already.
        options: switches of this report alone (`predictive_analytics`).
        analytics: which figures are asked for, of a report that counts.
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
    analytics: Figures | None = None
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
    revision: str
    request_timeout_s: float
    max_wait_s: float
    reports: Mapping[str, ReportSettings]
    custom: Mapping[str, Report] = field(default_factory=dict)

    @property
    def depends_on_state(self) -> bool:
        """Whether what is read, and not only since when, depends on earlier runs."""
        return bool(self.custom) or any(report.metrics for report in self.reports.values())


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """What the settings of a report are checked against.

    Attributes:
        windowed: it has a date filter, so that a period applies to it.
        needs_start: an incremental read of it needs a start date.
        options: the switches that it has of its own.
        on_by_default: it is loaded unless `reports` says otherwise.
        by_metric: its rows can be chosen by metric.
        exists: under which revisions it does, in words, where the chosen one is none of them; else empty.
        figures: the settings of `FIGURE_SETTINGS` that it has; somebody else checks them.
        lookback_days: unless a setting says otherwise.
    """

    windowed: bool = False
    needs_start: bool = False
    options: frozenset[str] = frozenset()
    on_by_default: bool = True
    by_metric: bool = False
    exists: str = ""
    figures: tuple[str, ...] = ()
    lookback_days: float = 1.0


class Raw:
    """Settings as somebody wrote them, with where each was written.

    Args:
        values: setting -> value; a mapping under a report's name holds that report's own settings.
        origins: dotted setting -> where it was set, in the user's words (`.dlt/config.toml [sources.klaviyo]`).
    """

    def __init__(self, values: Mapping[str, Any], origins: Mapping[str, str] | None = None) -> None:
        self.values = values
        self.origins = origins or {}

    def where(self, name: str) -> str:
        """`(set in …)`, or nothing where the origin is not known."""
        origin = self.origins.get(name)
        return f" (set in {origin})" if origin else ""


def build(raw: Raw, facts: Mapping[str, ReportFacts], now: datetime) -> Settings:
    """Check everything at once and return the settings.

    Args:
        raw: what was set, and where.
        facts: report name -> what its settings are checked against.
        now: aware UTC.

    Raises:
        ConfigError: with one line for each thing that is wrong.
    """
    problems: list[str] = []
    attempt = partial(_attempt, problems)
    attempt(_known_keys, raw, facts)
    names = attempt(_report_names, raw, facts) or []
    reports = {name: _report(raw, name, facts[name], now, problems) for name in names}
    settings = Settings(
        authorization=attempt(_authorization, raw) or "",
        base_url=attempt(_base_url, raw) or "",
        revision=attempt(_choice, raw, "revision", "revision", list(REVISIONS), DEFAULT_REVISION) or "",
        request_timeout_s=attempt(_seconds, raw, "request_timeout_s", False) or 0.0,
        max_wait_s=attempt(_seconds, raw, "max_wait_s", True) or 0.0,
        reports=reports,
    )
    if problems:
        raise ConfigError(without_secrets("\n".join(dict.fromkeys(problems)), raw))
    return settings


def _attempt(problems: list[str], check: Callable[..., Any], *args: Any) -> Any:
    """What the check returns; None where it found something wrong, which joins the problems."""
    try:
        return check(*args)
    except ConfigError as error:
        problems.append(str(error))
        return None


def nearest(name: str, allowed: Collection[str]) -> str:
    """The end of a sentence about an unknown name: `; did you mean "…"?` for a typo, or a full stop."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else "."


def _known_keys(raw: Raw, facts: Mapping[str, ReportFacts]) -> None:
    problems = []
    top = [*ACCOUNT_SETTINGS, *REPORT_SETTINGS]
    for key, value in raw.values.items():
        if key in facts:
            if not isinstance(value, Mapping):
                problems.append(f"{key}: a report's settings are a table, not {show(value)}{raw.where(key)}")
                continue
            allowed = [*REPORT_SETTINGS, *sorted(facts[key].options), *facts[key].figures]
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


def _report_names(raw: Raw, facts: Mapping[str, ReportFacts]) -> list[str]:
    value = raw.values.get("reports")
    here = [name for name, fact in facts.items() if not fact.exists]
    if value is None:
        return [name for name in here if facts[name].on_by_default]
    if isinstance(value, str):
        value = listed(value)
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


def revision_of(raw: Raw) -> str:
    """The chosen revision, or the default where none is chosen, or none that is known."""
    try:
        return _choice(raw, "revision", "revision", list(REVISIONS), DEFAULT_REVISION) or DEFAULT_REVISION
    except ConfigError:
        return DEFAULT_REVISION


def listed(text: str) -> Any:
    """A list as the environment holds one: a JSON array, or names between commas."""
    if text.lstrip().startswith("["):
        with suppress(ValueError):
            return json.loads(text)
    return [name.strip() for name in text.split(",") if name.strip()]


def _report(raw: Raw, name: str, fact: ReportFacts, now: datetime, problems: list[str]) -> ReportSettings:
    own = cast(Mapping[str, Any], raw.values.get(name) or {})
    if not isinstance(own, Mapping):
        own = {}

    def origin(key: str) -> str:
        return f"{name}.{key}" if own.get(key) is not None else key

    layer = Raw(
        {**raw.values, **{key: value for key, value in own.items() if value is not None}},
        {key: raw.origins.get(origin(key), "") for key in [*REPORT_SETTINGS, *METRIC_SETTINGS, *fact.options]},
    )
    if own.get("period") is None and (own.get("start_date") is not None or own.get("end_date") is not None):
        layer = Raw({**layer.values, "period": None}, layer.origins)
    elif own.get("period") is not None:
        layer = Raw(
            {**layer.values, "start_date": own.get("start_date"), "end_date": own.get("end_date")}, layer.origins
        )

    attempt = partial(_attempt, problems)
    found = len(problems)
    extract = attempt(_choice, layer, "extract", "extract", get_args(Extract), "incremental")
    start, end = _period(layer, now, problems)
    if len(problems) == found and extract == "incremental" and fact.needs_start and start is None:
        problems.append(
            f"{name}: no start_date. An incremental extract needs one: set start_date (for example "
            '`start_date = "2026-01-01"` in .dlt/config.toml under [sources.klaviyo], or --start-date), '
            'or extract everything with extract = "all" (--extract all).'
        )
    # Theirs alone: above a report, `metrics` is the table of the report of that name.
    of_metrics = Raw({key: own.get(key) if fact.by_metric else None for key in METRIC_SETTINGS}, layer.origins)
    metrics = attempt(_metrics, name, of_metrics) or ()
    split_tables = bool(attempt(_flag, of_metrics, "split_tables", False))
    if split_tables and own.get("metrics") is None:
        problems.append(
            f"{name}: split_tables{layer.where('split_tables')} needs metrics, the names of those that get a table: "
            'metrics = ["Placed Order", "Opened*"], or metrics = ["*"] for every one.'
        )
    return ReportSettings(
        extract=extract,
        start=start,
        end=end,
        lookback=attempt(_lookback, layer, fact.lookback_days),
        split_by=attempt(_choice, layer, "split_by", "split_by", get_args(SplitBy), "auto"),
        advance_on_failure=attempt(_flag, layer, "advance_on_failure", False),
        reread=attempt(_flag, layer, "reread", False),
        options=frozenset(option for option in sorted(fact.options) if attempt(_flag, layer, option, False)),
        metrics=metrics,
        split_tables=split_tables,
    )


def _metrics(report: str, raw: Raw) -> tuple[str, ...]:
    value = raw.values.get("metrics")
    if value is None:
        return ()
    found = listed(value) if isinstance(value, str) else value
    if isinstance(found, list | tuple) and found and all(isinstance(name, str) and name.strip() for name in found):
        return tuple(dict.fromkeys(found))
    raise ConfigError(
        f"{report}: metrics = {show(value)}{raw.where('metrics')}: a list of {METRIC_SETTINGS['metrics'][1]} is needed."
    )


def _lookback(raw: Raw, default: float) -> timedelta:
    days = _number(raw, "lookback_days", default)
    if not 0 <= days <= 36_500:
        raise ConfigError(
            f"lookback_days = {show(raw.values['lookback_days'])}{raw.where('lookback_days')}: "
            f"{REPORT_SETTINGS['lookback_days'][1]} is needed, 36500 at most."
        )
    # Whole seconds, the grain of windows.
    return timedelta(seconds=math.ceil(days * 86_400))


def _period(raw: Raw, now: datetime, problems: list[str]) -> tuple[datetime | None, datetime]:
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
        if attempt(_choice, raw, "period", "period", get_args(Period), None) is None:
            return None, visible
        first, last = _named_period(cast(Period, name), now)
        # In the first minute of a day nothing of it is visible yet: an empty period, not an error.
        return first, max(min(last, visible), first)
    start, end = attempt(_moment, raw, "start_date", False), attempt(_moment, raw, "end_date", True)
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


_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?")


def _moment(raw: Raw, name: str, is_end: bool) -> datetime | None:
    """A date or a time as UTC whole seconds; a date as an end includes that day. A time without offset is UTC."""
    value = raw.values.get(name)
    if value in (None, ""):
        return None
    whole_day = isinstance(value, date) and not isinstance(value, datetime)
    text = value.isoformat() if isinstance(value, date) else value
    try:
        if not isinstance(text, str) or not _DATE_TIME.fullmatch(text):
            raise ValueError
        whole_day = whole_day or len(text) == len("2026-01-31")
        moment = datetime.fromtimestamp(cast(datetime, pendulum.parse(text, tz="UTC", strict=True)).timestamp(), UTC)
        if not BEGINNING < moment < END_OF_TIME - timedelta(days=2):
            raise ValueError
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{name} = {show(value)}{raw.where(name)} is not a date. "
            'Allowed: a date ("2026-01-31") or a time ("2026-01-31T09:30:00Z"), UTC unless it carries an offset, '
            "after 1970."
        ) from None
    if is_end and whole_day:
        moment += timedelta(days=1)
    if moment.microsecond:
        moment = moment.replace(microsecond=0) + timedelta(seconds=1 if is_end else 0)
    return moment


def _authorization(raw: Raw) -> str:
    key, token = raw.values.get("api_key"), raw.values.get("access_token")
    if key and token:
        raise ConfigError(
            f"api_key{raw.where('api_key')} and access_token{raw.where('access_token')} are both set: leave one out."
        )
    if token:
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise ConfigError(f"access_token{raw.where('access_token')} has blanks or unprintable characters in it.")
        return f"Bearer {token}"
    if not key:
        raise ConfigError(
            "no api_key. Put a private key (Klaviyo: Settings > API keys) into .dlt/secrets.toml, "
            '`[sources.klaviyo]` `api_key = "pk_…"`, or into the environment as SOURCES__KLAVIYO__API_KEY; '
            "or try the source with --sandbox."
        )
    # The value itself stays out of the message: it may be a key with one character too many.
    if not isinstance(key, str) or not re.fullmatch(r"pk_[A-Za-z0-9_-]+", key):
        hint = " A public key (site id) cannot read." if re.fullmatch(r"[A-Za-z0-9]{6}", str(key)) else ""
        raise ConfigError(
            f"api_key{raw.where('api_key')} is malformed: a private key is `pk_` and then letters and digits.{hint}"
        )
    return f"Klaviyo-API-Key {key}"


def _base_url(raw: Raw) -> str:
    value = raw.values.get("base_url") or DEFAULT_BASE_URL
    if not isinstance(value, str) or not _is_base_url(value):
        raise ConfigError(
            f"base_url{raw.where('base_url')}: an http(s) URL without user, query and fragment is needed, "
            f"like {DEFAULT_BASE_URL}."
        )
    return value.rstrip("/")


def _is_base_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    plain = not re.search(r"[\s@?#]", text)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and plain


def _choice(raw: Raw, name: str, label: str, allowed: Sequence[str], default: str | None) -> str | None:
    value = raw.values.get(name)
    if value is None:
        return default
    value = value.isoformat() if isinstance(value, date) else value
    if value not in allowed:
        raise ConfigError(
            f"{label} = {show(value)}{raw.where(name)}{nearest(str(value), allowed)} Allowed: {', '.join(allowed)}."
        )
    return str(value)


def _seconds(raw: Raw, name: str, zero_allowed: bool) -> float:
    value = _number(raw, name, ACCOUNT_SETTINGS[name][0])
    if not 0 <= value <= 86_400 or (value == 0 and not zero_allowed):
        raise ConfigError(
            f"{name} = {show(raw.values[name])}{raw.where(name)}: {ACCOUNT_SETTINGS[name][1]} is needed, 86400 at most."
        )
    return value


def _number(raw: Raw, name: str, default: float) -> float:
    value = raw.values.get(name)
    if value is None:
        return default
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
        if number != number:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{name} = {show(value)}{raw.where(name)}: a number is needed.") from None
    return number


def _flag(raw: Raw, name: str, default: bool) -> bool:
    value = raw.values.get(name)
    if value is None:
        return default
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ConfigError(f"{name} = {show(value)}{raw.where(name)}: true or false is needed.")
    return value


def show(value: Any) -> str:
    """A value as an error names it."""
    return f'"{value}"' if isinstance(value, str | date) else repr(value)


def without_secrets(text: str, raw: Raw) -> str:
    """A message without the key or token that stands in a place where it does not belong."""
    text = re.sub(r"pk_[\w-]+", "pk_…", text)
    token = raw.values.get("access_token")
    return text.replace(token, "…") if isinstance(token, str) and len(token) > 7 else text
