"""Every table under the revisions that are not the default, and an account that goes from one to another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sandbox import Account
from sources.klaviyo.catalog.reports import REPORT_SPANS, reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION, REVISIONS
from sources.klaviyo.load.runner import Outcome
from tests.support import truth
from tests.support.journeys import NOW, FakeClock, Journey, doubled, home

START = datetime(2026, 5, 1, tzinfo=UTC)
END = NOW - timedelta(seconds=60)
OLD, NEW = "2026-07-15", "2026-10-15"
OTHERS = [revision for revision in REVISIONS if revision != DEFAULT_REVISION]


def compared(revision: str) -> list[str]:
    """The reports that are compared here; test_analytics_journeys.py does those that count."""
    return [name for name, report in reports(revision).items() if report.endpoint.analytics is None]


EVERY = [(revision, name) for revision in OTHERS for name in compared(revision)]


@dataclass
class Loaded:
    """What a run over all reports left."""

    folder: Path
    account: Account
    outcomes: dict[str, Outcome]


def account_of(clock: FakeClock) -> Account:
    return Account(
        seed=17, now=clock.now, profiles=60, events=150, lists=4, segments=3, flows=12, campaigns=40, history_days=90
    )


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    found = {}
    for revision in OTHERS:
        folder, clock = tmp_path_factory.mktemp(revision), FakeClock()
        with home(folder):
            journey = Journey(folder, account_of(clock), clock)
            try:
                outcomes = journey.run("all", start_date="2026-05-01", revision=revision)
                found[revision] = Loaded(folder, journey.account, outcomes)
            finally:
                journey.close()
    return found


@pytest.mark.parametrize(("revision", "report"), EVERY)
def test_the_rows_of_a_report_equal_the_truth_value_for_value(
    others: dict[str, Loaded], revision: str, report: str
) -> None:
    loaded = others[revision]
    outcome = loaded.outcomes[report]
    assert outcome.error is None
    assert outcome.loaded
    assert outcome.misfits == outcome.new_fields == {}
    wanted = truth.expected(loaded.account, report, START, END, revision=revision)
    assert wanted, "the account has nothing to compare"
    assert truth.differences(truth.loaded(loaded.folder, report), wanted) == []


def test_the_truth_knows_every_report() -> None:
    for revision in REVISIONS:
        assert sorted([*truth.by_default(revision), *truth.optional(revision)]) == sorted(compared(revision))
        on = sorted(name for name, report in reports(revision).items() if report.on_by_default)
        assert sorted(truth.by_default(revision)) == on


# From one revision to the other


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def journey(tmp_path: Path, clock: FakeClock) -> Iterator[Journey]:
    with home(tmp_path):
        made = Journey(tmp_path, account_of(clock), clock)
        yield made
        made.close()


BOTH = [name for name, span in REPORT_SPANS.items() if not span and name in truth.by_default(OLD)]


@pytest.mark.parametrize(("first", "then"), [(OLD, NEW), (NEW, OLD)])
def test_an_account_that_goes_on_under_another_revision_loses_and_doubles_nothing(
    journey: Journey, clock: FakeClock, first: str, then: str
) -> None:
    journey.load(start_date="2026-05-01", revision=first)
    before = {report: set(journey.ids(report)) for report in BOTH if report not in truth.MEMBERS}
    clock.forward(hours=30)
    journey.load(start_date="2026-05-01", revision=then)
    end = clock.now() - timedelta(seconds=60)
    for report in before:
        ids = journey.ids(report)
        assert doubled(ids) == {}, report
        wanted = {row["id"] for row in truth.expected(journey.account, report, START, end, revision=then)}
        assert wanted <= set(ids), report
        assert before[report] <= set(ids), report
    # What is read by the same field goes on where it was: a day of lookback and what came since.
    events = [request.query["filter"] for request in journey.server.requests if request.path == "/api/events"]
    assert all("2026-06-29" in told or "2026-06-30" in told or "2026-07-01" in told for told in events)


def test_what_is_read_by_another_field_is_read_again_once(journey: Journey, clock: FakeClock) -> None:
    journey.load("campaigns", "campaign_messages", start_date="2026-05-01", revision=OLD)
    clock.forward(hours=3)
    journey.load("campaigns", "campaign_messages", start_date="2026-05-01", revision=NEW)
    asked = [r.query["filter"] for r in journey.server.requests if r.path == "/api/campaign-messages"]
    assert asked[0].startswith("greater-or-equal(updated,2026-05-01T00:00:00Z)")
    wanted = truth.expected(
        journey.account, "campaign_messages", START, clock.now() - timedelta(seconds=60), revision=NEW
    )
    ids = {row["id"] for row in wanted}
    found = truth.loaded(journey.folder, "campaign_messages")
    assert truth.differences([row for row in found if row["id"] in ids], wanted) == []
    clock.forward(hours=3)
    journey.load("campaigns", "campaign_messages", start_date="2026-05-01", revision=NEW)
    asked = [r.query["filter"] for r in journey.server.requests if r.path == "/api/campaign-messages"]
    assert asked[0].startswith("greater-or-equal(updated,2026-06-29T")


def test_a_message_that_is_edited_without_its_campaign_comes(journey: Journey, clock: FakeClock) -> None:
    reports = ("campaigns", "campaign_messages", "campaign_variations")
    journey.load(*reports, start_date="2026-01-01", revision=NEW)
    clock.forward(days=3)
    journey.load(*reports, start_date="2026-01-01", revision=NEW)
    clock.forward(hours=2)
    canvas = next(
        record
        for record in journey.account.records("campaign-message@2026-10-15")
        if journey.account.record("campaign", record["relationships"]["campaign"]["data"]["id"]) is None
    )
    moment = (clock.now() - timedelta(hours=1)).isoformat()
    definition = {**canvas["attributes"]["definition"], "name": "Edited alone"}
    changed = {"updated": moment, "definition": definition}
    journey.account.update("campaign-message@2026-10-15", canvas["id"], changed, touch=False)
    outcomes = journey.load(*reports, start_date="2026-01-01", revision=NEW, lookback_days=0)
    assert (outcomes["campaigns"].rows, outcomes["campaign_messages"].rows) == (0, 1)
    label = journey.sql(f"SELECT definition_label, channel FROM klaviyo.campaign_messages WHERE id = '{canvas['id']}'")
    assert [name for name, _ in label] == ["Edited alone"]
    # The list of campaigns twice, archived or not; the list of messages; the variations of one.
    assert len(journey.server.requests) == 4


def test_a_report_that_the_chosen_revision_does_not_have_is_refused_before_any_request(journey: Journey) -> None:
    with pytest.raises(Exception, match="Klaviyo has it since 2026-10-15"):
        journey.run("campaign_variations", start_date="2026-05-01", revision=OLD)
    assert journey.server.requests == []
