"""What live accounts send today fits: no default report fills `_extra`, and every value is in its column."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from sources.klaviyo.catalog.endpoints import endpoints
from sources.klaviyo.catalog.model import Custom
from sources.klaviyo.catalog.report import Report
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.decode.analytics import AnalyticsShaper
from sources.klaviyo.decode.nested import NestedShaper, standing
from sources.klaviyo.decode.raw import RawShaper
from sources.klaviyo.decode.records import Shaper
from sources.klaviyo.extract.lookups import join
from sources.klaviyo.extract.output import Output
from sources.klaviyo.extract.tuning import DEFAULT
from sources.klaviyo.jsonapi import next_link
from tests.support.live_answers import EVENTS, GROUPS, METRICS, NEW, OLD, PROFILES, Answer, Row
from tests.support.live_campaigns import ANALYTICS, CAMPAIGNS, CANVAS_CAMPAIGNS, FLOWS
from tests.support.reading import plan

ANSWERS = [*PROFILES, *EVENTS, *METRICS, *GROUPS, *CAMPAIGNS, *CANVAS_CAMPAIGNS, *FLOWS, *ANALYTICS]
CASES = [
    pytest.param(answer, report, revision, id=f"{report}-{revision}-{answer.name}")
    for answer in ANSWERS
    for report in answer.rows
    for revision in answer.revisions
]


def shaper_of(report: str, revision: str) -> Any:
    """The shaper that a run has for a report."""
    return Output(plan(report, revision=revision), DEFAULT).shaper


def body_of(answer: Answer) -> bytes:
    """An answer as it reaches the shaper."""
    body = answer.body.encode()
    if not answer.looked_up:
        return body
    found = {parent: variations.encode() for parent, variations in answer.looked_up.items()}
    return join(body, "campaign-message", "campaign-variations", found)


def filled(table: pa.Table, report: str, revision: str) -> list[Row]:
    """The rows without their nulls and without keys that we make; JSON columns parsed."""
    columns = {column.name: column for column in reports(revision)[report].contract.columns}
    made = {"_row_version"} | ({"id"} if "observed_at" in columns else set())
    return [
        {
            name: json.loads(value) if name in columns and columns[name].data_type == "json" else value
            for name, value in row.items()
            if value is not None and name not in made
        }
        for row in standing(table).to_pylist()
    ]


@pytest.mark.parametrize(("answer", "report", "revision"), CASES)
def test_an_answer_of_a_live_account_becomes_rows_without_anything_left_over(
    answer: Answer, report: str, revision: str
) -> None:
    shaper = shaper_of(report, revision)
    # The second time, what there was to learn is learned.
    for _ in range(2):
        shaped = shaper.shape(body_of(answer), answer.context)
        assert (shaped.misfits, shaped.new_fields) == (Counter(), Counter())
        assert filled(shaped.table, report, revision) == list(answer.rows[report])


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: str(answer.name))
def test_the_next_page_is_found_whatever_the_other_links_are(answer: Answer) -> None:
    assert next_link(answer.body.encode()) == answer.next


@pytest.mark.parametrize("revision", [OLD, NEW])
def test_every_report_of_a_run_by_default_has_an_answer_with_rows(revision: str) -> None:
    by_default = {name for name, report in reports(revision).items() if report.on_by_default}
    shown = {name for answer in ANSWERS for name, rows in answer.rows.items() if rows and revision in answer.revisions}
    assert by_default - shown == set()


@pytest.mark.parametrize("revision", [OLD, NEW])
def test_every_kind_of_shaper_takes_some(revision: str) -> None:
    shown = {name for answer in ANSWERS for name in answer.rows if revision in answer.revisions}
    assert {type(shaper_of(name, revision)) for name in shown} == {Shaper, NestedShaper, AnalyticsShaper}


@pytest.mark.parametrize("included", [False, True])
@pytest.mark.parametrize("answer", [*PROFILES, *EVENTS, *METRICS, *GROUPS, *FLOWS], ids=lambda one: str(one.name))
def test_raw_records_have_what_was_sent_and_nothing_beside(answer: Answer, included: bool) -> None:
    document = json.loads(answer.body)
    contract = Report("raw", NEW, endpoints(NEW)["events"], custom=Custom()).contract
    shaped = RawShaper(contract, included=included).shape(answer.body.encode(), {})
    assert (shaped.misfits, shaped.new_fields) == (Counter(), Counter())
    parts = ("attributes", "relationships", "links")
    rows = [
        {"type": row["type"], "id": row["id"]} | {name: json.loads(row[name]) for name in parts if row[name]}
        for row in shaped.table.to_pylist()
    ]
    assert rows == (document.get("included", []) if included else document["data"])
