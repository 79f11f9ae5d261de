"""Analytics reports: their columns, their settings, what is asked, what becomes of an answer, and a quota a day."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.klaviyo.catalog.capabilities import capabilities
from sources.klaviyo.catalog.contracts import load_contract
from sources.klaviyo.catalog.endpoints import endpoints
from sources.klaviyo.catalog.model import AnalyticsQuery, Variant
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION, REVISIONS
from sources.klaviyo.config.build import settings_from
from sources.klaviyo.config.raw_settings import RawSettings
from sources.klaviyo.config.settings import ANALYTICS_SETTINGS, Settings
from sources.klaviyo.decode.analytics import OBSERVED_AT, AnalyticsShaper, each_once
from sources.klaviyo.errors import ConfigError, ContractViolation, TransientError
from sources.klaviyo.http import query
from sources.klaviyo.plan import state
from sources.klaviyo.plan.plan import Plan, Selection, parts_of_quotas, plan_analytics
from sources.klaviyo.windows import Window, intersection, union

NOW = datetime(2026, 6, 30, 12, 0, 30, tzinfo=UTC)
END = datetime(2026, 6, 30, 11, 59, 30, tzinfo=UTC)
ROWS = endpoints(DEFAULT_REVISION)
COUNTING = [name for name, row in ROWS.items() if row.analytics is not None]
ORDERS = Variant("", {"conversion_metric_id": "M1", "conversion_metric_name": "Placed Order"}, "M1")


def settings(*names: str, now: datetime = NOW, **values: Any) -> Settings:
    given = {"api_key": "pk_x", "start_date": "2026-01-01", "reports": list(names), **values}
    return settings_from(RawSettings(given, {"flow_series.statistics": "config.toml"}), now)


def analytics_query(name: str, **own: Any) -> AnalyticsQuery:
    values: dict[str, Any] = {name: own}
    found = settings(name, **values).reports[name].analytics
    assert found is not None
    return found


def asked(name: str, window: Window, variant: Variant = ORDERS, zone: str = "UTC", **own: Any) -> dict[str, Any]:
    """The attributes of a body."""
    analytics = ROWS[name].analytics
    assert analytics is not None
    told = json.loads(query.body(ROWS[name], analytics, replaced(analytics_query(name, **own), zone), window, variant))
    assert told["data"]["type"] == ROWS[name].type
    attributes: dict[str, Any] = told["data"]["attributes"]
    return attributes


def replaced(one: AnalyticsQuery, zone: str) -> AnalyticsQuery:
    return AnalyticsQuery(one.interval, one.statistics, one.groups, one.filter, one.metrics, zone)


def day(month: int, number: int, hour: int = 0) -> datetime:
    return datetime(2026, month, number, hour, tzinfo=UTC)


# The columns


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("name", COUNTING)
def test_every_statistic_and_grouping_that_klaviyo_has_is_a_column(name: str, revision: str) -> None:
    body = capabilities(revision)[ROWS[name].path].body
    paths = {column.path for column in load_contract(name, revision).columns}
    kinds = {"statistics": "statistics", "measurements": "measurements", "group_by": "groupings", "by": "dimensions"}
    wanted = {f"{kind}.{value}" for field, kind in kinds.items() if field in body for value in body[field].values}
    if name.startswith("segment"):
        wanted.add("groupings.segment_id")
    told = {
        path for path in paths if path.partition(".")[0] in ("statistics", "measurements", "groupings", "dimensions")
    }
    assert told == wanted


@pytest.mark.parametrize("name", COUNTING)
def test_the_reference_of_settings_knows_every_one(name: str) -> None:
    analytics = ROWS[name].analytics
    assert analytics is not None
    assert set(analytics.settings) <= set(ANALYTICS_SETTINGS)


def test_a_key_needs_the_account_and_the_metrics_where_they_are_asked_for() -> None:
    found = reports(DEFAULT_REVISION)
    assert found["flow_series"].scopes == ("flows:read", "accounts:read", "metrics:read")
    assert found["segment_values"].scopes == ("segments:read", "accounts:read")


# The settings


def test_unless_told_otherwise_a_report_counts_everything_by_what_klaviyo_groups_by() -> None:
    found = analytics_query("flow_series")
    assert found.interval == "day"
    assert found.statistics == capabilities(DEFAULT_REVISION)["/api/flow-series-reports"].body["statistics"].values
    assert found.groups == ("flow_id", "flow_message_id", "send_channel")
    assert (found.metrics, found.filter) == (("Placed Order",), "")
    assert analytics_query("metric_aggregates").metrics == ("*",)
    assert analytics_query("segment_values").metrics == ()


def test_the_default_lookback_is_as_long_as_conversions_come_in() -> None:
    found = settings("flow_series", "segment_series", "events").reports
    assert [found[name].lookback.days for name in ("flow_series", "segment_series", "events")] == [30, 1, 1]
    assert settings("flow_series", lookback_days=3).reports["flow_series"].lookback.days == 3


def test_settings_out_of_the_environment_are_lists_too() -> None:
    assert analytics_query("flow_series", statistics="opens, clicks").statistics == ("clicks", "opens")
    assert analytics_query("metric_aggregates", metrics='["Placed Order", "Opened*"]').metrics == (
        "Placed Order",
        "Opened*",
    )


@pytest.mark.parametrize(
    ("name", "own", "said"),
    [
        (
            "flow_series",
            {"statistics": ["openings"]},
            'unknown "openings"; did you mean "opens"? Allowed: average_order',
        ),
        ("flow_series", {"statistics": []}, "a list of names is needed"),
        ("flow_series", {"interval": "year"}, "unknown. Allowed: hour, day, week, month"),
        ("campaign_values", {"interval": "hour"}, "unknown. Allowed: day, week, month"),
        ("flow_series", {"group_by": ["flow_id"]}, "Klaviyo wants flow_message_id with it"),
        ("form_values", {"group_by": ["form_version_id"]}, "Klaviyo wants form_id with it"),
        ("segment_series", {"group_by": ["segment_id"]}, 'unknown setting "group_by"'),
        ("segment_series", {"conversion_metric": "Placed Order"}, 'unknown setting "conversion_metric"'),
        ("flow_series", {"conversion_metric": ["Placed Order"]}, "the name or the id of a metric is needed"),
        ("flow_series", {"filter": 'equals(flow,"x")'}, 'unknown "flow"; did you mean "flow_id"?'),
        (
            "flow_series",
            {"filter": 'any(flow_id,["x"])'},
            'unknown "any". On flow_id, /api/flow-series-reports allows: contains-any, eq',
        ),
        ("flow_series", {"filter": 'contains-any(flow_id,"x")'}, "takes a list in brackets"),
        ("flow_series", {"filter": 'equals(flow_id,"x"),equals(flow_id,"y")'}, "one condition on flow_id, not 2"),
        ("flow_series", {"filter": "equals(flow_id,x)"}, "takes a text in quotes"),
        ("flow_series", {"filter": "flow_id = x"}, "not a filter"),
        ("metric_aggregates", {"by": ["$shop"]}, 'unknown "$shop"'),
        ("metric_aggregates", {"measurements": ["sum"]}, "Allowed: count, sum_value, unique"),
        ("metric_aggregates", {"statistics": ["count"]}, 'unknown setting "statistics"'),
    ],
)
def test_what_klaviyo_would_refuse_is_refused_before_any_request(name: str, own: Mapping[str, Any], said: str) -> None:
    values: dict[str, Any] = {name: own}
    with pytest.raises(ConfigError) as refusal:
        settings(name, **values)
    assert said in str(refusal.value)
    assert name in str(refusal.value)


def test_a_wrong_figure_is_named_beside_other_mistakes_and_with_its_place() -> None:
    with pytest.raises(ConfigError) as refusal:
        settings("flow_series", start_date="soon", flow_series={"statistics": ["x"]})
    assert "start_date" in str(refusal.value)
    assert "statistics = ['x'] (set in config.toml)" in str(refusal.value)


# What is asked


def test_a_report_asks_for_whole_days_on_the_accounts_clock() -> None:
    window = Window(day(6, 1, 4), day(6, 3, 4))
    assert asked("flow_series", window, zone="America/New_York", statistics=["opens"]) == {
        "statistics": ["opens"],
        "timeframe": {"start": "2026-06-01T00:00:00+00:00", "end": "2026-06-02T23:59:59+00:00"},
        "interval": "daily",
        "conversion_metric_id": "M1",
        "group_by": ["flow_id", "flow_message_id", "send_channel"],
    }


def test_a_body_has_no_more_than_its_endpoint_takes() -> None:
    window = Window(day(6, 1), day(7, 1))
    assert set(asked("segment_values", window)) == {"statistics", "timeframe"}
    assert set(asked("form_series", window)) == {"statistics", "timeframe", "interval", "group_by"}
    assert (
        asked("campaign_values", window, filter='equals(send_channel,"sms")')["filter"] == 'equals(send_channel,"sms")'
    )
    both = 'equals(send_channel,"sms"), equals(campaign_id,"C")'
    assert (
        asked("campaign_values", window, filter=both)["filter"]
        == asked("campaign_values", window, filter=f"and({both})")["filter"]
        == 'and(equals(send_channel,"sms"),equals(campaign_id,"C"))'
    )


def test_an_aggregate_asks_between_two_moments_in_the_accounts_timezone() -> None:
    found = asked("metric_aggregates", Window(day(6, 1, 4), day(6, 3, 4)), zone="Europe/Kyiv", by=["$flow"])
    assert found == {
        "metric_id": "M1",
        "measurements": ["count", "sum_value", "unique"],
        "interval": "day",
        "filter": [
            "greater-or-equal(datetime,2026-06-01T04:00:00+00:00)",
            "less-than(datetime,2026-06-03T04:00:00+00:00)",
        ],
        # Klaviyo knows it by its former name.
        "timezone": "Europe/Kiev",
        "by": ["$flow"],
    }


def test_the_next_page_of_an_aggregate_is_asked_for_in_the_body_and_that_of_a_report_in_the_query() -> None:
    path, body = query.following(
        ROWS["metric_aggregates"], "/api/metric-aggregates", b'{"data":{"attributes":{}}}', "/x?page_cursor=abc%3D"
    )
    assert path == "/api/metric-aggregates"
    assert json.loads(body or b"") == {"data": {"attributes": {"page_cursor": "abc="}}}
    link = "/api/flow-series-reports?page_cursor=abc"
    assert query.following(ROWS["flow_series"], "/api/flow-series-reports", b"{}", link) == (link, b"{}")
    assert query.following(ROWS["events"], "/api/events", None, "/api/events?x") == ("/api/events?x", None)


# What becomes of an answer


def shaped(name: str, answer: Any, window: Window, zone: str = "UTC", **own: Any) -> tuple[list[dict[str, Any]], Any]:
    analytics = ROWS[name].analytics
    assert analytics is not None
    chosen = replaced(analytics_query(name, **own), zone)
    context = {**ORDERS.context, **query.context_of(chosen, window), OBSERVED_AT: NOW.isoformat()}
    if name == "metric_aggregates":
        context |= {"metric_id": "M1", "metric_name": "Placed Order"}
    found = AnalyticsShaper(load_contract(name, DEFAULT_REVISION)).shape(json.dumps(answer).encode(), context)
    return found.table.to_pylist(), {"misfits": found.misfits, "new fields": found.new_fields}


def answer(**attributes: Any) -> dict[str, Any]:
    return {"data": {"type": "x", "attributes": attributes}}


JUNE = Window(day(6, 1, 4), day(6, 3, 4))
DATES = ["2026-06-01T00:00:00+00:00", "2026-06-02T00:00:00+00:00"]


def test_a_series_is_a_row_for_each_grouping_and_day() -> None:
    groups = {"flow_id": "F", "flow_message_id": "M", "send_channel": "email"}
    rows, kept = shaped(
        "flow_series",
        answer(
            date_times=DATES, results=[{"groupings": groups, "statistics": {"opens": [1, 2.0], "open_rate": [0.5, 1]}}]
        ),
        JUNE,
        "America/New_York",
    )
    assert not any(kept.values())
    assert [(row["date"], row["starts_at"], row["opens"], row["open_rate"]) for row in rows] == [
        (date(2026, 6, 1), day(6, 1, 4), 1, 0.5),
        (date(2026, 6, 2), day(6, 2, 4), 2, 1.0),
    ]
    assert {(row["flow_id"], row["send_channel"], row["conversion_metric_name"], row["interval"]) for row in rows} == {
        ("F", "email", "Placed Order", "day")
    }
    assert {row["observed_at"] for row in rows} == {NOW}
    assert len({row["id"] for row in rows}) == 2


def test_values_are_a_row_for_each_grouping_with_the_first_and_last_day_of_its_period() -> None:
    rows, _ = shaped(
        "campaign_values",
        answer(results=[{"groupings": {"campaign_id": "C"}, "statistics": {"clicks": 7}}]),
        Window(day(6, 1, 4), END),
        "America/New_York",
    )
    assert [(row["period_start"], row["period_end"], row["clicks"], row["opens"]) for row in rows] == [
        (date(2026, 6, 1), date(2026, 6, 30), 7, None)
    ]


def test_a_row_keeps_its_key_when_it_is_read_again_and_no_other_has_it() -> None:
    def keys(window: Window, *results: Any) -> list[str]:
        rows, _ = shaped("campaign_values", answer(results=list(results)), window)
        return [row["id"] for row in rows]

    one = {"groupings": {"campaign_id": "C", "send_channel": "sms"}, "statistics": {"clicks": 1}}
    again = {"groupings": {"send_channel": "sms", "campaign_id": "C"}, "statistics": {"clicks": 5}}
    other = {"groupings": {"campaign_id": "C", "send_channel": "email"}, "statistics": {"clicks": 1}}
    june = Window(day(6, 1), day(6, 12))
    assert keys(june, one) == keys(Window(day(6, 1), day(7, 1)), again)
    assert len({*keys(june, one, other), *keys(Window(day(5, 1), day(6, 1)), one)}) == 3


def test_an_aggregate_is_a_row_for_each_dimension_and_day() -> None:
    rows, kept = shaped(
        "metric_aggregates",
        answer(
            dates=["2026-06-01T04:00:00+00:00", "2026-06-02T04:00:00+00:00"],
            data=[
                {"dimensions": ["F", ""], "measurements": {"count": [3.0, 0], "sum_value": [9.5, 0], "unique": [2, 0]}}
            ],
        ),
        JUNE,
        "America/New_York",
        by=["$flow", "Campaign Name"],
    )
    assert not any(kept.values())
    assert [
        (row["date"], row["flow"], row["campaign_name"], row["count"], row["sum_value"], row["unique_profiles"])
        for row in rows
    ] == [
        (date(2026, 6, 1), "F", None, 3, 9.5, 2),
        (date(2026, 6, 2), "F", None, 0, 0.0, 0),
    ]


@pytest.mark.parametrize("none", ["", None])
def test_what_is_attributed_to_nothing_is_null_and_has_a_row_of_its_own(none: str | None) -> None:
    groups = [{"flow_id": "F", "flow_message_id": "M"}, {"flow_id": none, "flow_message_id": none}]
    results = [{"groupings": group, "statistics": {"opens": [1, 2]}} for group in groups]
    rows, kept = shaped("flow_series", answer(date_times=DATES, results=results), JUNE, "America/New_York")
    assert kept == {"misfits": {}, "new fields": {}}
    assert [(row["flow_id"], row["flow_message_id"], row["opens"]) for row in rows] == [
        ("F", "M", 1), ("F", "M", 2), (None, None, 1), (None, None, 2),
    ]  # fmt: skip
    assert len({row["id"] for row in rows}) == 4


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("name", COUNTING)
def test_every_unique_count_says_that_it_does_not_add_up(name: str, revision: str) -> None:
    body = capabilities(revision)[ROWS[name].path].body
    counts = {value for field in ("statistics", "measurements") if field in body for value in body[field].values}
    unique = {value for value in counts if "unique" in value}
    # Klaviyo has none of segments.
    assert bool(unique) is not name.startswith("segment")
    columns = {column.path.partition(".")[2]: column for column in load_contract(name, revision).columns}
    for value in unique:
        assert "don't add up over intervals or groups" in columns[value].description, value
    others = counts - unique
    assert not any("add up" in columns[value].description for value in others)


def test_what_fits_no_column_is_kept_and_counted() -> None:
    groups = {"flow_id": "F", "planet": "Mars"}
    numbers = {"opens": ["many", 1.5], "waves": [1, 2], "clicks": [None, 3], "bounced": [4], "failed": "none"}
    rows, kept = shaped(
        "flow_series",
        answer(date_times=DATES, results=[{"groupings": groups, "statistics": numbers}]),
        JUNE,
        "America/New_York",
    )
    extras = [json.loads(row["_extra"]) for row in rows]
    assert extras == [
        {"groupings.planet": "Mars", "statistics.opens": "many", "statistics.waves": 1, "statistics.failed": "none"},
        {"groupings.planet": "Mars", "statistics.opens": 1.5, "statistics.waves": 2, "statistics.failed": "none"},
    ]
    assert [(row["clicks"], row["bounced"], row["opens"]) for row in rows] == [(None, 4, None), (3, None, None)]
    assert kept == {
        "misfits": {"statistics.opens": 2, "statistics.failed": 2},
        "new fields": {"groupings.planet": 2, "statistics.waves": 2},
    }


def test_a_result_of_another_shape_is_kept_whole() -> None:
    rows, kept = shaped("segment_values", answer(results=["odd", {"groupings": [], "statistics": {}}]), JUNE)
    assert [json.loads(row["_extra"]) for row in rows] == [{"$": "odd"}, {"$": {"groupings": [], "statistics": {}}}]
    assert kept == {"misfits": {"$": 2}, "new fields": {}}


def test_a_date_that_is_none_is_kept_with_its_row() -> None:
    rows, _ = shaped(
        "segment_series",
        answer(
            date_times=["2026-06-01T00:00:00+00:00", "soon"],
            results=[{"groupings": {"segment_id": "S"}, "statistics": {"total_members": [1, 2]}}],
        ),
        Window(day(6, 1), day(6, 3)),
    )
    assert [(row["date"], row["total_members"], row["_extra"]) for row in rows] == [
        (date(2026, 6, 1), 1, None),
        (date(2026, 6, 1), 2, '{"date_times":"soon"}'),
    ]
    assert len({row["id"] for row in rows}) == 2


def test_days_beyond_those_asked_for_belong_to_another_request() -> None:
    dates = [f"2026-06-0{number}T00:00:00+00:00" for number in (1, 2, 3)]
    result = {"groupings": {"segment_id": "S"}, "statistics": {"total_members": [1, 2, 3]}}
    rows, _ = shaped("segment_series", answer(date_times=dates, results=[result]), Window(day(6, 1), day(6, 3)))
    assert [row["total_members"] for row in rows] == [1, 2]
    with pytest.raises(ContractViolation, match="those of other days"):
        shaped("segment_series", answer(date_times=dates, results=[result]), Window(day(5, 1), day(5, 3)))


def test_a_page_that_is_no_report_may_be_asked_for_again() -> None:
    with pytest.raises(TransientError):
        shaped("segment_values", {"data": []}, JUNE)


def test_a_row_that_is_on_two_pages_is_there_once_as_the_last_one_says() -> None:
    shaper = AnalyticsShaper(load_contract("segment_values", DEFAULT_REVISION))
    analytics = ROWS["segment_values"].analytics
    assert analytics is not None
    context = {**query.context_of(analytics_query("segment_values"), JUNE), OBSERVED_AT: NOW.isoformat()}

    def page(**members: int) -> Any:
        results = [{"groupings": {"segment_id": k}, "statistics": {"total_members": v}} for k, v in members.items()]
        return shaper.shape(json.dumps(answer(results=results)).encode(), context).table

    table = each_once([page(A=1, B=2), page(B=3, C=4)])
    assert list(zip(table["segment_id"].to_pylist(), table["total_members"].to_pylist(), strict=True)) == [
        ("A", 1), ("B", 3), ("C", 4),
    ]  # fmt: skip


# What is read when


def planned(name: str, remembered: Mapping[str, Any], now: datetime = NOW, zone: str = "UTC", **values: Any) -> Plan:
    report, own = reports(DEFAULT_REVISION)[name], settings(name, now=now, **values).reports[name]
    parts = parts_of_quotas({name: Selection(report, own)}, pipeline_state({name: remembered}), now, zone)
    return plan_analytics(report, own, remembered, zone, now, parts.get(name))


def pipeline_state(resources: Mapping[str, Any]) -> dict[str, Any]:
    return {"sources": {"klaviyo": {"resources": resources}}}


def after(plan: Plan, read: list[Window], requests: int = 1, now: datetime = NOW) -> dict[str, Any]:
    """What is remembered once some windows of a plan are loaded."""
    remembered: dict[str, Any] = {}
    assert plan.settings.analytics is not None
    state.remember(remembered, union([*plan.covered, *read]), plan.settings.analytics.signature)
    state.remember_analytics(remembered, plan.settings.analytics, now, requests)
    return remembered


def test_a_first_run_reads_the_accounts_own_days_the_newest_first() -> None:
    plan = planned("flow_series", {}, zone="America/New_York", start_date="2026-03-01")
    assert sorted(plan.windows)[0].start == datetime(2026, 3, 1, 5, tzinfo=UTC)
    assert plan.windows[0].end == END
    assert plan.windows == sorted(plan.windows, reverse=True)
    assert union(plan.windows) == [Window(datetime(2026, 3, 1, 5, tzinfo=UTC), END)]
    assert all(window.end - window.start <= timedelta(days=60) for window in plan.windows)


def test_values_take_a_request_for_each_period() -> None:
    plan = planned("campaign_values", {}, start_date="2026-01-15")
    assert [window.start for window in sorted(plan.windows)] == [day(month, 1) for month in range(1, 7)]


def test_two_years_by_month_are_read_in_the_first_run() -> None:
    for name in ("campaign_values", "flow_values", "form_values", "segment_values"):
        plan = planned(name, {}, start_date="2024-07-01")
        assert plan.settings.analytics is not None
        assert plan.settings.analytics.most_requests is not None
        assert len(plan.windows) == 24 <= plan.settings.analytics.most_requests


def test_the_next_run_reads_the_day_that_is_not_over_and_those_that_may_have_changed_in_one_request() -> None:
    first = planned("flow_series", {})
    later = planned("flow_series", after(first, list(first.windows)), NOW + timedelta(hours=1))
    assert later.windows == [Window(day(5, 31), END + timedelta(hours=1))]
    assert union([*later.covered, *later.windows]) == [Window(day(1, 1), END + timedelta(hours=1))]


def test_what_was_never_read_comes_before_what_is_due_again() -> None:
    first = planned("campaign_values", {}, campaign_values={"interval": "day", "lookback_days": 3})
    read = [window for window in first.windows if window.start >= day(6, 25)]
    then = planned("campaign_values", after(first, read), campaign_values={"interval": "day", "lookback_days": 3})
    assert then.windows[0] == Window(day(6, 24), day(6, 25))
    assert [window.start for window in then.windows[-4:]] == [day(6, number) for number in (30, 29, 28, 27)]


def test_days_that_a_small_share_left_out_have_their_turn_in_the_next_runs() -> None:
    own = {"interval": "day", "lookback_days": 25}
    values: dict[str, Any] = {"start_date": "2026-06-01", "campaign_values": own}
    now = NOW
    plan = planned("campaign_values", {}, now, **values)
    remembered = after(plan, list(plan.windows), requests=1)
    seen: list[datetime] = []
    for _ in range(4):
        now += timedelta(hours=1)
        plan = planned("campaign_values", remembered, now, **values)
        assert plan.settings.analytics is not None
        assert plan.settings.analytics.most_requests == 9
        read = list(plan.windows[:9])
        seen += [window.start for window in read]
        remembered = after(plan, read, 9, now)
    # Today in every run, and each of the 25 days before.
    assert {day(6, number) for number in range(5, 31)} == {*seen}
    assert seen.count(day(6, 30)) == 4


def test_another_question_is_another_answer_so_that_everything_is_read_again() -> None:
    first = planned("flow_series", {})
    remembered = after(first, list(first.windows))
    same = planned("flow_series", remembered, flow_series={"interval": "day"})
    assert union(same.windows) == [Window(day(5, 31), END)]
    for own in ({"statistics": ["opens"]}, {"interval": "week"}, {"conversion_metric": "Started Checkout"}):
        other = planned("flow_series", remembered, flow_series=own)
        assert union(other.windows)[0].start <= day(1, 1), own
        assert other.covered == []


def test_a_new_definition_is_one_for_as_long_as_the_table_holds_another() -> None:
    first = planned("flow_series", {})
    remembered = after(first, list(first.windows))
    assert first.redefined is None
    assert planned("flow_series", remembered).redefined is None
    # More of the same: an earlier start, another lookback.
    assert planned("flow_series", remembered, start_date="2025-01-01", lookback_days=3).redefined is None
    for own in ({"statistics": ["opens"]}, {"interval": "week"}, {"group_by": ["flow_id", "flow_message_id"]}):
        other = planned("flow_series", remembered, flow_series=own)
        assert other.redefined is not None, own
        assert other.redefined.period == Window(day(1, 1), END)


def test_days_of_another_timezone_are_another_definition() -> None:
    first = planned("flow_series", {}, zone="America/New_York")
    remembered = after(first, list(first.windows))
    other = planned("flow_series", remembered, zone="Europe/Berlin")
    assert other.redefined is not None
    assert other.covered == []


def test_a_table_of_version_0_1_0_is_read_again() -> None:
    query = planned("flow_series", {}).settings.analytics
    assert query is not None
    # What 0.1.0 stored for the very same settings.
    told = "|".join((query.interval, *query.statistics, "", *query.groups, "", query.filter, *query.metrics))
    stored = {"by": told, "covered": [[day(1, 1).isoformat(), END.isoformat()]], "timezone": "UTC"}
    plan = planned("flow_series", stored)
    assert plan.redefined is not None
    assert union(plan.windows) == [Window(day(1, 1), END)]


def test_a_new_definition_goes_on_where_it_was_left_whatever_else_is_to_be_read_again() -> None:
    remembered = after(planned("flow_series", {}), [Window(day(1, 1), END)])
    own = {"interval": "week"}
    other = planned("flow_series", remembered, flow_series=own)
    assert other.settings.analytics is not None
    # From a Monday on.
    half = Window(day(3, 2), END)
    state.remember_staged(remembered, state.Staged(other.settings.analytics.signature, "b", [half]))
    for values in ({}, {"extract": "all"}, {"reread": True}):
        then = planned("flow_series", remembered, flow_series=own, **values)
        assert intersection([then.windows[0]], [half]) == []
    # Another one begins again.
    third = planned("flow_series", remembered, flow_series={"interval": "month"})
    assert third.covered == []
    assert union(third.windows) == [Window(day(1, 1), END)]


@given(
    minutes=st.lists(st.integers(1, 120), min_size=40, max_size=40),
    requests=st.integers(1, 4),
    interval=st.sampled_from(["day", "week", "month"]),
    zone=st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata"]),
)
def test_a_new_definition_is_complete_after_some_runs_and_claims_no_more_than_was_read(
    minutes: list[int], requests: int, interval: str, zone: str
) -> None:
    values: dict[str, Any] = {"start_date": "2026-06-10", "campaign_values": {"interval": interval, "lookback_days": 2}}
    stored: dict[str, Any] = {"by": "another", "covered": [[day(1, 1).isoformat(), END.isoformat()]]}
    now, read = NOW, [Window(day(1, 1), day(1, 2))]
    left = []
    for wait in minutes:
        now += timedelta(minutes=wait)
        plan = planned("campaign_values", stored, now, zone, **values)
        assert plan.redefined is not None
        asked = list(plan.windows[:requests])
        read += asked
        covered = union([*plan.covered, *asked])
        assert covered == intersection(covered, union(read))
        left.append(len(plan.windows))
        if plan.redefined.is_complete(covered, now):
            assert plan.redefined.done(covered) == len(plan.redefined.parts)
            assert intersection([plan.redefined.period], covered) == [plan.redefined.period]
            break
        assert plan.redefined.done(covered) < len(plan.redefined.parts)
        state.remember_staged(stored, state.Staged(plan.loaded_by, "b", covered))
    else:
        raise AssertionError(left)


def test_to_extract_all_is_to_read_the_period_again() -> None:
    first = planned("flow_series", {})
    remembered = after(first, list(first.windows))
    for values in ({"extract": "all"}, {"reread": True}):
        assert union(planned("flow_series", remembered, **values).windows) == [Window(day(1, 1), END)]
    without = planned("segment_series", {}, extract="all", start_date=None)
    assert union(without.windows)[0].start == datetime(2025, 6, 30, tzinfo=UTC)


def test_segments_are_not_asked_for_before_klaviyo_counted_them() -> None:
    plan = planned(
        "segment_series", {}, zone="America/New_York", start_date="2020-01-01", segment_series={"interval": "week"}
    )
    assert sorted(plan.windows)[0].start == datetime(2023, 6, 1, 4, tzinfo=UTC)


@given(
    hours=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    share=st.integers(1, 9),
    zone=st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata"]),
    interval=st.sampled_from(["day", "week", "month"]),
)
def test_whatever_is_read_of_it_run_by_run_no_period_is_claimed_that_was_not(
    hours: list[int], share: int, zone: str, interval: str
) -> None:
    remembered: Mapping[str, Any] = {}
    now = NOW
    read: list[Window] = []
    for wait in hours:
        now += timedelta(hours=wait)
        plan = planned(
            "campaign_values", remembered, now, zone, start_date="2026-04-01", campaign_values={"interval": interval}
        )
        read += plan.windows[:share]
        remembered = after(plan, list(plan.windows[:share]), now=now)
        assert plan.settings.analytics is not None
        assert plan.settings.analytics is not None
        claimed = state.covered(remembered, plan.settings.analytics.signature)
        assert claimed == intersection(claimed, union(read))
        # All that is left is planned again, at once.
        left = planned(
            "campaign_values", remembered, now, zone, start_date="2026-04-01", campaign_values={"interval": interval}
        )
        assert union([*claimed, *left.windows])[0].end == now.replace(microsecond=0) - timedelta(seconds=60)
        assert len(union([*claimed, *left.windows])) == 1
