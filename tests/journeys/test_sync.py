"""`sync`: the run loop with a pipeline of the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest

from sources.klaviyo import sync
from sources.klaviyo.errors import AuthError, ConfigError
from sources.klaviyo.load.runner import Outcome
from tests.support.journeys import KEY, FakeClock, Journey, home, small_account, truth_ids

# The run loop takes the machine's clock here, so the account lives in the present too.
LAG = timedelta(seconds=60)
START = (datetime.now(UTC) - timedelta(days=40)).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
def journey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journey]:
    clock = FakeClock(datetime.now(UTC))
    account = small_account(clock, seed=71, events=400, profiles=60, metrics=3, tags=2)
    with home(tmp_path, f"[sources.klaviyo]\nstart_date = {START:%Y-%m-%d}\n"):
        made = Journey(tmp_path, account, clock)
        monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", KEY)
        monkeypatch.setenv("SOURCES__KLAVIYO__BASE_URL", made.server.url)
        yield made
        made.close()


def pipeline(destination: Any = "duckdb", dataset: str = "klaviyo_data", **options: Any) -> dlt.Pipeline:
    """A pipeline as a user makes one, anew in each run of a script."""
    made: dlt.Pipeline = dlt.pipeline(
        "klaviyo", destination=destination, dataset_name=dataset, pipelines_dir="pipelines", **options
    )
    return made


def ids(file: str, table: str) -> list[str]:
    """The ids in a table of a DuckDB file, sorted, as often as they are there."""
    with duckdb.connect(file, read_only=True) as connection:
        return [row[0] for row in connection.execute(f"SELECT id FROM {table} ORDER BY id").fetchall()]


def held(pipeline: dlt.Pipeline) -> list[str]:
    """The ids of the events that the user's own pipeline object sees."""
    return [row[0] for row in pipeline.dataset()("SELECT id FROM events").fetchall()]


def in_the_account(journey: Journey, kind: str, field: str) -> list[str]:
    """Ids of the records that a run just now had to load."""
    return truth_ids(journey.account, kind, field, START, journey.clock.now() - LAG)


def by_report(outcomes: list[Outcome]) -> dict[str, Outcome]:
    return {outcome.report: outcome for outcome in outcomes}


def test_it_loads_where_the_users_pipeline_points(journey: Journey) -> None:
    used = pipeline()
    outcomes = by_report(sync(used, reports=["events", "profiles", "metrics"]))
    assert {name: (outcome.error, outcome.loaded) for name, outcome in outcomes.items()} == {
        "events": (None, True),
        "profiles": (None, True),
        "metrics": (None, True),
    }
    assert ids("klaviyo.duckdb", "klaviyo_data.events") == in_the_account(journey, "event", "datetime")
    assert ids("klaviyo.duckdb", "klaviyo_data.profiles") == in_the_account(journey, "profile", "updated")
    assert len(ids("klaviyo.duckdb", "klaviyo_data.metrics")) == len(list(journey.account.records("metric"))) > 0
    # The pipeline that the user holds knows of it.
    assert sorted(held(used)) == ids("klaviyo.duckdb", "klaviyo_data.events")
    assert used.last_trace is not None
    assert used.last_trace.last_load_info is not None
    assert used.last_trace.last_load_info.dataset_name == "klaviyo_data"


def test_a_second_run_reads_nothing_again_but_the_lookback(journey: Journey) -> None:
    sync(pipeline(), reports=["events"])
    journey.server.clear_requests()
    fresh = journey.account.add("event", {"attributes": {"datetime": datetime.now(UTC) - timedelta(hours=3)}})
    (outcome,) = sync(pipeline(), reports=["events"])
    assert outcome.error is None
    starts = [window.start for window in outcome.windows]
    assert datetime.now(UTC) - timedelta(days=1, minutes=5) < min(starts) < datetime.now(UTC) - timedelta(hours=23)
    assert {request.path for request in journey.server.requests} == {"/api/events"}
    assert ids("klaviyo.duckdb", "klaviyo_data.events") == in_the_account(journey, "event", "datetime")
    assert fresh in ids("klaviyo.duckdb", "klaviyo_data.events")


def test_a_run_goes_on_from_the_destination_alone(journey: Journey) -> None:
    sync(pipeline(), reports=["events"])
    journey.forget()
    (outcome,) = sync(pipeline(), reports=["events"])
    assert min(window.start for window in outcome.windows) > datetime.now(UTC) - timedelta(days=2)


@pytest.mark.parametrize("runs", [1, 2])
def test_a_dataset_named_like_the_pipeline_gets_a_file_of_another_name(journey: Journey, runs: int) -> None:
    for _ in range(runs):
        used = pipeline(dataset="klaviyo")
        sync(used, reports=["events"])
    assert ids("warehouse.duckdb", "klaviyo.events") == in_the_account(journey, "event", "datetime")
    assert not Path("klaviyo.duckdb").exists()
    assert sorted(held(used)) == in_the_account(journey, "event", "datetime")
    # The same object once more.
    (again,) = sync(used, reports=["events"])
    assert again.error is None
    assert ids("warehouse.duckdb", "klaviyo.events") == in_the_account(journey, "event", "datetime")


