"""The metrics of one account by their names: for reports that name one, and for event tables per metric."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from . import query
from .by_metric import chosen, matches, of_metrics
from .client import Client, Traffic
from .endpoints import endpoints
from .errors import ConfigError, KlaviyoError
from .reports import endpoint_of
from .settings import METRIC_SETTING, nearest
from .shape import named_ids
from .spec import Grammar, OfMetric, Report, Variant


class Metrics:
    """The metrics of an account, asked for when the first report names one, and then once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ids: dict[str, list[str]] | None = None

    def resolved(self, report: Report) -> tuple[Report, KlaviyoError | None]:
        """The report with its metric's ids in its filters, or as it is and why not.

        Metrics of different integrations may share a name: then all of them are read.
        """
        if report.metric is None:
            return report, None
        try:
            ids = self._by_name(report.revision).get(report.metric)
        except KlaviyoError as error:
            return report, error
        if ids is None:
            name = report.name.removesuffix("__included")
            return report, ConfigError(
                f'{name}: metric = "{report.metric}": the account has no metric of this name'
                f"{nearest(report.metric, self._by_name(report.revision))}"
            )
        return of_metrics(report, ids), None

    def chosen(
        self,
        report: Report,
        patterns: Sequence[str],
        split: bool,
        known: Mapping[str, OfMetric],
        taken: Collection[str],
    ) -> tuple[list[Report], KlaviyoError | None]:
        """One report for each metric that a pattern names, and what is wrong with the other patterns.

        Args:
            split: whether each has a table of its own.
            known: name of a report -> its metric, of those that were chosen before: they keep their names, and
                stay chosen by the names that they had.
            taken: names of other reports.
        """
        try:
            ids = self._by_name(report.revision)
        except KlaviyoError as error:
            return [], error
        made, missing = chosen(ids, report, patterns, split, known, taken)
        return made, self._without(report, missing, ids) if missing else None

    def _without(self, report: Report, missing: Sequence[str], ids: Mapping[str, object]) -> ConfigError:
        """Why names match nothing; a look at the custom metrics, which an event cannot be chosen by, says more."""
        try:
            composed = {name for name, _ in self._listed(report.revision, "custom_metrics")}
        except KlaviyoError:
            composed = set()
        lines = []
        for pattern in missing:
            why = f"the account has no metric of this name{nearest(pattern, ids)}"
            if any(matches(pattern, name) for name in composed):
                why = (
                    "this is a custom metric, by which Klaviyo filters no events: name the metrics that it is made of."
                )
            lines.append(f'{report.name}: metrics "{pattern}": {why}')
        return ConfigError("\n".join(lines))

    def counted(self, report: Report, names: Sequence[str]) -> tuple[Report, KlaviyoError | None]:
        """A report that counts, with a variant for every metric of these names or patterns, or as it is and why not."""
        endpoint = endpoint_of(report)
        if endpoint.analytics is None or not names:
            return report, None
        try:
            known = self._by_name(report.revision)
        except KlaviyoError as error:
            return report, error
        variants = []
        kind = "metric" if endpoint.analytics.grammar is Grammar.AGGREGATE else "conversion_metric"
        for name in names:
            matching = [other for other in known if fnmatchcase(other, name)] or [name]
            if matching == [name] and name not in known:
                return report, ConfigError(
                    f'{report.name}: the account has no metric "{name}"{nearest(name, known)} Set '
                    f"{METRIC_SETTING[endpoint.analytics.grammar]} under [sources.klaviyo.{report.name}]."
                )
            variants += [
                Variant("", {f"{kind}_id": metric, f"{kind}_name": other}, metric)
                for other in matching
                for metric in known[other]
            ]
        # Two patterns may mean one metric.
        different = {variant.metric: variant for variant in variants}
        return replace(report, own=replace(endpoint, variants=tuple(different.values()))), None

    def _by_name(self, revision: str) -> dict[str, list[str]]:
        if self._ids is None:
            found: dict[str, list[str]] = {}
            for name, metric in self._listed(revision, "metrics"):
                found.setdefault(name, []).append(metric)
            self._ids = found
        return self._ids

    def _listed(self, revision: str, collection: str) -> Iterator[tuple[str, str]]:
        """Name and id of every record of a collection."""
        endpoint = endpoints(revision)[collection]
        path: str | None = query.url(endpoint)
        while path is not None:
            page = self._client.get(path, endpoint, endpoint.rate, Traffic())
            yield from named_ids(page.body)
            path = page.next
