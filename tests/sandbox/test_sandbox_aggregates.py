"""The sandbox's metric aggregates: every event once, in its interval and dimension; bodies as Klaviyo takes them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
import requests

from sandbox import Account, Limiter, Sandbox
from sandbox.http import aggregate_requests
from tests.support import truth_reports as truth
from tests.support.sandbox_client import HEADERS
from tests.support.truth import moment

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
START, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
RANGE = ["greater-or-equal(datetime,2026-03-01T00:00:00)", "less-than(datetime,2026-07-01T00:00:00)"]
ALL = list(aggregate_requests.MEASUREMENTS)


@pytest.fixture(scope="module")
def klaviyo() -> Iterator[SimpleNamespace]:
    account = Account(seed=7, now=NOW, profiles=60, events=5000, campaigns=20, history_days=110)
    for at in (NOW, datetime(2026, 3, 8, 6, 59, 59, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC), END):
        properties = {"$value": 0.1, "Subject": 'a "quoted", subject', "$message": None}
        account.add("event", {"attributes": {"datetime": at, "event_properties": properties}})
    with Sandbox(account) as server:
        yield SimpleNamespace(account=account, server=server)


def post(klaviyo: SimpleNamespace, **attributes: Any) -> requests.Response:
    told = {"metric_id": truth.metric_id(klaviyo.account), "measurements": ALL, "filter": RANGE} | attributes
    body = {"data": {"type": "metric-aggregate", "attributes": told}}
    return requests.post(klaviyo.server.url + "/api/metric-aggregates", json=body, headers=HEADERS, timeout=10)


def cells(*documents: dict[str, Any]) -> dict[Any, Any]:
    """(dimensions, start of the interval) -> measurements, of those with events in them."""
    found = {}
    for document in documents:
        attributes = document["data"]["attributes"]
        for row in attributes["data"]:
            for place, start in enumerate(attributes["dates"]):
                values = {name: measured[place] for name, measured in row["measurements"].items()}
                if values["count"]:
                    key = tuple(row["dimensions"]), datetime.fromisoformat(start)
                    assert key not in found
                    found[key] = values
    return found


def test_the_counts_of_all_metrics_are_the_account_s_events(klaviyo: SimpleNamespace) -> None:
    counted = 0
    for metric in klaviyo.account.records("metric"):
        document = post(klaviyo, metric_id=metric["id"]).json()
        found = cells(document)
        assert found == truth.aggregates(klaviyo.account, metric["id"], START, END)
        counted += sum(cell["count"] for cell in found.values())
    events = [
        event
        for event in klaviyo.account.records("event")
        if event["relationships"]["metric"]["data"] and START <= moment(event["attributes"]["datetime"]) < END
    ]
    assert counted == len(events) > 4000


@pytest.mark.parametrize("interval", aggregate_requests.INTERVALS)
@pytest.mark.parametrize("timezone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_an_event_lies_in_the_interval_of_the_timezone_asked_for(
    klaviyo: SimpleNamespace, interval: str, timezone: str
) -> None:
    metric = truth.metric_id(klaviyo.account)
    zone = ZoneInfo(timezone)
    document = post(klaviyo, interval=interval, timezone=timezone).json()
    start, end = (at.replace(tzinfo=zone) for at in (START, END))
    assert cells(document) == truth.aggregates(klaviyo.account, metric, start, end, interval, (), timezone)
    dates = [datetime.fromisoformat(date) for date in document["data"]["attributes"]["dates"]]
    assert dates == sorted(set(dates))
    # March has a day of 23 hours in New York
    summer = timezone == "America/New_York"
    assert len(dates) == {"hour": 122 * 24 - summer, "day": 122, "week": 19, "month": 4}[interval]


@pytest.mark.parametrize(
    ("metric", "by"),
    [
        ("Placed Order", ("$attributed_message",)),
        ("Placed Order", ("$attributed_flow", "$attributed_channel")),
        ("Received Email", ("$message", "Email Domain")),
        ("Received Email", ("$flow", "Subject")),
        ("Received SMS", ("Segment Count", "Message Format")),
        ("Viewed Form", ("form_id",)),
        ("Active on Site", ("Bounce Type",)),
    ],
)
def test_events_are_split_by_dimension(klaviyo: SimpleNamespace, metric: str, by: tuple[str, ...]) -> None:
    identity = truth.metric_id(klaviyo.account, metric)
    document = post(klaviyo, metric_id=identity, by=list(by), interval="month").json()
    found = cells(document)
    assert found == truth.aggregates(klaviyo.account, identity, START, END, "month", by)
    kinds = {dimensions for dimensions, _ in found}
    assert len(kinds) > 1 or by == ("Bounce Type",)
    if by == ("Bounce Type",):
        assert kinds == {("",)}


def test_the_pages_hold_every_row_once(klaviyo: SimpleNamespace) -> None:
    asked: dict[str, Any] = {"by": ["Subject", "Email Domain"], "page_size": 3}
    asked["metric_id"] = truth.metric_id(klaviyo.account, "Opened Email")
    documents, token = [], None
    while True:
        document = post(klaviyo, **asked, **({"page_cursor": token} if token else {})).json()
        documents.append(document)
        if document["links"]["next"] is None:
            break
        token = parse_qs(urlsplit(document["links"]["next"]).query)["page_cursor"][0]
    assert len(documents) > 2
    assert {len(d["data"]["attributes"]["data"]) for d in documents[:-1]} == {3}
    whole = truth.aggregates(klaviyo.account, asked["metric_id"], START, END, "day", ("Subject", "Email Domain"))
    assert cells(*documents) == whole
    refused = post(klaviyo, **asked | {"by": ["Subject"]}, page_cursor=token)
    assert refused.json()["errors"][0]["source"] == {"pointer": "/data/attributes/page_cursor"}


def test_rows_come_in_the_order_asked_for(klaviyo: SimpleNamespace) -> None:
    metric = truth.metric_id(klaviyo.account, "Received Email")
    for sort, descending in (("Subject", False), ("-Subject", True), ("count", False), ("-count", True)):
        document = post(klaviyo, metric_id=metric, by=["Subject"], sort=sort).json()
        rows = document["data"]["attributes"]["data"]
        values = [row["dimensions"][0] if "Subject" in sort else sum(row["measurements"]["count"]) for row in rows]
        assert values == sorted(values, reverse=descending)
        assert len(values) > 2


def test_a_filter_leaves_the_events_that_fit(klaviyo: SimpleNamespace) -> None:
    metric = truth.metric_id(klaviyo.account, "Received Email")
    everything = truth.aggregates(klaviyo.account, metric, START, END, "month", ("Email Domain",))

    def left(text: str) -> dict[Any, Any]:
        told = {"metric_id": metric, "by": ["Email Domain"], "interval": "month"}
        return cells(post(klaviyo, **told, filter=[*RANGE, text]).json())

    def having(*domains: str) -> dict[Any, Any]:
        return {key: value for key, value in everything.items() if key[0][0] in domains}

    assert left('equals(Email Domain,"web.de")') == having("web.de")
    assert left('any(Email Domain,["web.de","gmail.com"])') == having("web.de", "gmail.com")
    assert left("contains(Email Domain,'WEB')") == having("web.de")
    assert left('equals($message,"nobody")') == {}
    quoted = post(klaviyo, filter=[*RANGE, r'equals(Subject,"a \"quoted\", subject")']).json()
    assert sum(cell["count"] for cell in cells(quoted).values()) == 3


def test_a_window_has_its_start_and_not_its_end(klaviyo: SimpleNamespace) -> None:
    def counted(start: str, end: str) -> int:
        told = [f"greater-or-equal(datetime,{start})", f"less-than(datetime,{end})"]
        found = cells(post(klaviyo, filter=told).json())
        return sum(cell["count"] for cell in found.values())

    whole = counted("2026-03-01T00:00:00", "2026-07-01T00:00:00")
    assert counted("2026-03-01T00:00:00", "2026-07-01T00:00:01") == whole + 1
    assert counted("2026-03-01T00:00:01", "2026-07-01T00:00:00") == whole - 1
    assert counted("2026-03-01T01:00:00+01:00", "2026-07-01T00:00:00.000000Z") == whole


def test_fields_leave_out_the_rest(klaviyo: SimpleNamespace) -> None:
    assert set(post(klaviyo, return_fields=["dates"]).json()["data"]["attributes"]) == {"dates"}


@pytest.mark.parametrize(
    ("attributes", "name", "detail"),
    [
        ({"metric_id": None}, "metric_id", "is a required field"),
        ({"metric_id": "no"}, "metric_id", "do not exist"),
        ({"measurements": []}, "measurements", "at least one"),
        ({"measurements": ["average"]}, "measurements", "'average' is not a valid value"),
        ({"interval": "daily"}, "interval", "allowed: day, hour"),
        ({"by": ["$nope"]}, "by", "'$nope' is not a valid value"),
        ({"by": "URL"}, "by", "must be a list"),
        ({"timezone": "europe/berlin"}, "timezone", "not a supported timezone"),
        ({"timezone": "Europe/Kyiv"}, "timezone", "not a supported timezone"),
        ({"sort": "unique", "measurements": ["count"]}, "sort", "allowed here: count"),
        ({"page_size": 501}, "page_size", "between 1 and 500"),
        ({"page_cursor": "nonsense"}, "page_cursor", "Invalid page cursor"),
        ({"limit": 5}, "limit", "'limit' is not a valid field"),
        ({"filter": RANGE[0]}, "filter", "must be a list"),
        ({"filter": RANGE[:1]}, "filter", "time range is required"),
        ({"filter": [*RANGE, RANGE[0]]}, "filter", "one greater-or-equal and one less-than"),
        ({"filter": ["greater-than(datetime,2026-01-01T00:00:00)", RANGE[1]]}, "filter", "one greater-or-equal"),
        ({"filter": [RANGE[0], "less-than(datetime,2027-03-01T00:00:01)"]}, "filter", "longer than one year"),
        ({"filter": [RANGE[0], "less-than(datetime,2026-03-01T00:00:00)"]}, "filter", "before its end"),
        ({"filter": [RANGE[0], "less-than(datetime,soon)"]}, "filter", "ISO 8601"),
        ({"filter": [*RANGE, "equals(nope,'x')"]}, "filter", "not an allowed filter field"),
        ({"filter": [*RANGE, "starts-with(URL,'x')"]}, "filter", "not an allowed operator"),
        ({"filter": [*RANGE, "equals(URL,['x'])"]}, "filter", "takes a string"),
        ({"filter": [*RANGE, "equals(URL"]}, "filter", "expected"),
    ],
)
def test_a_body_that_is_not_allowed_is_refused_with_what_is(
    klaviyo: SimpleNamespace, attributes: dict[str, Any], name: str, detail: str
) -> None:
    answer = post(klaviyo, **attributes)
    assert answer.status_code == 400, answer.text
    (error,) = answer.json()["errors"]
    assert error["source"] == {"pointer": f"/data/attributes/{name}"}
    assert detail in error["detail"]


def test_aggregates_have_limits_of_their_own_and_no_daily_one(klaviyo: SimpleNamespace) -> None:
    with Sandbox(klaviyo.account, rate_limits=True, limiter=Limiter(lambda: 0.0)) as server:
        other = SimpleNamespace(account=klaviyo.account, server=server)
        answers = [post(other) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["RateLimit-Limit"] == "3, 3;w=1, 60;w=60"
