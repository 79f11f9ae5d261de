"""What live answers show beyond Klaviyo's documentation: odd ids, hidden records, and parents that vanish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sandbox import Account
from sources.klaviyo import klaviyo
from sources.klaviyo.catalog.model import NO_VARIANT
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION, REVISIONS
from sources.klaviyo.errors import RequestRejected
from sources.klaviyo.plan import plan
from tests.support import truth
from tests.support.journeys import KEY, NOW, FakeClock, Journey, home

START = "2026-03-01"


class FastClock(FakeClock):
    """Analytics reports wait half a minute for each request."""

    speed = 4000


@pytest.fixture
def clock() -> FakeClock:
    return FastClock()


def account_of(clock: FakeClock) -> Account:
    return Account(
        seed=7, now=clock.now, profiles=60, events=3000, lists=4, segments=3, flows=4, campaigns=12, history_days=60
    )


@pytest.fixture
def journey(tmp_path: Path, clock: FakeClock) -> Iterator[Journey]:
    with home(tmp_path):
        made = Journey(tmp_path, account_of(clock), clock)
        yield made
        made.close()


# Hidden images


def test_images_come_whether_they_are_hidden_or_not_and_each_once(journey: Journey) -> None:
    outcome = journey.load("images", start_date="2024-01-01")["images"]
    wanted = {image["id"]: image["attributes"]["hidden"] for image in journey.account.records("image")}
    assert {*wanted.values()} == {True, False}
    assert journey.sql("SELECT id, hidden FROM klaviyo.images ORDER BY id") == sorted(wanted.items())
    assert outcome.rows == len(wanted)
    assert journey.requested("/api/images") == 2


def test_images_that_were_loaded_without_the_hidden_ones_are_read_again_once(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = replace(reports(DEFAULT_REVISION)["images"].endpoint, variants=(NO_VARIANT,), asked="")
    before = {**reports(DEFAULT_REVISION), "images": replace(reports(DEFAULT_REVISION)["images"], endpoint=row)}
    with monkeypatch.context() as patch:
        patch.setattr(plan, "reports", lambda revision: before)
        journey.load("images", start_date="2024-01-01")
    assert journey.sql("SELECT count(*) FROM klaviyo.images WHERE hidden") == [(0,)]
    # They changed long before the lookback.
    journey.clock.forward(days=9)
    journey.load("images", start_date="2024-01-01")
    assert sorted(journey.ids("images")) == sorted(image["id"] for image in journey.account.records("image"))
    journey.clock.forward(hours=1)
    (window,) = journey.load("images", start_date="2024-01-01")["images"].windows
    assert window.start > NOW


# Parents that vanish after they were listed


def vanishing(journey: Journey, monkeypatch: pytest.MonkeyPatch, listing: str, kind: str, identity: str) -> None:
    """Let a record vanish as soon as it was listed."""
    api, account = journey.server.api, journey.account
    answer = api.answer

    def answering(method: str, path: str, *args: Any) -> Any:
        answered = answer(method, path, *args)
        if path == listing and f'"{identity}"'.encode() in answered.body and account.record(kind, identity) is not None:
            account.remove(kind, identity)
        return answered

    monkeypatch.setattr(api, "answer", answering)


@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize(
    ("report", "kind", "parent", "child"),
    [
        ("list_profiles", "list", "list_id", "/api/lists/{}/profiles"),
        ("segment_profiles", "segment", "segment_id", "/api/segments/{}/profiles"),
        ("campaign_recipient_estimations", "campaign", "campaign_id", "/api/campaign-recipient-estimations/{}"),
        ("form_versions", "form", "form_id", "/api/forms/{}/form-versions"),
        ("metric_properties", "metric", "metric_id", "/api/metrics/{}/metric-properties"),
    ],
)
def test_a_parent_that_vanishes_after_it_was_listed_does_not_fail_its_report(
    tmp_path: Path,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    report: str,
    kind: str,
    parent: str,
    child: str,
) -> None:
    account = account_of(clock)
    with home(tmp_path):
        journey = Journey(tmp_path, account, clock, vanished_status=status)
        journey.load(report, start_date="2024-01-01")
        select = f"SELECT {parent}, count(*) FROM klaviyo.{report} GROUP BY ALL ORDER BY ALL"
        before = dict(journey.sql(select))
        gone = next(identity for identity in before if before[identity])
        if report == "campaign_recipient_estimations":
            account.remove("campaign-recipient-estimation", gone)
        vanishing(journey, monkeypatch, f"/api/{kind}s", kind, gone)
        journey.load(report, start_date="2024-01-01", extract="all")
        journey.close()
    refused = [request for request in journey.server.requests if request.path == child.format(gone)]
    assert [request.status for request in refused] == [status]
    # Only a 400 leaves a doubt.
    assert journey.requested(f"/api/{kind}s/{gone}") == (1 if status == 400 else 0)
    valid = "WHERE _dlt_valid_to IS NULL" if kind in ("list", "segment") else ""
    after = dict(journey.sql(select.replace("GROUP", f"{valid} GROUP")))
    assert after == {identity: count for identity, count in before.items() if identity != gone}


def test_a_message_that_vanishes_after_it_was_listed_has_no_variations(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = account_of(clock)
    message = next(
        record
        for record in account.records("campaign-message@2026-10-15")
        if account.record("campaign", record["relationships"]["campaign"]["data"]["id"]) is None
    )
    own = {link["id"] for link in message["relationships"]["campaign-variations"]["data"]}
    every = {record["id"] for record in account.records("campaign-variation")}
    with home(tmp_path):
        journey = Journey(tmp_path, account, clock, vanished_status=400)
        vanishing(journey, monkeypatch, "/api/campaign-messages", "campaign-message@2026-10-15", message["id"])
        journey.load("campaign_messages", "campaign_variations", start_date="2024-01-01")
        journey.close()
    assert message["id"] in journey.ids("campaign_messages")
    assert {*journey.ids("campaign_variations")} == every - own


def test_a_400_about_a_parent_that_is_there_fails_the_report(journey: Journey) -> None:
    first, second, *_ = (record["id"] for record in journey.account.records("list"))
    path = f"/api/lists/{second}/profiles"
    journey.server.faults.add(path=path, kind="status", status=400, times=None)
    outcomes = journey.run("list_profiles", "lists")
    assert isinstance(outcomes["list_profiles"].error, RequestRejected)
    assert not outcomes["list_profiles"].loaded
    assert outcomes["lists"].loaded
    assert journey.requested(path) == journey.requested(f"/api/lists/{second}") == 1
    assert journey.requested(f"/api/lists/{first}") == 0


# Campaigns that never get an estimation

ESTIMATIONS = "campaign_recipient_estimations"


def estimated(journey: Journey) -> dict[str, int]:
    return dict(journey.sql(f"SELECT id, estimated_recipient_count FROM klaviyo.{ESTIMATIONS}"))


def asked_for(journey: Journey) -> set[str]:
    """The campaigns whose estimation the last run asked for."""
    paths = [request.path for request in journey.server.requests]
    return {path.rpartition("/")[2] for path in paths if path.startswith("/api/campaign-recipient-estimations/")}


def without_estimation(journey: Journey, status: str, count: int) -> set[str]:
    """Give some campaigns a status and no estimation."""
    account = journey.account
    estimations = [record["id"] for record in account.records("campaign-recipient-estimation")][:count]
    for identity in estimations:
        account.remove("campaign-recipient-estimation", identity)
        account.update("campaign", identity, {"status": status}, touch=False)
    return {*estimations}


@pytest.mark.parametrize("extract", ["incremental", "all"])
@pytest.mark.parametrize("revision", REVISIONS)
def test_a_sent_campaign_without_an_estimation_is_asked_for_it_once(
    journey: Journey, revision: str, extract: str
) -> None:
    account, sent = journey.account, without_estimation(journey, "Sent", 3)
    options: dict[str, Any] = {"start_date": START, "revision": revision, "extract": extract, "lookback_days": 90}
    journey.load(ESTIMATIONS, **options)
    first, rows = asked_for(journey), estimated(journey)
    assert sent < first
    assert rows
    journey.clock.forward(hours=1)
    journey.forget()
    journey.load(ESTIMATIONS, **options)
    assert asked_for(journey) & sent == set()
    assert {*rows} <= asked_for(journey) < first
    assert estimated(journey) == rows
    # Whoever asks for the period again gets all of it.
    journey.load(ESTIMATIONS, **{**options, "extract": "incremental"}, reread=True)
    assert asked_for(journey) == first
    # A campaign that changes is asked again.
    changed = min(sent)
    account.update("campaign", changed, {"name": "Changed"})
    attributes = {"estimated_recipient_count": 77}
    account.put(
        "campaign-recipient-estimation",
        {"type": "campaign-recipient-estimation", "id": changed, "attributes": attributes, "relationships": {}},
    )
    journey.clock.forward(hours=1)
    journey.load(ESTIMATIONS, **options)
    assert asked_for(journey) & sent == {changed}
    assert estimated(journey) == {**rows, changed: 77}


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_draft_that_gets_an_estimation_without_a_change_of_its_own_is_not_missed(
    journey: Journey, revision: str
) -> None:
    (identity,) = without_estimation(journey, "Draft", 1)
    options: dict[str, Any] = {"start_date": START, "revision": revision, "lookback_days": 90}
    journey.load(ESTIMATIONS, **options)
    assert identity not in estimated(journey)
    attributes = {"estimated_recipient_count": 78}
    journey.account.put(
        "campaign-recipient-estimation",
        {"type": "campaign-recipient-estimation", "id": identity, "attributes": attributes, "relationships": {}},
    )
    journey.clock.forward(hours=1)
    journey.load(ESTIMATIONS, **options)
    assert estimated(journey)[identity] == 78


# Variations that the list of messages may include

CAMPAIGNS = ("campaigns", "campaign_messages", "campaign_variations")


def lists_with_variations(journey: Journey) -> list[int]:
    """Statuses of the requests for messages with their variations, in the last run."""
    return [
        request.status
        for request in journey.server.requests
        if request.path == "/api/campaign-messages" and request.query.get("include") == "campaign-variations"
    ]


def asked_alone(journey: Journey) -> int:
    return sum(request.path.endswith("/campaign-variations") for request in journey.server.requests)


def test_the_rows_are_the_same_whether_the_list_includes_variations_or_not(tmp_path: Path, clock: FakeClock) -> None:
    rows: dict[bool, dict[str, Any]] = {}
    for includes in (False, True):
        folder = tmp_path / str(includes)
        folder.mkdir()
        account = account_of(clock)
        messages = sum(1 for _ in account.records("campaign-message@2026-10-15"))
        with home(folder):
            journey = Journey(folder, account, clock, includes_variations=includes)
            journey.load(*CAMPAIGNS, start_date="2024-01-01")
            journey.close()
        rows[includes] = {report: journey.rows(report) for report in CAMPAIGNS}
        for report in CAMPAIGNS:
            wanted = truth.expected(account, report, datetime(2024, 1, 1, tzinfo=UTC), NOW)
            assert truth.differences(truth.loaded(folder, report), wanted) == [], (includes, report)
        if includes:
            assert asked_alone(journey) == 0
            assert {*lists_with_variations(journey)} == {200}
            # Pages of campaigns and of messages may ask for one half each.
            assert messages / 50 <= len(lists_with_variations(journey)) <= messages / 50 + 2
        else:
            assert lists_with_variations(journey) == [400]
            assert asked_alone(journey) == messages
    assert len(rows[True]["campaign_variations"]) > 10


def test_a_refused_include_is_remembered_for_a_month_and_for_this_revision(journey: Journey) -> None:
    options: dict[str, Any] = {"start_date": "2024-01-01", "lookback_days": 99}
    journey.load(*CAMPAIGNS, **options)
    assert lists_with_variations(journey) == [400]
    for days in (1, 28):
        journey.clock.forward(days=days)
        journey.forget()
        journey.load(*CAMPAIGNS, **options)
        assert lists_with_variations(journey) == []
        assert asked_alone(journey) > 0
    journey.clock.forward(days=2)
    journey.load(*CAMPAIGNS, **options)
    assert lists_with_variations(journey) == [400]
    # The month begins anew.
    journey.clock.forward(days=20)
    journey.load(*CAMPAIGNS, **options)
    assert lists_with_variations(journey) == []


def test_a_run_of_a_plain_pipeline_remembers_a_refused_include_too(journey: Journey) -> None:
    for statuses in ([400], []):
        journey.server.clear_requests()
        source = klaviyo(
            api_key=KEY, base_url=journey.server.url, reports=["campaigns"], start_date="2024-01-01",
            end_date="2026-06-29", reread=True,
        )  # fmt: skip
        journey.pipeline().run(source)
        assert lists_with_variations(journey) == statuses
        assert asked_alone(journey) > 0


# Ids of campaigns where messages are expected


def test_campaign_values_join_to_their_campaign_and_where_there_is_one_to_their_message(journey: Journey) -> None:
    journey.load("campaign_values", "campaigns", "campaign_messages", start_date=START)
    joined = """
        SELECT v.id, v.campaign_id, c.id, v.campaign_message_id, m.id FROM klaviyo.campaign_values v
        LEFT JOIN klaviyo.campaigns c ON c.id = v.campaign_id
        LEFT JOIN klaviyo.campaign_messages m ON m.id = v.campaign_message_id
    """
    rows = journey.sql(joined)
    assert len(rows) == len(journey.ids("campaign_values"))
    assert all(campaign == joined_to for _, campaign, joined_to, _, _ in rows)
    own = {campaign for _, campaign, _, message, _ in rows if message == campaign}
    assert own == journey.account.named_by_campaign & {campaign for _, campaign, _, _, _ in rows} != set()
    of_messages = [row for row in rows if row[1] not in own]
    assert of_messages
    assert all(message == joined_to for _, _, _, message, joined_to in of_messages)


def test_the_message_of_an_event_is_kept_as_klaviyo_sent_it(journey: Journey) -> None:
    journey.load("events", "campaigns", "campaign_messages", start_date=START)
    named = """
        SELECT id, event_properties->>'$."$message"', attributed_campaign_ids->>0 FROM klaviyo.events
        WHERE json_array_length(attributed_campaign_ids) > 0 AND (event_properties->>'$."$message"') IS NOT NULL
    """
    rows = journey.sql(named)
    sent = {event["id"]: event["attributes"]["event_properties"] for event in journey.account.records("event")}
    assert {event: message for event, message, _ in rows} == {event: sent[event]["$message"] for event, _, _ in rows}
    campaigns, messages = {*journey.ids("campaigns")}, {*journey.ids("campaign_messages")}
    own = {campaign for _, message, campaign in rows if message == campaign}
    assert own == journey.account.named_by_campaign & {campaign for _, _, campaign in rows} != set()
    assert all(message in campaigns for _, message, campaign in rows if campaign in own)
    others = [message for _, message, campaign in rows if campaign not in own]
    assert others
    assert {*others} <= messages
