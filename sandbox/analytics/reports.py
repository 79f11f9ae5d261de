"""Klaviyo's reporting: statistics of campaigns, flows, forms and segments, as values of a timeframe or as a series.

The bodies of these requests are the same in all revisions that the sandbox speaks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from ..http import bodies
from ..http import filter_grammar as filters
from ..http.bodies import refused
from ..http.errors import ApiError
from ..http.filter_grammar import Bare
from ..store.account import Account
from ..store.events import Sketch
from ..store.store import Resource, dig
from . import statistics as tally
from . import timeframes
from .statistics import Tally
from .timeframes import Timeframe

#: Klaviyo counts the members of segments since then.
SEGMENTS_SINCE = datetime(2023, 6, 1).date()  # noqa: DTZ001  a day, whatever the timezone
MOST_VALUES = 100
# what a message's channel is called in reports; messages of other channels are in none
SEND_CHANNELS = {"email": "email", "sms": "sms", "mobile_push": "push-notification", "whatsapp": "whatsapp"}
CHANNEL_VALUES = tuple(SEND_CHANNELS.values())
SCALAR, LIST, FEW = ("contains-any", "equals"), ("contains-all", "contains-any"), ("any", "equals")


@dataclass(frozen=True)
class Report:
    """One endpoint.

    Args:
        subject: what its rows are of.
        statistics: names that can be asked for.
        groups: attributes that can be grouped by; none means that the body takes no `group_by`.
        default, needed: groups without a `group_by`, and groups that any `group_by` has to name.
        filters: operators by attribute.
        converts: whether there has to be a conversion metric.
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
        tally.MESSAGE_STATISTICS,
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
        tally.MESSAGE_STATISTICS,
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
    return Report(kind, "form", tally.FORM_STATISTICS, dict.fromkeys(both, FEW), both, ("form_id",), ("form_id",))


def _segments(kind: str) -> Report:
    return Report(kind, "segment", tally.SEGMENT_STATISTICS, {"segment_id": FEW})


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


@dataclass(frozen=True)
class Question:
    """A body, checked."""

    statistics: list[str]
    timeframe: Timeframe
    interval: str | None
    groups: tuple[str, ...]
    conditions: list[tuple[str, str, list[str]]]
    conversion_metric: str | None


@dataclass(frozen=True)
class Subject:
    """What a row can be of: a message, a form's version, a segment. `tags` are (id, name)."""

    attributes: dict[str, str | None]
    tags: tuple[tuple[str, str], ...] = ()

    def values(self, attribute: str) -> list[str | None]:
        """The values that a filter on an attribute looks at."""
        if attribute in ("tag_id", "tag_name"):
            return [tag[attribute == "tag_name"] for tag in self.tags]
        return [self.attributes[attribute]]

    def fits(self, conditions: list[tuple[str, str, list[str]]]) -> bool:
        """Whether all conditions hold."""
        for operator, attribute, wanted in conditions:
            found = self.values(attribute)
            if not (all if operator == "contains-all" else any)(value in found for value in wanted):
                return False
        return True

    def groupings(self, groups: tuple[str, ...]) -> list[tuple[str | None, ...]]:
        """What its rows are grouped by: once for each tag where it is grouped by tags."""
        tagged = bool({"tag_id", "tag_name"} & {*groups})
        tags: list[tuple[str | None, str | None]] = [*self.tags] if tagged and self.tags else [(None, None)]
        found = []
        for tag_id, tag_name in tags:
            values = self.attributes | {"tag_id": tag_id, "tag_name": tag_name}
            found.append(tuple(values[name] for name in groups))
        return list(dict.fromkeys(found))


@dataclass
class Rows:
    """Results by grouping: `cell(grouping, start of interval)` makes what is not there."""

    cells: dict[tuple[str | None, ...], dict[datetime | None, Tally]] = field(default_factory=dict)

    def cell(self, grouping: tuple[str | None, ...], start: datetime | None) -> Tally:
        """The tally of a grouping and an interval."""
        starts = self.cells.setdefault(grouping, {})
        if start not in starts:
            starts[start] = Tally()
        return starts[start]


def account_zone(account: Account) -> ZoneInfo:
    """The timezone of an account."""
    told = next(iter(account.stores["account"]))["attributes"]["timezone"]
    return ZoneInfo(told)


def ask(report: Report, account: Account, body: bytes, content_type: str) -> tuple[Question, Any]:
    """The question of a request, and its attributes as they were sent.

    Raises:
        ApiError: 400 or 415, with what is wrong and where.
    """
    told = bodies.attributes(body, content_type, report.kind, report.attributes, report.required)
    statistics = bodies.choices(told, "statistics", report.statistics)
    if not statistics:
        raise refused("'statistics' needs at least one value.", "statistics")
    interval = bodies.choice(told, "interval", timeframes.LONGEST_DAYS) if report.is_series else None
    timeframe = timeframes.read(told["timeframe"], interval, account_zone(account), account.now)
    if report.subject == "segment" and timeframe.first < SEGMENTS_SINCE:
        raise refused("Data is unavailable before June 1st, 2023.", "timeframe")
    groups = report.default or ("segment_id",)
    if "group_by" in told:
        groups = tuple(bodies.choices(told, "group_by", report.groups))
        missing = [name for name in report.needed if name not in groups]
        if missing:
            raise refused(f"The following group bys are required: {', '.join(missing)}.", "group_by")
    metric = _conversion_metric(account, told["conversion_metric_id"]) if report.converts else None
    conditions = _conditions(report, told["filter"]) if "filter" in told else []
    return Question(statistics, timeframe, interval, groups, conditions, metric), told


