"""The source as dlt users call it, without the run loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dlt
import pytest
from dlt.extract import DltSource
from dlt.pipeline.exceptions import PipelineStepFailed

from sources.klaviyo import klaviyo
from sources.klaviyo.errors import AuthError, ConfigError, RequestRejected
from sources.klaviyo.extract.tuning import Tuning
from sources.klaviyo.load import source
from tests.support import truth
from tests.support.journeys import KEY, FakeClock, Journey, home, small_account, truth_ids

# The source takes the machine's clock here, so the account lives in the present too.
LAG = timedelta(seconds=60)
LAST_WEEKS = (datetime.now(UTC) - timedelta(days=40)).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
def config() -> str:
    return f"[sources.klaviyo]\nstart_date = {LAST_WEEKS:%Y-%m-%d}\n"


@pytest.fixture
def journey(tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journey]:
    clock = FakeClock(datetime.now(UTC))
    account = small_account(clock, seed=71, events=400, profiles=60, segments=3, lists=2, metrics=3, tags=2)
    with home(tmp_path, config):
        made = Journey(tmp_path, account, clock)
        monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", KEY)
        monkeypatch.setenv("SOURCES__KLAVIYO__BASE_URL", made.server.url)
        yield made
        made.close()


def pipeline(name: str = "klaviyo") -> dlt.Pipeline:
    """A pipeline as anybody makes one."""
    return dlt.pipeline(
        name, destination=dlt.destinations.duckdb("warehouse.duckdb"), dataset_name=name, pipelines_dir="pipelines"
    )


def in_the_account(journey: Journey, kind: str, field: str, start: datetime = LAST_WEEKS) -> list[str]:
    """Ids of the records that a run just now had to load."""
    return truth_ids(journey.account, kind, field, start, journey.clock.now() - LAG)


def of_ours() -> list[str]:
    """The threads of the source that still live."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("klaviyo-")]


def test_one_report_loads_with_a_line_of_code_and_goes_on_where_it_stopped(journey: Journey) -> None:
    start = LAST_WEEKS + timedelta(days=5)
    pipeline().run(klaviyo(reports=["events"], start_date=f"{start:%Y-%m-%d}"))
    assert journey.tables() == ["events"]
    assert journey.ids("events") == in_the_account(journey, "event", "datetime", start)
    assert {request.path for request in journey.server.requests} == {"/api/events"}
    first = journey.server.requests[0].query["filter"]
    journey.server.clear_requests()
    fresh = journey.account.add("event", {"attributes": {"datetime": datetime.now(UTC) - timedelta(hours=3)}})
    pipeline().run(klaviyo(reports=["events"], start_date=f"{start:%Y-%m-%d}"))
    assert fresh in journey.ids("events")
    (again,) = [request.query["filter"] for request in journey.server.requests]
    assert again != first
    assert f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}" in again


def test_a_resource_is_chosen_by_name_and_asks_for_nothing_else(journey: Journey) -> None:
    pipeline().run(klaviyo().with_resources("profiles"))
    assert journey.tables() == ["profiles"]
    assert journey.ids("profiles") == in_the_account(journey, "profile", "updated")
    assert {request.path for request in journey.server.requests} == {"/api/profiles"}
    columns = truth.contract("profiles").types
    assert list(pipeline().default_schema.get_table_columns("profiles"))[: len(columns)] == list(columns)


def several() -> DltSource:
    """Reports of every kind: windowed, whole, history, shared."""
    return klaviyo(reports=["events", "profiles", "metrics", "lists", "segment_profiles", "profile_segments", "tags"])


def loads_the_truth(journey: Journey) -> None:
    """What `several` loads equals the account."""
    assert journey.ids("events") == in_the_account(journey, "event", "datetime")
    assert journey.ids("profiles") == in_the_account(journey, "profile", "updated")
    for report in ("metrics", "tags", "segment_profiles", "profile_segments"):
        where = "_dlt_valid_to IS NULL" if report in truth.MEMBERS else "true"
        wanted = truth.expected(journey.account, report, LAST_WEEKS, journey.clock.now())
        assert truth.differences(truth.loaded(journey.folder, report, where), wanted) == [], report


def test_reports_of_the_same_requests_share_them(journey: Journey) -> None:
    for _ in range(2):
        journey.server.clear_requests()
        pipeline().run(several())
        loads_the_truth(journey)
        segments = [request.path for request in journey.server.requests if request.path.startswith("/api/segments")]
        assert len(segments) == len(set(segments)) == 1 + 3


@pytest.mark.parametrize("config", [f'[sources.klaviyo]\nstart_date = "{LAST_WEEKS:%Y-%m-%d}"\n'
                                    '[extract]\nnext_item_mode = "fifo"\n'], ids=["fifo"])  # fmt: skip
