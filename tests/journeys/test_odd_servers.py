"""Clocks that are wrong and pages that have no end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from sources.klaviyo.errors import TransientError
from tests.support.journeys import NOW, FakeClock, Journey, home, small_account, truth_ids

START = NOW - timedelta(days=30)
LAG = timedelta(seconds=60)
REPORTS = ("profiles", "events", "lists", "metrics")


class Machine(FakeClock):
    """A clock of the machine that is so far from the account's."""

    def __init__(self, true: FakeClock) -> None:
        self._true = true
        self.ahead = timedelta(0)

    def now(self):  # type: ignore[no-untyped-def]
        return self._true.now() + self.ahead


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FakeClock()
    account = small_account(clock, seed=3, events=400, profiles=60, lists=3, metrics=3)
    with home(tmp_path):
        made = Journey(tmp_path, account, clock)
        made.clock = Machine(clock)
        yield made
        made.close()


def exact(journey: Journey) -> None:
    end = journey.account.now - LAG
    for report, kind, field in (("profiles", "profile", "updated"), ("events", "event", "datetime")):
        assert journey.ids(report) == truth_ids(journey.account, kind, field, START, end), report


def covered(journey: Journey, report: str) -> str:
    """The end of what a report has loaded, by the state."""
    return str(journey.pipeline().state["sources"]["klaviyo"]["resources"][report]["covered"][-1][1])


def forward(journey: Journey, **duration: float) -> None:
    machine = journey.clock
    assert isinstance(machine, Machine)
    machine._true.forward(**duration)


def test_a_clock_that_was_ahead_for_a_run_leaves_nothing_unread(
    journey: Journey, caplog: pytest.LogCaptureFixture
) -> None:
    machine = journey.clock
    assert isinstance(machine, Machine)
    machine.ahead = timedelta(hours=96)
    with caplog.at_level("WARNING", "klaviyo"):
        journey.run("profiles", "lists", start_date=f"{START:%Y-%m-%dT%H:%M:%SZ}")
    assert [text for text in caplog.messages if "clock is 5760 minutes ahead of Klaviyo's" in text]
    assert covered(journey, "lists") <= f"{journey.account.now:%Y-%m-%dT%H:%M:%S}+00:00"
    # Everything that happens in the next four days is read all the same.
    machine.ahead = timedelta(0)
    for _ in range(4):
        added = journey.account.add("list", {"attributes": {"name": "new", "updated": journey.account.now}})
        journey.account.add("profile", {"attributes": {"updated": journey.account.now}})
        journey.account.add("event", {"attributes": {"datetime": journey.account.now}})
        forward(journey, hours=24)
        journey.load("lists", "profiles", "events", start_date=f"{START:%Y-%m-%dT%H:%M:%SZ}", lookback_days=0)
        exact(journey)
        assert added in journey.ids("lists")


def test_coverage_that_an_older_version_stored_in_the_future_is_cut_off(journey: Journey) -> None:
    start = f"{START:%Y-%m-%dT%H:%M:%SZ}"
    journey.load("profiles", start_date=start)
    into = journey.pipeline()
    into.activate()
    with into.managed_state(extract_state=True) as state:
        (window,) = state["sources"]["klaviyo"]["resources"]["profiles"]["covered"]
        window[1] = f"{journey.account.now + timedelta(hours=96):%Y-%m-%dT%H:%M:%S}+00:00"
    into.deactivate()
    late = journey.account.add("profile", {"attributes": {"updated": journey.account.now}})
    forward(journey, hours=30)
    journey.load("profiles", start_date=start, lookback_days=0)
    assert late in journey.ids("profiles")
    assert covered(journey, "profiles") <= f"{journey.account.now:%Y-%m-%dT%H:%M:%S}+00:00"


@pytest.mark.parametrize("ahead", [timedelta(hours=-96), timedelta(seconds=50), timedelta(minutes=7)])
def test_other_wrong_clocks_cost_nothing_but_a_later_end(journey: Journey, ahead: timedelta) -> None:
    machine = journey.clock
    assert isinstance(machine, Machine)
    start = f"{START:%Y-%m-%dT%H:%M:%SZ}"
    machine.ahead = ahead
    journey.run("profiles", start_date=start)
    machine.ahead = timedelta(0)
    forward(journey, hours=2)
    journey.load("profiles", "events", start_date=start, lookback_days=0)
    exact(journey)


def test_a_page_that_links_to_itself_ends_its_report_and_no_other(journey: Journey) -> None:
    tag = {"type": "metric", "id": "M1", "attributes": {"name": "x"}}
    page = {
        "data": [tag],
        "links": {"self": "x", "next": f"{journey.server.url}/api/metrics?include=flow-triggers&n=1"},
    }
    journey.server.faults.add(path="/api/metrics", kind="body", body=json.dumps(page).encode(), times=None)
    outcomes = journey.run("metrics", "lists", start_date=f"{START:%Y-%m-%dT%H:%M:%SZ}")
    error = outcomes["metrics"].error
    assert isinstance(error, TransientError)
    assert "links to one that was read before" in str(error)
    assert journey.requested("/api/metrics") == 2
    assert outcomes["lists"].loaded
    journey.server.faults.clear()
    assert journey.load("metrics")["metrics"].rows == 3
