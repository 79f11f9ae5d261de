"""Finds rows that were appended although their key was in the table already, and keeps the newest of each.

While events are read they stay in their second, so rows are proved to be new as they come (`extract/uniqueness.py`). No
answer can prove that Klaviyo does not date an event anew in the meantime. Such an event comes a second time, in another
window. To look for it while reading would need all ids in memory. Afterwards the table has them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import dlt
from dlt.destinations.sql_client import WithSqlClient

from ..catalog.report import Report
from ..plan.state import SOURCE
from ..windows import Window

log = logging.getLogger("klaviyo")

#: Keys that are compared at once: a few hundred MB of DuckDB's memory.
_ROWS_AT_ONCE = 5_000_000


def remove_doubles(
    pipeline: dlt.Pipeline, report: Report, windows: Sequence[Window], rows_at_once: int = _ROWS_AT_ONCE
) -> int:
    """Delete all but the newest row of each key that was appended a second time.

    Args:
        windows: where the appended rows lie in time. Only their keys are looked up in the rest of the table.
        rows_at_once: so many keys are compared at once.

    Returns:
        How many rows were deleted.
    """
    column = report.cursor_column
    if column is None or not windows or SOURCE not in pipeline.schema_names:
        return 0
    with pipeline.destination_client(SOURCE) as client:
        if not isinstance(client, WithSqlClient):
            return 0
        naming, sql = client.schema.naming, client.sql_client
        name = naming.normalize_table_identifier(report.table or report.name)
        if name not in client.schema.tables:
            return 0
        table = sql.make_qualified_table_name(name)
        (key,) = (sql.escape_column_name(naming.normalize_identifier(one)) for one in report.key_columns)
        moment = sql.escape_column_name(naming.normalize_identifier(column))
        load = sql.escape_column_name("_dlt_load_id")
        within = " OR ".join([f"({moment} >= %s AND {moment} < %s)"] * len(windows))
        bounds = [bound for window in windows for bound in (window.start, window.end)]
        ((rows,),) = sql.execute_sql(f"SELECT count(*) FROM {table} WHERE {within}", *bounds) or [(0,)]  # noqa: S608 - names are dlt's own, escaped
        parts, deleted = -(-rows // rows_at_once), 0
        for part in range(parts):
            of_part = f"hash({key}) % {parts} = {part}"
            repeated = (
                f"FROM {table} WHERE {of_part} AND {key} IN (SELECT {key} FROM {table} WHERE {of_part} AND ({within}))"  # noqa: S608
                f" GROUP BY {key} HAVING count(*) > 1"
            )
            found = sql.execute_sql(f"SELECT count(*) {repeated}", *bounds)
            if not found:
                continue
            places = f"row_number() OVER (PARTITION BY {key} ORDER BY {moment} DESC, {load} DESC, rowid DESC) AS place"
            sql.execute_sql(
                f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM (SELECT rowid, {places} FROM {table}"  # noqa: S608
                f" WHERE {key} IN (SELECT {key} {repeated})) WHERE place > 1)",
                *bounds,
            )
            deleted += sum(copies - 1 for (copies,) in found)
    if deleted:
        log.info(
            "%s: %d rows were dated anew while they were read and came twice; the newer one stays", report.name, deleted
        )
    return deleted
