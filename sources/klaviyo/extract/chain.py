"""A chain: pages that follow one another, how far they are read, and where the rest can be cut in two."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pyarrow as pa

from ..plan.streams import Request
from ..windows import Window
from .uniqueness import Uniqueness


@dataclass(slots=True)
class Density:
    """How much time a page spans on average, over a chain and all chains that were cut off it."""

    spanned: timedelta = timedelta(0)
    pages: int = 0

    def add(self, span: timedelta) -> None:
        """Count a page."""
        self.spanned += span
        self.pages += 1

    @property
    def page(self) -> timedelta:
        """The average; 0 before the first page."""
        return self.spanned / self.pages if self.pages else timedelta(0)


@dataclass(eq=False, slots=True)
class Chain:
    """Pages that follow one another. Not thread-safe: its stream's lock guards it.

    Attributes:
        request: the first request.
        room: waited on while enough of its pages wait to be decoded.
        parent: the chain whose records are the parents of what this one reads.
        settled: date of the parent record, if nothing will be added to it until that changes.
        window: what is still to be read. An idle thread may take its later half away.
        progress: greatest cursor value decoded so far.
        page_start: least cursor value of the page decoded last. The time from there to `progress` is the span of a page.
        page_end: greatest cursor value of the page decoded last, where page tokens may lose others with that value.
        density: the average span of a page.
        ascends: whether every page so far came in the order that was asked for.
        undecoded: pages that are fetched and not decoded.
        empty_pages: pages without a record, since the last one that had some.
        children: chains that must be done before this one is.
        held: (output, rows) of a period that is replaced as a whole, until all of its pages are here.
        fetched: no further page will be requested.
        done: all of it is read, its children too.
        uniqueness: report -> proof that its rows are new, where that matters.
    """

    request: Request
    room: threading.Condition
    parent: Chain | None = None
    settled: str | None = None
    progress: datetime | None = None
    page_start: datetime | None = None
    page_end: datetime | None = None
    density: Density = field(default_factory=Density)
    ascends: bool = True
    undecoded: int = 0
    empty_pages: int = 0
    children: int = 0
    held: list[tuple[int, pa.Table]] = field(default_factory=list)
    fetched: bool = False
    done: bool = False
    uniqueness: dict[str, Uniqueness] = field(default_factory=dict)
    window: Window = field(init=False)

    def __post_init__(self) -> None:
        self.window = self.request.window

    @property
    def top(self) -> Chain:
        """The chain of the window that this one belongs to: itself, or that of its first parents."""
        return self if self.parent is None else self.parent.top

    def move(self, low: datetime | None, high: datetime | None, ascends: bool) -> None:
        """Note where in time a page is.

        Args:
            low: least cursor value of the page; None where it has none.
            high: the greatest.
            ascends: whether the values ascend.
        """
        if low is None or high is None:
            return
        follows = self.progress is None or low >= self.progress.replace(microsecond=0)
        # A value outside of what was asked for says nothing about where the chain is.
        asked = self.request.window
        inside = asked.start <= low and high < asked.end
        self.ascends = self.ascends and ascends and follows and inside
        self.page_start = low
        self.density.add(high - low)
        self.progress = max(self.progress or high, high)

    def passed(self) -> bool:
        """Whether all that follows lies beyond the window."""
        return self.ascends and self.progress is not None and self.progress >= self.window.end

    def read_part(self) -> Window | None:
        """The part of the window that is read for certain, of a chain that moves forward in time."""
        cursor = self.request.endpoint.cursor
        if cursor is None or not cursor.ascending or not self.ascends or self.progress is None:
            return None
        end = self.progress.replace(microsecond=0)
        return Window(self.window.start, end) if self.window.start < end < self.window.end else None

    def cut(self, now: datetime, worth_pages: int) -> tuple[float, datetime] | None:
        """Where to cut off pages that are not requested yet, and how many they are; None where it is not worth it.

        Pages that wait to be decoded and the one being fetched are left out: a cut there would read them twice.

        Args:
            worth_pages: how many pages a part must have.
        """
        cursor = self.request.endpoint.cursor
        # Other reports read the pages of a shared chain too, so it is not cut.
        if self.fetched or self.request.shared or not self.ascends or cursor is None or not cursor.ascending:
            return None
        if self.progress is None or self.page_start is None:
            return None
        page = max(timedelta(seconds=1), self.progress - self.page_start)
        start, end = self.progress + (self.undecoded + 1) * page, min(self.window.end, now)
        if start >= end:
            return None
        pages = (end - start) / max(page, self.density.page)
        if pages >= worth_pages:
            return pages, (start + (end - start) / 2).replace(microsecond=0)
        # In a burst the last page is dense, and the estimate from it is too high. Halving a sparse period until the
        # cuts come close to the burst would cost a request each; one cut at a fixed distance costs one request.
        near = start + worth_pages * page
        return (pages, near.replace(microsecond=0)) if near + worth_pages * page <= end else None
