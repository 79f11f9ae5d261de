"""Progress of a run on stderr: a table that is updated in place on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from .format import counted, duration, number

if TYPE_CHECKING:
    import dlt
    from rich.console import Group

    from ..extract.progress import Progress

log = logging.getLogger("klaviyo")

#: The least time between two log lines of a report.
LINE_EVERY_S = 10.0
_MINUTE_S = 60.0

#: Below this part of the period no remaining time is shown, since the estimate would vary too much.
_LEAST_FRACTION = 0.02


class View(Protocol):
    """Shows progress. `update` and `say` may be called from any thread."""

    def begin(self, pipeline: dlt.Pipeline, reports: Sequence[str]) -> None:
        """Show what will be read, and into which destination."""

    def update(self, reports: Sequence[Progress]) -> None:
        """Show the progress of the reports."""

    def say(self, text: str) -> None:
        """Show a line."""


@contextmanager
def progress(verbose: bool) -> Iterator[View]:
    """The view that suits stderr; our log lines appear in it."""
    if sys.stderr.isatty():
        with TerminalView() as view, logs(verbose, _Lines(view)):
            yield view
    else:
        with logs(verbose):
            yield LogView()


@contextmanager
def logs(verbose: bool, handler: logging.Handler | None = None) -> Iterator[None]:
    """Show the log lines of this project, by default on stderr."""
    shown = handler or logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)sZ %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    shown.setFormatter(formatter)
    level = log.level
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    log.addHandler(shown)
    try:
        yield
    finally:
        log.removeHandler(shown)
        log.setLevel(level)


@dataclass
class _Track:
    """The history of one report's progress. Times are seconds on the monotonic clock.

    Attributes:
        samples: (time, requests so far), of the last minute.
        logged_s: time of the last log line.
        logged: rows and requests in it.
    """

    started_s: float
    ended_s: float | None = None
    samples: deque[tuple[float, int]] = field(default_factory=deque)
    logged_s: float = 0.0
    logged: tuple[int, int] = (0, 0)

    def follow(self, state: Progress, now_s: float) -> None:
        """Take a sample."""
        if not self.samples:
            self.samples.append((state.started_s, 0))
        self.samples.append((now_s, state.requests))
        while len(self.samples) > 1 and self.samples[0][0] <= now_s - _MINUTE_S:
            self.samples.popleft()
        if state.done and self.ended_s is None:
            self.ended_s = now_s

    @property
    def last_minute(self) -> int:
        """Requests of the last minute, which Klaviyo's steady limit counts."""
        return self.samples[-1][1] - self.samples[0][1]

    def took_s(self, now_s: float) -> float:
        """Seconds from the start to the end, or until now."""
        return (now_s if self.ended_s is None else self.ended_s) - self.started_s

    def left_s(self, state: Progress, now_s: float) -> float | None:
        """Estimate of the remaining seconds, from the part of the period that is read; None where there is none."""
        if state.done or state.fraction is None or state.fraction < _LEAST_FRACTION:
            return None
        return self.took_s(now_s) * (1 - state.fraction) / state.fraction


