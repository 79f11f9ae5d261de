"""What tables and columns mean is in the warehouse itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.load import runner as klaviyo_run
from sources.klaviyo.load.comments import describe
from tests.support.journeys import FakeClock, Journey, home, small_account

TABLES = reports(DEFAULT_REVISION)
TABLE = "SELECT comment FROM duckdb_tables() WHERE schema_name = 'klaviyo' AND table_name = '{}'"
COLUMNS = "SELECT column_name, comment FROM duckdb_columns() WHERE schema_name = 'klaviyo' AND table_name = '{}'"


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FakeClock()
    with home(tmp_path):
        made = Journey(tmp_path, small_account(clock, seed=3, events=20, profiles=5, metrics=2, lists=1), clock)
        yield made
        made.close()


def described(journey: Journey, report: str) -> None:
    contract = TABLES[report].contract
    assert journey.sql(TABLE.format(report)) == [(contract.description,)]
    found = dict(journey.sql(COLUMNS.format(report)))
    assert {column.name: column.description for column in contract.columns}.items() <= found.items()
    assert [name for name, comment in found.items() if not comment] == []


def test_tables_and_columns_have_the_descriptions_of_the_report(journey: Journey) -> None:
    journey.load("events", "metrics", "list_profiles")
    for report in ("events", "metrics", "list_profiles"):
        described(journey, report)


def test_a_description_that_changed_is_written_again(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    journey.load("metrics")
    with duckdb.connect(str(journey.folder / "warehouse.duckdb")) as connection:
        connection.execute("COMMENT ON TABLE klaviyo.metrics IS 'as an earlier version said'")
        connection.execute("COMMENT ON COLUMN klaviyo.metrics.name IS 'it''s old'")
    # As where the local folder is gone: nobody remembers what was written.
    journey.forget()
    journey.load("metrics")
    described(journey, "metrics")


def test_a_new_table_is_described_beside_those_that_are(journey: Journey) -> None:
    journey.load("metrics")
    journey.load("metrics", "tags")
    described(journey, "tags")


def test_a_failure_to_write_them_keeps_no_rows_from_loading(
    journey: Journey, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sources.klaviyo.load.comments._COMMENTS", {"duckdb": "SELECT nonsense"})
    journey.load("metrics")
    assert len(journey.ids("metrics")) == 2
    assert "the comments on tables and columns could not be written" in caplog.text
    monkeypatch.undo()
    journey.load("metrics")
    described(journey, "metrics")


def test_nothing_is_asked_again_where_nothing_has_changed(journey: Journey, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    monkeypatch.setattr(
        klaviyo_run, "describe", lambda pipeline, changed: written.append(describe(pipeline, changed=changed))
    )
    journey.load("metrics")
    monkeypatch.setattr("sources.klaviyo.load.comments._describe", lambda *_: pytest.fail("asked"))
    journey.load("metrics")
    assert [number > 0 for number in written] == [True, False]
