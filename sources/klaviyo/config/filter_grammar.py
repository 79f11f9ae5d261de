"""Klaviyo's filter grammar: reads a filter that the user wrote, and checks it against what an endpoint takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..catalog.capabilities import FilterField
from .raw_settings import nearest

_STRING = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_VALUE = re.compile(rf"\s*({_STRING}|[^\s,()\[\]'\"]+)\s*", re.DOTALL)
_OPENING = re.compile(r"\s*([a-z]+(?:-[a-z]+)*)\(\s*([A-Za-z_][\w.\-]*)\s*")
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
#: Operators whose value is a list.
_LISTS = ("any", "contains-any", "contains-all")
#: Of these, the ones that the filters of a GET also take with a single value.
_LISTS_OR_ONE = ("contains-any", "contains-all")


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a filter.

    Attributes:
        values: as they are written, quotes included; empty for `has(field)`.
        many: they stand in brackets.
        text: the whole condition.
    """

    op: str
    field: str
    values: tuple[str, ...]
    many: bool
    text: str


def parse(text: str) -> list[Condition]:
    """The conditions of a filter.

    Raises:
        ValueError: it is not `operator(field,value)` between commas; says where it breaks.
    """
    found: list[Condition] = []
    at = 0

    def expect(marks: str) -> str:
        nonlocal at
        if at < len(text) and text[at] in marks:
            at += 1
            return text[at - 1]
        wanted = " or ".join(f"`{mark}`" for mark in marks)
        raise ValueError(f"{wanted} is expected at position {at + 1}")

    def value() -> str:
        nonlocal at
        match = _VALUE.match(text, at)
        if match is None:
            raise ValueError(f"a value is expected at position {at + 1}")
        at = match.end()
        return match[1]

    while True:
        start = at
        match = _OPENING.match(text, at)
        if match is None:
            raise ValueError(f"`operator(field,value)` is expected at position {at + 1}")
        at = match.end()
        values: list[str] = []
        many = False
        if expect(",)") == ",":
            at += len(text[at:]) - len(text[at:].lstrip())
            if many := text.startswith("[", at):
                at += 1
                values.append(value())
                while expect(",]") == ",":
                    values.append(value())
                at += len(text[at:]) - len(text[at:].lstrip())
            else:
                values.append(value())
            expect(")")
        found.append(Condition(match[1], match[2], tuple(values), many, text[start:at].strip()))
        at += len(text[at:]) - len(text[at:].lstrip())
        if at == len(text):
            return found
        expect(",")


def problem(
    condition: Condition, fields: Mapping[str, FilterField], path: str, *, most_in_a_list: int | None = None
) -> str:
    """What is wrong with a condition, as the end of a sentence; empty where nothing is.

    Args:
        fields: what the endpoint filters by.
        path: of the endpoint, for the message.
        most_in_a_list: how many values a list may hold; set for filters in a body, which take no single value where
            they take a list.
    """
    rule = fields.get(condition.field)
    op, text = condition.op, condition.text
    single_too = _LISTS_OR_ONE if most_in_a_list is None else ()
    if rule is None:
        allowed = ", ".join(fields) or "no filter"
        return f'unknown "{condition.field}"{nearest(condition.field, fields)} {path} allows: {allowed}.'
    if op not in rule.ops:
        allowed = ", ".join(rule.ops)
        return f'unknown "{op}"{nearest(op, rule.ops)} On {condition.field}, {path} allows: {allowed}.'
    if (op == "has") != (not condition.values):
        return f"{text}: `has` takes no value, every other operator takes one."
    if condition.many != (op in _LISTS) and op not in single_too:
        wanted = 'a list in brackets, ["…","…"]' if op in _LISTS else "one value, without brackets"
        return f"{text}: {op} takes {wanted}."
    if most_in_a_list is not None and len(condition.values) > most_in_a_list:
        return f"Klaviyo takes {most_in_a_list} values in a list, not {len(condition.values)}."
    wanted = next((wanted for value in condition.values if (wanted := _wanted(value, rule))), "")
    return f"{text}: {condition.field} takes {wanted}." if wanted else ""


def _wanted(value: str, rule: FilterField) -> str:
    """What a field takes, where a value is not that; else nothing."""
    quoted = value[0] in "'\""
    if rule.type == "string":
        if not quoted:
            return 'a text in quotes, "…"'
        plain = value[1:-1]
        return f"one of {', '.join(rule.values)}" if rule.values and plain not in rule.values else ""
    if rule.type == "date-time":
        return "" if _DATE_TIME.fullmatch(value) else "a time without quotes, like 2026-01-31T00:00:00Z"
    if rule.type == "boolean":
        return "" if value.lower() in ("true", "false") else "true or false"
    return "" if _NUMBER.fullmatch(value) else "a number without quotes"
