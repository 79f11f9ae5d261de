"""The destination of a pipeline: its type, what it is called by default, and that it merges in one transaction."""

from __future__ import annotations

from copy import copy
from typing import Any

import dlt
from dlt.common.destination import AnyDestination
from dlt.common.destination.utils import resolve_replace_strategy

from . import dlt_compat

#: A DuckDB file named like the dataset makes DuckDB's names ambiguous, so it is named after this.
DEFAULT_DESTINATION = "warehouse"

#: A table without a format of its own, such as Delta.
_PLAIN: Any = {"name": "any", "columns": {}}


def type_of(pipeline: dlt.Pipeline) -> str:
    """dlt's name for the type of a pipeline's destination, such as "postgres"; empty where there is none."""
    return "" if pipeline.destination is None else pipeline.destination.destination_type.rpartition(".")[2]


def in_one_transaction(destination: AnyDestination) -> AnyDestination:
    """A copy of a destination that merges and replaces in one transaction, where it can.

    Whatever its owner has set stays.
    """
    made = copy(destination)
    made.config_params, made.caps_params = {**destination.config_params}, {**destination.caps_params}
    dlt_compat.forget_changes(made)
    # Files have no staging, although the destination's list of strategies says so.
    if resolve_replace_strategy(_PLAIN, "insert-from-staging", made.capabilities()) is not None:
        made.config_params.setdefault("replace_strategy", "insert-from-staging")
    if isinstance(made, dlt.destinations.duckdb):
        # Without it dlt runs delete and insert of a merge as two transactions on DuckDB.
        made.caps_params.setdefault("supports_transactions", True)
    return made
