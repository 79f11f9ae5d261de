"""The numbers that trade memory for speed, each with its reason. Measured; see docs/performance.md."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..catalog.model import Rate


@dataclass(frozen=True, slots=True)
class Tuning:
    """How much is fetched, decoded and loaded at once.

    Attributes:
        undecoded_pages: pages of one chain that may wait to be decoded: enough to keep fetching, few enough to know
            soon how far the chain is.
        undecoded_bytes: many chains with a page each fill the memory too. Beyond this, each may have one page.
        unloaded_bytes: decoded rows that may wait to be loaded: what Klaviyo's limit for events brings while a load
            package is loaded.
        unloaded_rows: the same in rows. As many as a load package has: more would make the next one larger.
        most_threads: enough for 3500 requests a minute whose answers take three seconds. Undecoded pages grow with it.
        pages_worth_sharing: every cut costs about one more request, so what is cut in two must be several times that.
        most_empty_pages: pages in a row that hold no record, before a chain counts as endless.
        latency_s: there are always threads enough for answers that take so long.
        haste: how much faster than its steady limit an endpoint is asked. The burst limit allows it for a part of a
            minute.
        table_rows: dlt spends about 2 ms on an item, so tables are handed over with so many rows.
        table_bytes: the same in bytes.
        spool_bytes: rows that a whole report holds in memory before it spools them to disk.
        spool_table_rows: rows of one table on disk.
        package_rows: rows after which a load package ends. A package costs about a second of dlt's own time.
        package_s: seconds after which it ends.
        worth_loading_rows: rows that are worth a package while more are still being read.
        progress_s: how often progress is told.
        lease_s: how long a lease in the destination lasts that nobody renews. A run renews it three times as often;
            after a kill, runs elsewhere wait for so long.
    """

    undecoded_pages: int = 2
    undecoded_bytes: int = 16 << 20
    unloaded_bytes: int = 128 << 20
    unloaded_rows: int = 500_000
    most_threads: int = 180
    pages_worth_sharing: int = 8
    most_empty_pages: int = 100
    latency_s: float = 0.25
    haste: float = 2.0
    table_rows: int = 10_000
    table_bytes: int = 16 << 20
    spool_bytes: int = 8 << 20
    spool_table_rows: int = 50_000
    package_rows: int = 500_000
    package_s: float = 180.0
    worth_loading_rows: int = 100_000
    progress_s: float = 0.25
    lease_s: float = 300.0

    def threads(self, rate: Rate, answer_s: float = 0.0) -> int:
        """Threads that use up the steady limit of an endpoint, and a small account's share of it sooner.

        Args:
            answer_s: how long an answer takes.
        """
        return min(self.most_threads, math.ceil(rate.steady / 60 * max(self.latency_s, self.haste * answer_s)) + 1)


DEFAULT = Tuning()
