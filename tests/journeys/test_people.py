"""Subscriptions and suppressions: rows that lie inside profiles, and what becomes of those that are there no longer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.decode.nested import NestedShaper, deletions, standing
from sources.klaviyo.plan.estimate import cost_of
from sources.klaviyo.plan.plan import plan_report
from tests.support.journeys import NOW, FakeClock, Journey, home, small_account

MARKETING = {"consent": "SUBSCRIBED", "consent_timestamp": "2026-06-01T00:00:00+00:00"}


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    """An account with two lists and nobody in it."""
    clock = FakeClock()
    with home(tmp_path):
        made = Journey(tmp_path, small_account(clock, lists=2), clock)
        yield made
        made.close()


def add(journey: Journey, subscriptions: Any, days_ago: float = 1) -> str:
    """A profile that changed so many days ago."""
    attributes = {"subscriptions": subscriptions, "updated": journey.clock.now() - timedelta(days=days_ago)}
    return journey.account.add("profile", {"attributes": attributes})


def change(journey: Journey, profile: str, subscriptions: Any, *, touch: bool = True) -> None:
    """What a profile has consented to becomes this."""
    record = journey.account.record("profile", profile)
    assert record is not None
    record["attributes"]["subscriptions"] = subscriptions
    journey.account.put("profile", record)
    journey.account.update("profile", profile, {}, touch=touch)


def subscriptions(journey: Journey, profile: str) -> dict[str, str]:
    """Channel and purpose -> consent, of one profile."""
    rows = journey.sql(f"SELECT channel, purpose, consent FROM klaviyo.subscriptions WHERE profile_id = '{profile}'")
    assert len({row[:2] for row in rows}) == len(rows)
    return {f"{channel}.{purpose}": consent for channel, purpose, consent in rows}


def suppressions(journey: Journey, table: str = "suppressions") -> list[tuple[Any, ...]]:
    """The rows of a table of suppressions, without the ids of profiles."""
    return journey.sql(f"SELECT * EXCLUDE (profile_id, _dlt_load_id, updated, _extra) REPLACE (timestamp::VARCHAR AS "
                       f"timestamp) FROM klaviyo.{table} ORDER BY ALL")  # fmt: skip


def suppressed(*told: tuple[str, str], **listed: list[tuple[str, str, str]]) -> dict[str, Any]:
    """Subscriptions with suppressions: reason and time, and for lists the list before them."""
    lists = [{"list_id": of, "reason": why, "timestamp": at} for of, why, at in listed.get("lists", ())]
    everywhere = [{"reason": why, "timestamp": at} for why, at in told]
    return {"email": {"marketing": {**MARKETING, "suppression": everywhere, "list_suppressions": lists}}}


# --- subscriptions


def test_subscriptions_come_with_the_requests_of_profiles(journey: Journey) -> None:
    for _ in range(3):
        add(journey, {"email": {"marketing": MARKETING}, "sms": {"transactional": MARKETING}})
    journey.load("profiles")
    alone = journey.requested("/api/profiles")
    outcomes = journey.load("profiles", "subscriptions", reread=True)
    assert journey.requested("/api/profiles") == alone == 1
    assert outcomes["subscriptions"].shared_with == "profiles"
    assert outcomes["subscriptions"].rows == 6


@pytest.mark.parametrize("after", [{"sms": {"marketing": MARKETING}}, {}, {"email": None}, {"email": {}}, None])
def test_a_subscription_that_disappears_from_an_answer_leaves_no_row(journey: Journey, after: Any) -> None:
    other = add(journey, {"email": {"marketing": MARKETING}, "rcs": {"marketing": MARKETING}})
    profile = add(journey, {"email": {"marketing": MARKETING}, "whatsapp": {"conversational": MARKETING}})
    journey.load("subscriptions")
    assert subscriptions(journey, profile) == {"email.marketing": "SUBSCRIBED", "whatsapp.conversational": "SUBSCRIBED"}
    journey.clock.forward(hours=1)
    change(journey, profile, after)
    journey.clock.forward(hours=1)
    journey.load("subscriptions")
    assert subscriptions(journey, profile) == ({"sms.marketing": "SUBSCRIBED"} if after and "sms" in after else {})
    # A channel that nobody knew of is a row too, and those of others stay.
    assert subscriptions(journey, other) == {"email.marketing": "SUBSCRIBED", "rcs.marketing": "SUBSCRIBED"}
    assert journey.sql("SELECT count(*) FROM klaviyo.subscriptions WHERE _deleted") == [(0,)]


def test_everything_read_anew_holds_no_order_to_delete(journey: Journey) -> None:
    profile = add(journey, {"email": {"marketing": MARKETING}, "sms": {"marketing": MARKETING}})
    journey.load("subscriptions")
    change(journey, profile, {"sms": {"marketing": MARKETING}}, touch=False)
    outcome = journey.load("subscriptions", extract="all")["subscriptions"]
    assert journey.sql("SELECT channel, _deleted FROM klaviyo.subscriptions") == [("sms", None)]
    assert outcome.rows == 1


def shaped(report: str, *records: Any, list_id: str | None = None) -> tuple[list[dict[str, Any]], NestedShaper, Any]:
    """The rows out of a page, and what fitted no column."""
    each = reports(DEFAULT_REVISION)[report].nested
    assert each is not None
    shaper = NestedShaper(reports(DEFAULT_REVISION)[report].contract, each)
    result = shaper.shape(msgspec.json.encode({"data": records}), {"list_id": list_id})
    return standing(result.table).to_pylist(), shaper, result


def profile(identity: Any, subscriptions: Any, **more: Any) -> dict[str, Any]:
    attributes = {"updated": "2026-06-01T00:00:00+00:00", "subscriptions": subscriptions}
    return {"type": "profile", "id": identity, "attributes": attributes, **more}


def test_every_place_that_is_known_and_empty_is_deleted() -> None:
    _, _, result = shaped("subscriptions", profile("a", {"email": {"marketing": MARKETING}}), profile("b", None))
    assert (result.table.num_rows, deletions(result.table)) == (18, 17)
    keys = [(row["profile_id"], row["channel"], row["purpose"]) for row in result.table.to_pylist()]
    assert len(set(keys)) == 18


@pytest.mark.parametrize(
    ("subscriptions", "place", "path"),
    [
        ("none", ("", ""), "attributes.subscriptions"),
        ([], ("", ""), "attributes.subscriptions"),
        ({"email": 7}, ("email", ""), "attributes.subscriptions.{channel}"),
        ({"email": {"marketing": ["x"]}}, ("email", "marketing"), "attributes.subscriptions.{channel}.{purpose}"),
        (
            {"sms": {"marketing": {"consent": True}}},
            ("sms", "marketing"),
            "attributes.subscriptions.{channel}.{purpose}.consent",
        ),
        (
            {"sms": {"marketing": {"can_receive_sms_marketing": True, "can_receive_more": False}}},
            ("sms", "marketing"),
            "attributes.subscriptions.{channel}.{purpose}.can_receive_more",
        ),
    ],
)
def test_what_cannot_be_shaped_is_kept_and_counted(subscriptions: Any, place: tuple[str, str], path: str) -> None:
    (good, odd), _, result = shaped("subscriptions", profile("a", {"email": {"marketing": MARKETING}}),
                                    profile("b", subscriptions))  # fmt: skip
    assert good["_extra"] is None
    assert (odd["channel"], odd["purpose"]) == place
    value = subscriptions
    for step in path.split(".")[2:]:
        value = next(iter(value.values())) if step.startswith("{") else value[step]
    assert json.loads(odd["_extra"]) == {path: value}
    # A field that no column has is new; any other does not fit its column.
    new = path.endswith("can_receive_more")
    assert (result.misfits, result.new_fields) == (({}, {path: 1}) if new else ({path: 1}, {}))


def test_a_profile_without_an_id_is_kept_whole_and_deletes_nothing() -> None:
    records = [profile(None, {"email": {"marketing": MARKETING}}), profile(7, {"email": {"marketing": MARKETING}})]
    rows, _, result = shaped("subscriptions", *records)
    assert rows[0]["profile_id"].startswith("no-id-")
    assert json.loads(rows[0]["_extra"])["$"]["record"] == records[0]
    assert rows[1]["profile_id"] == "7"
    assert deletions(result.table) == 8


@pytest.mark.parametrize("record", [7, "x", [], {}, {"type": "profile"}, profile(None, {})])
def test_what_is_no_profile_at_all_is_kept(record: Any) -> None:
    (row,), _, _ = shaped("suppressions", record)
    assert row["profile_id"].startswith("no-id-")
    assert json.loads(row["_extra"])["$"]["record"] == record


def test_can_receive_is_one_column_whatever_the_channel_calls_it() -> None:
    told = {
        "email": {"marketing": {"can_receive_email_marketing": True}},
        "sms": {"transactional": {"can_receive_sms_transactional": False}},
        "whatsapp": {"marketing": {"can_receive": True}},
        "mobile_push": {"marketing": {"consent": "SUBSCRIBED"}},
    }
    rows, _, _ = shaped("subscriptions", profile("a", told))
    assert [row["can_receive"] for row in rows] == [True, False, True, None]


# --- suppressions


def test_suppressions_are_read_from_the_beginning_and_then_since_the_last_run(journey: Journey) -> None:
    add(journey, {"email": {"marketing": MARKETING}})
    add(journey, suppressed(("HARD_BOUNCE", "2019-01-01T00:00:00+00:00"), ("A_NEW_REASON", "2026-06-02T00:00:00Z")))
    journey.load("suppressions", start_date="2026-06-20")
    assert suppressions(journey) == [
        (0, "HARD_BOUNCE", "2019-01-01 00:00:00+00", None),
        (1, "A_NEW_REASON", "2026-06-02 00:00:00+00", None),
    ]
    journey.clock.forward(hours=2)
    at = (journey.clock.now() - timedelta(hours=1)).isoformat(timespec="seconds")
    add(journey, suppressed(("SPAM_COMPLAINT", at)))
    journey.load("suppressions", start_date="2026-06-20")
    assert [row[1] for row in suppressions(journey)] == ["HARD_BOUNCE", "SPAM_COMPLAINT", "A_NEW_REASON"]
    (request,) = journey.server.requests
    since = "subscriptions.email.marketing.suppression.timestamp,2026-06-29T11:59:30Z"
    assert request.query["filter"] == f"greater-or-equal({since})"
    assert request.query["fields[profile]"] == "updated,subscriptions"


def test_a_profile_suppressed_anew_holds_what_stands_now(journey: Journey) -> None:
    at = "2026-06-01T00:00:00+00:00"
    person = add(journey, suppressed(("HARD_BOUNCE", at), ("UNSUBSCRIBE", at), ("USER_SUPPRESSED", at)))
    journey.load("suppressions")
    journey.clock.forward(hours=2)
    again = (journey.clock.now() - timedelta(hours=1)).isoformat(timespec="seconds")
    change(journey, person, suppressed(("INVALID_EMAIL", again)))
    journey.load("suppressions")
    assert [row[1] for row in suppressions(journey)] == ["INVALID_EMAIL"]


def test_a_suppression_that_was_lifted_stays_until_everything_is_read(journey: Journey) -> None:
    person = add(journey, suppressed(("UNSUBSCRIBE", "2026-06-01T00:00:00+00:00")))
    add(journey, suppressed(("HARD_BOUNCE", "2026-06-01T00:00:00+00:00")))
    journey.load("suppressions", "subscriptions")
    journey.clock.forward(hours=2)
    change(journey, person, suppressed())
    journey.clock.forward(hours=2)
    journey.load("suppressions", "subscriptions")
    # Klaviyo lists it nowhere; what stands now is with the consent.
    assert len(suppressions(journey)) == 2
    assert journey.sql(f"SELECT suppression::VARCHAR FROM klaviyo.subscriptions WHERE profile_id = '{person}'") == [
        ("[]",)
    ]
    journey.load("suppressions", extract="all")
    assert [row[1] for row in suppressions(journey)] == ["HARD_BOUNCE"]
    assert journey.server.requests[0].query["filter"].endswith("timestamp,1970-01-01T00:00:00Z)")


def test_suppressions_of_lists_are_asked_for_list_by_list_whenever_the_list_changed(journey: Journey) -> None:
    first, second = sorted(record["id"] for record in journey.account.records("list"))
    old, new = "2020-06-01T00:00:00+00:00", (NOW - timedelta(hours=1)).isoformat(timespec="seconds")
    person = add(journey, suppressed(lists=[(first, "UNSUBSCRIBE", old), (second, "UNSUBSCRIBE", old)]))
    add(journey, suppressed(("HARD_BOUNCE", old), lists=[(second, "SPAM_COMPLAINT", new), (second, "A", new)]))
    journey.load("list_suppressions")
    assert [row[:3] for row in suppressions(journey, "list_suppressions")] == sorted([(first, 0, "UNSUBSCRIBE"), (second, 0, "UNSUBSCRIBE"), (second, 0, "SPAM_COMPLAINT"),
                           (second, 1, "A")])  # fmt: skip
    assert journey.requested("/api/profiles") == 2
    # Suppressed in one list anew: the row of the other stays as it was.
    journey.clock.forward(hours=2)
    again = (journey.clock.now() - timedelta(hours=1)).isoformat(timespec="seconds")
    change(journey, person, suppressed(lists=[(second, "AGAIN", again)]))
    journey.load("list_suppressions", lookback_days=0)
    told = [(row[0], row[2]) for row in suppressions(journey, "list_suppressions")]
    assert sorted(told) == sorted(
        [(first, "UNSUBSCRIBE"), (second, "AGAIN"), (second, "SPAM_COMPLAINT"), (second, "A")]
    )
    filters = sorted(request.query["filter"] for request in journey.server.requests if request.path == "/api/profiles")
    where = "subscriptions.email.marketing.list_suppressions"
    assert filters == [
        f'equals({where}.list_id,"{listed}"),greater-or-equal({where}.timestamp,2026-06-30T11:59:30Z)'
        for listed in (first, second)
    ]


def test_a_plan_says_that_suppressions_of_lists_take_a_request_a_list(journey: Journey) -> None:
    settings = journey.settings("suppressions", "list_suppressions", "profiles", "subscriptions")
    plans = [plan_report(reports(DEFAULT_REVISION)[name], report, []) for name, report in settings.reports.items()]
    cost = {one.plan.report.name: one for one in cost_of(plans).reports}
    assert (cost["suppressions"].requests, cost["suppressions"].per_parent) == (1, None)
    assert (cost["list_suppressions"].requests, cost["list_suppressions"].per_parent) == (1, "lists")
    assert (cost["subscriptions"].requests, cost["subscriptions"].shared_with) == (0, "profiles")
