"""The command line: what people read, where it goes, and the exit codes."""

from __future__ import annotations

import json
import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any, get_args

import duckdb
import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs import PluggableRunContext

from sandbox import Account, Sandbox
from sources.klaviyo.catalog.contracts import load_contract
from sources.klaviyo.catalog.model import XL, L, Rate
from sources.klaviyo.catalog.reports import REPORT_SPANS
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.cli import main as klaviyo_cli
from sources.klaviyo.cli.format import duration
from sources.klaviyo.cli.main import main
from sources.klaviyo.cli.messages import explain, redacted
from sources.klaviyo.cli.progress import LogView, logs
from sources.klaviyo.cli.signals import Stop
from sources.klaviyo.config.report_facts import facts
from sources.klaviyo.config.settings import Extract, Period
from sources.klaviyo.extract.progress import Progress
from sources.klaviyo.plan.estimate import least_seconds
from sources.klaviyo.windows import SplitBy
from tests.support.journeys import home

KEY = "pk_4f0a1b9c8d7e6f5a4b3c2d1e0f"
NARROW_KEY = "pk_narrow77aa88bb99cc"
DLT = Path(sys.executable).with_name("dlt")

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A working folder with the usual configuration."""
    with home(tmp_path, '[sources.klaviyo]\nstart_date = "2026-04-01"\n'), pytest.MonkeyPatch.context() as patch:
        # For commands in a process of their own.
        patch.setenv("DLT_DATA_DIR", str(tmp_path / "home"))
        yield tmp_path


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    account = Account(seed=5, now=datetime(2026, 7, 1, tzinfo=UTC), profiles=40, events=500, campaigns=6)
    account.now = lambda: datetime.now(UTC)
    scopes = {"accounts:read", "events:read", "tags:read", "lists:read", "profiles:read"}
    with Sandbox(account, keys={KEY: None, NARROW_KEY: scopes}) as running:
        yield running


@pytest.fixture
def account(server: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The sandbox, configured by environment with a key that may read everything."""
    server.clear_requests()
    monkeypatch.setenv("SOURCES__KLAVIYO__BASE_URL", server.url)
    monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", KEY)
    return server


def configure(folder: Path, text: str) -> None:
    """Write the folder's configuration anew."""
    (folder / ".dlt" / "config.toml").write_text(text, encoding="utf-8")
    # dlt has read the files already.
    Container()[PluggableRunContext].reload_providers()


