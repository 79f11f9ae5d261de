"""Snowflake: what dlt and we send it, and what the tables hold if Snowflake does as it is documented.

`tests/support/snowflake.py` is the stand-in that answers. A real account: `test_snowflake_account.py`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest
import sqlglot
from dlt.common.schema import Schema
from dlt.destinations.impl.snowflake.configuration import SnowflakeClientConfiguration
from dlt.destinations.impl.snowflake.snowflake import SnowflakeMergeJob
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from sandbox import Account
from sources.klaviyo import klaviyo
from sources.klaviyo.catalog.report import Report
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.errors import ConfigError
from sources.klaviyo.load import snowflake
from sources.klaviyo.load.destination import in_one_transaction
from sources.klaviyo.load.resources import resource
from sources.klaviyo.plan.plan import Disposition, disposition_of
from tests.support import snowflake_proof, truth
from tests.support.journeys import KEY, NOW, FakeClock, Journey, home, small_account
from tests.support.snowflake import CONFIG, StandIn, connected, try_parse_json, work

READS = {"timestamp": "epoch_us({})", "json": "{}::VARCHAR"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    with home(tmp_path, CONFIG), connected(tmp_path / "snowflake") as made:
        yield made


@pytest.fixture
def journey(server: StandIn, tmp_path: Path) -> Iterator[Journey]:
    clock = FakeClock()
    made = Journey(tmp_path, snowflake_proof.made_up(clock), clock)
    yield made
    made.close()


def test_runs_that_end_and_runs_that_are_killed_leave_every_value_as_it_is(journey: Journey) -> None:
    snowflake_proof.prove(journey, work)


# --- every default report


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Journey, StandIn, Mapping[str, list[str]]]]:
    """All default reports after a run, one that only merges, and one that replaces; with what each of them sent."""
    folder, clock = tmp_path_factory.mktemp("everything"), FakeClock()
    numbers: dict[str, Any] = {"profiles": 40, "events": 200, "lists": 3, "segments": 2, "flows": 6, "campaigns": 12}
    account = Account(seed=17, now=clock.now, history_days=60, **numbers)
    sent = {}
    with home(folder, CONFIG), connected(folder / "snowflake") as server:
        journey = Journey(folder, account, clock)
        for name, flags in (("first", {}), ("again", {"reread": True}), ("whole", {"extract": "all"})):
            server.forget()
            journey.load(**flags)
            sent[name] = server.statements
        yield journey, server, sent
        journey.close()


Everything = tuple[Journey, StandIn, Mapping[str, list[str]]]


def test_every_default_report_holds_the_truth_and_its_json_is_objects_and_arrays(everything: Everything) -> None:
    journey, server, _ = everything
    for report in truth.REPORTS:
        wanted = truth.expected(journey.account, report, datetime(1970, 1, 1, tzinfo=UTC), NOW - timedelta(seconds=60))
        where = "_dlt_valid_to IS NULL" if report in truth.MEMBERS else "true"
        found = truth.read(server.sql, f"klaviyo.{report} WHERE {where}", report, READS)
        assert truth.differences(found, wanted) == [], report


def test_every_statement_is_one_of_snowflakes(everything: Everything, caplog: pytest.LogCaptureFixture) -> None:
    kinds: dict[str, set[str]] = {}
    created = set()
    with caplog.at_level(logging.WARNING, "sqlglot"):
        for run, statements in everything[2].items():
            for statement in statements:
                # The connector puts values where `%s` is.
                for tree in sqlglot.parse(statement.replace("%s", "?"), read="snowflake"):
                    assert tree is not None
                    kinds.setdefault(run, set()).add(type(tree).__name__)
                    if isinstance(tree, exp.Create):
                        created.add(tree.kind)
    # sqlglot says so where it takes a statement without understanding it.
    assert caplog.records == []
    moved = {"Put", "Copy", "Insert", "Delete", "TruncateTable"}
    assert moved | {"Create"} <= kinds["first"]
    assert moved | {"Update"} <= kinds["again"]
    assert {kind for each in kinds.values() for kind in each} - moved <= {"Create", "Alter", "Select", "Update"}
    # What the grants in docs/destinations/snowflake.md allow.
    assert created == {"SCHEMA", "TABLE"}


def test_json_is_parsed_where_rows_leave_staging_and_nowhere_else(everything: Everything) -> None:
    sent = everything[2]
    for run, statements in sent.items():
        inserted = set()
        for statement in statements:
            if "TRY_PARSE_JSON" not in statement:
                continue
            tree = sqlglot.parse_one(statement, read="snowflake")
            assert isinstance(tree, exp.Insert)
            table = tree.find(exp.Table)
            (star,) = tree.find_all(exp.Star)
            (source,) = {one.name for one in tree.find_all(exp.Table) if one.db == "KLAVIYO_STAGING"}
            assert table is not None
            assert table.db == "KLAVIYO"
            assert source == table.name
            report = table.name.lower()
            columns = {name.upper() for name, kind in truth.contract(report).types.items() if kind == "json"}
            assert {one.alias for one in star.args["replace"]} == columns
            inserted.add(report)
        assert inserted == {*truth.REPORTS}, run
        copies = [statement for statement in statements if statement.startswith("COPY")]
        # dlt's COPY, as it is: texts of Parquet files in the staging dataset.
        assert all("MATCH_BY_COLUMN_NAME='CASE_INSENSITIVE'" in copy for copy in copies)
        assert {copy.split()[2] for copy in copies if "'PARQUET'" in copy} == {
            f'"KLAVIYO_STAGING"."{report.upper()}"' for report in truth.REPORTS
        }


def statements_of(report: Report, *, whole: bool) -> list[exp.Expr]:
    """The statements that move a report's rows out of staging."""
    schema = Schema("klaviyo")
    made = resource(report, disposition_of(report, whole=whole), lambda: iter(()))
    schema.update_table(made.compute_table_schema())
    destination: Any = in_one_transaction(dlt.destinations.snowflake())  # type: ignore[arg-type]
    snowflake.prepare(destination)
    client = destination.client(schema, SnowflakeClientConfiguration()._bind_dataset_name("klaviyo"))
    (job,) = client.create_table_chain_completed_followup_jobs([client.prepare_load_table(report.name)])
    lines = Path(job.new_file_path()).read_text(encoding="utf-8").splitlines()
    return [tree for line in lines for tree in sqlglot.parse(line, read="snowflake") if tree]


