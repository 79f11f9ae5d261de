"""What the tables have to hold, worked out from the sandbox's records by the paths of the contracts alone.

Shares no code with the shaping that it checks: it walks whole JSON:API dictionaries, one value at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sandbox import Account
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from tests.support.journeys import sql

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
DUCKDB_TYPES = {
    "text": "VARCHAR",
    "bigint": "BIGINT",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "json": "JSON",
}
#: Data type -> the expression that makes microseconds of a timestamp, text of JSON.
DUCKDB_READS = {"timestamp": "epoch_us({})", "json": "{}::VARCHAR"}
POSTGRES_READS = {"timestamp": "(extract(epoch FROM {}) * 1000000)::bigint", "json": "{}::text"}
# To-many relationships carry their ids only where the request includes them.
INCLUDED = {
    "events": {"metric", "attributions"},
    "metrics": {"flow-triggers"},
    "flows": {"flow-actions", "tags"},
    "campaigns": {"campaign-messages", "tags"},
    "lists": {"flow-triggers", "tags"},
    "segments": {"flow-triggers", "tags"},
    "tags": {"tag-group"},
    "catalog_items": {"variants"},
    "custom_metrics": {"metrics"},
    "reviews": {"events"},
    "webhooks": {"webhook-topics"},
}
MEMBERS = {"list_profiles": "list", "segment_profiles": "segment", "profile_segments": "segment"}
KINDS = {
    "profiles": "profile",
    "events": "event",
    "metrics": "metric",
    "flows": "flow",
    "flow_actions": "flow-action",
    "campaigns": "campaign",
    "campaign_messages": "campaign-message",
    "campaign_recipient_estimations": "campaign-recipient-estimation",
    "templates": "template",
    "lists": "list",
    "segments": "segment",
    "tags": "tag",
}
OLD, NEW = "2026-07-15", "2026-10-15"
# Since 2026-10-15.
KINDS_SINCE = {"campaign_variations": "campaign-variation", "campaign_audiences": "campaign-audience"}
# Reports whose rows are what a relationship of each record points at: the type, the relationship, and the column that
# names the record.
CHILDREN = {
    "flow_messages": ("flow-action", "flow-messages", "flow_action_id"),
    "form_versions": ("form", "form-versions", "form_id"),
    "metric_properties": ("metric", "metric-properties", "metric_id"),
    "catalog_category_items": ("catalog-category", "items", "catalog_category_id"),
    "object_records": ("object-type", "object-records", "object_type_id"),
    "object_schemas": ("object-type", "schema-versions", "object_type_id"),
    "object_type_relations": ("object-type", "object-types", "object_type_id"),
    "object_type_profile_relations": ("object-type", "profile-object-types", "object_type_id"),
    "object_schema_relations": ("object-schema", "object-schemas", "object_schema_id"),
    "object_schema_profile_relations": ("object-schema", "profile-object-schemas", "object_schema_id"),
    "source_mappings": ("object-schema", "source-mapping", "object_schema_id"),
    "profile_bulk_import_job_lists": ("profile-bulk-import-job", "lists", "profile_bulk_import_job_id"),
    "profile_bulk_import_job_profiles": ("profile-bulk-import-job", "profiles", "profile_bulk_import_job_id"),
    "profile_bulk_import_job_errors": ("profile-bulk-import-job", "import-errors", "profile_bulk_import_job_id"),
}
# Report -> the kind and the attribute whose moment has to lie in the period.
PERIODS = {
    "profiles": ("profile", "updated"),
    "events": ("event", "datetime"),
    "subscriptions": ("profile", "updated"),
    # Not bounded: who was suppressed before the period is so still.
    "suppressions": ("profile", "updated"),
    "list_suppressions": ("profile", "updated"),
    "flows": ("flow", "updated"),
    "flow_actions": ("flow", "updated"),
    "campaigns": ("campaign", "updated_at"),
    "campaign_messages": ("campaign", "updated_at"),
    "campaign_recipient_estimations": ("campaign", "updated_at"),
    "templates": ("template", "updated"),
    "lists": ("list", "updated"),
    "segments": ("segment", "updated"),
    "flow_definitions": ("flow", "updated"),
    "flow_messages": ("flow", "updated"),
    "forms": ("form", "updated_at"),
    "form_definitions": ("form", "updated_at"),
    "form_versions": ("form", "updated_at"),
    "conversations": ("profile", "updated"),
    "reviews": ("review", "created"),
    "images": ("image", "updated_at"),
    "universal_content": ("template-universal-content", "updated"),
    "web_feeds": ("web-feed", "updated"),
    "object_ingestion_logs": ("object-ingestion-log", "timestamp"),
}
PERIODS_SINCE = {
    "campaign_messages": ("campaign-message", "updated"),
    "campaign_variations": ("campaign-message", "updated"),
    "campaign_audiences": ("campaign", "updated_at"),
}
INCLUDED_SINCE = {
    "campaigns": {"campaign-audiences", "campaign-messages", "tags"},
    "campaign_messages": {"campaign-variations"},
}
# Types whose records have no such moment: the to-one relationship that leads nearer to the one that has.
OWNERS = {
    "campaign-audience": "campaign",
    "campaign-message": "campaign",
    "campaign-variation": "campaign-message",
    "conversation": "profile",
    "flow-action": "flow",
    "flow-message": "flow-action",
    "form-version": "form",
}
# Read from the beginning of the account, whatever the start date.
FROM_THE_BEGINNING = {"lists", "segments", "suppressions", "list_suppressions"}

# Reports whose rows lie inside the records of profiles: the steps to them, by names of their columns where there are many.
INSIDE = {
    "subscriptions": ("subscriptions", "{channel}", "{purpose}"),
    "suppressions": ("subscriptions", "email", "marketing", "suppression", "{position}"),
    "list_suppressions": ("subscriptions", "email", "marketing", "list_suppressions", "{position}"),
}
PLACES = {"channel", "purpose", "position"}


def _resource(report: str) -> str:
    """The JSON:API type of a report's records, by its file in `schemas/`."""
    return str(yaml.safe_load((SCHEMAS / f"{report}.yaml").read_text(encoding="utf-8"))["resource"])


