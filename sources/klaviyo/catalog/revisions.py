"""The revisions of Klaviyo's API that are supported, and what belongs to which. Pure.

Klaviyo serves a revision for two years. What differs between them is data: rows of `endpoints.py` and `reports.py` say
`since` or `until`, columns in `schemas/` have a path for each. Nothing else asks which revision it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Protocol, TypeVar

#: Revision -> the day on which Klaviyo retires it, two years after it came.
REVISIONS: Mapping[str, date] = {
    "2026-07-15": date(2028, 7, 15),
    "2026-10-15": date(2028, 10, 15),
}


DEFAULT_REVISION = "2026-10-15"


#: How long before its end a revision is warned about.
_NOTICE = timedelta(days=90)


class Dated(Protocol):
    """A row of a table that may belong to some revisions only."""

    @property
    def name(self) -> str: ...
    @property
    def since(self) -> str | None: ...
    @property
    def until(self) -> str | None: ...


Row = TypeVar("Row", bound=Dated)


def rows_of(revision: str, table: Iterable[Row]) -> dict[str, Row]:
    """Name -> row, of the rows that a revision has."""
    if revision not in REVISIONS:
        raise KeyError(f"no revision {revision!r}")
    return {
        row.name: row
        for row in table
        if (row.since is None or row.since <= revision) and (row.until is None or revision <= row.until)
    }


def span(rows: Iterable[Dated]) -> str:
    """Under which revisions at least one of the rows exists, for people; empty where under all."""
    rows = list(rows)
    having = [revision for revision in REVISIONS if rows_of(revision, rows)]
    known = list(REVISIONS)
    if having == known:
        return ""
    if having[-1] == known[-1]:
        return f"since {having[0]}"
    return f"until {having[-1]}"


def ending(revision: str, now: datetime) -> str | None:
    """What to say of a revision that Klaviyo retires soon, or has; None where there is time.

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
