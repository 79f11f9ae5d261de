"""The declared columns of the predefined reports.

They are edited in `schemas/`, one YAML file a report in dlt's column vocabulary, each column with its path in the record
and a description. Read is the copy in `data/columns.json`.
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


#: All files of `schemas/` in one, written by `make generate`: a package and `dlt init` copy no other folder.
BUNDLE = Path(__file__).parent / "data" / "columns.json"


EXTRA = "_extra"


ROW_VERSION = "_row_version"


@dataclass(frozen=True, slots=True)
class Column:
    """One declared column.

    Attributes:
        name: the column in the table.
        data_type: dlt's name of the type.
        path: where the value is: `id`, `attributes.…`, `relationships.<rel>.data.id` (to-one),
            `relationships.<rel>.data[].id` (to-many), `included.<rel>.…`, `included.<rel>[].…` and
            `included.<rel>[0].…` (through a relationship to the record, to all records or to the first one that travel
            in the same answer), `context.<name>` (known from the request).
            Empty where the revision has no such value: the column is null.
        description: for analysts.
        values: of an included record: Klaviyo's word -> the column's, where revisions have two words for one thing.
    """

    name: str
    data_type: DataType
    path: str
    description: str
    nullable: bool = True
    primary_key: bool = False
    values: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)


EXTRA_COLUMN = Column(
    EXTRA,
    "json",
    "",
    "Values of this record that no column holds or whose type is not the column's: path -> value. "
    "Null where everything fits.",
)


#: Where rows lie inside the records: tells the destination which of them are gone.
DELETED = "_deleted"


DELETED_COLUMN = Column(
    DELETED,
    "bool",
    "{deleted}",
    "Never true in a table that merges: tells the destination to delete the row.",
)


@dataclass(frozen=True, slots=True)
class Contract:
    """The columns of one report, the last of them `_extra`, which takes what fits nowhere else."""

    name: str
    resource: str
    description: str
    columns: tuple[Column, ...]

    @property
    def primary_key(self) -> list[str]:
        return [column.name for column in self.columns if column.primary_key]


def with_deletions(contract: Contract) -> Contract:
    """The contract of a table whose rows can go: with the column that says so, before `_extra`."""
    *declared, extra = contract.columns
    return replace(contract, columns=(*declared, DELETED_COLUMN, extra))


@cache
def load_contract(name: str, revision: str) -> Contract:
    """The contract of a report under a revision; every one ends with the `_extra` column.

    The columns are the same under every revision. Where a value is elsewhere, its path is a table: the first revision
    that has it there -> path, or null where the value is gone.

    Raises:
        LookupError: the report has no columns.
    """
    declared = _declared(BUNDLE).get(name)
    if declared is None:
        raise LookupError(f"report {name} has no columns: write schemas/{name}.yaml, then run `make generate`")
    columns = [
        Column(name=key, **{**told, "path": _path(told["path"], revision)}) for key, told in declared["columns"].items()
    ]
    return Contract(declared["name"], declared["resource"], declared["description"], (*columns, EXTRA_COLUMN))


@cache
def _declared(bundle: Path) -> dict[str, Any]:
    return cast(dict[str, Any], msgspec.json.decode(bundle.read_bytes()))


def _path(told: str | Mapping[str, str | None], revision: str) -> str:
    if isinstance(told, str):
        return told
    begun = [first for first in told if first <= revision]
    return told[max(begun)] or "" if begun else ""