class _Tracks:
    """Tracks by report."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}

    def follow(self, reports: Sequence[Progress], now_s: float) -> None:
        for state in reports:
            track = self._tracks.setdefault(state.report, _Track(state.started_s, logged_s=state.started_s))
            track.follow(state, now_s)

    def __getitem__(self, report: str) -> _Track:
        return self._tracks[report]


class LogView:
    """A log line for each report when its numbers changed, every `LINE_EVERY_S` at most, and one when it ends."""

    def __init__(self) -> None:
        self._tracks = _Tracks()
        self._ended: set[str] = set()

    def begin(self, pipeline: dlt.Pipeline, reports: Sequence[str]) -> None:
        self.say(_heading(pipeline, reports))

    def say(self, text: str) -> None:
        log.info("%s", text)

    def update(self, reports: Sequence[Progress]) -> None:
        now_s = time.monotonic()
        self._tracks.follow(reports, now_s)
        for state in reports:
            track = self._tracks[state.report]
            counts = (state.rows, state.requests)
            if state.report in self._ended:
                continue
            if state.done:
                self._ended.add(state.report)
                how = "failed after" if state.failed else "read,"
                self.say(f"{state.report}: {how} {_counts(state)} in {duration(track.took_s(now_s))}")
            elif counts != track.logged and now_s - track.logged_s >= LINE_EVERY_S:
                track.logged, track.logged_s = counts, now_s
                self.say(f"{state.report}: {', '.join(_parts(state, track, now_s))}")


class TerminalView:
    """A table that is updated in place and removed at the end."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._lock = threading.Lock()
        self._tracks = _Tracks()
        self._reports: list[Progress] = []
        self._heading = "opening the pipeline"
        self._started_s = time.monotonic()
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def begin(self, pipeline: dlt.Pipeline, reports: Sequence[str]) -> None:
        self._heading = _heading(pipeline, reports)

    def say(self, text: str) -> None:
        self._console.print(text)

    def update(self, reports: Sequence[Progress]) -> None:
        with self._lock:
            self._tracks.follow(reports, time.monotonic())
            self._reports = list(reports)

    def _render(self) -> Group:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        now_s = time.monotonic()
        with self._lock:
            shown, hidden = _fitting(self._reports, self._console.height - 5)
            loading = "; loading" if self._reports and all(state.done for state in self._reports) else ""
            took = duration(now_s - self._started_s)
            heading = Text(f"{self._heading}{loading}; {took}", no_wrap=True, overflow="ellipsis")
            if not self._reports:
                return Group(heading)
            table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
            table.add_column("report", overflow="ellipsis")
            # Minimal widths, so that the columns do not move while the numbers grow.
            for header, width in (("rows", 9), ("requests", 8), ("last minute", 11), ("read", 6), ("left", 11)):
                table.add_column(header, justify="right", no_wrap=True, min_width=width)
            for state in shown:
                table.add_row(*self._cells(state, now_s), style=_style(state))
            if hidden:
                table.add_row(
                    f"and {len(hidden)} more, {sum(state.done for state in hidden)} of them done", style="dim"
                )
            return Group(heading, table)

    def _cells(self, state: Progress, now_s: float) -> list[str]:
        track = self._tracks[state.report]
        left_s = track.left_s(state, now_s)
        pace = "" if state.done or not state.requests else f"{track.last_minute:,}/{state.steady_per_minute:,}"
        part = "" if state.fraction is None or state.done else f"{state.fraction:.0%}"
        if state.done:
            part, ends = ("failed" if state.failed else "done"), f"in {duration(track.took_s(now_s))}"
        else:
            ends = "" if left_s is None else f"~{duration(left_s)}"
        requests = number(state.requests) if state.requests else ""
        return [state.report, number(state.rows), requests, pace, part, ends]


class _Lines(logging.Handler):
    """Log lines above the table."""

    def __init__(self, view: TerminalView) -> None:
        super().__init__()
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        self._view.say(self.format(record))


def _heading(pipeline: dlt.Pipeline, reports: Sequence[str]) -> str:
    count = f"{len(reports)} reports" if len(reports) > 1 else reports[0]
    destination: Any = pipeline.destination
    return f"{pipeline.pipeline_name}: {count} into {destination.destination_name}, dataset {pipeline.dataset_name}"


def _counts(state: Progress) -> str:
    # A report that shares the requests of another one has none of its own.
    requests = f", {counted(state.requests, 'request')}" if state.requests else ""
    return f"{counted(state.rows, 'row')}{requests}"


def _parts(state: Progress, track: _Track, now_s: float) -> Iterator[str]:
    yield _counts(state)
    if state.requests:
        yield f"{track.last_minute:,} of {state.steady_per_minute:,} allowed in the last minute"
    if state.fraction is not None:
        yield f"{state.fraction:.0%} of the period"
    left_s = track.left_s(state, now_s)
    if left_s is not None:
        yield f"about {duration(left_s)} left"


def _fitting(reports: Sequence[Progress], lines: int) -> tuple[list[Progress], list[Progress]]:
    """The reports to show, in their order, and those to hide if there are more than `lines`.

    Successful ones are hidden first, then those without requests so far.
    """
    if len(reports) <= lines:
        return list(reports), []
    ranked = sorted(reports, key=lambda state: (state.done and not state.failed, not state.requests))
    kept = {state.report for state in ranked[: max(1, lines - 1)]}
    return [s for s in reports if s.report in kept], [s for s in reports if s.report not in kept]


def _style(state: Progress) -> str:
    return "red" if state.failed else "green" if state.done else ""
