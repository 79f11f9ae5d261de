"""Metric aggregates: events of a metric counted by interval and dimension, by when they happened.

The sandbox assumes that `dates` are the UTC moments at which the intervals start in the timezone of the request.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from ..data.resources import Resource
from ..store.account import Account
from ..store.events import EventSummary
from .subjects import Subject, campaign_messages, flow_messages
from .timeframes import midnight, start_of

# Dimension -> the event property that holds it, where the names differ.
PROPERTIES = {
    "$message_send_cohort": "$_cohort$message_send_cohort",
    "$variation_send_cohort": "$_cohort$variation_send_cohort",
}


@dataclass(frozen=True)
class AggregateQuery:
    """What a request asks for, checked.

    Attributes:
        metric: id of the metric.
        by: dimensions to group by.
        low, high: the half-open time range, in seconds since 1970.
        conditions: (operator, dimension, values).
    """

    metric: str
    measurements: list[str]
    interval: str
    by: list[str]
    low: int
    high: int
    conditions: list[tuple[str, str, list[str]]]
    zone: ZoneInfo
    sort: str | None
    page_rows: int


class _Intervals:
    """The intervals of a query. `starts` are in seconds since 1970."""

    def __init__(self, query: AggregateQuery) -> None:
        self._zone, self._interval = query.zone, query.interval
        self._days: dict[date, int] = {}
        self.starts = []
        start = self.of(query.low)
        while start < query.high:
            self.starts.append(start)
            start = start + 3600 if self._interval == "hour" else self.of(start + self._step(start))

    def _step(self, start: int) -> int:
        """Seconds from the start of a day, week or month to the start of the next, changes of the clock included."""
        day = datetime.fromtimestamp(start, self._zone).date()
        if self._interval == "month":
            following = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
        else:
            following = day + timedelta(days=7 if self._interval == "week" else 1)
        return midnight(following, self._zone) - start

    def of(self, second: float) -> int:
        """The start of the interval of a moment."""
        wall = datetime.fromtimestamp(second, self._zone)
        if self._interval == "hour":
            return int(second) - wall.minute * 60 - wall.second
        day = wall.date()
        if day not in self._days:
            self._days[day] = midnight(start_of(wall.replace(tzinfo=None), self._interval).date(), self._zone)
        return self._days[day]


class _Dimensions:
    """The dimensions of events as text; "" for an event without one."""

    def __init__(self, account: Account) -> None:
        of_campaigns = campaign_messages(account)
        # `$message` may be the id of the campaign.
        by_campaign = {str(subject.attributes["campaign_id"]): subject for subject in of_campaigns.values()}
        self._messages = {**by_campaign, **of_campaigns, **flow_messages(account)}

    def of(self, summary: EventSummary, names: list[str]) -> Iterator[tuple[str, ...]]:
        """Values of some dimensions: once, or once for each attribution if a dimension depends on it."""
        attributed = any(name.startswith("$attributed_") for name in names)
        attributions: list[Mapping[str, str]] = [*summary.attributions] if attributed and summary.attributions else [{}]
        yield from dict.fromkeys(
            tuple(self._one(summary, attribution, name) for name in names) for attribution in attributions
        )

    def _one(self, summary: EventSummary, attribution: Mapping[str, str], name: str) -> str:
        attributed = attribution.get("campaign-message") or attribution.get("flow-message") or ""
        if name == "$attributed_flow":
            return attribution.get("flow", "")
        if name in ("$attributed_message", "$attributed_variation"):
            return attributed
        if name == "$attributed_channel":
            return self._subject_value(attributed, "send_channel")
        message = str(summary.properties.get("$message", ""))
        if name == "$flow":
            return self._subject_value(message, "flow_id")
        if name == "$variation":
            return message
        if name in ("$campaign_channel", "$flow_channel"):
            of_flow = bool(self._subject_value(message, "flow_id"))
            return self._subject_value(message, "send_channel") if of_flow == (name == "$flow_channel") else ""
        value = summary.properties.get(PROPERTIES.get(name, name))
        if isinstance(value, bool):
            return str(value).lower()
        return str(value) if isinstance(value, str | int | float) else ""

    def _subject_value(self, message: str, attribute: str) -> str:
        subject: Subject | None = self._messages.get(message)
        return (subject.attributes.get(attribute) or "") if subject else ""


class _Cell:
    def __init__(self) -> None:
        self.count = 0
        self.sum = Decimal(0)
        self.profiles: set[str | int | None] = set()

    def measured(self, measurement: str) -> float:
        if measurement == "count":
            return self.count
        return len(self.profiles) if measurement == "unique" else float(self.sum)


def results(account: Account, query: AggregateQuery) -> tuple[list[int], list[Resource]]:
    """Starts of the intervals in seconds since 1970, and all rows in the order asked for."""
    events, dimensions, intervals = account.events, _Dimensions(account), _Intervals(query)

    def fits(summary: EventSummary) -> bool:
        for operator, name, wanted in query.conditions:
            found = [values[0] for values in dimensions.of(summary, [name])]
            if operator == "contains":
                if not any(wanted[0].casefold() in value.casefold() for value in found):
                    return False
            elif not {*wanted} & {*found}:
                return False
        return True

    def wanted(summary: EventSummary) -> bool:
        return summary.metric == query.metric and fits(summary)

    cells: defaultdict[tuple[str, ...], defaultdict[int, _Cell]] = defaultdict(lambda: defaultdict(_Cell))
    if not query.by:
        cells[()]
    groups: dict[int, tuple[EventSummary, list[tuple[str, ...]]]] = {}
    for number, summary in events.summaries(query.low, query.high - 1, wanted, account.attributions):
        # Base events share summaries, so dimensions are computed once for each. Keeping it keeps its id() unique.
        _, values = groups.setdefault(id(summary), (summary, [*dimensions.of(summary, query.by)]))
        start = intervals.of(events.second(number))
        for value in values:
            cell = cells[value][start]
            cell.count += 1
            cell.sum += events.amount(number)
            cell.profiles.add(events.profile_key(number))
    rows: list[Resource] = [
        {
            "dimensions": [*value],
            "measurements": {
                name: [by_start[start].measured(name) for start in intervals.starts] for name in query.measurements
            },
        }
        for value, by_start in sorted(cells.items())
    ]
    if query.sort:
        rows.sort(key=_sort_key(query), reverse=query.sort.startswith("-"))
    return intervals.starts, rows


def _sort_key(query: AggregateQuery) -> Callable[[Resource], Any]:
    name = str(query.sort).removeprefix("-")
    if name in query.by:
        return lambda row: row["dimensions"][query.by.index(name)]
    return lambda row: sum(row["measurements"][name])
