"""Events of chosen metrics as reports of their own: which ones a pattern names, and what each is called. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ..catalog.model import EventMetric, Variant
from ..catalog.report import Report

#: With the longest beginning and an id below the 63 characters of Postgres.
_LONGEST_WORDS = 38


def chosen(
    ids: Mapping[str, Sequence[str]],
    report: Report,
    patterns: Sequence[str],
    split: bool,
    known: Mapping[str, EventMetric],
    taken: Collection[str],
) -> tuple[list[Report], list[str]]:
    """One report for each metric that a pattern names, and the patterns that name none.

    Args:
        ids: name -> ids of the metrics of that name.
        split: whether each has a table of its own.
        known: name of a report -> its metric, of those that were chosen before: they keep their names, and stay chosen
            by the names that they had.
        taken: names of other reports.
    """
    beginning = report.name if split else f"{report.name}_of"
    kept = {metric.id: (name, metric) for name, metric in known.items() if _is_named(name, beginning, report.name)}
    found: dict[str, EventMetric] = {}
    named: set[str] = set()
    for name, metric_id in sorted((name, one) for name, same in ids.items() for one in same):
        earlier = kept[metric_id][1].names if metric_id in kept else ()
        names = tuple(dict.fromkeys([*(one for one in earlier if one != name), name]))
        matching = {pattern for pattern in patterns if any(matches(pattern, one) for one in names)}
        if matching:
            named |= matching
            found[metric_id] = EventMetric(metric_id, names)
    tables = {metric_id: name for metric_id, (name, _) in kept.items()}
    tables |= _tables(beginning, [one for one in found.values() if one.id not in kept], {*taken, *known})
    made = [
        replace(
            of_metrics(report, [metric.id]),
            name=tables[metric.id],
            table=None if split else report.name,
            like=report.name,
            event_metric=metric,
            by_metric=False,
        )
        for metric in sorted(found.values(), key=lambda metric: tables[metric.id])
    ]
    return made, [pattern for pattern in patterns if pattern not in named]


def of_metrics(report: Report, ids: Sequence[str]) -> Report:
    """The report with the ids of metrics in its filters: one chain of requests for each."""
    endpoint = report.endpoint
    variants = tuple(
        Variant(",".join(filter(None, (f'equals(metric_id,"{metric}")', variant.filter))), variant.context)
        for metric in ids
        for variant in endpoint.variants
    )
    return replace(report, endpoint=replace(endpoint, variants=variants))


def matches(pattern: str, name: str) -> bool:
    """Whether a name is meant; a `*` stands for any text, and case counts for nothing."""
    parts = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(parts, name, re.IGNORECASE | re.DOTALL) is not None


def _is_named(name: str, beginning: str, report: str) -> bool:
    """Whether a report of a metric is one of those with this beginning."""
    in_one_table = name.startswith(f"{report}_of_")
    return in_one_table if beginning != report else not in_one_table


def _tables(beginning: str, metrics: Sequence[EventMetric], taken: Collection[str]) -> dict[str, str]:
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
