"""A stand-in for Snowflake: its connector's `connect`, answered by a DuckDB file.

dlt's own Snowflake client runs on it, and every statement it sends is parsed in Snowflake's dialect by sqlglot first. What
a VARIANT holds is modelled after Snowflake's documentation: a text that COPY reads from Parquet stays a text, and
TRY_PARSE_JSON refuses an object with a key twice and makes a DOUBLE of numbers that NUMBER(38) cannot hold. A VARIANT is
JSON in DuckDB; a text in it is a JSON string. So it shows what the statements do together. That Snowflake does as it is
documented, only an account can show (`tests/destinations/test_snowflake_account.py`).
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import snowflake.connector
import sqlglot
from duckdb.sqltypes import VARCHAR
from sqlglot import exp

from tests.support import killed
from tests.support.journeys import FakeClock
from tests.support.snowflake_proof import config

#: dlt's settings: DuckDB has one writer at a time.
CONFIG = config("klaviyo") + "[load]\nworkers = 1\n"
CREDENTIALS = "snowflake://loader:secret@account/analytics"
#: What Snowflake's information schema calls the types of DuckDB.
_TYPES = """CASE data_type WHEN 'VARCHAR' THEN 'TEXT' WHEN 'JSON' THEN 'VARIANT' WHEN 'BIGINT' THEN 'NUMBER'
    WHEN 'TIMESTAMP WITH TIME ZONE' THEN 'TIMESTAMP_LTZ' WHEN 'DOUBLE' THEN 'FLOAT' ELSE data_type END"""
_MACROS = """
CREATE OR REPLACE TEMP MACRO is_varchar(v) AS json_type(v) = 'VARCHAR';
CREATE OR REPLACE TEMP MACRO as_text(v) AS CASE WHEN json_type(v) = 'VARCHAR' THEN v ->> '$' ELSE v::VARCHAR END;
CREATE OR REPLACE TEMP MACRO regexp_instr(t, p) AS CASE WHEN regexp_matches(t, p) THEN 1 ELSE 0 END;
"""


class _Digits(str):
    """A number as it is written."""


def try_parse_json(text: str | None) -> str | None:
    """TRY_PARSE_JSON as documented: JSON as Snowflake would show it, None for what it refuses."""

    def number(digits: str) -> _Digits:
        whole, _, part = digits.lstrip("-").partition(".")
        fits = "e" not in digits.lower() and len(whole.lstrip("0")) + len(part) <= 38 and len(part) <= 37
        return _Digits(digits if fits else repr(float(digits)))

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("a key that is there twice")
        return dict(pairs)

    try:
        return _dumped(json.loads(text or "", parse_int=number, parse_float=number, object_pairs_hook=once))
    except ValueError:
        return None


def _dumped(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_dumped(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_dumped, value)) + "]"
    return value if isinstance(value, _Digits) else json.dumps(value)


class StandIn:
    """What is behind `connect`: a folder with the tables, the stages and the statements that came.

    Args:
        folder: may hold what another process left.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "statements.jsonl"
        self._lock, self._users = threading.Lock(), 0
        folder.mkdir(exist_ok=True)

    @property
    def statements(self) -> list[str]:
        """What was executed, oldest first."""
        return [json.loads(line) for line in self._log.read_text(encoding="utf-8").splitlines()]

    def forget(self) -> None:
        """Forget the statements that came."""
        self._log.unlink(missing_ok=True)

    @contextmanager
    def opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection to the tables. While nobody has one, another process can write."""
        with self._lock:
            if not self._users:
                self._duck = duckdb.connect(str(self._folder / "tables.duckdb"))
                nulls: Any = "special"
                self._duck.create_function("parsed", try_parse_json, [VARCHAR], VARCHAR, null_handling=nulls)
            self._users += 1
            cursor = self._duck.cursor()
        cursor.execute("SET TimeZone = 'UTC'")
        try:
            yield cursor
        finally:
            with self._lock:
                cursor.close()
                self._users -= 1
                if not self._users:
                    self._duck.close()

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query in DuckDB's SQL; JSON text in a VARIANT is a JSON string."""
        with self.opened() as connection:
            return connection.execute(query).fetchall()

    def connect(self, **options: Any) -> Connection:
        """What `snowflake.connector.connect` does."""
        return Connection(self, str(options["schema"]).strip('"'))

    def record(self, statement: str) -> None:
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(statement) + "\n")

    def staged(self, location: str) -> Path:
        """Where the file of a stage is kept."""
        return self._folder / "stages" / re.sub(r'[@"]', "", location)


