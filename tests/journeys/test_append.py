"""Events that were never loaded are appended, and merged from the first one on that may be there already."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest

from sources.klaviyo import klaviyo
from sources.klaviyo.extract.tuning import Tuning
from sources.klaviyo.load import runner as klaviyo_run
from sources.klaviyo.load.doubles import remove_doubles
from sources.klaviyo.load.pipeline import open_pipeline
from sources.klaviyo.load.source import source_of
from tests.support import truth
from tests.support.journeys import KEY, NOW, FakeClock, Journey, home, small_account, truth_ids

LAG = timedelta(seconds=60)
START = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FakeClock()
    account = small_account(clock, seed=9, events=900, profiles=20, metrics=3, history_days=90)
    with home(tmp_path):
        made = Journey(tmp_path, account, clock)
        made.tuning = Tuning(table_rows=50, worth_loading_rows=100, package_rows=200)
        yield made
        made.close()


@pytest.fixture
def dispositions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How the events of each package were written, in order."""
    found: list[str] = []

    def observed(*args: Any) -> Any:
        source = source_of(*args)
        if "events" in source.resources:
            found.append(str(source.events.compute_table_schema()["write_disposition"]))
        return source

    monkeypatch.setattr(klaviyo_run, "source_of", observed)
    return found


def exact(journey: Journey, start: datetime = START, report: str = "events") -> None:
    wanted = truth.expected(journey.account, report, start, journey.clock.now() - LAG)
    assert truth.differences(truth.loaded(journey.folder, report, "true"), wanted) == []


def raw(identity: str, moment: str | None) -> bytes:
    attributes: dict[str, Any] = {"datetime": moment, "timestamp": 1, "uuid": identity, "event_properties": {}}
    return json.dumps({"type": "event", "id": identity, "attributes": attributes}).encode()


def test_a_first_run_appends_and_the_next_one_merges(journey: Journey, dispositions: list[str]) -> None:
    journey.load("events")
    assert set(dispositions) == {"append"}
    exact(journey)
    dispositions.clear()
    journey.clock.forward(hours=3)
    journey.account.add("event", {"attributes": {"datetime": NOW}})
    journey.load("events")
    assert set(dispositions) == {"merge"}
    exact(journey)


def test_an_earlier_period_is_appended_where_nothing_of_it_is_loaded(journey: Journey, dispositions: list[str]) -> None:
    journey.load("events", start_date="2026-06-01", lookback_days=0)
    dispositions.clear()
    journey.load("events", start_date="2026-05-01", end_date="2026-05-31", lookback_days=0)
    assert set(dispositions) == {"append"}
    exact(journey)


def test_a_period_that_is_read_again_is_merged(journey: Journey, dispositions: list[str]) -> None:
    journey.load("events")
    dispositions.clear()
    journey.load("events", reread=True)
    assert set(dispositions) == {"merge"}
    exact(journey)


def test_rows_that_the_state_knows_nothing_of_are_not_doubled(journey: Journey, dispositions: list[str]) -> None:
    # As after a kill behind which the folder and the state went.
    journey.load("events", start_date="2026-06-01")
    shutil.rmtree(journey.pipelines_dir)
    with duckdb.connect(str(journey.folder / "warehouse.duckdb")) as connection:
        connection.execute("DELETE FROM klaviyo._dlt_pipeline_state; DELETE FROM klaviyo._dlt_loads")
    dispositions.clear()
    journey.load("events")
    assert set(dispositions) == {"merge"}
    exact(journey)


def test_another_pipeline_into_the_same_dataset_doubles_nothing(journey: Journey, dispositions: list[str]) -> None:
    journey.load("events")
    dispositions.clear()
    other = open_pipeline("other", dataset="klaviyo", pipelines_dir=str(journey.pipelines_dir))
    outcomes = klaviyo_run.run(other, journey.settings("events"), clock=journey.clock)
    assert [outcome.error for outcome in outcomes] == [None]
    assert set(dispositions) == {"merge"}
    exact(journey)


@pytest.mark.parametrize("moment", ["yesterday", None], ids=["words", "null"])
@pytest.mark.parametrize("split_by", ["week", "auto"])
def test_from_an_event_on_that_no_moment_places_rows_are_merged(
    journey: Journey, dispositions: list[str], moment: str | None, split_by: str
) -> None:
    proper = truth_ids(journey.account, "event", "datetime", START, NOW - LAG)
    journey.account.add_raw("event", datetime(2026, 6, 10, tzinfo=UTC), raw("odd", moment))
    journey.load("events", split_by=split_by)
    assert journey.ids("events") == sorted([*proper, "odd"])
    assert dispositions[-1] == "merge"
    journey.load("events", split_by=split_by, reread=True)
    assert journey.ids("events") == sorted([*proper, "odd"])


