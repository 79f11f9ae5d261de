"""What one run reads of each report: settings, what is remembered, and the time -> windows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from . import state
from .by_metric import chosen
from .custom import fingerprint
from .periods import cut, own_day
from .quota import share
from .reports import dated_by, endpoint_of, is_windowed, report_of, windows_endpoint
from .settings import VISIBILITY_LAG, ReportSettings, Settings
from .spec import Interval, Report
from .windows import BEGINNING, EVERYTHING, Window, intersection, plan, subtract, union

#: What a report that counts goes back when it is to read everything and nobody says from when.
_WITHOUT_A_START = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Plan:
    """How one report is read by one run.

    Attributes:
        windows: what to read, oldest first; empty where everything is loaded already.
        covered: what is loaded and not read again.
        whole: loaded as a whole, once all of it is read.
        settings: as given, or as the extract method needs them.
        new: the table has no row of these windows, and none of its rows will ever come into them: to be appended.
    """

    report: Report
    settings: ReportSettings
    windows: Sequence[Window]
    covered: Sequence[Window]
    whole: bool
    new: bool = False


def loaded_by(report: Report, settings: ReportSettings) -> str:
    """What the loaded periods of a report are true of: another date, or other figures, have not been loaded."""
    return dated_by(report) if settings.analytics is None else settings.analytics.signature


def plan_counting(
    report: Report, settings: ReportSettings, resource_state: Mapping[str, Any], zone: str, now: datetime
) -> Plan:
    """As `plan_report`, for a report that counts: whole intervals of the account's calendar, within a day's quota.

    What of an interval is missing, or due again, is read by asking for the whole of it: first what is missing, the
    newest before all, then what may have changed. `extract = "all"` reads the period again: to replace a table at one
    blow might take more than a day has.

    Args:
        resource_state: what is remembered of the report.
        zone: IANA name of the account's timezone.
        now: aware UTC.
    """
    endpoint, figures = endpoint_of(report), settings.analytics
    if endpoint.analytics is None or figures is None:
        raise ValueError(f"{report.name} counts nothing")
    clock, quota = ZoneInfo(zone), endpoint.rate.daily
    end = min(own_day(settings.end, clock), (now - VISIBILITY_LAG).replace(microsecond=0))
    start = own_day(settings.start, clock) if settings.start else end - _WITHOUT_A_START
    since = BEGINNING
    if endpoint.analytics.since is not None:
        since = datetime.combine(endpoint.analytics.since, time(), clock).astimezone(UTC)
    start = max(start, since)
    most_requests = None if quota is None else share(quota, state.spent(resource_state), now)
    figures = replace(figures, zone=zone, most_requests=most_requests)
    settings = replace(settings, start=start, end=end, analytics=figures)
    loaded = state.covered(resource_state, loaded_by(report, settings))
    if start >= end:
        return Plan(report, settings, [], loaded, False)
    period = Window(start, end)
    missing = subtract(period, loaded)
    # Behind the latest end alone: a gap further back was old when it was left, and is final once it is read.
    late = [Window(loaded[-1].end - settings.lookback, loaded[-1].end)] if loaded and settings.lookback else []
    rereads = settings.reread or settings.extract == "all"
    again = [period] if rereads else intersection([period], late)
    # A day's hours are asked for together: Klaviyo may take timeframes by the day.
    unit: Interval = "day" if figures.interval == "hour" else figures.interval
    most = endpoint.analytics.intervals[figures.interval] // (24 if figures.interval == "hour" else 1)
    # A week or a month that begins before Klaviyo has data.
    found = cut([*missing, *again], unit, clock, most=most, end=end)
    windows = [Window(max(one.start, since), one.end) for one in found]
    new = [one for one in reversed(windows) if rereads or intersection([one], missing)]
    due = [one for one in reversed(windows) if one not in new]
    if due and most_requests is not None:
        # What the quota leaves of them goes round, from one hour to the next.
        turn = int(now.timestamp() // 3600) * max(1, most_requests - len(new)) % len(due)
        due = [*due[turn:], *due[:turn]]
    kept = [rest for window in loaded for rest in subtract(window, new)]
    return Plan(report, settings, [*new, *due], kept, False)


def plan_report(report: Report, settings: ReportSettings, loaded: Sequence[Window], *, anew: bool = False) -> Plan:
    """Windows to read, from what is loaded already.

    Args:
        anew: what is loaded was asked for otherwise: the whole period is read again, and replaces it.
    """
    if not is_windowed(report) or settings.extract == "all":
        if settings.split_by != "none":
            # Without a period there is no calendar to cut by.
            settings = replace(settings, split_by="auto")
        return Plan(report, settings, [EVERYTHING], [], True)
    cursor = windows_endpoint(report).cursor
    start = BEGINNING if cursor is not None and cursor.from_start else settings.start or BEGINNING
    windows = plan(
        start,
        settings.end,
        covered=() if settings.reread or anew else loaded,
        lookback=settings.lookback,
        split_by=settings.split_by,
    )
    if anew:
        return Plan(report, settings, windows, [], True)
    kept = [rest for window in loaded for rest in subtract(window, windows)]
    return Plan(report, settings, windows, kept, False)


def plan_again(
    report: Report,
    settings: ReportSettings,
    resource_state: Mapping[str, Any],
    now: datetime,
    *,
    zone: str | None = None,
    anew: bool = False,
    inherited: Sequence[Window] = (),
) -> Plan:
    """How a report is read after what is remembered of it.

    Args:
        now: aware UTC.
        zone: the account's timezone, where it was asked for; else the one of the last run.
        anew: its table is replaced, since it asks for other rows than those that are loaded.
        inherited: what is loaded besides of the rows that it asks for.
    """
    if settings.analytics is not None:
        return plan_counting(report, settings, resource_state, zone or state.zone(resource_state) or "UTC", now)
    loaded = union([*state.covered(resource_state, loaded_by(report, settings)), *inherited])
    if differs(report, resource_state) and not anew:
        # Nobody knew in time to replace the table: all of it is merged again.
        loaded = []
    return plan_report(report, settings, loaded, anew=anew)


def differs(report: Report, resource_state: Mapping[str, Any]) -> bool:
    """Whether a report asks for other rows than those that are loaded."""
    before = state.fingerprint(resource_state)
    return report.custom is not None and is_windowed(report) and before not in (None, fingerprint(report))


def settings_of_metric(settings: ReportSettings) -> ReportSettings:
    """How the events of one of several metrics are read.

    To replace a table that holds other metrics too would drop their rows: all of it is read and merged instead.
    """
    own = replace(settings, metrics=(), split_tables=False)
    everything = settings.extract == "all" and not settings.split_tables
    return replace(own, extract="incremental", start=None, reread=True) if everything else own


def plan_all(settings: Settings, pipeline_state: Mapping[str, Any], now: datetime) -> list[Plan]:
    """How all reports of the settings are read.

    Where metrics are chosen, those of earlier runs have a plan each: which others there are only Klaviyo knows. Until a
    first run has asked for it, the account's timezone is taken to be UTC.

    Args:
        pipeline_state: what is remembered of all of them.
        now: aware UTC.
    """
    found = []
    for name, own in settings.reports.items():
        report, remembered = report_of(settings, name), state.of_report(pipeline_state, name)
        if own.metrics:
            found += _of_known_metrics(report, own, pipeline_state, now)
        found.append(plan_again(report, own, remembered, now, anew=differs(report, remembered)))
    return found


def _of_known_metrics(
    report: Report, settings: ReportSettings, pipeline_state: Mapping[str, Any], now: datetime
) -> list[Plan]:
    known = state.known_metrics(pipeline_state)
    ids: dict[str, list[str]] = {}
    for metric in known.values():
        ids.setdefault(metric.names[-1], []).append(metric.id)
    made, _ = chosen(ids, report, settings.metrics, settings.split_tables, known, ())
    own = settings_of_metric(settings)
    inherited = state.covered(state.of_report(pipeline_state, report.name), loaded_by(report, settings))
    return [
        plan_again(one, own, state.of_report(pipeline_state, one.name), now, inherited=inherited if one.table else ())
        for one in made
        if one.name in known
    ]
