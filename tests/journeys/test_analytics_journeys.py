"""Journeys of analytics reports: from the sandbox into a real DuckDB, against a truth of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox import Account, Limiter
from sources.klaviyo.catalog.revisions import REVISIONS
from sources.klaviyo.errors import AuthError, ConfigError, DailyQuotaExhausted, RequestRejected, TransientError
from sources.klaviyo.load.runner import Outcome
from sources.klaviyo.load.stored_state import current_plans
from sources.klaviyo.plan.estimate import cost_of
from sources.klaviyo.windows import Window
from tests.support import truth_reports as truth
from tests.support.journeys import NOW, FakeClock, Journey, home

START = "2026-05-01"
FIRST, TODAY = date(2026, 5, 1), date(2026, 6, 30)
MONTHS = [(date(2026, 5, 1), date(2026, 5, 31)), (date(2026, 6, 1), TODAY)]
#: The day begins four hours after UTC's in New York.
END = datetime(2026, 6, 30, 11, 59, 30, tzinfo=UTC)
ZERO = {0, None}


class FastClock(FakeClock):
    """Two requests a minute would take the suite hours."""

    speed = 4000


def made_up(clock: FakeClock, **numbers: Any) -> Account:
    sizes = {"profiles": 60, "events": 3000, "campaigns": 12, "flows": 8, "lists": 2, "segments": 3, "history_days": 60}
    return Account(seed=7, now=clock.now, **{**sizes, **numbers})


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FastClock()
    with home(tmp_path):
        made = Journey(tmp_path, made_up(clock), clock)
        yield made
        made.close()


def months(rows: Any, account: Account, *args: Any) -> list[dict[str, Any]]:
    """The truth's values of each month."""
    return [
        {**row, "date_time": first.isoformat()} for first, last in MONTHS for row in rows(account, first, last, *args)
    ]


def told(rows: list[dict[str, Any]]) -> dict[tuple[str, ...], dict[str, Any]]:
    """Groupings and day -> statistics, of the rows with anything in them."""
    found = {}
    for row in rows:
        numbers = {name: pytest.approx(value) for name, value in row["statistics"].items()}
        if {*row["statistics"].values()} - ZERO:
            key = (*(str(value) for _, value in sorted(row["groupings"].items())), row["date_time"][:10])
            assert key not in found
            found[key] = numbers
    return found


def loaded(journey: Journey, report: str, groups: tuple[str, ...], day: str, statistics: list[str]) -> dict[Any, Any]:
    """The same out of the table."""
    columns = ", ".join([*sorted(groups), f"{day}::VARCHAR", *statistics])
    found = {}
    for row in journey.sql(f"SELECT {columns} FROM klaviyo.{report}"):
        key, numbers = row[: len(groups) + 1], row[len(groups) + 1 :]
        if {*numbers} - ZERO:
            assert key not in found
            found[key] = dict(zip(statistics, numbers, strict=True))
    return found


MESSAGES = {
    "campaign_values": ("campaign_id", "campaign_message_id", "send_channel"),
    "flow_values": ("flow_id", "flow_message_id", "send_channel"),
    "flow_series": ("flow_id", "flow_message_id", "send_channel"),
}
FORMS = {"form_values": ("form_id",), "form_series": ("form_id",)}
SEGMENTS = {"segment_values": ("segment_id",), "segment_series": ("segment_id",)}


def expected(account: Account, report: str) -> dict[Any, Any]:
    orders = (truth.metric_id(account),) if report in MESSAGES else ()
    rows = getattr(truth, report)
    if report.endswith("_values"):
        return told(months(rows, account, *orders))
    return told(rows(account, FIRST, TODAY, *orders))


def is_true(journey: Journey, report: str, groups: tuple[str, ...]) -> None:
    wanted = expected(journey.account, report)
    assert wanted
    statistics = sorted(next(iter(wanted.values())))
    day = "period_start" if report.endswith("_values") else "date"
    assert loaded(journey, report, groups, day, statistics) == wanted


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_report_holds_what_happened_in_the_accounts_own_days(journey: Journey, revision: str) -> None:
    counting = {**MESSAGES, **FORMS, **SEGMENTS}
    outcomes = journey.load(*counting, start_date=START, revision=revision)
    for report, groups in counting.items():
        is_true(journey, report, groups)
        ids = journey.ids(report)
        assert len(ids) == len({*ids}) == outcomes[report].rows > 0
        assert outcomes[report].high_water == END
        assert outcomes[report].misfits == {}
    # A request a month, or one for up to 60 days; and once what the account and its metrics are.
    assert {journey.requested(f"/api/{report.replace('_', '-')}-reports") for report in counting} == {2}
    assert journey.requested("/api/accounts") == 1
    periods = journey.sql("SELECT DISTINCT period_start, period_end FROM klaviyo.segment_values ORDER BY 1")
    assert periods == MONTHS


