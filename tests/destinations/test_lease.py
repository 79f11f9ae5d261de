"""Runs that share no folder meet in the destination: a lease in Postgres, by the database's clock."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest

from sources.klaviyo.errors import ConfigError, LeaseLost, PipelineBusy
from sources.klaviyo.load.lease import TABLE, Lease
from sources.klaviyo.load.lock import Holder
from sources.klaviyo.load.pipeline import open_pipeline
from sources.klaviyo.load.runner import run
from tests.destinations.test_postgres import into_postgres
from tests.support.journeys import KEY, FakeClock, small_account, truth_ids
from tests.support.killed import DIED
from tests.support.postgres_journey import PostgresJourney
from tests.support.two_runs import BUSY, LOST, Command, Gate, Loop

# Commands take the machine's clock, so the account lives in the present too.
LAG = timedelta(seconds=60)
START = (datetime.now(UTC) - timedelta(days=40)).replace(hour=0, minute=0, second=0, microsecond=0)
FLAGS: dict[str, Any] = {"start_date": f"{START:%Y-%m-%d}", "reports": ["profiles", "events"], "lookback_days": 0}
INTO = ("--destination", "postgres", "--dataset", "klaviyo")
HERE, THERE = (*INTO, "--pipelines-dir", "pipelines"), (*INTO, "--pipelines-dir", "elsewhere")
SINCE = datetime(2026, 6, 30, 12, 0, 30, tzinfo=UTC)


@pytest.fixture
def journey(tmp_path: Path, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresJourney]:
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres_dsn)
    clock = FakeClock(datetime.now(UTC))
    account = small_account(clock, seed=73, events=300, profiles=20, metrics=3, tags=2)
    with into_postgres(tmp_path, account, clock) as made:
        monkeypatch.setenv("SOURCES__KLAVIYO__START_DATE", f"{START:%Y-%m-%d}")
        monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", KEY)
        monkeypatch.setenv("SOURCES__KLAVIYO__BASE_URL", made.server.url)
        yield made


@pytest.fixture
def gate(journey: PostgresJourney) -> Iterator[Gate]:
    made = Gate(journey)
    yield made
    made.open()


def running(journey: PostgresJourney, gate: Gate, *argv: str) -> Command:
    """A run that waits for its first answer."""
    gate.close()
    made = Command(journey, *argv)
    assert gate.asked.wait(60), made.said()
    return made


def load(journey: PostgresJourney, *reports: str) -> None:
    journey.load(*reports, start_date=FLAGS["start_date"])


def in_the_account(journey: PostgresJourney) -> list[str]:
    return truth_ids(journey.account, "event", "datetime", START, journey.clock.now() - LAG)


def leases(journey: PostgresJourney) -> list[tuple[str, str, bool]]:
    """Pipeline, host and whether it is given back, of all leases."""
    rows = journey.sql(f"SELECT pipeline_name, host, expires_at FROM klaviyo.{TABLE} WHERE pipeline_name <> ''")
    return [(name, host, expires_at == "") for name, host, expires_at in rows]


def lease(pipelines_dir: str, expiry_s: float, previous: Holder | None = None, host: str = "host-a") -> Lease:
    holder = Holder(f"run-of-{pipelines_dir}", 4711, host, SINCE)
    pipeline = open_pipeline("klaviyo", "postgres", pipelines_dir=pipelines_dir)
    return Lease(pipeline, holder, previous, expiry_s)


def expiry(journey: PostgresJourney) -> str:
    ((expires_at,),) = journey.sql(f"SELECT expires_at FROM klaviyo.{TABLE} WHERE pipeline_name = 'klaviyo'")
    return str(expires_at)


def until(happened: Callable[[], object]) -> None:
    """Wait until something happens."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def expire(journey: PostgresJourney) -> None:
    """Let minutes pass for the lease."""
    journey.sql(f"UPDATE klaviyo.{TABLE} SET expires_at = '2026-01-01T00:00:00+00:00' WHERE pipeline_name = 'klaviyo'")


def changed(journey: PostgresJourney) -> str:
    """A profile whose name is "Older", and which the next run reads."""
    profile = str(next(iter(journey.account.records("profile")))["id"])
    journey.account.update("profile", profile, {"first_name": "Older"})
    journey.clock.forward(minutes=5)
    return profile


# --- runs


