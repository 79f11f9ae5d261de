"""A stream while it is read: which chain is next, what a page adds, what is covered, what a failure ends."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.klaviyo.catalog.model import AnalyticsQuery
from sources.klaviyo.errors import AuthError, ContractViolation, KlaviyoError, RequestRejected, TransientError
from sources.klaviyo.extract.chain import Chain
from sources.klaviyo.extract.stream import Stream
from sources.klaviyo.extract.tuning import DEFAULT
from sources.klaviyo.plan.plan import Plan
from sources.klaviyo.plan.streams import Request
from sources.klaviyo.windows import BEGINNING, EVERYTHING, Window, intersection, subtract, union
from tests.support.reading import (
    EAGER,
    NOW,
    T0,
    Collection,
    Reading,
    at,
    page,
    plan,
    record,
    report,
    stream_of,
    window,
)

DROPPED = TransientError("the connection was dropped")
REFUSED = RequestRejected("no such field", status=400)
GONE = RequestRejected("no such list", status=404)
#: One event a second for ten minutes.
STEADY = Collection("event", "datetime", {f"e{n:03}": n for n in range(600)}, page_size=10)
#: The only way in which flows are not told apart: every flow is in one of the two.
ACTIVE, ARCHIVED = (variant.filter for variant in report("flows").lineage[0].variants)


def reading(*plans: Plan, answers: Any = STEADY, threads: int = 3) -> Reading:
    return Reading(stream_of(*plans), answers, threads)


def events(start_s: int = 0, end_s: int = 600, **settings: Any) -> Plan:
    return plan("events", window(start_s, end_s), **settings)


def started(stream: Stream) -> Chain:
    """The next chain of a stream, as a thread takes it."""
    chain = stream.next_pending()
    assert chain is not None
    stream.active.append(chain)
    return chain


def ended(stream: Stream, chain: Chain) -> None:
    """All pages of a chain are decoded."""
    chain.fetched = True
    stream.settle(chain, 0.0)


# --- whatever the order of the steps


@st.composite
def accounts(draw: st.DrawFn) -> dict[str, float]:
    """Records at moments of ten minutes: scattered ones, and bursts of many within some seconds."""
    scattered = draw(st.lists(st.floats(0, 599.9), max_size=25))
    bursts = draw(st.lists(st.tuples(st.integers(0, 590), st.integers(5, 40), st.integers(1, 9)), max_size=2))
    moments = scattered + [start + n * length / many for start, many, length in bursts for n in range(many)]
    return {f"r{n:03}": moment for n, moment in enumerate(moments)}


steps = st.lists(st.tuples(st.sampled_from(["fetch", "fetch", "decode"]), st.integers(0, 2)), max_size=60)
failing = st.lists(
    st.tuples(st.sampled_from(["fetch", "fetch", "fetch", "decode", "decode", "fail"]), st.integers(0, 2)), max_size=60
)
bounds = st.lists(st.integers(1, 599), max_size=2, unique=True).map(lambda cuts: [0, *sorted(cuts), 600])
kinds = st.sampled_from([("events", "event", "datetime"), ("profiles", "profile", "updated")])


def planned(name: str, bounds_s: Sequence[int], **settings: Any) -> Plan:
    windows = [window(start, end) for start, end in pairwise(bounds_s)]
    return plan(name, *windows, **settings)


def take(step: tuple[str, int], read: Reading, error: KlaviyoError = DROPPED) -> None:
    what, thread = step
    if what == "fetch":
        read.fetch(thread)
    elif what == "decode":
        read.decode()
    else:
        read.fail(error, thread)


@given(accounts(), st.integers(1, 5), bounds, kinds, steps)
def test_every_record_is_read_once_and_nothing_unread_is_covered(
    moments: dict[str, float],
    page_size: int,
    bounds_s: list[int],
    kind: tuple[str, str, str],
    order: list[tuple[str, int]],
) -> None:
    name, type_, cursor = kind
    account = Collection(type_, cursor, moments, page_size)
    read = reading(planned(name, bounds_s), answers=account)
    for step in order:
        take(step, read)
        assert account.inside(read.stream.covered()) <= set(read.ids[name])
    read.finish()
    assert sorted(read.ids[name]) == sorted(moments)
    assert read.stream.covered() == [window(0, 600)]
    assert read.stream.ended
    assert read.stream.missing() == []


@given(accounts(), st.integers(1, 5), bounds, kinds, failing)
def test_after_a_failure_all_before_it_is_read_and_nothing_behind_it(
    moments: dict[str, float],
    page_size: int,
    bounds_s: list[int],
    kind: tuple[str, str, str],
    order: list[tuple[str, int]],
) -> None:
    name, type_, cursor = kind
    account = Collection(type_, cursor, moments, page_size)
    read = reading(planned(name, bounds_s), answers=account)
    stream, ids = read.stream, read.ids[name]
    for step in [*order, None]:
        broken_at, before = stream.broken_at, len(ids)
        if step is None:
            read.finish()
        else:
            take(step, read)
        assert account.inside(stream.covered()) <= set(ids)
        if broken_at is not None:
            assert all(account.moments[new] < broken_at for new in ids[before:])
    assert len(ids) == len(set(ids))
    assert stream.ended
    whole = window(0, 600)
    if stream.broken_at is None:
        assert (stream.covered(), stream.missing()) == ([whole], [])
    else:
        before_it = intersection([whole], [Window(BEGINNING, stream.broken_at)])
        assert [rest for one in before_it for rest in subtract(one, stream.covered())] == []
        assert union([*stream.covered(), *stream.missing()]) == [whole]
        assert intersection(stream.covered(), stream.missing()) == []


@given(accounts(), st.integers(1, 5), bounds, failing)
def test_where_a_failure_is_moved_on_over_the_rest_is_read_and_what_failed_is_told(
    moments: dict[str, float], page_size: int, bounds_s: list[int], order: list[tuple[str, int]]
) -> None:
    account = Collection("event", "datetime", moments, page_size)
    read = reading(planned("events", bounds_s, advance_on_failure=True), answers=account)
    for step in order:
        take(step, read)
    read.finish()
    stream, ids = read.stream, read.ids["events"]
    assert len(ids) == len(set(ids))
    assert stream.covered() == [window(0, 600)]
    assert account.inside(subtract(window(0, 600), stream.missing())) <= set(ids)
    assert union(one for one, _ in stream.errors) == stream.missing()
    assert not stream.failed


@given(
    st.dictionaries(st.sampled_from("abcd"), st.lists(st.floats(0, 599.9), max_size=15), max_size=4),
    st.integers(1, 4),
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from(["fetch", "fetch", "decode"]), st.integers(0, 2)), max_size=60),
)
def test_the_members_of_every_list_are_read_once_whichever_chain_ends_first(
    lists: dict[str, list[float]], page_size: int, parents_a_page: int, order: list[tuple[str, int]]
) -> None:
    members = {
        name: Collection("profile", "joined_group_at", {f"{name}{n}": s for n, s in enumerate(moments)}, page_size)
        for name, moments in lists.items()
    }

    def answers(request: Request) -> list[bytes]:
        if request.parent_id is not None:
            return members[request.parent_id](request)
        found = [record("list", name) for name in lists]
        return [page(found[n : n + parents_a_page]) for n in range(0, len(found), parents_a_page)] or [page([])]

    stream = stream_of(replace(plan("list_profiles", EVERYTHING), whole=False))
    read = Reading(stream, answers)
    for step in order:
        take(step, read)
        if stream.covered():
            assert stream.ended
    read.finish()
    wanted = [one for collection in members.values() for one in collection.moments]
    assert sorted(read.ids["list_profiles"]) == sorted(wanted)
    assert stream.ended
    assert stream.covered() == [EVERYTHING]


# --- work stealing


def test_an_idle_thread_takes_the_later_half_of_the_rest() -> None:
    read = reading(events())
    read.fetch()
    read.fetch()
    read.decode()
    # Read up to second 9, second 10 to 18 are on their way.
    later = read.stream.steal(NOW)
    (first,) = read.stream.active
    assert later is not None
    assert (first.window, later.window) == (window(0, 309), window(309, 600))
    assert later.request.path != first.request.path
    assert later.parent is None


def test_the_chain_with_most_pages_left_is_cut() -> None:
    read = reading(plan("events", window(0, 200), window(200, 600)))
    for thread in (0, 1, 0, 1):
        read.fetch(thread)
    read.decode()
    read.decode()
    short, long = read.stream.active
    later = read.stream.steal(NOW)
    assert later is not None
    assert (short.window, later.window.end, long.window.end) == (window(0, 200), at(600), later.window.start)


@pytest.mark.parametrize("first_to_end", ["earlier", "later"])
def test_coverage_is_right_whichever_half_ends_first(first_to_end: str) -> None:
    read = reading(events(), threads=2)
    read.fetch()
    read.fetch()
    read.decode()
    read.fetch(1)
    assert read.cuts == 1
    thread = 0 if first_to_end == "earlier" else 1
    while read.following[thread] is not None:
        read.fetch(thread)
        read.decode()
    half = window(0, 309) if first_to_end == "earlier" else window(309, 600)
    # Of the other half, what its decoded pages prove.
    assert read.stream.covered() == ([half] if thread == 0 else [window(0, 9), half])
    read.finish()
    assert read.stream.covered() == [window(0, 600)]
    assert sorted(read.ids["events"]) == sorted(STEADY.moments)


def test_a_dense_period_is_read_by_all_threads() -> None:
    read = reading(events(), threads=3)
    read.finish()
    assert read.cuts > 2


@pytest.mark.parametrize("split_by", ["none", "day"])
def test_a_chunk_of_a_fixed_size_is_never_cut(split_by: str) -> None:
    read = reading(events(split_by=split_by))
    read.finish()
    assert read.cuts == 0
    assert sorted(read.ids["events"]) == sorted(STEADY.moments)


def test_the_members_of_one_long_list_are_shared_and_the_list_ends_with_the_last_part() -> None:
    members = Collection("profile", "joined_group_at", {f"p{n:03}": n for n in range(300)}, page_size=10)

    def answers(request: Request) -> list[bytes]:
        return [page([record("list", "L1")])] if request.parent_id is None else members(request)

    stream = stream_of(replace(plan("list_profiles", EVERYTHING), whole=False))
    read = Reading(stream, answers, threads=2, now=at(400))
    read.fetch()
    read.fetch()
    read.decode()
    (top,) = stream.active
    assert top.children == 1
    read.fetch(0)
    read.fetch(0)
    read.decode()
    read.fetch(1)
    assert read.cuts == 1
    assert top.children == 2
    later = read.following[1]
    assert later is not None
    assert (later.parent, later.request.parent_id, later.window.end) == (top, "L1", EVERYTHING.end)
    read.finish()
    assert sorted(read.ids["list_profiles"]) == sorted(members.moments)
    assert (top.children, top.done, stream.covered()) == (0, True, [EVERYTHING])


# --- coverage


def test_decoded_pages_of_a_chain_cover_a_part_of_its_window() -> None:
    read = reading(events(), threads=1)
    read.fetch()
    read.fetch()
    assert read.stream.covered() == []
    read.decode()
    assert read.stream.covered() == [window(0, 9)]
    assert read.stream.fraction(NOW) == pytest.approx(9 / 600)


def test_a_chunk_of_a_fixed_size_covers_nothing_before_its_end() -> None:
    read = reading(events(split_by="day"), threads=1)
    for _ in range(5):
        read.fetch()
        read.decode()
    assert read.stream.covered() == []
    read.finish()
    assert read.stream.covered() == [window(0, 600)]


def test_what_one_of_several_filters_has_read_is_not_covered_before_the_others() -> None:
    read = reading(plan("flows", window(0, 600)), answers=lambda _: [page([])], threads=1)
    read.fetch()
    read.fetch()
    read.decode()
    assert [filter_ for filter_, _ in read.stream.finished] == [ACTIVE]
    assert read.stream.covered() == []
    read.finish()
    assert sorted(filter_ for filter_, _ in read.stream.finished) == sorted([ACTIVE, ARCHIVED])
    assert read.stream.covered() == [window(0, 600)]


def test_descending_pages_cover_nothing_before_their_end() -> None:
    moments = {f"f{n}": float(n) for n in range(20)}
    flows = Collection("flow", "updated", moments, page_size=4)
    read = reading(plan("flows", window(0, 600)), answers=flows, threads=2)
    for _ in range(4):
        read.fetch(0)
        read.fetch(1)
        read.decode()
    assert read.stream.covered() == []


def test_a_window_that_was_moved_on_over_is_covered_and_missing() -> None:
    read = reading(plan("events", window(0, 300), window(300, 600), advance_on_failure=True), threads=1)
    read.fetch()
    read.fail(REFUSED)
    read.finish()
    assert read.stream.covered() == [window(0, 600)]
    assert read.stream.missing() == read.stream.skipped == [window(0, 300)]
    assert sorted(read.ids["events"]) == [f"e{n}" for n in range(300, 600)]


def test_a_stream_without_windows_covers_nothing() -> None:
    stream = stream_of(plan("events"))
    assert (stream.covered(), stream.ended, stream.fraction(NOW)) == ([], True, None)


def test_a_report_that_is_read_whole_tells_no_fraction() -> None:
    assert stream_of(plan("tags", EVERYTHING)).fraction(NOW) is None


# --- failure


def test_the_windows_before_the_failed_one_are_read_to_their_end() -> None:
    read = reading(plan("events", window(0, 200), window(200, 400), window(400, 600)), threads=3)
    for thread in (0, 1, 2):
        read.fetch(thread)
    read.fail(DROPPED, thread=1)
    assert read.stream.broken_at == at(200)
    read.finish()
    assert sorted(read.ids["events"]) == [f"e{n:03}" for n in range(200)]
    assert read.stream.covered() == [window(0, 200)]
    assert read.stream.missing() == [window(200, 600)]
    assert [one for one, _ in read.stream.errors] == [window(200, 400)]


def test_what_a_broken_chain_has_read_stays_covered() -> None:
    read = reading(events(), threads=1)
    read.fetch()
    read.fetch()
    read.decode()
    read.fail(DROPPED)
    assert read.stream.covered() == [window(0, 9)]
    assert read.stream.missing() == [window(9, 600)]


def test_pages_that_come_after_a_failure_are_thrown_away() -> None:
    read = reading(plan("events", window(0, 300), window(300, 600)), threads=2)
    for thread in (0, 1, 1):
        read.fetch(thread)
    read.fail(DROPPED)
    read.finish()
    assert read.ids["events"] == []
    assert read.stream.outputs[0].rows == 0


def test_the_earliest_of_two_failures_decides() -> None:
    read = reading(plan("events", window(0, 200), window(200, 400), window(400, 600)), threads=3)
    for thread in (0, 1, 2):
        read.fetch(thread)
    read.fail(DROPPED, thread=2)
    read.fail(DROPPED, thread=1)
    assert read.stream.broken_at == at(200)


def test_a_page_that_is_no_json_is_a_failure_of_its_window() -> None:
    read = reading(events(), answers=lambda _: [b'{"data": ['])
    read.finish()
    assert [(one, type(error)) for one, error in read.stream.errors] == [(window(0, 600), TransientError)]
    assert read.stream.missing() == [window(0, 600)]


def test_a_parent_without_an_id_ends_the_report_even_where_failures_are_moved_on_over() -> None:
    nameless = page([{"type": "form", "attributes": {}}])
    read = reading(plan("form_versions", window(0, 600), advance_on_failure=True), answers=lambda _: [nameless])
    read.finish()
    assert read.stream.failed
    assert [type(error) for _, error in read.stream.errors] == [ContractViolation]
    assert read.stream.missing() == [window(0, 600)]


@pytest.mark.parametrize("error", [AuthError("no scope", status=403), ContractViolation("no id")])
def test_only_what_is_wrong_with_a_window_can_be_moved_on_over(error: KlaviyoError) -> None:
    read = reading(events(advance_on_failure=True))
    read.fetch()
    read.fail(error)
    assert (read.stream.failed, read.stream.skipped) == (True, [])


@pytest.mark.parametrize("advance", [False, True])
def test_a_report_that_is_loaded_as_a_whole_ends_with_its_first_failure(advance: bool) -> None:
    whole = plan("events", window(0, 300), window(300, 600), whole=True, advance_on_failure=advance)
    read = reading(whole, threads=2)
    with closing(read.stream.outputs[0]):
        read.fetch(0)
        read.fetch(1)
        read.fail(DROPPED, thread=1)
        assert read.stream.broken_at == BEGINNING
        read.finish()
        assert read.stream.outputs[0].rows == 0
        assert read.stream.failed
        assert read.stream.missing() == [window(0, 600)]


def test_a_failed_report_without_a_period_misses_everything() -> None:
    read = reading(plan("tags", EVERYTHING), answers=lambda _: [page([])])
    read.fetch()
    read.fail(DROPPED)
    assert read.stream.missing() == [EVERYTHING]


# --- how many requests


QUERY = AnalyticsQuery("day", ("recipients",), ("flow_id",), "", zone="UTC")


def series(*windows: Window, most_requests: int | None = None, **settings: Any) -> Plan:
    return plan("flow_series", *windows, analytics=replace(QUERY, most_requests=most_requests), **settings)


DAY = 24 * 3600
DAYS = [window(n * DAY, (n + 1) * DAY) for n in range(4)]


def test_what_the_daily_quota_does_not_allow_is_left_to_later_runs() -> None:
    stream = stream_of(series(*DAYS, most_requests=2))
    for _ in range(2):
        ended(stream, started(stream))
    assert stream.next_pending() is None
    assert stream.ended
    assert stream.deferred == [window(2 * DAY, 4 * DAY)]
    assert stream.covered() == [window(0, 2 * DAY)]
    assert (stream.failed, stream.missing()) == (False, [])


def test_repeated_requests_count_against_the_daily_quota() -> None:
    stream = stream_of(series(*DAYS, most_requests=2))
    started(stream)
    stream.traffic.requests = 2
    assert stream.next_pending() is None
    assert stream.deferred == [window(DAY, 4 * DAY)]


def test_without_a_daily_quota_everything_is_asked_for() -> None:
    stream = stream_of(series(*DAYS))
    assert [started(stream).window for _ in DAYS] == DAYS
    assert (stream.next_pending(), stream.deferred) == (None, [])


def test_a_question_that_is_refused_is_not_asked_about_other_periods() -> None:
    stream = stream_of(series(*DAYS))
    ended(stream, started(stream))
    stream.fail(started(stream), REFUSED, 0.0)
    assert (stream.broken_at, stream.next_pending()) == (BEGINNING, None)
    # The period that was read before stays.
    assert stream.covered() == [DAYS[0]]
    assert stream.missing() == [window(DAY, 4 * DAY)]


def test_a_question_that_was_dropped_ends_its_own_period_and_those_after_it() -> None:
    stream = stream_of(series(*DAYS))
    first, second = started(stream), started(stream)
    stream.fail(second, DROPPED, 0.0)
    assert stream.broken_at == at(DAY)
    assert not stream.given_up(first)
    assert stream.next_pending() is None


def test_threads_are_as_many_as_the_work_can_be_split_into() -> None:
    most = DEFAULT.threads(report("events").rate)
    assert stream_of(events()).threads == most
    assert stream_of(plan("flow_messages", window(0, 600))).threads == DEFAULT.threads(report("flow_messages").rate)
    # One chain a filter, and none of them can be cut.
    assert stream_of(plan("flows", window(0, 600))).threads == 2
    assert stream_of(plan("tags", EVERYTHING)).threads == 1


def test_a_chain_waits_for_its_own_pages_sooner_once_memory_is_full() -> None:
    stream = stream_of(events())
    chain = started(stream)
    chain.undecoded = 1
    assert not stream.crowded(chain, 0)
    assert stream.crowded(chain, EAGER.undecoded_bytes)
    chain.undecoded = 2
    assert stream.crowded(chain, 0)


# --- parents and children


def test_a_page_of_parents_becomes_a_chain_for_each_of_them() -> None:
    stream = stream_of(plan("object_ingestion_logs", window(0, 600)))
    top = started(stream)
    stream.take(top, page([record("object-type", "T1"), record("object-type", "T/2")]), NOW)
    assert [chain.request.parent_id for chain in stream.pending] == ["T1", "T/2"]
    assert [chain.request.path.split("?")[0] for chain in stream.pending] == [
        "/api/object-types/T1/object-ingestion-logs",
        "/api/object-types/T%2F2/object-ingestion-logs",
    ]
    # Types have no date: the period is that of the logs.
    assert [chain.window for chain in stream.pending] == [window(0, 600)] * 2
    assert (top.children, [chain.top for chain in stream.pending]) == (2, [top, top])


def test_children_of_dated_parents_are_read_whole() -> None:
    stream = stream_of(plan("form_versions", window(0, 600)))
    stream.take(started(stream), page([record("form", "F1", updated_at=at(5).isoformat())]), NOW)
    (child,) = stream.pending
    assert child.window == EVERYTHING
    assert child.request.context == {"form_id": "F1"}


def test_a_period_is_covered_once_the_last_child_of_its_parents_is_read() -> None:
    stream = stream_of(plan("form_versions", window(0, 600)))
    top = started(stream)
    stream.take(top, page([record("form", "F1"), record("form", "F2")]), NOW)
    ended(stream, top)
    assert not top.done
    children = [started(stream), started(stream)]
    ended(stream, children[1])
    assert (top.children, stream.covered(), stream.ended) == (1, [], False)
    ended(stream, children[0])
    assert (top.done, stream.covered(), stream.ended) == (True, [window(0, 600)], True)


def test_parents_without_children_cover_their_period_at_once() -> None:
    stream = stream_of(plan("form_versions", window(0, 600)))
    top = started(stream)
    stream.take(top, page([]), NOW)
    ended(stream, top)
    assert stream.covered() == [window(0, 600)]


def test_the_children_of_children_end_the_chain_at_the_top() -> None:
    stream = stream_of(replace(plan("object_schema_relations", EVERYTHING), whole=False))
    top = started(stream)
    stream.take(top, page([record("object-type", "T1")]), NOW)
    ended(stream, top)
    middle = started(stream)
    stream.take(middle, page([record("object-schema", "S1"), record("object-schema", "S2")]), NOW)
    ended(stream, middle)
    for _ in range(2):
        assert not stream.ended
        ended(stream, started(stream))
    assert (middle.done, top.done, stream.ended, stream.covered()) == (True, True, True, [EVERYTHING])


def test_the_failure_of_a_child_is_that_of_its_parents_window() -> None:
    stream = stream_of(plan("form_versions", window(0, 300), window(300, 600)))
    early, late = started(stream), started(stream)
    stream.take(late, page([record("form", "F1")]), NOW)
    stream.fail(started(stream), DROPPED, 0.0)
    assert (stream.broken_at, stream.errors[0][0]) == (at(300), window(300, 600))
    assert (stream.given_up(early), stream.given_up(late)) == (False, True)


def test_parents_that_come_after_a_failure_have_no_children() -> None:
    stream = stream_of(plan("form_versions", window(0, 600)))
    top = started(stream)
    stream.break_at(BEGINNING)
    stream.take(top, page([record("form", "F1")]), NOW)
    assert (list(stream.pending), top.children) == ([], 0)


def test_a_parent_without_such_a_child_is_no_error() -> None:
    stream = stream_of(plan("campaign_recipient_estimations", window(0, 600)))
    top = started(stream)
    stream.take(top, page([record("campaign", "C1")]), NOW)
    child = next(chain for chain in stream.pending if chain.parent is top)
    assert stream.absent(child, GONE)
    assert not stream.absent(child, REFUSED)
    assert not stream.absent(top, GONE), "the listing of the parents must be there"


def test_where_every_parent_has_children_a_404_is_an_error() -> None:
    stream = stream_of(plan("list_suppressions", window(0, 600)))
    stream.take(started(stream), page([record("list", "L1")]), NOW)
    assert not stream.absent(started(stream), GONE)


# --- rows


def answer(*flows: tuple[str, int]) -> bytes:
    results = ",".join(
        f'{{"groupings": {{"flow_id": "{name}"}}, "statistics": {{"recipients": [{number}]}}}}'
        for name, number in flows
    )
    return f'{{"data": {{"attributes": {{"date_times": ["{T0.isoformat()}"], "results": [{results}]}}}}}}'.encode()


def recipients(stream: Stream) -> list[tuple[str, int]]:
    rows = [row for table in stream.outputs[0].buffer.drain() for row in table.to_pylist() if not row["_deleted"]]
    return sorted((row["flow_id"], row["recipients"]) for row in rows)


def test_the_rows_of_a_period_wait_until_all_of_its_pages_are_here() -> None:
    stream = stream_of(series(DAYS[0]))
    chain = started(stream)
    stream.take(chain, answer(("F1", 3), ("F2", 4)), NOW)
    stream.take(chain, answer(("F3", 5)), NOW)
    assert (recipients(stream), stream.covered()) == ([], [])
    ended(stream, chain)
    assert recipients(stream) == [("F1", 3), ("F2", 4), ("F3", 5)]
    assert (stream.covered(), chain.held) == ([DAYS[0]], [])


def test_of_a_number_that_comes_on_two_pages_of_a_period_the_last_counts() -> None:
    stream = stream_of(series(DAYS[0]))
    chain = started(stream)
    stream.take(chain, answer(("F1", 3)), NOW)
    stream.take(chain, answer(("F1", 4)), NOW)
    ended(stream, chain)
    assert recipients(stream) == [("F1", 4)]


def test_of_a_period_that_failed_no_page_is_loaded() -> None:
    stream = stream_of(series(DAYS[0]))
    chain = started(stream)
    stream.take(chain, answer(("F1", 3)), NOW)
    stream.fail(chain, DROPPED, 0.0)
    ended(stream, chain)
    assert (recipients(stream), stream.outputs[0].rows) == ([], 0)


def test_reports_that_share_a_stream_have_the_rows_of_the_same_pages() -> None:
    flow = record("flow", "F1", updated=at(5).isoformat())
    flow["relationships"] = {"flow-actions": {"data": [{"type": "flow-action", "id": "A1"}]}}
    both = [plan(name, window(0, 600)) for name in ("flows", "flow_actions")]
    assert stream_of(both[0]).key == stream_of(both[1]).key
    answers = {ACTIVE: [page([flow], [record("flow-action", "A1")])], ARCHIVED: [page([])]}
    read = reading(*both, answers=lambda request: answers[request.variant.filter])
    read.finish()
    assert read.ids == {"flows": ["F1"], "flow_actions": ["A1"]}
    assert read.stream.covered() == [window(0, 600)]


def test_reports_that_share_a_stream_move_it_on_once_a_page() -> None:
    both = [plan(name, window(0, 600)) for name in ("subscriptions", "profiles")]
    profiles = Collection("profile", "updated", {f"p{n}": n * 10 for n in range(12)}, page_size=4)
    read = reading(*both, answers=profiles, threads=1)
    read.fetch()
    read.fetch()
    read.decode()
    (chain,) = read.stream.active
    assert (chain.progress, chain.density.pages, chain.ascends) == (at(30), 1, True)
    read.finish()
    assert read.ids["profiles"] == list(profiles.moments)


def test_records_that_another_chain_reads_are_cut_off() -> None:
    read = reading(events(), threads=1)
    read.fetch()
    (chain,) = read.stream.active
    chain.window = window(0, 25)
    for _ in range(3):
        read.fetch()
        read.decode()
    assert read.ids["events"] == [f"e{n:03}" for n in range(25)]


def test_the_second_that_a_strict_lower_bound_brings_too_much_is_cut_off() -> None:
    profiles = Collection(
        "profile", "updated", {"before": 99.5, "first": 100, "last": 199.9, "after": 200}, page_size=9
    )
    read = reading(plan("profiles", window(100, 200)), answers=profiles)
    read.finish()
    assert read.ids["profiles"] == ["first", "last"]


# --- rows that may be appended


def appending(**collection: float) -> Stream:
    read = reading(events(append=True), answers=Collection("event", "datetime", collection, page_size=2))
    read.finish()
    assert sorted(read.ids["events"]) == sorted(collection)
    return read.stream


def test_rows_that_come_in_order_are_new() -> None:
    assert appending(a=1, b=2, c=2.5, d=7).outputs[0].new


def test_rows_that_a_page_shows_again_are_not_new() -> None:
    one, two = ([record("event", name, datetime=at(5).isoformat()) for name in names] for names in ("ab", "bc"))
    read = reading(events(append=True), answers=lambda _: [page(one), page(two)])
    read.finish()
    assert not read.stream.outputs[0].new


def test_rows_of_children_are_never_proved_to_be_new() -> None:
    stream = stream_of(replace(plan("list_profiles", EVERYTHING, append=True), whole=False))
    stream.take(started(stream), page([record("list", "L1")]), NOW)
    member = record("profile", "P1", joined_group_at=at(5).isoformat())
    stream.take(started(stream), page([member]), NOW + timedelta(seconds=1))
    assert not stream.outputs[0].new
