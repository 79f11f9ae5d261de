"""Analytics reports: statistics of campaigns, flows, forms and segments, as values of a timeframe or as a series."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from ..data.resources import Resource, dig
from ..store.account import Account
from ..store.events import EventSummary
from . import statistics
from .statistics import EventCounts
from .subjects import Subject, campaign_messages, flow_messages
from .timeframes import Timeframe


@dataclass(frozen=True)
class ReportQuery:
    """What a request asks for, checked.

    Attributes:
        interval: of a series; None for values.
        groups: attributes to group by.
        conditions: (operator, attribute, values).
        conversion_metric: id of the metric whose events are conversions.
    """

    statistics: list[str]
    timeframe: Timeframe
    interval: str | None
    groups: tuple[str, ...]
    conditions: list[tuple[str, str, list[str]]]
    conversion_metric: str | None


@dataclass
class Rows:
    """Counts by grouping and by start of the interval (None: the whole timeframe)."""

    cells: dict[tuple[str | None, ...], dict[datetime | None, EventCounts]] = field(default_factory=dict)

    def cell(self, grouping: tuple[str | None, ...], start: datetime | None) -> EventCounts:
        """The counts of a grouping and an interval."""
        starts = self.cells.setdefault(grouping, {})
        if start not in starts:
            starts[start] = EventCounts()
        return starts[start]


def account_zone(account: Account) -> ZoneInfo:
    """The timezone of an account."""
    return ZoneInfo(next(iter(account.stores["account"]))["attributes"]["timezone"])


def results(subject: str, account: Account, query: ReportQuery) -> tuple[list[Resource], list[datetime]]:
    """All rows of the answer, sorted by grouping, and the starts of the intervals of a series.

    Args:
        subject: "campaign", "flow", "form" or "segment".
    """
    starts = query.timeframe.intervals(query.interval) if query.interval else []
    columns: list[datetime | None] = [*starts] if query.interval else [None]
    rows = []
    for grouping, cells in _SUBJECTS[subject](account, query):
        values = {name: [cell(name) for cell in map(cells, columns)] for name in query.statistics}
        rows.append(
            {
                "groupings": dict(zip(query.groups, grouping, strict=True)),
                "statistics": values if query.interval else {name: found[0] for name, found in values.items()},
            }
        )
    rows.sort(key=lambda row: [str(value) for value in row["groupings"].values()])
    return rows, starts


# (grouping, function from start of an interval to a function from statistic to value)
Answered = Iterator[tuple[tuple[str | None, ...], Callable[[datetime | None], Callable[[str], float]]]]


def _counted(rows: Rows, by_name: Mapping[str, statistics.Statistic]) -> Answered:
    nothing = EventCounts()
    for grouping, cells in rows.cells.items():
        yield (
            grouping,
            lambda start, cells=cells: lambda name: by_name[name](cells.get(start, nothing)),  # type: ignore[misc]
        )


def _roles(account: Account, names: Mapping[str, str]) -> dict[str, str]:
    """Metric id -> role, of Klaviyo's own metrics."""
    return {
        str(metric["id"]): names[name]
        for metric in account.stores["metric"]
        for name in dig(metric, ["attributes", "name"])
        if name in names and dig(metric, ["attributes", "integration", "name"]) == ["Klaviyo"]
    }


def _message_answers(account: Account, query: ReportQuery, relation: str, subjects: dict[str, Subject]) -> Answered:
    roles = _roles(account, statistics.MESSAGE_ROLES)
    events = account.events
    frame = query.timeframe
    low, high = frame.low, frame.high

    def wanted(summary: EventSummary) -> bool:
        attributed = any(attribution.get(relation) in subjects for attribution in summary.attributions)
        return attributed and (summary.metric in roles or summary.metric == query.conversion_metric)

    rows = Rows()
    groupings = {identity: subject.groupings(query.groups) for identity, subject in subjects.items()}
    for number, summary in events.summaries(low, high, wanted, account.attributions, attributed_too=True):
        role = roles.get(summary.metric)
        for attribution in summary.attributions:
            second = (
                events.second(number) if role in statistics.SENDING else events.attributed_second(number, attribution)
            )
            if not low <= second <= high:
                continue
            start = frame.interval_of(second, query.interval) if query.interval else None
            for grouping in groupings.get(attribution.get(relation, ""), ()):
                cell = rows.cell(grouping, start)
                if role:
                    cell.add(role, events.profile_key(number))
                    if role == "delivered":
                        cell.add_text(summary)
                if summary.metric == query.conversion_metric:
                    cell.add("conversions", events.profile_key(number))
                    cell.sums["value"] += events.amount(number)
    return _counted(rows, statistics.MESSAGE_STATISTICS)


def _fitting(subjects: dict[str, Subject], query: ReportQuery) -> dict[str, Subject]:
    return {identity: subject for identity, subject in subjects.items() if subject.fits(query.conditions)}


def _of_campaigns(account: Account, query: ReportQuery) -> Answered:
    return _message_answers(account, query, "campaign-message", _fitting(campaign_messages(account), query))


def _of_flows(account: Account, query: ReportQuery) -> Answered:
    return _message_answers(account, query, "flow-message", _fitting(flow_messages(account), query))


def _of_forms(account: Account, query: ReportQuery) -> Answered:
    roles = _roles(account, statistics.FORM_ROLES)
    events = account.events
    frame = query.timeframe

    def subject_of(summary: EventSummary) -> Subject:
        values = {name: summary.properties.get(name) for name in ("form_id", "form_version_id")}
        return Subject({name: None if value is None else str(value) for name, value in values.items()})

    def wanted(summary: EventSummary) -> bool:
        subject = subject_of(summary)
        has_form = subject.attributes["form_id"] is not None
        return summary.metric in roles and has_form and subject.fits(query.conditions)

    rows = Rows()
    for number, summary in events.summaries(frame.low, frame.high, wanted, account.attributions):
        start = frame.interval_of(events.second(number), query.interval) if query.interval else None
        for grouping in subject_of(summary).groupings(query.groups):
            rows.cell(grouping, start).add(roles[summary.metric], events.profile_key(number))
    return _counted(rows, statistics.FORM_STATISTICS)


def _of_segments(account: Account, query: ReportQuery) -> Answered:
    frame = query.timeframe
    now = account.now.timestamp()
    starts = frame.intervals(query.interval) if query.interval else []
    ends = dict(pairwise(starts))

    def second(wall: datetime) -> int:
        return int(wall.replace(tzinfo=frame.zone).timestamp())

    for segment in account.stores["segment"]:
        identity = str(segment["id"])
        if not Subject({"segment_id": identity}).fits(query.conditions):
            continue
        members = account.groups("segment", identity)

        def cells(start: datetime | None, members: Any = members) -> Callable[[str], float]:
            low = frame.low if start is None else max(frame.low, second(start))
            high = frame.high if start is None or start not in ends else second(ends[start]) - 1
            joined, left = members.changes(low, min(high, now))
            ever = members.changes(float("-inf"), min(high, now))
            values = {
                "members_added": joined,
                "members_removed": left,
                "net_members_changed": joined - left,
                "total_members": ever[0] - ever[1],
            }
            return values.__getitem__

        yield (identity,), cells


_SUBJECTS: dict[str, Callable[[Account, ReportQuery], Answered]] = {
    "campaign": _of_campaigns,
    "flow": _of_flows,
    "form": _of_forms,
    "segment": _of_segments,
}
