"""An account: everything that Klaviyo knows of one customer, made from a seed and open to change."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from ..data import campaigns_2026_10_15
from ..data.account_records import AccountRecords, Records, Sizes
from ..data.event_times import Shape
from ..data.events import EventTargets
from ..data.ids import mix
from ..data.maker import DAY_S
from ..data.resource_types import FIRST_REVISION, RELATIONS, collection, kind_in, later_attributes, type_of
from ..data.resources import Resource, dig, without
from ..data.timestamps import epoch_second, iso
from .derived import DerivedStore, derive
from .events import EventStore
from .fields import UPDATED
from .members import Members
from .profiles import ProfileStore
from .store import Store

Now = datetime | Callable[[], datetime]


class Account:
    """The records of an account, and its present.

    Events and profiles are computed on demand, so their number costs no memory. Changes are kept in memory, above them.

    Args:
        seed: the same seed, `now` and sizes make the same account.
        now: the present, or a function that returns it; it can be set later. The history ends at the first present.
        profiles, events, lists, segments, campaigns, flows, templates, metrics, tags: number of records.
        history_days: length of the history, into which events, updates, joins and campaigns fall.
        shape: of the events in time, "even" or "bursty": a campaign send brings a third of a month's events in an hour,
            and other hours are empty.

    Attributes:
        named_by_campaign: campaigns whose own id stands in `$message` of events, and in `campaign_message_id` of
            campaign values.
    """

    def __init__(
        self,
        *,
        seed: int = 7,
        now: Now,
        profiles: int = 300,
        events: int = 3000,
        lists: int = 12,
        segments: int = 8,
        campaigns: int = 40,
        flows: int = 12,
        templates: int = 25,
        metrics: int = 23,
        tags: int = 9,
        history_days: float = 90,
        shape: Shape = "bursty",
    ) -> None:
        self._now: Now = now
        self.seed = seed
        end = math.floor(self.now.timestamp())
        start = end - math.floor(history_days * DAY_S)
        sizes = Sizes(lists, segments, campaigns, flows, templates, metrics, tags)
        builder = AccountRecords(seed, start, end, sizes)
        sized = builder.sized()

        self._derived = {kind: DerivedStore(kind) for kind in campaigns_2026_10_15.DERIVED}
        self._stores: dict[str, Store] = {
            kind: self._derived.get(kind) or Store(kind) for kind in RELATIONS if kind not in ("profile", "event")
        }
        # The version of the stores that the derived records were last made from.
        self._derived_from = -1
        self._deriving = threading.Lock()
        self._put_all(sized)
        self._profiles = ProfileStore(profiles, seed, start, end, [group["id"] for group in sized["list"]])
        targets = EventTargets.of(sized)
        self.named_by_campaign = targets.named_by_campaign
        self._events = EventStore(events, seed, start, end, self._profiles, targets, shape)
        self._stores["profile"], self._stores["event"] = self._profiles, self._events
        profile_ids = [self._profiles.identity(number) for number in range(0, profiles, max(1, profiles // 24))]
        event_ids = [self._events.codec.encode(number).decode() for number in range(min(40, self._events.base_size))]
        self._put_all(builder.fixed(sized, profile_ids, event_ids))
        for kind, resource in builder.canvas_campaigns(sized):
            self.stores[kind].put(resource)
        self._members: dict[tuple[str, str], Members] = {}
        # Kind -> (version of its store, profile id -> ids of the profile's records).
        self._owners: dict[str, tuple[int, dict[str | None, list[str]]]] = {}
        for kind in ("list", "segment"):
            for place, group in enumerate(sized[kind]):
                size = self._group_size(kind, place)
                created = max(start, epoch_second(group["attributes"]["created"]) or start)
                salt = mix(place, seed + len(kind))
                self._members[kind, group["id"]] = Members(self._profiles, size, salt, created, end)
        self._added = 0

    def _put_all(self, records: Records) -> None:
        for kind, resources in records.items():
            for resource in resources:
                self._stores[kind].put(resource)

    @property
    def stores(self) -> dict[str, Store]:
        """Kind -> records, the derived ones brought up to date."""
        read_from = sum(self._stores[kind].version for kind in campaigns_2026_10_15.SOURCES)
        if read_from != self._derived_from:
            with self._deriving:
                if read_from != self._derived_from:
                    derive(self._stores, self._derived)
                    self._derived_from = read_from
        return self._stores

    def _group_size(self, kind: str, place: int) -> int:
        """The first group is empty, the second has most profiles, the others have fewer and fewer."""
        if place == 0:
            return 0
        return self._profiles.established * 9 // 10 if place == 1 else self._profiles.established // (place + 1)

    @property
    def now(self) -> datetime:
        """The present, in UTC."""
        now = self._now() if callable(self._now) else self._now
        if now.tzinfo is None:
            raise ValueError("an account's now must be an aware datetime")
        return now.astimezone(UTC)

    @now.setter
    def now(self, value: Now) -> None:
        self._now = value

    @property
    def events(self) -> EventStore:
        """The events, for analytics."""
        return self._events

    @property
    def version(self) -> int:
        """Rises with every change."""
        return sum(store.version for store in self.stores.values()) + self._added

    def groups(self, kind: str, identity: str) -> Members:
        """The members of a list or segment.

        Raises:
            KeyError: there is none with this id.
        """
        return self._members[kind, identity]

    def groups_of(self, kind: str, profile_id: str) -> list[str]:
        """Ids of the lists or segments that a profile is in."""
        number = self._profiles.number(profile_id)
        if number is None:
            return []
        return [
            identity
            for (kind_, identity), members in self._members.items()
            if kind_ == kind and members.joined(number) is not None
        ]

    def _completed(self, kind: str, resource: Resource) -> Resource:
        """A record with the values that are computed from other records."""
        if kind in ("list", "segment"):
            members = self._members.get((kind, resource["id"]))
            if members is not None and "attributes" in resource:
                resource = resource | {"attributes": resource["attributes"] | {"profile_count": members.count()}}
        elif kind == "profile":
            identity = str(resource.get("id"))
            memberships = {
                f"{group}s": {"data": [{"type": group, "id": target} for target in self.groups_of(group, identity)]}
                for group in ("list", "segment")
            }
            for owned in ("push-token", "conversation"):
                name = collection(owned)
                memberships[name] = {
                    "data": [{"type": owned, "id": target} for target in self.related(kind, resource, name)]
                }
            resource = resource | {"relationships": (resource.get("relationships") or {}) | memberships}
        return resource

    def related(self, kind: str, resource: Resource, name: str) -> list[str]:
        """Ids that a relationship of a record points at. For the profiles of a list or segment see `groups`."""
        if kind == "profile" and name in ("lists", "segments"):
            return self.groups_of(name.removesuffix("s"), str(resource.get("id")))
        if kind == "profile" and name in ("push-tokens", "conversations", "conversation"):
            owned = self._owned("push-token" if name == "push-tokens" else "conversation", str(resource.get("id")))
            return owned[:1] if name == "conversation" else owned
        # A record that is served byte for byte can have anything here.
        return [str(identity) for identity in dig(resource, ["relationships", name, "data", "id"]) if identity]

    def _owned(self, kind: str, profile_id: str) -> list[str]:
        """Ids of the records of a kind that point at a profile."""
        store = self.stores[kind]
        version, index = self._owners.get(kind, (-1, {}))
        if version != store.version:
            version, index = store.version, {}
            for resource in store:
                owner = (resource["relationships"]["profile"]["data"] or {}).get("id")
                index.setdefault(owner, []).append(str(resource["id"]))
            self._owners[kind] = version, index
        return index.get(profile_id, [])

    def channel(self, campaign: Resource) -> str:
        """The channel of a campaign: that of its first message; "email" for a campaign without messages."""
        for message_id in self.related("campaign", campaign, "campaign-messages"):
            message = self.stores["campaign-message"].get(message_id)
            if message is not None:
                return str(message["attributes"]["definition"]["channel"])
        return "email"

    def records(self, kind: str, revision: str = FIRST_REVISION) -> Iterator[Resource]:
        """All records of a type in a revision, as JSON:API resources without links: what a test expects to be loaded.

        Attributes are complete, including those that only `additional-fields` adds. Relationships have their data, but
        for the profiles of lists and segments: see `members`. `attribution` gives the attributions of all events.
        """
        if kind == "attribution":
            for _, number in self._events.scan():
                yield from self.attributions(number)
            return
        for resource in self.stores[kind_in(kind, revision)]:
            yield self._shown(kind, deepcopy(resource), revision)

    def record(self, kind: str, identity: str, revision: str = FIRST_REVISION) -> Resource | None:
        """One record, as `records` gives them; None if there is none with this id."""
        resource = self.stores[kind_in(kind, revision)].get(identity)
        return None if resource is None else self._shown(kind, deepcopy(resource), revision)

    def _shown(self, kind: str, resource: Resource, revision: str) -> Resource:
        resource, later = self._completed(kind, resource), later_attributes(kind, revision)
        if later and isinstance(resource.get("attributes"), dict):
            resource["attributes"] = without(resource["attributes"], later)
        return resource

    def attributions(self, number: int) -> list[Resource]:
        """The attributions of an event, by its number."""
        entry = self._events.in_overlay(number)
        if entry is None:
            return self._events.attributions(number)
        identities = self.related("event", entry.resource, "attributions")
        found = (self.stores["attribution"].get(identity) for identity in identities)
        return [resource for resource in found if resource is not None]

    def members(self, kind: str, identity: str) -> dict[str, datetime]:
        """Profile id -> when it joined a list or segment, in the order of joining.

        Raises:
            KeyError: there is no such list or segment.
        """
        return {
            str(self._profiles.entry(number).resource["id"])
            if self._profiles.in_overlay(number)
            else self._profiles.identity(number): datetime.fromtimestamp(second, UTC)
            for second, number in self.groups(kind, identity).scan()
        }

    def _new_id(self, kind: str) -> str:
        self._added += 1
        return f"{type_of(kind).upper().replace('-', '')}{mix(self._added, self.seed + 11) % 36**8:012d}"

    def add(self, kind: str, resource: Mapping[str, Any]) -> str:
        """Add a record.

        Args:
            resource: only the parts that matter; the rest gets defaults. Attributes can be `datetime`s. A relationship
                can be an id or a list of ids (`{"metric": "abc"}`). Events without a profile or metric get the first
                ones. A list or segment starts empty.

        Returns:
            Its id.
        """
        identity = str(resource.get("id") or self._new_id(kind))
        attributes = _plain(resource.get("attributes", {}))
        relationships: Resource = {}
        for name, relation in RELATIONS[kind].items():
            given = resource.get("relationships", {}).get(name)
            if isinstance(given, str):
                given = {"data": {"type": type_of(relation.type), "id": given}}
            elif isinstance(given, list):
                given = {"data": [{"type": type_of(relation.type), "id": str(target)} for target in given]}
            elif given is None:
                given = {"data": [] if relation.many else None}
            relationships[name] = given
        now = iso(self.now.timestamp())
        if kind == "event":
            attributes.setdefault("datetime", now)
            attributes.setdefault("timestamp", epoch_second(attributes["datetime"]))
            attributes.setdefault("event_properties", {})
            attributes.setdefault("uuid", f"00000000-0000-11f0-8000-{self._added:012x}")
            for name in ("profile", "metric"):
                if relationships[name]["data"] is None and name not in resource.get("relationships", {}):
                    first = next(iter(self.stores[name]), None)
                    relationships[name] = {"data": {"type": name, "id": first["id"]} if first else None}
        elif kind == "profile":
            template = self._profiles.base_resource(0)["attributes"] if self._profiles.base_size else {}
            attributes = {name: _blank(value) for name, value in template.items()} | attributes
            attributes["created"] = attributes.get("created") or now
            attributes["updated"] = attributes.get("updated") or now
        elif kind in UPDATED:
            created = "created_at" if UPDATED[kind].endswith("_at") else "created"
            if kind != "image":
                attributes.setdefault(created, now)
            attributes.setdefault(UPDATED[kind], now)
        if kind in ("list", "segment"):
            self._members[kind, identity] = Members(self._profiles, 0, 1, 0, 1)
        self.stores[kind].put(
            {"type": type_of(kind), "id": identity, "attributes": attributes, "relationships": relationships}
        )
        return identity

    def add_raw(self, kind: str, moment: datetime, raw: bytes) -> str:
        """Add a record that is served byte for byte, except to requests with a sparse fieldset.

        Args:
            moment: what it sorts by, whatever its JSON says.
            raw: JSON of the whole resource, which need not be valid.

        Returns:
            Its id.
        """
        return self.stores[kind].put_raw(raw, math.floor(moment.timestamp()), self._new_id(kind))

    def put(self, kind: str, resource: Resource) -> None:
        """Insert a resource, or replace the one with the same id. Nothing is checked and nothing gets a default."""
        if kind in ("list", "segment"):
            self._members.setdefault((kind, str(resource["id"])), Members(self._profiles, 0, 1, 0, 1))
        self.stores[kind].put(deepcopy(resource))

    def update(self, kind: str, identity: str, attributes: Mapping[str, Any], *, touch: bool = True) -> None:
        """Merge attributes into a record, objects recursively.

        Args:
            touch: whether the attribute with the moment of the last change becomes now.

        Raises:
            KeyError: there is no such record.
        """
        resource = self.stores[kind].get(identity)
        if resource is None:
            raise KeyError(f"{kind} {identity}")
        changed = deepcopy(resource)
        _merge(changed.setdefault("attributes", {}), _plain(attributes))
        if touch and kind in UPDATED:
            changed["attributes"][UPDATED[kind]] = iso(self.now.timestamp())
        self.stores[kind].put(changed)

    def remove(self, kind: str, identity: str) -> None:
        """Delete a record. A deleted profile leaves its lists and segments.

        Raises:
            KeyError: there is no such record.
        """
        if kind == "profile":
            number = self._profile_number(identity)
            for members in self._members.values():
                members.gone(number, math.floor(self.now.timestamp()))
        self.stores[kind].remove(identity)

    def _profile_number(self, profile_id: str) -> int:
        number = self._profiles.number(profile_id)
        if number is None:
            raise KeyError(f"profile {profile_id}")
        return number

    def join(self, kind: str, identity: str, profile_id: str, at: datetime | None = None) -> None:
        """Add a profile to a list or segment.

        Args:
            at: when it joins; None for now.

        Raises:
            KeyError: there is no such list, segment or profile.
        """
        members = self.groups(kind, identity)
        members.join(self._profile_number(profile_id), math.floor((at or self.now).timestamp()))
        self._added += 1

    def leave(self, kind: str, identity: str, profile_id: str) -> None:
        """Remove a profile from a list or segment.

        Raises:
            KeyError: there is no such list, segment or profile.
        """
        self.groups(kind, identity).leave(self._profile_number(profile_id), math.floor(self.now.timestamp()))
        self._added += 1


def _blank(value: Any) -> Any:
    """The empty value of a profile attribute."""
    if isinstance(value, dict):
        return {} if not value else {name: _blank(inner) for name, inner in value.items()}
    return [] if isinstance(value, list) else None


def _plain(attributes: Mapping[str, Any]) -> Resource:
    """Attributes as JSON: datetimes as Klaviyo writes them."""

    def written(value: Any) -> str:
        if isinstance(value, datetime):
            return value.isoformat()
        raise TypeError(f"{value!r} is not JSON")

    plain: Resource = json.loads(json.dumps(dict(attributes), default=written))
    return plain


def _merge(into: Resource, changes: Resource) -> None:
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value
