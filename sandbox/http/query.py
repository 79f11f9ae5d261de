"""The query parameters of a request, checked and typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..rules import Endpoint
from ..store.filters import Condition
from . import filter_grammar
from .errors import invalid


@dataclass(frozen=True)
class Query:
    """What a request asks for.

    Attributes:
        sort: a field, descending with a leading `-`; None for the default order.
        fields, additional: attribute names by resource type; `fields` has only the types with a sparse fieldset.
        cursor: the page token.
        size: records of a page.
    """

    conditions: tuple[Condition, ...]
    sort: str | None
    include: tuple[str, ...]
    fields: dict[str, frozenset[str]]
    additional: dict[str, frozenset[str]]
    cursor: str | None
    size: int

    def condition(self, field: str) -> Condition | None:
        """The first condition on a field; None if there is none."""
        return next((condition for condition in self.conditions if condition.field == field), None)


def _listed(name: str, text: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    values = tuple(dict.fromkeys(text.split(",")))
    for value in values:
        if value not in allowed:
            raise invalid(f"'{value}' is not allowed for '{name}'; allowed: {', '.join(allowed)}.", name)
    return values


def _size(endpoint: Endpoint, parameters: Mapping[str, str]) -> int:
    text = parameters.get("page[size]")
    if text is None:
        return endpoint.page_default
    if not text.isdecimal() or not 1 <= int(text) <= endpoint.page_max:
        raise invalid(f"Page size must be an integer between 1 and {endpoint.page_max}.", "page[size]")
    return int(text)


def read(endpoint: Endpoint, parameters: Mapping[str, str], now: float) -> Query:
    """Check the parameters of a request to an endpoint.

    Args:
        now: seconds since 1970; bounds in the future are refused.

    Raises:
        ApiError: 400, naming the parameter and what is allowed.
    """
    known = endpoint.parameters
    for name in parameters:
        if name not in known:
            raise invalid(
                f"'{name}' is not a valid field for the resource '{endpoint.type}'; allowed: {', '.join(known)}.", name
            )
    for name in endpoint.required:
        if name not in parameters:
            raise invalid(f"The parameter '{name}' is required.", name)
    sort = parameters.get("sort")
    if sort is not None and sort not in endpoint.sort:
        raise invalid(f"'{sort}' is not a valid sort; allowed: {', '.join(endpoint.sort)}.", "sort")
    return Query(
        conditions=tuple(filter_grammar.conditions(endpoint, parameters, now)),
        sort=sort,
        include=_listed("include", parameters["include"], endpoint.include) if "include" in parameters else (),
        fields={
            kind: frozenset(_listed(f"fields[{kind}]", parameters[f"fields[{kind}]"], allowed))
            for kind, allowed in endpoint.fields.items()
            if f"fields[{kind}]" in parameters
        },
        additional={
            kind: frozenset(_listed(f"additional-fields[{kind}]", parameters[f"additional-fields[{kind}]"], allowed))
            for kind, allowed in endpoint.additional.items()
            if f"additional-fields[{kind}]" in parameters
        },
        cursor=parameters.get("page[cursor]"),
        size=_size(endpoint, parameters),
    )
