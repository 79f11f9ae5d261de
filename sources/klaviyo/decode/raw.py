"""Page bytes -> Arrow tables of raw records, for custom reports. Pure.

A raw table has each record as Klaviyo sent it, byte for byte, in JSON columns. Values that a user lifts out of the
record have columns of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import Raw

from ..catalog.contracts import EXTRA, Column, Contract
from ..jsonapi import decode_object, json_object, page_records, stand_in_id, text_of
from .tables import Shaped, schema_of, table_of
from .values import DOES_NOT_FIT, value_of

#: The members of a record that have a JSON column; any other member goes to `_extra`.
PARTS = ("attributes", "relationships", "links")


class _Record(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: str
    type: str
    attributes: Raw = Raw()
    relationships: Raw = Raw()
    links: Raw = Raw()


_decode_record = msgspec.json.Decoder(_Record).decode


class RawShaper:
    """Turns pages of one custom report into raw rows.

    Args:
        contract: `id`, `type`, the JSON columns of `PARTS`, and further columns with a path: the cursor, values of the
            context (`context.…`), and values that the user lifts.
        included: the rows are the included records, of all types, instead of the records.
    """

    def __init__(self, contract: Contract, *, included: bool = False) -> None:
        self.contract = contract
        self.schema = schema_of(contract)
        self._included = included
        whole = {"id", "type", *PARTS}
        beside = [column for column in contract.columns if column.path not in whole and column.name != EXTRA]
        self._context = [column for column in beside if column.path.startswith("context.")]
        self._lifted = [(column, finder(column.path)) for column in beside if not column.path.startswith("context.")]

    def empty(self) -> pa.Table:
        """A table without rows, with every column."""
        return self.schema.empty_table()

    def shape(self, page: bytes, context: Mapping[str, str | None]) -> Shaped:
        """All rows of one page.

        Raises:
            TransientError: the page is not a JSON:API document.
        """
        misfits: Counter[str] = Counter()
        new_fields: Counter[str] = Counter()
        records, included = page_records(page, misfits)
        rows = [self._row(raw, context, misfits, new_fields) for raw in (included if self._included else records)]
        return Shaped(table_of(rows, self.schema), misfits, new_fields)

    def _row(
        self, raw: Raw, context: Mapping[str, str | None], misfits: Counter[str], new_fields: Counter[str]
    ) -> dict[str, Any]:
        row: dict[str, Any] = {}
        try:
            record = _decode_record(raw)
            row["id"], row["type"] = record.id, record.type
            parts = {name: getattr(record, name) for name in PARTS}
        except DOES_NOT_FIT:
            members = _members(raw)
            row["id"], row["type"] = text_of(members.pop("id", None)), text_of(members.pop("type", None))
            parts = {name: members.pop(name, Raw()) for name in PARTS}
            extra = members
            if row["id"] is None:
                extra, row["id"] = {"$": raw}, stand_in_id(raw)
                misfits["$"] += 1
            else:
                new_fields.update(members.keys())
            row[EXTRA] = json_object({name: bytes(value) for name, value in extra.items()}) if extra else None
        # The type is part of the key in tables of included records, so it is never null.
        row["type"] = row["type"] or ""
        for name, part in parts.items():
            row[name] = bytes(part).decode(errors="replace") or None
        for column in self._context:
            row[column.name] = context.get(column.path.removeprefix("context."))
        for column, lift in self._lifted:
            value = lift(raw)
            # A value that does not fit becomes null: the JSON columns hold it, and the load goes on.
            row[column.name] = None if value is None else _lifted(column, value)
        return row


def _lifted(column: Column, raw: Raw) -> Any:
    value, whole = value_of(column, raw)
    if whole or column.data_type != "text":
        return value
    # A column of type text takes numbers and objects as their JSON.
    return bytes(raw).decode(errors="replace")


def finder(path: str) -> Callable[[Raw], Raw | None]:
    """A function that returns the value at a path of a record, None where there is none.

    It is a typed decode, which skips everything else in the record.
    """
    steps = path.split(".")
    kind: Any = Raw
    for step in reversed(steps):
        default = Raw() if kind is Raw else None
        kind = msgspec.defstruct("Step", [("down", kind, default)], rename={"down": step}, gc=False) | None
    decode = msgspec.json.Decoder(kind).decode

    def find(raw: Raw) -> Raw | None:
        try:
            value: Any = decode(raw)
        except DOES_NOT_FIT:
            return None
        for _ in steps:
            if value is None:
                return None
            value = value.down
        return value if bytes(value) else None

    return find


def _members(raw: Raw) -> dict[str, Raw]:
    try:
        return decode_object(raw)
    except msgspec.DecodeError:
        return {}


def unpacked(table: pa.Table, contract: Contract) -> list[dict[str, Any]]:
    """The rows as dicts with the attributes as keys of their own, so that dlt infers columns from them.

    An attribute with the same name as another key that is not null gets the prefix `attributes_`.
    """
    as_json = [column.name for column in contract.columns if column.data_type == "json"]
    rows = []
    for row in table.to_pylist():
        for name in as_json:
            row[name] = None if row[name] is None else msgspec.json.decode(row[name])
        attributes = row.pop("attributes")
        if not isinstance(attributes, dict):
            attributes = {} if attributes is None else {"attributes": attributes}
        beside = {name: value for name, value in row.items() if value is not None}
        rows.append({f"attributes_{k}" if k in beside else k: v for k, v in attributes.items()} | beside)
    return rows
