"""What a run costs, as counts that no busy machine changes: requests, connections, threads, empty windows."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.made_up import DAYS, END, Shape
from benchmarks.made_up_members import Lists
from benchmarks.server import KEY as BENCHMARK_KEY
from benchmarks.server import Server
from pipelines.klaviyo_cost import cost_of
from pipelines.klaviyo_run import Outcome, load_settings, plan
from pipelines.klaviyo_run import run as run_loop
from sandbox import Account
from sandbox.server import _Handler
from sources.klaviyo.client import Page
from sources.klaviyo.errors import TransientError
from sources.klaviyo.listings import Listings
from tests.journeys import FakeClock, Journey, home, small_account

REVISION = "2026-07-15"
LISTS = ("lists", "list_profiles", "list_profile_counts")


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    """An account whose whole history lies behind the start date."""
    clock = FakeClock()
    account = Account(now=clock.now, seed=5, history_days=50, profiles=250, events=3000)
    with home(tmp_path):
        journey = Journey(tmp_path, account, clock)
        yield journey
        journey.close()


def pages(records: int, size: int) -> int:
    return max(1, math.ceil(records / size))


def requested(journey: Journey) -> Counter[str]:
    """Requests of the last run, by endpoint."""
    return Counter(str(journey.server.api.template(request.path)) for request in journey.server.requests)


def members(journey: Journey, kind: str) -> int:
    """The least requests for the members of all lists or segments."""
    groups = [record["id"] for record in journey.account.records(kind)]
    return sum(pages(len(journey.account.members(kind, group)), 100) for group in groups)


def test_a_run_sends_no_more_requests_than_there_are_pages(journey: Journey) -> None:
    size = {kind: len(list(journey.account.records(kind))) for kind in ("event", "campaign", "list", "template")}
    whole = {
        "/api/metrics": 1,
        "/api/tags": 1,
        "/api/lists/{id}/profiles": members(journey, "list"),
        "/api/segments/{id}/profiles": members(journey, "segment"),
    }
    given: dict[str, Any] = {"revision": REVISION, "lookback_days": 0, "start_date": "2020-01-01"}
    cost = cost_of(plan(journey.pipeline(), journey.settings(**given)))
    outcomes = journey.load(**given)
    assert requested(journey) == {
        **whole,
        "/api/profiles": pages(250, 100),
        "/api/events": pages(size["event"], 1000),
        # Archived or not.
        "/api/flows": 2,
        # Archived or not, of three channels; the campaigns that are asked for estimations are among them.
        "/api/campaigns": 6,
        "/api/campaign-recipient-estimations/{id}": size["campaign"],
        "/api/templates": pages(size["template"], 10),
        # The lists whose members are asked for are those of the report.
        "/api/lists": pages(size["list"], 10),
        "/api/segments": 1,
    }
    assert sum(outcome.requests for outcome in outcomes.values()) == len(journey.server.requests)
    # What the plan counts is the first page of each.
    first = [request for request in journey.server.requests if "page[cursor]" not in request.query]
    assert cost.requests == sum("{id}" not in str(journey.server.api.template(request.path)) for request in first)

    journey.clock.forward(hours=1)
    journey.load(**given)
    assert requested(journey) == {
        **whole,
        "/api/profiles": 1,
        "/api/events": 1,
        "/api/flows": 2,
        "/api/campaigns": 6,
        "/api/templates": 1,
        # One for those that changed; members are compared in all of them.
        "/api/lists": 1 + pages(size["list"], 10),
        "/api/segments": 1 + 1,
    }


def test_reports_that_need_the_same_parents_list_them_once(journey: Journey) -> None:
    journey.load("flows", "flow_actions", "flow_definitions", "flow_messages", *LISTS, start_date="2020-01-01")
    found = requested(journey)
    assert found["/api/flows"] == 2
    assert found["/api/lists"] == 2
    assert found["/api/flows/{id}"] == len(journey.ids("flow_definitions")) == 12
    # Without the report of the parents themselves, too.
    journey.clock.forward(hours=1)
    journey.load(*LISTS[1:])
    assert requested(journey)["/api/lists"] == 2


def test_a_parent_listing_that_fails_for_one_report_is_asked_again_for_the_other(journey: Journey) -> None:
    # As often as one reader tries.
    journey.server.faults.add(path="/api/lists", kind="status", status=500, times=6)
    outcomes = journey.run(*LISTS[1:])
    assert sorted(outcome.loaded for outcome in outcomes.values()) == [False, True]


def test_connections_are_reused_and_answers_compressed(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted: list[object] = []
    setup = _Handler.setup

    def counted(handler: _Handler) -> None:
        accepted.append(handler.client_address)
        setup(handler)

    monkeypatch.setattr(_Handler, "setup", counted)
    journey.load("list_profiles", "templates", "campaign_recipient_estimations", revision=REVISION)
    requests = journey.server.requests
    threads = {"list_profiles": 14, "templates": 14, "campaign_recipient_estimations": 4}
    assert len(requests) > 60
    assert len(accepted) <= sum(threads.values())
    assert all("gzip" in request.headers["Accept-Encoding"] for request in requests)


def test_slow_answers_bring_more_threads(tmp_path: Path) -> None:
    clock = FakeClock()
    with home(tmp_path):
        # The stopwatch runs fast: two seconds and a half to the engine.
        journey = Journey(tmp_path, small_account(clock, campaigns=60), clock, latency_s=2.5 / clock.speed)
        journey.load("campaign_recipient_estimations", revision=REVISION)
        journey.close()
    spans = [(r.started_at, r.ended_at) for r in journey.server.requests if "estimations" in r.path]
    most = max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)
    # 150 a minute: four threads are enough for a second, nine for two and a half with a margin.
    assert 6 <= most <= 9


# --- windows


def read_from(server: Server, tmp_path: Path, *reports: str) -> tuple[list[Outcome], list[int]]:
    """A run over a server of the benchmarks, in this process; the outcomes, and how many rows each answer held."""
    sizes: list[int] = []
    page = server._page

    def counted(path: str, parameters: dict[str, str]) -> tuple[bytes, int]:
        body, rows = page(path, parameters)
        sizes.append(rows)
        return body, rows

    server._page = counted  # type: ignore[method-assign]
    threading.Thread(target=server.serve, daemon=True).start()
    with home(tmp_path):
        journey = Journey(tmp_path, small_account(FakeClock()), FakeClock(END))
        flags = {
            "base_url": server.url, "api_key": BENCHMARK_KEY, "reports": list(reports), "lookback_days": 0,
            "start_date": (END - timedelta(days=DAYS)).isoformat(), "end_date": END.isoformat(),
        }  # fmt: skip
        outcomes = run_loop(
            journey.pipeline(), load_settings("klaviyo", flags, clock=journey.clock), clock=journey.clock
        )
        journey.close()
    return outcomes, sizes


@pytest.mark.parametrize("shape", ["even", "bursty"])
def test_cutting_dense_periods_costs_few_requests_and_hardly_an_empty_one(shape: Shape, tmp_path: Path) -> None:
    events, page_rows = 9_000, 25
    server = Server(events, shape, latency_s=0.01, limits=False, gzip=False, page_rows=page_rows)
    (outcome,), sizes = read_from(server, tmp_path, "events")
    assert outcome.rows == events
    assert len(sizes) <= 1.25 * events / page_rows
    assert sum(size == 0 for size in sizes) <= 12


def test_large_lists_are_cut_and_small_ones_cost_a_request_each(tmp_path: Path) -> None:
    lists, memberships, page_rows = 60, 10_000, 25
    server = Server(
        0,
        "even",
        latency_s=0.01,
        limits=False,
        gzip=False,
        page_rows=page_rows,
        lists=partial(Lists, lists, memberships),
    )
    outcomes, sizes = read_from(server, tmp_path, "lists", "list_profiles")
    assert [outcome.rows for outcome in outcomes] == [lists, memberships]
    # Ten lists of 28 pages, fifty of 3, and the lists themselves, ten a page and once for both reports.
    least = 10 * 28 + 50 * 3 + lists // 10
    assert least <= len(sizes) <= 1.15 * least


def test_a_sparse_account_is_read_in_a_handful_of_requests(tmp_path: Path) -> None:
    clock = FakeClock()
    with home(tmp_path):
        account = small_account(clock, events=300, profiles=20, metrics=3, history_days=2000)
        journey = Journey(tmp_path, account, clock, latency_s=0.01)
        journey.load("events", "profiles", "templates", start_date="2021-01-01")
        assert requested(journey) == {"/api/events": 1, "/api/profiles": 1, "/api/templates": 1}
        journey.close()


# --- pages that several go through


class Fetching:
    """Answers with three pages, counts, and may be told to fail or to wait."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.before: Callable[[str], None] = lambda path: None

    def all_of(self, listings: Listings) -> list[bytes]:
        """What one reader sees."""
        seen, path = [], "/1"
        while True:
            page = listings.get(path, lambda path=path: self._page(path))  # type: ignore[misc]
            seen.append(page.body)
            if page.next is None:
                return seen
            path = page.next

    def _page(self, path: str) -> Page:
        self.asked.append(path)
        self.before(path)
        return Page(path.encode(), {"/1": "/2", "/2": "/3"}.get(path))


