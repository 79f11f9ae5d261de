"""The metrics of one account by their names: for reports that name one, and for event tables per metric."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from ..catalog.endpoints import endpoints
from ..catalog.model import AnalyticsApi, EventMetric, Variant
from ..catalog.report import Report
from ..config.raw_settings import nearest
from ..decode.parents import NamedRecord, named_records
from ..errors import ConfigError, KlaviyoError, RequestRejected
from ..http import query
from ..http.client import Client, Traffic
from ..plan.event_metrics import chosen, matches, of_metrics

#: What Klaviyo says where events cannot be filtered by a metric that it lists (seen for "Viewed Form").
_UNFILTERABLE = re.compile(r"metric ids?\b.*\bdo(es)? not exist", re.IGNORECASE | re.DOTALL)


def unfilterable(report: Report, error: KlaviyoError) -> ConfigError | None:
    """Why a report cannot be read, if its events cannot be filtered by their metric; None where the error says
    something else."""
    if not isinstance(error, RequestRejected) or error.status != 400 or not _UNFILTERABLE.search(error.detail):
        return None
    if report.event_metric is not None:
        setting = f'{report.like}: metrics "{report.event_metric.names[-1]}"'
    elif report.metric is not None:
        setting = f'{report.name}: metric = "{report.metric}"'
    else:
        return None
    detail = error.detail.rstrip(".")
    return ConfigError(
        f"{setting}: Klaviyo does not filter events by this metric ({detail}). Leave it out: its events come only with "
        "those of all metrics."
    )


class Metrics:
    """The metrics of an account. They are asked for once, when the first report names one."""

    def __init__(self, client: Client, revision: str) -> None:
        self._client, self._revision = client, revision
        self._known: list[NamedRecord] | None = None

    def resolved(self, report: Report) -> Report:
        """The report with its metric's ids in its filters.

        Metrics of different integrations may share a name: then all of them are read.

        Raises:
            ConfigError: the account has no metric of this name.
            KlaviyoError: the metrics cannot be read.
        """
        if report.metric is None:
            return report
        known = self._by_name()
        if report.metric not in known:
            name = report.name.removesuffix("__included")
            raise ConfigError(
                f'{name}: metric = "{report.metric}": the account has no metric of this name'
                f"{nearest(report.metric, known)}"
            )
        return of_metrics(report, known[report.metric])

    def chosen(
        self,
        report: Report,
        patterns: Sequence[str],
        split: bool,
        known: Mapping[str, EventMetric],
        taken: Collection[str],
    ) -> tuple[list[Report], list[str]]:
        """One report for each metric that a pattern names, and the patterns that name none: see `event_metrics.chosen`.

        Raises:
            KlaviyoError: the metrics cannot be read.
        """
        return chosen(self._by_name(), report, patterns, split, known, taken)

    def unmatched(self, report: Report, missing: Sequence[str]) -> ConfigError:
        """Why patterns name nothing. Custom metrics are looked at too: an event cannot be chosen by one."""
        known = self._by_name()
        try:
            composed = {record.name for record in self._listed("custom_metrics")}
        except KlaviyoError:
            composed = set()
        lines = []
        for pattern in missing:
            why = f"the account has no metric of this name{nearest(pattern, known)}"
            if any(matches(pattern, name) for name in composed):
                why = (
                    "this is a custom metric, by which Klaviyo filters no events: name the metrics that it is made of."
                )
            lines.append(f'{report.name}: metrics "{pattern}": {why}')
        return ConfigError("\n".join(lines))

    def counted(self, report: Report, names: Sequence[str]) -> Report:
        """An analytics report with a variant for every metric of these names or patterns.

        Args:
            names: a metric's id does as well.

        Raises:
            ConfigError: the account has no metric of a name, or several where the report takes one: the same sendings
                with the conversions of each would look like twice as many sendings.
            KlaviyoError: the metrics cannot be read.
        """
        analytics = report.endpoint.analytics
        if analytics is None or not names:
            return report
        variants = []
        several = analytics.api is AnalyticsApi.AGGREGATE
        kind = "metric" if several else "conversion_metric"
        table = report.name if report.redefines is None else f"custom_reports.{report.name}"
        hint = f"Set {analytics.metric_setting} under [sources.klaviyo.{table}]"
        for name in names:
            matching = self._matching(name)
            if not matching:
                known = self._by_name()
                raise ConfigError(f'{report.name}: the account has no metric "{name}"{nearest(name, known)} {hint}.')
            if len(matching) > 1 and not several:
                listed = ", ".join(
                    f'"{one.id}" ({one.name}, {one.integration or "no integration"})' for one in matching
                )
                raise ConfigError(
                    f'{report.name}: the account has {len(matching)} metrics "{name}", and a report counts the '
                    f"conversions of one. {hint} to the id of one of them: {listed}."
                )
            variants += [Variant("", {f"{kind}_id": one.id, f"{kind}_name": one.name}, one.id) for one in matching]
        # Two patterns may name one metric.
        different = {variant.metric: variant for variant in variants}
        return replace(report, endpoint=replace(report.endpoint, variants=tuple(different.values())))

    def _matching(self, name: str) -> list[NamedRecord]:
        """The metrics of a name or pattern, or the one with this id."""
        known = self._all()
        return (
            [one for one in known if one.name == name or fnmatchcase(one.name, name)]
            or [one for one in known if one.id == name]
        )  # fmt: skip

    def _by_name(self) -> dict[str, list[str]]:
        """Name -> ids of the metrics with that name."""
        found: dict[str, list[str]] = {}
        for one in self._all():
            found.setdefault(one.name, []).append(one.id)
        return found

    def _all(self) -> list[NamedRecord]:
        if self._known is None:
            self._known = list(self._listed("metrics"))
        return self._known

    def _listed(self, collection: str) -> Iterator[NamedRecord]:
        """The records of a collection."""
        endpoint = endpoints(self._revision)[collection]
        path: str | None = query.url(endpoint)
        while path is not None:
            page = self._client.get(path, endpoint, endpoint.rate, Traffic())
            yield from named_records(page.body)
            path = page.next
