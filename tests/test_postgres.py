"""Journeys into a real Postgres: set KLAVIYO_TEST_POSTGRES to a connection string of an empty database to run them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.klaviyo_run import load_settings, open_pipeline, run
from sandbox import Account, Sandbox

CREDENTIALS = os.environ.get("KLAVIYO_TEST_POSTGRES", "")
pytestmark = pytest.mark.skipif(not CREDENTIALS, reason="needs a Postgres server: KLAVIYO_TEST_POSTGRES")


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", CREDENTIALS)
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    name = f"klaviyo_{os.getpid()}"
    yield name
    with open_pipeline("klaviyo", "postgres", name, str(tmp_path / "state")).sql_client() as client:
        client.execute_sql(f"drop schema if exists {name} cascade")
        client.execute_sql(f"drop schema if exists {name}_staging cascade")


def ask(dataset: str, folder: Path, query: str) -> list[Any]:
    with open_pipeline("klaviyo", "postgres", dataset, str(folder / "state")).sql_client() as client:
        return list(client.execute_sql(query) or [])


def test_every_default_report_loads_and_a_second_run_changes_nothing(dataset: str, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    account = Account(now=now - timedelta(hours=1), events=2000)
    nul = {"first_name": "Za\x00ra", "email": "nul@example.com"}
    profile = next(iter(account.records("profile")))["id"]
    account.update("profile", profile, nul)
    with Sandbox(account) as server:
        flags = {
            "api_key": "pk_sandbox",
            "base_url": server.url,
            "start_date": (now - timedelta(days=100)).date().isoformat(),
        }
        account.now = now + timedelta(minutes=5)
        counts = []
        for _ in range(2):
            pipeline = open_pipeline("klaviyo", "postgres", dataset, str(tmp_path / "state"))
            outcomes = run(pipeline, load_settings("klaviyo", flags))
            assert [(outcome.report, str(outcome.error)) for outcome in outcomes if not outcome.loaded] == []
            tables = {o.report: ask(dataset, tmp_path, f"select count(*) from {o.report}")[0][0] for o in outcomes}
            counts.append(tables)
    assert counts[0] == counts[1]
    # A run reads up to a minute before it starts.
    ids = [row[0] for row in ask(dataset, tmp_path, "select id from events")]
    moments = {e["id"]: datetime.fromisoformat(e["attributes"]["datetime"]) for e in account.records("event")}
    assert len(ids) == len(set(ids))
    assert {event for event, moment in moments.items() if moment < now - timedelta(minutes=1)} <= set(ids)
    assert all(moments[event] < now + timedelta(minutes=5) for event in ids)
    # A Postgres text cannot hold the character; the whole value is kept beside.
    found = ask(dataset, tmp_path, f"select first_name, _extra::text from profiles where id = '{profile}'")
    assert found == [("Zara", '{"attributes.first_name":"Za\\u0000ra"}')]
    members = sum(len(account.members("list", record["id"])) for record in account.records("list"))
    assert ask(dataset, tmp_path, "select count(*) from list_profiles where _dlt_valid_to is null")[0][0] == members
