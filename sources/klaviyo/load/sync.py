"""The run loop for pipelines of one's own: `sync(dlt.pipeline(...))`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dlt

from ..errors import ConfigError
from .destination import DEFAULT_DESTINATION, in_one_transaction
from .duckdb import duckdb_file
from .local_files import close_new_folder
from .pipeline import load_settings
from .recovery import heal
from .runner import Outcome, run
from .turn import Turn


def sync(pipeline: dlt.Pipeline, *, wait: bool = False, **settings: Any) -> list[Outcome]:
    """Load what is missing of a Klaviyo account, in packages that are committed one by one.

        pipeline = dlt.pipeline("klaviyo", destination="duckdb", dataset_name="klaviyo_data")
        outcomes = sync(pipeline, reports=["profiles", "events"], start_date="2026-01-01")

    A run that is killed costs no more than the package in hand: the next one goes on from there. The pipeline's
    destination merges and replaces in one transaction from now on, where it can.

    Args:
        pipeline: one a Klaviyo account. A DuckDB file that would be named like the dataset is called
            `warehouse.duckdb`, since DuckDB cannot tell the two names apart.
        wait: wait for another run of the pipeline to end, instead of raising `PipelineBusy`.
        settings: what beats the configuration, by the names of `[sources.klaviyo]` (docs/configuration.md); a dict for
            the settings of one report: `profiles={"extract": "all"}`.

    Returns:
        One outcome a report; see its `error`. A report that failed does not keep the others from loading.

    Raises:
        ConfigError: a setting is wrong or missing, or the pipeline cannot be used.
        PipelineBusy: another run works with the pipeline; nothing was read.
        LeaseLost: another run took over; nothing more was loaded.
    """
    _check(pipeline)
    chosen = load_settings(pipeline.pipeline_name, settings, "the call of sync()")
    with Turn(pipeline.pipeline_name, pipeline.pipelines_dir, wait=wait) as turn:
        _mend(pipeline)
        if chosen.private_files:
            close_new_folder(pipeline)
        _set_destination(pipeline)
        with _signals_end_the_run(pipeline):
            return run(pipeline, chosen, turn=turn)


def _check(pipeline: dlt.Pipeline) -> None:
    if pipeline.destination is None:
        raise ConfigError(
            f'pipeline "{pipeline.pipeline_name}" has no destination: dlt.pipeline("{pipeline.pipeline_name}", '
            'destination="duckdb")'
        )
    if pipeline.refresh is not None:
        # dlt would drop the tables again with each load package.
        raise ConfigError(
            f'pipeline "{pipeline.pipeline_name}" has refresh="{pipeline.refresh}", which sync() cannot load with: '
            'leave it out, and read everything again by sync(pipeline, extract="all") or reread=True.'
        )


def _mend(pipeline: dlt.Pipeline) -> None:
    """Repair what a kill left in the working folder, which the pipeline has read already."""
    if heal(Path(pipeline.working_dir)):
        first_folder = pipeline.get_local_state_val("initial_cwd")
        pipeline.drop()
        # dlt looks there for a DuckDB file that was named without its folder.
        pipeline.set_local_state_val("initial_cwd", first_folder)
    # Lists the schemas anew: a file that was saved by half was taken for one, and every sync would look for it.
    with pipeline.managed_state():
        pass


def _set_destination(pipeline: dlt.Pipeline) -> None:
    """Give the pipeline a destination that the run loop can rely on.

    Raises:
        ConfigError: the DuckDB file that the user has named is named like the dataset.
    """
    pipeline.destination = destination = in_one_transaction(pipeline.destination)
    file = duckdb_file(pipeline)
    if not _is_named_like_the_dataset(file, pipeline):
        return
    # What dlt calls the file unless the user names it.
    default = Path(destination.config_params["local_dir"], f"{pipeline.pipeline_name}.duckdb")
    if file != default or "credentials" in destination.config_params or destination.configured_name:
        raise ConfigError(
            f'the DuckDB file {file} and the dataset "{pipeline.dataset_name}" have the same name, which DuckDB cannot '
            "tell apart: give one of them another."
        )
    destination.config_params["destination_name"] = DEFAULT_DESTINATION


def _is_named_like_the_dataset(file: Path | None, pipeline: dlt.Pipeline) -> bool:
    return file is not None and file.stem.casefold() == (pipeline.dataset_name or "").casefold()


@contextmanager
def _signals_end_the_run(pipeline: dlt.Pipeline) -> Iterator[None]:
    """Let Ctrl+C end the run: dlt would swallow it while it loads, and the next package would begin."""
    config = pipeline.runtime_config
    intercepted, config.intercept_signals = config.intercept_signals, False
    try:
        yield
    finally:
        config.intercept_signals = intercepted
