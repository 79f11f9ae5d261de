"""Settings of reports that count, checked against what Klaviyo's SDK says of their bodies. Pure.

Whatever Klaviyo would refuse is refused here, before any request, with what is allowed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from . import query
from .api_facts import ApiFacts
from .errors import ConfigError
from .reports import endpoint_of, figure_settings
from .settings import METRIC_SETTING, Raw, listed, nearest, show
from .spec import Analytics, Figures, Grammar, Interval, Report

#: Operators whose value is a list.
_LISTS = ("any", "contains-any", "contains-all")
_MOST_IN_A_LIST = 100
#: Attribute of the body -> the setting of the same meaning, where they have different names.
_ALIASES = {"day": "day", "daily": "day", "hourly": "hour", "weekly": "week", "monthly": "month"}


def figures_of(raw: Raw, report: Report, facts: Mapping[str, ApiFacts]) -> Figures | None:
    """What a report is to count, by its own settings; None for a report that counts nothing.

    Args:
        facts: of the revision that is asked.

    Raises:
        ConfigError: with one line for each thing that is wrong.
    """
    endpoint = endpoint_of(report)
    if endpoint.analytics is None:
        return None
    written = _Written(raw, report.name, endpoint.analytics, facts[endpoint.path])
    found = written.figures()
    if written.problems:
        raise ConfigError("\n".join(written.problems))
    return found


class _Written:
    """The settings of one report that counts, as somebody wrote them."""

    def __init__(self, raw: Raw, name: str, analytics: Analytics, fact: ApiFacts) -> None:
        self.problems: list[str] = []
        self._raw, self._name, self._analytics, self._fact = raw, name, analytics, fact
        table = raw.values.get(name)
        self._table: Mapping[str, Any] = table if isinstance(table, Mapping) else {}

    def figures(self) -> Figures:
        """The figures; what is wrong joins the problems."""
        aggregate = self._analytics.grammar is Grammar.AGGREGATE
        statistics, groups = ("measurements", "by") if aggregate else ("statistics", "group_by")
        return Figures(
            interval=self._interval(),
            statistics=self._names(statistics, self._fact.body[statistics].values) or self._all(statistics),
            groups=self._groups(groups),
            filter=self._filter(),
            metrics=self._metrics(),
        )

    def _wrong(self, key: str, problem: str) -> None:
        where = self._raw.where(f"{self._name}.{key}")
        self.problems.append(f"{self._name}: {key} = {show(self._table.get(key))}{where}: {problem}")

    def _interval(self) -> Interval:
        value = self._table.get("interval")
        if value is None:
            return self._analytics.default_interval
        value = _ALIASES.get(value, value) if isinstance(value, str) else value
        if value not in self._analytics.intervals:
            self._wrong("interval", f"unknown. Allowed: {', '.join(self._analytics.intervals)}.")
            return self._analytics.default_interval
        return cast(Interval, value)

    def _all(self, key: str) -> tuple[str, ...]:
        return self._fact.body[key].values

    def _names(self, key: str, allowed: Collection[str] | None) -> tuple[str, ...]:
        """A list of names, in Klaviyo's order where it has one, so that the same list means the same."""
        value = self._table.get(key)
        if value is None:
            return ()
        found = listed(value) if isinstance(value, str) else value
        if not isinstance(found, Sequence) or not found or not all(isinstance(one, str) and one for one in found):
            self._wrong(key, "a list of names is needed.")
            return ()
        for name in found if allowed is not None else ():
            if name not in (allowed or ()):
                self._wrong(key, f'unknown "{name}"{nearest(name, allowed or ())} Allowed: {", ".join(allowed or ())}.')
        return tuple(name for name in allowed if name in found) if allowed is not None else tuple(dict.fromkeys(found))

    def _groups(self, key: str) -> tuple[str, ...]:
        if key not in figure_settings(self._analytics):
            return ()
        rule = self._fact.body[key]
        found = self._names(key, rule.values)
        if not found:
            return self._analytics.groups
        needed = {*rule.needed, *(other for name in found for other in self._analytics.together.get(name, ()))}
        if missing := [name for name in rule.values if name in needed and name not in found]:
            self._wrong(key, f"Klaviyo wants {', '.join(missing)} with it.")
        return found

    def _metrics(self) -> tuple[str, ...]:
        key, default = METRIC_SETTING[self._analytics.grammar], self._analytics.default_metric
        if default is None:
            return ()
        if key == "metrics":
            return self._names(key, None) or (default,)
        value = self._table.get(key)
        if value is None:
            return (default,)
        if not isinstance(value, str) or not value.strip():
            self._wrong(key, "the name of a metric is needed.")
            return (default,)
        return (value,)

    def _filter(self) -> str:
        """The filter as the body takes it: several conditions stand in `and(…)` there."""
        text = self._table.get("filter")
        if text is None:
            return ""
        if not isinstance(text, str) or not text.strip():
            self._wrong("filter", "Klaviyo's filter grammar is needed.")
            return ""
        inner = text.strip()
        if inner.startswith("and(") and inner.endswith(")"):
            inner = inner.removeprefix("and(").removesuffix(")")
        try:
            conditions = query.parse(inner)
        except ValueError as error:
            self._wrong("filter", f"not a filter: {error}.")
            return ""
        for condition in conditions:
            self._check(condition)
        for name, count in Counter(condition.field for condition in conditions).items():
            if count > 1:
                self._wrong("filter", f"Klaviyo takes one condition on {name}, not {count}.")
        joined = ",".join(condition.text for condition in conditions)
        return f"and({joined})" if len(conditions) > 1 else joined

    def _check(self, condition: query.Condition) -> None:
        fields, path = self._fact.filters, self._fact.path
        rule = fields.get(condition.field)
        if rule is None:
            close = nearest(condition.field, fields)
            self._wrong("filter", f'unknown "{condition.field}"{close} {path} allows: {", ".join(fields)}.')
        elif condition.op not in rule.ops:
            self._wrong(
                "filter", f"{condition.op} is none of {', '.join(rule.ops)}, which {path} allows on {condition.field}."
            )
        elif condition.many != (condition.op in _LISTS):
            wanted = 'a list in brackets, ["…","…"]' if condition.op in _LISTS else "one value, without brackets"
            self._wrong("filter", f"{condition.text}: {condition.op} takes {wanted}.")
        elif len(condition.values) > _MOST_IN_A_LIST:
            self._wrong("filter", f"Klaviyo takes {_MOST_IN_A_LIST} values in a list, not {len(condition.values)}.")
        elif any(value[0] not in "'\"" for value in condition.values):
            self._wrong("filter", f'{condition.text}: {condition.field} takes a text in quotes, "…".')
