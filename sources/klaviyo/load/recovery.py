"""Brings a pipeline that was killed back to where dlt can go on.

A kill can hit any step of a load package. Most of what it leaves dlt resumes by itself; what is mended here was seen,
with dlt 1.31.0, to wedge every later run or to load rows twice.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import dlt
from dlt.common.destination.client import WithStagingDataset
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.common.storages.load_package import PackageStorage, ParsedLoadJobFileName
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.sql_client import SqlClientBase, WithSqlClient

log = logging.getLogger("klaviyo")


def heal(working_dir: Path) -> None:
    """Make a pipeline's working folder consistent. To be called before `dlt.pipeline`, which already reads it."""
    normalize, load = working_dir / "normalize", working_dir / "load"
    # A schema saved by half: dlt takes its random name for a schema and fails in every sync.
    for file in (working_dir / "schemas").glob("*"):
        if not file.name.endswith(".schema.json"):
            file.unlink()
    # Extracts that died before they were complete: dlt never looks at them again, they only take space.
    for folder in normalize.glob("*"):
        if folder.is_dir() and folder.name != "extracted":
            shutil.rmtree(folder)
    if (load / "new").exists():
        shutil.rmtree(load / "new")
        (load / "new").mkdir()
    for package in (normalize / "extracted").glob("*"):
        # In both places: normalizing died before it dropped its input, and would now run into its own output.
        # Without a schema: it died while dropping it.
        moved_on = any((load / place / package.name).exists() for place in ("normalized", "loaded"))
        if moved_on or not (package / "schema.json").exists():
            shutil.rmtree(package)
    for package in (load / "normalized").glob("*"):
        # Loaded and marked so, but not moved away: dlt refuses to load it again, for ever.
        if (package / PackageStorage.PACKAGE_COMPLETED_FILE_NAME).exists():
            shutil.rmtree(package)


def recover(pipeline: dlt.Pipeline) -> None:
    """Load what a killed run left behind, and take the destination's state. To be called before planning."""
    pipeline.sync_destination()
    if not pipeline.has_pending_data:
        return
    log.info("an earlier run was interrupted; loading what it left behind")
    while pipeline.has_pending_data:
        purge(pipeline)
        pipeline.run()
    # Killed between the commit and the local state: the package just loaded carries the newer one.
    pipeline.sync_destination()


def purge(pipeline: dlt.Pipeline) -> None:
    """Delete the rows of data jobs that may have been written but are not known to be complete.

    dlt runs such a job again, which would double its rows in the table or, for merges and replaces, in the staging
    table. Where a setting of dlt's cuts a table into several files, all of them are loaded again: rows know their load,
    not their file.
    """
    # dlt has no public door to the files of a pending package.
    packages = pipeline._get_load_storage().normalized_packages
    for load_id in pipeline.list_normalized_load_packages():
        schema = packages.load_schema(load_id)
        for path in packages.list_started_jobs(load_id):
            job = ParsedLoadJobFileName.parse(path)
            if job.file_format == "sql" or packages.load_pending_transition(load_id, Path(path).name) is not None:
                continue
            # Of the package's own schema: the pipeline's may merge by now what this package appends.
            with pipeline._get_destination_clients(schema)[0] as client:
                if not isinstance(client, WithSqlClient):
                    continue
                staged = isinstance(client, WithStagingDataset) and client.should_load_data_to_staging_dataset(
                    job.table_name
                )
                if staged:
                    with client.sql_client.with_staging_dataset():
                        _delete(client.sql_client, job.table_name, load_id)
                else:
                    _delete(client.sql_client, job.table_name, load_id)
            for state, other in packages.list_job_with_states_for_table(load_id, job.table_name):
                if other.file_format == "sql":
                    continue
                packages.clear_pending_transition(load_id, other.file_name())
                if state == "completed_jobs":
                    packages._move_job(load_id, "completed_jobs", "new_jobs", other.file_name())


def _delete(sql: SqlClientBase[Any], table_name: str, load_id: str) -> None:
    table, column = sql.make_qualified_table_name(table_name), sql.escape_column_name("_dlt_load_id")
    try:
        sql.execute_sql(f"DELETE FROM {table} WHERE {column} = %s", load_id)  # noqa: S608 - names are dlt's own, escaped
    except (DatabaseUndefinedRelation, DestinationUndefinedEntity):
        log.debug("%s does not exist yet", table_name)
