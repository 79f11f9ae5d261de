"""Files of dlt's working folder that are cut off, emptied or overwritten: the next run rebuilds the folder, and is exact.

The folders are those of runs that died at steps which between them leave every kind of file behind.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dlt
import pytest

from sources.klaviyo.load.recovery import heal
from sources.klaviyo.load.sync import sync
from tests.support import truth
from tests.support.journeys import KEY, FakeClock, Journey, home, small_account
from tests.support.killed import DIED, Death, work

START = datetime(2026, 4, 1, tzinfo=UTC)
LAG = timedelta(seconds=60)
REPORTS = ("events", "profiles", "tags", "list_profiles")
FLAGS: dict[str, Any] = {"start_date": "2026-04-01", "reports": list(REPORTS), "lookback_days": 3, "split_by": "week"}
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.support.killed"])


def cut_off(path: Path) -> bytes:
    whole = path.read_bytes()
    return whole[: len(whole) // 2]


def emptied(path: Path) -> bytes:
    return b""


def overwritten(path: Path) -> bytes:
    return b"\xfe\x00garbage"[: max(1, path.stat().st_size)]


def zeroed(path: Path) -> bytes:
    return bytes(path.stat().st_size)


DAMAGES: list[Callable[[Path], bytes]] = [cut_off, emptied, overwritten, zeroed]
#: Where a run dies, None for one that ends well: which files are there to be damaged.
FOLDERS: dict[str, Death | None] = {
    "whole": None,
    "extracted": ("extracted", False, 2),
    "normalized": ("schema updated", True, 2),
    "appending": ("job marked", True, 1, r"^events\..*parquet"),
    "merging": ("job marked", True, 1, r"^events\..*sql"),
    "marked": ("job completed", True, 1, r"^profiles\..*parquet"),
}


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FakeClock()
    account = small_account(clock, seed=81, events=120, profiles=30, lists=2, tags=2, metrics=2)
    with home(tmp_path):
        made = Journey(tmp_path, account, clock)
        yield made
        made.close()


def exact(journey: Journey) -> None:
    end = journey.clock.now() - LAG
    for report in REPORTS:
        where = "_dlt_valid_to IS NULL" if report in truth.MEMBERS else "true"
        wanted = truth.expected(journey.account, report, START, end)
        assert truth.differences(truth.loaded(journey.folder, report, where), wanted) == [], report


def die(journey: Journey, death: Death | None) -> None:
    """A run that dies; or a whole one."""
    flags = FLAGS | {"reread": death == FOLDERS["merging"]}
    process = PROCESSES.Process(target=work, args=(journey.folder, journey.server.url, journey.clock, flags, death))
    process.start()
    process.join()
    assert process.exitcode == (0 if death is None else DIED)


def kind(path: Path, working_dir: Path) -> str:
    """A file's place in the folder, without what differs from run to run."""
    place = re.sub(r"\d{10}\.\d+", "ID", str(path.relative_to(working_dir)))
    return re.sub(r"\.[0-9a-f]{10}\.\d+", "", place)


def left_behind(journey: Journey, folder: str) -> dict[str, Path]:
    """Run until the death; the files that are left, by their place."""
    if folder == "merging":
        journey.load(**FLAGS)
    die(journey, FOLDERS[folder])
    working_dir = journey.pipelines_dir / "klaviyo"
    files = {kind(path, working_dir): path for path in sorted(working_dir.rglob("*")) if path.is_file()}
    assert {"state.json", "normalize/.version"} <= set(files)
    for name in ("pipelines", "warehouse.duckdb"):
        source, copy = journey.folder / name, journey.folder / f"left_{name}"
        if source.is_dir():
            shutil.copytree(source, copy)
        elif source.exists():
            shutil.copy(source, copy)
    return files


def put_back(journey: Journey) -> None:
    """The folder and the warehouse as the death left them."""
    shutil.rmtree(journey.pipelines_dir)
    shutil.copytree(journey.folder / "left_pipelines", journey.pipelines_dir)
    (journey.folder / "warehouse.duckdb").unlink(missing_ok=True)
    if (journey.folder / "left_warehouse.duckdb").exists():
        shutil.copy(journey.folder / "left_warehouse.duckdb", journey.folder / "warehouse.duckdb")