def test_one_resource_after_the_other_loads_the_same(journey: Journey, config: str) -> None:
    assert "fifo" in config
    for _ in range(2):
        pipeline().run(several())
        loads_the_truth(journey)


def test_an_error_raises_and_loads_nothing(journey: Journey) -> None:
    source = klaviyo(reports=["profiles", "events", "metrics"])
    journey.server.faults.add(path="/api/events", kind="status", status=404, times=None)
    with pytest.raises(PipelineStepFailed) as raised:
        pipeline().run(source)
    causes = []
    error: BaseException | None = raised.value
    while error is not None:
        causes.append(error)
        error = error.__cause__
    assert any(isinstance(cause, RequestRejected) and cause.status == 404 for cause in causes)
    assert KEY not in "".join(map(str, causes))
    assert journey.tables() == []
    assert not pipeline().has_pending_data
    # Nothing goes on in the background.
    time.sleep(0.1)
    assert of_ours() == []
    journey.server.faults.clear()
    pipeline().run(klaviyo(reports=["profiles", "events", "metrics"]))
    assert journey.ids("events") == in_the_account(journey, "event", "datetime")
    assert journey.ids("profiles") == in_the_account(journey, "profile", "updated")


def test_an_error_in_a_later_run_leaves_tables_and_state_as_they_were(journey: Journey) -> None:
    reports = ["events", "metrics"]
    pipeline().run(klaviyo(reports=reports))
    before = {report: journey.rows(report) for report in reports}
    state = pipeline().state["sources"]
    journey.server.faults.add(path="/api/metrics", kind="status", status=403, times=None)
    with pytest.raises(PipelineStepFailed):
        pipeline().run(klaviyo(reports=reports))
    assert {report: journey.rows(report) for report in reports} == before
    assert pipeline().state["sources"] == state


def test_reports_that_fill_the_memory_together_are_loaded_all_the_same(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None of them is through or has enough for a table of its own when reading has to wait for the loader.
    monkeypatch.setattr(source, "TUNING", Tuning(unloaded_bytes=20_000))
    pipeline().run(klaviyo(reports=["events", "profiles"], split_by="day"))
    assert journey.ids("events") == in_the_account(journey, "event", "datetime")
    assert journey.ids("profiles") == in_the_account(journey, "profile", "updated")


def test_threads_end_with_the_load(journey: Journey) -> None:
    pipeline().run(several())
    time.sleep(0.1)
    assert of_ours() == []


def test_an_error_in_a_step_of_the_users_own_ends_the_reading_too(journey: Journey) -> None:
    def stumble(_: object) -> None:
        raise ValueError("not like this")

    # By the hour it is a thousand requests.
    journey.server.latency_s = 0.05
    source = klaviyo(reports=["events", "metrics"], split_by="hour")
    source.resources["metrics"].add_map(stumble)
    with pytest.raises(PipelineStepFailed):
        pipeline().run(source)
    # A thread that waits for its turn at the rate limit looks up when it comes, a second later at most.
    deadline_s = time.monotonic() + 5
    while of_ours() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert of_ours() == []
    assert len(journey.server.requests) < 500
    assert journey.tables() == []


def test_settings_of_one_report_alone(journey: Journey) -> None:
    pipeline().run(
        klaviyo(reports=["events", "profiles"], report_settings={"profiles": {"extract": "all"}}, lookback_days=0)
    )
    assert journey.ids("profiles") == sorted(record["id"] for record in journey.account.records("profile"))
    assert journey.ids("events") == in_the_account(journey, "event", "datetime")


def test_wrong_settings_are_refused_before_any_request(journey: Journey) -> None:
    with pytest.raises(ConfigError, match='did you mean "events"'):
        klaviyo(reports=["evnets"])
    with pytest.raises(ConfigError, match="the call of klaviyo"):
        klaviyo(split_by="fortnight")
    with pytest.raises(ConfigError, match="exclude each other"):
        klaviyo(period="yesterday", start_date="2026-01-01")
    assert journey.server.requests == []


def test_a_wrong_key_raises_what_klaviyo_said(journey: Journey) -> None:
    with pytest.raises(PipelineStepFailed) as raised:
        pipeline().run(klaviyo(reports=["metrics"], api_key="pk_wrong"))
    error: BaseException | None = raised.value
    while error is not None and not isinstance(error, AuthError):
        error = error.__cause__
    assert error is not None
    assert error.status == 401


def test_what_is_loaded_is_a_data_frame_away(journey: Journey) -> None:
    loaded = pipeline()
    loaded.run(klaviyo(reports=["tags"]))
    frame = loaded.dataset()["tags"].df()
    assert frame is not None
    assert sorted(frame["id"]) == sorted(journey.ids("tags"))
