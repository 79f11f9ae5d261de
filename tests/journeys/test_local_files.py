"""What runs leave on this machine: how much it is, and who may read it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sources.klaviyo.load.recovery import KEPT_PACKAGES
from tests.support.journeys import FakeClock, Journey, home, small_account


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
