"""Page bytes -> Arrow tables with the declared columns. Pure.

Two ways to the same rows. The fast one decodes a whole page into typed structs in which nested JSON stays raw bytes:
no re-serialising, so big integers, number formats and key order survive. Whatever it cannot take (an unknown field, a
value of another type, an odd timestamp) sends that record, alone, the careful way: value by value, and what fits no
column goes to the `_extra` column under its path. Nothing is dropped.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw

from .contracts import EXTRA, ROW_VERSION, Column, Contract
from .errors import ContractViolation, TransientError
from .spec import Parent
from .windows import Window

#: dlt's name of a type -> Arrow's.
ARROW: Mapping[str, pa.DataType] = {
    "text": pa.string(),
    "json": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
}
# Klaviyo documents some numbers as "number or numeric string" (a profile's latitude).
_PYTHON: Mapping[str, Any] = {
    "text": str | None,
    "json": Raw,
    "bigint": int | None,
    "double": float | str | None,
    "bool": bool | None,
    "timestamp": str | None,
    "date": str | None,
}

#: What decoding raises; text that is not UTF-8 has an error of its own.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
#: What decoding and converting raise for a record that the column types don't fit.
DOES_NOT_FIT = (*UNREADABLE, pa.ArrowException, ValueError, OverflowError, TypeError)
#: Where broken characters are counted among the misfits.
_BROKEN = "(text that is not Unicode)"
#: An object with more unknown fields than this is no object with fixed fields.
_MOST_LEARNED = 50

_Index = dict[tuple[str, str], Raw]

# No struct here takes part in a cycle (gc=False): the collector, which would walk every page several times while it is
# decoded, took much of the time.

decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_any = msgspec.json.Decoder().decode
_decode_string = msgspec.json.Decoder(str).decode


class _Ref(msgspec.Struct, gc=False):
    type: str
    id: str


class _ToOne(msgspec.Struct, gc=False):
    data: _Ref | None = None


class _ToMany(msgspec.Struct, gc=False):
    data: list[_Ref] | None = None


class _Page(msgspec.Struct, gc=False):
    data: Raw
    included: list[Raw] | None = None


_decode_header = msgspec.json.Decoder(_Ref).decode
_decode_page = msgspec.json.Decoder(_Page).decode
decode_array = msgspec.json.Decoder(list[Raw]).decode


class _Links(msgspec.Struct, gc=False):
    next: str | None = None


class _LinksPage(msgspec.Struct, gc=False):
    links: _Links | None = None


_decode_links = msgspec.json.Decoder(_LinksPage).decode


def next_link(page: bytes) -> str | None:
    """`links.next` of a page, or None on the last one.

    Raises:
        TransientError: the body is not a whole JSON document, as when a connection is cut.
    """
    links = _whole(_decode_links, page).links
    return links.next if links else None


def _whole(decode: Callable[[bytes], Any], page: bytes) -> Any:
    try:
        return decode(page)
    except UNREADABLE:
        page, _ = mended(page)
    try:
        return decode(page)
    except msgspec.DecodeError as error:
        raise TransientError(f"the answer is not the JSON that was expected: {error}") from None


_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|u[dD][89a-fA-F]..|.)", re.DOTALL)


def mended(page: bytes) -> tuple[bytes, int]:
    """A page in which all text is Unicode, and how many characters were not.

    Python, and so Klaviyo, writes half an emoji (a text cut by its length) as half a surrogate pair. That is no
    character: decoders and warehouses refuse the whole document for it. It becomes U+FFFD, as do bytes that are not
    UTF-8.
    """
    broken = 0

    def whole(match: re.Match[bytes]) -> bytes:
        nonlocal broken
        escape = match.group()
        if len(escape) != len(rb"\ud800"):
            return escape
        broken += 1
        return rb"\ufffd"

    try:
        page.decode()
    except UnicodeDecodeError:
        text = page.decode(errors="replace")
        broken += text.count("\ufffd") - page.count("\ufffd".encode())
        page = text.encode()
    if b"\\ud" in page or b"\\uD" in page:
        page = _ESCAPE.sub(whole, page)
    return page, broken


@dataclass(slots=True)
class Shaped:
    """What one page became.

    Attributes:
        table: the rows, with the contract's columns in its order.
        misfits: path -> how many values of this page went to `_extra`.
    """

    table: pa.Table
    misfits: Counter[str] = field(default_factory=Counter)


def page_records(page: bytes, misfits: Counter[str]) -> tuple[list[Raw], list[Raw]]:
    """The records of a page and what is included with them, each as it was sent.

    Args:
        misfits: where characters that are none are counted.

    Raises:
        TransientError: the page is not a JSON:API document.
    """
    page, broken = mended(page)
    if broken:
        misfits[_BROKEN] += broken
    document = _whole(_decode_page, page)
    records = decode_array(document.data) if bytes(document.data).startswith(b"[") else [document.data]
    return [raw for raw in records if bytes(raw) != b"null"], document.included or []


def schema_of(contract: Contract) -> pa.Schema:
    """The Arrow types of a contract's columns."""
    return pa.schema([pa.field(column.name, ARROW[column.data_type]) for column in contract.columns])


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as dicts -> a table; what a row does not have is null."""
    return pa.table([pa.array([row.get(field.name) for row in rows], field.type) for field in schema], schema=schema)


class Shaper:
    """Turns pages of one report into Arrow tables.

    Args:
        contract: the declared columns.
        rows: None where the records themselves make the rows, else the included type that does.
        row_version: add the column that dlt's scd2 compares: all values of the row in one text.
    """

    def __init__(self, contract: Contract, *, rows: str | None = None, row_version: bool = False) -> None:
        self.contract = contract
        self.rows = rows
        self._row_version = row_version
        columns = [column for column in contract.columns if column.name != EXTRA]
        self._context = [column for column in columns if column.path.startswith("context.")]
        #: What this revision of the API has no value for.
        self._absent = [column for column in columns if not column.path]
        self._included = _Included.of(columns)
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
                (python, (_ToMany if name in to_many else _ToOne) | None, None)
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
            context: what the request knows and the record does not (`channel`, `list_id`).

        Raises:
            TransientError: the page is not a JSON:API document.
        """
        misfits: Counter[str] = Counter()
        if self.rows is None:
            # A page that the fast way cannot take whole, for whatever reason, is taken in parts.
            with suppress(*DOES_NOT_FIT):
                document: Any = self._decode_document(page)
                records = document.data if isinstance(document.data, list) else [document.data]
                index = _index(document.included) if self._included else {}
                return Shaped(self._fast(records, index, context, misfits), misfits)
            misfits.clear()
        raws, index = self._records(page, misfits)
        tables = list(self._careful(raws, index, context, misfits))
        return Shaped(pa.concat_tables(tables).combine_chunks() if tables else self.empty(), misfits)

    def _records(self, page: bytes, misfits: Counter[str]) -> tuple[list[Raw], _Index]:
        records, included = page_records(page, misfits)
        index = _index(included)
        if self.rows is not None:
            return [raw for (kind, _), raw in index.items() if kind == self.rows], index
        return records, index

    def _careful(
        self, raws: list[Raw], index: _Index, context: Mapping[str, str | None], misfits: Counter[str]
    ) -> Iterator[pa.Table]:
        """Halve until the records that don't fit stand alone."""
        counted = Counter[str]()
        with suppress(*DOES_NOT_FIT):
            table = self._fast([self._decode_record(raw) for raw in raws], index, context, counted)
            misfits.update(counted)
            yield table
            return
        if len(raws) > 1:
            half = len(raws) // 2
            yield from self._careful(raws[:half], index, context, misfits)
            yield from self._careful(raws[half:], index, context, misfits)
        else:
            yield self._one(raws[0], index, context, misfits)
            # A field that Klaviyo added is on every record from now on: the fast way learns it.
            if self._tree.learned:
                self._compile()

    def _fast(
        self, records: Sequence[Any], index: _Index, context: Mapping[str, str | None], misfits: Counter[str]
    ) -> pa.Table:
        count = len(records)
        arrays: dict[str, pa.Array] = {}
        if self._id:
            arrays[self._id.name] = pa.array([record.id for record in records], pa.string())
        if self._type:
            arrays[self._type.name] = pa.array([record.type for record in records], pa.string())
        extras: dict[str, list[Raw | None]] = {}
        self._tree.arrays([record.attributes for record in records], arrays, extras)
        related = [record.relationships for record in records]
        for name, column in self._to_one.items():
            refs = _get(_get(related, self._python_names[name]), "data")
            arrays[column.name] = pa.array(_get(refs, "id"), pa.string())
        for name, column in self._to_many.items():
            lists = _get(_get(related, self._python_names[name]), "data")
            arrays[column.name] = pa.array([_ids(refs) for refs in lists], pa.string())
        for inc in self._included:
            arrays |= inc.arrays(_get(related, self._python_names[inc.relationship]), index)
        for column in self._context:
            value = context.get(column.path.removeprefix("context."))
            arrays[column.name] = pa.repeat(pa.scalar(value, pa.string()), count)
        for column in self._absent:
            arrays[column.name] = pa.nulls(count, ARROW[column.data_type])
        arrays[EXTRA] = (
            pa.array(_extras(extras, count, misfits), pa.string()) if extras else pa.nulls(count, pa.string())
        )
        return self._table(arrays)

    def _table(self, arrays: dict[str, pa.Array]) -> pa.Table:
        if self._row_version:
            texts = [arrays[column.name].cast(pa.string()) for column in self.contract.columns if column.name != EXTRA]
            arrays[ROW_VERSION] = pc.binary_join_element_wise(*texts, "|", null_handling="replace")
        return pa.table([arrays[name] for name in self.schema.names], schema=self.schema)

    def _one(self, raw: Raw, index: _Index, context: Mapping[str, str | None], misfits: Counter[str]) -> pa.Table:
        """One row out of a record that the types don't fit; what is left over goes to `_extra`."""
        extra: dict[str, bytes] = {}
        row: dict[str, Any] = {}
        record = _object(raw)
        if record is None:
            record = {}
            extra["$"] = bytes(raw)
        self._tree.take(record.get("attributes"), row, extra)
        relationships = self._take_relationships(record.get("relationships"), extra)
        for name, column in self._to_one.items():
            refs = _refs(relationships.get(name))
            if refs is not None and len(refs) <= 1:
                row[column.name] = refs[0].id if refs else None
            elif name in relationships:
                extra[f"relationships.{name}"] = bytes(relationships[name])
        for name, column in self._to_many.items():
            refs = _refs(relationships.get(name))
            if refs is not None:
                row[column.name] = _ids(refs) if _has_data(relationships.get(name)) else None
            elif name in relationships:
                extra[f"relationships.{name}"] = bytes(relationships[name])
        # Column by column: what is wrong with one is no reason to miss the others.
        for inc in (alone for group in self._included for alone in group.each()):
            column = inc.columns[0]
            relationship = relationships.get(inc.relationship)
            refs = _refs(relationship)
            to_many = inc.many or inc.first
            link = _ToMany(refs if _has_data(relationship) else None) if to_many else _ToOne(refs[0] if refs else None)
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
                # Without an id there is nothing to merge on; a name made of the content keeps the record once.
                row[self._id.name] = stand_in_id(raw)
                extra["$"] = bytes(raw)
        misfits.update(extra.keys())
        row[EXTRA] = json_object(extra) if extra else None
        return self._table(
            {
                name: pa.array([row.get(name)], self.schema.field(name).type)
                for name in self.schema.names
                if name != ROW_VERSION
            }
        )

    @staticmethod
    def _take_relationships(raw: Raw | None, extra: dict[str, bytes]) -> dict[str, Raw]:
        """The relationships that are there; null is as good as absent."""
        found = _object(raw)
        if found is None:
            if raw is not None and bytes(raw) != b"null":
                extra["relationships"] = bytes(raw)
            return {}
        return {name: value for name, value in found.items() if bytes(value) != b"null"}


