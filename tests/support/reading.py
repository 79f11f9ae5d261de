"""One stream read step by step, without threads, HTTP or a clock: the test decides what happens next."""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sources.klaviyo.catalog.report import Report
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.config.settings import ReportSettings
from sources.klaviyo.errors import KlaviyoError
from sources.klaviyo.extract.chain import Chain
from sources.klaviyo.extract.output import Output
from sources.klaviyo.extract.stream import Stream
from sources.klaviyo.extract.tuning import DEFAULT, Tuning
from sources.klaviyo.plan.plan import Plan
from sources.klaviyo.plan.streams import Request
from sources.klaviyo.windows import Window

T0 = datetime(2026, 6, 1, tzinfo=UTC)
#: Later than every window of these tests, unless one says otherwise.
NOW = T0 + timedelta(days=10)
SETTINGS = ReportSettings("incremental", T0, NOW, timedelta(0), "auto")
#: Parts are worth a thread of their own soon, so that a few records are enough to cut a chain.
EAGER = replace(DEFAULT, pages_worth_sharing=2)


def at(seconds: float) -> datetime:
    """A moment, in seconds after T0."""
    return T0 + timedelta(seconds=seconds)


def window(start_s: int, end_s: int) -> Window:
    """A window, in seconds after T0."""
    return Window(at(start_s), at(end_s))


def report(name: str, revision: str = DEFAULT_REVISION) -> Report:
    return reports(revision)[name]


def plan(
    name: str,
    *windows: Window,
    revision: str = DEFAULT_REVISION,
    whole: bool = False,
    append: bool = False,
    **settings: Any,
) -> Plan:
    """A plan that reads these windows, with nothing loaded before."""
    return Plan(report(name, revision), replace(SETTINGS, **settings), windows, [], whole, append)


def stream_of(*plans: Plan, tuning: Tuning = EAGER) -> Stream:
    """The stream of plans that send the same requests, with an output for each."""
    lock = threading.RLock()
    # Held for good: most methods are to be called with it, and nobody else wants it.
    lock.acquire()
    stream = Stream(plans[0], lock, tuning)
    stream.outputs += [Output(one, tuning) for one in plans]
    return stream


def chain_of(request: Request, parent: Chain | None = None) -> Chain:
    return Chain(request, threading.Condition(threading.RLock()), parent)


def record(kind: str, identity: str, **attributes: Any) -> dict[str, Any]:
    return {"type": kind, "id": identity, "attributes": attributes}


def page(records: Iterable[Mapping[str, Any]], included: Sequence[Mapping[str, Any]] = ()) -> bytes:
    return json.dumps({"data": list(records), "included": list(included)}).encode()


class Collection:
    """The records of one endpoint, answered page by page to whatever a request's filter asks.

    Sorted by whole seconds as Klaviyo does; within a second in the order of the ids.

    Args:
        moments_s: id -> seconds after T0.
    """

    def __init__(self, kind: str, cursor: str, moments_s: Mapping[str, float], page_size: int) -> None:
        self.kind, self.cursor, self.page_size = kind, cursor, page_size
        self.moments = {identity: at(seconds) for identity, seconds in moments_s.items()}

    def __call__(self, request: Request) -> list[bytes]:
        told = parse_qs(urlsplit(request.path).query).get("filter", [""])[0]
        terms = re.findall(rf"([a-z-]+)\({self.cursor},([^)]+)\)", told)
        ids = [
            one
            for one, moment in self.moments.items()
            if all(_holds(operator, bound, moment) for operator, bound in terms)
        ]
        ids.sort(key=lambda one: (self.moments[one].replace(microsecond=0), one))
        records = [record(self.kind, one, **{self.cursor: self.moments[one].isoformat()}) for one in ids]
        return [page(records[n : n + self.page_size]) for n in range(0, len(ids), self.page_size)] or [page([])]

    def inside(self, windows: Iterable[Window]) -> set[str]:
        """The ids whose moment lies in one of the windows."""
        windows = list(windows)
        return {one for one, moment in self.moments.items() if any(w.start <= moment < w.end for w in windows)}


def _holds(operator: str, bound: str, moment: datetime) -> bool:
    limit = datetime.fromisoformat(bound)
    return {
        "greater-or-equal": moment >= limit,
        "greater-than": moment > limit,
        "less-than": moment < limit,
        "less-or-equal": moment <= limit,
    }[operator]


def _id_column(of: Report) -> str:
    return next(column.name for column in of.contract.columns if column.path == "id")


class Reading:
    """A stream between made-up answers and the rows that came of them. The steps are those of the engine's threads.

    Args:
        answers: the first request of a chain -> its pages.

    Attributes:
        following: the chain of each thread; None while it has none.
        ids: report -> ids of all rows that were decoded, in the order in which they came.
    """

    def __init__(
        self, stream: Stream, answers: Callable[[Request], list[bytes]], threads: int = 3, now: datetime = NOW
    ) -> None:
        self.stream, self._answers, self.now = stream, answers, now
        self.following: list[Chain | None] = [None] * threads
        self.cuts = 0
        self.ids: dict[str, list[str]] = {output.plan.report.name: [] for output in stream.outputs}
        self._left: dict[Chain, deque[bytes]] = {}
        self._begun: set[Chain] = set()
        self._fetched: deque[tuple[Chain, bytes]] = deque()

    def fetch(self, thread: int = 0) -> bool:
        """Let a thread look for a chain or, where it has one, fetch its next page; whether it could do anything."""
        chain = self.following[thread]
        if chain is None:
            return self._start(thread)
        if chain in self._begun:
            if self.stream.given_up(chain):
                self.following[thread] = None
                return True
            if self.stream.crowded(chain, 0):
                return False
            if chain.passed():
                self._end(thread, chain)
                return True
        self._begun.add(chain)
        chain.undecoded += 1
        self._fetched.append((chain, self._left[chain].popleft()))
        if not self._left[chain]:
            self._end(thread, chain)
        return True

    def _start(self, thread: int) -> bool:
        chain = self.stream.next_pending()
        if chain is None:
            chain = self.stream.steal(self.now)
            self.cuts += chain is not None
        if chain is None:
            return False
        self.stream.active.append(chain)
        self._left[chain] = deque(self._answers(chain.request))
        self.following[thread] = chain
        return True

    def _end(self, thread: int, chain: Chain) -> None:
        chain.fetched = True
        self.following[thread] = None
        self.stream.settle(chain, 0.0)

    def decode(self) -> bool:
        """Decode the page that was fetched first; whether there was one."""
        if not self._fetched:
            return False
        chain, body = self._fetched.popleft()
        try:
            self.stream.take(chain, body, self.now)
        except KlaviyoError as error:
            self.stream.fail(chain, error, 0.0)
        chain.undecoded -= 1
        self.stream.settle(chain, 0.0)
        for output in self.stream.outputs:
            for table in output.buffer.drain():
                self.ids[output.plan.report.name] += table.column(_id_column(output.plan.report)).to_pylist()
        return True

    def fail(self, error: KlaviyoError, thread: int = 0) -> bool:
        """Let the request of a thread fail; whether it sends one."""
        chain = self.following[thread]
        if chain is None:
            return False
        self.following[thread] = None
        self.stream.fail(chain, error, 0.0)
        return True

    def finish(self) -> None:
        """Go on until nothing more can be done."""
        while any([*(self.fetch(thread) for thread in range(len(self.following))), self.decode()]):
            pass
