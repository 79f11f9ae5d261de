"""dlt reports each run to its makers, unless it is told not to: our own command line tells it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = [sys.executable, str(ROOT / "pipelines" / "klaviyo_pipeline.py")]
DLT = [str(Path(sys.executable).with_name("dlt")), "pipeline", "klaviyo"]
TRIAL = ["run", "tags", "--sandbox", "--sandbox-events", "0", "--sandbox-profiles", "0"]
#: What a user of the library does, in a process of their own.
LIBRARY = """
import dlt
from sources.klaviyo import klaviyo
from dlt.common.runtime import anon_tracker, telemetry
klaviyo(api_key="pk_x", start_date="2026-01-01", reports=["tags"])
dlt.pipeline("mine").run([1], table_name="numbers", destination="duckdb")
assert telemetry.is_telemetry_started()
assert anon_tracker._THREAD_POOL is not None
"""


@pytest.fixture
def reported() -> Iterator[tuple[str, list[str]]]:
    """A server in place of that of dlt's makers: its address, and what was sent to it."""
    got: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()


def command(folder: Path, argv: list[str], endpoint: str, **variables: str) -> None:
    """Run in a folder without any configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNTIME__", "DLT_"))}
    environment = {
        **kept,
        "HOME": str(folder / "home"),
        "DLT_DATA_DIR": str(folder / "data"),
        "PYTHONPATH": str(ROOT),
        "RUNTIME__DLTHUB_TELEMETRY_ENDPOINT": endpoint,
        **variables,
    }
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("start", [SCRIPT, DLT], ids=["script", "dlt"])
def test_our_command_line_reports_nothing_in_a_folder_without_configuration(
    tmp_path: Path, reported: tuple[str, list[str]], start: list[str]
) -> None:
    endpoint, got = reported
    command(tmp_path, [*start, *TRIAL], endpoint)
    assert got == []


def test_the_script_never_opens_what_dlt_reports_through(tmp_path: Path, reported: tuple[str, list[str]]) -> None:
    look = (
        "import sys; from dlt.common.runtime import anon_tracker; from sources.klaviyo.cli.main import main\n"
        "opened = []; anon_tracker.init_anon_tracker = opened.append\n"
        "from dlt.common.runtime import telemetry; telemetry.init_anon_tracker = opened.append\n"
        f"assert main({TRIAL}) == 0\nassert opened == [] and anon_tracker._THREAD_POOL is None"
    )
    command(tmp_path, [sys.executable, "-c", look], reported[0])


@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_user_who_has_switched_it_on_keeps_it(tmp_path: Path, reported: tuple[str, list[str]], place: str) -> None:
    endpoint, got = reported
    variables = {}
    if place == "environment":
        variables["RUNTIME__DLTHUB_TELEMETRY"] = "true"
    else:
        (tmp_path / ".dlt").mkdir()
        (tmp_path / ".dlt" / "config.toml").write_text("[runtime]\ndlthub_telemetry = true\n", encoding="utf-8")
    command(tmp_path, [*SCRIPT, *TRIAL], endpoint, **variables)
    assert any("pipeline_load" in event for event in got)


def test_the_source_changes_nothing_of_it(tmp_path: Path, reported: tuple[str, list[str]]) -> None:
    endpoint, got = reported
    command(tmp_path, [sys.executable, "-c", LIBRARY], endpoint)
    assert got
