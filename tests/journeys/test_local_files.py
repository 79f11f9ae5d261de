"""What runs leave on this machine: how much it is, and who may read it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pyarrow as pa
import pytest
from dlt.common.storages.load_storage import LoadStorage

from sources.klaviyo.cli.main import main
from sources.klaviyo.extract.spool import Spool
from sources.klaviyo.extract.tuning import DEFAULT
from sources.klaviyo.load.recovery import KEPT_PACKAGES
from sources.klaviyo.load.sync import sync
from tests.support.journeys import KEY, FakeClock, Journey, home, small_account


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FakeClock()
    with home(tmp_path):
        made = Journey(tmp_path, small_account(clock, seed=5, tags=3), clock)
        yield made
        made.close()


def footprint(folder: Path) -> tuple[int, int]:
    """How many files there are, and how many bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files)


def test_the_folder_of_a_pipeline_stops_growing_after_some_runs(journey: Journey) -> None:
    sizes = []
    for number in range(KEPT_PACKAGES + 10):
        journey.account.add("tag", {"attributes": {"name": f"tag {number}"}})
        journey.load("tags")
        sizes.append(footprint(journey.pipelines_dir))
    loaded = journey.pipelines_dir / "klaviyo" / "load" / "loaded"
    assert len(list(loaded.iterdir())) == KEPT_PACKAGES
    files, most_bytes = sizes[KEPT_PACKAGES]
    assert [count for count, _ in sizes[KEPT_PACKAGES:]] == [files] * 10
    # The newest packages stay, and their files differ a little in size.
    assert max(size for _, size in sizes[KEPT_PACKAGES:]) < 1.02 * most_bytes
    assert sizes[KEPT_PACKAGES - 10][0] < files
    assert len(journey.ids("tags")) == KEPT_PACKAGES + 13
    # dlt's own command finds the last one.
    pipeline = journey.pipeline()
    newest = pipeline.list_completed_load_packages()[-1]
    assert pipeline.get_load_package_info(newest).state == "loaded"


def test_packages_with_failed_jobs_and_all_of_a_user_who_keeps_them_stay(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sources.klaviyo.load.recovery.KEPT_PACKAGES", 1)
    loaded = journey.pipelines_dir / "klaviyo" / "load" / "loaded"
    journey.load("tags")
    (first,) = loaded.iterdir()
    (first / "failed_jobs" / "tags.0123456789.0.parquet").write_bytes(b"")
    journey.load("tags")
    # A kill while a package was removed.
    shutil.rmtree(sorted(loaded.iterdir())[1] / "failed_jobs")
    journey.load("tags")
    assert len(list(loaded.iterdir())) == 2
    assert first.exists()
    monkeypatch.setenv("LOAD__DELETE_COMPLETED_JOBS", "false")
    journey.load("tags")
    journey.load("tags")
    assert len(list(loaded.iterdir())) == 4


# --- who may read it


def modes(*paths: Path) -> dict[str, str]:
    """Mode of each file and folder, and of what is in it."""
    found = [path for one in paths for path in (one, *one.rglob("*"))]
    return {str(path): f"{stat.S_IMODE(path.stat().st_mode):o}" for path in found}


def open_to_others(found: dict[str, str]) -> dict[str, str]:
    return {path: mode for path, mode in found.items() if not mode.endswith("00")}


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    assert os.umask(before) == 0o022


@pytest.fixture
def account(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> Journey:
    """The sandbox, configured for the command line."""
    monkeypatch.setenv("SOURCES__KLAVIYO__BASE_URL", journey.server.url)
    monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", KEY)
    monkeypatch.setenv("SOURCES__KLAVIYO__START_DATE", "2026-06-01")
    return journey


@pytest.mark.usefixtures("usual_umask")
def test_what_a_run_makes_only_its_user_may_read(account: Journey) -> None:
    warehouse, pipelines = account.folder / "warehouse.duckdb", account.folder / "made" / "pipelines"
    masks = []

    def look(*args: Any, **options: Any) -> Any:
        # What DuckDB writes beside its file, for as long as a transaction lasts, has the mode that the process sets.
        masks.append(os.umask(0o077))
        return complete(*args, **options)

    complete = LoadStorage.complete_load_package
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LoadStorage, "complete_load_package", look)
        assert main(["run", "tags", "--pipelines-dir", str(pipelines)]) == 0
    assert masks == [0o077]
    assert len(modes(pipelines)) > 10
    assert open_to_others(modes(pipelines, warehouse)) == {}


@pytest.mark.usefixtures("usual_umask")
def test_what_is_there_already_keeps_its_mode(account: Journey) -> None:
    pipelines = account.folder / "pipelines"
    pipelines.mkdir(0o755)
    duckdb.connect(str(account.folder / "warehouse.duckdb")).close()
    assert main(["run", "tags", "--pipelines-dir", str(pipelines)]) == 0
    found = modes(pipelines, account.folder / "warehouse.duckdb")
    assert set(open_to_others(found)) == {str(pipelines), str(account.folder / "warehouse.duckdb")}


@pytest.mark.usefixtures("usual_umask")
def test_a_setting_leaves_new_files_to_the_users_own_umask(account: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__KLAVIYO__PRIVATE_FILES", "false")
    pipelines = account.folder / "pipelines"
    assert main(["run", "tags", "--pipelines-dir", str(pipelines)]) == 0
    assert set(modes(pipelines, account.folder / "warehouse.duckdb").values()) == {"755", "644"}


@pytest.mark.usefixtures("usual_umask")
@pytest.mark.parametrize("private", [True, False])
def test_sync_closes_its_new_folder_and_file_and_leaves_the_process_as_it_is(account: Journey, private: bool) -> None:
    pipelines = account.folder / "pipelines"
    pipeline = dlt.pipeline("mine", destination="duckdb", dataset_name="mine", pipelines_dir=str(pipelines))
    masks = []

    def look(*args: Any, **options: Any) -> Any:
        masks.append(os.umask(0o022))
        return complete(*args, **options)

    complete = LoadStorage.complete_load_package
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LoadStorage, "complete_load_package", look)
        assert [outcome.error for outcome in sync(pipeline, reports=["tags"], private_files=private)] == [None]
    assert masks == [0o022]
    found = modes(pipelines / "mine", account.folder / "warehouse.duckdb")
    wanted = ("700", "600") if private else ("755", "644")
    assert (found[str(pipelines / "mine")], found[str(account.folder / "warehouse.duckdb")]) == wanted


def test_rows_that_wait_on_disk_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spool = Spool(pa.schema([("id", pa.string())]), ["id"], None, replace(DEFAULT, spool_bytes=1))
    spool.add(pa.table({"id": ["secret" * 100]}))
    number = spool._file.fileno()
    assert f"{stat.S_IMODE(os.fstat(number).st_mode):o}" == "600"
    spool.close()
