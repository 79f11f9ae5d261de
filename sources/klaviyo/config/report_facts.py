"""What settings are checked against: the facts of each report that decide which settings apply to it."""

from __future__ import annotations

from dataclasses import dataclass

from ..catalog.report import Report
from ..catalog.reports import REPORT_SPANS, reports


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """The facts of one report that its settings are checked against.

    Attributes:
        windowed: it has a date filter, so a period applies to it.
        needs_start: an incremental read needs a start date.
        options: its optional fields, each of which is a switch.
        on_by_default: it is loaded unless `reports` says otherwise.
        by_metric: its rows can be chosen by metric.
        exists: where it does not exist under the chosen revision, the revisions under which it does, in words; else
            empty.
        analytics_settings: the settings of `ANALYTICS_SETTINGS` that apply; `config/analytics.py` checks their values.
        lookback_days: default of the setting.
    """

    windowed: bool = False
    needs_start: bool = False
    options: frozenset[str] = frozenset()
    on_by_default: bool = True
    by_metric: bool = False
    exists: str = ""
    analytics_settings: tuple[str, ...] = ()
    lookback_days: float = 1.0


def facts(revision: str) -> dict[str, ReportFacts]:
    """Name -> facts of every predefined report, including those that exist under other revisions only."""
    existing = reports(revision)
    return {
        name: facts_of(existing[name]) if name in existing else ReportFacts(on_by_default=False, exists=span)
        for name, span in REPORT_SPANS.items()
    }


def facts_of(report: Report) -> ReportFacts:
    """The facts of one report."""
    analytics = report.endpoint.analytics
    return ReportFacts(
        analytics_settings=analytics.settings if analytics else (),
        lookback_days=analytics.lookback_days if analytics else 1.0,
        windowed=report.is_windowed,
        needs_start=report.is_windowed and report.cursor is not None and not report.cursor.from_start,
        options=frozenset(report.optional_fields),
        on_by_default=report.on_by_default,
        by_metric=report.by_metric,
    )
