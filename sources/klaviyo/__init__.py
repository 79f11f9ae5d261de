"""Klaviyo as a dlt source: profiles, events, campaigns, flows, lists, segments and the rest, flat and typed.

import dlt
from sources.klaviyo import klaviyo

pipeline = dlt.pipeline("klaviyo", destination=dlt.destinations.duckdb("klaviyo_demo.duckdb"))
pipeline.run(klaviyo(reports=["events"], start_date="2026-01-01"))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import dlt
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs import BaseConfiguration
from dlt.common.pipeline import PipelineContext
from dlt.extract import DltResource, DltSource

from . import config
from .errors import KlaviyoError
from .limits import SystemClock
from .reports import facts
from .resources import Run, resource
from .settings import build
from .state import SOURCE

__all__ = ["KlaviyoError", "klaviyo", "source_of"]


def klaviyo(
    *,
    api_key: str | None = None,
    access_token: str | None = None,
    base_url: str | None = None,
    revision: str | None = None,
    reports: Sequence[str] | None = None,
    extract: str | None = None,
    start_date: str | date | None = None,
    end_date: str | date | None = None,
    period: str | None = None,
    lookback_days: float | None = None,
    split_by: str | None = None,
    advance_on_failure: bool | None = None,
    reread: bool | None = None,
    request_timeout_s: float | None = None,
    max_wait_s: float | None = None,
    report_settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> DltSource:
    """The reports of one Klaviyo account, one dlt resource each.

    What is not given comes from dlt's configuration, section `[sources.klaviyo]` (see docs/configuration.md, which
    also says what each argument means). Checked here, before any request.

    Args:
        report_settings: report name -> settings of that report alone, as in `[sources.klaviyo.<report>]`.

    Raises:
        ConfigError: a setting is wrong or missing.
    """
    given = {name: value for name, value in locals().items() if name != "report_settings" and value is not None}
    context = Container()[PipelineContext]
    name = context.pipeline().pipeline_name if context.is_active() else None
    raw = config.read(name, {**given, **(report_settings or {})}, "the call of klaviyo()")
    settings = build(raw, facts(), SystemClock().now())
    return source_of(Run(settings))


def source_of(run: Run, names: Iterable[str] | None = None) -> DltSource:
    """The source over a run that somebody else steers: the given reports, or all of its settings."""
    chosen = list(run.settings.reports if names is None else names)

    def resources() -> Iterable[DltResource]:
        for name in chosen:
            yield resource(run, name)

    # dlt's own injection of configuration stays off: what counts was read, checked and explained by `config`.
    source = dlt.source(resources, name=SOURCE, section=SOURCE, spec=BaseConfiguration, max_table_nesting=0)
    return source()
