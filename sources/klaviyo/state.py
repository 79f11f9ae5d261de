"""What a pipeline remembers of each report: which period is loaded. Kept in dlt's state, nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any

from .windows import Window, union

#: Key in the state of the source and name of the source, as dlt stores it.
SOURCE = "klaviyo"
_COVERED = "covered"


_BY = "by"


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


def of_report(pipeline_state: Mapping[str, Any], report: str) -> Mapping[str, Any]:
    """The state of a report's resource within the state of a pipeline."""
    found: Any = pipeline_state
    for key in ("sources", SOURCE, "resources", report):
        found = found.get(key) or {}
    return found  # type: ignore[no-any-return]
