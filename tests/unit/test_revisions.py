"""Revisions of the API: what belongs to which is data, and a chosen revision decides what there is."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from sources.klaviyo.catalog import contracts
from sources.klaviyo.catalog.contracts import load_contract
from sources.klaviyo.catalog.endpoints import _TABLE as ENDPOINT_ROWS
from sources.klaviyo.catalog.endpoints import endpoints
from sources.klaviyo.catalog.reports import _REPORTS as REPORT_ROWS
from sources.klaviyo.catalog.reports import REPORT_SPANS, reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION, REVISIONS, ending, rows_of, span
from sources.klaviyo.config.build import build, settings_from
from sources.klaviyo.config.raw_settings import RawSettings
from sources.klaviyo.config.report_facts import ReportFacts, facts
from sources.klaviyo.errors import ConfigError
from sources.klaviyo.load.prepare import Run
from tests.support.journeys import FakeClock
from tools.columns import bundled

NOW = datetime(2026, 12, 1, tzinfo=UTC)
OLD, NEW = "2026-07-15", "2026-10-15"


@dataclass(frozen=True)
class Row:
    name: str
    since: str | None = None
    until: str | None = None


def test_the_supported_revisions_are_in_their_order_and_the_default_is_one_of_them() -> None:
    assert list(REVISIONS) == sorted(REVISIONS)
    assert DEFAULT_REVISION in REVISIONS


@pytest.mark.parametrize("revision", REVISIONS)
def test_klaviyo_serves_a_revision_for_two_years(revision: str) -> None:
    came = date.fromisoformat(revision)
    assert REVISIONS[revision] == came.replace(year=came.year + 2)


def test_a_revision_has_the_rows_that_are_true_of_it() -> None:
    table = [
        Row("both"),
        Row("gone", until=OLD),
        Row("new", since=NEW),
        Row("moved", until=OLD),
        Row("moved", since=NEW),
    ]
    assert rows_of(OLD, table) == {"both": table[0], "gone": table[1], "moved": table[3]}
    assert rows_of(NEW, table) == {"both": table[0], "new": table[2], "moved": table[4]}
    with pytest.raises(KeyError, match="2025-01-15"):
        rows_of("2025-01-15", table)


def test_where_something_exists_is_told_in_words() -> None:
    assert span([Row("both")]) == ""
    assert span([Row("moved", until=OLD), Row("moved", since=NEW)]) == ""
    assert span([Row("new", since=NEW)]) == "since 2026-10-15"
    assert span([Row("gone", until=OLD)]) == "until 2026-07-15"


@pytest.mark.parametrize("revision", REVISIONS)
def test_no_name_stands_twice_in_a_revision(revision: str) -> None:
    for table in (ENDPOINT_ROWS, REPORT_ROWS):
        here = Counter(
            row.name for row in table if (row.since or revision) <= revision and revision <= (row.until or revision)
        )
        assert [name for name, count in here.items() if count > 1] == []


def test_a_row_names_revisions_that_are_known() -> None:
    for table in (ENDPOINT_ROWS, REPORT_ROWS):
        assert {told for row in table for told in (row.since, row.until) if told} <= {*REVISIONS}


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_report_reads_an_endpoint_of_its_revision_and_knows_which_that_is(revision: str) -> None:
    for name, report in reports(revision).items():
        assert report.endpoint is endpoints(revision)[report.endpoint.name], name
        assert report.revision == revision


@pytest.mark.parametrize("name", REPORT_SPANS)
def test_a_table_has_the_same_columns_under_every_revision(name: str) -> None:
    shown = {
        tuple((column.name, column.data_type) for column in reports(revision)[name].contract.columns)
        for revision in REVISIONS
        if name in reports(revision)
    }
    assert len(shown) == 1


def test_a_column_has_a_path_for_each_revision_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "things.yaml").write_text(
        """
name: things
resource: thing
description: Things.
columns:
  id: {data_type: text, path: id, description: Id.}
  moved: {data_type: text, path: {"2026-07-15": attributes.a, "2026-10-15": attributes.b}, description: Moved.}
  new: {data_type: text, path: {"2026-10-15": attributes.c}, description: New.}
  gone: {data_type: text, path: {"2026-07-15": attributes.d, "2026-10-15": null}, description: Gone.}