class _Node:
    """One fixed JSON object below `attributes`: its leaf columns and the objects in it.

    Args:
        path: where the object is, for `_extra`.
        columns: the columns in it, at any depth.
        depth: how many steps of their paths lead here.
        closed: whether a field without a column goes to `_extra`. Not so inside an object that is a JSON column
            as a whole and has columns of its own besides: there the JSON column has it.
    """

    def __init__(self, path: str, columns: Sequence[Column], depth: int, closed: bool = True) -> None:
        self.path = path
        self.leaves: dict[str, Column] = {}
        self.children: dict[str, _Node] = {}
        #: Set when a field was met that no column names, until the struct knows it.
        self.learned = False
        self._closed = closed
        self._unknown: list[str] = []
        below: dict[str, list[Column]] = {}
        for column in columns:
            steps = column.path.split(".")[depth:]
            if len(steps) == 1:
                self.leaves[steps[0]] = column
            else:
                below.setdefault(steps[0], []).append(column)
        for name, inner in below.items():
            self.children[name] = _Node(f"{path}.{name}", inner, depth + 1, closed and name not in self.leaves)
        self._python: dict[str, str] = {}
        self._inner: dict[str, Callable[[Raw], Any]] = {}

    def struct(self) -> Any:
        """The msgspec type of this object, remade after a field was learned."""
        self.learned = False
        names = dict.fromkeys([*self.leaves, *self.children, *self._unknown])
        self._python = {name: f"f{i}" for i, name in enumerate(names)}
        fields: list[tuple[str, Any, Any]] = []
        for name, python in self._python.items():
            if name in self.leaves:
                kind = _PYTHON[self.leaves[name].data_type]
                fields.append((python, kind, Raw() if kind is Raw else None))
                if name in self.children:
                    self._inner[name] = msgspec.json.Decoder(self.children[name].struct() | None).decode
            elif name in self.children:
                fields.append((python, self.children[name].struct() | None, None))
            else:
                fields.append((python, Raw, Raw()))
        rename = {python: name for name, python in self._python.items()}
        return msgspec.defstruct("Node", fields, rename=rename, forbid_unknown_fields=self._closed, gc=False)

    def arrays(self, nodes: Sequence[Any], out: dict[str, pa.Array], extras: dict[str, list[Raw | None]]) -> None:
        """Columns of all rows at once, from the decoded structs (None where the object is absent)."""
        for name, column in self.leaves.items():
            out[column.name] = _array(column, _get(nodes, self._python[name]))
        for name, child in self.children.items():
            inner = _get(nodes, self._python[name])
            if decode := self._inner.get(name):
                inner = [decode(raw) if raw is not None and bytes(raw) else None for raw in inner]
            child.arrays(inner, out, extras)
        for name in self._unknown:
            extras[f"{self.path}.{name}"] = _get(nodes, self._python[name])

    def take(self, raw: Raw | None, row: dict[str, Any], extra: dict[str, bytes]) -> None:
        """Columns of one row, value by value; what does not fit goes to `extra` under its path."""
        if raw is None or bytes(raw) in (b"", b"null"):
            return
        values = _object(raw)
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
            if child is not None:
                child.take(value, row, extra)
            if column is None and child is None and self._closed:
                extra[f"{self.path}.{name}"] = bytes(value)
                if name not in self._unknown and len(self._unknown) < _MOST_LEARNED:
                    self._unknown.append(name)
                    self.learned = True
        self.learned = self.learned or any(child.learned for child in self.children.values())