def _off_by_default(revision: str) -> dict[str, str]:
    """The reports that are off by default and whose rows are all records of a type."""
    return {
        name: _resource(name)
        for name, report in reports(revision).items()
        if not report.on_by_default and report.endpoint.analytics is None and name not in {*CHILDREN, *INSIDE}
    }


OFF_BY_DEFAULT = _off_by_default(OLD)
OFF_BY_DEFAULT_SINCE = {name: kind for name, kind in _off_by_default(NEW).items() if name not in OFF_BY_DEFAULT}
ALL_KINDS = KINDS | KINDS_SINCE | OFF_BY_DEFAULT | OFF_BY_DEFAULT_SINCE
# Unless it says otherwise above, a report with a period is bounded by its own records.
PERIODS |= {
    name: (kind, cursor.field)
    for name, kind in (OFF_BY_DEFAULT | OFF_BY_DEFAULT_SINCE).items()
    if name not in PERIODS and (report := reports(NEW)[name]).is_windowed and not report.parents
    if (cursor := report.endpoint.cursor) is not None
}

Row = dict[str, Any]


def by_default(revision: str = DEFAULT_REVISION) -> list[str]:
    """The reports that a run loads unless told otherwise."""
    return [*KINDS, *(KINDS_SINCE if revision >= NEW else ()), *MEMBERS]


def optional(revision: str = DEFAULT_REVISION) -> list[str]:
    """The others."""
    return [*OFF_BY_DEFAULT, *(OFF_BY_DEFAULT_SINCE if revision >= NEW else ()), *CHILDREN, *INSIDE]


