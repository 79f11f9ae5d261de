"""What Klaviyo's reports have to say of an account, worked out from its records, an event at a time.

Shares no code with the sandbox's reports: it walks whole JSON:API events and attributions, and knows one definition of
each statistic in words of its own. Days are the account's own; both ends of a period are included.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sandbox import Account
from tests.support.truth import Row, moment

CHANNELS = {"email": "email", "sms": "sms", "mobile_push": "push-notification", "whatsapp": "whatsapp"}
CENTS = Decimal("0.01")


@dataclass(frozen=True)
class Happening:
    """An event that counts for a message or form, and when it counts, as wall clock of the account."""

    metric: str
    metric_id: str
    profile: str | None
    properties: Row
    at: datetime
    subject: str


def zone(account: Account) -> ZoneInfo:
    """The timezone of an account."""
    return ZoneInfo(next(account.records("account"))["attributes"]["timezone"])


def metric_id(account: Account, name: str = "Placed Order") -> str:
    """The id of a metric, by name."""
    return str(next(m["id"] for m in account.records("metric") if m["attributes"]["name"] == name))


def _local(account: Account, event: Row) -> datetime:
    return moment(event["attributes"]["datetime"]).astimezone(zone(account)).replace(tzinfo=None)


def _to(record: Row, relationship: str) -> str | None:
    data = record["relationships"][relationship]["data"]
    return data["id"] if data else None


def _events(account: Account) -> dict[str, Row]:
    return {event["id"]: event for event in account.records("event")}


def _of_messages(account: Account, relationship: str) -> list[Happening]:
    """Events attributed to messages; each counts at the moment of what it is attributed to, a sending at its own."""
    events = _events(account)
    names = {metric["id"]: metric["attributes"]["name"] for metric in account.records("metric")}
    found = []
    for attribution in account.records("attribution"):
        event = events[_to(attribution, "event") or ""]
        message, metric = _to(attribution, relationship), _to(event, "metric")
        if message is None or metric is None:
            continue
        sending = names[metric].startswith(("Received ", "Bounced ", "Failed to Deliver "))
        earlier = None if sending else events.get(_to(attribution, "attributed-event") or "")
        found.append(
            Happening(
                names[metric],
                metric,
                _to(event, "profile"),
                event["attributes"]["event_properties"],
                _local(account, earlier or event),
                message,
            )
        )
    return found


def _number(value: Any) -> Decimal:
    return Decimal(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else Decimal()


def _part(part: Decimal | int, whole: Decimal | int) -> float:
    return float(Decimal(part) / Decimal(whole)) if whole else 0.0


def message_statistics(happened: Iterable[Happening], conversion_metric_id: str) -> Row:
    """All statistics of one message's happenings."""
    happened = list(happened)

    def named(*starts: str) -> list[Happening]:
        return [h for h in happened if h.metric.startswith(starts)]

    def people(chosen: list[Happening]) -> int:
        return len({h.profile for h in chosen})

    received, bounced, failed = named("Received "), named("Bounced "), named("Failed to Deliver ")
    opened, clicked, spam = named("Opened "), named("Clicked "), named("Marked Email as Spam")
    left, ordered = named("Unsubscribed from "), [h for h in happened if h.metric_id == conversion_metric_id]
    recipients = len(received) + len(bounced) + len(failed)
    value = sum((_number(h.properties.get("$value")) for h in ordered), Decimal())
    parts = sum((_number(h.properties.get("Segment Count")) for h in received), Decimal())
    credit = sum((_number(h.properties.get("$usage_amount")) for h in received), Decimal())
    return {
        "average_order_value": _part(value, len(ordered)),
        "bounce_rate": _part(len(bounced), recipients),
        "bounced": len(bounced),
        "bounced_or_failed": len(bounced) + len(failed),
        "bounced_or_failed_rate": _part(len(bounced) + len(failed), recipients),
        "click_rate": min(1.0, _part(people(clicked), len(received))),
        "click_to_open_rate": min(1.0, _part(people(clicked), people(opened))),
        "clicks": len(clicked),
        "clicks_unique": people(clicked),
        "conversion_rate": min(1.0, _part(people(ordered), len(received))),
        "conversion_uniques": people(ordered),
        "conversion_value": float(value),
        "conversions": len(ordered),
        "delivered": len(received),
        "delivery_rate": _part(len(received), recipients),
        "failed": len(failed),
        "failed_rate": _part(len(failed), recipients),
        "message_segment_count_sum": int(parts),
        "open_rate": min(1.0, _part(people(opened), len(received))),
        "opens": len(opened),
        "opens_unique": people(opened),
        "recipients": recipients,
        "revenue_per_recipient": _part(value, recipients),
        "spam_complaint_rate": min(1.0, _part(people(spam), len(received))),
        "spam_complaints": len(spam),
        "text_message_credit_usage_amount": int(credit),
        "text_message_roi": _part(value, credit * CENTS),
        "text_message_spend": float(credit * CENTS),
        "unsubscribe_rate": min(1.0, _part(people(left), len(received))),
        "unsubscribe_uniques": people(left),
        "unsubscribes": len(left),
    }


