"""Fetches the pages of all reports side by side and turns them into tables, while somebody else loads them.

One chain of pages a window (and variant, and parent); as many chains at once as an endpoint's rate can use, each in a
thread that mostly waits for the network; one thread that decodes. Whoever runs out of work takes half of what is left
of the chain with the most left, so that dense periods are read side by side and empty ones cost nothing.

Rows wait in memory up to a bound, then fetching waits for the loader. A report that must be loaded as a whole is
spooled until it is complete.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial, reduce
from operator import itemgetter

import pyarrow as pa

from . import query
from .account import Account
from .client import Client, Page, Traffic
from .each import EachShaper, deletions
from .errors import KlaviyoError, RequestRejected, TransientError
from .limits import Clock, Governor, SystemClock
from .listings import Listings
from .lookups import Lookups
from .metrics import Metrics
from .novelty import Novelty
from .raw import RawShaper
from .reports import contract_of, cursor_column, endpoint_of, windows_endpoint
from .results import OBSERVED_AT, ResultsShaper, each_once
from .settings import ReportSettings, Settings
from .shape import Shaper, parents, records_span, span, without
from .spec import Rate, Report
from .spool import Spool
from .stream import Request, Stream, share_listings
from .waiting import NOTHING, Drained, Waiting
from .windows import BEGINNING, EVERYTHING, Window, intersection, subtract, union

log = logging.getLogger("klaviyo")

#: Pages of one chain that may wait to be decoded: enough to keep fetching, few enough to see soon where it is.
_UNDECODED_PER_CHAIN = 2
#: Many chains with a page each fill the memory too; beyond this, each may have one and no more.
_UNDECODED_BYTES = 16 << 20
#: What Klaviyo's limit for events brings in the seconds that a load package takes to load.
_UNLOADED_BYTES = 128 << 20
#: As many as a load package has: more would make the next one larger.
_UNLOADED_ROWS = 500_000
#: 3500 requests a minute whose answers take three seconds; what waits to be decoded grows with it.
_MOST_THREADS = 180
#: Every cut costs about one more request, so what is cut in two has to be several times that.
_PAGES_WORTH_SHARING = 8
#: Threads are enough for answers that take so long; there are more once answers take longer.
_LATENCY_S = 0.25
#: A limit a minute may be used up in a part of it, as far as the limit a second goes.
_HASTE = 2.0


def threads_for(rate: Rate, answer_s: float = 0.0) -> int:
    """Threads that use up the steady rate of an endpoint, and a small account's share of it sooner.

    Args:
        answer_s: how long an answer takes.
    """
    return min(_MOST_THREADS, math.ceil(rate.steady / 60 * max(_LATENCY_S, _HASTE * answer_s)) + 1)


@dataclass(slots=True)
class Density:
    """How much time a page takes on average, over a chain and all that was cut off it."""

    spanned: timedelta = timedelta(0)
    pages: int = 0

    def add(self, span: timedelta) -> None:
        self.spanned += span
        self.pages += 1

    @property
    def page(self) -> timedelta:
        return self.spanned / self.pages if self.pages else timedelta(0)


@dataclass(eq=False, slots=True)
class Chain:
    """Pages that follow one another.

    Attributes:
        request: what asks for the first of them.
        window: what it still is to read; a thread without work may take its later half away.
        progress: greatest cursor value decoded so far.
        page_start: least cursor value of the page decoded last; up to `progress` it tells how dense the data is there.
        density: how dense it usually is.
        ascends: whether every page so far came in the order that was asked for.
        waiting: pages fetched and not decoded.
        children: chains that have to end before this one counts as read.
        novelty: report -> whether its rows from here are all new, where that matters.
        held: rows of a period that is replaced as a whole, until all of its pages are here.
    """

    read: Read
    request: Request
    parent: Chain | None = None
    progress: datetime | None = None
    page_start: datetime | None = None
    density: Density = field(default_factory=Density)
    ascends: bool = True
    waiting: int = 0
    children: int = 0
    held: list[tuple[Output, pa.Table]] = field(default_factory=list)
    fetched: bool = False
    done: bool = False
    novelty: dict[str, Novelty] = field(default_factory=dict)
    window: Window = field(init=False)
    room: threading.Condition = field(init=False)

    def __post_init__(self) -> None:
        self.window = self.request.window
        self.room = threading.Condition(self.read.lock)

    def move(self, low: datetime | None, high: datetime | None, ascends: bool) -> None:
        """Note the place in time of a page: its least and greatest value, and whether it ascends."""
        if low is None or high is None:
            return
        follows = self.progress is None or low >= self.progress.replace(microsecond=0)
        # A value where the request cannot reach says nothing about where the chain is.
        asked = self.request.window
        inside = asked.start <= low and high < asked.end
        self.ascends = self.ascends and ascends and follows and inside
        self.page_start = low
        self.density.add(high - low)
        self.progress = max(self.progress or high, high)

    @property
    def top(self) -> Chain:
        """The chain of the window that this one belongs to: itself, or that of its first parents."""
        return self if self.parent is None else self.parent.top

    def passed(self) -> bool:
        """Whether all that follows lies beyond the window."""
        return self.ascends and self.progress is not None and self.progress >= self.window.end

    def cut(self, now: datetime) -> tuple[float, datetime] | None:
        """Where to cut what nobody has asked for yet, and how many pages that is; None where it is not worth it.

        Pages that wait to be decoded and the one being fetched are left out: to cut there would read them twice.
        """
        cursor = self.request.endpoint.cursor
        # What others go through as well is not cut.
        if self.fetched or self.request.shared or not self.ascends or cursor is None or not cursor.ascending:
            return None
        if self.progress is None or self.page_start is None:
            return None
        page = max(timedelta(seconds=1), self.progress - self.page_start)
        start, end = self.progress + (self.waiting + 1) * page, min(self.window.end, now)
        if start >= end:
            return None
        pages = (end - start) / max(page, self.density.page)
        if pages >= _PAGES_WORTH_SHARING:
            return pages, (start + (end - start) / 2).replace(microsecond=0)
        # In a burst the last page promises far more than there is. To halve a sparse period again and again until
        # the cuts come close to its end costs a request each; a cut at some distance costs one.
        near = start + _PAGES_WORTH_SHARING * page
        return (pages, near.replace(microsecond=0)) if near + _PAGES_WORTH_SHARING * page <= end else None


@dataclass(slots=True)
class Taken:
    """Rows to load now.

    Attributes:
        tables: Arrow tables.
        covered: what is loaded of the period once these rows are, or None where nothing is remembered.
        ended: nothing more will come.
        refused: there are rows that must not be appended, and that is what was asked for.
    """

    tables: Drained
    covered: list[Window] | None
    ended: bool
    refused: bool = False


class Output:
    """The rows of one report on their way from the decoder to the loader.

    Attributes:
        new: whether every row so far is the first and only one with its key in the whole table, so that rows may be
            appended. Once one may not be, this one and all that follow are to be merged: only a merge finds its like.
    """

    def __init__(
        self, report: Report, settings: ReportSettings, covered: Sequence[Window], whole: bool, new: bool
    ) -> None:
        self.new = new
        self.report = report
        self.settings = settings
        self.whole = whole
        contract = contract_of(report)
        self.shaper: Shaper | RawShaper | EachShaper | ResultsShaper
        if report.custom is not None:
            self.shaper = RawShaper(contract, included=report.rows is not None)
        elif report.each is not None:
            self.shaper = EachShaper(contract, report.each)
        elif endpoint_of(report).analytics is not None:
            self.shaper = ResultsShaper(contract)
        else:
            self.shaper = Shaper(contract, rows=report.rows, row_version=report.history)
        self.cursor_column = cursor_column(report)
        self.covered_before = list(covered)
        self.waiting = Waiting()
        self.spool = Spool(self.shaper.schema, self._key(), self.cursor_column) if whole else None
        self.rows = 0
        self.misfits: Counter[str] = Counter()
        self.loaded = False
        self.dropped = False

    def _key(self) -> list[str]:
        contract = self.shaper.contract
        return contract.primary_key or [c.name for c in contract.columns if c.path == "id" or "context." in c.path]

    def add(self, table: pa.Table, chain: Chain) -> None:
        if table.num_rows == 0 or self.dropped:
            return
        self.new = self.new and self._is_new(table, chain)
        self.rows += table.num_rows - deletions(table)
        if self.spool is not None:
            self.spool.add(table)
            return
        self.waiting.add(table)

    def _is_new(self, table: pa.Table, chain: Chain) -> bool:
        if self.cursor_column is None or chain.parent is not None:
            return False
        (key,) = self._key()
        return chain.novelty.setdefault(self.report.name, Novelty(key, self.cursor_column)).holds(table, chain.window)


class Read(Stream):
    """One stream of requests while it is read, and the reports that its pages fill.

    Args:
        report: whose requests are sent; further outputs ask for the very same.
        windows: what to read, in this order.
        lock: the engine's; guards all that changes here.
    """

    def __init__(
        self, report: Report, settings: ReportSettings, windows: Sequence[Window], lock: threading.RLock
    ) -> None:
        super().__init__(report, settings, windows)
        self.lock = lock
        #: Threads of this read that have no chain wait here.
        self.idle = threading.Condition(lock)
        #: Reads that share their threads, this one among them.
        self.pool: list[Read] = [self]
        self.outputs: list[Output] = []
        self.traffic = Traffic()
        self.pending = deque(Chain(self, request) for request in self.first)
        self.active: list[Chain] = []
        self.finished: dict[tuple[str, str], list[Window]] = {}
        #: What a quota a day left to later runs.
        self.deferred: list[Window] = []
        self._begun = 0
        self.skipped: list[Window] = []
        self.errors: list[tuple[Window, KlaviyoError]] = []
        self.failed = False
        #: Where the first window lies that failed: nothing from there on is read any more, what lies before is.
        self.broken_at: datetime | None = None
        self.broken: list[Chain] = []
        self.started_s = 0.0
        self.ended_s = 0.0
        self.started_threads = 0
        self._dated = self.lineage.index(windows_endpoint(report))

    def join(self, pool: list[Read]) -> None:
        """Share threads with other reads of the same endpoint. Before any is started."""
        pool.append(self)
        self.pool, self.idle = pool, pool[0].idle

    @property
    def threads(self) -> int:
        """As many as the rate can use, and as the work can be split into."""
        most = threads_for(self.rate, self.traffic.answer_s)
        cursor = self.endpoint.cursor
        divisible = self.endpoint.parent is not None or (cursor is not None and cursor.ascending)
        return most if divisible else min(most, len(self.pending))

    @property
    def ended(self) -> bool:
        return not (self.pending or self.active)

    def given_up(self, chain: Chain) -> bool:
        """Whether a chain is not read on, since it failed or lies behind one that did."""
        return self.broken_at is not None and chain.top.window.start >= self.broken_at

    def next_pending(self) -> Chain | None:
        """The chain to begin with next; None where nothing waits, or a quota a day leaves the rest to later runs.

        Call with the lock.
        """
        figures = self.settings.analytics
        most = None if figures is None else figures.most_requests
        if most is not None and max(self._begun, self.traffic.requests) >= most:
            self.deferred = union([*self.deferred, *(chain.window for chain in self.pending)])
            self.pending.clear()
        self._begun += 1
        return self.pending.popleft() if self.pending else None

    def break_at(self, start: datetime) -> None:
        """Read no window that starts there or later. Call with the lock."""
        self.failed = True
        self.broken_at = min(start, self.broken_at or start)
        self.pending = deque(chain for chain in self.pending if not self.given_up(chain))
        self.broken += [chain for chain in self.active if self.given_up(chain)]
        self.active = [chain for chain in self.active if not self.given_up(chain)]
        self.idle.notify_all()
        for chain in self.broken:
            chain.room.notify_all()

    def children(self, parent: Chain, parent_id: str, context: Mapping[str, str | None]) -> list[Chain]:
        """The chains of one parent record's children; the window is theirs where nothing above them has a date."""
        above = parent.request
        window = EVERYTHING if self.lineage.index(above.endpoint) >= self._dated else parent.window
        endpoint = self.below(above.endpoint)
        known = {**above.context, **context}
        requests = [self.request(endpoint, window, variant, parent_id, known) for variant in endpoint.variants]
        return [Chain(self, request, parent) for request in requests]

    def share(self, now: datetime) -> Chain | None:
        """Cut the chain with the most left in two and return the later half, if there is one worth cutting."""
        if self.settings.split_by != "auto":
            return None
        worth = [(*cut, chain) for chain in self.active if (cut := chain.cut(now)) is not None]
        if not worth:
            return None
        _, middle, best = max(worth, key=itemgetter(0))
        if best.progress is None or not best.progress < middle < best.window.end:
            return None
        window = Window(middle, best.window.end)
        first = best.request
        request = self.request(first.endpoint, window, first.variant, first.parent_id, first.context)
        later = Chain(self, request, best.parent)
        later.density = best.density
        if best.parent is not None:
            best.parent.children += 1
        best.window = Window(best.window.start, middle)
        return later

    def fraction(self, now: datetime) -> float | None:
        """Part of the period that is read, by time; None where there is no period."""
        if not self.windows or self.windows[0].start == BEGINNING:
            return None
        total_s = sum((min(w.end, now) - w.start).total_seconds() for w in self.windows)
        done_s = sum((w.end - w.start).total_seconds() for w in self.covered())
        return max(0.0, min(1.0, done_s / total_s)) if total_s > 0 else None

    def missing(self) -> list[Window]:
        """What a read that failed has not read of its windows, and what it moved on over."""
        covered = self.covered() if self.windows != [EVERYTHING] else []
        rest = [part for window in self.windows for part in subtract(window, covered)] if self.failed else []
        return union([*rest, *self.skipped])

    def covered(self) -> list[Window]:
        """What has been read so far without a gap inside, over all variants."""
        if not self.windows:
            return []
        per_variant = []
        for variant in self.lineage[0].variants:
            windows = list(self.finished.get(variant.key, []))
            windows += [
                Window(chain.window.start, chain.progress.replace(microsecond=0))
                for chain in (*self.active, *self.broken)
                if chain.request.variant is variant
                and chain.parent is None
                and chain.request.endpoint is self.endpoint
                and self.endpoint.cursor is not None
                and self.endpoint.cursor.ascending
                and self.settings.split_by == "auto"
                and chain.ascends
                and chain.progress is not None
                and chain.window.start < chain.progress.replace(microsecond=0) < chain.window.end
            ]
            per_variant.append(windows)
        return union([*reduce(intersection, per_variant, [EVERYTHING]), *self.skipped])


