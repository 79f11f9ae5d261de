"""The sandbox refuses what Klaviyo refuses, in Klaviyo's words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from sandbox import Account, Sandbox

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
KEYS: dict[str, set[str] | None] = {
    "pk_sandbox": None,
    "pk_lists": {"lists:read"},
    "token": None,
}
SUPPRESSION = "subscriptions.email.marketing.suppression"
LISTED = "subscriptions.email.marketing.list_suppressions"
CHANNEL = "equals(messages.channel,'email')"


@pytest.fixture(scope="module")
def klaviyo() -> Iterator[SimpleNamespace]:
    account = Account(seed=7, now=NOW, profiles=30, events=60, campaigns=12)
    with Sandbox(account, keys=KEYS) as server, requests.Session() as session:

        def get(path: str, headers: dict[str, str | None] | None = None, **parameters: str) -> requests.Response:
            told: dict[str, str | None] = {
                "Authorization": "Klaviyo-API-Key pk_sandbox",
                "revision": "2026-07-15",
                **(headers or {}),
            }
            return session.get(server.url + path, params=parameters, headers=told, timeout=10)

        yield SimpleNamespace(account=account, server=server, get=get, session=session)


def refused(answer: requests.Response, status: int) -> dict[str, Any]:
    """The one error of an answer, checked for Klaviyo's shape."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/vnd.api+json"
    (error,) = answer.json()["errors"]
    assert set(error) == {"id", "status", "code", "title", "detail", "source", "links", "meta"}
    assert error["status"] == status
    assert len(error["source"]) == 1
    return dict(error)


