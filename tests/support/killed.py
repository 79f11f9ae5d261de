"""The run loop in a process of its own, with packages small enough to be hit in many places. To be killed."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from dlt.common.storages.load_package import PackageStorage
from dlt.common.storages.load_storage import LoadStorage
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.extract.storage import ExtractStorage
from dlt.pipeline.pipeline import Pipeline

from sources.klaviyo.extract.buffer import Drained
from sources.klaviyo.extract.tuning import Tuning
from sources.klaviyo.load.pipeline import load_settings, open_pipeline
from sources.klaviyo.load.runner import run
from sources.klaviyo.load.turn import Turn
from tests.support.journeys import KEY, FakeClock, home

# Forked from a server that has imported everything, a run starts at once, and no thread is forked with it. The last two
# are what dlt imports only when it loads the first rows.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.support.killed", "pandas", "dlt.destinations.impl.duckdb.duck"])

#: Exit codes of a run that was killed, and of one that says that a report failed.
DIED, FAILED = -signal.SIGKILL, 3
#: Small enough that a kill hits in many places.
TUNING = Tuning(table_rows=20, worth_loading_rows=40, package_rows=60)
Death = tuple[str, bool, int] | tuple[str, bool, int, str]
#: Steps of dlt's around which a process can die, as (class, method): each leaves another state behind.
STEPS: dict[str, tuple[type, str]] = {
    "extracted": (ExtractStorage, "commit_new_load_package"),
    "normalized": (LoadStorage, "commit_new_load_package"),
    "input dropped": (PackageStorage, "delete_package"),
    "schema updated": (LoadStorage, "commit_schema_update"),
    "job started": (PackageStorage, "start_job"),
    "job marked": (PackageStorage, "save_pending_transition"),
    "job completed": (PackageStorage, "complete_job"),
    "load recorded": (SqlJobClientBase, "complete_load"),
    "package completed": (PackageStorage, "complete_loading_package"),
    "package moved": (LoadStorage, "complete_load_package"),
    "state saved": (Pipeline, "_save_state"),
}


def die(step: str, before: bool, nth: int, about: str = "") -> None:
    """Let this process be killed before or after the nth time that a step is taken.

    Args:
        about: pattern that an argument of the step has to match, such as a job's file name.
    """
    owner, name = STEPS[step]
    taken, method = 0, getattr(owner, name)

    def deadly(*args: Any, **options: Any) -> Any:
        nonlocal taken
        if not any(re.search(about, str(argument)) for argument in args):
            return method(*args, **options)
        taken += 1
        if before and taken == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        result = method(*args, **options)
        if taken == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def in_pieces(tables: Callable[[Drained], Iterator[pa.Table]]) -> Callable[[Drained], Iterator[pa.Table]]:
    """What waits to be loaded in tables of a few rows, however much it is."""
    return lambda drained: (t.slice(n, 20) for t in tables(drained) for n in range(0, t.num_rows, 20))


def work(
    folder: Path,
    url: str,
    clock: FakeClock,
    flags: dict[str, Any],
    death: Death | None = None,
    config: str = "",
    tuning: Tuning = TUNING,
    destination: str | None = None,
    environment: Mapping[str, str] | None = None,
    began: threading.Event | None = None,
    waits: bool = False,
) -> None:
    """Run to the end, unless somebody kills this process.

    Args:
        url: of the sandbox.
        death: arguments of `die`; None to live on.
        config: TOML, dlt's settings.
        destination: dlt's name of it; default DuckDB.
        environment: variables to set, such as the destination's credentials.
        began: set as soon as the run begins; an event of another process.
        waits: for another run to end, or for the lease of one that was killed.
    """
    if began is not None:
        began.set()
    os.environ.update(environment or {})
    if death is not None:
        die(*death)
    setattr(Drained, "__iter__", in_pieces(Drained.__iter__))  # noqa: B010 - mypy takes it for a bound method
    with home(folder, config):
        settings = load_settings("klaviyo", {"api_key": KEY, "base_url": url, **flags}, clock=clock)
        pipelines_dir = str(folder / "pipelines")
        with Turn("klaviyo", pipelines_dir, wait=waits) as turn:
            pipeline = open_pipeline("klaviyo", destination, pipelines_dir=pipelines_dir, turn=turn)
            outcomes = run(pipeline, settings, clock=clock, tuning=tuning, turn=turn)
    if any(outcome.error or not outcome.loaded for outcome in outcomes):
        sys.stderr.write(f"{[outcome.error for outcome in outcomes]}\n")
        raise SystemExit(FAILED)
