"""The sandbox as a server: rate limits, compression, faults, its log, its command line."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox import Account, Limiter, Sandbox
from tests.support.sandbox_client import HEADERS

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def account() -> Account:
    return Account(seed=7, now=NOW, profiles=30, events=60)


@pytest.fixture
def server(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account) as running:
        yield running


def get(server: Sandbox, path: str, key: str = "Klaviyo-API-Key pk_sandbox", **parameters: Any) -> requests.Response:
    headers = HEADERS | {"Authorization": key}
    return requests.get(server.url + path, params=parameters, headers=headers, timeout=10)


def test_the_second_and_the_minute_are_limited_and_told_in_headers(account: Account) -> None:
    clock = Clock()
    with Sandbox(account, rate_limits=True, limiter=Limiter(clock, names="minute")) as server:
        first = get(server, "/api/tags")
        assert first.headers["RateLimit-Limit"] == "60, 3;w=1, 60;w=60"
        assert (first.headers["RateLimit-Remaining"], first.headers["RateLimit-Reset"]) == ("59", "60")
        assert [get(server, "/api/tags").status_code for _ in range(3)] == [200, 200, 429]
        clock.now += 0.5
        refused = get(server, "/api/tags")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert not [name for name in refused.headers if name.startswith("RateLimit")]
        assert refused.json()["errors"][0]["code"] == "throttled"
        clock.now += 0.5
        again = get(server, "/api/tags")
        # refused requests spent nothing
        assert (again.headers["RateLimit-Remaining"], again.headers["RateLimit-Reset"]) == ("56", "59")
        for _ in range(56):
            clock.now += 0.4
            assert get(server, "/api/tags").status_code == 200
        clock.now += 1.2
        spent = get(server, "/api/tags")
        assert (spent.status_code, spent.headers["Retry-After"]) == (429, str(int(1060 - clock.now) + 1))
        clock.now = 1060.0
        assert get(server, "/api/tags").headers["RateLimit-Remaining"] == "59"


def test_headers_tell_of_the_second_as_live_answers_do(account: Account) -> None:
    clock = Clock()
    with Sandbox(account, rate_limits=True, limiter=Limiter(clock)) as server:
        told = [get(server, "/api/tags").headers for _ in range(2)]
        clock.now += 1.0
        told.append(get(server, "/api/tags").headers)
        profiles = get(server, "/api/profiles").headers
        reports = get(server, "/api/accounts").headers
    assert {headers["RateLimit-Limit"] for headers in told} == {"3, 3;w=1, 60;w=60"}
    assert [headers["RateLimit-Remaining"] for headers in told] == ["2", "1", "2"]
    assert {headers["RateLimit-Reset"] for headers in told} == {"0"}
    assert profiles["RateLimit-Limit"] == "75, 75;w=1, 750;w=60"
    assert (profiles["RateLimit-Remaining"], reports["RateLimit-Limit"]) == ("74", "1, 1;w=1, 15;w=60")


def test_limits_hold_per_endpoint_and_are_shared_by_keys_but_not_by_tokens(account: Account) -> None:
    keys: dict[str, set[str] | None] = {"pk_one": None, "pk_two": None, "token": None}
    with Sandbox(account, rate_limits=True, limiter=Limiter(Clock(), "minute"), keys=keys) as server:
        one, two, token = "Klaviyo-API-Key pk_one", "Klaviyo-API-Key pk_two", "Bearer token"
        assert get(server, "/api/accounts", one).status_code == 200
        assert get(server, "/api/accounts", two).status_code == 429
        assert get(server, "/api/accounts", token).status_code == 200
        assert get(server, "/api/tags", one).status_code == 200
        groups = [group["id"] for group in account.records("list")]
        remaining = [get(server, f"/api/lists/{group}", one).headers["RateLimit-Remaining"] for group in groups[:2]]
        assert remaining == ["749", "748"]


def test_dear_additional_fields_have_limits_of_their_own(account: Account) -> None:
    with Sandbox(account, rate_limits=True, limiter=Limiter(Clock())) as server:
        plain = get(server, "/api/profiles", **{"additional-fields[profile]": "subscriptions"})
        dear = get(server, "/api/profiles", **{"additional-fields[profile]": "subscriptions,predictive_analytics"})
        assert plain.headers["RateLimit-Limit"] == "75, 75;w=1, 750;w=60"
        assert dear.headers["RateLimit-Limit"] == "10, 10;w=1, 150;w=60"
        list_id = next(account.records("list"))["id"]
        parameters = {"additional-fields[list]": "profile_count"}
        assert get(server, f"/api/lists/{list_id}", **parameters).status_code == 200
        assert get(server, f"/api/lists/{list_id}", **parameters).status_code == 429
        assert get(server, f"/api/lists/{list_id}").status_code == 200


def test_answers_are_compressed_for_clients_that_accept_it(account: Account, server: Sandbox) -> None:
    url = server.url + "/api/events"
    packed = requests.get(url, headers=HEADERS, timeout=10)
    plain = requests.get(url, headers=HEADERS | {"Accept-Encoding": "identity"}, timeout=10)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["Content-Length"]) < len(plain.content) / 4
    with Sandbox(account, gzip=False) as other:
        assert "Content-Encoding" not in get(other, "/api/events").headers


def test_requests_are_logged_in_order_and_can_be_forgotten(server: Sandbox) -> None:
    get(server, "/api/lists", **{"page[size]": "2"})
    get(server, "/api/nothing")
    first, second = server.requests
    assert (first.method, first.path, first.query, first.status) == ("GET", "/api/lists", {"page[size]": "2"}, 200)
    assert (second.path, second.status) == ("/api/nothing", 404)
    assert first.headers["revision"] == "2026-07-15"
    assert first.started_at <= first.ended_at <= second.started_at
    server.clear_requests()
    assert server.requests == []


def test_each_answer_waits_for_the_latency(server: Sandbox) -> None:
    server.latency_s = 0.05
    get(server, "/api/lists")
    assert server.requests[0].ended_at - server.requests[0].started_at >= 0.05


def test_connections_are_kept_and_cut_when_the_server_stops(account: Account) -> None:
    with requests.Session() as session:
        with Sandbox(account) as server:
            url = server.url + "/api/lists"
            session.get(url, headers=HEADERS, timeout=10)
            session.get(url, headers=HEADERS, timeout=10)
            pools = session.get_adapter(url).poolmanager.pools  # type: ignore[attr-defined]
            assert [pools[key].num_connections for key in pools.keys()] == [1]  # noqa: SIM118  no plain mapping
        with pytest.raises(requests.ConnectionError):
            session.get(url, headers=HEADERS, timeout=10)


def test_a_status_fault_hits_after_and_times(server: Sandbox) -> None:
    server.faults.add(path="/api/events", kind="status", status=503, after=1, times=2, retry_after_s=7)
    answers = [get(server, "/api/events") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 503, 503, 200]
    assert answers[1].headers["Retry-After"] == "7"
    assert answers[1].json()["errors"][0]["status"] == 503
    assert [request.status for request in server.requests] == [200, 503, 503, 200]


def test_a_fault_is_bound_to_its_template_and_parameters(account: Account, server: Sandbox) -> None:
    profile_id = next(account.records("profile"))["id"]
    server.faults.add(path="/api/profiles/{id}", kind="status", status=500, times=None)
    server.faults.add(path="/api/lists", kind="status", status=502, times=None, query={"filter": "abc"})
    assert get(server, "/api/profiles").status_code == 200
    assert get(server, f"/api/profiles/{profile_id}").status_code == 500
    assert get(server, "/api/lists").status_code == 200
    assert get(server, "/api/lists", filter="equals(id,'abc')").status_code == 502
    server.faults.clear()
    assert get(server, f"/api/profiles/{profile_id}").status_code == 200


def test_a_connection_can_be_dropped(server: Sandbox) -> None:
    server.faults.add(path="/api/lists", kind="drop")
    with pytest.raises(requests.ConnectionError):
        get(server, "/api/lists")
    assert get(server, "/api/lists").status_code == 200
    assert [request.status for request in server.requests] == [0, 200]


def test_a_body_can_be_cut(server: Sandbox) -> None:
    server.faults.add(path="/api/lists", kind="truncate")
    with pytest.raises(requests.exceptions.RequestException):
        get(server, "/api/lists")
    assert get(server, "/api/lists").status_code == 200


def test_an_answer_can_hang(server: Sandbox) -> None:
    server.faults.add(path="/api/lists", kind="hang", seconds=0.3)
    with pytest.raises(requests.ReadTimeout):
        requests.get(server.url + "/api/lists", headers=HEADERS, timeout=0.1)
    assert get(server, "/api/lists").status_code == 200


def test_a_body_can_be_anything(server: Sandbox) -> None:
    server.faults.add(path="/api/lists", kind="body", body=b"<html>")
    answer = get(server, "/api/lists")
    assert (answer.status_code, answer.content) == (200, b"<html>")


def test_the_command_line_serves_until_it_is_terminated() -> None:
    command = [sys.executable, "-m", "sandbox", "--profiles", "5", "--events", "5", "--now", "2026-06-30T12:00:00Z"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root, text=True) as process:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        assert words[0] == "sandbox:"
        assert words[2:] == ["key", "pk_sandbox"]
        answer = requests.get(words[1] + "/api/events", headers=HEADERS, timeout=10)
        assert len(json.loads(answer.content)["data"]) == 5
        assert "RateLimit-Limit" in answer.headers
        started = time.monotonic()
        process.terminate()
        assert process.wait(timeout=5) == 0
        assert time.monotonic() - started < 2