REPORTS, OPTIONAL = by_default(), optional()


class Number(NamedTuple):
    """A number by its text, so that 1, 1.0 and true differ and no digit is lost."""

    kind: str
    text: str


@dataclass(frozen=True)
class Contract:
    """Columns of a report: name -> data type and path."""

    types: dict[str, str]
    paths: dict[str, str | None]
    #: Column -> Klaviyo's word -> the column's.
    values: dict[str, dict[str, str]]
    #: Column -> the member that is the value, where Klaviyo sends an object.
    members: dict[str, str]


class Seen:
    """An account as a revision shows it.

    Args:
        revision: of the API.
    """

    def __init__(self, account: Account, revision: str) -> None:
        self.account = account
        self.revision = revision
        self.channel, self.members = account.channel, account.members

    def records(self, kind: str) -> Iterator[Row]:
        return self.account.records(kind, self.revision)

    def record(self, kind: str, identity: str) -> Row | None:
        return self.account.record(kind, identity, self.revision)


def contract(report: str, revision: str = DEFAULT_REVISION) -> Contract:
    """The contract of a report, with the column that takes what fits nowhere."""
    columns = yaml.safe_load((SCHEMAS / f"{report}.yaml").read_text(encoding="utf-8"))["columns"]
    for column in columns.values():
        if isinstance(column["path"], dict):
            told = [path for first, path in sorted(column["path"].items()) if first <= revision]
            column["path"] = told[-1] if told else None
    deleted = {"_deleted": "bool"} if report in INSIDE else {}
    return Contract(
        {name: column["data_type"] for name, column in columns.items()} | deleted | {"_extra": "json"},
        {name: column["path"] for name, column in columns.items()},
        {name: column["values"] for name, column in columns.items() if "values" in column},
        {name: column["member"] for name, column in columns.items() if "member" in column},
    )


def exact(text: str) -> Any:
    """Parsed JSON in which numbers keep their digits."""
    return json.loads(
        text,
        parse_int=lambda digits: Number("int", digits),
        parse_float=lambda digits: Number("float", str(Decimal(digits).normalize())),
    )


def moment(text: str) -> datetime:
    """A timestamp in any shape that Klaviyo sends; without offset it is UTC."""
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def epoch_us(when: datetime) -> int:
    """Microseconds since 1970."""
    whole = int(when.replace(microsecond=0).timestamp())
    return whole * 1_000_000 + when.microsecond


def unlinked(value: Any) -> Any:
    """JSON without the `links` that an answer adds to every resource and relationship."""
    if isinstance(value, dict):
        return {key: unlinked(inner) for key, inner in value.items() if key != "links"}
    return [unlinked(item) for item in value] if isinstance(value, list) else value


def _typed(value: Any, data_type: str) -> Any:
    if value is None:
        return None
    if data_type == "json":
        return exact(json.dumps(value))
    if data_type == "timestamp":
        return epoch_us(moment(value))
    if data_type == "text":
        # A number in a text column keeps its digits.
        return value if isinstance(value, str) else json.dumps(value)
    return float(value) if data_type == "double" else value


def _dig(record: Any, steps: list[str]) -> Any:
    for step in steps:
        record = record.get(step) if isinstance(record, dict) else None
    return record


def _related(account: Seen, record: Row, relationship: str, kept: bool) -> Any:
    """The data of a relationship, as an answer carries it."""
    if (record["type"], relationship) == ("campaign", "campaign-variations"):
        messages = [_included(account, one) or {} for one in record["relationships"]["campaign-messages"]["data"]]
        return [one for message in messages for one in _dig(message, ["relationships", relationship, "data"])]
    data = _dig(record, ["relationships", relationship, "data"])
    return data if kept or not isinstance(data, list) else None


