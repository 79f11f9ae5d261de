"""Pages -> rows, against a slow reading of the same bytes that shares no code with the fast one.

The reference below uses Python's own `json`, keeps every value as the text it was sent as, and follows the path of each
column from the contract, one record at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any, NoReturn

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sources.klaviyo.catalog.contracts import EXTRA, ROW_VERSION, Contract, load_contract
from sources.klaviyo.catalog.model import Parent
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.decode.parents import ParentRecord, parents
from sources.klaviyo.decode.records import Shaper
from sources.klaviyo.decode.tables import Shaped, span, without
from sources.klaviyo.errors import ContractViolation, TransientError
from sources.klaviyo.jsonapi import mended, next_link
from sources.klaviyo.windows import Window

#: The one whose campaign messages are included rows; what another one does otherwise is in test_lookups and test_truth.
REVISION = "2026-07-15"
#: Those that are shaped here. Rows inside records and rows of numbers have shapers and tests of their own (test_people,
#: test_analytics).
REPORTS = {
    name: report
    for name, report in reports(REVISION).items()
    if report.nested is None and report.endpoint.analytics is None
}
CONTEXT = {"channel": "sms", "list_id": "L1", "segment_id": "S1", "campaign_id": "C1", "segment_name": "VIPs"}

#: How a moment was or may be sent -> the moment in UTC. What is not here is no moment.
MOMENTS = {
    "2026-06-23T00:15:23+00:00": datetime(2026, 6, 23, 0, 15, 23, tzinfo=UTC),
    "2026-06-23 00:15:23.918411+00:00": datetime(2026, 6, 23, 0, 15, 23, 918411, tzinfo=UTC),
    "2026-06-23T00:15:23Z": datetime(2026, 6, 23, 0, 15, 23, tzinfo=UTC),
    "2026-06-23T00:15:23.5Z": datetime(2026, 6, 23, 0, 15, 23, 500_000, tzinfo=UTC),
    "2026-06-23T02:15:23+02:00": datetime(2026, 6, 23, 0, 15, 23, tzinfo=UTC),
    "2026-06-22T20:45:23-0330": datetime(2026, 6, 23, 0, 15, 23, tzinfo=UTC),
    "2026-06-23T00:15:23": datetime(2026, 6, 23, 0, 15, 23, tzinfo=UTC),
    "2026-06-23 00:15:23.918": datetime(2026, 6, 23, 0, 15, 23, 918_000, tzinfo=UTC),
    "2026-06-23T00:15Z": datetime(2026, 6, 23, 0, 15, tzinfo=UTC),
    "2026-06-23": datetime(2026, 6, 23, tzinfo=UTC),
    "2026-06-23t00:15:23z": datetime(2026, 6, 23, 0, 15, 23, tzinfo=UTC),
    "2026-06-23T00:15:23.123456000Z": datetime(2026, 6, 23, 0, 15, 23, 123456, tzinfo=UTC),
    "1969-12-31T23:59:59Z": datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
}
#: Finer than a column holds: the row has it cut, the whole of it is kept beside.
TOO_FINE = {"2026-06-23T00:15:23.123456789+00:00": datetime(2026, 6, 23, 0, 15, 23, 123456, tzinfo=UTC)}
NO_MOMENTS = (
    "",
    "yesterday",
    "1719101012123",
    "20260623",
    "2026-W26-2",
    "2026-02-30T00:00:00Z",
    "2026-06-23T24:00:00Z",
    "2026-06-23T00:15:60Z",
    "2026-06-23T00:15:23+25:00",
    "2026-06-23T00:15:23+00:00:30",
    "0001-01-01 00:00:00.0000001+02:00",
)
#: Numbers in strings, as Klaviyo documents them for a place on the map, and what only looks like them.
NUMBERS = {"12.5": 12.5, "-0.25": -0.25, " 7 ": 7.0, "+1e3": 1000.0, "5.": 5.0}
NO_NUMBERS = ("", "nan", "inf", "-Infinity", "1_0", "1,5", "0x10", "٣", "1e999", "12.5 N")

#: Values as they stand in a page, each of which is at home in some column and misplaced in most.
VALUES = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-7",
    "5.0",
    "1e2",
    "0.1000000000000000055511151231257827",
    "1e400",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "123456789012345678901234567890",
    '""',
    '"text"',
    '"\\u0000"',
    '"a\\u2028b\\/\\"\\\\ud83d"',
    '"\u2028\u2029\x7f\u0085"',
    '"\\ud83d\\ude00 😀 é"',
    "{}",
    "[]",
    '{"b":1,"a":2,"B":3,"":null,"b.c":[{}]}',
    '{ "spaces" : [ 1 ,\n2 ] }',
    '[1,"two",[3.0,{"four":12345678901234567890123}],null]',
    *(json.dumps(text, ensure_ascii=False) for text in (*MOMENTS, *TOO_FINE, *NO_MOMENTS, *NUMBERS, *NO_NUMBERS)),
]
FITTING = {
    "text": ['"text"', '""', '"\\u0000\\ud83d\\ude00"', '"\u2028"', '"2026-06-23"', "null"],
    "json": VALUES,
    "bigint": ["0", "-7", "9223372036854775807", "-9223372036854775808", "null"],
    "double": ["0", "5.0", "1e2", "-7", "0.1000000000000000055511151231257827", '"12.5"', '" 7 "', "null"],
    "bool": ["true", "false", "null"],
    "timestamp": [json.dumps(text) for text in list(MOMENTS)[:6]] + ["null"],
}


#: Reports that between them have every shape of contract: objects in objects, JSON as a whole and in parts, relationships,
#: included values, included rows, a single record, history.
SHAPES = (
    "profiles",
    "events",
    "metrics",
    "campaigns",
    "campaign_messages",
    "campaign_recipient_estimations",
    "list_profiles",
)

# --- the reference


def members(text: str) -> dict[str, str] | None:
    """Key -> value as it was written, of the object that is written in `text`; None if it is none."""
    text = text.strip()
    if not text.startswith("{"):
        return None
    decoder, found, position = json.JSONDecoder(), {}, 1
    while text[position:].lstrip()[0] != "}":
        position += len(text[position:]) - len(text[position:].lstrip(" \n,"))
        key, position = decoder.raw_decode(text, position)
        position = text.index(":", position) + 1
        position += len(text[position:]) - len(text[position:].lstrip())
        _, end = decoder.raw_decode(text, position)
        found[key] = text[position:end]
        position = end
    return found


def elements(text: str) -> list[str]:
    """The values of an array, as they were written."""
    decoder, found, position = json.JSONDecoder(), [], 1
    while text[position:].lstrip()[0] != "]":
        position += len(text[position:]) - len(text[position:].lstrip(" \n,"))
        _, end = decoder.raw_decode(text, position)
        found.append(text[position:end])
        position = end
    return found


def value_of(data_type: str, text: str) -> tuple[Any, bool]:
    """What a column of a type makes of a value, and whether nothing of it is left over."""
    if text == "null":
        return None, True
    if data_type == "json":
        return text, True
    value = json.loads(text)
    match data_type, value:
        case "text", str():
            return value, True
        case ("bool", bool()) | ("text" | "bigint" | "double" | "timestamp", bool()):
            return (value, True) if data_type == "bool" else (None, False)
        case "text", int() | float():
            return text, True
        case "bigint", int() if -(2**63) <= value < 2**63:
            return value, True
        case "double", int() | float() if abs(value) != float("inf"):
            return float(value), True
        case "double", str() if value in NUMBERS:
            return NUMBERS[value], True
        case "double", str() if value.isdecimal() and value.isascii():
            return float(value), True
        case "timestamp", str() if value in MOMENTS:
            return MOMENTS[value], True
        case "timestamp", str() if value in TOO_FINE:
            return TOO_FINE[value], False
    return None, False


def references(text: str | None) -> list[tuple[str, str]] | None:
    """What a relationship points at: nothing where it has no data, None where it cannot be read."""
    relationship = members(text) if text is not None else None
    if relationship is None:
        return None
    data = json.loads(relationship.get("data", "null"))
    many = data if isinstance(data, list) else [data] if data is not None else []
    if not all(isinstance(ref, dict) and isinstance(ref.get("id"), str) for ref in many):
        return None
    return [(ref["type"], ref["id"]) for ref in many]


def walk(text: str | None, steps: Sequence[str]) -> str | None:
    for step in steps:
        text = (members(text) or {}).get(step) if text is not None else None
    return None if text == "null" else text


def reference_row(
    text: str, contract: Contract, included: Mapping[tuple[str, str], str], context: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str], set[str]]:
    """One record as a row, what fits in no column (path -> value as it was written), and what of it has no column."""
    row: dict[str, Any] = {column.name: None for column in contract.columns}
    extra: dict[str, str] = {}
    new: set[str] = set()
    record = members(text)
    if record is None:
        record, extra["$"] = {}, text
    leaves = {tuple(c.path.split(".")): c for c in contract.columns if c.path.startswith("attributes.")}

    def take(path: tuple[str, ...], value: str, closed: bool) -> None:
        column = leaves.get(path)
        inner = len(path) == 1 or any(leaf[: len(path)] == path and len(leaf) > len(path) for leaf in leaves)
        if column is not None:
            inside = members(value) if column.member else None
            if inside is None:
                row[column.name], whole = value_of(column.data_type, value)
            else:
                row[column.name], whole = value_of(column.data_type, inside.get(column.member or "", "[]"))
            if not whole:
                extra[".".join(path)] = value
        if inner and value != "null":
            closed_inside = closed and column is None
            fields = members(value)
            if fields is None and closed_inside:
                extra[".".join(path)] = value
            for name, field in (fields or {}).items():
                take((*path, name), field, closed_inside)
        if not inner and column is None and closed:
            extra[".".join(path)] = value
            new.add(".".join(path))

    take(("attributes",), record.get("attributes", "null"), True)
    relationships: dict[str, str] = {}
    if "relationships" in record and record["relationships"] != "null":
        found = members(record["relationships"])
        if found is None:
            extra["relationships"] = record["relationships"]
        relationships = {name: value for name, value in (found or {}).items() if value != "null"}
    for column in contract.columns:
        kind, _, rest = column.path.partition(".")
        if kind == "relationships":
            name = rest.split(".")[0]
            refs = references(relationships.get(name))
            many = "data[]" in rest
            if refs is None or (not many and len(refs) > 1):
                if name in relationships:
                    extra[f"relationships.{name}"] = relationships[name]
            elif many:
                has_data = walk(relationships[name], ["data"]) is not None
                row[column.name] = [ref_id for _, ref_id in refs] if has_data else None
            else:
                row[column.name] = refs[0][1] if refs else None
        elif kind == "included":
            name, *steps = rest.split(".")
            many, name = name.endswith("[]"), name.removesuffix("[]")
            refs = references(relationships.get(name)) or []
            values = [walk(included.get(ref), steps) for ref in refs]
            if many:
                has_data = walk(relationships.get(name), ["data"]) is not None
                listed = f"[{','.join(value for value in values if value is not None)}]"
                row[column.name] = listed if has_data and references(relationships.get(name)) is not None else None
            elif values and values[0] is not None:
                row[column.name], whole = value_of(column.data_type, values[0])
                if not whole:
                    extra[column.path] = values[0]
        elif kind == "context":
            row[column.name] = context.get(rest)
        elif kind == "type" and "type" in record:
            row[column.name] = json.loads(record["type"])
        elif kind == "id":
            ident = json.loads(record.get("id", "null"))
            row[column.name] = ident if isinstance(ident, str) else record.get("id")
            if ident is None:
                row[column.name] = f"no-id-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
                extra["$"] = text
    return row, extra, new


def reference(page: str, name: str) -> tuple[list[dict[str, Any]], Counter[str], Counter[str]]:
    """All rows of a page of a report, `_extra` as path -> value as it was written; misfits and new fields, counted."""
    document = members(page)
    assert document is not None
    report, contract = REPORTS[name], load_contract(name, REVISION)
    included = {}
    for text in elements(document.get("included", "[]")):
        header = members(text) or {}
        included[json.loads(header["type"]), json.loads(header["id"])] = text
    if report.rows is not None:
        texts = [text for (kind, _), text in included.items() if kind == report.rows]
    else:
        data = document["data"]
        texts = elements(data) if data.startswith("[") else [data]
    rows, misfits, new_fields = [], Counter[str](), Counter[str]()
    for text in texts:
        row, extra, new = reference_row(text, contract, included, CONTEXT)
        misfits.update(extra.keys() - new)
        new_fields.update(new)
        rows.append({**row, EXTRA: extra or None})
    return rows, misfits, new_fields


# --- what is compared


class CarefulShaper(Shaper):
    """Takes every record the careful way."""

    def _fast(self, records: Sequence[Any], *rest: Any) -> Shaped:
        if records:
            raise ValueError("not this way")
        return super()._fast(records, *rest)


class FastShaper(Shaper):
    """Takes no record the careful way."""

    def _one(self, *_: Any) -> NoReturn:
        raise AssertionError("not this way")


def shaper(name: str, kind: type[Shaper] = Shaper) -> Shaper:
    report = REPORTS[name]
    return kind(load_contract(name, REVISION), rows=report.rows, row_version=report.history)


def rows_of(shaped: Shaped, contract: Contract) -> list[dict[str, Any]]:
    """Rows of a table, ids of to-many relationships read, and `_extra` as path -> value as it was written."""
    ids = {
        column.name
        for column in contract.columns
        if column.path.endswith(".data[].id") and "included" not in column.path
    }
    rows = []
    for row in shaped.table.to_pylist():
        row.pop(ROW_VERSION, None)
        row[EXTRA] = members(row[EXTRA]) if row[EXTRA] is not None else None
        rows.append({name: json.loads(v) if name in ids and v is not None else v for name, v in row.items()})
    return rows


def shaped(name: str, page: str, kind: type[Shaper] = Shaper) -> Shaped:
    return shaper(name, kind).shape(page.encode(), CONTEXT)


def document(records: Sequence[str], included: Sequence[str] = ()) -> str:
    return f'{{"data":[{",".join(records)}],"included":[{",".join(included)}],"links":{{"next":null}}}}'


def event(attributes: str = "{}", relationships: str = "{}", ident: str = '"e1"') -> str:
    return f'{{"type":"event","id":{ident},"attributes":{attributes},"relationships":{relationships}}}'


def one(name: str, record: str, kind: type[Shaper] = Shaper) -> tuple[dict[str, Any], Counter[str]]:
    result = shaped(name, document([record]), kind)
    (row,) = rows_of(result, load_contract(name, REVISION))
    return row, result.misfits


# --- random pages of every report


def rendered(tree: Mapping[str, Any]) -> str:
    parts = [f"{json.dumps(key)}:{rendered(v) if isinstance(v, dict) else v}" for key, v in tree.items()]
    return "{" + ",".join(parts) + "}"


@st.composite
def pages(draw: st.DrawFn, name: str, hostile: bool) -> str:
    """A page of a report: mostly fitting values, and where it is hostile, misplaced, unknown and missing ones too."""
    report, contract = REPORTS[name], load_contract(name, REVISION)
    leaves = [column for column in contract.columns if column.path.startswith("attributes.")]
    either = tuple(f"{column.path}." for column in leaves if column.member)
    # An object in place of a value comes with that value.
    leaves = [column for column in leaves if hostile or not (either and column.path.startswith(either))]
    relations = {
        column.path.split(".")[1].removesuffix("[]"): "[]" in column.path
        for column in contract.columns
        if column.path.startswith(("relationships.", "included."))
    }
    known: dict[tuple[str, str], str] = {}
    rarely = st.integers(0, 9).map(lambda n: hostile and n == 0)

    def attributes() -> str:
        if draw(rarely):
            return draw(st.sampled_from(["null", "{}", "[]", '"text"', "7"]))
        tree: dict[str, Any] = {}
        for column in draw(st.lists(st.sampled_from(leaves), max_size=6, unique=True)) if leaves else []:
            *objects, last = column.path.split(".")[1:]
            node = tree
            for step in objects:
                if not isinstance(node.setdefault(step, {}), dict):
                    break
                node = node[step]
            else:
                whole = any(other.path.startswith(f"{column.path}.") for other in leaves)
                fitting = ["{}", '{"open":[1]}', "null"] if whole else FITTING[column.data_type]
                if column.member:
                    fitting = ['"text"', f'{{"id":15,"{column.member}":"text"}}', f'{{"{column.member}":null}}', "null"]
                values = VALUES if draw(rarely) else fitting
                node.setdefault(last, draw(st.sampled_from(values)))
                if draw(rarely):
                    node[draw(st.sampled_from(["new", "New", "", "é", "a b", last.upper()]))] = draw(
                        st.sampled_from(VALUES)
                    )
        return rendered(tree)

    def link(relation: str, many: bool) -> str:
        refs = []
        for ident in draw(st.lists(st.sampled_from("abc"), max_size=2 if many else 1)):
            kind = f"kind-of-{relation}"
            refs.append(f'{{"type":"{kind}","id":"{ident}"}}')
            if draw(st.integers(0, 4)):
                paths = [c.path.split(".")[2:] for c in contract.columns if c.path.startswith(f"included.{relation}")]
                steps = draw(st.sampled_from(paths or [[]]))
                value = draw(st.sampled_from(VALUES if draw(rarely) else ['"Placed Order"', '"X"', "null"]))
                for step in reversed(steps):
                    value = f'{{"{step}":{value}}}'
                inner = value[1:-1] + "," if steps else ""
                known.setdefault((kind, ident), f'{{{inner}"type":"{kind}","id":"{ident}"}}')
        data = f"[{','.join(refs)}]" if many else (refs or ["null"])[0]
        usual = f'{{"links":{{"self":"x"}},"data":{data}}}'
        if draw(rarely):
            return draw(
                st.sampled_from(
                    [
                        "null",
                        "{}",
                        '{"data":null}',
                        '{"data":[]}',
                        '{"data":[{"type":"x","id":"1"}]}',
                        '{"data":[{"type":"x","id":"1"},{"type":"x","id":"2"}]}',
                        '{"data":{"type":"x","id":"1"}}',
                        '{"data":{"type":"x","id":1}}',
                        '{"data":7}',
                        "7",
                    ]
                )
            )
        return usual

    def record(kind: str, number: int) -> str:
        fields = {"type": json.dumps(kind), "id": json.dumps(f"id-{number}"), "attributes": attributes()}
        links = {name: link(name, many) for name, many in relations.items() if draw(st.integers(0, 4))}
        fields["relationships"] = rendered(links)
        if hostile and report.rows is None and not draw(st.integers(0, 19)):
            fields[draw(st.sampled_from(["id", "type", "attributes", "relationships"]))] = draw(
                st.sampled_from(["null", "7", '""', "[]"])
            )
        if hostile and not draw(st.integers(0, 19)):
            fields.pop(draw(st.sampled_from(["attributes", "relationships"])))
        return rendered(fields)

    count = draw(st.integers(0, 5))
    if report.rows is not None:
        rows = [record(report.rows, number) for number in range(count)]
        return document(['{"type":"owner","id":"o"}'], [*known.values(), *rows])
    return document([record(contract.resource, number) for number in range(count)], list(known.values()))


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=15)
@given(st.data())
def test_a_page_of_fitting_values_goes_the_fast_way_and_gives_the_rows_of_the_reference(
    name: str, data: st.DataObject
) -> None:
    page = data.draw(pages(name, hostile=False))
    expected, misfits, new_fields = reference(page, name)
    assert misfits == new_fields == Counter()
    assert rows_of(shaped(name, page, FastShaper), load_contract(name, REVISION)) == expected


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=30)
@given(st.data())
def test_any_page_gives_the_rows_of_the_reference_both_ways(name: str, data: st.DataObject) -> None:
    the_same_both_ways(name, data)


@pytest.mark.parametrize("name", sorted(set(REPORTS) - set(SHAPES)))
@settings(max_examples=3)
@given(st.data())
def test_the_other_reports_are_no_different(name: str, data: st.DataObject) -> None:
    the_same_both_ways(name, data)


def the_same_both_ways(name: str, data: st.DataObject) -> None:
    page = data.draw(pages(name, hostile=True))
    contract = load_contract(name, REVISION)
    expected, misfits, new_fields = reference(page, name)
    shape = shaper(name)
    # The second time, the new fields are known, and the text columns with numbers.
    for result in (
        shaped(name, page, CarefulShaper),
        shape.shape(page.encode(), CONTEXT),
        shape.shape(page.encode(), CONTEXT),
    ):
        assert rows_of(result, contract) == expected
        assert result.misfits == misfits
        assert result.new_fields == new_fields
        assert result.table.schema == shape.schema


@pytest.mark.parametrize("name", REPORTS)
def test_the_columns_are_those_of_the_contract_whatever_the_page_holds(name: str) -> None:
    names = [column.name for column in load_contract(name, REVISION).columns]
    history = [ROW_VERSION] if REPORTS[name].history else []
    shape = shaper(name)
    for table in (shape.empty(), shape.shape(b'{"data":[]}', {}).table, shape.shape(b'{"data":[null]}', {}).table):
        assert table.column_names == names + history
        assert table.num_rows == 0


# --- values


@pytest.mark.parametrize("kind", [Shaper, CarefulShaper])
@pytest.mark.parametrize("text", [text for text in VALUES if text != "null"])
def test_json_stays_byte_for_byte_what_was_sent(text: str, kind: type[Shaper]) -> None:
    row, misfits = one("events", event(f'{{"event_properties":{text}}}'), kind)
    assert row["event_properties"] == text
    assert misfits == Counter()


def test_a_megabyte_of_json_stays_what_it_was() -> None:
    text = json.dumps({f"key {n}": ["x" * 50, n, 2**60 + n] for n in range(12_000)}, indent=1)
    assert len(text) > 1_000_000
    assert one("events", event(f'{{"event_properties":{text}}}'), FastShaper)[0]["event_properties"] == text


@pytest.mark.parametrize("kind", [Shaper, CarefulShaper])
@pytest.mark.parametrize(("text", "moment"), MOMENTS.items())
def test_a_timestamp_is_utc_in_every_shape_that_it_is_sent_in(text: str, moment: datetime, kind: type[Shaper]) -> None:
    row, misfits = one("events", event(f'{{"datetime":"{text}"}}'), kind)
    assert row["datetime"] == moment
    assert row[EXTRA] is None
    assert misfits == Counter()


@pytest.mark.parametrize("kind", [Shaper, CarefulShaper])
def test_a_timestamp_finer_than_a_microsecond_is_cut_and_kept_whole_beside(kind: type[Shaper]) -> None:
    ((text, moment),) = TOO_FINE.items()
    row, misfits = one("events", event(f'{{"datetime":"{text}"}}'), kind)
    assert (row["datetime"], row[EXTRA]) == (moment, {"attributes.datetime": f'"{text}"'})
    assert misfits == {"attributes.datetime": 1}


@pytest.mark.parametrize("text", NO_MOMENTS)
def test_what_is_no_timestamp_is_kept_beside(text: str) -> None:
    row, misfits = one("events", event(f'{{"datetime":"{text}","uuid":"u"}}'))
    assert (row["datetime"], row["uuid"], row[EXTRA]) == (None, "u", {"attributes.datetime": f'"{text}"'})
    assert misfits == {"attributes.datetime": 1}


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["T", " "]),
    st.sampled_from(["seconds", "milliseconds", "microseconds"]),
)
def test_both_ways_read_the_same_moment(moment: datetime, offset_min: int, separator: str, precision: str) -> None:
    sign, (hours, minutes) = "-" if offset_min < 0 else "+", divmod(abs(offset_min), 60)
    text = f"{moment.isoformat(separator, precision)}{sign}{hours:02}:{minutes:02}"
    page = document([event(f'{{"datetime":"{text}"}}')])
    fast, careful = shaped("events", page, FastShaper), shaped("events", page, CarefulShaper)
    assert fast.table == careful.table
    cut = {"seconds": 1_000_000, "milliseconds": 1000, "microseconds": 1}[precision]
    expected = moment.replace(microsecond=moment.microsecond // cut * cut, tzinfo=UTC) - timedelta(minutes=offset_min)
    assert fast.table.column("datetime").to_pylist() == [expected]


@pytest.mark.parametrize("kind", [Shaper, CarefulShaper])
@pytest.mark.parametrize(("text", "number"), NUMBERS.items())
def test_a_number_in_a_string_is_a_number_where_klaviyo_says_so(text: str, number: float, kind: type[Shaper]) -> None:
    record = f'{{"type":"profile","id":"p","attributes":{{"location":{{"latitude":"{text}","longitude":1}}}}}}'
    row, misfits = one("profiles", record, kind)
    assert (row["location_latitude"], row["location_longitude"], misfits) == (number, 1.0, Counter())


@pytest.mark.parametrize("text", [*(json.dumps(text) for text in NO_NUMBERS), "true", "1e400", "[]", '{"a":1}'])
def test_what_only_looks_like_a_number_is_kept_beside(text: str) -> None:
    record = f'{{"type":"profile","id":"p","attributes":{{"location":{{"latitude":{text},"city":"Köln"}}}}}}'
    row, misfits = one("profiles", record)
    path = "attributes.location.latitude"
    assert (row["location_latitude"], row["location_city"], row[EXTRA]) == (None, "Köln", {path: text})
    assert misfits == {path: 1}


@pytest.mark.parametrize("text", ["0", "-7", "123456789012345678901234567890", "12345.50", "1e400"])
def test_a_number_in_a_text_column_keeps_its_digits(text: str) -> None:
    row, misfits = one("profiles", f'{{"type":"profile","id":"p","attributes":{{"external_id":{text}}}}}')
    assert (row["external_id"], row[EXTRA], misfits) == (text, None, Counter())


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "1.0", '"1"', "true", "[1]"])
def test_what_is_no_whole_number_of_64_bits_is_kept_beside(text: str) -> None:
    row, misfits = one("events", event(f'{{"timestamp":{text},"uuid":"u"}}'))
    assert (row["timestamp"], row["uuid"], row[EXTRA]) == (None, "u", {"attributes.timestamp": text})
    assert misfits == {"attributes.timestamp": 1}


def test_a_key_that_differs_in_case_is_another_key() -> None:
    row, _ = one("events", event('{"UUID":"B","uuid":"a","Uuid":"C"}'))
    assert (row["uuid"], row[EXTRA]) == ("a", {"attributes.UUID": '"B"', "attributes.Uuid": '"C"'})


@pytest.mark.parametrize("kind", [Shaper, CarefulShaper])
def test_nothing_and_null_are_the_same(kind: type[Shaper]) -> None:
    full = shaped("profiles", document(['{"type":"profile","id":"p"}']), kind).table
    for attributes in ("null", "{}", '{"location":null,"email":null,"properties":null}', '{"location":{"city":null}}'):
        record = f'{{"type":"profile","id":"p","attributes":{attributes},"relationships":null}}'
        assert shaped("profiles", document([record]), kind).table == full
    assert {name: values for name, values in full.to_pydict().items() if values != [None]} == {"id": ["p"]}


@pytest.mark.parametrize("kind", [Shaper, CarefulShaper])
def test_the_category_of_an_integration_is_a_text_or_in_an_object(kind: type[Shaper]) -> None:
    category = ['"eCommerce"', '{"id": 15, "category": "Advertising"}', "null", '{"id":"x","category":null}']
    integration = '{"object":"application","id":"A","key":"","name":"App","category":%s,"more":[1]}'
    page = document(
        [f'{{"type":"metric","id":"m","attributes":{{"integration":{integration % text}}}}}' for text in category]
    )
    result = shaped("metrics", page, kind)
    columns = ("integration_object", "integration_category", "integration_category_id", "integration_key")
    rows = rows_of(result, load_contract("metrics", REVISION))
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("application", "eCommerce", None, ""),
        ("application", "Advertising", "15", ""),
        ("application", None, None, ""),
        ("application", None, "x", ""),
    ]
    assert [row["integration"] for row in rows] == [integration % text for text in category]
    assert [row[EXTRA] for row in rows] == [None] * 4
    assert result.misfits == result.new_fields == Counter()


@pytest.mark.parametrize("text", ["{}", '{"id":15}', '{"category":{"en":"Ads"}}', "[]", "true"])
def test_a_category_that_is_neither_is_kept_beside(text: str) -> None:
    row, misfits = one("metrics", f'{{"type":"metric","id":"m","attributes":{{"integration":{{"category":{text}}}}}}}')
    assert (row["integration_category"], row["integration"]) == (None, f'{{"category":{text}}}')
    assert row[EXTRA] == {"attributes.integration.category": text}
    assert misfits == {"attributes.integration.category": 1}


def test_an_object_that_is_no_object_is_kept_beside_and_the_rest_of_the_record_loads() -> None:
    record = (
        '{"type":"profile","id":"p","attributes":{"email":"a@b.c","location":"Köln","subscriptions":{"email":[1]}}}'
    )
    row, misfits = one("profiles", record)
    assert (row["email"], row["location_city"]) == ("a@b.c", None)
    assert row[EXTRA] == {"attributes.location": '"Köln"', "attributes.subscriptions.email": "[1]"}
    assert misfits == {"attributes.location": 1, "attributes.subscriptions.email": 1}


def test_one_record_that_does_not_fit_leaves_its_neighbours_as_they_are() -> None:
    records = [event(f'{{"timestamp":{n}}}', ident=f'"e{n}"') for n in range(9)]
    records[4] = event('{"timestamp":"four"}', ident='"e4"')
    result = shaped("events", document(records))
    assert result.table.column("id").to_pylist() == [f"e{n}" for n in range(9)]
    assert result.table.column("timestamp").to_pylist() == [0, 1, 2, 3, None, 5, 6, 7, 8]
    assert result.misfits == {"attributes.timestamp": 1}


# --- fields that no column names


def test_a_new_field_is_kept_beside_on_the_page_that_brings_it_and_the_fast_way_knows_it_from_then_on() -> None:
    page = document(
        [event(f'{{"uuid":"u{n}","new":{{"n":{n}}},"New":null}}', ident=f'"e{n}"') for n in range(4)]
    ).encode()
    shape = shaper("events")
    first = shape.shape(page, CONTEXT)
    shape.__class__ = FastShaper
    second = shape.shape(page, CONTEXT)
    for result in (first, second):
        rows = rows_of(result, shape.contract)
        assert [row["uuid"] for row in rows] == ["u0", "u1", "u2", "u3"]
        assert [row[EXTRA] for row in rows] == [
            {"attributes.new": f'{{"n":{n}}}', "attributes.New": "null"} for n in range(4)
        ]
        assert result.new_fields == {"attributes.new": 4, "attributes.New": 4}
        assert result.misfits == Counter()
    without_them = shape.shape(document([event('{"uuid":"u"}')]).encode(), CONTEXT)
    assert without_them.table.column(EXTRA).to_pylist() == [None]
    assert without_them.misfits == without_them.new_fields == Counter()


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_only_the_records_that_have_a_new_field_carry_it(having: list[tuple[bool, bool, bool]]) -> None:
    members = ['"new":null', '"New":{"a":[1]}', r'"a\u00e9 b":"\ud83d\ude00"']
    page = document(
        [event("{" + ",".join(one for one, has in zip(members, of, strict=True) if has) + "}") for of in having]
    )
    shape = shaper("events")
    # All three, so that they are known.
    shape.shape(document([event("{" + ",".join(members) + "}")]).encode(), CONTEXT)
    shape.__class__ = FastShaper
    expected, misfits, new_fields = reference(page, "events")
    result = shape.shape(page.encode(), CONTEXT)
    assert rows_of(result, shape.contract) == expected
    assert [row[EXTRA] is not None for row in expected] == [any(of) for of in having]
    assert (result.misfits, result.new_fields) == (misfits, new_fields)


@pytest.mark.parametrize("name", [r"a\"b", r"a\\b", r"a\nb", r"\u0000", ""])
def test_a_new_field_of_any_name_is_kept(name: str) -> None:
    page = document([event(f'{{"uuid":"u","{name}":{n}}}', ident=f'"e{n}"') for n in range(3)])
    shape = shaper("events")
    for _ in range(2):
        result = shape.shape(page.encode(), CONTEXT)
        path = "attributes." + json.loads(f'"{name}"')
        assert [row[EXTRA] for row in rows_of(result, shape.contract)] == [{path: str(n)} for n in range(3)]
        assert result.table.column("uuid").to_pylist() == ["u"] * 3
        assert result.new_fields == {path: 3}


def test_numbers_in_a_text_column_go_the_careful_way_once(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0
    one_by_one = Shaper._one

    def counted(self: Shaper, *args: Any) -> Shaped:
        nonlocal taken
        taken += 1
        return one_by_one(self, *args)

    monkeypatch.setattr(Shaper, "_one", counted)
    ids = ["12345678901234567890123", '"text"', "null", "-0.50", '""', "1e400"]
    records = [f'{{"type":"profile","id":"p","attributes":{{"external_id":{text}}}}}' for text in ids * 20]
    shape = shaper("profiles")
    for _ in range(3):
        result = shape.shape(document(records).encode(), CONTEXT)
        assert result.table.column("external_id").to_pylist() == [
            "12345678901234567890123", "text", None, "-0.50", "", "1e400",
        ] * 20  # fmt: skip
        assert result.misfits == result.new_fields == Counter()
    assert taken == 1


def test_what_no_text_column_takes_is_kept_beside_once_numbers_are_known() -> None:
    shape = shaper("profiles")
    record = '{"type":"profile","id":"p","attributes":{"external_id":%s,"title":"T"}}'
    for text in ("7", "true", '{"a":1}', '"fine"'):
        (row,) = rows_of(shape.shape(document([record % text]).encode(), CONTEXT), shape.contract)
        misplaced = text in ("true", '{"a":1}')
        assert (row["title"], row["external_id"]) == ("T", None if misplaced else text.strip('"'))
        assert row[EXTRA] == ({"attributes.external_id": text} if misplaced else None)


def test_keys_of_an_open_object_are_no_new_fields() -> None:
    # They are the account's own, and may be personal data.
    result = shaped("events", document([event('{"event_properties":{"ann@example.com":1},"new":1}')]))
    assert (result.new_fields, result.misfits) == ({"attributes.new": 1}, Counter())
    record = '{"type":"profile","id":"p","attributes":{"properties":{"ann@example.com":1}}}'
    result = shaped("profiles", document([record]))
    assert result.new_fields == result.misfits == Counter()


def test_a_new_field_deep_inside_is_learned_once() -> None:
    compiled = 0

    class Counting(Shaper):
        def _compile(self) -> None:
            nonlocal compiled
            compiled += 1
            super()._compile()

    shape = Counting(load_contract("profiles", REVISION))
    record = '{"type":"profile","id":"p","attributes":{"created":"%s","location":{"planet":"Earth"}}}'
    for moment in ("2026-06-23T00:15:23Z", *["2026-06-23T00:15:23"] * 5):
        table = shape.shape(document([record % moment]).encode(), {}).table
        assert members(table.column(EXTRA)[0].as_py()) == {"attributes.location.planet": '"Earth"'}
    assert compiled == 2


def test_an_object_with_any_number_of_new_fields_is_still_kept_whole() -> None:
    fields = {f"field {n}": n for n in range(200)}
    result = shaped("events", document([event(json.dumps(fields))]))
    (row,) = rows_of(result, load_contract("events", REVISION))
    assert row[EXTRA] == {f"attributes.field {n}": str(n) for n in range(200)}
    assert (result.new_fields.total(), result.misfits) == (200, Counter())


def test_what_a_json_column_holds_whole_is_not_kept_twice() -> None:
    record = '{"type":"campaign","id":"c","attributes":{"audiences":{"included":["a"],"new":1}}}'
    row, misfits = one("campaigns", record)
    assert (row["audiences"], row["audiences_included"]) == ('{"included":["a"],"new":1}', '["a"]')
    assert (row["audiences_excluded"], row[EXTRA], misfits) == (None, None, Counter())


# --- records that are hardly records


@pytest.mark.parametrize(
    "record", ['{"type":"event","attributes":{"uuid":"u"}}', '{"id":null}', "7", '"text"', "[]", "{}"]
)
def test_a_record_without_an_id_is_kept_under_a_name_made_of_its_content(record: str) -> None:
    row, misfits = one("events", record)
    assert row["id"] == f"no-id-{hashlib.sha256(record.encode()).hexdigest()[:32]}"
    assert row[EXTRA] is not None
    assert row[EXTRA]["$"] == record
    assert misfits["$"] == 1
    assert row["uuid"] == ("u" if "uuid" in record else None)


def test_an_included_row_without_an_id_is_kept_too() -> None:
    message = '{"type":"campaign-message","attributes":{"definition":{"label":"A"}}}'
    page = document([], [message, message.replace("A", "B"), '{"type":7}', "7"])
    rows = rows_of(shaped("campaign_messages", page), load_contract("campaign_messages", REVISION))
    assert [row["definition_label"] for row in rows] == ["A", "B"]
    assert len({row["id"] for row in rows}) == 2


def test_a_single_record_in_place_of_a_list_is_one_row() -> None:
    record = '{"type":"campaign-recipient-estimation","id":"c","attributes":{"estimated_recipient_count":5}}'
    for kind in (FastShaper, CarefulShaper):
        table = shaped("campaign_recipient_estimations", f'{{"data":{record}}}', kind).table
        assert table.column("estimated_recipient_count").to_pylist() == [5]
    assert shaped("campaign_recipient_estimations", '{"data":null}').table.num_rows == 0


@pytest.mark.parametrize(
    "page", ["", "[]", "{", '{"data":[{"id":"e1"', '{"errors":[]}', "<html>", '{"data":[1]} x', "null"]
)
def test_what_is_no_page_is_a_passing_fault(page: str) -> None:
    with pytest.raises(TransientError):
        shaped("events", page)


# --- relationships and what they point at


@pytest.mark.parametrize("kind", [Shaper, CarefulShaper])
@pytest.mark.parametrize(
    ("link", "ids", "attributions"),
    [
        (None, None, None),
        ("null", None, None),
        ("{}", None, None),
        ('{"links":{}}', None, None),
        ('{"data":null}', None, None),
        ('{"data":[]}', [], "[]"),
        ('{"data":[{"type":"attribution","id":"a1"}]}', ["a1"], '[{"type":"attribution","id":"a1","x": 1}]'),
        ('{"data":[{"type":"attribution","id":"gone"}]}', ["gone"], "[]"),
    ],
)
def test_no_data_is_null_and_no_references_are_an_empty_list(
    link: str | None, ids: list[str] | None, attributions: str | None, kind: type[Shaper]
) -> None:
    links = "{}" if link is None else f'{{"attributions":{link}}}'
    page = document([event("{}", links)], ['{"type":"attribution","id":"a1","x": 1}'])
    result = shaped("events", page, kind)
    (row,) = rows_of(result, load_contract("events", REVISION))
    assert (row["attribution_ids"], row["attributions"], result.misfits) == (ids, attributions, Counter())


@pytest.mark.parametrize(
    "link",
    ["7", '{"data":7}', '{"data":{"type":"metric","id":7}}', '{"data":[{"type":"m","id":"1"},{"type":"m","id":"2"}]}'],
)
def test_a_relationship_that_cannot_be_read_is_kept_beside(link: str) -> None:
    row, misfits = one("events", event("{}", f'{{"metric":{link}}}'))
    assert (row["metric_id"], row["metric_name"], row[EXTRA]) == (None, None, {"relationships.metric": link})
    assert misfits == {"relationships.metric": 1}


def test_references_that_cannot_be_read_are_not_an_empty_list() -> None:
    link = '{"data":{"type":"attribution","id":7}}'
    row, _ = one("events", event("{}", f'{{"attributions":{link}}}'))
    assert (row["attribution_ids"], row["attributions"]) == (None, None)
    assert row[EXTRA] == {"relationships.attributions": link}


def test_a_name_that_is_no_text_is_kept_beside_as_it_was_sent() -> None:
    page = document(
        [event("{}", '{"metric":{"data":{"type":"metric","id":"m"}}}')],
        ['{"type":"metric","id":"m","attributes":{"name":{"en":"Order"}}}'],
    )
    result = shaped("events", page)
    (row,) = rows_of(result, load_contract("events", REVISION))
    assert (row["metric_id"], row["metric_name"]) == ("m", None)
    assert row[EXTRA] == {"included.metric.attributes.name": '{"en":"Order"}'}
    assert result.misfits == {"included.metric.attributes.name": 1}


def test_each_event_gets_the_name_of_its_own_metric() -> None:
    page = document(
        [event("{}", f'{{"metric":{{"data":{{"type":"metric","id":"m{n % 2}"}}}}}}') for n in range(3)],
        [f'{{"type":"metric","id":"m{n}","attributes":{{"name":"Metric {n}"}}}}' for n in range(2)],
    )
    for kind in (FastShaper, CarefulShaper):
        names = shaped("events", page, kind).table.column("metric_name").to_pylist()
        assert names == ["Metric 0", "Metric 1", "Metric 0"]


def test_an_included_row_that_several_records_point_at_is_one_row() -> None:
    message = '{"type":"campaign-message","id":"m","attributes":{"definition":{"label":"A"}}}'
    table = shaped("campaign_messages", document(["{}"], [message, '{"type":"tag","id":"m"}', message])).table
    assert table.column("id").to_pylist() == ["m"]
    assert table.column("channel").to_pylist() == ["sms"]


def test_a_missing_context_is_null() -> None:
    page = document(['{"type":"profile","id":"p"}']).encode()
    assert shaper("list_profiles").shape(page, {}).table.column("list_id").to_pylist() == [None]


# --- text that is not Unicode


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (r'"\ud83d"', r'"\ufffd"'),
        (r'"cut \uD83D"', r'"cut \ufffd"'),
        (r'"\ude00 low"', r'"\ufffd low"'),
        (r'"\ud83d\ud83d\ude00"', r'"\ufffd\ud83d\ude00"'),
        (r'"\ud83d\u0041"', r'"\ufffd\u0041"'),
        (r'"\\ud83d"', r'"\\ud83d"'),
        (r'"\\\ud83d"', r'"\\\ufffd"'),
        (r'{"k\ud83d":[1,"\udfff"]}', r'{"k\ufffd":[1,"\ufffd"]}'),
        (r'"\ud83d\ude00"', r'"\ud83d\ude00"'),
    ],
)
def test_half_a_surrogate_pair_costs_one_character_and_not_the_page(sent: str, kept: str) -> None:
    page = document([event(f'{{"event_properties":{sent}}}'), event('{"uuid":"u"}', ident='"e2"')])
    result = shaped("events", page)
    assert result.table.column("event_properties").to_pylist() == [kept, None]
    assert result.table.column("id").to_pylist() == ["e1", "e2"]
    assert result.misfits.total() == kept.count("fffd")
    assert next_link(page.encode()) is None


def test_half_a_surrogate_pair_in_a_text_column_is_one_replaced_character() -> None:
    row, misfits = one("events", event(r'{"uuid":"a\ud83d"}'))
    assert (row["uuid"], row[EXTRA]) == ("a\ufffd", None)
    assert misfits.total() == 1


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    page = document([event('{"event_properties":{"a":"@"},"uuid":"@"}')]).encode().replace(b"@", b"\xff")
    result = shaper("events").shape(page, CONTEXT)
    assert result.table.column("event_properties").to_pylist() == ['{"a":"\ufffd"}']
    assert result.table.column("uuid").to_pylist() == ["\ufffd"]
    assert result.misfits.total() == 2


@given(
    st.lists(st.sampled_from([r"\ud83d", r"\ude00", r"\\", r"\n", r"\"", "u", "d83d", "é", r"\u00e9", "x"]), max_size=8)
)
def test_mending_leaves_text_that_can_be_encoded_and_changes_no_other(parts: list[str]) -> None:
    text = json.dumps("x")[:-1] + "".join(parts) + '"'
    repaired, mends = mended(text.encode())
    broken = mends.total()
    before, after = json.loads(text), json.loads(repaired)
    assert after == before.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert broken == sum("\ud800" <= character <= "\udfff" for character in before)
    if not broken:
        assert repaired.decode() == text


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_what_python_writes_for_no_number_is_kept_as_text_and_counted(value: str) -> None:
    page = document([event(f'{{"event_properties":{{"a":{value},"b":"NaN"}},"timestamp":{value}}}')]).encode()
    result = shaper("events").shape(page, CONTEXT)
    assert result.table.column("event_properties").to_pylist() == [f'{{"a":"{value}","b":"NaN"}}']
    assert result.table.column("timestamp").to_pylist() == [None]
    assert result.table.column("_extra").to_pylist() == [f'{{"attributes.timestamp":"{value}"}}']
    assert result.misfits == {"(NaN or Infinity)": 2, "attributes.timestamp": 1}
    assert next_link(page) is None


def test_a_byte_order_mark_is_passed_over() -> None:
    page = b"\xef\xbb\xbf" + document([event("{}")]).encode()
    assert shaper("events").shape(page, CONTEXT).table.num_rows == 1
    assert next_link(page) is None


@pytest.mark.parametrize("depth", [400, 1000, 5000, 100_000])
def test_a_value_that_is_nested_too_deep_is_kept_as_text_and_the_other_records_load(depth: int) -> None:
    deep = '{"a":' * depth + '["]\\"}"]' + "}" * depth
    page = document([event(f'{{"event_properties":{deep}}}'), event('{"event_properties":{"b":1}}')]).encode()
    result = shaper("events").shape(page, CONTEXT)
    first, second = result.table.column("event_properties").to_pylist()
    assert second == '{"b":1}'
    assert result.misfits == ({} if depth == 400 else {"(nested too deep)": 1})
    if depth == 400:
        assert first == deep
    else:
        # The page, the record and its attributes are levels too.
        levels = first.index('"{') // len('{"a":')
        assert 50 < levels < 64
        assert first == '{"a":' * levels + json.dumps(deep[levels * 5 : len(deep) - levels]) + "}" * levels
    assert next_link(page) is None


ODD = {
    "NaN": "(NaN or Infinity)",
    "[" * 2000 + "]" * 2000: "(nested too deep)",
    r'"\ud83d"': "(text that is not Unicode)",
}


@pytest.mark.parametrize("order", [*permutations(ODD)], ids=lambda order: "-".join(value[:3] for value in order))
def test_a_page_that_is_wrong_in_several_ways_loads_all_its_records(order: tuple[str, ...]) -> None:
    page = b"\xef\xbb\xbf" + document([event(f'{{"event_properties":{{"a":{value}}}}}') for value in order]).encode()
    result = shaper("events").shape(page, CONTEXT)
    assert result.table.num_rows == len(order)
    assert result.misfits == dict.fromkeys(ODD.values(), 1)
    assert next_link(page) is None


# --- history


def test_the_version_of_a_membership_is_made_of_all_its_values() -> None:
    def version(ident: str, joined: str, list_id: str = "L1") -> str:
        record = f'{{"type":"profile","id":"{ident}","attributes":{{"joined_group_at":{joined}}}}}'
        versions = {
            shaper("list_profiles", kind)
            .shape(document([record]).encode(), {"list_id": list_id})
            .table.column(ROW_VERSION)[0]
            .as_py()
            for kind in (FastShaper, CarefulShaper)
        }
        (only,) = versions
        return str(only)

    same = version("p", '"2026-06-23T00:15:23+00:00"')
    assert same == "L1|p|2026-06-23 00:15:23.000000Z"
    assert version("p", '"2026-06-23T02:15:23+02:00"') == same
    others = {version("q", '"2026-06-23T00:15:23Z"'), version("p", '"2026-06-23T00:15:24Z"'), version("p", "null")}
    assert len(others | {same, version("p", '"2026-06-23T00:15:23Z"', "L2")}) == 5


# --- pages, parents, cuts


@pytest.mark.parametrize(
    ("page", "link"),
    [
        ('{"data":[],"links":{"next":"https://x/y?page%5Bcursor%5D=a"}}', "https://x/y?page%5Bcursor%5D=a"),
        ('{"links":{"self":"s","next":"n","prev":null},"data":[{"links":{"next":"not this"}}]}', "n"),
        ('{"data":[{"links":{"next":"not this"}}],"links":{"next":null}}', None),
        ('{"data":[{"links":{"next":"not this"}}],"links":{}}', None),
        ('{"data":[{"links":{"next":"not this"}}],"links":null}', None),
        ('{"data":[{"attributes":{"a":"\\"links\\":{\\"next\\":\\"not this\\"}"}}]}', None),
    ],
)
def test_the_next_page_is_that_of_the_document_and_of_nothing_inside(page: str, link: str | None) -> None:
    assert next_link(page.encode()) == link


@pytest.mark.parametrize("page", [b"", b'{"links":{"next":"a"}', b'{"data":[],"links":{"next":7}}', b"<html>"])
def test_a_page_that_is_cut_or_foreign_is_a_passing_fault(page: bytes) -> None:
    with pytest.raises(TransientError):
        next_link(page)


T0 = datetime(2026, 6, 1, tzinfo=UTC)


def segment(ident: str, updated: str) -> str:
    return (
        f'{{"type":"segment","id":{ident},"attributes":{{"updated":{updated},"name":"Name of {ident[1:-1]}","n":5}}}}'
    )


def test_parents_give_their_ids_and_what_their_children_carry() -> None:
    page = document([segment('"s1"', '"2026-06-01T00:00:00Z"'), segment('"s2"', "null")]).encode()
    context = {"segment_id": "id", "segment_name": "attributes.name", "n": "attributes.n", "none": "attributes.x.y"}
    assert parents(page, Parent("segments", context)) == [
        ParentRecord("s1", {"segment_id": "s1", "segment_name": "Name of s1", "n": "5", "none": None}),
        ParentRecord("s2", {"segment_id": "s2", "segment_name": "Name of s2", "n": "5", "none": None}),
    ]


def test_parents_beyond_the_window_are_cut_and_those_without_a_moment_are_kept() -> None:
    moments = [
        '"2026-05-31T23:59:59Z"',
        '"2026-06-01T00:00:00Z"',
        '"2026-06-01 00:00:59.9"',
        '"2026-06-01T00:01:00Z"',
        "null",
        "7",
    ]
    page = document([segment(f'"{n}"', moment) for n, moment in enumerate(moments)]).encode()
    surplus = [Window(T0 - timedelta(seconds=1), T0), Window(T0 + timedelta(minutes=1), T0 + timedelta(days=1))]
    of = Parent("segments", {})
    assert [found.id for found in parents(page, of, "updated", surplus)] == ["1", "2", "4", "5"]
    assert len(parents(page, of, None, surplus)) == 6


def test_parents_may_be_included_and_some_of_them_have_no_children() -> None:
    included = ['{"type":"a","id":"1"}', '{"type":"b","id":"2","attributes":{"kind":"leaf"}}', '{"type":"b","id":"3"}']
    page = document([segment('"s1"', "null")], included).encode()
    of = Parent("segments", {"b_id": "id"}, rows="b", childless={"attributes.kind": frozenset({"leaf"})})
    assert parents(page, of) == [ParentRecord("3", {"b_id": "3"})]


def test_a_parent_is_settled_if_its_status_or_that_of_all_it_includes_says_so() -> None:
    def campaign(ident: str, status: str, *messages: str) -> str:
        refs = ",".join(f'{{"type":"campaign-message","id":"{one}"}}' for one in messages)
        return (
            f'{{"type":"campaign","id":"{ident}","attributes":{{"updated_at":"2026-06-0{ident}","status":{status}}},'
            f'"relationships":{{"campaign-messages":{{"data":[{refs}]}}}}}}'
        )

    included = [
        f'{{"type":"campaign-message","id":"{name}","attributes":{{"definition":{{"status":"{status}"}}}}}}'
        for name, status in (("a", "sent"), ("b", "sent"), ("c", "draft"))
    ]
    page = document(
        [
            campaign("1", '"Sent"', "a", "b"),
            campaign("2", '"Draft"', "a", "c"),
            campaign("3", '"Sent"'),
            campaign("4", "null", "a", "unknown"),
        ],
        included,
    ).encode()
    own = Parent("campaigns", {}, settled=("attributes.status", "Sent"))
    assert [found.settled for found in parents(page, own, "updated_at")] == ["2026-06-01", None, "2026-06-03", None]
    of_messages = replace(own, settled=("included.campaign-messages[].attributes.definition.status", "sent"))
    assert [found.settled for found in parents(page, of_messages, "updated_at")] == ["2026-06-01", None, None, None]
    # Without a date nobody sees that a parent changes.
    assert {found.settled for found in parents(page, own)} == {None}


def test_a_parent_with_broken_text_is_still_a_parent() -> None:
    page = document([segment(r'"s\ud83d"', "null")]).encode()
    assert parents(page, Parent("segments", {}))[0].id == "s\ufffd"


@pytest.mark.parametrize("ident", ["null", '""'])
def test_a_parent_without_an_id_is_an_error_and_not_a_list_without_members(ident: str) -> None:
    with pytest.raises(ContractViolation):
        parents(document([f'{{"type":"list","id":{ident}}}']).encode(), Parent("lists", {}))


@pytest.mark.parametrize("page", [b"", b'{"data":7}', b'{"errors":[]}'])
def test_a_page_of_parents_that_is_none_is_a_passing_fault(page: bytes) -> None:
    with pytest.raises(TransientError):
        parents(page, Parent("lists", {}))


offsets = st.lists(st.none() | st.integers(-5_000_000, 15_000_000), max_size=12)


def times(offsets_us: Sequence[int | None]) -> pa.Table:
    values = [None if us is None else T0 + timedelta(microseconds=us) for us in offsets_us]
    return pa.table({"n": list(range(len(values))), "at": pa.array(values, pa.timestamp("us", "UTC"))})


@given(offsets, st.lists(st.tuples(st.integers(-6, 15), st.integers(1, 9)), max_size=3))
def test_a_cut_takes_the_rows_in_its_windows_and_keeps_those_without_a_moment(
    offsets_us: list[int | None], cuts: list[tuple[int, int]]
) -> None:
    surplus = [Window(T0 + timedelta(seconds=a), T0 + timedelta(seconds=a + n)) for a, n in cuts]
    kept = without(times(offsets_us), "at", surplus).column("n").to_pylist()
    assert kept == [
        n
        for n, us in enumerate(offsets_us)
        if us is None or not any(a <= us / 1_000_000 < a + length for a, length in cuts)
    ]


@given(offsets)
def test_the_span_of_a_page_is_its_least_and_greatest_moment_and_whether_it_ascends(
    offsets_us: list[int | None],
) -> None:
    there = [us for us in offsets_us if us is not None]
    low, high, ascends = span(times(offsets_us), "at")
    if there:
        assert (low, high) == (T0 + timedelta(microseconds=min(there)), T0 + timedelta(microseconds=max(there)))
    else:
        assert (low, high) == (None, None)
    seconds = [us // 1_000_000 for us in there]
    assert ascends == (seconds == sorted(seconds))