@pytest.mark.parametrize(
    ("path", "parameters", "source", "detail"),
    [
        ("/api/events", {"limit": "10"}, "limit", "'limit' is not a valid field"),
        ("/api/metrics", {"page[size]": "100"}, "page[size]", "'page[size]' is not a valid field"),
        ("/api/events", {"page[size]": "1001"}, "page[size]", "between 1 and 1000"),
        ("/api/events", {"page[size]": "0"}, "page[size]", "between 1 and 1000"),
        ("/api/lists", {"page[size]": "11"}, "page[size]", "between 1 and 10"),
        ("/api/templates", {"page[size]": "ten"}, "page[size]", "between 1 and 10"),
        ("/api/events", {"sort": "id"}, "sort", "'id' is not a valid sort; allowed: datetime, -datetime"),
        ("/api/events", {"include": "metric,flow"}, "include", "'flow' is not allowed"),
        ("/api/events", {"fields[event]": "datetime,nope"}, "fields[event]", "'nope' is not allowed"),
        ("/api/events", {"fields[flow]": "name"}, "fields[flow]", "'fields[flow]' is not a valid field"),
        (
            "/api/profiles",
            {"additional-fields[profile]": "consent"},
            "additional-fields[profile]",
            "allowed: subscriptions, predictive_analytics",
        ),
        ("/api/events", {"page[cursor]": "nonsense"}, "page[cursor]", "Invalid page cursor"),
        ("/api/campaigns", {}, "filter", "'filter' is required"),
        ("/api/campaigns", {"filter": "equals(archived,true)"}, "filter", "'messages.channel' is required"),
        ("/api/campaigns", {"filter": "equals(messages.channel,'fax')"}, "filter", "allowed: email, sms, mobile_push"),
        ("/api/campaigns", {"filter": "equals(messages.channel,email)"}, "filter", "takes a quoted string"),
        ("/api/campaigns", {"filter": f"{CHANNEL},equals(archived,'yes')"}, "filter", "takes true or false"),
        ("/api/events", {"filter": ""}, "filter", "The filter is empty"),
        ("/api/events", {"filter": "datetime>2026"}, "filter", "operator(field,value) expected"),
        ("/api/events", {"filter": "equals(metric_id,'a)"}, "filter", "unterminated string"),
        ("/api/events", {"filter": "equals(metric_id,'a'"}, "filter", "')' expected"),
        ("/api/events", {"filter": "has(metric) has(profile)"}, "filter", "',' expected between conditions"),
        ("/api/events", {"filter": "any(metric_id,['a'])"}, "filter", "'any' is not an allowed operator"),
        ("/api/events", {"filter": "equals(uuid,'a')"}, "filter", "'uuid' is not an allowed filter field"),
        ("/api/events", {"filter": "has(metric,'a')"}, "filter", "wrong number of values"),
        ("/api/events", {"filter": "equals(metric_id)"}, "filter", "wrong number of values"),
        ("/api/flows", {"filter": "any(id,'a')"}, "filter", "takes a list of values"),
        ("/api/flows", {"filter": "any(id,[])"}, "filter", "needs at least one value"),
        ("/api/flows", {"filter": "equals(name,['a'])"}, "filter", "takes a single value"),
        ("/api/profiles", {"filter": "greater-or-equal(updated,2026-01-01T00:00:00Z)"}, "filter", "not an allowed op"),
        ("/api/lists", {"filter": "less-than(updated,2026-01-01T00:00:00Z)"}, "filter", "allowed: greater-than"),
        ("/api/events", {"filter": "greater-than(datetime,'2026-01-01T00:00:00Z')"}, "filter", "unquoted ISO 8601"),
        # what a bare + in a URL turns into
        ("/api/events", {"filter": "greater-than(datetime,2026-01-01T00:00:00 00:00)"}, "filter", "')' expected"),
        ("/api/events", {"filter": "greater-than(datetime,2026-13-01T00:00:00Z)"}, "filter", "not a datetime"),
        ("/api/events", {"filter": "greater-than(timestamp,soon)"}, "filter", "unquoted number"),
        ("/api/profiles", {"filter": f"equals({LISTED}.reason,'x')"}, "filter", "need a filter on their list_id"),
        (
            "/api/profiles",
            {"filter": f"equals({SUPPRESSION}.reason,'x'),equals({LISTED}.list_id,'y')"},
            "filter",
            "may not be mixed",
        ),
        (
            "/api/profiles",
            {
                "filter": f"greater-than({SUPPRESSION}.timestamp,2026-01-01T00:00:00Z),"
                "greater-than(updated,2026-01-01T00:00:00Z)"
            },
            "filter",
            "Only one date condition",
        ),
    ],
)
def test_a_parameter_that_is_not_allowed_is_refused_with_what_is(
    klaviyo: SimpleNamespace, path: str, parameters: dict[str, str], source: str, detail: str
) -> None:
    error = refused(klaviyo.get(path, **parameters), 400)
    assert (error["code"], error["source"]) == ("invalid", {"parameter": source})
    assert detail in error["detail"]


@pytest.mark.parametrize(
    ("start", "end", "accepted"),
    [
        ("greater-or-equal(datetime,2026-06-01T00:00:00Z)", "less-than(datetime,2026-06-01T00:00:01Z)", True),
        ("greater-or-equal(datetime,2026-06-01T00:00:00Z)", "less-than(datetime,2026-06-01T00:00:00Z)", False),
        ("greater-or-equal(datetime,2026-06-01T00:00:00Z)", "less-or-equal(datetime,2026-06-01T00:00:00Z)", True),
        ("greater-than(datetime,2026-06-01T00:00:00Z)", "less-than(datetime,2026-06-01T00:00:01Z)", False),
        ("greater-than(datetime,2026-06-02T00:00:00Z)", "less-than(datetime,2026-06-01T00:00:00Z)", False),
        ("greater-than(timestamp,1780272000)", "less-than(timestamp,1780272001)", False),
    ],
)
def test_a_window_without_a_whole_second_in_it_is_refused(
    klaviyo: SimpleNamespace, start: str, end: str, accepted: bool
) -> None:
    answer = klaviyo.get("/api/events", filter=f"{start},{end}")
    if accepted:
        assert answer.status_code == 200
    else:
        assert "empty" in refused(answer, 400)["detail"]


