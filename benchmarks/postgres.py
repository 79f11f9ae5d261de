"""`python -m benchmarks.postgres`: Postgres beside DuckDB in rows a second, what `jsonb` costs, and what the index saves.

The server is the one of the tests, on the same machine and without fsync. First syncs and runs that read everything
again take turns. Then the table is filled up with copies under other ids, and a part of it is merged again with the
index on the key and without it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import psycopg2

from benchmarks.harness import Measured, contender, folder, median, table
from benchmarks.server import serving
from tests.support.postgres import running_server

_INDEX = "events_key_idx"
_COPY = """
    DO $$
    DECLARE columns text;
    BEGIN
        SELECT string_agg(quote_ident(column_name), ', ') INTO columns FROM information_schema.columns
        WHERE table_schema = 'klaviyo' AND table_name = 'events' AND column_name <> 'id';
        EXECUTE format('INSERT INTO klaviyo.events (id, %%s) SELECT id || ''-'' || copy, %%s FROM klaviyo.events, '
                       'generate_series(1, %s) AS copy', columns, columns);
    END $$
"""


def _environment(dsn: str, json_type: str) -> dict[str, str]:
    return {
        "PIPELINES__KLAVIYO__DESTINATION_TYPE": "postgres",
        "DESTINATION__POSTGRES__CREDENTIALS": dsn,
        "SOURCES__KLAVIYO__POSTGRES_JSON": json_type,
    }


def _execute(dsn: str, *statements: str) -> None:
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def _rows(name: str, runs: list[Measured], events: int) -> list[object]:
    seconds = median(run.seconds for run in runs)
    return [name, events, seconds, events / seconds, median(run.cpu_s for run in runs) * 1e6 / events]


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.postgres", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--into", type=int, default=10_000_000, help="rows to merge into; 0 to leave it out")
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    events, runs = given.events, defaultdict[str, list[Measured]](list)
    with tempfile.TemporaryDirectory() as name, running_server(Path(name) / "postgres.lock") as server:
        for _ in range(given.repeat):
            for kind in ("DuckDB", "Postgres, jsonb", "Postgres, json"):
                with serving(events, ready=True) as api, folder() as home, server.database() as dsn:
                    extra: Mapping[str, str] = {} if kind == "DuckDB" else _environment(dsn, kind.rpartition(" ")[2])
                    runs[f"{kind}, first sync"].append(contender("ours", home, api.url, extra=extra))
                    runs[f"{kind}, merged again"].append(contender("ours", home, api.url, "--reread", extra=extra))
        table(
            f"{events:,} events, median of {given.repeat}; CPU without that of the Postgres server",
            ["", "rows", "seconds", "rows/s", "CPU s per million"],
            [_rows(kind, found, events) for kind, found in runs.items()],
        )
        if not given.into:
            return
        merged: dict[str, list[Measured]] = defaultdict(list)
        with serving(events, ready=True) as api, folder() as home, server.database() as dsn:
            extra = _environment(dsn, "jsonb")
            contender("ours", home, api.url, extra=extra)
            _execute(dsn, _COPY % (given.into // events - 1), "ANALYZE klaviyo.events")
            for _ in range(given.repeat):
                for kind in ("with the index", "without"):
                    if kind == "without":
                        _execute(dsn, f"DROP INDEX klaviyo.{_INDEX}")
                    merged[kind].append(contender("ours", home, api.url, "--reread", extra=extra))
                    _execute(dsn, f"CREATE INDEX IF NOT EXISTS {_INDEX} ON klaviyo.events (id)")
        table(
            f"{events:,} events merged into {given.into:,}, median of {given.repeat}",
            ["", "rows", "seconds", "rows/s", "CPU s per million"],
            [_rows(kind, found, events) for kind, found in merged.items()],
        )


if __name__ == "__main__":
    main()
