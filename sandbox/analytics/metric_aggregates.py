"""Klaviyo's metric aggregates: events of a metric counted by interval and dimension, by when they happened.

`dates` are taken here to be the moments at which the intervals start in the timezone asked for, in UTC. The token of the
next page goes into the body, as `page_cursor`; `links.next` shows it.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from ..data.timestamps import iso
from ..http import bodies
from ..http import filter_grammar as filters
from ..http.bodies import refused
from ..http.errors import ApiError
from ..http.filter_grammar import Bare
from ..store.account import Account
from ..store.events import Sketch
from ..store.store import Resource
from .reports import Subject, campaign_messages, flow_messages
from .timeframes import midnight, start_of

PATH = "/api/metric-aggregates"
KIND = "metric-aggregate"
INTERVALS = ("day", "hour", "month", "week")
MEASUREMENTS = ("count", "sum_value", "unique")
DIMENSIONS = (
    "$attributed_channel", "$attributed_flow", "$attributed_message", "$attributed_variation", "$campaign_channel",
    "$flow", "$flow_channel", "$message", "$message_send_cohort", "$usage_amount", "$value_currency", "$variation",
    "$variation_send_cohort", "Bot Click", "Bounce Type", "Campaign Name", "Client Canonical", "Client Name",
    "Client Type", "Email Domain", "Failure Source", "Failure Type", "From Number", "From Phone Region",
    "Inbox Provider", "List", "Message Format", "Message Name", "Message Type", "Method", "Segment Count", "Subject",
    "To Number", "To Phone Region", "URL", "form_id",
)  # fmt: skip
ATTRIBUTES = (
    "by", "filter", "interval", "measurements", "metric_id", "page_cursor", "page_size", "return_fields", "sort",
    "timezone",
)  # fmt: skip
REQUIRED = ("metric_id", "measurements", "filter")
PAGE_ROWS = 500
#: Of the timezones of the IANA, Klaviyo does not take these.
NO_TIMEZONES = {"Factory", "Europe/Kyiv", "Pacific/Kanton"}
OPERATORS = ("any", "contains", "equals")
# properties that hold a dimension under another name
PROPERTIES = {
    "$message_send_cohort": "$_cohort$message_send_cohort",
    "$variation_send_cohort": "$_cohort$variation_send_cohort",
}


@dataclass(frozen=True)
class Question:
    """A body, checked. `low` and `high` are the first second and the one after the last, since 1970."""

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


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - NO_TIMEZONES)


def ask(account: Account, told: dict[str, Any]) -> Question:
    """The question that the attributes of a body ask.

    Raises:
        ApiError: 400, with what is wrong and where.
    """
    if not isinstance(told["metric_id"], str) or account.stores["metric"].get(told["metric_id"]) is None:
        raise refused(f"Metric IDs ['{told['metric_id']}'] do not exist.", "metric_id")
    measurements = bodies.choices(told, "measurements", MEASUREMENTS)
    if not measurements:
        raise refused("'measurements' needs at least one value.", "measurements")
    by = bodies.choices(told, "by", DIMENSIONS) if "by" in told else []
    zone = told.get("timezone", "UTC")
    if not isinstance(zone, str) or zone not in _zones():
        raise refused(f"'{zone}' is not a supported timezone.", "timezone")
    sort = told.get("sort")
    sortable = [*measurements, *by]
    if sort is not None and (not isinstance(sort, str) or sort.removeprefix("-") not in sortable):
        raise refused(f"'{sort}' is not a valid sort; allowed here: {', '.join(sortable)}.", "sort")
    page_rows = told.get("page_size", PAGE_ROWS)
    if isinstance(page_rows, bool) or not isinstance(page_rows, int) or not 1 <= page_rows <= PAGE_ROWS:
        raise refused(f"Page size must be an integer between 1 and {PAGE_ROWS}.", "page_size")
    fields = told.get("return_fields", [])
    if not isinstance(fields, list) or not all(isinstance(name, str) for name in fields):
        raise refused("'return_fields' must be a list of strings.", "return_fields")
    low, high, conditions = _filters(told["filter"], ZoneInfo(zone))
    interval = bodies.choice(told, "interval", INTERVALS) if "interval" in told else "day"
    return Question(
        told["metric_id"], measurements, interval, by, low, high, conditions, ZoneInfo(zone), sort, page_rows
    )


def _filters(told: Any, zone: ZoneInfo) -> tuple[int, int, list[tuple[str, str, list[str]]]]:
    if not isinstance(told, list) or not all(isinstance(text, str) for text in told):
        raise refused("'filter' must be a list of filter strings.", "filter")
    bounds: dict[str, datetime] = {}
    conditions = []
    for text in told:
        try:
            parsed = filters.parse(text)
        except ApiError as error:
            raise refused(error.detail, "filter") from None
        for operator, name, raw in parsed:
            if name == "datetime":
                if operator not in ("greater-or-equal", "less-than") or operator in bounds:
                    raise refused("'datetime' takes one greater-or-equal and one less-than.", "filter")
                bounds[operator] = _moment(raw, zone)
            else:
                conditions.append((operator, name, _texts(operator, name, raw)))
    if len(bounds) < 2:
        raise refused("A time range is required: greater-or-equal and less-than on 'datetime'.", "filter")
    start, end = bounds["greater-or-equal"], bounds["less-than"]
    if start >= end:
        raise refused("The start of the time range must be before its end.", "filter")
    if end > _year_after(start):
        raise refused("The time range cannot be longer than one year.", "filter")
    # a whole second counts from its start
    return -int(-start.timestamp() // 1), -int(-end.timestamp() // 1), conditions


def _year_after(start: datetime) -> datetime:
    try:
        return start.replace(year=start.year + 1)
    except ValueError:
        return start.replace(year=start.year + 1, month=3, day=1)


def _moment(raw: Any, zone: ZoneInfo) -> datetime:
    try:
        moment = datetime.fromisoformat(raw.text if isinstance(raw, Bare) else "")
    except ValueError:
        raise refused("'datetime' takes an unquoted ISO 8601 datetime.", "filter") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _texts(operator: str, name: str, raw: Any) -> list[str]:
    if name not in DIMENSIONS:
        raise refused(f"'{name}' is not an allowed filter field; allowed: datetime, {', '.join(DIMENSIONS)}.", "filter")
    if operator not in OPERATORS:
        raise refused(f"'{operator}' is not an allowed operator; allowed: {', '.join(OPERATORS)}.", "filter")
    values = raw if isinstance(raw, list) else [raw]
    if (
        not values
        or not all(isinstance(value, str) for value in values)
        or (operator == "any") != isinstance(raw, list)
    ):
        raise refused(f"'{operator}' on '{name}' takes a {'list' if operator == 'any' else 'string'}.", "filter")
    return [str(value) for value in values]


class _Intervals:
    """The intervals of a question: their starts, and which one a second lies in."""

    def __init__(self, question: Question) -> None:
        self._zone, self._interval = question.zone, question.interval
        self._days: dict[date, int] = {}
        self.starts = []
        start = self.of(question.low)
        while start < question.high:
            self.starts.append(start)
            # no interval is shorter than an hour or longer than 31 days and an hour
            start = start + 3600 if self._interval == "hour" else self.of(start + self._step(start))

    def _step(self, start: int) -> int:
        day = datetime.fromtimestamp(start, self._zone).date()
        if self._interval == "month":
            following = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
        else:
            following = day + timedelta(days=7 if self._interval == "week" else 1)
        return midnight(following, self._zone) - start

    def of(self, second: float) -> int:
        """The second at which the interval of a moment starts."""
        wall = datetime.fromtimestamp(second, self._zone)
        if self._interval == "hour":
            return int(second) - wall.minute * 60 - wall.second
        day = wall.date()
        if day not in self._days:
            self._days[day] = midnight(start_of(wall.replace(tzinfo=None), self._interval).date(), self._zone)
        return self._days[day]


class _Dimensions:
    """The dimensions of events, each as text, "" where an event has none."""

    def __init__(self, account: Account) -> None:
        self._messages = {**campaign_messages(account), **flow_messages(account)}

    def of(self, sketch: Sketch, names: list[str]) -> Iterator[tuple[str, ...]]:
        """Values of some dimensions; of an event with several attributions, one for each."""
        attributed = any(name.startswith("$attributed_") for name in names)
        touches: list[Mapping[str, str]] = [*sketch.touches] if attributed and sketch.touches else [{}]
        yield from dict.fromkeys(tuple(self._one(sketch, touch, name) for name in names) for touch in touches)

    def _one(self, sketch: Sketch, touch: Mapping[str, str], name: str) -> str:
        attributed = touch.get("campaign-message") or touch.get("flow-message") or ""
        if name == "$attributed_flow":
            return touch.get("flow", "")
        if name in ("$attributed_message", "$attributed_variation"):
            return attributed
        if name == "$attributed_channel":
            return self._told(attributed, "send_channel")
        message = str(sketch.properties.get("$message", ""))
        if name == "$flow":
            return self._told(message, "flow_id")
        if name == "$variation":
            return message
        if name in ("$campaign_channel", "$flow_channel"):
            of_flow = bool(self._told(message, "flow_id"))
            return self._told(message, "send_channel") if of_flow == (name == "$flow_channel") else ""
        value = sketch.properties.get(PROPERTIES.get(name, name))
        if isinstance(value, bool):
            return str(value).lower()
        return str(value) if isinstance(value, str | int | float) else ""

    def _told(self, message: str, attribute: str) -> str:
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


def results(account: Account, question: Question) -> tuple[list[int], list[Resource]]:
    """Starts of the intervals in seconds since 1970, and all rows in the order asked for."""
    events, dimensions, intervals = account.events, _Dimensions(account), _Intervals(question)

    def fits(sketch: Sketch) -> bool:
        for operator, name, wanted in question.conditions:
            found = [values[0] for values in dimensions.of(sketch, [name])]
            if operator == "contains":
                if not any(wanted[0].casefold() in value.casefold() for value in found):
                    return False
            elif not {*wanted} & {*found}:
                return False
        return True

    def wanted(sketch: Sketch) -> bool:
        return sketch.metric == question.metric and fits(sketch)

    cells: defaultdict[tuple[str, ...], defaultdict[int, _Cell]] = defaultdict(lambda: defaultdict(_Cell))
    if not question.by:
        cells[()]
    groups: dict[int, tuple[Sketch, list[tuple[str, ...]]]] = {}
    for number, sketch in events.sketched(question.low, question.high - 1, wanted, account.attributions):
        # the sketch is kept, so that its id is nobody else's
        _, values = groups.setdefault(id(sketch), (sketch, [*dimensions.of(sketch, question.by)]))
        start = intervals.of(events.when(number))
        for value in values:
            cell = cells[value][start]
            cell.count += 1
            cell.sum += events.worth(number)
            cell.profiles.add(events.who(number))
    rows: list[Resource] = [
        {
            "dimensions": [*value],
            "measurements": {
                name: [by_start[start].measured(name) for start in intervals.starts] for name in question.measurements
            },
        }
        for value, by_start in sorted(cells.items())
    ]
    if question.sort:
        rows.sort(key=_sort_key(question), reverse=question.sort.startswith("-"))
    return intervals.starts, rows


def _sort_key(question: Question) -> Callable[[Resource], Any]:
    name = str(question.sort).removeprefix("-")
    if name in question.by:
        return lambda row: row["dimensions"][question.by.index(name)]
    return lambda row: sum(row["measurements"][name])


def answer(
    account: Account,
    body: bytes,
    content_type: str,
    fields: frozenset[str] | None,
    link: Callable[[dict[str, str]], str],
) -> Resource:
    """The document that answers a request.

    Args:
        fields: attributes of the answer to keep; None for all.
        link: address of the endpoint with parameters.

    Raises:
        ApiError: 400 or 415, with what is wrong and where.
    """
    told = bodies.attributes(body, content_type, KIND, ATTRIBUTES, REQUIRED)
    question = ask(account, told)
    asked = {name: value for name, value in told.items() if name != "page_cursor"}
    first = bodies.offset(asked, told.get("page_cursor"), refused("Invalid page cursor.", "page_cursor"))
    starts, rows = results(account, question)
    stop = first + question.page_rows
    following = link({"page_cursor": bodies.token(asked, stop)}) if stop < len(rows) else None
    attributes = {"dates": [iso(start) for start in starts], "data": rows[first:stop]}
    kept = (fields or frozenset(attributes)) & frozenset(told.get("return_fields") or attributes)
    return {
        "data": {
            "type": KIND,
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, repr(asked))),
            "attributes": {name: value for name, value in attributes.items() if name in kept},
            "links": {"self": link({})},
        },
        "links": {"self": link({}), "next": following, "prev": None},
    }
