"""The soak in short: some scenarios of it, and that it sees a difference where there is one. `make soak` plays on."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import duckdb
import pytest

from tests.kills import soak
from tests.kills.scenario import Scenario, Tally, scenario
from tests.support import truth
from tests.support.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]


@pytest.mark.parametrize(("seed", "destination", "revision"), [(2, "duckdb", truth.NEW), (7, "postgres", truth.OLD)])
def test_tables_are_exact_after_runs_with_faults_kills_and_changes(
    tmp_path: Path, postgres_server: PostgresServer, seed: int, destination: str, revision: str
) -> None:
    tally = Tally()
    soak.play(seed, destination, revision, 4, postgres_server, tmp_path, tally)
    assert tally.runs == 5
    assert tally.faults.total() > 0
    assert tally.kills > 0


WRONG = {
    "a row is gone": ("events", "DELETE FROM klaviyo.events WHERE id = (SELECT min(id) FROM klaviyo.events)"),
    "a row is there twice": ("events", "INSERT INTO klaviyo.events FROM klaviyo.events ORDER BY id LIMIT 1"),
    "a row is of nobody": ("profiles", "INSERT INTO klaviyo.profiles BY NAME SELECT 'x' AS id, '1' AS _dlt_load_id"),
    "a value is another": (
        "profiles",
        "UPDATE klaviyo.profiles SET first_name = 'other' WHERE id = (SELECT min(id) FROM klaviyo.profiles)",
    ),
    "a membership is over": ("list_profiles", "UPDATE klaviyo.list_profiles SET _dlt_valid_to = now()"),
    "a membership has two periods": (
        "list_profiles",
        "INSERT INTO klaviyo.list_profiles SELECT * REPLACE (now()::TIMESTAMPTZ AS _dlt_valid_to) "
        "FROM klaviyo.list_profiles",
    ),
}


def test_what_is_wrong_in_a_table_is_seen(tmp_path: Path) -> None:
    with scenario(5, tmp_path, "duckdb", truth.NEW, None) as played:
        played.reports = ["events", "profiles", "list_profiles"]
        played.account.join("list", played.account.add("list", {}), played.account.add("profile", {}))
        played.account.add("event", {})
        played.clock.forward(minutes=5)
        played.finish()
        assert played.differences() == []
        whole = shutil.copy(tmp_path / "warehouse.duckdb", tmp_path / "whole.duckdb")
        for name, (report, statement) in WRONG.items():
            with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
                connection.execute(statement)
            found = played.differences()
            assert found, name
            assert {words.partition(":")[0] for words in found} == {report}, name
            shutil.copy(whole, tmp_path / "warehouse.duckdb")


def test_a_scenario_is_the_same_alone_and_among_others() -> None:
    for seed in range(1, 30):
        both = soak.choice(seed, "both", "both")
        assert soak.choice(seed, *both) == both
    assert len({soak.choice(seed, "both", "both") for seed in range(1, 30)}) == 4


def test_the_last_line_counts_what_happened() -> None:
    tally = Tally(runs=1412, kills=60, changes=7, faults=Counter({"503": 1200, "drop": 34}))
    tally.add(Tally(runs=1, kills=30, faults=Counter({"drop": 6}), mishaps=Counter({"folder wiped": 3})))
    assert soak.summary(range(5, 62), tally, 0, 360.0) == (
        "soak: seed 5..61, 57 scenarios, 1,413 runs, 1,240 faults injected (503 1,200, drop 40), 90 kills, "
        "folder wiped 3, 7 changes during runs, 0 differences, 6.0 CPU minutes: 207 faults and 15 kills a CPU minute"
    )


def command(monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    """The exit code of one scenario without faults; its folder lies in `folder`."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    arguments = ["soak", "--seed", "2", "--scenarios", "1", "--runs", "0", "--destination", "duckdb"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        soak.main()
    return int(str(ended.value.code))


def test_the_command_ends_with_the_summary(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command(monkeypatch, tmp_path) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("scenario --seed 2 --scenarios 1 --runs 0 --destination duckdb --revision 2026-")
    assert last.startswith("soak: seed 2..2, 1 scenarios, 1 runs, 0 faults injected (), 0 kills")
    assert "0 differences" in last
    assert [*tmp_path.iterdir()] == []


def test_a_difference_fails_the_command_which_names_the_seed_and_keeps_the_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(Scenario, "differences", lambda self: ["events: 3 rows instead of 4"])
    assert command(monkeypatch, tmp_path) == 1
    told = capsys.readouterr()
    assert "Different: events: 3 rows instead of 4" in told.err
    *_, failed, last = told.out.splitlines()
    (folder,) = tmp_path.iterdir()
    assert failed.startswith("FAILED: python -m tests.kills.soak --seed 2 --scenarios 1 --runs 0 --destination duckdb")
    assert failed.endswith(f"its folder is {folder}")
    assert (folder / "warehouse.duckdb").exists()
    assert "1 differences" in last
