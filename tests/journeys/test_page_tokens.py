"""Page tokens without an id: what shares the last value of a page is not on the next one, and is loaded all the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.journeys import FakeClock, Journey, home, small_account

MOMENT = datetime(2026, 6, 3, 8, tzinfo=UTC)


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FakeClock()
    with home(tmp_path):
        made = Journey(tmp_path, small_account(clock, seed=3), clock)
        yield made
        made.close()


def ids(journey: Journey, kind: str) -> list[str]:
    return sorted(str(record["id"]) for record in journey.account.records(kind))


def put(journey: Journey, kind: str, page: int) -> None:
    """Two pages of records and a few more: one a minute, but five of one moment around the end of the first page.
    A form has a version each."""
    for record in list(journey.account.records(kind)):
        journey.account.remove(kind, str(record["id"]))
    name = "updated" if kind == "web-feed" else "updated_at"
    for number in range(2 * page + 3):
        moment = MOMENT + timedelta(minutes=page if abs(number - page) <= 2 else number)
        below = {"form-versions": [journey.account.add("form-version", {})]} if kind == "form" else {}
        journey.account.add(kind, {"attributes": {name: moment, "name": f"number {number}"}, "relationships": below})


@pytest.mark.parametrize("extract", ["incremental", "all"])
@pytest.mark.parametrize(("report", "kind", "page"), [("forms", "form", 100), ("web_feeds", "web-feed", 20)])
def test_records_of_the_moment_in_which_a_page_ends_are_loaded(
    journey: Journey, report: str, kind: str, page: int, extract: str
) -> None:
    put(journey, kind, page)
    outcome = journey.load(report, extract=extract, split_by="none")[report]
    assert journey.ids(report) == ids(journey, kind)
    assert outcome.requests == 3, "two pages, and one second once more"


def test_the_children_of_such_records_are_loaded(journey: Journey) -> None:
    for record in list(journey.account.records("form-version")):
        journey.account.remove("form-version", str(record["id"]))
    put(journey, "form", 100)
    journey.load("form_versions")
    assert journey.ids("form_versions") == ids(journey, "form-version")
    assert len(ids(journey, "form-version")) == 203
