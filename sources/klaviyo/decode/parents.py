"""Page bytes -> what the engine needs besides rows: ids of parents, the span of a page in time, names with ids."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa
from msgspec import Raw

from ..catalog.model import Parent
from ..errors import ContractViolation
from ..jsonapi import decode_list, decode_whole, text_at
from ..windows import Window
from .tables import span
from .values import ARROW, timestamp_of


def records_span(page: bytes, cursor: str) -> tuple[datetime | None, datetime | None, bool]:
    """As `span`, from an attribute of a page's records: for reports whose rows are included records, which do not have
    the cursor."""
    records = decode_whole(decode_list, page).data
    values = [timestamp_of(text_at(raw, f"attributes.{cursor}") or "")[0] for raw in records]
    return span(pa.table({cursor: pa.array(values, ARROW["timestamp"])}), cursor)


def parents(
    page: bytes, parent: Parent, cursor: str | None = None, surplus: Sequence[Window] = ()
) -> list[tuple[str, dict[str, str | None]]]:
    """Id and context of each parent on a page that can have children.

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
    ids_and_contexts = []
    for raw in records:
        when = timestamp_of(text_at(raw, f"attributes.{cursor}") or "")[0] if cursor and parent.rows is None else None
        if when is not None and any(window.start <= when < window.end for window in surplus):
            continue
        if any(text_at(raw, path) in values for path, values in parent.childless.items()):
            continue
        parent_id = text_at(raw, "id")
        if not parent_id:
            raise ContractViolation("a parent record has no id, so its children cannot be requested")
        ids_and_contexts.append((parent_id, {name: text_at(raw, path) for name, path in parent.context.items()}))
    return ids_and_contexts


def named_ids(page: bytes) -> list[tuple[str, str]]:
    """Name and id of each record of a page that has both."""
    pairs = [(text_at(raw, "attributes.name"), text_at(raw, "id")) for raw in decode_whole(decode_list, page).data]
    return [(name, identity) for name, identity in pairs if name is not None and identity is not None]
