"""The staging dataset: emptied at the end of a run.

dlt loads rows that are merged or replaced into a second dataset first, and leaves them there: a copy of all profiles
that nobody looks after. dlt's `load.truncate_staging_dataset` empties all tables after each load package, where each
statement can take a second. Here each table that a run has used is emptied once.
"""

from __future__ import annotations

import logging
from pathlib import Path

import dlt
from dlt.common.destination.client import WithStagingDataset
from dlt.common.pipeline import LoadInfo
from dlt.destinations.job_client_impl import SqlJobClientBase

from ..plan.state import SOURCE
from . import dlt_compat

log = logging.getLogger("klaviyo")

#: A file in the pipeline's working folder. It is there while it is certain that a run has left no rows behind.
MARKER = "staging_is_empty"


class Staging:
    """The staging dataset of one run. Make it before the run loads anything.

    Where it is not certain that the run before has emptied its tables (it was killed, or its folder is gone), all
    tables are emptied in the end.
    """

    def __init__(self, pipeline: dlt.Pipeline) -> None:
        self._pipeline = pipeline
        self._marker = Path(pipeline.working_dir) / MARKER
        self._was_empty = self._marker.exists() and not pipeline.has_pending_data
        self._tables: set[str] = set()

    def begin(self) -> None:
        """A load package is about to be loaded."""
        self._marker.unlink(missing_ok=True)

    def loaded(self, info: LoadInfo | None) -> None:
        """Note the tables of load packages that were loaded."""
        for package in info.load_packages if info else ():
            for jobs in package.jobs.values():
                self._tables.update(job.job_file_info.table_name for job in jobs)

    def empty(self) -> None:
        """Empty the tables. A failure is reported and left to the next run."""
        pipeline = self._pipeline
        if self._was_empty and not self._tables:
            return
        if SOURCE not in pipeline.schema_names or dlt_compat.is_set(
            "truncate_staging_dataset", pipeline.pipeline_name, "load"
        ):
            return
        try:
            self._truncate()
        except Exception as error:  # any destination raises errors of its own
            log.warning(
                "the staging dataset could not be emptied (%s); it keeps a copy of the rows that were loaded last, and "
                "the next run tries again",
                type(error).__name__,
            )
            return
        self._marker.touch()

    def _truncate(self) -> None:
        with self._pipeline.destination_client(SOURCE) as client:
            if not (isinstance(client, SqlJobClientBase) and isinstance(client, WithStagingDataset)):
                return
            used = sorted(self._tables) if self._was_empty else client.schema.data_table_names()
            with client.with_staging_dataset():
                if not client.is_storage_initialized():
                    return
                there = [name for name, columns in client.get_storage_tables(used) if columns]
                client.sql_client.truncate_tables(*there)
