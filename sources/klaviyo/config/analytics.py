"""Settings of analytics reports -> the query that they send, checked against what Klaviyo's SDK says of its body.

What Klaviyo would refuse is refused here, before any request. The message says what is allowed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import cast

from ..calendar import Interval
from ..catalog.capabilities import Capabilities
from ..catalog.model import Analytics, AnalyticsApi, AnalyticsQuery
from ..catalog.report import Report
from . import filter_grammar
from .raw_settings import RawSettings
from .written import Written, unknown

#: How many values Klaviyo takes in a list of a filter.
_MOST_IN_A_LIST = 100
#: Other names of the intervals.
_ALIASES = {"daily": "day", "hourly": "hour", "weekly": "week", "monthly": "month"}


def analytics_query(raw: RawSettings, report: Report, capabilities: Capabilities) -> AnalyticsQuery:
    """The query of one analytics report, from its own settings.

    Args:
        capabilities: those of the report's endpoint.

    Raises:
        ConfigError: one line for each problem.
    """
    if report.endpoint.analytics is None:
        raise ValueError(f"{report.name} is not an analytics report")
    written = _WrittenQuery(raw, report, report.endpoint.analytics, capabilities)
    query = written.query()
    written.raise_problems()
    return query


class _WrittenQuery(Written):
    """The settings of one analytics report as the user wrote them."""

    def __init__(self, raw: RawSettings, report: Report, analytics: Analytics, capabilities: Capabilities) -> None:
        super().__init__(raw, report.name)
        self._is_custom = report.redefines is not None
        self._analytics, self._capabilities = analytics, capabilities

    @property
    def label(self) -> str:
        return f"custom report {self.name}" if self._is_custom else self.name

    def query(self) -> AnalyticsQuery:
        """The query. Problems are collected in `problems`."""
        aggregate = self._analytics.api is AnalyticsApi.AGGREGATE
        statistics_key, groups_key = ("measurements", "by") if aggregate else ("statistics", "group_by")
        allowed = self._capabilities.body[statistics_key].values
        return AnalyticsQuery(
            interval=self._interval(),
            statistics=self._allowed_names(statistics_key, allowed) or allowed,
            groups=self._groups(groups_key),
            filter=self._filter(),
            metrics=self._metrics(),
        )

    def _interval(self) -> Interval:
        value = self.value("interval")
        if value is None:
            return self._analytics.default_interval
        value = _ALIASES.get(value, value) if isinstance(value, str) else value
        if value not in self._analytics.intervals:
            self.wrong("interval", f"unknown. Allowed: {', '.join(self._analytics.intervals)}.")
            return self._analytics.default_interval
        return cast(Interval, value)

    def _allowed_names(self, key: str, allowed: Collection[str]) -> tuple[str, ...]:
        """A list of names in Klaviyo's order, so that the order in the setting makes no difference."""
        written = self.names(key)
        for name in written:
            if name not in allowed:
                self.wrong(key, f"{unknown(name, allowed)} Allowed: {', '.join(allowed)}.")
        return tuple(name for name in allowed if name in written)

    def _groups(self, key: str) -> tuple[str, ...]:
        if key not in self._analytics.settings:
            return ()
        rule = self._capabilities.body[key]
        groups = self._allowed_names(key, rule.values)
        if not groups:
            return self._analytics.groups
        needed = {*rule.needed, *(other for name in groups for other in self._analytics.together.get(name, ()))}
        if missing := [name for name in rule.values if name in needed and name not in groups]:
            self.wrong(key, f"Klaviyo wants {', '.join(missing)} with it.")
        return groups

    def _metrics(self) -> tuple[str, ...]:
        key, default = self._analytics.metric_setting, self._analytics.default_metric
        if default is None:
            return ()
        if key == "metrics":
            return self.names(key) or (default,)
        return (self.text(key, "the name or the id of a metric") or default,)

    def _filter(self) -> str:
        """The filter as the body takes it: several conditions inside one `and(…)`."""
        text = self.text("filter", "Klaviyo's filter grammar")
        if text is None:
            return ""
        inner = text.strip()
        if inner.startswith("and(") and inner.endswith(")"):
            inner = inner.removeprefix("and(").removesuffix(")")
        try:
            conditions = filter_grammar.parse(inner)
        except ValueError as error:
            self.wrong("filter", f"not a filter: {error}.")
            return ""
        fields, path = self._capabilities.filters, self._capabilities.path
        for condition in conditions:
            if problem := filter_grammar.problem(condition, fields, path, most_in_a_list=_MOST_IN_A_LIST):
                self.wrong("filter", problem)
        for name, count in Counter(condition.field for condition in conditions).items():
            if count > 1:
                self.wrong("filter", f"Klaviyo takes one condition on {name}, not {count}.")
        joined = ",".join(condition.text for condition in conditions)
        return f"and({joined})" if len(conditions) > 1 else joined
