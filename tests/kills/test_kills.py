"""SIGKILL at random moments of the run loop, again and again: the tables are exact all the same.

`KLAVIYO_KILLS=80 pytest tests/kills/test_kills.py` kills that often in each test; the seed is in the name of the test.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sandbox import Account
from tests.support import truth
from tests.support.journeys import NOW, FakeClock, Journey, home, small_account
from tests.support.killed import DIED, PROCESSES, STEPS, TUNING, Death, work

MANY = "KLAVIYO_KILLS" in os.environ
KILLS = int(os.environ.get("KLAVIYO_KILLS", "6"))
START = datetime(2026, 4, 1, tzinfo=UTC)
LAG = timedelta(seconds=60)
REPORTS = ("events", "profiles", "tags", "lists", "list_profiles")
FLAGS: dict[str, Any] = {"start_date": "2026-04-01", "reports": list(REPORTS), "lookback_days": 3, "split_by": "week"}


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FakeClock()
    account = small_account(clock, seed=81, events=300, profiles=60, lists=3, metrics=3, tags=4)
    with home(tmp_path):
        made = Journey(tmp_path, account, clock, latency_s=0.002)
        yield made
        made.close()


#: Where a death was seen to wedge every later run, or to load rows twice: always tried; the others with KLAVIYO_KILLS.
WORST: list[Death] = [
    ("normalized", False, 1),
    ("job marked", True, 1, r"^tags\..*parquet"),
    ("job marked", True, 1, r"^list_profiles\..*parquet"),
    ("load recorded", False, 1),
    ("package completed", False, 1),
    ("state saved", True, 2),
]
DEATHS: list[Death] = WORST + [
    (step, before, nth)
    for step in STEPS
    for before in (True, False)
    for nth in ((1, 2, 3, 4, 5, 6) if step.startswith("job") else (1, 2))
    if MANY
]


class Reaper:
    """Starts runs and kills them."""

    def __init__(self, journey: Journey, seed: int, wipes: bool) -> None:
        self._journey = journey
        self._random = Random(seed)
        self._wipes = wipes
        self._longest_s = 3.0

    def kill(self, times: int) -> None:
        """Kill so many runs, each at a random moment."""
        journey, kills, attempts = self._journey, 0, 0
        while kills < times and attempts < 4 * times:
            attempts += 1
            process = PROCESSES.Process(target=work, args=(journey.folder, journey.server.url, journey.clock, FLAGS))
            process.start()
            process.join(self._random.uniform(0.02, self._longest_s))
            if process.is_alive():
                process.kill()
                kills += 1
            else:
                # It was through before its moment came; the next moments come sooner.
                self._longest_s = max(0.3, self._longest_s * 0.7)
                assert process.exitcode == 0
            process.join()
            if self._wipes and self._random.random() < 0.5:
                shutil.rmtree(journey.pipelines_dir, ignore_errors=True)
        assert kills


def exact(journey: Journey) -> None:
    """Every row of the account is there, once, as it is."""
    end = journey.clock.now() - LAG
    for report in REPORTS:
        where = "_dlt_valid_to IS NULL" if report in truth.MEMBERS else "true"
        wanted = truth.expected(journey.account, report, START, end)
        assert truth.differences(truth.loaded(journey.folder, report, where), wanted) == [], report


@pytest.mark.parametrize("wipes", [False, True], ids=["folder-kept", "folder-wiped"])
def test_tables_and_history_are_exact_after_kills_at_random_moments(journey: Journey, wipes: bool) -> None:
    reaper = Reaper(journey, seed=7 + wipes, wipes=wipes)
    account = journey.account
    reaper.kill(KILLS // 2)
    journey.load(**FLAGS)
    exact(journey)
    members = truth.expected(account, "list_profiles", START, NOW)
    assert journey.sql("SELECT count(*) FROM klaviyo.list_profiles") == [(len(members),)]

    # Then some of everything changes, and half of the kills come while it is loaded.
    journey.clock.forward(days=2)
    large = [record["id"] for record in account.records("list")][1]
    leavers = list(account.members("list", large))[:9]
    joiner = next(r["id"] for r in account.records("profile") if r["id"] not in account.members("list", large))
    for profile in leavers:
        account.leave("list", large, profile)
    account.join("list", large, joiner)
    for hours in range(60):
        account.add("event", {"attributes": {"datetime": journey.clock.now() - timedelta(hours=hours)}})
    for profile in journey.ids("profiles")[:20]:
        account.update("profile", profile, {"first_name": "Changed"})
    account.remove("tag", next(account.records("tag"))["id"])
    journey.clock.forward(minutes=5)
    reaper.kill(KILLS - KILLS // 2)
    journey.load(**FLAGS)
    exact(journey)
    # The history has one period a membership, closed for those who left and for them alone.
    closed = journey.sql("SELECT profile_id FROM klaviyo.list_profiles WHERE _dlt_valid_to IS NOT NULL")
    assert sorted(profile for (profile,) in closed) == sorted(leavers)
    assert journey.sql("SELECT count(*) FROM klaviyo.list_profiles") == [(len(members) + 1,)]
    journey.clock.forward(minutes=5)
    before = {report: journey.rows(report) for report in REPORTS}
    journey.load(**FLAGS)
    assert {report: journey.rows(report) for report in REPORTS} == before


def change_something(journey: Journey) -> None:
    """New events, a changed profile, a new tag, and somebody else on a list: a job for each kind of table."""
    account = journey.account
    for seconds in range(30):
        account.add("event", {"attributes": {"datetime": journey.clock.now() - timedelta(seconds=seconds)}})
    account.update("profile", journey.ids("profiles")[0], {"title": f"since {journey.clock.now()}"})
    account.add("tag", {"attributes": {"name": "another"}})
    large = [record["id"] for record in account.records("list")][1]
    members = account.members("list", large)
    account.leave("list", large, next(iter(members)))
    account.join("list", large, next(r["id"] for r in account.records("profile") if r["id"] not in members))
    journey.clock.forward(minutes=5)


def test_a_death_at_any_step_of_a_load_is_made_good_by_the_next_run(journey: Journey) -> None:
    journey.load(**FLAGS)
    ((members,),) = journey.sql("SELECT count(*) FROM klaviyo.list_profiles")
    died = 0
    for number, death in enumerate(DEATHS, 1):
        change_something(journey)
        process = PROCESSES.Process(target=work, args=(journey.folder, journey.server.url, journey.clock, FLAGS, death))
        process.start()
        process.join()
        # Not every step is taken so often.
        assert process.exitcode in (DIED, 0), death
        died += process.exitcode == DIED
        # A file of a schema that was saved by half.
        schemas = journey.pipelines_dir / "klaviyo" / "schemas"
        (schemas / "0123456789abcdef").write_text('{"name":')
        journey.load(**FLAGS)
        exact(journey)
        # One more period each time, and none twice.
        assert journey.sql("SELECT count(*) FROM klaviyo.list_profiles") == [(members + number,)], death
    assert died >= len(WORST)


#: Where the second package of the first run has tables that the first one had not.
FIRST: list[Death] = [
    ("extracted", before, nth)
    for before, nth in ((False, 2), *(((True, 1), (False, 1), (True, 2), (False, 3)) if MANY else ()))
]


@pytest.mark.parametrize("death", FIRST, ids=str)
def test_a_death_in_the_first_run_leaves_no_table_that_no_later_run_knows(journey: Journey, death: Death) -> None:
    process = PROCESSES.Process(target=work, args=(journey.folder, journey.server.url, journey.clock, FLAGS, death))
    process.start()
    process.join()
    assert process.exitcode in (DIED, 0)
    journey.load(**FLAGS)
    exact(journey)


#: Around the job that appends, and with the folder of what was to be taken back kept or wiped.
APPENDING: list[Death] = [
    ("job started", False, 1, r"^events\..*parquet"),
    ("job marked", True, 1, r"^events\..*parquet"),
    ("job marked", False, 1, r"^events\..*parquet"),
    ("job completed", False, 1, r"^events\..*parquet"),
    ("load recorded", True, 1),
]


@pytest.mark.parametrize("wipes", [False, True], ids=["folder-kept", "folder-wiped"])
def test_events_that_were_appended_are_there_once_after_a_death_at_any_step(journey: Journey, wipes: bool) -> None:
    # Each run reads an earlier week, of which nothing was ever loaded.
    flags = FLAGS | {"lookback_days": 0, "split_by": "day", "reports": ["events", "tags"]}
    start, died = datetime(2026, 6, 15, tzinfo=UTC), 0
    journey.load(**flags | {"start_date": start})
    deaths = APPENDING + [death for death in DEATHS if death not in WORST]
    for death in deaths:
        start -= timedelta(days=9)
        flags["start_date"] = start
        for hours in range(200):
            journey.account.add("event", {"attributes": {"datetime": start + timedelta(hours=hours)}})
        process = PROCESSES.Process(target=work, args=(journey.folder, journey.server.url, journey.clock, flags, death))
        process.start()
        process.join()
        assert process.exitcode in (DIED, 0), death
        died += process.exitcode == DIED
        if wipes:
            shutil.rmtree(journey.pipelines_dir)
        journey.load(**flags)
        wanted = truth.expected(journey.account, "events", start, journey.clock.now() - LAG)
        assert truth.differences(truth.loaded(journey.folder, "events", "true"), wanted) == [], death
    assert died >= len(APPENDING)


@pytest.mark.parametrize("again", [False, True], ids=["appended", "merged"])
def test_a_table_in_several_files_is_loaded_once_after_a_death_between_them(journey: Journey, again: bool) -> None:
    flags = FLAGS | {"reports": ["events"], "reread": again}
    if again:
        journey.load(**flags)
    death: Death = ("job marked", True, 2, r"^events\..*parquet")
    config = "[data_writer]\nfile_max_items = 20\n"
    process = PROCESSES.Process(
        target=work, args=(journey.folder, journey.server.url, journey.clock, flags, death, config)
    )
    process.start()
    process.join()
    assert process.exitcode == DIED
    journey.load(**flags)
    wanted = truth.expected(journey.account, "events", START, journey.clock.now() - LAG)
    assert truth.differences(truth.loaded(journey.folder, "events", "true"), wanted) == []


#: Around the load packages of a new definition: those that stage rows, the one that replaces the table, and the one
#: that deletes what was staged.
STAGING: list[Death] = [("load recorded", True, 2)]
REPLACING: list[Death] = [
    ("job marked", True, 1, r"^metric_aggregates\..*parquet"),
    ("job completed", False, 1, r"^metric_aggregates\..*sql"),
]
DELETING: list[Death] = [("job marked", True, 3, r"^metric_aggregates__next\..*parquet")]
REDEFINING: list[Death] = [*STAGING, *REPLACING, *DELETING, *(death for death in DEATHS if death not in WORST)]
#: Definitions of one report. By the hour the rows come in several load packages.
DEFINITIONS: dict[str, dict[str, Any]] = {
    "hour": {"interval": "hour", "start_date": "2026-06-08"},
    "week": {"interval": "week", "measurements": ["count"]},
    "month": {"interval": "month"},
}


class FastClock(FakeClock):
    """The runs between the deaths need not wait for the rate limits."""

    speed = 4000


def defined(interval: str) -> dict[str, Any]:
    own = {"metrics": ["Placed Order", "Opened Email"], **DEFINITIONS[interval]}
    return {"reports": ["metric_aggregates"], "start_date": "2026-05-01", "metric_aggregates": own}


def aggregates(journey: Journey, dataset: str = "klaviyo") -> list[Any]:
    """All rows, without when they were read."""
    columns = "COLUMNS(c -> c NOT IN ('_dlt_load_id', 'observed_at'))::VARCHAR"
    return journey.sql(f"SELECT {columns} FROM {dataset}.metric_aggregates ORDER BY ALL")


@pytest.mark.parametrize("wipes", [False, True], ids=["folder-kept", "folder-wiped"])
def test_a_table_holds_one_definition_and_all_of_it_after_a_death_at_any_step(tmp_path: Path, wipes: bool) -> None:
    clock = FastClock()
    account = Account(seed=7, now=clock.now, profiles=20, events=900, campaigns=4, flows=2, history_days=60)
    with home(tmp_path):
        journey = Journey(tmp_path, account, clock)
        wanted = {}
        for interval in DEFINITIONS:
            journey.load(pipeline=f"fresh_{interval}", **defined(interval))
            wanted[interval] = aggregates(journey, f"fresh_{interval}")
        journey.tuning = TUNING
        journey.load(**defined("month"))
        died, held, seen = 0, "month", set()
        for number, death in enumerate(REDEFINING):
            new = "hour" if held != "hour" else "week"
            process = PROCESSES.Process(
                target=work, args=(journey.folder, journey.server.url, clock, defined(new), death)
            )
            process.start()
            process.join()
            assert process.exitcode in (DIED, 0), death
            died += process.exitcode == DIED
            # Whenever somebody looks, there is one definition, whole.
            found = aggregates(journey)
            assert found in (wanted[held], wanted[new]), death
            seen.add(found == wanted[new])
            if wipes:
                shutil.rmtree(journey.pipelines_dir)
            # On with the new definition, back to the old one, or to another one.
            then = (new, held, next(one for one in DEFINITIONS if one not in (new, held)))[number % 3]
            journey.load(**defined(then))
            assert aggregates(journey) == wanted[then], (death, held, new, then)
            if "metric_aggregates__next" in journey.tables():
                assert journey.sql("SELECT count(*) FROM klaviyo.metric_aggregates__next") == [(0,)], death
            held = then
        journey.close()
    assert died >= len(REDEFINING) // 2
    assert seen == {True, False}
