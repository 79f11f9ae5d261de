"""Plans without a run: reads the state that the destination stores. Loads nothing and sends no request to Klaviyo."""

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


def current_plans(pipeline: dlt.Pipeline, settings: Settings, clock: Clock | None = None) -> list[Plan]:
    """The plan of each report, as a run that begins now would make it."""
    return plan_all(settings, _current_state(pipeline), (clock or SystemClock()).now())


def _current_state(pipeline: dlt.Pipeline) -> Mapping[str, Any]:
    """The state that a run would continue from."""
    file = duckdb_file(pipeline)
    if file is not None and not file.exists():
        # Nothing is loaded yet, and dlt's sync would create the file.
        return {}
    stored = None if file is None else _stored(pipeline, file)
    # After a kill, the local state can be newer than the stored one, and still be pending. dlt decides then, and where
    # the file has no state.
    if stored is None or stored["_state_version"] < pipeline.state["_state_version"]:
        pipeline.sync_destination()
        return pipeline.state
    return stored


def _stored(pipeline: dlt.Pipeline, file: Path) -> Mapping[str, Any] | None:
    """The state in a DuckDB file; None where it cannot be read.

    The query binds no value: for the first bound value DuckDB imports pandas, and pandas imports Arrow, which takes
    longer than the rest of a plan. dlt's own connection binds values while it is opened. The read-only connection lets
    other programs read the file at the same time.
    """
    # Imported here, since other destinations do not need it.
    import duckdb

    client = pipeline.destination_client()
    if not isinstance(client, WithSqlClient):
        return None
    sql, schema = client.sql_client, client.schema
    states, loads = map(sql.make_qualified_table_name, (schema.state_table_name, schema.loads_table_name))
    name = client.capabilities.escape_literal(pipeline.pipeline_name)
    # The query of dlt's `get_stored_state`.
    query = (
        f"SELECT state FROM {states} JOIN {loads} ON load_id = _dlt_load_id WHERE pipeline_name = {name} "  # noqa: S608 - names are dlt's own, escaped
        "AND status = 0 ORDER BY load_id DESC LIMIT 1"
    )
    # If this fails, dlt's sync reports the reason.
    with suppress(duckdb.Error), duckdb.connect(str(file), read_only=True) as connection:
        row = connection.execute(query).fetchone()
        return None if row is None else decompress_state(row[0])
    return None