@pytest.mark.parametrize("revision", REVISIONS)
def test_metric_aggregates_count_every_event_in_its_day(journey: Journey, revision: str) -> None:
    journey.load("metric_aggregates", "events", start_date=START, revision=revision)
    counted = journey.sql(
        "SELECT metric_id, starts_at, count, sum_value, unique_profiles FROM klaviyo.metric_aggregates WHERE count > 0"
    )
    wanted = {
        (metric["id"], start): (cell["count"], pytest.approx(cell["sum_value"]), cell["unique"])
        for metric in journey.account.records("metric")
        for (_, start), cell in truth.aggregates(
            journey.account, metric["id"], datetime(2026, 5, 1, 4, tzinfo=UTC), END, timezone="America/New_York"
        ).items()
    }
    assert {(metric, start): tuple(rest) for metric, start, *rest in counted} == wanted
    # The very events of the other table, day by day.
    by_day = """
        SELECT metric_id, (datetime AT TIME ZONE 'America/New_York')::DATE, count(*) FROM klaviyo.events
        WHERE datetime >= '2026-05-01 04:00:00+00' AND metric_id IS NOT NULL GROUP BY ALL
    """
    assert {*journey.sql(by_day)} == {
        *journey.sql("SELECT metric_id, date, count FROM klaviyo.metric_aggregates WHERE count > 0")
    }


def test_aggregates_of_chosen_metrics_by_dimension_come_page_by_page(journey: Journey) -> None:
    own = {"metrics": ["Opened Email", "Clicked *"], "by": ["$message", "Client Type"], "measurements": ["count"]}
    journey.load("metric_aggregates", start_date=START, metric_aggregates=own)
    names = [name for (name,) in journey.sql("SELECT DISTINCT metric_name FROM klaviyo.metric_aggregates ORDER BY 1")]
    assert names[-1] == "Opened Email"
    assert all(name.startswith("Clicked ") for name in names[:-1])
    opened = next(m["id"] for m in journey.account.records("metric") if m["attributes"]["name"] == "Opened Email")
    sums = "SELECT sum(count), count(DISTINCT message) > 1, count(sum_value) FROM klaviyo.metric_aggregates WHERE metric_id = "
    events = truth.aggregates(journey.account, opened, datetime(2026, 5, 1, 4, tzinfo=UTC), END)
    assert journey.sql(f"{sums}'{opened}'") == [(sum(cell["count"] for cell in events.values()), True, 0)]


def test_events_that_are_attributed_to_nothing_are_counted_under_null(journey: Journey) -> None:
    own = {"metrics": ["Placed Order"], "by": ["$attributed_message", "$attributed_flow"], "measurements": ["count"]}
    journey.load("metric_aggregates", start_date=START, metric_aggregates=own)
    table = "klaviyo.metric_aggregates"
    orders = truth.aggregates(
        journey.account, truth.metric_id(journey.account), datetime(2026, 5, 1, 4, tzinfo=UTC), END
    )
    ((attributed, by_flow, neither),) = journey.sql(
        f"SELECT sum(count) FILTER (attributed_message IS NOT NULL), sum(count) FILTER (attributed_flow IS NOT NULL), "
        f"sum(count) FILTER (attributed_message IS NULL AND attributed_flow IS NULL) FROM {table}"
    )
    assert 0 < by_flow < attributed
    assert neither > 0
    assert attributed + neither == sum(cell["count"] for cell in orders.values())
    assert journey.sql(f"SELECT count(*) FROM {table} WHERE attributed_message = '' OR attributed_flow = ''") == [(0,)]


