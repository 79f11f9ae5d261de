"""The dlt source, for pipelines of one's own: `pipeline.run(klaviyo(...))`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import date
from functools import partial
from typing import Any, cast

import dlt
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs import BaseConfiguration, configspec
from dlt.common.pipeline import PipelineContext
from dlt.common.typing import TSecretStrValue
from dlt.extract import DltResource, DltSource

from ..config.settings import ANALYTICS_SETTINGS, CUSTOM_REPORTS, Settings
from ..errors import ConfigError
from ..extract.tuning import DEFAULT
from ..plan.plan import Disposition, Selection, disposition_of, is_read_whole
from ..plan.state import SOURCE
from . import dlt_compat, postgres
from .package import Package
from .pipeline import load_settings
from .prepare import Run
from .resources import resource, rows_of
from .turn import keep_others_away

#: How much is fetched, decoded and loaded at once.
TUNING = DEFAULT


@configspec
class _Scaffold(BaseConfiguration):
    """What `dlt init` writes into the user's `secrets.toml` and `config.toml`, to be filled in there.

    The settings themselves are read by `config`.
    """

    api_key: TSecretStrValue = None  # type: ignore[assignment]
    start_date: str = None  # type: ignore[assignment]


@dlt.source(name=SOURCE, section=SOURCE, spec=BaseConfiguration, max_table_nesting=0)
def klaviyo(
    *,
    api_key: str | None = None,
    access_token: str | None = None,
    base_url: str | None = None,
    allow_http: bool | None = None,
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
    postgres_json: str | None = None,
    custom_reports: Mapping[str, Mapping[str, Any]] | None = None,
    report_settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterable[DltResource]:
    """The reports of one Klaviyo account, one dlt resource each.

    What is not given comes from dlt's configuration, section `[sources.klaviyo]` (docs/configuration.md says what each
    argument means). The settings are checked when the source is made; the key, the time and the state are taken when it
    is extracted, so the same object can be run again. Items are Arrow tables: see `map_rows` and `filter_rows`.

    Where metrics are chosen for a report, Klaviyo is asked for the account's metrics when the source is made.

    Args:
        custom_reports: name of a custom report -> what it is (see docs/custom-reports.md).
        report_settings: report name -> settings of that report alone, as in `[sources.klaviyo.<report>]`.

    Raises:
        ConfigError: a setting is wrong or missing.
    """
    given = {name: value for name, value in locals().items() if name != "report_settings" and value is not None}
    return _resources({**given, **(report_settings or {})}, "the call of klaviyo()")


# dlt's own injection of configuration stays off, but `dlt init` asks this reference what to put into secrets.toml.
klaviyo.ref.SPEC = _Scaffold


@dlt.source(name=SOURCE, section=SOURCE, spec=BaseConfiguration, max_table_nesting=0)
def klaviyo_report(
    name: str,
    endpoint: str | None = None,
    *,
    like: str | None = None,
    filter: str | None = None,
    metric: str | None = None,
    fields: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    include: Sequence[str] | None = None,
    additional_fields: Sequence[str] | None = None,
    sort: str | None = None,
    columns: Mapping[str, str | Mapping[str, str]] | None = None,
    mode: str | None = None,
    **settings: Any,
) -> Iterable[DltResource]:
    """One custom report: a raw table of any endpoint, and one of what is included with its records.

    pipeline.run(klaviyo_report("vip_orders", "events", metric="Placed Order", start_date="2026-01-01"))

    Or another definition of an analytics report:

    pipeline.run(klaviyo_report("by_day", like="campaign_values", interval="day", start_date="2026-01-01"))

    Args:
        name: of the report, the dlt resource and the table.
        endpoint: a name or a path; this and what follows as under `custom_reports` (see docs/custom-reports.md).
        like: an analytics report, instead of the endpoint; its own settings are taken too.
        settings: every other setting that `klaviyo()` takes.

    Raises:
        ConfigError: a setting is wrong or missing.
    """
    given = {key: value for key, value in locals().items() if key not in ("name", "settings") and value is not None}
    if like is not None:
        given |= {key: settings.pop(key) for key in ANALYTICS_SETTINGS if key in settings}
    return _resources({**settings, CUSTOM_REPORTS: {name: given}, "reports": [name]}, "the call of klaviyo_report()")


def _resources(given: Mapping[str, Any], origin: str) -> list[DltResource]:
    """The resources of a source that makes its own runs."""
    dlt_compat.check_version()
    selected = _chosen(_settings(given, origin))
    session = _Session(partial(_settings, given, origin))
    return [resource(one.report, _expected(one), partial(session.rows, name)) for name, one in selected.items()]


def _settings(given: Mapping[str, Any], origin: str) -> Settings:
    pipeline = _active_pipeline()
    return load_settings(pipeline.pipeline_name if pipeline else None, given, origin)


def _active_pipeline() -> dlt.Pipeline | None:
    context = Container()[PipelineContext]
    return cast(dlt.Pipeline, context.pipeline()) if context.is_active() else None


def _chosen(settings: Settings) -> dict[str, Selection]:
    """The reports that the settings choose. What a metric's table is called is stored in the destination."""
    run = Run(settings)
    try:
        if any(selected.settings.metrics for selected in run.selected.values()):
            pipeline = _active_pipeline()
            if pipeline is not None and pipeline.destination is not None:
                pipeline.sync_destination()
            run.prepare(pipeline.state if pipeline is not None else {})
        return run.selected
    finally:
        run.close()


