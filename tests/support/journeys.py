"""A journey: a sandbox account, the run loop, dlt and a real DuckDB file, in a folder of its own."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest
from dlt.common.configuration.container import Container
from dlt.common.pipeline import PipelineContext
from dlt.common.runtime.run_context import RunContext, switched_run_context

from sandbox import Account, Sandbox
from sources.klaviyo.extract.tuning import DEFAULT
from sources.klaviyo.load.duckdb import duckdb_file, prepare
from sources.klaviyo.load.pipeline import load_settings, open_pipeline
from sources.klaviyo.load.runner import Outcome
from sources.klaviyo.load.runner import run as run_loop
from sources.klaviyo.load.turn import Turn

#: The present of every test account unless a test moves it: a Tuesday, in the middle of a minute.
NOW = datetime(2026, 6, 30, 12, 0, 30, tzinfo=UTC)
START = "2026-05-01"
KEY = "pk_sandbox"


class FakeClock:
    """A calendar that stands still until it is set, and a stopwatch that runs fast, so that waits take little."""

    speed = 25

    def __init__(self, moment: datetime = NOW) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return time.monotonic() * self.speed

    def wait(self, seconds: float, stop: threading.Event) -> None:
        stop.wait(seconds / self.speed)

    def forward(self, **duration: float) -> datetime:
        """Let time pass; the new present."""
        self.moment += timedelta(**duration)
        return self.moment


class _Context(RunContext):
    """dlt's project and global folders, away from those of whoever runs the tests."""

    @property
    def global_dir(self) -> str:
        return str(Path(self.run_dir) / "home")


@contextmanager
def home(folder: Path, config: str = "") -> Iterator[None]:
    """Work in a folder with its own dlt configuration (`.dlt/config.toml`) and nobody else's.

    Args:
        config: TOML.
    """
    (folder / ".dlt").mkdir(parents=True, exist_ok=True)
    (folder / ".dlt" / "config.toml").write_text(config, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DLT_PROJECT_DIR", "DLT_LOCAL_DIR", "DLT_DATA_DIR", "XDG_DATA_HOME"):
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(folder / "home"))
        patch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
        patch.chdir(folder)
        with switched_run_context(_Context(str(folder))):
            yield
        context = Container()[PipelineContext]
        if context.is_active():
            context.deactivate()


class Journey:
    """Runs of one pipeline against one sandbox account, and what is in the tables afterwards.

    Args:
        folder: where the DuckDB file and the pipelines' folders go; work in `home(folder)`.
        account: the data; its present is the clock's.
        sandbox: options of the server.
    """

    def __init__(self, folder: Path, account: Account, clock: FakeClock, **sandbox: Any) -> None:
        self.folder = folder
        self.account = account
        self.clock = clock
        self.server = Sandbox(account, **sandbox).start()
        self.pipelines_dir = folder / "pipelines"
        self.tuning = DEFAULT

    def close(self) -> None:
        self.server.stop()

    def settings(self, *reports: str, pipeline: str = "klaviyo", **flags: Any) -> Any:
        """Settings against the sandbox; `start_date` is START unless given."""
        given = {"api_key": KEY, "base_url": self.server.url, **flags}
        if not {"start_date", "period"} & set(flags):
            given["start_date"] = START
        if reports:
            given["reports"] = list(reports)
        return load_settings(pipeline, given, clock=self.clock)

    def pipeline(self, name: str = "klaviyo", turn: Turn | None = None) -> dlt.Pipeline:
        return open_pipeline(name, pipelines_dir=str(self.pipelines_dir), turn=turn)

    def run(self, *reports: str, pipeline: str = "klaviyo", **flags: Any) -> dict[str, Outcome]:
        """One run of the loop; the outcomes by report, and the requests of this run alone in `server.requests`."""
        self.server.clear_requests()
        settings = self.settings(*reports, pipeline=pipeline, **flags)
        loading = self.pipeline(pipeline)
        with held_open(loading):
            outcomes = run_loop(loading, settings, clock=self.clock, tuning=self.tuning)
        return {outcome.report: outcome for outcome in outcomes}

    def load(self, *reports: str, **flags: Any) -> dict[str, Outcome]:
        """A run that has to succeed."""
        outcomes = self.run(*reports, **flags)
        failed = {name: outcome.error for name, outcome in outcomes.items() if outcome.error or not outcome.loaded}
        assert not failed, failed
        return outcomes

    def forget(self) -> None:
        """Throw the local folder of all pipelines away, as schedulers do between runs."""
        shutil.rmtree(self.pipelines_dir)

    def requested(self, path: str) -> int:
        """How many requests of the last run went to a path."""
        return sum(request.path == path for request in self.server.requests)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query on the warehouse; tables are `klaviyo.<report>`."""
        return sql(self.folder, query)

    def ids(self, report: str, dataset: str = "klaviyo") -> list[str]:
        """The ids in a table, sorted, as often as they are there."""
        return [row[0] for row in self.sql(f"SELECT id FROM {dataset}.{report} ORDER BY id")]

    def rows(self, report: str, dataset: str = "klaviyo") -> list[tuple[str | None, ...]]:
        """A whole table as text, without the load ids, in a fixed order."""
        return self.sql(f"SELECT COLUMNS(c -> c <> '_dlt_load_id')::VARCHAR FROM {dataset}.{report} ORDER BY ALL")

    def tables(self, dataset: str = "klaviyo") -> list[str]:
        """The tables of reports in a dataset."""
        found = self.sql(
            "SELECT table_name FROM information_schema.tables "
            f"WHERE table_schema = '{dataset}' AND NOT starts_with(table_name, '_') ORDER BY 1"
        )
        return [name for (name,) in found]


@contextmanager
def held_open(pipeline: dlt.Pipeline) -> Iterator[None]:
    """Keep a pipeline's DuckDB file open, if that is where it loads into.

    dlt opens and closes the file for every job, and a file that nobody else holds open takes 20 ms each time: half the
    time of a run in which little is loaded.
    """
    prepare(pipeline)
    path = duckdb_file(pipeline)
    if path is None or not path.exists():
        yield
        return
    with duckdb.connect(str(path)):
        yield


def sql(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query on the DuckDB file in a folder."""
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(query).fetchall()


def small_account(clock: FakeClock, **numbers: Any) -> Account:
    """An account with next to nothing in it but what is asked for."""
    sizes: dict[str, Any] = dict.fromkeys(
        ("profiles", "events", "lists", "segments", "campaigns", "flows", "templates", "metrics", "tags"), 0
    )
    return Account(now=clock.now, **{**sizes, **numbers})


def truth_ids(account: Account, kind: str, field: str, start: datetime, end: datetime) -> list[str]:
    """Ids of the records of a type whose moment lies in `[start, end)`, sorted."""
    found = []
    for record in account.records(kind):
        moment = datetime.fromisoformat(record["attributes"][field])
        if start <= moment < end:
            found.append(str(record["id"]))
    return sorted(found)


def doubled(values: list[str]) -> Mapping[str, int]:
    """Values that are there more than once."""
    return {value: count for value, count in Counter(values).items() if count > 1}
