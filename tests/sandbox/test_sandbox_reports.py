"""The sandbox's reports: they agree with the account's events, page, and refuse what Klaviyo refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from sandbox import Account, Limiter, Sandbox
from sandbox.analytics import statistics, timeframes
from sandbox.http import report_requests
from tests.support import truth_reports as truth
from tests.support.sandbox_client import HEADERS

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
FIRST, LAST = date(2026, 5, 2), date(2026, 6, 30)
PERIOD = {"start": "2026-05-02T00:00:00+00:00", "end": "2026-06-30T00:00:00+00:00"}
KINDS = [report.kind for report in report_requests.REPORTS.values()]


def made_up() -> Account:
    return Account(seed=7, now=NOW, profiles=80, events=6000, campaigns=20, flows=12)


@pytest.fixture(scope="module")
def klaviyo() -> Iterator[SimpleNamespace]:
    account = made_up()
    with Sandbox(account) as server:
        yield SimpleNamespace(account=account, server=server, orders=truth.metric_id(account))


def body(kind: str, **attributes: Any) -> dict[str, Any]:
    return {"data": {"type": kind, "attributes": attributes}}


def post(server: Sandbox, kind: str, *, parameters: dict[str, str] | None = None, **attributes: Any) -> Any:
    url = f"{server.url}/api/{kind}s"
    return requests.post(url, json=body(kind, **attributes), params=parameters, headers=HEADERS, timeout=10)


def usual(klaviyo: SimpleNamespace, kind: str, **attributes: Any) -> dict[str, Any]:
    """A body that is accepted, with all statistics."""
    report = report_requests.REPORTS[f"/api/{kind}s"]
    told: dict[str, Any] = {"statistics": list(report.statistics), "timeframe": PERIOD}
    if report.is_series:
        told["interval"] = "daily"
    if report.converts:
        told["conversion_metric_id"] = klaviyo.orders
    return told | attributes


def rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of an answer as the truth has them: a series has a row for each of its dates."""
    attributes = document["data"]["attributes"]
    if "date_times" not in attributes:
        return sorted(attributes["results"], key=truth.place)
    found = []
    for result in attributes["results"]:
        assert {len(values) for values in result["statistics"].values()} == {len(attributes["date_times"])}
        for place, date_time in enumerate(attributes["date_times"]):
            statistics = {name: values[place] for name, values in result["statistics"].items()}
            found.append({"groupings": result["groupings"], "date_time": date_time, "statistics": statistics})
    return sorted(found, key=truth.place)


