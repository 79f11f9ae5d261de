"""Files and folders on this machine: that they can be written, and that nobody else may read what is made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import dlt

from ..errors import StorageError

#: A full disk may still take a small file.
_PROBE_BYTES = 1 << 16

#: Modes are a thing of POSIX. On Windows a file has the rights of its folder.
_HAS_MODES = os.name == "posix"


@contextmanager
def only_for_this_user(wanted: bool) -> Iterator[None]:
    """Let new files and folders be private for so long. Those that exist keep their modes.

    The whole process is set: for a process of our own only.
    """
    if not (wanted and _HAS_MODES):
        yield
        return
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def check_folder(folder: Path) -> None:
    """Try to write into a folder, or into the nearest one above it if it is still to be made.

    Raises:
        StorageError: the disk is full, it is read-only, this user may not write there, or it is no folder.
    """
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        with TemporaryFile(dir=nearest) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise StorageError(f"{nearest} cannot be written: {error.strerror or error}") from None


def check_file(file: Path) -> None:
    """Check that a file can be written or made, and others beside it, as a database needs them.

    Raises:
        StorageError: it cannot.
    """
    # Not opened: to close it again would release DuckDB's lock, if this process has the file open.
    if file.is_dir():
        raise StorageError(f"{file} cannot be written: it is a folder")
    as_now = os.access in os.supports_effective_ids
    if file.exists() and not os.access(file, os.R_OK | os.W_OK, effective_ids=as_now):
        raise StorageError(f"{file} cannot be written: Permission denied")
    if not file.parent.is_dir():
        raise StorageError(f"{file} cannot be written: there is no folder {file.parent}")
    check_folder(file.parent)


def close_new_folder(pipeline: dlt.Pipeline) -> None:
    """Make the working folder private that dlt has just made for a pipeline, and with it all that will be in it."""
    folder = Path(pipeline.working_dir)
    if _HAS_MODES and pipeline.first_run and not (folder / "load").exists():
        folder.chmod(0o700)