def _conversion_metric(account: Account, told: Any) -> str:
    metric = account.stores["metric"].get(told) if isinstance(told, str) else None
    if metric is None:
        raise refused(f"A metric with id {told} does not exist.", "conversion_metric_id")
    if dig(metric, ["attributes", "integration", "category"]) == ["Internal"]:
        raise refused("Passed in conversion metric does not support querying for values data", "conversion_metric_id")
    return str(told)


def _conditions(report: Report, text: Any) -> list[tuple[str, str, list[str]]]:
    if not isinstance(text, str) or not text.strip():
        raise refused("'filter' must be a filter string.", "filter")
    inner = re.fullmatch(r"\s*and\((.*)\)\s*", text, re.DOTALL)
    try:
        parsed = filters.parse(inner[1] if inner else text)
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


def results(report: Report, account: Account, question: Question) -> tuple[list[Resource], list[datetime]]:
    """All rows of the answer, in a fixed order, and the intervals of a series."""
    starts = question.timeframe.intervals(question.interval) if question.interval else []
    columns: list[datetime | None] = [*starts] if question.interval else [None]
    rows = []
    for grouping, cells in _SUBJECTS[report.subject](account, question):
        values = {name: [cell(name) for cell in map(cells, columns)] for name in question.statistics}
        rows.append(
            {
                "groupings": dict(zip(question.groups, grouping, strict=True)),
                "statistics": values if question.interval else {name: found[0] for name, found in values.items()},
            }
        )
    rows.sort(key=lambda row: [str(value) for value in row["groupings"].values()])
    return rows, starts


# (grouping, (start of an interval -> (statistic -> value)))
Answered = Iterator[tuple[tuple[str | None, ...], Callable[[datetime | None], Callable[[str], float]]]]


def _counted(rows: Rows, statistics: Mapping[str, tally.Statistic]) -> Answered:
    nothing = Tally()
    for grouping, cells in rows.cells.items():
        yield (
            grouping,
            lambda start, cells=cells: lambda name: statistics[name](cells.get(start, nothing)),  # type: ignore[misc]
        )


def _roles(account: Account, names: Mapping[str, str]) -> dict[str, str]:
    """Metric id -> role, of Klaviyo's own metrics."""
    return {
        str(metric["id"]): names[name]
        for metric in account.stores["metric"]
        for name in dig(metric, ["attributes", "name"])
        if name in names and dig(metric, ["attributes", "integration", "name"]) == ["Klaviyo"]
    }


def _message_answers(account: Account, question: Question, relation: str, subjects: dict[str, Subject]) -> Answered:
    roles = _roles(account, tally.MESSAGE_ROLES)
    events = account.events
    frame = question.timeframe
    low, high = frame.low, frame.high

    def wanted(sketch: Sketch) -> bool:
        told = any(touch.get(relation) in subjects for touch in sketch.touches)
        return told and (sketch.metric in roles or sketch.metric == question.conversion_metric)

    rows = Rows()
    groupings = {identity: subject.groupings(question.groups) for identity, subject in subjects.items()}
    for number, sketch in events.sketched(low, high, wanted, account.attributions, brought=True):
        role = roles.get(sketch.metric)
        for touch in sketch.touches:
            second = events.when(number) if role in tally.SENDING else events.sent(number, touch)
            if not low <= second <= high:
                continue
            start = frame.interval_of(second, question.interval) if question.interval else None
            for grouping in groupings.get(touch.get(relation, ""), ()):
                cell = rows.cell(grouping, start)
                if role:
                    cell.add(role, events.who(number))
                    if role == "delivered":
                        cell.add_text(sketch)
                if sketch.metric == question.conversion_metric:
                    cell.add("conversions", events.who(number))
                    cell.sums["value"] += events.worth(number)
    return _counted(rows, tally.MESSAGE_STATISTICS)


def _tags(account: Account, kind: str, owner: Resource) -> tuple[tuple[str, str], ...]:
    found = ((target, account.stores["tag"].get(target)) for target in account.related(kind, owner, "tags"))
    return tuple((target, str(tag["attributes"]["name"])) for target, tag in found if tag is not None)


def _first(found: list[Any]) -> str | None:
    return next((str(value) for value in found if value is not None), None)


