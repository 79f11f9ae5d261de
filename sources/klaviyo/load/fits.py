"""Whether a destination can keep the rows of a report exact. Asked before anything is read.

dlt itself falls back: where a destination cannot merge, it appends, so rows that are read again are doubled.
"""

from __future__ import annotations

from collections.abc import Iterable

import dlt
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.exceptions import DestinationCapabilitiesException
from dlt.common.destination.utils import resolve_merge_strategy, resolve_replace_strategy

from ..errors import ConfigError
from ..plan.plan import Disposition, Selection, disposition_of, is_read_whole
from .destination import type_of
from .resources import resource


def check(pipeline: dlt.Pipeline, selected: Iterable[Selection]) -> None:
    """Refuse reports whose rows the pipeline's destination would double or lose.

    Raises:
        ConfigError: names them, and what would work.
    """
    destination = pipeline.destination
    if destination is None:
        return
    capabilities = destination.capabilities()
    required = destination.config_params.get("replace_strategy")
    unfit: dict[Disposition, list[str]] = {}
    whole_instead = []
    for one in selected:
        report = one.report
        disposition = disposition_of(report, whole=is_read_whole(report, one.settings))
        if _keeps(one, disposition, capabilities, required):
            continue
        unfit.setdefault(disposition, []).append(report.name)
        if disposition is Disposition.MERGE and _keeps(one, Disposition.REPLACE, capabilities, required):
            whole_instead.append(report.name)
    if not unfit:
        return
    lines = [f"{type_of(pipeline)} cannot keep these reports exact, so nothing was read:"]
    lines += [f"  {', '.join(sorted(names))}: {disposition.value}" for disposition, names in unfit.items()]
    lines.append("Leave them out (`reports`), or load into a database such as duckdb, postgres or snowflake.")
    if whole_instead:
        lines.append(
            f'Read whole in every run, these can be kept there (extract = "all"): {", ".join(sorted(whole_instead))}.'
        )
    raise ConfigError("\n".join(lines))


def _keeps(
    selected: Selection, disposition: Disposition, capabilities: DestinationCapabilitiesContext, required: str | None
) -> bool:
    """Whether dlt does in the destination what the disposition says."""
    table = resource(selected.report, disposition, lambda: iter(())).compute_table_schema()
    tables = {str(table["name"]): table}
    if table["write_disposition"] == "merge":
        try:
            return resolve_merge_strategy(tables, table, capabilities) is not None
        except DestinationCapabilitiesException:
            return False
    if table["write_disposition"] == "replace":
        return resolve_replace_strategy(table, required, capabilities) is not None  # type: ignore[arg-type]
    return True
