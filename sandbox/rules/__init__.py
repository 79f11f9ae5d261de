"""What Klaviyo allows, per endpoint: the generated rules as types, and the few that its OpenAPI file does not tell."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

RULES_DIR = Path(__file__).parent

# Told in prose alone: one of these fields has to be in the filter, where the revision has them.
REQUIRED_FILTERS = {
    "/api/campaigns": ("messages.channel",),
    "/api/coupon-codes": ("coupon.id", "profile.id"),
}


@dataclass(frozen=True)
class FilterField:
    """Operators of one filter field: on one value, on a list of values, and on none (`has`)."""

    single: tuple[str, ...]
    many: tuple[str, ...]
    none: tuple[str, ...]
    value: str
    enum: tuple[str, ...] = ()

    @property
    def operators(self) -> tuple[str, ...]:
        """All operators, each once, sorted."""
        return tuple(sorted({*self.single, *self.many, *self.none}))


@dataclass(frozen=True)
class Variant:
    """Dearer limits that hold when `parameter` contains `value`."""

    parameter: str
    value: str
    burst: int
    steady: int


@dataclass(frozen=True)
class Endpoint:
    """What one endpoint accepts. `burst` is requests a second, `steady` a minute, `daily` a day (None: no limit)."""

    path: str
    method: str
    operation: str
    type: str | None
    many: bool
    scopes: tuple[str, ...]
    burst: int
    steady: int
    daily: int | None = None
    variants: tuple[Variant, ...] = ()
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
        """Names of the query parameters that it knows, sorted."""
        names = [f"fields[{kind}]" for kind in self.fields]
        names += [f"additional-fields[{kind}]" for kind in self.additional]
        names += ["filter"] * bool(self.filters) + ["sort"] * bool(self.sort) + ["include"] * bool(self.include)
        names += ["page[cursor]"] * self.paged + ["page[size]"] * self.page_size_accepted + [*self.other]
        return sorted(names)

    @property
    def required_filters(self) -> tuple[str, ...]:
        """Fields of which at least one has to be filtered on."""
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
            KeyError: there is none.
        """
        for endpoint in self.endpoints:
            if endpoint.path == path and endpoint.method == method:
                return endpoint
        raise KeyError(f"{method} {path}")


def _endpoint(told: dict[str, Any], enums: list[list[str]]) -> Endpoint:
    def values(key: str) -> tuple[str, ...]:
        return tuple(enums[told[key]]) if key in told else ()

    def grouped(key: str) -> dict[str, tuple[str, ...]]:
        return {kind: tuple(enums[place]) for kind, place in told.get(key, {}).items()}

    page = told.get("page", {})
    return Endpoint(
        path=told["path"],
        method=told["method"],
        operation=told["operation"],
        type=told["type"],
        many=told["many"],
        scopes=tuple(told["scopes"]),
        burst=told["burst"],
        steady=told["steady"],
        daily=told.get("daily"),
        variants=tuple(Variant(**variant) for variant in told.get("variants", [])),
        filters={
            name: FilterField(
                single=tuple(rule.get("single", ())),
                many=tuple(rule.get("list", ())),
                none=tuple(rule.get("none", ())),
                value=rule.get("value", "none"),
                enum=tuple(rule.get("enum", ())),
            )
            for name, rule in told.get("filters", {}).items()
        },
        required=tuple(told.get("required", ())),
        sort=values("sort"),
        include=values("include"),
        fields=grouped("fields"),
        additional=grouped("additional"),
        relationships=grouped("relationships"),
        paged=told.get("cursor", False),
        page_default=page.get("fixed") or page.get("default", 0),
        page_max=page.get("fixed") or page.get("max", 0),
        page_size_accepted="max" in page,
        other=tuple(told.get("other", ())),
    )


@cache
def load(revision: str) -> Rules:
    """The rules of a revision.

    Raises:
        FileNotFoundError: the sandbox does not know the revision; `revisions()` lists those it knows.
    """
    told = json.loads((RULES_DIR / f"{revision}.json").read_text(encoding="utf-8"))
    endpoints = tuple(_endpoint(endpoint, told["enums"]) for endpoint in told["endpoints"])
    additional: dict[str, frozenset[str]] = {}
    for endpoint in endpoints:
        for kind, names in endpoint.additional.items():
            additional[kind] = additional.get(kind, frozenset()) | frozenset(names)
    return Rules(told["revision"], endpoints, additional)


def revisions() -> list[str]:
    """Revisions that the sandbox knows, oldest first."""
    return sorted(path.stem for path in RULES_DIR.glob("*.json"))
