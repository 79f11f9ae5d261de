"""Postgres as the destination: JSON columns as `jsonb`, and an index on the columns by which rows are merged.

Observed with dlt 1.31: Parquet goes to Postgres through ADBC, which cannot copy into `jsonb`, so dlt makes all JSON
columns `json`. Rows of ours always come by way of the staging dataset. There the columns stay `json`, and Postgres turns
one into the other where dlt inserts rows from there into the table (an assignment cast).
"""

from __future__ import annotations

import logging
from typing import Any

import dlt
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema.typing import TColumnSchema
from dlt.common.schema.utils import get_columns_names_with_prop, has_column_with_prop
from dlt.destinations.impl.postgres.factory import PostgresTypeMapper

from ..plan.state import SOURCE
from . import dlt_compat
from .destination import type_of

log = logging.getLogger("klaviyo")


def prepare(pipeline: dlt.Pipeline, json_type: str) -> None:
    """Let the tables that a pipeline makes in Postgres have JSON columns of a type. Does nothing for other destinations.

    Args:
        json_type: `jsonb` or `json`.
    """
    if pipeline.destination is not None and is_postgres(pipeline) and json_type == "jsonb":
        # What is replaced comes by way of the staging dataset too.
        pipeline.destination.config_params.setdefault("replace_strategy", "insert-from-staging")
        dlt_compat.change_clients(pipeline.destination, "jsonb", _with_jsonb)


def is_postgres(pipeline: dlt.Pipeline) -> bool:
    """Whether a pipeline loads into Postgres."""
    return type_of(pipeline) == "postgres"


def add_indexes(pipeline: dlt.Pipeline) -> None:
    """Give every table that rows are merged into an index on its key. Does nothing for other destinations.

    Without one, Postgres scans the table for every merge. A failure is logged only: rows are loaded.
    """
    if not is_postgres(pipeline) or SOURCE not in pipeline.schema_names:
        return
    try:
        with pipeline.sql_client(SOURCE) as sql:
            known = "SELECT indexname FROM pg_indexes WHERE schemaname = %s AND indexname LIKE %s"
            there = {name for (name,) in sql.execute_sql(known, sql.dataset_name, "%\\_key\\_idx") or ()}
            made = {
                name
                for (name,) in sql.execute_sql(
                    "SELECT tablename FROM pg_tables WHERE schemaname = %s", sql.dataset_name
                )
                or ()
            }
            for table in pipeline.schemas[SOURCE].data_tables():
                table_name = str(table["name"])
                name = f"{table_name}_key_idx"
                keys = get_columns_names_with_prop(table, "primary_key")
                merged = table.get("write_disposition") == "merge" and not has_column_with_prop(table, "x-valid-to")
                if not (keys and merged) or name in there or table_name not in made:
                    continue
                columns = ", ".join(map(sql.escape_column_name, keys))
                index, place = sql.escape_column_name(name), sql.make_qualified_table_name(table_name)
                sql.execute_sql(f"CREATE INDEX IF NOT EXISTS {index} ON {place} ({columns})")
    except Exception as error:
        log.warning("the indexes on the keys of tables could not be made: %s", error)


def _with_jsonb(client: Any) -> None:
    client.type_mapper = _Jsonb(client)


class _Jsonb(PostgresTypeMapper):
    """dlt's types, with `jsonb` for the tables that get their rows from the staging dataset."""

    def __init__(self, client: Any) -> None:
        super().__init__(client.capabilities)
        self._client = client

    def to_destination_type(self, column: TColumnSchema, table: PreparedTableSchema) -> str:
        if column["data_type"] == "json" and table.get("file_format") == "parquet":
            client = self._client
            staged = client.should_load_data_to_staging_dataset(table["name"])
            return "jsonb" if staged and not client.sql_client.is_staging_dataset_active else "json"
        return super().to_destination_type(column, table)
