"""One reading of an account: settings and state become plans, and plans become an engine that reads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..catalog.report import Report
from ..catalog.reports import reports
from ..catalog.revisions import ending
from ..clock import Clock, SystemClock
from ..config.settings import Settings
from ..errors import ConfigError, KlaviyoError
from ..extract.engine import Engine
from ..extract.handle import Handle
from ..extract.tuning import DEFAULT, Tuning
from ..plan import state
from ..plan.plan import (
    Plan,
    Selection,
    differs,
    fingerprint,
    is_of_one_kind,
    parts_of_quotas,
    plan_again,
    selections,
    settings_of_metric,
)
from ..windows import Window

log = logging.getLogger("klaviyo")


class Run:
    """One reading of an account. First `prepare`, then `add` each report, then `start`.

    Args:
        settings: what to read.
        clock: where time comes from.
        raise_errors: let the first report that fails end the load, as a plain `pipeline.run` expects. The run loop
            loads what there is and reports instead.

    Attributes:
        began: when this run began, aware UTC.
        selected: report -> how the settings ask for it, of those that are to be read.
        refused: report -> why it is not read.
        anew: reports that ask for other rows than those that are loaded; their tables are replaced.
        compared: reports whose appended rows were compared with the rest of their table before this run began.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        tuning: Tuning = DEFAULT,
        raise_errors: bool = True,
    ) -> None:
        self.clock = clock or SystemClock()
        self.began = self.clock.now()
        self.raise_errors = raise_errors
        self.selected = selections(settings)
        self.refused: dict[str, KlaviyoError] = {}
        self.anew: set[str] = set()
        self.compared: set[str] = set()
        if notice := ending(settings.revision, self.began):
            log.warning(notice)
        self._taken = {*reports(settings.revision), *settings.custom}
        self._engine = Engine(settings, self.clock, tuning)
        self._revision = settings.revision
        # Report of a metric -> what is loaded of all events into the same table.
        self._inherited: dict[str, list[Window]] = {}
        self._plans: dict[str, Plan] = {}
        self._waiting: list[str] = []
        self._stored: Mapping[str, Any] = {}
        # Report -> its part of a daily quota, once the first of them is planned.
        self._parts: dict[str, int] | None = None
        # dlt extracts parallelized resources in threads.
        self._lock = threading.Lock()

    def prepare(self, pipeline_state: Mapping[str, Any]) -> None:
        """Choose the metrics of reports that are read by metric, and see which reports changed since they were loaded.

        Asks Klaviyo for its metrics where there is something to choose.

        Raises:
            KlaviyoError: a name that no metric has, or the metrics cannot be read; if errors are to be raised.
        """
        self._stored = pipeline_state
        if state.include_refused(pipeline_state, self._revision, self.began):
            self._engine.lookups.one_by_one()
        known = state.known_metrics(pipeline_state)
        for name, selected in list(self.selected.items()):
            if selected.settings.metrics:
                loaded = state.covered(state.of_report(pipeline_state, name), selected.report.dated_by)
                self._choose(name, selected, known, loaded)
        for name, selected in list(self.selected.items()):
            stored = state.of_report(pipeline_state, name)
            if not differs(selected.report, stored):
                continue
            before, now = state.fingerprint(stored) or "", fingerprint(selected.report)
            if is_of_one_kind(before, now):
                self.anew.add(name)
                log.info("%s: what it asks for has changed, so its period is read again and its table replaced", name)
                continue
            # dlt cannot turn the one table into the other.
            self._refuse(
                name,
                ConfigError(
                    f'{name}: its table was made with {_kind(before)}, which "{now.split()[0]}" does not fit: drop it with '
                    f"`dlt pipeline NAME drop {name}`, or give the report another name"
                ),
            )

    def _choose(self, name: str, selected: Selection, known: Mapping[str, Any], loaded: list[Window]) -> None:
        """Replace a report by one for each of its metrics.

        Args:
            known: report of a metric -> the metric, of earlier runs.
            loaded: what is loaded of all events.
        """
        report, settings = selected.report, selected.settings
        made: list[Report] = []
        try:
            metrics = self._engine.metrics
            made, missing = metrics.chosen(report, settings.metrics, settings.split_tables, known, self._taken)
            if missing:
                raise metrics.unmatched(report, missing)
        except KlaviyoError as error:
            self._refuse(name, error)
        own = settings_of_metric(settings)
        of_metrics = {one.name: Selection(one, own) for one in made}
        self._taken |= set(of_metrics)
        self._inherited |= {one.name: loaded for one in made if one.table == name}
        self.selected = {**of_metrics, **{key: value for key, value in self.selected.items() if key != name}}

    def _refuse(self, name: str, error: KlaviyoError) -> None:
        if self.raise_errors:
            self.close()
            raise error
        self.refused[name] = error
        self.selected = {key: value for key, value in self.selected.items() if key != name}

    def add(self, name: str, resource_state: Mapping[str, Any]) -> bool:
        """Plan a report that is to be read; False if it was already."""
        with self._lock:
            if name in self._plans:
                return False
            self._plans[name] = self._planned(name, resource_state)
            self._waiting.append(name)
            return True

    def _planned(self, name: str, resource_state: Mapping[str, Any]) -> Plan:
        selected, zone = self.selected[name], None
        if selected.settings.analytics is not None:
            # Without a timezone the engine says why, and reads nothing.
            with suppress(KlaviyoError):
                zone = self._engine.account.timezone()
            if self._parts is None:
                self._parts = parts_of_quotas(self.selected, self._stored, self.began, zone)
        return plan_again(
            selected.report,
            selected.settings,
            resource_state,
            self.began,
            zone=zone,
            anew=name in self.anew,
            inherited=self._inherited.get(name, ()),
            most_requests=(self._parts or {}).get(name),
        )

    def plan(self, name: str) -> Plan:
        """The plan of a report that was added."""
        return self._plans[name]

    def allow_append(self, name: str) -> None:
        """Let the rows of a report that was added be appended as long as they are proved to be new.

        Precondition: the table has no row in the windows of its plan, and rows of a load that is interrupted will be
        taken back. To be called before `start`.
        """
        self._plans[name] = replace(self._plans[name], append=True)

    def start(self) -> None:
        """Begin to read what was added since the last call."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            if waiting:
                self._engine.start(self._plans[name] for name in waiting)

    def note(self, source_state: MutableMapping[str, Any]) -> None:
        """Write into the state of the source what this run learned of Klaviyo."""
        if self._engine.lookups.refused:
            state.remember_include_refused(source_state, self._revision, self.began)

    def server_now(self) -> datetime:
        """What time it is at Klaviyo, aware UTC, as far as its answers have told."""
        return self._engine.server_now()

    def handle(self, name: str) -> Handle:
        """Access to a report that was started."""
        return self._engine.handles[name]

    @property
    def handles(self) -> Iterable[Handle]:
        """Those of all reports that were started."""
        return list(self._engine.handles.values())

    @property
    def full(self) -> bool:
        """Whether fetching waits for the loader."""
        return self._engine.full()

    @property
    def buffered_rows(self) -> int:
        """Rows that are decoded and wait to be loaded."""
        return self._engine.buffered_rows()

    def raise_crash(self) -> None:
        """Let an error in one of the engine's threads surface here."""
        self._engine.raise_crash()

    def halt(self) -> None:
        """Send no further requests; what is fetched can still be loaded."""
        self._engine.halt()

    def wait_closed(self, seconds: float) -> bool:
        """Wait until reading is closed, or for so long; whether it is."""
        return self._engine.wait_closed(seconds)

    def close(self) -> None:
        """End all threads; what is not loaded is forgotten."""
        self._engine.close()


def _kind(fingerprint: str) -> str:
    """What a table was made by, as the settings say it."""
    kind = fingerprint.split()[0]
    return f'{"mode" if kind in ("raw", "inferred") else "like"} = "{kind}"'
