"""Events of chosen metrics as reports of their own: which metrics the patterns match, and each report's name. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ..catalog.model import EventMetric, Variant
from ..catalog.report import Report

#: The most characters of a metric's name in a table name. With the longest prefix and an id, the table name then stays
#: within the 63 characters of Postgres.
_LONGEST_WORDS = 38


def chosen(
    ids: Mapping[str, Sequence[str]],
    report: Report,
    patterns: Sequence[str],
    split: bool,
    known: Mapping[str, EventMetric],
    taken: Collection[str],
) -> tuple[list[Report], list[str]]:
    """One report for each metric that matches a pattern, and the patterns that no metric matches.

    Args:
        ids: name -> ids of the metrics with that name.
        patterns: names of metrics; a `*` stands for any text.
        split: whether each metric has a table of its own.
        known: name of a report -> its metric, for metrics that were chosen in earlier runs. Their reports keep their
            names, and patterns still match the names that these metrics had before they were renamed.
        taken: names of other reports.
    """
    prefix = report.name if split else f"{report.name}_of"
    kept = {metric.id: (name, metric) for name, metric in known.items() if _has_prefix(name, prefix, report.name)}
    metrics: dict[str, EventMetric] = {}
    matched: set[str] = set()
    for name, metric_id in sorted((name, metric_id) for name, ids_of_name in ids.items() for metric_id in ids_of_name):
        earlier = kept[metric_id][1].names if metric_id in kept else ()
        names = tuple(dict.fromkeys([*(other for other in earlier if other != name), name]))
        matching = {pattern for pattern in patterns if any(matches(pattern, other) for other in names)}
        if matching:
            matched |= matching
            metrics[metric_id] = EventMetric(metric_id, names, all("*" in pattern for pattern in matching))
    tables = {metric_id: name for metric_id, (name, _) in kept.items()}
    tables |= _tables(prefix, [metric for metric in metrics.values() if metric.id not in kept], {*taken, *known})
    made = [
        replace(
            of_metrics(report, [metric.id]),
            name=tables[metric.id],
            table=None if split else report.name,
            like=report.name,
            event_metric=metric,
            by_metric=False,
        )
        for metric in sorted(metrics.values(), key=lambda metric: tables[metric.id])
    ]
    return made, [pattern for pattern in patterns if pattern not in matched]


def of_metrics(report: Report, ids: Sequence[str]) -> Report:
    """The report with one variant for each metric (and variant of its endpoint), filtered by the metric's id."""
    endpoint = report.endpoint
    variants = tuple(
        Variant(",".join(filter(None, (f'equals(metric_id,"{metric}")', variant.filter))), variant.context)
        for metric in ids
        for variant in endpoint.variants
    )
    return replace(report, endpoint=replace(endpoint, variants=variants))


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern matches a name. A `*` stands for any text; case is ignored."""
    parts = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(parts, name, re.IGNORECASE | re.DOTALL) is not None


def _has_prefix(name: str, prefix: str, report: str) -> bool:
    """Whether the name of a metric's report was made with this prefix: `events` or `events_of`."""
    in_one_table = name.startswith(f"{report}_of_")
    return in_one_table if prefix != report else not in_one_table


def _tables(prefix: str, metrics: Sequence[EventMetric], taken: Collection[str]) -> dict[str, str]:
    """Id of a metric -> the permanent name of its report.

    It is the prefix and the metric's name in snake case, with the metric's id where that is not unique.
    """
    words = {metric.id: _words(metric.names[-1]) for metric in metrics}
    shared = Counter(words.values())
    used, tables = {*taken}, {}
    for metric in sorted(metrics, key=lambda metric: metric.id):
        text = words[metric.id]
        # `events` and a metric "of …" would make a name with the prefix `events_of`, which has another meaning.
        unclear = not text or shared[text] > 1 or len(text) > _LONGEST_WORDS or text.startswith("of_")
        name = f"{prefix}_{text}"
        if unclear or name in used:
            by_id = re.sub(r"[^a-z0-9]", "", metric.id.lower()) or "x"
            name = "_".join(filter(None, (prefix, text[:_LONGEST_WORDS].strip("_").removeprefix("of_"), by_id)))
        if name in used:
            # Two ids differ in case only.
            name = f"{name}_{hashlib.sha256(metric.id.encode()).hexdigest()[:8]}"
        used.add(name)
        tables[metric.id] = name
    return tables


def _words(name: str) -> str:
    """A name in snake case, ASCII only; empty where nothing is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
