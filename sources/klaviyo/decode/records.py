"""Page bytes -> Arrow tables with the declared columns. Pure.

There are two ways to the same rows. The fast way decodes a whole page into typed structs in which nested JSON stays raw
bytes: nothing is re-serialised, so big integers, number formats and key order survive. A record that it cannot decode
(a new field, a value of another type, an unusual timestamp) goes the careful way, alone: value by value, and values
that fit no column go to the `_extra` column under their path. Nothing is dropped.

The fast way learns what all further records are likely to have too: a field that no column declares, and numbers in a
text column. Neither costs more than the record that brings it first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw

from ..catalog.contracts import EXTRA, ROW_VERSION, Column, Contract
from ..jsonapi import (
    Index,
    ToMany,
    ToOne,
    has_data,
    index_of,
    json_ids,
    json_object,
    object_of,
    page_records,
    refs_of,
    stand_in_id,
    text_of,
)
from .included import Included
from .tables import Shaped, schema_of
from .values import ARROW, DOES_NOT_FIT, PYTHON_TYPES, array_as_sent, array_of, attributes_of, is_number, value_of

#: The most new fields of an object that the fast way learns. An object with more does not have fixed fields.
_MOST_LEARNED = 50
#: What the name of a field of a msgspec type may not hold. Records with such fields go the careful way.
_UNFIT_NAME = re.compile(r'["\\\x00-\x1f]')
#: The value of a field that a record does not have.
_ABSENT = Raw()


class Shaper:
    """Turns pages of one report into Arrow tables.

    Args:
        contract: the declared columns.
        rows: None if the records are the rows, else the type of the included records that are.
        row_version: add the column that dlt's scd2 compares: all values of a row in one text.
    """

    def __init__(self, contract: Contract, *, rows: str | None = None, row_version: bool = False) -> None:
        self.contract = contract
        self.rows = rows
        self._row_version = row_version
        columns = [column for column in contract.columns if column.name != EXTRA]
        self._context = [column for column in columns if column.path.startswith("context.")]
        # Columns without a value under this revision of the API.
        self._absent = [column for column in columns if not column.path]
        self._included = Included.of(columns)
        self._to_one = _relationships(columns, ".data.id")
        self._to_many = _relationships(columns, ".data[].id")
        self._tree = _Node("attributes", [c for c in columns if c.path.startswith("attributes.")], depth=1)
        self.schema = schema_of(contract)
        if row_version:
            self.schema = self.schema.append(pa.field(ROW_VERSION, pa.string()))
        self._id = next((column for column in columns if column.path == "id"), None)
        self._type = next((column for column in columns if column.path == "type"), None)
        relationship_names = {*self._to_one, *self._to_many, *(inc.relationship for inc in self._included)}
        to_many = {*self._to_many, *(inc.relationship for inc in self._included if inc.many or inc.first)}
        self._python_names = {name: f"r{i}" for i, name in enumerate(sorted(relationship_names))}
        self._relationships = msgspec.defstruct(
            "Relationships",
            [
                (python, (ToMany if name in to_many else ToOne) | None, None)
                for name, python in self._python_names.items()
            ],
            rename={python: name for name, python in self._python_names.items()},
            gc=False,
        )
        self._compile()

    def _compile(self) -> None:
        record = msgspec.defstruct(
            "Record",
            [
                ("id", str),
                ("type", str),
                ("attributes", self._tree.struct() | None, None),
                ("relationships", self._relationships | None, None),
            ],
            gc=False,
        )
        self._decode_record = msgspec.json.Decoder(record).decode
        document = msgspec.defstruct(
            "Document",
            [("data", list[record] | record), ("included", list[Raw] | None, None)],  # type: ignore[valid-type]
            gc=False,
        )
        self._decode_document = msgspec.json.Decoder(document).decode

    def empty(self) -> pa.Table:
        """A table without rows, with every declared column."""
        return self.schema.empty_table()

    def shape(self, page: bytes, context: Mapping[str, str | None]) -> Shaped:
        """All rows of one page.

        Args:
            page: the body of one answer, a whole JSON:API document.
            context: values that the request has and the record does not (`channel`, `list_id`).

        Raises:
            TransientError: the page is not a JSON:API document.
        """
        if self.rows is None:
            # A page that does not fit as a whole is decoded again below, in parts.
            with suppress(*DOES_NOT_FIT):
                document: Any = self._decode_document(page)
                records = document.data if isinstance(document.data, list) else [document.data]
                index = index_of(document.included) if self._included else {}
                return self._fast(records, index, context)
        misfits: Counter[str] = Counter()
        raws, index = self._records(page, misfits)
        parts = list(self._careful(raws, index, context))
        new_fields: Counter[str] = Counter()
        for part in parts:
            misfits.update(part.misfits)
            new_fields.update(part.new_fields)
        table = pa.concat_tables([part.table for part in parts]).combine_chunks() if parts else self.empty()
        return Shaped(table, misfits, new_fields)

    def _records(self, page: bytes, misfits: Counter[str]) -> tuple[list[Raw], Index]:
        records, included = page_records(page, misfits)
        index = index_of(included)
        if self.rows is not None:
            return [raw for (kind, _), raw in index.items() if kind == self.rows], index
        return records, index

    def _careful(self, raws: list[Raw], index: Index, context: Mapping[str, str | None]) -> Iterator[Shaped]:
        """Decode by halves, down to single records that do not fit."""
        with suppress(*DOES_NOT_FIT):
            yield self._fast([self._decode_record(raw) for raw in raws], index, context)
            return
        if len(raws) > 1:
            half = len(raws) // 2
            yield from self._careful(raws[:half], index, context)
            yield from self._careful(raws[half:], index, context)
        else:
            yield self._one(raws[0], index, context)
            # A field that Klaviyo has added will be in all further records, so the fast way learns it.
            if self._tree.learned:
                self._compile()

    def _fast(self, records: Sequence[Any], index: Index, context: Mapping[str, str | None]) -> Shaped:
        count = len(records)
        arrays: dict[str, pa.Array] = {}
        if self._id:
            arrays[self._id.name] = pa.array([record.id for record in records], pa.string())
        if self._type:
            arrays[self._type.name] = pa.array([record.type for record in records], pa.string())
        new: dict[str, list[Raw | None]] = {}
        self._tree.arrays([record.attributes for record in records], arrays, new)
        related = [record.relationships for record in records]
        for name, column in self._to_one.items():
            refs = attributes_of(attributes_of(related, self._python_names[name]), "data")
            arrays[column.name] = pa.array(attributes_of(refs, "id"), pa.string())
        for name, column in self._to_many.items():
            lists = attributes_of(attributes_of(related, self._python_names[name]), "data")
            arrays[column.name] = pa.array([json_ids(refs) for refs in lists], pa.string())
        for inc in self._included:
            arrays |= inc.arrays(attributes_of(related, self._python_names[inc.relationship]), index)
        for column in self._context:
            value = context.get(column.path.removeprefix("context."))
            arrays[column.name] = pa.repeat(pa.scalar(value, pa.string()), count)
        for column in self._absent:
            arrays[column.name] = pa.nulls(count, ARROW[column.data_type])
        arrays[EXTRA] = pa.array(_extras(new), pa.string()) if new else pa.nulls(count, pa.string())
        counted = Counter({path: count - values.count(None) for path, values in new.items()})
        return Shaped(self._table(arrays), new_fields=counted)

    def _table(self, arrays: dict[str, pa.Array]) -> pa.Table:
        if self._row_version:
            texts = [arrays[column.name].cast(pa.string()) for column in self.contract.columns if column.name != EXTRA]
            arrays[ROW_VERSION] = pc.binary_join_element_wise(*texts, "|", null_handling="replace")
        return pa.table([arrays[name] for name in self.schema.names], schema=self.schema)

    def _one(self, raw: Raw, index: Index, context: Mapping[str, str | None]) -> Shaped:
        """One row from a record that does not fit the types; values without a column go to `_extra`."""
        extra: dict[str, bytes] = {}
        new_fields: Counter[str] = Counter()
        row: dict[str, Any] = {}
        record = object_of(raw)
        if record is None:
            record = {}
            extra["$"] = bytes(raw)
        self._tree.take(record.get("attributes"), row, extra, new_fields)
        relationships = self._take_relationships(record.get("relationships"), extra)
        for name, column in self._to_one.items():
            refs = refs_of(relationships.get(name))
            if refs is not None and len(refs) <= 1:
                row[column.name] = refs[0].id if refs else None
            elif name in relationships:
                extra[f"relationships.{name}"] = bytes(relationships[name])
        for name, column in self._to_many.items():
            refs = refs_of(relationships.get(name))
            if refs is not None:
                row[column.name] = json_ids(refs) if has_data(relationships.get(name)) else None
            elif name in relationships:
                extra[f"relationships.{name}"] = bytes(relationships[name])
        # Column by column, so that a misfit in one does not lose the others.
        for inc in (single for group in self._included for single in group.separated()):
            column = inc.columns[0]
            relationship = relationships.get(inc.relationship)
            refs = refs_of(relationship)
            to_many = inc.many or inc.first
            link = ToMany(refs if has_data(relationship) else None) if to_many else ToOne(refs[0] if refs else None)
            try:
                row[column.name] = inc.arrays([link], index)[column.name][0].as_py()
            except DOES_NOT_FIT:
                extra[column.path] = inc.raw(refs or (), index)
        for column in self._context:
            row[column.name] = context.get(column.path.removeprefix("context."))
        if self._type:
            row[self._type.name] = text_of(record.get("type"))
        if self._id:
            row[self._id.name] = text_of(record.get("id"))
            if row[self._id.name] is None:
                # A merge needs an id: a hash of the content keeps the record, and keeps it once.
                row[self._id.name] = stand_in_id(raw)
                extra["$"] = bytes(raw)
        row[EXTRA] = json_object(extra) if extra else None
        table = self._table(
            {
                name: pa.array([row.get(name)], self.schema.field(name).type)
                for name in self.schema.names
                if name != ROW_VERSION
            }
        )
        return Shaped(table, Counter(extra.keys() - new_fields.keys()), new_fields)

    @staticmethod
    def _take_relationships(raw: Raw | None, extra: dict[str, bytes]) -> dict[str, Raw]:
        """Name -> relationship, without those that are null. What is not an object goes to `extra`."""
        relationships = object_of(raw)
        if relationships is None:
            if raw is not None and bytes(raw) != b"null":
                extra["relationships"] = bytes(raw)
            return {}
        return {name: value for name, value in relationships.items() if bytes(value) != b"null"}


class _Node:
    """One JSON object with fixed fields, `attributes` or one inside it: its columns, and the objects inside it.

    Args:
        path: path of the object, for `_extra`.
        columns: the columns inside it, at any depth.
        depth: how many steps of their paths lead to this object.
        closed: whether a field without a column goes to `_extra`. It does not where the object as a whole is a JSON
            column too: that column holds the field already.
    """

    def __init__(self, path: str, columns: Sequence[Column], depth: int, closed: bool = True) -> None:
        self.path = path
        self.leaves: dict[str, Column] = {}
        self.children: dict[str, _Node] = {}
        #: A field without a column was met that the msgspec type does not have yet, or a number in a text column.
        self.learned = False
        self._closed = closed
        self._new: list[str] = []
        below: dict[str, list[Column]] = {}
        for column in columns:
            steps = column.path.split(".")[depth:]
            if len(steps) == 1:
                self.leaves[steps[0]] = column
            else:
                below.setdefault(steps[0], []).append(column)
        for name, inner in below.items():
            self.children[name] = _Node(f"{path}.{name}", inner, depth + 1, closed and name not in self.leaves)
        #: Leaves with values of several types, which are decoded one by one.
        self._as_sent = {name for name, column in self.leaves.items() if column.member is not None}
        self._python: dict[str, str] = {}
        self._inner: dict[str, Callable[[Raw], Any]] = {}

    def struct(self) -> Any:
        """The msgspec type of this object, with all that was learned so far."""
        self.learned = False
        names = dict.fromkeys([*self.leaves, *self.children, *self._new])
        self._python = {name: f"f{i}" for i, name in enumerate(names)}
        fields: list[tuple[str, Any, Any]] = []
        for name, python in self._python.items():
            if name in self.leaves:
                kind = Raw if name in self._as_sent else PYTHON_TYPES[self.leaves[name].data_type]
                fields.append((python, kind, _ABSENT if kind is Raw else None))
                if name in self.children:
                    self._inner[name] = msgspec.json.Decoder(self.children[name].struct() | None).decode
            elif name in self.children:
                fields.append((python, self.children[name].struct() | None, None))
            else:
                fields.append((python, Raw, _ABSENT))
        rename = {python: name for name, python in self._python.items()}
        return msgspec.defstruct("Node", fields, rename=rename, forbid_unknown_fields=self._closed, gc=False)

    def arrays(self, nodes: Sequence[Any], out: dict[str, pa.Array], new: dict[str, list[Raw | None]]) -> None:
        """Write the columns of all rows into `out`, and the fields without a column, by path, into `new`.

        Args:
            nodes: the decoded struct of each row; None where the object is absent.
        """
        for name, column in self.leaves.items():
            array = array_as_sent if name in self._as_sent else array_of
            out[column.name] = array(column, attributes_of(nodes, self._python[name]))
        for name, child in self.children.items():
            inner = attributes_of(nodes, self._python[name])
            if decode := self._inner.get(name):
                # What is not an object has none of its fields.
                inner = [decode(raw) if raw is not None and bytes(raw).startswith(b"{") else None for raw in inner]
            child.arrays(inner, out, new)
        for name in self._new:
            values = [None if raw is _ABSENT else raw for raw in attributes_of(nodes, self._python[name])]
            if values.count(None) < len(values):
                new[f"{self.path}.{name}"] = values

    def take(self, raw: Raw | None, row: dict[str, Any], extra: dict[str, bytes], new_fields: Counter[str]) -> None:
        """Write the columns of one row into `row`, value by value; what fits no column goes to `extra` under its path.

        Args:
            new_fields: counts those of them that no column declares.
        """
        if raw is None or bytes(raw) in (b"", b"null"):
            return
        values = object_of(raw)
        if values is None:
            if self._closed:
                extra[self.path] = bytes(raw)
            return
        for name, value in values.items():
            column, child = self.leaves.get(name), self.children.get(name)
            if column is not None:
                row[column.name], whole = value_of(column, value)
                if not whole:
                    extra[f"{self.path}.{name}"] = bytes(value)
                elif column.data_type == "text" and name not in self._as_sent and is_number(bytes(value)):
                    self._as_sent.add(name)
                    self.learned = True
            if child is not None:
                child.take(value, row, extra, new_fields)
            if column is None and child is None and self._closed:
                extra[f"{self.path}.{name}"] = bytes(value)
                new_fields[f"{self.path}.{name}"] += 1
                if name not in self._new and len(self._new) < _MOST_LEARNED and not _UNFIT_NAME.search(name):
                    self._new.append(name)
                    self.learned = True
        self.learned = self.learned or any(child.learned for child in self.children.values())


def _relationships(columns: Iterable[Column], suffix: str) -> dict[str, Column]:
    return {
        column.path.removeprefix("relationships.").removesuffix(suffix): column
        for column in columns
        if column.path.startswith("relationships.") and column.path.endswith(suffix)
    }


def _extras(new: Mapping[str, list[Raw | None]]) -> list[bytes | None]:
    """The `_extra` column of all rows.

    Args:
        new: path -> the values of a field, one for each row; None where the record does not have it.
    """
    texts: list[bytes | None] = []
    for path, values in new.items():
        key = msgspec.json.encode(path)
        members = [None if value is None else b"%b:%b" % (key, value) for value in values]
        texts = (
            [b",".join(filter(None, pair)) or None for pair in zip(texts, members, strict=True)] if texts else members
        )
    return [None if text is None else b"{%b}" % text for text in texts]
