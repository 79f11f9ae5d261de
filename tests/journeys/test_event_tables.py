"""Events of chosen metrics, in one table or one each: nothing lost or doubled, whatever is chosen from run to run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dlt
import pytest

from sources.klaviyo import klaviyo
from sources.klaviyo.catalog.model import EventMetric
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.errors import ConfigError, RequestRejected
from sources.klaviyo.load.stored_state import current_plans
from sources.klaviyo.plan.estimate import cost_of
from sources.klaviyo.plan.event_metrics import chosen
from tests.support.journeys import KEY, NOW, FakeClock, Journey, doubled, home, small_account

EVENTS = reports(DEFAULT_REVISION)["events"]
NOBODY: Mapping[str, EventMetric] = {}
FIRST_DAY = datetime(2026, 5, 2, tzinfo=UTC)


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    """Three metrics with ten events each, over two months."""
    clock = FakeClock()
    with home(tmp_path):
        account = small_account(clock, profiles=1)
        made = Journey(tmp_path, account, clock)
        for identity, name in (("Plac01", "Placed Order"), ("Open01", "Opened Email"), ("Open02", "Opened Push")):
            add_metric(made, identity, name)
        yield made
        made.close()


def add_metric(journey: Journey, identity: str, name: str, events: int = 10) -> None:
    integration = {"id": "0rG4eQ", "name": "Shop", "category": "eCommerce"}
    journey.account.add("metric", {"id": identity, "attributes": {"name": name, "integration": integration}})
    for place in range(events):
        add_event(journey, identity, FIRST_DAY + place * timedelta(days=5, hours=1))


def add_event(journey: Journey, metric: str, at: datetime) -> str:
    given = {"attributes": {"datetime": at}, "relationships": {"metric": metric}}
    return journey.account.add("event", given)


def load(journey: Journey, *metrics: str, split: bool = False, **flags: Any) -> list[str]:
    """A run over events of these metrics; the reports that it had."""
    chosen_metrics = {"metrics": list(metrics), "split_tables": split} if metrics else {}
    return sorted(journey.load("events", events=chosen_metrics, **flags))


def of(journey: Journey, *metrics: str) -> list[str]:
    """The ids of the events of metrics up to now, sorted."""
    found = []
    for record in journey.account.records("event"):
        metric = record["relationships"]["metric"]["data"]
        past = datetime.fromisoformat(record["attributes"]["datetime"]) < journey.clock.now() - timedelta(seconds=60)
        if metric is not None and metric["id"] in metrics and past:
            found.append(str(record["id"]))
    return sorted(found)


def filters(journey: Journey) -> set[str]:
    """What was asked of events, without the period."""
    return {request.query["filter"].partition("),")[0] for request in journey.server.requests
            if request.path == "/api/events"}  # fmt: skip


# --- which, and what they are called


def named(
    *metrics: tuple[str, str],
    patterns: tuple[str, ...] = ("*",),
    split: bool = True,
    known: Mapping[str, EventMetric] = NOBODY,
) -> dict[str, str]:
    """Id of a metric -> the report that it gets."""
    ids: dict[str, list[str]] = {}
    for identity, name in metrics:
        ids.setdefault(name, []).append(identity)
    made, _ = chosen(ids, EVENTS, patterns, split, known, set(reports(DEFAULT_REVISION)) | {"events_taken"})
    return {report.event_metric.id: report.name for report in made if report.event_metric}


def test_a_table_is_called_like_its_metric() -> None:
    assert named(("UwH1", "Placed Order"), ("X2", "[App] Öffnete  E-Mail!")) == {
        "UwH1": "events_placed_order",
        "X2": "events_app_offnete_e_mail",
    }
    assert named(("UwH1", "Placed Order"), split=False) == {"UwH1": "events_of_placed_order"}


def test_names_that_do_not_tell_metrics_apart_get_the_id_as_well() -> None:
    assert named(("UwH1", "Placed Order"), ("rT2", "placed-order")) == {
        "UwH1": "events_placed_order_uwh1",
        "rT2": "events_placed_order_rt2",
    }
    assert named(("A1", "注文"), ("B2", "Taken"), ("C3", "Of Placed Order")) == {
        "A1": "events_a1",
        "B2": "events_taken_b2",
        "C3": "events_placed_order_c3",
    }
    in_case = named(("AbC", "Same"), ("aBc", "Same"))
    assert len(set(in_case.values())) == 2
    assert in_case["AbC"] == "events_same_abc"


def test_the_longest_name_fits_every_destination() -> None:
    long = "An event with a name that goes on and on until nobody remembers how it began"
    names = named(("AbCdEfGh01", long), ("AbCdEfGh02", long + "!"), split=False)
    assert len(set(names.values())) == 2
    assert max(map(len, names.values())) <= 63


def test_a_metric_keeps_its_table_and_stays_chosen_when_it_is_renamed() -> None:
    known = {"events_received_sms": EventMetric("Sms1", ("Received SMS",))}
    assert named(("Sms1", "Received Text Message"), patterns=("Received SMS",), known=known) == {
        "Sms1": "events_received_sms"
    }
    # Another one may take the old name; the table stays with the id.
    both = named(("Sms1", "Received Text Message"), ("New1", "Received SMS"), patterns=("Received SMS",), known=known)
    assert both == {"Sms1": "events_received_sms", "New1": "events_received_sms_new1"}
    # In one table it is another report, which knows nothing of that one's past.
    assert named(("Sms1", "Received SMS"), split=False, known=known) == {"Sms1": "events_of_received_sms"}


def test_patterns_mean_what_they_say() -> None:
    metrics = [("1", "Opened Email"), ("2", "Opened (Push)"), ("3", "opened push"), ("4", "Reopened")]
    assert set(named(*metrics, patterns=("Opened*",))) == {"1", "2", "3"}
    assert set(named(*metrics, patterns=("Opened (Push)",))) == {"2"}
    assert set(named(*metrics, patterns=("*opened", "* email"))) == {"1", "4"}


# --- journeys


def test_the_events_of_chosen_metrics_are_in_one_table(journey: Journey) -> None:
    assert load(journey, "Placed Order", "Opened P*") == ["events_of_opened_push", "events_of_placed_order"]
    assert journey.tables() == ["events"]
    assert journey.ids("events") == of(journey, "Plac01", "Open02")
    assert filters(journey) == {'equals(metric_id,"Plac01"', 'equals(metric_id,"Open02"'}
    assert journey.requested("/api/metrics") == 1


def test_each_metric_has_a_table_with_the_columns_of_events(journey: Journey) -> None:
    load(journey, "*", split=True)
    assert journey.tables() == ["events_opened_email", "events_opened_push", "events_placed_order"]
    for metric, table in (("Open01", "events_opened_email"), ("Plac01", "events_placed_order")):
        assert journey.ids(table) == of(journey, metric) != []
        assert {row[0] for row in journey.sql(f"SELECT metric_id FROM klaviyo.{table}")} == {metric}
    load(journey)
    columns = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '{}' ORDER BY 1"
    assert journey.sql(columns.format("events")) == journey.sql(columns.format("events_placed_order"))


@pytest.mark.parametrize("split", [False, True])
def test_what_is_chosen_later_has_its_past_read_and_the_others_are_not_read_again(
    journey: Journey, split: bool
) -> None:
    load(journey, "Placed Order", split=split)
    journey.clock.forward(days=3)
    late = add_event(journey, "Plac01", journey.clock.now() - timedelta(hours=2))
    add_metric(journey, "New001", "Opened Letter")
    load(journey, "Placed Order", "Opened*", split=split)
    asked = {request.query["filter"] for request in journey.server.requests if request.path == "/api/events"}
    (of_placed,) = [told for told in asked if "Plac01" in told]
    assert "greater-or-equal(datetime,2026-06-29T11:59:30Z)" in of_placed
    assert all("greater-or-equal(datetime,2026-05-01T00:00:00Z)" in told for told in asked - {of_placed})
    found = [identity for table in journey.tables() for identity in journey.ids(table)]
    assert late in found
    assert sorted(found) == of(journey, "Plac01", "Open01", "Open02", "New001")


def test_no_event_is_lost_or_doubled_however_the_choice_changes(journey: Journey) -> None:
    choices: list[tuple[str, ...]] = [("Placed Order",), (), ("Opened*",), ("*",), (), ("Placed Order",), ("Opened*",)]
    metrics = ("Plac01", "Open01", "Open02")
    for choice in choices:
        journey.clock.forward(days=2)
        for metric in metrics:
            add_event(journey, metric, journey.clock.now() - timedelta(hours=30))
            add_event(journey, metric, journey.clock.now() - timedelta(hours=1))
        load(journey, *choice, lookback_days=0.01)
        found = journey.ids("events")
        assert doubled(found) == {}
        wanted = [m for m, name in zip(metrics, ("Placed Order", "Opened Email", "Opened Push"), strict=True)
                  if not choice or choice == ("*",) or name.startswith(choice[0].rstrip("*"))]  # fmt: skip
        assert set(of(journey, *wanted)) <= set(found), choice
        assert set(found) <= set(of(journey, *metrics))


def test_what_was_loaded_with_all_events_is_not_read_again_for_one_metric(journey: Journey) -> None:
    load(journey)
    journey.clock.forward(days=3)
    load(journey, "Placed Order")
    asked = {request.query["filter"] for request in journey.server.requests if request.path == "/api/events"}
    assert asked == {
        'equals(metric_id,"Plac01"),greater-or-equal(datetime,2026-06-29T11:59:30Z),'
        "less-than(datetime,2026-07-03T11:59:30Z)"
    }
    # Tables of their own hold none of it.
    load(journey, "Placed Order", split=True)
    assert journey.ids("events_placed_order") == of(journey, "Plac01")


def test_a_renamed_metric_goes_on_in_its_table_even_if_the_local_state_is_lost(journey: Journey) -> None:
    load(journey, "Placed Order", split=True)
    journey.account.update("metric", "Plac01", {"name": "Bestellung"})
    journey.clock.forward(days=2)
    add_event(journey, "Plac01", journey.clock.now() - timedelta(hours=3))
    journey.forget()
    assert load(journey, "Placed Order", split=True) == ["events_placed_order"]
    assert journey.tables() == ["events_placed_order"]
    assert journey.ids("events_placed_order") == of(journey, "Plac01")
    journey.clock.forward(days=2)
    assert load(journey, "Bestell*", split=True) == ["events_placed_order"]


def test_everything_of_one_metric_does_not_drop_the_others_from_the_table(journey: Journey) -> None:
    load(journey)
    early = add_event(journey, "Plac01", datetime(2020, 1, 1, tzinfo=UTC))
    load(journey, "Placed Order", extract="all")
    assert early in journey.ids("events")
    assert journey.ids("events") == of(journey, "Plac01", "Open01", "Open02")
    gone = of(journey, "Open01")[0]
    load(journey, "*", split=True)
    journey.account.remove("event", gone)
    load(journey, "*", split=True, extract="all")
    assert journey.ids("events_opened_email") == of(journey, "Open01")
    assert journey.ids("events_placed_order") == of(journey, "Plac01")


def test_a_name_that_no_metric_has_is_an_error_that_names_the_near_ones(journey: Journey) -> None:
    journey.account.add("custom-metric", {"attributes": {"name": "Loyal Orders"}})
    settings = {"metrics": ["Placed Ordr", "Opened Push", "Loyal*"], "split_tables": True}
    outcomes = journey.run("events", "metrics", events=settings)
    error = outcomes["events"].error
    assert isinstance(error, ConfigError)
    assert str(error).splitlines() == [
        'events: metrics "Placed Ordr": the account has no metric of this name; did you mean "Placed Order"?',
        'events: metrics "Loyal*": this is a custom metric, by which Klaviyo filters no events: name the metrics that '
        "it is made of.",
    ]
    # What can be read is loaded.
    assert journey.tables() == ["events_opened_push", "metrics"]
    assert journey.ids("events_opened_push") == of(journey, "Open02")


def test_two_hundred_metrics_take_the_threads_and_the_limits_of_one_report(tmp_path: Path) -> None:
    clock = FakeClock()
    with home(tmp_path):
        account = small_account(clock, profiles=5, events=600, metrics=40)
        journey = Journey(tmp_path, account, clock, unfilterable_metrics=())
        for place in range(160):
            add_metric(journey, f"M{place:05d}", f"Metric {place}", events=1)
        try:
            load(journey, "*")
            ids = [record["id"] for record in journey.account.records("metric")]
            assert len(ids) >= 200
            assert journey.ids("events") == [
                identity for identity in of(journey, *ids) if identity in {*journey.ids("events")}
            ]
            asked = [request for request in journey.server.requests if request.path == "/api/events"]
            assert len(asked) == len(ids)
            wanted = {
                str(record["id"])
                for record in journey.account.records("event")
                if record["relationships"]["metric"]["data"]
                and datetime(2026, 5, 1, tzinfo=UTC)
                <= datetime.fromisoformat(record["attributes"]["datetime"]).astimezone(UTC)
                < NOW - timedelta(seconds=60)
            }
            assert {*journey.ids("events")} == wanted
        finally:
            journey.close()


def test_a_plan_counts_the_look_up_and_names_what_it_cannot_know(journey: Journey) -> None:
    settings = journey.settings("events", events={"metrics": ["Opened*"]})
    cost = cost_of(current_plans(journey.pipeline(), settings))
    assert [(one.plan.report.name, one.requests, one.per_parent) for one in cost.reports] == [
        ("events", 0, "metrics that match")
    ]
    assert (cost.requests, cost.bounded) == (1, False)
    load(journey, "Opened*")
    cost = cost_of(current_plans(journey.pipeline(), settings))
    assert [(one.plan.report.name, one.requests, one.per_parent) for one in cost.reports] == [
        ("events_of_opened_email", 1, None),
        ("events_of_opened_push", 1, None),
        ("events", 0, "other metrics that match"),
    ]
    assert cost.requests == 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"metrics": "  "}, 'events: metrics = "  " (set in the flag --metrics)'),
        ({"metrics": [1]}, "a list of names of metrics, `*` for any text is needed"),
        ({"split_tables": True}, "events: split_tables (set in the flag --split-tables) needs metrics"),
        ({"metrics": ["*"], "split_tables": "maybe"}, "true or false is needed"),
    ],
)
def test_a_wrong_choice_is_refused_before_any_request(journey: Journey, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        journey.run("events", events=wrong)
    assert said in str(caught.value)
    assert not journey.server.requests


def test_metrics_are_chosen_for_events_alone(journey: Journey) -> None:
    with pytest.raises(ConfigError, match='unknown setting "metrics" for report profiles'):
        journey.settings("profiles", profiles={"metrics": ["*"]})


def test_from_code_metrics_are_chosen_and_tables_kept_all_the_same(journey: Journey) -> None:
    def once(*names: str) -> None:
        pipeline = dlt.pipeline("klaviyo", destination=dlt.destinations.duckdb("warehouse.duckdb"),
                                dataset_name="klaviyo", pipelines_dir="pipelines")  # fmt: skip
        pipeline.run(
            klaviyo(
                reports=["events"],
                start_date="2026-05-01",
                end_date="2026-06-20",
                api_key=KEY,
                base_url=journey.server.url,
                report_settings={"events": {"metrics": list(names), "split_tables": True}},
            )
        )

    once("Placed*")
    assert journey.ids("events_placed_order") == of(journey, "Plac01")
    journey.account.update("metric", "Plac01", {"name": "Bestellung"})
    journey.forget()
    once("Placed*")
    assert journey.tables() == ["events_placed_order"]
    with pytest.raises(ConfigError, match="the account has no metric of this name"):
        once("Nothing")


@pytest.mark.parametrize("split", [True, False])
def test_the_events_of_all_metrics_that_share_a_chosen_name_come_once_each(journey: Journey, split: bool) -> None:
    add_metric(journey, "Plac02", "Placed Order")
    made = load(journey, "Placed Order", split=split)
    tables = ["events_placed_order_plac01", "events_placed_order_plac02"] if split else ["events"]
    assert [name for name in journey.tables() if name.startswith("events")] == tables
    assert len(made) == 2
    assert sorted(one for table in tables for one in journey.ids(table)) == of(journey, "Plac01", "Plac02")
    if split:
        assert journey.ids("events_placed_order_plac02") == of(journey, "Plac02")


def test_a_second_metric_of_a_name_leaves_the_table_of_the_first_as_it_is(journey: Journey) -> None:
    load(journey, "Placed Order", split=True)
    add_metric(journey, "Plac02", "Placed Order")
    load(journey, "Placed Order", split=True)
    assert journey.ids("events_placed_order") == of(journey, "Plac01")
    assert journey.ids("events_placed_order_plac02") == of(journey, "Plac02")


# --- metrics by which Klaviyo does not filter

VIEWED = ("View1", "Viewed Form")


@pytest.mark.parametrize("split", [True, False])
def test_a_metric_that_a_pattern_chose_and_nobody_can_filter_by_is_left_out_with_a_warning(
    journey: Journey, caplog: pytest.LogCaptureFixture, split: bool
) -> None:
    add_metric(journey, *VIEWED)
    own = {"events": {"metrics": ["*"], "split_tables": split}}
    outcomes = journey.load("events", **own)
    left_out = "events_viewed_form" if split else "events_of_viewed_form"
    assert {name for name, outcome in outcomes.items() if outcome.left_out} == {left_out}
    assert outcomes[left_out].rows == 0
    (warning,) = [record.getMessage() for record in caplog.records if "Viewed Form" in record.getMessage()]
    assert warning.startswith('events: metrics "Viewed Form": Klaviyo does not filter events by this metric')
    assert left_out not in journey.tables()
    tables = [name for name in journey.tables() if name.startswith("events")]
    assert sorted(one for name in tables for one in journey.ids(name)) == of(journey, "Plac01", "Open01", "Open02")
    # It is asked again: once Klaviyo filters by it, all of its past comes.
    journey.server.api._unfilterable_metrics = frozenset()
    journey.clock.forward(days=9)
    later = journey.load("events", **own)
    assert not later[left_out].left_out
    table = left_out if split else "events"
    assert {*of(journey, "View1")} <= {*journey.ids(table)}


def test_a_metric_that_is_named_and_nobody_can_filter_by_is_an_error_and_the_others_load(journey: Journey) -> None:
    add_metric(journey, *VIEWED)
    settings = {"metrics": ["viewed form", "Viewed*", "Placed Order"], "split_tables": True}
    outcomes = journey.run("events", events=settings, split_by="week")
    failed = outcomes["events_viewed_form"]
    assert isinstance(failed.error, ConfigError)
    assert 'events: metrics "Viewed Form": Klaviyo does not filter events by this metric' in str(failed.error)
    assert "Metric IDs ['View1'] do not exist" in str(failed.error)
    assert not failed.loaded
    assert failed.high_water is None
    assert outcomes["events_placed_order"].loaded
    assert journey.ids("events_placed_order") == of(journey, "Plac01")


def test_what_was_loaded_of_a_metric_stays_when_klaviyo_no_longer_filters_by_it(journey: Journey) -> None:
    own = {"events": {"metrics": ["Op*"], "split_tables": True}}
    journey.load("events", **own)
    before = journey.rows("events_opened_email")
    assert before
    journey.server.api._unfilterable_metrics = frozenset({"Opened Email"})
    for extract in ("all", "incremental"):
        journey.clock.forward(hours=1)
        outcomes = journey.load("events", extract=extract, **own)
        assert outcomes["events_opened_email"].left_out
        assert not outcomes["events_opened_push"].left_out
        assert journey.rows("events_opened_email") == before


def test_a_plain_pipeline_does_not_empty_the_table_of_a_metric_that_klaviyo_no_longer_filters_by(
    journey: Journey,
) -> None:
    events = {"metrics": ["Op*"], "split_tables": True, "extract": "all"}

    def load_plainly() -> None:
        pipeline = journey.pipeline()
        source = klaviyo(
            api_key=KEY, base_url=journey.server.url, start_date="2026-05-01", reports=["events"],
            report_settings={"events": events},
        )  # fmt: skip
        pipeline.run(source)

    load_plainly()
    before = journey.rows("events_opened_email")
    assert before
    journey.server.api._unfilterable_metrics = frozenset({"Opened Email"})
    with pytest.raises(Exception, match="Klaviyo does not filter events by this metric"):
        load_plainly()
    assert journey.rows("events_opened_email") == before


def test_a_custom_report_of_such_a_metric_says_so(journey: Journey) -> None:
    add_metric(journey, *VIEWED)
    custom = {"forms_seen": {"endpoint": "events", "metric": "Viewed Form"}}
    outcome = journey.run("forms_seen", custom_reports=custom)["forms_seen"]
    assert isinstance(outcome.error, ConfigError)
    assert 'forms_seen: metric = "Viewed Form": Klaviyo does not filter events by this metric' in str(outcome.error)


def test_any_other_refusal_of_a_metric_is_an_error_for_a_pattern_too(journey: Journey) -> None:
    journey.server.faults.add(path="/api/events", kind="status", status=400, times=None, query={"filter": "Open01"})
    outcomes = journey.run("events", events={"metrics": ["Opened*"], "split_tables": True})
    assert isinstance(outcomes["events_opened_email"].error, RequestRejected)
    assert outcomes["events_opened_push"].loaded
