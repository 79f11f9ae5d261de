"""Metric aggregates: what the body of their request may ask, and the document that answers it.

The token of the next page goes into the body, as `page_cursor`; `links.next` shows it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from ..analytics.metric_aggregates import AggregateQuery, results
from ..data.resources import Resource
from ..data.timestamps import iso
from ..store.account import Account
from . import bodies, filter_grammar
from .bodies import refused
from .errors import ApiError
from .filter_grammar import Bare

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
# IANA timezones that Klaviyo does not accept.
NO_TIMEZONES = {"Factory", "Europe/Kyiv", "Pacific/Kanton"}
OPERATORS = ("any", "contains", "equals")


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - NO_TIMEZONES)


def parse_attributes(account: Account, given: dict[str, Any]) -> AggregateQuery:
    """Check the attributes of a body.

    Raises:
        ApiError: 400, with what is wrong and where.
    """
    if not isinstance(given["metric_id"], str) or account.stores["metric"].get(given["metric_id"]) is None:
        raise refused(f"Metric IDs ['{given['metric_id']}'] do not exist.", "metric_id")
    measurements = bodies.choices(given, "measurements", MEASUREMENTS)
    if not measurements:
        raise refused("'measurements' needs at least one value.", "measurements")
    by = bodies.choices(given, "by", DIMENSIONS) if "by" in given else []
    zone = given.get("timezone", "UTC")
    if not isinstance(zone, str) or zone not in _zones():
        raise refused(f"'{zone}' is not a supported timezone.", "timezone")
    sort = given.get("sort")
    sortable = [*measurements, *by]
    if sort is not None and (not isinstance(sort, str) or sort.removeprefix("-") not in sortable):
        raise refused(f"'{sort}' is not a valid sort; allowed here: {', '.join(sortable)}.", "sort")
    page_rows = given.get("page_size", PAGE_ROWS)
    if isinstance(page_rows, bool) or not isinstance(page_rows, int) or not 1 <= page_rows <= PAGE_ROWS:
        raise refused(f"Page size must be an integer between 1 and {PAGE_ROWS}.", "page_size")
    fields = given.get("return_fields", [])
    if not isinstance(fields, list) or not all(isinstance(name, str) for name in fields):
        raise refused("'return_fields' must be a list of strings.", "return_fields")
    low, high, conditions = _filters(given["filter"], ZoneInfo(zone))
    interval = bodies.choice(given, "interval", INTERVALS) if "interval" in given else "day"
    return AggregateQuery(
        given["metric_id"], measurements, interval, by, low, high, conditions, ZoneInfo(zone), sort, page_rows
    )


def _filters(given: Any, zone: ZoneInfo) -> tuple[int, int, list[tuple[str, str, list[str]]]]:
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise refused("'filter' must be a list of filter strings.", "filter")
    bounds: dict[str, datetime] = {}
    conditions = []
    for text in given:
        try:
            parsed = filter_grammar.parse(text)
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
    # Events have whole seconds: round both bounds up.
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
        link: the URL of the endpoint with some parameters.

    Raises:
        ApiError: 400 or 415, with what is wrong and where.
    """
    given = bodies.attributes(body, content_type, KIND, ATTRIBUTES, REQUIRED)
    query = parse_attributes(account, given)
    asked = {name: value for name, value in given.items() if name != "page_cursor"}
    first = bodies.offset(asked, given.get("page_cursor"), refused("Invalid page cursor.", "page_cursor"))
    starts, rows = results(account, query)
    stop = first + query.page_rows
    following = link({"page_cursor": bodies.token(asked, stop)}) if stop < len(rows) else None
    attributes = {"dates": [iso(start) for start in starts], "data": rows[first:stop]}
    kept = (fields or frozenset(attributes)) & frozenset(given.get("return_fields") or attributes)
    return {
        "data": {
            "type": KIND,
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, repr(asked))),
            "attributes": {name: value for name, value in attributes.items() if name in kept},
            "links": {"self": link({})},
        },
        "links": {"self": link({}), "next": following, "prev": None},
    }
