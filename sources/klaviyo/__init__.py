"""Klaviyo as a dlt source: profiles, events, campaigns, flows, lists, segments and the rest, flat and typed.

import dlt
from sources.klaviyo import klaviyo

pipeline = dlt.pipeline("klaviyo", destination=dlt.destinations.duckdb("klaviyo_demo.duckdb"))
pipeline.run(klaviyo(reports=["events"], start_date="2026-01-01"))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, cast

import dlt
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs import BaseConfiguration
from dlt.common.pipeline import PipelineContext
from dlt.extract import DltResource, DltSource

from . import config
from .custom import CUSTOM_REPORTS, settings_from
from .errors import KlaviyoError
from .limits import SystemClock
from .state import SOURCE

if TYPE_CHECKING:
    from .resources import Run

__all__ = ["KlaviyoError", "klaviyo", "klaviyo_report", "source_of"]


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
    return _source({**given, **(report_settings or {})}, "the call of klaviyo()")


def klaviyo_report(
    name: str,
    endpoint: str,
    *,
    filter: str | None = None,
    metric: str | None = None,
    fields: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    include: Sequence[str] | None = None,
    additional_fields: Sequence[str] | None = None,
    sort: str | None = None,
    columns: Mapping[str, str | Mapping[str, str]] | None = None,
    mode: str | None = None,
    **settings: Any,
) -> DltSource:
    """One custom report: a raw table of any endpoint, and one of what is included with its records.

    pipeline.run(klaviyo_report("vip_orders", "events", metric="Placed Order", start_date="2026-01-01"))

    Args:
        name: of the report, the dlt resource and the table.
        endpoint: a name or a path; this and what follows as under `custom_reports` (see docs/custom-reports.md).
        settings: every other setting that `klaviyo()` takes.

    Raises:
        ConfigError: a setting is wrong or missing.
    """
    given = {key: value for key, value in locals().items() if key not in ("name", "settings") and value is not None}
    return _source({**settings, CUSTOM_REPORTS: {name: given}, "reports": [name]}, "the call of klaviyo_report()")


def _source(given: Mapping[str, Any], origin: str) -> DltSource:
    # Not at the top, here and below: it imports pyarrow, and whoever imports any module of this package comes by here.
    from . import resources

    context = Container()[PipelineContext]
    pipeline = cast(dlt.Pipeline, context.pipeline()) if context.is_active() else None
    settings = settings_from(
        config.read(pipeline.pipeline_name if pipeline else None, given, origin), SystemClock().now()
    )
    run = resources.Run(settings)
    if pipeline is not None and pipeline.destination is not None and settings.depends_on_state:
        # What a metric's table is called, and what a custom report asked for, is known where the rows are.
        pipeline.sync_destination()
    run.prepare(pipeline.state if pipeline is not None else {})
    return source_of(run)


def source_of(run: Run, names: Iterable[str] | None = None) -> DltSource:
    """The source over a run that somebody else steers: the given reports, or all of its settings."""
    from .resources import resource

    chosen = list(run.settings.reports if names is None else names)

    def resources() -> Iterable[DltResource]:
        for name in chosen:
            yield resource(run, name)

    # dlt's own injection of configuration stays off: what counts was read, checked and explained by `config`.
    source = dlt.source(resources, name=SOURCE, section=SOURCE, spec=BaseConfiguration, max_table_nesting=0)
    return source()
