"""Journeys into a real Postgres server, which `tests/support/postgres.py` starts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dlt
import pytest

from sandbox import Account, Sandbox
from sources.klaviyo import klaviyo
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.load.pipeline import load_settings, open_pipeline
from sources.klaviyo.load.runner import run
from tests.journeys.test_analytics_journeys import MESSAGES, FastClock, is_true, made_up
from tests.journeys.test_people import MARKETING, add, change, subscriptions, suppressed
from tests.support import truth
from tests.support.journeys import NOW, FakeClock, home, small_account
from tests.support.postgres_journey import PostgresJourney


@pytest.fixture(autouse=True)
def credentials(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres_dsn)


def ask(folder: Path, query: str) -> list[Any]:
    with open_pipeline("klaviyo", "postgres", pipelines_dir=str(folder / "state")).sql_client() as client:
        return list(client.execute_sql(query) or [])


def test_every_default_report_loads_and_a_second_run_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    now, clock = NOW, FakeClock()
    account = Account(now=now - timedelta(hours=1), events=2000)
    nul = {"first_name": "Za\x00ra", "email": "nul@example.com"}
    profile = next(iter(account.records("profile")))["id"]
    account.update("profile", profile, nul)
    with Sandbox(account) as server:
        flags = {
            "api_key": "pk_sandbox",
            "base_url": server.url,
            "start_date": (now - timedelta(days=100)).date().isoformat(),
        }
        account.now = now + timedelta(minutes=5)
        counts = []
        for _ in range(2):
            pipeline = open_pipeline("klaviyo", "postgres", pipelines_dir=str(tmp_path / "state"))
            outcomes = run(pipeline, load_settings("klaviyo", flags, clock=clock), clock=clock)
            assert [(outcome.report, str(outcome.error)) for outcome in outcomes if not outcome.loaded] == []
            tables = {o.report: ask(tmp_path, f"select count(*) from {o.report}")[0][0] for o in outcomes}
            counts.append(tables)
            # The copies that merges and replaces went through are gone.
            copies = {
                o.report: ask(tmp_path, f"select count(*) from klaviyo_staging.{o.report}")[0][0] for o in outcomes
            }
            assert set(copies.values()) == {0}
    assert counts[0] == counts[1]
    # A run reads up to a minute before it starts.
    ids = [row[0] for row in ask(tmp_path, "select id from events")]
    moments = {e["id"]: datetime.fromisoformat(e["attributes"]["datetime"]) for e in account.records("event")}
    assert len(ids) == len(set(ids))
    assert {event for event, moment in moments.items() if moment < now - timedelta(minutes=1)} <= set(ids)
    assert all(moments[event] < now + timedelta(minutes=5) for event in ids)
    # A Postgres text cannot hold the character; the whole value is kept beside.
    found = ask(tmp_path, f"select first_name, _extra->>'attributes.first_name' from profiles where id = '{profile}'")
    assert found == [("Zara", r"Za\u0000ra")]
    undescribed = ask(
        tmp_path,
        "select relname, attname from pg_class c join pg_attribute on attrelid = c.oid where attnum > 0 "
        "and relnamespace = 'klaviyo'::regnamespace and relkind = 'r' and left(relname, 1) <> '_' "
        "and not attisdropped and col_description(c.oid, attnum) is null",
    )
    assert undescribed == []
    assert ask(tmp_path, "select obj_description('events'::regclass)") == [
        (reports(DEFAULT_REVISION)["events"].contract.description,)
    ]
    members = sum(len(account.members("list", record["id"])) for record in account.records("list"))
    assert ask(tmp_path, "select count(*) from list_profiles where _dlt_valid_to is null")[0][0] == members


# --- whatever else there is, value for value

COUNTING = [
    "campaign_values", "flow_values", "flow_series", "form_values", "form_series", "segment_values", "segment_series",
    "metric_aggregates",
]  # fmt: skip


@contextmanager
def into_postgres(folder: Path, account: Account, clock: FakeClock) -> Iterator[PostgresJourney]:
    with home(folder):
        journey = PostgresJourney(os.environ["DESTINATION__POSTGRES__CREDENTIALS"], folder, account, clock)
        try:
            yield journey
        finally:
            journey.close()


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[PostgresJourney]:
    clock = FastClock()
    with into_postgres(tmp_path, made_up(clock), clock) as journey:
        yield journey


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[PostgresJourney]:
    clock = FakeClock()
    with into_postgres(
        tmp_path, small_account(clock, seed=31, profiles=40, events=300, lists=2, metrics=3), clock
    ) as journey:
        yield journey


def test_every_report_holds_the_truth_and_a_second_reading_of_everything_changes_nothing(tmp_path: Path) -> None:
    clock = FastClock()
    numbers: dict[str, Any] = {"profiles": 60, "events": 400, "lists": 4, "segments": 3, "flows": 12, "campaigns": 40}
    account = Account(seed=17, now=clock.now, history_days=90, **numbers)
    start, end = datetime(2026, 5, 1, tzinfo=UTC), NOW - timedelta(seconds=60)
    with into_postgres(tmp_path, account, clock) as journey:
        outcomes = journey.load("all")
        assert sorted(outcomes) == sorted([*truth.REPORTS, *truth.OPTIONAL, *COUNTING])
        assert [*outcomes] == [*reports(DEFAULT_REVISION)]
        assert {name: outcome.misfits for name, outcome in outcomes.items() if outcome.misfits} == {}
        for report in (*truth.REPORTS, *truth.OPTIONAL):
            wanted = truth.expected(account, report, start, end)
            assert (
                truth.differences(truth.read(journey.sql, f" klaviyo.{report}", report, truth.POSTGRES_READS), wanted)
                == []
            ), report
        before = {report: journey.rows(report) for report in outcomes}
        assert [report for report, rows in before.items() if not rows] == []
        # Another machine: what is loaded is known from Postgres alone.
        journey.forget()
        journey.load("all", reread=True)
        assert [report for report in outcomes if journey.rows(report) != before[report]] == []


def test_a_series_is_replaced_where_it_is_read_again(counted: PostgresJourney) -> None:
    counted.load("flow_series")
    is_true(counted, "flow_series", MESSAGES["flow_series"])
    first = counted.rows("flow_series")
    counted.load("flow_series")
    is_true(counted, "flow_series", MESSAGES["flow_series"])
    second = counted.rows("flow_series")
    # Klaviyo sends zeros for every day of what it is asked for; the second run asks for other days at once.
    assert {*first} <= {*second}
    counted.load("flow_series")
    assert counted.rows("flow_series") == second
    assert len(counted.ids("flow_series")) == len({*counted.ids("flow_series")}) > 0
    # Grouped in another way the rows have other keys: none of the old ones may stay.
    counted.load("flow_series", flow_series={"group_by": ["flow_id", "flow_message_id"]})
    assert counted.sql("SELECT count(*) FROM klaviyo.flow_series WHERE send_channel IS NOT NULL") == [(0,)]


def test_a_new_definition_that_takes_several_runs_replaces_the_table_with_the_same_values(
    counted: PostgresJourney,
) -> None:
    by_day = {"interval": "day", "lookback_days": 2}
    counted.load("campaign_values")
    (months,) = counted.sql("SELECT sum(delivered), min(interval), max(interval) FROM klaviyo.campaign_values")
    counted.clock.forward(hours=4)
    half = counted.load("campaign_values", campaign_values=by_day)["campaign_values"]
    assert half.unfinished is not None
    assert 0 < half.unfinished.done < half.unfinished.requests
    assert counted.sql("SELECT sum(delivered), min(interval), max(interval) FROM klaviyo.campaign_values") == [months]
    counted.clock.forward(hours=24)
    counted.forget()
    assert counted.load("campaign_values", campaign_values=by_day)["campaign_values"].unfinished is None
    assert counted.sql("SELECT sum(delivered), min(interval), max(interval) FROM klaviyo.campaign_values") == [
        (months[0], "day", "day")
    ]
    assert counted.sql("SELECT count(*) FROM klaviyo.campaign_values__next") == [(0,)]
    # Rows that were read back are like those that come without a detour.
    columns = "id, campaign_id, period_start::text, period_end::text, open_rate::text, opens, conversion_value::text"
    rows = counted.sql(f"SELECT {columns} FROM klaviyo.campaign_values ORDER BY id")
    counted.clock.forward(hours=24)
    counted.load("campaign_values", campaign_values=by_day, reread=True, end_date="2026-07-01T16:00:30Z")
    again = counted.sql(f"SELECT {columns} FROM klaviyo.campaign_values ORDER BY id")
    assert {row[0]: row for row in rows}.items() <= {row[0]: row for row in again}.items()


def test_subscriptions_and_suppressions_that_are_over_leave_no_row(journey: PostgresJourney) -> None:
    why = ("USER_SUPPRESSED", "2026-06-01T00:00:00+00:00")
    kept, gone = (add(journey, suppressed(why) | {"sms": {"marketing": MARKETING}}) for _ in range(2))
    journey.load("subscriptions", "suppressions")
    both = {"email.marketing": "SUBSCRIBED", "sms.marketing": "SUBSCRIBED"}
    assert subscriptions(journey, kept) == subscriptions(journey, gone) == both
    of = f"SELECT profile_id FROM klaviyo.suppressions WHERE profile_id IN ('{kept}', '{gone}') ORDER BY 1"
    assert journey.sql(of) == sorted([(kept,), (gone,)])
    journey.clock.forward(hours=1)
    change(journey, gone, {"sms": {"marketing": MARKETING}, "email": {"marketing": MARKETING | {"suppression": []}}})
    change(journey, gone, {"whatsapp": {"marketing": MARKETING}})
    journey.clock.forward(hours=1)
    journey.load("subscriptions", "suppressions", extract="all")
    assert subscriptions(journey, kept) == both
    assert subscriptions(journey, gone) == {"whatsapp.marketing": "SUBSCRIBED"}
    assert journey.sql(of) == [(kept,)]
    journey.clock.forward(hours=1)
    change(journey, kept, {"email": {"marketing": MARKETING}})
    journey.clock.forward(hours=1)
    # Not everything anew: Postgres is told what to delete.
    journey.load("subscriptions")
    assert subscriptions(journey, kept) == {"email.marketing": "SUBSCRIBED"}
    assert journey.sql("SELECT count(*) FROM klaviyo.subscriptions WHERE _deleted") == [(0,)]


def test_events_of_metrics_with_long_names_are_in_tables_of_their_own(journey: PostgresJourney) -> None:
    long = "Ein Ereignis, dessen Name länger ist, als Postgres eine Tabelle heißen lässt, und das gleich zweimal"
    wanted: dict[str, list[str]] = {}
    for identity, name in (("Long0000001", f"{long} (A)"), ("Long0000002", f"{long} (B)"), ("Short1", "Kurz gesagt")):
        integration = {"id": "0rG4eQ", "name": "Shop", "category": "eCommerce"}
        journey.account.add("metric", {"id": identity, "attributes": {"name": name, "integration": integration}})
        for days in range(1, 6):
            at = NOW - timedelta(days=days)
            given = {"attributes": {"datetime": at}, "relationships": {"metric": identity}}
            wanted.setdefault(identity, []).append(journey.account.add("event", given))
    chosen = {"metrics": ["Ein Ereignis*", "Kurz*"], "split_tables": True}
    for _ in range(2):
        journey.load("events", events=chosen, reread=True)
        tables = journey.tables()
        found = {journey.sql(f"SELECT DISTINCT metric_id FROM klaviyo.{name}")[0][0]: name for name in tables}
        assert {metric: journey.ids(name) for metric, name in found.items()} == {
            metric: sorted(ids) for metric, ids in wanted.items()
        }
        assert max(map(len, tables)) <= 63


def test_custom_reports_are_raw_included_and_lifted(journey: PostgresJourney) -> None:
    columns = {
        "uuid": "attributes.uuid",
        "happened": {"path": "attributes.datetime", "type": "timestamp"},
        "who": "relationships.profile.data.id",
    }
    mine = {
        "orders": {"endpoint": "events", "include": ["profile", "metric"], "columns": columns},
        "unpacked": {"endpoint": "lists", "mode": "inferred"},
    }
    events = {
        record["id"]: (
            record["attributes"]["uuid"],
            datetime.fromisoformat(record["attributes"]["datetime"]),
            record["relationships"]["profile"]["data"]["id"],
        )
        for record in journey.account.records("event")
        if datetime(2026, 5, 1, tzinfo=UTC)
        <= datetime.fromisoformat(record["attributes"]["datetime"])
        < NOW - timedelta(seconds=60)
    }
    nul = {"first_name": "Za\x00ra", "big": 2**60 + 1}
    someone = next(iter(events.values()))[2]
    journey.account.update("profile", someone, {"properties": nul})
    before: list[Any] = []
    for _ in range(2):
        journey.load("orders", "unpacked", custom_reports=mine, reread=True)
        rows = journey.sql("SELECT id, uuid, happened, who FROM klaviyo.orders")
        assert len(rows) == len(events)
        assert {row[0]: row[1:] for row in rows} == events
        assert journey.sql("SELECT count(*) FROM klaviyo.orders WHERE attributes->>'uuid' <> uuid") == [(0,)]
        pointed = {who for _, _, who in events.values()}
        included = journey.sql("SELECT id FROM klaviyo.orders__included WHERE type = 'profile'")
        assert sorted(identity for (identity,) in included) == sorted(pointed)
        ((told,),) = journey.sql(f"SELECT attributes::text FROM klaviyo.orders__included WHERE id = '{someone}'")
        wanted = {"first_name": r"Za\u0000ra", "big": 2**60 + 1}
        assert json.loads(told)["properties"].items() >= wanted.items()
        lists = sorted((record["id"], record["attributes"]["name"]) for record in journey.account.records("list"))
        assert sorted(journey.sql("SELECT id, name FROM klaviyo.unpacked")) == lists
        found = [journey.rows(table) for table in ("orders", "orders__included")]
        assert found == (before or found)
        before = found


def test_from_code_a_report_without_rows_makes_its_table_and_takes_rows_later(
    tmp_path: Path, postgres_dsn: str
) -> None:
    clock = FakeClock(datetime.now(UTC))
    account = small_account(clock, seed=1, events=30, profiles=5, metrics=2)
    with home(tmp_path), Sandbox(account) as server:
        destination = dlt.destinations.postgres(postgres_dsn)
        into = dlt.pipeline("klaviyo", destination=destination, dataset_name="made", pipelines_dir="pipelines")
        reports = ["events", "tags", "metrics", "templates", "list_profiles"]
        source = klaviyo(api_key="pk_sandbox", base_url=server.url, reports=reports, start_date="2026-01-01")
        into.run(source)
        counts = {report: _count(into, report) for report in reports}
        assert (counts["tags"], counts["templates"], counts["list_profiles"]) == (0, 0, 0)
        assert counts["metrics"] == 2
        account.add("tag", {"attributes": {"name": "new"}})
        account.add("template", {"attributes": {"name": "new", "updated": clock.now() - timedelta(hours=3)}})
        into.run(source)
        assert {report: _count(into, report) for report in reports} == {**counts, "tags": 1, "templates": 1}


def _count(pipeline: dlt.Pipeline, table: str) -> int:
    with pipeline.sql_client() as client:
        ((number,),) = client.execute_sql(f"SELECT count(*) FROM {table}") or [(0,)]
        return int(number)


# --- JSON

TYPES = """
    SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns
    WHERE data_type LIKE 'json%' AND table_schema LIKE 'klaviyo%' AND table_name IN ('events', 'metrics')
