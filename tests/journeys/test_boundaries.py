"""Where windows, seconds and pages meet: every record is loaded once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.journeys import NOW, FakeClock, Journey, doubled, home, small_account, truth_ids

LAG = timedelta(seconds=60)
END = NOW - LAG
SPLITS = ["none", "hour", "day", "week", "month", "auto"]
SECOND = timedelta(seconds=1)


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Journey]:
    """An account with a metric and nothing else, to be filled by the test."""
    clock = FakeClock()
    with home(tmp_path):
        journey = Journey(tmp_path, small_account(clock, metrics=1, profiles=1), clock)
        yield journey
        journey.close()


def add_around(journey: Journey, kind: str, field: str, moments: list[datetime]) -> None:
    """Records on each moment, a second before and after it, and within the second."""
    for moment in moments:
        for shift in (-SECOND, timedelta(0), SECOND, timedelta(microseconds=500), timedelta(microseconds=-1)):
            more = {"archived": False} if kind in ("flow", "campaign") else {}
            journey.account.add(kind, {"attributes": {field: moment + shift, **more}})


def calendar(start: datetime, end: datetime) -> list[datetime]:
    """Starts of some hours, and of all days, weeks and months in a period, besides its own bounds."""
    days = [start + timedelta(days=n) for n in range((end - start).days + 1)]
    return [*days, *(end - timedelta(hours=n, minutes=end.minute, seconds=end.second) for n in range(3)), end]


@pytest.mark.parametrize("split_by", SPLITS)
def test_a_record_on_a_chunk_boundary_is_loaded_once(bare: Journey, split_by: str) -> None:
    # A month, a week and a day begin within it; by the hour, a shorter period does.
    start = datetime(2026, 6, 29, tzinfo=UTC) if split_by == "hour" else datetime(2026, 5, 28, tzinfo=UTC)
    moments = calendar(start, END)
    if split_by == "hour":
        moments += [start + timedelta(hours=n) for n in range(30)]
    reports = {"events": ("event", "datetime"), "profiles": ("profile", "updated"), "lists": ("list", "updated"),
               "templates": ("template", "updated")}  # fmt: skip
    if split_by not in ("hour", "day"):
        # Slow endpoints: by the day they would take a minute or two.
        reports |= {"campaigns": ("campaign", "updated_at"), "flows": ("flow", "updated")}
    for kind, field in reports.values():
        add_around(bare, kind, field, moments if kind in ("event", "profile") else moments[-9:])
    outcomes = bare.load(*reports, start_date=start, split_by=split_by)
    for report, (kind, field) in reports.items():
        wanted = truth_ids(bare.account, kind, field, start, END)
        assert bare.ids(report) == wanted, report
        # Read once too: the windows don't overlap, and what the operators bring too much is cut.
        assert outcomes[report].rows == len(wanted), report
    windows = outcomes["events"].windows
    assert all(before.end == after.start for before, after in pairwise(windows))
    assert (windows[0].start, windows[-1].end) == (start, END)
    assert len(windows) == {"none": 1, "hour": 36, "day": 34, "week": 6, "month": 2, "auto": 1}[split_by]


@pytest.mark.parametrize("split_by", ["auto", "none"])
def test_thousands_of_events_in_one_second_are_loaded_once(bare: Journey, split_by: str) -> None:
    second = datetime(2026, 6, 10, 9, tzinfo=UTC)
    # One in three in the shape with a space and a fraction, which sorts within the second as it likes.
    for number in range(2500):
        moment = second.isoformat() if number % 3 else f"{second:%Y-%m-%d %H:%M:%S}.{number * 7919 % 10**6:06d}+00:00"
        bare.account.put("event", event(f"E{number:05d}", moment))
    for shift in (-2, -1, 1, 2):
        bare.account.put("event", event(f"N{shift + 2}", (second + shift * SECOND).isoformat()))
    outcome = bare.load("events", split_by=split_by)["events"]
    assert len(bare.ids("events")) == 2504
    assert not doubled(bare.ids("events"))
    assert outcome.rows == 2504
    if split_by == "none":
        assert outcome.requests == 3
    assert bare.load("events", lookback_days=30)["events"].rows == 2504
    assert len(bare.ids("events")) == 2504


def event(identity: str, moment: str) -> dict[str, Any]:
    """An event as it is in an answer."""
    return {
        "type": "event",
        "id": identity,
        "attributes": {"datetime": moment, "timestamp": 0, "event_properties": {}, "uuid": identity},
        "relationships": {"profile": {"data": None}, "metric": {"data": None}, "attributions": {"data": []}},
    }


def test_profiles_that_share_one_updated_second_across_pages_are_loaded_once(bare: Journey) -> None:
    second = datetime(2026, 6, 10, 9, tzinfo=UTC)
    for _ in range(230):
        bare.account.add("profile", {"attributes": {"updated": second}})
    for shift in (-SECOND, SECOND):
        bare.account.add("profile", {"attributes": {"updated": second + shift}})
    wanted = truth_ids(bare.account, "profile", "updated", datetime(2026, 5, 1, tzinfo=UTC), END)
    assert len(wanted) >= 232
    assert bare.load("profiles")["profiles"].rows == len(wanted)
    assert bare.ids("profiles") == wanted
    # The second lies on either side of a boundary between runs.
    for identity, end in (("a", second), ("b", second + SECOND)):
        outcome = bare.load("profiles", pipeline=f"klaviyo_{identity}", end_date=end)["profiles"]
        assert outcome.rows == len(truth_ids(bare.account, "profile", "updated", datetime(2026, 5, 1, tzinfo=UTC), end))
        bare.load("profiles", pipeline=f"klaviyo_{identity}", lookback_days=0)
        assert bare.ids("profiles", f"klaviyo_{identity}") == wanted


@pytest.mark.parametrize("count", [999, 1000, 1001])
def test_a_page_that_ends_with_the_data_loses_nothing(bare: Journey, count: int) -> None:
    first = datetime(2026, 6, 1, tzinfo=UTC)
    for number in range(count):
        bare.account.put("event", event(f"E{number:05d}", (first + timedelta(minutes=number)).isoformat()))
    outcome = bare.load("events", split_by="none")["events"]
    assert outcome.rows == count == len(set(bare.ids("events")))
    assert outcome.requests == -(-count // 1000)


def test_records_on_the_second_where_one_run_ended_are_loaded_once_by_the_next(bare: Journey) -> None:
    fields = {"events": ("event", "datetime"), "profiles": ("profile", "updated"), "lists": ("list", "updated"),
              "segments": ("segment", "updated"), "templates": ("template", "updated")}  # fmt: skip
    for kind, field in fields.values():
        add_around(bare, kind, field, [END])
    first = bare.load(*fields, lookback_days=0)
    bare.clock.forward(minutes=10)
    second = bare.load(*fields, lookback_days=0)
    for report, (kind, field) in fields.items():
        wanted = truth_ids(bare.account, kind, field, datetime(1971, 1, 1, tzinfo=UTC), bare.clock.now() - LAG)
        wanted = [identity for identity in wanted if report != "profiles" or identity.startswith("PROFILE")]
        found = [identity for identity in bare.ids(report) if report != "profiles" or identity.startswith("PROFILE")]
        assert found == wanted, report
        assert len(wanted) == 5
        assert first[report].rows + second[report].rows == len(bare.ids(report)), report


@pytest.mark.parametrize("shape", ["bursty", "even"])
def test_auto_split_loses_and_doubles_nothing_and_asks_for_little_more_than_the_pages(
    tmp_path: Path, shape: str
) -> None:
    clock = FakeClock()
    account = small_account(clock, seed=5, events=15_000, profiles=1200, metrics=5, segments=2, shape=shape)
    with home(tmp_path):
        # With some latency, all threads of an endpoint look for work at once.
        journey = Journey(tmp_path, account, clock, latency_s=0.03)
        outcomes = journey.load(
            "events", "profiles", "segment_profiles", "profile_segments", start_date="2026-01-01", split_by="auto"
        )
        in_flight = at_once([(r.started_at, r.ended_at) for r in journey.server.requests if r.path == "/api/events"])
        journey.close()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    wanted = truth_ids(account, "event", "datetime", start, END)
    assert journey.ids("events") == wanted
    # What a cut makes two chains read is cut by value: each row comes once.
    assert outcomes["events"].rows == len(wanted)
    assert len(wanted) > 14_000
    assert journey.ids("profiles") == truth_ids(account, "profile", "updated", start, END)
    members = sum(len(account.members("segment", segment["id"])) for segment in account.records("segment"))
    assert outcomes["segment_profiles"].rows == members == outcomes["profile_segments"].rows
    assert journey.sql("SELECT count(DISTINCT (segment_id, profile_id)) FROM klaviyo.segment_profiles") == [(members,)]
    # Each cut costs about a request.
    assert outcomes["events"].requests <= 15 + 20
    assert outcomes["profiles"].requests <= 15 + 20
    assert outcomes["segment_profiles"].requests <= 1 + 14 + 15
    assert in_flight >= 2


def at_once(spans: list[tuple[float, float]]) -> int:
    """The most spans that overlap."""
    ends = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    most = level = 0
    for _, step in ends:
        level += step
        most = max(most, level)
    return most