def _expected(selected: Selection) -> Disposition:
    """How rows get into the table, unless the state says that the report was changed."""
    return disposition_of(selected.report, whole=is_read_whole(selected.report, selected.settings))


class _Session:
    """Makes one run for all resources of one extraction, and another one for the next.

    Args:
        settings: reads the settings anew.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._state: Mapping[str, Any] | None = None
        self._run: Run | None = None
        self._package: Package | None = None
        self._readers = 0
        self._stack = ExitStack()

    def rows(self, name: str) -> Iterator[Any]:
        """The tables of one report.

        Raises:
            ConfigError: the settings do not choose it any more.
        """
        run, package = self._begin()
        try:
            if name not in run.selected:
                raise ConfigError(f"{name}: the settings were changed since this source was made: make a new one.")
            yield from rows_of(run, name, package, reused=True)
        except Exception:
            run.close()
            raise
        finally:
            self._end(run)

    def _begin(self) -> tuple[Run, Package]:
        # dlt hands every extraction a state of its own, and all resources of one extraction the same.
        stored = dlt.current.source_state()
        with self._lock:
            if self._run is None or self._package is None or self._state is not stored:
                pipeline = _active_pipeline()
                if pipeline is not None:
                    keep_others_away(pipeline)
                settings = self._settings()
                run = Run(settings, tuning=TUNING)
                run.prepare({"sources": {SOURCE: stored}})
                self._state, self._run, self._package, self._readers = stored, run, Package(run.clock), 0
                self._stack.close()
                self._stack.enter_context(dlt_compat.quiet())
                dlt_compat.load_empty_files(pipeline.destination if pipeline else None)
                if pipeline is not None:
                    postgres.prepare(pipeline, settings.postgres_json)
            self._readers += 1
            return self._run, self._package

    def _end(self, run: Run) -> None:
        with self._lock:
            if run is not self._run:
                return
            self._readers -= 1
            if self._readers == 0 and all(handle.ended for handle in run.handles):
                self._stack.close()
                run.close()
                # A resource that is extracted after all others starts a run of its own.
                self._run = None


def source_of(run: Run, names: Iterable[str], package: Package) -> DltSource:
    """The source of one load package: the given reports, from a run that the run loop started."""

    def resources() -> Iterator[DltResource]:
        for name in names:
            handle = run.handle(name)
            disposition = handle.plan.disposition
            append = disposition is Disposition.APPEND and handle.output.new
            if disposition is Disposition.APPEND and not append:
                disposition = Disposition.MERGE
            yield resource(handle.plan.report, disposition, partial(rows_of, run, name, package, append=append))

    return dlt.source(resources, name=SOURCE, section=SOURCE, spec=BaseConfiguration, max_table_nesting=0)()
