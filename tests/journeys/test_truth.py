"""Every table against the sandbox's own truth, id for id and value for value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sandbox import Account
from sources.klaviyo.load.runner import Outcome
from tests.support import truth
from tests.support.journeys import NOW, FakeClock, Journey, home, sql

START = datetime(2026, 5, 1, tzinfo=UTC)
#: The present less the minute in which Klaviyo may not show everything yet.
END = NOW - timedelta(seconds=60)


@dataclass
class Loaded:
    """What one run over all reports left."""

    folder: Path
    account: Account
    outcomes: dict[str, Outcome]
    paths: list[str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder, clock = tmp_path_factory.mktemp("truth"), FakeClock()
    # The history is longer than the period that is read.
    account = Account(seed=11, now=clock.now, profiles=200, events=3500, campaigns=40, history_days=90)
    with home(folder):
        journey = Journey(folder, account, clock)
        try:
            outcomes = journey.load(start_date="2026-05-01")
            yield Loaded(folder, account, outcomes, [request.path for request in journey.server.requests])
        finally:
            journey.close()


@pytest.mark.parametrize("report", truth.REPORTS)
def test_the_rows_of_a_report_equal_the_truth_value_for_value(whole: Loaded, report: str) -> None:
    wanted = truth.expected(whole.account, report, START, END)
    actual = truth.loaded(whole.folder, report)
    assert wanted, "the account has nothing to compare"
    assert truth.differences(actual, wanted) == []
    assert whole.outcomes[report].rows == len(wanted)
    assert whole.outcomes[report].misfits == whole.outcomes[report].new_fields == {}


@pytest.mark.parametrize("report", truth.REPORTS)
def test_a_table_has_all_declared_columns_in_their_order_and_types(whole: Loaded, report: str) -> None:
    found = sql(
        whole.folder,
        "SELECT column_name, data_type FROM information_schema.columns "
        f"WHERE table_schema = 'klaviyo' AND table_name = '{report}' ORDER BY ordinal_position",
    )
    declared = [(name, truth.DUCKDB_TYPES[kind]) for name, kind in truth.contract(report).types.items()]
    assert found[: len(declared)] == declared
    dlts_own = [name for name, _ in found[len(declared) :]]
    history = ["_row_version", "_dlt_load_id", "_dlt_valid_from", "_dlt_valid_to"]
    assert dlts_own == (history if report in truth.MEMBERS else ["_dlt_load_id"])


def test_every_report_is_a_table_and_nothing_else_is(whole: Loaded) -> None:
    found = sql(
        whole.folder,
        "SELECT table_name FROM information_schema.tables "
        "WHERE table_schema = 'klaviyo' AND NOT starts_with(table_name, '_dlt')",
    )
    assert sorted(name for (name,) in found) == sorted(truth.REPORTS) == sorted(whole.outcomes)


def test_json_columns_can_be_pathed_into(whole: Loaded) -> None:
    cities = sql(
        whole.folder,
        "SELECT DISTINCT event_properties->>'$.BillingAddress.City' FROM klaviyo.events "
        "WHERE (event_properties->'$.Items') IS NOT NULL",
    )
    assert cities == [("Łódź",)]
    ((least, number),) = sql(
        whole.folder,
        """SELECT min((event_properties->>'$."$value"')::DECIMAL(18, 2)), count(*) FROM klaviyo.events """
        "WHERE json_type(attribution_ids) = 'ARRAY' AND json_array_length(attributions) > 0",
    )
    assert number > 0
    assert least >= 0


def test_integers_past_two_to_the_53_keep_their_digits(whole: Loaded) -> None:
    found = sql(
        whole.folder,
        "SELECT DISTINCT event_properties->>'$.big' FROM klaviyo.events WHERE (event_properties->>'$.big')::BIGINT > 1",
    )
    in_truth = {
        str(record["attributes"]["event_properties"]["big"])
        for record, _ in truth.records(whole.account, "events", START, END)
        if record["attributes"]["event_properties"].get("big", 1) > 1
    }
    assert {digits for (digits,) in found} == in_truth
    assert all(int(digits) > 2**53 for digits in in_truth)


def test_predictive_analytics_are_off_by_default(whole: Loaded) -> None:
    columns = [name for name in truth.contract("profiles").types if name.startswith("predictive_analytics_")]
    assert len(columns) == 10
    nulls = " AND ".join(f"{name} IS NULL" for name in columns)
    assert sql(whole.folder, f"SELECT count(*) FROM klaviyo.profiles WHERE NOT ({nulls})") == [(0,)]
    # What is asked for is there.
    assert sql(whole.folder, "SELECT count(*) > 20 FROM klaviyo.profiles "
               "WHERE subscriptions_email_marketing_consent = 'SUBSCRIBED'") == [(True,)]  # fmt: skip


def test_predictive_analytics_come_where_the_configuration_asks_for_them(tmp_path: Path) -> None:
    clock = FakeClock()
    account = Account(seed=12, now=clock.now, profiles=120, events=0, lists=2)
    with home(tmp_path, "[sources.klaviyo.profiles]\npredictive_analytics = true\n"):
        journey = Journey(tmp_path, account, clock)
        journey.load("profiles", start_date="2026-05-01")
        journey.close()
    wanted = truth.expected(account, "profiles", START, END, left_out=())
    assert truth.differences(truth.loaded(tmp_path, "profiles"), wanted) == []
    assert sum(row["predictive_analytics_historic_clv"] is not None for row in wanted) > 20


def test_campaigns_of_every_channel_are_there_archived_ones_too(whole: Loaded) -> None:
    found = sql(whole.folder, "SELECT channel, archived, count(*) FROM klaviyo.campaigns GROUP BY ALL")
    assert {(channel, archived) for channel, archived, _ in found} == {
        (channel, archived) for channel in ("email", "sms", "mobile_push") for archived in (False, True)
    }
    assert sql(whole.folder, "SELECT count(*) > 0 FROM klaviyo.flows WHERE archived") == [(True,)]
    assert {row[0] for row in sql(whole.folder, "SELECT channel FROM klaviyo.campaign_messages")} == {
        "email", "sms", "mobile_push", "whatsapp",
    }  # fmt: skip


def test_what_a_campaign_sends_is_asked_for_once_a_message_for_all_tables(whole: Loaded) -> None:
    asked = [path for path in whole.paths if path.endswith("/campaign-variations")]
    assert len(asked) == len(set(asked)) > 30


def test_events_dated_in_the_future_are_not_there_yet(whole: Loaded) -> None:
    dated = [truth.moment(record["attributes"]["datetime"]) for record in whole.account.records("event")]
    assert sum(when >= NOW for when in dated) > 3
    ((latest,),) = sql(whole.folder, "SELECT epoch_us(max(datetime)) FROM klaviyo.events")
    assert latest < truth.epoch_us(END)
    assert whole.outcomes["events"].high_water == END


def test_metrics_and_lists_are_not_bounded_by_the_start_date(whole: Loaded) -> None:
    early = {
        record["id"]
        for record in whole.account.records("list")
        if truth.moment(record["attributes"]["updated"]) < START
    }
    assert early
    assert early <= {row[0] for row in sql(whole.folder, "SELECT id FROM klaviyo.lists")}
    assert sql(whole.folder, "SELECT count(*) FROM klaviyo.events e ANTI JOIN klaviyo.metrics m ON e.metric_id = m.id "
               "WHERE metric_id IS NOT NULL") == [(0,)]  # fmt: skip


def test_timestamps_in_klaviyos_odd_shape_keep_their_fraction(whole: Loaded) -> None:
    odd = {
        record["id"]
        for record, _ in truth.records(whole.account, "events", START, END)
        if " " in record["attributes"]["datetime"]
    }
    found = sql(whole.folder, "SELECT id FROM klaviyo.events WHERE epoch_us(datetime) % 1000000 = 918411")
    assert odd
    assert {identity for (identity,) in found} == odd


def test_nothing_is_asked_for_once_a_record_that_a_list_answers(whole: Loaded) -> None:
    for path in ("/api/profiles", "/api/events", "/api/metrics", "/api/campaigns", "/api/flows", "/api/templates"):
        assert any(asked == path for asked in whole.paths)
        assert not any(asked.startswith(f"{path}/") for asked in whole.paths)
    segments = [path for path in whole.paths if path.startswith("/api/segments/")]
    assert len(set(segments)) == sum(1 for _ in whole.account.records("segment"))
