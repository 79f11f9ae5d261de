"""Every table that is off by default against the sandbox's own truth, id for id and value for value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sandbox import Account
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.load.runner import Outcome
from tests.support import truth
from tests.support.journeys import NOW, FakeClock, Journey, home, sql

REPORTS = reports(DEFAULT_REVISION)
START = datetime(2026, 5, 1, tzinfo=UTC)
#: The present less the minute in which Klaviyo may not show everything yet.
END = NOW - timedelta(seconds=60)
#: Columns that the sandbox's account leaves empty: null or not there at all.
EMPTY = {
    # What is translated of it cannot be included, and the account translates none.
    "translations": {"consent_page_id"},
    "subscriptions": {"custom_method_detail", "valid_until"},
    "tracking_settings": {
        f"{name}{part}"
        for name in ("utm_medium_campaign", "utm_campaign_campaign", "utm_id_flow")
        for part in ("", "_type", "_value")
    },
}
#: How often a record of the account answers for itself, where no list answers for it.
A_REQUEST_A_RECORD = {
    "/api/catalog-categories/{}/relationships/items": "catalog-category",
    "/api/lists/{}": "list",
    "/api/metrics/{}/metric-properties": "metric",
    "/api/object-schemas/{}/relationships/object-schemas": "object-schema",
    "/api/object-schemas/{}/source-mapping": "object-schema",
    "/api/object-types/{}/relationships/profile-object-types": "object-type",
    "/api/profile-bulk-import-jobs/{}/relationships/lists": "profile-bulk-import-job",
    "/api/segments/{}": "segment",
}


@dataclass
class Loaded:
    """What two runs over all reports left: of the first everything, of the second the rows."""

    folder: Path
    account: Account
    outcomes: dict[str, Outcome]
    requests: list[tuple[str, str]]
    before: dict[str, list[tuple[str | None, ...]]]
    after: dict[str, list[tuple[str | None, ...]]]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder, clock = tmp_path_factory.mktemp("everything"), FakeClock()
    account = Account(seed=13, now=clock.now, profiles=150, events=200, lists=4, segments=3, flows=20, campaigns=6)
    with home(folder):
        journey = Journey(folder, account, clock)
        try:
            outcomes = journey.load("all", start_date="2026-05-01")
            requests = [(request.path, request.query.get("filter", "")) for request in journey.server.requests]
            before = {report: journey.rows(report) for report in truth.OPTIONAL}
            journey.load(*truth.OPTIONAL, start_date="2026-05-01")
            after = {report: journey.rows(report) for report in truth.OPTIONAL}
            yield Loaded(folder, account, outcomes, requests, before, after)
        finally:
            journey.close()


def never_sent(report: str) -> set[str]:
    """Columns of ids that an answer carries only where a request can include them, and this one cannot, and those that
    the revision has no value for."""
    asked = truth.INCLUDED.get(report, set())
    paths = truth.contract(report).paths
    return {name for name, path in paths.items() if path is None or ("[]" in path and path.split(".")[1] not in asked)}


@pytest.mark.parametrize("report", truth.OPTIONAL)
def test_the_rows_of_a_report_equal_the_truth_value_for_value(everything: Loaded, report: str) -> None:
    wanted = truth.expected(everything.account, report, START, END)
    actual = truth.loaded(everything.folder, report)
    assert truth.differences(actual, wanted) == []
    assert everything.outcomes[report].rows == len(wanted)
    assert everything.outcomes[report].misfits == everything.outcomes[report].new_fields == {}
    empty = {name for name in truth.contract(report).paths if all(row[name] is None for row in wanted)}
    assert empty == never_sent(report) | EMPTY.get(report, set()), "every other column is tried with a value"


def test_a_second_run_over_the_same_period_changes_no_row(everything: Loaded) -> None:
    assert [report for report in truth.OPTIONAL if everything.after[report] != everything.before[report]] == []


def test_tables_have_all_declared_columns_in_their_order_and_types(everything: Loaded) -> None:
    found = sql(
        everything.folder,
        "SELECT table_name, column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = 'klaviyo' ORDER BY table_name, ordinal_position",
    )
    for report in truth.OPTIONAL:
        declared = [(name, truth.DUCKDB_TYPES[kind]) for name, kind in truth.contract(report).types.items()]
        assert [column[1:] for column in found if column[0] == report] == [*declared, ("_dlt_load_id", "VARCHAR")]


def test_all_stands_for_every_report_those_that_are_off_by_default_too(everything: Loaded) -> None:
    assert list(everything.outcomes) == list(REPORTS)
    off = {name: report for name, report in REPORTS.items() if not report.on_by_default}
    # test_analytics_journeys.py compares those that count.
    assert sorted(truth.OPTIONAL) == sorted(name for name, report in off.items() if report.endpoint.analytics is None)


def test_flow_actions_that_send_nothing_are_not_asked_for_their_messages(everything: Loaded) -> None:
    asked = [path.split("/")[3] for path, _ in everything.requests if path.startswith("/api/flow-actions/")]
    sending = {
        action["id"]
        for action, _ in truth.records(everything.account, "flow_actions", START, END)
        if action["attributes"]["definition"]["type"].startswith("send-")
    }
    assert sorted(asked) == sorted(sending)
    assert len(sending) < sum(1 for _ in truth.records(everything.account, "flow_actions", START, END))


def test_codes_are_asked_for_coupon_by_coupon_whatever_its_name_holds(everything: Loaded) -> None:
    asked = {told for path, told in everything.requests if path == "/api/coupon-codes"}
    assert asked == {
        'equals(coupon.id,"10OFF")',
        'equals(coupon.id,"Fr\\u00fchling 20%")',
        'equals(coupon.id,"5\\"off")',
        'equals(coupon.id,"UNUSED")',
    }


@pytest.mark.parametrize("path", A_REQUEST_A_RECORD)
def test_children_take_one_request_a_parent_and_no_more(everything: Loaded, path: str) -> None:
    start, end = path.split("{}")
    asked = [told for told, _ in everything.requests if told.startswith(start) and told.endswith(end)]
    asked = [told for told in asked if told.count("/") == path.count("/")]
    assert len(asked) == sum(1 for _ in everything.account.records(A_REQUEST_A_RECORD[path]))


def test_the_date_window_bounds_the_children_where_their_parents_have_no_date(everything: Loaded) -> None:
    told = {told for path, told in everything.requests if path.endswith("/object-ingestion-logs")}
    assert told == {"greater-or-equal(timestamp,2026-05-01T00:00:00Z),less-than(timestamp,2026-06-30T11:59:30Z)"}
