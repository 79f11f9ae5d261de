"""Page bytes -> what the engine needs besides rows: ids of parents, the span of a page in time, names with ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
from msgspec import Raw

from ..catalog.model import Parent
from ..errors import ContractViolation
from ..jsonapi import Index, decode_list, decode_whole, index_of, object_of, refs_of, text_at
from ..windows import Window
from .tables import span
from .values import ARROW, timestamp_of


def records_span(page: bytes, cursor: str) -> tuple[datetime | None, datetime | None, bool]:
    """As `span`, from an attribute of a page's records: for reports whose rows are included records, which do not have
    the cursor."""
    records = decode_whole(decode_list, page).data
    values = [timestamp_of(text_at(raw, f"attributes.{cursor}") or "")[0] for raw in records]
    return span(pa.table({cursor: pa.array(values, ARROW["timestamp"])}), cursor)


@dataclass(frozen=True, slots=True)
class ParentRecord:
    """A parent whose children are to be requested.

    Attributes:
        context: what its children's rows take over from it.
        settled: its date, if nothing will be added to it any more until that date changes; else None.
    """

    id: str
    context: dict[str, str | None]
    settled: str | None = None


def parents(
    page: bytes, parent: Parent, cursor: str | None = None, surplus: Sequence[Window] = ()
) -> list[ParentRecord]:
    """The parents on a page that can have children.

    Args:
        page: the body of one answer.
        parent: which records of the page are the parents, and which of their values make the context.
        cursor: attribute to cut by, if any.
        surplus: windows to cut.

    Raises:
        ContractViolation: a parent has no id.
        TransientError: the page is not a JSON:API document.
    """
    document = decode_whole(decode_list, page)
    records: list[Raw] = document.data
    if parent.rows is not None:
        records = [raw for raw in document.included or () if text_at(raw, "type") == parent.rows]
    index = index_of(document.included) if parent.settled else {}
    found = []
    for raw in records:
        date = text_at(raw, f"attributes.{cursor}") if cursor and parent.rows is None else None
        when = timestamp_of(date or "")[0]
        if when is not None and any(window.start <= when < window.end for window in surplus):
            continue
        if any(text_at(raw, path) in values for path, values in parent.childless.items()):
            continue
        parent_id = text_at(raw, "id")
        if not parent_id:
            raise ContractViolation("a parent record has no id, so its children cannot be requested")
        context = {name: text_at(raw, path) for name, path in parent.context.items()}
        found.append(ParentRecord(parent_id, context, date if _is_settled(raw, parent.settled, index) else None))
    return found


def _is_settled(raw: Raw, settled: tuple[str, str] | None, index: Index) -> bool:
    """Whether all values at the path of `Parent.settled` are the one that it names."""
    if settled is None:
        return False
    path, wanted = settled
    if not path.startswith("included."):
        return text_at(raw, path) == wanted
    relationship, _, inner = path.removeprefix("included.").partition("[].")
    refs = refs_of((object_of((object_of(raw) or {}).get("relationships")) or {}).get(relationship)) or []
    return bool(refs) and all(text_at(index.get((ref.type, ref.id)), inner) == wanted for ref in refs)


@dataclass(frozen=True, slots=True)
class NamedRecord:
    """A record that is looked up by its name, which several may share.

    Attributes:
        integration: name of the integration that it belongs to; empty where it has none.
    """

    id: str
    name: str
    integration: str


def named_records(page: bytes) -> list[NamedRecord]:
    """The records of a page that have a name and an id."""
    found = []
    for raw in decode_whole(decode_list, page).data:
        name, identity = text_at(raw, "attributes.name"), text_at(raw, "id")
        if name is not None and identity is not None:
            found.append(NamedRecord(identity, name, text_at(raw, "attributes.integration.name") or ""))
    return found
