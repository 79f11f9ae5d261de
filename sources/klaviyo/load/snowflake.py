"""Snowflake as the destination: JSON columns hold VARIANT objects and arrays, not texts.

JSON travels as text in Parquet files, and dlt's COPY leaves such a text in a VARIANT column. All rows go through dlt's
staging dataset, so the text becomes an object on its way from there into the table: decision 22 has the other ways and
Snowflake's documentation. dlt's files, stages and COPY stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dlt
from dlt.common.destination.typing import PreparedTableSchema
from dlt.destinations.sql_client import SqlClientBase

from ..errors import ConfigError
from . import dlt_compat

#: Numbers that a VARIANT would change. It holds 38 digits; longer numbers, and all with an exponent, become a DOUBLE,
#: which holds 17 digits and exponents of up to two digits for sure. POSIX syntax. No backslash, quote or semicolon:
#: Snowflake would want them escaped, and dlt splits statements at semicolons.
INEXACT_NUMBER = (
    "(^|[[:space:]:,[])-?"
    "([0-9][0-9.]{38,}|[0-9][0-9.]{18,}[eE][-+]?[0-9]+|[0-9][0-9.]*[eE][-+]?[0-9]{3,})"
    "([[:space:],}]|]|$)"
)


def prepare(destination: Any) -> None:
    """Let a Snowflake destination parse JSON columns. Does nothing for other destinations, or a second time.

    Only this destination object changes: dlt asks it for the client that makes the jobs. Where rows don't go through
    the staging dataset (the replace strategies `truncate-and-insert` and `staging-optimized`), JSON stays text.
    """
    if isinstance(destination, dlt.destinations.snowflake):
        dlt_compat.change_clients(destination, "parsed JSON", _with_parsed_json)


def _with_parsed_json(client: Any) -> None:
    merge, replace = _jobs()
    make_replace_jobs = client._create_replace_followup_jobs

    def replace_jobs(chain: Sequence[PreparedTableSchema]) -> Any:
        inserts = chain[0].get("x-replace-strategy") == "insert-from-staging"
        return [replace.from_table_chain(chain, client.sql_client)] if inserts else make_replace_jobs(chain)

    client._create_merge_followup_jobs = lambda chain: [merge.from_table_chain(chain, client.sql_client)]
    client._create_replace_followup_jobs = replace_jobs


def _jobs() -> tuple[Any, Any]:
    """dlt's jobs for merging and replacing, with parsed JSON. Imports Snowflake's connector, which few users have."""
    from dlt.destinations.impl.snowflake.snowflake import SnowflakeMergeJob
    from dlt.destinations.sql_jobs import SqlStagingReplaceFollowupJob

    class Merge(SnowflakeMergeJob):
        @classmethod
        def generate_sql(cls, table_chain: Sequence[PreparedTableSchema], sql_client: SqlClientBase[Any]) -> list[str]:
            return parsed(super().generate_sql(table_chain, sql_client), table_chain, sql_client)

    class Replace(SqlStagingReplaceFollowupJob):
        @classmethod
        def generate_sql(cls, table_chain: Sequence[PreparedTableSchema], sql_client: SqlClientBase[Any]) -> list[str]:
            return parsed(super().generate_sql(table_chain, sql_client), table_chain, sql_client)

    return Merge, Replace


def parsed(
    statements: Sequence[str], tables: Sequence[PreparedTableSchema], sql_client: SqlClientBase[Any]
) -> list[str]:
    """dlt's statements, in which what is inserted from the staging dataset has its JSON parsed.

    Args:
        statements: those of one table with its nested tables.

    Raises:
        ConfigError: dlt inserts in a way that is not known.
    """
    made = list(statements)
    for table in tables:
        columns = [sql_client.escape_column_name(name) for name in json_columns(table)]
        if not columns:
            continue
        target, staging = sql_client.get_qualified_table_names(str(table["name"]))
        replaced = ", ".join(f"{parse(column)} AS {column}" for column in columns)
        source, found = f"FROM {staging}", 0
        for number, statement in enumerate(made):
            if statement.lstrip().startswith(f"INSERT INTO {target}"):
                found += statement.count(source)
                made[number] = statement.replace(source, f"FROM (SELECT * REPLACE ({replaced}) {source})")
        if found != 1:
            raise ConfigError(
                f"dlt {dlt.__version__} inserts rows into Snowflake in a way that this version of dlt-klaviyo does not "
                f"know ({table['name']}): install another release of either."
            )
    return made


def json_columns(table: PreparedTableSchema) -> list[str]:
    """The columns of a table whose JSON comes as text.

    Rows of inferred reports come in JSON lines, where JSON is no text. A struct of Arrow's arrives as an object.
    """
    if table.get("file_format") != "parquet":
        return []
    return [
        name
        for name, column in table["columns"].items()
        if column.get("data_type") == "json" and "x-nested-type" not in column
    ]


def parse(column: str) -> str:
    """SQL: the value of a VARIANT column with JSON text as an object.

    What Snowflake cannot parse (a key that is there twice) or would change stays text, so nothing is lost.

    Args:
        column: escaped name.
    """
    text = f"{column}::VARCHAR"
    return (
        f"CASE WHEN IS_VARCHAR({column}) AND REGEXP_INSTR({text}, '{INEXACT_NUMBER}') = 0 "
        f"THEN NVL(TRY_PARSE_JSON({text}), {column}) ELSE {column} END"
    )
