"""Fetches the pages of all reports side by side and decodes them. `load` takes the rows from here.

Each chain of pages is followed by one thread, which mostly waits for the network; one more thread decodes. There are as
many fetching threads as an endpoint's rate limit can use. Work stealing: an idle thread takes the later half of the
longest remaining chain, so that dense periods are read side by side and empty ones cost nothing. Backpressure: rows
wait in memory up to a bound, then fetching waits for the loader.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import chain as chained

import pyarrow as pa

from ..catalog.report import Report
from ..clock import Clock, SystemClock
from ..config.settings import Settings
from ..errors import KlaviyoError, RequestRejected, TransientError
from ..http import query
from ..http.client import Client, Page
from ..http.rate_limit import Governor
from ..plan.plan import Plan
from ..plan.streams import share_listings
from ..windows import BEGINNING, union
from .account import Account
from .buffer import NOTHING
from .chain import Chain
from .handle import Handle
from .lookups import Lookups
from .metrics import Metrics
from .new_fields import NewFields
from .output import Output, Taken
from .page_cache import PageCache
from .stream import Stream
from .tuning import DEFAULT, Tuning
from .vanished import Vanished

#: Statuses with which a page token can be refused that was given out too long ago.
_OF_A_TOKEN = frozenset({400, 404, 410})


@dataclass(slots=True)
class _Fetched:
    stream: Stream
    chain: Chain
    body: bytes


class Engine:
    """Reads reports of one account.

    Args:
        settings: the account, and how to reach it.
        clock: where time comes from.

    Attributes:
        account: what is known of the account itself.
        metrics: the account's metrics.
        lookups: records that are looked up for the pages of some reports.
        handles: report -> its handle, of all that were started.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None, tuning: Tuning = DEFAULT) -> None:
        self.clock = clock or SystemClock()
        self._tuning = tuning
        self._stop = threading.Event()
        self._client = Client(settings, Governor(self.clock, settings.max_wait_s, self._stop))
        self._page_cache = PageCache()
        self._new_fields = NewFields()
        self._vanished = Vanished(self._client, settings.revision)
        self.lookups = Lookups(self._client, self._vanished)
        self.account = Account(self._client, settings.revision)
        self.metrics = Metrics(self._client, settings.revision)
        self.handles: dict[str, Handle] = {}
        self._streams: list[Stream] = []
        # One lock, and a condition for each kind of waiter: to wake all threads for every page would cost more than
        # the pages.
        self._lock = threading.RLock()
        self._to_decode = threading.Condition(self._lock)
        self._fetched: deque[_Fetched] = deque()
        self._undecoded_bytes = 0
        self._halted = False
        self._crash: BaseException | None = None
        self._decoder: threading.Thread | None = None

    def start(self, plans: Iterable[Plan]) -> dict[str, Handle]:
        """Begin to read reports. Those that ask for the same share the requests.

        Returns:
            Report -> its handle.
        """
        resolved = [self._resolved(plan) for plan in plans]
        with self._lock:
            started: dict[str, Handle] = {}
            new: dict[tuple[object, ...], Stream] = {}
            for plan, asked, error in resolved:
                stream = Stream(asked, self._lock, self._tuning)
                if error is not None:
                    stream.errors.append((plan.windows[0], error))
                    stream.break_at(BEGINNING)
                stream = new.setdefault(stream.key, stream)
                output = Output(plan, self._tuning, self._new_fields)
                stream.outputs.append(output)
                started[plan.report.name] = Handle(self, stream, output)
            self.handles |= started
            share_listings(stream for stream in new.values() if stream.pending)
            pools: dict[str, list[Stream]] = {}
            for stream in new.values():
                for chain in stream.pending:
                    if chain.request.shared:
                        self._page_cache.expect(chain.request.path)
                self._streams.append(stream)
                stream.started_s = stream.ended_s = self.clock.monotonic()
                # Hundreds of metrics can be read one by one, with as many threads as for all events.
                stream.join(pools.setdefault(_family(stream.report), []))
            for pool in pools.values():
                self._staff(pool[0])
            if self._decoder is None:
                self._decoder = threading.Thread(
                    target=self._guard, args=(self._decode,), name="klaviyo-decode", daemon=True
                )
                self._decoder.start()
            return started

    def _resolved(self, plan: Plan) -> tuple[Plan, Plan, KlaviyoError | None]:
        """A plan, the plan as this account is asked for it, and why it cannot be asked."""
        if not plan.windows:
            return plan, plan, None
        try:
            if plan.settings.analytics is None:
                report = self.metrics.resolved(plan.report)
            else:
                # Klaviyo counts in the account's calendar, so its timezone must be known first.
                self.account.timezone()
                report = self.metrics.counted(plan.report, plan.settings.analytics.metrics)
        except KlaviyoError as error:
            return plan, plan, error
        return plan, replace(plan, report=report), None

    def server_now(self) -> datetime:
        """What time it is at Klaviyo, aware UTC, as far as its answers have told."""
        return self._client.server_time.now()

    def halt(self) -> None:
        """Send no further requests; what is fetched can still be loaded."""
        with self._lock:
            self._halted = True
            for stream in self._streams:
                stream.idle.notify_all()

    def close(self) -> None:
        """End all threads; what is not loaded is forgotten."""
        self._end()
        with self._lock:
            for handle in self.handles.values():
                handle.output.close()
        self._client.close()

    def wait_closed(self, seconds: float) -> bool:
        """Wait until the engine ends, or for so long; whether it has ended."""
        return self._stop.wait(seconds)

    def raise_crash(self) -> None:
        """Let an error in one of the engine's threads surface in the caller's."""
        if self._crash is not None:
            raise self._crash

    def buffered_rows(self) -> int:
        """Rows that are decoded and wait to be loaded."""
        with self._lock:
            return sum(handle.output.buffer.rows for handle in self.handles.values())

    def full(self) -> bool:
        """Whether fetching waits for the loader."""
        with self._lock:
            buffers = [handle.output.buffer for handle in self.handles.values()]
            return (
                sum(buffer.nbytes for buffer in buffers) >= self._tuning.unloaded_bytes
                or sum(buffer.rows for buffer in buffers) >= self._tuning.unloaded_rows
            )

    # --- for the handles

    def take(self, stream: Stream, output: Output, *, last: bool, append: bool) -> Taken:
        """See `Handle.take`."""
        with self._lock:
            self.raise_crash()
            ended = stream.ended
            if output.plan.whole:
                return Taken(NOTHING, None, ended)
            if append and not output.new:
                return Taken(NOTHING, None, False, needs_merge=True)
            # Many reports with little each can fill the memory too. Then nothing more comes until some of it is taken.
            enough = output.buffer.enough or (output.buffer.rows > 0 and self.full())
            if not (enough or last or ended):
                return Taken(NOTHING, None, False)
            tables = output.buffer.drain()
            covered = union([*output.plan.covered, *stream.covered()])
            self._to_decode.notify()
            return Taken(tables, covered, ended)

    def put_back(self, output: Output, tables: Iterable[pa.Table]) -> None:
        """See `Handle.put_back`."""
        with self._lock:
            output.buffer.put_back(tables)

    def drop(self, stream: Stream, output: Output) -> None:
        """See `Handle.drop`."""
        with self._lock:
            output.drop()
            if all(other.dropped for other in stream.outputs):
                stream.break_at(BEGINNING)
                self._to_decode.notify()

    # --- threads

    def _end(self) -> None:
        self._stop.set()
        with self._lock:
            self._to_decode.notify_all()
            for stream in self._streams:
                stream.wake()

    def _guard(self, target: Callable[..., None], *args: object) -> None:
        """A programming error in a thread ends the run instead of hanging it."""
        try:
            target(*args)
        except BaseException as error:
            self._crash = self._crash or error
            self._end()

    def _staff(self, stream: Stream) -> None:
        """Start the threads that a stream, and those that share its threads, can use. Call with the lock."""
        pool, first = stream.pool, stream.pool[0]
        most = max(one.threads for one in pool)
        for number in range(first.started_threads, most):
            name = f"klaviyo-{_family(first.report)}-{number}"
            threading.Thread(target=self._guard, args=(self._fetch, pool), name=name, daemon=True).start()
        first.started_threads = max(first.started_threads, most)

    def _fetch(self, pool: list[Stream]) -> None:
        while (work := self._next(pool)) is not None:
            stream, chain = work
            try:
                self._follow(stream, chain)
            except KlaviyoError as error:
                self._fail(stream, chain, error)

    def _next(self, pool: list[Stream]) -> tuple[Stream, Chain] | None:
        """Work for a thread; None once there will be none."""
        with self._lock:
            while not (self._stop.is_set() or self._halted):
                now = self.clock.now()
                pending = ((stream, stream.next_pending()) for stream in pool)
                stolen = ((stream, stream.steal(now)) for stream in pool)
                for stream, chain in chained(pending, stolen):
                    if chain is not None:
                        stream.active.append(chain)
                        return stream, chain
                if not any(stream.active for stream in pool):
                    break
                pool[0].idle.wait()
            pool[0].idle.notify_all()
            return None

    def _follow(self, stream: Stream, chain: Chain) -> None:
        endpoint, path, asked = chain.request.endpoint, chain.request.path, chain.request.body
        followed: set[int] = set()
        asked_again = False
        while True:
            # Not observed yet. A link that leads back would be followed without end and spend the quota.
            page_hash = hash((path, asked))
            if page_hash in followed:
                raise TransientError(f"{endpoint.path}: a page links to one that was read before, so it has no end")
            followed.add(page_hash)
            fetch = partial(self._get, stream, chain, path, asked)
            try:
                # The cache still has the page whose link has expired.
                page = fetch() if asked_again else self._page_cache.get(path, fetch)
            except RequestRejected as error:
                if len(followed) == 1:
                    if stream.absent(chain, error) or self._orphaned(stream, chain, error):
                        break
                    raise
                # Page tokens are refused some days later (seen), as after a long wait for the destination.
                if error.status not in _OF_A_TOKEN:
                    raise
                if asked_again:
                    raise _refused_again(error) from None
                if not self._ask_again(stream, chain):
                    return
                path, asked, asked_again = chain.request.path, chain.request.body, True
                followed.clear()
                continue
            body = self._looked_up(stream, chain, page.body)
            if body is None:
                return
            with self._lock:
                chain.undecoded += 1
                self._fetched.append(_Fetched(stream, chain, body))
                self._undecoded_bytes += len(body)
                self._to_decode.notify()
                if page.next is None:
                    break
                while stream.crowded(chain, self._undecoded_bytes) and not (
                    self._stop.is_set() or stream.given_up(chain)
                ):
                    chain.room.wait()
                if self._ends(stream, chain):
                    return
                if chain.passed():
                    break
            path, asked = query.following(endpoint, path, asked, page.next)
        with self._lock:
            chain.fetched = True
            self._settle(stream, chain)

    def _ask_again(self, stream: Stream, chain: Chain) -> bool:
        """Ask for the rest of a chain anew, once its pages are decoded; False where it is not to be followed any further."""
        with self._lock:
            while chain.undecoded and not self._ends(stream, chain):
                chain.room.wait()
            if self._ends(stream, chain):
                return False
            stream.ask_again(chain)
            return True

    def _ends(self, stream: Stream, chain: Chain) -> bool:
        """Whether a chain is not to be followed any further."""
        return self._stop.is_set() or self._halted or stream.given_up(chain)

    def _get(self, stream: Stream, chain: Chain, path: str, body: bytes | None) -> Page:
        endpoint = chain.request.endpoint
        rate = stream.report.rate if endpoint is stream.endpoint else endpoint.rate
        return self._client.get(path, endpoint, rate, stream.traffic, body)

    def _orphaned(self, stream: Stream, chain: Chain, error: RequestRejected) -> bool:
        """Whether a refusal means that the parent vanished after it was listed."""
        request = chain.request
        if request.parent_id is None:
            return False
        return self._vanished.explains(error, request.endpoint, request.parent_id, stream.traffic)

    def _looked_up(self, stream: Stream, chain: Chain, body: bytes) -> bytes | None:
        """A page with what its report looks up for it; None where the chain is not to be followed any further."""
        lookup = stream.report.lookup
        if lookup is None or chain.request.endpoint is not stream.endpoint:
            return body
        readers = sum(other.report.lookup == lookup for other in self._streams)
        given_up = partial(self._ends, stream, chain)
        return self.lookups.joined(body, lookup, readers, stream.traffic, given_up)

    def _decode(self) -> None:
        while True:
            with self._lock:
                while not self._stop.is_set() and (not self._fetched or self.full()):
                    if not self._fetched and all(stream.ended for stream in self._streams):
                        # What is started later starts another decoder.
                        self._decoder = None
                        return
                    self._to_decode.wait()
                if self._stop.is_set():
                    return
                page = self._fetched.popleft()
                self._undecoded_bytes -= len(page.body)
            stream, chain = page.stream, page.chain
            try:
                stream.take(chain, page.body, self.clock.now())
            except KlaviyoError as error:
                self._fail(stream, chain, error)
            with self._lock:
                chain.undecoded -= 1
                chain.room.notify()
                self._settle(stream, chain)
                # The chain has moved, so an idle thread may find something to steal.
                stream.idle.notify()
                self._staff(stream)

    def _settle(self, stream: Stream, chain: Chain) -> None:
        stream.settle(chain, self.clock.monotonic())
        if stream.ended:
            self._to_decode.notify()

    def _fail(self, stream: Stream, chain: Chain, error: KlaviyoError) -> None:
        with self._lock:
            stream.fail(chain, error, self.clock.monotonic())
            self._to_decode.notify()


def _refused_again(error: RequestRejected) -> TransientError:
    return TransientError(f"the link to the next page is refused, of a new first page too: {error}")


def _family(report: Report) -> str:
    """Reports of one family share their threads."""
    return report.like or report.name
