"""Plain files: what cannot be kept exact there is refused before anything is read, and the rest loads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dlt.common.destination import Destination

from sources.klaviyo.cli.main import main
from sources.klaviyo.config import providers
from sources.klaviyo.config.build import settings_from
from sources.klaviyo.errors import ConfigError
from sources.klaviyo.load import fits
from sources.klaviyo.load import runner as klaviyo_run
from sources.klaviyo.load.destination import in_one_transaction
from sources.klaviyo.load.pipeline import open_pipeline
from sources.klaviyo.plan.plan import selections
from tests.support import truth
from tests.support.journeys import KEY, NOW, FakeClock, Journey, home, small_account

CONFIG = """
[destination.filesystem]
bucket_url = "{}"
[pipelines.klaviyo]
destination_type = "filesystem"
"""


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    clock = FakeClock()
    account = small_account(clock, seed=5, events=300, profiles=30, metrics=3, tags=4, lists=2)
    with home(tmp_path, CONFIG.format(tmp_path / "files")):
        made = Journey(tmp_path, account, clock)
        yield made
        made.close()


def load(journey: Journey, *reports: str, **flags: Any) -> None:
    pipeline = open_pipeline("klaviyo", pipelines_dir=str(journey.pipelines_dir))
    settings = journey.settings(*reports, **flags)
    outcomes = klaviyo_run.run(pipeline, settings, clock=journey.clock)
    assert [outcome.error for outcome in outcomes if outcome.error] == []


def rows(journey: Journey, report: str) -> list[dict[str, object]]:
    found = duckdb.sql(f"SELECT * FROM '{journey.folder}/files/klaviyo/{report}/*.parquet' ORDER BY id")
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def test_reports_that_files_would_double_are_refused_before_a_request_is_sent(journey: Journey) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(journey)
    said = str(refusal.value)
    assert said.startswith("filesystem cannot keep these reports exact, so nothing was read:")
    assert "events" in said
    assert "list_profiles, profile_segments, segment_profiles: compared with the last snapshot" in said
    assert 'these can be kept there (extract = "all")' in said
    assert journey.server.requests == []


def test_the_command_line_refuses_them_with_exit_code_2(
    journey: Journey, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__KLAVIYO__API_KEY", KEY)
    monkeypatch.setenv("SOURCES__KLAVIYO__BASE_URL", journey.server.url)
    assert main(["run", "events", "--start-date", "2026-05-01"]) == 2
    assert "filesystem cannot keep these reports exact" in capsys.readouterr().err
    assert journey.server.requests == []


def test_replaced_reports_load_into_files_again_and_again(journey: Journey) -> None:
    for _ in range(2):
        load(journey, "tags", "metrics")
        assert [row["id"] for row in rows(journey, "tags")] == sorted(
            one["id"] for one in journey.account.records("tag")
        )
        assert len(rows(journey, "metrics")) == 3
        gone = min(str(record["id"]) for record in journey.account.records("tag"))
        journey.account.remove("tag", gone)


def test_events_that_are_read_whole_are_there_once_after_two_runs(journey: Journey) -> None:
    wanted = sorted(
        row["id"] for row in truth.expected(journey.account, "events", datetime(1970, 1, 1, tzinfo=UTC), NOW)
    )
    for _ in range(2):
        load(journey, "events", extract="all")
        assert [row["id"] for row in rows(journey, "events")] == wanted


DATABASES = ["bigquery", "clickhouse", "databricks", "dremio", "duckdb", "ducklake", "fabric", "motherduck", "mssql", "postgres", "redshift", "snowflake", "sqlalchemy", "synapse"]  # fmt: skip
OTHERS = ["athena", "filesystem", "lance", "lancedb", "qdrant", "weaviate"]


@pytest.mark.parametrize("name", [*DATABASES, *OTHERS])
def test_each_destination_of_dlt_takes_the_default_reports_or_says_which_it_does_not(name: str) -> None:
    made: Any = Destination.from_reference(name)

    class Pipeline:
        destination = in_one_transaction(made)

    settings = settings_from(
        providers.read("klaviyo", {"api_key": KEY, "start_date": "2026-01-01"}, "the flag {}"), NOW
    )
    if name in DATABASES:
        fits.check(Pipeline(), selections(settings).values())  # type: ignore[arg-type]
        assert Pipeline.destination.config_params["replace_strategy"] == "insert-from-staging"
        return
    with pytest.raises(ConfigError, match=f"{name} cannot keep these reports exact"):
        fits.check(Pipeline(), selections(settings).values())  # type: ignore[arg-type]
