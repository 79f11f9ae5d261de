"""Settings: what is allowed, and for everything else a message that says what, where and what instead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, get_args

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION, REVISIONS
from sources.klaviyo.config.build import build
from sources.klaviyo.config.parse import DEFAULT_BASE_URL
from sources.klaviyo.config.raw_settings import RawSettings, nearest
from sources.klaviyo.config.report_facts import facts
from sources.klaviyo.config.settings import (
    ACCOUNT_SETTINGS,
    REPORT_SETTINGS,
    VISIBILITY_LAG,
    Period,
    ReportSettings,
    Settings,
)
from sources.klaviyo.errors import ConfigError
from sources.klaviyo.windows import BEGINNING, SplitBy, Window

KEY = "pk_0123456789abcdef"
#: A Wednesday; the microsecond is there to be dropped.
NOW = datetime(2026, 7, 15, 10, 30, 0, 250_000, tzinfo=UTC)
VISIBLE = datetime(2026, 7, 15, 10, 29, tzinfo=UTC)
FACTS = facts(DEFAULT_REVISION)
REPORTS = reports(DEFAULT_REVISION)


def made(values: Mapping[str, Any], origins: Mapping[str, str] | None = None, now: datetime = NOW) -> Settings:
    return build(RawSettings({"api_key": KEY, "start_date": "2026-01-01", **values}, origins), FACTS, now)


def events(values: Mapping[str, Any], now: datetime = NOW) -> ReportSettings:
    return made({"reports": ["events"], **values}, now=now).reports["events"]


def problems(values: Mapping[str, Any], origins: Mapping[str, str] | None = None, now: datetime = NOW) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        made(values, origins, now)
    return str(caught.value).splitlines()


def problem(values: Mapping[str, Any], origins: Mapping[str, str] | None = None, now: datetime = NOW) -> str:
    (only,) = problems(values, origins, now)
    return only


def tried(values: Mapping[str, Any]) -> tuple[Settings | None, str]:
    """The settings, or None and what is wrong with them."""
    try:
        return made(values), ""
    except ConfigError as error:
        return None, str(error)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_key_and_a_start_date_are_enough() -> None:
    settings = made({})
    assert settings.authorization == f"Klaviyo-API-Key {KEY}"
    assert (settings.base_url, settings.revision) == (DEFAULT_BASE_URL, DEFAULT_REVISION)
    assert (settings.request_timeout_s, settings.max_wait_s) == (60.0, 300.0)
    assert list(settings.reports) == [name for name, fact in FACTS.items() if fact.on_by_default]
    assert settings.reports["events"] == ReportSettings(
        extract="incremental",
        start=utc("2026-01-01"),
        end=VISIBLE,
        lookback=timedelta(days=1),
        split_by="auto",
    )


def test_the_documented_defaults_are_the_real_ones() -> None:
    documented = {one.name: one.default for one in (*ACCOUNT_SETTINGS.values(), *REPORT_SETTINGS.values())}
    given_nothing = made({})
    given_defaults = made({name: default for name, default in documented.items() if default is not None})
    assert given_defaults == given_nothing


# --- dates


@pytest.mark.parametrize(
    ("value", "start"),
    [
        ("2026-01-31", "2026-01-31T00:00:00"),
        (date(2026, 1, 31), "2026-01-31T00:00:00"),
        ("2026-01-31T09:30", "2026-01-31T09:30:00"),
        ("2026-01-31 09:30:15", "2026-01-31T09:30:15"),
        ("2026-01-31T09:30:15Z", "2026-01-31T09:30:15"),
        ("2026-01-31T09:30:15.999999Z", "2026-01-31T09:30:15"),
        ("2026-01-31T09:30:15+02:00", "2026-01-31T07:30:15"),
        ("2026-01-31T09:30:15-0330", "2026-01-31T13:00:15"),
        (datetime(2026, 1, 31, 9, 30, 15), "2026-01-31T09:30:15"),
        (datetime(2026, 1, 31, 9, 30, 15, tzinfo=timezone(timedelta(hours=2))), "2026-01-31T07:30:15"),
        (pendulum.datetime(2026, 1, 31, 9, tz="Europe/Berlin"), "2026-01-31T08:00:00"),
    ],
)
def test_a_start_is_taken_in_every_shape_as_utc_whole_seconds(value: Any, start: str) -> None:
    assert events({"start_date": value}).start == utc(start)


@pytest.mark.parametrize("value", ["2026-01-31", date(2026, 1, 31)])
def test_a_date_as_an_end_includes_that_day(value: Any) -> None:
    assert events({"end_date": value}).end == utc("2026-02-01")


def test_a_time_as_an_end_is_exclusive_even_at_midnight() -> None:
    assert events({"end_date": "2026-01-31T00:00:00Z"}).end == utc("2026-01-31")
    assert events({"end_date": datetime(2026, 1, 31, tzinfo=UTC)}).end == utc("2026-01-31")


def test_an_end_within_a_second_includes_what_lies_before_it() -> None:
    assert events({"end_date": "2026-01-31T09:30:15.001Z"}).end == utc("2026-01-31T09:30:16")


@pytest.mark.parametrize("value", [None, "", "2026-07-15", "2030-01-01", "2026-07-15T10:29:59.5Z"])
def test_an_end_never_lies_beyond_what_klaviyo_shows_already(value: Any) -> None:
    assert events({"end_date": value}).end == VISIBLE == NOW.replace(microsecond=0) - VISIBILITY_LAG


def test_a_date_includes_its_last_day_also_where_start_and_end_are_the_same_date() -> None:
    both = events({"start_date": "2026-01-31", "end_date": "2026-01-31"})
    assert (both.start, both.end) == (utc("2026-01-31"), utc("2026-02-01"))


@given(
    st.one_of(
        st.datetimes(datetime(1971, 1, 1), datetime(2026, 7, 15)),
        st.datetimes(
            datetime(1971, 1, 1),
            datetime(2026, 7, 14),
            timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m))),
        ),
    ),
    st.sampled_from(["T", " "]),
)
def test_a_written_time_is_the_same_as_the_time_itself(moment: datetime, separator: str) -> None:
    written = events({"start_date": moment.isoformat(separator)}).start
    assert written == events({"start_date": moment}).start
    assert written == (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).replace(microsecond=0)


@pytest.mark.parametrize(
    "value",
    [
        "yesterday",
        "2026-02-30",
        "2026-13-01",
        "01.02.2026",
        "2026-1-1",
        "20260101",
        "2026-01-01T25:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T09:30:60Z",
        "2026-01-01T09:30:00+25:00",
        "2026-W03-1",
        "2026-01-01/2026-02-01",
        " 2026-01-01",
        "P1D",
        "0001-01-01T00:00:00+02:00",
        "9999-12-31T23:59:59-02:00",
        "1970-01-01",
        "9999-12-31",
        20260101,
        1767225600.0,
        True,
        ["2026-01-01"],
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
    ],
)
@pytest.mark.parametrize("name", ["start_date", "end_date"])
def test_what_is_no_date_is_refused_with_the_shapes_that_are(name: str, value: Any) -> None:
    message = problem({name: value}, {name: ".dlt/config.toml [sources.klaviyo]"})
    assert message.startswith(f"{name} = ")
    assert "(set in .dlt/config.toml [sources.klaviyo]) is not a date. Allowed: " in message
    assert '"2026-01-31"' in message
    assert '"2026-01-31T09:30:00Z"' in message


@given(st.text(max_size=30))
def test_any_text_is_a_date_or_a_clear_error(text: str) -> None:
    settings, message = tried({"start_date": text, "extract": "all"})
    if settings is None:
        assert message.startswith("start_date = ")
    else:
        start = settings.reports["events"].start
        assert start is None or start.utcoffset() == timedelta(0)


def test_a_start_after_the_end_is_refused_with_both_places() -> None:
    message = problem(
        {"start_date": "2026-03-02", "end_date": "2026-03-01"},
        {"start_date": "--start-date", "end_date": "the environment, SOURCES__KLAVIYO__END_DATE"},
    )
    assert message == (
        'start_date = "2026-03-02" (set in --start-date) is not before end_date = "2026-03-01" '
        "(set in the environment, SOURCES__KLAVIYO__END_DATE)."
    )
    assert "is not before" in problem({"start_date": "2026-03-02T00:00:00Z", "end_date": "2026-03-01"})


def test_a_start_in_the_future_is_refused() -> None:
    message = problem({"start_date": "2026-07-16"}, {"start_date": "--start-date"})
    assert (
        message == 'start_date = "2026-07-16" (set in --start-date) lies in the future: a moment up to now is needed.'
    )
    assert events({"start_date": NOW}).start == NOW.replace(microsecond=0)


# --- periods by name


PERIODS = {
    "yesterday": ("2026-07-14", "2026-07-15"),
    "week_to_date": ("2026-07-13", "2026-07-15T10:29:00"),
    "previous_week": ("2026-07-06", "2026-07-13"),
    "month_to_date": ("2026-07-01", "2026-07-15T10:29:00"),
    "previous_month": ("2026-06-01", "2026-07-01"),
    "year_to_date": ("2026-01-01", "2026-07-15T10:29:00"),
}


def test_every_period_has_an_example_here() -> None:
    assert list(PERIODS) == list(get_args(Period))


@pytest.mark.parametrize(("period", "bounds"), PERIODS.items())
def test_a_period_is_a_start_and_an_end(period: str, bounds: tuple[str, str]) -> None:
    report = events({"period": period, "start_date": None})
    assert (report.start, report.end) == (utc(bounds[0]), utc(bounds[1]))


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)), st.sampled_from(get_args(Period))
)
def test_a_period_begins_at_midnight_and_never_ends_before_it_begins_or_beyond_what_is_visible(
    now: datetime, period: str
) -> None:
    report = events({"period": period, "start_date": None}, now=now)
    assert report.start is not None
    assert report.start.time() == datetime.min.time()
    assert report.start <= report.end <= max(report.start, now - VISIBILITY_LAG)
    assert report.end.microsecond == 0
    if period in ("week_to_date", "previous_week"):
        assert report.start.weekday() == 0
    if period.endswith(("month", "month_to_date")):
        assert report.start.day == 1


def test_in_the_first_minute_of_a_month_the_month_to_date_is_empty() -> None:
    report = events({"period": "month_to_date", "start_date": None}, now=utc("2026-08-01T00:00:30"))
    assert report.start == report.end == utc("2026-08-01")


def test_a_period_and_a_date_exclude_each_other() -> None:
    message = problem({"period": "yesterday"}, {"period": "--period", "start_date": ".dlt/config.toml"})
    assert message == (
        'period = "yesterday" (set in --period) and start_date = "2026-01-01" (set in .dlt/config.toml) '
        "exclude each other: leave one out."
    )


def test_an_unknown_period_is_refused_with_those_that_exist() -> None:
    message = problem({"period": "last_week", "start_date": None}, {"period": "--period"})
    assert message == (
        'period = "last_week" (set in --period). Allowed: '
        "yesterday, week_to_date, previous_week, month_to_date, previous_month, year_to_date."
    )


# --- one report's own settings


def test_a_report_has_settings_of_its_own_and_the_others_keep_the_common_ones() -> None:
    settings = made(
        {
            "split_by": "week",
            "lookback_days": 2,
            "events": {"split_by": "day", "start_date": "2026-05-01", "reread": True},
            "campaigns": {"extract": "all"},
        }
    )
    by_day, common = settings.reports["events"], settings.reports["profiles"]
    assert (by_day.split_by, by_day.start, by_day.lookback, by_day.reread) == (
        "day",
        utc("2026-05-01"),
        timedelta(days=2),
        True,
    )
    assert (common.split_by, common.start, common.reread) == ("week", utc("2026-01-01"), False)
    assert {name for name, report in settings.reports.items() if report.extract == "all"} == {"campaigns"}


def test_a_reports_own_dates_beat_the_common_period() -> None:
    settings = made({"start_date": None, "period": "yesterday", "events": {"start_date": "2026-02-01"}})
    assert settings.reports["events"].start == utc("2026-02-01")
    assert settings.reports["events"].end == VISIBLE
    assert settings.reports["profiles"].start == utc("2026-07-14")


def test_a_reports_own_period_beats_the_common_dates() -> None:
    settings = made({"end_date": "2026-02-01", "events": {"period": "yesterday"}})
    assert (settings.reports["events"].start, settings.reports["events"].end) == (utc("2026-07-14"), utc("2026-07-15"))
    assert settings.reports["profiles"].end == utc("2026-02-02")


def test_a_reports_own_period_and_its_own_date_exclude_each_other() -> None:
    message = problem(
        {"events": {"period": "yesterday", "end_date": "2026-02-01"}},
        {"events.period": "config.toml [sources.klaviyo.events]", "events.end_date": "the environment, X"},
    )
    assert message == (
        'period = "yesterday" (set in config.toml [sources.klaviyo.events]) and end_date = "2026-02-01" '
        "(set in the environment, X) exclude each other: leave one out."
    )


def test_an_error_in_a_reports_own_setting_names_its_own_place() -> None:
    message = problem(
        {"lookback_days": 3, "events": {"lookback_days": -1}},
        {
            "lookback_days": "config.toml [sources.klaviyo]",
            "events.lookback_days": "config.toml [sources.klaviyo.events]",
        },
    )
    assert "lookback_days = -1 (set in config.toml [sources.klaviyo.events])" in message


def test_a_switch_of_a_report_is_off_unless_it_is_set_there() -> None:
    assert made({}).reports["profiles"].options == frozenset()
    on = made({"profiles": {"predictive_analytics": "true"}})
    assert on.reports["profiles"].options == {"predictive_analytics"}
    assert on.reports["events"].options == frozenset()


def test_a_switch_that_is_neither_on_nor_off_is_refused_with_its_place() -> None:
    message = problem(
        {"profiles": {"predictive_analytics": "yes"}}, {"profiles.predictive_analytics": "the environment, Y"}
    )
    assert message == 'predictive_analytics = "yes" (set in the environment, Y): true or false is needed.'


def test_a_switch_of_one_report_is_unknown_to_another() -> None:
    assert 'unknown setting "predictive_analytics" for report events' in problem(
        {"events": {"predictive_analytics": True}}
    )


# --- a start date is needed where a period applies


def test_without_a_start_the_reports_with_a_date_filter_are_named_and_the_way_out() -> None:
    found = problems({"start_date": None})
    asked_for = [name for name, fact in FACTS.items() if fact.needs_start and fact.on_by_default]
    assert [line.partition(":")[0] for line in found] == asked_for
    assert "events" in {line.partition(":")[0] for line in found}
    assert all("start_date" in line and "--start-date" in line and '"all"' in line for line in found)


@pytest.mark.parametrize(
    "values",
    [
        {"extract": "all"},
        {"reports": ["metrics", "tags", "lists", "segments", "list_profiles"]},
        {"reports": ["events"], "events": {"start_date": "2026-01-01"}},
        {"reports": ["events"], "period": "yesterday"},
    ],
)
def test_no_start_is_asked_for_where_none_is_needed(values: dict[str, Any]) -> None:
    assert made({"start_date": None, **values}).reports


def test_a_bad_start_is_not_reported_as_a_missing_one_too() -> None:
    assert len(problems({"start_date": "soon"})) == 1


# --- which reports


@pytest.mark.parametrize(
    "value",
    [
        ["events", "profiles"],
        ("events", "profiles", "events"),
        "events,profiles",
        " events , profiles, ",
        '["events", "profiles"]',
    ],
)
def test_reports_are_a_list_or_what_the_environment_makes_of_one(value: Any) -> None:
    assert list(made({"reports": value}).reports) == ["events", "profiles"]


def test_unknown_reports_are_all_named_with_the_nearest_and_those_that_exist() -> None:
    found = problems({"reports": ["event", "events", "profils", "qqq"]}, {"reports": "--reports"})
    allowed = f"Allowed: {', '.join(REPORTS)}, all."
    assert found == [
        f'unknown report "event" (set in --reports); did you mean "events"? {allowed}',
        f'unknown report "profils" (set in --reports); did you mean "profiles"? {allowed}',
        f'unknown report "qqq" (set in --reports). {allowed}',
    ]


@pytest.mark.parametrize("value", [[], "", 7, {"events": True}, [["events"]], [1], "[]", "[1]", True])
def test_reports_that_are_no_list_of_names_are_refused(value: Any) -> None:
    message = problem({"reports": value}, {"reports": "config.toml"})
    assert message.startswith("reports = ")
    assert "(set in config.toml): a list of report names is needed. Allowed: profiles, events, " in message


@pytest.mark.parametrize("value", ["[events]", '["events"', "['events']"])
def test_a_list_that_is_not_json_is_an_error_about_its_names(value: str) -> None:
    assert all(line.startswith("unknown report ") for line in problems({"reports": value}))


# --- typos


def test_an_unknown_setting_is_refused_with_the_nearest_name() -> None:
    message = problem({"lookback_day": 3}, {"lookback_day": ".dlt/config.toml [sources.klaviyo]"})
    assert message.startswith(
        'unknown setting "lookback_day" (set in .dlt/config.toml [sources.klaviyo]); did you mean "lookback_days"? '
        "Allowed: api_key, access_token, base_url, allow_http, "
    )


def test_an_unknown_table_is_an_unknown_report() -> None:
    message = problem({"event": {"split_by": "day"}}, {"event": "config.toml"})
    assert message.startswith('unknown report "event" (set in config.toml); did you mean "events"? Allowed: profiles, ')


def test_an_unknown_setting_of_a_report_is_refused_with_what_that_report_has() -> None:
    message = problem({"profiles": {"splitby": "day"}}, {"profiles.splitby": "config.toml"})
    assert message == (
        'unknown setting "splitby" for report profiles (set in config.toml); did you mean "split_by"? '
        f"Allowed: {', '.join(REPORT_SETTINGS)}, predictive_analytics."
    )


def test_a_report_that_is_a_value_and_not_a_table_is_refused() -> None:
    assert problem({"events": "day"}, {"events": "config.toml"}) == (
        'events: a report\'s settings are a table, not "day" (set in config.toml)'
    )


def test_only_close_names_are_offered() -> None:
    assert nearest("evnts", ["events", "profiles"]) == '; did you mean "events"?'
    assert nearest("zzz", ["events", "profiles"]) == "."


# --- numbers, choices and switches


@pytest.mark.parametrize("value", [-1, -0.001, "-3", "a day", True, float("nan"), "nan", 36_501, math.inf, [], 10**400])
def test_a_lookback_that_is_no_number_of_days_is_refused(value: Any) -> None:
    message = problem({"lookback_days": value}, {"lookback_days": "--lookback-days"})
    assert message.startswith("lookback_days = ")
    assert "(set in --lookback-days): a number" in message
    assert message.endswith("is needed.") or message.endswith("a number of days, 0 or more is needed, 36500 at most.")


@given(st.floats(0, 36_500) | st.integers(0, 36_500))
def test_any_lookback_is_whole_seconds_and_no_shorter_than_was_asked(days: float) -> None:
    lookback = events({"lookback_days": days}).lookback
    assert lookback.microseconds == 0
    assert days * 86_400 <= lookback.total_seconds() < days * 86_400 + 1 + 1e-6
    # Windows are whole seconds and say so.
    assert Window(VISIBLE - lookback, VISIBLE + timedelta(seconds=1)).end > VISIBLE


@pytest.mark.parametrize(
    ("value", "days"), [(0, 0), ("0", 0), (3, 3), ("1.5", 1.5), (0.5, 0.5), (None, 1), ("36500", 36_500)]
)
def test_a_lookback_is_taken_as_a_number_or_its_text(value: Any, days: float) -> None:
    assert events({"lookback_days": value}).lookback == timedelta(days=days)


@pytest.mark.parametrize("name", ["request_timeout_s", "max_wait_s"])
@pytest.mark.parametrize("value", [-1, "soon", True, 86_401, "inf", "nan", 10**400, {}])
def test_seconds_out_of_range_are_refused(name: str, value: Any) -> None:
    message = problem({name: value}, {name: "config.toml"})
    assert message.startswith(f"{name} = ")
    assert "(set in config.toml)" in message
    assert "is needed" in message


def test_only_a_wait_may_be_zero() -> None:
    assert made({"max_wait_s": "0", "request_timeout_s": "0.5"}).max_wait_s == 0.0
    assert "a number of seconds above 0" in problem({"request_timeout_s": 0})


@pytest.mark.parametrize(
    ("name", "value", "near", "allowed"),
    [
        ("split_by", "dya", "day", get_args(SplitBy)),
        ("split_by", "Day", "day", get_args(SplitBy)),
        ("extract", "incremetal", "incremental", ("incremental", "all")),
        ("revision", "2026-07-16", "2026-07-15", REVISIONS),
        ("revision", date(2026, 7, 14), "2026-07-15", REVISIONS),
    ],
)
def test_a_choice_that_does_not_exist_is_refused_with_the_nearest_and_all_that_do(
    name: str, value: Any, near: str, allowed: tuple[str, ...]
) -> None:
    message = problem({name: value}, {name: "somewhere"})
    assert message == (f'{name} = "{value}" (set in somewhere); did you mean "{near}"? Allowed: {", ".join(allowed)}.')


@pytest.mark.parametrize("value", [7, ["x"], "", True])
def test_a_split_of_another_type_is_refused(value: Any) -> None:
    assert problem({"split_by": value}).endswith(". Allowed: none, hour, day, week, month, auto.")


@pytest.mark.parametrize("by", get_args(SplitBy))
def test_every_split_is_taken(by: str) -> None:
    assert events({"split_by": by}).split_by == by


def test_a_revision_may_be_written_as_a_date_of_toml() -> None:
    assert made({"revision": date.fromisoformat(DEFAULT_REVISION)}).revision == DEFAULT_REVISION


@pytest.mark.parametrize("name", ["advance_on_failure", "reread"])
@pytest.mark.parametrize(
    ("value", "flag"), [(True, True), ("TRUE", True), ("false", False), (False, False), (None, False)]
)
def test_a_switch_is_true_or_false_also_as_text(name: str, value: Any, flag: bool) -> None:
    assert getattr(events({name: value}), name) is flag


@pytest.mark.parametrize("value", ["yes", 1, 0, "", []])
def test_a_switch_that_is_neither_is_refused(value: Any) -> None:
    assert problem({"reread": value}, {"reread": "x"}).endswith(" (set in x): true or false is needed.")


# --- where the API lives


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("https://proxy.example.com/klaviyo/", "https://proxy.example.com/klaviyo"),
        (None, DEFAULT_BASE_URL),
        ("", DEFAULT_BASE_URL),
    ],
)
def test_a_base_url_is_any_http_address(value: Any, url: str) -> None:
    assert made({"base_url": value}).base_url == url


@pytest.mark.parametrize(
    "value",
    [
        "a.klaviyo.com",
        "ftp://a.klaviyo.com",
        "https://",
        "https://:443",
        "https://a.klaviyo.com?x=1",
        "https://a.klaviyo.com#x",
        "https://me:secret@a.klaviyo.com",
        "https://@a.klaviyo.com",
        "https://a.klaviyo.com:port",
        "https://a.klaviyo.com:99999",
        "https://a b.com",
        "http://[::1",
        "https://a.klaviyo.com\nHost: x",
        7,
    ],
)
def test_what_is_no_plain_http_address_is_refused_and_not_repeated(value: Any) -> None:
    message = problem({"base_url": value}, {"base_url": "config.toml"})
    assert message.startswith("base_url (set in config.toml): an http(s) URL ")
    assert "secret" not in message


@pytest.mark.parametrize("url", ["http://a.klaviyo.com", "http://10.0.0.7:8080", "http://localhost.example.com"])
def test_a_key_does_not_travel_without_encryption_unless_that_is_allowed(url: str) -> None:
    message = problem({"base_url": url}, {"base_url": "config.toml"})
    assert message.startswith("base_url (set in config.toml): http:// sends the API key without encryption. ")
    assert "allow_http = true" in message
    assert made({"base_url": url, "allow_http": True}).base_url == url
    assert "allow_http" in problem({"base_url": url, "allow_http": "perhaps"})


# --- keys


@pytest.mark.parametrize(
    "key",
    [
        "XyZ123",
        "0123456789abcdef",
        "pk_",
        "pk_12 34",
        "pk_1234\n",
        " pk_1234",
        "pk-1234",
        "sk_1234",
        "pk_é",
        12345678,
        True,
    ],
)
def test_a_malformed_key_is_refused_with_its_place_and_without_itself(key: Any) -> None:
    message = problem({"api_key": key}, {"api_key": "the environment, SOURCES__KLAVIYO__API_KEY"})
    assert message.startswith(
        "api_key (set in the environment, SOURCES__KLAVIYO__API_KEY) is malformed: a private key is `pk_` "
    )
    assert str(key).strip() in ("pk_",) or str(key).strip() not in message


def test_a_public_key_is_recognised() -> None:
    assert "public key" in problem({"api_key": "XyZ123"})
    assert "public key" not in problem({"api_key": "XyZ1234"})


@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_the_places_for_one_are_named(key: Any) -> None:
    message = problem({"api_key": key})
    assert message.startswith("no api_key. ")
    assert all(place in message for place in (".dlt/secrets.toml", "SOURCES__KLAVIYO__API_KEY", "--sandbox"))


def test_a_token_takes_the_place_of_a_key() -> None:
    assert made({"api_key": None, "access_token": "abc.DEF-1"}).authorization == "Bearer abc.DEF-1"


def test_a_token_that_breaks_a_header_is_refused_without_itself() -> None:
    message = problem({"api_key": None, "access_token": "abc\r\ndef"}, {"access_token": "secrets.toml"})
    assert message == "access_token (set in secrets.toml) has blanks or unprintable characters in it."


def test_a_key_and_a_token_are_one_too_many() -> None:
    message = problem({"access_token": "tokentoken"}, {"api_key": "A", "access_token": "B"})
    assert message == "api_key (set in A) and access_token (set in B) are both set: leave one out."


@pytest.mark.parametrize("name", [*ACCOUNT_SETTINGS, *REPORT_SETTINGS, "api_kee", KEY, "events", "event"])
def test_a_key_in_the_wrong_place_is_never_repeated(name: str) -> None:
    for value in (KEY, [KEY], {KEY: KEY}, f"{KEY}{KEY}", {"start_date": KEY}):
        assert KEY not in repr(tried({"api_key": KEY, name: value}))


def test_settings_can_be_shown_without_the_key() -> None:
    settings = made({})
    assert KEY in settings.authorization
    assert KEY not in repr(settings)
    assert KEY not in str(settings)


# --- all at once


def test_everything_that_is_wrong_is_said_at_once() -> None:
    found = problems(
        {
            "api_key": "nope",
            "base_url": "nope",
            "revision": "nope",
            "request_timeout_s": "nope",
            "max_wait_s": "nope",
            "extract": "nope",
            "start_date": "nope",
            "end_date": "nope",
            "lookback_days": "nope",
            "split_by": "nope",
            "advance_on_failure": "nope",
            "reread": "nope",
            "nope": "nope",
            "profiles": {"predictive_analytics": "nope"},
        }
    )
    assert [line.split()[0] for line in found] == [
        "unknown",
        "extract",
        "start_date",
        "end_date",
        "lookback_days",
        "split_by",
        "advance_on_failure",
        "reread",
        "predictive_analytics",
        "api_key",
        "base_url:",
        "revision",
        "request_timeout_s",
        "max_wait_s",
    ]


def test_the_same_mistake_is_said_once_though_many_reports_share_it() -> None:
    assert len(problems({"split_by": "dya"})) == 1
    assert len(problems({"start_date": "2026-07-20"})) == 1


def test_nothing_but_a_config_error_comes_out_of_any_values() -> None:
    values = [None, "", "x", -1, 0, 1, 1.5, True, [], ["x"], {}, {"x": 1}, BEGINNING, date(2026, 1, 1), b"x", object()]
    for name in [*ACCOUNT_SETTINGS, *REPORT_SETTINGS, "events", "other"]:
        for value in values:
            settings, message = tried({name: value})
            assert (settings is None) == bool(message)


def test_a_token_in_the_wrong_place_is_never_repeated() -> None:
    message = problem({"api_key": None, "access_token": "tokentoken", "start_date": "tokentoken"})
    assert message.startswith('start_date = "…" is not a date.')
