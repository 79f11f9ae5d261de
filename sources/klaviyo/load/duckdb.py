"""DuckDB as the destination: compressed JSON columns, bounded memory, and the check whether rows can be appended.

With zstd, JSON loads faster and takes less space (`python -m benchmarks.steps`). Observed with DuckDB 1.5.6: a file
made without a compatibility version is readable by DuckDB 1.0, and a column with zstd in such a file is not compressed
at all. Such files are used as they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dlt
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema.typing import TColumnSchema
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from dlt.destinations.impl.duckdb.factory import DuckDbTypeMapper

from ..plan.plan import Plan
from ..plan.state import SOURCE
from ..windows import Window, intersection, union
from .local_files import check_file

#: The first version of DuckDB that reads zstd, and the number of its storage format in the header of a file.
_VERSION = "v1.2.0"
_STORAGE = 65

# The header of a file: 8 bytes of checksum, the magic bytes, the number of the storage format.
_MAGIC, _NUMBER = slice(8, 12), slice(12, 20)

#: DuckDB's settings for loading, unless `[destination.warehouse.credentials.global_config]` says otherwise.
SETTINGS: Mapping[str, Any] = {
    # Queries sort by a column anyway, and keeping the order of insertion takes longer (`python -m benchmarks.steps`).
    "preserve_insertion_order": False,
    # Each thread holds this many row groups in memory, however much the machine has. Two threads keep up with Klaviyo's
    # rate limits.
    "write_buffer_row_group_count": 1,
    "threads": 2,
    # A merge deletes a few rows from many row groups. Whenever a connection closes, DuckDB rewrites up to a hundred of
    # these groups. dlt closes several connections in a load, so one group each time is enough to keep up.
    "max_vacuum_tasks": 1,
}


class PackedJson(DuckDbTypeMapper):
    """dlt's types, with zstd for JSON columns. Other texts are short, and zstd would make them slower to scan."""

    def to_destination_type(self, column: TColumnSchema, table: PreparedTableSchema) -> str:
        type_name = super().to_destination_type(column, table)
        return f"{type_name} USING COMPRESSION zstd" if type_name == "JSON" else type_name


def prepare(pipeline: dlt.Pipeline, *, private: bool = True) -> None:
    """Set a pipeline up for its DuckDB file: the settings above, and zstd if the file supports it.

    Creates the file if there is none. Does nothing for other destinations.

    Args:
        private: nobody else may read the new file.

    Raises:
        StorageError: the file cannot be written.
    """
    path, destination = duckdb_file(pipeline), pipeline.destination
    if path is None or destination is None:
        return
    check_file(path)
    if not path.exists():
        _create(path, private)
    if _packs(path):
        destination.caps_params["type_mapper"] = PackedJson
    # The configured credentials with our settings; dlt opens its connections with them.
    credentials = DuckDbCredentials()
    credentials.update({name: value for name, value in _credentials(pipeline).items() if value is not None})
    credentials.global_config = {**SETTINGS, **(credentials.global_config or {})}
    destination.config_params["credentials"] = credentials


def _create(path: Path, private: bool) -> None:
    import duckdb

    # If this fails, dlt reports the reason when it opens the file next.
    with suppress(duckdb.Error, OSError), TemporaryDirectory(dir=path.parent, prefix=".new-") as folder:
        # In a folder that only this user may enter, so the file is never open to others.
        made = Path(folder, path.name)
        duckdb.connect(str(made), config={"storage_compatibility_version": _VERSION}).close()
        if private:
            made.chmod(0o600)
        try:
            # Unlike a rename, this fails if another process was faster.
            os.link(made, path)
        except OSError:
            if not path.exists():
                made.rename(path)


def never_loaded(pipeline: dlt.Pipeline, plan: Plan, loaded: Sequence[Window]) -> bool:
    """Whether a report's rows may be appended: the table has no row in the windows to read.

    The state alone does not prove that. If a run is killed, its rows can be in the table before its state is, and the
    working folder with the load package to roll back may be deleted. Only a DuckDB file guarantees that a failed load
    leaves no rows.

    Args:
        loaded: the coverage in the state.
    """
    cursor, column = plan.report.endpoint.cursor, plan.report.cursor_column
    inferred = plan.report.custom is not None and plan.report.custom.inferred
    if (
        plan.whole
        or inferred
        or plan.report.nested is not None
        # Other reports write to this table too.
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
    # Imported here, since it imports DuckDB, which not every command needs.
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
        rows = sql.execute_sql(
            f"SELECT 1 FROM {sql.make_qualified_table_name(table)} WHERE {within} LIMIT 1",  # noqa: S608 - names are dlt's own, escaped
            *[bound for window in windows for bound in (window.start, window.end)],
        )
    return not rows


def duckdb_file(pipeline: dlt.Pipeline) -> Path | None:
    """The DuckDB file that a pipeline loads into, even if it does not exist yet; None for any other destination."""
    credentials = _credentials(pipeline)
    if type(credentials) is not DuckDbCredentials or credentials.external_conn() is not None:
        return None
    database = str(credentials.database)
    return None if database.startswith(":") else Path(database)


def _credentials(pipeline: dlt.Pipeline) -> Any:
    return getattr(pipeline.destination_client().config, "credentials", None)


def _packs(path: Path) -> bool:
    """Whether the storage format of a file supports zstd."""
    with suppress(OSError), path.open("rb") as file:
        header = file.read(_NUMBER.stop)
        return header[_MAGIC] == b"DUCK" and int.from_bytes(header[_NUMBER], "little") >= _STORAGE
    return False
