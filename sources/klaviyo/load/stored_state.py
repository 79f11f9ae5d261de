"""What a run would read, from what the destination remembers. Nothing is loaded, and Klaviyo is not asked."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import dlt
from dlt.common.versioned_state import decompress_state
from dlt.destinations.sql_client import WithSqlClient

from ..clock import Clock, SystemClock
from ..config.settings import Settings
from ..plan.plan import Plan, plan_all
from .duckdb import duckdb_file


def plan(pipeline: dlt.Pipeline, settings: Settings, clock: Clock | None = None) -> list[Plan]:
    """What a run would read of each report."""
    return plan_all(settings, _remembered(pipeline), (clock or SystemClock()).now())


def _remembered(pipeline: dlt.Pipeline) -> Mapping[str, Any]:
    """The state that a run would go on from."""
    file = duckdb_file(pipeline)
    if file is not None and not file.exists():
        # Nothing is loaded, and asking dlt would make one.
        return {}
    stored = None if file is None else _stored(pipeline, file)
    # A newer one waits here to be loaded, since a run was killed. What counts then, or where there is none, dlt knows.
    if stored is None or stored["_state_version"] < pipeline.state["_state_version"]:
        pipeline.sync_destination()
        return pipeline.state
    return stored


def _stored(pipeline: dlt.Pipeline, file: Path) -> Mapping[str, Any] | None:
    """The state in a DuckDB file, or None where the file does not tell.

    Asked without binding a value: for the first one DuckDB imports pandas, and pandas Arrow, which takes longer than all
    else that a plan does. dlt's own connection binds some before it is open. Others may read the file meanwhile.
    """
    # Not at the top: it is not every destination's.
    import duckdb

    client = pipeline.destination_client()
    if not isinstance(client, WithSqlClient):
        return None
    sql, schema = client.sql_client, client.schema
    states, loads = map(sql.make_qualified_table_name, (schema.state_table_name, schema.loads_table_name))
    name = client.capabilities.escape_literal(pipeline.pipeline_name)
    # What dlt asks in `get_stored_state`.
    query = (
        f"SELECT state FROM {states} JOIN {loads} ON load_id = _dlt_load_id WHERE pipeline_name = {name} "  # noqa: S608 - names are dlt's own, escaped
        "AND status = 0 ORDER BY load_id DESC LIMIT 1"
    )
    # What is wrong with the file, or not in it, is for dlt to say.
    with suppress(duckdb.Error), duckdb.connect(str(file), read_only=True) as connection:
        found = connection.execute(query).fetchone()
        return None if found is None else decompress_state(found[0])
    return None
