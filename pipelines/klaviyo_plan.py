"""What a run would read, from what the destination remembers. Changes nothing, and sends nothing to Klaviyo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dlt

from pipelines.klaviyo_warehouse import duckdb_file
from sources.klaviyo.limits import Clock, SystemClock
from sources.klaviyo.planning import Plan, plan_all
from sources.klaviyo.settings import Settings


def plan(pipeline: dlt.Pipeline, settings: Settings, clock: Clock | None = None) -> list[Plan]:
    """What a run would read, from the state in the destination; sends nothing to Klaviyo.

    Until a first run has asked for it, the account's timezone is taken to be UTC.
    """
    file = duckdb_file(pipeline)
    loaded: Mapping[str, Any] = {}
    # Nothing is loaded where there is no file, and asking dlt would make one.
    if file is None or file.exists():
        pipeline.sync_destination()
        loaded = pipeline.state
    return plan_all(settings, loaded, (clock or SystemClock()).now())
