"""What a plan goes by: the state in the destination, or what a killed run left to be loaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dlt
import duckdb
import pytest

from sources.klaviyo.load.stored_state import _stored, current_plans
from sources.klaviyo.windows import Window
from tests.support.journeys import FakeClock, Journey, home, small_account


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FakeClock()
    with home(tmp_path):
        made = Journey(tmp_path, small_account(clock, seed=5, events=50, profiles=5, metrics=3), clock)
        yield made
        made.close()


def planned(journey: Journey) -> list[Window]:
    """What a run of events without lookback would read."""
    (found,) = current_plans(journey.pipeline(), journey.settings("events", lookback_days=0), journey.clock)
    return list(found.windows)


def test_the_state_is_read_as_dlt_restores_it(journey: Journey) -> None:
    journey.load("events")
    journey.clock.forward(hours=1)
    journey.load("events")
    journey.forget()
    pipeline = journey.pipeline()
    stored = _stored(pipeline, journey.folder / "warehouse.duckdb")
    assert stored is not None
    pipeline.sync_destination()
    assert dict(stored) == {key: value for key, value in pipeline.state.items() if key != "_local"}


def test_what_a_killed_run_left_to_be_loaded_is_not_planned_again(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    journey.load("events")
    journey.clock.forward(hours=1)
    (hour,) = planned(journey)
    with monkeypatch.context() as patch:
        patch.setattr(dlt.Pipeline, "load", lambda *args, **options: sys.exit("killed"))
        with pytest.raises(SystemExit, match="killed"):
            journey.run("events")
    assert planned(journey) == []
    # It is gone with the folder, and the destination never had it.
    journey.forget()
    assert planned(journey) == [hour]


def test_a_dataset_that_somebody_dropped_is_planned_from_the_start(journey: Journey) -> None:
    whole = planned(journey)
    journey.load("events")
    assert planned(journey) == []
    with duckdb.connect(str(journey.folder / "warehouse.duckdb")) as connection:
        connection.execute("DROP SCHEMA klaviyo CASCADE")
    assert planned(journey) == whole


def test_a_plan_is_made_while_another_program_reads_the_file(journey: Journey) -> None:
    journey.load("events")
    program = (
        "import duckdb; held = duckdb.connect('warehouse.duckdb', read_only=True); print('open', flush=True); input()"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
        assert planned(journey) == []
        reader.communicate("\n")
