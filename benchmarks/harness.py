"""Runs what is measured in processes of their own, checks what they loaded, and prints tables of figures."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.made_up import Truth

ROOT = Path(__file__).resolve().parents[1]
DATASET = "klaviyo"
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Measured:
    """One process that is over.

    Attributes:
        seconds: of the work itself, as the process said, or of the whole process.
        wall_s: of the whole process, its start included.
        cpu_s: of the process, all threads.
        peak_bytes: the most memory that was resident.
        said: what it printed as JSON in its last line.
    """

    seconds: float
    wall_s: float
    cpu_s: float
    peak_bytes: int
    said: Mapping[str, Any]


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one contender, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="klaviyo-benchmark-") as name:
        yield Path(name)


def environment(home: Path) -> dict[str, str]:
    """The environment of a measured process: nobody else's settings, working files below `home`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if "__" not in name and name not in ("DLT_PROJECT_DIR", "DLT_LOCAL_DIR", "DLT_DATA_DIR", "XDG_DATA_HOME")
    }
    return {
        **kept,
        "HOME": str(home),
        "DLT_PROJECT_DIR": str(home),
        # Root's pipelines live in /var/dlt otherwise.
        "DLT_DATA_DIR": str(home / "dlt"),
        "PYTHONPATH": str(ROOT),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
    }


def measure(command: Sequence[str], home: Path, extra: Mapping[str, str] | None = None) -> Measured:
    """Run a command to its end, in `home`.

    Raises:
        RuntimeError: it failed; with what it wrote on stderr.
    """
    began_s = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            command, cwd=home, env={**environment(home), **(extra or {})}, stdout=out, stderr=err, text=True
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began_s
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{err.read()[-4000:]}")
        lines = out.read().strip().splitlines()
    try:
        said = json.loads(lines[-1]) if lines else {}
    except json.JSONDecodeError:
        said = {}
    said = said if isinstance(said, dict) else {}
    # ru_maxrss is in bytes on macOS, in kilobytes elsewhere.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    cpu_s = usage.ru_utime + usage.ru_stime
    return Measured(float(said.get("seconds", wall_s)), wall_s, cpu_s, peak, said)


def contender(name: str, home: Path, *args: str, extra: Mapping[str, str] | None = None) -> Measured:
    """Run one of the modules `benchmarks.<name>` that load an account and say how long it took."""
    return measure([sys.executable, "-m", f"benchmarks.{name}", *args], home, extra)


def duckdb_settings(parser: argparse.ArgumentParser) -> None:
    """Let DuckDB's settings be given, `--duckdb '{"threads": 8}'`, for `in_duckdb`."""
    parser.add_argument("--duckdb", metavar="JSON", help="settings of DuckDB, in place of those that a run makes")


def in_duckdb(settings: str | None) -> dict[str, str]:
    """The environment of a contender whose DuckDB has these settings, as .dlt/config.toml would give them."""
    return {"DESTINATION__WAREHOUSE__CREDENTIALS__GLOBAL_CONFIG": settings} if settings else {}


class WrongRows(AssertionError):
    """A table that does not show the truth; its rate is worth nothing."""


def verify(home: Path, truth: Truth, dataset: str = DATASET) -> None:
    """Compare the table `events` with the truth: rows, distinct ids, sums of moments and of numbers.

    Raises:
        WrongRows: with both.
    """
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        found = connection.execute(
            "SELECT count(*), count(DISTINCT id), sum(timestamp)::HUGEINT, sum(('0x' || uuid[-12:])::BIGINT)::HUGEINT, "
            "count(event_properties->>'$.\"$event_id\"'), count(metric_name), "
            f"count(*) FILTER (json_array_length(attributions) = 1) FROM {dataset}.events"
        ).fetchone()
    rows = truth.rows
    expected = (rows, rows, truth.seconds, truth.numbers, rows, rows, rows // 5)
    if found != expected:
        raise WrongRows(f"{dataset}.events shows {found}, the account has {expected}")


def median(values: Iterable[float]) -> float:
    """The middle one: other work on the machine makes outliers, never faster runs."""
    return statistics.median(values)


def table(title: str, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print figures under a title; keep them for `benchmarks.plot` in the file that BENCHMARK_RESULTS names."""
    rows = [list(row) for row in rows]
    if kept := os.environ.get("BENCHMARK_RESULTS"):
        with Path(kept).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"title": title, "machine": machine(), "headers": headers, "rows": rows}) + "\n")
    texts = [[_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *texts, strict=True)]
    print(f"\n{title}")
    print(f"{machine()}\n")
    for row in ([*headers], *texts):
        first, *others = (
            cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *others]).rstrip())


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:,.1f}" if abs(cell) >= 10 else f"{cell:.2f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def megabytes(count: int) -> float:
    """Bytes as MB."""
    return count / _MEGABYTE


def machine() -> str:
    """What the figures were measured on."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("dlt", "duckdb", "pyarrow"))
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}{load}"
