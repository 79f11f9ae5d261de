"""Custom reports: raw tables of any endpoint, read like the predefined ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dlt
import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs import PluggableRunContext

from sources.klaviyo import klaviyo_report
from sources.klaviyo.catalog.endpoints import endpoints
from sources.klaviyo.catalog.model import Custom
from sources.klaviyo.catalog.report import Report
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.cli.main import main
from sources.klaviyo.config.settings import CUSTOM_SETTINGS
from sources.klaviyo.decode.raw import RawShaper
from sources.klaviyo.errors import ConfigError
from sources.klaviyo.load.stored_state import current_plans
from sources.klaviyo.plan.estimate import cost_of
from tests.support.journeys import KEY, NOW, FakeClock, Journey, home, small_account, truth_ids

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2026, 5, 1, tzinfo=UTC)
LAG = timedelta(seconds=60)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def account(tmp_path: Path, clock: FakeClock) -> Iterator[Journey]:
    numbers = {"profiles": 60, "events": 300, "metrics": 3, "lists": 3, "segments": 2, "tags": 3, "campaigns": 8}
    with home(tmp_path):
        journey = Journey(tmp_path, small_account(clock, seed=31, flows=4, **numbers), clock)
        yield journey
        journey.close()


def custom(**reports: dict[str, Any]) -> dict[str, Any]:
    """The flag that stands for `[sources.klaviyo.custom_reports.<name>]`."""
    return {"custom_reports": reports}


def requests(journey: Journey, path: str = "/api/") -> list[dict[str, Any]]:
    return [dict(request.query) for request in journey.server.requests if request.path.startswith(path)]


def asked_of(journey: Journey, path: str, name: str) -> set[str | None]:
    return {query.get(name) for query in requests(journey, path)}


def records(journey: Journey, table: str) -> dict[str, dict[str, Any]]:
    """The records of a raw table, put together again out of its JSON."""
    rows = journey.sql(f"SELECT id, type, attributes, relationships, links FROM klaviyo.{table}")
    assert len({(row[1], row[0]) for row in rows}) == len(rows)
    return {
        row[0]: {"id": row[0], "type": row[1]}
        | {
            name: json.loads(text)
            for name, text in zip(("attributes", "relationships", "links"), row[2:], strict=True)
            if text is not None
        }
        for row in rows
    }


def sent(journey: Journey, path: str) -> dict[str, dict[str, Any]]:
    """The records of an endpoint as the sandbox sends them, asked by hand."""
    import urllib.request

    headers = {"Authorization": "Klaviyo-API-Key pk_sandbox", "revision": DEFAULT_REVISION}
    found: dict[str, dict[str, Any]] = {}
    link: str | None = journey.server.url + path
    while link:
        with urllib.request.urlopen(urllib.request.Request(link, headers=headers)) as answer:  # noqa: S310
            page = json.loads(answer.read())
        found.update({record["id"]: record for record in page["data"]})
        link = page["links"].get("next")
    return found


def test_a_raw_table_holds_every_record_as_klaviyo_sent_it(account: Journey) -> None:
    account.load("orders", **custom(orders={"endpoint": "events"}))
    wanted = truth_ids(account.account, "event", "datetime", START, NOW - LAG)
    everything = sent(account, "/api/events?page%5Bsize%5D=1000")
    assert records(account, "orders") == {name: everything[name] for name in wanted}
    assert account.tables() == ["orders"]
    columns = account.sql("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'orders'")
    assert dict(columns) == {
        "id": "VARCHAR", "type": "VARCHAR", "datetime": "TIMESTAMP WITH TIME ZONE", "attributes": "JSON",
        "relationships": "JSON", "links": "JSON", "_extra": "JSON", "_dlt_load_id": "VARCHAR",
    }  # fmt: skip
    ((moment, text),) = account.sql(
        f"SELECT datetime, attributes->>'datetime' FROM klaviyo.orders WHERE id = '{wanted[0]}'"
    )
    assert moment == datetime.fromisoformat(text)


def test_hostile_content_stays_what_it_was(account: Journey) -> None:
    when = datetime(2026, 6, 10, tzinfo=UTC)
    bodies = {
        "digits": b'{"n":12345678901234567890123,"big":9007199254740993,"f":1.10,"z":-0.0,"e":1e300}',
        "case": b'{"key":1,"Key":2,"KEY":{"a":[],"A":{}}}',
        "text": '{"sep":"a\u2028b\u2029c","emoji":"\U0001f381","quote":"\\"","slash":"\\/"}'.encode(),
        "null": b'{"a":null,"b":{},"c":[],"d":[null,{}],"":0}',
        "spaces": b'{ "a" : [ 1 , 2 ] ,\n "b":{ } }',
        "long": b'{"text":"' + b"x" * 2**20 + b'"}',
    }
    for name, body in bodies.items():
        attributes = b'{"datetime":"2026-06-10T00:00:00+00:00","event_properties":' + body + b"}"
        account.account.add_raw(
            "event", when, b'{"type":"event","id":"%s","attributes":%s}' % (name.encode(), attributes)
        )
    account.load("orders", **custom(orders={"endpoint": "events"}))
    names = ", ".join(f"'{name}'" for name in bodies)
    loaded = dict(account.sql(f"SELECT id, attributes::VARCHAR FROM klaviyo.orders WHERE id IN ({names})"))
    assert {
        name: text.partition('"event_properties":')[2].removesuffix("}") for name, text in loaded.items()
    } == {name: body.decode() for name, body in bodies.items()}  # fmt: skip


def test_records_of_any_shape_load_once_and_lose_nothing(account: Journey) -> None:
    when = datetime(2026, 6, 10, tzinfo=UTC)
    for raw in (
        b'{"type":"event","id":"bare"}',
        b'{"type":"event","id":"more","meta":{"a":1},"attributes":{"datetime":"2026-06-10T00:00:00Z"}}',
        b'{"type":"event","attributes":{"who":"am I"}}',
        b'{"type":7,"id":8,"attributes":[1]}',
    ):
        account.account.add_raw("event", when, raw)
    outcome = account.load("orders", **custom(orders={"endpoint": "events"}))["orders"]
    rows = account.sql(
        "SELECT id, type, attributes, _extra FROM klaviyo.orders WHERE datetime IS NULL OR _extra IS NOT NULL"
    )
    found = {row[0] if not row[0].startswith("no-id-") else "no-id": row[1:] for row in rows}
    assert found == {
        "bare": ("event", None, None),
        "more": ("event", '{"datetime":"2026-06-10T00:00:00Z"}', '{"meta":{"a":1}}'),
        "no-id": ("event", '{"who":"am I"}', '{"$":{"type":"event","attributes":{"who":"am I"}}}'),
        "8": ("7", "[1]", None),
    }
    assert (outcome.misfits, outcome.new_fields) == ({"$": 1}, {"meta": 1})


def test_half_a_character_spoils_neither_its_record_nor_its_page() -> None:
    shaper = RawShaper(
        Report("orders", DEFAULT_REVISION, endpoints(DEFAULT_REVISION)["events"], custom=Custom()).contract
    )
    records = (
        b'{"type":"event","id":"a","attributes":{"t":"\\ud800"}},{"type":"event","id":"b","links":{"n":"\\u0000x"}}'
    )
    shaped = shaper.shape(b'{"data":[%s],"included":[]}' % records, {})
    rows = shaped.table.select(["id", "attributes", "links"]).to_pylist()
    assert rows == [
        {"id": "a", "attributes": '{"t":"\\ufffd"}', "links": None},
        {"id": "b", "attributes": None, "links": '{"n":"\\u0000x"}'},
    ]
    assert sum(shaped.misfits.values()) == 1


@pytest.mark.parametrize("split_by", ["auto", "none", "week"])
def test_a_custom_report_goes_on_where_it_stopped_and_looks_back(account: Journey, split_by: str) -> None:
    mine = {**custom(orders={"endpoint": "events"}), "split_by": split_by}
    account.load("orders", **mine)
    before = account.rows("orders")
    late = account.account.add("event", {"attributes": {"datetime": NOW - timedelta(hours=5)}})
    too_late = account.account.add("event", {"attributes": {"datetime": NOW - timedelta(days=9)}})
    account.clock.forward(hours=1)
    account.load("orders", **mine)
    assert late in account.ids("orders")
    assert too_late not in account.ids("orders")
    assert len(account.rows("orders")) == len(before) + 1
    account.load("orders", **mine, lookback_days=10)
    assert account.ids("orders") == truth_ids(account.account, "event", "datetime", START, account.clock.now() - LAG)


@pytest.mark.parametrize(
    "change",
    [
        {"filter": 'equals(profile_id,"{profile}")'},
        {"metric": "{metric}"},
        {"fields": ["datetime"]},
        {"include": ["metric"]},
        {"columns": {"who": "relationships.profile.data.id"}},
    ],
)
def test_a_report_that_asks_for_something_else_is_read_again_and_replaced(
    account: Journey, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "klaviyo")

    def said() -> list[str]:
        return [text for text in caplog.messages if "has changed" in text]

    event = next(record for record in account.account.records("event") if record["relationships"]["metric"]["data"])
    ids = {name: event["relationships"][name]["data"]["id"] for name in ("profile", "metric")}
    name = next(one["attributes"]["name"] for one in account.account.records("metric") if one["id"] == ids["metric"])
    told = json.loads(json.dumps(change).replace("{profile}", ids["profile"]).replace("{metric}", name))
    account.load("orders", **custom(orders={"endpoint": "events"}))
    assert not said()
    before = account.ids("orders")
    changed = custom(orders={"endpoint": "events", **told})
    account.clock.forward(hours=1)
    outcomes = account.load("orders", **changed)
    assert said()[0] == "orders: what it asks for has changed, so its period is read again and its table replaced"
    kept = {"filter": "profile", "metric": "metric"}.get(next(iter(told)))
    wanted = [
        record["id"]
        for record in account.account.records("event")
        if record["id"] in before
        and (kept is None or (record["relationships"][kept]["data"] or {}).get("id") == ids[kept])
    ]
    assert 0 < len(wanted) <= len(before)
    assert set(wanted) <= set(account.ids("orders"))
    assert kept is None or len(account.ids("orders")) < len(before)
    assert set(outcomes) == ({"orders", "orders__included"} if "include" in told else {"orders"})
    # And goes on from there.
    caplog.clear()
    account.clock.forward(hours=1)
    account.load("orders", **changed)
    assert not said()
    bounds = [str(query["filter"]) for query in requests(account, "/api/events")]
    # An idle thread may have taken the later half of the period.
    starts = [start for bound in bounds for start in re.findall(r"greater-or-equal\(datetime,([^)]+)\)", bound)]
    assert len(starts) == len(bounds)
    assert min(starts) == "2026-06-29T12:59:30Z"


def test_a_report_that_changed_keeps_its_rows_until_all_of_the_new_ones_are_read(account: Journey) -> None:
    account.load("orders", **custom(orders={"endpoint": "events"}))
    before = account.ids("orders")
    changed = custom(orders={"endpoint": "events", "fields": ["datetime"]})
    account.server.faults.add(path="/api/events", kind="status", status=403)
    assert account.run("orders", **changed)["orders"].error is not None
    assert account.ids("orders") == before


def test_rows_that_are_to_be_unpacked_do_not_fit_the_raw_table(account: Journey) -> None:
    account.load("orders", "metrics", **custom(orders={"endpoint": "events"}))
    before = account.rows("orders")
    outcomes = account.run("orders", "metrics", **custom(orders={"endpoint": "events", "mode": "inferred"}))
    assert str(outcomes["orders"].error) == (
        'orders: its table was made with mode = "raw", which "inferred" does not fit: drop it with '
        "`dlt pipeline NAME drop orders`, or give the report another name"
    )
    assert outcomes["metrics"].loaded
    assert account.rows("orders") == before


def test_all_replaces_what_is_there(account: Journey) -> None:
    mine = custom(people={"endpoint": "profiles", "extract": "all"})
    account.load("people", **mine)
    everybody = sorted(record["id"] for record in account.account.records("profile"))
    assert account.ids("people") == everybody
    account.account.remove("profile", everybody[0])
    account.load("people", **mine)
    assert account.ids("people") == everybody[1:]


def test_filter_fields_and_sort_travel_in_the_request(account: Journey) -> None:
    (metric, *_) = [record["id"] for record in account.account.records("metric")]
    account.load(
        "orders",
        **custom(
            orders={
                "endpoint": "/api/events",
                "filter": f'equals(metric_id,"{metric}")',
                "fields": {"event": ["event_properties"], "metric": ["name"]},
                "include": ["metric"],
                "sort": "-datetime",
            }
        ),
    )
    first = requests(account, "/api/events")[0]
    assert first["filter"].startswith(f'equals(metric_id,"{metric}"),greater-or-equal(datetime,')
    assert first["fields[event]"] == "event_properties,datetime"
    assert first["fields[metric]"] == "name"
    assert first["sort"] == "-datetime"
    found = records(account, "orders")
    assert found
    assert {frozenset(record["attributes"]) for record in found.values()} == {
        frozenset({"datetime", "event_properties"})
    }
    name = account.account.record("metric", metric)
    assert name is not None
    assert account.sql("SELECT id, type, attributes->>'name' FROM klaviyo.orders__included") == [
        (metric, "metric", name["attributes"]["name"])
    ]


def test_included_records_stand_in_a_table_of_their_own_once(account: Journey) -> None:
    mine = custom(orders={"endpoint": "events", "include": ["profile", "metric"]})
    outcomes = account.load("orders", **mine)
    assert outcomes["orders__included"].shared_with == "orders"
    assert account.tables() == ["orders", "orders__included"]
    pointed = {
        (reference["type"], reference["id"])
        for record in records(account, "orders").values()
        for name in ("profile", "metric")
        if (reference := record["relationships"][name]["data"])
    }
    keys = account.sql("SELECT type, id FROM klaviyo.orders__included")
    assert sorted(keys) == sorted(pointed)
    account.clock.forward(hours=2)
    account.load("orders", **mine, lookback_days=60)
    assert sorted(account.sql("SELECT type, id FROM klaviyo.orders__included")) == sorted(pointed)


def test_the_rows_of_the_table_keep_their_own_filters_unless_the_users_names_their_field(account: Journey) -> None:
    mine = custom(
        sends={"endpoint": "campaigns"}, mails={"endpoint": "campaigns", "filter": "equals(messages.channel,'email')"}
    )
    account.load("sends", "mails", extract="all", revision="2026-07-15", **mine)
    channels = {record["id"]: account.account.channel(record) for record in account.account.records("campaign")}
    assert dict(account.sql("SELECT id, channel FROM klaviyo.sends")) == channels
    assert account.ids("mails") == sorted(name for name, channel in channels.items() if channel == "email")
    mails = {query["filter"] for query in requests(account) if "'email'" in query["filter"]}
    assert mails == {
        "equals(archived,false),equals(messages.channel,'email')",
        "equals(archived,true),equals(messages.channel,'email')",
    }


def test_children_are_read_once_a_parent_with_the_parents_id(account: Journey) -> None:
    mine = custom(
        members={"endpoint": "list_profiles", "fields": ["email"]},
        tagged={"endpoint": "/api/tags/{id}/relationships/lists"},
    )
    (members, tagged) = cost_of(
        current_plans(account.pipeline(), account.settings("members", "tagged", **mine))
    ).reports
    assert (members.per_parent, tagged.per_parent) == ("lists", "tags")
    account.load("members", "tagged", **mine)
    lists = [record["id"] for record in account.account.records("list")]
    wanted = sorted((one, profile) for one in lists for profile in account.account.members("list", one))
    assert sorted(account.sql("SELECT list_id, id FROM klaviyo.members")) == wanted
    assert wanted
    tags = {
        (reference["id"], record["id"])
        for record in account.account.records("list")
        for reference in sent(account, f"/api/lists/{record['id']}/tags").values()
    }
    assert set(account.sql("SELECT tag_id, id FROM klaviyo.tagged")) == tags


def test_a_path_with_an_id_in_it_is_asked_for_this_parent_alone(account: Journey) -> None:
    lists = [record["id"] for record in account.account.records("list")]
    one = max(lists, key=lambda name: len(account.account.members("list", name)))
    mine = custom(members={"endpoint": f"/api/lists/{one}/profiles"}, tagged={"endpoint": f"lists/{one}/tags"})
    account.load("members", "tagged", **mine)
    assert account.ids("members") == sorted(account.account.members("list", one))
    assert account.ids("tagged") == sorted(sent(account, f"/api/lists/{one}/tags"))
    assert {request.path for request in account.server.requests} >= {f"/api/lists/{one}/profiles"}
    assert requests(account, "/api/lists?") == []


def test_parents_are_found_below_others_and_among_what_others_include(account: Journey) -> None:
    mine = custom(
        messages={"endpoint": "/api/campaign-messages/{id}"}, properties={"endpoint": "/api/metric-properties/{id}"}
    )
    account.load("messages", "properties", "metric_properties", "campaign_messages", extract="all", **mine)
    assert account.ids("messages") == account.ids("campaign_messages") != []
    assert account.ids("properties") == account.ids("metric_properties") != []


def test_a_users_filter_holds_for_the_children_of_every_parent(account: Journey) -> None:
    emails = {record["id"]: record["attributes"]["email"] for record in account.account.records("profile")}
    lists = [record["id"] for record in account.account.records("list")]
    profile = next(name for one in lists for name in sorted(account.account.members("list", one)) if emails[name])
    mine = custom(found={"endpoint": "list_profiles", "filter": f'equals(email,"{emails[profile]}")'})
    account.load("found", **mine)
    wanted = sorted((one, profile) for one in lists if profile in account.account.members("list", one))
    assert sorted(account.sql("SELECT list_id, id FROM klaviyo.found")) == wanted


def test_a_metric_is_found_by_its_name(account: Journey) -> None:
    metric = next(account.account.records("metric"))
    name = metric["attributes"]["name"]
    account.load("orders", **custom(orders={"endpoint": "events", "metric": name, "include": ["metric"]}))
    assert asked_of(account, "/api/metrics", "filter") == {None}
    assert len(requests(account, "/api/metrics")) == 1
    assert {record["relationships"]["metric"]["data"]["id"] for record in records(account, "orders").values()} == {
        metric["id"]
    }
    wanted = [
        event
        for event, record in sent(account, "/api/events?page%5Bsize%5D=1000").items()
        if record["relationships"]["metric"]["data"]["id"] == metric["id"]
        and START <= datetime.fromisoformat(record["attributes"]["datetime"]) < NOW - LAG
    ]
    assert account.ids("orders") == sorted(wanted)


def test_metrics_of_one_name_are_all_read(account: Journey) -> None:
    metrics = [record["id"] for record in account.account.records("metric")]
    for metric in metrics[:2]:
        account.account.update("metric", metric, {"name": "Ordered"})
    account.load("orders", **custom(orders={"endpoint": "events", "metric": "Ordered"}))
    found = {record["relationships"]["metric"]["data"]["id"] for record in records(account, "orders").values()}
    assert found == set(metrics[:2])


def test_an_unknown_metric_fails_its_report_alone(account: Journey) -> None:
    name = next(account.account.records("metric"))["attributes"]["name"]
    mine = custom(orders={"endpoint": "events", "metric": name[:-1], "include": ["metric"]})
    outcomes = account.run("metrics", "orders", **mine)
    assert outcomes["metrics"].loaded
    assert str(outcomes["orders"].error) == (
        f'orders: metric = "{name[:-1]}": the account has no metric of this name; did you mean "{name}"?'
    )
    assert not outcomes["orders"].loaded
    assert requests(account, "/api/events") == []
    account.load("orders", **custom(orders={"endpoint": "events", "metric": name}))
    assert account.ids("orders")


def test_lifted_columns_stand_beside_the_json_whatever_their_values_become(account: Journey) -> None:
    values: list[Any] = ["text", 17, 2.5, True, None, {"a": 1}, [1, "b"], 2**70]
    names = [
        account.account.add("event", {"attributes": {"datetime": NOW - timedelta(hours=9), "event_properties": {"v": value}}})
        for value in values
    ]  # fmt: skip
    path = "attributes.event_properties.v"
    columns = {"as_text": path, "as_number": {"path": path, "type": "double"}, "who": "relationships.profile.data.id"}
    account.load("orders", **custom(orders={"endpoint": "events", "columns": columns}))
    rows = {row[0]: row[1:] for row in account.sql("SELECT id, as_text, as_number, who FROM klaviyo.orders")}
    found = [rows[name] for name in names]
    texts = ["text", "17", "2.5", "true", None, '{"a":1}', '[1,"b"]', str(2**70)]
    assert [row[0] for row in found] == texts
    assert [row[1] for row in found] == [None, 17.0, 2.5, None, None, None, None, float(2**70)]
    assert any(who for _, _, who in rows.values())


def test_inferred_lets_dlt_unpack_the_records(account: Journey) -> None:
    mine = custom(groups={"endpoint": "lists", "mode": "inferred"}, orders={"endpoint": "events", "mode": "inferred"})
    for _ in range(2):
        account.load("groups", "orders", **mine)
        lists = {record["id"]: record["attributes"]["name"] for record in account.account.records("list")}
        assert dict(account.sql("SELECT id, name FROM klaviyo.groups")) == lists
        assert account.ids("orders") == truth_ids(account.account, "event", "datetime", START, NOW - LAG)
    types = dict(
        account.sql("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'orders'")
    )
    assert types["datetime"] == "TIMESTAMP WITH TIME ZONE"
    assert any(name.startswith("event_properties__") for name in types)
    assert "attributes" not in types


@pytest.mark.parametrize("extract", ["incremental", "all"])
def test_a_table_without_records_takes_nothing_down(account: Journey, extract: str) -> None:
    nobody = {"endpoint": "profiles", "filter": 'equals(email,"nobody@example.com")', "include": ["push-tokens"]}
    mine = custom(nothing=nobody, inferred={**nobody, "mode": "inferred"})
    for _ in range(2):
        account.load("nothing", "inferred", extract=extract, **mine)
        assert account.ids("nothing") == account.ids("nothing__included") == account.ids("inferred") == []


def test_suppressions_are_asked_for_with_one_date_condition(account: Journey) -> None:
    field = "subscriptions.email.marketing.suppression.reason"
    mine = {"endpoint": "profiles", "filter": f'equals({field},"HARD_BOUNCE")', "additional_fields": ["subscriptions"]}
    account.load("bounced", **custom(bounced=mine))
    (asked,) = asked_of(account, "/api/profiles", "filter")
    assert asked == f'equals({field},"HARD_BOUNCE"),greater-than(updated,2026-04-30T23:59:59Z)'
    for record in records(account, "bounced").values():
        assert record["attributes"]["subscriptions"]["email"]["marketing"]["suppression"]


EVENTS = {"endpoint": "events"}
PROFILES = {"endpoint": "profiles"}
SUPPRESSION = "subscriptions.email.marketing.suppression"
OF_LISTS = "subscriptions.email.marketing.list_suppressions"


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({}, "endpoint = None: mandatory"),
        (
            {"endpoint": "event"},
            'endpoint = "event" (set in the flag --endpoint): unknown under revision 2026-10-15; did you mean "events"?',
        ),
        ({"endpoint": "metric-aggregates"}, "unknown"),
        (
            {**EVENTS, "filters": "x"},
            'filters = "x" (set in the flag --filters): unknown setting; did you mean "filter"?',
        ),
        ({**EVENTS, "filter": "equals(metric_id"}, "not a filter: `,` or `)` is expected at position 17"),
        (
            {**EVENTS, "filter": 'equals(metricid,"a")'},
            'unknown "metricid"; did you mean "metric_id"? /api/events allows: ',
        ),
        ({**EVENTS, "filter": 'equal(metric_id,"a")'}, 'unknown "equal"; did you mean "equals"? On metric_id, '),
        ({**EVENTS, "filter": "equals(metric_id,abc)"}, "metric_id takes a text in quotes"),
        ({**EVENTS, "filter": 'equals(metric_id,["a"])'}, "equals takes one value, without brackets"),
        ({**PROFILES, "filter": 'any(email,"a@b.c")'}, "any takes a list in brackets"),
        ({**PROFILES, "filter": "greater-than(created,2026-01-01)"}, "created takes a time without quotes"),
        ({**EVENTS, "filter": 'has(profile,"x")'}, "`has` takes no value"),
        (
            {**EVENTS, "filter": "greater-than(datetime,2026-01-01T00:00:00Z)"},
            "datetime is the field of the period's filter",
        ),
        ({**EVENTS, "fields": ["date_time"]}, 'unknown "date_time"; did you mean "datetime"? event has: '),
        ({**EVENTS, "fields": {"profiles": ["email"]}}, 'unknown "profiles"; did you mean "profile"?'),
        (
            {**EVENTS, "include": ["profiles"]},
            'unknown "profiles"; did you mean "profile"? /api/events allows: attributions',
        ),
        ({**EVENTS, "additional_fields": ["subscriptions"]}, "/api/events allows: none."),
        ({**EVENTS, "sort": "-date"}, "/api/events allows: datetime, timestamp, -datetime, -timestamp."),
        ({**EVENTS, "mode": "infer"}, 'did you mean "inferred"? Allowed: raw, inferred.'),
        ({**EVENTS, "columns": {"id": "attributes.uuid"}}, "columns.id"),
        ({**EVENTS, "columns": {"v": "uuid"}}, 'a path is needed, like "attributes.'),
        (
            {**EVENTS, "columns": {"v": {"path": "attributes.uuid", "type": "number"}}},
            "{path, type} is needed; types: text, ",
        ),
        ({**PROFILES, "metric": "Placed Order"}, "/api/profiles has no filter on metric_id"),
        ({**EVENTS, "metric": "A", "filter": 'equals(metric_id,"b")'}, "the filter names a metric_id already"),
        ({**EVENTS, "split_by": "fortnight"}, 'split_by = "fortnight"'),
        (
            {**PROFILES, "filter": f'equals({SUPPRESSION}.reason,"A"),equals({OF_LISTS}.list_id,"b")'},
            "Klaviyo does not accept list_suppressions and suppression together",
        ),
        (
            {**PROFILES, "filter": f'equals({OF_LISTS}.reason,"A")'},
            f"suppressions of lists need equals({OF_LISTS}.list_id",
        ),
        (
            {
                **PROFILES,
                "filter": f"greater-than({SUPPRESSION}.timestamp,2026-01-01T00:00:00Z),"
                f"less-than({SUPPRESSION}.timestamp,2026-02-01T00:00:00Z)",
            },
            "Klaviyo takes one date condition, not 2",
        ),
    ],
)
def test_what_klaviyo_would_refuse_is_refused_before_any_request(
    account: Journey, report: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        account.run("mine", **custom(mine=report))
    assert said in str(refused.value)
    assert len(requests(account)) == 0
    assert len(str(refused.value).splitlines()) == 1
    assert account.server.requests == []


@pytest.mark.parametrize("name", ["events", "Orders", "api_key", "a__b", "all", "1st"])
def test_a_name_that_is_taken_or_malformed_is_refused(account: Journey, name: str) -> None:
    with pytest.raises(ConfigError, match=f"custom report .?{name}"):
        account.run("metrics", **custom(**{name: EVENTS}))
    assert account.server.requests == []


def configured(folder: Path, text: str) -> None:
    """Write the folder's configuration anew."""
    (folder / ".dlt" / "config.toml").write_text(text, encoding="utf-8")
    # dlt has read the files already.
    Container()[PluggableRunContext].reload_providers()


