"""Journeys of analytics reports whose definition changes: one table holds one definition, the old one or the new one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest

from sources.klaviyo import filter_rows, klaviyo, map_rows
from sources.klaviyo.cli.render import RunReport, show_plan, show_run
from sources.klaviyo.errors import TransientError
from sources.klaviyo.extract.tuning import DEFAULT, Tuning
from sources.klaviyo.load.runner import Unfinished
from sources.klaviyo.load.stored_state import current_plans
from sources.klaviyo.plan import state
from sources.klaviyo.plan.estimate import cost_of
from tests.journeys.test_analytics_journeys import FastClock, made_up
from tests.support.journeys import KEY, Journey, doubled, home

START = "2026-05-01"
BY_DAY = {"interval": "day", "statistics": ["delivered", "clicks", "opens_unique"], "lookback_days": 2}
BY_WEEK = {"interval": "week", "statistics": ["delivered", "clicks"], "lookback_days": 2}
#: Each window in a load package of its own, as far as the windows come one by one.
SMALL = Tuning(table_rows=1, worth_loading_rows=1, package_rows=1)


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FastClock()
    with home(tmp_path):
        made = Journey(tmp_path, made_up(clock), clock)
        yield made
        made.close()


def numbers(journey: Journey, report: str = "campaign_values", dataset: str = "klaviyo") -> list[Any]:
    """All rows, without when they were read."""
    columns = "COLUMNS(c -> c NOT IN ('_dlt_load_id', 'observed_at'))::VARCHAR"
    return journey.sql(f"SELECT {columns} FROM {dataset}.{report} ORDER BY ALL")


def as_read_at_once(journey: Journey, report: str = "campaign_values", **flags: Any) -> list[Any]:
    """The rows that a pipeline has which never knew another definition."""
    name = f"fresh_{len(list(journey.pipelines_dir.glob('fresh_*')))}"
    assert journey.load(report, pipeline=name, **flags)[report].deferred == []
    return numbers(journey, report, name)


def staged(journey: Journey, report: str = "campaign_values") -> int:
    """How many rows are staged."""
    if f"{report}__next" not in journey.tables():
        return 0
    ((rows,),) = journey.sql(f"SELECT count(*) FROM klaviyo.{report}__next")
    return int(rows)


@pytest.mark.parametrize(
    ("report", "before", "after"),
    [
        ("campaign_values", {"interval": "week"}, {"interval": "month"}),
        ("flow_series", {}, {"statistics": ["opens"], "conversion_metric": "Viewed Product"}),
        ("form_values", {"interval": "day", "start_date": "2026-06-01"}, {"group_by": ["form_id", "form_version_id"]}),
        ("metric_aggregates", {"interval": "hour", "start_date": "2026-06-20"}, {"metrics": ["Opened Email"]}),
        ("segment_series", {"interval": "week"}, {"filter": 'equals(segment_id,"nobody")'}),
    ],
)
@pytest.mark.parametrize("tuning", [DEFAULT, SMALL], ids=["at-once", "piece-by-piece"])
def test_a_table_holds_the_rows_of_the_new_definition_alone(
    journey: Journey, report: str, before: dict[str, Any], after: dict[str, Any], tuning: Tuning
) -> None:
    journey.load(report, start_date=START, **{report: before})
    assert numbers(journey, report)
    journey.clock.forward(hours=12)
    journey.forget()
    journey.tuning = tuning
    outcome = journey.load(report, start_date=START, **{report: after})[report]
    assert outcome.unfinished is None
    assert numbers(journey, report) == as_read_at_once(journey, report, start_date=START, **{report: after})
    assert staged(journey, report) == 0
    # From then on it is read as ever.
    journey.clock.forward(hours=1)
    outcome = journey.load(report, start_date=START, **{report: after})[report]
    assert 1 <= outcome.requests <= 3
    assert journey.tables() in ([report], [report, f"{report}__next"])
    assert doubled(journey.ids(report)) == {}


def test_the_old_rows_stay_until_the_new_definition_is_complete_however_many_runs_that_takes(journey: Journey) -> None:
    journey.load("campaign_values", start_date=START)
    old, done = journey.rows("campaign_values"), []
    for _ in range(20):
        journey.clock.forward(hours=1)
        journey.forget()
        outcome = journey.load("campaign_values", start_date=START, campaign_values=BY_DAY)["campaign_values"]
        assert outcome.requests <= 9
        if outcome.unfinished is None:
            break
        done.append(outcome.unfinished)
        assert journey.rows("campaign_values") == old
        assert outcome.high_water is None
    # 61 days, of which the last one is not over: it is asked for again at the end.
    assert done == [Unfinished(number, 61) for number in (9, 17, 26, 35, 44, 53)]
    assert numbers(journey) == as_read_at_once(journey, start_date=START, campaign_values=BY_DAY)
    assert staged(journey) == 0
    assert journey.load("campaign_values", start_date=START, campaign_values=BY_DAY)["campaign_values"].high_water


def test_a_definition_that_changes_again_half_way_begins_again(journey: Journey) -> None:
    journey.load("campaign_values", start_date=START)
    old = journey.rows("campaign_values")
    journey.clock.forward(hours=1)
    journey.load("campaign_values", start_date=START, campaign_values=BY_DAY)
    assert staged(journey) > 0
    journey.clock.forward(hours=1)
    third = journey.load("campaign_values", start_date=START, campaign_values=BY_WEEK)["campaign_values"]
    # Ten weeks, with the share of an hour.
    assert third.unfinished == Unfinished(9, 10)
    assert journey.rows("campaign_values") == old
    journey.clock.forward(hours=1)
    journey.load("campaign_values", start_date=START, campaign_values=BY_WEEK)
    assert numbers(journey) == as_read_at_once(journey, start_date=START, campaign_values=BY_WEEK)
    assert staged(journey) == 0


@pytest.mark.parametrize("forgets", [False, True])
def test_back_to_the_old_definition_half_way_the_table_is_read_on_and_nothing_stays_staged(
    journey: Journey, forgets: bool
) -> None:
    journey.load("campaign_values", start_date=START)
    journey.clock.forward(hours=1)
    journey.load("campaign_values", start_date=START, campaign_values=BY_DAY)
    journey.clock.forward(hours=1)
    if forgets:
        journey.forget()
    outcome = journey.load("campaign_values", start_date=START)["campaign_values"]
    assert outcome.requests == 2
    assert outcome.unfinished is None
    assert numbers(journey) == as_read_at_once(journey, start_date=START)
    assert staged(journey) == 0
    # And forth: what was staged before counts for nothing.
    journey.clock.forward(hours=1)
    outcome = journey.load("campaign_values", start_date=START, campaign_values=BY_DAY)["campaign_values"]
    assert outcome.unfinished == Unfinished(9, 61)
    journey.clock.forward(hours=24)
    journey.load("campaign_values", start_date=START, campaign_values=BY_DAY)
    assert numbers(journey) == as_read_at_once(journey, start_date=START, campaign_values=BY_DAY)


def test_a_request_that_fails_half_way_keeps_the_old_rows_and_what_is_staged(journey: Journey) -> None:
    journey.load("campaign_values", start_date=START)
    old, faults = journey.rows("campaign_values"), journey.server.faults
    journey.clock.forward(hours=24)
    faults.add(path="/api/campaign-values-reports", kind="status", status=500, after=12, times=None)
    outcome = journey.run("campaign_values", start_date=START, campaign_values=BY_DAY)["campaign_values"]
    assert isinstance(outcome.error, TransientError)
    assert outcome.unfinished is not None
    assert journey.rows("campaign_values") == old
    faults.clear()
    journey.clock.forward(hours=24)
    left = 62 - outcome.unfinished.done
    outcome = journey.load("campaign_values", start_date=START, campaign_values=BY_DAY)["campaign_values"]
    assert outcome.unfinished is None
    # Those of the lookback and the days that have passed since.
    assert outcome.requests <= left + 5
    assert numbers(journey) == as_read_at_once(journey, start_date=START, campaign_values=BY_DAY)


def test_an_earlier_start_is_no_other_definition(journey: Journey) -> None:
    journey.load("campaign_values", start_date="2026-06-01")
    journey.clock.forward(hours=1)
    outcome = journey.load("campaign_values", start_date=START)["campaign_values"]
    assert outcome.unfinished is None
    assert journey.tables() == ["campaign_values"]
    assert numbers(journey) == as_read_at_once(journey, start_date=START)


def test_a_table_in_another_timezone_is_read_again(journey: Journey) -> None:
    journey.load("flow_series", start_date=START)
    account = next(journey.account.records("account"))["id"]
    journey.account.update("account", account, {"timezone": "Asia/Tokyo"})
    journey.clock.forward(hours=12)
    journey.load("flow_series", start_date=START)
    # Not a day twice, by either calendar.
    assert numbers(journey, "flow_series") == as_read_at_once(journey, "flow_series", start_date=START)


def test_a_table_of_several_definitions_that_an_earlier_version_left_holds_one_after_the_next_run(
    journey: Journey,
) -> None:
    journey.load("campaign_values", start_date=START, campaign_values={"interval": "week"})
    table = "klaviyo.campaign_values"
    journey.load("campaign_values", start_date=START)
    months = journey.sql(f"SELECT sum(delivered) FROM {table}")
    # As version 0.1.0 left them: rows by the week beside those by the month.
    with duckdb.connect(str(journey.folder / "warehouse.duckdb")) as connection:
        connection.execute(f"INSERT INTO {table} SELECT * REPLACE ('week' AS interval, id || 'w' AS id) FROM {table}")
    pipeline = journey.pipeline()
    with pipeline.managed_state() as stored:
        resource = stored["sources"]["klaviyo"]["resources"]["campaign_values"]
        resource["by"] = resource["by"].removeprefix("2|").rpartition("||")[0]
    journey.clock.forward(hours=12)
    journey.load("campaign_values", start_date=START)
    assert journey.sql(f"SELECT sum(delivered), min(interval), max(interval) FROM {table}") == [
        (*months[0], "month", "month")
    ]


def test_after_the_last_run_the_state_refers_to_no_staged_rows(journey: Journey) -> None:
    journey.load("campaign_values", start_date=START)
    journey.clock.forward(hours=1)
    journey.load("campaign_values", start_date=START, campaign_values=BY_DAY)
    own = state.of_report(journey.pipeline().state, "campaign_values")
    kept = state.staged(own)
    assert kept is not None
    assert not state.has_leftover(own)
    builds = journey.sql("SELECT DISTINCT _build FROM klaviyo.campaign_values__next")
    assert builds == [(kept.build,)]
    journey.clock.forward(hours=24)
    journey.load("campaign_values", start_date=START, campaign_values=BY_DAY)
    own = state.of_report(journey.pipeline().state, "campaign_values")
    assert state.staged(own) is None
    assert not state.has_leftover(own)
    assert staged(journey) == 0


# The dlt source in a pipeline of one's own: a single load package a run


def source(journey: Journey, **own: Any) -> Any:
    settings: dict[str, Any] = {"api_key": KEY, "base_url": journey.server.url, "start_date": START}
    return klaviyo(
        **settings, end_date="2026-06-21", reports=["campaign_values"], report_settings={"campaign_values": own}
    )


def into() -> dlt.Pipeline:
    made: dlt.Pipeline = dlt.pipeline(
        "klaviyo",
        destination=dlt.destinations.duckdb("warehouse.duckdb"),
        dataset_name="klaviyo",
        pipelines_dir="pipelines",
    )
    return made


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> FastClock:
    """Lets runs of a source have the clock of the journey."""
    clock = FastClock()
    monkeypatch.setattr("sources.klaviyo.load.prepare.SystemClock", lambda: clock)
    return clock


def test_as_a_dlt_source_a_small_definition_replaces_the_table_in_one_run(
    journey: Journey, in_a_hurry: FastClock
) -> None:
    by_month = source(journey)
    into().run(by_month)
    assert journey.sql("SELECT DISTINCT interval FROM klaviyo.campaign_values") == [("month",)]
    months = journey.rows("campaign_values")
    in_a_hurry.forward(hours=23)
    by_week = source(journey, **BY_WEEK)
    into().run(by_week)
    assert journey.sql("SELECT DISTINCT interval FROM klaviyo.campaign_values") == [("week",)]
    assert journey.tables() == ["campaign_values"]
    weeks = numbers(journey)
    assert weeks
    # The same object, once more, and the first one again.
    in_a_hurry.forward(hours=23)
    into().run(by_week)
    assert numbers(journey) == weeks
    in_a_hurry.forward(hours=23)
    into().run(by_month)
    assert len(journey.rows("campaign_values")) == len(months)
    in_a_hurry.forward(hours=23)
    into().run(by_month)
    assert len(journey.rows("campaign_values")) == len(months)


def test_as_a_dlt_source_a_large_definition_is_staged_and_rows_go_through_a_users_steps_once(
    journey: Journey, in_a_hurry: FastClock
) -> None:
    into().run(source(journey))
    months = journey.rows("campaign_values")

    def run() -> None:
        in_a_hurry.forward(hours=4)
        days = source(journey, **BY_DAY)
        days.campaign_values.add_map(map_rows(lambda row: row | {"clicks": (row["clicks"] or 0) + 1000}))
        days.campaign_values.add_map(map_rows(lambda row: row | {"note": f"{row.get('note') or ''}!"}))
        days.campaign_values.add_map(filter_rows(lambda row: row["period_start"] is not None))
        into().run(days)

    run()
    assert staged(journey) > 0
    assert journey.rows("campaign_values") == months
    run()
    clicks, notes = (
        journey.sql(f"SELECT DISTINCT {what} FROM klaviyo.campaign_values ORDER BY 1")
        for what in ("clicks // 1000", "note")
    )
    assert (clicks, notes) == ([(1,)], [("!",)])
    assert journey.sql("SELECT DISTINCT interval FROM klaviyo.campaign_values") == [("day",)]
    rows = numbers(journey)
    run()
    assert numbers(journey) == rows
    assert staged(journey) == 0


def test_a_run_says_how_far_the_new_definition_is(journey: Journey, capsys: pytest.CaptureFixture[str]) -> None:
    journey.load("campaign_values", start_date=START)
    journey.clock.forward(hours=1)
    plans = current_plans(
        journey.pipeline(), journey.settings("campaign_values", campaign_values=BY_DAY), journey.clock
    )
    show_plan(cost_of(plans))
    outcomes = journey.load("campaign_values", start_date=START, campaign_values=BY_DAY)
    report = RunReport("klaviyo", "klaviyo", "here", [*outcomes.values()])
    show_run(report)
    told = capsys.readouterr().out
    assert "new definition, the table keeps its rows until it is complete; 52 more requests in later runs; " in told
    assert "campaign_values: new definition, 9 of 61 requests done; the table still holds the old one." in told
    assert report.info()["reports"][0]["new_definition"] == {"requests_done": 9, "requests": 61}