class _Included:
    """Columns whose values are in other records of the same page, behind one relationship of this one.

    Args:
        columns: with the same relationship, and no path within another's.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        _, relationship, *_ = columns[0].path.split(".")
        self.many = relationship.endswith("[]")
        #: Of the records in a to-many relationship, the first alone.
        self.first = relationship.endswith("[0]")
        self.relationship = relationship.removesuffix("[]").removesuffix("[0]")
        paths = [_inside(column) for column in columns]
        # One typed decode of a record reaches all values; going down object by object costs several times that.
        self._decode = msgspec.json.Decoder(_typed([path for path in paths if path])).decode
        self._steps = [[_python_name(step) for step in path] for path in paths]
        self._deep = any(paths)

    @classmethod
    def of(cls, columns: Iterable[Column]) -> list[_Included]:
        """All columns of a contract that are behind relationships, grouped."""
        groups: list[list[Column]] = []
        for column in columns:
            if not column.path.startswith("included."):
                continue
            known = (group for group in groups if all(_beside(column, other) for other in group))
            group = next(known, None)
            if group is None:
                groups.append([column])
            else:
                group.append(column)
        return [cls(group) for group in groups]

    def each(self) -> list[_Included]:
        """The same, a column alone."""
        return [type(self)([column]) for column in self.columns]

    def arrays(self, links: Sequence[Any], index: _Index) -> dict[str, pa.Array]:
        """The columns by name."""
        if self.first:
            links = [_ToOne(link.data[0]) if link is not None and link.data else None for link in links]
        columns = self._lists(links, index) if self.many else self._values(links, index)
        return dict(zip([column.name for column in self.columns], columns, strict=True))

    def _values(self, links: Sequence[_ToOne | None], index: _Index) -> list[pa.Array]:
        refs = _get(links, "data")
        keys = [None if ref is None else (ref.type, ref.id) for ref in refs]
        found = [key for key in dict.fromkeys(keys) if key is not None and key in index]
        arrays = []
        for column, texts in zip(self.columns, self._columns([index[key] for key in found]), strict=True):
            values: dict[Any, Any] = {key: _fitted(column, text) for key, text in zip(found, texts, strict=True)}
            arrays.append(pa.array([values.get(key) for key in keys], ARROW[column.data_type]))
        return arrays

    def _lists(self, links: Sequence[_ToMany | None], index: _Index) -> list[pa.Array]:
        lists = _get(links, "data")
        # Most are empty.
        empty = [None if refs is None else "[]" for refs in lists]
        rows, records = list[int](), list[Raw]()
        for row, refs in enumerate(lists):
            for ref in refs or ():
                if (raw := index.get((ref.type, ref.id))) is not None:
                    rows.append(row)
                    records.append(raw)
        columns = []
        for texts in self._columns(records):
            column, inside = empty.copy(), dict[int, list[bytes]]()
            for row, text in zip(rows, texts, strict=True):
                if text is not None:
                    inside.setdefault(row, []).append(text)
            for row, own in inside.items():
                column[row] = f"[{b','.join(own).decode()}]"
            columns.append(pa.array(column, pa.string()))
        return columns

    def raw(self, refs: Sequence[_Ref], index: _Index) -> bytes:
        """The first column's value in a to-one relationship as Klaviyo sent it."""
        record = index.get((refs[0].type, refs[0].id)) if refs else None
        return (self._columns([record])[0][0] if record is not None else None) or b"null"

    def _columns(self, records: Sequence[Raw]) -> list[list[bytes | None]]:
        """The values of some records, column by column; None for null as for absent."""
        tops = [self._decode(record) for record in records] if self._deep else []
        # Column by column, since Python's own loops cost several times as much a value.
        return [_texts(reduce(_get, steps, tops if steps else records)) for steps in self._steps]