WRITTEN = """
[sources.klaviyo]
reports = ["metrics"]

[sources.klaviyo.custom_reports.vip_orders]
endpoint = "events"
include = ["metric"]
split_by = "day"
start_date = 2026-06-01

[sources.klaviyo.custom_reports.vip_orders.columns]
who = "relationships.profile.data.id"
"""


def test_a_report_in_the_configuration_is_on_once_it_is_written(account: Journey) -> None:
    configured(account.folder, WRITTEN.replace('reports = ["metrics"]', ""))
    chosen = account.settings().reports
    assert {"events", "vip_orders", "vip_orders__included"} <= set(chosen)
    own = chosen["vip_orders"]
    assert (own.split_by, own.start) == ("day", datetime(2026, 6, 1, tzinfo=UTC))
    assert chosen["vip_orders__included"] == own
    assert chosen["events"].split_by == "auto"
    configured(account.folder, WRITTEN + "[sources.klaviyo.vip_orders]\nsplit_by = 'week'\n")
    own = account.settings("vip_orders").reports["vip_orders__included"]
    assert (own.split_by, own.start) == ("week", datetime(2026, 6, 1, tzinfo=UTC))
    assert "vip_orders" in account.settings("all").reports


def test_the_environment_holds_custom_reports_too(account: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"endpoint": "events", "include": "profile,metric", "sort": "-datetime"}.items():
        monkeypatch.setenv(f"SOURCES__KLAVIYO__CUSTOM_REPORTS__ORDERS__{name.upper()}", value)
    made = account.settings("orders").custom["orders"]
    assert (made.include, made.sort) == (("profile", "metric"), "-datetime")