@contextmanager
def connected(folder: Path) -> Iterator[StandIn]:
    """Let Snowflake's connector reach the stand-in of a folder."""
    made = StandIn(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DESTINATION__SNOWFLAKE__CREDENTIALS", CREDENTIALS)
        patch.setattr(snowflake.connector, "connect", made.connect)
        yield made


class Connection:
    """A connection of the connector, as far as dlt uses it."""

    def __init__(self, server: StandIn, schema: str) -> None:
        self._server, self._held = server, ExitStack()
        self._duck = self._held.enter_context(server.opened())
        self._autocommit, self._begun = True, False
        self._duck.execute(_MACROS)
        if self._duck.execute("FROM duckdb_schemas() WHERE schema_name ILIKE ?", [schema]).fetchall():
            self._duck.execute(f"USE {schema}")

    def autocommit(self, wanted: bool) -> None:
        self._autocommit = wanted

    def commit(self) -> None:
        self._end("COMMIT")

    def rollback(self) -> None:
        self._end("ROLLBACK")

    def close(self) -> None:
        self.rollback()
        self._held.close()

    def cursor(self) -> Cursor:
        return Cursor(self)

    def _end(self, how: str) -> None:
        if self._begun:
            self._duck.execute(how)
            self._begun = False

    def execute(self, text: str, values: Sequence[Any]) -> Any:
        """Run a text of statements; what the last one answers."""
        answer = None
        for part in filter(None, map(str.strip, text.split(";\n"))):
            self._server.record(part)
            if not self._autocommit and not self._begun:
                self._duck.execute("BEGIN")
                self._begun = True
            answer = self._run(part, values)
        return answer

    def _run(self, statement: str, values: Sequence[Any]) -> Any:
        if statement.startswith("PUT "):
            file, stage = re.findall(r"'([^']*)'", statement)
            kept = self._server.staged(stage) / Path(file).name
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.removeprefix("file://"), kept)
            return None
        if statement.startswith("COPY INTO "):
            return self._copy(statement)
        answer = None
        for tree in sqlglot.parse(statement.replace("%s", "?"), read="snowflake"):
            assert tree is not None
            assert not isinstance(tree, exp.Command), statement
            for duck in _for_duckdb(tree):
                answer = self._duck.execute(duck, list(values) if "?" in duck else None)
        return answer

    def _copy(self, statement: str) -> Any:
        found = re.match(r"COPY INTO (\S+)\s+FROM '([^']*)'", statement)
        assert found, statement
        assert "MATCH_BY_COLUMN_NAME='CASE_INSENSITIVE'" in statement
        table, file = found[1], self._server.staged(found[2])
        types = {name.lower(): kind for name, kind, *_ in self._duck.execute(f"DESCRIBE {table}").fetchall()}
        if "TYPE = 'PARQUET'" in statement:
            present = [name for name in pq.read_schema(file).names if name.lower() in types]
            source = f"read_parquet('{file}')"
            # A text stays a text.
            listed = [f'to_json("{name}")' if types[name.lower()] == "JSON" else f'"{name}"' for name in present]
        else:
            present = [*types]
            columns = ", ".join(f"'{name}': '{kind}'" for name, kind in types.items())
            source = f"read_json('{file}', format = 'newline_delimited', columns = {{{columns}}})"
            listed = [f'"{name}"' for name in present]
        into = ", ".join(f'"{name}"' for name in present)
        return self._duck.execute(f"INSERT INTO {table} ({into}) SELECT {', '.join(listed)} FROM {source}")


class Cursor:
    """A cursor of the connector, as far as dlt uses it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answer: Any = None

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def execute(self, text: str, values: Sequence[Any] | None = None, num_statements: int = 1) -> Cursor:
        try:
            self._answer = self._connection.execute(text, values or ())
        except duckdb.CatalogException as error:
            # How the connector says that there is no such table.
            raise snowflake.connector.errors.ProgrammingError(str(error), errno=2003, sqlstate="42S02") from error
        return self

    @property
    def description(self) -> Any:
        return self._answer.description if self._answer else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._answer, name)


def _for_duckdb(tree: exp.Expr) -> Iterator[str]:
    """A statement of Snowflake's in DuckDB's SQL; several, where DuckDB does one thing at a time."""
    if isinstance(tree, exp.Alter) and len(tree.args["actions"]) > 1:
        for action in tree.args["actions"]:
            one = tree.copy()
            one.set("actions", [action.copy()])
            yield from _for_duckdb(one)
        return
    if isinstance(tree, exp.Create) and (clone := tree.args.get("clone")):
        yield f"CREATE TABLE {tree.this.sql('duckdb')} AS FROM {clone.this.sql('duckdb')}"
        return
    translated = tree.transform(_in_duckdb_types)
    assert translated is not None
    yield translated.transform(_in_duckdb_functions).sql("duckdb")


def _in_duckdb_types(node: exp.Expr) -> exp.Expr | None:
    if isinstance(node, exp.DataType):
        if node.is_type("variant"):
            return exp.DataType.build("JSON", dialect="duckdb")
        if node.is_type("decimal"):
            return exp.DataType.build("BIGINT", dialect="duckdb")
    if isinstance(node, exp.ColumnConstraint) and isinstance(node.kind, exp.CommentColumnConstraint):
        return None
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Column) and node.find_ancestor(exp.Case):
        return exp.func("as_text", node.this)
    return node


def _in_duckdb_functions(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.ParseJSON):
        return sqlglot.parse_one(f"parsed({node.this.sql('duckdb')})::JSON", read="duckdb")
    if isinstance(node, exp.RegexpInstr):
        return exp.Anonymous(this="regexp_instr", expressions=[node.this, node.expression])
    if isinstance(node, exp.Table) and node.name.upper() == "COLUMNS" and node.db.upper() == "INFORMATION_SCHEMA":
        columns = f"""SELECT table_catalog, upper(table_schema) AS table_schema, upper(table_name) AS table_name,
            upper(column_name) AS column_name, {_TYPES} AS data_type, is_nullable, ordinal_position,
            CASE data_type WHEN 'BIGINT' THEN 19 END AS numeric_precision,
            CASE data_type WHEN 'BIGINT' THEN 0 END AS numeric_scale FROM information_schema.columns"""
        return sqlglot.parse_one(columns, read="duckdb").subquery("columns")  # type: ignore[attr-defined,no-any-return]
    return node


def work(folder: Path, url: str, clock: FakeClock, flags: dict[str, Any], death: killed.Death) -> None:
    """`tests.support.killed.work` on the stand-in of a folder."""
    with connected(folder / "snowflake"):
        killed.work(folder, url, clock, flags, death, CONFIG)
