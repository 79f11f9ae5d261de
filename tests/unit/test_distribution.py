"""What pyproject.toml says of the distribution agrees with the code and with what else says it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
#: Import package -> its folder.
INSTALLED = {"dlt_klaviyo": ROOT / "sources" / "klaviyo", "klaviyo_sandbox": ROOT / "sandbox"}
#: Requirements that no module of ours imports, and why they are there.
NOT_IMPORTED = {
    "pandas": "dlt's `.df()`",
    "sqlglot": "dlt's own, within the versions that dlt works with",
}


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements() -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in pyproject()["project"]["dependencies"]}


def imported() -> set[str]:
    """The distributions of other projects that the installed code imports, also within functions."""
    modules: set[str] = set()
    for folder in INSTALLED.values():
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    modules |= {name.name.partition(".")[0] for name in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    modules.add((node.module or "").partition(".")[0])
    foreign = modules - sys.stdlib_module_names
    of_module = packages_distributions()
    unknown = foreign - of_module.keys()
    assert unknown == set(), "not installed, so nothing requires it"
    return {canonicalize_name(of_module[module][0]) for module in foreign}


def test_every_import_is_required_and_every_requirement_imported() -> None:
    assert requirements() - NOT_IMPORTED.keys() == imported()
    assert requirements() >= NOT_IMPORTED.keys()


def test_dlt_init_requires_what_the_package_requires() -> None:
    # dlt reads each line as a requirement: a comment or an option would stop it.
    lines = (ROOT / "sources" / "klaviyo" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert lines == pyproject()["project"]["dependencies"]


def test_every_package_is_installed() -> None:
    found = {
        ".".join([name, *path.parent.relative_to(folder).parts])
        for name, folder in INSTALLED.items()
        for path in folder.rglob("__init__.py")
    }
    assert set(pyproject()["tool"]["setuptools"]["packages"]) == found


def test_the_version_is_the_newest_in_the_list_of_changes() -> None:
    version = Version(pyproject()["project"]["version"])
    heading = re.search(r"^## (\S+)( \(unreleased\))?$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert heading is not None
    assert heading[1] == version.base_version
    assert bool(heading[2]) == version.is_devrelease
