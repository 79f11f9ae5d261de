"""The least that a plan costs: requests, and the time that Klaviyo's rate limits make them take. Sends nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sources.klaviyo.endpoints import endpoints
from sources.klaviyo.planning import Plan
from sources.klaviyo.spec import Grammar, Rate
from sources.klaviyo.stream import Stream, share_listings


@dataclass(frozen=True, slots=True)
class ReportCost:
    """What one report takes at least.

    Attributes:
        requests: one a window and filter: more follow where there is more than a page. A listing of parents that
            another report goes through too counts once.
        seconds: what the rate limits make of them.
        per_parent: the records of which every one takes one more request at least, or None.
        rate: the limit of the requests for the rows.
        shared_with: the report whose requests bring these rows too, so that they cost nothing.
        left: requests that a quota a day leaves to later runs.
        names_metrics: the metrics of the account are asked for first, once for all reports.
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
    """What a plan takes at least.

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
    leaders: dict[tuple[object, ...], Stream] = {}
    streams = [Stream(plan.report, plan.settings, plan.windows) for plan in plans]
    led_by = [leaders.setdefault((one.key, plan.whole), one) for plan, one in zip(plans, streams, strict=True)]
    share_listings(leaders.values())
    buckets: Counter[tuple[str, Rate]] = Counter()
    counted: set[str] = set()
    found = []
    for plan, stream, leader in zip(plans, streams, led_by, strict=True):
        shared = leader is not stream
        asked = stream.lineage[0]
        rate = stream.rate if asked is stream.endpoint else asked.rate
        # So do those that something is looked up for.
        asking = [*stream.lineage, *(stream.lookup[:1] if stream.lookup else ())]
        parents = " and ".join(below.parent.records for below in asking if below.parent)
        # Which metrics match besides those of earlier runs only Klaviyo knows.
        chooses = plan.report.by_metric and bool(plan.settings.metrics)
        if chooses:
            parents = "metrics that match" if len(plans) == 1 else "other metrics that match"
        listings = {first.path for first in stream.first if first.shared}
        requests = 0 if shared or chooses else len(stream.first) - len(listings & counted)
        counted |= listings
        figures = plan.settings.analytics
        most = figures.most_requests if figures else None
        left = 0 if most is None else max(0, requests - most)
        requests -= left
        # A metric each, where names are patterns: how many there are is not known here.
        if figures and stream.endpoint.analytics and stream.endpoint.analytics.grammar is Grammar.AGGREGATE:
            parents = "metrics"
        names_metrics = bool(plan.windows) and (chooses or plan.report.metric is not None)
        buckets[asked.path, rate] += requests
        found.append(
            ReportCost(
                plan=plan,
                requests=requests,
                seconds=least_seconds(requests, rate),
                per_parent=None if shared or not (stream.first or chooses) else parents or None,
                rate=stream.rate,
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
    """How long so many requests take at least: a full second or minute of them has to pass before one more may follow."""
    before_last = max(0, requests - 1)
    return float(max(before_last // rate.burst, 60 * (before_last // rate.steady)))
