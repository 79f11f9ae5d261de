"""`python -m benchmarks.throughput`: rows a second from a server without latency or limits to committed DuckDB rows.

A first sync by this project, by the floor (the same pages, no dlt), and by a plain dlt source with dict rows on fewer
rows; then a run that reads a part of the period again and merges it. Contenders take turns, so that other work on the
machine hits them alike; medians are shown, and CPU seconds, which it hits less.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping

from benchmarks.harness import Measured, contender, duckdb_settings, folder, in_duckdb, median, megabytes, table, verify
from benchmarks.made_up import DAYS, truth
from benchmarks.server import serving

_HEADERS = ["", "rows", "seconds", "rows/s", "of the floor", "CPU s per million", "peak MB"]


def _first_syncs(events: int, plain_events: int, repeat: int, extra: Mapping[str, str]) -> None:
    runs: dict[str, list[Measured]] = defaultdict(list)
    sizes = {
        "floor: no dlt": ("floor", events),
        "ours": ("ours", events),
        "plain dlt, dict rows": ("plain_source", plain_events),
    }
    for _ in range(repeat):
        for name, (module, size) in sizes.items():
            with serving(size, ready=True) as server, folder() as home:
                runs[name].append(contender(module, home, server.url, extra=extra))
                verify(home, truth(size, "even"))
    rates = {name: median(sizes[name][1] / measured.seconds for measured in runs[name]) for name in sizes}
    rows: list[list[object]] = [
        [
            name,
            size,
            median(measured.seconds for measured in runs[name]),
            rates[name],
            rates[name] / rates["floor: no dlt"],
            median(measured.cpu_s for measured in runs[name]) * 1e6 / size,
            median(megabytes(measured.peak_bytes) for measured in runs[name]),
        ]
        for name, (_, size) in sizes.items()
    ]
    table(
        f"First sync, no latency, no limits, median of {repeat}; all rows verified. "
        f"Ours is {rates['ours'] / rates['plain dlt, dict rows']:.0f} times plain dlt, which is measured on fewer rows.",
        _HEADERS,
        rows,
    )


def _merge(into: int, merged: int, repeat: int, extra: Mapping[str, str]) -> None:
    days = max(1, round(DAYS * merged / into))
    rows: list[list[object]] = []
    with serving(into) as server, folder() as home:
        contender("ours", home, server.url, extra=extra)
        expected = truth(into, "even")
        verify(home, expected)
        runs = []
        for _ in range(repeat):
            runs.append(contender("ours", home, server.url, "--reread", "--last-days", str(days), extra=extra))
            verify(home, expected)
        count = int(runs[-1].said["rows"])
        rows.append(
            [f"merge into {into:,}", count, median(run.seconds for run in runs),
             median(count / run.seconds for run in runs), "", median(run.cpu_s for run in runs) * 1e6 / count,
             median(megabytes(run.peak_bytes) for run in runs)]
        )  # fmt: skip
    table(f"Reading {days} days again, median of {repeat}; all rows verified", _HEADERS, rows)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="of the first sync; 0 to leave it out")
    parser.add_argument("--plain-events", type=int, default=50_000, help="for the plain dlt source")
    parser.add_argument("--into", type=int, default=1_000_000, help="rows to merge into; 0 to leave it out")
    parser.add_argument("--merged", type=int, default=200_000, help="rows to merge, about")
    parser.add_argument("--repeat", type=int, default=3)
    duckdb_settings(parser)
    given = parser.parse_args()
    extra = in_duckdb(given.duckdb)
    if given.events:
        _first_syncs(given.events, given.plain_events, given.repeat, extra)
    if given.into:
        _merge(given.into, given.merged, given.repeat, extra)


if __name__ == "__main__":
    main()
