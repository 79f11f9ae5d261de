"""Two runs of one pipeline at once: the second one names the first and ends, or waits for it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import gethostname
from typing import Any

import dlt
import pytest
from dlt._workspace.cli.utils import list_local_pipelines
from dlt.pipeline.exceptions import PipelineStepFailed

from sources.klaviyo import klaviyo, sync
from sources.klaviyo.errors import PipelineBusy
from sources.klaviyo.load.turn import Turn, lock_of
from tests.support.journeys import KEY, FakeClock, Journey, home, small_account, truth_ids
from tests.support.killed import DIED, Death
from tests.support.two_runs import BUSY, PROCESSES, Command, Gate, Loop, count

# Commands take the machine's clock, so the account lives in the present too.
LAG = timedelta(seconds=60)
START = (datetime.now(UTC) - timedelta(days=40)).replace(hour=0, minute=0, second=0, microsecond=0)
HERE, THERE = ("--pipelines-dir", "pipelines"), ("--pipelines-dir", "elsewhere")


@pytest.fixture
def journey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journey]:
    clock = FakeClock(datetime.now(UTC))
    account = small_account(clock, seed=72, events=300, profiles=20, metrics=3, tags=2)
    with home(tmp_path):
        made = Journey(tmp_path, account, clock)
        monkeypatch.setenv("SOURCES__KLAVIYO__START_DATE", f"{START:%Y-%m-%d}")
        monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", KEY)
        monkeypatch.setenv("SOURCES__KLAVIYO__BASE_URL", made.server.url)
        yield made
        made.close()


@pytest.fixture
def gate(journey: Journey) -> Iterator[Gate]:
    made = Gate(journey)
    yield made
    made.open()


def running(journey: Journey, gate: Gate, *argv: str) -> Command:
    """A run that waits for its first answer."""
    gate.close()
    made = Command(journey, *argv)
    assert gate.asked.wait(60), made.said()
    return made


def in_the_account(journey: Journey) -> list[str]:
    return truth_ids(journey.account, "event", "datetime", START, journey.clock.now() - LAG)


def says(waiting: Command, text: str) -> None:
    """Wait until a command says something."""
    deadline = time.monotonic() + 60
    while text not in waiting.said():
        assert time.monotonic() < deadline, waiting.said()
        time.sleep(0.02)


def test_the_second_run_names_the_first_and_exits_3(journey: Journey, gate: Gate) -> None:
    first = running(journey, gate, "events", "tags", *HERE)
    code, said = Command(journey, "events", "tags", *HERE, "--json").ended()
    assert code == 3
    assert f'error: pipeline "klaviyo" is being run by process {first.pid} on {gethostname()}, since 20' in said
    assert "let this run wait: --wait" in said
    gate.open()
    assert first.ended()[0] == 0
    assert journey.ids("events") == in_the_account(journey)
    # The second has not even asked.
    assert journey.requested("/api/tags") == 1


def test_with_wait_both_runs_finish_one_after_the_other(journey: Journey, gate: Gate) -> None:
    first = running(journey, gate, "events", "tags", *HERE)
    second = Command(journey, "events", "tags", *HERE, "--wait")
    says(second, f'waiting: pipeline "klaviyo" is being run by process {first.pid} on {gethostname()}, since 20')
    gate.open()
    assert first.ended()[0] == 0
    code, said = second.ended()
    assert (code, said.count("waiting: ")) == (0, 1)
    assert journey.ids("events") == in_the_account(journey)
    assert journey.requested("/api/tags") == 2


def test_two_folders_and_one_duckdb_file_are_one_pipeline_too(journey: Journey, gate: Gate) -> None:
    first = running(journey, gate, "events", *HERE)
    code, said = Command(journey, "events", *THERE).ended()
    assert code == 3
    assert f'pipeline "klaviyo" is being run by process {first.pid} on' in said
    second = Command(journey, "events", *THERE, "--wait")
    says(second, "waiting: ")
    gate.open()
    assert (first.ended()[0], second.ended()[0]) == (0, 0)
    assert journey.ids("events") == in_the_account(journey)


def test_a_killed_run_leaves_the_pipeline_free_at_once(journey: Journey, gate: Gate) -> None:
    first = running(journey, gate, "events", *HERE)
    first.kill()
    gate.open()
    code, said = Command(journey, "events", *HERE).ended()
    assert (code, "waiting" in said) == (0, False)
    assert journey.ids("events") == in_the_account(journey)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_waits_can_be_stopped(journey: Journey, number: signal.Signals, code: int) -> None:
    with Turn("klaviyo", "pipelines"):
        second = Command(journey, "events", *HERE, "--wait")
        says(second, "waiting: ")
        os.kill(second.pid or 0, number)
        assert second.ended()[0] == code
    assert journey.server.requests == []


def test_of_ten_processes_at_once_one_runs_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    processes = [PROCESSES.Process(target=count, args=(tmp_path,)) for _ in range(10)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 10
    assert (tmp_path / "number").read_text() == "10"


def test_sync_is_refused_or_waits(journey: Journey) -> None:
    used, outcomes = journey.pipeline(), list[Any]()
    with Turn("klaviyo", "pipelines"):
        with pytest.raises(PipelineBusy, match=rf"is being run by process {os.getpid()} on "):
            sync(used, reports=["events"])
        waiting = threading.Thread(target=lambda: outcomes.extend(sync(used, wait=True, reports=["events"])))
        waiting.start()
        waiting.join(0.3)
        assert journey.server.requests == []
    waiting.join()
    assert [(outcome.report, outcome.error, outcome.loaded) for outcome in outcomes] == [("events", None, True)]
    assert journey.ids("events") == in_the_account(journey)


def test_whoever_opens_the_pipeline_leaves_the_work_in_hand_of_a_run_alone(journey: Journey) -> None:
    journey.load("tags")
    work = journey.pipelines_dir / "klaviyo" / "normalize" / "0123456789abcdef"
    work.mkdir()
    with Turn("klaviyo", "pipelines"):
        # As the command `plan` does. Twice, since a process may.
        journey.pipeline()
        journey.pipeline()
        assert work.exists()
    journey.pipeline()
    assert not work.exists()


def test_a_plan_that_mends_the_folder_does_not_turn_a_run_away(journey: Journey) -> None:
    lock = lock_of(journey.pipelines_dir / "klaviyo")
    assert lock.take(None)
    giving_back = threading.Timer(0.3, lock.release)
    giving_back.start()
    with Turn("klaviyo", "pipelines"):
        giving_back.join()


def test_the_file_of_the_lock_is_no_pipeline_to_dlt(journey: Journey) -> None:
    journey.load("tags")
    assert (journey.pipelines_dir / "klaviyo.lock").exists()
    _, _, found = list_local_pipelines(str(journey.pipelines_dir))
    assert found == ["klaviyo"]


# --- what a run left in its folder, and another folder's run since

#: All is there to be loaded, and nothing of it is.
NORMALIZED: Death = ("normalized", False, 1)


def changed(journey: Journey) -> str:
    """A profile whose name is "Older", and which the next run reads."""
    profile = str(next(iter(journey.account.records("profile")))["id"])
    journey.account.update("profile", profile, {"first_name": "Older"})
    journey.clock.forward(minutes=5)
    return profile


def test_what_a_killed_run_left_in_its_folder_does_not_undo_a_later_run_of_another_folder(journey: Journey) -> None:
    flags = {"start_date": f"{START:%Y-%m-%d}", "reports": ["profiles", "events"], "lookback_days": 0}
    profile = changed(journey)
    assert Loop(journey, "pipelines", flags, death=NORMALIZED).ended() == DIED
    journey.account.update("profile", profile, {"first_name": "Newer"})
    journey.clock.forward(minutes=5)
    assert Loop(journey, "elsewhere", flags).ended() == 0
    journey.clock.forward(minutes=5)
    assert Loop(journey, "pipelines", flags).ended() == 0
    assert journey.sql(f"SELECT first_name FROM klaviyo.profiles WHERE id = '{profile}'") == [("Newer",)]
    assert journey.ids("events") == in_the_account(journey)


def test_what_a_killed_run_left_in_its_folder_is_loaded_if_nobody_was_there_since(journey: Journey) -> None:
    flags = {"start_date": f"{START:%Y-%m-%d}", "reports": ["events"]}
    assert Loop(journey, "pipelines", flags, death=NORMALIZED).ended() == DIED
    # Somebody who is turned away changes nothing.
    with Turn("klaviyo", "pipelines"):
        assert Loop(journey, "pipelines", flags).ended() == BUSY
    journey.server.clear_requests()
    assert Loop(journey, "pipelines", flags).ended() == 0
    assert journey.ids("events") == in_the_account(journey)
    (request,) = journey.server.requests
    assert "greater-or-equal(datetime," in request.query["filter"]


# --- `pipeline.run(klaviyo())`: from the first report that it reads until it has ended


def test_a_plain_run_has_the_pipeline_until_it_is_loaded(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    used = journey.pipeline()
    seen: list[str] = []

    def observed(name: str) -> Any:
        step = getattr(used, name)

        def observing(*args: Any, **options: Any) -> Any:
            with pytest.raises(PipelineBusy, match=rf"process {os.getpid()} on "):
                Turn("klaviyo", "pipelines").__enter__()
            seen.append(name)
            return step(*args, **options)

        return observing

    with monkeypatch.context() as patch:
        for name in ("normalize", "load"):
            patch.setattr(used, name, observed(name))
        # Two sources of ours in one run.
        used.run([klaviyo(reports=["events"]), klaviyo(reports=["tags"])])
    assert seen == ["normalize", "load"]
    with Turn("klaviyo", "pipelines"):
        pass
    assert journey.ids("events") == in_the_account(journey)
    # And again.
    used.run(klaviyo(reports=["events"]))
    assert journey.ids("events") == in_the_account(journey)


def test_a_plain_run_that_fails_gives_the_pipeline_back(journey: Journey) -> None:
    journey.server.faults.add(path="/api/tags", kind="status", status=403, times=1)
    used = journey.pipeline()
    with pytest.raises(PipelineStepFailed):
        used.run(klaviyo(reports=["tags"]))
    with Turn("klaviyo", "pipelines"):
        pass
    used.run(klaviyo(reports=["tags"]))
    assert len(journey.ids("tags")) == 2


def test_a_plain_run_is_refused_while_another_run_has_the_pipeline(journey: Journey) -> None:
    used = journey.pipeline()
    with Turn("klaviyo", "pipelines"):
        with pytest.raises(PipelineStepFailed) as failed:
            used.run(klaviyo(reports=["tags"]))
        assert any(isinstance(cause, PipelineBusy) for cause in causes(failed.value))
    assert journey.server.requests == []
    used.run(klaviyo(reports=["tags"]))
    assert len(journey.ids("tags")) == 2


def test_rows_that_are_looked_at_without_a_run_take_nothing(journey: Journey) -> None:
    used = dlt.pipeline("klaviyo", destination="duckdb", pipelines_dir="pipelines")
    assert used.is_active
    with Turn("klaviyo", "pipelines"):
        assert sum(table.num_rows for table in klaviyo(reports=["tags"]).tags) == 2


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
