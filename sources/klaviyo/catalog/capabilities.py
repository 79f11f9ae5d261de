"""What Klaviyo's official SDK says of every readable endpoint, revision by revision. Pure: reads packaged files only.

The files in `data/` are written from the SDK by `python -m tests.sdk_facts`. They know more than the table of endpoints
(which says what this project reads, and how), and serve to refuse a custom report that Klaviyo would refuse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..errors import ConfigError
from .model import Rate

FOLDER = Path(__file__).parent / "data"
_PLACEHOLDER = re.compile(r"\{\w+\}")


@dataclass(frozen=True, slots=True)
class PageSize:
    """What `page[size]` is unless asked, and at most."""

    default: int
    max: int


@dataclass(frozen=True, slots=True)
class RateOverride:
    """A parameter that brings a lower rate: `additional-fields[profile]` and `predictive_analytics`, say."""

    parameter: str
    value: str
    rate: Rate


@dataclass(frozen=True, slots=True)
class FilterField:
    """What a filter on one field takes.

    Attributes:
        ops: Klaviyo's operators, sorted.
        type: of the value; nothing is compared with `has`.
        values: the only ones allowed, where the SDK tells them (since 2026-10-15); empty means any.
    """

    ops: tuple[str, ...]
    type: Literal["string", "date-time", "boolean", "integer", "number"] = "string"
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BodyField:
    """What an attribute of a report's body takes.

    Attributes:
        type: of one value.
        many: it is a list of them.
        required: it must be there.
        default: what Klaviyo takes where it is not.
        values: the only ones allowed; empty means any.
        needed: those that the list must hold.
    """

    type: Literal["string", "integer", "object"] = "string"
    many: bool = False
    required: bool = False
    default: Any = None
    values: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One readable endpoint: a GET, or a POST that only asks.

    Attributes:
        path: below the base URL, ids in braces.
        operation: Klaviyo's name of the operation.
        type: JSON:API type of its records.
        rate: its own rate limit.
        scopes: what a key needs, sorted.
        parameters: every query parameter, sorted.
        many: it answers with a list.
        paged: the list comes in pages.
        page_size: None where there is no such parameter.
        rate_overrides: parameters that bring a lower rate.
        filters: field -> what a filter on it takes; for reports, of the filter in the body.
        sort: what records can be sorted by, forwards and, with a `-` before it, backwards.
        include: relationship -> type, of what can travel in the same answer.
        fields: type -> the names in its sparse fieldset; `x.*` is whatever lies below an object of unknown shape.
        fieldsets: type -> where the file keeps these names.
        additional_fields: type -> what Klaviyo leaves out unless asked.
        body: attribute -> what it takes, for endpoints that are asked in a body.
        required: query parameters that must be there.
    """

    path: str
    operation: str
    type: str
    rate: Rate
    scopes: tuple[str, ...]
    parameters: tuple[str, ...]
    many: bool = False
    paged: bool = False
    page_size: PageSize | None = None
    rate_overrides: tuple[RateOverride, ...] = ()
    filters: Mapping[str, FilterField] = field(default_factory=dict)
    sort: tuple[str, ...] = ()
    include: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, frozenset[str]] = field(default_factory=dict)
    fieldsets: Mapping[str, str] = field(default_factory=dict)
    additional_fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    body: Mapping[str, BodyField] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    @property
    def template(self) -> str:
        """The path as the table of endpoints writes it, with `{id}` for every id."""
        return _PLACEHOLDER.sub("{id}", self.path)

    @property
    def field_rates(self) -> dict[str, Rate]:
        """`additional-fields` value -> the lower rate limit that asking for it brings."""
        return {one.value: one.rate for one in self.rate_overrides if one.parameter.startswith("additional-fields")}

    @property
    def relationship(self) -> bool:
        """Whether its records are no more than types and ids."""
        return "/relationships/" in self.path

    def allows_field(self, kind: str, name: str) -> bool:
        """Whether the sparse fieldset of a type can hold a name; dots lead into objects."""
        known = self.fields.get(kind, frozenset())
        parts = name.split(".")
        return name in known or any(".".join([*parts[:depth], "*"]) in known for depth in range(1, len(parts)))


class _File(msgspec.Struct):
    revision: str
    sdk: str
    fields: dict[str, frozenset[str]]
    endpoints: list[Capabilities]


def revisions() -> list[str]:
    """The revisions whose facts are here, oldest first."""
    return sorted(path.stem for path in FOLDER.glob("20*.json"))


@cache
def capabilities(revision: str) -> Mapping[str, Capabilities]:
    """Path -> facts, of every readable endpoint of a revision.

    Raises:
        ConfigError: there is no file of this revision.
    """
    try:
        raw = (FOLDER / f"{revision}.json").read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"revision = {revision!r}: nothing is known of it; known are {', '.join(revisions())}"
        ) from None
    file = msgspec.json.decode(raw, type=_File)
    return {
        known.path: replace(known, fields={kind: file.fields[name] for kind, name in known.fieldsets.items()})
        for known in file.endpoints
    }
