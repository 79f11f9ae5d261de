"""The sdist: all of the repository, so that whoever packages it can test it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.packaging.conftest import run

#: What setuptools adds.
GENERATED = {"PKG-INFO", "setup.cfg"}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_it_holds_every_file_of_the_repository_and_no_other(unpacked: Path, tree: Path) -> None:
    held = {name for name in files(unpacked) if not name.startswith("dlt_klaviyo.egg-info/")}
    assert held - GENERATED == files(tree)
    assert held >= GENERATED


def test_its_tests_pass(unpacked: Path, tmp_path: Path) -> None:
    """`make unit`, with the environment that runs this test instead of one that make sets up."""
    where = "import sources.klaviyo; print(sources.klaviyo.__file__)"
    assert Path(run(sys.executable, "-c", where, folder=unpacked).stdout.strip()).is_relative_to(unpacked)
    commands = Path(sys.executable).parent
    done = run("make", "unit", "--old-file", ".venv/.installed", f"BIN={commands}", folder=unpacked)
    assert " passed" in done.stdout
    assert not (unpacked / ".venv").exists()
