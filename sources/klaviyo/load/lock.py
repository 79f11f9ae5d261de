"""A lock on a file: one process at a time has it, and the file says which. The kernel frees it when the process ends.

The standard library instead of the package `filelock`: that one empties the file whenever somebody tries the lock, so
the file could not say who has it.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from socket import gethostname
from typing import Any, Self
from uuid import uuid4

from ..errors import StorageError

log = logging.getLogger("klaviyo")

#: File systems without locks, such as some network drives.
_UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}

if sys.platform == "win32":
    import msvcrt

    #: Far behind the text: nobody can read what is locked.
    _LOCKED_BYTE = 1 << 30

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@dataclass(frozen=True, slots=True)
class Holder:
    """A run that has, or had, a lock or a lease.

    Attributes:
        since: aware UTC, by the clock of its machine or, for a lease, of the database.
    """

    run_id: str
    pid: int
    host: str
    since: datetime

    @classmethod
    def this_process(cls, since: datetime) -> Self:
        """A new run of this process."""
        return cls(uuid4().hex, os.getpid(), gethostname(), since)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"


class FileLock:
    """An advisory lock. A process that has it twice, from two objects, is refused like any other.

    Args:
        path: the file; made if it does not exist, and never deleted, since others may be about to lock it.

    Attributes:
        previous: the run that had the lock last, ended or killed; None where nobody is known. Set by `take`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._holder: Holder | None = None
        self.previous: Holder | None = None

    def take(self, holder: Holder | None) -> bool:
        """Take the lock, if nobody has it; whether it is ours now.

        Args:
            holder: what the file is to say; None leaves it as it is.

        Raises:
            StorageError: the file cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StorageError(f"{self._path.parent} cannot be written: {error.strerror}") from error
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                os.close(descriptor)
                return False
            log.warning("%s: this file system has no locks, so nothing keeps a second run away", self._path.parent)
        self._descriptor = descriptor
        _close_in_children(descriptor)
        self.previous = self._read(of_ended=True)
        if holder is not None:
            self._holder = holder
            self._write(ended=False)
        return True

    def holder(self) -> Holder | None:
        """Who has it; None where that is not written yet, or the lock is only taken for a moment."""
        return self._read(of_ended=False)

    def release(self) -> None:
        """Give it back. Does nothing if it is not ours."""
        if self._descriptor is None:
            return
        if self._holder is not None:
            with suppress(OSError):
                self._write(ended=True)
        _OPEN.discard(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = self._holder = None

    def _write(self, *, ended: bool) -> None:
        holder, descriptor = self._holder, self._descriptor
        if holder is None or descriptor is None:
            return
        record = {"run_id": holder.run_id, "pid": holder.pid, "host": holder.host, "since": holder.since.isoformat()}
        text = json.dumps({**record, "ended": ended}).encode()
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, text)
        os.ftruncate(descriptor, len(text))

    def _read(self, *, of_ended: bool) -> Holder | None:
        # Unreadable while it is being written.
        with suppress(OSError, ValueError, KeyError, TypeError):
            found: dict[str, Any] = json.loads(self._path.read_bytes())
            if found["ended"] and not of_ended:
                return None
            return Holder(
                str(found["run_id"]), int(found["pid"]), str(found["host"]), datetime.fromisoformat(found["since"])
            )
        return None


#: Descriptors of the locks that this process has. A fork would share them, and keep a lock when this process is gone.
_OPEN: set[int] = set()
_watching_forks = False


def _close_in_children(descriptor: int) -> None:
    global _watching_forks
    _OPEN.add(descriptor)
    if not _watching_forks and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_close_all)
        _watching_forks = True


def _close_all() -> None:
    while _OPEN:
        os.close(_OPEN.pop())
