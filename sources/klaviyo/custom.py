"""Custom reports: what a user wrote under `custom_reports`, checked against what the API is known to allow. Pure.

Whatever Klaviyo would refuse is refused here, before any request, with what the endpoint allows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, get_args

from . import query
from .api_facts import ApiFacts, FilterField
from .api_facts import facts as api_facts
from .contracts import EXTRA, DataType
from .endpoints import endpoints
from .errors import ConfigError
from .figures import figures_of
from .reports import REPORT_SPANS, context_columns, endpoint_of, facts, facts_of, raw_column, reports
from .revisions import REVISIONS
from .settings import (
    ACCOUNT_SETTINGS,
    ALL,
    REPORT_SETTINGS,
    Raw,
    ReportFacts,
    Settings,
    build,
    listed,
    nearest,
    revision_of,
    show,
    without_secrets,
)
from .spec import ALL_INCLUDED, NO_VARIANT, Cursor, Custom, Endpoint, Ops, Parent, Report, Variant

#: The table of settings that holds the custom reports.
CUSTOM_REPORTS = "custom_reports"
#: After the name of a report: the table of what is included with its records.
INCLUDED = "__included"
#: Setting -> (what is allowed, what it does). The reference is made from this.
CUSTOM_SETTINGS: Mapping[str, tuple[str, str]] = {
    "endpoint": ("a name or a path", "What to read: `events`, `/api/lists/{id}/tags`. Mandatory."),
    "filter": ("Klaviyo's filter grammar", "Which records; the period is added to it."),
    "metric": ("the name of a metric", "Events of this metric alone; the id is looked up at the start of a run."),
    "fields": ("a list, or a table type -> list", "Sparse fieldsets, of the records or of included types too."),
    "include": ("a list of relationships", "Related records, once each, in table `<report>__included`."),
    "additional_fields": ("a list of fields", "What Klaviyo leaves out unless asked."),
    "sort": ("a field, `-` before it for backwards", "In which order to ask; if left out, by time."),
    "columns": (
        "a table column -> path, or column -> {path, type}",
        "Paths of the record that become columns beside the JSON: text, unless a type is given.",
    ),
    "mode": ("raw, inferred", "`raw` (the default): JSON as Klaviyo sent it. `inferred`: dlt unpacks the records."),
}

_MODES = ("raw", "inferred")
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_PATH = re.compile(r"(attributes|relationships|links)(\.[^.]+)+")
_PLACEHOLDER = re.compile(r"\{\w+\}")
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_LISTS = ("any", "contains-any", "contains-all")
_SUPPRESSION = "subscriptions.email.marketing."
_LIST_SUPPRESSION = f"{_SUPPRESSION}list_suppressions."


def names(raw: Raw) -> list[str]:
    """The custom reports that somebody wrote, right or wrong."""
    tables = raw.values.get(CUSTOM_REPORTS)
    return list(tables) if isinstance(tables, Mapping) else []


def settings_from(raw: Raw, now: datetime) -> Settings:
    """Check all settings, those of the custom reports among them.

    Args:
        raw: what was set, and where.
        now: aware UTC.

    Raises:
        ConfigError: with one line for each thing that is wrong.
    """
    problems: list[str] = []
    tables = raw.values.get(CUSTOM_REPORTS)
    if tables is not None and not isinstance(tables, Mapping):
        problems.append(f"{CUSTOM_REPORTS} = {show(tables)}{raw.where(CUSTOM_REPORTS)}: a table a report is needed.")
    revision = revision_of(raw)
    known = api_facts(revision) if names(raw) else {}
    written_reports: dict[str, Report] = {}
    checked: dict[str, ReportFacts] = facts(revision)
    values = {key: value for key, value in raw.values.items() if key != CUSTOM_REPORTS}
    origins = dict(raw.origins)
    for name in names(raw):
        written = _Written(raw, name, revision, problems)
        made = written.report(known)
        found = {made.name: made} if made else {}
        if made and made.include:
            found[name + INCLUDED] = replace(made, name=name + INCLUDED, rows=ALL_INCLUDED)
        written_reports.update(found)
        if name in checked or not isinstance(written.table, Mapping):
            continue
        # What is wrong with a report is said once; its name is none of it.
        checked.update({key: facts_of(report) for key, report in found.items()} or {name: ReportFacts()})
        own = {key: value for key, value in written.table.items() if key in REPORT_SETTINGS}
        beside = raw.values.get(name)
        for table in found or (name,):
            if isinstance(beside, Mapping) or beside is None:
                values[table] = {**own, **(beside or {}), **(raw.values.get(table) or {})}
            for key in own:
                origins.setdefault(f"{table}.{key}", raw.origins.get(f"{CUSTOM_REPORTS}.{name}.{key}", ""))
    if values.get("reports") is not None:
        values["reports"] = _with_included(values["reports"], written_reports)
    settings, figures = None, {}
    try:
        settings = build(Raw(values, origins), checked, now)
    except ConfigError as error:
        problems += str(error).splitlines()
    predefined = reports(revision)
    for name in settings.reports if settings else [name for name in predefined if name in values]:
        report = written_reports.get(name) or predefined.get(name)
        if report is not None and endpoint_of(report).analytics is not None:
            try:
                figures[name] = figures_of(raw, report, api_facts(revision))
            except ConfigError as error:
                problems += str(error).splitlines()
    if problems or settings is None:
        raise ConfigError(without_secrets("\n".join(dict.fromkeys(problems)), raw))
    counting = {name: replace(settings.reports[name], analytics=asked) for name, asked in figures.items()}
    return replace(settings, custom=written_reports, reports={**settings.reports, **counting})


def _with_included(chosen: Any, reports: Collection[str]) -> Any:
    """The chosen reports, each with the table of what is included with it."""
    chosen = listed(chosen) if isinstance(chosen, str) else chosen
    if not isinstance(chosen, Sequence):
        return chosen
    found: list[Any] = []
    for name in chosen:
        found.append(name)
        if isinstance(name, str) and name + INCLUDED in reports:
            found.append(name + INCLUDED)
    return found


def fingerprint(report: Report) -> str:
    """The mode of a custom report and, in a word, what it asks for: another one means other rows."""
    own = report.own
    told = (
        own and (own.path, own.parent, [(variant.filter, dict(variant.context)) for variant in own.variants]),
        own and own.cursor and own.cursor.field,
        report.metric,
        report.include,
        report.additional_fields,
        sorted(report.fields.items()),
        report.custom and sorted(report.custom.columns.items()),
    )
    mode = _MODES[report.custom is not None and report.custom.inferred]
    return f"{mode} {hashlib.sha256(repr(told).encode()).hexdigest()[:16]}"


class _Written:
    """One custom report as somebody wrote it.

    Args:
        revision: under which it is read.
        problems: what is wrong joins these.
    """

    def __init__(self, raw: Raw, name: str, revision: str, problems: list[str]) -> None:
        self.name = name
        self.revision = revision
        self.table: Any = raw.values[CUSTOM_REPORTS][name]
        self._raw = raw
        self._problems = problems

    def report(self, known: Mapping[str, ApiFacts]) -> Report | None:
        """The report, or None where something is wrong with it."""
        before = len(self._problems)
        self._check_name()
        if not isinstance(self.table, Mapping):
            self._problems.append(f"custom report {self.name}: a table of settings is needed, not {show(self.table)}.")
            return None
        allowed = [*CUSTOM_SETTINGS, *REPORT_SETTINGS]
        for key in self.table:
            if key not in allowed:
                self._wrong(key, f"unknown setting{nearest(key, allowed)} Allowed: {', '.join(allowed)}.")
        found = self._endpoint(known)
        if found is None:
            return None
        endpoint, fact = found
        endpoint = self._filtered(endpoint, fact)
        endpoint, sort = self._sorted(endpoint, fact)
        include = self._listed("include", fact.include, fact)
        additional = self._listed("additional_fields", fact.additional_fields.get(endpoint.type, ()), fact)
        dearer = [one.rate for one in fact.dearer if one.parameter == "include" and one.value in include]
        mode = self._text("mode") or _MODES[0]
        if mode not in _MODES:
            self._wrong("mode", f"unknown{nearest(mode, _MODES)} Allowed: {', '.join(_MODES)}.")
        report = Report(
            self.name,
            endpoint.name,
            include=include,
            additional_fields=additional,
            fields=self._fields(endpoint, fact),
            # Of one parent or of all: who is no longer below it shows only in the whole.
            whole=endpoint.parent is not None or "{" in fact.path,
            own=replace(endpoint, rate=min([endpoint.rate, *dearer], key=lambda rate: rate.steady)),
            sort=sort,
            metric=self._metric(fact),
            custom=Custom(self._columns(endpoint), mode == "inferred"),
            revision=self.revision,
        )
        if report.metric is not None and report.own is not None:
            scopes = tuple(dict.fromkeys((*endpoint.scopes, *endpoints(self.revision)["metrics"].scopes)))
            report = replace(report, own=replace(report.own, scopes=scopes))
        return report if len(self._problems) == before else None

    def _wrong(self, key: str, problem: str, value: Any = None) -> None:
        value = self.table.get(key) if value is None else value
        where = self._raw.where(f"{CUSTOM_REPORTS}.{self.name}.{key}")
        self._problems.append(f"custom report {self.name}: {key} = {show(value)}{where}: {problem}")

    def _check_name(self) -> None:
        taken = {*REPORT_SPANS, *ACCOUNT_SETTINGS, *REPORT_SETTINGS, ALL, CUSTOM_REPORTS}
        where = self._raw.where(f"{CUSTOM_REPORTS}.{self.name}")
        if not _NAME.fullmatch(self.name):
            self._problems.append(
                f'custom report "{self.name}"{where}: a name is lower-case letters, digits and single underscores, '
                "a letter first."
            )
        elif self.name in taken:
            what = "a predefined report" if self.name in REPORT_SPANS else "a setting"
            self._problems.append(f"custom report {self.name}{where}: {what} has this name already; choose another.")

    def _text(self, key: str) -> str | None:
        value = self.table.get(key)
        if value is None or (isinstance(value, str) and value.strip()):
            return value
        self._wrong(key, f"{CUSTOM_SETTINGS[key][0]} is needed.")
        return None

    def _names(self, key: str, value: Any) -> tuple[str, ...]:
        """A list of names, from a list or from a text of the environment."""
        found = listed(value) if isinstance(value, str) else value
        if isinstance(found, list | tuple) and found and all(isinstance(name, str) and name for name in found):
            return tuple(dict.fromkeys(found))
        self._wrong(key, "a list of names is needed.", value)
        return ()

    def _listed(self, key: str, allowed: Iterable[str], fact: ApiFacts) -> tuple[str, ...]:
        found = self._names(key, self.table[key]) if self.table.get(key) is not None else ()
        for name in found:
            if name not in (allowed := list(allowed)):
                self._wrong(key, f"{_unknown(name, allowed)} {fact.path} allows: {', '.join(allowed) or 'none'}.")
        return found

    def _endpoint(self, known: Mapping[str, ApiFacts]) -> tuple[Endpoint, ApiFacts] | None:
        """What to read: a row of the table where there is one, by its name, or any other by its path."""
        text = self._text("endpoint")
        paths = {_PLACEHOLDER.sub("{id}", path): fact for path, fact in known.items() if not fact.body}
        short = {path.removeprefix("/api/"): path for path in paths}
        rows = endpoints(self.revision)
        if text is None:
            if self.table.get("endpoint") is None:
                self._wrong("endpoint", f"mandatory. Allowed: a path, or {', '.join(rows)}.")
            return None
        row = rows.get(text)
        asked = _PLACEHOLDER.sub("{id}", text.strip("/").removeprefix("api/"))
        path = row.path if row else short.get(asked) or short.get(asked.replace("_", "-")) or _template(asked, paths)
        if path is None or path not in paths:
            having = [other for other in REVISIONS if text in endpoints(other) or asked in _short_paths(other)]
            told = f"; {' and '.join(having)} has it." if having else nearest(text, [*rows, *paths])
            self._wrong(
                "endpoint", f"unknown under revision {self.revision}{told} Allowed: a path, or {', '.join(rows)}."
            )
            return None
        fact = paths[path]
        of_one = row is None and "{id}" in path and asked not in short
        row = row or next((row for row in rows.values() if row.path == path), None)
        if of_one:
            row = replace(row or _bare(path, fact, None), path=f"/api/{asked}", parent=None)
        row = row or _made(path, fact, self.revision)
        if row is None:
            self._wrong("endpoint", "it is asked for one id at a time, and nothing lists these ids: write one into it.")
            return None
        return row, fact

    def _filtered(self, endpoint: Endpoint, fact: ApiFacts) -> Endpoint:
        """The endpoint with the user's filter in each of its own, which give way where they name the same field."""
        text = self._text("filter")
        if text is None:
            return endpoint
        try:
            conditions = query.parse(text)
        except ValueError as error:
            self._wrong("filter", f"not a filter: {error}.")
            return endpoint
        for condition in conditions:
            self._check(condition, fact)
        fields = {condition.field for condition in conditions}
        cursor = endpoint.cursor
        if cursor is not None and cursor.field in fields:
            if "{" not in fact.path:
                self._wrong(
                    "filter",
                    f"{cursor.field} is what the period is asked by: set start_date and end_date instead. "
                    f"Other fields: {', '.join(name for name in fact.filters if name != cursor.field)}.",
                )
            # Read as a whole, but not cut by a field that is spoken for.
            cursor = None
        dates = [c.field for c in conditions if c.field in fact.filters and fact.filters[c.field].type == "date-time"]
        if endpoint.path == "/api/profiles" and any(name.startswith(_SUPPRESSION) for name in fields):
            self._check_suppressions(fields, dates)
            # Beside suppressions Klaviyo takes one date condition: the start of the period, or else the user's own.
            cursor = Cursor("updated", Ops.AFTER) if cursor is not None and not dates else None
        parent = endpoint.parent
        if parent is not None and parent.filter is not None and fields & {parent.filter, "profile.id"}:
            parent = None
        variants = []
        for variant in endpoint.variants:
            own = [c for c in (query.parse(variant.filter) if variant.filter else ()) if c.field not in fields]
            kept = {key: value for key, value in variant.context.items() if any(value in c.text for c in own)}
            joined = ",".join([*(condition.text for condition in own), text.strip()])
            variants.append(Variant(joined, kept) if kept else Variant(joined))
        different = {variant.filter: variant for variant in variants}
        return replace(endpoint, cursor=cursor, parent=parent, variants=tuple(different.values()))

    def _check(self, condition: query.Condition, fact: ApiFacts) -> None:
        rule = fact.filters.get(condition.field)
        if rule is None:
            allowed = ", ".join(fact.filters) or "no filter"
            self._wrong("filter", f"{_unknown(condition.field, fact.filters)} {fact.path} allows: {allowed}.")
        elif condition.op not in rule.ops:
            self._wrong(
                "filter",
                f"{_unknown(condition.op, rule.ops)} On {condition.field}, {fact.path} allows: {', '.join(rule.ops)}.",
            )
        elif (condition.op == "has") != (not condition.values):
            self._wrong("filter", f"{condition.text}: `has` takes no value, every other operator takes one.")
        elif condition.many != (condition.op in _LISTS) and condition.op not in _LISTS[1:]:
            wanted = 'a list in brackets, ["…","…"]' if condition.op == "any" else "one value, without brackets"
            self._wrong("filter", f"{condition.text}: {condition.op} takes {wanted}.")
        else:
            for value in condition.values:
                if problem := _misfit(value, rule):
                    self._wrong("filter", f"{condition.text}: {condition.field} takes {problem}.")

    def _check_suppressions(self, fields: set[str], dates: Sequence[str]) -> None:
        of_lists = {name for name in fields if name.startswith(_LIST_SUPPRESSION)}
        if of_lists and any(name.startswith(_SUPPRESSION) for name in fields - of_lists):
            self._wrong("filter", "Klaviyo does not mix list_suppressions and suppression: make two reports of it.")
        if of_lists and f"{_LIST_SUPPRESSION}list_id" not in fields:
            self._wrong("filter", f'suppressions of lists need equals({_LIST_SUPPRESSION}list_id,"…") beside them.')
        if len(dates) > 1:
            self._wrong("filter", f"beside suppressions Klaviyo takes one date condition, not {len(dates)}.")

    def _sorted(self, endpoint: Endpoint, fact: ApiFacts) -> tuple[Endpoint, str | None]:
        text = self._text("sort")
        if text is None:
            return endpoint, None
        allowed = [*fact.sort, *(f"-{name}" for name in fact.sort)]
        if text not in allowed:
            self._wrong("sort", f"unknown{nearest(text, allowed)} {fact.path} allows: {', '.join(allowed) or 'none'}.")
        cursor = endpoint.cursor
        if cursor is None or (cursor.ascending and text == cursor.field):
            return endpoint, text
        return replace(endpoint, cursor=replace(cursor, ascending=False)), text

    def _fields(self, endpoint: Endpoint, fact: ApiFacts) -> Mapping[str, tuple[str, ...]]:
        value = self.table.get("fields")
        if value is None:
            return {}
        asked = value if isinstance(value, Mapping) else {endpoint.type: value}
        found: dict[str, tuple[str, ...]] = {}
        for kind, listed_names in asked.items():
            type_name = kind if kind in fact.fields else kind.replace("_", "-")
            if type_name not in fact.fields:
                self._wrong("fields", f"{_unknown(kind, fact.fields)} {fact.path} has fields of: {_all(fact.fields)}.")
                continue
            found[type_name] = self._names("fields", listed_names)
            for name in found[type_name]:
                if not fact.allows_field(type_name, name):
                    allowed = fact.fields[type_name]
                    self._wrong("fields", f"{_unknown(name, allowed)} {type_name} has: {_all(allowed)}.")
        cursor = endpoint.cursor
        of_records = found.get(endpoint.type)
        # Without it nobody could tell where in time a page is.
        if of_records and cursor and cursor.field not in of_records and fact.allows_field(endpoint.type, cursor.field):
            found[endpoint.type] = (*of_records, cursor.field)
        return found

    def _metric(self, fact: ApiFacts) -> str | None:
        name = self._text("metric")
        if name is None:
            return None
        if "metric_id" not in fact.filters:
            self._wrong("metric", f"{fact.path} has no filter on metric_id; events have.")
        elif "metric_id" in str(self.table.get("filter") or ""):
            self._wrong("metric", "the filter names a metric_id already: leave one of the two out.")
        return name

    def _columns(self, endpoint: Endpoint) -> Mapping[str, tuple[str, str]]:
        value = self.table.get("columns")
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self._wrong("columns", f"{CUSTOM_SETTINGS['columns'][0]} is needed.")
            return {}
        taken = {"id", "type", "attributes", "relationships", "links", EXTRA, *context_columns(endpoint)}
        if endpoint.cursor is not None:
            taken.add(raw_column(endpoint.cursor.field))
        types = get_args(DataType)
        found = {}
        for name, told in value.items():
            key = f"columns.{name}"
            path, kind = (told.get("path"), told.get("type", "text")) if isinstance(told, Mapping) else (told, "text")
            if not _NAME.fullmatch(name) or name in taken:
                self._wrong(
                    key, f"a name is lower-case letters, digits and single underscores, none of {_all(taken)}.", told
                )
            elif not isinstance(path, str) or not _PATH.fullmatch(path):
                self._wrong(key, 'a path is needed, like "attributes.event_properties.value".', told)
            elif kind not in types or (isinstance(told, Mapping) and not set(told) <= {"path", "type"}):
                self._wrong(key, f"{{path, type}} is needed; types: {', '.join(types)}.", told)
            else:
                found[name] = (kind, path)
        return found


