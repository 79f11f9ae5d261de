"""A stream while it is read: which chain comes next, what a page adds, what is covered, what a failure ends.

No threads and no I/O here: the engine fetches and calls these methods, the lock of all streams guards them.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from datetime import datetime, timedelta
from functools import reduce
from operator import itemgetter

import pyarrow as pa

from ..decode.analytics import OBSERVED_AT, each_once
from ..decode.parents import ParentRecord, parents, records_span
from ..decode.tables import Shaped, span, without
from ..errors import KlaviyoError, RequestRejected, TransientError
from ..http import query
from ..http.client import Traffic
from ..jsonapi import has_records
from ..plan.plan import Plan
from ..plan.streams import RequestStream
from ..windows import BEGINNING, EVERYTHING, Window, intersection, subtract, union
from .chain import Chain
from .metrics import unfilterable
from .output import Output
from .tuning import Tuning
from .uniqueness import Uniqueness

log = logging.getLogger("klaviyo")


class Stream(RequestStream):
    """The requests of one plan while they are sent, and the reports that their pages fill.

    Args:
        plan: whose requests are sent. Further outputs ask for the same ones.
        lock: guards everything that changes here and in its chains; shared by all streams of an engine.

    Attributes:
        idle: threads of this stream that have no chain wait here.
        pool: streams that share their threads, this one among them.
        pending: chains that no thread has started.
        active: chains that are being read.
        finished: key of a variant -> windows that are read.
        deferred: what the daily quota leaves to later runs.
        skipped: windows that failed, of a report with `advance_on_failure`.
        childless: parents without a child -> their date, of those that are not asked again before it changes.
        errors: (window, error) of each failure.
        failed: a window failed for good.
        left_out: why nothing is read, although nothing failed: a pattern chose a metric by which Klaviyo does not filter.
        broken_at: start of the first window that failed. Nothing from there on is read; what lies before is.
        broken: chains that are given up.
    """

    def __init__(self, plan: Plan, lock: threading.RLock, tuning: Tuning) -> None:
        super().__init__(plan)
        self.lock = lock
        self._tuning = tuning
        self.idle = threading.Condition(lock)
        self.pool: list[Stream] = [self]
        self.outputs: list[Output] = []
        self.traffic = Traffic()
        self.pending = deque(Chain(request, threading.Condition(lock)) for request in self.first)
        self.active: list[Chain] = []
        self.finished: dict[tuple[str, str], list[Window]] = {}
        self.deferred: list[Window] = []
        self.skipped: list[Window] = []
        self.childless: dict[str, str] = {}
        self.errors: list[tuple[Window, KlaviyoError]] = []
        self.failed = False
        self.left_out: KlaviyoError | None = None
        self.broken_at: datetime | None = None
        self.broken: list[Chain] = []
        self.started_s = 0.0
        self.ended_s = 0.0
        self.started_threads = 0
        self._begun = 0
        self._dated = self.report.lineage.index(self.report.dated_endpoint)

    # --- which chain is next

    def join(self, pool: list[Stream]) -> None:
        """Share threads with other streams of the same endpoint. To be called before any is started."""
        pool.append(self)
        self.pool, self.idle = pool, pool[0].idle

    @property
    def threads(self) -> int:
        """As many threads as the rate limit can use, and as the work can be split into."""
        most = self._tuning.threads(self.report.rate, self.traffic.answer_s)
        cursor = self.endpoint.cursor
        divisible = self.endpoint.parent is not None or (cursor is not None and cursor.ascending)
        return most if divisible else min(most, len(self.pending))

    @property
    def ended(self) -> bool:
        """Whether nothing more will be read."""
        return not (self.pending or self.active)

    def given_up(self, chain: Chain) -> bool:
        """Whether a chain is not read on, since its window or an earlier one failed."""
        return self.broken_at is not None and chain.top.window.start >= self.broken_at

    def next_pending(self) -> Chain | None:
        """The next chain that no thread has started; None where there is none, or where the daily quota leaves the rest to
        later runs. Call with the lock."""
        asked = self.settings.analytics
        most = None if asked is None else asked.most_requests
        if most is not None and max(self._begun, self.traffic.requests) >= most:
            self.deferred = union([*self.deferred, *(chain.window for chain in self.pending)])
            self.pending.clear()
        self._begun += 1
        return self.pending.popleft() if self.pending else None

    def steal(self, now: datetime) -> Chain | None:
        """Work stealing: cut the longest remaining chain in two and return the later half, if it is worth it. Call with
        the lock."""
        if self.settings.split_by != "auto":
            return None
        worth_pages = self._tuning.pages_worth_sharing
        worth = [(*cut, chain) for chain in self.active if (cut := chain.cut(now, worth_pages)) is not None]
        if not worth:
            return None
        _, middle, longest = max(worth, key=itemgetter(0))
        if longest.progress is None or not longest.progress < middle < longest.window.end:
            return None
        first = longest.request
        window = Window(middle, longest.window.end)
        request = self.request(first.endpoint, window, first.variant, first.parent_id, first.context)
        later = Chain(request, threading.Condition(self.lock), longest.parent, density=longest.density)
        if longest.parent is not None:
            longest.parent.children += 1
        longest.window = Window(longest.window.start, middle)
        return later

    def crowded(self, chain: Chain, undecoded_bytes: int) -> bool:
        """Whether a chain waits for its own pages to be decoded before it fetches another.

        Args:
            undecoded_bytes: of the pages of all streams.
        """
        full = undecoded_bytes >= self._tuning.undecoded_bytes
        return chain.undecoded >= (1 if full else self._tuning.undecoded_pages)

    # --- what a page adds

    def absent(self, chain: Chain, error: RequestRejected) -> bool:
        """Whether a refusal means that one parent has no such child. If it will never have one, that is noted."""
        parent = chain.request.endpoint.parent
        absent = error.status == 404 and chain.parent is not None and parent is not None and parent.absent_ok
        if absent and chain.settled is not None and chain.request.parent_id is not None:
            with self.lock:
                self.childless[chain.request.parent_id] = chain.settled
        return absent

    def take(self, chain: Chain, body: bytes, now: datetime) -> None:
        """Decode a page into the rows of every output, or into chains for the children of its records.

        Args:
            now: when it was received, aware UTC.

        Raises:
            KlaviyoError: the page is not what was asked for.
        """
        if chain.request.endpoint is self.endpoint:
            self._take_rows(chain, body, now)
        else:
            self._take_parents(chain, body)

    def _take_rows(self, chain: Chain, body: bytes, now: datetime) -> None:
        request, endpoint = chain.request, self.endpoint
        context = request.context
        if endpoint.analytics is not None:
            context = {**context, OBSERVED_AT: now.isoformat()}
        shaped = [output.shaper.shape(body, context) for output in self.outputs]
        self._count_empty(chain, body, any(result.table.num_rows for result in shaped))
        place = self._place(body, shaped)
        with self.lock:
            if self.given_up(chain):
                return
            self._ask_again(chain, place[1])
            chain.move(*place)
            surplus = query.surplus(endpoint, request.window, chain.window)
            for number, (output, result) in enumerate(zip(self.outputs, shaped, strict=True)):
                table = result.table
                if output.cursor_column is not None:
                    table = without(table, output.cursor_column, surplus)
                output.count(result)
                if endpoint.analytics is not None:
                    chain.held.append((number, table))
                else:
                    self._add(output, table, chain)

    def _count_empty(self, chain: Chain, body: bytes, rows: bool) -> None:
        """Count pages in a row without a record.

        Args:
            rows: the page gave some.

        Raises:
            TransientError: there are so many of them that the pages have no end.
        """
        chain.empty_pages = 0 if rows or has_records(body) else chain.empty_pages + 1
        if chain.empty_pages > self._tuning.most_empty_pages:
            raise TransientError(
                f"{chain.request.endpoint.path}: {chain.empty_pages} pages in a row without a record, and no last one"
            )

    def _ask_again(self, chain: Chain, high: datetime | None) -> None:
        """Where page tokens may lose records, ask once more for the second in which the page before ended. Call with
        the lock.

        Args:
            high: the greatest cursor value of this page.
        """
        request, ended = chain.request, chain.page_end
        if request.endpoint.cursor is None or request.endpoint.cursor.unique:
            return
        chain.page_end = high
        if ended is None:
            return
        second = ended.replace(microsecond=0)
        window = Window(max(chain.window.start, second), min(chain.window.end, second + timedelta(seconds=1)))
        # Records of one second that fill more than a page cannot be told apart by a filter.
        if window.start >= window.end or window == chain.window:
            return
        again = self.request(request.endpoint, window, request.variant, request.parent_id, request.context)
        self.pending.append(Chain(again, threading.Condition(self.lock), chain.parent))
        if chain.parent is not None:
            chain.parent.children += 1

    def _place(self, body: bytes, shaped: list[Shaped]) -> tuple[datetime | None, datetime | None, bool]:
        """Least and greatest cursor value of a page, and whether they ascend.

        Only of the first report that has a cursor: a page that is counted twice would seem to go back in time.
        """
        for output, result in zip(self.outputs, shaped, strict=True):
            if output.cursor_column is not None:
                return span(result.table, output.cursor_column)
        cursor = self.endpoint.cursor
        if cursor is not None and cursor.ascending:
            return records_span(body, cursor.field)
        return None, None, True

    def _add(self, output: Output, table: pa.Table, chain: Chain) -> None:
        output.add(table, new=output.new and self._is_new(output, table, chain))

    def _is_new(self, output: Output, table: pa.Table, chain: Chain) -> bool:
        if output.cursor_column is None or chain.parent is not None:
            return False
        name, (key,) = output.plan.report.name, output.plan.report.key_columns
        proof = chain.uniqueness.setdefault(name, Uniqueness(key, output.cursor_column))
        return table.num_rows == 0 or proof.holds(table, chain.window)

    def _take_parents(self, chain: Chain, body: bytes) -> None:
        endpoint = chain.request.endpoint
        parent = self.report.below(endpoint).parent
        if parent is None:
            return
        surplus = query.surplus(endpoint, chain.request.window, chain.window)
        found = parents(body, parent, endpoint.cursor.field if endpoint.cursor else None, surplus)
        self._count_empty(chain, body, bool(found))
        cursor = endpoint.cursor
        high = records_span(body, cursor.field)[1] if cursor is not None and not cursor.unique else None
        with self.lock:
            if self.given_up(chain):
                return
            self._ask_again(chain, high)
            for record in found:
                if record.settled is not None and self.plan.childless.get(record.id) == record.settled:
                    continue
                below = self._children(chain, record)
                self.pending.extend(below)
                chain.children += len(below)
            self.idle.notify_all()

    def _children(self, parent: Chain, record: ParentRecord) -> list[Chain]:
        """The chains of one parent record's children. They have its window where nothing above them has a date."""
        above = parent.request
        window = EVERYTHING if self.report.lineage.index(above.endpoint) >= self._dated else parent.window
        endpoint = self.report.below(above.endpoint)
        known = {**above.context, **record.context}
        requests = [self.request(endpoint, window, variant, record.id, known) for variant in endpoint.variants]
        return [Chain(request, threading.Condition(self.lock), parent, record.settled) for request in requests]

    def ask_again(self, chain: Chain) -> None:
        """Replace the request of a chain by one for what is not read yet. Call with the lock.

        Precondition: all pages of the chain are decoded.
        """
        first, part = chain.request, chain.read_part()
        window = Window(part.end if part else chain.window.start, chain.window.end)
        chain.request = self.request(first.endpoint, window, first.variant, first.parent_id, first.context)
        chain.held.clear()
        chain.empty_pages = 0

    # --- what ends

    def settle(self, chain: Chain, now_s: float) -> None:
        """Mark a chain as read, if its last page is decoded and its children are read. Call with the lock.

        Args:
            now_s: on the clock's monotonic scale.
        """
        if chain.done or not chain.fetched or chain.undecoded or chain.children or self.given_up(chain):
            return
        chain.done = True
        for number, output in enumerate(self.outputs) if chain.held else ():
            self._add(output, each_once([table for of, table in chain.held if of == number]), chain)
        chain.held.clear()
        if chain in self.active:
            self.active.remove(chain)
        if chain.parent is not None:
            chain.parent.children -= 1
            self.settle(chain.parent, now_s)
        else:
            self.finished.setdefault(chain.request.variant.key, []).append(chain.window)
        self.ended_s = now_s
        if self.ended:
            self.idle.notify_all()

    def fail(self, chain: Chain, error: KlaviyoError, now_s: float) -> None:
        """End the report at the window that failed, or with `advance_on_failure` skip that window.

        Earlier windows are still read, so that the next run has less to do. Call with the lock.
        """
        if self.left_out is not None:
            return
        top, no_filter = chain.top, unfilterable(self.report, error)
        if no_filter is not None and self.report.event_metric is not None and self.report.event_metric.by_pattern:
            log.warning("%s", no_filter)
            self.left_out = no_filter
            self._give_up(BEGINNING)
            self.ended_s = now_s
            return
        error = no_filter or error
        self.errors.append((top.window, error))
        of_the_window = isinstance(error, TransientError | RequestRejected)
        if self.settings.advance_on_failure and of_the_window and not self.plan.whole:
            if top.window not in self.skipped:
                self.skipped.append(top.window)
            chain.fetched, chain.undecoded, chain.children = True, 0, 0
            self.settle(chain, now_s)
            return
        # An analytics query or a metric that Klaviyo refuses is refused for every period.
        refused = no_filter is not None or (chain.request.body is not None and not isinstance(error, TransientError))
        self.break_at(BEGINNING if self.plan.whole or refused else top.window.start)
        self.ended_s = now_s

    def break_at(self, start: datetime) -> None:
        """Read no window that starts there or later, since that one failed. Call with the lock."""
        self.failed = True
        self._give_up(start)

    def _give_up(self, start: datetime) -> None:
        self.broken_at = min(start, self.broken_at or start)
        self.pending = deque(chain for chain in self.pending if not self.given_up(chain))
        self.broken += [chain for chain in self.active if self.given_up(chain)]
        self.active = [chain for chain in self.active if not self.given_up(chain)]
        self.wake()

    def wake(self) -> None:
        """Let every thread that waits look again. Call with the lock."""
        self.idle.notify_all()
        for chain in (*self.active, *self.broken):
            chain.room.notify_all()

    # --- coverage and progress

    def covered(self) -> list[Window]:
        """What has been read so far without a gap inside, over all variants. Call with the lock."""
        if not self.windows:
            return []
        moving = self.settings.split_by == "auto"
        per_variant = []
        for variant in self.report.lineage[0].variants:
            windows = list(self.finished.get(variant.key, []))
            for chain in (*self.active, *self.broken) if moving else ():
                request = chain.request
                if request.variant is variant and chain.parent is None and request.endpoint is self.endpoint:
                    part = chain.read_part()
                    windows += [part] if part else []
            per_variant.append(windows)
        return union([*reduce(intersection, per_variant, [EVERYTHING]), *self.skipped])

    def missing(self) -> list[Window]:
        """What a stream that failed has not read of its windows, skipped windows included. Call with the lock."""
        covered = self.covered() if self.windows != [EVERYTHING] else []
        rest = [part for window in self.windows for part in subtract(window, covered)] if self.failed else []
        return union([*rest, *self.skipped])

    def fraction(self, now: datetime) -> float | None:
        """Part of the period that is read, by time; None where there is no period. Call with the lock."""
        if not self.windows or self.windows[0].start == BEGINNING:
            return None
        total_s = sum((min(w.end, now) - w.start).total_seconds() for w in self.windows)
        done_s = sum((w.end - w.start).total_seconds() for w in self.covered())
        return max(0.0, min(1.0, done_s / total_s)) if total_s > 0 else None
