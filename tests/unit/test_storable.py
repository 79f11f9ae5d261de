"""Rows as Postgres can hold them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.klaviyo.catalog.contracts import EXTRA, EXTRA_COLUMN, Column, Contract
from sources.klaviyo.decode.storable import storable, storable_json
from sources.klaviyo.decode.tables import schema_of, table_of

CONTRACT = Contract(
    "things",
    "thing",
    "Things.",
    (
        Column("name", "text", "attributes.name", "The name."),
        Column("properties", "json", "attributes.properties", "Anything."),
        EXTRA_COLUMN,
    ),
)
NUL, WRITTEN = "\x00", "\\u0000"


def stored(name: str | None, properties: str | None, extra: str | None = None) -> tuple[dict[str, Any], dict[str, int]]:
    row = {"name": name, "properties": properties, EXTRA: extra}
    table, misfits = storable(table_of([row], schema_of(CONTRACT)), CONTRACT)
    return table.to_pylist()[0], dict(misfits)


def test_a_text_loses_the_character_and_the_original_is_written_beside_it() -> None:
    row, misfits = stored("Za\x00ra", "{}", '{"attributes.new":1}')
    assert row["name"] == "Zara"
    assert json.loads(row[EXTRA]) == {"attributes.new": 1, "attributes.name": f"Za{WRITTEN}ra"}
    assert misfits == {"attributes.name": 1}


def test_in_json_the_character_is_written_as_six_characters() -> None:
    row, misfits = stored("x", r'{"a\u0000":"b\u0000","c":"\\u0000","d":"\\\u0000"}')
    assert json.loads(row["properties"]) == {f"a{WRITTEN}": f"b{WRITTEN}", "c": r"\u0000", "d": "\\" + WRITTEN}
    assert row[EXTRA] is None
    assert misfits == {"attributes.properties": 1}


@pytest.mark.parametrize("number", ["1e200000", "1.5E+131072", "-3e-20000", "9" * 140_000])
def test_json_with_a_number_that_is_too_long_is_kept_as_text(number: str) -> None:
    text = f'{{"n":{number}}}'
    row, misfits = stored("x", text)
    assert row["properties"] is None
    assert json.loads(row[EXTRA]) == {"attributes.properties": text}
    assert misfits == {"attributes.properties": 1}


@pytest.mark.parametrize(
    "text", ['{"id":"3e123456-1e99999"}', '{"n":1e400}', '{"n":' + "9" * 1200 + "}", '"' + "9" * 20_000 + '"']
)
def test_json_that_only_looks_like_it_stays_as_it_is(text: str) -> None:
    row, misfits = stored("x", text)
    assert (row["properties"], misfits) == (text, {})


def test_rows_that_can_be_stored_are_not_touched() -> None:
    table = table_of([{"name": "a", "properties": "[1]"}, {}], schema_of(CONTRACT))
    assert storable(table, CONTRACT)[0] is table


JSON = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('ab\\\x00u0"')),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.sampled_from("k\\\x00")), inner, max_size=3),
)


def written(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(NUL, WRITTEN)
    if isinstance(value, list):
        return [written(one) for one in value]
    if isinstance(value, dict):
        return {written(key): written(one) for key, one in value.items()}
    return value


@given(JSON)
def test_any_json_keeps_all_other_characters(value: Any) -> None:
    text = storable_json(json.dumps(value))
    assert text is not None
    assert json.loads(text) == written(value)