@dataclass(slots=True)
class _Fetched:
    chain: Chain
    body: bytes


class Engine:
    """Reads reports for one account.

    Args:
        settings: what to read and how.
        clock: where time comes from.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.stop = threading.Event()
        self.client = Client(settings, Governor(self.clock, settings.max_wait_s, self.stop))
        self._listings = Listings()
        self.lookups = Lookups(self.client)
        self.account = Account(self.client, settings.revision)
        self.metrics = Metrics(self.client)
        self.reads: list[Read] = []
        self.outputs: dict[str, Output] = {}
        # One lock, and a condition for each kind of waiter: waking all threads for every page would cost more than
        # the pages.
        self._lock = threading.RLock()
        self._to_decode = threading.Condition(self._lock)
        self._fetched: deque[_Fetched] = deque()
        self._undecoded_bytes = 0
        self._halted = False
        self._crash: BaseException | None = None
        self._decoder: threading.Thread | None = None

    def start(
        self, plans: Iterable[tuple[Report, ReportSettings, Sequence[Window], Sequence[Window], bool, bool]]
    ) -> None:
        """Begin to read reports.

        Args:
            plans: a report, its settings, the windows to read, what is covered without them, whether it has to be
                loaded as a whole, and whether the table has no row of these windows.
        """
        found = [(*self._resolved(*plan[:2]), *plan) if plan[2] else (plan[0], None, *plan) for plan in plans]
        with self._lock:
            new: dict[tuple[object, ...], Read] = {}
            for asked, error, report, settings, windows, covered, whole, new_windows in found:
                read = Read(asked, settings, windows, self._lock)
                if error is not None:
                    read.errors.append((windows[0], error))
                    read.break_at(BEGINNING)
                read = new.setdefault((read.key, whole), read)
                output = Output(report, settings, covered, whole, new_windows)
                read.outputs.append(output)
                self.outputs[report.name] = output
            share_listings(read for read in new.values() if read.pending)
            pools: dict[str, list[Read]] = {}
            for read in new.values():
                for chain in read.pending:
                    if chain.request.shared:
                        self._listings.expect(chain.request.path)
                self.reads.append(read)
                read.started_s = read.ended_s = self.clock.monotonic()
                # Hundreds of metrics can be read one by one: of the threads there are as many as for all events.
                read.join(pools.setdefault(read.report.like or read.report.name, []))
            for pool in pools.values():
                self._staff(pool[0])
            if self._decoder is None:
                self._decoder = threading.Thread(
                    target=self._guard, args=(self._decode,), name="klaviyo-decode", daemon=True
                )
                self._decoder.start()

    def _staff(self, read: Read) -> None:
        """Start the threads that a read, and those that share its threads, can use. Call with the lock."""
        pool, first = read.pool, read.pool[0]
        most = max(read.threads for read in pool)
        for number in range(first.started_threads, most):
            name = f"klaviyo-{first.report.like or first.report.name}-{number}"
            threading.Thread(target=self._guard, args=(self._fetch, pool), name=name, daemon=True).start()
        first.started_threads = max(first.started_threads, most)

    def _resolved(self, report: Report, settings: ReportSettings) -> tuple[Report, KlaviyoError | None]:
        """The report as this account is asked for it, or as it is and why not."""
        if settings.analytics is None:
            return self.metrics.resolved(report)
        if self.account.timezone() is None:
            return report, self.account.error
        return self.metrics.counted(report, settings.analytics.metrics)

    def close(self) -> None:
        """End all threads; what is not loaded is forgotten."""
        self._end()
        with self._lock:
            for output in self.outputs.values():
                if output.spool is not None:
                    output.spool.close()
        self.client.close()

    def read_of(self, report: str) -> Read:
        """The stream that fills a report."""
        output = self.outputs[report]
        return next(read for read in self.reads if output in read.outputs)

    def take(self, report: str, *, last: bool, append: bool = False) -> Taken:
        """What can be loaded of a report now.

        Args:
            last: take everything that is decoded, since the load package ends.
            append: the rows will be appended, so they have to be new.
        """
        with self._lock:
            if self._crash is not None:
                raise self._crash
            output, read = self.outputs[report], self.read_of(report)
            ended = read.ended
            if output.whole:
                return Taken(NOTHING, None, ended)
            if append and not output.new:
                return Taken(NOTHING, None, False, refused=True)
            # Many reports with little each can fill the memory too: nothing more comes until some of it is taken.
            enough = output.waiting.enough or (output.waiting.rows > 0 and self.full())
            if not (enough or last or ended):
                return Taken(NOTHING, None, False)
            tables = output.waiting.drain()
            covered = union([*output.covered_before, *read.covered()])
            self._to_decode.notify()
            return Taken(tables, covered, ended)

    def halt(self) -> None:
        """Send no further requests; what is fetched can still be loaded."""
        with self._lock:
            self._halted = True
            for read in self.reads:
                read.idle.notify_all()

    def _end(self) -> None:
        self.stop.set()
        with self._lock:
            self._to_decode.notify_all()
            for read in self.reads:
                read.idle.notify_all()
                for chain in read.active:
                    chain.room.notify_all()

    def raise_crash(self) -> None:
        """Let an error in a thread of ours surface in the caller's."""
        if self._crash is not None:
            raise self._crash

    def buffered_rows(self) -> int:
        """Rows that are decoded and wait to be loaded."""
        with self._lock:
            return sum(output.waiting.rows for output in self.outputs.values())

    def full(self) -> bool:
        """Whether fetching waits for the loader."""
        with self._lock:
            outputs = self.outputs.values()
            return (
                sum(output.waiting.nbytes for output in outputs) >= _UNLOADED_BYTES
                or sum(output.waiting.rows for output in outputs) >= _UNLOADED_ROWS
            )

    def _guard(self, target: object, *args: object) -> None:
        """A programming error in a thread ends the run instead of hanging it."""
        try:
            target(*args)  # type: ignore[operator]
        except BaseException as error:
            self._crash = self._crash or error
            self._end()

    def _fetch(self, pool: Sequence[Read]) -> None:
        while (chain := self._next_chain(pool)) is not None:
            try:
                self._follow(chain)
            except KlaviyoError as error:
                self._fail(chain, error)

    def _next_chain(self, pool: Sequence[Read]) -> Chain | None:
        """Work for a thread; its reads share the condition `idle`."""
        with self._lock:
            while not (self.stop.is_set() or self._halted):
                chain = next((one for read in pool if (one := read.next_pending()) is not None), None)
                if chain is None:
                    shares = (read.share(self.clock.now()) for read in pool)
                    chain = next((share for share in shares if share is not None), None)
                if chain is not None:
                    chain.read.active.append(chain)
                    return chain
                if not any(read.active for read in pool):
                    break
                pool[0].idle.wait()
            pool[0].idle.notify_all()
            return None

    def _follow(self, chain: Chain) -> None:
        read, endpoint, path, asked = chain.read, chain.request.endpoint, chain.request.path, chain.request.body
        while True:
            try:
                page = self._listings.get(path, partial(self._get, chain, path, asked))
            except RequestRejected as error:
                parent = endpoint.parent
                if error.status == 404 and chain.parent is not None and parent is not None and parent.absent_ok:
                    break
                raise
            body = self._looked_up(chain, page.body)
            if body is None:
                return
            with self._lock:
                chain.waiting += 1
                self._fetched.append(_Fetched(chain, body))
                self._undecoded_bytes += len(body)
                self._to_decode.notify()
                if page.next is None:
                    break
                while self._crowded(chain) and not (self.stop.is_set() or read.given_up(chain)):
                    chain.room.wait()
                if self.stop.is_set() or self._halted or read.given_up(chain):
                    return
                if chain.passed():
                    break
            path, asked = query.following(endpoint, path, asked, page.next)
        with self._lock:
            chain.fetched = True
            self._settle(chain)

    def _get(self, chain: Chain, path: str, body: bytes | None) -> Page:
        read, endpoint = chain.read, chain.request.endpoint
        rate = read.rate if endpoint is read.endpoint else endpoint.rate
        return self.client.get(path, endpoint, rate, read.traffic, body)

    def _looked_up(self, chain: Chain, body: bytes) -> bytes | None:
        """A page with what its report looks up for it; None where that is not to be waited for."""
        read = chain.read
        if read.lookup is None or chain.request.endpoint is not read.endpoint:
            return body
        endpoint, above = read.lookup
        readers = sum(other.lookup == read.lookup for other in self.reads)

        def given_up() -> bool:
            return self.stop.is_set() or self._halted or read.given_up(chain)

        return self.lookups.joined(body, endpoint, above.type, readers, read.traffic, given_up)

    def _crowded(self, chain: Chain) -> bool:
        """Whether a chain waits for its own pages to be decoded before it fetches another."""
        most = 1 if self._undecoded_bytes >= _UNDECODED_BYTES else _UNDECODED_PER_CHAIN
        return chain.waiting >= most

    def _decode(self) -> None:
        while True:
            with self._lock:
                while not self.stop.is_set() and (not self._fetched or self.full()):
                    if not self._fetched and all(read.ended for read in self.reads):
                        # What is started later starts another.
                        self._decoder = None
                        return
                    self._to_decode.wait()
                if self.stop.is_set():
                    return
                page = self._fetched.popleft()
                self._undecoded_bytes -= len(page.body)
            try:
                self._take_page(page)
            except KlaviyoError as error:
                self._fail(page.chain, error)
            with self._lock:
                page.chain.waiting -= 1
                page.chain.room.notify()
                self._settle(page.chain)
                # Where the chain is now may make it worth sharing.
                page.chain.read.idle.notify()
                self._staff(page.chain.read)

    def _take_page(self, page: _Fetched) -> None:
        chain, read = page.chain, page.chain.read
        request, endpoint = chain.request, chain.request.endpoint
        if endpoint is not read.endpoint:
            self._take_parents(page)
            return
        whole_periods = endpoint.analytics is not None
        context = {**request.context, OBSERVED_AT: self.clock.now().isoformat()} if whole_periods else request.context
        shaped = [(output, output.shaper.shape(page.body, context)) for output in read.outputs]
        # Reports that share a page share its place in time: once a page, or it would seem to go back.
        dated = [(result.table, output.cursor_column) for output, result in shaped if output.cursor_column is not None]
        cursor = endpoint.cursor
        if dated:
            place = span(*dated[0])
        elif cursor is not None and cursor.ascending:
            place = records_span(page.body, cursor.field)
        else:
            place = (None, None, True)
        with self._lock:
            if read.given_up(chain):
                return
            chain.move(*place)
            surplus = query.surplus(endpoint, request.window, chain.window)
            for output, result in shaped:
                table = result.table
                if output.cursor_column is not None:
                    table = without(table, output.cursor_column, surplus)
                output.misfits.update(result.misfits)
                if whole_periods:
                    chain.held.append((output, table))
                else:
                    output.add(table, chain)

    def _take_parents(self, page: _Fetched) -> None:
        chain, read, endpoint = page.chain, page.chain.read, page.chain.request.endpoint
        parent = read.below(endpoint).parent
        if parent is None:
            return
        surplus = query.surplus(endpoint, chain.request.window, chain.window)
        field_name = endpoint.cursor.field if endpoint.cursor else None
        found = parents(page.body, parent, field_name, surplus)
        with self._lock:
            if read.given_up(chain):
                return
            for parent_id, context in found:
                below = read.children(chain, parent_id, context)
                read.pending.extend(below)
                chain.children += len(below)
            read.idle.notify_all()

    def _settle(self, chain: Chain) -> None:
        """Mark a chain as read when its last page is decoded and its children are read. Call with the lock."""
        if chain.done or not chain.fetched or chain.waiting or chain.children or chain.read.given_up(chain):
            return
        chain.done = True
        read = chain.read
        for output in read.outputs if chain.held else ():
            output.add(each_once([table for of, table in chain.held if of is output]), chain)
        chain.held.clear()
        if chain in read.active:
            read.active.remove(chain)
        if chain.parent is not None:
            chain.parent.children -= 1
            self._settle(chain.parent)
        else:
            read.finished.setdefault(chain.request.variant.key, []).append(chain.window)
        read.ended_s = self.clock.monotonic()
        if read.ended:
            read.idle.notify_all()
            self._to_decode.notify()

    def _fail(self, chain: Chain, error: KlaviyoError) -> None:
        """A window failed for good: its report ends there, or moves on over it where the user asked for that.

        What lies before it is read to its end, so that the next run does not start where this one did.
        """
        with self._lock:
            read, top = chain.read, chain.top
            read.errors.append((top.window, error))
            of_the_window = isinstance(error, TransientError | RequestRejected)
            if read.settings.advance_on_failure and of_the_window and not read.outputs[0].whole:
                if top.window not in read.skipped:
                    read.skipped.append(top.window)
                chain.fetched, chain.waiting, chain.children = True, 0, 0
                self._settle(chain)
            else:
                # The same question about another period would be refused as well.
                refused = chain.request.body is not None and not isinstance(error, TransientError)
                at_once = read.outputs[0].whole or refused
                read.break_at(BEGINNING if at_once else top.window.start)
                read.ended_s = self.clock.monotonic()
                self._to_decode.notify()

    def drop(self, report: str) -> None:
        """Nobody wants the rest of a report; its requests end unless they fill another one too."""
        with self._lock:
            read, dropped = self.read_of(report), self.outputs[report]
            dropped.dropped = True
            dropped.waiting.drain()
            if dropped.spool is not None:
                dropped.spool.close()
            if all(output.dropped for output in read.outputs):
                read.break_at(BEGINNING)
                self._to_decode.notify()
