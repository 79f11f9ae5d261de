"""Analytics reports: what the bodies of their requests may ask, and the documents that answer them.

The bodies are the same in all revisions that the sandbox has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from ..analytics import reports, statistics, timeframes
from ..analytics.reports import ReportQuery
from ..analytics.subjects import SEND_CHANNELS
from ..analytics.timeframes import Timeframe
from ..data.resources import Resource, dig
from ..store.account import Account
from . import bodies, filter_grammar
from .bodies import refused
from .errors import ApiError
from .filter_grammar import Bare

# The first day for which Klaviyo has counts of segment members.
SEGMENTS_SINCE = date(2023, 6, 1)
# Values of a filter's list.
MOST_VALUES = 100
CHANNEL_VALUES = tuple(SEND_CHANNELS.values())
# Operators that a filter attribute allows.
SCALAR, LIST, FEW = ("contains-any", "equals"), ("contains-all", "contains-any"), ("any", "equals")


@dataclass(frozen=True)
class Report:
    """The rules of one endpoint.

    Args:
        kind: JSON:API type of the request and the answer.
        subject: "campaign", "flow", "form" or "segment".
        statistics: names that a request may ask for.
        filters: operators by attribute.
        groups: attributes to group by; if empty, the body has no `group_by`.
        default: groups of a request without `group_by`.
        needed: groups that every `group_by` has to name.
        converts: whether the body must have a conversion metric.
    """

    kind: str
    subject: str
    statistics: Iterable[str]
    filters: Mapping[str, tuple[str, ...]]
    groups: tuple[str, ...] = ()
    default: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    converts: bool = False

    @property
    def is_series(self) -> bool:
        """Whether there is a value for each interval."""
        return "-series-" in self.kind

    @property
    def required(self) -> list[str]:
        """Attributes that the body must have."""
        return ["statistics", "timeframe"] + ["interval"] * self.is_series + ["conversion_metric_id"] * self.converts

    @property
    def attributes(self) -> list[str]:
        """Attributes that the body may have."""
        return sorted([*self.required, "filter", *["group_by"] * bool(self.groups)])


def _filtered(scalars: str) -> Mapping[str, tuple[str, ...]]:
    return dict.fromkeys(scalars.split(), SCALAR) | {"tag_id": LIST, "tag_name": LIST}


_MESSAGE = ("send_channel", "tag_id", "tag_name", "text_message_format", "variation", "variation_name")


def _campaigns(kind: str) -> Report:
    return Report(
        kind,
        "campaign",
        statistics.MESSAGE_STATISTICS,
        _filtered(
            "campaign_id campaign_message_id campaign_message_name send_channel text_message_format variation"
            " variation_name"
        ),
        ("campaign_id", "campaign_message_id", "campaign_message_name", "group", "group_name", *_MESSAGE),
        ("campaign_id", "campaign_message_id", "send_channel"),
        ("campaign_id", "campaign_message_id"),
        converts=True,
    )


def _flows(kind: str) -> Report:
    return Report(
        kind,
        "flow",
        statistics.MESSAGE_STATISTICS,
        _filtered(
            "flow_id flow_message_id flow_message_name flow_name send_channel text_message_format variation"
            " variation_name"
        ),
        ("flow_id", "flow_message_id", "flow_message_name", "flow_name", *_MESSAGE),
        ("flow_id", "flow_message_id", "send_channel"),
        ("flow_id", "flow_message_id"),
        converts=True,
    )


def _forms(kind: str) -> Report:
    both = ("form_id", "form_version_id")
    return Report(kind, "form", statistics.FORM_STATISTICS, dict.fromkeys(both, FEW), both, ("form_id",), ("form_id",))


def _segments(kind: str) -> Report:
    return Report(kind, "segment", statistics.SEGMENT_STATISTICS, {"segment_id": FEW})


REPORTS = {
    f"/api/{report.kind}s": report
    for report in (
        _campaigns("campaign-values-report"),
        _flows("flow-values-report"),
        _flows("flow-series-report"),
        _forms("form-values-report"),
        _forms("form-series-report"),
        _segments("segment-values-report"),
        _segments("segment-series-report"),
    )
}
# Subject -> relationships of the answer: name -> (type, the grouping with the ids).
RELATED = {
    "campaign": {"campaigns": ("campaign", "campaign_id")},
    "flow": {"flows": ("flow", "flow_id"), "flow-messages": ("flow-message", "flow_message_id")},
}


def parse_body(report: Report, account: Account, body: bytes, content_type: str) -> tuple[ReportQuery, Any]:
    """Check a body.

    Returns:
        What it asks for, and its attributes as they were sent.

    Raises:
        ApiError: 400 or 415, with what is wrong and where.
    """
    given = bodies.attributes(body, content_type, report.kind, report.attributes, report.required)
    names = bodies.choices(given, "statistics", report.statistics)
    if not names:
        raise refused("'statistics' needs at least one value.", "statistics")
    interval = bodies.choice(given, "interval", timeframes.LONGEST_DAYS) if report.is_series else None
    timeframe = read_timeframe(given["timeframe"], interval, reports.account_zone(account), account.now)
    if report.subject == "segment" and timeframe.first < SEGMENTS_SINCE:
        raise refused("Data is unavailable before June 1st, 2023.", "timeframe")
    groups = report.default or ("segment_id",)
    if "group_by" in given:
        groups = tuple(bodies.choices(given, "group_by", report.groups))
        missing = [name for name in report.needed if name not in groups]
        if missing:
            raise refused(f"The following group bys are required: {', '.join(missing)}.", "group_by")
    metric = _conversion_metric(account, given["conversion_metric_id"]) if report.converts else None
    conditions = _conditions(report, given["filter"]) if "filter" in given else []
    return ReportQuery(names, timeframe, interval, groups, conditions, metric), given


def _conversion_metric(account: Account, given: Any) -> str:
    metric = account.stores["metric"].get(given) if isinstance(given, str) else None
    if metric is None:
        raise refused(f"A metric with id {given} does not exist.", "conversion_metric_id")
    if dig(metric, ["attributes", "integration", "category"]) == ["Internal"]:
        raise refused("Passed in conversion metric does not support querying for values data", "conversion_metric_id")
    return str(given)


def _conditions(report: Report, text: Any) -> list[tuple[str, str, list[str]]]:
    if not isinstance(text, str) or not text.strip():
        raise refused("'filter' must be a filter string.", "filter")
    inner = re.fullmatch(r"\s*and\((.*)\)\s*", text, re.DOTALL)
    try:
        parsed = filter_grammar.parse(inner[1] if inner else text)
    except ApiError as error:
        raise refused(error.detail, "filter") from None
    if len(parsed) > 1 and not inner:
        raise refused("Conditions are combined by and(...).", "filter")
    found: list[tuple[str, str, list[str]]] = []
    for operator, name, raw in parsed:
        allowed = report.filters.get(name)
        if allowed is None:
            known = ", ".join(report.filters)
            raise refused(f"'{name}' is not an allowed filter field; allowed: {known}.", "filter")
        if operator not in allowed:
            raise refused(
                f"'{operator}' is not an allowed operator for '{name}'; allowed: {', '.join(allowed)}.", "filter"
            )
        if name in [field for _, field, _ in found]:
            raise refused(f"Only one filter can be used per attribute: '{name}'.", "filter")
        values = raw if isinstance(raw, list) else [raw]
        if (operator == "equals") == isinstance(raw, list) or not values:
            raise refused(f"'{operator}' on '{name}' takes a {'string' if operator == 'equals' else 'list'}.", "filter")
        if len(values) > MOST_VALUES:
            raise refused(f"At most {MOST_VALUES} items are allowed in a list.", "filter")
        texts = [value for value in values if isinstance(value, str) and not isinstance(value, Bare)]
        if len(texts) < len(values):
            raise refused(f"'{name}' takes quoted strings.", "filter")
        if name == "send_channel" and not {*texts} <= {*CHANNEL_VALUES}:
            raise refused(f"'send_channel' allows {', '.join(CHANNEL_VALUES)}.", "filter")
        found.append((operator, name, texts))
    return found


def answer(
    report: Report,
    account: Account,
    body: bytes,
    content_type: str,
    parameters: Mapping[str, str],
    fields: frozenset[str] | None,
    link: Callable[[Mapping[str, str]], str],
    page_rows: int,
) -> Resource:
    """The document that answers a request.

    Args:
        fields: attributes of the answer to keep; None for all.
        link: the URL of this endpoint with some parameters.
        page_rows: rows of a page.

    Raises:
        ApiError: 400 or 415, with what is wrong and where.
    """
    query, given = parse_body(report, account, body, content_type)
    start = bodies.offset(given, parameters.get("page_cursor"), bodies.cursor_error())
    rows, starts = reports.results(report.subject, account, query)
    paged = bool(RELATED.get(report.subject))
    page = rows[start : start + page_rows] if paged else rows
    following = None
    if paged and start + page_rows < len(rows):
        following = link({**parameters, "page_cursor": bodies.token(given, start + page_rows)})
    attributes: Resource = {"results": page}
    if report.is_series:
        attributes["date_times"] = [timeframes.date_time(begin) for begin in starts]
    data: Resource = {
        "type": report.kind,
        "attributes": {name: value for name, value in attributes.items() if fields is None or name in fields},
    }
    relationships = {
        name: {
            "data": [
                {"type": kind, "id": identity} for identity in dict.fromkeys(row["groupings"][grouping] for row in page)
            ],
            "links": {"self": link({}) + f"/relationships/{name}/", "related": link({}) + f"/{name}/"},
        }
        for name, (kind, grouping) in RELATED.get(report.subject, {}).items()
    }
    if relationships:
        data["relationships"] = relationships
    return {"data": data, "links": {"self": link(parameters), "next": following, "prev": None}}


def read_timeframe(given: Any, interval: str | None, zone: ZoneInfo, now: datetime) -> Timeframe:
    """Check the timeframe of a body.

    Args:
        interval: of a series; None for values.
        zone: the timezone of the account.
        now: the present.

    Raises:
        ApiError: 400, the timeframe is invalid, or longer than the interval allows.
    """
    if not isinstance(given, dict) or not (set(given) == {"key"} or set(given) == {"start", "end"}):
        raise refused("A timeframe takes either a 'key', or a 'start' and an 'end'.", "timeframe")
    if "key" in given:
        try:
            bodies.choice(given, "key", timeframes.KEYS)
        except TypeError:
            raise refused("A timeframe's 'key' must be a string.", "timeframe") from None
        first, last = timeframes.KEYS[given["key"]](now.astimezone(zone).date())
    else:
        first, last = _day(given, "start"), _day(given, "end")
    if last < first:
        raise refused("The start of a timeframe must not be after its end.", "timeframe")
    if last >= _year_later(first):
        raise refused("The timeframe cannot be longer than 1 year.", "timeframe")
    longest = timeframes.LONGEST_DAYS.get(interval or "")
    if longest is not None and (last - first).days + 1 > longest:
        raise refused(f"The timeframe cannot be longer than {longest} days for the interval '{interval}'.", "timeframe")
    return Timeframe(first, last, zone)


def _day(given: dict[str, Any], name: str) -> date:
    try:
        # Klaviyo ignores the offset of a custom timeframe and reads the local time in the account's timezone.
        return datetime.fromisoformat(given[name]).date()
    except (ValueError, TypeError):
        raise refused(f"'{given[name]}' is not a valid datetime for '{name}'.", f"timeframe/{name}") from None


def _year_later(day: date) -> date:
    try:
        return day.replace(year=day.year + 1)
    except ValueError:
        # February 29.
        return date(day.year + 1, 3, 1)
