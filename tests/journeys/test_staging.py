"""The staging dataset keeps no rows after a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient

from sources.klaviyo.load.staging import Staging
from tests.support.journeys import FakeClock, Journey, home, small_account

REPORTS = ("events", "profiles", "tags")
#: Before the first profile.
EVER = "2010-01-01"


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FakeClock()
    with home(tmp_path):
        made = Journey(tmp_path, small_account(clock, seed=5, tags=3, profiles=20, events=200, metrics=2), clock)
        yield made
        made.close()


def copies(journey: Journey) -> dict[str, int]:
    """Rows in each table of the staging dataset."""
    return {
        table: journey.sql(f"SELECT count(*) FROM klaviyo_staging.{table}")[0][0]
        for table in journey.tables("klaviyo_staging")
    }


class Truncated:
    """The tables that are emptied, one call after the other."""

    def __init__(self, patch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.calls: list[list[str]] = []
        truncate = DuckDbSqlClient.truncate_tables

        def spy(client: Any, *tables: str) -> None:
            if client.dataset_name.endswith("_staging"):
                self.calls.append(sorted(tables))
                if error:
                    raise error
            truncate(client, *tables)

        patch.setattr(DuckDbSqlClient, "truncate_tables", spy)


def test_what_a_run_staged_is_emptied_at_its_end(journey: Journey) -> None:
    journey.load(*REPORTS)
    first = {report: journey.rows(report) for report in REPORTS}
    # Events were appended; the others went through the staging dataset.
    assert copies(journey) == {"profiles": 0, "tags": 0}
    journey.clock.forward(hours=1)
    journey.load(*REPORTS)
    assert copies(journey) == {"events": 0, "profiles": 0, "tags": 0}
    assert {report: journey.rows(report) for report in REPORTS} == first


def test_only_the_tables_of_the_run_are_emptied_and_each_once(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    journey.load(*REPORTS)
    journey.clock.forward(hours=1)
    truncated = Truncated(monkeypatch)
    journey.load("tags")
    # dlt empties the table before it loads into it, and the run does at its end.
    assert truncated.calls == [["tags"], ["tags"]]


def test_a_failure_is_reported_and_the_next_run_empties_what_was_left(
    journey: Journey, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Staging, "_truncate", lambda staging: 1 / 0)
        journey.load("profiles", start_date=EVER)
    (said,) = [record.getMessage() for record in caplog.records if record.name == "klaviyo"]
    assert said.startswith("the staging dataset could not be emptied (ZeroDivisionError)")
    assert copies(journey) == {"profiles": 20}
    assert len(journey.ids("profiles")) == 20
    journey.load("tags")
    assert copies(journey) == {"profiles": 0, "tags": 0}


def test_a_run_that_was_killed_leaves_it_to_the_next_one(journey: Journey) -> None:
    journey.load("tags")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Staging, "empty", lambda staging: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            journey.load("profiles", start_date=EVER)
    assert copies(journey)["profiles"] == 20
    journey.load("tags")
    assert copies(journey) == {"profiles": 0, "tags": 0}


def test_a_run_in_a_new_folder_empties_what_is_left(journey: Journey) -> None:
    journey.load("profiles", "tags", start_date=EVER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Staging, "empty", lambda staging: None)
        journey.clock.forward(hours=1)
        journey.load("tags", "profiles", reread=True, start_date=EVER)
    assert copies(journey) == {"profiles": 20, "tags": 3}
    journey.forget()
    journey.load("tags")
    assert copies(journey) == {"profiles": 0, "tags": 0}


@pytest.mark.parametrize(("value", "left"), [("false", 20), ("true", 0)])
def test_dlts_own_setting_goes_first(journey: Journey, monkeypatch: pytest.MonkeyPatch, value: str, left: int) -> None:
    monkeypatch.setenv("LOAD__TRUNCATE_STAGING_DATASET", value)
    journey.load("profiles", start_date=EVER)
    assert copies(journey) == {"profiles": left}


def test_a_run_that_loads_nothing_asks_the_destination_for_nothing(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    journey.load("events", lookback_days=0)
    monkeypatch.setattr(Staging, "_truncate", lambda staging: 1 / 0)
    assert journey.load("events", lookback_days=0)["events"].windows == []
