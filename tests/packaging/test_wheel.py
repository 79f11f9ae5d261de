"""The wheel: what is in it, and that it works in an environment that has nothing else of ours."""

from __future__ import annotations

import zipfile
from email.parser import Parser
from pathlib import Path

import duckdb
import pytest

from tests.packaging.conftest import RUNNING, Install, interpreters, run

EVENTS = 200


@pytest.fixture(scope="module")
def environments(wheel: Path, install: Install) -> dict[str, tuple[Path, str]]:
    """Version of Python -> the commands of an environment with the wheel. Filled by `commands`."""
    return {}


@pytest.fixture
def commands(
    request: pytest.FixtureRequest, wheel: Path, install: Install, environments: dict[str, tuple[Path, str]]
) -> Path:
    """The commands of the environment with the wheel, of the Python that the test asks for or the running one."""
    version = getattr(request, "param", RUNNING)
    if version not in environments:
        environments[version] = install(interpreters()[version], [wheel])
    folder, note = environments[version]
    if note:
        request.node.user_properties.append(("note", f"Python {version}: {note}"))
    return folder


def rows(folder: Path, table: str) -> int:
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        found = connection.execute(f"SELECT count(*), count(DISTINCT id) FROM klaviyo_sandbox.{table}").fetchone()
    assert found is not None
    assert found[0] == found[1]
    return int(found[0])


def runs(commands: Path, folder: Path, *reports: str) -> None:
    """The sandbox's account is loaded by the command line: the given reports, or those that are on by default."""
    options = ("--sandbox", "--sandbox-events", str(EVENTS))
    done = run(commands / "dlt", "pipeline", "klaviyo", "run", *reports, *options, folder=folder)
    assert "events" in done.stdout
    assert rows(folder, "events") == EVENTS
    assert rows(folder, "profiles") == 300
    assert rows(folder, "lists") == 12


def test_it_holds_the_two_packages_and_nothing_else(wheel: Path, tree: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    (info,) = {name.partition("/")[0] for name in names if ".dist-info/" in name}
    assert {name.partition("/")[0] for name in names} == {"dlt_klaviyo", "klaviyo_sandbox", info}
    packages = {"dlt_klaviyo": tree / "sources" / "klaviyo", "klaviyo_sandbox": tree / "sandbox"}
    wanted = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in packages.items()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert {name for name in names if not name.startswith(info)} == wanted
    assert wanted >= {
        "dlt_klaviyo/py.typed",
        "dlt_klaviyo/requirements.txt",
        "dlt_klaviyo/catalog/data/columns.json",
        "dlt_klaviyo/catalog/data/2026-10-15.json",
        "klaviyo_sandbox/rules/2026-10-15.json",
    }
    assert f"{info}/licenses/LICENSE" in names


def test_it_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        said = Parser().parsestr(archive.read(name).decode())
        entry_points = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert said["Name"] == "dlt-klaviyo"
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in said.get_all("Classifier", [])
    assert said.get_payload().startswith("# Klaviyo for dlt")  # type: ignore[union-attr]
    assert entry_points.split() == ["[dlt]", "klaviyo", "=", "dlt_klaviyo.cli.plugin"]


@pytest.mark.parametrize("commands", list(interpreters()), indirect=True)
def test_it_loads_an_account_in_an_empty_folder(commands: Path, tmp_path: Path) -> None:
    runs(commands, tmp_path)


def test_it_gets_along_with_a_project_that_uses_the_same_names(commands: Path, tmp_path: Path) -> None:
    # dlt puts the working folder on the path of Python.
    for name in ("sources", "pipelines", "sandbox"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise RuntimeError('{name} of the project was imported')\n")
    runs(commands, tmp_path, "events", "profiles", "lists")
    imports = "from dlt_klaviyo import klaviyo, sync; import dlt_klaviyo; print(dlt_klaviyo.__file__)"
    done = run(commands / "python", "-c", imports, folder=tmp_path)
    assert Path(done.stdout.strip()).is_relative_to(commands.parent)


def test_its_requirements_are_complete(commands: Path, tmp_path: Path) -> None:
    done = run(commands / "python", "-m", "pip", "check", folder=tmp_path)
    assert done.stdout.strip() == "No broken requirements found."
