"""Records as JSON:API: sparse fieldsets, additional fields, relationships, links, included resources."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..data.resource_types import RELATIONS, collection, type_of
from ..data.resources import Resource, without
from ..data.timestamps import iso
from ..store.account import Account
from ..store.events import EventStore
from ..store.sorted_runs import Handle
from .query import Query


def dumped(value: Any) -> bytes:
    """Compact JSON as UTF-8, without escapes for non-ASCII characters."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def sparse(attributes: Resource, names: frozenset[str]) -> Resource:
    """The named attributes; dots lead into objects."""
    kept: Resource = {}
    for name, value in attributes.items():
        if name in names:
            kept[name] = value
        elif isinstance(value, dict):
            inner = frozenset(path.removeprefix(name + ".") for path in names if path.startswith(name + "."))
            if inner:
                kept[name] = sparse(value, inner)
    return kept


class Renderer:
    """Writes records of an account as JSON.

    Args:
        additional: attributes, by type, that are left out unless `additional-fields` names them; dots lead into
            objects.
        relationships: the relationships in the answers of the endpoint, by type.
        base: start of every link.
    """

    def __init__(
        self,
        account: Account,
        additional: Mapping[str, frozenset[str]],
        relationships: Mapping[str, tuple[str, ...]],
        base: str,
    ) -> None:
        self._account = account
        self._additional = additional
        self._relationships = relationships
        self._base = base

    def resource(
        self, kind: str, resource: Resource, query: Query, with_data: Iterable[str] = (), extra: Resource | None = None
    ) -> bytes:
        """JSON of one resource.

        Args:
            with_data: to-many relationships that carry their data.
            extra: attributes that only this collection has, such as `joined_group_at`.
        """
        identity = str(resource.get("id"))
        own = f"{self._base}/api/{collection(kind)}/{identity}/"
        shown = type_of(kind)
        written: Resource = {"type": shown, "id": resource.get("id")}
        if "attributes" in resource:
            written["attributes"] = self._attributes(shown, resource["attributes"], query, extra)
        names = self._relationships.get(shown, ())
        if names:
            written["relationships"] = {
                name: self._relationship(kind, resource, name, own, name in with_data)
                for name in names
                if name in RELATIONS[kind]
            }
        written["links"] = {"self": own}
        return dumped(written)

    def _attributes(self, kind: str, attributes: Any, query: Query, extra: Resource | None) -> Any:
        if not isinstance(attributes, dict):
            return attributes
        left_out = self._additional.get(kind, frozenset()) - query.additional.get(kind, frozenset())
        attributes = without(attributes, left_out) | (extra or {})
        names = query.fields.get(kind)
        return attributes if names is None else sparse(attributes, names)

    def _relationship(self, kind: str, resource: Resource, name: str, own: str, with_data: bool) -> Resource:
        relation = RELATIONS[kind][name]
        links = {"self": f"{own}relationships/{name}/", "related": f"{own}{name}/"}
        if not relation.many:
            relationship = (resource.get("relationships") or {}).get(name) or {}
            return {"data": relationship.get("data"), "links": links}
        if not with_data:
            return {"links": links}
        targets = self._account.related(kind, resource, name)
        return {"data": [{"type": type_of(relation.type), "id": target} for target in targets], "links": links}

    def rows(self, kind: str, handles: list[Handle], query: Query, *, joined: bool = False) -> list[bytes]:
        """JSON of the records of a page.

        Args:
            joined: the records are members of a group: the value of a handle is when the profile joined.
        """
        store = self._account.stores[kind]
        if isinstance(store, EventStore) and "event" not in query.fields:
            return self._event_rows(store, handles, query)
        rows = []
        for second, number in handles:
            entry = store.entry(number)
            if entry.raw is not None and type_of(kind) not in query.fields:
                rows.append(entry.raw)
                continue
            resource = entry.resource
            if "profile_count" in query.additional.get(kind, ()):
                resource = self._account.record(kind, str(resource["id"])) or resource
            extra = {"joined_group_at": iso(second)} if joined else None
            rows.append(self.resource(kind, resource, query, query.include, extra))
        return rows

    def _event_rows(self, store: EventStore, handles: list[Handle], query: Query) -> list[bytes]:
        base, attributed = self._base.encode(), "attributions" in query.include
        changed = [(place, entry) for place, (_, n) in enumerate(handles) if (entry := store.in_overlay(n)) is not None]
        if not changed:
            return store.render(handles, base, attributed)
        places = {place for place, _ in changed}
        rows = store.render([h for place, h in enumerate(handles) if place not in places], base, attributed)
        for place, entry in changed:
            raw = entry.raw if entry.raw is not None else self.resource("event", entry.resource, query, query.include)
            rows.insert(place, raw)
        return rows

    def included(self, kind: str, handles: list[Handle], query: Query) -> list[bytes]:
        """JSON of the resources that the included relationships point at, without duplicates."""
        store = self._account.stores[kind]
        rows: dict[tuple[str, str], bytes] = {}
        for name in query.include:
            target = RELATIONS[kind][name].type
            if isinstance(store, EventStore) and target == "attribution":
                rows |= self._attribution_rows(store, handles, query)
                continue
            for _, number in handles:
                for identity in self._targets(store, kind, number, name):
                    if (target, identity) in rows:
                        continue
                    found = self._account.stores[target].get(identity)
                    if found is not None:
                        rows[target, identity] = self.resource(target, found, query)
        return list(rows.values())

    def _attribution_rows(self, store: EventStore, handles: list[Handle], query: Query) -> dict[tuple[str, str], bytes]:
        """JSON of the attributions of events, by type and id."""
        writer = (self._base, self._relationships.get("attribution"))
        rows: dict[tuple[str, str], bytes] = {}
        for _, number in handles:
            if store.in_overlay(number) is not None:
                for resource in self._account.attributions(number):
                    rows["attribution", resource["id"]] = self.resource("attribution", resource, query)
                continue
            row = store.attribution_row(number, lambda found: self.resource("attribution", found, query), writer)
            if row is not None:
                rows["attribution", str(number)] = row
        return rows

    def _targets(self, store: Any, kind: str, number: int, name: str) -> list[str]:
        if kind == "event" and store.in_overlay(number) is None:
            return [target for target in store.values(number, name) if target is not None]
        return self._account.related(kind, store.entry(number).resource, name)

    def identifiers(self, kind: str, handles: list[Handle]) -> list[bytes]:
        """JSON of resource identifiers (`type` and `id` only)."""
        store = self._account.stores[kind]
        return [dumped({"type": type_of(kind), "id": store.values(number, "id")[0]}) for _, number in handles]
