"""Reports that are off by default, and what they need beyond the others: parents of parents, included parents, ..."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from sandbox import Account
from sources.klaviyo.catalog.endpoints import endpoints
from sources.klaviyo.catalog.model import XS, Parent
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.cli.check import check
from sources.klaviyo.config.build import build
from sources.klaviyo.config.raw_settings import RawSettings
from sources.klaviyo.config.report_facts import facts
from sources.klaviyo.config.settings import Settings
from sources.klaviyo.decode.parents import ParentRecord, parents, records_span
from sources.klaviyo.errors import ConfigError
from sources.klaviyo.extract.stream import Stream
from sources.klaviyo.extract.tuning import DEFAULT as DEFAULT_TUNING
from sources.klaviyo.http import query
from sources.klaviyo.plan.estimate import ReportCost, cost_of
from sources.klaviyo.plan.plan import Plan, plan_report
from tests.support import truth
from tests.support.journeys import NOW, FakeClock, Journey, home, small_account

ENDPOINTS, REPORTS = endpoints(DEFAULT_REVISION), reports(DEFAULT_REVISION)
DEFAULT = [name for name, report in REPORTS.items() if report.on_by_default]


def settings(**values: Any) -> Settings:
    return build(
        RawSettings({"api_key": "pk_test", "start_date": "2026-05-01", **values}), facts(DEFAULT_REVISION), NOW
    )


def plans(*names: str, **values: Any) -> list[Plan]:
    made = settings(reports=list(names), **values)
    return [plan_report(REPORTS[name], made.reports[name], []) for name in names]


def cost(name: str, **values: Any) -> ReportCost:
    return cost_of(plans(name, **values)).reports[0]


def stream_of(name: str) -> Stream:
    (plan,) = plans(name)
    return Stream(plan, threading.RLock(), DEFAULT_TUNING)


# --- which are loaded


@pytest.mark.parametrize("value", [["all"], "all", ["events", "all"], '["all"]'])
def test_all_is_every_report(value: Any) -> None:
    assert list(settings(reports=value).reports) == list(REPORTS)


def test_what_is_off_by_default_is_loaded_where_it_is_named() -> None:
    assert list(settings().reports) == DEFAULT
    assert list(settings(reports=["coupons", "events"]).reports) == ["coupons", "events"]
    assert set(DEFAULT) < set(REPORTS)
    assert "metric_properties" not in DEFAULT


def test_no_report_is_called_all() -> None:
    assert "all" not in REPORTS
    with pytest.raises(ConfigError, match=r'did you mean "all"\?|Allowed: .*, all\.'):
        settings(reports=["al"])


# --- how they are read


def test_a_report_is_read_from_its_first_parents_down() -> None:
    assert [e.name for e in REPORTS["source_mappings"].lineage] == [
        "object_types",
        "object_schemas",
        "source_mappings",
    ]
    assert [e.name for e in REPORTS["flow_messages"].lineage] == ["flows", "flow_messages"]
    assert [e.name for e in REPORTS["events"].lineage] == ["events"]


def test_the_period_bounds_the_first_endpoint_that_has_a_date() -> None:
    assert REPORTS["form_versions"].dated_endpoint.name == "forms"
    assert REPORTS["object_ingestion_logs"].dated_endpoint.name == "object_ingestion_logs"
    assert REPORTS["coupon_codes"].dated_endpoint.name == "coupons"
    windowed = {name for name in truth.OPTIONAL if REPORTS[name].is_windowed}
    assert windowed == set(truth.OPTIONAL) & set(truth.PERIODS)


def test_counts_of_members_are_read_of_all_lists_since_joining_does_not_move_the_date_of_a_list() -> None:
    assert ENDPOINTS["lists"].cursor is not None
    (plan,) = plans("list_profile_counts")
    assert plan.whole
    assert [first.path for first in stream_of("list_profile_counts").first] == [
        "/api/lists?sort=updated&page%5Bsize%5D=10"
    ]


def test_what_lowers_the_rate_lowers_it_for_reports_that_always_ask_for_it() -> None:
    assert stream_of("list_profile_counts").report.rate == XS
    assert stream_of("list_profiles").report.rate == ENDPOINTS["list_profiles"].rate


def test_what_cannot_be_split_is_read_by_one_thread() -> None:
    assert stream_of("catalog_items").threads == 1
    assert stream_of("web_feeds").threads > 1
    assert stream_of("catalog_category_items").threads > 10
    assert stream_of("flows").threads == 2


# --- requests


def test_a_parent_named_by_a_filter_is_quoted_and_leaves_the_path_alone() -> None:
    url = query.url(ENDPOINTS["coupon_codes"], parent_id='a"b,c\\')
    parts = urlsplit(url)
    assert parts.path == "/api/coupon-codes"
    assert parse_qs(parts.query)["filter"] == ['equals(coupon.id,"a\\"b,c\\\\")']


def test_included_parents_are_asked_for_with_the_records_that_include_them() -> None:
    paths = [parse_qs(urlsplit(first.path).query) for first in stream_of("flow_messages").first]
    assert [path["include"] for path in paths] == [["flow-actions"], ["flow-actions"]]
    assert {path["filter"][0].partition("),")[0] for path in paths} == {"equals(archived,false", "equals(archived,true"}


def page(**document: Any) -> bytes:
    return msgspec.json.encode(document)


def test_parents_can_be_included_records_and_those_without_children_are_left_out() -> None:
    actions = [
        {"type": "flow-action", "id": "1", "attributes": {"definition": {"type": "send-email"}}},
        {"type": "flow-action", "id": "2", "attributes": {"definition": {"type": "time-delay"}}},
        {"type": "tag", "id": "3"},
        {"type": "flow-action", "id": "4", "attributes": {"definition": None}},
        {"type": "flow-action", "id": "5", "attributes": {"definition": {"type": "a kind to come"}}},
    ]
    parent = ENDPOINTS["flow_messages"].parent
    assert parent is not None
    found = parents(page(data=[{"type": "flow", "id": "9"}], included=actions), parent)
    assert found == [ParentRecord(identity, {"flow_action_id": identity}) for identity in ("1", "4", "5")]
    assert parents(page(data=[]), parent) == []
    assert parents(page(data=[{"type": "list", "id": "9"}]), Parent("lists", {})) == [ParentRecord("9", {})]


def test_a_page_whose_rows_are_included_records_is_placed_in_time_by_its_records() -> None:
    first, last = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 3, tzinfo=UTC)
    moments = [first.isoformat(), None, "2026-05-02 10:00:00.5+00:00", last.isoformat()]
    records = [{"type": "profile", "id": "1", "attributes": {"updated": moment}} for moment in moments]
    assert records_span(page(data=records), "updated") == (first, last, True)
    assert records_span(page(data=records[::-1]), "updated") == (first, last, False)
    assert records_span(page(data=[]), "updated") == (None, None, True)


# --- what they cost


def test_a_plan_names_the_records_that_take_a_request_each() -> None:
    assert (cost("coupon_codes").requests, cost("coupon_codes").per_parent) == (1, "coupons")
    assert (cost("flow_messages").requests, cost("flow_messages").per_parent) == (2, "flow_actions")
    assert cost("metric_properties").per_parent == "metrics"
    assert cost("metric_properties").rate == XS
    assert cost("source_mappings").per_parent == "object_types and object_schemas"
    assert cost("list_profile_counts").rate == XS
    assert cost("conversations").per_parent is None
    assert cost("object_ingestion_logs", split_by="month").requests == 2


# --- journeys


def test_a_key_is_tried_on_every_report(tmp_path: Path) -> None:
    clock = FakeClock()
    with home(tmp_path):
        journey = Journey(tmp_path, Account(now=clock.now, profiles=20, events=20), clock)
        try:
            result = check(journey.settings("all"))
            assert {verdict.report: verdict.error for verdict in result.verdicts if not verdict.allowed} == {}
            assert len(result.verdicts) == len(REPORTS)
            assert all(request.status == 200 for request in journey.server.requests)
        finally:
            journey.close()


def test_an_account_with_nothing_to_try_a_report_with_is_told_so(tmp_path: Path) -> None:
    clock = FakeClock()
    account = small_account(clock)
    for kind in ("object-type", "coupon"):
        for record in list(account.records(kind)):
            account.remove(kind, record["id"])
    with home(tmp_path):
        journey = Journey(tmp_path, account, clock)
        try:
            verdicts = check(journey.settings("source_mappings", "flow_messages", "coupon_codes")).verdicts
        finally:
            journey.close()
    assert [(verdict.allowed, verdict.remark) for verdict in verdicts] == [
        (None, "no object_schemas to try it with"),
        (None, "no flow_actions to try it with"),
        (None, "no coupons to try it with"),
    ]


def test_conversations_of_many_profiles_are_read_side_by_side_and_loaded_once(tmp_path: Path) -> None:
    clock = FakeClock()
    account = small_account(clock, profiles=3000)
    start = datetime(2026, 5, 1, tzinfo=UTC)
    changed = truth.records(account, "profiles", start, NOW - timedelta(seconds=60))
    wanted = []
    for place, (profile, _) in enumerate(changed):
        if place % 3 == 0:
            given = {"attributes": {"channel": "sms"}, "relationships": {"profile": profile["id"]}}
            wanted.append(account.add("conversation", given))
    wanted += [
        record["id"]
        for record, _ in truth.records(account, "conversations", start, NOW - timedelta(seconds=60))
        if record["id"] not in wanted
    ]
    with home(tmp_path):
        journey = Journey(tmp_path, account, clock, latency_s=0.02)
        try:
            outcome = journey.load("conversations", start_date="2026-05-01")["conversations"]
            assert journey.ids("conversations") == sorted(wanted)
            profiles = sum(1 for _ in truth.records(account, "profiles", start, NOW))
            asked = [request.query["filter"] for request in journey.server.requests]
            assert len(asked) == outcome.requests <= profiles // 100 * 2 + 8
            assert len(set(asked)) > 1, "the chain was cut"
            assert outcome.high_water == NOW - timedelta(seconds=60)
        finally:
            journey.close()


def test_children_with_a_date_of_their_own_go_on_where_the_last_run_stopped(tmp_path: Path) -> None:
    clock = FakeClock()
    account = small_account(clock)
    kind = next(iter(account.records("object-type")))
    with home(tmp_path):
        journey = Journey(tmp_path, account, clock)
        try:
            journey.load("object_ingestion_logs")
            loaded = journey.ids("object_ingestion_logs")
            clock.forward(days=3)
            late = account.add(
                "object-ingestion-log",
                {
                    "attributes": {
                        "timestamp": clock.now() - timedelta(days=1), "status": "error", "errors": [],
                        "event_type": "validation_error", "summary": "neu",
                    },
                    "relationships": {"object-type": kind["id"]},
                },
            )  # fmt: skip
            kind["relationships"]["object-ingestion-logs"]["data"].append({"type": "object-ingestion-log", "id": late})
            account.put("object-type", kind)
            journey.load("object_ingestion_logs")
            assert journey.ids("object_ingestion_logs") == sorted([*loaded, late])
            told = {r.query["filter"] for r in journey.server.requests if r.path.endswith("/object-ingestion-logs")}
            # A day of lookback behind the first run's end.
            assert told == {
                "greater-or-equal(timestamp,2026-06-29T11:59:30Z),less-than(timestamp,2026-07-03T11:59:30Z)"
            }
        finally:
            journey.close()


def test_a_whole_report_follows_what_comes_and_goes(tmp_path: Path) -> None:
    clock = FakeClock()
    account = small_account(clock)
    codes = {record["id"] for record in account.records("coupon-code")}
    with home(tmp_path):
        journey = Journey(tmp_path, account, clock)
        try:
            journey.load("coupon_codes")
            assert set(journey.ids("coupon_codes")) == codes
            gone = sorted(codes)[0]
            account.remove("coupon-code", gone)
            came = account.add(
                "coupon-code",
                {"attributes": {"unique_code": "NEU"}, "relationships": {"coupon": "UNUSED"}},
            )
            journey.load("coupon_codes")
            assert set(journey.ids("coupon_codes")) == codes - {gone} | {came}
        finally:
            journey.close()


def test_a_parent_that_is_gone_when_its_children_are_asked_for_ends_nothing(tmp_path: Path) -> None:
    clock = FakeClock()
    account = small_account(clock)
    schemas = [record["id"] for record in account.records("object-schema")]
    mapped = [
        record for record in account.records("object-schema") if record["relationships"]["source-mapping"]["data"]
    ]
    with home(tmp_path):
        journey = Journey(tmp_path, account, clock)
        try:
            journey.load("source_mappings")
            # Drafts are not fed yet: Klaviyo answers 404 for them.
            assert sum(request.status == 404 for request in journey.server.requests) == len(schemas) - len(mapped) > 0
            rows = journey.sql("SELECT object_schema_id, id FROM klaviyo.source_mappings")
            assert sorted(rows) == sorted((r["id"], r["relationships"]["source-mapping"]["data"]["id"]) for r in mapped)
        finally:
            journey.close()