def _fitted(column: Column, raw: bytes | None) -> Any:
    value, whole = (None, True) if raw is None else value_of(column, Raw(raw))
    if not whole:
        raise ValueError(f"{column.path} does not fit {column.data_type}")
    return column.values.get(str(value), value) if column.values else value


def _inside(column: Column) -> list[str]:
    """The steps of a column's path within the included record."""
    return column.path.split(".")[2:]


def _beside(one: Column, other: Column) -> bool:
    """Whether one decode can reach both columns: the same records, and neither value within the other."""
    if one.path.split(".")[1] != other.path.split(".")[1]:
        return False
    mine, others = _inside(one), _inside(other)
    shorter = min(len(mine), len(others))
    return shorter == 0 or mine[:shorter] != others[:shorter]


def _typed(paths: Sequence[Sequence[str]]) -> Any:
    """The msgspec type that holds what is at the end of each path, and nothing else."""
    names = dict.fromkeys(path[0] for path in paths)
    fields: list[tuple[str, Any, Any]] = []
    for name in names:
        below = [path[1:] for path in paths if path[0] == name and len(path) > 1]
        fields.append((_python_name(name), _typed(below), None) if below else (_python_name(name), Raw, Raw()))
    return msgspec.defstruct("Step", fields, rename={_python_name(name): name for name in names}, gc=False) | None


