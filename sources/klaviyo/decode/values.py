"""One JSON value -> the value of a column of a declared type; whole columns of them as Arrow arrays."""

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
from ..jsonapi import UNREADABLE, decode_any, object_of

#: dlt's name of a type -> Arrow's type.
ARROW: Mapping[str, pa.DataType] = {
    "text": pa.string(),
    "json": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
}

#: dlt's name of a type -> the type that a page is decoded to. Klaviyo documents some numbers as "number or numeric
#: string" (a profile's latitude).
PYTHON_TYPES: Mapping[str, Any] = {
    "text": str | None,
    "json": Raw,
    "bigint": int | None,
    "double": float | str | None,
    "bool": bool | None,
    "timestamp": str | None,
    "date": str | None,
}

#: What decoding and converting raise for a record that does not fit the column types.
DOES_NOT_FIT = (*UNREADABLE, pa.ArrowException, ValueError, OverflowError, TypeError)


def attributes_of(objects: Sequence[Any], name: str) -> list[Any]:
    """An attribute of each object; None where the object is None."""
    try:
        return list(map(attrgetter(name), objects))
    except AttributeError:
        return [None if item is None else getattr(item, name) for item in objects]


def array_of(column: Column, values: Sequence[Any]) -> pa.Array:
    """A column as an Arrow array, from values of its type in `PYTHON_TYPES`.

    Raises:
        One of `DOES_NOT_FIT`: a value does not fit.
    """
    kind = column.data_type
    if kind == "json":
        return pa.array(json_texts(values), pa.string())
    if kind == "timestamp":
        # Arrow requires an offset and at most microseconds. Records with other times are decoded value by value.
        return pa.array(values, pa.string()).cast(ARROW[kind])
    if kind == "date":
        return pa.array(values, pa.string()).cast(ARROW[kind])
    if kind == "double":
        return pa.array([_number(v) if isinstance(v, str) else v for v in values], pa.float64())
    return pa.array(values, ARROW[kind])


def array_as_sent(column: Column, raws: Sequence[Raw | None]) -> pa.Array:
    """A column as an Arrow array, from values as they were sent: for columns that Klaviyo fills in several forms.

    Raises:
        ValueError: a value does not fit.
    """
    values = []
    for raw in raws:
        value, whole = value_of(column, raw) if raw is not None and bytes(raw) else (None, True)
        if not whole:
            raise ValueError(f"{column.path} does not fit {column.data_type}")
        values.append(value)
    return pa.array(values, ARROW[column.data_type])


def json_texts(raws: Sequence[Raw | None]) -> list[bytes | None]:
    """JSON as it was sent; None for null and for absent values."""
    texts: list[bytes | None] = [None if raw is None else bytes(raw) for raw in raws]
    if b"" in texts or b"null" in texts:
        return [None if text in (b"", b"null") else text for text in texts]
    return texts


def value_of(column: Column, raw: Raw) -> tuple[Any, bool]:
    """One value as its column takes it, and whether nothing of it is lost."""
    text = bytes(raw)
    if column.member is not None and text.startswith(b"{"):
        inside = (object_of(raw) or {}).get(column.member)
        if inside is None:
            return None, False
        text = bytes(inside)
    if text == b"null":
        return None, True
    kind = column.data_type
    if kind == "json":
        return text.decode(), True
    if kind == "text" and is_number(text):
        # Klaviyo sends some ids as numbers, such as a profile's `external_id`. No digit of them may change.
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


def is_number(text: bytes) -> bool:
    """Whether a JSON value is a number."""
    return _STARTS_A_NUMBER.match(text) is not None


_STARTS_A_NUMBER = re.compile(rb"-?\d")
_NUMBER = re.compile(r"\s*[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,2})?\s*", re.ASCII)


def _number(text: str) -> float:
    """The number in a string; Python's `float` would also accept "nan", "infinity" and "1_0"."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is not a number")
    return float(text)


# Deliberately strict: with ISO's dates without separators, a number in a string would pass for a date.
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d(?::\d\d(?::\d\d)?)?)(?:[.,](\d+))?\s*(Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)


def timestamp_of(text: str) -> tuple[datetime | None, bool]:
    """A time as aware UTC (None if it is not one), and whether microseconds hold all of it."""
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        return None, False
    day, time, fraction, offset = match.groups()
    # Klaviyo's times are UTC, including those without an offset (seen).
    iso = f"{day}T{time or '00'}{'.' + fraction if fraction else ''}{(offset or 'Z').upper()}"
    try:
        return datetime.fromisoformat(iso).astimezone(UTC), not (fraction or "")[6:].strip("0")
    except (ValueError, OverflowError):
        return None, False
