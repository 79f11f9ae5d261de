"""The ids of metrics by their names in one account, for reports that name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from . import query
from .client import Client, Traffic
from .endpoints import endpoints
from .errors import ConfigError, KlaviyoError
from .reports import endpoint_of
from .settings import METRIC_SETTING, nearest
from .shape import named_ids
from .spec import Grammar, Report, Variant


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
        endpoint = endpoint_of(report)
        variants = tuple(
            Variant(",".join(filter(None, (f'equals(metric_id,"{metric}")', variant.filter))), variant.context)
            for metric in ids
            for variant in endpoint.variants
        )
        return replace(report, own=replace(endpoint, variants=variants)), None

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
            endpoint = endpoints(revision)["metrics"]
            found: dict[str, list[str]] = {}
            path: str | None = query.url(endpoint)
            while path is not None:
                page = self._client.get(path, endpoint, endpoint.rate, Traffic())
                for name, metric in named_ids(page.body):
                    found.setdefault(name, []).append(metric)
                path = page.next
            self._ids = found
        return self._ids
