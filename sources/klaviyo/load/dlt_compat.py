"""What dlt needs set or patched for our runs: applied for the time of a run and taken back afterwards.

Nothing here changes another pipeline of the same process: settings carry the name of our pipeline, and what is patched
is looked at by that run alone, or means the same for others. Observed with dlt 1.31.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version

import dlt
from dlt.common.configuration.providers import EnvironProvider
from dlt.destinations._adbc_jobs import AdbcParquetCopyJob

from ..errors import ConfigError

#: The releases of dlt whose private parts this package knows: `recovery.py` moves its files, and this module patches it.
SUPPORTED = "1.31"

_ADBC_SWITCH = "_ingest_per_rowgroup"
_lock = threading.Lock()
_patched = 0


def check_version() -> None:
    """Refuse a dlt that this package was not tested with.

    Raises:
        ConfigError: another release is installed, or what is patched is not there.
    """
    found = version("dlt")
    if not found.startswith(f"{SUPPORTED}."):
        raise ConfigError(
            f"dlt {found} is installed, and this version of dlt-klaviyo works with dlt {SUPPORTED}: "
            f'pip install "dlt~={SUPPORTED}.0", or look for a newer dlt-klaviyo.'
        )
    if not hasattr(AdbcParquetCopyJob, _ADBC_SWITCH):
        raise ConfigError(f"dlt {found} is installed, but AdbcParquetCopyJob.{_ADBC_SWITCH} is not: reinstall dlt.")


@contextmanager
def applied(pipeline: dlt.Pipeline, *, one_worker: bool = False) -> Iterator[None]:
    """What the run loop of this pipeline needs of dlt.

    Args:
        one_worker: load one file after the other. DuckDB uses all threads for one.

    Raises:
        ConfigError: see `check_version`.
    """
    check_version()
    settings = {
        # Rows carry the load that brought them, so that an interrupted load can be taken back.
        ("normalize", "parquet_normalizer", "add_dlt_load_id"): "true",
        # Otherwise dlt keeps the files of every package that it loaded.
        ("load", "delete_completed_jobs"): "true",
    }
    if one_worker:
        settings["load", "workers"] = "1"
    with ExitStack() as stack:
        stack.enter_context(_environment(_scoped(pipeline.pipeline_name, settings)))
        stack.enter_context(_adbc_by_row_group())
        stack.enter_context(quiet())
        yield


def _scoped(pipeline_name: str, settings: Mapping[tuple[str, ...], str]) -> dict[str, str]:
    """Environment variables that only this pipeline reads, for what the user has not set."""
    found = {}
    for (*sections, key), value in settings.items():
        names = [EnvironProvider.get_key_name(key, scope, *sections) for scope in (pipeline_name, "")]
        if not any(name in os.environ for name in names):
            found[names[0]] = value
    return found


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)


@contextmanager
def _adbc_by_row_group() -> Iterator[None]:
    """Load Parquet files through ADBC row group by row group, still in one transaction.

    A report without records comes as a file without rows, which dlt hands to ADBC as a stream without a schema: the load
    fails for good. By the row group every table that is handed over has a schema.
    """
    global _patched
    with _lock:
        _patched += 1
        setattr(AdbcParquetCopyJob, _ADBC_SWITCH, True)
    try:
        yield
    finally:
        with _lock:
            _patched -= 1
            if not _patched:
                setattr(AdbcParquetCopyJob, _ADBC_SWITCH, False)


class _HintsAreMeant(logging.Filter):
    """Drops what dlt warns about for every table: that JSON travels as text, and that a replaced table keeps the hints
    of a merge. Both are meant."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        meant = ("when merging arrow schema with dlt schema", '"dedup_sort" column hint', '"hard_delete" column hint')
        return not any(part in message for part in meant)


@contextmanager
def quiet() -> Iterator[None]:
    """Let dlt not warn about hints that are meant."""
    ours = _HintsAreMeant()
    logging.getLogger("dlt").addFilter(ours)
    try:
        yield
    finally:
        logging.getLogger("dlt").removeFilter(ours)
