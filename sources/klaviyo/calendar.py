"""Calendar intervals of an account: hours, days, weeks and months in its own timezone, as half-open UTC windows. Pure.

Klaviyo counts by the account's calendar, but coverage is stored in UTC seconds. Every interval is a UTC window here, so
daylight saving only changes the length of a day (23 or 25 hours).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from .windows import Window

#: What analytics are counted by: calendar intervals in the account's own timezone. Weeks begin on Monday.
Interval = Literal["hour", "day", "week", "month"]

#: The smallest change of a UTC offset. No interval ends between two of these steps.
_STEP = timedelta(minutes=15)


def beginning(moment: datetime, interval: Interval, zone: ZoneInfo) -> datetime:
    """Start of the interval that contains a moment, aware UTC."""
    local = moment.astimezone(zone)
    if interval == "hour":
        # `replace` keeps the fold: when an hour occurs twice, this is the right one of the two.
        return local.replace(minute=0, second=0, microsecond=0).astimezone(UTC)
    return _midnight(_first_day(local.date(), interval), zone)


def following(start: datetime, interval: Interval, zone: ZoneInfo) -> datetime:
    """End of the interval that begins at `start`, aware UTC."""
    if interval == "hour":
        end = start + timedelta(hours=1)
        # Where the clock goes back by half an hour, the hour lasts longer than 60 minutes.
        while beginning(end, interval, zone) <= start:
            end += _STEP
        return beginning(end, interval, zone)
    day = start.astimezone(zone).date()
    steps = {"day": 1, "week": 7, "month": 32}
    return _midnight(_first_day(day + timedelta(days=steps[interval]), interval), zone)


def intervals(window: Window, interval: Interval, zone: ZoneInfo) -> Iterator[Window]:
    """Every interval that overlaps the window, uncut, oldest first."""
    start = beginning(window.start, interval, zone)
    while start < window.end:
        end = following(start, interval, zone)
        yield Window(start, end)
        start = end


def cut(windows: Iterable[Window], interval: Interval, zone: ZoneInfo, *, most: int, end: datetime) -> list[Window]:
    """The whole intervals that overlap the windows, grouped into one window for each request, oldest first.

    Args:
        most: the most intervals of one request.
        end: end of the period; the interval that contains it is cut here.
    """
    parts = sorted({part for window in windows for part in intervals(window, interval, zone) if part.start < end})
    groups: list[list[Window]] = []
    for part in parts:
        if groups and len(groups[-1]) < most and groups[-1][-1].end == part.start:
            groups[-1].append(part)
        else:
            groups.append([part])
    return [Window(group[0].start, min(group[-1].end, end)) for group in groups]


def own_day(moment: datetime, zone: ZoneInfo) -> datetime:
    """A bound of a period in the account's time, aware UTC.

    Midnight UTC stands for a date, so it becomes the account's own midnight. Any other time stays as it is.
    """
    return _midnight(moment.date(), zone) if moment.time() == time() else moment


def days(window: Window, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """First and last second of a window in the account's local time, naive, as Klaviyo takes a timeframe.

    Both are included. The last second gives the same timeframe whether Klaviyo compares days or seconds.
    """
    last = (window.end - timedelta(seconds=1)).astimezone(zone).replace(tzinfo=None)
    return window.start.astimezone(zone).replace(tzinfo=None), last


def moments(texts: Iterable[str], window: Window, zone: ZoneInfo) -> list[datetime | None]:
    """The dates of a series as aware UTC; None for a text that is not a date.

    Klaviyo writes the account's local time as if it were UTC (seen: midnight `+00:00`). In case it writes real offsets,
    both readings are tried on the first date: offsets are real if only that reading begins at the start of the window.

    Args:
        texts: ISO dates, oldest first.
        window: what the request asked for.
    """
    dates = [_parsed(text) for text in texts]
    first = next((when for when in dates if when is not None), None)
    if first is not None and first.utcoffset() is not None:
        local = first.replace(tzinfo=zone).astimezone(UTC)
        if first.astimezone(UTC) == window.start != local:
            return [None if when is None else when.astimezone(UTC) for when in dates]
    series: list[datetime | None] = []
    for when in dates:
        moment = None if when is None else when.replace(tzinfo=zone).astimezone(UTC)
        if moment is not None and series and series[-1] == moment:
            # The clock went back: the same hour a second time.
            moment = when.replace(tzinfo=zone, fold=1).astimezone(UTC) if when is not None else None
        series.append(moment)
    return series


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _first_day(day: date, interval: Interval) -> date:
    if interval == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if interval == "month" else day


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of a day, aware UTC. Where the clock skips midnight, this is the moment of the change."""
    return datetime.combine(day, time(), zone).astimezone(UTC)
