"""Timeframes of analytics reports: whole days in the account's timezone, both ends included, and their intervals.

The sandbox assumes that `date_times` are local times of the account, written with `+00:00` as in the examples of
Klaviyo's reference. Weeks start on Mondays, months on the first. At the edges of a timeframe an interval holds only the
days of the timeframe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
# Interval -> the longest timeframe in days; no timeframe is longer than a year.
LONGEST_DAYS = {"daily": 60, "hourly": 7, "monthly": 52 * 7, "weekly": None}

_Days = tuple[date, date]


def _month(day: date, back: int) -> date:
    """The first day of the month that is `back` months before the month of a day."""
    months = day.year * 12 + day.month - 1 - back
    return date(months // 12, months % 12 + 1, 1)


def _last_days(count: int) -> Callable[[date], _Days]:
    return lambda today: (today - (count - 1) * DAY, today)


# Klaviyo's name of a timeframe -> a function from today to its first and last day.
KEYS: dict[str, Callable[[date], _Days]] = {
    "last_12_months": lambda today: (_month(today, 12), _month(today, 0) - DAY),
    "last_30_days": _last_days(30),
    "last_365_days": _last_days(365),
    "last_3_months": lambda today: (_month(today, 3), _month(today, 0) - DAY),
    "last_7_days": _last_days(7),
    "last_90_days": _last_days(90),
    "last_month": lambda today: (_month(today, 1), _month(today, 0) - DAY),
    "last_week": lambda today: (today - (today.weekday() + 7) * DAY, today - (today.weekday() + 1) * DAY),
    "last_year": lambda today: (date(today.year - 1, 1, 1), date(today.year - 1, 12, 31)),
    "this_month": lambda today: (_month(today, 0), today),
    "this_week": lambda today: (today - today.weekday() * DAY, today),
    "this_year": lambda today: (date(today.year, 1, 1), today),
    "today": lambda today: (today, today),
    "yesterday": lambda today: (today - DAY, today - DAY),
}


@dataclass(frozen=True)
class Timeframe:
    """Days from `first` to `last`, both included, in a timezone."""

    first: date
    last: date
    zone: ZoneInfo

    @property
    def low(self) -> int:
        """The first second, since 1970."""
        return midnight(self.first, self.zone)

    @property
    def high(self) -> int:
        """The last second, since 1970."""
        return midnight(self.last + DAY, self.zone) - 1

    def intervals(self, interval: str) -> list[datetime]:
        """Starts of all intervals with a day of the timeframe, in local time."""
        starts: dict[datetime, None] = {}
        day = self.first
        while day <= self.last:
            midnight_ = datetime.combine(day, time())
            hours = range(24) if interval == "hourly" else range(1)
            starts |= dict.fromkeys(start_of(midnight_ + timedelta(hours=hour), interval) for hour in hours)
            day += DAY
        return list(starts)

    def interval_of(self, second: float, interval: str) -> datetime:
        """Start of the interval of a moment, in local time."""
        return start_of(datetime.fromtimestamp(second, self.zone).replace(tzinfo=None), interval)


def midnight(day: date, zone: ZoneInfo) -> int:
    """The start of a day in a timezone, in seconds since 1970."""
    return int(datetime.combine(day, time(), zone).timestamp())


def start_of(moment: datetime, interval: str) -> datetime:
    """Start of the interval of a moment; both in local time."""
    if interval in ("hourly", "hour"):
        return moment.replace(minute=0, second=0, microsecond=0)
    day = datetime.combine(moment.date(), time(), moment.tzinfo)
    if interval in ("weekly", "week"):
        return day - day.weekday() * DAY
    return day.replace(day=1) if interval in ("monthly", "month") else day


def date_time(start: datetime) -> str:
    """A local time as `date_times` writes it."""
    return start.replace(tzinfo=UTC).isoformat()
