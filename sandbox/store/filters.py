"""Conditions of a filter, applied to the values of a record."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..data.timestamps import epoch_second

Value = str | int | float | bool | None
ORDER_OPERATORS = {"greater-than", "greater-or-equal", "less-than", "less-or-equal"}


@dataclass(frozen=True)
class Condition:
    """One condition of a filter.

    Attributes:
        values: strings, numbers, booleans, or whole seconds since 1970 for a field that holds datetimes.
        is_time: whether the field holds datetimes.
    """

    operator: str
    field: str
    values: tuple[Value, ...]
    is_time: bool

    def holds(self, found: list[Any]) -> bool:
        """Whether one of the values of a record's field meets the condition."""
        if self.operator == "has":
            return any(value is not None for value in found)
        return any(self._one(value) for value in found if value is not None)

    def _one(self, value: Any) -> bool:
        if self.is_time:
            seconds = epoch_second(value)
            if seconds is None:
                return False
            value = seconds
        if self.operator in ("equals", "any"):
            return value in self.values and not (isinstance(value, bool) ^ isinstance(self.values[0], bool))
        first = self.values[0]
        if self.operator in ORDER_OPERATORS:
            low, high = bounds([self])
            return isinstance(value, int | float) and low <= value <= high
        text, wanted = str(value).casefold(), str(first).casefold()
        if self.operator == "contains":
            return wanted in text
        return text.startswith(wanted) if self.operator == "starts-with" else text.endswith(wanted)


def bounds(conditions: list[Condition]) -> tuple[float, float]:
    """The inclusive bounds that some conditions on one field leave, infinite where there is none."""
    low, high = -math.inf, math.inf
    for condition in conditions:
        value = condition.values[0]
        if not isinstance(value, int | float):
            continue
        whole = condition.is_time
        if condition.operator == "greater-than":
            low = max(low, value + 1 if whole else math.nextafter(value, math.inf))
        elif condition.operator == "greater-or-equal":
            low = max(low, value)
        elif condition.operator == "less-than":
            high = min(high, value - 1 if whole else math.nextafter(value, -math.inf))
        elif condition.operator == "less-or-equal":
            high = min(high, value)
        elif condition.operator == "equals":
            low, high = max(low, value), min(high, value)
    return low, high