def form_statistics(happened: Iterable[Happening]) -> Row:
    """All statistics of one form's happenings."""
    happened = list(happened)
    named = {
        "closed_form": "Closed Form",
        "qualified_form": "Qualified Form",
        "submitted_form_step": "Submitted Form Step",
        "viewed_form": "Viewed Form",
        "viewed_form_step": "Viewed Form Step",
    }
    found: Row = {}
    for statistic, name in named.items():
        found[statistic] = sum(h.metric == name for h in happened)
        found[f"{statistic}_uniques"] = len({h.profile for h in happened if h.metric == name})
    submits = sum(h.metric == "Submitted Form" for h in happened)
    return found | {"submits": submits, "submit_rate": min(1.0, _part(submits, found["viewed_form"]))}


def _interval(at: datetime, interval: str) -> datetime:
    """The start of the interval of a moment."""
    if interval == "hourly":
        return datetime(at.year, at.month, at.day, at.hour)
    day = datetime(at.year, at.month, at.day)
    if interval == "weekly":
        while day.strftime("%a") != "Mon":
            day -= timedelta(days=1)
    return datetime(at.year, at.month, 1) if interval == "monthly" else day


def intervals(first: date, last: date, interval: str) -> list[datetime]:
    """The starts of the intervals that touch the days from the first to the last."""
    hour, found = datetime(first.year, first.month, first.day), []
    while hour.date() <= last:
        if (start := _interval(hour, interval)) not in found:
            found.append(start)
        hour += timedelta(hours=1)
    return found


def written(start: datetime) -> str:
    """As `date_times` writes it."""
    return f"{start:%Y-%m-%dT%H:%M:%S}+00:00"


def _campaign_messages(account: Account) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for campaign in account.records("campaign"):
        for reference in campaign["relationships"]["campaign-messages"]["data"]:
            message = account.record("campaign-message", reference["id"])
            assert message is not None
            definition = message["attributes"]["definition"]
            name, channel = definition.get("label") or campaign["attributes"]["name"], CHANNELS[definition["channel"]]
            media = (definition.get("content") or {}).get("media_url")
            row = {
                "campaign_id": campaign["id"],
                "campaign_message_id": campaign["id"] if campaign["id"] in account.named_by_campaign else message["id"],
                "campaign_message_name": name,
                "group": None,
                "group_name": None,
                "send_channel": channel,
                "text_message_format": None if channel != "sms" else "mms" if media else "sms",
                "variation": message["id"],
                "variation_name": name,
            }
            found[message["id"]] = _with_tags(account, campaign, row)
    return found


def _flow_messages(account: Account) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for message in account.records("flow-message"):
        action = account.record("flow-action", _to(message, "flow-action") or "")
        assert action is not None
        flow = account.record("flow", _to(action, "flow") or "")
        assert flow is not None
        channel = CHANNELS.get(message["attributes"]["channel"])
        if channel is None:
            continue
        definition = message["attributes"]["definition"]
        row = {
            "flow_id": flow["id"],
            "flow_message_id": message["id"],
            "flow_message_name": definition["name"],
            "flow_name": flow["attributes"]["name"],
            "send_channel": channel,
            "text_message_format": None if channel != "sms" else "mms" if definition.get("image_id") else "sms",
            "variation": message["id"],
            "variation_name": definition["name"],
        }
        found[message["id"]] = _with_tags(account, flow, row)
    return found


