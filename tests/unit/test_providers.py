"""Configuration: where settings are looked for, which place wins, and what the user is told about the place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.config import providers as config
from sources.klaviyo.config.build import build
from sources.klaviyo.config.raw_settings import RawSettings
from sources.klaviyo.config.report_facts import facts
from sources.klaviyo.errors import ConfigError
from tests.support.journeys import home

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
KEY = "pk_verysecret1234"

#: Writes a file of dlt's configuration.
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write `.dlt/<name>.toml` of an otherwise empty project, or of the user's global folder.

    dlt reads its files once, so nothing may be read before all is written: `read` below opens the project.
    """

    def file(name: str, text: str, *, everywhere: bool = False) -> None:
        folder = tmp_path / ("home" if everywhere else ".dlt")
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")

    file("config", "")
    monkeypatch.chdir(tmp_path)
    return file


def read(pipeline: str | None = "klaviyo", *args: Any) -> RawSettings:
    """What `config.read` finds in the project in the current folder."""
    folder = Path.cwd()
    with home(folder, (folder / ".dlt" / "config.toml").read_text(encoding="utf-8")):
        return config.read(pipeline, *args)


# --- which place wins

#: From the strongest to the weakest: file or variable, section, and what the user is told.
PLACES = [
    ("env", "ACME__SOURCES__KLAVIYO__BASE_URL", "the environment, ACME__SOURCES__KLAVIYO__BASE_URL"),
    ("secrets", "acme.sources.klaviyo", ".dlt/secrets.toml [acme.sources.klaviyo]"),
    ("config", "acme.sources.klaviyo", ".dlt/config.toml [acme.sources.klaviyo]"),
    ("env", "SOURCES__KLAVIYO__BASE_URL", "the environment, SOURCES__KLAVIYO__BASE_URL"),
    ("secrets", "sources.klaviyo", ".dlt/secrets.toml [sources.klaviyo]"),
    ("config", "sources.klaviyo", ".dlt/config.toml [sources.klaviyo]"),
]


def put(write: Write, monkeypatch: pytest.MonkeyPatch, strongest: int) -> None:
    """Set `base_url` at a place and at all weaker ones, to the place's number."""
    files: dict[str, str] = {}
    for number, (kind, where, _) in enumerate(PLACES[strongest:], strongest):
        if kind == "env":
            monkeypatch.setenv(where, str(number))
        else:
            files[kind] = files.get(kind, "") + f'[{where}]\nbase_url = "{number}"\n'
    for kind, text in files.items():
        write(kind, text)


