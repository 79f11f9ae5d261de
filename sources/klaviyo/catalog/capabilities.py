"""What Klaviyo's official SDK says about every readable endpoint, by revision. Reads packaged files only.

`python -m tools.sdk_facts` writes the files in `data/` from the SDK. They cover more endpoints than the table in
`endpoints.py`, which says what this project reads and how. Custom reports and the settings of analytics reports are
checked against them, so that a request that Klaviyo would refuse is never sent.
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
    """Default and maximum of `page[size]`, in records."""

    default: int
    max: int


@dataclass(frozen=True, slots=True)
class RateOverride:
    """A parameter with a value that lowers the rate limit, like `additional-fields[profile]` with
    `predictive_analytics`."""

    parameter: str
    value: str
    rate: Rate


@dataclass(frozen=True, slots=True)
class FilterField:
    """What a filter on one field accepts.

    Attributes:
        ops: Klaviyo's operators, sorted.
        type: type of the value. The operator `has` compares no value.
        values: the allowed values, where the SDK lists them (since 2026-10-15); empty means any.
    """

    ops: tuple[str, ...]
    type: Literal["string", "date-time", "boolean", "integer", "number"] = "string"
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BodyField:
    """What an attribute in the request body of an analytics report accepts.

    Attributes:
        type: type of one value.
        many: the attribute is a list of values.
        required: the attribute is mandatory.
        default: what Klaviyo uses where it is absent.
        values: the allowed values; empty means any.
        needed: values that the list must contain.
    """

    type: Literal["string", "integer", "object"] = "string"
    many: bool = False
    required: bool = False
    default: Any = None
    values: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One readable endpoint: a GET, or a POST that changes nothing.

    Attributes:
        path: path below the base URL, with ids in braces.
        operation: Klaviyo's name of the operation.
        type: JSON:API type of its records.
        rate: its own rate limit.
        scopes: the scopes that a key needs, sorted.
        parameters: all query parameters, sorted.
        many: the answer is a list.
        paged: the list comes in pages.
        page_size: None where the endpoint has no such parameter.
        rate_overrides: parameters that lower the rate limit.
        filters: field -> what a filter on it accepts. For analytics reports, of the filter in the body.
        sort: fields that records can be sorted by, ascending and, with a `-` before the name, descending.
        include: relationship -> type of the records that can be included through it.
        fields: type -> the names in its sparse fieldset. `x.*` stands for all names in an object of unknown shape.
        fieldsets: type -> under which key the file keeps these names.
        additional_fields: type -> fields that Klaviyo sends only on request.
        body: attribute -> what it accepts, for a POST.
        required: mandatory query parameters.
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
        """Value of `additional-fields` -> the lower rate limit of a request that asks for it."""
        return {one.value: one.rate for one in self.rate_overrides if one.parameter.startswith("additional-fields")}

    @property
    def relationship(self) -> bool:
        """Whether its records have a type and an id only."""
        return "/relationships/" in self.path

    def allows_field(self, kind: str, name: str) -> bool:
        """Whether a name is allowed in the sparse fieldset of a type; dots lead into objects."""
        allowed = self.fields.get(kind, frozenset())
        parts = name.split(".")
        return name in allowed or any(".".join([*parts[:depth], "*"]) in allowed for depth in range(1, len(parts)))


class _File(msgspec.Struct):
    revision: str
    sdk: str
    fields: dict[str, frozenset[str]]
    endpoints: list[Capabilities]


def revisions() -> list[str]:
    """The revisions that have a file of facts, oldest first."""
    return sorted(path.stem for path in FOLDER.glob("20*.json"))


@cache
def capabilities(revision: str) -> Mapping[str, Capabilities]:
    """Path -> facts, for every readable endpoint of a revision.

    Raises:
        ConfigError: there is no file for this revision.
    """
    try:
        raw = (FOLDER / f"{revision}.json").read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"revision = {revision!r}: nothing is known of it; known are {', '.join(revisions())}"
        ) from None
    file = msgspec.json.decode(raw, type=_File)
    return {
        endpoint.path: replace(endpoint, fields={kind: file.fields[key] for kind, key in endpoint.fieldsets.items()})
        for endpoint in file.endpoints
    }
