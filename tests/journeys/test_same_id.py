"""A record that comes twice in one run: the newer one is loaded, or the one received last."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sources.klaviyo.extract.tuning import Tuning
from tests.support.journeys import FakeClock, Journey, home, small_account

MOMENT = datetime(2026, 6, 3, 8, tzinfo=UTC)


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FakeClock()
    with home(tmp_path):
        made = Journey(tmp_path, small_account(clock, seed=3), clock)
        made.tuning = Tuning(table_rows=50, worth_loading_rows=100)
        yield made
        made.close()


def put(journey: Journey, number: int, identity: str, name: str, updated: datetime) -> None:
    """A record for the server, which those who read it may have seen before."""
    attributes = {"first_name": name, "updated": updated.isoformat(), "created": MOMENT.isoformat()}
    body = json.dumps({"type": "profile", "id": identity, "attributes": attributes}).encode()
    journey.account.stores["profile"].put({"id": f"{number:04}"}, body, int(updated.timestamp()))


@pytest.mark.parametrize("between", [0, 30, 120, 450])
@pytest.mark.parametrize("later", [timedelta(0), timedelta(days=2)], ids=["same moment", "later moment"])
def test_the_answer_received_last_wins(journey: Journey, between: int, later: timedelta) -> None:
    # On one page, on two pages of one table, in two tables, in two tables far apart.
    put(journey, 0, "twice", "first", MOMENT)
    for number in range(between):
        put(journey, 1 + number, f"other{number:04}", "other", MOMENT)
    put(journey, 1 + between, "twice", "last", MOMENT + later)
    for _ in range(2):
        journey.load("profiles", reread=True)
        assert journey.sql("SELECT first_name FROM klaviyo.profiles WHERE id = 'twice'") == [("last",)]
        assert journey.sql("SELECT count(*), count(DISTINCT id) FROM klaviyo.profiles") == [(between + 1, between + 1)]


def test_a_record_that_comes_again_and_again_is_there_once_and_all_is_covered(journey: Journey) -> None:
    for number in range(600):
        put(journey, number, "again" if number % 40 == 0 else f"other{number:04}", f"copy {number}", MOMENT)
    outcome = journey.load("profiles")["profiles"]
    assert journey.sql("SELECT first_name FROM klaviyo.profiles WHERE id = 'again'") == [("copy 560",)]
    assert journey.sql("SELECT count(*), count(DISTINCT id) FROM klaviyo.profiles") == [(586, 586)]
    assert outcome.high_water == journey.clock.now() - timedelta(seconds=60)
    assert journey.run("profiles", lookback_days=0)["profiles"].requests == 0


def test_a_run_counts_a_record_that_comes_twice_once(journey: Journey) -> None:
    for number in range(3):
        put(journey, number, "twice", f"copy {number}", MOMENT)
    assert [journey.load("profiles", extract=extract)["profiles"].rows for extract in ("incremental", "all")] == [1, 1]