@pytest.mark.parametrize("whole", [False, True], ids=["as-usual", "whole"])
def test_every_report_there_is_parses_its_json_once(server: StandIn, whole: bool) -> None:
    for name, report in reports(DEFAULT_REVISION).items():
        if disposition_of(report, whole=whole) is Disposition.HISTORY:
            # It needs a load package: the default reports above.
            continue
        statements = statements_of(report, whole=whole)
        stars = [star for one in statements for star in one.find_all(exp.Star) if star.args.get("replace")]
        assert [type(one).__name__ for one in statements] == ["TruncateTable" if whole else "Delete", "Insert"], name
        columns = {column.name.upper() for column in report.contract.columns if column.data_type == "json"}
        assert [{one.alias for one in star.args["replace"]} for star in stars] == [columns], name


# --- what a VARIANT holds

EXACT = {
    '{"Items":[{"price":19.90},null],"a b":{}}': "OBJECT",
    "[1,[2]]": "ARRAY",
    '"a text"': "VARCHAR",
    "null": "NULL",
    '{"n":12345678901234567890123456789012345678}': "OBJECT",
    '{"n":-0.123456789012345678901234567890123456}': "OBJECT",
    '{"n":[1.5e-07,6.02214076E+23]}': "OBJECT",
    '{"text":"12345678901234567890123456789012345678901234567890"}': "OBJECT",
}
#: With what a VARIANT would make of them.
KEPT_AS_TEXT = [
    '{"a":1,"a":2}',
    '{"n":123456789012345678901234567890123456789}',
    '{"n" : -123456789012345678901234567890123456789 }',
    '{"n":0.12345678901234567890123456789012345678}',
    "[1234567890123456789.5e3]",
    '{"n":1e400}',
    "1e-400",
    '{"broken',
    "",
]


def digits(text: str) -> Any:
    """Parsed JSON whose numbers are exact."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def in_a_variant(server: StandIn, text: str | None) -> tuple[str | None, str | None]:
    """What becomes of a JSON text on its way from staging: JSON, and the type that it has in the VARIANT."""
    with server.connect(schema="S").cursor() as cursor:
        cursor.execute('CREATE SCHEMA IF NOT EXISTS "S"')
        cursor.execute('CREATE OR REPLACE TABLE "S"."T" ("P" VARIANT)')
        with server.opened() as duck:
            duck.execute("INSERT INTO s.t SELECT to_json(?::VARCHAR)", [text])
        column = snowflake.parse('"P"')
        cursor.execute(f'CREATE OR REPLACE TABLE "S"."U" AS SELECT {column} AS "P" FROM "S"."T"')
    ((found, kind),) = server.sql("SELECT p::VARCHAR, json_type(p) FROM s.u")
    return found, kind


def test_json_becomes_an_object_with_the_same_values(server: StandIn) -> None:
    for text, kind in EXACT.items():
        found, became = in_a_variant(server, text)
        assert found is not None
        assert (digits(found), became) == (digits(text), kind)
    assert in_a_variant(server, None) == (None, None)


def test_what_snowflake_cannot_parse_or_would_change_stays_the_text_that_it_was(server: StandIn) -> None:
    for text in KEPT_AS_TEXT:
        found, became = in_a_variant(server, text)
        assert found is not None
        assert (json.loads(found), became) == (text, "VARCHAR")


def is_inexact(text: str) -> bool:
    """What the pattern says, in RE2: Snowflake's expressions are POSIX ones too."""
    found = DUCK.execute("SELECT regexp_matches(?, ?)", [text, snowflake.INEXACT_NUMBER]).fetchone()
    assert found is not None
    return bool(found[0])


