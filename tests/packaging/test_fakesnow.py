"""Why `fakesnow` proves nothing about JSON in Snowflake: it answers where Snowflake answers null.

If one of these tests fails, a newer release knows better, and journeys could run on it
(docs/decisions/0022-json-in-snowflake.md).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.conftest import run

#: What is known to go together. The connector's release 5 lacks modules that fakesnow imports.
REQUIREMENTS = ["fakesnow==0.12.1", "snowflake-connector-python==4.8.1", "dlt==1.31.0", "pyarrow"]

PROBE = '''
import json, sys, warnings
warnings.simplefilter("ignore")
import fakesnow, pyarrow as pa, pyarrow.parquet as pq
from dlt.common.data_writers.escape import escape_snowflake_literal
from dlt.destinations.impl.snowflake.utils import gen_copy_sql

file = sys.argv[1]
pq.write_table(pa.table({"id": ["a"], "p": ['{"Items": [1], "Items": [2]}']}), file)
said = {}
with fakesnow.patch():
    import snowflake.connector
    cursor = snowflake.connector.connect(database="DB", schema="PUBLIC").cursor()

    def do(name, statement):
        try:
            said[name] = [list(row) for row in cursor.execute(statement).fetchall()]
        except Exception as error:
            said[name] = type(error).__name__

    do("create", 'CREATE TABLE "EVENTS" ("ID" VARCHAR, "P" VARIANT)')
    # As dlt sends them.
    do("dlt's put", f"""PUT 'file://{file}' '@"%EVENTS"/"1.2"' OVERWRITE = TRUE, AUTO_COMPRESS = FALSE""")
    do("dlt's copy", gen_copy_sql(file, '"EVENTS"', "parquet", False, local_stage_file_path='@"%EVENTS"/"1.2"/f.parquet'))
    # The same in words that it takes.
    do("stage", "CREATE STAGE st")
    do("put", f"PUT 'file://{file}' @st AUTO_COMPRESS = FALSE")
    do("copy", 'COPY INTO "EVENTS" FROM @st FILE_FORMAT = (TYPE = \\'PARQUET\\') MATCH_BY_COLUMN_NAME=CASE_INSENSITIVE')
    do("items", 'SELECT P:Items FROM "EVENTS"')
    do("twice", 'SELECT TRY_PARSE_JSON(P::VARCHAR) IS NULL FROM "EVENTS"')
print(json.dumps(said))
'''


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What fakesnow answers, by the name of the statement; the kind of an error as text."""
    folder = tmp_path_factory.mktemp("fakesnow")
    run(sys.executable, "-m", "venv", "venv", folder=folder)
    python = folder / "venv" / "bin" / "python"
    # Not with constraints.txt: fakesnow needs a newer DuckDB.
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile")
    run(*pip, *REQUIREMENTS, folder=folder)
    answered = run(python, "-c", PROBE, Path(folder) / "f.parquet", folder=folder).stdout
    found: dict[str, Any] = json.loads(answered.splitlines()[-1])
    return found


def test_it_does_not_take_what_dlt_sends(said: dict[str, Any]) -> None:
    assert said["create"] == [["Table EVENTS successfully created."]]
    assert said["dlt's put"] == "ProgrammingError"
    assert said["dlt's copy"] == "AssertionError"


def test_a_text_that_copy_loads_into_a_variant_answers_as_an_object(said: dict[str, Any]) -> None:
    assert said["copy"][0][1] == "LOADED"
    # Snowflake: null, since the VARIANT holds a text.
    assert said["items"] != [[None]]
    # Snowflake: a key that is there twice is an error, so TRY_PARSE_JSON answers NULL.
    assert said["twice"] == [[False]]
