"""A page token that Klaviyo no longer takes: what is left of the window is asked for once more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sources.klaviyo.errors import RequestRejected, TransientError
from tests.support import truth
from tests.support.journeys import NOW, FakeClock, Journey, home, small_account

END = NOW - timedelta(seconds=60)
START = datetime(2026, 4, 1, tzinfo=UTC)
#: Only a request for a next page has it.
TOKEN = {"page[cursor]": ""}


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FakeClock()
    account = small_account(clock, seed=43, events=4500, profiles=450, lists=25, metrics=3, tags=3, shape="even")
    with home(tmp_path):
        made = Journey(tmp_path, account, clock)
        yield made
        made.close()


def exact(journey: Journey, report: str) -> None:
    where = "_dlt_valid_to IS NULL" if report in truth.MEMBERS else "true"
    wanted = truth.expected(journey.account, report, START, END)
    assert len(wanted) > 20
    assert truth.differences(truth.loaded(journey.folder, report, where), wanted) == []


@pytest.mark.parametrize("status", [400, 404, 410])
@pytest.mark.parametrize(
    ("report", "path"),
    [
        ("events", "/api/events"),
        ("profiles", "/api/profiles"),
        ("lists", "/api/lists"),
        ("list_profiles", "/api/lists"),
        ("list_profiles", "/api/lists/{id}/profiles"),
    ],
)
def test_a_token_that_expired_costs_no_row_and_doubles_none(
    journey: Journey, report: str, path: str, status: int
) -> None:
    fault = journey.server.faults.add(path=path, kind="status", status=status, after=1, times=1, query=TOKEN)
    journey.load(report, start_date=START, split_by="none")
    assert fault.matched >= 2
    exact(journey, report)


def test_events_are_asked_for_from_where_they_were_read(journey: Journey) -> None:
    journey.server.faults.add(path="/api/events", kind="status", status=400, after=2, times=1, query=TOKEN)
    outcome = journey.load("events", start_date=START, split_by="none")["events"]
    exact(journey, "events")
    # Three pages were read before, of five; the rest in two more, and the one that was refused.
    assert outcome.requests <= 7
    assert outcome.rows < 4500 + 50


def test_a_token_that_is_refused_anew_fails_the_window_with_a_word_about_it(journey: Journey) -> None:
    fault = journey.server.faults.add(path="/api/events", kind="status", status=410, after=1, times=None, query=TOKEN)
    failed = journey.run("events", start_date=START, split_by="none")["events"]
    assert isinstance(failed.error, TransientError)
    assert str(failed.error).startswith("the link to the next page is refused, of a new first page too: ")
    assert "410" in str(failed.error)
    assert failed.error.advice.startswith("Run again")
    assert fault.matched == 3
    journey.server.faults.clear()
    journey.load("events", start_date=START)
    exact(journey, "events")


def test_a_window_that_is_refused_itself_is_not_asked_for_again(journey: Journey) -> None:
    journey.server.faults.add(path="/api/events", kind="status", status=400, times=None)
    failed = journey.run("events", start_date=START, split_by="none")["events"]
    assert isinstance(failed.error, RequestRejected)
    assert failed.requests == 1