def test_a_destination_that_the_user_configured_stays(journey: Journey) -> None:
    Path("files").mkdir()
    mine = dlt.destinations.duckdb("files/mine.duckdb", destination_name="lake", create_indexes=True)
    used = pipeline(mine)
    sync(used, reports=["events"])
    assert ids("files/mine.duckdb", "klaviyo_data.events") == in_the_account(journey, "event", "datetime")
    assert used.destination.destination_name == "lake"
    assert used.destination.config_params["create_indexes"] is True
    # Theirs may be another pipeline's too.
    assert "replace_strategy" not in mine.config_params
    assert "supports_transactions" not in mine.caps_params


def test_a_destination_of_the_configuration_stays(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", "configured.duckdb")
    sync(pipeline(), reports=["tags"])
    assert len(ids("configured.duckdb", "klaviyo_data.tags")) == 2
    # Elsewhere than in the file that was asked for nothing may be loaded.
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", "klaviyo_data.duckdb")
    with pytest.raises(ConfigError, match=r"klaviyo_data.duckdb and the dataset \"klaviyo_data\" have the same name"):
        sync(pipeline(), reports=["tags"])


def test_merges_and_replaces_are_one_transaction(journey: Journey) -> None:
    used = pipeline()
    sync(used, reports=["tags"])
    assert used.destination.capabilities().supports_transactions
    assert used.destination_client().config.replace_strategy == "insert-from-staging"  # type: ignore[attr-defined]


def test_a_report_that_fails_says_so_and_the_others_are_loaded(journey: Journey) -> None:
    journey.server.faults.add(path="/api/metrics", kind="status", status=403, times=None)
    outcomes = by_report(sync(pipeline(), reports=["events", "metrics"]))
    assert isinstance(outcomes["metrics"].error, AuthError)
    assert not outcomes["metrics"].loaded
    assert outcomes["events"].error is None
    assert ids("klaviyo.duckdb", "klaviyo_data.events") == in_the_account(journey, "event", "datetime")


def test_what_is_given_beats_the_configuration(journey: Journey) -> None:
    start = START + timedelta(days=20)
    sync(pipeline(), reports=["events", "profiles"], start_date=f"{start:%Y-%m-%d}", profiles={"extract": "all"})
    wanted = truth_ids(journey.account, "event", "datetime", start, journey.clock.now() - LAG)
    assert ids("klaviyo.duckdb", "klaviyo_data.events") == wanted
    assert len(ids("klaviyo.duckdb", "klaviyo_data.profiles")) == 60


def test_a_wrong_setting_is_refused_before_any_request(journey: Journey) -> None:
    with pytest.raises(
        ConfigError, match=r'unknown report "evnets" \(set in the call of sync\(\)\); did you mean "events"'
    ):
        sync(pipeline(), reports=["evnets"])
    assert journey.server.requests == []


def test_a_pipeline_that_drops_its_tables_is_refused(journey: Journey) -> None:
    with pytest.raises(ConfigError, match='refresh="drop_sources", which sync'):
        sync(pipeline(refresh="drop_sources"))


def test_a_pipeline_without_a_destination_is_refused(journey: Journey) -> None:
    with pytest.raises(ConfigError, match="has no destination"):
        sync(pipeline(None))


def test_a_file_that_the_user_named_like_the_dataset_is_refused(journey: Journey) -> None:
    with pytest.raises(ConfigError, match=r"klaviyo_data.duckdb and the dataset \"klaviyo_data\" have the same name"):
        sync(pipeline(dlt.destinations.duckdb("klaviyo_data.duckdb")))
    assert journey.server.requests == []


def test_a_pipeline_in_dev_mode_loads_into_a_new_dataset_each_time(journey: Journey) -> None:
    for _ in range(2):
        used = pipeline(dev_mode=True)
        sync(used, reports=["tags"])
        assert used.dataset_name != "klaviyo_data"
        assert len(ids("klaviyo.duckdb", f"{used.dataset_name}.tags")) == 2


def test_a_schema_that_a_kill_left_saved_by_half_does_not_stop_the_next_run(journey: Journey) -> None:
    sync(pipeline(), reports=["events"])
    Path("pipelines/klaviyo/schemas/0123456789abcdef").write_text('{"name":')
    (outcome,) = sync(pipeline(), reports=["events"])
    assert outcome.error is None
    assert ids("klaviyo.duckdb", "klaviyo_data.events") == in_the_account(journey, "event", "datetime")


def test_dlts_handling_of_signals_is_as_before(journey: Journey) -> None:
    used = pipeline()
    before = used.runtime_config.intercept_signals
    sync(used, reports=["tags"])
    assert used.runtime_config.intercept_signals is before is True
