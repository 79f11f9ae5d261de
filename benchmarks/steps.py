"""`python -m benchmarks.steps`: what each step costs, in CPU milliseconds a page of a thousand events, one after another.

The steps of a first sync on their own, without threads, network or dlt: where the time goes, whatever else the machine
is doing. Inserting is shown as a run does it, and with what it does about JSON columns and DuckDB's settings left out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import folder, megabytes, table
from benchmarks.made_up import Events
from sources.klaviyo.catalog.contracts import load_contract
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.decode.records import Shaper
from sources.klaviyo.jsonapi import next_link
from sources.klaviyo.load.duckdb import SETTINGS

_PAGES_PER_TABLE = 20
_SQL_TYPES = {"text": "VARCHAR", "json": "JSON", "bigint": "BIGINT", "timestamp": "TIMESTAMPTZ"}


def _insert(home: Path, packed: str, settings: Mapping[str, Any]) -> Callable[[], int]:
    columns = ", ".join(
        f"{column.name} {_SQL_TYPES[column.data_type]}{packed if column.data_type == 'json' else ''}"
        for column in load_contract("events", DEFAULT_REVISION).columns
    )

    def insert() -> int:
        path = home / f"warehouse-{len(packed)}-{len(settings)}.duckdb"
        with duckdb.connect(str(path), config={"storage_compatibility_version": "v1.2.0"}) as connection:
            for name, value in settings.items():
                connection.execute(f"SET GLOBAL {name} = '{value}'")
            connection.execute(f"CREATE TABLE events ({columns})")
            connection.execute(f"INSERT INTO events BY NAME SELECT * FROM read_parquet('{home / 'events.parquet'}')")
        return path.stat().st_size

    return insert


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    parser.add_argument("--pages", type=int, default=500, help="as many as a load package has")
    given = parser.parse_args()
    made = Events(given.pages * 1000, "even", "https://a.klaviyo.com")
    links = b',"links":{"self":"","next":"https://a.klaviyo.com/api/events?page%5Bcursor%5D=1","prev":null}}'
    rows: list[list[object]] = []

    def step(name: str, work: Callable[[], Any], size: Callable[[Any], int] = lambda _: 0) -> Any:
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        result = work()
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
        rows.append([name, cpu_s * 1e3 / given.pages, wall_s * 1e3 / given.pages, megabytes(size(result))])
        return result

    pages: list[bytes] = [
        b"".join([b"{", *made.page(n * 1000, (n + 1) * 1000, True), links]) for n in range(given.pages)
    ]  # fmt: skip
    shaper = Shaper(load_contract("events", DEFAULT_REVISION))
    step("find the next page's link", lambda: [next_link(page) for page in pages])
    step("decode into structs", lambda: [shaper._decode_document(page) and None for page in pages])
    shaped = step(
        "decode and shape into Arrow",
        lambda: [shaper.shape(page, {}).table for page in pages],
        lambda tables: sum(one.nbytes for one in tables),
    )
    with folder() as home:

        def write() -> int:
            path = home / "events.parquet"
            with pq.ParquetWriter(path, shaper.schema) as writer:
                for n in range(0, len(shaped), _PAGES_PER_TABLE):
                    writer.write_table(pa.concat_tables(shaped[n : n + _PAGES_PER_TABLE]))
            return path.stat().st_size

        step("write Parquet", write, int)
        # DuckDB's first insert in a process takes longer.
        _insert(home, "", {})()
        step("insert into DuckDB", _insert(home, " USING COMPRESSION zstd", SETTINGS), int)
        step("insert, by DuckDB's own settings", _insert(home, " USING COMPRESSION zstd", {}), int)
        step("insert, JSON not packed", _insert(home, "", SETTINGS), int)
    table(
        f"A page of a thousand events (1.2 MB of JSON), step by step; means of {given.pages}",
        ["", "CPU ms a page", "ms a page", "MB in all"],
        rows,
    )


if __name__ == "__main__":
    main()