def test_the_command_line_selects_a_custom_report_and_its_flags_beat_the_configuration(
    account: Journey, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configured(account.folder, WRITTEN)
    monkeypatch.setenv("SOURCES__KLAVIYO__BASE_URL", account.server.url)
    monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", KEY)
    end = ("--end-date", "2026-06-05")
    assert main(["run", "vip_orders", *end]) == 0
    assert account.tables() == ["vip_orders", "vip_orders__included"]
    wanted = truth_ids(
        account.account, "event", "datetime", datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 6, 6, tzinfo=UTC)
    )
    assert account.ids("vip_orders") == wanted
    assert len(requests(account, "/api/events")) >= 5
    assert account.sql("SELECT count(*) FROM klaviyo.vip_orders WHERE who = (relationships->>'$.profile.data.id')") == [
        (len(wanted),)
    ]
    capsys.readouterr()
    assert (
        main(
            [
                "plan",
                "vip_orders",
                "--json",
                "--split-by",
                "none",
                "--start-date",
                "2026-06-03",
                *end,
                "--lookback-days",
                "2",
            ]
        )
        == 0
    )
    planned = json.loads(capsys.readouterr().out)["reports"]
    assert [(one["report"], len(one["windows"]), one["shares_requests_of"]) for one in planned] == [
        ("vip_orders", 1, None), ("vip_orders__included", 1, "vip_orders"),
    ]  # fmt: skip
    assert main(["check", "vip_orders"]) == 0
    assert "vip_orders" in capsys.readouterr().out
    assert main(["run", "vip_order"]) == 2
    assert 'did you mean "vip_orders"?' in capsys.readouterr().err


