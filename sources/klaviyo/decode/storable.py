"""Rows as Postgres can hold them. Pure.

A single value that it refuses fails a load for good. It refuses U+0000 in a text, in `jsonb` also the escape for it and
numbers of more than 131,072 digits. `json` takes both, and queries of them fail.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw

from ..catalog.contracts import EXTRA, Contract
from ..jsonapi import json_object, object_of

# An escape for U+0000, behind an even number of backslashes: behind an odd number it is a backslash and `u0000`.
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
# Postgres holds exponents of up to 131,071 and 16,383 decimals; these are the numbers that may be larger or longer.
_LONG_NUMBER = r"[0-9]\.?[0-9]*[eE][+-]?[0-9]{5}|[0-9]{1000}"
_TOO_LONG = re.compile(r"[0-9]\.?[0-9]*[eE][+-]?[0-9]{5}|[0-9]{16000}")


def storable(table: pa.Table, contract: Contract) -> tuple[pa.Table, Counter[str]]:
    """The table without what Postgres cannot hold.

    A text loses its U+0000, and the original goes to `_extra`. In JSON and in `_extra` the character is written as the
    six characters `\\u0000`. JSON with a number that is too long goes to `_extra` as text.

    Returns:
        The table, and its misfits: path -> number of values.
    """
    misfits: Counter[str] = Counter()
    extras: dict[int, dict[str, bytes]] = {}
    for column in contract.columns:
        if column.data_type not in ("text", "json"):
            continue
        values = table.column(column.name)
        mended: Callable[[str], str | None]
        if column.data_type == "text":
            suspects, mended = pc.match_substring(values, "\x00"), _without_nuls
        else:
            suspects = pc.or_(pc.match_substring(values, "\\u0000"), pc.match_substring_regex(values, _LONG_NUMBER))
            mended = storable_json
        rows = pc.indices_nonzero(pc.fill_null(suspects, False)).to_pylist()
        changed = {row: (text, mended(text)) for row in rows for text in [values[row].as_py()]}
        changed = {row: (before, after) for row, (before, after) in changed.items() if before != after}
        if not changed:
            continue
        misfits[column.path] += len(changed)
        texts = values.to_pylist()
        for row, (before, after) in changed.items():
            texts[row] = after
            if column.data_type == "text" or after is None:
                extras.setdefault(row, {})[column.path] = msgspec.json.encode(before)
        table = _with(table, column.name, texts)
    if extras:
        texts = table.column(EXTRA).to_pylist()
        for row, values_of_row in extras.items():
            earlier = object_of(Raw(texts[row])) or {} if texts[row] else {}
            texts[row] = _escaped(json_object({**{name: bytes(raw) for name, raw in earlier.items()}, **values_of_row}))
        table = _with(table, EXTRA, texts)
    return table, misfits


def storable_json(text: str) -> str | None:
    """A JSON text as `jsonb` can hold it; None where it cannot."""
    return None if _TOO_LONG.search(_STRING.sub("", text)) else _escaped(text)


def _escaped(json: str) -> str:
    return _NUL.sub(r"\1\\\\u0000", json)


def _without_nuls(text: str) -> str:
    return text.replace("\x00", "")


def _with(table: pa.Table, name: str, texts: list[str | None]) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(texts, pa.string()))
