"""How much of a quota a day one run may spend. Pure.

Nobody knows when Klaviyo's day begins: what was spent in the last 24 hours is never more than the quota, whenever that
is. A run spends what has come free since the last one, so that every run of a day has its share, whether there is one
a day or one an hour; what it cannot read is left to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

DAY = timedelta(days=1)

#: The share of a run that nobody knows a predecessor of: that of a scheduler that runs every hour.
_RUNS_A_DAY = 24


#: When runs began, and how many requests each of them sent.
Spent = Sequence[tuple[datetime, int]]


def recent(spent: Spent, now: datetime) -> list[tuple[datetime, int]]:
    """What still counts: the runs of the last 24 hours."""
    return [(began, requests) for began, requests in spent if began > now - DAY]


def share(quota: int, spent: Spent, now: datetime) -> int:
    """The requests that a run may send which begins now, 0 or more."""
    left = quota - sum(requests for _, requests in recent(spent, now))
    since = now - max((began for began, _ in spent), default=now)
    fair = max(quota // _RUNS_A_DAY, int(quota * min(since / DAY, 1.0)))
    return max(0, min(left, fair))