def test_the_command_line_describes_custom_reports_without_a_key(
    account: Journey, capsys: pytest.CaptureFixture[str]
) -> None:
    configured(account.folder, WRITTEN.replace("start_date = 2026-06-01", ""))
    assert main(["reports", "vip_orders", "vip_orders__included", "--json"]) == 0
    base, included = json.loads(capsys.readouterr().out)
    assert (base["endpoint"], base["cursor"], base["read"]) == ("/api/events", "datetime", "by period")
    columns = {column["name"]: column["path"] for column in base["columns"]}
    assert columns["who"] == "relationships.profile.data.id"
    assert [column["name"] for column in included["columns"] if column["primary_key"]] == ["id", "type"]
    assert main(["reports"]) == 0
    assert "vip_orders__included" in capsys.readouterr().out
    assert main(["reports", "vip_order"]) == 2
    assert 'did you mean "vip_orders"?' in capsys.readouterr().err
    configured(account.folder, WRITTEN.replace('"events"', '"event"'))
    assert main(["reports", "vip_orders"]) == 2
    assert 'did you mean "events"?' in capsys.readouterr().err
    assert account.server.requests == []


def test_a_custom_report_from_code_is_a_source_like_the_others(
    account: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__KLAVIYO__BASE_URL", account.server.url)
    monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", KEY)
    (metric, *_) = [record["id"] for record in account.account.records("metric")]
    source = klaviyo_report(
        "vip_orders",
        "events",
        filter=f'equals(metric_id,"{metric}")',
        include=["profile"],
        columns={"happened": {"path": "attributes.datetime", "type": "timestamp"}},
        start_date="2026-05-01",
        end_date="2026-05-31",
    )
    assert list(source.resources) == ["vip_orders", "vip_orders__included"]
    made = dlt.pipeline(
        "klaviyo",
        destination=dlt.destinations.duckdb("warehouse.duckdb"),
        dataset_name="klaviyo",
        pipelines_dir="pipelines",
    )
    made.run(source)
    loaded = account.sql("SELECT id, happened = datetime FROM klaviyo.vip_orders")
    of_month = truth_ids(account.account, "event", "datetime", START, datetime(2026, 6, 1, tzinfo=UTC))
    assert loaded
    assert all(same for _, same in loaded)
    assert {name for name, _ in loaded} < set(of_month)
    with pytest.raises(ConfigError, match=r"include = .* \(set in the call of klaviyo_report\(\)\)"):
        klaviyo_report("vip_orders", "events", include=["profiles"], start_date="2026-05-01")


PAGE = (ROOT / "docs" / "custom-reports.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
def test_the_examples_of_the_documentation_run(account: Journey, example: str) -> None:
    metric = next(account.account.records("metric"))
    account.account.update("metric", metric["id"], {"name": "Placed Order"})
    configured(account.folder, example)
    chosen = account.settings(extract="all").custom
    assert chosen
    account.load(*[name for name in chosen if "__" not in name])
    assert set(account.tables()) >= set(chosen)


def test_the_documentation_names_every_setting_of_a_custom_report() -> None:
    assert [line for line in reference() if line not in PAGE.splitlines()] == []


def reference() -> list[str]:
    """The rows of the table of settings in the documentation."""
    return [f"| `{one.name}` | {one.allowed} | {one.doc} |" for one in CUSTOM_SETTINGS.values()]
