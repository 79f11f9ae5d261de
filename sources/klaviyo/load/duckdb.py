"""The DuckDB file: made so that it can hold packed JSON, loaded within bounds, and asked what it has already.

Packed with zstd, JSON loads faster and takes less space (`python -m benchmarks.steps`). Observed with DuckDB 1.5.6: a
file without a compatibility version is one that DuckDB 1.0 can read, and a column that asks for zstd in it is not packed
at all. Such files go on as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import dlt
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema.typing import TColumnSchema
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from dlt.destinations.impl.duckdb.factory import DuckDbTypeMapper

from ..plan.plan import Plan
from ..plan.state import SOURCE
from ..windows import Window, intersection, union

#: The first version of DuckDB that reads zstd, and the number of its storage in the header of a file.
_VERSION = "v1.2.0"
_STORAGE = 65

# A checksum, the magic bytes, the number.
_MAGIC, _NUMBER = slice(8, 12), slice(12, 20)

#: How DuckDB loads, unless `[destination.warehouse.credentials.global_config]` says otherwise.
SETTINGS: Mapping[str, Any] = {
    # Readers sort by a column; to keep the order of the file as well takes longer (`python -m benchmarks.steps`).
    "preserve_insertion_order": False,
    # Each thread holds that many row groups in memory, whatever the machine has; two keep up with Klaviyo's limits.
    "write_buffer_row_group_count": 1,
    "threads": 2,
    # A merge deletes some rows of many row groups, and whenever a connection ends DuckDB writes up to a hundred of them
    # anew. dlt ends several in a load, so one each time is enough to stay ahead of the deletes.
    "max_vacuum_tasks": 1,
}


class PackedJson(DuckDbTypeMapper):
    """dlt's types, with the JSON columns packed. Other texts are short, and slower to scan if they are."""

    def to_destination_type(self, column: TColumnSchema, table: PreparedTableSchema) -> str:
        named = super().to_destination_type(column, table)
        return f"{named} USING COMPRESSION zstd" if named == "JSON" else named


def prepare(pipeline: dlt.Pipeline) -> None:
    """Let a DuckDB file be loaded as this module says: packed where it can hold that; makes a new file."""
    path, destination = duckdb_file(pipeline), pipeline.destination
    if path is None or destination is None:
        return
    if not path.exists():
        import duckdb

        # What is wrong with the place is for dlt to say, which opens it next.
        with suppress(duckdb.Error):
            duckdb.connect(str(path), config={"storage_compatibility_version": _VERSION}).close()
    if _packs(path):
        destination.caps_params["type_mapper"] = PackedJson
    # As they are configured, for dlt to open connections by.
    credentials = DuckDbCredentials()
    credentials.update({name: value for name, value in _credentials(pipeline).items() if value is not None})
    credentials.global_config = {**SETTINGS, **(credentials.global_config or {})}
    destination.config_params["credentials"] = credentials


def never_loaded(pipeline: dlt.Pipeline, plan: Plan, loaded: Sequence[Window]) -> bool:
    """Whether a report's rows may be appended: no row of the period to read is in the table or can be.

    The state alone is no proof: rows come before it when a run is killed, and a folder with what was to be taken back
    may be wiped. And only in a DuckDB file is a load that failed one that left nothing.

    Args:
        loaded: the periods that the state has.
    """
    cursor, column = plan.report.endpoint.cursor, plan.report.cursor_column
    inferred = plan.report.custom is not None and plan.report.custom.inferred
    if (
        plan.whole
        or inferred
        or plan.report.nested is not None
        # Others write this table too.
        or plan.report.table is not None
        or cursor is None
        or not cursor.fixed
        or column is None
        or not plan.windows
    ):
        return False
    windows = union(plan.windows)
    if intersection(windows, loaded) or duckdb_file(pipeline) is None:
        return False
    # Not at the top: it imports DuckDB, which not every command needs.
    from dlt.destinations.impl.duckdb.duck import DuckDbClient

    with pipeline.destination_client(*[SOURCE] if SOURCE in pipeline.schema_names else []) as client:
        if not isinstance(client, DuckDbClient):
            return False
        naming, sql = client.schema.naming, client.sql_client
        table, moment = naming.normalize_table_identifier(plan.report.name), naming.normalize_identifier(column)
        exists, columns = client.get_storage_table(table)
        if not exists or moment not in columns:
            return not exists
        moment = sql.escape_column_name(moment)
        within = " OR ".join([f"{moment} >= %s AND {moment} < %s"] * len(windows))
        found = sql.execute_sql(
            f"SELECT 1 FROM {sql.make_qualified_table_name(table)} WHERE {within} LIMIT 1",  # noqa: S608 - names are dlt's own, escaped
            *[bound for window in windows for bound in (window.start, window.end)],
        )
    return not found


def duckdb_file(pipeline: dlt.Pipeline) -> Path | None:
    """The DuckDB file that a pipeline loads into, whether it exists or not; None for any other destination."""
    credentials = _credentials(pipeline)
    if type(credentials) is not DuckDbCredentials or credentials.external_conn() is not None:
        return None
    database = str(credentials.database)
    return None if database.startswith(":") else Path(database)


def _credentials(pipeline: dlt.Pipeline) -> Any:
    return getattr(pipeline.destination_client().config, "credentials", None)


def _packs(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as file:
        header = file.read(_NUMBER.stop)
        return header[_MAGIC] == b"DUCK" and int.from_bytes(header[_NUMBER], "little") >= _STORAGE
    return False