def _python_name(step: str) -> str:
    """A name that Python takes for a name, as not every member of a JSON object has one."""
    return f"f{step.encode().hex()}"


def _relationships(columns: Iterable[Column], suffix: str) -> dict[str, Column]:
    return {
        column.path.removeprefix("relationships.").removesuffix(suffix): column
        for column in columns
        if column.path.startswith("relationships.") and column.path.endswith(suffix)
    }


def _get(objects: Sequence[Any], name: str) -> list[Any]:
    """An attribute of each object; None where the object is None."""
    try:
        return list(map(attrgetter(name), objects))
    except AttributeError:
        return [None if item is None else getattr(item, name) for item in objects]


def _array(column: Column, values: Sequence[Any]) -> pa.Array:
    kind = column.data_type
    if kind == "json":
        return pa.array(_texts(values), pa.string())
    if kind == "timestamp":
        # Arrow wants an offset, and no more than microseconds; everything else goes the careful way.
        return pa.array(values, pa.string()).cast(ARROW[kind])
    if kind == "date":
        return pa.array(values, pa.string()).cast(ARROW[kind])
    if kind == "double":
        return pa.array([_number(v) if isinstance(v, str) else v for v in values], pa.float64())
    return pa.array(values, ARROW[kind])


def _texts(raws: Sequence[Raw | None]) -> list[bytes | None]:
    """JSON as it was sent; None for null as for absent."""
    texts: list[bytes | None] = [None if raw is None else bytes(raw) for raw in raws]
    if b"" in texts or b"null" in texts:
        return [None if text in (b"", b"null") else text for text in texts]
    return texts