@pytest.mark.parametrize("split_by", ["week", "auto"])
@pytest.mark.parametrize("apart", [timedelta(seconds=0), timedelta(seconds=5), timedelta(days=20)])
def test_an_event_that_comes_on_two_pages_is_there_once(
    journey: Journey, dispositions: list[str], split_by: str, apart: timedelta
) -> None:
    moment = datetime(2026, 6, 3, 8, tzinfo=UTC)
    proper = truth_ids(journey.account, "event", "datetime", START, NOW - LAG)
    for number, at in enumerate((moment, moment + apart)):
        # Two records for the server, one for whoever reads them.
        second = int(at.timestamp())
        journey.account.stores["event"].put({"id": str(number)}, raw("twice", moment.isoformat()), second)
    journey.load("events", split_by=split_by)
    assert journey.ids("events") == sorted([*proper, "twice"])
    assert dispositions[-1] == "merge"


def test_rows_that_must_be_merged_wait_for_a_package_that_merges(journey: Journey, dispositions: list[str]) -> None:
    # It comes last, while the package before it is open.
    proper = truth_ids(journey.account, "event", "datetime", START, NOW - LAG)
    journey.account.add_raw("event", datetime(2026, 6, 29, tzinfo=UTC), raw("odd", None))
    journey.server.faults.add(path="/api/events", kind="hang", seconds=2, query={"filter": "2026-06-29"}, times=None)
    outcome = journey.load("events", split_by="week")["events"]
    assert journey.ids("events") == sorted([*proper, "odd"])
    assert (dispositions[0], dispositions[-1]) == ("append", "merge")
    assert outcome.high_water == NOW - LAG
    assert journey.run("events", lookback_days=0)["events"].requests == 0


def test_from_code_rows_are_merged_as_ever(journey: Journey) -> None:
    pipeline = dlt.pipeline(
        "klaviyo", pipelines_dir=str(journey.pipelines_dir), destination=dlt.destinations.duckdb("other.duckdb")
    )
    pipeline.run(
        klaviyo(
            api_key=KEY, base_url=journey.server.url, reports=["events"], start_date="2026-05-01", end_date="2026-06-01"
        )
    )
    assert pipeline.default_schema.tables["events"]["write_disposition"] == "merge"


def test_other_reports_are_merged_from_the_first_row_on(journey: Journey) -> None:
    # A profile that is updated while it is read comes twice, with two moments.
    pipeline = journey.pipeline()
    klaviyo_run.run(pipeline, journey.settings("events", "profiles"), clock=journey.clock)
    tables = pipeline.default_schema.tables
    assert (tables["events"]["write_disposition"], tables["profiles"]["write_disposition"]) == ("append", "merge")
    exact(journey, report="profiles")


@pytest.fixture
def dated_anew(journey: Journey) -> list[str]:
    """Events that Klaviyo gives twice, with two moments, and all ids."""
    proper = truth_ids(journey.account, "event", "datetime", START, NOW - LAG)
    for number, (identity, day) in enumerate([("near", 3), ("near", 9), ("far", 3), ("far", 25), ("far", 14)]):
        at = datetime(2026, 6, day, 8, tzinfo=UTC)
        journey.account.stores["event"].put(
            {"id": str(number)}, raw(identity, at.isoformat()), int(at.timestamp())
        )  # Two records for the server, one for whoever reads them.
    return sorted([*proper, "near", "far"])


NEWEST = [("far", datetime(2026, 6, 25, 8, tzinfo=UTC)), ("near", datetime(2026, 6, 9, 8, tzinfo=UTC))]
DATED = "SELECT id, datetime FROM klaviyo.events WHERE id IN ('near', 'far') ORDER BY id"


@pytest.mark.parametrize("split_by", ["week", "auto"])
@pytest.mark.parametrize("rows_at_once", [1, 100, 10_000])
def test_an_event_that_is_dated_anew_during_a_first_load_is_there_once_as_it_is_now(
    journey: Journey, dispositions: list[str], dated_anew: list[str], split_by: str, rows_at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(klaviyo_run, "remove_doubles", partial(remove_doubles, rows_at_once=rows_at_once))
    journey.load("events", split_by=split_by)
    # On one page, both are seen as they come.
    assert split_by == "auto" or set(dispositions) == {"append"}
    assert journey.ids("events") == dated_anew
    assert journey.sql(DATED) == NEWEST


def test_a_run_that_died_before_it_looked_for_doubles_leaves_that_to_the_next_one(
    journey: Journey, dated_anew: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(klaviyo_run, "remove_doubles", lambda *_: 0)
        journey.load("events", split_by="week")
    assert len(journey.ids("events")) == len(dated_anew) + 3
    journey.forget()
    journey.load("events", lookback_days=0, end_date="2026-06-29")
    assert journey.ids("events") == dated_anew
    assert journey.sql(DATED) == NEWEST


def test_appended_rows_are_compared_until_a_later_run_has_stored_that_they_were(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []
    monkeypatch.setattr(klaviyo_run, "remove_doubles", lambda pipeline, report, windows: compared.append(len(windows)))
    for _ in range(3):
        journey.load("events")
        journey.clock.forward(hours=1)
    # After the first run and before the second one.
    assert [number > 0 for number in compared] == [False, True, True, False, False, False]
