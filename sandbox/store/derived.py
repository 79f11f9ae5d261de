"""Campaigns of revision 2026-10-15, derived from those of 2026-07-15 and derived again whenever those change."""

from __future__ import annotations

from collections.abc import Mapping

from ..data import campaigns_2026_10_15
from ..data.resources import Resource
from .store import Store


class DerivedStore(Store):
    """Records that are derived from those of other kinds, and some that are not.

    A record that is put or removed here by itself is no longer derived.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        # Ids of records that were put or removed by themselves.
        self._own: set[str] = set()
        self._derived: set[str] = set()

    def derive(self, resources: list[Resource]) -> None:
        """Replace all derived records. A record that is there already keeps its number."""
        wanted = {str(resource["id"]): resource for resource in resources}
        with self._lock:
            for gone in self._derived - {*wanted} - self._own:
                super().remove(gone)
            for identity, resource in wanted.items():
                if identity not in self._own and self.get(identity) != resource:
                    super().put(resource)
            self._derived = {*wanted}

    def put(self, resource: Resource, raw: bytes | None = None, second: int | None = None) -> int:
        """Insert a record, or replace the one with the same id; it is not derived from then on.

        Returns:
            Its number.
        """
        self._own.add(str(resource.get("id")))
        return super().put(resource, raw, second)

    def remove(self, identity: str) -> None:
        """Remove a record; it is not derived again.

        Raises:
            KeyError: there is no record with this id.
        """
        self._own.add(identity)
        super().remove(identity)


def derive(stores: Mapping[str, Store], derived: Mapping[str, DerivedStore]) -> None:
    """Derive all records of the kinds in `campaigns_2026_10_15.DERIVED` again."""
    found: dict[str, list[Resource]] = {kind: [] for kind in campaigns_2026_10_15.DERIVED}
    for kind, resource in campaigns_2026_10_15.convert(
        stores["campaign"], stores["campaign-message"], stores["translation"]
    ):
        found[kind].append(resource)
    for kind, resources in found.items():
        derived[kind].derive(resources)