def value_of(column: Column, raw: Raw) -> tuple[Any, bool]:
    """One value as its column takes it, and whether the column holds all of it."""
    text = bytes(raw)
    if text == b"null":
        return None, True
    kind = column.data_type
    if kind == "json":
        return text.decode(), True
    try:
        value = _decode_any(text)
    except msgspec.DecodeError:
        return None, False
    if kind == "text" and isinstance(value, str):
        return value, True
    if kind == "bool" and isinstance(value, bool):
        return value, True
    if kind == "bigint" and isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value, True
    if kind == "double" and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return _number(value) if isinstance(value, str) else float(value), True
        except (ValueError, OverflowError):
            return None, False
    if kind == "timestamp" and isinstance(value, str):
        return _timestamp(value)
    if kind == "date" and isinstance(value, str):
        try:
            return date.fromisoformat(value), True
        except ValueError:
            return None, False
    return None, False


_NUMBER = re.compile(r"\s*[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,2})?\s*", re.ASCII)


def _number(text: str) -> float:
    """A number in a string; Python's own `float` would also take "nan", "infinity" and "1_0"."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is not a number")
    return float(text)


# Nothing looser: ISO's dates without separators would take a number in a string for a date.
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d(?::\d\d(?::\d\d)?)?)(?:[.,](\d+))?\s*(Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)


def _timestamp(text: str) -> tuple[datetime | None, bool]:
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        return None, False
    day, time, fraction, offset = match.groups()
    # Klaviyo's times are UTC; the shapes without an offset were seen to be so too.
    iso = f"{day}T{time or '00'}{'.' + fraction if fraction else ''}{(offset or 'Z').upper()}"
    try:
        return datetime.fromisoformat(iso).astimezone(UTC), not (fraction or "")[6:].strip("0")
    except (ValueError, OverflowError):
        return None, False


def _object(raw: Raw | None) -> dict[str, Raw] | None:
    try:
        return None if raw is None else decode_object(raw)
    except UNREADABLE:
        return None


def _refs(raw: Raw | None) -> list[_Ref] | None:
    """The references of a relationship of either kind; None where it has no readable ones."""
    relationship = _object(raw)
    if relationship is None:
        return None
    data = relationship.get("data")
    try:
        found = msgspec.json.decode(data, type=list[_Ref] | _Ref | None) if data is not None else None
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, list) else [found] if found else []


def _has_data(raw: Raw | None) -> bool:
    return bytes((_object(raw) or {}).get("data") or b"null") != b"null"


def _ids(refs: Sequence[_Ref] | None) -> str | None:
    if not refs:
        return None if refs is None else "[]"
    return msgspec.json.encode([ref.id for ref in refs]).decode()


def _index(included: Iterable[Raw] | None) -> _Index:
    found: _Index = {}
    for raw in included or ():
        try:
            header = _decode_header(raw)
        except msgspec.DecodeError:
            # Nothing can point at it, but it may be a row.
            header = _Ref(text_of((_object(raw) or {}).get("type")) or "", f"no-id-{len(found)}")
        found[header.type, header.id] = raw
    return found


def stand_in_id(raw: Raw) -> str:
    """A name made of the content of a record that has no id."""
    return f"no-id-{hashlib.sha256(bytes(raw)).hexdigest()[:32]}"


def text_of(raw: Raw | None) -> str | None:
    """A JSON string as text, anything else as the JSON that it is; None for null."""
    if raw is None or bytes(raw) == b"null":
        return None
    try:
        return _decode_string(raw)
    except UNREADABLE:
        return bytes(raw).decode(errors="replace")


def json_object(values: Mapping[str, bytes]) -> str:
    """A JSON object of values that are JSON already."""
    parts = [msgspec.json.encode(key) + b":" + value for key, value in values.items()]
    return (b"{" + b",".join(parts) + b"}").decode(errors="replace")


def _extras(fields: Mapping[str, list[Raw | None]], count: int, misfits: Counter[str]) -> list[str | None]:
    """The `_extra` column out of the learned fields, row by row."""
    rows: list[dict[str, bytes]] = [{} for _ in range(count)]
    for path, values in fields.items():
        for row, raw in zip(rows, values, strict=True):
            if raw is not None and bytes(raw):
                row[path] = bytes(raw)
                misfits[path] += 1
    return [json_object(row) if row else None for row in rows]


def without(table: pa.Table, column: str, surplus: Sequence[Window]) -> pa.Table:
    """The rows whose `column` lies in no window of `surplus`; rows without a value there are kept."""
    low, high, _ = span(table, column) if surplus else (None, None, True)
    values = table.column(column)
    for window in surplus:
        if low is None or high is None or high < window.start or window.end <= low:
            continue
        start, end = pa.scalar(window.start, values.type), pa.scalar(window.end, values.type)
        inside = pc.and_(pc.greater_equal(values, start), pc.less(values, end))
        if pc.any(inside).as_py():
            table = table.filter(pc.invert(pc.fill_null(inside, False)))
            values = table.column(column)
    return table


def without_nuls(table: pa.Table, contract: Contract) -> tuple[pa.Table, Counter[str]]:
    """Text without the character U+0000, for destinations that cannot hold it; the whole value goes to `_extra`."""
    misfits: Counter[str] = Counter()
    extras: dict[int, dict[str, bytes]] = {}
    for column in contract.columns:
        if column.data_type != "text":
            continue
        values = table.column(column.name)
        found = pc.match_substring(values, "\x00")
        if not pc.any(found).as_py():
            continue
        for row in pc.indices_nonzero(pc.fill_null(found, False)).to_pylist():
            extras.setdefault(row, {})[column.path] = msgspec.json.encode(values[row].as_py())
            misfits[column.path] += 1
        place = table.schema.get_field_index(column.name)
        table = table.set_column(place, column.name, pc.replace_substring(values, "\x00", ""))
    if extras:
        before = table.column(EXTRA).to_pylist()
        for row, values_of_row in extras.items():
            known = {name: bytes(raw) for name, raw in (_object(Raw(before[row])) or {}).items()} if before[row] else {}
            before[row] = json_object({**known, **values_of_row})
        place = table.schema.get_field_index(EXTRA)
        table = table.set_column(place, EXTRA, pa.array(before, pa.string()))
    return table, misfits


def span(table: pa.Table, column: str) -> tuple[datetime | None, datetime | None, bool]:
    """Least and greatest value of a timestamp column, and whether it ascends by whole seconds, Klaviyo's grain."""
    moments = microseconds(table, column)
    if not moments:
        return None, None, True
    ordered = sorted(moments)
    # Most are in order as they stand.
    ascends = moments == ordered or (seconds := [moment // 1_000_000 for moment in moments]) == sorted(seconds)
    return moment_at(ordered[0]), moment_at(ordered[-1]), ascends


def microseconds(table: pa.Table, column: str) -> list[int]:
    """The values of a timestamp column that are there, in microseconds since 1970."""
    # Not by Arrow's functions: each lets go of Python's lock, and waits for it again among all threads that fetch.
    found: list[int] = []
    for values in table.column(column).chunks:
        there = values.drop_null() if values.null_count else values
        if len(there):
            numbers = memoryview(there.buffers()[1]).cast("q")
            found += numbers[there.offset : there.offset + len(there)].tolist()
    return found


def moment_at(microseconds: int) -> datetime:
    """Microseconds since 1970 as aware UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def records_span(page: bytes, cursor: str) -> tuple[datetime | None, datetime | None, bool]:
    """As `span`, by an attribute of the records of a page: for reports whose rows are included records."""
    records = _whole(_decode_list, page).data
    values = [_timestamp(_at(raw, f"attributes.{cursor}") or "")[0] for raw in records]
    return span(pa.table({cursor: pa.array(values, ARROW["timestamp"])}), cursor)


class _ListPage(msgspec.Struct, gc=False):
    data: list[Raw]
    included: list[Raw] | None = None


_decode_list = msgspec.json.Decoder(_ListPage).decode


def parents(
    page: bytes, parent: Parent, cursor: str | None = None, surplus: Sequence[Window] = ()
) -> list[tuple[str, dict[str, str | None]]]:
    """The ids of a page of parents, with what their children are to carry.

    Args:
        page: the body of one answer.
        parent: which records of the page are the parents, and what of them to carry.
        cursor: attribute to cut by, if any.
        surplus: what to cut.
    """
    document = _whole(_decode_list, page)
    records: list[Raw] = document.data
    if parent.rows is not None:
        records = [raw for raw in document.included or () if _at(raw, "type") == parent.rows]
    found = []
    for raw in records:
        when = _timestamp(_at(raw, f"attributes.{cursor}") or "")[0] if cursor and parent.rows is None else None
        if when is not None and any(window.start <= when < window.end for window in surplus):
            continue
        if any(_at(raw, path) in values for path, values in parent.childless.items()):
            continue
        parent_id = _at(raw, "id")
        if not parent_id:
            raise ContractViolation("a record without an id has children that cannot be asked for")
        found.append((parent_id, {name: _at(raw, path) for name, path in parent.context.items()}))
    return found


def named_ids(page: bytes) -> list[tuple[str, str]]:
    """Name and id of each record of a page that has both."""
    found = [(_at(raw, "attributes.name"), _at(raw, "id")) for raw in _whole(_decode_list, page).data]
    return [(name, identity) for name, identity in found if name is not None and identity is not None]


def _at(raw: Raw | None, path: str) -> str | None:
    for step in path.split("."):
        raw = (_object(raw) or {}).get(step)
    return text_of(raw)