"""
ODD: dict[str, dict[str, Any]] = {
    "nul": {"a": "x\x00y"},
    "surrogate": {"a": "\ud83d"},
    "huge": {"a": 1},
    "big": {"a": 2**70, "deep": {"Items": ["one", "two"]}},
}


def hostile(journey: PostgresJourney) -> None:
    """Events whose properties Postgres refuses, or cannot be asked about."""
    for name, properties in ODD.items():
        moment = NOW - timedelta(days=3)
        body = json.dumps(
            {
                "type": "event",
                "id": name,
                "attributes": {"datetime": moment.isoformat(), "event_properties": properties},
            }
        )
        if name == "huge":
            body = body.replace('{"a": 1}', '{"a": 1e200000}')
        journey.account.add_raw("event", moment, body.encode())


@pytest.mark.parametrize("json_type", ["jsonb", "json"])
def test_json_is_loaded_and_can_be_asked_whatever_is_in_it(journey: PostgresJourney, json_type: str) -> None:
    hostile(journey)
    for _ in range(2):
        journey.load("events", "metrics", postgres_json=json_type, reread=True)
        found = dict(journey.sql("SELECT id, event_properties->>'a' FROM klaviyo.events"))
        odd = {name: found[name] for name in ODD}
        assert odd == {"nul": r"x\u0000y", "surrogate": "\ufffd", "huge": None, "big": str(2**70)}
        deep = "SELECT event_properties #>> '{deep,Items,1}' FROM klaviyo.events WHERE id = 'big'"
        assert journey.sql(deep) == [("two",)]
        kept = "SELECT _extra->>'attributes.event_properties' FROM klaviyo.events WHERE id = 'huge'"
        assert journey.sql(kept) == [('{"a": 1e200000}',)]
        ((rows, ids),) = journey.sql("SELECT count(*), count(DISTINCT id) FROM klaviyo.events")
        assert rows == ids
    types = {kind for schema, _, _, kind in journey.sql(TYPES) if schema == "klaviyo"}
    assert types == {json_type}


def test_a_table_that_has_json_columns_already_keeps_them(journey: PostgresJourney) -> None:
    journey.load("events", "metrics", postgres_json="json")
    hostile(journey)
    journey.load("events", "metrics", reread=True)
    assert {kind for schema, _, _, kind in journey.sql(TYPES) if schema == "klaviyo"} == {"json"}
    assert set(ODD) <= set(journey.ids("events"))


def test_tables_that_merge_have_an_index_on_their_key(journey: PostgresJourney) -> None:
    journey.load("events", "metrics", "list_profiles")
    indexes = "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'klaviyo' AND indexname LIKE '%key_idx'"
    ((table, definition),) = journey.sql(indexes)
    assert table == "events"
    assert definition.endswith("USING btree (id)")
