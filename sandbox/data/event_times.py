"""When base events happened: a rising sequence of moments, computed from the number of an event.

Hours of the history have weights. Within an hour events are spread evenly, or, after a campaign send, most of them are
at its start. The last few events are dated in the future.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Literal

from .ids import mix
from .maker import DAY_S

HOUR_S = 3600

Shape = Literal["bursty", "even"]


def _weights(hours: int, seed: int, shape: Shape) -> list[int]:
    """The relative number of events in each hour."""
    if shape == "even":
        return [1000] * hours
    weights = []
    for hour in range(hours):
        x = mix(hour, seed)
        day = hour // 24
        quiet = mix(day, seed + 1) % 5 == 0
        weight = (0 if x % 10 else 40) if quiet else 300 + x % 700 + 40 * min(hour % 24, 24 - hour % 24)
        weights.append(weight)
    for week in range(0, hours, 168):
        weights[min(week + 41, hours - 1)] += 20 * 600
    for month in range(0, hours, 720):
        # One send a month brings a third of the month's events.
        send = min(month + 250, hours - 1)
        weights[send] += max(1, sum(weights[month : month + 720]) // 2)
    return weights


class EventTimes:
    """Moments of base events, in seconds since 1970.

    Args:
        size: number of events.
        seed: of the account.
        start, end: the history, in seconds since 1970.
        shape: "bursty" or "even".
    """

    def __init__(self, size: int, seed: int, start: int, end: int, shape: Shape) -> None:
        self._start, self._end = start, end
        # Events from this number on are dated in the future.
        self._past = size - min(20, size // 500)
        hours = max(1, -(-(end - start) // HOUR_S))
        weights = _weights(hours, seed, shape)
        total = sum(weights)
        # The number of the first event of each hour, and the end of the last hour.
        self._bounds = [0, *(self._past * upto // total for upto in accumulate(weights))]
        median = sorted(weights)[hours // 2]
        self._sends = (
            {hour for hour, weight in enumerate(weights) if weight > 4 * median} if shape == "bursty" else set()
        )

    def second(self, number: int) -> int:
        """When an event happened."""
        if number >= self._past:
            return self._end + HOUR_S + (number - self._past) * 10 * DAY_S
        hour = bisect_right(self._bounds, number) - 1
        return self._start + self._within(hour, number)

    def _within(self, hour: int, number: int) -> int:
        """Seconds from the start of the history."""
        first, stop = self._bounds[hour], self._bounds[hour + 1]
        part = (number - first) / (stop - first)
        length = min(HOUR_S, self._end - self._start - hour * HOUR_S)
        return hour * HOUR_S + int(length * (part**4 if hour in self._sends else part))

    def walk(self, numbers: range) -> Iterator[tuple[int, int]]:
        """(second, number) of a range of events; looks up an hour once for all its events."""
        start, bounds, past = self._start, self._bounds, self._past
        hour = -1
        first = stop = 0
        for number in numbers:
            if not first <= number < stop:
                if number >= past:
                    yield self.second(number), number
                    continue
                hour = bisect_right(bounds, number) - 1
                first, stop = bounds[hour], bounds[hour + 1]
            yield start + self._within(hour, number), number