DUCK = duckdb.connect()
DIGITS = st.from_regex(r"-?(0|[1-9][0-9]{0,45})(\.[0-9]{1,45})?([eE][-+]?[0-9]{1,4})?", fullmatch=True)
SPACE = st.sampled_from(["", " ", "\n  "])


@given(st.lists(DIGITS, min_size=1, max_size=4), SPACE)
def test_a_number_is_kept_to_the_last_digit_or_its_json_stays_text(numbers: list[str], space: str) -> None:
    listed = f",{space}".join(numbers)
    for text in (f"[{space}{listed}{space}]", f'{{"n":{space}{numbers[0]}{space}}}', numbers[0]):
        if not is_inexact(text):
            parsed = try_parse_json(text)
            assert parsed is not None
            assert json.loads(parsed, parse_int=float) == json.loads(text, parse_int=float)
            if not any("e" in number.lower() for number in numbers):
                assert digits(parsed) == digits(text)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**37), 10**37)
        | st.floats(-1e99, 1e99, allow_nan=False).filter(lambda number: number == 0 or abs(number) > 1e-99)
        | st.text(st.characters(exclude_categories=["Nd", "Cs"])),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("abc $", max_size=3), inner),
    ),
    st.booleans(),
)
def test_ordinary_json_never_stays_text(value: Any, spaced: bool) -> None:
    text = json.dumps(value, indent=1 if spaced else None)
    assert not is_inexact(text)
    parsed = try_parse_json(text)
    assert parsed is not None
    assert digits(parsed) == digits(text)


# --- whose destination changes


def test_only_the_pipelines_own_destination_object_changes(server: StandIn) -> None:
    before = vars(SnowflakeMergeJob).copy()
    mine: Any = dlt.destinations.snowflake()
    other, duck = dlt.destinations.snowflake(), dlt.destinations.duckdb()
    for one in (mine, duck):
        snowflake.prepare(one)
    assert "client" in vars(mine)
    assert "client" not in vars(other)
    assert "client" not in vars(duck)
    assert vars(SnowflakeMergeJob).items() == before.items()
    # Every run prepares it. The copy that `sync()` makes has clients of its own.
    client = mine.client
    snowflake.prepare(mine)
    copied: Any = in_one_transaction(mine)
    assert mine.client is client
    assert "client" not in vars(copied)


def test_a_replace_strategy_of_the_users_own_loads_as_dlt_does(server: StandIn, journey: Journey) -> None:
    for strategy in ("truncate-and-insert", "staging-optimized"):
        pipeline = journey.pipeline()
        assert pipeline.destination is not None
        pipeline.destination.config_params["replace_strategy"] = strategy
        snowflake.prepare(pipeline.destination)
        server.forget()
        snowflake_proof.run(journey, pipeline, "tags", reread=True)
        of_tags = [one for one in server.statements if "TAGS" in one and "TRY_PARSE_JSON" in one]
        assert of_tags == []
        assert server.sql("SELECT count(*) FROM klaviyo.tags") == [(4,)]


def test_rows_of_inferred_reports_are_left_as_json_lines_bring_them(server: StandIn, journey: Journey) -> None:
    mine = {
        "unpacked": {"endpoint": "lists", "mode": "inferred"},
        "raw": {"endpoint": "events", "include": ["metric"]},
    }
    journey.load("unpacked", "raw", custom_reports=mine)
    parsed = {one.split('"')[3] for one in server.statements if "TRY_PARSE_JSON" in one}
    assert parsed == {"RAW", "RAW__INCLUDED"}
    assert server.sql("SELECT count(*) FROM klaviyo.unpacked") == [(2,)]
    names = {record["id"]: record["attributes"]["name"] for record in journey.account.records("metric")}
    assert dict(server.sql("SELECT id, attributes ->> 'name' FROM klaviyo.raw__included")).items() <= names.items()


def test_a_plain_pipeline_run_loads_json_as_text(server: StandIn, tmp_path: Path) -> None:
    clock = FakeClock(datetime.now(UTC))
    account = small_account(clock, seed=1, events=30, profiles=5, metrics=2)
    journey = Journey(tmp_path, account, clock)
    pipeline = dlt.pipeline("klaviyo", destination="snowflake", dataset_name="plain", pipelines_dir="pipelines")
    pipeline.run(klaviyo(api_key=KEY, base_url=journey.server.url, reports=["events"], start_date="2026-01-01"))
    journey.close()
    assert server.sql("SELECT DISTINCT json_type(event_properties) FROM plain.events") == [("VARCHAR",)]


def test_statements_that_dlt_might_send_one_day_are_refused(server: StandIn, journey: Journey) -> None:
    journey.load("tags")
    with journey.pipeline().destination_client() as client:
        table: Any = client.prepare_load_table("tags")
        sql_client: Any = client.sql_client  # type: ignore[attr-defined]
        target, staging = sql_client.get_qualified_table_names("tags")
        for statements in (
            [],
            [f"INSERT INTO {target} SELECT * FROM other"],
            [f"INSERT INTO {target} FROM {staging}"] * 2,
        ):
            with pytest.raises(ConfigError, match=r"in a way that .* does not know \(tags\)"):
                snowflake.parsed(statements, [table], sql_client)
