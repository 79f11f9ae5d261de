"""Reads and writes what a pipeline stores about each report: its coverage, and what the loaded rows depend on.

The only store is dlt's state, which dlt commits together with the rows and restores from the destination.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..catalog.model import AnalyticsQuery, EventMetric
from ..windows import Window, union
from .daily_quota import recent

#: Name of the source, and its key in dlt's state.
SOURCE = "klaviyo"

# Keys in the state of a resource.
_COVERED = "covered"
_BY = "by"
_ZONE = "timezone"
_SPENT = "spent"
_METRIC = "metric"
_FINGERPRINT = "fingerprint"
_APPENDED = "appended"
_CHILDLESS = "childless"
# Keys in the state of the source.
_REFUSED_INCLUDE = "refused_include"

#: After this time a refused include is tried again.
_REFUSED_FOR = timedelta(days=30)

#: The most parents without a child that are remembered, those of the latest date.
_MOST_CHILDLESS = 5000
_STAGED = "staged"
_LEFTOVER = "leftover"

#: No definition.
_IN_DOUBT = ""


@dataclass(frozen=True, slots=True)
class Staged:
    """What is staged of a new definition of an analytics report.

    Attributes:
        by: signature of the definition.
        build: what its staged rows carry, so that no others are taken for them.
        covered: the periods that are staged.
    """

    by: str
    build: str
    covered: list[Window]


def covered(resource_state: Mapping[str, Any], by: str) -> list[Window]:
    """Coverage of a report: its loaded periods. Empty before the first load.

    Args:
        by: what dates the records. Coverage by another date does not apply.
    """
    if resource_state.get(_BY, by) != by:
        return []
    return _windows(resource_state.get(_COVERED, ()))


def loaded_by(resource_state: Mapping[str, Any]) -> str | None:
    """What the coverage is of: a date field, or the definition of an analytics report. None before the first load."""
    return resource_state.get(_BY)


def remember(resource_state: MutableMapping[str, Any], windows: Sequence[Window], by: str) -> None:
    """Write the coverage, and what dates it, into the state of a resource."""
    resource_state[_BY] = by
    resource_state[_COVERED] = _texts(windows)


def is_in_doubt(resource_state: Mapping[str, Any]) -> bool:
    """Whether nobody knows which definition the rows in the table have."""
    return resource_state.get(_BY) == _IN_DOUBT


def doubt(resource_state: MutableMapping[str, Any]) -> None:
    """Write that the table is about to be replaced: from now on its rows may have the old or the new definition."""
    resource_state[_BY] = _IN_DOUBT
    resource_state.pop(_COVERED, None)


def staged(resource_state: Mapping[str, Any]) -> Staged | None:
    """What is staged of a new definition; None where nothing is."""
    stored = resource_state.get(_STAGED)
    return stored and Staged(stored[_BY], stored["build"], _windows(stored[_COVERED]))


def remember_staged(resource_state: MutableMapping[str, Any], staged: Staged) -> None:
    """Write what is staged of a new definition. Rows of another one that are staged are never read any more."""
    resource_state[_STAGED] = {_BY: staged.by, "build": staged.build, _COVERED: _texts(staged.covered)}
    resource_state.pop(_LEFTOVER, None)


def has_leftover(resource_state: Mapping[str, Any]) -> bool:
    """Whether there are staged rows that nothing refers to."""
    return bool(resource_state.get(_LEFTOVER))


def forget_staged(resource_state: MutableMapping[str, Any]) -> None:
    """Refer to the staged rows no more. They may be deleted once this is stored, and not before."""
    if resource_state.pop(_STAGED, None) is not None:
        resource_state[_LEFTOVER] = True


def forget_leftover(resource_state: MutableMapping[str, Any]) -> None:
    """Write that no rows are staged."""
    resource_state.pop(_LEFTOVER, None)


def zone(resource_state: Mapping[str, Any]) -> str | None:
    """The timezone that an analytics report was last read with; None before the first load."""
    return resource_state.get(_ZONE)


def spent(resource_state: Mapping[str, Any]) -> list[tuple[datetime, int]]:
    """From when on the requests of recent runs count against the daily quota, and how many they are."""
    # Version 0.1.0 stored only when a run began.
    return [
        (datetime.fromisoformat(counted[0] if counted else began), requests)
        for began, requests, *counted in resource_state.get(_SPENT, ())
    ]


def spent_like(pipeline_state: Mapping[str, Any], report: str) -> list[tuple[datetime, int]]:
    """As `spent`, of a predefined analytics report and of all that are like it: they have one endpoint, and one quota.

    Reports that the settings no longer have are among them.
    """
    return [
        entry
        for name, resource_state in _resources(pipeline_state).items()
        if report in (name, fingerprint(resource_state))
        for entry in spent(resource_state)
    ]


def remember_analytics(
    resource_state: MutableMapping[str, Any],
    analytics_query: AnalyticsQuery,
    began: datetime,
    requests: int,
    counted: datetime | None = None,
) -> None:
    """Write the timezone of an analytics report, and how many requests this run has sent so far.

    Args:
        began: when this run began.
        counted: from when on its requests count; None if from then on.
    """
    resource_state[_ZONE] = analytics_query.zone
    if analytics_query.most_requests is None:
        return
    entries = zip(resource_state.get(_SPENT, ()), spent(resource_state), strict=True)
    earlier = [entry for entry, one in entries if entry[0] != began.isoformat() and recent([one], began)]
    now = [[began.isoformat(), requests, (counted or began).isoformat()]] if requests else []
    resource_state[_SPENT] = [*earlier, *now]


def of_report(pipeline_state: Mapping[str, Any], report: str) -> Mapping[str, Any]:
    """The state of a report's resource within the state of a pipeline."""
    return _resources(pipeline_state).get(report) or {}


