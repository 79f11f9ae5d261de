"""Page bytes -> Arrow tables of nested rows: one for each key of an object or position in a list inside a record. Pure.

Each nested row is first rewritten as a record of its own, which has this row only at the path where the row lies. These
records are then decoded as all records are, so values that fit no column are kept in `_extra`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw

from ..catalog.contracts import DELETED, DELETED_COLUMN, Contract
from ..catalog.model import Nested
from ..jsonapi import decode_array, decode_object, page_records, text_of
from .raw import finder
from .records import Shaper
from .tables import Shaped

#: Where a row lies in its record: a key or position for each `{name}` in the path.
_Place = tuple[str | int, ...]
_NULL = Raw(b"null")


class NestedShaper:
    """Turns pages into the rows nested inside their records, and into delete markers for rows that are gone.

    Args:
        contract: columns with paths in the record (`id`, `attributes.updated`), in the nested row
            (`attributes.subscriptions.{channel}.{purpose}.consent`; a `*` at the end stands for the rest of a key), or
            of its place (`{channel}`).
        nested: where the rows lie.
    """

    def __init__(self, contract: Contract, nested: Nested) -> None:
        self.contract = contract
        self._expected = nested.expected
        self._within = list(nested.within.items())
        root, *places = re.split(r"\.(?=\{)", nested.path)
        self._root = finder(root)
        self._root_steps = root.split(".")[1:]
        self._places = places
        kinds = {column.path: column.data_type for column in contract.columns}
        # Default of each part of a place. A position in a list is a number, a key of an object is a text.
        self._default_place: list[str | int] = [0 if kinds[place] == "bigint" else "" for place in places]
        beside = [c for c in contract.columns if c.path.startswith("attributes.") and not c.path.startswith(root)]
        self._beside = [(column.path.removeprefix("attributes."), finder(column.path)) for column in beside]
        self._stems = [
            name.removesuffix("*")
            for column in contract.columns
            if (name := column.path.rpartition(".")[2])[-1:] == "*"
        ]
        columns = tuple(
            replace(column, path=f"attributes.{column.path}") if column.path.startswith("{") else column
            for column in contract.columns
        )
        self._shaper = Shaper(replace(contract, columns=columns))
        self.schema = self._shaper.schema
        self._id, self._type = finder("id"), finder("type")

    def empty(self) -> pa.Table:
        """A table without rows, with every column."""
        return self._shaper.empty()

    def shape(self, page: bytes, context: Mapping[str, str | None]) -> Shaped:
        """All rows of one page.

        Raises:
            TransientError: the page is not a JSON:API document.
        """
        misfits: Counter[str] = Counter()
        records, _ = page_records(page, misfits)
        rows = b",".join(row for record in records for row in self._rows(record, context))
        shaped = self._shaper.shape(b'{"data":[' + rows + b"]}", context)
        shaped.misfits.update(misfits)
        return shaped

    def _rows(self, record: Raw, context: Mapping[str, str | None]) -> Iterator[bytes]:
        """The rows of one record, each as a record of its own."""
        identity = self._id(record)
        identity = None if identity is None or bytes(identity) == b"null" else identity
        head = b'{"id":%b,"type":%b,"attributes":{' % (bytes(identity or _NULL), bytes(self._type(record) or b'""'))
        if identity is None:
            # Without an id there are no delete markers, and the place alone does not identify the row. The whole record
            # does: it becomes part of the row, from whose content an id is made.
            head = b'{"record":%b,%b' % (bytes(record), head[len(b'{"id":null,') :])
        head += b"".join(b'"%b":%b,' % (name.encode(), bytes(find(record) or _NULL)) for name, find in self._beside)
        seen = set()
        for place, row in self._found(self._root(record), context):
            seen.add(self._whole(place))
            yield head + self._placed(place) + self._nested(row, len(place)) + b"}}"
        if identity is None and not seen:
            yield head + self._placed(()) + b'"%b":null}}' % DELETED_COLUMN.path.encode()
        if identity is not None:
            for place in self._expected:
                if place not in seen:
                    yield head + self._placed(place) + b'"%b":true}}' % DELETED_COLUMN.path.encode()

    def _whole(self, place: _Place) -> _Place:
        """A place with defaults for the parts that it lacks."""
        return (*place, *self._default_place[len(place) :])

    def _placed(self, place: _Place) -> bytes:
        """The members of a record that hold a place."""
        return b"".join(
            b'"%b":%b,' % (name.encode(), msgspec.json.encode(value))
            for name, value in zip(self._places, self._whole(place), strict=True)
        )

    def _nested(self, row: bytes, depth: int) -> bytes:
        """The member of a record that holds a row at its path, down to `depth` parts of its place."""
        steps = [*self._root_steps, *self._places[:depth]]
        return b"{".join(b'"%b":' % step.encode() for step in steps) + row + b"}" * (len(steps) - 1)

    def _found(self, raw: Raw | None, context: Mapping[str, str | None]) -> Iterator[tuple[_Place, bytes]]:
        """The place and bytes of each row. A value that should be an object or a list, but is not, is a row itself."""
        level: list[tuple[_Place, Raw]] = [] if raw is None else [((), raw)]
        for default in self._default_place:
            below: list[tuple[_Place, Raw]] = []
            for place, outer in level:
                if bytes(outer) == b"null":
                    continue
                try:
                    inner = decode_array(outer) if default == 0 else decode_object(outer)
                except msgspec.DecodeError:
                    yield place, bytes(outer)
                    continue
                keyed = enumerate(inner) if isinstance(inner, list) else inner.items()
                below += [((*place, key), row) for key, row in keyed if bytes(row) != b"null"]
            level = below
        number = 0
        for place, row in level:
            fields = self._fields(row)
            if all(text_of((fields or {}).get(name)) in (context.get(key), None) for name, key in self._within):
                # Rows that belong to other requests are left out, and the positions of the others are counted anew.
                yield (number,) if self._within else place, bytes(row) if fields is None else self._renamed(row, fields)
                number += 1

    @staticmethod
    def _fields(row: Raw) -> dict[str, Raw] | None:
        try:
            return decode_object(row)
        except msgspec.DecodeError:
            return None

    def _renamed(self, row: Raw, fields: dict[str, Raw]) -> bytes:
        """The row with each key that matches a column with a `*` renamed to it, and without the fields of `within`."""
        if not (self._stems or self._within):
            return bytes(row)
        left_out = {name for name, _ in self._within}
        renamed: dict[str, Raw] = {}
        for name, value in fields.items():
            if name in left_out:
                continue
            stem = next((f"{stem}*" for stem in self._stems if name.startswith(stem)), name)
            renamed[name if stem in renamed else stem] = value
        return b"{" + b",".join(msgspec.json.encode(key) + b":" + bytes(value) for key, value in renamed.items()) + b"}"


def deletions(table: pa.Table) -> int:
    """How many rows of a table are delete markers."""
    return int(pc.sum(table.column(DELETED)).as_py() or 0) if DELETED in table.column_names else 0


def standing(table: pa.Table) -> pa.Table:
    """The rows of a table without the delete markers, for a table that is replaced as a whole."""
    if DELETED not in table.column_names:
        return table
    return table.filter(pc.invert(pc.fill_null(table.column(DELETED), False)))
