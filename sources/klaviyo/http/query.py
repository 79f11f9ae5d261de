"""Endpoint and window -> path, query and body of a request. Pure.

The only module that turns half-open windows into the filter operators and timeframes that Klaviyo has.
"""

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
    """The filter for a window, in the operators that this endpoint has; empty where the window needs none.

    A strict lower bound is widened by 1 s, since a window includes its start. Records outside the window that such a
    filter lets through (that second, the end itself, everything later where there is no upper bound) are cut by value
    after reading: see `surplus`.
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


def surplus(endpoint: Endpoint, requested: Window, window: Window) -> list[Window]:
    """The windows beyond `window` that the answers can contain, to be cut by value.

    Nothing else is cut: a record with a value that the filter should have excluded is kept, since no other window would
    return it either.

    Args:
        requested: the window that the request was made for.
        window: the part of it that is still to be read, if another chain took over its later part.
    """
    second, beyond = timedelta(seconds=1), []
    ops = endpoint.cursor.ops if endpoint.cursor else None
    if ops in (Ops.STRICT, Ops.AFTER) and window.start > BEGINNING:
        beyond.append(Window(window.start - second, window.start))
    if window.end < requested.end:
        beyond.append(Window(window.end, requested.end))
    if ops is Ops.CLOSED and requested.end < END_OF_TIME:
        beyond.append(Window(requested.end, requested.end + second))
    elif ops in (Ops.AFTER, Ops.SINCE) and requested.end < END_OF_TIME:
        beyond.append(Window(requested.end, END_OF_TIME))
    return beyond


def literal(moment: datetime) -> str:
    """A moment as Klaviyo's filters take it: UTC, whole seconds, with `Z` (a `+` would arrive as a space)."""
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
    """Path and query of the first page of a chain; those of the next pages come from `links.next`.

    Args:
        window: bounds of the cursor; None for no bounds.
        parent_id: fills `{id}` of the path, or the filter that takes the parent's id.
        include: relationships whose records to include.
        fields: type -> names of its sparse fieldset.
        additional_fields: fields that Klaviyo sends only on request.
        page_size: the endpoint's largest one, unless given.
        sort: the cursor ascending, where the endpoint can do that, unless given.
    """
    path, parent_filter = endpoint.path, ""
    if parent_id is not None and endpoint.parent is not None and endpoint.parent.filter is not None:
        parent_filter = f"equals({endpoint.parent.filter},{json.dumps(parent_id)})"
    elif parent_id is not None:
        path = path.replace("{id}", quote(parent_id, safe=""))
    parameters: dict[str, str] = {}
    if include:
        parameters["include"] = ",".join(include)
    for kind, names in (fields or {}).items():
        parameters[f"fields[{kind}]"] = ",".join(names)
    if additional_fields:
        parameters[f"additional-fields[{endpoint.type}]"] = ",".join(additional_fields)
    terms = [term for term in (parent_filter, variant.filter, bounds(endpoint, window) if window else "") if term]
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

#: Timezones that metric aggregates only know by their former names, according to Klaviyo's OpenAPI file.
_FORMER_ZONES = {"Europe/Kyiv": "Europe/Kiev", "Pacific/Kanton": "Pacific/Enderbury"}


def body(endpoint: Endpoint, analytics: Analytics, query: AnalyticsQuery, window: Window, variant: Variant) -> bytes:
    """Body of the POST to an analytics endpoint: the query for one window, and the variant's metric if it takes one.

    Args:
        analytics: what the endpoint can count.
    """
    make = _report if analytics.api is AnalyticsApi.REPORT else _aggregate
    attributes = make(analytics, query, window, variant)
    return json.dumps({"data": {"type": endpoint.type, "attributes": attributes}}, ensure_ascii=False).encode()


def _report(analytics: Analytics, query: AnalyticsQuery, window: Window, variant: Variant) -> dict[str, Any]:
    first, last = periods.days(window, ZoneInfo(query.zone))
    # Klaviyo requires an offset and ignores it: the times are in the account's timezone.
    attributes: dict[str, Any] = {
        "statistics": list(query.statistics),
        "timeframe": {"start": f"{first.isoformat()}+00:00", "end": f"{last.isoformat()}+00:00"},
    }
    if analytics.series:
        attributes["interval"] = _REPORT_INTERVALS[query.interval]
    if analytics.default_metric is not None:
        attributes["conversion_metric_id"] = variant.metric
    if query.groups:
        attributes["group_by"] = list(query.groups)
    if query.filter:
        attributes["filter"] = query.filter
    return attributes


def _aggregate(analytics: Analytics, query: AnalyticsQuery, window: Window, variant: Variant) -> dict[str, Any]:
    # With an offset these moments are unambiguous, however Klaviyo applies the timezone below.
    bounds = [f"greater-or-equal(datetime,{window.start.isoformat()})", f"less-than(datetime,{window.end.isoformat()})"]
    attributes: dict[str, Any] = {
        "metric_id": variant.metric,
        "measurements": list(query.statistics),
        "interval": query.interval,
        "filter": bounds,
        "timezone": _FORMER_ZONES.get(query.zone, query.zone),
    }
    if query.groups:
        attributes["by"] = list(query.groups)
    return attributes


def context_of(query: AnalyticsQuery, window: Window) -> dict[str, str | None]:
    """Values for columns that only the request of an analytics endpoint has: interval, timezone, bounds, groups."""
    return {
        "interval": query.interval,
        "timezone": query.zone,
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
        "groups": msgspec.json.encode(query.groups).decode(),
    }


def following(endpoint: Endpoint, path: str, request_body: bytes | None, link: str) -> tuple[str, bytes | None]:
    """Path and body of the request for the next page.

    Args:
        path: path of the request for this page.
        request_body: its body; None for a GET.
        link: `links.next` of this page, path and query.
    """
    if request_body is None or endpoint.analytics is None or endpoint.analytics.api is not AnalyticsApi.AGGREGATE:
        return link, request_body
    # Metric aggregates take the page token in the body.
    parameters = parse_qs(urlsplit(link).query)
    tokens = parameters.get("page_cursor") or parameters.get("page[cursor]")
    if not tokens:
        return link, request_body
    document = json.loads(request_body)
    document["data"]["attributes"]["page_cursor"] = tokens[0]
    return path, json.dumps(document, ensure_ascii=False).encode()
