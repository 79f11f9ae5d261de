"""Requests: the date window in the operators that an endpoint has, and the URL of a chain's first page."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.klaviyo.catalog.endpoints import endpoints
from sources.klaviyo.catalog.model import Cursor, Ops, Variant
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.config import filter_grammar
from sources.klaviyo.decode.tables import without
from sources.klaviyo.http import query
from sources.klaviyo.windows import BEGINNING, END_OF_TIME, EVERYTHING, Window

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENDPOINTS = endpoints(DEFAULT_REVISION)
ENDPOINT = ENDPOINTS["events"]
TERM = re.compile(r"(greater-than|greater-or-equal|less-than|less-or-equal)\(datetime,([^()]*)\)")

ALLOWED = {
    Ops.RANGE: {"greater-or-equal", "less-than"},
    Ops.STRICT: {"greater-than", "less-than"},
    Ops.CLOSED: {"greater-or-equal", "less-or-equal"},
    Ops.AFTER: {"greater-than"},
    Ops.SINCE: {"greater-or-equal"},
}

COMPARE: dict[str, Callable[[datetime, datetime], bool]] = {
    "greater-than": lambda value, bound: value > bound,
    "greater-or-equal": lambda value, bound: value >= bound,
    "less-than": lambda value, bound: value < bound,
    "less-or-equal": lambda value, bound: value <= bound,
}


def terms(filter_text: str) -> list[tuple[str, datetime]]:
    """Operators and bounds of a filter; every character of it must belong to a term."""
    found = TERM.findall(filter_text)
    assert ",".join(f"{operator}(datetime,{bound})" for operator, bound in found) == filter_text
    return [(operator, datetime.strptime(bound, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)) for operator, bound in found]


def exactly(value: datetime) -> datetime:
    return value


def in_whole_seconds(value: datetime) -> datetime:
    return value.replace(microsecond=0)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = T0 + timedelta(seconds=draw(st.integers(0, 5)))
    end = start + timedelta(seconds=draw(st.integers(1, 5)))
    return Window(draw(st.sampled_from([start, start, BEGINNING])), draw(st.sampled_from([end, end, END_OF_TIME])))


@given(
    ops=st.sampled_from(Ops),
    window=windows(),
    offsets_ms=st.lists(st.integers(-3000, 14_000) | st.integers(-3, 14).map(lambda s: s * 1000), max_size=40),
    server_sees=st.sampled_from([exactly, in_whole_seconds]),
    bound_itself=st.booleans(),
    shortened=st.booleans(),
)
def test_the_answer_cut_by_value_is_the_window_for_every_set_of_operators(
    ops: Ops,
    window: Window,
    offsets_ms: list[int],
    server_sees: Callable[[datetime], datetime],
    bound_itself: bool,
    shortened: bool,
) -> None:
    endpoint = replace(ENDPOINT, cursor=Cursor("datetime", ops))
    # A chain that was cut in two while it was read has asked for more than its window.
    asked = (
        Window(window.start, window.end + timedelta(seconds=3)) if shortened and window.end < END_OF_TIME else window
    )
    records = [T0 + timedelta(milliseconds=offset) for offset in offsets_ms]

    def answers(record: datetime) -> bool:
        # `greater-than` was seen to return the bound itself.
        return all(
            COMPARE["greater-or-equal" if bound_itself and operator == "greater-than" else operator](
                server_sees(record), bound
            )
            for operator, bound in terms(query.bounds(endpoint, asked))
        )

    table = pa.table({"datetime": pa.array(filter(answers, records), pa.timestamp("us", "UTC"))})
    kept = without(table, "datetime", query.surplus(endpoint, asked, window)).column("datetime").to_pylist()
    assert kept == [record for record in records if window.start <= record < window.end]


def test_a_record_whose_value_lies_where_the_request_cannot_reach_is_kept() -> None:
    window = Window(T0, T0 + timedelta(days=1))
    second = timedelta(seconds=1)
    ranged, strict, closed, after = (
        query.surplus(replace(ENDPOINT, cursor=Cursor("datetime", ops)), window, window)
        for ops in (Ops.RANGE, Ops.STRICT, Ops.CLOSED, Ops.AFTER)
    )
    assert ranged == []
    assert strict == [Window(T0 - second, T0)]
    assert closed == [Window(window.end, window.end + second)]
    assert after == [Window(T0 - second, T0), Window(window.end, END_OF_TIME)]


@given(st.sampled_from(Ops), windows())
def test_only_operators_that_the_endpoint_has_are_used_each_once(ops: Ops, window: Window) -> None:
    used = [operator for operator, _ in terms(query.bounds(replace(ENDPOINT, cursor=Cursor("datetime", ops)), window))]
    assert set(used) <= ALLOWED[ops]
    assert len(used) == len(set(used))


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        (Ops.RANGE, "greater-or-equal(datetime,2026-03-01T12:00:00Z),less-than(datetime,2026-03-02T00:00:00Z)"),
        (Ops.STRICT, "greater-than(datetime,2026-03-01T11:59:59Z),less-than(datetime,2026-03-02T00:00:00Z)"),
        (Ops.CLOSED, "greater-or-equal(datetime,2026-03-01T12:00:00Z),less-or-equal(datetime,2026-03-02T00:00:00Z)"),
        (Ops.AFTER, "greater-than(datetime,2026-03-01T11:59:59Z)"),
        (Ops.SINCE, "greater-or-equal(datetime,2026-03-01T12:00:00Z)"),
    ],
)
def test_a_window_reads_as_klaviyo_writes_it(ops: Ops, expected: str) -> None:
    endpoint = replace(ENDPOINT, cursor=Cursor("datetime", ops))
    assert query.bounds(endpoint, Window(T0, datetime(2026, 3, 2, tzinfo=UTC))) == expected


@pytest.mark.parametrize("ops", Ops)
def test_no_bound_is_asked_for_where_there_is_none(ops: Ops) -> None:
    assert query.bounds(replace(ENDPOINT, cursor=Cursor("datetime", ops)), EVERYTHING) == ""


def test_an_endpoint_without_a_date_filter_is_never_sent_one() -> None:
    assert query.bounds(ENDPOINTS["tags"], Window(T0, T0 + timedelta(days=1))) == ""
    assert query.url(ENDPOINTS["tags"], window=Window(T0, T0 + timedelta(days=1))) == "/api/tags?page%5Bsize%5D=50"


def parameters(url: str) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query, strict_parsing=True).items()}


def test_a_url_holds_all_that_is_asked_for_and_nothing_else() -> None:
    url = query.url(
        ENDPOINTS["profiles"],
        window=Window(T0, T0 + timedelta(hours=1)),
        include=("lists", "segments"),
        fields={"profile": ("email", "updated"), "list": ("name",)},
        additional_fields=("subscriptions", "predictive_analytics"),
    )
    assert urlsplit(url).path == "/api/profiles"
    assert parameters(url) == {
        "include": "lists,segments",
        "fields[profile]": "email,updated",
        "fields[list]": "name",
        "additional-fields[profile]": "subscriptions,predictive_analytics",
        "filter": "greater-than(updated,2026-03-01T11:59:59Z),less-than(updated,2026-03-01T13:00:00Z)",
        "sort": "updated",
        "page[size]": "100",
    }


def test_what_is_not_asked_for_is_no_parameter() -> None:
    assert query.url(ENDPOINTS["accounts"]) == "/api/accounts"
    assert parameters(query.url(ENDPOINTS["events"])) == {"sort": "datetime", "page[size]": "1000"}
    assert parameters(query.url(ENDPOINTS["events"], page_size=1))["page[size]"] == "1"


def test_sort_is_asked_for_only_where_it_goes_forward_in_time() -> None:
    asked = {name: "sort" in parameters(query.url(endpoint)) for name, endpoint in ENDPOINTS.items() if endpoint.cursor}
    assert asked == {name: cast(Cursor, ENDPOINTS[name].cursor).ascending for name in asked}
    assert {True, False} == set(asked.values())


def test_the_filter_of_a_variant_stands_before_the_window() -> None:
    variant = Variant('equals(messages.channel,"email"),equals(archived,false)')
    window = Window(T0, T0 + timedelta(seconds=1))
    both = parameters(query.url(ENDPOINTS["campaigns"], window=window, variant=variant))["filter"]
    assert both == (
        'equals(messages.channel,"email"),equals(archived,false),'
        "greater-or-equal(updated_at,2026-03-01T12:00:00Z),less-than(updated_at,2026-03-01T12:00:01Z)"
    )
    assert parameters(query.url(ENDPOINTS["campaigns"], window=EVERYTHING, variant=variant))["filter"] == variant.filter


@given(st.text(min_size=1), st.text())
def test_whatever_a_value_holds_the_server_reads_what_was_meant(parent_id: str, value: str) -> None:
    url = query.url(
        ENDPOINTS["list_profiles"], parent_id=parent_id, variant=Variant(f'equals(email,"{value}+tag@example.com")')
    )
    assert re.fullmatch(r"[A-Za-z0-9/%._~?=&-]+", url)
    *start, encoded, last = urlsplit(url).path.split("/")
    assert ([*start, last], unquote(encoded)) == (["", "api", "lists", "profiles"], parent_id)
    assert parameters(url)["filter"] == f'equals(email,"{value}+tag@example.com")'


@given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1), timezones=st.just(UTC)))
def test_a_moment_is_written_in_utc_with_a_z_and_no_plus(moment: datetime) -> None:
    text = query.literal(moment)
    assert datetime.fromisoformat(text) == moment.replace(microsecond=0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text)


def test_every_endpoint_of_the_table_gets_a_url_that_names_its_path() -> None:
    for endpoint in ENDPOINTS.values():
        kwargs: dict[str, Any] = {"parent_id": "a/b"} if endpoint.parent else {}
        path = urlsplit(query.url(endpoint, window=Window(T0, T0 + timedelta(days=1)), **kwargs)).path
        assert path == endpoint.path.replace("{id}", "a%2Fb")


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ('equals(metric_id,"AbC123")', [("equals", "metric_id", ('"AbC123"',), False)]),
        ("has( profile )", [("has", "profile", (), False)]),
        (
            " equals(messages.channel,'email') , greater-than(updated_at,2026-06-01T00:00:00+00:00)",
            [
                ("equals", "messages.channel", ("'email'",), False),
                ("greater-than", "updated_at", ("2026-06-01T00:00:00+00:00",), False),
            ],
        ),
        ('any(id,[ "a", "b,)" ] )', [("any", "id", ('"a"', '"b,)"'), True)]),
        ("any(id,['it\\'s'])", [("any", "id", ("'it\\'s'",), True)]),
    ],
)
def test_a_filter_falls_into_its_conditions(text: str, conditions: list[tuple[object, ...]]) -> None:
    found = filter_grammar.parse(text)
    assert [(one.op, one.field, one.values, one.many) for one in found] == conditions
    again = filter_grammar.parse(",".join(one.text for one in found))
    assert again == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "`operator(field,value)` is expected at position 1"),
        ("metric_id = 3", "`operator(field,value)` is expected at position 1"),
        ("equals(a,)", "a value is expected at position 10"),
        ("equals(a,1", "`)` is expected at position 11"),
        ("equals(a,1) equals(b,2)", "`,` is expected at position 13"),
        ("equals(a,1),", "`operator(field,value)` is expected at position 13"),
        ("any(a,[1,2)", "`,` or `]` is expected at position 11"),
        ("any(a,[])", "a value is expected at position 8"),
        ('equals(a,"b)', "a value is expected at position 10"),
    ],
)
def test_what_is_no_filter_is_named_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        filter_grammar.parse(text)
