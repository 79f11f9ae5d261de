"""Klaviyo's filter grammar: `op(field,value)`, joined by commas, all of which have to hold.

    equals(messages.channel,'email'),greater-or-equal(updated_at,2026-06-01T00:00:00Z)
    any(id,["a","b"])
    has(profile)

Strings are quoted with ' or ", datetimes, numbers and booleans are not. Datetimes compare in whole seconds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..data.timestamps import epoch_second
from ..rules import Endpoint, FilterField
from ..store.filters import Condition, Value, bounds
from .errors import ApiError, invalid

FUTURE_TOLERANCE_S = 5
# Metric aggregates have fields like `$message` and `Campaign Name`.
OPERATOR = re.compile(r"\s*([a-z]+(?:-[a-z]+)*)\(\s*([$A-Za-z_](?:[\w.\- ]*[\w.\-])?)\s*")
BARE = re.compile(r"[^\s,()\[\]'\"]+")
DATETIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)")


@dataclass(frozen=True)
class Bare:
    """A value written without quotes: a datetime, a number, a boolean."""

    text: str


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self, problem: str) -> ApiError:
        return invalid(f"Invalid filter provided at position {self.at}: {problem}.", "filter")

    def skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def take(self, mark: str) -> bool:
        self.skip()
        if self.text.startswith(mark, self.at):
            self.at += len(mark)
            return True
        return False

    def quoted(self) -> str:
        quote = self.text[self.at]
        at, out = self.at + 1, []
        while at < len(self.text):
            char = self.text[at]
            if char == "\\" and at + 1 < len(self.text):
                if self.text[at + 1] == "u":
                    # SDKs write strings as JSON: \uXXXX, as surrogate pairs beyond the basic plane.
                    match = re.match(r"(?:\\u[0-9a-fA-F]{4})+", self.text[at:])
                    if match:
                        out.append(json.loads(f'"{match[0]}"'))
                        at += len(match[0])
                        continue
                out.append({"n": "\n", "t": "\t", "r": "\r"}.get(self.text[at + 1], self.text[at + 1]))
                at += 2
                continue
            if char == quote:
                self.at = at + 1
                return "".join(out)
            out.append(char)
            at += 1
        raise self.fail("unterminated string")

    def value(self) -> str | Bare:
        self.skip()
        if self.at >= len(self.text):
            raise self.fail("a value is missing")
        if self.text[self.at] in "'\"":
            return self.quoted()
        match = BARE.match(self.text, self.at)
        if not match:
            raise self.fail("a value is missing")
        self.at = match.end()
        return Bare(match[0])

    def values(self) -> list[str | Bare] | str | Bare:
        if not self.take("["):
            return self.value()
        items: list[str | Bare] = []
        if self.take("]"):
            return items
        while True:
            items.append(self.value())
            if self.take("]"):
                return items
            if not self.take(","):
                raise self.fail("',' or ']' expected")


def parse(text: str) -> list[tuple[str, str, list[str | Bare] | str | Bare | None]]:
    """Split a filter into (operator, field, value); the value is None for an operator without one.

    Raises:
        ApiError: 400, the text is not a filter.
    """
    reader = _Reader(text)
    found = []
    while True:
        match = OPERATOR.match(text, reader.at)
        if not match:
            raise reader.fail("operator(field,value) expected")
        reader.at = match.end()
        value = None
        if not reader.take(")"):
            if not reader.take(","):
                raise reader.fail("',' or ')' expected")
            value = reader.values()
            if not reader.take(")"):
                raise reader.fail("')' expected")
        found.append((match[1], match[2], value))
        reader.skip()
        if reader.at == len(text):
            return found
        if not reader.take(","):
            raise reader.fail("',' expected between conditions")


def _typed(field: str, rule: FilterField, raw: str | Bare) -> Value:
    """A value in the type of its field; datetimes as whole seconds since 1970."""
    if rule.value == "date-time":
        if not isinstance(raw, Bare) or not DATETIME.fullmatch(raw.text):
            raise invalid(f"'{field}' takes an unquoted ISO 8601 datetime with an offset.", "filter")
        second = epoch_second(raw.text.upper())
        if second is None:
            raise invalid(f"'{raw.text}' is not a datetime.", "filter")
        return second
    if rule.value == "boolean":
        if not isinstance(raw, Bare) or raw.text.lower() not in ("true", "false"):
            raise invalid(f"'{field}' takes true or false.", "filter")
        return raw.text.lower() == "true"
    if rule.value in ("integer", "number"):
        try:
            number = float(raw.text) if isinstance(raw, Bare) else math.nan
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise invalid(f"'{field}' takes an unquoted number.", "filter")
        return int(number) if number.is_integer() else number
    if isinstance(raw, Bare):
        raise invalid(f"'{field}' takes a quoted string.", "filter")
    if rule.enum and raw not in rule.enum:
        raise invalid(f"'{raw}' is not allowed for '{field}'; allowed: {', '.join(rule.enum)}.", "filter")
    return raw


def _condition(endpoint: Endpoint, operator: str, field: str, raw: list[str | Bare] | str | Bare | None) -> Condition:
    rule = endpoint.filters.get(field)
    if rule is None:
        allowed = ", ".join(sorted(endpoint.filters))
        raise invalid(f"'{field}' is not an allowed filter field for this resource; allowed: {allowed}.", "filter")
    if operator not in rule.operators:
        allowed = ", ".join(rule.operators)
        raise invalid(f"'{operator}' is not an allowed operator for '{field}'; allowed: {allowed}.", "filter")
    is_time = rule.value == "date-time" or field == "timestamp"
    if raw is None or operator in rule.none:
        if raw is not None or operator not in rule.none:
            raise invalid(f"'{operator}' on '{field}' has a wrong number of values.", "filter")
        return Condition(operator, field, (), False)
    if isinstance(raw, list):
        if operator not in rule.many:
            raise invalid(f"'{operator}' on '{field}' takes a single value.", "filter")
        if not raw:
            raise invalid(f"'{operator}' on '{field}' needs at least one value.", "filter")
        return Condition(operator, field, tuple(_typed(field, rule, item) for item in raw), is_time)
    # Some fields list `equals` for lists only, but their examples have one value: accept both.
    if operator not in rule.single and operator != "equals":
        raise invalid(f"'{operator}' on '{field}' takes a list of values.", "filter")
    return Condition(operator, field, (_typed(field, rule, raw),), is_time)


def _refuse_windows(conditions: list[Condition], now: float) -> None:
    """Klaviyo answers 400 to a window that cannot contain a record, and to a bound in the future."""
    windows: dict[str, list[Condition]] = {}
    for condition in conditions:
        if condition.is_time:
            windows.setdefault(condition.field, []).append(condition)
    for field, window in windows.items():
        for condition in window:
            if any(isinstance(value, int | float) and value > now + FUTURE_TOLERANCE_S for value in condition.values):
                raise invalid(f"The value of '{field}' must not be in the future.", "filter")
        low, high = bounds(window)
        if low > high:
            raise invalid(f"The range of '{field}' is empty: its start must be before its end.", "filter")


def _refuse_profile_mixtures(conditions: list[Condition]) -> None:
    """Suppression filters of profiles: list or global ones, one date condition, and list ones need a list_id."""
    prefix = "subscriptions.email.marketing."
    suppressions = [c for c in conditions if c.field.startswith(prefix)]
    if not suppressions:
        return
    listed = [c for c in suppressions if c.field.startswith(prefix + "list_suppressions.")]
    if listed and len(listed) < len(suppressions):
        raise invalid("List and global suppressions may not be mixed in one filter.", "filter")
    if sum(c.is_time for c in conditions) > 1:
        raise invalid("Only one date condition is allowed together with suppressions.", "filter")
    if listed and not any(c.field.endswith(".list_id") for c in listed):
        raise invalid("List suppressions need a filter on their list_id.", "filter")


def conditions(endpoint: Endpoint, parameters: Mapping[str, str], now: float) -> list[Condition]:
    """The conditions of a request, checked against what its endpoint allows.

    Args:
        now: seconds since 1970; bounds more than 5 s later are refused.

    Raises:
        ApiError: 400, with what is allowed.
    """
    text = parameters.get("filter", "")
    if "filter" in parameters and not text.strip():
        raise invalid("The filter is empty.", "filter")
    found = [_condition(endpoint, *part) for part in parse(text)] if text else []
    needed = endpoint.required_filters
    if needed and not any(condition.field in needed for condition in found):
        raise invalid(f"A filter on {' or '.join(repr(name) for name in needed)} is required.", "filter")
    _refuse_windows(found, now)
    if endpoint.path == "/api/profiles":
        _refuse_profile_mixtures(found)
    return found
