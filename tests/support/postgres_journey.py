"""A journey into Postgres."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dlt
import psycopg2

from sandbox import Account
from sources.klaviyo.load.pipeline import open_pipeline
from sources.klaviyo.load.turn import Turn
from tests.support.journeys import FakeClock, Journey


class PostgresJourney(Journey):
    """A journey into Postgres. What is there is asked on a connection of its own, not through dlt.

    Args:
        dsn: of the server; dlt finds it in the environment.
    """

    def __init__(self, dsn: str, folder: Path, account: Account, clock: FakeClock, **sandbox: Any) -> None:
        super().__init__(folder, account, clock, **sandbox)
        self._connection = psycopg2.connect(dsn, options="-c TimeZone=UTC")
        self._connection.autocommit = True

    def close(self) -> None:
        self._connection.close()
        super().close()

    def pipeline(self, name: str = "klaviyo", turn: Turn | None = None) -> dlt.Pipeline:
        return open_pipeline(name, "postgres", pipelines_dir=str(self.pipelines_dir), turn=turn)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            # One text without values: a `%` in it is not a placeholder.
            cursor.execute(query)
            return list(cursor.fetchall()) if cursor.description else []

    def rows(self, report: str, dataset: str = "klaviyo") -> list[tuple[str | None, ...]]:
        of = f"WHERE table_schema = '{dataset}' AND table_name = '{report}' ORDER BY 1"
        names = [name for (name,) in self.sql(f"SELECT column_name FROM information_schema.columns {of}")]
        kept = ", ".join(f'"{name}"::text' for name in names if name not in ("_dlt_load_id", "observed_at"))
        return sorted(self.sql(f"SELECT {kept} FROM {dataset}.{report}"), key=str)