def test_a_second_run_reads_again_what_conversions_have_changed_and_doubles_nothing(journey: Journey) -> None:
    counting = MESSAGES
    journey.load(*counting, start_date=START)
    before = {report: {*journey.ids(report)} for report in counting}
    observed = journey.sql("SELECT max(observed_at) FROM klaviyo.flow_series")
    sent = {event["id"]: event for event in journey.account.records("event")}
    sending = next(
        attribution
        for attribution in journey.account.records("attribution")
        if attribution["relationships"]["flow-message"]["data"]
        and datetime(2026, 6, 15, tzinfo=UTC)
        < datetime.fromisoformat(sent[attribution["relationships"]["event"]["data"]["id"]]["attributes"]["datetime"])
        < datetime(2026, 6, 28, tzinfo=UTC)
    )
    truth.late_order(journey.account, sending, NOW, 1234.5)
    journey.clock.forward(hours=1)
    journey.forget()
    outcomes = journey.load(*counting, start_date=START)
    for report, groups in counting.items():
        is_true(journey, report, groups)
        assert before[report] <= {*journey.ids(report)}
        assert len(journey.ids(report)) == len({*journey.ids(report)})
    assert journey.sql("SELECT max(observed_at) FROM klaviyo.flow_series") > observed
    assert journey.requested("/api/flow-series-reports") == 1
    assert outcomes["campaign_values"].requests == 2


def test_hours_and_weeks_add_up_to_the_same(journey: Journey) -> None:
    sums = "SELECT sum(delivered), sum(opens), sum(conversion_value)::DECIMAL(12, 2) FROM klaviyo.flow_series"
    journey.load("flow_series", start_date="2026-06-15")
    days = journey.sql(sums)
    for interval in ("hour", "week"):
        journey.load("flow_series", start_date="2026-06-15", flow_series={"interval": interval})
        assert journey.sql("SELECT DISTINCT interval FROM klaviyo.flow_series") == [(interval,)]
        assert journey.sql(sums) == days
        if interval == "hour":
            late = "SELECT count(*) FROM klaviyo.flow_series WHERE starts_at >= '2026-06-30 12:00:00+00'"
            assert journey.sql(late) == [(0,)]


def test_a_period_that_is_grouped_in_another_way_is_replaced(journey: Journey) -> None:
    journey.load("campaign_values", start_date=START)
    total = journey.sql("SELECT sum(delivered) FROM klaviyo.campaign_values")
    groups = ["campaign_id", "campaign_message_id"]
    journey.load("campaign_values", start_date=START, campaign_values={"group_by": groups, "statistics": ["delivered"]})
    assert journey.sql("SELECT sum(delivered), count(send_channel), count(opens) FROM klaviyo.campaign_values") == [
        (*total[0], 0, 0)
    ]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Journey]:
    """An account with two metrics "Placed Order"."""
    clock = FastClock()
    with home(tmp_path):
        made = Journey(tmp_path, made_up(clock, metrics=24), clock)
        yield made
        made.close()


def orders_of(account: Account) -> dict[str, str]:
    """Integration -> id, of the metrics "Placed Order"."""
    found = [record for record in account.records("metric") if record["attributes"]["name"] == "Placed Order"]
    return {record["attributes"]["integration"]["name"]: record["id"] for record in found}


@pytest.mark.parametrize("own", [{}, {"conversion_metric": "Placed Order"}, {"conversion_metric": "Placed*"}])
def test_a_conversion_metric_whose_name_several_have_is_an_error_that_lists_them(
    shared: Journey, own: dict[str, Any]
) -> None:
    outcomes = shared.run("campaign_values", "segment_values", start_date=START, campaign_values=own)
    error = outcomes["campaign_values"].error
    assert isinstance(error, ConfigError)
    orders = orders_of(shared.account)
    assert sorted(orders) == ["API", "Shopify"]
    assert all(f'"{identity}" (Placed Order, {name})' in str(error) for name, identity in orders.items())
    assert "conversion_metric under [sources.klaviyo.campaign_values] to the id of one of them" in str(error)
    assert shared.requested("/api/campaign-values-reports") == 0
    assert outcomes["segment_values"].loaded


@pytest.mark.parametrize("integration", ["API", "Shopify"])
def test_the_conversions_of_the_metric_with_an_id_are_counted(shared: Journey, integration: str) -> None:
    chosen = orders_of(shared.account)[integration]
    groups = MESSAGES["campaign_values"]
    shared.load("campaign_values", start_date=START, campaign_values={"conversion_metric": chosen})
    wanted = told(months(truth.campaign_values, shared.account, chosen))
    assert any(row["conversions"] != 0 for row in wanted.values())
    statistics = sorted(next(iter(wanted.values())))
    assert loaded(shared, "campaign_values", groups, "period_start", statistics) == wanted
    assert shared.sql("SELECT DISTINCT conversion_metric_id, conversion_metric_name FROM klaviyo.campaign_values") == [
        (chosen, "Placed Order")
    ]