""",
        encoding="utf-8",
    )
    bundle = tmp_path / "columns.json"
    bundle.write_text(bundled(tmp_path), encoding="utf-8")
    monkeypatch.setattr(contracts, "BUNDLE", bundle)

    def paths(revision: str) -> list[str]:
        return [column.path for column in load_contract("things", revision).columns][:-1]

    assert paths(OLD) == ["id", "attributes.a", "", "attributes.d"]
    assert paths(NEW) == ["id", "attributes.b", "attributes.c", ""]
    assert paths("2027-01-15") == paths(NEW)


# The settings


def settings_error(facts: dict[str, ReportFacts], **values: object) -> str:
    with pytest.raises(ConfigError) as caught:
        build(RawSettings({"api_key": "pk_1", "start_date": "2026-01-01", **values}), facts, NOW)
    return str(caught.value)


def test_a_report_of_another_revision_is_refused_with_which_has_it() -> None:
    known = {"profiles": ReportFacts(), "later": ReportFacts(exists="since 2026-10-15")}
    assert settings_error(known, reports=["profiles", "later"], revision=OLD) == (
        'report "later": Klaviyo has it since 2026-10-15, and revision = "2026-07-15": '
        "choose another revision, or leave the report out."
    )


def test_all_and_the_default_are_what_the_chosen_revision_has() -> None:
    known = {"profiles": ReportFacts(), "later": ReportFacts(exists="since 2026-10-15")}
    for chosen in (None, ["all"]):
        made = build(RawSettings({"api_key": "pk_1", "reports": chosen}), known, NOW)
        assert list(made.reports) == ["profiles"]
    assert settings_error(known, reports=["latter"]).endswith("Allowed: profiles, all.")


def test_settings_of_a_report_of_another_revision_do_no_harm() -> None:
    known = {"profiles": ReportFacts(), "later": ReportFacts(exists="since 2026-10-15")}
    made = build(RawSettings({"api_key": "pk_1", "later": {"lookback_days": 3}}), known, NOW)
    assert list(made.reports) == ["profiles"]


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_revision_can_be_chosen_and_brings_its_reports(revision: str) -> None:
    raw = RawSettings({"api_key": "pk_1", "start_date": "2026-01-01", "revision": revision, "reports": ["all"]})
    made = settings_from(raw, NOW)
    assert made.revision == revision
    assert list(made.reports) == [name for name, fact in facts(revision).items() if not fact.exists]
    assert set(made.reports) == set(reports(revision))


@pytest.mark.parametrize("endpoint", ["brand_logos", "/api/brand-logos", "campaign-messages/{id}/campaign-variations"])
def test_a_custom_report_is_held_to_the_chosen_revision(endpoint: str) -> None:
    table = {"endpoint": endpoint, "extract": "all"}
    raw = {"api_key": "pk_1", "reports": ["mine"], "custom_reports": {"mine": table}}
    assert settings_from(RawSettings({**raw, "revision": NEW}), NOW).custom["mine"].revision == NEW
    with pytest.raises(ConfigError, match=r"unknown under revision 2026-07-15; 2026-10-15 has it\. Allowed: "):
        settings_from(RawSettings({**raw, "revision": OLD}), NOW)


def test_a_filter_of_a_custom_report_is_held_to_the_chosen_revision() -> None:
    table = {"endpoint": "campaigns", "filter": 'equals(messages.channel,"sms")', "extract": "all"}
    raw = {"api_key": "pk_1", "reports": ["mine"], "custom_reports": {"mine": table}}
    settings_from(RawSettings({**raw, "revision": OLD}), NOW)
    with pytest.raises(ConfigError, match=r'unknown "messages\.channel"'):
        settings_from(RawSettings({**raw, "revision": NEW}), NOW)


# The end of a revision


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (datetime(2028, 4, 15, tzinfo=UTC), None),
        (
            datetime(2028, 4, 17, tzinfo=UTC),
            'Klaviyo retires revision 2026-07-15 of its API on 2028-07-15: set revision = "2026-10-15".',
        ),
        (
            datetime(2028, 7, 15, tzinfo=UTC),
            "Klaviyo retired revision 2026-07-15 of its API on 2028-07-15, and may answer otherwise than expected: "
            'set revision = "2026-10-15".',
        ),
    ],
)
def test_a_revision_near_its_end_is_warned_about(
    now: datetime, told: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert ending(OLD, now) == told
    made = build(RawSettings({"api_key": "pk_1", "revision": OLD}), {"profiles": ReportFacts()}, now)
    with caplog.at_level(logging.WARNING, "klaviyo"):
        Run(made, clock=FakeClock(now)).close()
    assert caplog.messages == ([told] if told else [])


def test_the_newest_revision_has_no_other_to_go_to() -> None:
    told = ending(NEW, datetime(2029, 1, 1, tzinfo=UTC))
    assert told is not None
    assert told.endswith("look for a newer version of this source.")
