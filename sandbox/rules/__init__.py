"""What each endpoint of Klaviyo accepts: the generated JSON files as types, and a few rules that they do not contain.

`tools/sandbox_rules_from_openapi.py` and `tools/sandbox_rules_from_sdk.py` write the JSON files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

RULES_DIR = Path(__file__).parent

# Klaviyo says it in prose only: a filter on one of these fields is required, in revisions that have the field.
REQUIRED_FILTERS = {
    "/api/campaigns": ("messages.channel",),
    "/api/coupon-codes": ("coupon.id", "profile.id"),
}


@dataclass(frozen=True)
class FilterField:
    """The rules of one filter field.

    Attributes:
        single, many, none: operators that take one value, a list of values, no value (`has`).
        value: type of the values.
        enum: allowed values; empty for any.
    """

    single: tuple[str, ...]
    many: tuple[str, ...]
    none: tuple[str, ...]
    value: str
    enum: tuple[str, ...] = ()

    @property
    def operators(self) -> tuple[str, ...]:
        """All operators, sorted, without duplicates."""
        return tuple(sorted({*self.single, *self.many, *self.none}))


@dataclass(frozen=True)
class RateOverride:
    """Lower rate limits, for requests whose `parameter` contains `value`."""

    parameter: str
    value: str
    burst: int
    steady: int


@dataclass(frozen=True)
class Endpoint:
    """What one endpoint accepts.

    Attributes:
        burst, steady, daily: requests per second, minute and day; `daily` is None without a limit.
        sort, include, fields, additional: allowed values; the latter two by resource type.
        relationships: relationships in the answers, by resource type.
        page_size_accepted: whether it has the parameter `page[size]`.
        other: further query parameters.
    """

    path: str
    method: str
    operation: str
    type: str | None
    many: bool
    scopes: tuple[str, ...]
    burst: int
    steady: int
    daily: int | None = None
    rate_overrides: tuple[RateOverride, ...] = ()
    filters: dict[str, FilterField] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    sort: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    fields: dict[str, tuple[str, ...]] = field(default_factory=dict)
    additional: dict[str, tuple[str, ...]] = field(default_factory=dict)
    relationships: dict[str, tuple[str, ...]] = field(default_factory=dict)
    paged: bool = False
    page_default: int = 0
    page_max: int = 0
    page_size_accepted: bool = False
    other: tuple[str, ...] = ()

    @property
    def parameters(self) -> list[str]:
        """Names of all query parameters, sorted."""
        names = [f"fields[{kind}]" for kind in self.fields]
        names += [f"additional-fields[{kind}]" for kind in self.additional]
        names += ["filter"] * bool(self.filters) + ["sort"] * bool(self.sort) + ["include"] * bool(self.include)
        names += ["page[cursor]"] * self.paged + ["page[size]"] * self.page_size_accepted + [*self.other]
        return sorted(names)

    @property
    def required_filters(self) -> tuple[str, ...]:
        """Fields of which the filter must name at least one."""
        return tuple(field for field in REQUIRED_FILTERS.get(self.path, ()) if field in self.filters)


@dataclass(frozen=True)
class Rules:
    """The endpoints of one revision."""

    revision: str
    endpoints: tuple[Endpoint, ...]
    additional: dict[str, frozenset[str]]

    def endpoint(self, path: str, method: str = "GET") -> Endpoint:
        """The endpoint with this path template.

        Raises:
            KeyError: there is no such endpoint.
        """
        for endpoint in self.endpoints:
            if endpoint.path == path and endpoint.method == method:
                return endpoint
        raise KeyError(f"{method} {path}")


def _endpoint(raw: dict[str, Any], enums: list[list[str]]) -> Endpoint:
    def values(key: str) -> tuple[str, ...]:
        return tuple(enums[raw[key]]) if key in raw else ()

    def grouped(key: str) -> dict[str, tuple[str, ...]]:
        return {kind: tuple(enums[place]) for kind, place in raw.get(key, {}).items()}

    page = raw.get("page", {})
    return Endpoint(
        path=raw["path"],
        method=raw["method"],
        operation=raw["operation"],
        type=raw["type"],
        many=raw["many"],
        scopes=tuple(raw["scopes"]),
        burst=raw["burst"],
        steady=raw["steady"],
        daily=raw.get("daily"),
        rate_overrides=tuple(RateOverride(**override) for override in raw.get("variants", [])),
        filters={
            name: FilterField(
                single=tuple(rule.get("single", ())),
                many=tuple(rule.get("list", ())),
                none=tuple(rule.get("none", ())),
                value=rule.get("value", "none"),
                enum=tuple(rule.get("enum", ())),
            )
            for name, rule in raw.get("filters", {}).items()
        },
        required=tuple(raw.get("required", ())),
        sort=values("sort"),
        include=values("include"),
        fields=grouped("fields"),
        additional=grouped("additional"),
        relationships=grouped("relationships"),
        paged=raw.get("cursor", False),
        page_default=page.get("fixed") or page.get("default", 0),
        page_max=page.get("fixed") or page.get("max", 0),
        page_size_accepted="max" in page,
        other=tuple(raw.get("other", ())),
    )


@cache
def load(revision: str) -> Rules:
    """The rules of a revision.

    Raises:
        FileNotFoundError: the sandbox has no rules for the revision; see `revisions`.
    """
    raw = json.loads((RULES_DIR / f"{revision}.json").read_text(encoding="utf-8"))
    endpoints = tuple(_endpoint(endpoint, raw["enums"]) for endpoint in raw["endpoints"])
    additional: dict[str, frozenset[str]] = {}
    for endpoint in endpoints:
        for kind, names in endpoint.additional.items():
            additional[kind] = additional.get(kind, frozenset()) | frozenset(names)
    return Rules(raw["revision"], endpoints, additional)


def revisions() -> list[str]:
    """The revisions that the sandbox has, oldest first."""
    return sorted(path.stem for path in RULES_DIR.glob("*.json"))