def test_a_second_run_with_another_folder_names_the_first_or_waits(journey: PostgresJourney, gate: Gate) -> None:
    first = running(journey, gate, "events", *HERE)
    code, said = Command(journey, "events", *THERE).ended()
    assert code == 3
    assert f'error: pipeline "klaviyo" is being run by process {first.pid} on {gethostname()}, since 20' in said
    assert "its lease in the destination ends at " in said
    second = Command(journey, "events", *THERE, "--wait")
    until(lambda: "waiting: " in second.said())
    gate.open()
    assert first.ended()[0] == 0
    assert second.ended()[0] == 0
    assert journey.ids("events") == in_the_account(journey)
    assert leases(journey) == [("klaviyo", gethostname(), True)]


def test_a_killed_runs_lease_is_taken_over_at_once_where_its_folder_is_and_elsewhere_when_it_expires(
    journey: PostgresJourney, gate: Gate
) -> None:
    for same in (True, False):
        killed = running(journey, gate, "events", "--reread", *HERE)
        killed.kill()
        gate.open()
        if not same:
            code, said = Command(journey, "events", *THERE).ended()
            assert (code, f"process {killed.pid} on" in said) == (3, True)
            expire(journey)
        assert Command(journey, "events", *(HERE if same else THERE)).ended()[0] == 0
        assert journey.ids("events") == in_the_account(journey)


def test_a_suspended_run_that_was_taken_over_loads_nothing_more(journey: PostgresJourney, gate: Gate) -> None:
    profile = changed(journey)
    gate.close()
    # Renewed every ten seconds: it is not suspended while it does that, and sees soon enough that it is too late.
    suspended = Loop(journey, "pipelines", FLAGS, destination="postgres", lease_s=30)
    assert gate.asked.wait(60)
    os.kill(suspended.process.pid or 0, signal.SIGSTOP)
    gate.open()
    assert Loop(journey, "elsewhere", FLAGS, destination="postgres").ended() == BUSY
    expire(journey)
    journey.account.update("profile", profile, {"first_name": "Newer"})
    journey.clock.forward(minutes=5)
    assert Loop(journey, "elsewhere", FLAGS, destination="postgres").ended() == 0
    before = {report: journey.sql(f"SELECT * FROM klaviyo.{report} ORDER BY id") for report in FLAGS["reports"]}
    os.kill(suspended.process.pid or 0, signal.SIGCONT)
    assert suspended.ended() == LOST
    assert {report: journey.sql(f"SELECT * FROM klaviyo.{report} ORDER BY id") for report in before} == before
    assert journey.sql(f"SELECT first_name FROM klaviyo.profiles WHERE id = '{profile}'") == [("Newer",)]
    journey.clock.forward(minutes=5)
    assert Loop(journey, "pipelines", FLAGS, destination="postgres").ended() == 0
    assert journey.sql(f"SELECT first_name FROM klaviyo.profiles WHERE id = '{profile}'") == [("Newer",)]
    assert journey.ids("events") == in_the_account(journey)


