"""How many requests of a daily quota one run may send. Pure.

It is not known when Klaviyo's day begins, so the requests of any 24 hours stay within the quota. A first run may send
nearly all of it. A later run gets a share in proportion to the time since the last run. Each run leaves as much as a
scheduler that runs every hour needs to get its turn in every run. What a run cannot read is left to the next one.

Reports of one endpoint have one quota together: what any of them sent counts, and they divide the share of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

#: The least share of a run, while it is free: that of a scheduler that runs every hour.
_RUNS_A_DAY = 24
#: What a single run leaves: one request for each hourly run of the next 24 hours, and one for the command `check`.
RESERVE = _RUNS_A_DAY + 1

#: From when on the requests of each run count, aware UTC, and how many it sent.
Spent = Sequence[tuple[datetime, int]]


def recent(spent: Spent, now: datetime) -> list[tuple[datetime, int]]:
    """The runs of the last 24 hours, which still count against the quota."""
    return [(began, requests) for began, requests in spent if began > now - DAY]


def counted_from(began: datetime, until: datetime, requests: int, per_minute: int) -> datetime:
    """From when on all requests of a run count: its beginning, if it sent as many as the rate limit allows.

    They may all be free a day later, although the run took an hour or two, because a run a day later is not faster. A
    run that was held up counts as one that began later and was not.

    Args:
        until: when its last request was sent at the latest.
        per_minute: the rate limit of the report.
    """
    return max(began, until - timedelta(minutes=requests / per_minute))


def share(quota: int, spent: Spent, now: datetime) -> int:
    """How many requests a run that begins now may send, 0 or more.

    Args:
        quota: requests a day.
        spent: empty for a first run.
    """
    left = quota - _still_counted(spent, now)
    last = max((began for began, _ in spent), default=None)
    fair = quota - RESERVE
    if last is not None:
        fair = min(fair, max(quota // _RUNS_A_DAY, int(quota * min((now - last) / DAY, 1.0))))
    # In each of the coming hours, one request must be left to the run of that hour, after those of the hours before.
    turns = min(quota - _still_counted(spent, now + hours * HOUR) - hours for hours in range(_RUNS_A_DAY))
    # Versions before 0.2.0 left nothing to later runs: what is left then is not for turns, but better than nothing.
    return max(0, min(left, max(1, min(fair, turns))))


def divided(total: int, wanted: Sequence[int]) -> list[int]:
    """What each of several reports gets of a share: equal parts, and what one does not want goes to the others.

    Args:
        total: the share.
        wanted: the requests that each of them would send. Where the parts cannot be equal, the first ones get more.

    Returns:
        The parts, whose sum is the share. What nobody wants is divided too: requests may have to be sent again.
    """
    parts = [0] * len(wanted)
    for most in (wanted, [total] * len(wanted)):
        while total and (short := [number for number, part in enumerate(parts) if part < most[number]]):
            each = max(1, total // len(short))
            for number in short:
                more = min(each, most[number] - parts[number], total)
                parts[number] += more
                total -= more
    return parts


def _still_counted(spent: Spent, moment: datetime) -> int:
    """How many of these requests count against the quota at a moment."""
    return sum(requests for _, requests in recent(spent, moment))
