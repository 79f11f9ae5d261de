"""Which records a page has: filters, order and page token, over any records that can be scanned in order."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from ..data.resources import dig
from ..store.fields import DEFAULT_SORT, HIDDEN_UNLESS_ASKED, NESTED, SAME_ORDER, is_time
from ..store.filters import ORDER_OPERATORS, Condition, bounds
from ..store.record_sources import Source
from ..store.sorted_runs import Handle
from .errors import invalid
from .query import Query

#: Kinds whose page tokens hold the value of the sort field alone: the next page begins after all records with it.
WITHOUT_IDS = ("form", "web-feed")
_LAST = 1 << 62


@dataclass(frozen=True)
class Page:
    """Handles of one page, and the token of the next; None on the last."""

    handles: list[Handle]
    next_token: str | None


def _mark(path: str, parameters: dict[str, str]) -> int:
    """A checksum of the request that a token was given for."""
    return zlib.crc32("\n".join((path, parameters.get("filter", ""), parameters.get("sort", ""))).encode())


def _token(mark: int, kind: str, handle: Handle) -> str:
    if kind in WITHOUT_IDS:
        handle = (handle[0], _LAST)
    return base64.urlsafe_b64encode(json.dumps([mark, *handle]).encode()).decode().rstrip("=")


def _handle(token: str, mark: int) -> Handle:
    try:
        decoded = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        marked, value, number = decoded
    except (ValueError, TypeError):
        raise invalid("Invalid page cursor.", "page[cursor]") from None
    if marked != mark or not isinstance(number, int):
        raise invalid("The page cursor does not belong to this request.", "page[cursor]")
    return value, number


def _order(source: Source, field: str) -> str:
    return SAME_ORDER.get((source.kind, field), field)


def _plan(source: Source, query: Query) -> tuple[str, bool, list[Condition], list[Condition]]:
    """Order, whether it descends, the conditions that bound the order, and the other conditions."""
    sort = query.sort or DEFAULT_SORT.get(source.kind, "")
    descending, order = sort.startswith("-"), sort.removeprefix("-")
    if not order:
        times = [_order(source, c.field) for c in query.conditions if c.is_time and c.operator in ORDER_OPERATORS]
        order = next((field for field in times if source.is_sorted_by(field)), source.default_order)
    order = _order(source, order)
    ranged: list[Condition] = []
    others: list[Condition] = []
    for condition in query.conditions:
        bounding = is_time(order) and condition.is_time and condition.operator in {*ORDER_OPERATORS, "equals"}
        bounding = bounding and not condition.field.startswith(NESTED)
        same = _order(source, condition.field) == order
        (ranged if bounding and same and len(condition.values) == 1 else others).append(condition)
    return order, descending, ranged, others


def page(source: Source, path: str, parameters: dict[str, str], query: Query, paged: bool) -> Page:
    """The records of one page.

    Args:
        paged: whether the endpoint has pages; without, all records are given.

    Raises:
        ApiError: 400, the page token is not one of this request's.
    """
    order, descending, ranged, others = _plan(source, query)
    mark = _mark(path, parameters)
    after = _handle(query.cursor, mark) if query.cursor is not None else None
    low, high = bounds(ranged)
    handles = source.scan(order, low=low, high=high, after=after, descending=descending)
    keep = _predicate(source, query, others)
    if keep:
        handles = filter(keep, handles)
    if not paged:
        return Page(list(handles), None)
    kept: list[Handle] = []
    for handle in handles:
        if len(kept) == query.size:
            return Page(kept, _token(mark, source.kind, kept[-1]))
        kept.append(handle)
    return Page(kept, None)


def _predicate(source: Source, query: Query, others: list[Condition]) -> Callable[[Handle], bool] | None:
    hidden = HIDDEN_UNLESS_ASKED.get(source.kind)
    asked = hidden is None or query.condition(hidden) is not None
    if asked and not others:
        return None

    plain = [condition for condition in others if not condition.field.startswith(NESTED)]
    nested = [condition for condition in others if condition.field.startswith(NESTED)]

    def keep(handle: Handle) -> bool:
        number = handle[1]
        if not asked and hidden and True in source.values(number, hidden):
            return False
        if not all(condition.holds(source.values(number, condition.field)) for condition in plain):
            return False
        return not nested or any(
            all(condition.holds(dig(found, [condition.field.rpartition(".")[2]])) for condition in nested)
            for found in source.values(number, nested[0].field.rpartition(".")[0])
        )

    return keep
