"""Endpoint x window -> request. The only place that knows Klaviyo's filter grammar. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit
from zoneinfo import ZoneInfo

import msgspec

from .. import calendar as periods
from ..calendar import Interval
from ..catalog.model import NO_VARIANT, Analytics, AnalyticsApi, AnalyticsQuery, Endpoint, Ops, Variant
from ..windows import BEGINNING, END_OF_TIME, Window


def bounds(endpoint: Endpoint, window: Window) -> str:
    """The window in the operators that this endpoint has; empty where nothing bounds it.

    Strict lower bounds are widened by a second, since a window includes its start. Whatever comes too much
    (that second, the end itself, all that lies above an endpoint without an upper bound) is cut by value after
    reading: see `surplus`.
    """
    cursor = endpoint.cursor
    if cursor is None:
        return ""
    terms = []
    if window.start > BEGINNING or cursor.always:
        if cursor.ops in (Ops.RANGE, Ops.CLOSED, Ops.SINCE):
            terms.append(f"greater-or-equal({cursor.field},{literal(window.start)})")
        else:
            terms.append(f"greater-than({cursor.field},{literal(window.start - timedelta(seconds=1))})")
    if window.end < END_OF_TIME:
        if cursor.ops in (Ops.RANGE, Ops.STRICT):
            terms.append(f"less-than({cursor.field},{literal(window.end)})")
        elif cursor.ops is Ops.CLOSED:
            terms.append(f"less-or-equal({cursor.field},{literal(window.end)})")
    return ",".join(terms)


def surplus(endpoint: Endpoint, asked: Window, window: Window) -> list[Window]:
    """What the answers hold beyond the window, to be cut by value.

    No more than that is cut: a record whose value lies where the request cannot reach is kept, since no other window
    would bring it either.

    Args:
        asked: the window that the request was made for.
        window: what is left of it, if somebody else reads its later part.
    """
    second, found = timedelta(seconds=1), []
    ops = endpoint.cursor.ops if endpoint.cursor else None
    if ops in (Ops.STRICT, Ops.AFTER) and window.start > BEGINNING:
        found.append(Window(window.start - second, window.start))
    if window.end < asked.end:
        found.append(Window(window.end, asked.end))
    if ops is Ops.CLOSED and asked.end < END_OF_TIME:
        found.append(Window(asked.end, asked.end + second))
    elif ops in (Ops.AFTER, Ops.SINCE) and asked.end < END_OF_TIME:
        found.append(Window(asked.end, END_OF_TIME))
    return found


def literal(moment: datetime) -> str:
    """A moment as Klaviyo's filters take it: UTC, whole seconds, `Z` (a `+` would arrive as a space)."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def url(
    endpoint: Endpoint,
    *,
    window: Window | None = None,
    variant: Variant = NO_VARIANT,
    parent_id: str | None = None,
    include: Sequence[str] = (),
    fields: Mapping[str, Sequence[str]] | None = None,
    additional_fields: Sequence[str] = (),
    page_size: int | None = None,
    sort: str | None = None,
) -> str:
    """Path and query of the first page of one chain of requests; the next ones come from `links.next`."""
    path, named = endpoint.path, ""
    if parent_id is not None and endpoint.parent is not None and endpoint.parent.filter is not None:
        named = f"equals({endpoint.parent.filter},{json.dumps(parent_id)})"
    elif parent_id is not None:
        path = path.replace("{id}", quote(parent_id, safe=""))
    parameters: dict[str, str] = {}
    if include:
        parameters["include"] = ",".join(include)
    for kind, names in (fields or {}).items():
        parameters[f"fields[{kind}]"] = ",".join(names)
    if additional_fields:
        parameters[f"additional-fields[{endpoint.type}]"] = ",".join(additional_fields)
    terms = [term for term in (named, variant.filter, bounds(endpoint, window) if window else "") if term]
    if terms:
        parameters["filter"] = ",".join(terms)
    if sort is not None:
        parameters["sort"] = sort
    elif endpoint.cursor and endpoint.cursor.ascending:
        parameters["sort"] = endpoint.cursor.field
    if endpoint.page_size is not None:
        parameters["page[size]"] = str(page_size or endpoint.page_size)
    return f"{path}?{urlencode(parameters, quote_via=quote)}" if parameters else path


