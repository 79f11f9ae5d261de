"""What a run begins with: its settings out of dlt's configuration, and its pipeline, mended after a kill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dlt
from dlt.common.configuration import resolve_configuration
from dlt.common.destination import AnyDestination, Destination
from dlt.common.pipeline import get_dlt_pipelines_dir
from dlt.pipeline.configuration import PipelineConfiguration

from ..clock import Clock, SystemClock
from ..config import providers
from ..config.build import settings_from
from ..config.settings import Settings
from .destination import DEFAULT_DESTINATION, in_one_transaction
from .local_files import check_folder
from .recovery import heal
from .turn import Turn, lock_of


def load_settings(
    pipeline_name: str | None, given: Mapping[str, Any], origin: str = "the flag {}", clock: Clock | None = None
) -> Settings:
    """Settings of a pipeline out of what is given and dlt's configuration, checked.

    Args:
        given: what beats the configuration.
        origin: how messages call the place of what is given; see `providers.read`.

    Raises:
        ConfigError: a setting is wrong or missing.
    """
    return settings_from(providers.read(pipeline_name, given, origin), (clock or SystemClock()).now())


def open_pipeline(
    name: str,
    destination: str | None = None,
    dataset: str | None = None,
    pipelines_dir: str | None = None,
    turn: Turn | None = None,
) -> dlt.Pipeline:
    """The dlt pipeline, mended if its last run was killed. While another run works with it, it is not touched.

    Args:
        name: of the pipeline; one pipeline an account.
        destination: dlt's name of a destination; default what `[pipelines.<name>]` says, else DuckDB.
        dataset: default what the configuration says, else the pipeline's name.
        turn: of the run that is to follow, and that keeps others away already.

    Raises:
        StorageError: the working folder cannot be written.
    """
    working_dir = Path(pipelines_dir or get_dlt_pipelines_dir()) / name
    check_folder(working_dir)
    _mend(working_dir, turn)
    configured = resolve_configuration(PipelineConfiguration(pipeline_name=name), sections=("pipelines", name))
    chosen = _destination(
        destination or configured.destination_type, configured.destination_name if not destination else None
    )
    return dlt.pipeline(
        name,
        pipelines_dir=pipelines_dir or get_dlt_pipelines_dir(),
        destination=chosen,
        dataset_name=dataset or configured.dataset_name or name,
    )


def _mend(working_dir: Path, turn: Turn | None) -> None:
    if turn is not None:
        heal(working_dir)
        return
    if not working_dir.exists():
        return
    # What looks left behind is the work in hand of a run that is going on.
    lock = lock_of(working_dir)
    if lock.take(None):
        try:
            heal(working_dir)
        finally:
            lock.release()


def _destination(reference: Any, name: str | None) -> AnyDestination:
    if reference in (None, "duckdb", DEFAULT_DESTINATION):
        # A file named like the dataset makes DuckDB's names ambiguous; dlt's tools find the file by this name again.
        reference, name = "duckdb", name or DEFAULT_DESTINATION
    options: dict[str, Any] = {"destination_name": name} if name else {}
    made: Any = Destination.from_reference(str(reference), **options)
    return in_one_transaction(made)