@pytest.mark.parametrize("readers", [1, 2, 5])
def test_each_page_is_fetched_once_and_kept_no_longer_than_needed(readers: int) -> None:
    listings, fetching = Listings(), Fetching()
    for _ in range(readers):
        listings.expect("/1")
    with ThreadPoolExecutor(readers) as pool:
        seen = list(pool.map(lambda _: fetching.all_of(listings), range(readers)))
    assert seen == [[b"/1", b"/2", b"/3"]] * readers
    assert fetching.asked == ["/1", "/2", "/3"]
    assert vars(listings)["_pages"] == {}


def test_who_waited_for_a_page_that_failed_asks_for_it() -> None:
    listings, fetching = Listings(), Fetching()
    waiting = threading.Event()

    def fail_once(path: str) -> None:
        waiting.wait(5)
        if fetching.asked == ["/1"]:
            raise TransientError("no")

    fetching.before = fail_once
    listings.expect("/1")
    listings.expect("/1")
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(fetching.all_of, listings) for _ in range(2)]
        waiting.set()
    failed = [future for future in futures if future.exception()]
    (done,) = [future for future in futures if future not in failed]
    assert isinstance(failed[0].exception(), TransientError)
    assert done.result() == [b"/1", b"/2", b"/3"]


def test_nobody_waits_for_what_nobody_shares() -> None:
    listings, fetching = Listings(), Fetching()
    assert fetching.all_of(listings) == fetching.all_of(listings)
    assert fetching.asked == ["/1", "/2", "/3"] * 2
