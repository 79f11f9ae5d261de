"""What dlt needs set for our runs: only for them, only while they last, and only for a dlt that is known."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import dlt
import pytest
from dlt.common.schema import Schema
from dlt.destinations._adbc_jobs import AdbcParquetCopyJob

from sources.klaviyo.errors import ConfigError
from sources.klaviyo.load import dlt_compat
from sources.klaviyo.load.destination import in_one_transaction
from tests.support.journeys import home


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dlt.Pipeline:
    monkeypatch.chdir(tmp_path)
    made: dlt.Pipeline = dlt.pipeline("klaviyo_acme", destination="duckdb", pipelines_dir=str(tmp_path / "pipelines"))
    return made


def ours() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("KLAVIYO_ACME__")}


def test_settings_carry_the_pipelines_name_and_go_with_the_run(pipeline: dlt.Pipeline) -> None:
    before = dict(os.environ)
    with dlt_compat.applied(pipeline, one_worker=True):
        assert ours() == {
            "KLAVIYO_ACME__NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID": "true",
            "KLAVIYO_ACME__LOAD__DELETE_COMPLETED_JOBS": "true",
            "KLAVIYO_ACME__LOAD__WORKERS": "1",
        }
        assert {name: value for name, value in os.environ.items() if name not in ours()} == before
    assert dict(os.environ) == before
    with dlt_compat.applied(pipeline):
        assert "KLAVIYO_ACME__LOAD__WORKERS" not in os.environ


def test_they_go_when_the_run_fails_too(pipeline: dlt.Pipeline) -> None:
    with pytest.raises(ValueError, match="in the run"), dlt_compat.applied(pipeline):
        raise ValueError("in the run")
    assert ours() == {}
    assert logging.getLogger("dlt").filters == []


@pytest.mark.parametrize("name", ["LOAD__WORKERS", "KLAVIYO_ACME__LOAD__WORKERS"])
def test_what_the_user_set_stays(pipeline: dlt.Pipeline, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "4")
    with dlt_compat.applied(pipeline, one_worker=True):
        assert os.environ[name] == "4"
        assert "1" not in {os.environ.get("LOAD__WORKERS"), os.environ.get("KLAVIYO_ACME__LOAD__WORKERS")}
    assert os.environ[name] == "4"


def test_what_the_user_set_in_a_file_stays(tmp_path: Path) -> None:
    with (
        home(tmp_path, "[load]\nworkers = 4\n"),
        dlt_compat.applied(dlt.pipeline("klaviyo_acme", destination="duckdb"), one_worker=True),
    ):
        assert "KLAVIYO_ACME__LOAD__WORKERS" not in os.environ
        assert len(ours()) == 2


def test_runs_side_by_side_do_not_take_each_others_settings_away(pipeline: dlt.Pipeline, tmp_path: Path) -> None:
    other = dlt.pipeline("klaviyo_other", destination="duckdb", pipelines_dir=str(tmp_path / "pipelines"))
    with dlt_compat.applied(pipeline):
        with dlt_compat.applied(other):
            pass
        assert len(ours()) == 2
        assert len(logging.getLogger("dlt").filters) == 1


@pytest.mark.parametrize("found", ["1.30.4", "1.32.0", "2.0.0", "1.310.0"])
def test_another_dlt_is_refused_with_the_one_that_is_needed(
    found: str, pipeline: dlt.Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dlt_compat, "version", lambda _: found)
    with pytest.raises(ConfigError, match=rf'dlt {found} is installed.*pip install "dlt~=1\.31\.0"'):
        dlt_compat.applied(pipeline).__enter__()
    assert ours() == {}


@pytest.mark.parametrize("found", ["1.31.0", "1.31.9"])
def test_a_patch_release_is_taken(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dlt_compat, "version", lambda _: found)
    dlt_compat.check_version()


def test_a_dlt_without_the_part_that_is_changed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dlt_compat, "AdbcParquetCopyJob", object)
    with pytest.raises(ConfigError, match="lacks AdbcParquetCopyJob"):
        dlt_compat.check_version()


def test_jobs_of_one_destination_object_load_row_group_by_row_group_and_no_others_do() -> None:
    class Job(AdbcParquetCopyJob):
        def __init__(self) -> None:
            pass

        def _connect(self) -> Any:
            raise NotImplementedError

    class Client:
        def create_load_job(self) -> Job:
            return Job()

    class Destination:
        def client(self) -> Client:
            return Client()

    ours, theirs = Destination(), Destination()
    for _ in range(2):
        dlt_compat.load_empty_files(ours)
    assert ours.client().create_load_job()._ingest_per_rowgroup is True
    assert theirs.client().create_load_job()._ingest_per_rowgroup is False


def test_after_a_plain_run_sync_still_merges_in_one_transaction(pipeline: dlt.Pipeline) -> None:
    used = pipeline.destination
    assert used is not None
    dlt_compat.load_empty_files(used)
    made: Any = in_one_transaction(used)
    dlt_compat.load_empty_files(made)
    client = made.client(Schema("any"), made.spec()._bind_dataset_name("any"))
    assert client.config.replace_strategy == "insert-from-staging"
    assert client.capabilities.supports_transactions
