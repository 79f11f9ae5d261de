"""Repairs the working folder and the tables of a pipeline after a run was killed.

A kill can hit any step of a load package. dlt resumes most of them by itself. The cases repaired here were observed
with dlt 1.31.0: each of them blocked all later runs or loaded rows twice.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import dlt
from dlt.common.configuration import inject_section
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.config_section_context import ConfigSectionContext
from dlt.common.destination.client import WithStagingDataset
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.common.json import json
from dlt.common.schema.utils import get_root_table
from dlt.common.storages.load_package import (
    LoadPackageStateInjectableContext,
    PackageStorage,
    ParsedLoadJobFileName,
)
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.sql_client import SqlClientBase, WithSqlClient
from dlt.load.utils import get_completed_table_chain

from .damage import rebuild_if_damaged

log = logging.getLogger("klaviyo")

#: Load packages that are loaded and still there for `dlt pipeline NAME load-package`.
KEPT_PACKAGES = 20


def heal(working_dir: Path) -> bool:
    """Make a pipeline's working folder consistent. Call it before `dlt.pipeline`, which already reads the folder.

    Returns:
        Whether the folder was cleared, since files in it were damaged.
    """
    _tidy(working_dir)
    if rebuild_if_damaged(working_dir):
        return True
    for package in sorted((working_dir / "normalize" / "extracted").glob("*")):
        _keep_schema(package / PackageStorage.SCHEMA_FILE_NAME, working_dir / "schemas")
    return False


def _tidy(working_dir: Path) -> None:
    """Remove what a kill left half done."""
    normalize, load = working_dir / "normalize", working_dir / "load"
    # A schema that was only half saved: dlt takes the random name of the file for a schema, and every sync fails.
    for file in (working_dir / "schemas").glob("*"):
        if not file.name.endswith(".schema.json"):
            file.unlink()
    # Incomplete extracts: dlt never looks at them again, they only take space.
    for folder in normalize.glob("*"):
        if folder.is_dir() and folder.name != "extracted":
            shutil.rmtree(folder)
    if (load / "new").exists():
        shutil.rmtree(load / "new")
        (load / "new").mkdir()
    for package in (normalize / "extracted").glob("*"):
        # In both places: the kill hit normalize before it deleted its input. The next run would collide with its
        # output.
        # Without a schema: the kill hit normalize while it deleted its input.
        moved_on = any((load / place / package.name).exists() for place in ("normalized", "loaded"))
        if moved_on or not (package / PackageStorage.SCHEMA_FILE_NAME).exists():
            shutil.rmtree(package)
    for package in (load / "normalized").glob("*"):
        # Loaded and marked as completed, but not moved: dlt would fail on it in every run.
        if (package / PackageStorage.PACKAGE_COMPLETED_FILE_NAME).exists():
            shutil.rmtree(package)


def _keep_schema(extracted: Path, schemas: Path) -> None:
    """Store the schema of an extracted package, if it is newer than the stored one.

    dlt commits the package first. A kill before it stores the schema leaves a package that is normalized by the old
    schema: a table that is new in it fails every later run, and a table whose write disposition changed is loaded by the
    old one.
    """
    schema = json.loads(extracted.read_text(encoding="utf-8"))
    stored = schemas / f"{schema['name']}.schema.json"
    if stored.exists() and json.loads(stored.read_text(encoding="utf-8"))["version"] < schema["version"]:
        # Half written under its own name, it would be taken for whole. Under this one the next `heal` deletes it.
        part = schemas / f"{schema['name']}.part"
        shutil.copyfile(extracted, part)
        part.replace(stored)


def recover(pipeline: dlt.Pipeline) -> None:
    """Load the pending packages of a killed run and restore the state from the destination. Call it before planning."""
    pipeline.sync_destination()
    if not pipeline.has_pending_data:
        return
    log.info("an earlier run was interrupted; loading what it left behind")
    while pipeline.has_pending_data:
        purge(pipeline)
        write_statements_anew(pipeline)
        pipeline.run()
    # If the kill came between the commit and the local state, the package just loaded has the newer state.
    pipeline.sync_destination()


def purge(pipeline: dlt.Pipeline) -> None:
    """Delete the rows of data jobs that were started and are not known to be complete.

    dlt runs such a job again, which would double its rows in the table or, for merges and replaces, in the staging
    table. Where a setting of dlt splits a table into several files, all of them are loaded again, since a row has the
    id of its load but not of its file.
    """
    # dlt has no public API for the files of a pending package.
    packages = pipeline._get_load_storage().normalized_packages
    for load_id in pipeline.list_normalized_load_packages():
        schema = packages.load_schema(load_id)
        for path in packages.list_started_jobs(load_id):
            job = ParsedLoadJobFileName.parse(path)
            if job.file_format == "sql" or packages.load_pending_transition(load_id, Path(path).name) is not None:
                continue
            # With the package's own schema: in the pipeline's, the write disposition may have changed from append to
            # merge since.
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


def write_statements_anew(pipeline: dlt.Pipeline) -> None:
    """Write the damaged statements of pending packages anew that merge or replace a table.

    Of all files in a package, only these do not show when they are cut off. A merge without its second statement would
    delete rows and insert none.
    """
    storage = pipeline._get_load_storage()
    packages = storage.normalized_packages
    for load_id in pipeline.list_normalized_load_packages():
        schema = packages.load_schema(load_id)
        jobs = packages.list_all_jobs_with_states(load_id)
        for state, job in jobs:
            name = job.file_name()
            waits = state in ("new_jobs", "started_jobs") and packages.load_pending_transition(load_id, name) is None
            if job.file_format != "sql" or not waits:
                continue
            file = Path(packages.storage.make_full_path(packages.get_job_file_path(load_id, state, name)))
            chain = get_completed_table_chain(schema, jobs, get_root_table(schema.tables, job.table_name))
            if chain is None:
                continue
            names = [str(table["name"]) for table in chain]
            loading = LoadPackageStateInjectableContext(storage=packages, load_id=load_id)
            with pipeline._get_destination_clients(schema)[0] as client, Container().injectable_context(loading):
                prepared = [client.prepare_load_table(name) for name in names]
                completed = [
                    packages.job_to_job_info(load_id, "completed_jobs", other)
                    for place, other in jobs
                    if place == "completed_jobs" and other.table_name in names
                ]
                for made in client.create_table_chain_completed_followup_jobs(prepared, completed):
                    if _is_cut_off(file, Path(made.new_file_path())):
                        log.warning("%s was damaged and is written anew", file)
                        shutil.move(made.new_file_path(), file)


def forget_old_packages(pipeline: dlt.Pipeline) -> None:
    """Remove what dlt keeps of load packages that are loaded, except of the newest ones.

    dlt keeps the schema and a few small files of each package for ever: about 150 kB a run, more than a gigabyte a year
    at one run an hour. Packages with failed jobs stay, as they do with dlt's `load.delete_completed_jobs`. Where the
    user has switched that off, all stay.
    """
    # As dlt itself does for each step, for settings with the pipeline's name in front.
    with inject_section(ConfigSectionContext(pipeline_name=pipeline.pipeline_name)):
        storage = pipeline._get_load_storage()
    if not storage.config.delete_completed_jobs:
        return
    for load_id in storage.list_loaded_packages()[:-KEPT_PACKAGES]:
        # A kill may have hit while a package was removed, so a part of it may be missing.
        failed = Path(storage.storage.make_full_path(storage.get_loaded_package_path(load_id)), "failed_jobs")
        if not any(failed.glob("*")):
            storage.delete_loaded_package(load_id)


def _is_cut_off(file: Path, anew: Path) -> bool:
    """Whether statements are not as long as they are when dlt makes them again. Their times and names of temporary tables
    differ, in the same number of characters."""
    data = file.read_bytes()
    return len(data) != anew.stat().st_size or b"\0" in data


def _delete(sql: SqlClientBase[Any], table_name: str, load_id: str) -> None:
    table, column = sql.make_qualified_table_name(table_name), sql.escape_column_name("_dlt_load_id")
    try:
        sql.execute_sql(f"DELETE FROM {table} WHERE {column} = %s", load_id)  # noqa: S608 - names are dlt's own, escaped
    except (DatabaseUndefinedRelation, DestinationUndefinedEntity):
        log.debug("%s does not exist yet", table_name)
