"""What a request can page through: all records of a kind, related records, or the members of a group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from ..data.resource_types import RELATIONS
from .account import Account
from .members import Members
from .sorted_runs import Handle, listed, scan
from .store import Store


class Source(Protocol):
    """Records that can be scanned in an order."""

    kind: str
    default_order: str

    def scan(
        self, order: str, *, low: float | None, high: float | None, after: Handle | None, descending: bool
    ) -> Iterator[Handle]:
        """Handles in an order; see `sorted_runs.scan`."""
        ...

    def values(self, number: int, field: str) -> list[Any]:
        """Values of a filter field of a record."""
        ...

    def is_sorted_by(self, order: str) -> bool:
        """Whether an order needs no sorting of all records."""
        ...


class AllRecords:
    """All records of a kind."""

    def __init__(self, account: Account, store: Store) -> None:
        self._account, self._store = account, store
        self.kind, self.default_order = store.kind, store.default_order

    def scan(
        self, order: str, *, low: float | None, high: float | None, after: Handle | None, descending: bool
    ) -> Iterator[Handle]:
        """All records in an order."""
        return self._store.scan(order, low=low, high=high, after=after, descending=descending)

    def values(self, number: int, field: str) -> list[Any]:
        """Values of a filter field."""
        if field == "messages.channel":
            return [self._account.channel(self._store.entry(number).resource)]
        if (self.kind, field) == ("flow-action", "action_type"):
            # The attribute is `send-email` where the documentation of the filter says `SEND_EMAIL`.
            found = self._store.values(number, field)
            return found + [str(value).upper().replace("-", "_") for value in found]
        if (self.kind, field) == ("translation", "resource_type"):
            return [str(self._store.values(number, "id")[0]).partition("::")[0]]
        if (self.kind, field) == ("translation", "related_resource_id"):
            return [target for name in RELATIONS[self.kind] for target in self._store.values(number, name)]
        return self._store.values(number, field)

    def is_sorted_by(self, order: str) -> bool:
        """Whether an order needs no sorting of all records."""
        return self._store.base_runs(order) is not None


class RelatedRecords(AllRecords):
    """The records that a to-many relationship points at."""

    def __init__(self, account: Account, store: Store, identities: list[str]) -> None:
        super().__init__(account, store)
        self._numbers = [n for n in (store.number(identity) for identity in identities) if n is not None]
        self.default_order = "number"

    def scan(
        self, order: str, *, low: float | None, high: float | None, after: Handle | None, descending: bool
    ) -> Iterator[Handle]:
        """These records in an order."""
        run = listed([(self._store.order_value(number, order), number) for number in self._numbers])
        return scan([run], low=low, high=high, after=after, descending=descending)


class GroupMembers:
    """The profiles of a list or segment, in the order of joining."""

    kind = "profile"
    default_order = "joined_group_at"

    def __init__(self, members: Members, profiles: Store) -> None:
        self.members, self._profiles = members, profiles

    def scan(
        self, order: str, *, low: float | None, high: float | None, after: Handle | None, descending: bool
    ) -> Iterator[Handle]:
        """Members in the order of joining, the only one there is."""
        return self.members.scan(low=low, high=high, after=after, descending=descending)

    def values(self, number: int, field: str) -> list[Any]:
        """Values of a filter field of a member."""
        if field == "joined_group_at":
            return [self.members.joined(number)]
        return self._profiles.values(number, "id" if field == "profile_id" else field)

    def is_sorted_by(self, order: str) -> bool:
        """True: joining is the only order."""
        return True
