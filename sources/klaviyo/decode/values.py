"""JSON values to column values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import Raw

from ..catalog.contracts import Column
from ..jsonapi import UNREADABLE, decode_any

#: dlt's name of a type -> Arrow's.
ARROW: Mapping[str, pa.DataType] = {
    "text": pa.string(),
    "json": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
}

# Klaviyo documents some numbers as "number or numeric string" (a profile's latitude).
PYTHON_TYPES: Mapping[str, Any] = {
    "text": str | None,
    "json": Raw,
    "bigint": int | None,
    "double": float | str | None,
    "bool": bool | None,
    "timestamp": str | None,
    "date": str | None,
}

#: What decoding and converting raise for a record that the column types don't fit.
DOES_NOT_FIT = (*UNREADABLE, pa.ArrowException, ValueError, OverflowError, TypeError)


def attributes_of(objects: Sequence[Any], name: str) -> list[Any]:
    """An attribute of each object; None where the object is None."""
    try:
        return list(map(attrgetter(name), objects))
    except AttributeError:
        return [None if item is None else getattr(item, name) for item in objects]


def array_of(column: Column, values: Sequence[Any]) -> pa.Array:
    kind = column.data_type
    if kind == "json":
        return pa.array(json_texts(values), pa.string())
    if kind == "timestamp":
        # Arrow wants an offset, and no more than microseconds; everything else goes the careful way.
        return pa.array(values, pa.string()).cast(ARROW[kind])
    if kind == "date":
        return pa.array(values, pa.string()).cast(ARROW[kind])
    if kind == "double":
        return pa.array([_number(v) if isinstance(v, str) else v for v in values], pa.float64())
    return pa.array(values, ARROW[kind])


def json_texts(raws: Sequence[Raw | None]) -> list[bytes | None]:
    """JSON as it was sent; None for null as for absent."""
    texts: list[bytes | None] = [None if raw is None else bytes(raw) for raw in raws]
    if b"" in texts or b"null" in texts:
        return [None if text in (b"", b"null") else text for text in texts]
    return texts


def value_of(column: Column, raw: Raw) -> tuple[Any, bool]:
    """One value as its column takes it, and whether the column holds all of it."""
    text = bytes(raw)
    if text == b"null":
        return None, True
    kind = column.data_type
    if kind == "json":
        return text.decode(), True
    try:
        value = decode_any(text)
    except msgspec.DecodeError:
        return None, False
    if kind == "text" and isinstance(value, str):
        return value, True
    if kind == "bool" and isinstance(value, bool):
        return value, True
    if kind == "bigint" and isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value, True
    if kind == "double" and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return _number(value) if isinstance(value, str) else float(value), True
        except (ValueError, OverflowError):
            return None, False
    if kind == "timestamp" and isinstance(value, str):
        return timestamp_of(value)
    if kind == "date" and isinstance(value, str):
        try:
            return date.fromisoformat(value), True
        except ValueError:
            return None, False
    return None, False


_NUMBER = re.compile(r"\s*[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,2})?\s*", re.ASCII)


def _number(text: str) -> float:
    """A number in a string; Python's own `float` would also take "nan", "infinity" and "1_0"."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is not a number")
    return float(text)


# Nothing looser: ISO's dates without separators would take a number in a string for a date.
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d(?::\d\d(?::\d\d)?)?)(?:[.,](\d+))?\s*(Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)


def timestamp_of(text: str) -> tuple[datetime | None, bool]:
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        return None, False
    day, time, fraction, offset = match.groups()
    # Klaviyo's times are UTC; the shapes without an offset were seen to be so too.
    iso = f"{day}T{time or '00'}{'.' + fraction if fraction else ''}{(offset or 'Z').upper()}"
    try:
        return datetime.fromisoformat(iso).astimezone(UTC), not (fraction or "")[6:].strip("0")
    except (ValueError, OverflowError):
        return None, False