def _value(account: Seen, report: str, record: Row, path: str | None, context: Row) -> Any:
    if path is None:
        return None
    if report in INSIDE and "}." in path:
        return record["row"].get(path.rpartition(".")[2])
    head, _, tail = path.partition(".")
    included = (INCLUDED | INCLUDED_SINCE if account.revision >= NEW else INCLUDED).get(report, set())
    if head == "context":
        return context[tail]
    if head == "relationships":
        name = tail.split(".", 1)[0]
        data = _related(account, record, name, name in included)
        if "[]" in tail:
            return None if data is None else [item["id"] for item in data]
        return data["id"] if data else None
    if head == "included":
        name, _, rest = tail.partition(".")
        data = _related(account, record, name.removesuffix("[]").removesuffix("[0]"), True)
        if name.endswith("[0]"):
            data = next(iter(data), None)
        if not name.endswith("[]"):
            return _dig(_included(account, data), rest.split(".")) if data else None
        found = [_included(account, item) for item in data]
        return [v for item in found if (v := _dig(item, rest.split(".")) if rest else item) is not None]
    return _dig(record, path.split("."))


_ATTRIBUTIONS: dict[int, tuple[int, dict[str, Row]]] = {}


def _included(account: Seen, identifier: Row) -> Row | None:
    if identifier["type"] != "attribution":
        return account.record(identifier["type"], identifier["id"])
    seen = account.account
    version, found = _ATTRIBUTIONS.get(id(seen), (-1, {}))
    if version != seen.version:
        found = {str(record["id"]): record for record in seen.records("attribution")}
        _ATTRIBUTIONS[id(seen)] = (seen.version, found)
    return found.get(identifier["id"])


def _context(account: Seen, report: str, record: Row) -> Row:
    if account.revision >= NEW and report in ("campaigns", "campaign_messages"):
        return {}
    if report == "campaigns":
        return {"channel": account.channel(record)}
    if report == "campaign_messages":
        campaign = account.record("campaign", record["relationships"]["campaign"]["data"]["id"])
        return {"channel": account.channel(campaign or {})}
    return {"campaign_id": record["id"]} if report == "campaign_recipient_estimations" else {}


def _in_period(account: Seen, report: str, record: Row, start: datetime, end: datetime) -> bool:
    periods = PERIODS | PERIODS_SINCE if account.revision >= NEW else PERIODS
    if report not in periods:
        return True
    kind, attribute = periods[report]
    dated: Any = record
    if report == "campaign_recipient_estimations":
        dated = account.record("campaign", record["id"])
    while dated["type"] != kind:
        owner = dated["relationships"][OWNERS[dated["type"]]]["data"]
        dated = account.record(owner["type"], owner["id"])
    # Klaviyo's filters compare whole seconds.
    when = moment(dated["attributes"][attribute]).replace(microsecond=0)
    return when < end and (report in FROM_THE_BEGINNING or start <= when)


def records(
    shown: Account, report: str, start: datetime, end: datetime, revision: str = DEFAULT_REVISION
) -> Iterator[tuple[Row, Row]]:
    """The records that make the rows of a report read over `[start, end)`, each with its context."""
    account = Seen(shown, revision)
    if report in MEMBERS:
        kind = MEMBERS[report]
        for group in account.records(kind):
            for profile_id, joined in account.members(kind, group["id"]).items():
                attributes = {"joined_group_at": joined.isoformat()}
                yield {"id": profile_id, "attributes": attributes}, {f"{kind}_id": group["id"]}
        return
    if report in INSIDE:
        for profile in account.records("profile"):
            if report == "subscriptions" and not _in_period(account, report, profile, start, end):
                continue
            for row in _inside(profile["attributes"], INSIDE[report], {}):
                listed = row.pop("list_id", None)
                yield {"id": profile["id"], "row": row, "attributes": profile["attributes"]} | row, {"list_id": listed}
        return
    if report in CHILDREN:
        kind, relationship, column = CHILDREN[report]
        for parent in account.records(kind):
            data = parent["relationships"][relationship]["data"]
            for identifier in data if isinstance(data, list) else [data] if data else []:
                child = account.record(identifier["type"], identifier["id"])
                if child is not None and _in_period(account, report, child, start, end):
                    yield child, {column: parent["id"]}
        return
    for record in account.records(ALL_KINDS[report]):
        if _in_period(account, report, record, start, end):
            yield record, _context(account, report, record)


