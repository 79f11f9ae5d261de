"""Journeys of two definitions of one analytics report, side by side under two names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sources.klaviyo import klaviyo, klaviyo_report
from sources.klaviyo.cli.main import main
from sources.klaviyo.errors import ConfigError
from sources.klaviyo.extract.tuning import DEFAULT, Tuning
from sources.klaviyo.load.stored_state import current_plans
from sources.klaviyo.plan.estimate import cost_of
from tests.journeys.test_analytics_journeys import END, MESSAGES, TODAY, FastClock, loaded, made_up, told
from tests.journeys.test_redefinition import SMALL, as_read_at_once, into, numbers
from tests.support import truth_reports as truth
from tests.support.journeys import KEY, Journey, doubled, home

PATH = "/api/campaign-values-reports"
GROUPS = MESSAGES["campaign_values"]
START = "2026-06-01"
FIRST = date(2026, 6, 1)
BY_MONTH = [(FIRST, TODAY)]
BY_DAY = [(FIRST + timedelta(days=number),) * 2 for number in range((TODAY - FIRST).days + 1)]
DAILY = {"like": "campaign_values", "interval": "day"}
VIEWED = "Viewed Product"


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FastClock()
    with home(tmp_path):
        made = Journey(tmp_path, made_up(clock, history_days=20, events=1200), clock)
        yield made
        made.close()


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> FastClock:
    """Lets runs of a source have the clock of the journey."""
    clock = FastClock()
    monkeypatch.setattr("sources.klaviyo.load.prepare.SystemClock", lambda: clock)
    return clock


def is_true(journey: Journey, report: str, periods: list[Any], metric: str = "Placed Order") -> None:
    """The table holds what happened in these periods, and nothing else."""
    counted = truth.metric_id(journey.account, metric)
    wanted = told(
        [
            {**row, "date_time": first.isoformat()}
            for first, last in periods
            for row in truth.campaign_values(journey.account, first, last, counted)
        ]
    )
    assert wanted
    statistics = sorted(next(iter(wanted.values())))
    assert loaded(journey, report, GROUPS, "period_start", statistics) == wanted
    assert doubled(journey.ids(report)) == {}


def columns(journey: Journey, report: str) -> list[Any]:
    return journey.sql(
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns "
        f"WHERE table_schema = 'klaviyo' AND table_name = '{report}' ORDER BY ordinal_position"
    )


@pytest.mark.parametrize("tuning", [DEFAULT, SMALL], ids=["at-once", "piece-by-piece"])
def test_two_definitions_stand_side_by_side_and_each_is_exact(journey: Journey, tuning: Tuning) -> None:
    journey.tuning = tuning
    custom = {"daily": {**DAILY, "conversion_metric": VIEWED, "lookback_days": 2}}
    outcomes = journey.load("campaign_values", "daily", start_date=START, custom_reports=custom)
    assert journey.tables() == ["campaign_values", "daily"]
    is_true(journey, "campaign_values", BY_MONTH)
    is_true(journey, "daily", BY_DAY, VIEWED)
    assert columns(journey, "daily") == columns(journey, "campaign_values")
    assert journey.sql("SELECT DISTINCT interval, conversion_metric_name FROM klaviyo.daily") == [("day", VIEWED)]
    assert {name: outcome.requests for name, outcome in outcomes.items()} == {"campaign_values": 1, "daily": 30}
    assert journey.requested(PATH) == 31
    # What is loaded of one says nothing about the other, and neither is read from the start again.
    journey.forget()
    journey.clock.forward(hours=12)
    outcomes = journey.load("campaign_values", "daily", start_date=START, custom_reports=custom)
    assert outcomes["campaign_values"].requests == 1
    assert outcomes["daily"].requests == 3
    is_true(journey, "campaign_values", BY_MONTH)
    is_true(journey, "daily", BY_DAY, VIEWED)


@pytest.mark.parametrize("tuning", [DEFAULT, SMALL], ids=["at-once", "piece-by-piece"])
def test_a_definition_that_changes_is_replaced_and_the_other_one_is_untouched(journey: Journey, tuning: Tuning) -> None:
    changed = {"like": "campaign_values", "interval": "week", "statistics": ["delivered", "clicks"]}
    both = ("campaign_values", "daily")
    journey.load(*both, start_date=START, custom_reports={"daily": DAILY})
    journey.tuning = tuning
    before, ids = numbers(journey, "campaign_values"), journey.ids("daily")
    journey.clock.forward(hours=24)
    journey.forget()
    # Half-way, the old rows are in the table and the new ones are staged beside it, under its own name.
    journey.server.faults.add(path=PATH, kind="status", status=500, after=3, times=None)
    assert journey.run("daily", start_date=START, custom_reports={"daily": changed})["daily"].unfinished is not None
    assert journey.ids("daily") == ids
    assert {"campaign_values", "daily"} <= {*journey.tables()} <= {"campaign_values", "daily", "daily__next"}
    journey.server.faults.clear()
    journey.clock.forward(hours=24)
    outcomes = journey.load(*both, start_date=START, end_date="2026-06-30", custom_reports={"daily": changed})
    assert outcomes["daily"].unfinished is None
    assert outcomes["campaign_values"].unfinished is None
    own = {"interval": "week", "statistics": ["delivered", "clicks"]}
    whole = {"start_date": START, "end_date": "2026-06-30"}
    assert numbers(journey, "daily") == as_read_at_once(journey, **whole, campaign_values=own)
    assert numbers(journey, "campaign_values") == before
    is_true(journey, "campaign_values", BY_MONTH)


def test_a_predefined_report_that_changes_leaves_its_second_definition_untouched(journey: Journey) -> None:
    both = ("campaign_values", "daily")
    journey.load(*both, start_date=START, custom_reports={"daily": DAILY})
    before = journey.rows("daily")
    journey.clock.forward(hours=24)
    week = {"interval": "week"}
    journey.load("campaign_values", start_date=START, campaign_values=week, custom_reports={"daily": DAILY})
    assert journey.rows("daily") == before
    assert numbers(journey) == as_read_at_once(journey, start_date=START, campaign_values=week)


def test_metric_aggregates_have_a_second_definition_too_and_share_no_quota(journey: Journey) -> None:
    custom = {"orders_by_hour": {"like": "metric_aggregates", "interval": "hour", "metrics": ["Placed Order"]}}
    outcomes = journey.load("metric_aggregates", "orders_by_hour", start_date=START, custom_reports=custom)
    assert all(outcome.deferred == [] for outcome in outcomes.values())
    orders = truth.metric_id(journey.account)
    start, zone = datetime(2026, 6, 1, 4, tzinfo=UTC), "America/New_York"
    for report, interval in (("metric_aggregates", "day"), ("orders_by_hour", "hour")):
        wanted = {
            begin: (cell["count"], pytest.approx(cell["sum_value"]), cell["unique"])
            for (_, begin), cell in truth.aggregates(
                journey.account, orders, start, END, interval, timezone=zone
            ).items()
        }
        found = journey.sql(
            f"SELECT starts_at, count, sum_value, unique_profiles FROM klaviyo.{report} "
            f"WHERE count > 0 AND metric_id = '{orders}'"
        )
        assert wanted
        assert {begin: tuple(numbers) for begin, *numbers in found} == wanted
        assert len(found) == len(wanted)
    assert journey.sql("SELECT DISTINCT metric_name FROM klaviyo.orders_by_hour") == [("Placed Order",)]


def test_reports_of_one_endpoint_share_its_quota_until_both_are_complete(journey: Journey) -> None:
    custom = {"daily": DAILY, "viewed": {**DAILY, "conversion_metric": VIEWED}}
    given: dict[str, Any] = {"start_date": "2026-01-01", "custom_reports": custom}
    chosen = journey.settings("daily", "viewed", **given)
    planned = {
        one.plan.report.name: (one.requests, one.left)
        for one in cost_of(current_plans(journey.pipeline(), chosen, journey.clock)).reports
    }
    assert planned == {"daily": (100, 81), "viewed": (100, 81)}
    outcomes = journey.load("daily", "viewed", **given)
    assert {name: outcome.requests for name, outcome in outcomes.items()} == {"daily": 100, "viewed": 100}
    assert journey.requested(PATH) == 200
    assert all(outcome.deferred for outcome in outcomes.values())
    # What both have sent counts for a third one, too.
    journey.clock.forward(hours=1)
    journey.forget()
    outcomes = journey.load("daily", "viewed", "campaign_values", **given)
    sent = {name: outcome.requests for name, outcome in outcomes.items()}
    assert sum(sent.values()) == journey.requested(PATH) <= 9
    assert all(sent.values())
    for _ in range(3):
        journey.clock.forward(hours=24)
        outcomes = journey.load("daily", "viewed", end_date="2026-06-30", **given)
    assert not any(outcome.deferred for outcome in outcomes.values())
    is_true(journey, "daily", BY_DAY)
    is_true(journey, "viewed", BY_DAY, VIEWED)


def test_a_table_that_was_made_of_another_report_is_kept_and_the_others_are_loaded(journey: Journey) -> None:
    journey.load("mine", start_date=START, custom_reports={"mine": {"like": "form_values", "interval": "week"}})
    before = journey.rows("mine")
    for table, word in (({"like": "form_series", "interval": "week"}, "form_series"), ({"endpoint": "tags"}, "raw")):
        outcomes = journey.run("mine", "tags", start_date=START, custom_reports={"mine": table})
        error = outcomes["mine"].error
        assert isinstance(error, ConfigError)
        assert str(error) == (
            f'mine: its table was made with like = "form_values", which "{word}" does not fit: drop it with '
            "`dlt pipeline NAME drop mine`, or give the report another name"
        )
        assert outcomes["tags"].loaded
        assert journey.rows("mine") == before


def test_a_metric_that_the_account_does_not_have_is_said_with_the_place_to_set_it(journey: Journey) -> None:
    custom = {"daily": {**DAILY, "conversion_metric": "Placed Ordre"}}
    outcomes = journey.run("campaign_values", "daily", start_date=START, custom_reports=custom)
    assert 'no metric "Placed Ordre"; did you mean "Placed Order"?' in str(outcomes["daily"].error)
    assert "Set conversion_metric under [sources.klaviyo.custom_reports.daily]" in str(outcomes["daily"].error)
    is_true(journey, "campaign_values", BY_MONTH)


def test_as_a_dlt_source_both_are_resources_with_definitions_of_their_own(
    journey: Journey, in_a_hurry: FastClock
) -> None:
    given: dict[str, Any] = {"api_key": KEY, "base_url": journey.server.url, "start_date": START}
    for own in (DAILY, {**DAILY, "interval": "week"}):
        source = klaviyo(**given, reports=["campaign_values", "daily"], custom_reports={"daily": own})
        into().run(source)
        is_true(journey, "campaign_values", BY_MONTH)
        in_a_hurry.forward(hours=12)
    assert numbers(journey, "daily") == as_read_at_once(journey, start_date=START, campaign_values={"interval": "week"})


def test_one_alone_from_code_counts_what_the_other_sent(journey: Journey, in_a_hurry: FastClock) -> None:
    given: dict[str, Any] = {"api_key": KEY, "base_url": journey.server.url, "start_date": "2026-01-01"}
    into().run(klaviyo_report("daily", like="campaign_values", interval="day", **given))
    is_true(journey, "daily", BY_DAY)
    assert journey.requested(PATH) == 181
    into().run(klaviyo_report("viewed", like="campaign_values", interval="day", conversion_metric=VIEWED, **given))
    # The share of a run that follows at once.
    assert journey.requested(PATH) == 181 + 9


WRITTEN = """
[sources.klaviyo]
start_date = 2026-06-01

