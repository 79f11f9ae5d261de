"""`python -m benchmarks.memory`: the most memory that a first sync takes, by the size of the account.

One process a size, no latency, no limits: rows pile up as fast as they can. `--events 1000000 10000000` is the figure
of docs/performance.md; ten million events take some minutes and 3 GB of disk for a while.
"""

from __future__ import annotations

import argparse

from benchmarks.harness import contender, duckdb_settings, folder, in_duckdb, megabytes, table, verify
from benchmarks.made_up import truth
from benchmarks.server import serving


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--shape", choices=("even", "bursty"), default="even")
    duckdb_settings(parser)
    given = parser.parse_args()
    rows: list[list[object]] = []
    first = None
    for events in given.events:
        with serving(events, given.shape) as server, folder() as home:
            measured = contender("ours", home, server.url, extra=in_duckdb(given.duckdb))
            verify(home, truth(events, given.shape))
            size = (home / "warehouse.duckdb").stat().st_size
        first = first or measured.peak_bytes
        rows.append(
            [f"{events:,}", megabytes(measured.peak_bytes), measured.peak_bytes / first, measured.seconds,
             events / measured.seconds, measured.cpu_s, megabytes(size)]
        )  # fmt: skip
    table(
        f"Peak memory of a first sync ({given.shape}); all rows verified",
        ["events", "peak MB", "of the first", "seconds", "rows/s", "CPU s", "file MB"],
        rows,
    )


if __name__ == "__main__":
    main()
