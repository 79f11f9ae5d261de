"""The metrics of one account by their names: for reports that name one, and for event tables per metric."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from . import query
from .client import Client, Traffic
from .endpoints import endpoints
from .errors import ConfigError, KlaviyoError
from .reports import endpoint_of
from .settings import METRIC_SETTING, nearest
from .shape import named_ids
from .spec import Grammar, OfMetric, Report, Variant

#: With the longest beginning and an id below the 63 characters of Postgres.
_LONGEST_WORDS = 38


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
        return _of_metrics(report, ids), None

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
            if any(_matches(pattern, name) for name in composed):
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


def chosen(
    ids: Mapping[str, Sequence[str]],
    report: Report,
    patterns: Sequence[str],
    split: bool,
    known: Mapping[str, OfMetric],
    taken: Collection[str],
) -> tuple[list[Report], list[str]]:
    """One report for each metric that a pattern names, and the patterns that name none. Pure.

    Args:
        ids: name -> ids of the metrics of that name.
        split, known, taken: as `Metrics.chosen` has them.
    """
    beginning = report.name if split else f"{report.name}_of"
    kept = {metric.id: (name, metric) for name, metric in known.items() if _is_named(name, beginning, report.name)}
    found: dict[str, OfMetric] = {}
    named: set[str] = set()
    for name, metric_id in sorted((name, one) for name, same in ids.items() for one in same):
        earlier = kept[metric_id][1].names if metric_id in kept else ()
        names = tuple(dict.fromkeys([*(one for one in earlier if one != name), name]))
        matching = {pattern for pattern in patterns if any(_matches(pattern, one) for one in names)}
        if matching:
            named |= matching
            found[metric_id] = OfMetric(metric_id, names)
    tables = {metric_id: name for metric_id, (name, _) in kept.items()}
    tables |= _tables(beginning, [one for one in found.values() if one.id not in kept], {*taken, *known})
    made = [
        replace(
            _of_metrics(report, [metric.id]),
            name=tables[metric.id],
            table=None if split else report.name,
            like=report.name,
            of_metric=metric,
            by_metric=False,
        )
        for metric in sorted(found.values(), key=lambda metric: tables[metric.id])
    ]
    return made, [pattern for pattern in patterns if pattern not in named]


def _of_metrics(report: Report, ids: Sequence[str]) -> Report:
    endpoint = endpoint_of(report)
    variants = tuple(
        Variant(",".join(filter(None, (f'equals(metric_id,"{metric}")', variant.filter))), variant.context)
        for metric in ids
        for variant in endpoint.variants
    )
    return replace(report, own=replace(endpoint, variants=variants))


def _matches(pattern: str, name: str) -> bool:
    """Whether a name is meant; a `*` stands for any text, and case counts for nothing."""
    parts = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(parts, name, re.IGNORECASE | re.DOTALL) is not None


def _is_named(name: str, beginning: str, report: str) -> bool:
    """Whether a report of a metric is one of those with this beginning."""
    in_one_table = name.startswith(f"{report}_of_")
    return in_one_table if beginning != report else not in_one_table


def _tables(beginning: str, metrics: Sequence[OfMetric], taken: Collection[str]) -> dict[str, str]:
    """Id of a metric -> the name that its report gets for good: its own in snake case, where nothing else has that."""
    words = {metric.id: _words(metric.names[-1]) for metric in metrics}
    shared = Counter(words.values())
    used, found = {*taken}, {}
    for metric in sorted(metrics, key=lambda metric: metric.id):
        text = words[metric.id]
        # A beginning that stands for the other kind of report is as good as taken.
        unclear = not text or shared[text] > 1 or len(text) > _LONGEST_WORDS or text.startswith("of_")
        name = f"{beginning}_{text}"
        if unclear or name in used:
            by_id = re.sub(r"[^a-z0-9]", "", metric.id.lower()) or "x"
            name = "_".join(filter(None, (beginning, text[:_LONGEST_WORDS].strip("_").removeprefix("of_"), by_id)))
        if name in used:
            # Ids differ in case alone.
            name = f"{name}_{hashlib.sha256(metric.id.encode()).hexdigest()[:8]}"
        used.add(name)
        found[metric.id] = name
    return found


def _words(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