def _with_tags(account: Account, owner: Row, row: Row) -> list[Row]:
    """A row for each tag of a campaign or flow, one without where it has none."""
    rows = []
    for tag in owner["relationships"]["tags"]["data"]:
        record = account.record("tag", tag["id"])
        assert record is not None
        rows.append(row | {"tag_id": tag["id"], "tag_name": record["attributes"]["name"]})
    return rows or [row | {"tag_id": None, "tag_name": None}]


def _grouped(
    happened: Iterable[Happening],
    groupings_of: Callable[[Happening], list[Row]],
    group_by: tuple[str, ...],
    first: date,
    last: date,
) -> dict[tuple[str | None, ...], list[Happening]]:
    groups: dict[tuple[str | None, ...], list[Happening]] = defaultdict(list)
    for happening in happened:
        if first <= happening.at.date() <= last:
            for grouping in {tuple(row[name] for name in group_by) for row in groupings_of(happening)}:
                groups[grouping].append(happening)
    return groups


def _results(
    groups: dict[tuple[str | None, ...], list[Happening]],
    group_by: tuple[str, ...],
    statistics: Callable[[list[Happening]], Row],
    starts: list[datetime] | None,
    interval: str | None,
) -> list[Row]:
    rows: list[Row] = []
    for grouping, happened in groups.items():
        groupings: Row = dict(zip(group_by, grouping, strict=True))
        if starts is None or interval is None:
            rows.append({"groupings": groupings, "statistics": statistics(happened)})
            continue
        cells: dict[datetime, list[Happening]] = defaultdict(list)
        for happening in happened:
            cells[_interval(happening.at, interval)].append(happening)
        rows += [
            {"groupings": groupings, "date_time": written(start), "statistics": statistics(cells[start])}
            for start in starts
        ]
    return sorted(rows, key=place)


def place(row: Row) -> list[str]:
    """Sorts rows by their groupings and date."""
    return [str(value) for _, value in sorted(row["groupings"].items())] + [row.get("date_time", "")]


def campaign_values(
    account: Account,
    first: date,
    last: date,
    conversion_metric_id: str,
    group_by: tuple[str, ...] = ("campaign_id", "campaign_message_id", "send_channel"),
) -> list[Row]:
    """The campaign values report: `{"groupings", "statistics"}` of each grouping, sorted by `place`."""
    messages = _campaign_messages(account)
    happened = _relevant(_of_messages(account, "campaign-message"), conversion_metric_id)
    groups = _grouped(happened, lambda h: messages.get(h.subject, []), group_by, first, last)
    return _results(groups, group_by, lambda found: message_statistics(found, conversion_metric_id), None, None)


def _flow_groups(
    account: Account, first: date, last: date, conversion_metric_id: str, group_by: tuple[str, ...]
) -> dict[tuple[str | None, ...], list[Happening]]:
    messages = _flow_messages(account)
    happened = _relevant(_of_messages(account, "flow-message"), conversion_metric_id)
    return _grouped(happened, lambda h: messages.get(h.subject, []), group_by, first, last)


def _relevant(happened: list[Happening], conversion_metric_id: str) -> list[Happening]:
    """Those that some statistic counts: a message with nothing else has no row."""
    own = ("Received ", "Bounced ", "Failed to Deliver ", "Opened ", "Clicked ", "Marked Email", "Unsubscribed from ")
    return [h for h in happened if h.metric.startswith(own) or h.metric_id == conversion_metric_id]


def flow_values(
    account: Account,
    first: date,
    last: date,
    conversion_metric_id: str,
    group_by: tuple[str, ...] = ("flow_id", "flow_message_id", "send_channel"),
) -> list[Row]:
    """The flow values report: `{"groupings", "statistics"}` of each grouping, sorted by `place`."""
    groups = _flow_groups(account, first, last, conversion_metric_id, group_by)
    return _results(groups, group_by, lambda found: message_statistics(found, conversion_metric_id), None, None)


