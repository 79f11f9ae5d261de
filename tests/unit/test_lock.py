"""The lock on a file: one has it at a time, and the file says who."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.klaviyo.errors import PipelineBusy, StorageError
from sources.klaviyo.load import lock as lock_module
from sources.klaviyo.load.lock import FileLock, Holder
from sources.klaviyo.load.turn import Turn

ROOT = Path(__file__).resolve().parents[2]
SINCE = datetime(2026, 6, 30, 12, 0, 30, tzinfo=UTC)

#: Takes a lock and keeps it. Arguments: the file.
HOLD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from sources.klaviyo.load.lock import FileLock, Holder
lock = FileLock(Path(sys.argv[1]))
assert lock.take(Holder("run-of-another", 4711, "host-a", datetime(2026, 6, 30, 12, 0, 30, tzinfo=UTC)))
print("taken", flush=True)
"""


def holding(path: Path, program: str = HOLD + "input()") -> subprocess.Popen[str]:
    """A process that has the lock."""
    command = [sys.executable, "-c", program, str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    return process


def me() -> Holder:
    return Holder.this_process(SINCE)


def test_a_second_process_is_refused_and_told_who_has_the_lock(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "klaviyo.lock")
    with holding(tmp_path / "klaviyo.lock") as process:
        assert not lock.take(me())
        assert str(lock.holder()) == "process 4711 on host-a, since 2026-06-30 12:00:30 UTC"
        process.kill()


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "klaviyo.lock")
    with holding(tmp_path / "klaviyo.lock") as process:
        process.kill()
        process.wait()
    assert lock.take(me())
    # It did not say goodbye; what it left behind is known to be its own.
    assert lock.previous is not None
    assert lock.previous.run_id == "run-of-another"
    lock.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_child_does_not_keep_the_lock_of_its_killed_parent(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "klaviyo.lock")
    forking = (
        "import os, time\nif os.fork() == 0:\n    print('forked', os.getpid(), flush=True)\n    time.sleep(30)\ninput()"
    )
    with holding(tmp_path / "klaviyo.lock", HOLD + forking) as process:
        assert process.stdout is not None
        word, child = process.stdout.readline().split()
        assert word == "forked"
        assert not lock.take(me())
        process.kill()
        process.wait()
        try:
            assert lock.take(me())
        finally:
            os.kill(int(child), 9)
    lock.release()


def test_nobody_is_named_once_the_lock_is_given_back(tmp_path: Path) -> None:
    first, second = (FileLock(tmp_path / "klaviyo.lock") for _ in range(2))
    mine = me()
    assert first.take(mine)
    assert second.holder() == mine
    assert (mine.pid, mine.host) == (os.getpid(), gethostname())
    first.release()
    assert second.holder() is None
    assert second.take(me())
    assert second.previous == mine
    second.release()


def test_a_lock_taken_for_a_moment_leaves_the_name_of_the_last_run(tmp_path: Path) -> None:
    lock, mine = FileLock(tmp_path / "klaviyo.lock"), me()
    assert lock.take(mine)
    lock.release()
    assert lock.take(None)
    lock.release()
    assert lock.take(me())
    assert lock.previous == mine
    lock.release()


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
def test_whatever_they_do_one_has_it_and_the_file_names_that_one(steps: list[tuple[int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        locks = [FileLock(Path(folder) / "klaviyo.lock") for _ in range(4)]
        owner: int | None = None
        holder: Holder | None = None
        for number, takes in steps:
            if takes and number != owner:
                mine = me()
                assert locks[number].take(mine) is (owner is None)
                if owner is None:
                    owner, holder = number, mine
            elif not takes:
                locks[number].release()
                if number == owner:
                    owner = holder = None
            assert [lock.holder() for lock in locks] == [holder] * 4
        for lock in locks:
            lock.release()


def test_a_file_system_without_locks_is_said_and_does_not_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unsupported(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock_module, "_lock", unsupported)
    lock = FileLock(tmp_path / "klaviyo.lock")
    with caplog.at_level(logging.WARNING, "klaviyo"):
        assert lock.take(me())
    lock.release()
    assert caplog.messages == [f"{tmp_path}: this file system has no locks, so nothing keeps a second run away"]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"/file cannot be written: "):
        FileLock(tmp_path / "file" / "klaviyo.lock").take(me())


def test_a_turn_of_the_same_process_is_refused_and_does_not_wait_for_itself(tmp_path: Path) -> None:
    with Turn("klaviyo", str(tmp_path)):
        with pytest.raises(PipelineBusy, match=rf'^pipeline "klaviyo" is being run by process {os.getpid()} on '):
            Turn("klaviyo", str(tmp_path)).__enter__()
        # Another pipeline is another matter.
        with Turn("klaviyo_acme", str(tmp_path)):
            pass
    with Turn("klaviyo", str(tmp_path)):
        pass