EXPECTED: dict[str, Callable[[Account, str], list[dict[str, Any]]]] = {
    "campaign-values-report": lambda account, metric: truth.campaign_values(account, FIRST, LAST, metric),
    "flow-values-report": lambda account, metric: truth.flow_values(account, FIRST, LAST, metric),
    "flow-series-report": lambda account, metric: truth.flow_series(account, FIRST, LAST, metric),
    "form-values-report": lambda account, metric: truth.form_values(account, FIRST, LAST),
    "form-series-report": lambda account, metric: truth.form_series(account, FIRST, LAST),
    "segment-values-report": lambda account, metric: truth.segment_values(account, FIRST, LAST),
    "segment-series-report": lambda account, metric: truth.segment_series(account, FIRST, LAST),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_says_what_the_events_of_the_account_say(klaviyo: SimpleNamespace, kind: str) -> None:
    answer = post(klaviyo.server, kind, **usual(klaviyo, kind))
    assert answer.status_code == 200, answer.text
    found, wanted = rows(answer.json()), EXPECTED[kind](klaviyo.account, klaviyo.orders)
    assert found == wanted
    assert len(found) > 1
    some = [row["statistics"] for row in found]
    told = {name for name in some[0] if any(row[name] for row in some)}
    # nobody has left a segment
    assert set(some[0]) - told <= {"members_removed"}


@pytest.mark.parametrize("interval", ["hourly", "daily", "weekly", "monthly"])
def test_the_intervals_of_a_series_are_those_of_the_account_s_calendar(klaviyo: SimpleNamespace, interval: str) -> None:
    first = date(2026, 6, 25) if interval == "hourly" else FIRST
    timeframe = {"start": f"{first}T00:00:00+09:00", "end": "2026-06-30T23:59:59Z"}
    asked = usual(klaviyo, "flow-series-report", timeframe=timeframe, interval=interval)
    document = post(klaviyo.server, "flow-series-report", **asked).json()
    assert rows(document) == truth.flow_series(klaviyo.account, first, LAST, klaviyo.orders, interval)
    starts = {
        "hourly": "2026-06-25T00",
        "daily": "2026-05-02T00",
        "weekly": "2026-04-27T00",
        "monthly": "2026-05-01T00",
    }
    assert document["data"]["attributes"]["date_times"][0] == f"{starts[interval]}:00:00+00:00"


def test_a_day_is_one_of_the_account_s_timezone_also_when_the_clocks_change(klaviyo: SimpleNamespace) -> None:
    account = Account(seed=3, now=datetime(2026, 3, 15, tzinfo=UTC), profiles=20, events=3000, history_days=20)
    first, last = date(2026, 3, 7), date(2026, 3, 9)
    counts = []
    for zone in ("America/New_York", "Asia/Tokyo", "UTC"):
        account.update("account", next(account.records("account"))["id"], {"timezone": zone})
        with Sandbox(account) as server:
            metric = truth.metric_id(account)
            told: dict[str, Any] = {"statistics": ["delivered"], "conversion_metric_id": metric, "interval": "hourly"}
            timeframe = {"start": "2026-03-07T00:00:00Z", "end": "2026-03-09T00:00:00Z"}
            document = post(server, "flow-series-report", timeframe=timeframe, **told).json()
        wanted = truth.flow_series(account, first, last, metric, "hourly")
        found = rows(document)
        assert [row["statistics"]["delivered"] for row in found] == [r["statistics"]["delivered"] for r in wanted]
        counts.append(sum(row["statistics"]["delivered"] for row in found))
    assert len(set(counts)) > 1


def test_the_days_of_a_period_add_up_to_it(klaviyo: SimpleNamespace) -> None:
    kind, counted = "flow-values-report", ["opens", "clicks", "conversions", "unsubscribes", "delivered"]

    def total(first: date, last: date) -> list[int]:
        timeframe = {"start": f"{first}T00:00:00Z", "end": f"{last}T00:00:00Z"}
        told = usual(klaviyo, kind, statistics=counted, timeframe=timeframe)
        found = rows(post(klaviyo.server, kind, **told).json())
        return [sum(row["statistics"][name] for row in found) for name in counted]

    # some events lie in one day, and what they are attributed to in the day before
    days = [FIRST + timedelta(days=day) for day in range((LAST - FIRST).days + 1)]
    by_day = [total(day, day) for day in days]
    assert [sum(values) for values in zip(*by_day, strict=True)] == total(FIRST, LAST)


def test_groupings_go_as_deep_as_they_are_asked_for(klaviyo: SimpleNamespace) -> None:
    for kind, expected in (
        ("campaign-values-report", truth.campaign_values),
        ("flow-values-report", truth.flow_values),
    ):
        report = report_requests.REPORTS[f"/api/{kind}s"]
        for groups in (report.groups, report.needed, (*report.needed, "tag_name")):
            answer = post(klaviyo.server, kind, **usual(klaviyo, kind, group_by=list(groups)))
            wanted = expected(klaviyo.account, FIRST, LAST, klaviyo.orders, tuple(groups))
            assert rows(answer.json()) == wanted
        tags = {row["groupings"]["tag_name"] for row in rows(answer.json())}
        assert len(tags) > 1
    versions = ["form_id", "form_version_id"]
    answer = post(klaviyo.server, "form-values-report", **usual(klaviyo, "form-values-report", group_by=versions))
    assert rows(answer.json()) == truth.form_values(klaviyo.account, FIRST, LAST, tuple(versions))


def test_a_filter_leaves_the_rows_that_fit(klaviyo: SimpleNamespace) -> None:
    kind = "campaign-values-report"
    groups = ["campaign_id", "campaign_message_id", "send_channel", "tag_id"]
    everything = rows(post(klaviyo.server, kind, **usual(klaviyo, kind, group_by=groups)).json())
    message = everything[0]["groupings"]["campaign_message_id"]
    channel = everything[-1]["groupings"]["send_channel"]
    tags = [row["groupings"]["tag_id"] for row in everything if row["groupings"]["tag_id"]]

    def left(text: str) -> list[dict[str, Any]]:
        answer = post(klaviyo.server, kind, **usual(klaviyo, kind, group_by=groups, filter=text))
        assert answer.status_code == 200, answer.text
        return rows(answer.json())

    def having(name: str, *values: str) -> list[dict[str, Any]]:
        return [row for row in everything if row["groupings"][name] in values]

    assert left(f'equals(campaign_message_id,"{message}")') == having("campaign_message_id", message)
    assert left(f'contains-any(send_channel,["{channel}","whatsapp"])') == having("send_channel", channel)
    assert left(f'and(equals(campaign_message_id,"{message}"),contains-any(send_channel,["whatsapp"]))') == []
    tagged = {row["groupings"]["campaign_message_id"] for row in having("tag_id", tags[0])}
    assert left(f'contains-all(tag_id,["{tags[0]}"])') == having("campaign_message_id", *tagged)
    segment = next(klaviyo.account.records("segment"))["id"]
    told = usual(klaviyo, "segment-values-report", filter=f'any(segment_id,["{segment}"])')
    assert [
        r["groupings"]["segment_id"] for r in rows(post(klaviyo.server, "segment-values-report", **told).json())
    ] == [segment]


def test_a_later_order_changes_the_day_of_the_message_that_brought_it() -> None:
    account = made_up()
    orders = truth.metric_id(account)
    sendings = [a for a in account.records("attribution") if a["relationships"]["flow-message"]["data"]]
    events = {event["id"]: event for event in account.records("event")}
    received = truth.metric_id(account, "Received Email")
    days: dict[str, datetime] = {}
    for sending in sendings:
        event = events[sending["relationships"]["event"]["data"]["id"]]
        if (event["relationships"]["metric"]["data"] or {}).get("id") == received:
            days[sending["id"]] = datetime.fromisoformat(event["attributes"]["datetime"])
    channels = {m["id"] for m in account.records("flow-message") if m["attributes"]["channel"] in truth.CHANNELS}
    sending = next(
        s
        for s in sendings
        if s["id"] in days
        and NOW - timedelta(days=6) < days[s["id"]] < NOW - timedelta(days=2)
        and s["relationships"]["flow-message"]["data"]["id"] in channels
    )
    sent_on = days[sending["id"]].astimezone(truth.zone(account)).date()
    timeframe = {"start": f"{sent_on}T00:00:00Z", "end": f"{sent_on}T00:00:00Z"}
    statistics = ["conversions", "conversion_value"]
    told: dict[str, Any] = {"statistics": statistics, "timeframe": timeframe, "interval": "daily"}
    with Sandbox(account) as server:

        def read() -> list[dict[str, Any]]:
            found = rows(post(server, "flow-series-report", conversion_metric_id=orders, **told).json())
            wanted = truth.flow_series(account, sent_on, sent_on, orders)
            assert [row["statistics"]["conversions"] for row in found] == [
                row["statistics"]["conversions"] for row in wanted
            ]
            return found

        before = read()
        truth.late_order(account, sending, NOW - timedelta(hours=1), 99.5)
        after = read()
    message = sending["relationships"]["flow-message"]["data"]["id"]
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    ((was, now),) = changed
    assert was["groupings"]["flow_message_id"] == message
    assert now["statistics"]["conversions"] == was["statistics"]["conversions"] + 1
    assert now["statistics"]["conversion_value"] == pytest.approx(was["statistics"]["conversion_value"] + 99.5)


def test_who_leaves_a_segment_is_counted_on_that_day() -> None:
    account = made_up()
    segment = [record["id"] for record in account.records("segment")][1]
    members = account.members("segment", segment)
    gone, again = list(members)[:2]
    account.now = NOW - timedelta(days=1)
    account.leave("segment", segment, gone)
    account.leave("segment", segment, again)
    account.now = NOW
    account.join("segment", segment, again)
    left = [truth.Left(segment, members[who], NOW - timedelta(days=1)) for who in (gone, again)]
    # whoever joins once more has left before
    account.join("segment", segment, list(members)[2])
    left.append(truth.Left(segment, members[list(members)[2]], NOW))
    with Sandbox(account) as server:
        told: dict[str, Any] = {"statistics": list(statistics.SEGMENT_STATISTICS), "timeframe": PERIOD}
        values = rows(post(server, "segment-values-report", **told).json())
        series = rows(post(server, "segment-series-report", interval="daily", **told).json())
    assert values == truth.segment_values(account, FIRST, LAST, left)
    assert series == truth.segment_series(account, FIRST, LAST, "daily", left)
    day = next(row for row in series if row["groupings"]["segment_id"] == segment and "06-29" in row["date_time"])
    assert day["statistics"]["members_removed"] == 2
    last = series[-1]["statistics"]["total_members"]
    assert last == len(account.members("segment", series[-1]["groupings"]["segment_id"]))


def test_the_pages_of_a_report_hold_each_row_once(klaviyo: SimpleNamespace) -> None:
    told = usual(klaviyo, "flow-series-report")
    with Sandbox(klaviyo.account, report_rows=2) as server:
        found, url = [], f"{server.url}/api/flow-series-report" + "s"
        sizes = []
        while url:
            answer = requests.post(url, json=body("flow-series-report", **told), headers=HEADERS, timeout=10)
            assert answer.status_code == 200, answer.text
            document = answer.json()
            found += rows(document)
            sizes.append(len(document["data"]["attributes"]["results"]))
            url = document["links"]["next"]
        assert len(sizes) > 1
        assert max(sizes) == 2
        assert sorted(found, key=truth.place) == truth.flow_series(klaviyo.account, FIRST, LAST, klaviyo.orders)
        first = post(server, "flow-series-report", **told).json()["links"]["next"]
        token = parse_qs(urlsplit(first).query)["page_cursor"][0]
        other = told | {"statistics": ["opens"]}
        refused = post(server, "flow-series-report", parameters={"page_cursor": token}, **other)
        assert (refused.status_code, refused.json()["errors"][0]["source"]) == (400, {"parameter": "page_cursor"})


def test_sparse_fields_leave_out_the_rest(klaviyo: SimpleNamespace) -> None:
    told = usual(klaviyo, "flow-series-report")
    parameters = {"fields[flow-series-report]": "date_times"}
    document = post(klaviyo.server, "flow-series-report", parameters=parameters, **told).json()
    assert set(document["data"]["attributes"]) == {"date_times"}


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("campaign-values-report", {"statistics": None}, "/data/attributes/statistics", "'statistics' is a required field"),
    ("campaign-values-report", {"statistics": []}, "/data/attributes/statistics", "at least one"),
    ("campaign-values-report", {"statistics": "opens"}, "/data/attributes/statistics", "must be a list"),
    ("campaign-values-report", {"statistics": ["submits"]}, "/data/attributes/statistics", "'submits' is not a valid"),
    ("campaign-values-report", {"timeframe": None}, "/data/attributes/timeframe", "is a required field"),
    ("campaign-values-report", {"timeframe": {"key": "last_5_days"}}, "/data/attributes/key", "last_7_days"),
    ("campaign-values-report", {"timeframe": {"start": "2026-01-01"}}, "/data/attributes/timeframe", "'start' and"),
    (
        "campaign-values-report",
        {"timeframe": {"start": "soon", "end": "2026-01-01T00:00:00Z"}},
        "/data/attributes/timeframe/start",
        "not a valid datetime",
    ),
    (
        "campaign-values-report",
        {"timeframe": {"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}},
        "/data/attributes/timeframe",
        "must not be after",
    ),
    (
        "campaign-values-report",
        {"timeframe": {"start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}},
        "/data/attributes/timeframe",
        "longer than 1 year",
    ),
    ("campaign-values-report", {"interval": "daily"}, "/data/attributes/interval", "'interval' is not a valid field"),
    ("campaign-values-report", {"conversion_metric_id": None}, "/data/attributes/conversion_metric_id", "required"),
    ("campaign-values-report", {"conversion_metric_id": "no"}, "/data/attributes/conversion_metric_id", "not exist"),
    ("campaign-values-report", {"group_by": ["send_channel"]}, "/data/attributes/group_by", "campaign_message_id"),
    ("campaign-values-report", {"group_by": ["flow_id"]}, "/data/attributes/group_by", "'flow_id' is not a valid"),
    ("campaign-values-report", {"filter": "equals(flow_id,'x')"}, "/data/attributes/filter", "not an allowed filter"),
    ("campaign-values-report", {"filter": "any(campaign_id,['x'])"}, "/data/attributes/filter", "'any' is not"),
    ("campaign-values-report", {"filter": "equals(campaign_id,['x'])"}, "/data/attributes/filter", "takes a string"),
    ("campaign-values-report", {"filter": "contains-any(tag_id,'x')"}, "/data/attributes/filter", "takes a list"),
    ("campaign-values-report", {"filter": "equals(send_channel,'fax')"}, "/data/attributes/filter", "whatsapp"),
    ("campaign-values-report", {"filter": "equals(campaign_id,x)"}, "/data/attributes/filter", "quoted"),
    ("campaign-values-report", {"filter": "equals(campaign_id"}, "/data/attributes/filter", "expected"),
    (
        "campaign-values-report",
        {"filter": "and(equals(campaign_id,'x'),equals(campaign_id,'y'))"},
        "/data/attributes/filter",
        "Only one filter",
    ),
    (
        "campaign-values-report",
        {"filter": f"contains-any(campaign_id,{['x'] * 101})"},
        "/data/attributes/filter",
        "At most 100",
    ),
    ("flow-series-report", {"interval": None}, "/data/attributes/interval", "is a required field"),
    ("flow-series-report", {"interval": "day"}, "/data/attributes/interval", "'day' is not a valid value"),
    ("flow-series-report", {"interval": "hourly"}, "/data/attributes/timeframe", "longer than 7 days"),
    (
        "flow-series-report",
        {"timeframe": {"start": "2026-05-01T00:00:00Z", "end": "2026-06-30T00:00:00Z"}},
        "/data/attributes/timeframe",
        "longer than 60 days",
    ),
    (
        "flow-series-report",
        {"interval": "monthly", "timeframe": {"start": "2025-06-01T00:00:00Z", "end": "2026-05-31T00:00:00Z"}},
        "/data/attributes/timeframe",
        "longer than 364 days",
    ),
    (
        "form-values-report",
        {"conversion_metric_id": "x"},
        "/data/attributes/conversion_metric_id",
        "'conversion_metric_id' is not a valid field",
    ),
    ("form-values-report", {"group_by": ["form_version_id"]}, "/data/attributes/group_by", "form_id"),
    ("segment-values-report", {"group_by": ["segment_id"]}, "/data/attributes/group_by", "not a valid field"),
    (
        "segment-series-report",
        {"timeframe": {"start": "2023-05-31T00:00:00Z", "end": "2023-06-02T00:00:00Z"}},
        "/data/attributes/timeframe",
        "before June 1st, 2023",
    ),
]


@pytest.mark.parametrize(("kind", "attributes", "pointer", "detail"), REFUSED)
def test_a_body_that_is_not_allowed_is_refused_with_what_is(
    klaviyo: SimpleNamespace, kind: str, attributes: dict[str, Any], pointer: str, detail: str
) -> None:
    answer = post(klaviyo.server, kind, **usual(klaviyo, kind, **attributes))
    assert answer.status_code == 400, answer.text
    (error,) = answer.json()["errors"]
    assert error["source"] == {"pointer": pointer}
    assert detail in error["detail"]


def test_klaviyo_s_own_metrics_are_no_conversions(klaviyo: SimpleNamespace) -> None:
    received = truth.metric_id(klaviyo.account, "Received Email")
    told = usual(klaviyo, "flow-values-report", conversion_metric_id=received)
    error = post(klaviyo.server, "flow-values-report", **told).json()["errors"][0]
    assert error["detail"] == "Passed in conversion metric does not support querying for values data"


@pytest.mark.parametrize(
    ("content", "headers", "status", "pointer"),
    [
        (b"{", {}, 400, "/data"),
        (b"[]", {}, 400, "/data"),
        (b'{"data":{"type":"flow-values-report"}}', {}, 400, "/data/type"),
        (b'{"data":{"type":"campaign-values-report"}}', {}, 400, "/data/attributes"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "/data"),
    ],
)
def test_a_body_that_is_no_such_document_is_refused(
    klaviyo: SimpleNamespace, content: bytes, headers: dict[str, str], status: int, pointer: str
) -> None:
    url = klaviyo.server.url + "/api/campaign-values-reports"
    told = HEADERS | {"Content-Type": "application/vnd.api+json"} | headers
    answer = requests.post(url, data=content, headers=told, timeout=10)
    assert (answer.status_code, answer.json()["errors"][0]["source"]) == (status, {"pointer": pointer})


@pytest.mark.parametrize("key", list(timeframes.KEYS))
def test_a_timeframe_can_be_named(klaviyo: SimpleNamespace, key: str) -> None:
    told = usual(klaviyo, "flow-series-report", timeframe={"key": key}, interval="weekly", statistics=["delivered"])
    answer = post(klaviyo.server, "flow-series-report", **told)
    assert answer.status_code == 200, answer.text
    frame = report_requests.read_timeframe({"key": key}, None, truth.zone(klaviyo.account), NOW)
    wanted = truth.flow_series(klaviyo.account, frame.first, frame.last, klaviyo.orders, "weekly")
    assert [row["statistics"]["delivered"] for row in rows(answer.json())] == [
        row["statistics"]["delivered"] for row in wanted
    ]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_spent_day_asks_for_hours(klaviyo: SimpleNamespace) -> None:
    clock = Clock()
    told = usual(klaviyo, "segment-values-report", statistics=["total_members"])
    with Sandbox(klaviyo.account, rate_limits=True, limiter=Limiter(clock)) as server:

        def ask() -> requests.Response:
            answer: requests.Response = post(server, "segment-values-report", **told)
            return answer

        assert ask().headers["RateLimit-Limit"] == "1, 1;w=1, 2;w=60, 225;w=86400"
        assert (ask().status_code, ask().headers["Retry-After"]) == (429, "1")
        for _ in range(224):
            clock.now += 30
            assert ask().status_code == 200
        clock.now += 30
        spent = ask()
        assert (spent.status_code, spent.headers["Retry-After"]) == (429, str(86400 - 225 * 30))
        # another report has a day of its own
        other = post(server, "segment-series-report", interval="daily", **told)
        assert other.status_code == 200
        clock.now = 86400.0
        assert ask().status_code == 200
