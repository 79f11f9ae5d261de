"""What our runs need dlt to do otherwise. Observed with dlt 1.31.

No other pipeline of the process is affected. Settings are environment variables with the name of our pipeline, and a
logging filter; both last as long as a run. `load_empty_files` changes one destination object, for good.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from typing import Any

import dlt
from dlt.common.configuration import resolve_configuration
from dlt.common.configuration.providers import EnvironProvider
from dlt.common.configuration.specs import RuntimeConfiguration
from dlt.common.runtime import anon_tracker
from dlt.destinations._adbc_jobs import AdbcParquetCopyJob

from ..errors import ConfigError

_TELEMETRY = "RUNTIME__DLTHUB_TELEMETRY"

#: The releases of dlt whose private parts this package knows: `recovery.py` moves its files, this module patches it.
SUPPORTED = "1.31"

_CHANGES = "_klaviyo_changes"


def check_version() -> None:
    """Refuse a dlt that this package was not tested with.

    Raises:
        ConfigError: another release is installed.
    """
    found = version("dlt")
    if not found.startswith(f"{SUPPORTED}."):
        raise ConfigError(
            f"dlt {found} is installed, and this version of dlt-klaviyo works with dlt {SUPPORTED}: "
            f'pip install "dlt~={SUPPORTED}.0", or look for a newer dlt-klaviyo.'
        )
    if not hasattr(AdbcParquetCopyJob, "_ingest_per_rowgroup"):
        raise ConfigError(f"dlt {found} lacks AdbcParquetCopyJob._ingest_per_rowgroup: install an unchanged dlt.")


@contextmanager
def without_telemetry(pipeline_name: str) -> Iterator[None]:
    """Keep dlt from reporting to its makers for so long, unless the user has switched that on.

    dlt reports each run by default. The whole process is set: for a process of our own only.
    """
    # Set before dlt is first asked for its configuration: it opens what it reports through at that moment.
    unset = _TELEMETRY not in os.environ
    if unset:
        os.environ[_TELEMETRY] = "false"
    try:
        if unset and is_set("dlthub_telemetry", pipeline_name, "runtime", without=_TELEMETRY):
            del os.environ[_TELEMETRY]
            configured = resolve_configuration(RuntimeConfiguration())
            if configured.dlthub_telemetry:
                anon_tracker.init_anon_tracker(configured)
        elif unset:
            # The command `dlt` has opened it before our plugin was asked.
            anon_tracker.disable_anon_tracker()
        yield
    finally:
        if unset:
            os.environ.pop(_TELEMETRY, None)


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
        stack.enter_context(quiet())
        load_empty_files(pipeline.destination)
        yield


def _scoped(pipeline_name: str, settings: Mapping[tuple[str, ...], str]) -> dict[str, str]:
    """Environment variables that only this pipeline reads, for what the user has not set."""
    return {
        EnvironProvider.get_key_name(key, pipeline_name, *sections): value
        for (*sections, key), value in settings.items()
        if not is_set(key, pipeline_name, *sections)
    }


def is_set(key: str, pipeline_name: str, *sections: str, without: str = "") -> bool:
    """Whether the user set a value, for this pipeline or for all.

    Args:
        without: an environment variable that the user has not set.
    """
    found = (
        provider.get_value(key, Any, scope, *sections)
        for provider in dlt.config.config_providers
        for scope in (pipeline_name, "")
    )
    return any(value is not None and name != without for value, name in found)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)


def load_empty_files(destination: Any) -> None:
    """Let a destination load Parquet files without rows through ADBC.

    dlt hands such a file to ADBC as a stream without a schema, and the load fails for good. Row group by row group,
    still in one transaction, every table that is handed over has a schema. Only this destination object changes: dlt
    asks it for the client that makes the jobs.
    """
    change_clients(destination, "empty files", _with_empty_files)


def change_clients(destination: Any, name: str, change: Callable[[Any], None]) -> None:
    """Change every client that a destination object makes from now on.

    Args:
        destination: may be None.
        name: of the change; a second one of that name does nothing.
    """
    if destination is None:
        return
    changes: dict[str, Callable[[Any], None]] | None = vars(destination).get(_CHANGES)
    if changes is None:
        changes, make_client = {}, destination.client
        setattr(destination, _CHANGES, changes)

        def client(*args: Any, **options: Any) -> Any:
            made = make_client(*args, **options)
            for each in changes.values():
                each(made)
            return made

        destination.client = client
    changes.setdefault(name, change)


def forget_changes(destination: Any) -> None:
    """Take all changes of clients back, from a copy whose clients would have the settings of the original."""
    for name in ("client", _CHANGES):
        vars(destination).pop(name, None)


def _with_empty_files(client: Any) -> None:
    make_job = client.create_load_job

    def create_load_job(*args: Any, **options: Any) -> Any:
        job = make_job(*args, **options)
        if isinstance(job, AdbcParquetCopyJob):
            job._ingest_per_rowgroup = True
        return job

    client.create_load_job = create_load_job


@contextmanager
def before_loading(pipeline: dlt.Pipeline, check: Callable[[], None]) -> Iterator[None]:
    """Call a check before this pipeline loads a package. If it raises, nothing of the package is loaded.

    `Pipeline.run` extracts, normalizes and loads in one call, and has no hook between.
    """
    load = pipeline.load

    def checked(*args: Any, **options: Any) -> Any:
        check()
        return load(*args, **options)

    pipeline.load = checked  # type: ignore[method-assign]
    try:
        yield
    finally:
        del pipeline.load


def at_end_of_run(pipeline: dlt.Pipeline, callback: Callable[[], None]) -> bool:
    """Call back once when the call of `Pipeline.run` (or `extract`) that is going on has ended, in whatever way.

    dlt tells the pipeline's progress collector when its trace ends; nothing else of the pipeline knows of the end.

    Returns:
        Whether there is such a call. There is none where dlt's traces are switched off.
    """
    if pipeline._trace is None:
        return False
    collector: Any = pipeline.collector
    told = collector.on_end_trace

    def ended(trace: Any, of: Any, send_state: bool) -> None:
        if of is pipeline:
            vars(collector).pop("on_end_trace", None)
            callback()
        told(trace, of, send_state)

    collector.on_end_trace = ended
    return True


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
