"""`python -m benchmarks.start_up`: seconds that the commands take when there is nothing to do.

`run events` finds its period loaded and sends no request; `run` reads a tiny sandbox account again, all reports.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import ROOT, folder, measure, median, megabytes, table

_DLT = str(Path(sys.executable).with_name("dlt"))
_COMMANDS = {
    "dlt --version (dlt alone)": ["--version"],
    "--help": ["pipeline", "klaviyo", "run", "--help"],
    "reports": ["pipeline", "klaviyo", "reports"],
    "plan": ["pipeline", "klaviyo", "plan"],
    "run events, nothing new": ["pipeline", "klaviyo", "run", "events", "--lookback-days", "0"],
    "run, all reports of a tiny account": ["pipeline", "klaviyo", "run"],
}
_TINY = ["--profiles", "50", "--events", "200", "--campaigns", "4", "--flows", "2", "--lists", "2", "--segments", "2"]


@contextmanager
def _sandbox() -> Iterator[str]:
    command = [sys.executable, "-m", "sandbox", "--no-rate-limits", "--now", "2026-07-01", *_TINY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - for the type checker
            yield process.stdout.readline().split()[1]
        finally:
            process.terminate()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start_up", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    rows: list[list[object]] = []
    with _sandbox() as url, folder() as home:
        settings = {"api_key": "pk_sandbox", "base_url": url, "start_date": "2026-04-01", "end_date": "2026-06-30"}
        extra = {f"SOURCES__KLAVIYO__{name.upper()}": value for name, value in settings.items()}
        measure([_DLT, "pipeline", "klaviyo", "run"], home, extra)
        for name, arguments in _COMMANDS.items():
            runs = [measure([_DLT, *arguments], home, extra) for _ in range(given.repeat)]
            rows.append(
                [name, median(run.wall_s for run in runs), min(run.wall_s for run in runs),
                 median(run.cpu_s for run in runs), median(megabytes(run.peak_bytes) for run in runs)]
            )  # fmt: skip
    table(
        f"Start-up, {given.repeat} times each",
        ["dlt pipeline klaviyo …", "median s", "least s", "CPU s", "peak MB"],
        rows,
    )


if __name__ == "__main__":
    main()
