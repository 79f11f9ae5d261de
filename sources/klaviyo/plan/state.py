"""What a pipeline remembers of each report: which period is loaded. Kept in dlt's state, nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any

from ..catalog.model import AnalyticsQuery, EventMetric
from ..windows import Window, union
from .daily_quota import recent

#: Key in the state of the source and name of the source, as dlt stores it.
SOURCE = "klaviyo"


_COVERED = "covered"


_BY = "by"


_ZONE = "timezone"


_SPENT = "spent"


_METRIC = "metric"


_FINGERPRINT = "fingerprint"


def covered(resource_state: Mapping[str, Any], by: str) -> list[Window]:
    """The loaded periods of a report, out of the state of its resource; empty before the first load.

    Args:
        by: what dates the records. What was loaded by another date says nothing of this one.
    """
    if resource_state.get(_BY, by) != by:
        return []
    return union(
        Window(datetime.fromisoformat(start), datetime.fromisoformat(end))
        for start, end in resource_state.get(_COVERED, ())
    )


def remember(resource_state: MutableMapping[str, Any], windows: Sequence[Window], by: str) -> None:
    """Write the loaded periods, and what dates them, into the state of a resource; dlt commits it with the rows."""
    resource_state[_BY] = by
    resource_state[_COVERED] = [[w.start.isoformat(), w.end.isoformat()] for w in union(windows)]


def zone(resource_state: Mapping[str, Any]) -> str | None:
    """The timezone that a report was last counted by, or None before the first load."""
    return resource_state.get(_ZONE)


def spent(resource_state: Mapping[str, Any]) -> list[tuple[datetime, int]]:
    """When the runs of the last day began, and how many requests each has sent."""
    return [(datetime.fromisoformat(began), requests) for began, requests in resource_state.get(_SPENT, ())]


def remember_analytics(
    resource_state: MutableMapping[str, Any], analytics_query: AnalyticsQuery, began: datetime, requests: int
) -> None:
    """Write by which clock a report that counts was read, and how many requests this run has sent so far."""
    earlier = [(when, number) for when, number in recent(spent(resource_state), began) if when != began]
    resource_state[_ZONE] = analytics_query.zone
    if analytics_query.most_requests is not None:
        now = [(began, requests)] if requests else []
        resource_state[_SPENT] = [[when.isoformat(), number] for when, number in (*earlier, *now)]


def of_report(pipeline_state: Mapping[str, Any], report: str) -> Mapping[str, Any]:
    """The state of a report's resource within the state of a pipeline."""
    return _resources(pipeline_state).get(report) or {}


def _resources(pipeline_state: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    found: Any = pipeline_state
    for key in ("sources", SOURCE, "resources"):
        found = found.get(key) or {}
    return found  # type: ignore[no-any-return]


def known_metrics(pipeline_state: Mapping[str, Any]) -> dict[str, EventMetric]:
    """Name of a resource -> the metric whose events it reads, of those that ever did."""
    return {
        name: EventMetric(told[_METRIC]["id"], tuple(told[_METRIC]["names"]))
        for name, told in _resources(pipeline_state).items()
        if _METRIC in told
    }


def remember_metric(resource_state: MutableMapping[str, Any], metric: EventMetric) -> None:
    """Write whose events a resource reads, so that it keeps its table when the metric is renamed."""
    resource_state[_METRIC] = {"id": metric.id, "names": list(metric.names)}


def fingerprint(resource_state: Mapping[str, Any]) -> str | None:
    """What the loaded rows were asked for with; None where nothing is loaded."""
    return resource_state.get(_FINGERPRINT)


def remember_fingerprint(resource_state: MutableMapping[str, Any], found: str) -> None:
    """Write what the rows are asked for with."""
    resource_state[_FINGERPRINT] = found
