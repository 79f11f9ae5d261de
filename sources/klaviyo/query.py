"""Endpoint x window -> request. The only place that knows Klaviyo's filter grammar. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit
from zoneinfo import ZoneInfo

import msgspec

from . import periods
from .spec import NO_VARIANT, Analytics, Endpoint, Figures, Grammar, Interval, Ops, Variant
from .windows import BEGINNING, END_OF_TIME, Window


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


def body(endpoint: Endpoint, analytics: Analytics, figures: Figures, window: Window, variant: Variant) -> bytes:
    """What a POST asks an endpoint that counts: the figures of one window, of the variant's metric if it takes one."""
    make = _report if analytics.grammar is Grammar.REPORT else _aggregate
    attributes = make(analytics, figures, window, variant)
    return json.dumps({"data": {"type": endpoint.type, "attributes": attributes}}, ensure_ascii=False).encode()


def _report(analytics: Analytics, figures: Figures, window: Window, variant: Variant) -> dict[str, Any]:
    first, last = periods.days(window, ZoneInfo(figures.zone))
    # Klaviyo wants an offset and ignores it: the clock is the account's.
    attributes: dict[str, Any] = {
        "statistics": list(figures.statistics),
        "timeframe": {"start": f"{first.isoformat()}+00:00", "end": f"{last.isoformat()}+00:00"},
    }
    if analytics.series:
        attributes["interval"] = _REPORT_INTERVALS[figures.interval]
    if analytics.default_metric is not None:
        attributes["conversion_metric_id"] = variant.metric
    if figures.groups:
        attributes["group_by"] = list(figures.groups)
    if figures.filter:
        attributes["filter"] = figures.filter
    return attributes


def _aggregate(analytics: Analytics, figures: Figures, window: Window, variant: Variant) -> dict[str, Any]:
    # With an offset these are moments, whatever Klaviyo makes of the timezone beside them.
    bounds = [f"greater-or-equal(datetime,{window.start.isoformat()})", f"less-than(datetime,{window.end.isoformat()})"]
    attributes: dict[str, Any] = {
        "metric_id": variant.metric,
        "measurements": list(figures.statistics),
        "interval": figures.interval,
        "filter": bounds,
        "timezone": _FORMER_ZONES.get(figures.zone, figures.zone),
    }
    if figures.groups:
        attributes["by"] = list(figures.groups)
    return attributes


def context_of(figures: Figures, window: Window) -> dict[str, str | None]:
    """What a request of an endpoint that counts knows, and the answer does not say."""
    return {
        "interval": figures.interval,
        "timezone": figures.zone,
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
        "groups": msgspec.json.encode(figures.groups).decode(),
    }


def following(endpoint: Endpoint, path: str, asked: bytes | None, link: str) -> tuple[str, bytes | None]:
    """Path and body of the next page, from those of this one and what it links to."""
    if asked is None or endpoint.analytics is None or endpoint.analytics.grammar is not Grammar.AGGREGATE:
        return link, asked
    # Here the cursor goes back in the body.
    parameters = parse_qs(urlsplit(link).query)
    found = parameters.get("page_cursor") or parameters.get("page[cursor]")
    if not found:
        return link, asked
    document = json.loads(asked)
    document["data"]["attributes"]["page_cursor"] = found[0]
    return path, json.dumps(document, ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a filter.

    Attributes:
        values: as they are written, quotes included; empty for `has(field)`.
        many: they stand in brackets.
        text: the whole condition.
    """

    op: str
    field: str
    values: tuple[str, ...]
    many: bool
    text: str


_STRING = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_VALUE = re.compile(rf"\s*({_STRING}|[^\s,()\[\]'\"]+)\s*", re.DOTALL)
_OPENING = re.compile(r"\s*([a-z]+(?:-[a-z]+)*)\(\s*([A-Za-z_][\w.\-]*)\s*")


def parse(text: str) -> list[Condition]:
    """The conditions of a filter that somebody wrote.

    Raises:
        ValueError: it is not Klaviyo's grammar, `operator(field,value)` between commas; says where it breaks.
    """
    found: list[Condition] = []
    at = 0

    def expect(marks: str) -> str:
        nonlocal at
        if at < len(text) and text[at] in marks:
            at += 1
            return text[at - 1]
        wanted = " or ".join(f"`{mark}`" for mark in marks)
        raise ValueError(f"{wanted} is expected at position {at + 1}")

    def value() -> str:
        nonlocal at
        match = _VALUE.match(text, at)
        if match is None:
            raise ValueError(f"a value is expected at position {at + 1}")
        at = match.end()
        return match[1]

    while True:
        start = at
        match = _OPENING.match(text, at)
        if match is None:
            raise ValueError(f"`operator(field,value)` is expected at position {at + 1}")
        at = match.end()
        values: list[str] = []
        many = False
        if expect(",)") == ",":
            at += len(text[at:]) - len(text[at:].lstrip())
            if many := text.startswith("[", at):
                at += 1
                values.append(value())
                while expect(",]") == ",":
                    values.append(value())
                at += len(text[at:]) - len(text[at:].lstrip())
            else:
                values.append(value())
            expect(")")
        found.append(Condition(match[1], match[2], tuple(values), many, text[start:at].strip()))
        at += len(text[at:]) - len(text[at:].lstrip())
        if at == len(text):
            return found
        expect(",")
