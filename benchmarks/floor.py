"""`python -m benchmarks.floor URL`: the same pages fetched, decoded and inserted into DuckDB, with nothing in between.

Four threads fetch equal parts of the period, one decodes with this project's shaping, one inserts Arrow tables into one
DuckDB table in one transaction. No dlt, no state, no recovery: the least that a first sync can cost on this machine.
"""

from __future__ import annotations

import argparse
import json
import queue
import threading
import time
from datetime import timedelta

import duckdb
import pyarrow as pa

from benchmarks.made_up import DAYS, START
from benchmarks.server import KEY
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.clock import SystemClock
from sources.klaviyo.config.build import build
from sources.klaviyo.config.raw_settings import RawSettings
from sources.klaviyo.config.report_facts import facts
from sources.klaviyo.decode.records import Shaper
from sources.klaviyo.http import query
from sources.klaviyo.http.client import Client, Traffic
from sources.klaviyo.http.rate_limit import Governor
from sources.klaviyo.windows import Window

_FETCHERS = 4
_PAGES_PER_TABLE = 20
# Half the size and time, for the long ones.
_PACKED = " USING COMPRESSION zstd"
_SQL_TYPES = {"text": "VARCHAR", "json": "JSON", "bigint": "BIGINT", "timestamp": "TIMESTAMPTZ"}


def main() -> None:
    """Load events into `warehouse.duckdb` in the working folder and say how it went."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor", description=__doc__)
    parser.add_argument("url")
    given = parser.parse_args()
    began_s = time.perf_counter()
    clock = SystemClock()
    settings = build(
        RawSettings({"api_key": KEY, "base_url": given.url, "reports": ["events"], "start_date": START.isoformat()}),
        facts(DEFAULT_REVISION),
        clock.now(),
    )
    client = Client(settings, Governor(clock, settings.max_wait_s, threading.Event()))
    report = reports(settings.revision)["events"]
    endpoint, contract = report.endpoint, report.contract
    pages: queue.Queue[bytes | None] = queue.Queue(maxsize=16)

    def fetch(window: Window) -> None:
        path: str | None = query.url(endpoint, window=window, include=report.include, fields=report.fields)
        while path:
            page = client.get(path, endpoint, endpoint.rate, Traffic())
            pages.put(page.body)
            path = page.next
        pages.put(None)

    part = timedelta(days=DAYS) / _FETCHERS
    for number in range(_FETCHERS):
        window = Window(START + number * part, START + (number + 1) * part)
        threading.Thread(target=fetch, args=(window,), daemon=True).start()

    tables: queue.Queue[pa.Table | None] = queue.Queue(maxsize=8)

    def decode() -> None:
        shaper, waiting, ended = Shaper(contract), [], 0
        while ended < _FETCHERS:
            body = pages.get()
            if body is None:
                ended += 1
            else:
                waiting.append(shaper.shape(body, {}).table)
            if len(waiting) >= _PAGES_PER_TABLE or (ended == _FETCHERS and waiting):
                tables.put(pa.concat_tables(waiting))
                waiting.clear()
        tables.put(None)

    threading.Thread(target=decode, daemon=True).start()
    # Older files know no zstd.
    connection = duckdb.connect("warehouse.duckdb", config={"storage_compatibility_version": "v1.2.0"})
    columns = ", ".join(
        f"{column.name} {_SQL_TYPES[column.data_type]}{_PACKED if column.data_type == 'json' else ''}"
        for column in contract.columns
    )
    connection.execute(f"CREATE SCHEMA klaviyo; CREATE TABLE klaviyo.events ({columns}); BEGIN")
    # DuckDB finds the table by its name.
    while (batch := tables.get()) is not None:  # noqa: F841
        connection.execute("INSERT INTO klaviyo.events SELECT * FROM batch")
    connection.execute("COMMIT")
    connection.close()
    print(json.dumps({"seconds": time.perf_counter() - began_s}))


if __name__ == "__main__":
    main()