@pytest.mark.parametrize(("seconds", "accepted"), [(0, True), (5, True), (6, False)])
def test_a_bound_more_than_five_seconds_ahead_is_refused(
    klaviyo: SimpleNamespace, seconds: int, accepted: bool
) -> None:
    bound = (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    answer = klaviyo.get("/api/events", filter=f"less-than(datetime,{bound})")
    if accepted:
        assert answer.status_code == 200
    else:
        assert "future" in refused(answer, 400)["detail"]


def test_a_page_token_of_another_list_is_refused(klaviyo: SimpleNamespace) -> None:
    token = klaviyo.get("/api/profiles", **{"page[size]": "5"}).json()["links"]["next"].split("cursor%5D=")[1]
    assert klaviyo.get("/api/profiles", **{"page[cursor]": token}).status_code == 200
    refused(klaviyo.get("/api/profiles", **{"page[cursor]": token, "sort": "updated"}), 400)
    refused(klaviyo.get("/api/events", **{"page[cursor]": token}), 400)


@pytest.mark.parametrize(
    "authorization",
    [None, "pk_sandbox", "Klaviyo-API-Key pk_other", "Klaviyo-API-Key", "Bearer other", "Bearer pk_sandbox", "Basic x"],
)
def test_a_missing_or_wrong_key_is_a_401(klaviyo: SimpleNamespace, authorization: str | None) -> None:
    error = refused(klaviyo.get("/api/lists", headers={"Authorization": authorization}), 401)
    assert error["code"] in ("not_authenticated", "authentication_failed")


def test_an_access_token_is_taken_as_a_bearer(klaviyo: SimpleNamespace) -> None:
    assert klaviyo.get("/api/lists", headers={"Authorization": "Bearer token"}).status_code == 200


def test_a_missing_scope_is_a_403_that_names_it(klaviyo: SimpleNamespace) -> None:
    headers = {"Authorization": "Klaviyo-API-Key pk_lists"}
    assert klaviyo.get("/api/lists", headers=headers).status_code == 200
    assert "events:read" in refused(klaviyo.get("/api/events", headers=headers), 403)["detail"]
    list_id = next(klaviyo.account.records("list"))["id"]
    error = refused(klaviyo.get(f"/api/lists/{list_id}/profiles", headers=headers), 403)
    assert "profiles:read" in error["detail"]
    assert "lists:read" not in error["detail"]


@pytest.mark.parametrize(
    ("revision", "status"),
    [(None, 400), ("latest", 400), ("2026-99-99", 400), ("2026-04-15", 400), ("2027-01-15", 400), ("2023-02-22", 410)],
)
def test_a_missing_unknown_or_retired_revision_is_refused(
    klaviyo: SimpleNamespace, revision: str | None, status: int
) -> None:
    refused(klaviyo.get("/api/lists", headers={"revision": revision}), status)


@pytest.mark.parametrize(
    "path",
    [
        "/api/nothing",
        "/api/events/nope",
        "/api/profiles/nope",
        "/api/lists/nope/profiles",
        "/api/campaigns/nope/campaign-messages",
        "/",
    ],
)
def test_what_is_not_there_is_a_404(klaviyo: SimpleNamespace, path: str) -> None:
    assert refused(klaviyo.get(path), 404)["code"] == "not_found"


def test_some_campaigns_have_no_recipient_estimation(klaviyo: SimpleNamespace) -> None:
    statuses = [
        klaviyo.get(f"/api/campaign-recipient-estimations/{campaign['id']}").status_code
        for campaign in klaviyo.account.records("campaign")
    ]
    assert sorted(set(statuses)) == [200, 404]
    assert statuses.count(200) == len(list(klaviyo.account.records("campaign-recipient-estimation")))


def test_writing_is_not_possible(klaviyo: SimpleNamespace) -> None:
    headers = {"Authorization": "Klaviyo-API-Key pk_sandbox", "revision": "2026-07-15"}
    answer = klaviyo.session.post(klaviyo.server.url + "/api/lists", json={}, headers=headers, timeout=10)
    assert refused(answer, 405)["code"] == "method_not_allowed"
