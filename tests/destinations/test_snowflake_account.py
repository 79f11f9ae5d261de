"""A real Snowflake account: the same proof as on the stand-in.

    KLAVIYO_TEST_SNOWFLAKE=1 .venv/bin/pytest -n 0 tests/destinations/test_snowflake_account.py

dlt's credentials come from the environment (docs/destinations/snowflake.md). Without the variable pytest does not collect
this file. It makes a dataset of its own, and drops it in the end.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.support import killed, snowflake_proof
from tests.support.journeys import FakeClock, Journey, home

# The connector warns of what dlt hands over to it.
pytestmark = pytest.mark.filterwarnings("default")


def work(folder: Path, url: str, clock: FakeClock, flags: dict[str, Any], death: killed.Death) -> None:
    """`tests.support.killed.work` with the settings that the journey's folder has."""
    config = (folder / ".dlt" / "config.toml").read_text(encoding="utf-8")
    killed.work(folder, url, clock, flags, death, config)


def test_runs_that_end_and_runs_that_are_killed_leave_every_value_as_it_is(tmp_path: Path) -> None:
    dataset, clock = f"klaviyo_test_{uuid.uuid4().hex[:8]}", FakeClock()
    with home(tmp_path, snowflake_proof.config(dataset)):
        journey = Journey(tmp_path, snowflake_proof.made_up(clock), clock)
        try:
            snowflake_proof.prove(journey, work)
        finally:
            journey.close()
            with journey.pipeline().sql_client() as client:
                for schema in (dataset, f"{dataset}_staging"):
                    client.execute_sql(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
