"""Files and folders that cannot be written: one plain error that says which, before any request where possible."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dlt.common.storages.file_storage import FileStorage

from sources.klaviyo.cli.main import main
from sources.klaviyo.cli.messages import explain
from sources.klaviyo.errors import StorageError
from sources.klaviyo.load import local_files
from tests.support.journeys import KEY, FakeClock, Journey, home, small_account

ADVICE = "Make room, or give this user the right to write there; "


@pytest.fixture
def journey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journey]:
    """An account, configured for the command line."""
    clock = FakeClock()
    with home(tmp_path):
        made = Journey(tmp_path, small_account(clock, seed=5, tags=3), clock)
        monkeypatch.setenv("SOURCES__KLAVIYO__BASE_URL", made.server.url)
        monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", KEY)
        yield made
        made.close()


@contextmanager
def nobody() -> Iterator[None]:
    """Root may write everywhere: go on as a user who may not."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def fails(journey: Journey, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """What a run says that fails before it asks Klaviyo for anything."""
    capsys.readouterr()
    assert main(["run", "tags", "--pipelines-dir", str(journey.pipelines_dir), *options]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert journey.server.requests == []
    message, advice = said[said.index("error: ") :].splitlines()
    assert advice.startswith(ADVICE)
    return message


def test_a_working_folder_that_lies_in_a_file(journey: Journey, capsys: pytest.CaptureFixture[str]) -> None:
    file = journey.folder / "file"
    file.touch()
    assert (
        fails(journey, capsys, "--pipelines-dir", str(file / "x"))
        == f"error: {file / 'x'} cannot be written: Not a directory"
    )


def test_a_warehouse_that_is_a_folder(journey: Journey, capsys: pytest.CaptureFixture[str]) -> None:
    warehouse = journey.folder / "warehouse.duckdb"
    warehouse.mkdir()
    assert fails(journey, capsys) == f"error: {warehouse} cannot be written: it is a folder"


def test_a_warehouse_in_a_folder_that_is_not_there(
    journey: Journey, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = journey.folder / "nowhere" / "w.duckdb"
    monkeypatch.setenv("DESTINATION__WAREHOUSE__CREDENTIALS", f"duckdb:///{file}")
    assert fails(journey, capsys) == f"error: {file} cannot be written: there is no folder {file.parent}"


def test_a_folder_and_a_file_of_somebody_else(tmp_path: Path) -> None:
    # Not in pytest's folder: another user may not even enter it.
    with tempfile.TemporaryDirectory() as name:
        folder, file = Path(name), Path(name, "w.duckdb")
        file.touch(0o444)
        folder.chmod(0o555)
        with nobody():
            with pytest.raises(StorageError, match=f"^{folder} cannot be written: Permission denied$"):
                local_files.check_folder(folder / "pipelines" / "klaviyo")
            with pytest.raises(StorageError, match=f"^{file} cannot be written: Permission denied$"):
                local_files.check_file(file)
        folder.chmod(0o755)


def full(*args: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_at_the_start(
    journey: Journey, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", full)
    assert fails(journey, capsys) == f"error: {journey.pipelines_dir} cannot be written: No space left on device"


def test_a_disk_that_is_full_in_the_middle_and_the_next_run_goes_on(
    journey: Journey, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        save = FileStorage.save

        def once_loaded(storage: FileStorage, path: str, data: Any) -> str:
            if "package_completed" in path:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            return str(save(storage, path, data))

        patch.setattr(FileStorage, "save", once_loaded)
        assert main(["run", "tags", "--pipelines-dir", str(journey.pipelines_dir)]) == 1
    said = capsys.readouterr().err
    assert "package_completed.json cannot be written: No space left on device\n" + ADVICE in said
    assert "Traceback" not in said
    assert main(["run", "tags", "--pipelines-dir", str(journey.pipelines_dir)]) == 0
    assert len(journey.ids("tags")) == 3


def test_what_duckdb_says_of_a_full_disk_is_understood() -> None:
    words = 'Could not write all bytes to file "/data/w.duckdb": wanted=262144 wrote=0: No space left on device'
    error = duckdb.IOException(words)
    trouble = explain(error)
    assert trouble.message.startswith("/data/w.duckdb cannot be written: No space left on device\n" + ADVICE)
    assert (trouble.exit_code, trouble.foreseen) == (1, True)


def test_an_error_of_the_network_is_not_taken_for_one_of_the_disk() -> None:
    trouble = explain(ConnectionRefusedError(errno.ECONNREFUSED, "refused"))
    assert "cannot be written" not in trouble.message
