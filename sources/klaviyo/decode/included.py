"""Columns out of included records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import Raw

from ..catalog.contracts import Column
from ..jsonapi import Index, Ref, ToMany, ToOne
from .values import ARROW, attributes_of, json_texts, value_of


class Included:
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
    def of(cls, columns: Iterable[Column]) -> list[Included]:
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

    def each(self) -> list[Included]:
        """The same, a column alone."""
        return [type(self)([column]) for column in self.columns]

    def arrays(self, links: Sequence[Any], index: Index) -> dict[str, pa.Array]:
        """The columns by name."""
        if self.first:
            links = [ToOne(link.data[0]) if link is not None and link.data else None for link in links]
        columns = self._lists(links, index) if self.many else self._values(links, index)
        return dict(zip([column.name for column in self.columns], columns, strict=True))

    def _values(self, links: Sequence[ToOne | None], index: Index) -> list[pa.Array]:
        refs = attributes_of(links, "data")
        keys = [None if ref is None else (ref.type, ref.id) for ref in refs]
        found = [key for key in dict.fromkeys(keys) if key is not None and key in index]
        arrays = []
        for column, texts in zip(self.columns, self._columns([index[key] for key in found]), strict=True):
            values: dict[Any, Any] = {key: _fitted(column, text) for key, text in zip(found, texts, strict=True)}
            arrays.append(pa.array([values.get(key) for key in keys], ARROW[column.data_type]))
        return arrays

    def _lists(self, links: Sequence[ToMany | None], index: Index) -> list[pa.Array]:
        lists = attributes_of(links, "data")
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

    def raw(self, refs: Sequence[Ref], index: Index) -> bytes:
        """The first column's value in a to-one relationship as Klaviyo sent it."""
        record = index.get((refs[0].type, refs[0].id)) if refs else None
        return (self._columns([record])[0][0] if record is not None else None) or b"null"

    def _columns(self, records: Sequence[Raw]) -> list[list[bytes | None]]:
        """The values of some records, column by column; None for null as for absent."""
        tops = [self._decode(record) for record in records] if self._deep else []
        # Column by column, since Python's own loops cost several times as much a value.
        return [json_texts(reduce(attributes_of, steps, tops if steps else records)) for steps in self._steps]


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