_REPORT_INTERVALS: Mapping[Interval, str] = {"hour": "hourly", "day": "daily", "week": "weekly", "month": "monthly"}

#: Metric aggregates know these by their former names alone [the OpenAPI file says so].
_FORMER_ZONES = {"Europe/Kyiv": "Europe/Kiev", "Pacific/Kanton": "Pacific/Enderbury"}


def body(
    endpoint: Endpoint, analytics: Analytics, analytics_query: AnalyticsQuery, window: Window, variant: Variant
) -> bytes:
    """What a POST asks an endpoint that counts: the analytics_query of one window, of the variant's metric if it takes one."""
    make = _report if analytics.api is AnalyticsApi.REPORT else _aggregate
    attributes = make(analytics, analytics_query, window, variant)
    return json.dumps({"data": {"type": endpoint.type, "attributes": attributes}}, ensure_ascii=False).encode()


def _report(analytics: Analytics, analytics_query: AnalyticsQuery, window: Window, variant: Variant) -> dict[str, Any]:
    first, last = periods.days(window, ZoneInfo(analytics_query.zone))
    # Klaviyo wants an offset and ignores it: the clock is the account's.
    attributes: dict[str, Any] = {
        "statistics": list(analytics_query.statistics),
        "timeframe": {"start": f"{first.isoformat()}+00:00", "end": f"{last.isoformat()}+00:00"},
    }
    if analytics.series:
        attributes["interval"] = _REPORT_INTERVALS[analytics_query.interval]
    if analytics.default_metric is not None:
        attributes["conversion_metric_id"] = variant.metric
    if analytics_query.groups:
        attributes["group_by"] = list(analytics_query.groups)
    if analytics_query.filter:
        attributes["filter"] = analytics_query.filter
    return attributes


def _aggregate(
    analytics: Analytics, analytics_query: AnalyticsQuery, window: Window, variant: Variant
) -> dict[str, Any]:
    # With an offset these are moments, whatever Klaviyo makes of the timezone beside them.
    bounds = [f"greater-or-equal(datetime,{window.start.isoformat()})", f"less-than(datetime,{window.end.isoformat()})"]
    attributes: dict[str, Any] = {
        "metric_id": variant.metric,
        "measurements": list(analytics_query.statistics),
        "interval": analytics_query.interval,
        "filter": bounds,
        "timezone": _FORMER_ZONES.get(analytics_query.zone, analytics_query.zone),
    }
    if analytics_query.groups:
        attributes["by"] = list(analytics_query.groups)
    return attributes


def context_of(analytics_query: AnalyticsQuery, window: Window) -> dict[str, str | None]:
    """What a request of an endpoint that counts knows, and the answer does not say."""
    return {
        "interval": analytics_query.interval,
        "timezone": analytics_query.zone,
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
        "groups": msgspec.json.encode(analytics_query.groups).decode(),
    }


def following(endpoint: Endpoint, path: str, asked: bytes | None, link: str) -> tuple[str, bytes | None]:
    """Path and body of the next page, from those of this one and what it links to."""
    if asked is None or endpoint.analytics is None or endpoint.analytics.api is not AnalyticsApi.AGGREGATE:
        return link, asked
    # Here the cursor goes back in the body.
    parameters = parse_qs(urlsplit(link).query)
    found = parameters.get("page_cursor") or parameters.get("page[cursor]")
    if not found:
        return link, asked
    document = json.loads(asked)
    document["data"]["attributes"]["page_cursor"] = found[0]
    return path, json.dumps(document, ensure_ascii=False).encode()
