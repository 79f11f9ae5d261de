"""The declared columns of the predefined reports.

They are edited in `schemas/`: one YAML file for each report, in dlt's column vocabulary, each column with its path in
the record and a description. At run time they are read from the copy in `data/columns.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

import msgspec

DataType = Literal["text", "bigint", "double", "bool", "timestamp", "date", "json"]

#: All files of `schemas/` in one, written by `make generate`, since the package and `dlt init` copy no other folder.
BUNDLE = Path(__file__).parent / "data" / "columns.json"

#: Column for misfits and new fields: values of a record that fit no column, or that no column declares.
EXTRA = "_extra"
#: Column that dlt's scd2 compares: all values of a row in one text.
ROW_VERSION = "_row_version"
#: Column of merged tables whose rows can disappear (nested rows, analytics): tells the destination to delete the row.
DELETED = "_deleted"


@dataclass(frozen=True, slots=True)
class Column:
    """One declared column.

    Attributes:
        name: the column in the table.
        data_type: dlt's name of the type.
        path: where the value is: `id`, `attributes.…`, `relationships.<rel>.data.id` (to-one),
            `relationships.<rel>.data[].id` (to-many), `included.<rel>.…`, `included.<rel>[].…` and
            `included.<rel>[0].…` (in the included record of a to-one relationship, in all or in the first one of a
            to-many relationship), `context.<name>` (known from the request).
            Empty where the revision has no such value: the column is null.
        description: for analysts.
        values: for values of included records: Klaviyo's word -> the column's word, where two revisions have different
            words for the same thing.
        member: where Klaviyo sends the value or an object with it: the member of the object that is the value.
    """

    name: str
    data_type: DataType
    path: str
    description: str
    nullable: bool = True
    primary_key: bool = False
    values: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    member: str | None = None


EXTRA_COLUMN = Column(
    EXTRA,
    "json",
    "",
    "Values of this record that no column holds or whose type is not the column's: path -> value. "
    "Null where everything fits.",
)

DELETED_COLUMN = Column(
    DELETED,
    "bool",
    "{deleted}",
    "Never true in a table that merges: tells the destination to delete the row.",
)


@dataclass(frozen=True, slots=True)
class Contract:
    """The columns of one report; the last one is `_extra`, for values that fit no other column."""

    name: str
    resource: str
    description: str
    columns: tuple[Column, ...]

    @property
    def primary_key(self) -> list[str]:
        """Names of the columns that identify a row."""
        return [column.name for column in self.columns if column.primary_key]


def with_deletions(contract: Contract) -> Contract:
    """The contract with the column `_deleted` before `_extra`, for tables whose rows can be deleted."""
    *declared, extra = contract.columns
    return replace(contract, columns=(*declared, DELETED_COLUMN, extra))


@cache
def load_contract(name: str, revision: str) -> Contract:
    """The contract of a report under a revision; every one ends with the `_extra` column.

    The columns are the same under every revision. Where the path of a value depends on the revision, the declared path
    is a table: first revision with this path -> path, or null where the value no longer exists.

    Raises:
        LookupError: the report has no columns.
    """
    declared = _declared(BUNDLE).get(name)
    if declared is None:
        raise LookupError(f"report {name} has no columns: write schemas/{name}.yaml, then run `make generate`")
    columns = [
        Column(name=column, **{**properties, "path": _path(properties["path"], revision)})
        for column, properties in declared["columns"].items()
    ]
    return Contract(declared["name"], declared["resource"], declared["description"], (*columns, EXTRA_COLUMN))


@cache
def _declared(bundle: Path) -> dict[str, Any]:
    return cast(dict[str, Any], msgspec.json.decode(bundle.read_bytes()))


def _path(path: str | Mapping[str, str | None], revision: str) -> str:
    if isinstance(path, str):
        return path
    begun = [first for first in path if first <= revision]
    return path[max(begun)] or "" if begun else ""
