"""Faults that spoil answers at random or alter pages, and how many answers they spoilt."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from sandbox import Account, Sandbox, Storm, new_fault
from tests.support.sandbox_client import HEADERS, read

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def account() -> Account:
    return Account(seed=7, now=NOW, profiles=30, events=60)


@pytest.fixture
def server(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account, page_rows=7) as running:
        yield running


def get(url: str) -> requests.Response:
    return requests.get(url, headers=HEADERS, timeout=10, allow_redirects=False)


def ids(server: Sandbox) -> list[str]:
    return [record["id"] for record in read(server, "/api/profiles")]


def test_pages_of_a_few_records_hold_every_record_once(account: Account, server: Sandbox) -> None:
    found = ids(server)
    assert sorted(found) == sorted(record["id"] for record in account.records("profile"))
    assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("kind", "start"),
    [("bom", b'\xef\xbb\xbf{"data"'), ("nan", b'{"meta":{"ratio":NaN'), ("deep", b'{"meta":{"deep":[[[[')],
)
def test_a_page_can_be_json_that_is_not_quite_json(server: Sandbox, kind: Any, start: bytes) -> None:
    whole = get(server.url + "/api/profiles").content
    server.faults.add(path="/api/profiles", kind=kind)
    answer = get(server.url + "/api/profiles")
    assert answer.content.startswith(start)
    assert answer.content.endswith(whole[1:])
    assert get(server.url + "/api/profiles").content == whole
    assert server.faults.served == {kind: 1}


def test_a_page_can_link_to_itself(server: Sandbox) -> None:
    server.faults.add(path="/api/profiles", kind="loop")
    document = get(server.url + "/api/profiles?sort=updated").json()
    assert document["links"]["next"] == document["links"]["self"] == server.url + "/api/profiles?sort=updated"
    assert len(document["data"]) == 7


def test_pages_can_be_empty_without_end(server: Sandbox) -> None:
    server.faults.add(path="/api/profiles", kind="empty", times=None)
    seen = {url := f"{server.url}/api/profiles"}
    for _ in range(5):
        document = get(url).json()
        assert document["data"] == []
        url = document["links"]["next"]
        assert url not in seen
        seen.add(url)
    assert server.faults.served == {"empty": 5}


def test_a_record_can_come_twice_in_a_page(server: Sandbox) -> None:
    once = ids(server)
    server.faults.add(path="/api/profiles", kind="again", after=1)
    assert sorted(ids(server)) == sorted([*once, once[10]])
    assert server.faults.served == {"again": 1}


def test_the_last_record_of_a_page_can_begin_the_next_one(server: Sandbox) -> None:
    once = ids(server)
    server.faults.add(path="/api/profiles", kind="shift", after=1)
    assert ids(server) == [*once[:14], once[13], *once[14:]]
    assert server.faults.served == {"shift": 1}
    assert ids(server) == once


def test_a_shift_that_nobody_saw_goes_with_the_faults(server: Sandbox) -> None:
    once = ids(server)
    server.faults.add(path="/api/profiles", kind="shift")
    get(server.url + "/api/profiles")
    server.faults.clear()
    assert ids(server) == once
    assert server.faults.served == {}


def test_an_answer_can_lead_elsewhere(server: Sandbox) -> None:
    server.faults.add(path="/api/profiles", kind="redirect")
    answer = get(server.url + "/api/profiles")
    assert (answer.status_code, answer.headers["Location"]) == (302, "https://elsewhere.example/")


def test_an_answer_can_drip(server: Sandbox) -> None:
    whole = get(server.url + "/api/profiles").content
    server.faults.add(path="/api/profiles", kind="drip", seconds=0.2)
    began_s = time.monotonic()
    assert get(server.url + "/api/profiles").content == whole
    assert time.monotonic() - began_s >= 0.1


def test_an_answer_can_be_huge_although_little_is_sent(server: Sandbox) -> None:
    server.faults.add(path="/api/profiles", kind="huge")
    answer = requests.get(server.url + "/api/profiles", headers=HEADERS, timeout=10, stream=True)
    assert int(answer.headers["Content-Length"]) < 1 << 20
    assert sum(map(len, answer.iter_content(1 << 20))) == 65 << 20


def test_a_fault_that_nobody_met_is_not_counted(server: Sandbox) -> None:
    server.faults.add(path="/api/profiles", kind="drop", after=1)
    server.faults.add(path="/api/lists", kind="status", status=429, retry_after_s=1, times=2)
    get(server.url + "/api/profiles")
    get(server.url + "/api/lists")
    assert server.faults.served == {"429 with Retry-After": 1}


def test_something_can_happen_before_an_answer(account: Account, server: Sandbox) -> None:
    names: list[str] = []

    def rename() -> None:
        names.append(f"renamed {len(names)}")
        account.update("profile", "P", {"first_name": names[-1]})

    account.add("profile", {"id": "P", "attributes": {"updated": NOW}})
    server.before_answer = rename
    found = [get(server.url + "/api/profiles/P").json()["data"]["attributes"]["first_name"] for _ in range(2)]
    account.remove("profile", "P")
    assert found == names == ["renamed 0", "renamed 1"]


FAULTS = [(new_fault("status"), 3), (new_fault("drop"), 1)]
REQUESTS = [("/api/profiles", {"page[cursor]": str(number)}) for number in range(300)]


@given(st.integers(0, 99), st.floats(0.01, 1))
def test_a_storm_lets_every_request_pass_after_a_few_hits(seed: int, share: float) -> None:
    storm = Storm(seed, share, FAULTS, in_a_row=3)
    for request in REQUESTS[:5]:
        hits = [storm.due(*request) is not None for _ in range(40)]
        assert "1111" not in "".join(str(int(hit)) for hit in hits)


def test_a_storm_hits_its_share_of_the_requests_and_the_same_ones_from_the_same_seed() -> None:
    def hits(seed: int) -> list[str | None]:
        storm = Storm(seed, 0.25, FAULTS)
        return [fault.name if (fault := storm.due(*request)) else None for request in REQUESTS]

    assert hits(1) == hits(1) != hits(2)
    counted = Counter(hits(1))
    assert 50 < counted["503"] + counted["drop"] < 100
    assert counted["503"] > counted["drop"] > 0


def test_a_storm_hits_what_no_other_fault_hits(server: Sandbox) -> None:
    server.faults.rage(Storm(1, 1.0, [(new_fault("body", body=b"<html>"), 1)], in_a_row=10))
    server.faults.add(path="/api/lists", kind="status", status=403, times=None)
    assert get(server.url + "/api/lists").status_code == 403
    assert get(server.url + "/api/profiles").content == b"<html>"
    server.faults.clear()
    assert len(json.loads(get(server.url + "/api/profiles").content)["data"]) == 7
    assert server.faults.served == {"403": 1, "body": 1}