def _resources(pipeline_state: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return _source(pipeline_state).get("resources") or {}


def _source(pipeline_state: Mapping[str, Any]) -> Mapping[str, Any]:
    return (pipeline_state.get("sources") or {}).get(SOURCE) or {}


def known_metrics(pipeline_state: Mapping[str, Any]) -> dict[str, EventMetric]:
    """Name of a resource -> its metric, for all resources that have ever read the events of one metric."""
    return {
        name: EventMetric(resource_state[_METRIC]["id"], tuple(resource_state[_METRIC]["names"]))
        for name, resource_state in _resources(pipeline_state).items()
        if _METRIC in resource_state
    }


def remember_metric(resource_state: MutableMapping[str, Any], metric: EventMetric) -> None:
    """Write the metric whose events a resource reads, so that it keeps its table when the metric is renamed."""
    resource_state[_METRIC] = {"id": metric.id, "names": list(metric.names)}


def childless(resource_state: Mapping[str, Any]) -> dict[str, str]:
    """Parents without a child -> their date when that was found."""
    return dict(resource_state.get(_CHILDLESS) or {})


def remember_childless(resource_state: MutableMapping[str, Any], found: Mapping[str, str]) -> None:
    """Add parents without a child, and their date, to those that are remembered."""
    known = childless(resource_state)
    if not found.items() <= known.items():
        latest = sorted({**known, **found}.items(), key=lambda item: item[::-1])[-_MOST_CHILDLESS:]
        resource_state[_CHILDLESS] = dict(latest)


def include_refused(pipeline_state: Mapping[str, Any], revision: str, now: datetime) -> bool:
    """Whether Klaviyo refused to include variations in the list of messages, lately and under this revision."""
    refusal = _source(pipeline_state).get(_REFUSED_INCLUDE)
    if refusal is None or refusal["revision"] != revision:
        return False
    return now - datetime.fromisoformat(refusal["at"]) < _REFUSED_FOR


def remember_include_refused(source_state: MutableMapping[str, Any], revision: str, now: datetime) -> None:
    """Write such a refusal into the state of the source."""
    source_state[_REFUSED_INCLUDE] = {"revision": revision, "at": now.isoformat()}


def fingerprint(resource_state: Mapping[str, Any]) -> str | None:
    """Fingerprint of the definition that the loaded rows were read with; None where nothing is loaded."""
    return resource_state.get(_FINGERPRINT)


def remember_fingerprint(resource_state: MutableMapping[str, Any], fingerprint: str) -> None:
    """Write the fingerprint of the definition that the rows are read with."""
    resource_state[_FINGERPRINT] = fingerprint


def appended(resource_state: Mapping[str, Any]) -> list[Window]:
    """The periods whose rows were appended and not compared with the rest of the table since."""
    return _windows(resource_state.get(_APPENDED, ()))


def remember_appended(resource_state: MutableMapping[str, Any], windows: Sequence[Window]) -> None:
    """Write the periods whose rows were appended; none once they are compared with the rest of the table."""
    if windows:
        resource_state[_APPENDED] = _texts(windows)
    else:
        resource_state.pop(_APPENDED, None)


def _windows(texts: Iterable[Sequence[str]]) -> list[Window]:
    return union(Window(datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in texts)


def _texts(windows: Sequence[Window]) -> list[list[str]]:
    return [[window.start.isoformat(), window.end.isoformat()] for window in union(windows)]
