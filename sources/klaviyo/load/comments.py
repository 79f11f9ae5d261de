"""Writes what tables and columns mean into the warehouse, as comments.

dlt writes comments on Databricks, and those of columns on Snowflake and BigQuery, when it makes a table. Here it is done
for DuckDB and Postgres, and again whenever a description has changed.
"""

from __future__ import annotations

import logging

import dlt
from dlt.common.destination.client import JobClientBase
from dlt.destinations.sql_client import WithSqlClient

from ..plan.state import SOURCE
from .destination import type_of

log = logging.getLogger("klaviyo")

#: What was described last, in dlt's local state.
_DESCRIBED = "klaviyo_described"
#: What dlt adds to a table without a description.
_OF_DLT = {
    "_dlt_load_id": "The load that brought the row: `load_id` in `_dlt_loads`.",
    "_dlt_valid_from": "When a run first saw the row as it is.",
    "_dlt_valid_to": "When a run saw that the row is gone or has changed; null while it is valid.",
    "_row_version": "What dlt compares rows by.",
}

#: Destination -> (table, column or null, comment or null) of everything in a dataset that can have a comment.
_COMMENTS = {
    "duckdb": """
        SELECT table_name, NULL, comment FROM duckdb_tables()
        WHERE schema_name = %s AND database_name = current_database()
        UNION ALL
        SELECT table_name, column_name, comment FROM duckdb_columns()
        WHERE schema_name = %s AND database_name = current_database()
    """,
    "postgres": """
        SELECT relname, NULL, obj_description(c.oid, 'pg_class') FROM pg_class c
        WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s) AND relkind = 'r'
        UNION ALL
        SELECT relname, attname, col_description(c.oid, attnum) FROM pg_class c JOIN pg_attribute ON attrelid = c.oid
        WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s) AND relkind = 'r'
        AND attnum > 0 AND NOT attisdropped
    """,
}


def describe(pipeline: dlt.Pipeline, *, changed: bool) -> int:
    """Give every table and column of the pipeline the description that its schema has.

    Where neither the tables nor the descriptions have changed since the last time, nothing is asked. A failure is
    logged only: rows are loaded, and the next run tries again.

    Args:
        changed: this run made tables or columns.

    Returns:
        How many comments were written.
    """
    query = _COMMENTS.get(type_of(pipeline))
    if query is None or SOURCE not in pipeline.schema_names:
        return 0
    mark = f"{pipeline.dataset_name} {pipeline.schemas[SOURCE].version_hash}"
    if not changed and pipeline.state["_local"].get(_DESCRIBED) == mark:
        return 0
    try:
        with pipeline.destination_client(SOURCE) as client:
            written = _describe(client, query)
    except Exception as error:
        # Somebody else may own the tables, or hold a lock on them.
        log.warning("the comments on tables and columns could not be written: %s", error)
        return 0
    pipeline.set_local_state_val(_DESCRIBED, mark)
    return written


def _describe(client: JobClientBase, query: str) -> int:
    if not isinstance(client, WithSqlClient):
        return 0
    sql, tables = client.sql_client, client.schema.tables
    rows = sql.execute_sql(query, sql.dataset_name, sql.dataset_name) or ()
    written = 0
    for table, column, comment in rows:
        known = tables.get(table)
        if known is None:
            continue
        if column is None:
            wanted = known.get("description")
        else:
            wanted = known["columns"].get(column, {}).get("description") or _OF_DLT.get(column)
        if wanted is None or wanted == comment:
            continue
        place = sql.make_qualified_table_name(table)
        place = f"TABLE {place}" if column is None else f"COLUMN {place}.{sql.escape_column_name(column)}"
        sql.execute_sql(f"COMMENT ON {place} IS {sql.capabilities.escape_literal(str(wanted))}")
        written += 1
    return written