def campaign_messages(account: Account) -> dict[str, Subject]:
    """The messages of campaigns, by id."""
    found = {}
    for message in account.stores["campaign-message"]:
        campaign_id = _first(dig(message, ["relationships", "campaign", "data", "id"])) or ""
        campaign = account.stores["campaign"].get(campaign_id)
        channel = SEND_CHANNELS.get(account.channel(campaign)) if campaign else None
        if campaign is None or channel is None:
            continue
        name = _first(dig(message, ["attributes", "definition", "label"])) or str(campaign["attributes"]["name"])
        media = _first(dig(message, ["attributes", "definition", "content", "media_url"]))
        found[str(message["id"])] = Subject(
            {
                "campaign_id": campaign_id,
                "campaign_message_id": str(message["id"]),
                "campaign_message_name": name,
                "group": None,
                "group_name": None,
                **_sent(message, name, channel, media),
            },
            _tags(account, "campaign", campaign),
        )
    return found


def _sent(message: Resource, name: str | None, channel: str, picture: str | None) -> dict[str, str | None]:
    """The groupings that messages of campaigns and of flows share."""
    return {
        "send_channel": channel,
        "text_message_format": ("mms" if picture else "sms") if channel == "sms" else None,
        "variation": str(message["id"]),
        "variation_name": name,
    }


def flow_messages(account: Account) -> dict[str, Subject]:
    """The messages of flows, by id."""
    found = {}
    for message in account.stores["flow-message"]:
        action = account.stores["flow-action"].get(
            _first(dig(message, ["relationships", "flow-action", "data", "id"])) or ""
        )
        flow_id = _first(dig(action, ["relationships", "flow", "data", "id"])) or ""
        flow = account.stores["flow"].get(flow_id)
        channel = SEND_CHANNELS.get(_first(dig(message, ["attributes", "channel"])) or "")
        if flow is None or channel is None:
            continue
        name = _first(dig(message, ["attributes", "definition", "name"]))
        image = _first(dig(message, ["attributes", "definition", "image_id"]))
        found[str(message["id"])] = Subject(
            {
                "flow_id": flow_id,
                "flow_message_id": str(message["id"]),
                "flow_message_name": name,
                "flow_name": str(flow["attributes"]["name"]),
                **_sent(message, name, channel, image),
            },
            _tags(account, "flow", flow),
        )
    return found


def _fitting(subjects: dict[str, Subject], question: Question) -> dict[str, Subject]:
    return {identity: subject for identity, subject in subjects.items() if subject.fits(question.conditions)}


def _of_campaigns(account: Account, question: Question) -> Answered:
    return _message_answers(account, question, "campaign-message", _fitting(campaign_messages(account), question))


def _of_flows(account: Account, question: Question) -> Answered:
    return _message_answers(account, question, "flow-message", _fitting(flow_messages(account), question))


def _of_forms(account: Account, question: Question) -> Answered:
    roles = _roles(account, tally.FORM_ROLES)
    events = account.events
    frame = question.timeframe

    def subject_of(sketch: Sketch) -> Subject:
        told = {name: sketch.properties.get(name) for name in ("form_id", "form_version_id")}
        return Subject({name: None if value is None else str(value) for name, value in told.items()})

    def wanted(sketch: Sketch) -> bool:
        told = subject_of(sketch)
        return sketch.metric in roles and told.attributes["form_id"] is not None and told.fits(question.conditions)

    rows = Rows()
    for number, sketch in events.sketched(frame.low, frame.high, wanted, account.attributions):
        start = frame.interval_of(events.when(number), question.interval) if question.interval else None
        for grouping in subject_of(sketch).groupings(question.groups):
            rows.cell(grouping, start).add(roles[sketch.metric], events.who(number))
    return _counted(rows, tally.FORM_STATISTICS)


def _of_segments(account: Account, question: Question) -> Answered:
    frame = question.timeframe
    now = account.now.timestamp()
    starts = frame.intervals(question.interval) if question.interval else []
    ends = dict(pairwise(starts))

    def second(wall: datetime) -> int:
        return int(wall.replace(tzinfo=frame.zone).timestamp())

    for segment in account.stores["segment"]:
        identity = str(segment["id"])
        if not Subject({"segment_id": identity}).fits(question.conditions):
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


_SUBJECTS: dict[str, Callable[[Account, Question], Answered]] = {
    "campaign": _of_campaigns,
    "flow": _of_flows,
    "form": _of_forms,
    "segment": _of_segments,
}
# relationships of the answer: name -> (type, the grouping that holds the ids)
RELATED = {
    "campaign": {"campaigns": ("campaign", "campaign_id")},
    "flow": {"flows": ("flow", "flow_id"), "flow-messages": ("flow-message", "flow_message_id")},
}


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
        link: address of this endpoint with parameters.
        page_rows: rows a page.

    Raises:
        ApiError: 400 or 415, with what is wrong and where.
    """
    question, told = ask(report, account, body, content_type)
    start = bodies.offset(told, parameters.get("page_cursor"), bodies.cursor_error())
    rows, starts = results(report, account, question)
    paged = bool(RELATED.get(report.subject))
    page = rows[start : start + page_rows] if paged else rows
    following = None
    if paged and start + page_rows < len(rows):
        following = link({**parameters, "page_cursor": bodies.token(told, start + page_rows)})
    attributes: Resource = {"results": page}
    if report.is_series:
        attributes["date_times"] = [timeframes.written(begin) for begin in starts]
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
