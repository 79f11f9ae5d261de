"""The requests that read one report: with which it begins, and which other reports go through the same pages. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from . import query
from .reports import endpoint_of, lineage, lookup_of, rate_of
from .settings import ReportSettings
from .spec import Endpoint, Report, Variant
from .windows import Window


@dataclass(eq=False, slots=True)
class Request:
    """What asks for the first of some pages that follow one another: one window, one variant, one parent.

    Attributes:
        body: what a POST asks.
        context: what is known of the rows and the answer does not say.
        parent_id: id in the path, where the endpoint is read once a parent.
        shared: other reports go through the very same pages.
    """

    endpoint: Endpoint
    path: str
    body: bytes | None
    window: Window
    variant: Variant
    context: Mapping[str, str | None]
    parent_id: str | None
    shared: bool = False


class Stream:
    """The requests of one report.

    Args:
        windows: what to read, in this order.

    Attributes:
        first: the requests that it begins with; those for each of their records are known once they are answered.
    """

    def __init__(self, report: Report, settings: ReportSettings, windows: Sequence[Window]) -> None:
        self.report = report
        self.settings = settings
        self.windows = list(windows)
        self.endpoint = endpoint_of(report)
        options = tuple(option for option in report.optional_fields if option in settings.options)
        self.additional_fields = report.additional_fields + options
        self.rate = rate_of(report, self.additional_fields)
        self.lineage = lineage(report)
        self.lookup = lookup_of(report)
        top = self.lineage[0]
        self.first = [self.request(top, window, variant) for window in self.windows for variant in top.variants]

    @property
    def key(self) -> tuple[object, ...]:
        """Streams with the same key send the same requests."""
        return (
            self.endpoint.name,
            self.endpoint.path,
            tuple(variant.key for variant in self.endpoint.variants),
            self.settings.analytics,
            self.report.sort,
            self.report.include,
            self.additional_fields,
            self.report.lookup,
            tuple(sorted((kind, tuple(names)) for kind, names in self.report.fields.items())),
            tuple(self.windows),
            self.settings.split_by,
            self.settings.advance_on_failure,
        )

    @property
    def listing(self) -> tuple[object, ...]:
        """Streams with the same listing begin with the same records, whatever they include."""
        first = self.lineage[0]
        return (first, tuple(query.bounds(first, window) for window in self.windows))

    @property
    def listed(self) -> frozenset[str]:
        """What the first requests include."""
        first = self.lineage[0]
        if first is self.endpoint:
            return frozenset(self.report.include)
        below = self.below(first).parent
        return frozenset(below.include if below else ())

    def lists_for(self, other: Stream) -> bool:
        """Whether the first pages of this stream show all that another one looks for its parents in."""
        if self.lineage[0] is self.endpoint and (
            self.endpoint.type in self.report.fields or self.rate != self.endpoint.rate
        ):
            return False
        return self.listing == other.listing and self.listed >= other.listed

    def follow(self, other: Stream) -> None:
        """Look for the parents in the pages of another stream. Before anything is asked for."""
        for mine, theirs in zip(self.first, other.first, strict=True):
            mine.path = theirs.path
            mine.shared = theirs.shared = True

    def below(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint that is asked once for each record of this one."""
        return self.lineage[self.lineage.index(endpoint) + 1]

    def request(
        self,
        endpoint: Endpoint,
        window: Window,
        variant: Variant,
        parent_id: str | None = None,
        context: Mapping[str, str | None] | None = None,
    ) -> Request:
        """What asks one endpoint of the lineage for a window."""
        own = endpoint is self.endpoint
        below = None if own else self.below(endpoint).parent
        path = query.url(
            endpoint,
            window=window,
            variant=variant,
            parent_id=parent_id,
            include=self.report.include if own else below.include if below else (),
            fields=self.report.fields if own else None,
            additional_fields=self.additional_fields if own else (),
            sort=self.report.sort if own else None,
        )
        known: Mapping[str, str | None] = {**variant.context, **(context or {})}
        body, figures = None, self.settings.analytics
        if endpoint.analytics is not None and figures is not None:
            path, body = endpoint.path, query.body(endpoint, endpoint.analytics, figures, window, variant)
            known = {**known, **query.context_of(figures, window)}
        return Request(endpoint, path, body, window, variant, known, parent_id)


def share_listings(streams: Iterable[Stream]) -> None:
    """Let streams that look for parents among the same records go through the same pages: those that show most."""
    streams = [stream for stream in streams if stream.first]
    for stream in streams:
        if len(stream.lineage) > 1:
            able = [other for other in streams if other.lists_for(stream)]
            # A report of the records themselves goes through its own pages in any case.
            best = max(able, key=lambda other: (len(other.lineage) == 1, len(other.listed)))
            if best is not stream:
                stream.follow(best)