def spoil(path: Path, damage: Callable[[Path], bytes]) -> None:
    data = damage(path)
    # Some files are links to the same data.
    path.unlink()
    path.write_bytes(data)


def is_never_read(name: str) -> bool:
    """Files that dlt does not need again, those that only have to be there, and statements, which are written anew."""
    return name in ("trace.pickle", "staging_is_empty") or "/loaded/" in name or name.endswith(".sql")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines about damage."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "klaviyo" and "damaged" in record.getMessage()
    ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_file_of_dlts_that_is_damaged_is_noticed_and_the_next_run_makes_it_good(
    journey: Journey, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    files = left_behind(journey, folder)
    working_dir = journey.pipelines_dir / "klaviyo"
    for number, (name, path) in enumerate(files.items()):
        for damage in DAMAGES:
            put_back(journey)
            spoil(path, damage)
            caplog.clear()
            heal(working_dir)
            lines = said(caplog)
            assert len(lines) == (0 if is_never_read(name) else 1), (name, damage, lines)
            assert is_never_read(name) or path.name in lines[0]
        # A whole run takes longer, so each file has another kind of damage; with KLAVIYO_KILLS it has all.
        for damage in DAMAGES if "KLAVIYO_KILLS" in os.environ else [DAMAGES[number % len(DAMAGES)]]:
            put_back(journey)
            spoil(path, damage)
            journey.load(**FLAGS)
            exact(journey)
    caplog.clear()
    journey.load(**FLAGS)
    exact(journey)
    assert said(caplog) == []


def test_the_warehouse_of_a_first_run_elsewhere_is_found_again(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    journey.load("tags")
    elsewhere = journey.folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for name in ("state.json", "schemas/klaviyo.schema.json"):
        spoil(journey.pipelines_dir / "klaviyo" / name, emptied)
        made = journey.account.add("tag", {"attributes": {"name": name}})
        journey.load("tags")
        assert made in journey.ids("tags")
    assert list(elsewhere.iterdir()) == []


def test_a_damaged_folder_with_a_package_of_another_source_is_kept_aside(
    journey: Journey, caplog: pytest.LogCaptureFixture
) -> None:
    journey.load("tags")
    working_dir = journey.pipelines_dir / "klaviyo"
    other = dlt.pipeline("klaviyo", pipelines_dir=str(journey.pipelines_dir), destination="duckdb")
    other.extract([{"once": 1}], table_name="orders", schema=dlt.Schema("shop"))
    spoil(working_dir / "state.json", cut_off)
    journey.load("tags")
    (line,) = said(caplog)
    (aside,) = journey.pipelines_dir.glob("klaviyo.damaged-*")
    assert str(aside) in line
    assert len(list(aside.rglob("orders.*"))) == 1
    assert len(journey.ids("tags")) == 2


def test_sync_rebuilds_a_folder_that_its_pipeline_has_read_already(
    journey: Journey, caplog: pytest.LogCaptureFixture
) -> None:
    def load() -> None:
        pipeline = dlt.pipeline(
            "mine", pipelines_dir=str(journey.pipelines_dir), destination="duckdb", dataset_name="klaviyo"
        )
        if "mine" not in damaged:
            spoil(journey.pipelines_dir / "mine" / "schemas" / "klaviyo.schema.json", cut_off)
            damaged.append("mine")
        settings: dict[str, Any] = {"api_key": KEY, "base_url": journey.server.url, "reports": ["tags", "lists"]}
        assert [outcome.error for outcome in sync(pipeline, **settings, start_date="2026-04-01")] == [None, None]
        assert pipeline.dataset_name == "klaviyo"
        with pipeline.sql_client() as client:
            found = client.execute_sql("SELECT id FROM tags ORDER BY id") or []
        assert [row[0] for row in found] == sorted(record["id"] for record in journey.account.records("tag"))

    damaged = ["mine"]
    load()
    damaged.clear()
    journey.account.add("tag", {"attributes": {"name": "another"}})
    load()
    assert len(said(caplog)) == 1
    load()
    assert len(said(caplog)) == 1
