"""Whoever adds an endpoint or a report and forgets a step is told which, and which file to edit.

Looks at the rows of the tables, not at what they resolve to, so that it says what is missing while nothing else runs.
`make test` and `make unit` run it first and stop at the first step that is missing. The steps are those of CONTRIBUTING.md, "Add an endpoint".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandbox import Account, rules
from sandbox.data.resource_types import RELATIONS, type_of
from sources.klaviyo.catalog import endpoints, reports
from sources.klaviyo.catalog.capabilities import capabilities
from sources.klaviyo.catalog.contracts import BUNDLE, load_contract
from sources.klaviyo.catalog.model import EndpointRow, ReportRow
from sources.klaviyo.catalog.reports import REPORT_SPANS
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION, REVISIONS, rows_of
from tests.support.sdk_responses import responses
from tools import docs
from tools.columns import SCHEMAS, bundled

ROOT = Path(__file__).resolve().parents[2]


def endpoint_rows(revision: str) -> dict[str, EndpointRow]:
    return rows_of(revision, endpoints._TABLE)


def report_rows(revision: str) -> dict[str, ReportRow]:
    return rows_of(revision, reports._REPORTS)


def record_reports(revision: str) -> Iterator[ReportRow]:
    """The reports whose rows are records, of which there are models and truths."""
    known = endpoint_rows(revision)
    for row in report_rows(revision).values():
        if row.endpoint in known and known[row.endpoint].analytics is None:
            yield row


def tell(complaints: Sequence[str]) -> None:
    """Fail with these sentences alone: what to do matters here, and not where in this file it was found."""
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


every_revision = pytest.mark.parametrize("revision", REVISIONS)


# --- 1 and 2: the tables


@every_revision
def test_klaviyo_has_every_endpoint(revision: str) -> None:
    known = {facts.template for facts in capabilities(revision).values()}
    complaints = [
        f"{row.name}: revision {revision} has no path {row.path}; correct it in sources/klaviyo/catalog/endpoints.py"
        for row in endpoint_rows(revision).values()
        if row.path not in known
    ]
    tell(complaints)


@every_revision
def test_every_endpoint_that_is_named_has_a_row(revision: str) -> None:
    known = endpoint_rows(revision)
    parents = {row.name: row.parent.endpoint for row in known.values() if row.parent}
    read = {row.name: row.endpoint for row in report_rows(revision).values()}
    lookups = {row.name: row.lookup for row in report_rows(revision).values() if row.lookup}
    complaints = [
        f"{name}: revision {revision} has no endpoint {wanted}; add a row to sources/klaviyo/catalog/endpoints.py"
        for names in (parents, read, lookups)
        for name, wanted in names.items()
        if wanted not in known
    ]
    tell(complaints)


@every_revision
def test_every_endpoint_is_read_by_a_report(revision: str) -> None:
    rows = report_rows(revision).values()
    read = {row.endpoint for row in rows} | {row.lookup for row in rows}
    read |= {row.parent.endpoint for row in endpoint_rows(revision).values() if row.parent}
    complaints = [
        f"{name}: no report of revision {revision} reads it; add a row to sources/klaviyo/catalog/reports.py"
        for name in endpoint_rows(revision)
        if name not in read
    ]
    tell(complaints)


# --- 3: the columns


def test_every_report_has_its_columns() -> None:
    named = {row.name for row in reports._REPORTS}
    found = {file.stem for file in SCHEMAS.glob("*.yaml")}
    missing = [f"{name}: write schemas/{name}.yaml, then run `make generate`" for name in sorted(named - found)]
    unread = [f"schemas/{name}.yaml: no report of this name in catalog/reports.py" for name in sorted(found - named)]
    tell(missing + unread)


def test_the_packaged_columns_are_those_of_the_schemas() -> None:
    if bundled() != BUNDLE.read_text(encoding="utf-8"):
        tell([f"{BUNDLE.relative_to(ROOT)} is not what schemas/ says: run `make generate`"])


# --- 4: the model of Klaviyo's SDK


@every_revision
def test_every_report_names_the_response_of_the_sdk_that_it_is_read_from(revision: str) -> None:
    known = responses(revision)
    complaints = [
        f"{row.name}: name the SDK's response of revision {revision} in tests/support/sdk_responses.py"
        for row in record_reports(revision)
        if row.name not in known
    ]
    tell(complaints)


# --- 5: the sandbox


@every_revision
def test_the_sandbox_has_the_rules_of_every_endpoint(revision: str) -> None:
    known = {(rule.method, rule.path) for rule in rules.load(revision).endpoints}
    complaints = [
        f"{row.name}: no rules of {row.path}; write sandbox/rules/{revision}.json by tools/sandbox_rules_from_*.py"
        for row in endpoint_rows(revision).values()
        if ("GET" if row.analytics is None else "POST", row.path) not in known
    ]
    tell(complaints)


@every_revision
def test_the_sandbox_has_records_for_every_report(revision: str) -> None:
    known, facts = endpoint_rows(revision), {one.template: one for one in capabilities(revision).values()}
    account = Account(now=datetime(2026, 6, 30, 12, tzinfo=UTC), profiles=20, events=40)
    filled = {type_of(kind) for kind in RELATIONS if next(iter(account.records(kind)), None) is not None}
    complaints = []
    for row in record_reports(revision):
        endpoint = facts.get(known[row.endpoint].path)
        kind = row.rows or (endpoint.type if endpoint else None)
        if kind is None or kind in filled:
            continue
        if kind not in {type_of(one) for one in RELATIONS}:
            complaints.append(f"{row.name}: add the type {kind} to RELATIONS in sandbox/data/resource_types.py")
        else:
            complaints.append(f"{row.name}: no account has a {kind}; build some in sandbox/data/account_records.py")
    tell(complaints)


# --- 6: what the tables must hold


@every_revision
def test_the_rows_of_every_report_are_compared_with_the_truth(revision: str) -> None:
    from tests.support import truth  # here, since it resolves the tables

    known = {*truth.by_default(revision), *truth.optional(revision)}
    complaints = [
        f"{row.name}: on by default, so name the type of its records in KINDS of tests/support/truth.py"
        for row in record_reports(revision)
        if row.name not in known
    ]
    tell(complaints)


@every_revision
def test_the_truth_knows_what_the_children_of_a_record_are(revision: str) -> None:
    from tests.support import truth

    explained = {*truth.CHILDREN, *truth.MEMBERS, *truth.INSIDE, *truth.PERIODS, *truth.PERIODS_SINCE}
    complaints = []
    for row in record_reports(revision):
        parent = endpoint_rows(revision)[row.endpoint].parent
        contexts = {column.path for column in load_contract(row.name, revision).columns if "context." in column.path}
        if parent is not None and contexts and row.name not in explained:
            complaints.append(f"{row.name}: say in CHILDREN of tests/support/truth.py which relationship leads to it")
    tell(complaints)


# --- 7: the reference


def test_the_generated_pages_are_up_to_date() -> None:
    topics = {report for topic in docs.TOPICS for report in topic.reports}
    tell([f"report {name}: name its page in TOPICS of tools/docs.py" for name in REPORT_SPANS if name not in topics])
    old = [name for name, page in docs.PAGES.items() if (docs.DOCS / name).read_text(encoding="utf-8") != page()]
    tell([f"docs/{name} is not what the code says: run `make generate`" for name in old])


# --- a step that is missing is told by whatever meets it first


def test_a_report_without_columns_is_told_where_they_are_written() -> None:
    with pytest.raises(LookupError, match=r"^report things has no columns: write schemas/things\.yaml"):
        load_contract("things", DEFAULT_REVISION)


def test_an_endpoint_with_an_unknown_path_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    row = EndpointRow("things", "/api/things", doc="Things.")
    monkeypatch.setattr(endpoints, "_TABLE", (row,))
    with pytest.raises(LookupError, match=r"has no such path: things: /api/things$"):
        endpoints.endpoints.__wrapped__(DEFAULT_REVISION)


def test_a_report_of_an_endpoint_without_a_row_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "_REPORTS", (ReportRow("things", "things"),))
    with pytest.raises(LookupError, match=r"^report things: catalog/endpoints\.py has no row 'things'"):
        reports.reports.__wrapped__(DEFAULT_REVISION)
