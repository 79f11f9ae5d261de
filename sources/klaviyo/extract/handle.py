"""One report while it is read: what of it can be loaded, and how far it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import pyarrow as pa

from ..clock import Clock
from ..errors import KlaviyoError
from .output import Output, Taken
from .progress import Progress, ReadOutcome
from .stream import Stream


class Reader(Protocol):
    """What reads the report: the engine."""

    clock: Clock

    def take(self, stream: Stream, output: Output, *, last: bool, append: bool) -> Taken:
        """See `Handle.take`."""

    def put_back(self, output: Output, tables: Iterable[pa.Table]) -> None:
        """See `Handle.put_back`."""

    def drop(self, stream: Stream, output: Output) -> None:
        """See `Handle.drop`."""


class Handle:
    """One report of an engine that was started.

    Attributes:
        plan: how it is read.
        output: its rows.
    """

    def __init__(self, reader: Reader, stream: Stream, output: Output) -> None:
        self.plan = output.plan
        self.output = output
        self._reader = reader
        self._stream = stream

    @property
    def ended(self) -> bool:
        """Whether nothing more will be read."""
        return self._stream.ended

    @property
    def failed(self) -> bool:
        """Whether a part of it could not be read."""
        return self._stream.failed

    @property
    def left_out(self) -> KlaviyoError | None:
        """See `Stream.left_out`."""
        return self._stream.left_out

    @property
    def error(self) -> KlaviyoError | None:
        """What went wrong first."""
        return self._stream.errors[0][1] if self._stream.errors else None

    @property
    def requests(self) -> int:
        """How many requests were sent for it and for those that it shares them with."""
        return self._stream.traffic.requests

    @property
    def childless(self) -> dict[str, str]:
        """See `Stream.childless`."""
        with self._stream.lock:
            return dict(self._stream.childless)

    @property
    def requests_per_window(self) -> int:
        """How many requests a window takes, without further pages."""
        return len(self._stream.report.lineage[0].variants)

    def take(self, *, last: bool, append: bool = False) -> Taken:
        """What can be loaded now.

        Args:
            last: take everything that is decoded, since the load package ends.
            append: the rows will be appended, so they must be new.

        Raises:
            BaseException: the error that ended a thread of the engine.
        """
        return self._reader.take(self._stream, self.output, last=last, append=append)

    def put_back(self, tables: Iterable[pa.Table]) -> None:
        """Return tables that were taken, to be taken first in the next load package."""
        self._reader.put_back(self.output, tables)

    def uncount(self, rows: int) -> None:
        """Take rows out of the count that were decoded and are not loaded, since they came twice."""
        with self._stream.lock:
            self.output.rows -= rows

    def drop(self) -> None:
        """Give up the rest of the report. Its requests end, unless they fill another one too."""
        self._reader.drop(self._stream, self.output)

    def progress(self) -> Progress:
        """How far it is."""
        stream = self._stream
        with stream.lock:
            return Progress(
                report=self.plan.report.name,
                rows=self.output.rows,
                requests=stream.traffic.requests if self._leads else 0,
                steady_per_minute=stream.report.rate.steady,
                done=stream.ended,
                failed=stream.failed,
                fraction=stream.fraction(self._reader.clock.now()),
                started_s=stream.started_s,
            )

    def outcome(self) -> ReadOutcome:
        """What came of it."""
        stream, leads = self._stream, self._leads
        with stream.lock:
            ended_s = stream.ended_s if stream.ended else self._reader.clock.monotonic()
            return ReadOutcome(
                rows=self.output.rows,
                requests=stream.traffic.requests if leads else 0,
                refused=stream.traffic.refused if leads else 0,
                retries=stream.traffic.retries if leads else 0,
                seconds=ended_s - stream.started_s,
                error=self.error,
                failed=stream.failed,
                left_out=stream.left_out is not None,
                missing=stream.missing(),
                misfits=self.output.misfits,
                new_fields=self.output.new_fields,
                loaded=self.output.loaded,
                shared_with=None if leads else stream.report.name,
                deferred=stream.deferred,
            )

    @property
    def _leads(self) -> bool:
        """Whether the requests are counted as its own."""
        return self._stream.report.name == self.plan.report.name
