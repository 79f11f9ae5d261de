"""Files and folders on this machine: that nobody else may read what is made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dlt

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


def close_new_folder(pipeline: dlt.Pipeline) -> None:
    """Make the working folder private that dlt has just made for a pipeline, and with it all that will be in it."""
    folder = Path(pipeline.working_dir)
    if _HAS_MODES and pipeline.first_run and not (folder / "load").exists():
        folder.chmod(0o700)
