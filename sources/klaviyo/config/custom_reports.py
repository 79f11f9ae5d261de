"""Settings under `custom_reports` -> reports, checked against what Klaviyo's SDK says of their endpoints.

What Klaviyo would refuse is refused here, before any request. The message says what the endpoint allows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import get_args

from ..catalog.capabilities import Capabilities, capabilities
from ..catalog.contracts import EXTRA, DataType
from ..catalog.endpoints import endpoint_of, endpoints
from ..catalog.model import ALL_INCLUDED, Cursor, Custom, Endpoint, EndpointRow, Ops, Parent, Variant
from ..catalog.report import Report, context_columns, raw_column
from ..catalog.reports import REPORT_SPANS, parents_of, reports
from ..catalog.revisions import REVISIONS
from . import filter_grammar
from .raw_settings import RawSettings, nearest, show
from .report_facts import facts_of
from .settings import ACCOUNT_SETTINGS, ALL, CUSTOM_REPORTS, CUSTOM_SETTINGS, REPORT_SETTINGS
from .written import Written, all_of, unknown

#: Suffix of the report of included records, after the name of the report that includes them.
INCLUDED = "__included"

_MODES = ("raw", "inferred")
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_PATH = re.compile(r"(attributes|relationships|links)(\.[^.]+)+")
_PLACEHOLDER = re.compile(r"\{\w+\}")
_SUPPRESSION = "subscriptions.email.marketing."
_LIST_SUPPRESSION = f"{_SUPPRESSION}list_suppressions."


def names(raw: RawSettings) -> list[str]:
    """Names of all custom reports in the settings, valid or not."""
    tables = raw.values.get(CUSTOM_REPORTS)
    return list(tables) if isinstance(tables, Mapping) else []


class WrittenReport(Written):
    """One custom report as the user wrote it.

    Args:
        revision: the revision of the API to read it under.
    """

    def __init__(self, raw: RawSettings, name: str, revision: str) -> None:
        super().__init__(raw, name, CUSTOM_REPORTS)
        self.revision = revision

    @property
    def label(self) -> str:
        return f"custom report {self.name}"

    def reports(self) -> dict[str, Report]:
        """Name -> report: this one, and a second one for its included records, if any. Empty if there are problems."""
        report = self._report()
        if report is None:
            return {}
        made = {report.name: report}
        if report.include:
            name = report.name + INCLUDED
            made[name] = replace(report, name=name, rows=ALL_INCLUDED)
        return made

    def _report(self) -> Report | None:
        self._check_name()
        if not isinstance(self.table, Mapping):
            self.problems.append(f"{self.label}: a table of settings is needed, not {show(self.table)}.")
            return None
        if self.value("like") is not None:
            return self._like()
        allowed = [*CUSTOM_SETTINGS, *REPORT_SETTINGS]
        for key in self.table:
            if key not in allowed:
                self.wrong(key, f"unknown setting{nearest(key, allowed)} Allowed: {', '.join(allowed)}.")
        endpoint_and_facts = self._endpoint()
        if endpoint_and_facts is None:
            return None
        endpoint, facts = endpoint_and_facts
        endpoint = self._filtered(endpoint, facts)
        endpoint, sort = self._sorted(endpoint, facts)
        include = self._allowed_names("include", facts.include, facts)
        additional = self._allowed_names("additional_fields", facts.additional_fields.get(endpoint.type, ()), facts)
        lower = [one.rate for one in facts.rate_overrides if one.parameter == "include" and one.value in include]
        mode = self._text("mode") or _MODES[0]
        if mode not in _MODES:
            self.wrong("mode", f"unknown{nearest(mode, _MODES)} Allowed: {', '.join(_MODES)}.")
        metric = self._metric(facts)
        report = Report(
            name=self.name,
            revision=self.revision,
            endpoint=replace(endpoint, rate=min([endpoint.rate, *lower], key=lambda rate: rate.steady)),
            parents=parents_of(endpoint, self.revision),
            include=include,
            additional_fields=additional,
            fields=self._fields(endpoint, facts),
            # Below one parent or all parents: only a read of the whole shows which records are gone.
            whole=endpoint.parent is not None or "{" in facts.path,
            sort=sort,
            metric=metric,
            beside=(endpoints(self.revision)["metrics"],) if metric is not None else (),
            custom=Custom(self._columns(endpoint), mode == "inferred"),
        )
        return None if self.problems else report

    def _like(self) -> Report | None:
        """Another definition of a predefined analytics report. What it asks for is checked in `analytics.py`."""
        counting = {name: one for name, one in reports(self.revision).items() if one.endpoint.analytics is not None}
        like = self._text("like")
        if like is None:
            return None
        if like not in counting:
            what = "no analytics report." if like in REPORT_SPANS else f"unknown{nearest(like, counting)}"
            self.wrong("like", f"{what} Allowed: {', '.join(counting)}.")
            return None
        report = counting[like]
        allowed = ["like", *REPORT_SETTINGS, *facts_of(report).analytics_settings]
        for key in self.table:
            if key not in allowed:
                why = (
                    f'not beside like = "{like}".'
                    if key in CUSTOM_SETTINGS
                    else f"unknown setting{nearest(key, allowed)}"
                )
                self.wrong(key, f"{why} Allowed: {', '.join(allowed)}.")
        return None if self.problems else replace(report, name=self.name, like=like, on_by_default=True)

    def _check_name(self) -> None:
        taken = {*REPORT_SPANS, *ACCOUNT_SETTINGS, *REPORT_SETTINGS, ALL, CUSTOM_REPORTS}
        where = self._raw.where(f"{CUSTOM_REPORTS}.{self.name}")
        if not _NAME.fullmatch(self.name):
            self.problems.append(
                f'custom report "{self.name}"{where}: a name is lower-case letters, digits and single underscores, '
                "a letter first."
            )
        elif self.name in taken:
            what = "a predefined report" if self.name in REPORT_SPANS else "a setting"
            self.problems.append(f"{self.label}{where}: {what} has this name already; choose another.")

    def _text(self, key: str) -> str | None:
        return self.text(key, CUSTOM_SETTINGS[key].allowed)

    def _allowed_names(self, key: str, allowed: Iterable[str], facts: Capabilities) -> tuple[str, ...]:
        written, allowed = self.names(key), list(allowed)
        for name in written:
            if name not in allowed:
                self.wrong(key, f"{unknown(name, allowed)} {facts.path} allows: {', '.join(allowed) or 'none'}.")
        return written

    def _endpoint(self) -> tuple[Endpoint, Capabilities] | None:
        """The endpoint to read: one of our table by its name or path, or any other readable endpoint by its path."""
        text = self._text("endpoint")
        paths = {facts.template: facts for facts in capabilities(self.revision).values() if not facts.body}
        short = {path.removeprefix("/api/"): path for path in paths}
        rows = endpoints(self.revision)
        if text is None:
            if self.value("endpoint") is None:
                self.wrong(
                    "endpoint",
                    f"mandatory. Allowed: a path, or {', '.join(rows)}. For another definition of an analytics report "
                    "set like instead.",
                )
            return None
        row = rows.get(text)
        asked = _PLACEHOLDER.sub("{id}", text.strip("/").removeprefix("api/"))
        path = row.path if row else short.get(asked) or short.get(asked.replace("_", "-")) or _template(asked, paths)
        if path is None or path not in paths:
            having = [other for other in REVISIONS if text in endpoints(other) or asked in _short_paths(other)]
            hint = f"; {' and '.join(having)} has it." if having else nearest(text, [*rows, *paths])
            self.wrong(
                "endpoint", f"unknown under revision {self.revision}{hint} Allowed: a path, or {', '.join(rows)}."
            )
            return None
        facts = paths[path]
        of_one = row is None and "{id}" in path and asked not in short
        row = row or next((row for row in rows.values() if row.path == path), None)
        if of_one:
            row = replace(row or _bare(path, facts, None), path=f"/api/{asked}", parent=None)
        row = row or _made(path, facts, self.revision)
        if row is None:
            self.wrong("endpoint", "it needs an id, and no endpoint lists these ids: write one into the path.")
            return None
        return row, facts

    def _filtered(self, endpoint: Endpoint, facts: Capabilities) -> Endpoint:
        """The endpoint with the user's filter added to each of its variants.

        Where the user's filter and a variant name the same field, the user's condition replaces the variant's.
        """
        text = self._text("filter")
        if text is None:
            return endpoint
        try:
            conditions = filter_grammar.parse(text)
        except ValueError as error:
            self.wrong("filter", f"not a filter: {error}.")
            return endpoint
        for condition in conditions:
            if problem := filter_grammar.problem(condition, facts.filters, facts.path):
                self.wrong("filter", problem)
        fields = {condition.field for condition in conditions}
        cursor = endpoint.cursor
        if cursor is not None and cursor.field in fields:
            if "{" not in facts.path:
                self.wrong(
                    "filter",
                    f"{cursor.field} is the field of the period's filter: set start_date and end_date instead. "
                    f"Other fields: {', '.join(name for name in facts.filters if name != cursor.field)}.",
                )
            # The user's filter already uses the cursor's field. The report is read as a whole, so it needs no cursor.
            cursor = None
        dates = [c.field for c in conditions if c.field in facts.filters and facts.filters[c.field].type == "date-time"]
        if endpoint.path == "/api/profiles" and any(name.startswith(_SUPPRESSION) for name in fields):
            self._check_suppressions(fields, dates)
            # Together with suppressions Klaviyo accepts one date condition: the user's own, else the period's start.
            cursor = Cursor("updated", Ops.AFTER) if cursor is not None and not dates else None
        parent = endpoint.parent
        if parent is not None and parent.filter is not None and fields & {parent.filter, "profile.id"}:
            parent = None
        variants = []
        for variant in endpoint.variants:
            own = [c for c in (filter_grammar.parse(variant.filter) if variant.filter else ()) if c.field not in fields]
            kept = {key: value for key, value in variant.context.items() if any(value in c.text for c in own)}
            joined = ",".join([*(condition.text for condition in own), text.strip()])
            variants.append(Variant(joined, kept) if kept else Variant(joined))
        different = {variant.filter: variant for variant in variants}
        return replace(endpoint, cursor=cursor, parent=parent, variants=tuple(different.values()))

    def _check_suppressions(self, fields: set[str], dates: Sequence[str]) -> None:
        of_lists = {name for name in fields if name.startswith(_LIST_SUPPRESSION)}
        if of_lists and any(name.startswith(_SUPPRESSION) for name in fields - of_lists):
            self.wrong(
                "filter", "Klaviyo does not accept list_suppressions and suppression together: make two reports."
            )
        if of_lists and f"{_LIST_SUPPRESSION}list_id" not in fields:
            self.wrong("filter", f'suppressions of lists need equals({_LIST_SUPPRESSION}list_id,"…") beside them.')
        if len(dates) > 1:
            self.wrong("filter", f"beside suppressions Klaviyo takes one date condition, not {len(dates)}.")

    def _sorted(self, endpoint: Endpoint, facts: Capabilities) -> tuple[Endpoint, str | None]:
        """The endpoint and the user's sort; sorted otherwise than by its cursor, the endpoint is not ascending."""
        text = self._text("sort")
        if text is None:
            return endpoint, None
        allowed = [*facts.sort, *(f"-{name}" for name in facts.sort)]
        if text not in allowed:
            self.wrong("sort", f"unknown{nearest(text, allowed)} {facts.path} allows: {', '.join(allowed) or 'none'}.")
        cursor = endpoint.cursor
        if cursor is None or (cursor.ascending and text == cursor.field):
            return endpoint, text
        return replace(endpoint, cursor=replace(cursor, ascending=False)), text

    def _fields(self, endpoint: Endpoint, facts: Capabilities) -> Mapping[str, tuple[str, ...]]:
        """Type -> names of its sparse fieldset."""
        value = self.value("fields")
        if value is None:
            return {}
        by_type = value if isinstance(value, Mapping) else {endpoint.type: value}
        fieldsets: dict[str, tuple[str, ...]] = {}
        for kind, listed_names in by_type.items():
            type_name = kind if kind in facts.fields else kind.replace("_", "-")
            if type_name not in facts.fields:
                self.wrong(
                    "fields", f"{unknown(kind, facts.fields)} {facts.path} has fields of: {all_of(facts.fields)}."
                )
                continue
            fieldsets[type_name] = self.names("fields", listed_names)
            for name in fieldsets[type_name]:
                if not facts.allows_field(type_name, name):
                    allowed = facts.fields[type_name]
                    self.wrong("fields", f"{unknown(name, allowed)} {type_name} has: {all_of(allowed)}.")
        cursor, own = endpoint.cursor, fieldsets.get(endpoint.type)
        # The cursor's field is always asked for: progress within a window is read from it.
        if own and cursor and cursor.field not in own and facts.allows_field(endpoint.type, cursor.field):
            fieldsets[endpoint.type] = (*own, cursor.field)
        return fieldsets

    def _metric(self, facts: Capabilities) -> str | None:
        name = self._text("metric")
        if name is None:
            return None
        if "metric_id" not in facts.filters:
            self.wrong("metric", f"{facts.path} has no filter on metric_id; events have.")
        elif "metric_id" in str(self.value("filter") or ""):
            self.wrong("metric", "the filter names a metric_id already: leave one of the two out.")
        return name

    def _columns(self, endpoint: Endpoint) -> Mapping[str, tuple[str, str]]:
        """Column -> (type, path in the record)."""
        value = self.value("columns")
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.wrong("columns", f"{CUSTOM_SETTINGS['columns'].allowed} is needed.")
            return {}
        taken = {"id", "type", "attributes", "relationships", "links", EXTRA, *context_columns(endpoint)}
        if endpoint.cursor is not None:
            taken.add(raw_column(endpoint.cursor.field))
        types = get_args(DataType)
        columns = {}
        for name, column in value.items():
            key = f"columns.{name}"
            is_table = isinstance(column, Mapping)
            path, kind = (column.get("path"), column.get("type", "text")) if is_table else (column, "text")
            if not _NAME.fullmatch(name) or name in taken:
                self.wrong(
                    key,
                    f"a name is lower-case letters, digits and single underscores, none of {all_of(taken)}.",
                    column,
                )
            elif not isinstance(path, str) or not _PATH.fullmatch(path):
                self.wrong(key, 'a path is needed, like "attributes.event_properties.value".', column)
            elif kind not in types or (is_table and not set(column) <= {"path", "type"}):
                self.wrong(key, f"{{path, type}} is needed; types: {', '.join(types)}.", column)
            else:
                columns[name] = (kind, path)
        return columns