def test_aggregates_of_a_name_that_two_metrics_have_count_both_and_tell_them_apart(shared: Journey) -> None:
    own = {"metrics": ["Placed Order"], "measurements": ["count"]}
    shared.load("metric_aggregates", start_date=START, metric_aggregates=own)
    counts = dict(shared.sql("SELECT metric_id, sum(count) FROM klaviyo.metric_aggregates GROUP BY 1"))
    first = datetime(2026, 5, 1, 4, tzinfo=UTC)
    assert counts == {
        metric: sum(cell["count"] for cell in truth.aggregates(shared.account, metric, first, END).values())
        for metric in orders_of(shared.account).values()
    }
    assert all(counts.values())


def test_a_metric_that_the_account_does_not_have_ends_this_report_alone(journey: Journey) -> None:
    own = {"conversion_metric": "Placed Ordre"}
    outcomes = journey.run("flow_values", "segment_values", start_date=START, flow_values=own)
    assert isinstance(outcomes["flow_values"].error, ConfigError)
    assert 'no metric "Placed Ordre"; did you mean "Placed Order"?' in str(outcomes["flow_values"].error)
    assert outcomes["segment_values"].loaded
    assert journey.requested("/api/flow-values-reports") == 0


def test_without_the_scope_for_the_timezone_nothing_is_counted_by_another(journey: Journey) -> None:
    journey.server.faults.add(path="/api/accounts", kind="status", status=403, times=None)
    outcomes = journey.run("segment_values", "tags", start_date=START)
    assert isinstance(outcomes["segment_values"].error, AuthError)
    assert "accounts:read" in str(outcomes["segment_values"].error)
    assert journey.requested("/api/segment-values-reports") == 0
    assert outcomes["tags"].loaded


def test_passing_faults_are_tried_again_and_a_refusal_is_not_repeated_for_every_period(journey: Journey) -> None:
    faults, path = journey.server.faults, "/api/campaign-values-reports"
    for fault in ({"kind": "status", "status": 503}, {"kind": "drop"}, {"kind": "truncate"}):
        faults.add(path=path, times=1, **fault)
    journey.load("campaign_values", start_date=START)
    is_true(journey, "campaign_values", MESSAGES["campaign_values"])
    before = journey.rows("campaign_values")
    faults.add(path=path, kind="status", status=400, times=None)
    journey.clock.forward(hours=1)
    outcome = journey.run("campaign_values", start_date="2026-01-01")["campaign_values"]
    assert isinstance(outcome.error, RequestRejected)
    assert outcome.requests <= 2
    assert journey.rows("campaign_values") == before


def test_a_period_that_fails_keeps_its_old_rows_and_is_read_by_the_next_run(journey: Journey) -> None:
    journey.load("campaign_values", start_date=START)
    before = journey.rows("campaign_values")
    journey.clock.forward(hours=1)
    journey.server.faults.add(path="/api/campaign-values-reports", kind="status", status=500, times=None)
    outcome = journey.run("campaign_values", start_date=START)["campaign_values"]
    assert isinstance(outcome.error, TransientError)
    assert journey.rows("campaign_values") == before
    journey.server.faults.clear()
    assert journey.load("campaign_values", start_date=START)["campaign_values"].high_water == END + timedelta(hours=1)


def test_a_quota_that_somebody_else_spent_ends_the_report_until_later(journey: Journey) -> None:
    journey.server.faults.add(
        path="/api/flow-series-reports", kind="status", status=429, retry_after_s=40_000, times=None
    )
    outcomes = journey.run("flow_series", "segment_series", start_date=START)
    assert isinstance(outcomes["flow_series"].error, DailyQuotaExhausted)
    assert outcomes["segment_series"].loaded
    journey.server.faults.clear()
    journey.clock.forward(hours=12)
    assert journey.load("flow_series", start_date=START)["flow_series"].windows[0].start == datetime(
        2026, 5, 1, 4, tzinfo=UTC
    )


class ByTheDay(Limiter):
    """Knows the quota of a day alone, and says so in its headers: minutes of waiting prove nothing here."""

    def ask(self, bucket: tuple[str, ...], burst: int, steady: int, daily: int | None = None) -> Any:
        return super().ask(bucket, 100_000, 100_000, daily)


