"""What a run costs, counted: requests, bytes decoded, rows written, imports. Nothing here is timed."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient

from sources.klaviyo import jsonapi
from sources.klaviyo.decode.records import Shaper
from sources.klaviyo.decode.tables import Shaped
from sources.klaviyo.http import client
from sources.klaviyo.jsonapi import next_link
from tests.support.journeys import KEY, START, FakeClock, Journey, home, small_account

EVENTS = 6000
PAGES = 6


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FakeClock()
    account = small_account(clock, seed=3, events=EVENTS, profiles=50, metrics=4, history_days=40, shape="even")
    with home(tmp_path):
        made = Journey(tmp_path, account, clock)
        yield made
        made.close()


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Bytes and records that pass the steps of a run, and the statements that write."""
    found: Counter[str] = Counter()
    shaped, careful, executed = Shaper.shape, Shaper._careful, DuckDbSqlClient.execute_sql

    def shape_(self: Shaper, page: bytes, *args: Any) -> Shaped:
        found["shaped bytes"] += len(page)
        return shaped(self, page, *args)

    def linked(page: bytes) -> str | None:
        found["fetched bytes"] += len(page)
        return next_link(page)

    def careful_(self: Shaper, raws: list[Any], *args: Any) -> Any:
        found["records taken one by one"] += len(raws)
        return careful(self, raws, *args)

    def execute_sql(self: DuckDbSqlClient, sql: Any, *args: Any, **options: Any) -> Any:
        text = str(sql).split("(")[0]
        if '"events"' in text and text.startswith(("INSERT", "DELETE")):
            found[text.split()[0]] += 1
        return executed(self, sql, *args, **options)

    monkeypatch.setattr(Shaper, "shape", shape_)
    monkeypatch.setattr(client, "next_link", linked)
    monkeypatch.setattr(Shaper, "_careful", careful_)
    monkeypatch.setattr(DuckDbSqlClient, "execute_sql", execute_sql)
    return found


def test_a_first_sync_of_events_fetches_decodes_and_writes_everything_once(
    journey: Journey, counts: Counter[str]
) -> None:
    outcome = journey.load("events", split_by="none", start_date="2026-05-15")["events"]
    assert outcome.rows == len(journey.ids("events")) > EVENTS - 100
    assert outcome.requests == PAGES
    assert counts["shaped bytes"] == counts["fetched bytes"] > 0
    assert counts["records taken one by one"] == 0
    # One insert from a file, nothing deleted, nothing copied from a staging table.
    assert (counts["INSERT"], counts["DELETE"]) == (1, 0)


def test_cutting_costs_a_request_a_cut_and_reads_no_page_twice(journey: Journey, counts: Counter[str]) -> None:
    outcome = journey.load("events", split_by="week", start_date="2026-05-15")["events"]
    assert outcome.rows == len(journey.ids("events")) > EVENTS - 100
    assert PAGES <= outcome.requests <= PAGES + len(outcome.windows)
    assert counts["shaped bytes"] == counts["fetched bytes"]


def test_nothing_new_costs_no_request(journey: Journey, counts: Counter[str]) -> None:
    journey.load("events", start_date="2026-05-15")
    counts.clear()
    assert journey.load("events", start_date="2026-05-15", lookback_days=0)["events"].requests == 0
    assert counts == {}


def test_the_collector_has_nothing_to_walk_in_a_decoded_page(journey: Journey) -> None:
    # It took half of the time of decoding.
    for kind in (jsonapi.Ref, jsonapi.ToOne, jsonapi.ToMany, jsonapi.Page, jsonapi.ListPage):
        assert kind.__struct_config__.gc is False


def imported_by(folder: Path, *command: str) -> set[str]:
    """The packages that a command has imported once it is through, in a process of its own."""
    program = """
import atexit, sys
atexit.register(lambda: print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr))
from dlt._workspace.cli._dlt import _main
_main()
"""
    call = [sys.executable, "-c", program, "pipeline", "klaviyo", *command]
    done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=folder)
    assert done.stdout
    imported = set(done.stderr.split())
    assert {"dlt", "dlt_klaviyo"} < imported
    return imported


@pytest.mark.parametrize("command", [["run", "--help"], ["reports"], ["reports", "events"]])
def test_a_command_that_reads_no_rows_imports_nothing_that_does(command: list[str], tmp_path: Path) -> None:
    imported = imported_by(tmp_path, *command)
    assert imported & {"pyarrow", "numpy", "pandas", "duckdb"} == set()
    # A help says what can be typed, and looks nothing up for it.
    assert ("msgspec" in imported) is (command != ["run", "--help"])


def test_a_plan_asks_duckdb_for_the_state_and_imports_neither_arrow_nor_pandas(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    journey.load("events")
    for name, value in {"api_key": KEY, "base_url": journey.server.url, "start_date": START}.items():
        monkeypatch.setenv(f"SOURCES__KLAVIYO__{name.upper()}", value)
    imported = imported_by(journey.folder, "plan", "events", "--pipelines-dir", str(journey.pipelines_dir))
    assert imported & {"pyarrow", "numpy", "pandas", "duckdb"} == {"duckdb"}