@pytest.mark.parametrize("strongest", range(len(PLACES)))
def test_the_strongest_place_wins_and_is_the_one_that_is_named(
    strongest: int, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(write, monkeypatch, strongest)
    raw = read("acme")
    assert raw.values == {"base_url": str(strongest)}
    assert raw.where("base_url") == f" (set in {PLACES[strongest][2]})"


def test_what_is_given_beats_all_that_is_configured(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    put(write, monkeypatch, 0)
    raw = read("acme", {"base_url": "given", "revision": None}, "{}")
    assert raw.values == {"base_url": "given"}
    assert raw.where("base_url") == " (set in --base-url)"


@pytest.mark.parametrize("pipeline", ["klaviyo", "other", None])
def test_the_sections_of_one_pipeline_are_nothing_to_another(
    pipeline: str | None, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(write, monkeypatch, 0)
    assert read(pipeline).values == {"base_url": "3"}


def test_a_file_in_the_users_own_folder_is_the_weakest_and_is_named(write: Write) -> None:
    write("config", "[sources.klaviyo]\nsplit_by = 'day'\nlookback_days = 2", everywhere=True)
    write("config", "[sources.klaviyo]\nsplit_by = 'week'")
    raw = read()
    assert raw.values == {"split_by": "week", "lookback_days": 2}
    assert raw.where("split_by") == " (set in .dlt/config.toml [sources.klaviyo])"
    assert raw.where("lookback_days") == " (set in home/config.toml [sources.klaviyo])"


def test_where_nothing_is_configured_there_is_nothing(write: Write) -> None:
    assert read().values == {}
    write("config", "[sources]\nklaviyo = 5\n[other.sources.klaviyo]\nsplit_by = 'day'")
    assert read().values == {}


# --- what is no setting of ours


@pytest.mark.parametrize(
    "name", ["API_KEY", "START_DATE", "KLAVIYO__START_DATE", "SOURCES__START_DATE", "SOURCES__OTHER__START_DATE"]
)
def test_a_foreign_variable_is_not_taken_for_ours(name: str, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "2020-01-01")
    assert read().values == {}


def test_a_foreign_key_at_the_top_of_a_file_is_not_taken_for_ours(write: Write) -> None:
    write("config", "start_date = 2020-01-01\n[sources]\nlookback_days = 9")
    write("secrets", "api_key = 'pk_foreign'")
    assert read().values == {}


def test_a_typo_is_passed_on_with_its_place(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("config", "[sources.klaviyo]\nlookback_day = 2\n[sources.klaviyo.event]\nsplit_by = 'day'")
    monkeypatch.setenv("SOURCES__KLAVIYO__SPLITBY", "day")
    raw = read()
    assert raw.values == {"lookback_day": 2, "event": {"split_by": "day"}, "splitby": "day"}
    assert raw.where("lookback_day") == " (set in .dlt/config.toml [sources.klaviyo])"
    assert raw.where("event") == " (set in .dlt/config.toml [sources.klaviyo.event])"
    assert raw.where("splitby") == " (set in the environment, SOURCES__KLAVIYO__SPLITBY)"


# --- tables of reports


def test_a_reports_table_is_put_together_from_all_places(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("config", "[sources.klaviyo.events]\nsplit_by = 'day'\nlookback_days = 2\nextract = 'all'")
    write("secrets", "[acme.sources.klaviyo.events]\nlookback_days = 3")
    monkeypatch.setenv("SOURCES__KLAVIYO__EVENTS__SPLIT_BY", "week")
    raw = read("acme", {"events": {"extract": "incremental"}}, "the call")
    assert raw.values == {"events": {"split_by": "week", "lookback_days": 3, "extract": "incremental"}}
    assert {name: raw.where(f"events.{name}") for name in raw.values["events"]} == {
        "split_by": " (set in the environment, SOURCES__KLAVIYO__EVENTS__SPLIT_BY)",
        "lookback_days": " (set in .dlt/secrets.toml [acme.sources.klaviyo.events])",
        "extract": " (set in the call)",
    }


def test_a_variable_that_is_a_value_and_a_table_at_once_is_refused(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__KLAVIYO__EVENTS", "x")
    monkeypatch.setenv("SOURCES__KLAVIYO__EVENTS__SPLIT_BY", "day")
    with pytest.raises(ConfigError, match="SOURCES__KLAVIYO__EVENTS__SPLIT_BY and the environment, "):
        read()


@pytest.mark.parametrize("name", ["SOURCES__KLAVIYO__", "SOURCES__KLAVIYO__EVENTS__"])
def test_a_variable_without_a_name_of_a_setting_is_passed_over(
    name: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "x")
    assert read().values in ({}, {"events": {}})


# --- types


def test_values_of_toml_keep_their_types_and_settings_take_them(write: Write) -> None:
    write(
        "config",
        """
        [sources.klaviyo]
        reports = ["events", "profiles"]
        start_date = 2026-01-31
        end_date = 2026-02-28T09:30:00+02:00
        lookback_days = 1.5
        advance_on_failure = true
        revision = 2026-07-15
        max_wait_s = 10
        profiles.predictive_analytics = true
        profiles.start_date = 2026-02-01T00:00:00
        """,
    )
    write("secrets", f"[sources.klaviyo]\napi_key = '{KEY}'")
    settings = build(read(), facts(DEFAULT_REVISION), NOW)
    assert settings.authorization.endswith(KEY)
    events, profiles = settings.reports["events"], settings.reports["profiles"]
    assert (events.start, events.end) == (
        datetime(2026, 1, 31, tzinfo=UTC),
        datetime(2026, 2, 28, 7, 30, tzinfo=UTC),
    )
    assert (events.lookback.total_seconds(), events.advance_on_failure) == (129_600, True)
    assert profiles.start == datetime(2026, 2, 1, tzinfo=UTC)
    assert profiles.options == {"predictive_analytics"}
    assert isinstance(read().values["start_date"], date)


def test_the_environment_says_the_same_in_text(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "API_KEY": KEY,
        "REPORTS": '["events", "profiles"]',
        "START_DATE": "2026-01-31",
        "END_DATE": "",
        "LOOKBACK_DAYS": "1.5",
        "ADVANCE_ON_FAILURE": "true",
        "MAX_WAIT_S": "10",
        "PROFILES__PREDICTIVE_ANALYTICS": "True",
    }.items():
        monkeypatch.setenv(f"SOURCES__KLAVIYO__{name}", value)
    settings = build(read(), facts(DEFAULT_REVISION), NOW)
    events = settings.reports["events"]
    assert list(settings.reports) == ["events", "profiles"]
    assert events.start == datetime(2026, 1, 31, tzinfo=UTC)
    assert (events.lookback.total_seconds(), events.advance_on_failure, settings.max_wait_s) == (129_600, True, 10)
    assert settings.reports["profiles"].options == {"predictive_analytics"}


def test_a_wrong_value_is_explained_with_the_file_that_holds_it(write: Write) -> None:
    write("config", "[sources.klaviyo]\nsplit_by = 'dya'\n[sources.klaviyo.events]\nlookback_days = -1")
    with pytest.raises(ConfigError) as caught:
        build(read("klaviyo", {"api_key": KEY, "start_date": "2026-01-01"}, "the call"), facts(DEFAULT_REVISION), NOW)
    assert str(caught.value).splitlines() == [
        'split_by = "dya" (set in .dlt/config.toml [sources.klaviyo]); did you mean "day"? '
        "Allowed: none, hour, day, week, month, auto.",
        "lookback_days = -1 (set in .dlt/config.toml [sources.klaviyo.events]): "
        "a number of days, 0 or more is needed, 36500 at most.",
    ]


# --- periods


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"period": "yesterday"}, {"period": "yesterday", "start_date": None, "end_date": None}),
        ({"start_date": "2026-03-01"}, {"period": None, "start_date": "2026-03-01", "end_date": "2026-02-01"}),
        ({"end_date": "2026-03-01"}, {"period": None, "start_date": "2026-01-01", "end_date": "2026-03-01"}),
        ({}, {"period": "previous_week", "start_date": "2026-01-01", "end_date": "2026-02-01"}),
    ],
)
@pytest.mark.parametrize("table", [None, "events"])
def test_a_period_that_is_given_beats_dates_that_are_configured_and_the_other_way_round(
    given: dict[str, str], left: dict[str, str | None], table: str | None, write: Write
) -> None:
    configured = "period = 'previous_week'\nstart_date = '2026-01-01'\nend_date = '2026-02-01'"
    write("config", f"[sources.klaviyo{f'.{table}' if table else ''}]\n{configured}")
    values = read("klaviyo", {table: given} if table else given).values
    assert (values[table] if table else values) == left


# --- keys


def test_a_key_is_found_in_secrets_and_in_the_environment(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("secrets", f"[sources.klaviyo]\napi_key = '{KEY}'")
    raw = read()
    assert (raw.values["api_key"], raw.where("api_key")) == (KEY, " (set in .dlt/secrets.toml [sources.klaviyo])")
    monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", "pk_other")
    raw = read()
    assert (raw.values["api_key"], raw.where("api_key")) == (
        "pk_other",
        " (set in the environment, SOURCES__KLAVIYO__API_KEY)",
    )


@pytest.mark.parametrize("name", ["api_key", "access_token"])
@pytest.mark.parametrize("section", ["sources.klaviyo", "klaviyo.sources.klaviyo"])
def test_a_key_in_the_file_that_everybody_reads_is_refused(name: str, section: str, write: Write) -> None:
    write("config", f"[{section}]\n{name} = '{KEY}'")
    with pytest.raises(ConfigError) as caught:
        read()
    assert str(caught.value) == (
        f"{name} is set in .dlt/config.toml [{section}]: put it into .dlt/secrets.toml or the environment."
    )


def test_what_is_read_can_be_shown_without_the_key(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("secrets", f"[sources.klaviyo]\napi_key = '{KEY}'")
    monkeypatch.setenv("SOURCES__KLAVIYO__ACCESS_TOKEN", KEY)
    assert KEY not in repr(read())
    assert KEY not in repr(read().origins)
    assert KEY not in repr(config._Setting(KEY, "somewhere", True))
