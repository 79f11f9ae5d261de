"""The supported revisions of Klaviyo's API, and which rows of our tables belong to which. Pure.

Klaviyo serves a revision for two years. Differences between revisions are data: rows of `endpoints.py` and `reports.py`
have `since` or `until`, and columns in `schemas/` can have one path for each revision. No other code branches on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Protocol, TypeVar

#: Revision -> the day on which Klaviyo retires it, two years after its release.
REVISIONS: Mapping[str, date] = {
    "2026-07-15": date(2028, 7, 15),
    "2026-10-15": date(2028, 10, 15),
}

DEFAULT_REVISION = "2026-10-15"

#: How long before a revision is retired a run warns about it.
_NOTICE = timedelta(days=90)


class Dated(Protocol):
    """A row of a table that may exist under some revisions only."""

    @property
    def name(self) -> str: ...
    @property
    def since(self) -> str | None: ...
    @property
    def until(self) -> str | None: ...


Row = TypeVar("Row", bound=Dated)


def rows_of(revision: str, table: Iterable[Row]) -> dict[str, Row]:
    """Name -> row, for the rows that exist under a revision.

    Raises:
        KeyError: the revision is not supported.
    """
    if revision not in REVISIONS:
        raise KeyError(f"no revision {revision!r}")
    return {
        row.name: row
        for row in table
        if (row.since is None or row.since <= revision) and (row.until is None or revision <= row.until)
    }


def span(rows: Iterable[Dated]) -> str:
    """Under which revisions at least one of the rows exists, in words; empty if under all."""
    rows = list(rows)
    having = [revision for revision in REVISIONS if rows_of(revision, rows)]
    supported = list(REVISIONS)
    if having == supported:
        return ""
    if having[-1] == supported[-1]:
        return f"since {having[0]}"
    return f"until {having[-1]}"


def ending(revision: str, now: datetime) -> str | None:
    """A warning for a revision that Klaviyo retires soon or has retired; None where there is time.

    Args:
        now: aware UTC.
    """
    end, newest = REVISIONS[revision], max(REVISIONS)
    if now.date() < end - _NOTICE:
        return None
    advice = f'set revision = "{newest}"' if newest != revision else "look for a newer version of this source"
    if now.date() < end:
        return f"Klaviyo retires revision {revision} of its API on {end}: {advice}."
    return f"Klaviyo retired revision {revision} of its API on {end}, and may answer otherwise than expected: {advice}."
