"""What goes wrong at Klaviyo: nothing that could be loaded is lost, nothing is doubled, and the run says what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox import Account
from sources.klaviyo.errors import AuthError, DailyQuotaExhausted, KlaviyoError, RequestRejected, TransientError
from sources.klaviyo.windows import Window
from tests.support import truth
from tests.support.journeys import NOW, FakeClock, Journey, doubled, home, small_account, truth_ids

LAG = timedelta(seconds=60)
END = NOW - LAG
START = datetime(2026, 6, 5, tzinfo=UTC)
DAY = timedelta(days=1)
#: The day whose window fails, and how its request is told from the others.
BAD = datetime(2026, 6, 17, tzinfo=UTC)
BAD_QUERY = {"filter": "greater-or-equal(datetime,2026-06-17T00:00:00Z)"}


@pytest.fixture
def eventful(tmp_path: Path) -> Iterator[Journey]:
    """Events all over the month, and profiles and metrics beside them."""
    clock = FakeClock()
    with home(tmp_path):
        account = small_account(clock, seed=41, events=1200, profiles=80, metrics=3, tags=2, shape="even")
        journey = Journey(tmp_path, account, clock)
        yield journey
        journey.close()


@pytest.fixture
def grouped(tmp_path: Path) -> Iterator[Journey]:
    """Lists and segments with members, tags and metrics."""
    clock = FakeClock()
    with home(tmp_path):
        account = small_account(clock, seed=42, profiles=60, lists=4, segments=3, metrics=3, tags=3, campaigns=10)
        journey = Journey(tmp_path, account, clock)
        yield journey
        journey.close()


def events_in(journey: Journey, start: datetime, end: datetime) -> list[str]:
    """The truth: ids of the events of a period."""
    return truth_ids(journey.account, "event", "datetime", start, end)


FOR_GOOD: list[tuple[dict[str, Any], type[KlaviyoError]]] = [
    ({"status": 500}, TransientError),
    ({"status": 403}, AuthError),
    ({"status": 404}, RequestRejected),
    ({"status": 429, "retry_after_s": 40_000}, DailyQuotaExhausted),
]


@pytest.mark.parametrize(("fault", "kind"), FOR_GOOD, ids=["500", "403", "404", "429"])
def test_an_endpoint_that_fails_for_good_keeps_no_other_report_from_loading(
    eventful: Journey, fault: dict[str, Any], kind: type[KlaviyoError]
) -> None:
    eventful.server.faults.add(path="/api/events", kind="status", times=None, **fault)
    outcomes = eventful.run("events", "profiles", "metrics", start_date=START)
    failed = outcomes["events"]
    assert type(failed.error) is kind
    assert not failed.loaded
    assert failed.failed_windows == [Window(START, END)]
    assert failed.high_water is None
    for report in ("profiles", "metrics"):
        assert outcomes[report].loaded
        assert outcomes[report].error is None
        assert truth.differences(
            truth.loaded(eventful.folder, report), truth.expected(eventful.account, report, START, END)
        ) == []  # fmt: skip
    # The table is there, for queries to find it, and empty.
    assert eventful.ids("events") == []
    # An answer that is final is not asked for again.
    assert failed.requests == (6 if kind is TransientError else 1)
    eventful.server.faults.clear()
    assert eventful.load("events", start_date=START)["events"].windows == [Window(START, END)]
    assert eventful.ids("events") == events_in(eventful, START, END)


def test_a_window_that_fails_ends_its_report_and_the_next_run_reads_just_the_rest(eventful: Journey) -> None:
    eventful.server.faults.add(path="/api/events", kind="status", status=502, times=None, query=BAD_QUERY)
    failed = eventful.run("events", "profiles", start_date=START, split_by="day")["events"]
    assert isinstance(failed.error, TransientError)
    assert failed.failed_windows == [Window(BAD, BAD + DAY)]
    # While the bad window was tried again, all others were read; what lies beyond the gap is kept too.
    assert failed.high_water == BAD
    assert eventful.ids("events") == sorted({*events_in(eventful, START, BAD), *events_in(eventful, BAD + DAY, END)})
    assert not failed.loaded

    eventful.server.faults.clear()
    again = eventful.load("events", start_date=START, split_by="day", lookback_days=0)["events"]
    assert again.windows == [Window(BAD, BAD + DAY)]
    assert again.rows == len(events_in(eventful, BAD, BAD + DAY))
    assert again.high_water == END
    assert eventful.ids("events") == events_in(eventful, START, END)


@pytest.mark.parametrize("fault", [fault for fault, _ in FOR_GOOD[1:]], ids=["403", "404", "429"])
def test_a_window_that_is_refused_at_once_keeps_none_before_it_from_loading(
    eventful: Journey, fault: dict[str, Any]
) -> None:
    eventful.server.faults.add(path="/api/events", kind="status", times=None, query=BAD_QUERY, **fault)
    for _ in range(2):
        failed = eventful.run("events", start_date=START, split_by="day")["events"]
        assert failed.error is not None
        assert not failed.loaded
        mark = failed.high_water or START
        # A spent quota stops the windows before it too; a refused one does not.
        assert mark == BAD or (fault["status"] == 429 and mark < BAD)
        assert any(window.start <= BAD < window.end for window in failed.failed_windows)
        found = eventful.ids("events")
        assert not doubled(found)
        assert set(events_in(eventful, START, mark)) <= set(found) <= set(events_in(eventful, START, END))
    eventful.server.faults.clear()
    assert eventful.load("events", start_date=START, split_by="day")["events"].high_water == END
    assert eventful.ids("events") == events_in(eventful, START, END)


def test_a_chain_that_breaks_off_keeps_what_it_read_and_the_next_run_goes_on_there(tmp_path: Path) -> None:
    clock = FakeClock()
    account = small_account(clock, seed=43, events=9000, profiles=50, metrics=3, shape="even")
    start = datetime(2026, 4, 10, tzinfo=UTC)
    with home(tmp_path):
        journey = Journey(tmp_path, account, clock, latency_s=0.02)
        fault = journey.server.faults.add(path="/api/events", kind="status", after=4, times=None)
        failed = journey.run("events", start_date=start, split_by="auto")["events"]
        assert isinstance(failed.error, TransientError)
        assert failed.high_water is not None
        assert start < failed.high_water < END
        found = journey.ids("events")
        assert 1000 <= len(found) < 5000
        assert not doubled(found)
        assert set(events_in(journey, start, failed.high_water)) <= set(found)
        assert failed.failed_windows
        assert fault.matched > 4

        journey.server.faults.clear()
        again = journey.load("events", start_date=start, lookback_days=0)["events"]
        journey.close()
    assert again.windows[0].start == failed.high_water
    # The second where the chain broke off is read again, all that came before is not.
    assert again.rows <= 9000 - len(found) + 50
    assert journey.ids("events") == events_in(journey, start, END)


def test_a_run_that_fails_again_and_again_does_not_lose_ground(eventful: Journey) -> None:
    eventful.load("events", start_date=START)
    eventful.server.faults.add(path="/api/events", kind="status", status=403, times=None)
    for _ in range(3):
        eventful.clock.forward(hours=1)
        assert eventful.run("events", start_date=START)["events"].high_water == END
    eventful.server.faults.clear()
    # What came late meanwhile is within the lookback of the last run that succeeded.
    late = eventful.account.add("event", {"attributes": {"datetime": END - timedelta(hours=23)}})
    outcome = eventful.load("events", start_date=START)["events"]
    assert outcome.windows == [Window(END - DAY, eventful.clock.now() - LAG)]
    assert late in eventful.ids("events")


def test_advance_on_failure_moves_on_over_what_failed_and_says_so(eventful: Journey) -> None:
    eventful.server.faults.add(path="/api/events", kind="status", status=500, times=None, query=BAD_QUERY)
    outcome = eventful.run("events", start_date=START, split_by="day", advance_on_failure=True)["events"]
    assert isinstance(outcome.error, TransientError)
    assert outcome.failed_windows == [Window(BAD, BAD + DAY)]
    assert outcome.high_water == END
    there = sorted({*events_in(eventful, START, BAD), *events_in(eventful, BAD + DAY, END)})
    assert eventful.ids("events") == there
    eventful.server.faults.clear()
    assert eventful.load("events", start_date=START, lookback_days=0)["events"].windows == []
    assert eventful.ids("events") == there
    eventful.load("events", start_date=START, reread=True)
    assert eventful.ids("events") == events_in(eventful, START, END)


def test_advance_on_failure_does_not_move_over_a_refused_key_or_a_spent_quota(eventful: Journey) -> None:
    for fault in ({"status": 403}, {"status": 401}, {"status": 429, "retry_after_s": 40_000}):
        eventful.server.faults.add(path="/api/events", kind="status", times=None, **fault)  # type: ignore[arg-type]
        outcome = eventful.run("events", start_date=START, advance_on_failure=True)["events"]
        assert outcome.error is not None
        assert outcome.high_water is None
        eventful.server.faults.clear()


PASSING: list[dict[str, Any]] = [
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 524},
    {"kind": "status", "status": 429, "retry_after_s": 2},
    {"kind": "drop"},
    {"kind": "truncate"},
    {"kind": "body", "body": b"<html>upstream"},
    {"kind": "body", "body": b""},
    {"kind": "hang", "seconds": 1.5},
]


def test_passing_faults_in_the_middle_lose_and_double_nothing(tmp_path: Path) -> None:
    clock = FakeClock()
    account = Account(
        seed=44, now=clock.now, profiles=250, events=2500, lists=3, segments=2, campaigns=6, flows=4, templates=15,
        metrics=4, tags=3,
    )  # fmt: skip
    start = datetime(2026, 4, 1, tzinfo=UTC)
    with home(tmp_path):
        journey = Journey(tmp_path, account, clock)
        for place, fault in enumerate(PASSING):
            journey.server.faults.add(path="/api/events", after=place, times=1, **fault)
            journey.server.faults.add(path="/api/profiles", after=place // 3, times=1, **fault)
            journey.server.faults.add(path="/api/lists/{id}/profiles", after=place, times=1, **fault)
            journey.server.faults.add(path="/api/segments", after=place, times=1, **fault)
        for path in ("/api/metrics", "/api/tags", "/api/flows", "/api/campaigns", "/api/templates"):
            journey.server.faults.add(path=path, kind="drop")
        outcomes = journey.load(start_date=start, split_by="week", request_timeout_s=1.0)
        journey.close()
    for report in truth.REPORTS:
        wanted = truth.expected(account, report, start, END)
        assert truth.differences(truth.loaded(tmp_path, report), wanted) == [], report
        assert outcomes[report].rows >= len(wanted)
    assert outcomes["events"].refused == 1
    assert outcomes["events"].retries >= len(PASSING) - 2
    assert outcomes["metrics"].retries == 1


def test_a_whole_report_that_fails_leaves_its_old_table_untouched(grouped: Journey) -> None:
    reports = ("metrics", "tags", "list_profiles", "segment_profiles", "profile_segments", "lists")
    grouped.load(*reports)
    before = {report: grouped.rows(report) for report in reports}
    account = grouped.account
    for kind in ("metric", "tag"):
        account.remove(kind, next(account.records(kind))["id"])
    a_list = [record["id"] for record in account.records("list")][1]
    left = next(iter(account.members("list", a_list)))
    account.leave("list", a_list, left)
    grouped.clock.forward(hours=1)

    faults = grouped.server.faults
    faults.add(path="/api/metrics", kind="status", status=500, times=None)
    faults.add(path="/api/tags", kind="status", status=400, times=None)
    # One list of many, and the parents of the segments' members.
    last = [record["id"] for record in account.records("list")][-1]
    faults.add(path=f"/api/lists/{last}/profiles", kind="status", status=500, times=None)
    faults.add(path="/api/segments", kind="status", status=403, times=None)
    outcomes = grouped.run(*reports)
    assert {report for report, outcome in outcomes.items() if outcome.loaded} == {"lists"}
    for report in set(reports) - {"lists"}:
        assert outcomes[report].error is not None, report
        assert grouped.rows(report) == before[report], report

    faults.clear()
    grouped.load(*reports)
    assert len(grouped.ids("metrics")) == len(before["metrics"]) - 1
    assert len(grouped.ids("tags")) == len(before["tags"]) - 1
    closed = grouped.sql("SELECT profile_id FROM klaviyo.list_profiles WHERE _dlt_valid_to IS NOT NULL")
    assert closed == [(left,)]


def test_an_extract_of_everything_that_fails_leaves_the_old_table_and_its_state(eventful: Journey) -> None:
    eventful.load("events", start_date=START)
    before = eventful.rows("events")
    eventful.server.faults.add(path="/api/events", kind="status", status=404, after=1, times=None)
    outcome = eventful.run("events", extract="all", start_date=None)["events"]
    assert isinstance(outcome.error, RequestRejected)
    assert eventful.rows("events") == before
    eventful.server.faults.clear()
    assert eventful.load("events", start_date=START, lookback_days=0)["events"].windows == []


def test_a_child_that_fails_ends_its_own_report_alone(grouped: Journey) -> None:
    campaign = next(grouped.account.records("campaign-recipient-estimation"))["id"]
    path = f"/api/campaign-recipient-estimations/{campaign}"
    grouped.server.faults.add(path=path, kind="status", status=500, times=None)
    outcomes = grouped.run("campaigns", "campaign_messages", "campaign_recipient_estimations", start_date="2026-01-01")
    failed = outcomes["campaign_recipient_estimations"]
    assert isinstance(failed.error, TransientError)
    assert failed.high_water is None
    assert campaign not in grouped.ids("campaign_recipient_estimations")
    assert outcomes["campaigns"].loaded
    assert outcomes["campaign_messages"].loaded
    grouped.server.faults.clear()
    grouped.load("campaign_recipient_estimations", start_date="2026-01-01")
    assert grouped.ids("campaign_recipient_estimations") == sorted(
        record["id"] for record in grouped.account.records("campaign-recipient-estimation")
    )


def test_a_wrong_key_fails_every_report_in_one_sentence_and_loads_nothing(tmp_path: Path) -> None:
    clock = FakeClock()
    with home(tmp_path):
        account = small_account(clock, events=20, profiles=5, metrics=1)
        journey = Journey(tmp_path, account, clock, keys={"pk_right": None})
        outcomes = journey.run(api_key="pk_wrong_1234567890")
        journey.close()
    assert len(outcomes) == len(truth.REPORTS)
    for outcome in outcomes.values():
        assert isinstance(outcome.error, AuthError)
        assert outcome.error.status == 401
        assert outcome.error.detail in str(outcome.error)
        assert "pk_wrong" not in str(outcome.error)
        assert not outcome.loaded
        assert outcome.high_water is None
    # One try a stream of requests: no retries on a final answer.
    assert all(request.status == 401 for request in journey.server.requests)
    assert len(journey.server.requests) <= 30
    for table in journey.tables():
        assert journey.sql(f"SELECT count(*) FROM klaviyo.{table}") == [(0,)]


def test_a_missing_scope_is_named_and_what_the_key_allows_still_loads(tmp_path: Path) -> None:
    clock = FakeClock()
    with home(tmp_path):
        account = small_account(clock, events=50, profiles=5, metrics=2, lists=2)
        journey = Journey(tmp_path, account, clock, keys={"pk_sandbox": {"events:read", "lists:read"}})
        outcomes = journey.run("events", "lists", "profiles", "list_profiles", "metrics")
        journey.close()
    assert {name for name, outcome in outcomes.items() if outcome.loaded} == {"events", "lists"}
    for report, scope in (
        ("profiles", "profiles:read"),
        ("list_profiles", "profiles:read"),
        ("metrics", "metrics:read"),
    ):
        assert isinstance(outcomes[report].error, AuthError)
        assert scope in str(outcomes[report].error)
    assert len(journey.ids("events")) > 5
    assert len(journey.ids("lists")) == 2