def spent(outcomes: list[tuple[datetime, Mapping[str, Outcome]]], until: datetime) -> int:
    """Requests of the last 24 hours."""
    return sum(
        outcome["campaign_values"].requests for at, outcome in outcomes if until - timedelta(days=1) < at <= until
    )


def test_a_year_by_days_is_read_in_several_runs_without_a_single_refusal(tmp_path: Path) -> None:
    clock = FastClock()
    account = made_up(clock, events=400, campaigns=30, history_days=364)
    limiter = ByTheDay(clock=lambda: clock.now().timestamp())
    flags: dict[str, Any] = {"start_date": "2025-07-02", "campaign_values": {"interval": "day", "lookback_days": 2}}
    runs: list[tuple[datetime, Mapping[str, Outcome]]] = []
    with home(tmp_path):
        journey = Journey(tmp_path, account, clock, rate_limits=True, limiter=limiter)
        while not runs or runs[-1][1]["campaign_values"].deferred:
            outcomes = journey.load("campaign_values", **flags)
            runs.append((clock.now(), outcomes))
            assert outcomes["campaign_values"].refused == 0
            assert spent(runs, clock.now()) <= 225
            # The newest first: what is there reaches from some day to today without a gap.
            if len(runs) == 1:
                left = outcomes["campaign_values"].deferred
                assert left == [Window(datetime(2025, 7, 2, 4, tzinfo=UTC), datetime(2025, 12, 13, 5, tzinfo=UTC))]
                made = cost_of(current_plans(journey.pipeline(), journey.settings("campaign_values", **flags), clock))
                assert made.reports[0].requests + made.reports[0].left == 164 + 3
            clock.forward(hours=12)
            journey.forget()
        asked = [request.path for request in journey.server.requests]
        found = journey.sql("SELECT period_start, sum(delivered), sum(clicks) FROM klaviyo.campaign_values GROUP BY 1")
        journey.close()
    assert len(runs) == 4
    assert asked
    orders, statistics = truth.metric_id(account), ("delivered", "clicks")

    def summed(first: date, last: date) -> tuple[float, ...]:
        rows = truth.campaign_values(account, first, last, orders)
        return tuple(sum(row["statistics"][name] for row in rows) for name in statistics)

    by_day = {day: tuple(rest) for day, *rest in found if day <= TODAY}
    assert len(by_day) > 20
    assert tuple(map(sum, zip(*by_day.values(), strict=True))) == summed(date(2025, 7, 2), TODAY)
    # Each day's numbers are its own.
    assert {day: summed(day, day) for day in [*sorted(by_day)[:5], *sorted(by_day)[-5:]]}.items() <= by_day.items()


def test_a_report_of_many_pages_is_loaded_whole_or_not_at_all(tmp_path: Path) -> None:
    clock = FastClock()
    with home(tmp_path):
        journey = Journey(tmp_path, made_up(clock), clock, report_rows=1)
        journey.server.faults.add(path="/api/flow-series-reports", kind="status", status=500, after=1, times=None)
        failed = journey.run("flow_series", start_date="2026-06-01")["flow_series"]
        assert isinstance(failed.error, TransientError)
        # A page is here and waits for the others: half of a period would replace the whole.
        assert journey.sql("SELECT count(*) FROM klaviyo.flow_series") == [(0,)]
        journey.server.faults.clear()
        loaded = journey.load("flow_series", start_date="2026-06-01")["flow_series"]
        orders = truth.metric_id(journey.account)
        rows = truth.flow_series(journey.account, date(2026, 6, 1), TODAY, orders)
        groups = {tuple(row["groupings"].values()) for row in rows}
        assert loaded.requests == len(groups) > 1
        wanted = [(len(groups), sum(row["statistics"]["delivered"] for row in rows))]
        found = journey.sql("SELECT count(DISTINCT flow_message_id), sum(delivered) FROM klaviyo.flow_series")
        journey.close()
    assert found == wanted


def test_a_period_in_which_nothing_is_counted_any_more_keeps_no_old_numbers(journey: Journey) -> None:
    journey.load("flow_series", start_date=START)
    assert journey.ids("flow_series")
    nobody = {"filter": 'equals(flow_id,"nobody")'}
    assert journey.load("flow_series", start_date=START, flow_series=nobody)["flow_series"].rows == 0
    assert journey.ids("flow_series") == []
    journey.load("flow_series", start_date=START)
    is_true(journey, "flow_series", MESSAGES["flow_series"])
