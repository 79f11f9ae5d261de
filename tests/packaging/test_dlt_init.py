"""`dlt init klaviyo duckdb --location <a clone>`: the source copied into a user's project."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from packaging.requirements import Requirement

from tests.packaging.conftest import DLT_DATA, Install, run

EVENTS = 200
KEY = "pk_sandbox"


@pytest.fixture(scope="module")
def clone(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the repository."""
    origin = tmp_path_factory.mktemp("origin")
    author = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    run("git", "init", "--quiet", folder=origin)
    # The same files, under git.
    run("git", "--work-tree", tree, "add", "--all", folder=origin)
    run("git", *author, "commit", "--quiet", "--message", "all", folder=origin)
    made = tmp_path_factory.mktemp("clone") / "dlt-klaviyo"
    run("git", "clone", "--quiet", origin, made, folder=origin)
    return made


@pytest.fixture(scope="module")
def commands(clone: Path, install: Install) -> Path:
    """The commands of an environment with dlt and what the source requires, and nothing of ours."""
    folder, _ = install(
        sys.executable, ["dlt[duckdb]", "--requirement", clone / "sources" / "klaviyo" / "requirements.txt"]
    )
    listed = run(folder / "python", "-m", "pip", "list", folder=folder).stdout.lower()
    assert "klaviyo" not in listed
    return folder


@pytest.fixture(scope="module")
def project(clone: Path, commands: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `dlt init` was run."""
    folder = tmp_path_factory.mktemp("project")
    run(
        *(commands / "dlt", "--non-interactive", "init", "klaviyo", "duckdb", "--location", clone),
        folder=folder,
    )
    return folder


@pytest.fixture(scope="module")
def sandbox(clone: Path) -> Iterator[str]:
    """The address of a made-up account, served out of the clone."""
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--events", str(EVENTS), "--key", KEY]
    with subprocess.Popen(command, cwd=clone, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[1]
        process.terminate()


def script(commands: Path, project: Path, expected: int = 0, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the example as it was made, with settings out of the environment."""
    variables = {f"SOURCES__KLAVIYO__{name.upper()}": value for name, value in settings.items()}
    return run(
        commands / "python",
        "klaviyo_pipeline.py",
        folder=project,
        expected=expected,
        **variables,
    )


def test_it_copies_the_source_and_what_goes_with_it(project: Path, clone: Path) -> None:
    def copied(folder: Path) -> set[str]:
        # dlt leaves these two out.
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        return {name for name in found if "__pycache__" not in name} - {"py.typed", "requirements.txt"}

    assert copied(project / "klaviyo") == copied(clone / "sources" / "klaviyo")
    assert {"catalog/data/columns.json", "catalog/data/2026-10-15.json"} < copied(project / "klaviyo")
    assert {path.name for path in project.iterdir() if path.name != DLT_DATA} == {
        ".dlt",
        ".gitignore",
        "klaviyo",
        "klaviyo_pipeline.py",
        "requirements.txt",
    }


def test_it_asks_for_the_key_and_the_start_date(project: Path) -> None:
    secrets = tomllib.loads((project / ".dlt" / "secrets.toml").read_text(encoding="utf-8"))
    config = tomllib.loads((project / ".dlt" / "config.toml").read_text(encoding="utf-8"))
    assert secrets["sources"] == {"klaviyo": {"api_key": "<configure me>"}}
    assert config["sources"] == {"klaviyo": {"start_date": "<configure me>"}}


def test_it_writes_the_requirements_of_the_source_and_the_destination(project: Path, clone: Path) -> None:
    def read(file: Path) -> dict[str, Requirement]:
        return {one.name: one for one in map(Requirement, file.read_text(encoding="utf-8").splitlines())}

    made, ours = read(project / "requirements.txt"), read(clone / "sources" / "klaviyo" / "requirements.txt")
    assert made["dlt"].extras == {"duckdb"}
    assert {name: one.specifier for name, one in made.items()} == {name: one.specifier for name, one in ours.items()}


def test_what_was_not_filled_in_is_named(commands: Path, project: Path) -> None:
    done = script(commands, project, expected=1)
    assert "start_date" in done.stderr
    assert ".dlt/config.toml [sources.klaviyo]" in done.stderr


def test_importing_the_example_runs_nothing(commands: Path, project: Path) -> None:
    before = sorted(path.name for path in project.iterdir() if path.name != "__pycache__")
    run(commands / "python", "-c", "import klaviyo_pipeline", folder=project)
    assert sorted(path.name for path in project.iterdir() if path.name != "__pycache__") == before


def test_the_example_loads_the_account(commands: Path, project: Path, sandbox: str) -> None:
    for _ in range(2):
        done = script(commands, project, api_key=KEY, base_url=sandbox, start_date="2020-01-01")
        assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
            "profiles",
            "events",
            "metrics",
            "lists",
            "campaigns",
        ]
        with duckdb.connect(str(project / "klaviyo.duckdb"), read_only=True) as connection:
            found = connection.execute("SELECT count(*), count(DISTINCT id) FROM klaviyo_data.events").fetchone()
        assert found == (EVENTS, EVENTS)


def test_the_example_says_what_failed(commands: Path, project: Path, sandbox: str) -> None:
    done = script(commands, project, expected=1, api_key="pk_wrong", base_url=sandbox, start_date="2020-01-01")
    assert "401" in done.stdout
    assert "pk_wrong" not in done.stdout + done.stderr
