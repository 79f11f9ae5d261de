"""The destination of a pipeline: its type, what it is called by default, and that it merges in one transaction."""

from __future__ import annotations

from copy import copy

import dlt
from dlt.common.destination import AnyDestination

#: A DuckDB file named like the dataset makes DuckDB's names ambiguous, so it is named after this.
DEFAULT_DESTINATION = "warehouse"


def type_of(pipeline: dlt.Pipeline) -> str:
    """dlt's name for the type of a pipeline's destination, such as "postgres"; empty where there is none."""
    return "" if pipeline.destination is None else pipeline.destination.destination_type.rpartition(".")[2]


def in_one_transaction(destination: AnyDestination) -> AnyDestination:
    """A copy of a destination that merges and replaces in one transaction, where it can.

    Whatever its owner has set stays.
    """
    made = copy(destination)
    made.config_params, made.caps_params = {**destination.config_params}, {**destination.caps_params}
    if "insert-from-staging" in (made.capabilities().supported_replace_strategies or ()):
        made.config_params.setdefault("replace_strategy", "insert-from-staging")
    if isinstance(made, dlt.destinations.duckdb):
        # Without it dlt runs delete and insert of a merge as two transactions on DuckDB.
        made.caps_params.setdefault("supports_transactions", True)
    return made