def refused(capsys: Capture, *argv: str) -> str:
    """Run a command that has to be refused; what it says."""
    assert main(list(argv)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def line(text: str, start: str) -> str:
    """The line of a table that begins with a word, its blanks squeezed."""
    return next(re.sub(r" {2,}", " | ", row) for row in text.splitlines() if row.startswith(f"{start} "))


# --- bad input


def test_a_typo_in_a_report_is_answered_with_the_nearest_name(account: Sandbox, capsys: Capture) -> None:
    said = refused(capsys, "run", "evnts")
    assert said.startswith('error: unknown report "evnts" (on the command line); did you mean "events"? Allowed: ')
    assert all(name in said for name in REPORT_SPANS)
    assert account.requests == []


def test_a_typo_in_an_option_is_answered_with_the_nearest_option(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--strat-date", "2026-01-01"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "unknown option --strat-date; did you mean --start-date?" in said
    assert "usage: klaviyo_pipeline.py run" in said


def test_options_cannot_be_abbreviated(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", "--start", "2026-01-01"])
    assert ended.value.code == 2
    assert "unknown option --start" in capsys.readouterr().err


def test_a_missing_start_date_is_said_once_for_all_reports(account: Sandbox, folder: Path, capsys: Capture) -> None:
    configure(folder, "")
    said = refused(capsys, "run", "events", "profiles", "tags")
    assert said.startswith("error: profiles, events: no start_date.") or said.startswith(
        "error: events, profiles: no start_date."
    )
    assert said.count("no start_date") == 1
    assert "--start-date" in said


def test_a_bad_date_is_told_with_its_file_and_section(account: Sandbox, folder: Path, capsys: Capture) -> None:
    configure(
        folder, '[sources.klaviyo]\nstart_date = "2026-01-01"\n[sources.klaviyo.events]\nend_date = "31.1.2026"\n'
    )
    said = refused(capsys, "run", "events")
    assert 'end_date = "31.1.2026" (set in .dlt/config.toml [sources.klaviyo.events]) is not a date' in said
    assert account.requests == []


def test_a_bad_flag_is_told_with_its_name_and_the_nearest_value(account: Sandbox, capsys: Capture) -> None:
    said = refused(capsys, "run", "--split-by", "weeks", "--lookback-days", "-1")
    assert 'split_by = "weeks" (set in the flag --split-by); did you mean "week"?' in said
    assert 'lookback_days = "-1" (set in the flag --lookback-days)' in said


def test_no_key_at_all_is_told_with_where_it_goes(folder: Path, capsys: Capture) -> None:
    said = refused(capsys, "run")
    assert said.startswith("error: no api_key.")
    assert ".dlt/secrets.toml" in said
    assert "--sandbox" in said


def test_a_malformed_key_is_refused_without_showing_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", "4f0a1b9c8d7e with blanks")
    said = refused(capsys, "check")
    assert "SOURCES__KLAVIYO__API_KEY" in said
    assert "malformed" in said
    assert "4f0a1b9c8d7e" not in said


def test_pipelines_of_others_are_left_alone(folder: Path, capsys: Capture) -> None:
    assert 'pipeline "github" is not a Klaviyo pipeline' in refused(capsys, "run", "--pipeline", "github")


def test_an_unknown_destination_is_answered_with_the_nearest_name(account: Sandbox, capsys: Capture) -> None:
    said = refused(capsys, "run", "tags", "--destination", "duckbd")
    assert 'unknown destination "duckbd"; did you mean "duckdb"?' in said


def test_settings_that_a_destination_lacks_are_named(account: Sandbox, capsys: Capture) -> None:
    assert main(["run", "tags", "--destination", "postgres"]) == 2
    said = capsys.readouterr().err
    assert "settings are missing for postgres: credentials.database" in said
    assert "[destination.postgres]" in said
    assert "Traceback" not in said


def test_options_of_the_sandbox_need_the_sandbox(folder: Path, capsys: Capture) -> None:
    assert refused(capsys, "run", "--sandbox-events", "5") == "error: --sandbox-events needs --sandbox.\n"


# --- what is typed


def test_a_flag_beats_the_table_of_a_report(account: Sandbox, folder: Path, capsys: Capture) -> None:
    configure(folder, '[sources.klaviyo.events]\nperiod = "yesterday"\nsplit_by = "hour"\n')
    argv = ["plan", "events", "--start-date", "2026-05-01", "--end-date", "2026-05-31", "--split-by", "none"]
    assert main([*argv, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)["reports"]
    assert [one["windows"] for one in planned] == [[{"start": "2026-05-01T00:00:00Z", "end": "2026-06-01T00:00:00Z"}]]


def test_reports_may_stand_between_options(account: Sandbox, capsys: Capture) -> None:
    assert main(["plan", "tags", "--reread", "lists", "--json"]) == 0
    assert [one["report"] for one in json.loads(capsys.readouterr().out)["reports"]] == ["tags", "lists"]


def test_the_help_names_every_choice(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--help"])
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"--split-by {'|'.join(get_args(SplitBy))}" in said
    assert f"--extract {'|'.join(get_args(Extract))}" in said
    assert all(name in said for name in get_args(Period))


# --- reports


def test_reports_lists_every_report_with_endpoint_cursor_and_scopes(folder: Path, capsys: Capture) -> None:
    assert main(["reports"]) == 0
    said = capsys.readouterr().out
    assert all(line(said, name) for name in REPORT_SPANS)
    assert line(said, "events").startswith("events | /api/events | datetime | by period | events:read | yes | ")
    assert line(said, "segment_profiles").split(" | ")[2:5] == [
        "-", "whole, kept as history", "profiles:read, segments:read",
    ]  # fmt: skip


def test_a_report_is_shown_with_all_its_columns(folder: Path, capsys: Capture) -> None:
    assert main(["reports", "campaigns"]) == 0
    said = capsys.readouterr().out
    for column in load_contract("campaigns", DEFAULT_REVISION).columns:
        assert line(said, column.name).split(" | ")[1] == column.data_type
        assert column.description in said


def test_programs_get_the_reports_as_json(folder: Path, capsys: Capture) -> None:
    assert main(["reports", "--json"]) == 0
    found = {info["name"]: info for info in json.loads(capsys.readouterr().out)}
    assert list(found) == list(REPORT_SPANS)
    assert [column["name"] for column in found["tags"]["columns"]] == [
        c.name for c in load_contract("tags", DEFAULT_REVISION).columns
    ]


# --- plan


def test_a_plan_counts_windows_and_requests_and_sends_none(account: Sandbox, capsys: Capture) -> None:
    period = ["--start-date", "2026-01-01", "--end-date", "2026-03-31", "--split-by", "month"]
    assert (
        main(["plan", "campaigns", "campaign_messages", "campaign_variations", "events", "list_profiles", *period]) == 0
    )
    said = capsys.readouterr().out
    span = "2026-01-01 to 2026-04-01"
    # Two filters a window: archived or not.
    each = "and at least one for each of the campaign_messages; 150 requests a minute"
    assert line(said, "campaigns") == f"campaigns | 3 | {span} | at least 6 | no wait | {each}"
    assert line(said, "campaign_messages") == f"campaign_messages | 3 | {span} | at least 3 | no wait | {each}"
    assert line(said, "campaign_variations") == f"campaign_variations | 3 | {span} | comes with campaign_messages"
    assert line(said, "events") == f"events | 3 | {span} | at least 3 | no wait | 3,500 requests a minute"
    assert line(said, "list_profiles").endswith(
        "| everything | at least 1 | no wait | and at least one for each of the lists; 750 requests a minute"
    )
    assert "In all at least 13 requests, and those for each record" in said
    assert account.requests == []


def test_a_plan_after_a_run_reads_the_lookback_alone(account: Sandbox, capsys: Capture) -> None:
    period = ["--start-date", "2026-05-01", "--end-date", "2026-05-31"]
    assert main(["run", "events", *period]) == 0
    capsys.readouterr()
    assert main(["plan", "events", *period, "--lookback-days", "2"]) == 0
    assert "2026-05-30 to 2026-06-01" in capsys.readouterr().out
    assert main(["plan", "events", *period, "--lookback-days", "0"]) == 0
    assert line(capsys.readouterr().out, "events").startswith("events | 0 | nothing to read | at least 0 | no wait")


@pytest.mark.parametrize(
    ("requests", "rate", "seconds"),
    [
        (0, L, 0),
        (75, L, 0),
        (76, L, 1),
        (750, L, 9),
        (751, L, 60),
        (1501, L, 120),
        (3501, XL, 60),
        (31, Rate(1, 15), 120),
    ],
)
def test_the_least_time_is_what_the_limits_make_unavoidable(requests: int, rate: Rate, seconds: float) -> None:
    assert least_seconds(requests, rate) == seconds


# --- check


def test_check_says_which_reports_the_key_may_read(account: Sandbox, capsys: Capture) -> None:
    assert main(["check"]) == 0
    said = capsys.readouterr().out
    assert re.match(r"account: Nordlys \(\w+\)\n", said)
    default = [name for name, fact in facts(DEFAULT_REVISION).items() if fact.on_by_default]
    assert [name for name in default if not line(said, name).startswith(f"{name} | yes | ")] == []
    assert "The key may read all of them." in said
    paths = [request.path for request in account.requests]
    # One request each, and one more for an id where a report is read once a parent.
    assert paths.count("/api/events") == 1
    assert paths.count("/api/campaigns") <= 3
    assert all(int(request.query.get("page[size]", 1)) == 1 for request in account.requests)


def test_check_names_what_is_missing(account: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", NARROW_KEY)
    assert main(["check"]) == 1
    said = capsys.readouterr().out
    assert line(said, "events") == "events | yes | events:read"
    assert line(said, "flows") == "flows | missing scope | flows:read"
    assert line(said, "segment_profiles") == "segment_profiles | missing scope | profiles:read, segments:read"
    assert "missing the required scope(s): flows:read." in said
    assert main(["check", "flows", "tags", "--json"]) == 1
    verdicts = json.loads(capsys.readouterr().out)["reports"]
    assert [(verdict["report"], verdict["allowed"]) for verdict in verdicts] == [("flows", False), ("tags", True)]


def test_check_of_a_key_without_the_account_scope_goes_on(
    server: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    with Sandbox(server.account, keys={NARROW_KEY: {"tags:read"}}) as narrow:
        monkeypatch.setenv("SOURCES__KLAVIYO__BASE_URL", narrow.url)
        monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", NARROW_KEY)
        assert main(["check", "tags"]) == 0
    assert "the key works, but may not read accounts (accounts:read)" in capsys.readouterr().out


def test_check_needs_no_start_date_and_says_where_there_is_nothing_to_try(folder: Path, capsys: Capture) -> None:
    configure(folder, "")
    empty = Account(now=datetime(2026, 7, 1, tzinfo=UTC), profiles=0, events=0, lists=0, metrics=1)
    with Sandbox(empty) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCES__KLAVIYO__BASE_URL", server.url)
        patch.setenv("SOURCES__KLAVIYO__API_KEY", "pk_sandbox")
        assert main(["check", "list_profiles", "profiles"]) == 0
    assert line(capsys.readouterr().out, "list_profiles").startswith(
        "list_profiles | not tried: no lists to try it with | "
    )


# --- run


def test_a_run_ends_with_a_table(account: Sandbox, capsys: Capture) -> None:
    period = ["--start-date", "2026-05-01", "--end-date", "2026-05-31"]
    assert main(["run", "events", "tags", "lists", *period]) == 0
    captured = capsys.readouterr()
    with duckdb.connect("warehouse.duckdb", read_only=True) as connection:
        rows = connection.execute("SELECT count(*) FROM klaviyo.events").fetchone()
    assert rows is not None
    assert re.fullmatch(
        rf"events \| 2026-05-01 to 2026-06-01 \| {rows[0]} \| \d+ \| [\d.]+ s \| 2026-06-01 \| loaded",
        line(captured.out, "events"),
    )
    assert re.fullmatch(r"tags \| everything \| 9 \| 1 \| [\d.]+ s \| - \| loaded", line(captured.out, "tags"))
    assert re.search(r"Z klaviyo: 3 reports into warehouse, dataset klaviyo\n", captured.err)
    assert re.search(rf"Z events: read, {rows[0]} rows, \d+ requests? in [\d.]+ s\n", captured.err)


def test_programs_get_the_outcome_as_json(account: Sandbox, capsys: Capture) -> None:
    assert main(["run", "metrics", "flows", "flow_actions", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pipeline"], told["dataset"], told["stopped"]) == ("klaviyo", "klaviyo", False)
    metrics, flows, actions = told["reports"]
    assert metrics["rows"] == 23
    assert metrics["windows"] == [{"start": None, "end": None}]
    assert flows["high_water"] == flows["windows"][0]["end"]
    assert actions["shares_requests_of"] == "flows"
    assert [one["status"] for one in told["reports"]] == ["loaded"] * 3


def test_a_wrong_key_is_one_clear_sentence(account: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", "pk_revoked00112233")
    assert main(["run", "tags", "events"]) == 1
    captured = capsys.readouterr()
    assert "  tags\n" in captured.out or "  tags, events\n" in captured.out
    assert "Klaviyo does not accept the key (401): The API key specified is invalid." in captured.out
    assert "Fix the key or its scopes in Klaviyo" in captured.out
    assert main(["check"]) == 1
    checked = capsys.readouterr()
    assert checked.err.startswith("error: Klaviyo does not accept the key (401): ")
    assert checked.out == ""
    assert "Traceback" not in captured.err + checked.err
    assert "revoked" not in captured.out + captured.err + checked.err


def test_reports_that_the_key_allows_load_beside_those_it_does_not(
    account: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", NARROW_KEY)
    assert main(["run", "tags", "flows", "events", "segments"]) == 1
    said = capsys.readouterr().out
    assert line(said, "tags").endswith("| loaded")
    assert line(said, "events").endswith("| loaded")
    assert line(said, "flows").endswith("| failed")
    assert "missing the required scope(s): flows:read." in said
    assert "missing the required scope(s): segments:read." in said
    assert "not read: 2026-04-01 to " in said
    with duckdb.connect("warehouse.duckdb", read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM klaviyo.tags").fetchone() == (9,)


def test_values_that_fit_no_column_are_counted_by_path(folder: Path, capsys: Capture) -> None:
    odd = Account(seed=5, now=datetime(2026, 7, 1, tzinfo=UTC), profiles=2, events=0)
    odd.now = lambda: datetime.now(UTC)
    odd.add("tag", {"attributes": {"name": {"not": "a text"}}})
    with Sandbox(odd) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCES__KLAVIYO__BASE_URL", server.url)
        patch.setenv("SOURCES__KLAVIYO__API_KEY", "pk_sandbox")
        assert main(["run", "tags"]) == 0
    assert "kept in column _extra of their rows:\n  tags: attributes.name 1\n" in capsys.readouterr().out


def test_fields_that_klaviyo_has_added_are_named_once_and_at_the_end(folder: Path, capsys: Capture) -> None:
    newer = Account(seed=5, now=datetime(2026, 7, 1, tzinfo=UTC), profiles=250, events=0)
    newer.now = lambda: datetime.now(UTC)
    for profile in list(newer.records("profile")):
        newer.update("profile", profile["id"], {"mood": "good", "properties": {"ann@example.com": 1}})
    with Sandbox(newer) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCES__KLAVIYO__BASE_URL", server.url)
        patch.setenv("SOURCES__KLAVIYO__API_KEY", "pk_sandbox")
        assert main(["run", "profiles", "--extract", "all"]) == 0
        said = capsys.readouterr()
        assert main(["run", "profiles", "--extract", "all", "--json"]) == 0
        (outcome,) = json.loads(capsys.readouterr().out)["reports"]
    named = "profiles: Klaviyo sent a field that this version does not know: attributes.mood. It is kept in _extra.\n"
    assert said.err.count("this version does not know") == said.err.count(named) == 1
    kept = "\nFields that this version does not know, kept in column _extra of their rows:\n  profiles: attributes.mood 250\n"
    assert kept in said.out
    assert "ann@example.com" not in said.out + said.err
    assert (outcome["new_fields"], outcome["kept_in_extra"]) == (["attributes.mood"], {"attributes.mood": 250})


def test_refusals_for_going_too_fast_are_reported(account: Sandbox, capsys: Capture) -> None:
    account.faults.add(path="/api/tags", kind="status", status=429, retry_after_s=1)
    assert main(["run", "tags"]) == 0
    assert "Klaviyo asked to go slower (429): tags 1 of 2 requests." in capsys.readouterr().out


def test_a_second_account_has_a_dataset_of_its_own(account: Sandbox, folder: Path, capsys: Capture) -> None:
    configure(folder, '[klaviyo_acme.sources.klaviyo]\nreports = ["tags"]\n')
    assert main(["run", "--pipeline", "klaviyo_acme"]) == 0
    assert (
        f"1 request; dataset klaviyo_acme of {folder}/warehouse.duckdb, pipeline klaviyo_acme."
        in capsys.readouterr().out
    )


def test_the_sandbox_never_mixes_with_real_rows(account: Sandbox, folder: Path, capsys: Capture) -> None:
    configure(folder, "")
    assert main(["run", "tags", "events", "--sandbox", "--sandbox-events", "70"]) == 0
    said = capsys.readouterr().out
    # The made-up history begins here; a few of its events are dated in the future.
    assert "2026-04-02 to " in line(said, "events")
    assert f"dataset klaviyo_sandbox of {folder}/warehouse.duckdb, pipeline klaviyo_sandbox." in said
    assert account.requests == []
    with duckdb.connect("warehouse.duckdb", read_only=True) as connection:
        schemas = {name for (name,) in connection.execute("SELECT schema_name FROM duckdb_schemas()").fetchall()}
    assert "klaviyo" not in schemas


def test_a_destination_in_use_is_one_clear_sentence(account: Sandbox, folder: Path, capsys: Capture) -> None:
    hold = "import duckdb, sys; duckdb.connect('warehouse.duckdb'); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", f"c = None; {hold}".replace("duckdb.connect", "c = duckdb.connect", 1)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert main(["run", "tags"]) == 1
    finally:
        holder.communicate("")
    said = capsys.readouterr().err
    assert f"warehouse.duckdb is open in another program (process {holder.pid}): close it there." in said
    assert "Traceback" not in said


# --- keys


def test_no_key_appears_in_any_output_log_trace_or_state(
    account: Sandbox,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Capture,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for logger in ("", "dlt", "urllib3"):
        caplog.set_level(logging.DEBUG, logger)
    keys = [KEY, NARROW_KEY, "pk_revoked00112233"]
    loud = ["--debug", "--pipelines-dir", str(folder / "work")]
    for key in keys:
        monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", key)
        for command in ("plan", "run"):
            main([command, "tags", "flows", "list_profiles", *loud])
        main(["check", "--debug"])
    # A destination that fails writes a trace too.
    main(["run", "tags", "--destination", "postgres", *loud])
    captured = capfd.readouterr()
    assert {"dlt", "klaviyo", "urllib3.connectionpool"} <= {record.name for record in caplog.records}
    assert "Traceback" in captured.err
    written = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {"trace.pickle", "state.json", "warehouse.duckdb"} <= {Path(name).name for name in written}
    for key in keys:
        secret = key.removeprefix("pk_")
        assert secret not in captured.out + captured.err + caplog.text
        assert [name for name, content in written.items() if secret.encode() in content] == []


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("key pk_abc-1_2 is", "key pk_… is"),
        ("Authorization: Bearer eyJ.x-y", "Authorization: Bearer …"),
        ("postgresql://loader:s3cret@host/db", "postgresql://loader:…@host/db"),
        ("http://127.0.0.1:8080/api", "http://127.0.0.1:8080/api"),
    ],
)
def test_texts_of_errors_lose_keys_and_passwords(text: str, clean: str) -> None:
    assert redacted(text) == clean


# --- progress


def progress_of(rows: int, *, started_s: float, **changes: Any) -> Progress:
    given: dict[str, Any] = {
        "report": "events", "rows": rows, "requests": rows // 1000, "steady_per_minute": 3500, "done": False,
        "failed": False, "fraction": None, "started_s": started_s, **changes,
    }  # fmt: skip
    return Progress(**given)


def test_a_log_line_comes_only_now_and_then_and_when_a_report_ends(capsys: Capture) -> None:
    started_s = time.monotonic() - 12
    with logs(verbose=False):
        view = LogView()
        view.update([progress_of(4000, started_s=started_s, fraction=0.25)])
        view.update([progress_of(5000, started_s=started_s, fraction=0.3)])
        view.update([progress_of(9000, started_s=started_s, fraction=1.0, done=True)])
        view.update([progress_of(9000, started_s=started_s, fraction=1.0, done=True)])
    first, second = (text.partition("Z ")[2] for text in capsys.readouterr().err.splitlines())
    assert first == (
        "events: 4,000 rows, 4 requests, 4 of 3,500 allowed in the last minute, 25% of the period, about 36 s left"
    )
    assert second == "events: read, 9,000 rows, 9 requests in 12 s"


def test_nothing_is_said_while_nothing_changes(capsys: Capture) -> None:
    with logs(verbose=False):
        LogView().update([progress_of(0, started_s=time.monotonic() - 60)])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (9.96, "10.0 s"), (12, "12 s"), (59.7, "1 min"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_spans_of_time_are_told_in_fitting_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# --- the end


def test_the_first_signal_asks_and_the_second_ends_the_process() -> None:
    said: list[str] = []
    codes: SimpleQueue[int] = SimpleQueue()
    before = signal.getsignal(signal.SIGTERM)
    with Stop(said.append, leave=codes.put) as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested.wait(5)
        assert stop.number == signal.SIGTERM
        assert codes.empty()
        signal.raise_signal(signal.SIGINT)
        assert codes.get(timeout=5) == 130
    assert said == ["SIGTERM: stopping after the load package in hand; a second signal stops at once"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interrupted_command_ends_without_a_traceback() -> None:
    trouble = explain(KeyboardInterrupt())
    assert (trouble.exit_code, trouble.foreseen) == (130, True)


def test_the_dlt_executable_stops_after_the_package_in_hand(account: Sandbox, folder: Path) -> None:
    account.latency_s = 0.2
    try:
        # A day a window, so that there is enough to do.
        command = [
            str(DLT),
            "pipeline",
            "klaviyo",
            "run",
            "campaigns",
            "--split-by",
            "day",
            "--start-date",
            "2026-01-01",
        ]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 20
        while len(account.requests) < 5 and time.monotonic() < deadline:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=20)
    finally:
        account.latency_s = 0.0
    assert (running.returncode, "Traceback" in err) == (130, False), err
    assert "SIGINT: stopping after the load package in hand" in err
    assert "Traceback" not in err
    assert "Stopped early" in out


def test_the_dlt_executable_has_our_commands_and_refuses_typos(folder: Path) -> None:
    listed = subprocess.run([DLT, "pipeline", "klaviyo", "reports", "tags"], capture_output=True, text=True, check=True)
    assert listed.stdout.startswith("tags: ")
    refusal = subprocess.run([DLT, "pipeline", "klaviyo", "run", "--strat-date", "1"], capture_output=True, text=True)
    assert refusal.returncode == 2
    assert "unknown option --strat-date; did you mean --start-date?" in refusal.stderr
    assert "dlt pipeline NAME run" in refusal.stderr


def test_nothing_heavy_is_imported_before_a_command_runs() -> None:
    program = (
        "import sys, argparse\n"
        "from dlt_klaviyo.cli import main as klaviyo_cli\n"
        "for name in klaviyo_cli.COMMANDS: klaviyo_cli.configure(name, argparse.ArgumentParser())\n"
        "print([name for name in ('dlt', 'pyarrow', 'rich', 'yaml', 'requests') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=_root())
    assert done.stdout == "[]\n"


def _root() -> Path:
    return Path(klaviyo_cli.__file__).parents[3]