def test_a_lease_that_is_lost_after_reading_keeps_the_package_from_loading(
    journey: PostgresJourney, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(journey, "tags")
    pipeline, settings = journey.pipeline(), journey.settings("events", start_date=FLAGS["start_date"])
    normalize = pipeline.normalize

    def stolen(*args: Any, **options: Any) -> Any:
        journey.sql(f"UPDATE klaviyo.{TABLE} SET run_id = 'another', pid = '12', host = 'host-b'")
        return normalize(*args, **options)

    monkeypatch.setattr(pipeline, "normalize", stolen)
    with pytest.raises(LeaseLost, match=r"did not renew its lease .* within 300 s, and process 12 on host-b, since 20"):
        run(pipeline, settings, clock=journey.clock)
    assert "events" not in journey.tables()
    expire(journey)
    load(journey, "events")
    assert journey.ids("events") == in_the_account(journey)


def test_what_a_killed_run_left_in_its_folder_does_not_undo_a_later_run_elsewhere(journey: PostgresJourney) -> None:
    profile, death = changed(journey), ("normalized", False, 1)
    assert Loop(journey, "pipelines", FLAGS, destination="postgres", death=death).ended() == DIED
    journey.account.update("profile", profile, {"first_name": "Newer"})
    journey.clock.forward(minutes=5)
    expire(journey)
    assert Loop(journey, "elsewhere", FLAGS, destination="postgres").ended() == 0
    journey.clock.forward(minutes=5)
    assert Loop(journey, "pipelines", FLAGS, destination="postgres").ended() == 0
    assert journey.sql(f"SELECT first_name FROM klaviyo.profiles WHERE id = '{profile}'") == [("Newer",)]
    assert journey.ids("events") == in_the_account(journey)


def test_a_dataset_that_somebody_dropped_is_loaded_anew(journey: PostgresJourney) -> None:
    load(journey, "events", "tags")
    journey.sql("DROP SCHEMA klaviyo CASCADE")
    load(journey, "events", "tags")
    assert journey.ids("events") == in_the_account(journey)
    assert len(journey.ids("tags")) == 2


def test_dlt_does_not_know_the_table_of_the_leases(journey: PostgresJourney) -> None:
    load(journey, "events")
    assert leases(journey) == [("klaviyo", gethostname(), True)]
    pipeline = journey.pipeline()
    pipeline.sync_destination()
    assert TABLE not in {name for schema in pipeline.schemas.values() for name in schema.tables}
    pipeline.run([], table_name="nothing", refresh="drop_sources")
    load(journey, "events")
    assert leases(journey) == [("klaviyo", gethostname(), True)]


# --- the lease alone


def test_one_has_it_until_it_expires_or_is_given_back(journey: PostgresJourney) -> None:
    first, second = lease("a", 300), lease("b", 300, host="host-b")
    assert first.take() is None
    assert first.last is None
    busy = second.take()
    assert isinstance(busy, PipelineBusy)
    assert str(busy).startswith('pipeline "klaviyo" is being run by process 4711 on host-a, since 20')
    # Nobody took it while it was expired: it is still the first one's.
    expire(journey)
    first.keep()
    assert second.take() is not None
    expire(journey)
    assert second.take() is None
    assert second.last is not None
    assert second.last.run_id == "run-of-a"
    with pytest.raises(LeaseLost, match="process 4711 on host-b, since 20"):
        first.keep()
    with second.renewed():
        assert first.take() is not None
    assert first.take() is None


def test_a_thread_renews_it(journey: PostgresJourney) -> None:
    first, second = lease("a", 0.3), lease("b", 300)
    assert first.take() is None
    expire(journey)
    with first.renewed():
        until(lambda: "2026-01-01" not in expiry(journey))
        first.raise_lost()

        def taken() -> bool:
            expire(journey)
            return second.take() is None

        until(taken)
        # The thread sees that it is gone.
        with pytest.raises(LeaseLost):
            until(first.raise_lost)


def test_who_has_the_lock_of_the_dead_runs_folder_takes_its_lease_at_once(journey: PostgresJourney) -> None:
    dead = Holder("run-of-a", 4711, "host-a", SINCE)
    assert lease("a", 300).take() is None
    assert lease("b", 300).take() is not None
    assert lease("c", 300, previous=dead).take() is None


def test_of_ten_that_ask_at_once_one_has_it(journey: PostgresJourney) -> None:
    # The table does not exist yet, nor does the dataset.
    made = [lease(f"number-{number}", 300) for number in range(10)]
    start, busy = threading.Barrier(10), list[PipelineBusy | None]()

    def ask(one: Lease) -> None:
        start.wait()
        busy.append(one.take())

    threads = [threading.Thread(target=ask, args=(one,)) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(busy) == 10
    assert busy.count(None) == 1


def test_a_table_without_the_row_that_is_the_lock_keeps_nobody_apart_and_is_refused(journey: PostgresJourney) -> None:
    assert lease("a", 300).take() is None
    journey.sql(f"DELETE FROM klaviyo.{TABLE}")
    with pytest.raises(ConfigError, match=r"_klaviyo_lease\" has lost the row that serves as a lock: drop this table"):
        lease("b", 300).take()
    journey.sql(f"DROP TABLE klaviyo.{TABLE}")
    assert lease("b", 300).take() is None


def test_a_machines_wrong_clock_does_not_matter(journey: PostgresJourney) -> None:
    # Its own time is years ago; the lease goes by the database's.
    assert lease("a", 300).take() is None
    ((now,),) = journey.sql("SELECT now()")
    left = datetime.fromisoformat(expiry(journey)) - now
    assert timedelta(seconds=240) < left < timedelta(seconds=300)
