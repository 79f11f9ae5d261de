"""What one run reads of each report: settings, state and the time become windows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

from ..calendar import Interval, cut, own_day
from ..catalog.report import Report
from ..catalog.reports import reports
from ..config.settings import VISIBILITY_LAG, ReportSettings, Settings
from ..windows import BEGINNING, EVERYTHING, Window, chunks, intersection, subtract, union, until
from . import state
from .daily_quota import divided, recent, share
from .event_metrics import chosen

#: How far back an analytics report goes that is to read everything without a start date.
_WITHOUT_A_START = timedelta(days=365)
#: How far the clocks of two machines that load the same pipeline may be apart.
_CLOCKS_DIFFER = timedelta(minutes=10)


class Disposition(Enum):
    """How the rows of a report get into its table."""

    HISTORY = "compared with the last snapshot and kept as history"
    REPLACE = "replace the table in one transaction"
    REPLACE_PERIODS = "replace the rows of the periods that were read again"
    MERGE = "merged by primary key"
    APPEND = "appended, since it is proved that they are new"


def disposition_of(report: Report, *, whole: bool, append: bool = False) -> Disposition:
    """How the rows of a report get into its table.

    Args:
        whole: all of the report is read, and replaces what is there.
        append: the table is proved to have none of the rows.
    """
    if report.history:
        return Disposition.HISTORY
    if whole:
        return Disposition.REPLACE
    if report.endpoint.analytics is not None:
        return Disposition.REPLACE_PERIODS
    return Disposition.APPEND if append else Disposition.MERGE


def is_read_whole(report: Report, settings: ReportSettings) -> bool:
    """Whether every run reads all of the report."""
    return report.endpoint.analytics is None and (not report.is_windowed or settings.extract == "all")


@dataclass(frozen=True, slots=True)
class Selection:
    """A report that the settings choose, with their switches applied.

    Attributes:
        settings: how to read it.
    """

    report: Report
    settings: ReportSettings

    @property
    def loaded_by(self) -> str:
        """Which coverage applies: it is stored by date field, or by analytics query."""
        return self.report.dated_by if self.settings.analytics is None else self.settings.analytics.signature


def selections(settings: Settings) -> dict[str, Selection]:
    """Name -> selection, of all reports that are to be read."""
    known = {**reports(settings.revision), **settings.custom}
    return {name: Selection(known[name].with_options(own.options), own) for name, own in settings.reports.items()}


@dataclass(frozen=True, slots=True)
class Redefinition:
    """An analytics report that has another definition than the rows in its table.

    The table keeps its rows until those of the new definition are complete, which can take several runs. Then these
    replace the table.

    Attributes:
        period: what has to be read.
        parts: the period, one window for each request.
    """

    period: Window
    parts: Sequence[Window]

    def is_complete(self, covered: Sequence[Window], now: datetime) -> bool:
        """Whether all of the period is covered.

        Args:
            now: the time at Klaviyo, aware UTC. Coverage ends there, even if this machine's clock is ahead.
        """
        wanted = until([self.period], now)
        return bool(wanted) and not subtract(wanted[0], covered)

    def done(self, covered: Sequence[Window]) -> int:
        """How many of the parts are covered."""
        return sum(not subtract(part, covered) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Plan:
    """How one run reads one report. Everything that fetches, decodes and loads goes by this value.

    Attributes:
        settings: as given, or as the extract method needs them.
        windows: what to read, in this order; empty where everything is loaded already.
        covered: what is loaded and not read again.
        whole: loaded as a whole, once all of it is read.
        append: the table has no row of these windows and will get none from elsewhere: the rows may be appended.
        childless: parents that were found to have no child -> their date at that time. They are not asked again while
            they have it.
        redefined: set where an analytics report has another definition than the rows in its table.
    """

    report: Report
    settings: ReportSettings
    windows: Sequence[Window]
    covered: Sequence[Window]
    whole: bool
    append: bool = False
    childless: Mapping[str, str] = field(default_factory=dict)
    redefined: Redefinition | None = None

    @property
    def loaded_by(self) -> str:
        """See `Selection.loaded_by`."""
        return Selection(self.report, self.settings).loaded_by

    @property
    def disposition(self) -> Disposition:
        """How the rows get into the table."""
        return disposition_of(self.report, whole=self.whole, append=self.append)


def plan_analytics(
    report: Report,
    settings: ReportSettings,
    resource_state: Mapping[str, Any],
    zone: str,
    now: datetime,
    most_requests: int | None = None,
) -> Plan:
    """The plan of an analytics report: whole intervals of the account's calendar, within the daily quota.

    An interval is always asked for whole, even where only a part of it is missing or may have changed. The order:
    what is missing, newest first; then what may have changed. `extract = "all"` reads the period again: the daily quota
    may not be enough to replace the table in one run.

    With a new definition the whole period is missing, but for what is staged. The interval that is not over is missing
    in every run: it comes last then, so that a run of a single request gets on, too.

    Args:
        resource_state: what is stored of the report.
        zone: IANA name of the account's timezone.
        now: aware UTC.
        most_requests: its part of the daily quota, where there is one: see `parts_of_quotas`.
    """
    analytics, query = report.endpoint.analytics, settings.analytics
    if analytics is None or query is None:
        raise ValueError(f"{report.name} is no analytics report")
    clock = ZoneInfo(zone)
    end = min(own_day(settings.end, clock), (now - VISIBILITY_LAG).replace(microsecond=0))
    start = own_day(settings.start, clock) if settings.start else end - _WITHOUT_A_START
    since = BEGINNING
    if analytics.since is not None:
        since = datetime.combine(analytics.since, time(), clock).astimezone(UTC)
    start = max(start, since)
    query = replace(query, zone=zone, most_requests=most_requests)
    settings = replace(settings, start=start, end=end, analytics=query)
    redefined = state.loaded_by(resource_state) not in (None, query.signature)
    staged = state.staged(resource_state)
    if not redefined:
        stored = state.covered(resource_state, query.signature)
    else:
        stored = staged.covered if staged and staged.by == query.signature else []
    loaded = _trusted(stored, now)
    if start >= end:
        return Plan(report, settings, [], [] if redefined else loaded, False)
    period = Window(start, end)
    missing = subtract(period, loaded)
    # Lookback applies before the end of the newest interval only. What was read later than that does not change.
    late = [Window(loaded[-1].end - settings.lookback, loaded[-1].end)] if loaded and settings.lookback else []
    # A new definition reads everything anyway. To begin again in each run would never end.
    rereads = (settings.reread or settings.extract == "all") and not redefined
    again = [period] if rereads else intersection([period], late)
    # The hours of a day are asked for together: Klaviyo may take timeframes by the day.
    unit: Interval = "day" if query.interval == "hour" else query.interval
    most = analytics.intervals[query.interval] // (24 if query.interval == "hour" else 1)

    def parts(of: Sequence[Window]) -> list[Window]:
        # A week or a month may begin before the day from which Klaviyo has data.
        found = cut(of, unit, clock, most=most, end=end)
        return [Window(max(one.start, since), one.end) for one in found]

    windows = parts([*missing, *again])
    new = [one for one in reversed(windows) if rereads or intersection([one], missing)]
    if redefined:
        # Never read, then read in part, then the interval that is not over.
        new.sort(key=lambda one: (1 + (one.end == end)) if intersection([one], loaded) else 0)
    due = [one for one in reversed(windows) if one not in new]
    if due and most_requests is not None:
        # The quota may not be enough for all of them. Each hour starts with another one, so that all have their turn.
        turn = int(now.timestamp() // 3600) * max(1, most_requests - len(new)) % len(due)
        due = [*due[turn:], *due[:turn]]
    if redefined:
        return Plan(report, settings, [*new, *due], loaded, False, redefined=Redefinition(period, parts([period])))
    kept = [rest for window in loaded for rest in subtract(window, new)]
    return Plan(report, settings, [*new, *due], kept, False)


def plan_report(report: Report, settings: ReportSettings, loaded: Sequence[Window], *, anew: bool = False) -> Plan:
    """The plan of any other report, from what is loaded already.

    Args:
        anew: the loaded rows were asked for in another way. The whole period is read again and replaces the table.
    """
    if is_read_whole(report, settings):
        if settings.split_by != "none":
            # Without a period there are no calendar boundaries to split at.
            settings = replace(settings, split_by="auto")
        return Plan(report, settings, [EVERYTHING], [], True)
    windows = chunks(
        start_of(report, settings),
        settings.end,
        covered=() if settings.reread or anew else loaded,
        lookback=settings.lookback,
        split_by=settings.split_by,
    )
    if anew:
        return Plan(report, settings, windows, [], True)
    kept = [rest for window in loaded for rest in subtract(window, windows)]
    return Plan(report, settings, windows, kept, False)


def start_of(report: Report, settings: ReportSettings) -> datetime:
    """Where the period of a report starts. Lists and segments start with the account: other rows point at them."""
    if report.cursor is not None and report.cursor.from_start:
        return BEGINNING
    return settings.start or BEGINNING


def plan_again(
    report: Report,
    settings: ReportSettings,
    resource_state: Mapping[str, Any],
    now: datetime,
    *,
    zone: str | None = None,
    anew: bool = False,
    inherited: Sequence[Window] = (),
    most_requests: int | None = None,
) -> Plan:
    """The plan of a report, from what is stored of it.

    Args:
        now: aware UTC.
        zone: the account's timezone, where it was asked for; else the one of the last run.
        anew: the table is replaced, since the report asks for other rows than those that are loaded.
        inherited: other loaded periods of the rows that it asks for.
        most_requests: see `plan_analytics`.
    """
    if settings.analytics is not None:
        zone = zone or state.zone(resource_state) or "UTC"
        return plan_analytics(report, settings, resource_state, zone, now, most_requests)
    stored = state.covered(resource_state, Selection(report, settings).loaded_by)
    loaded = _trusted([*stored, *inherited], now)
    if differs(report, resource_state) and not anew:
        # The definition changed without a planned replace: re-read and merge.
        loaded = []
    planned = plan_report(report, settings, loaded, anew=anew)
    # Whoever asks for a period again wants to have it asked for.
    return planned if settings.reread else replace(planned, childless=state.childless(resource_state))


def _trusted(stored: Sequence[Window], now: datetime) -> list[Window]:
    """The stored coverage, as far as it can be true.

    Before version 0.2.0, a machine whose clock was ahead stored periods that were not over yet. How far such a period
    was really read is unknown, so all of it is read again.
    """
    return until([window for window in union(stored) if window.end <= now + _CLOCKS_DIFFER], now)


def parts_of_quotas(
    selected: Mapping[str, Selection], pipeline_state: Mapping[str, Any], now: datetime, zone: str | None = None
) -> dict[str, int]:
    """Report -> how many requests it may send in this run, of those with a daily quota.

    The quota is the endpoint's: what any report of it sent counts, and those that are selected divide the share of the
    run. Where it cannot be divided evenly, more goes to those that sent least in the last 24 hours.

    Args:
        selected: what this run reads.
        now: aware UTC.
        zone: as in `plan_again`.
    """
    families: dict[str, list[Selection]] = {}
    for one in selected.values():
        if one.settings.analytics is not None and one.report.endpoint.rate.daily is not None:
            families.setdefault(one.report.like or one.report.name, []).append(one)
    parts: dict[str, int] = {}
    for like, family in families.items():
        quota = family[0].report.endpoint.rate.daily or 0
        total = share(quota, state.spent_like(pipeline_state, like), now)
        stored = {one.report.name: state.of_report(pipeline_state, one.report.name) for one in family}
        sent = {name: sum(requests for _, requests in recent(state.spent(own), now)) for name, own in stored.items()}
        family.sort(key=lambda one: sent[one.report.name])
        plans = [plan_again(one.report, one.settings, stored[one.report.name], now, zone=zone) for one in family]
        wanted = [len(plan.windows) for plan in plans]
        parts |= {one.report.name: part for one, part in zip(family, divided(total, wanted), strict=True)}
    return parts


def fingerprint(report: Report) -> str:
    """What a user's report is made of, and a hash of what it asks for. If it changes, the report has other rows.

    The first word is the mode of a raw report, or the report that an analytics report is like: a table of one fits no
    other. Which numbers an analytics report asks for is its definition: see `AnalyticsQuery.signature`.
    """
    if report.redefines is not None:
        return report.redefines
    endpoint = report.endpoint
    told = (
        (endpoint.path, endpoint.parent, [(variant.filter, dict(variant.context)) for variant in endpoint.variants]),
        endpoint.cursor and endpoint.cursor.field,
        report.metric,
        report.include,
        report.additional_fields,
        sorted(report.fields.items()),
        report.custom and sorted(report.custom.columns.items()),
    )
    mode = "inferred" if report.custom is not None and report.custom.inferred else "raw"
    return f"{mode} {hashlib.sha256(repr(told).encode()).hexdigest()[:16]}"


def differs(report: Report, resource_state: Mapping[str, Any]) -> bool:
    """Whether a report asks for other rows than those that are loaded."""
    before = state.fingerprint(resource_state)
    if before is None or not report.is_users_own:
        return False
    now = fingerprint(report)
    return before != now and (report.is_windowed or not is_of_one_kind(before, now))


def is_of_one_kind(before: str, now: str) -> bool:
    """Whether a table that was made by one fingerprint can hold the rows of another: dlt cannot change its kind."""
    return before.split()[0] == now.split()[0]


def settings_of_metric(settings: ReportSettings) -> ReportSettings:
    """How the events of one of several metrics are read.

    To replace a table that holds other metrics too would drop their rows. Instead all of it is read and merged.
    """
    own = replace(settings, metrics=(), split_tables=False)
    everything = settings.extract == "all" and not settings.split_tables
    return replace(own, extract="incremental", start=None, reread=True) if everything else own


def plan_all(settings: Settings, pipeline_state: Mapping[str, Any], now: datetime) -> list[Plan]:
    """The plans of all reports of the settings, without asking Klaviyo.

    Where metrics are chosen, those of earlier runs have a plan each; only Klaviyo knows the others. Until a first run
    has asked for the account's timezone, it is taken to be UTC.

    Args:
        pipeline_state: what is stored of all of them.
        now: aware UTC.
    """
    found, chosen_reports = [], selections(settings)
    parts = parts_of_quotas(chosen_reports, pipeline_state, now)
    for name, selected in chosen_reports.items():
        report, own, stored = selected.report, selected.settings, state.of_report(pipeline_state, name)
        if own.metrics:
            found += _of_known_metrics(selected, pipeline_state, now)
        anew = differs(report, stored)
        found.append(plan_again(report, own, stored, now, anew=anew, most_requests=parts.get(name)))
    return found


def _of_known_metrics(selected: Selection, pipeline_state: Mapping[str, Any], now: datetime) -> list[Plan]:
    report, settings, known = selected.report, selected.settings, state.known_metrics(pipeline_state)
    ids: dict[str, list[str]] = {}
    for metric in known.values():
        ids.setdefault(metric.names[-1], []).append(metric.id)
    made, _ = chosen(ids, report, settings.metrics, settings.split_tables, known, ())
    own = settings_of_metric(settings)
    inherited = state.covered(state.of_report(pipeline_state, report.name), selected.loaded_by)
    return [
        plan_again(one, own, state.of_report(pipeline_state, one.name), now, inherited=inherited if one.table else ())
        for one in made
        if one.name in known
    ]
