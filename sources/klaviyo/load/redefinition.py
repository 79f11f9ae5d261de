"""Staged rows: those of a new definition of an analytics report, in a table of their own until they are complete.

They are staged in the table `<report>__next`. When all of them are there, they are read back and replace the report's
table in one load package. The steps are in an order in which a kill, even with a lost working folder, loses nothing:

- A staged row carries the build that it belongs to, and only rows of the build in the state are read back. So rows of
  an earlier definition do no harm.
- A load package before says that the table's definition is in doubt: see `state.doubt`.
- Staged rows are deleted by a later load package than the one whose state refers to them no more. The rows and the
  state of a package are not committed at the same moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dlt
import pyarrow as pa
from dlt.extract.hints import HintsMeta, make_hints
from dlt.extract.items import DataItemWithMeta

from ..catalog.contracts import DELETED
from ..catalog.report import Report
from ..decode.analytics import PERIOD_KEY
from ..decode.tables import schema_of
from ..plan.state import SOURCE

#: The column of a staged row that says which build it belongs to.
_BUILD = "_build"
#: Written as dicts: for the text "replace" dlt would forget the state of the resource.
_MERGED: Any = {"disposition": "merge", "strategy": "delete-insert"}
_REPLACED: Any = {"disposition": "replace"}
#: How many rows are read back at once.
_ROWS = 50_000


class ReadBack(HintsMeta):
    """Marks rows that were staged, and so went through the user's steps already."""


def staging_table(report: Report) -> str:
    """The table in which rows of a report are staged."""
    return f"{report.table or report.name}__next"


def period_columns(report: Report) -> list[str]:
    """The columns that identify a period, whose rows are replaced together."""
    return [column.name for column in report.contract.columns if column.path in PERIOD_KEY]


def staged(report: Report, table: pa.Table, build: str) -> Any:
    """An item that is merged into the rows that are staged."""
    rows = table.append_column(
        pa.field(_BUILD, pa.string(), nullable=False), pa.array([build] * len(table), pa.string())
    )
    return DataItemWithMeta(HintsMeta(_staging_hints(report, _MERGED), True), rows)


def nothing_staged(report: Report, empty: pa.Table) -> Any:
    """An item that deletes all staged rows.

    Args:
        empty: a table with the report's columns and no rows.
    """
    rows = empty.append_column(pa.field(_BUILD, pa.string(), nullable=False), pa.array([], pa.string()))
    return DataItemWithMeta(HintsMeta(_staging_hints(report, _REPLACED), True), rows)


def replacing(report: Report, table: pa.Table, columns: Mapping[str, Any], *, read_back: bool) -> Any:
    """An item of those that replace the report's table.

    Args:
        columns: dlt's hints of the columns.
        read_back: the rows were staged.
    """
    # dlt would warn that a table that is replaced has delete markers.
    all_columns: dict[str, Any] = {**columns, DELETED: {**columns[DELETED], "hard_delete": False}}
    # Hints of a variant are for this item: the resource's own stay as they are, for the next load package.
    hints = make_hints(
        table_name=report.table or report.name,
        write_disposition=_REPLACED,
        columns=all_columns,
        merge_key=period_columns(report),
        file_format="parquet",
    )
    return DataItemWithMeta((ReadBack if read_back else HintsMeta)(hints, True), table)


def _staging_hints(report: Report, disposition: Any) -> Any:
    columns: dict[str, Any] = {
        # Text comes back as it was, JSON does not: psycopg2 parses it.
        column.name: {
            "data_type": "text" if column.data_type == "json" else column.data_type,
            "nullable": column.nullable,
        }
        for column in report.contract.columns
    }
    columns[DELETED]["hard_delete"] = True
    columns[_BUILD] = {"data_type": "text", "nullable": False}
    return make_hints(
        table_name=staging_table(report),
        write_disposition=disposition,
        columns=columns,
        merge_key=[*period_columns(report), _BUILD],
        file_format="parquet",
    )


def read_back(pipeline: dlt.Pipeline, report: Report, build: str, read_again: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """The staged rows of a build, without those of periods that were read again.

    Args:
        read_again: rows and delete markers that have not been staged.
    """
    schema = pipeline.schemas[SOURCE]
    normalized = schema.naming.normalize_identifier
    types = {normalized(field.name): field for field in schema_of(report.contract)}
    table_name = schema.naming.normalize_tables_path(staging_table(report))
    # A user's step may have added columns, or have taken some out.
    own = {normalized("_dlt_load_id"), normalized("_dlt_id"), normalized(_BUILD)}
    names = [name for name in schema.get_table_columns(table_name) if name not in own]
    key = period_columns(report)
    periods = {period for table in read_again for period in _periods(table, key)}
    with pipeline.sql_client(SOURCE) as sql:
        columns = ", ".join(map(sql.escape_column_name, names))
        query = (
            f"SELECT {columns} FROM {sql.make_qualified_table_name(table_name)} "  # noqa: S608 - names are dlt's own, escaped
            f"WHERE {sql.escape_column_name(normalized(_BUILD))} = %s"
        )
        with sql.execute_query(query, build) as cursor:
            for found in cursor.iter_arrow(chunk_size=_ROWS):
                fields = [
                    types[name].with_name(name) if name in types else found.schema.field(position)
                    for position, name in enumerate(names)
                ]
                table = found.rename_columns(names).cast(pa.schema(fields))
                kept = [period not in periods for period in _periods(table, [normalized(name) for name in key])]
                yield table.filter(pa.array(kept, pa.bool_()))


def _periods(table: pa.Table, key: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(table.column(name).to_pylist() for name in key), strict=True)
