"""The requests that read one report: what a plan asks for first, and which reports go through the same pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..catalog.model import Endpoint, Variant
from ..http import query
from ..windows import Window
from .plan import Plan


@dataclass(eq=False, slots=True)
class Request:
    """The first request of a chain of pages: one window, one variant, one parent.

    Attributes:
        body: what a POST asks.
        context: what the request knows of the rows and the answer does not say.
        parent_id: id in the path, where the endpoint is asked once per parent.
        shared: other reports go through the same pages.
    """

    endpoint: Endpoint
    path: str
    body: bytes | None
    window: Window
    variant: Variant
    context: Mapping[str, str | None]
    parent_id: str | None
    shared: bool = False


class RequestStream:
    """The requests of one plan.

    Attributes:
        first: the requests that it starts with. Those for the children of each record are made from the answers.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.report = plan.report
        self.settings = plan.settings
        self.endpoint = plan.report.endpoint
        self.windows = list(plan.windows)
        top = self.report.lineage[0]
        self.first = [self.request(top, window, variant) for window in self.windows for variant in top.variants]

    @property
    def key(self) -> tuple[object, ...]:
        """Streams with the same key send the same requests."""
        report = self.report
        return (
            self.plan.whole,
            self.endpoint.name,
            self.endpoint.path,
            tuple(variant.key for variant in self.endpoint.variants),
            self.settings.analytics,
            report.sort,
            report.include,
            report.additional_fields,
            report.lookup and report.lookup.endpoint.name,
            tuple(sorted((kind, tuple(names)) for kind, names in report.fields.items())),
            tuple(self.windows),
            self.settings.split_by,
            self.settings.advance_on_failure,
            # Whether a metric that Klaviyo does not filter by is an error.
            report.event_metric is not None and report.event_metric.by_pattern,
        )

    @property
    def listing(self) -> tuple[object, ...]:
        """Streams with the same listing start with the same records, whatever they include."""
        first = self.report.lineage[0]
        return (first, tuple(query.bounds(first, window) for window in self.windows))

    @property
    def listed(self) -> frozenset[str]:
        """What the first requests include."""
        first = self.report.lineage[0]
        if first is self.endpoint:
            return frozenset(self.report.include)
        below = self.report.below(first).parent
        return frozenset(below.include if below else ())

    def lists_for(self, other: RequestStream) -> bool:
        """Whether the first pages of this stream show everything that another one looks for its parents in."""
        report = self.report
        if report.lineage[0] is self.endpoint and (
            self.endpoint.type in report.fields or report.rate != self.endpoint.rate
        ):
            return False
        return self.listing == other.listing and self.listed >= other.listed

    def follow(self, other: RequestStream) -> None:
        """Look for the parents in the pages of another stream. To be called before anything is asked for."""
        for mine, theirs in zip(self.first, other.first, strict=True):
            mine.path = theirs.path
            mine.shared = theirs.shared = True

    def request(
        self,
        endpoint: Endpoint,
        window: Window,
        variant: Variant,
        parent_id: str | None = None,
        context: Mapping[str, str | None] | None = None,
    ) -> Request:
        """The request of one endpoint of the lineage for one window."""
        report = self.report
        own = endpoint is self.endpoint
        below = None if own else report.below(endpoint).parent
        path = query.url(
            endpoint,
            window=window,
            variant=variant,
            parent_id=parent_id,
            include=report.include if own else below.include if below else (),
            fields=report.fields if own else None,
            additional_fields=report.additional_fields if own else (),
            sort=report.sort if own else None,
        )
        known: Mapping[str, str | None] = {**variant.context, **(context or {})}
        body, asked = None, self.settings.analytics
        if endpoint.analytics is not None and asked is not None:
            path, body = endpoint.path, query.body(endpoint, endpoint.analytics, asked, window, variant)
            known = {**known, **query.context_of(asked, window)}
        return Request(endpoint, path, body, window, variant, known, parent_id)


def share_listings(streams: Iterable[RequestStream]) -> None:
    """Let streams that look for parents among the same records go through the same pages: those that show most."""
    streams = [stream for stream in streams if stream.first]
    for stream in streams:
        if len(stream.report.lineage) > 1:
            able = [other for other in streams if other.lists_for(stream)]
            # A report of the records themselves goes through its own pages in any case.
            best = max(able, key=lambda other: (len(other.report.lineage) == 1, len(other.listed)))
            if best is not stream:
                stream.follow(best)
