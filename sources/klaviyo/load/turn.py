"""The turn of a run: while it lasts, no other run works with the same pipeline.

A lock beside the working folder keeps the processes of one machine apart. Runs with other folders meet at the
destination: at a lock beside the DuckDB file, or at a lease in the database. Other destinations have neither.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakSet

import dlt
from dlt.common.pipeline import get_dlt_pipelines_dir

from ..clock import Clock, SystemClock
from ..errors import PipelineBusy
from . import dlt_compat
from .destination import type_of
from .duckdb import duckdb_file
from .lease import DESTINATIONS, Lease
from .lock import FileLock, Holder

log = logging.getLogger("klaviyo")

#: How often a run that waits looks again, at a file and in a database.
_FILE_EVERY_S, _DATABASE_EVERY_S = 0.2, 2.0
#: How long a lock may be held without a name in its file, in steps: until the name is written, or a plan has mended.
_NAMELESS_S, _NAMELESS_TIMES = 0.05, 40


def lock_of(working_dir: Path) -> FileLock:
    """The lock of a pipeline's working folder. It lies beside the folder, since dlt deletes what is in it."""
    return FileLock(working_dir.with_name(f"{working_dir.name}.lock"))


#: Pipelines of this process whose own `Pipeline.run` is going on. Several sources may be extracted in it.
_RUNNING: WeakSet[dlt.Pipeline] = WeakSet()


def keep_others_away(pipeline: dlt.Pipeline) -> None:
    """Have the lock of the working folder until the `Pipeline.run` that is going on has ended.

    Not covered: pending packages, which dlt loads before it extracts anything, and runs with other folders.

    Raises:
        PipelineBusy: another run works with the pipeline.
    """
    held = ExitStack()

    def end() -> None:
        _RUNNING.discard(pipeline)
        held.close()

    if pipeline in _RUNNING or not dlt_compat.at_end_of_run(pipeline, end):
        return
    held.enter_context(Turn(pipeline.pipeline_name, pipeline.pipelines_dir))
    _RUNNING.add(pipeline)


class Turn:
    """A context manager: the lock of the working folder is ours while it lasts.

    Args:
        name: of the pipeline.
        pipelines_dir: where dlt keeps the working folders.
        wait: wait for other runs instead of raising `PipelineBusy`.
        say: tells the user once whom the run waits for.
        stop: set it to stop waiting; `PipelineBusy` is raised then.

    Raises:
        PipelineBusy: another run has the pipeline.
        ConfigError: the file of the lock cannot be written.
    """

    def __init__(
        self,
        name: str,
        pipelines_dir: str | None = None,
        *,
        wait: bool = False,
        say: Callable[[str], None] = log.info,
        stop: threading.Event | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._name = name
        self._folder = lock_of(Path(pipelines_dir or get_dlt_pipelines_dir()) / name)
        self._waits = wait
        self._say = say
        self._told = False
        self._stop = stop or threading.Event()
        self._clock = clock or SystemClock()
        self._lease: Lease | None = None
        self._me: Holder | None = None

    def __enter__(self) -> Self:
        self._me = Holder.this_process(self._clock.now())
        self._wait_for(lambda: self._lock(self._folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._folder.release()

    @contextmanager
    def at_destination(self, pipeline: dlt.Pipeline, lease_s: float) -> Iterator[None]:
        """Keep runs with other working folders away too, where the destination allows it.

        If such a run was there since this folder was used, what is pending in the folder is older than what is loaded.
        It is forgotten, and read again.

        Args:
            lease_s: seconds after which a lease that is not renewed may be taken over.

        Raises:
            PipelineBusy: another run loads this pipeline there.
        """
        if self._me is None:
            raise RuntimeError("a turn has to be entered first")
        file, last = duckdb_file(pipeline), None
        with ExitStack() as stack:
            if file is not None and file.parent.is_dir():
                beside = FileLock(file.with_name(f"{file.name}.{self._name}.lock"))
                self._wait_for(lambda: self._lock(beside))
                stack.callback(beside.release)
                last = beside.previous
            elif type_of(pipeline) in DESTINATIONS:
                lease = Lease(pipeline, self._me, self._folder.previous, lease_s)
                self._wait_for(lease.take, _DATABASE_EVERY_S)
                stack.enter_context(lease.renewed())
                stack.enter_context(dlt_compat.before_loading(pipeline, lease.keep))
                self._lease, last = lease, lease.last
            before = self._folder.previous
            if last is not None and (before is None or before.run_id != last.run_id) and pipeline.has_pending_data:
                log.info("another run has loaded since; what this folder had not loaded is forgotten and read again")
                pipeline.drop()
            yield

    def raise_lost(self) -> None:
        """Let it surface here that the lease is gone.

        Raises:
            LeaseLost: another run took over.
        """
        if self._lease is not None:
            self._lease.raise_lost()

    def _lock(self, lock: FileLock) -> PipelineBusy | None:
        """Take a lock; else who has it."""
        for _ in range(_NAMELESS_TIMES):
            if lock.take(self._me):
                return None
            if (holder := lock.holder()) is not None:
                return PipelineBusy(f'pipeline "{self._name}" is being run by {holder}.')
            self._clock.wait(_NAMELESS_S, self._stop)
        return PipelineBusy(f'pipeline "{self._name}" is being run by another process.')

    def _wait_for(self, attempt: Callable[[], PipelineBusy | None], every_s: float = _FILE_EVERY_S) -> None:
        while busy := attempt():
            if not self._waits or self._stop.is_set():
                raise busy
            if not self._told:
                self._told = True
                self._say(f"waiting: {busy}")
            self._clock.wait(every_s, self._stop)
