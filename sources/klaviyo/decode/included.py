"""Columns whose values are in included records, reached through a relationship of the row's own record. Pure."""

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
    """Columns whose values are in the included records of one relationship.

    Args:
        columns: columns of the same relationship; no path may lie within another one's.

    Attributes:
        relationship: name of the relationship.
        many: it is to-many, and a column is a JSON list of the values of all its records.
        first: it is to-many, and a column is the value of its first record.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        _, relationship, *_ = columns[0].path.split(".")
        self.many = relationship.endswith("[]")
        self.first = relationship.endswith("[0]")
        self.relationship = relationship.removesuffix("[]").removesuffix("[0]")
        paths = [_inside(column) for column in columns]
        # One typed decode of a record reaches all values. Decoding object by object costs several times as much.
        self._decode = msgspec.json.Decoder(_typed([path for path in paths if path])).decode
        self._steps = [[_python_name(step) for step in path] for path in paths]
        self._deep = any(paths)

    @classmethod
    def of(cls, columns: Iterable[Column]) -> list[Included]:
        """All columns of a contract that are in included records, in groups that one decode can reach."""
        groups: list[list[Column]] = []
        for column in columns:
            if not column.path.startswith("included."):
                continue
            fitting = (group for group in groups if all(_beside(column, other) for other in group))
            group = next(fitting, None)
            if group is None:
                groups.append([column])
            else:
                group.append(column)
        return [cls(group) for group in groups]

    def separated(self) -> list[Included]:
        """One group for each column."""
        return [type(self)([column]) for column in self.columns]

    def arrays(self, links: Sequence[Any], index: Index) -> dict[str, pa.Array]:
        """Column name -> values of all rows.

        Args:
            links: the relationship of each row, a `ToOne` or `ToMany`; None where it is absent.

        Raises:
            One of `DOES_NOT_FIT`: a value does not fit its column.
        """
        if self.first:
            links = [ToOne(link.data[0]) if link is not None and link.data else None for link in links]
        columns = self._lists(links, index) if self.many else self._values(links, index)
        return dict(zip([column.name for column in self.columns], columns, strict=True))

    def _values(self, links: Sequence[ToOne | None], index: Index) -> list[pa.Array]:
        refs = attributes_of(links, "data")
        keys = [None if ref is None else (ref.type, ref.id) for ref in refs]
        included = [key for key in dict.fromkeys(keys) if key is not None and key in index]
        arrays = []
        for column, texts in zip(self.columns, self._columns([index[key] for key in included]), strict=True):
            values: dict[Any, Any] = {key: _fitted(column, text) for key, text in zip(included, texts, strict=True)}
            arrays.append(pa.array([values.get(key) for key in keys], ARROW[column.data_type]))
        return arrays

    def _lists(self, links: Sequence[ToMany | None], index: Index) -> list[pa.Array]:
        lists = attributes_of(links, "data")
        # Most relationships are empty.
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
        """The values of some records, column by column; None for null and for absent values."""
        tops = [self._decode(record) for record in records] if self._deep else []
        # Column by column with C-level loops: a Python loop costs several times as much for each value.
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
    """Whether one decode can reach both columns: same relationship, and neither value within the other."""
    if one.path.split(".")[1] != other.path.split(".")[1]:
        return False
    steps, other_steps = _inside(one), _inside(other)
    shorter = min(len(steps), len(other_steps))
    return shorter == 0 or steps[:shorter] != other_steps[:shorter]


def _typed(paths: Sequence[Sequence[str]]) -> Any:
    """A msgspec type with the values at the end of the paths only; everything else is skipped."""
    names = dict.fromkeys(path[0] for path in paths)
    fields: list[tuple[str, Any, Any]] = []
    for name in names:
        below = [path[1:] for path in paths if path[0] == name and len(path) > 1]
        fields.append((_python_name(name), _typed(below), None) if below else (_python_name(name), Raw, Raw()))
    return msgspec.defstruct("Step", fields, rename={_python_name(name): name for name in names}, gc=False) | None


def _python_name(step: str) -> str:
    """A valid Python identifier for any name of a JSON member."""
    return f"f{step.encode().hex()}"
