"""The DuckDB file: JSON packed where the file can hold it, and files of another making as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dlt
import duckdb
import pytest

from sources.klaviyo.load.duckdb import SETTINGS, duckdb_file, prepare
from sources.klaviyo.load.stored_state import current_plans
from tests.support.journeys import FakeClock, Journey, home, small_account

PACKED = (
    "SELECT DISTINCT column_name FROM pragma_storage_info('klaviyo.events') WHERE compression = 'ZSTD' ORDER BY ALL"
)


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FakeClock()
    with home(tmp_path):
        made = Journey(tmp_path, small_account(clock, seed=5, events=3000, profiles=20, metrics=3), clock)
        yield made
        made.close()


def test_json_columns_of_a_new_file_are_packed_and_no_others(journey: Journey) -> None:
    journey.load("events")
    kinds = dict(
        journey.sql("SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'klaviyo'")
    )
    packed = [name for (name,) in journey.sql(PACKED)]
    assert "event_properties" in packed
    assert {kinds[name] for name in packed} == {"JSON"}


def test_a_file_that_cannot_hold_packed_columns_goes_on_as_it_is(journey: Journey) -> None:
    file = journey.folder / "warehouse.duckdb"
    duckdb.connect(str(file), config={"storage_compatibility_version": "v1.0.0"}).close()
    journey.load("events")
    journey.load("events", reread=True)
    assert journey.sql(PACKED) == []
    assert len(journey.ids("events")) == len(set(journey.ids("events"))) > 1000


def test_a_plan_makes_no_file(journey: Journey) -> None:
    assert current_plans(journey.pipeline(), journey.settings("events"))
    assert not (journey.folder / "warehouse.duckdb").exists()


def _settings(pipeline: dlt.Pipeline, *names: str) -> dict[str, str]:
    """DuckDB's settings, as a run's connections have them."""
    prepare(pipeline)
    with pipeline.sql_client() as client:
        found = client.execute_sql("SELECT name, value FROM duckdb_settings()")
    return {name: value for name, value in found or () if name in names}


def test_duckdb_loads_without_an_order_and_writes_a_bounded_part_of_the_file_anew(journey: Journey) -> None:
    found = _settings(journey.pipeline(), *SETTINGS)
    assert found == {name: str(value).lower() for name, value in SETTINGS.items()}


def test_what_the_user_says_of_duckdb_holds(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    file = journey.folder / "elsewhere.duckdb"
    monkeypatch.setenv("DESTINATION__WAREHOUSE__CREDENTIALS__DATABASE", str(file))
    monkeypatch.setenv("DESTINATION__WAREHOUSE__CREDENTIALS__GLOBAL_CONFIG", '{"max_vacuum_tasks": 7}')
    pipeline = journey.pipeline()
    found = _settings(pipeline, "max_vacuum_tasks", "write_buffer_row_group_count")
    assert found == {"max_vacuum_tasks": "7", "write_buffer_row_group_count": "1"}
    assert duckdb_file(pipeline) == file
    assert file.exists()