def _short_paths(revision: str) -> set[str]:
    """What one can read under a revision, as a user may write it."""
    return {_PLACEHOLDER.sub("{id}", path).removeprefix("/api/") for path in api_facts(revision)}


def _template(asked: str, paths: Iterable[str]) -> str | None:
    """The path that somebody has written an id into."""
    for path in paths:
        start, placeholder, end = path.removeprefix("/api/").partition("{id}")
        if placeholder and re.fullmatch(rf"{re.escape(start)}[\w:$-]+{re.escape(end)}", asked):
            return path
    return None


def _parent(path: str, revision: str) -> Parent | None:
    """Who lists the ids that a path has a place for: a row of the table, or an include of one."""
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
        return Parent(report.endpoint, context, absent_ok=True, include=(collection,), rows=kind)
    return None


def _made(path: str, fact: ApiFacts, revision: str) -> Endpoint | None:
    """An endpoint that is no row of the table; None where nobody knows the ids to ask it for."""
    parent = _parent(path, revision) if "{id}" in path else None
    return None if "{id}" in path and parent is None else _bare(path, fact, parent)


def _bare(path: str, fact: ApiFacts, parent: Parent | None) -> Endpoint:
    return Endpoint(
        path,
        path,
        fact.type,
        f"Raw records of {path}.",
        fact.rate,
        fact.scopes,
        page_size=fact.page_size.max if fact.page_size else None,
        variants=(NO_VARIANT,),
        parent=parent,
        dearer={one.value: one.rate for one in fact.dearer if one.parameter.startswith("additional-fields")},
    )


def _misfit(value: str, rule: FilterField) -> str:
    """What a field takes, where a value is not that; else nothing."""
    quoted = value[0] in "'\""
    if rule.type == "string":
        if not quoted:
            return 'a text in quotes, "…"'
        plain = value[1:-1]
        return f"one of {', '.join(rule.values)}" if rule.values and plain not in rule.values else ""
    if rule.type == "date-time":
        return "" if _DATE_TIME.fullmatch(value) else "a time without quotes, like 2026-01-31T00:00:00Z"
    if rule.type == "boolean":
        return "" if value.lower() in ("true", "false") else "true or false"
    return "" if _NUMBER.fullmatch(value) else "a number without quotes"


def _unknown(name: str, allowed: Collection[str]) -> str:
    return f'unknown "{name}"{nearest(name, allowed)}'


def _all(allowed: Iterable[str]) -> str:
    return ", ".join(sorted(allowed)) or "none"