def flow_series(
    account: Account,
    first: date,
    last: date,
    conversion_metric_id: str,
    interval: str = "daily",
    group_by: tuple[str, ...] = ("flow_id", "flow_message_id", "send_channel"),
) -> list[Row]:
    """The flow series report: `{"groupings", "date_time", "statistics"}` of each grouping and interval.

    A grouping with anything in the period has a row for every interval of it.
    """
    groups = _flow_groups(account, first, last, conversion_metric_id, group_by)
    starts = intervals(first, last, interval)
    return _results(groups, group_by, lambda f: message_statistics(f, conversion_metric_id), starts, interval)


def _of_forms(account: Account) -> Iterator[Happening]:
    names = {metric["id"]: metric["attributes"]["name"] for metric in account.records("metric")}
    for event in account.records("event"):
        metric, properties = _to(event, "metric"), event["attributes"]["event_properties"]
        if metric is not None and names[metric].split()[-1] in ("Form", "Step") and "form_id" in properties:
            at = _local(account, event)
            yield Happening(names[metric], metric, _to(event, "profile"), properties, at, properties["form_id"])


def _form_groups(
    account: Account, first: date, last: date, group_by: tuple[str, ...]
) -> dict[tuple[str | None, ...], list[Happening]]:
    def groupings(happening: Happening) -> list[Row]:
        return [{name: happening.properties.get(name) for name in ("form_id", "form_version_id")}]

    return _grouped(_of_forms(account), groupings, group_by, first, last)


def form_values(account: Account, first: date, last: date, group_by: tuple[str, ...] = ("form_id",)) -> list[Row]:
    """The form values report: `{"groupings", "statistics"}` of each grouping, sorted by `place`."""
    return _results(_form_groups(account, first, last, group_by), group_by, form_statistics, None, None)


def form_series(
    account: Account, first: date, last: date, interval: str = "daily", group_by: tuple[str, ...] = ("form_id",)
) -> list[Row]:
    """The form series report: `{"groupings", "date_time", "statistics"}` of each grouping and interval."""
    groups = _form_groups(account, first, last, group_by)
    return _results(groups, group_by, form_statistics, intervals(first, last, interval), interval)


@dataclass(frozen=True)
class Left:
    """A profile that a test took out of a segment: when it had joined, and when it left."""

    segment_id: str
    joined: datetime
    left: datetime


def _segment_statistics(account: Account, segment_id: str, low: datetime, high: datetime, left: list[Left]) -> Row:
    """Statistics of `[low, high)`, aware moments."""
    joins = [*account.members("segment", segment_id).values()]
    joins += [gone.joined for gone in left if gone.segment_id == segment_id]
    leaves = [gone.left for gone in left if gone.segment_id == segment_id]
    high = min(high, account.now + timedelta(seconds=1))
    added, removed = (sum(low <= moment_ < high for moment_ in moments) for moments in (joins, leaves))
    return {
        "members_added": added,
        "members_removed": removed,
        "net_members_changed": added - removed,
        "total_members": sum(moment_ < high for moment_ in joins) - sum(moment_ < high for moment_ in leaves),
    }


def segment_values(account: Account, first: date, last: date, left: Iterable[Left] = ()) -> list[Row]:
    """The segment values report: `{"groupings", "statistics"}` of each segment, sorted by `place`.

    Args:
        left: who left a segment, which the account itself does not remember.
    """
    return [
        {"groupings": row["groupings"], "statistics": row["statistics"]}
        for row in _segment_rows(account, [(datetime(first.year, first.month, first.day), last)], list(left))
    ]


def segment_series(
    account: Account, first: date, last: date, interval: str = "daily", left: Iterable[Left] = ()
) -> list[Row]:
    """The segment series report: `{"groupings", "date_time", "statistics"}` of each segment and interval."""
    begin = datetime(first.year, first.month, first.day)
    starts = intervals(first, last, interval)
    ends = [*starts[1:], datetime(last.year, last.month, last.day) + timedelta(days=1)]
    rows = []
    for start, end in zip(starts, ends, strict=True):
        for row in _segment_rows(account, [(max(start, begin), end)], list(left)):
            rows.append(row | {"date_time": written(start)})
    return sorted(rows, key=place)


