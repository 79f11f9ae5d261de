"""Calendar intervals of an account: hours, days, weeks and months in its own timezone, as half-open UTC windows. Pure.

Klaviyo counts by the account's calendar, while what is loaded is remembered in UTC seconds. Every interval is a window
here, so that daylight saving makes a day of 23 or 25 hours and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from .windows import Window

#: No timezone has moved by less, so that no interval ends between two of these steps.
_STEP = timedelta(minutes=15)


def beginning(moment: datetime, interval: Interval, zone: ZoneInfo) -> datetime:
    """When the interval began that holds a moment, aware UTC."""
    local = moment.astimezone(zone)
    if interval == "hour":
        # What is left of `local` keeps its fold: of an hour that comes twice, this is the one that was meant.
        return local.replace(minute=0, second=0, microsecond=0).astimezone(UTC)
    return _midnight(_first_day(local.date(), interval), zone)


def following(start: datetime, interval: Interval, zone: ZoneInfo) -> datetime:
    """When the interval ends that begins at `start`, aware UTC."""
    if interval == "hour":
        end = start + timedelta(hours=1)
        # An hour that goes back by half of one lasts longer.
        while beginning(end, interval, zone) <= start:
            end += _STEP
        return beginning(end, interval, zone)
    day = start.astimezone(zone).date()
    steps = {"day": 1, "week": 7, "month": 32}
    return _midnight(_first_day(day + timedelta(days=steps[interval]), interval), zone)


def intervals(window: Window, interval: Interval, zone: ZoneInfo) -> Iterator[Window]:
    """Every whole interval that has a part in the window, oldest first."""
    start = beginning(window.start, interval, zone)
    while start < window.end:
        end = following(start, interval, zone)
        yield Window(start, end)
        start = end


def cut(windows: Iterable[Window], interval: Interval, zone: ZoneInfo, *, most: int, end: datetime) -> list[Window]:
    """Whole intervals that hold the windows, as many together as one request may span, oldest first.

    Args:
        most: the most intervals of one request.
        end: nothing is read from here on; an interval that is not over yet ends here.
    """
    found = sorted({one for window in windows for one in intervals(window, interval, zone) if one.start < end})
    cut_at: list[list[Window]] = []
    for one in found:
        together = cut_at and len(cut_at[-1]) < most and cut_at[-1][-1].end == one.start
        if together:
            cut_at[-1].append(one)
        else:
            cut_at.append([one])
    return [Window(group[0].start, min(group[-1].end, end)) for group in cut_at]


def own_day(moment: datetime, zone: ZoneInfo) -> datetime:
    """Where a bound of a period lies in the account's time: midnight UTC stands for a date, and so for the account's
    own midnight; any other time is a moment."""
    return _midnight(moment.date(), zone) if moment.time() == time() else moment


def days(window: Window, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """First and last second of a window on the account's clock, without an offset, as Klaviyo takes a timeframe.

    Both are included. The last second says the same whether Klaviyo goes by the day or by the second.
    """
    last = (window.end - timedelta(seconds=1)).astimezone(zone).replace(tzinfo=None)
    return window.start.astimezone(zone).replace(tzinfo=None), last


def moments(texts: Iterable[str], window: Window, zone: ZoneInfo) -> list[datetime | None]:
    """The dates of a series as aware UTC; None for what is no date.

    Klaviyo writes the account's clock as if it were UTC (seen: midnight `+00:00`). A real offset would say the same:
    whichever reading begins where the request did is taken.
    """
    read = [_parsed(text) for text in texts]
    first = next((one for one in read if one is not None), None)
    if first is not None and first.utcoffset() is not None:
        local = first.replace(tzinfo=zone).astimezone(UTC)
        if first.astimezone(UTC) == window.start != local:
            return [None if one is None else one.astimezone(UTC) for one in read]
    found: list[datetime | None] = []
    for one in read:
        moment = None if one is None else one.replace(tzinfo=zone).astimezone(UTC)
        if moment is not None and found and found[-1] == moment:
            # The clock went back: the same hour a second time.
            moment = one.replace(tzinfo=zone, fold=1).astimezone(UTC) if one is not None else None
        found.append(moment)
    return found


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
    """The first moment of a day. Where the clock skips midnight, what it would have been is the moment of the skip."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


#: What numbers are counted by: calendar intervals in the account's own timezone; weeks begin on Monday.
Interval = Literal["hour", "day", "week", "month"]