[sources.klaviyo.custom_reports.campaign_values_daily]
like = "campaign_values"
interval = "day"
conversion_metric = "Placed Order"
"""


def test_the_command_line_knows_it(
    journey: Journey, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOURCES__KLAVIYO__BASE_URL", journey.server.url)
    monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", KEY)
    with home(journey.folder, WRITTEN):
        assert main(["reports", "campaign_values_daily"]) == 0
        shown = capsys.readouterr().out
        assert "like      campaign_values, with a definition of its own" in shown
        assert "settings  interval, statistics, group_by, filter, conversion_metric" in shown
        window = ["--start-date", "2026-06-27", "--end-date", "2026-06-28"]
        assert main(["plan", "campaign_values_daily", "campaign_values", "--json", *window]) == 0
        planned = json.loads(capsys.readouterr().out)["reports"]
        assert [(one["report"], one["least_requests"]) for one in planned] == [
            ("campaign_values_daily", 2), ("campaign_values", 1),
        ]  # fmt: skip
    with home(journey.folder, WRITTEN.replace("Placed Order", "Placed Ordre")):
        # Whether the key may read one of them says nothing about the metric of the other.
        assert main(["check", "campaign_values", "campaign_values_daily", "--json"]) == 1
        verdicts = {one["report"]: one for one in json.loads(capsys.readouterr().out)["reports"]}
        assert verdicts["campaign_values"]["allowed"] is True
        assert 'no metric "Placed Ordre"' in str(verdicts["campaign_values_daily"])
    with home(journey.folder, WRITTEN.replace('"day"', '"year"')):
        assert main(["plan", "campaign_values_daily"]) == 2
        assert (
            'custom report campaign_values_daily: interval = "year" (set in .dlt/config.toml '
            "[sources.klaviyo.custom_reports.campaign_values_daily]): unknown. Allowed: day, week, month."
        ) in capsys.readouterr().err
