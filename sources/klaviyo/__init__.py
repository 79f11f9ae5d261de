"""Klaviyo as a dlt source: profiles, events, campaigns, flows, lists, segments and the rest, flat and typed.

    import dlt
    from dlt_klaviyo import sync

    pipeline = dlt.pipeline("klaviyo", destination="duckdb", dataset_name="klaviyo_data")
    sync(pipeline, reports=["events"], start_date="2026-01-01")

`sync` loads in packages and goes on after a kill; `pipeline.run(klaviyo(...))` is for pipelines that do more with the rows.

In a clone the package is called `sources.klaviyo`, and after `dlt init` it is called `klaviyo`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import KlaviyoError
    from .load.rows import filter_rows, map_rows
    from .load.source import klaviyo, klaviyo_report
    from .load.sync import sync

__all__ = ["KlaviyoError", "filter_rows", "klaviyo", "klaviyo_report", "map_rows", "sync"]

_MODULES = {
    "KlaviyoError": "errors",
    "filter_rows": "load.rows",
    "klaviyo": "load.source",
    "klaviyo_report": "load.source",
    "map_rows": "load.rows",
    "sync": "load.sync",
}


def __getattr__(name: str) -> Any:
    """Import what the package offers when it is asked for.

    Every `dlt` process loads our command line plugin and so this package, whatever it is going to do.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
