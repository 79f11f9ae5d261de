"""Another definition of an analytics report, as a report of another name: its settings, and the quota that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION, REVISIONS
from sources.klaviyo.config.build import settings_from
from sources.klaviyo.config.raw_settings import RawSettings
from sources.klaviyo.config.settings import Settings
from sources.klaviyo.errors import ConfigError
from sources.klaviyo.load.source import klaviyo, klaviyo_report
from sources.klaviyo.plan import state
from sources.klaviyo.plan.daily_quota import counted_from, divided
from sources.klaviyo.plan.plan import Selection, differs, parts_of_quotas, plan_all, selections

NOW = datetime(2026, 6, 30, 12, 0, 30, tzinfo=UTC)
QUOTA, PER_MINUTE, DAY_S = 225, 2, 24 * 3600
COUNTING = [name for name, one in reports(DEFAULT_REVISION).items() if one.endpoint.analytics is not None]
DAILY = {"like": "campaign_values", "interval": "day"}
PLACE = "config.toml [sources.klaviyo.custom_reports.daily]"


def settings_of(chosen: list[str] | None = None, now: datetime = NOW, **custom: Any) -> Settings:
    values: dict[str, Any] = {"api_key": "pk_x", "start_date": "2026-01-01", "custom_reports": custom}
    if chosen is not None:
        values["reports"] = chosen
    origins = {f"custom_reports.{name}.{key}": PLACE for name, table in custom.items() for key in table}
    return settings_from(RawSettings(values, origins), now)


def errors_of(**custom: Any) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        settings_of(**custom)
    return str(raised.value).splitlines()


# Settings


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("like", COUNTING)
def test_a_second_definition_has_the_columns_of_its_report_and_a_query_of_its_own(like: str, revision: str) -> None:
    values = {"api_key": "pk_x", "start_date": "2026-01-01", "revision": revision, "reports": [like, "mine"]}
    mine = {"like": like, "interval": "week" if like != "segment_values" else "day"}
    found = settings_from(RawSettings({**values, "custom_reports": {"mine": mine}}), NOW)
    report, predefined = found.custom["mine"], reports(revision)[like]
    assert report.name == "mine"
    assert (report.contract, report.endpoint, report.scopes) == (
        predefined.contract,
        predefined.endpoint,
        predefined.scopes,
    )
    queries = {name: own.analytics for name, own in found.reports.items()}
    first, second = queries[like], queries["mine"]
    assert first is not None
    assert second is not None
    assert second.interval == mine["interval"] != first.interval
    assert second.signature != first.signature


def test_all_settings_of_the_report_apply_to_its_second_definition() -> None:
    own = {
        "statistics": ["opens", "delivered"],
        "group_by": ["campaign_id", "campaign_message_id"],
        "filter": 'equals(send_channel,"email")',
        "conversion_metric": "Viewed Product",
        "start_date": "2026-05-01",
        "end_date": "2026-06-01",
        "lookback_days": 7,
        "advance_on_failure": True,
    }
    read = settings_of(daily={**DAILY, **own}).reports["daily"]
    assert read.analytics is not None
    assert (read.analytics.interval, read.analytics.statistics) == ("day", ("delivered", "opens"))
    assert read.analytics.groups == ("campaign_id", "campaign_message_id")
    assert (read.analytics.filter, read.analytics.metrics) == ('equals(send_channel,"email")', ("Viewed Product",))
    assert (read.start, read.end) == (datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 2, tzinfo=UTC))
    assert (read.lookback, read.advance_on_failure) == (timedelta(days=7), True)


def test_the_lookback_is_that_of_its_report_unless_it_is_set() -> None:
    found = settings_of(["campaign_values", "daily"], daily=DAILY)
    assert found.reports["daily"].lookback == found.reports["campaign_values"].lookback > timedelta(days=1)


def test_it_is_loaded_by_default_as_every_custom_report_and_its_report_is_not() -> None:
    found = settings_of(daily=DAILY)
    assert "daily" in found.reports
    assert "campaign_values" not in found.reports
    assert {"daily", "campaign_values"} <= {*settings_of(["all"], daily=DAILY).reports}
    assert [*settings_of(["campaign_values"], daily=DAILY).reports] == ["campaign_values"]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"interval": "year"}, 'interval = "year" (set in PLACE): unknown. Allowed: day, week, month.'),
        ({"statistics": ["opend"]}, 'statistics = [\'opend\'] (set in PLACE): unknown "opend"; did you mean "opened"?'),
        ({"filter": "equals(name"}, 'filter = "equals(name" (set in PLACE): not a filter: '),
        ({"conversion_metric": 7}, "conversion_metric = 7 (set in PLACE): the name or the id of a metric is needed."),
        ({"by": ["$flow"]}, "by = ['$flow'] (set in PLACE): unknown setting."),
        ({"endpoint": "events"}, 'endpoint = "events" (set in PLACE): not beside like = "campaign_values". Allowed: '),
        ({"mode": "raw"}, 'mode = "raw" (set in PLACE): not beside like = "campaign_values". Allowed: like, extract, '),
        ({"columns": {"x": "links.x"}}, "columns = {'x': 'links.x'} (set in PLACE): not beside like = "),
        ({"like": "flow_value"}, 'like = "flow_value" (set in PLACE): unknown; did you mean "flow_values"? Allowed: '),
        ({"like": "events"}, 'like = "events" (set in PLACE): no analytics report. Allowed: campaign_values, flow_'),
        ({"like": ["events"]}, "like = ['events'] (set in PLACE): the name of an analytics report is needed."),
    ],
)
def test_what_is_wrong_is_said_once_with_its_place_and_what_is_allowed(own: dict[str, Any], message: str) -> None:
    (line,) = errors_of(daily={**DAILY, **own})
    assert line.startswith("custom report daily: " + message.replace("PLACE", PLACE).replace("opened", "opens"))


def test_settings_of_all_reports_are_checked_with_their_place_too() -> None:
    (line,) = errors_of(daily={**DAILY, "start_date": "soon"})
    assert 'start_date = "soon"' in line
    assert PLACE in line


def test_a_second_definition_of_a_second_definition_is_refused() -> None:
    (line,) = errors_of(daily=DAILY, other={"like": "daily"})
    assert line.startswith(f'custom report other: like = "daily" (set in {PLACE}): unknown')


def test_the_wrong_query_is_told_together_with_what_else_is_wrong() -> None:
    lines = errors_of(daily={**DAILY, "interval": "year", "lookback_days": -1})
    assert len(lines) == 2
    assert any("interval" in line for line in lines)


@pytest.mark.parametrize("name", ["campaign_values", "flow_series"])
def test_the_name_of_a_predefined_report_is_taken(name: str) -> None:
    (line,) = errors_of(**{name: DAILY})
    assert line.endswith("a predefined report has this name already; choose another.")


def test_a_raw_report_takes_no_settings_of_analytics_reports() -> None:
    (line,) = errors_of(mine={"endpoint": "events", "interval": "day"})
    assert line.startswith(f'custom report mine: interval = "day" (set in {PLACE}): unknown setting')


def test_from_code_it_is_written_the_same_way_or_as_a_report_of_its_own() -> None:
    given: dict[str, Any] = {"api_key": "pk_x", "start_date": "2026-01-01"}
    source = klaviyo(reports=["campaign_values", "daily"], custom_reports={"daily": DAILY}, **given)
    assert [*source.resources] == ["campaign_values", "daily"]
    assert source.daily.compute_table_schema()["name"] == "daily"
    columns = {name: [*one.compute_table_schema()["columns"]] for name, one in source.resources.items()}
    assert columns["daily"] == columns["campaign_values"]
    alone = klaviyo_report("daily", like="campaign_values", interval="day", statistics=["opens"], **given)
    assert [*alone.resources] == ["daily"]
    with pytest.raises(ConfigError, match=r"custom report daily: interval = \"hour\" .*call of klaviyo_report"):
        klaviyo_report("daily", like="campaign_values", interval="hour", **given)


# What its table was made of


def test_a_table_fits_the_definitions_of_one_report_alone() -> None:
    def made(**table: Any) -> Any:
        return selections(settings_of(["mine"], mine=table))["mine"].report

    stored = {"fingerprint": "campaign_values"}
    assert not differs(made(like="campaign_values", interval="week"), stored)
    assert differs(made(like="flow_values"), stored)
    assert differs(made(endpoint="events"), stored)
    # It has no date filter: only what its table was made of counts.
    assert differs(made(endpoint="tags"), stored)
    assert differs(made(like="campaign_values"), {"fingerprint": "raw 0123456789abcdef"})
    assert not differs(made(like="campaign_values"), {})


# The quota


def stored_of(**resources: Mapping[str, Any]) -> dict[str, Any]:
    return {"sources": {"klaviyo": {"resources": resources}}}


def spending(requests: int, hours_ago: float = 1, like: str | None = None) -> dict[str, Any]:
    """State of a report that sent requests."""
    began = (NOW - timedelta(hours=hours_ago)).isoformat()
    return {"spent": [[began, requests, began]], **({"fingerprint": like} if like else {})}


def test_no_two_predefined_analytics_reports_share_an_endpoint() -> None:
    # `state.spent_like` takes the reports of an endpoint for the predefined one and those that are like it.
    for revision in REVISIONS:
        paths = [one.endpoint.path for one in reports(revision).values() if one.endpoint.analytics is not None]
        assert len(paths) == len({*paths})


@given(total=st.integers(0, 300), wanted=st.lists(st.integers(0, 300), min_size=1, max_size=6))
def test_a_share_is_divided_so_that_nobody_gets_less_than_an_equal_part_of_what_he_wants(
    total: int, wanted: list[int]
) -> None:
    parts = divided(total, wanted)
    assert sum(parts) == total
    equal = total // len(wanted)
    for part, want in zip(parts, wanted, strict=True):
        assert part >= min(want, equal)
        # Nobody gets more than he wants while another one lacks something.
        if part > want:
            assert all(other >= least for other, least in zip(parts, wanted, strict=True))


def test_of_three_the_one_that_wants_little_leaves_the_rest_to_the_others() -> None:
    assert divided(200, [2, 180, 180]) == [2, 99, 99]
    assert divided(1, [5, 5]) == [1, 0]
    # What nobody wants is there for requests that have to be sent again.
    assert divided(9, [3, 1]) == [6, 3]


CUSTOM: dict[str, Any] = {
    "daily": DAILY,
    "weekly": {"like": "campaign_values", "interval": "week", "lookback_days": 20},
}
DEFINITIONS = ["campaign_values", *CUSTOM]


def selected_of(names: list[str], now: datetime = NOW) -> dict[str, Selection]:
    return selections(settings_of(names, now, **CUSTOM))


def test_the_plans_of_one_run_share_what_is_left_of_the_quota() -> None:
    chosen = settings_of(["flow_values", *DEFINITIONS], **CUSTOM)
    plans = {plan.report.name: plan for plan in plan_all(chosen, {}, NOW)}
    most = {name: plan.settings.analytics and plan.settings.analytics.most_requests for name, plan in plans.items()}
    wanted = {name: len(plan.windows) for name, plan in plans.items()}
    assert wanted == {"flow_values": 6, "campaign_values": 6, "daily": 181, "weekly": 27}
    # 200 of the endpoint, and of another endpoint 200 more.
    assert most == {"flow_values": 200, "campaign_values": 6, "daily": 167, "weekly": 27}


def test_what_others_of_the_endpoint_sent_counts_even_of_reports_that_are_gone() -> None:
    selected = selected_of(["daily"])
    alone = parts_of_quotas(selected, {}, NOW)["daily"]
    assert alone == 200
    for other in ({"campaign_values": spending(210)}, {"gone": spending(210, like="campaign_values")}):
        assert parts_of_quotas(selected, stored_of(**other), NOW)["daily"] == 1
    for unrelated in ({"flow_values": spending(210)}, {"gone": spending(210, like="flow_values")}):
        assert parts_of_quotas(selected, stored_of(**unrelated), NOW)["daily"] == 200


def test_a_single_request_goes_to_the_one_that_sent_least() -> None:
    selected = selected_of(["campaign_values", "daily"])
    sent = {"campaign_values": spending(120), "daily": spending(95, like="campaign_values")}
    assert parts_of_quotas(selected, stored_of(**sent), NOW) == {"campaign_values": 0, "daily": 1}
    sent = {"campaign_values": spending(95), "daily": spending(120, like="campaign_values")}
    assert parts_of_quotas(selected, stored_of(**sent), NOW) == {"campaign_values": 1, "daily": 0}


#: Wait before a run, which reports it reads, and how many requests each of them would send.
runs_of_several = st.lists(
    st.tuples(
        st.integers(1, 40 * 3600),
        st.lists(st.sampled_from(DEFINITIONS), min_size=1, max_size=3, unique=True),
        st.fixed_dictionaries(dict.fromkeys(DEFINITIONS, st.integers(0, 250))),
        st.sampled_from([0, 0, 7]),
    ),
    max_size=8,
)


@settings(max_examples=50)
@given(runs=runs_of_several)
def test_no_24_hours_see_more_requests_of_all_reports_of_an_endpoint_than_its_quota(
    runs: list[tuple[int, list[str], dict[str, int], int]],
) -> None:
    resources: dict[str, dict[str, Any]] = {}
    sent_s: list[float] = []
    now_s = 0.0
    for wait_s, names, wanted, slower_s in runs:
        now_s += wait_s
        began = NOW + timedelta(seconds=now_s)
        selected = selected_of(names, began)
        parts = parts_of_quotas(selected, stored_of(**resources), began)
        assert {*parts} == {*names}
        left = {name: min(wanted[name], part) for name, part in parts.items()}
        requests, ended_s = dict.fromkeys(names, 0), dict.fromkeys(names, now_s)
        number = 0
        while any(left.values()):
            for name in [name for name in names if left[name]]:
                # The rate limit is the endpoint's too: a full minute lets two of them pass.
                now_s += (60 if number and number % PER_MINUTE == 0 else 0) + slower_s
                number += 1
                sent_s.append(now_s)
                left[name] -= 1
                requests[name] += 1
                ended_s[name] = now_s
        for name in names:
            own, query = resources.setdefault(name, {}), selected[name].settings.analytics
            assert query is not None
            if selected[name].report.redefines:
                state.remember_fingerprint(own, "campaign_values")
            until = NOW + timedelta(seconds=ended_s[name])
            counted = counted_from(began, until, requests[name], PER_MINUTE)
            query = replace(query, most_requests=parts[name])
            state.remember_analytics(own, query, began, requests[name], counted)
    for number, moment in enumerate(sent_s):
        assert sum(moment - DAY_S < earlier for earlier in sent_s[: number + 1]) <= QUOTA
