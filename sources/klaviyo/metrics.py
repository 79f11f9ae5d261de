"""The ids of metrics by their names in one account, for custom reports that name one."""

from __future__ import annotations

from dataclasses import replace

from . import query
from .client import Client, Traffic
from .endpoints import endpoints
from .errors import ConfigError, KlaviyoError
from .reports import endpoint_of
from .settings import nearest
from .shape import named_ids
from .spec import Report, Variant


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
