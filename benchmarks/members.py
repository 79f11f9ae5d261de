"""`python -m benchmarks.members`: 2,000 lists with five million memberships, read into DuckDB as history, twice.

Ten lists hold 70 % of the memberships. The second run finds a few changes in every list, and the table says which rows
it wrote. Without `--limits` it shows what the work takes beside the limit; with it, Klaviyo's 750 pages of 100 members
a minute are what one waits for: five million take 67 minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import duckdb

from benchmarks.harness import DATASET, WrongRows, contender, duckdb_settings, folder, in_duckdb, megabytes, table
from benchmarks.server import serving


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.members", description=__doc__)
    parser.add_argument("--lists", type=int, default=2000)
    parser.add_argument("--memberships", type=int, default=5_000_000)
    parser.add_argument("--changes", type=int, default=2, help="members that leave each list, and that join it")
    parser.add_argument("--page-rows", type=int, default=1000, help="members a page; Klaviyo's are 100")
    parser.add_argument("--latency-ms", type=int, default=0)
    parser.add_argument("--limits", action="store_true", help="Klaviyo's rate limits")
    duckdb_settings(parser)
    given = parser.parse_args()
    rows: list[list[object]] = []
    with (
        serving(
            0, latency_ms=given.latency_ms, limits=given.limits, page_rows=given.page_rows, lists=given.lists,
            memberships=given.memberships,
        ) as server,
        folder() as home,
    ):  # fmt: skip
        asked = 0
        for name, changes in (("first run", 0), ("second run", given.changes)):
            if changes:
                server.change(changes)
            measured = contender("ours", home, server.url, "--reports", "lists", "list_profiles",
                                 extra=in_duckdb(given.duckdb))  # fmt: skip
            stats = server.stats()
            written = _verify(home, given.memberships, given.lists * changes)
            file = home / "warehouse.duckdb"
            rows.append(
                [name, measured.seconds, given.memberships / measured.seconds, stats["requests"] - asked,
                 stats["refused"], measured.cpu_s, megabytes(measured.peak_bytes), megabytes(file.stat().st_size), written]
            )  # fmt: skip
            asked = stats["requests"]
    table(
        f"{given.lists:,} lists with {given.memberships:,} memberships, {given.page_rows} a page; all rows verified",
        ["", "seconds", "rows/s", "requests", "429s", "CPU s", "peak MB", "file MB", "rows written"],
        rows,
    )


def _verify(home: Path, memberships: int, changed: int) -> int:
    """Compare the history with the truth; the rows that the last run wrote."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        found = connection.execute(
            "SELECT count(*) FILTER (_dlt_valid_to IS NULL), "
            "count(DISTINCT (list_id, profile_id)) FILTER (_dlt_valid_to IS NULL), "
            f"count(*) FILTER (_dlt_valid_to IS NOT NULL) FROM {DATASET}.list_profiles"
        ).fetchone()
        written = connection.execute(
            f"SELECT count(*) FROM {DATASET}.list_profiles WHERE _dlt_load_id = "
            f"(SELECT max(load_id) FROM {DATASET}._dlt_loads)"
        ).fetchone()
    if found != (memberships, memberships, changed) or written is None:
        raise WrongRows(f"list_profiles shows {found}, the account has {(memberships, memberships, changed)}")
    return int(written[0])


if __name__ == "__main__":
    main()
