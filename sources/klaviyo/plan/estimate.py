"""The least that a plan costs: requests, and the time that Klaviyo's rate limits make them take. Sends nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..catalog.endpoints import endpoints
from ..catalog.model import AnalyticsApi, Rate
from .plan import Plan
from .streams import RequestStream, share_listings


@dataclass(frozen=True, slots=True)
class ReportCost:
    """What one report takes at least.

    Attributes:
        requests: one a window and filter. More follow where there is more than a page. A listing of parents that
            several reports go through counts once.
        seconds: what the rate limits make of them.
        per_parent: the records that each take at least one more request, or None.
        rate: the limit of the requests for the rows.
        shared_with: the report whose requests bring these rows too, so that they cost nothing.
        left: requests that the daily quota leaves to later runs.
        names_metrics: the account's metrics are asked for first, once for all reports.
    """

    plan: Plan
    requests: int
    seconds: float
    per_parent: str | None
    rate: Rate
    shared_with: str | None
    left: int = 0
    names_metrics: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run takes at least.

    Attributes:
        seconds: of the slowest endpoint, since all are read side by side.
        bounded: False where the number of parents, and so of requests, is known only by asking.
    """

    reports: list[ReportCost]
    requests: int
    seconds: float
    bounded: bool


def cost_of(plans: Sequence[Plan]) -> Cost:
    """Count the requests of every report, those that reports share only once."""
    leaders: dict[tuple[object, ...], RequestStream] = {}
    streams = [RequestStream(plan) for plan in plans]
    led_by = [leaders.setdefault(stream.key, stream) for stream in streams]
    share_listings(leaders.values())
    buckets: Counter[tuple[str, Rate]] = Counter()
    counted: set[str] = set()
    found = []
    for plan, stream, leader in zip(plans, streams, led_by, strict=True):
        shared = leader is not stream
        report, analytics = plan.report, plan.settings.analytics
        asked = report.lineage[0]
        rate = report.rate if asked is report.endpoint else asked.rate
        # A lookup takes a request per parent too.
        asking = [*report.lineage, *([report.lookup.endpoint] if report.lookup else ())]
        parents = " and ".join(below.parent.records for below in asking if below.parent)
        # Only Klaviyo knows which metrics match besides those of earlier runs.
        chooses = report.by_metric and bool(plan.settings.metrics)
        if chooses:
            parents = "metrics that match" if len(plans) == 1 else "other metrics that match"
        listings = {first.path for first in stream.first if first.shared}
        requests = 0 if shared or chooses else len(stream.first) - len(listings & counted)
        counted |= listings
        most = analytics.most_requests if analytics else None
        left = 0 if most is None else max(0, requests - most)
        requests -= left
        # One request a metric. How many metrics a pattern matches is not known here.
        if report.endpoint.analytics is not None and report.endpoint.analytics.api is AnalyticsApi.AGGREGATE:
            parents = "metrics"
        names_metrics = bool(plan.windows) and (chooses or report.metric is not None)
        buckets[asked.path, rate] += requests
        found.append(
            ReportCost(
                plan=plan,
                requests=requests,
                seconds=least_seconds(requests, rate),
                per_parent=None if shared or not (stream.first or chooses) else parents or None,
                rate=report.rate,
                shared_with=leader.report.name if shared else None,
                left=left,
                names_metrics=names_metrics,
            )
        )
    if (naming := next((one.plan.report for one in found if one.names_metrics), None)) is not None:
        metrics = endpoints(naming.revision)["metrics"]
        buckets[metrics.path, metrics.rate] += 1
    return Cost(
        reports=found,
        requests=buckets.total(),
        seconds=max((least_seconds(count, rate) for (_, rate), count in buckets.items()), default=0.0),
        bounded=not any(cost.per_parent for cost in found),
    )


def least_seconds(requests: int, rate: Rate) -> float:
    """How long so many requests take at least: a full second or minute of them must pass before one more may follow."""
    before_last = max(0, requests - 1)
    return float(max(before_last // rate.burst, 60 * (before_last // rate.steady)))
