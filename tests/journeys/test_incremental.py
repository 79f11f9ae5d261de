"""Later runs: what is new, changed, late or gone, and where the state of it all is kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from sandbox import Account
from sources.klaviyo.extract.progress import Progress
from sources.klaviyo.load.runner import run as run_loop
from sources.klaviyo.load.stored_state import current_plans
from sources.klaviyo.windows import Window
from tests.support import truth
from tests.support.journeys import KEY, NOW, FakeClock, Journey, home, small_account, truth_ids

START = datetime(2026, 5, 1, tzinfo=UTC)
LAG = timedelta(seconds=60)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def small(tmp_path: Path, clock: FakeClock) -> Iterator[Journey]:
    """An account with some of everything."""
    account = Account(
        seed=21, now=clock.now, profiles=60, events=400, lists=4, segments=3, campaigns=12, flows=5, templates=6,
        metrics=4, tags=3,
    )  # fmt: skip
    with home(tmp_path):
        journey = Journey(tmp_path, account, clock)
        yield journey
        journey.close()


@pytest.fixture
def eventful(tmp_path: Path, clock: FakeClock) -> Iterator[Journey]:
    """An account of events and profiles alone, for what is true of every windowed report."""
    with home(tmp_path):
        journey = Journey(tmp_path, small_account(clock, seed=22, events=300, profiles=30, metrics=3), clock)
        yield journey
        journey.close()


def event_at(journey: Journey, moment: datetime) -> str:
    """A new event that happened at a moment."""
    return journey.account.add("event", {"attributes": {"datetime": moment}})


def test_a_second_run_over_the_same_period_changes_no_row(small: Journey) -> None:
    small.load()
    before = {report: small.rows(report) for report in truth.REPORTS}
    assert all(before.values())
    small.clock.forward(hours=5)
    outcomes = small.load()
    assert {report: small.rows(report) for report in truth.REPORTS} == before
    # Events of the last day are looked at again, no more.
    day = truth_ids(small.account, "event", "datetime", NOW - LAG - timedelta(days=1), small.clock.now() - LAG)
    assert outcomes["events"].rows == len(day) < len(before["events"])


def test_new_changed_and_late_records_arrive_by_the_next_run(small: Journey) -> None:
    account, clock = small.account, small.clock
    small.load()
    mark = NOW - LAG
    first_profile = small.ids("profiles")[0]
    template = next(account.records("template"))["id"]
    a_list = next(account.records("list"))["id"]
    flow = next(r["id"] for r in account.records("flow") if r["relationships"]["flow-actions"]["data"])
    campaign = next(account.records("campaign"))
    action = account.related("flow", account.record("flow", flow) or {}, "flow-actions")[0]

    late = [event_at(small, mark - ago) for ago in (timedelta(seconds=1), timedelta(hours=23, minutes=59))]
    at_the_edge = event_at(small, mark - timedelta(days=1))
    too_late = event_at(small, mark - timedelta(days=1, seconds=1))
    much_too_late = event_at(small, mark - timedelta(days=6))
    clock.forward(hours=6)
    account.update("profile", first_profile, {"first_name": "Zoë", "properties": {"tier": "platinum"}})
    new_profile = account.add("profile", {"attributes": {"email": "new@example.com"}})
    account.update("template", template, {"name": "renamed"})
    account.update("list", a_list, {"name": "renamed"})
    account.update("flow", flow, {"status": "manual"})
    account.update("flow-action", action, {"definition": {"type": "renamed"}})
    account.update("campaign", campaign["id"], {"status": "Cancelled"})
    gone = account.related("campaign", campaign, "campaign-messages")[0]
    account.update("campaign-message", gone, {"definition": {"label": "Version B"}})
    tag = account.add("tag", {"attributes": {"name": "fresh"}})
    event = event_at(small, clock.now())
    clock.forward(minutes=5)
    small.load()

    arrived = set(small.ids("events"))
    assert {*late, at_the_edge, event} <= arrived
    assert not {too_late, much_too_late} & arrived
    assert small.sql(f"SELECT first_name, properties->>'tier' FROM klaviyo.profiles WHERE id = '{first_profile}'") == [
        ("Zoë", "platinum")
    ]
    assert new_profile in small.ids("profiles")
    assert small.sql(f"SELECT name FROM klaviyo.templates WHERE id = '{template}'") == [("renamed",)]
    assert small.sql(f"SELECT name FROM klaviyo.lists WHERE id = '{a_list}'") == [("renamed",)]
    assert small.sql(f"SELECT status FROM klaviyo.flows WHERE id = '{flow}'") == [("manual",)]
    assert small.sql(f"SELECT definition_type FROM klaviyo.flow_actions WHERE id = '{action}'") == [("renamed",)]
    assert small.sql(f"SELECT status FROM klaviyo.campaigns WHERE id = '{campaign['id']}'") == [("Cancelled",)]
    names = f"SELECT definition_name FROM klaviyo.campaign_variations WHERE campaign_message_id = '{gone}'"
    assert ("Version B",) in small.sql(names)
    assert tag in small.ids("tags")

    # Beyond the lookback only a longer one brings them.
    small.load("events")
    assert too_late not in small.ids("events")
    small.load("events", lookback_days=8)
    assert {too_late, much_too_late} <= set(small.ids("events"))
    end = clock.now() - LAG
    for report in truth.REPORTS:
        wanted = truth.expected(account, report, START, end)
        where = "_dlt_valid_to IS NULL" if report in truth.MEMBERS else "true"
        assert truth.differences(truth.loaded(small.folder, report, where), wanted) == [], report


def test_an_event_dated_in_the_future_arrives_when_its_time_comes(eventful: Journey) -> None:
    soon, far = event_at(eventful, NOW + timedelta(hours=2)), event_at(eventful, NOW + timedelta(days=200))
    eventful.load("events")
    assert not {soon, far} & set(eventful.ids("events"))
    eventful.clock.forward(days=3)
    outcome = eventful.load("events", lookback_days=0)["events"]
    assert soon in eventful.ids("events")
    assert far not in eventful.ids("events")
    # The cursor stands at the present, not at what is dated ahead of it.
    assert outcome.high_water == eventful.clock.now() - LAG
    eventful.clock.forward(days=210)
    eventful.load("events", lookback_days=0)
    assert far in eventful.ids("events")
    assert eventful.ids("events") == truth_ids(eventful.account, "event", "datetime", START, eventful.clock.now() - LAG)


def test_without_lookback_nothing_is_read_twice_and_nothing_is_missed(eventful: Journey) -> None:
    rows = 0
    for _ in range(4):
        for seconds in (0, 1, 59, 60, 61):
            event_at(eventful, eventful.clock.now() - timedelta(seconds=seconds) + timedelta(seconds=60))
        rows += eventful.load("events", lookback_days=0)["events"].rows
        eventful.clock.forward(seconds=61)
    assert rows == len(eventful.ids("events"))
    end = eventful.clock.now() - LAG - timedelta(seconds=61)
    assert eventful.ids("events") == truth_ids(eventful.account, "event", "datetime", START, end)


def test_extract_all_replaces_and_drops_what_is_gone(eventful: Journey) -> None:
    account, clock = eventful.account, eventful.clock
    eventful.load()
    gone = eventful.ids("events")[:7]
    for identity in gone:
        account.remove("event", identity)
    gone_profile = eventful.ids("profiles")[0]
    account.remove("profile", gone_profile)
    clock.forward(hours=1)
    eventful.load("events", "profiles")
    assert set(gone) <= set(eventful.ids("events"))

    outcomes = eventful.load("events", "profiles", extract="all", start_date=None)
    everything = sorted(record["id"] for record in account.records("event"))
    assert eventful.ids("events") == everything
    assert eventful.ids("profiles") == sorted(record["id"] for record in account.records("profile"))
    assert outcomes["events"].whole
    assert eventful.sql("SELECT count(DISTINCT _dlt_load_id) FROM klaviyo.events") == [(1,)]

    # Incremental goes on from there.
    clock.forward(minutes=30)
    fresh = event_at(eventful, clock.now())
    clock.forward(minutes=30)
    outcomes = eventful.load("events", lookback_days=0)
    assert outcomes["events"].rows == 1
    assert outcomes["events"].windows == [Window(clock.now() - LAG - timedelta(hours=1), clock.now() - LAG)]
    assert eventful.ids("events") == sorted([*everything, fresh])


def test_extract_all_of_an_emptied_account_empties_the_tables(eventful: Journey) -> None:
    eventful.load("events", "metrics")
    for kind in ("event", "metric"):
        for record in list(eventful.account.records(kind)):
            eventful.account.remove(kind, record["id"])
    eventful.load("events", "metrics", extract="all")
    assert eventful.ids("events") == eventful.ids("metrics") == []


def test_an_earlier_start_date_fills_the_gap_and_reads_no_more(eventful: Journey) -> None:
    june, may, april = (datetime(2026, month, 1, tzinfo=UTC) for month in (6, 5, 4))
    eventful.load("events", start_date="2026-06-01")
    assert eventful.ids("events") == truth_ids(eventful.account, "event", "datetime", june, NOW - LAG)
    outcome = eventful.load("events", start_date="2026-05-01", lookback_days=0)["events"]
    assert outcome.windows == [Window(may, june)]
    assert outcome.rows == len(truth_ids(eventful.account, "event", "datetime", may, june))
    assert eventful.ids("events") == truth_ids(eventful.account, "event", "datetime", may, NOW - LAG)
    # The present moved as well: a gap on either side.
    eventful.clock.forward(days=1)
    outcome = eventful.load("events", start_date="2026-04-01", lookback_days=0)["events"]
    assert outcome.windows == [Window(april, may), Window(NOW - LAG, eventful.clock.now() - LAG)]
    assert outcome.high_water == eventful.clock.now() - LAG
    assert eventful.ids("events") == truth_ids(eventful.account, "event", "datetime", april, eventful.clock.now() - LAG)


def test_late_events_arrive_even_when_the_start_date_moves_in_the_same_run(eventful: Journey) -> None:
    eventful.load("events", start_date="2026-06-01")
    late = event_at(eventful, NOW - LAG - timedelta(hours=20))
    eventful.clock.forward(days=1)
    eventful.load("events", start_date="2026-05-01")
    assert late in eventful.ids("events")


def test_an_end_date_includes_its_day_and_the_rest_comes_later(eventful: Journey) -> None:
    last, first = event_at(eventful, datetime(2026, 6, 10, 23, 59, 59, tzinfo=UTC)), None
    first = event_at(eventful, datetime(2026, 6, 11, tzinfo=UTC))
    outcome = eventful.load("events", end_date="2026-06-10")["events"]
    assert outcome.high_water == datetime(2026, 6, 11, tzinfo=UTC)
    assert eventful.ids("events") == truth_ids(
        eventful.account, "event", "datetime", START, datetime(2026, 6, 11, tzinfo=UTC)
    )
    assert last in eventful.ids("events")
    assert first not in eventful.ids("events")
    outcome = eventful.load("events", lookback_days=0)["events"]
    assert outcome.windows == [Window(datetime(2026, 6, 11, tzinfo=UTC), NOW - LAG)]
    assert eventful.ids("events") == truth_ids(eventful.account, "event", "datetime", START, NOW - LAG)


def test_reread_brings_what_changed_without_a_trace_and_counts_nothing_twice(eventful: Journey) -> None:
    eventful.load("events")
    old = next(i for i in eventful.ids("events") if i in truth_ids(
        eventful.account, "event", "datetime", START, NOW - timedelta(days=10)))  # fmt: skip
    eventful.account.update("event", old, {"event_properties": {"corrected": True}})
    eventful.load("events")
    assert eventful.sql(f"SELECT event_properties->>'corrected' FROM klaviyo.events WHERE id = '{old}'") == [(None,)]
    outcome = eventful.load("events", reread=True)["events"]
    assert eventful.sql(f"SELECT event_properties->>'corrected' FROM klaviyo.events WHERE id = '{old}'") == [("true",)]
    assert outcome.rows == len(eventful.ids("events"))
    # It was no new start: the next run reads the last day again, as ever.
    assert eventful.load("events", lookback_days=0)["events"].windows == []


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("yesterday", datetime(2026, 6, 29, tzinfo=UTC), datetime(2026, 6, 30, tzinfo=UTC)),
        ("previous_month", datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)),
        ("week_to_date", datetime(2026, 6, 29, tzinfo=UTC), NOW - LAG),
    ],
)
def test_a_period_reads_just_that(eventful: Journey, period: str, start: datetime, end: datetime) -> None:
    for moment in (start, end):
        event_at(eventful, moment)
        event_at(eventful, moment - timedelta(seconds=1))
    outcome = eventful.load("events", period=period)["events"]
    assert outcome.windows == [Window(start, end)]
    assert outcome.high_water == end
    assert eventful.ids("events") == truth_ids(eventful.account, "event", "datetime", start, end)


def test_periods_add_up_and_leave_no_gap_behind(eventful: Journey) -> None:
    eventful.load("events", period="previous_month")
    eventful.load("events", period="yesterday")
    outcome = eventful.load("events", start_date="2026-05-01", lookback_days=0)["events"]
    june, monday = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 6, 29, tzinfo=UTC)
    assert outcome.windows == [Window(june, monday), Window(monday + timedelta(days=1), NOW - LAG)]
    assert outcome.high_water == NOW - LAG
    assert eventful.ids("events") == truth_ids(eventful.account, "event", "datetime", START, NOW - LAG)


def test_without_the_local_folder_nothing_is_read_twice_and_nothing_is_lost(small: Journey) -> None:
    small.load(lookback_days=0)
    before = {report: small.rows(report) for report in truth.REPORTS}
    small.forget()
    outcomes = small.load(lookback_days=0)
    assert {report: small.rows(report) for report in truth.REPORTS} == before
    for report in ("profiles", "events", "flows", "campaigns", "templates", "lists", "segments"):
        assert outcomes[report].windows == []
        assert outcomes[report].requests == 0
        assert outcomes[report].high_water == NOW - LAG
    small.forget()
    fresh = event_at(small, small.clock.now())
    small.clock.forward(hours=1)
    small.load("events", lookback_days=0)
    assert fresh in small.ids("events")
    small.forget()
    assert current_plans(small.pipeline(), small.settings("events", lookback_days=0))[0].windows == []


def test_a_run_that_is_stopped_keeps_what_it_read_and_the_next_one_goes_on(tmp_path: Path, clock: FakeClock) -> None:
    account = small_account(clock, seed=23, events=8_000, profiles=50, metrics=3, tags=2, shape="even")
    start = datetime(2026, 4, 10, tzinfo=UTC)
    with home(tmp_path):
        journey = Journey(tmp_path, account, clock, latency_s=0.15)
        stop = threading.Event()

        def stop_soon(reports: list[Progress]) -> None:
            if any(report.report == "events" and report.rows > 0 for report in reports):
                stop.set()

        settings = journey.settings("events", "tags", start_date=start)
        stopped = {
            outcome.report: outcome
            for outcome in run_loop(journey.pipeline(), settings, clock=clock, stop=stop, on_progress=stop_soon)
        }["events"]
        assert stopped.error is None
        assert not stopped.loaded
        found = journey.ids("events")
        assert 0 < len(found) < 7_500
        assert stopped.high_water is not None
        assert set(truth_ids(account, "event", "datetime", start, stopped.high_water)) <= set(found)
        journey.server.latency_s = 0
        outcome = journey.load("events", "tags", start_date=start, lookback_days=0)["events"]
        journey.close()
    assert outcome.rows <= 8_000 - len(found) + 50
    assert journey.ids("events") == truth_ids(account, "event", "datetime", start, NOW - LAG)


def test_two_accounts_load_into_datasets_of_their_own(tmp_path: Path, clock: FakeClock) -> None:
    first = small_account(clock, seed=31, events=60, profiles=10, metrics=2)
    second = small_account(clock, seed=32, events=80, profiles=12, metrics=3)
    with home(tmp_path):
        ours = Journey(tmp_path, first, clock)
        theirs = Journey(tmp_path, second, clock, keys={"pk_acme": None})
    config = f"""
        [sources.klaviyo]
        reports = ["events", "profiles"]
        start_date = 2026-05-01
        base_url = "{ours.server.url}"

        [klaviyo_acme.sources.klaviyo]
        start_date = 2026-06-01
        base_url = "{theirs.server.url}"

        [klaviyo_acme.sources.klaviyo.profiles]
        start_date = 2026-04-15
    """
    with home(tmp_path, config), pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCES__KLAVIYO__API_KEY", KEY)
        patch.setenv("KLAVIYO_ACME__SOURCES__KLAVIYO__API_KEY", "pk_acme")
        bare = {"api_key": None, "base_url": None, "start_date": None}
        for _ in range(2):
            ours.load(**bare)
            theirs.load(pipeline="klaviyo_acme", **bare)
        assert ours.ids("events") == truth_ids(first, "event", "datetime", START, NOW - LAG)
        assert theirs.ids("events", "klaviyo_acme") == truth_ids(
            second, "event", "datetime", datetime(2026, 6, 1, tzinfo=UTC), NOW - LAG
        )
        assert theirs.ids("profiles", "klaviyo_acme") == truth_ids(
            second, "profile", "updated", datetime(2026, 4, 15, tzinfo=UTC), NOW - LAG
        )
        assert ours.tables() == theirs.tables("klaviyo_acme") == ["events", "profiles"]
    ours.close()
    theirs.close()


def test_rows_never_carry_the_key(small: Journey, tmp_path: Path) -> None:
    small.load()
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as connection:
        state = connection.execute("SELECT string_agg(state) FROM klaviyo._dlt_pipeline_state").fetchone()
    assert state is not None
    assert KEY not in state[0]
    for path in small.pipelines_dir.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path
