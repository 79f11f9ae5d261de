"""Runs in processes of their own that want the same pipeline, and a sandbox that lets them wait for its answers."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sources.klaviyo.cli.main import main
from sources.klaviyo.errors import LeaseLost, PipelineBusy
from sources.klaviyo.extract.tuning import Tuning
from sources.klaviyo.load.pipeline import load_settings, open_pipeline
from sources.klaviyo.load.runner import run
from sources.klaviyo.load.turn import Turn
from tests.support.journeys import KEY, FakeClock, Journey, home
from tests.support.killed import Death, die

#: What a process of `Loop` ends with where another run has the pipeline, or took it over.
BUSY, LOST = 3, 33

# Forked from a server that has imported everything, a run starts at once, and no thread is forked with it.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.support.two_runs"])


class Gate:
    """The account's present, for which the sandbox waits with every answer while the gate is closed.

    Attributes:
        asked: somebody is waiting.
    """

    def __init__(self, journey: Journey) -> None:
        self._clock = journey.clock
        self._open = threading.Event()
        self.asked = threading.Event()
        self.open()
        journey.account.now = self

    def __call__(self) -> datetime:
        self.asked.set()
        assert self._open.wait(60)
        return self._clock.now()

    def close(self) -> None:
        self.asked.clear()
        self._open.clear()

    def open(self) -> None:
        self._open.set()


def count(folder: Path) -> None:
    """Read a number and write the next one when it is this process's turn, so slowly that two at once would lose one."""
    with Turn("klaviyo", str(folder), wait=True):
        number = int((folder / "number").read_text())
        time.sleep(0.01)
        (folder / "number").write_text(str(number + 1))


class Command:
    """The command `run` in a process of its own, configured by the environment of this one."""

    def __init__(self, journey: Journey, *argv: str) -> None:
        self._said = journey.folder / f"said-{len(list(journey.folder.glob('said-*')))}"
        self._said.touch()
        arguments = (journey.folder, _configuration(), self._said, ("run", *argv))
        self.process: BaseProcess = PROCESSES.Process(target=_command, args=arguments)
        self.process.start()

    @property
    def pid(self) -> int | None:
        return self.process.pid

    def said(self) -> str:
        """What it wrote on stderr so far."""
        return self._said.read_text(encoding="utf-8")

    def ended(self) -> tuple[int | None, str]:
        """Wait for its end; the exit code and what it said."""
        self.process.join(60)
        return self.process.exitcode, self.said()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def _configuration() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("SOURCES__", "DESTINATION__"))}


def _configure(values: dict[str, str]) -> None:
    # The server that forks was started by another test.
    for name in _configuration():
        del os.environ[name]
    os.environ.update(values)


def _command(folder: Path, configuration: dict[str, str], said: Path, argv: Sequence[str]) -> None:
    _configure(configuration)
    with said.open("w", encoding="utf-8", buffering=1) as stderr, home(folder):
        sys.stderr, sys.stdout = stderr, stderr
        code = main(list(argv))
        stderr.flush()
        os._exit(code)


class Loop:
    """The run loop in a process of its own.

    Args:
        pipelines_dir: the folder beside which the lock is.
        options: of `_loop`.
    """

    def __init__(self, journey: Journey, pipelines_dir: str, flags: dict[str, Any], **options: Any) -> None:
        url, now = journey.server.url, journey.clock.now()
        arguments = (journey.folder, _configuration(), pipelines_dir, url, now, flags)
        self.process: BaseProcess = PROCESSES.Process(target=_loop, args=arguments, kwargs=options)
        self.process.start()

    def ended(self) -> int | None:
        self.process.join(60)
        return self.process.exitcode


def _loop(
    folder: Path,
    configuration: dict[str, str],
    pipelines_dir: str,
    url: str,
    moment: datetime,
    flags: dict[str, Any],
    *,
    destination: str | None = None,
    lease_s: float = 300.0,
    death: Death | None = None,
) -> None:
    _configure(configuration)
    if death is not None:
        die(*death)
    clock = FakeClock(moment)
    with home(folder):
        settings = load_settings("klaviyo", {"api_key": KEY, "base_url": url, **flags}, clock=clock)
        pipeline = open_pipeline("klaviyo", destination, pipelines_dir=str(folder / pipelines_dir))
        try:
            outcomes = run(pipeline, settings, clock=clock, tuning=Tuning(lease_s=lease_s))
        except LeaseLost:
            os._exit(LOST)
        except PipelineBusy:
            os._exit(BUSY)
    if any(outcome.error or not outcome.loaded for outcome in outcomes):
        raise SystemExit(f"{[outcome.error for outcome in outcomes]}")
