"""JSON:API resources as plain objects, as `json.loads` gives them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Resource = dict[str, Any]


def dig(value: Any, path: list[str]) -> list[Any]:
    """All values at a path. Arrays on the way are searched too; empty if there is nothing."""
    for place, name in enumerate(path):
        if isinstance(value, list):
            return [found for item in value for found in dig(item, path[place:])]
        if not isinstance(value, dict) or name not in value:
            return []
        value = value[name]
    return value if isinstance(value, list) else [value]


def without(value: Resource, names: Iterable[str]) -> Resource:
    """A copy of an object without some fields; dots lead into objects."""
    kept = dict(value)
    for name in names:
        first, _, rest = name.partition(".")
        if not rest:
            kept.pop(first, None)
        elif isinstance(kept.get(first), dict):
            kept[first] = without(kept[first], [rest])
    return kept


def to_many(kind: str, identities: list[str]) -> Resource:
    """A to-many relationship."""
    return {"data": [{"type": kind, "id": identity} for identity in identities]}


def to_one(kind: str, identity: str | None) -> Resource:
    """A to-one relationship; empty if the id is None."""
    return {"data": {"type": kind, "id": identity} if identity is not None else None}