def _inside(value: Any, steps: tuple[str, ...], at: Row) -> Iterator[Row]:
    """The rows at a path, each with its place; those of a list for each list apart."""
    if not steps:
        yield {**value, **at, "can_receive*": next((value[name] for name in value if name.startswith("can_rec")), None)}
        return
    head, *rest = steps
    if head == "{position}":
        counted: dict[Any, int] = {}
        for item in value or ():
            place = counted[item.get("list_id")] = counted.get(item.get("list_id"), -1) + 1
            yield from _inside(item, (), {**at, head: place})
    elif head.startswith("{"):
        for key, inner in (value or {}).items():
            yield from _inside(inner, (*rest,), {**at, head: key})
    else:
        yield from _inside((value or {}).get(head), (*rest,), at)


def expected(
    account: Account,
    report: str,
    start: datetime,
    end: datetime,
    left_out: tuple[str, ...] = ("predictive_analytics",),
    revision: str = DEFAULT_REVISION,
) -> list[Row]:
    """The rows of a report read over `[start, end)`, sorted.

    Args:
        left_out: attributes that the request does not ask for.
    """
    columns = contract(report, revision)
    seen = Seen(account, revision)
    rows = []
    for record, context in records(account, report, start, end, revision):
        for name in left_out:
            record.get("attributes", {}).pop(name, None)
        values = {name: _value(seen, report, record, path, context) for name, path in columns.paths.items()}
        values |= {name: values[name][key] for name, key in columns.members.items() if isinstance(values[name], dict)}
        row = {name: _typed(value, columns.types[name]) for name, value in values.items()}
        row |= {name: words.get(row[name], row[name]) for name, words in columns.values.items()}
        rows.append(row | {name: None for name in columns.types if name.startswith("_")})
    return sorted(rows, key=place)


def loaded(folder: Path, report: str, where: str = "true", dataset: str = "klaviyo") -> list[Row]:
    """The rows of a table in DuckDB in the same form, sorted."""
    return read(lambda query: sql(folder, query), f"{dataset}.{report} WHERE {where}", report, DUCKDB_READS)


def read(ask: Callable[[str], list[tuple[Any, ...]]], table: str, report: str, reads: dict[str, str]) -> list[Row]:
    """The rows of a report in the same form, sorted, out of any database.

    Args:
        table: what stands after FROM.
        reads: the database's, such as DUCKDB_READS.
    """
    columns = contract(report).types
    listed = ", ".join(reads.get(kind, "{}").format(f'"{name}"') for name, kind in columns.items())
    rows = []
    for values in ask(f"SELECT {listed} FROM {table}"):
        row = dict(zip(columns, values, strict=True))
        for name, kind in columns.items():
            if kind == "json" and row[name] is not None:
                row[name] = exact(row[name])
        if report == "events":
            row["attributions"] = unlinked(row["attributions"])
        rows.append(row)
    return sorted(rows, key=place)


def place(row: Row) -> tuple[str, ...]:
    return tuple(str(value) for name, value in row.items() if name.endswith("id") or name in PLACES)


def differences(actual: list[Row], wanted: list[Row]) -> list[str]:
    """What differs, in words, a few of them at most; types count (1, 1.0 and true differ)."""
    found = []
    if len(actual) != len(wanted):
        found.append(f"{len(actual)} rows instead of {len(wanted)}")
    for got, want in zip(actual, wanted, strict=False):
        for name in want:
            if got[name] != want[name] or type(got[name]) is not type(want[name]):
                found.append(f"{got.get('id')} {name}: {got[name]!r} instead of {want[name]!r}")
    return found[:5]
