"""What dlt documents of a source holds for this one: limits, hints, steps, refresh, running an object twice."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import dlt
import pytest

from sources.klaviyo import filter_rows, klaviyo, klaviyo_report, map_rows
from sources.klaviyo.extract.tuning import Tuning
from sources.klaviyo.load import source as load_source
from tests.support.journeys import KEY, FakeClock, Journey, home, small_account, truth_ids

LAG = timedelta(seconds=60)
START = (datetime.now(UTC) - timedelta(days=30)).replace(hour=0, minute=0, second=0, microsecond=0)
CONFIG = f'[sources.klaviyo]\nstart_date = "{START:%Y-%m-%d}"\n'


@pytest.fixture
def config() -> str:
    return CONFIG


@pytest.fixture
def journey(tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journey]:
    clock = FakeClock(datetime.now(UTC))
    account = small_account(clock, seed=5, events=300, profiles=30, lists=2, metrics=3)
    with home(tmp_path, config):
        made = Journey(tmp_path, account, clock)
        monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", KEY)
        monkeypatch.setenv("SOURCES__KLAVIYO__BASE_URL", made.server.url)
        yield made
        made.close()


def pipeline(name: str = "klaviyo", **options: Any) -> dlt.Pipeline:
    made: dlt.Pipeline = dlt.pipeline(
        name,
        destination=dlt.destinations.duckdb("warehouse.duckdb"),
        dataset_name=name,
        pipelines_dir="pipelines",
        **options,
    )
    return made


def events_of(journey: Journey) -> list[str]:
    return truth_ids(journey.account, "event", "datetime", START, journey.clock.now() - LAG)


def filters(journey: Journey) -> list[str]:
    """The filters of the requests for events, since they were cleared last."""
    return [str(request.query["filter"]) for request in journey.server.requests if request.path == "/api/events"]


def test_the_same_object_runs_again_and_goes_on_where_it_stopped(journey: Journey) -> None:
    source = klaviyo(reports=["events", "metrics", "list_profiles"])
    into = pipeline()
    into.run(source)
    assert journey.ids("events") == events_of(journey)
    late = journey.account.add("event", {"attributes": {"datetime": datetime.now(UTC) - timedelta(hours=3)}})
    journey.server.clear_requests()
    into.run(source)
    assert late in journey.ids("events")
    assert journey.ids("events") == events_of(journey)
    # The lookback and what came since, by the clock of the second run.
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert all(f"greater-or-equal(datetime,{yesterday:%Y-%m-%d}" in text for text in filters(journey))
    assert journey.sql("SELECT count(*) FROM klaviyo.list_profiles WHERE _dlt_valid_to IS NOT NULL") == [(0,)]


def test_the_key_is_taken_when_the_source_runs(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", "pk_of_yesterday")
    source = klaviyo(reports=["metrics"])
    assert journey.server.requests == []
    monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", KEY)
    pipeline().run(source)
    assert len(journey.ids("metrics")) == 3


@pytest.mark.parametrize("parallel", [False, True], ids=["in turn", "parallelize"])
def test_resources_are_chosen_by_name(journey: Journey, parallel: bool) -> None:
    source = klaviyo().with_resources("profiles", "metrics", "lists")
    into = pipeline()
    into.run(source.parallelize() if parallel else source)
    assert journey.tables() == ["lists", "metrics", "profiles"]
    assert len(journey.ids("metrics")) == 3
    wanted = truth_ids(journey.account, "profile", "updated", START, journey.clock.now() - LAG)
    assert journey.ids("profiles") == wanted
    journey.server.clear_requests()
    into.run(klaviyo().with_resources("profiles"))
    starts = [request.query["filter"] for request in journey.server.requests]
    assert all(f"{START:%Y-%m-%d}" not in str(text) for text in starts)


def test_a_map_by_row_changes_values_adds_columns_and_takes_some_out(journey: Journey) -> None:
    source = klaviyo(reports=["profiles"])

    def shorten(row: dict[str, Any]) -> dict[str, Any]:
        return {**{k: v for k, v in row.items() if k != "phone_number"}, "email": None, "initial": row["id"][:1]}

    source.profiles.add_map(map_rows(shorten))
    pipeline().run(source)
    rows = journey.sql("SELECT id, email, initial, updated FROM klaviyo.profiles")
    assert len(rows) == len(truth_ids(journey.account, "profile", "updated", START, journey.clock.now() - LAG)) > 0
    assert all(email is None and initial == identity[:1] for identity, email, initial, _ in rows)
    assert {kind for (kind,) in journey.sql("SELECT DISTINCT typeof(updated) FROM klaviyo.profiles")} == {
        "TIMESTAMP WITH TIME ZONE"
    }
    assert journey.sql("SELECT count(phone_number) FROM klaviyo.profiles") == [(0,)]


def test_a_filter_by_row_leaves_rows_out(journey: Journey) -> None:
    source = klaviyo(reports=["events"])
    source.events.add_map(filter_rows(lambda row: str(row["id"]) in wanted))
    wanted = set(events_of(journey)[::3])
    pipeline().run(source)
    assert journey.ids("events") == sorted(wanted)


def test_rows_of_an_inferred_report_are_mapped_as_dicts(journey: Journey) -> None:
    source = klaviyo_report("kinds", "metrics", mode="inferred")
    source.kinds.add_map(map_rows(lambda row: {**row, "name": str(row["name"]).upper()}))
    pipeline().run(source)
    names = {record["attributes"]["name"].upper() for record in journey.account.records("metric")}
    assert {name for (name,) in journey.sql("SELECT name FROM klaviyo.kinds")} == names


def test_a_limited_run_saves_no_coverage(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_source, "TUNING", Tuning(table_rows=10))
    into = pipeline()
    into.run(klaviyo(reports=["events"], split_by="day").add_limit(3))
    assert 0 < len(journey.ids("events")) < len(events_of(journey))
    assert not into.state["sources"]["klaviyo"]["resources"].get("events", {}).get("covered")
    into.run(klaviyo(reports=["events"]))
    assert journey.ids("events") == events_of(journey)


def test_hints_of_the_user_go_before_ours(journey: Journey) -> None:
    source = klaviyo(reports=["events", "metrics"])
    source.events.apply_hints(write_disposition="append", table_name="raw_events")
    source.metrics.apply_hints(columns={"name": {"x-pii": True}})  # type: ignore[typeddict-unknown-key]
    into = pipeline()
    into.run(source)
    assert journey.tables() == ["metrics", "raw_events"]
    assert into.default_schema.tables["raw_events"]["write_disposition"] == "append"
    assert into.default_schema.tables["metrics"]["columns"]["name"]["x-pii"] is True  # type: ignore[typeddict-item]
    assert journey.ids("raw_events") == events_of(journey)


@pytest.mark.parametrize("refresh", ["drop_sources", "drop_resources"])
def test_a_refresh_reads_everything_again(journey: Journey, refresh: Any) -> None:
    into = pipeline()
    into.run(klaviyo(reports=["events", "metrics"]))
    journey.server.clear_requests()
    into.run(klaviyo(reports=["events", "metrics"]), refresh=refresh)
    assert any(f"greater-or-equal(datetime,{START:%Y-%m-%d}" in text for text in filters(journey))
    assert journey.ids("events") == events_of(journey)
    assert len(journey.ids("metrics")) == 3


def test_dev_mode_begins_anew_in_a_dataset_of_its_own(journey: Journey) -> None:
    source = klaviyo(reports=["metrics", "events"])
    for _ in range(2):
        journey.server.clear_requests()
        into = pipeline(dev_mode=True)
        into.run(source)
        assert any(f"greater-or-equal(datetime,{START:%Y-%m-%d}" in text for text in filters(journey))
        assert journey.ids("events", dataset=into.dataset_name) == events_of(journey)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG + "[sources.klaviyo.data_writer]\nbuffer_max_items = 7\nfile_max_items = 20\n"
        '[sources.klaviyo.schema_contract]\ncolumns = "evolve"\n'
        "[sources.klaviyo.normalize.parquet_normalizer]\nadd_dlt_load_id = false\n"
        "[sources.klaviyo.extract]\nworkers = 2\n"
        "[sources.klaviyo.events.data_writer]\nbuffer_max_items = 9\n"
    ],
    ids=["tables"],
)
def test_dlts_own_settings_of_a_source_pass(journey: Journey, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "data_writer" in config
    monkeypatch.setattr(load_source, "TUNING", Tuning(table_rows=10))
    into = pipeline()
    into.run(klaviyo(reports=["events"], split_by="day"))
    assert journey.ids("events") == events_of(journey)
    # It was dlt that read them.
    trace: Any = into.last_trace
    (metrics,) = trace.last_extract_info.metrics.values()
    assert len([job for job in metrics[0]["job_metrics"] if job.startswith("events.")]) > 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SOURCES__KLAVIYO__DATA_WRITER__BUFFER_MAX_ITEMS", "11"),
        ("SOURCES__KLAVIYO__SCHEMA_CONTRACT__COLUMNS", "evolve"),
        ("SOURCES__KLAVIYO__SCHEMA_CONTRACT", "evolve"),
        ("SOURCES__KLAVIYO__NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID", "true"),
        ("SOURCES__KLAVIYO__EXTRACT__WORKERS", "3"),
        ("SOURCES__KLAVIYO__METRICS__DATA_WRITER__FILE_MAX_BYTES", "1000000"),
    ],
)
def test_dlts_own_settings_pass_from_the_environment(
    journey: Journey, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    pipeline().run(klaviyo(reports=["metrics"]))
    assert len(journey.ids("metrics")) == 3


def test_a_pipeline_goes_on_under_another_import_name(journey: Journey) -> None:
    into = pipeline()
    into.run(klaviyo(reports=["events"]))
    journey.server.clear_requests()
    into.run(import_module("dlt_klaviyo").klaviyo(reports=["events"]))
    assert filters(journey)
    assert all(f"greater-or-equal(datetime,{START:%Y-%m-%d}" not in text for text in filters(journey))
    assert journey.ids("events") == events_of(journey)


def unrelated() -> Any:
    """Somebody else's source: an Arrow table whose columns dlt is told of otherwise, and a plain one."""
    import pyarrow as pa

    @dlt.source(name="unrelated")
    def source() -> Iterator[Any]:
        yield dlt.resource(
            pa.table({"id": [1, 2], "body": ["{}", "{}"]}), name="things", columns={"body": {"data_type": "json"}}
        )

    return source()


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_an_unrelated_pipeline_in_the_same_process_is_as_dlt_leaves_it(
    journey: Journey, first: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = dict(os.environ)
    other = dlt.pipeline("other", destination=dlt.destinations.duckdb("other.duckdb"), pipelines_dir="pipelines")

    def run_ours() -> None:
        journey.load("events", "metrics", start_date=f"{START:%Y-%m-%d}")
        into = pipeline("klaviyo_code")
        into.run(klaviyo(reports=["metrics"]))

    if first == "ours":
        run_ours()
    logging.getLogger("dlt").propagate = True
    with caplog.at_level(logging.WARNING, "dlt"):
        other.run(unrelated())
    assert any("when merging arrow schema with dlt schema" in text for text in caplog.messages)
    assert "_dlt_load_id" not in other.default_schema.tables["things"]["columns"]
    loaded = Path("pipelines") / "other" / "load" / "loaded"
    assert [path for path in loaded.rglob("completed_jobs/*") if "things" in path.name]
    if first == "theirs":
        run_ours()
    assert dict(os.environ) == before
    assert logging.getLogger("dlt").filters == []


def test_a_new_field_is_named_once_in_each_run(journey: Journey, caplog: pytest.LogCaptureFixture) -> None:
    for metric in list(journey.account.records("metric")):
        journey.account.update("metric", metric["id"], {"mood": "good"})
    source = klaviyo(reports=["metrics", "lists"])
    for runs in (1, 2):
        pipeline().run(source)
        assert [text for text in caplog.messages if "does not know" in text] == [
            "metrics: Klaviyo sent a field that this version does not know: attributes.mood. It is kept in _extra."
        ] * runs
    found = journey.sql("SELECT id, _extra::VARCHAR FROM klaviyo.metrics")
    wanted = [(metric["id"], '{"attributes.mood":"good"}') for metric in journey.account.records("metric")]
    assert sorted(found) == sorted(wanted)
    assert len(found) == 3