def _segment_rows(account: Account, periods: list[tuple[datetime, date]], left: list[Left]) -> list[Row]:
    rows = []
    for start, until in periods:
        # a date is the last day, a datetime the first moment after
        end = until if isinstance(until, datetime) else datetime(until.year, until.month, until.day) + timedelta(days=1)
        low, high = (wall.replace(tzinfo=zone(account)) for wall in (start, end))
        for segment in account.records("segment"):
            statistics = _segment_statistics(account, segment["id"], low, high, left)
            rows.append({"groupings": {"segment_id": segment["id"]}, "statistics": statistics})
    return sorted(rows, key=place)


def late_order(account: Account, sending: Row, at: datetime, value: float) -> str:
    """Add an order that comes in later and is attributed to the message of a sending; its event's id.

    Args:
        sending: an attribution of the event of the sending.
        at: when the order was placed.
    """
    event_id = account.add(
        "event",
        {
            "attributes": {"datetime": at, "event_properties": {"$value": value}},
            "relationships": {"metric": metric_id(account)},
        },
    )
    links = {name: told["data"]["id"] for name, told in sending["relationships"].items() if told["data"]}
    links |= {"event": event_id, "attributed-event": links["event"]}
    attribution_id = account.add("attribution", {"relationships": links})
    event = account.record("event", event_id)
    assert event is not None
    event["relationships"]["attributions"]["data"] = [{"type": "attribution", "id": attribution_id}]
    account.put("event", event)
    return event_id


def _dimensions(account: Account, by: tuple[str, ...]) -> Callable[[Row], list[tuple[str, ...]]]:
    """What tells the dimensions of an event."""
    messages = {**_campaign_messages(account), **_flow_messages(account)}
    touches: dict[str, list[Row]] = defaultdict(list)
    for attribution in account.records("attribution"):
        touches[_to(attribution, "event") or ""].append(attribution)

    def one(event: Row, touch: Row | None, name: str) -> str:
        properties = event["attributes"]["event_properties"]
        attributed = (_to(touch, "campaign-message") or _to(touch, "flow-message") or "") if touch else ""
        of_property = properties.get("$message", "")
        told = {
            "$attributed_flow": (_to(touch, "flow") or "") if touch else "",
            "$attributed_message": attributed,
            "$attributed_variation": attributed,
            "$attributed_channel": (messages.get(attributed) or [{}])[0].get("send_channel", ""),
            "$flow": (messages.get(of_property) or [{}])[0].get("flow_id", ""),
            "$variation": of_property,
        }
        value = told[name] if name in told else properties.get(name, "")
        return str(value) if isinstance(value, str | int | float) else ""

    def values(event: Row) -> list[tuple[str, ...]]:
        by_touch = any(name.startswith("$attributed") for name in by)
        chosen: list[Row | None] = [*touches.get(event["id"], [])] if by_touch else []
        return sorted({tuple(one(event, touch, name) for name in by) for touch in chosen or [None]})

    return values


def aggregates(
    account: Account,
    metric: str,
    start: datetime,
    end: datetime,
    interval: str = "day",
    by: tuple[str, ...] = (),
    timezone: str = "UTC",
) -> dict[tuple[tuple[str, ...], datetime], Row]:
    """Metric aggregates of `[start, end)`: (dimensions, start of the interval, aware) -> measurements, empty ones left out.

    Args:
        start, end: aware.
    """
    dimensions = _dimensions(account, by)
    cells: dict[tuple[tuple[str, ...], datetime], list[Row]] = defaultdict(list)
    for event in account.records("event"):
        at = moment(event["attributes"]["datetime"]).replace(microsecond=0)
        if _to(event, "metric") != metric or not start <= at < end:
            continue
        wall = at.astimezone(ZoneInfo(timezone))
        if interval == "hour":
            begin = wall.replace(minute=0, second=0)
        else:
            naive = _interval(
                wall.replace(tzinfo=None), {"day": "daily", "week": "weekly", "month": "monthly"}[interval]
            )
            begin = naive.replace(tzinfo=ZoneInfo(timezone))
        for value in dimensions(event):
            cells[value, begin.astimezone(UTC)].append(event)
    return {
        key: {
            "count": len(found),
            "sum_value": float(
                sum((_number(e["attributes"]["event_properties"].get("$value")) for e in found), Decimal())
            ),
            "unique": len({_to(event, "profile") for event in found}),
        }
        for key, found in cells.items()
    }
