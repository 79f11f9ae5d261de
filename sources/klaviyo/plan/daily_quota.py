"""How many requests of a daily quota one run may send. Pure.

It is not known when Klaviyo's day begins, so the requests of any 24 hours stay within the quota. A run gets a share in
proportion to the time since the last run: each run has its share, whether there is one run a day or one an hour. What a
run cannot read is left to the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

DAY = timedelta(days=1)

#: The least share of a run, also of the first one: that of a scheduler that runs every hour.
_RUNS_A_DAY = 24

#: When each run began, aware UTC, and how many requests it sent.
Spent = Sequence[tuple[datetime, int]]


def recent(spent: Spent, now: datetime) -> list[tuple[datetime, int]]:
    """The runs of the last 24 hours, which still count against the quota."""
    return [(began, requests) for began, requests in spent if began > now - DAY]


def share(quota: int, spent: Spent, now: datetime) -> int:
    """How many requests a run that begins now may send, 0 or more.

    Args:
        quota: requests a day.
    """
    left = quota - sum(requests for _, requests in recent(spent, now))
    since = now - max((began for began, _ in spent), default=now)
    fair = max(quota // _RUNS_A_DAY, int(quota * min(since / DAY, 1.0)))
    return max(0, min(left, fair))