def _short_paths(revision: str) -> set[str]:
    """All readable paths of a revision, without `/api/`, as a user may write them."""
    return {facts.template.removeprefix("/api/") for facts in capabilities(revision).values()}


def _template(asked: str, paths: Iterable[str]) -> str | None:
    """The path of which `asked` is the one with an id filled in."""
    for path in paths:
        start, placeholder, end = path.removeprefix("/api/").partition("{id}")
        if placeholder and re.fullmatch(rf"{re.escape(start)}[\w:$-]+{re.escape(end)}", asked):
            return path
    return None


def _parent(path: str, revision: str) -> Parent | None:
    """The parent that lists the ids for a path with `{id}`: an endpoint of the table, or records that one includes."""
    above = path[: path.index("{id}") + len("{id}")]
    collection = above.split("/")[-2]
    kind = collection.removesuffix("ies") + "y" if collection.endswith("ies") else collection.removesuffix("s")
    context = {f"{kind.replace('-', '_')}_id": "id"}
    rows = endpoints(revision).values()
    if lister := next((row for row in rows if row.path == above.removesuffix("/{id}")), None):
        return Parent(lister.name, context, absent_ok=True)
    if beside := next((row.parent for row in rows if row.path.startswith(above) and row.parent), None):
        return replace(beside, context=beside.context or context, childless={})
    if lister := next((row for row in rows if row.parent and row.path.endswith(f"/{collection}")), None):
        return Parent(lister.name, context, absent_ok=True)
    if report := next((report for report in reports(revision).values() if report.rows == kind), None):
        return Parent(report.endpoint.name, context, absent_ok=True, include=(collection,), rows=kind)
    return None


def _made(path: str, facts: Capabilities, revision: str) -> Endpoint | None:
    """An endpoint that is not in the table; None where it needs ids that no endpoint lists."""
    parent = _parent(path, revision) if "{id}" in path else None
    return None if "{id}" in path and parent is None else _bare(path, facts, parent)


def _bare(path: str, facts: Capabilities, parent: Parent | None) -> Endpoint:
    """An endpoint that is not in the table, with the facts of the SDK only."""
    return endpoint_of(EndpointRow(path, path, f"Raw records of {path}.", parent=parent), facts)
