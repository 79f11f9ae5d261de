"""The sandbox's reports and aggregates, asked by Klaviyo's official SDK: bodies and answers are those of its models."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from klaviyo_api import KlaviyoAPI

from sandbox import Account, Sandbox, rules
from sandbox.analytics import statistics, timeframes
from sandbox.http import aggregate_requests, report_requests
from sandbox.rules import Endpoint
from tests.support import sdks
from tests.support.truth_reports import metric_id

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
ENDPOINTS = [endpoint for endpoint in rules.load(sdks.first()).endpoints if endpoint.method == "POST"]
KINDS = [report.kind for report in report_requests.REPORTS.values()]
RANGE = ["greater-or-equal(datetime,2026-06-01T00:00:00)", "less-than(datetime,2026-07-01T00:00:00)"]
# what the SDK calls the body and the answer
MODELS = {"metric-aggregate": ("MetricAggregateQuery", "PostMetricAggregateResponse")} | {
    kind: (f"{name}RequestDTO", f"Post{name}ResponseDTO")
    for kind in KINDS
    for name in ["".join(map(str.title, kind.removesuffix("-report").split("-")))]
}


def model(name: str) -> Any:
    return getattr(importlib.import_module("openapi_client.models"), name)


@pytest.fixture(scope="module")
def klaviyo() -> Iterator[SimpleNamespace]:
    account = Account(seed=7, now=NOW, profiles=60, events=3000)
    with Sandbox(account, report_rows=2) as server:
        api = KlaviyoAPI("pk_sandbox", test_host=server.url, max_retries=1)
        groups = [getattr(api, name) for name in dir(api) if name[0].isupper()]
        yield SimpleNamespace(account=account, server=server, groups=groups)


def body(klaviyo: SimpleNamespace, kind: str) -> dict[str, Any]:
    """A body that uses all that there is."""
    told: dict[str, Any]
    if kind == aggregate_requests.KIND:
        orders = metric_id(klaviyo.account)
        told = {
            "metric_id": orders,
            "measurements": list(aggregate_requests.MEASUREMENTS),
            "filter": RANGE,
            "sort": "-count",
        }
        told |= {"by": ["$attributed_message"], "interval": "week", "timezone": "Europe/Berlin", "page_size": 3}
    else:
        report = report_requests.REPORTS[f"/api/{kind}s"]
        told = {"statistics": list(report.statistics)}
        told["timeframe"] = {"start": "2026-05-10T00:00:00+00:00", "end": "2026-06-30T00:00:00+00:00"}
        told |= {"interval": "weekly"} if report.is_series else {}
        told |= {"conversion_metric_id": metric_id(klaviyo.account)} if report.converts else {}
        told |= {"group_by": list(report.groups)} if report.groups else {}
    return {"data": {"type": kind, "attributes": told}}


def ask(klaviyo: SimpleNamespace, endpoint: Endpoint, **parameters: str) -> Any:
    operation = next(getattr(g, endpoint.operation) for g in klaviyo.groups if hasattr(g, endpoint.operation))
    return operation(model(MODELS[str(endpoint.type)][0]).from_dict(body(klaviyo, str(endpoint.type))), **parameters)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.operation)
def test_the_sdk_asks_and_understands(klaviyo: SimpleNamespace, endpoint: Endpoint) -> None:
    klaviyo.server.clear_requests()
    document = ask(klaviyo, endpoint)
    assert type(document).__name__ == MODELS[str(endpoint.type)][1]
    assert document.data.type.value == endpoint.type
    told = document.data.attributes
    if endpoint.type == aggregate_requests.KIND:
        assert told.dates[0].isoformat() == "2026-05-31T22:00:00+00:00"
        rows = [(row.dimensions, row.measurements) for row in told.data]
        assert sum(sum(measured["count"]) for _, measured in rows) > 10
    else:
        rows = [(row.groupings, row.statistics) for row in told.results]
        assert any(any(value) if isinstance(value, list) else value for _, row in rows for value in row.values())
        assert hasattr(told, "date_times") == ("-series-" in str(endpoint.type))
    (request,) = klaviyo.server.requests
    assert (request.headers["revision"], request.status) == (sdks.first(), 200)
    assert b'"attributes"' in request.body


@pytest.mark.parametrize("endpoint", [e for e in ENDPOINTS if "page_cursor" in e.other], ids=lambda e: e.operation)
def test_the_sdk_pages_by_the_token_of_the_link(klaviyo: SimpleNamespace, endpoint: Endpoint) -> None:
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        document = ask(klaviyo, endpoint, **cursor)
        seen += [str(row.groupings) for row in document.data.attributes.results]
        # the SDK's models keep the link to the answer itself alone
        last = klaviyo.server.requests[-1]
        raw = klaviyo.server.api.answer("POST", last.path, last.query, _lowered(last.headers), last.body)
        following = json.loads(raw.body)["links"]["next"]
        if following is None:
            break
        cursor = {"page_cursor": parse_qs(urlsplit(following).query)["page_cursor"][0]}
    assert len(seen) == len(set(seen)) > 2


def _lowered(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_body_of_a_report_takes_is_what_the_sdk_takes(kind: str) -> None:
    report = report_requests.REPORTS[f"/api/{kind}s"]
    attributes = model(MODELS[kind][0] + "ResourceObjectAttributes")
    assert set(attributes.model_fields) == set(report.attributes)
    required = {field for field, told in attributes.model_fields.items() if told.is_required()}
    assert required == set(report.required)

    def takes(**values: Any) -> bool:
        complete = {"statistics": ["x"], "timeframe": None, "interval": "daily", "conversion_metric_id": "x"} | values
        told = {field: value for field, value in complete.items() if field in attributes.model_fields}
        try:
            attributes.model_validate(told)
        except ValueError as error:
            return not any(problem["loc"][0] in values for problem in error.errors())  # type: ignore[attr-defined]
        return True

    for statistic in [
        "nope",
        *statistics.MESSAGE_STATISTICS,
        *statistics.FORM_STATISTICS,
        *statistics.SEGMENT_STATISTICS,
    ]:
        assert takes(statistics=[statistic]) == (statistic in report.statistics)
    if report.groups:
        every = {group for other in report_requests.REPORTS.values() for group in other.groups}
        for group in ["nope", *every]:
            assert takes(group_by=[group]) == (group in report.groups)
    if report.is_series:
        for interval in ("nope", "day", "hourly", "daily", "weekly", "monthly"):
            assert takes(interval=interval) == (interval in timeframes.LONGEST_DAYS)
    assert report.statistics


def test_what_the_body_of_an_aggregate_takes_is_what_the_sdk_takes() -> None:
    attributes = model("MetricAggregateQueryResourceObjectAttributes")
    assert set(attributes.model_fields) == set(aggregate_requests.ATTRIBUTES)
    required = {name for name, field in attributes.model_fields.items() if field.is_required()}
    assert required == set(aggregate_requests.REQUIRED)

    def takes(**values: Any) -> bool:
        try:
            attributes.model_validate({"metric_id": "x", "measurements": ["count"], "filter": RANGE} | values)
        except ValueError:
            return False
        return True

    for dimension in aggregate_requests.DIMENSIONS:
        assert takes(by=[dimension], sort=f"-{dimension}")
    assert all(takes(interval=interval) for interval in aggregate_requests.INTERVALS)
    assert all(takes(measurements=[measurement]) for measurement in aggregate_requests.MEASUREMENTS)
    assert not takes(by=["nope"])
    assert not takes(interval="year")
    assert not takes(measurements=["average"])
