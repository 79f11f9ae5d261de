"""Timeframes of reports: whole days in the account's timezone, both ends included, and the intervals they fall into.

Klaviyo ignores the offset of a custom timeframe and reads its wall clock in the account's timezone. What it answers in
`date_times` is taken here to be that wall clock too, written with `+00:00`, as in the examples of its reference. Weeks
start on Mondays, months on the first: at the edges of a timeframe an interval holds only the days asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ..http.bodies import choice, refused

DAY = timedelta(days=1)
#: The longest timeframe of each interval, in days; all are bounded by a year.
LONGEST_DAYS = {"daily": 60, "hourly": 7, "monthly": 52 * 7, "weekly": None}

_Days = tuple[date, date]


def _month(day: date, back: int) -> date:
    """The first of the month so many months before that of a day."""
    months = day.year * 12 + day.month - 1 - back
    return date(months // 12, months % 12 + 1, 1)


def _last_days(count: int) -> Callable[[date], _Days]:
    return lambda today: (today - (count - 1) * DAY, today)


# Klaviyo's names of timeframes: today -> first and last day
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
        """Starts of all intervals that the days lie in, as wall clock."""
        starts: dict[datetime, None] = {}
        day = self.first
        while day <= self.last:
            midnight_ = datetime.combine(day, time())
            hours = range(24) if interval == "hourly" else range(1)
            starts |= dict.fromkeys(start_of(midnight_ + timedelta(hours=hour), interval) for hour in hours)
            day += DAY
        return list(starts)

    def interval_of(self, second: float, interval: str) -> datetime:
        """Start of the interval that a moment lies in, as wall clock."""
        return start_of(datetime.fromtimestamp(second, self.zone).replace(tzinfo=None), interval)


def midnight(day: date, zone: ZoneInfo) -> int:
    """Seconds since 1970 of a day's start in a timezone."""
    return int(datetime.combine(day, time(), zone).timestamp())


def start_of(moment: datetime, interval: str) -> datetime:
    """Start of the interval that a wall clock's moment lies in."""
    if interval in ("hourly", "hour"):
        return moment.replace(minute=0, second=0, microsecond=0)
    day = datetime.combine(moment.date(), time(), moment.tzinfo)
    if interval in ("weekly", "week"):
        return day - day.weekday() * DAY
    return day.replace(day=1) if interval in ("monthly", "month") else day


def written(start: datetime) -> str:
    """A wall clock as `date_times` writes it."""
    return start.replace(tzinfo=UTC).isoformat()


def _day(told: dict[str, Any], name: str) -> date:
    try:
        # the offset, if any, is ignored
        return datetime.fromisoformat(told[name]).date()
    except (ValueError, TypeError):
        raise refused(f"'{told[name]}' is not a valid datetime for '{name}'.", f"timeframe/{name}") from None


def read(told: Any, interval: str | None, zone: ZoneInfo, now: datetime) -> Timeframe:
    """The timeframe of a request.

    Args:
        interval: of a series; None for values.

    Raises:
        ApiError: 400, the timeframe is none, or longer than the interval allows.
    """
    if not isinstance(told, dict) or not (set(told) == {"key"} or set(told) == {"start", "end"}):
        raise refused("A timeframe takes either a 'key', or a 'start' and an 'end'.", "timeframe")
    if "key" in told:
        try:
            choice(told, "key", KEYS)
        except TypeError:
            raise refused("A timeframe's 'key' must be a string.", "timeframe") from None
        first, last = KEYS[told["key"]](now.astimezone(zone).date())
    else:
        first, last = _day(told, "start"), _day(told, "end")
    if last < first:
        raise refused("The start of a timeframe must not be after its end.", "timeframe")
    if last >= _year_later(first):
        raise refused("The timeframe cannot be longer than 1 year.", "timeframe")
    longest = LONGEST_DAYS.get(interval or "")
    if longest is not None and (last - first).days + 1 > longest:
        raise refused(f"The timeframe cannot be longer than {longest} days for the interval '{interval}'.", "timeframe")
    return Timeframe(first, last, zone)


def _year_later(day: date) -> date:
    try:
        return day.replace(year=day.year + 1)
    except ValueError:
        # a leap day
        return date(day.year + 1, 3, 1)
