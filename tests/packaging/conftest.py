"""Environments of their own for the packages that are built from this working tree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: The versions that pyproject.toml names.
SUPPORTED = ((3, 11), (3, 12), (3, 13), (3, 14))
RUNNING = ".".join(map(str, sys.version_info[:2]))

#: Where a command finds dlt's working folders, beside what it works on.
DLT_DATA = "dlt-data"

_PROBE = "import ensurepip, json, sys, venv; print(json.dumps(sys.version_info[:2]))"


@cache
def interpreters() -> Mapping[str, str]:
    """Version -> executable: the one that runs, those on the PATH, and pyenv's."""
    found = {RUNNING: sys.executable}
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for version in SUPPORTED:
        name = ".".join(map(str, version))
        on_path = shutil.which(f"python{name}")
        for candidate in [on_path, *sorted(map(str, pyenv.glob(f"{name}.*/bin/python")))]:
            if candidate and name not in found:
                # A shim of pyenv's may name a version that is not switched on, and Debian's may have no ensurepip.
                answer = subprocess.run([candidate, "-c", _PROBE], capture_output=True, text=True, check=False)
                if answer.returncode == 0 and json.loads(answer.stdout) == list(version):
                    found[name] = candidate
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which versions of Python were tried, and what was not as usual."""
    missing = [name for name in (".".join(map(str, version)) for version in SUPPORTED) if name not in interpreters()]
    line = f"Python found on this machine: {', '.join(interpreters())}"
    terminalreporter.write_line(line + (f"; not found, so not tried: {', '.join(missing)}" if missing else ""))
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "note" and getattr(report, "when", "") == "call":
                    terminalreporter.write_line(str(value))


def run(*command: str | Path, folder: Path, expected: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would, away from the settings of whoever runs the tests.

    Args:
        expected: the exit code.
        variables: of the environment.
    """
    ours = ("DLT_", "SOURCES__", "DESTINATION__", "PYTEST_", "PYTHON", "VIRTUAL_ENV", "XDG_", "MAKE", "MFLAGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        # Not HOME: pip finds its configuration there, and dlt does not look there when root runs it.
        env={**kept, "RUNTIME__DLTHUB_TELEMETRY": "false", "DLT_DATA_DIR": str(folder / DLT_DATA), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expected, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository as it is here, with what is not committed yet and without what git ignores."""
    folder = tmp_path_factory.mktemp("tree") / "dlt-klaviyo"
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", folder=ROOT).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, built from the tree."""
    # Setuptools writes beside what it builds.
    source = tmp_path_factory.mktemp("sdist")
    shutil.copytree(tree, source, dirs_exist_ok=True)
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", build, source / "dist", folder=source)
    (built,) = (source / "dist").iterdir()
    return built


@pytest.fixture(scope="session")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in the sdist."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    return root


@pytest.fixture(scope="session")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist, as installers do."""
    source, dist = tmp_path_factory.mktemp("wheel") / "source", tmp_path_factory.mktemp("dist")
    shutil.copytree(unpacked, source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", dist, ".", folder=source)
    (built,) = dist.iterdir()
    return built


#: Installs requirements into a new environment: (interpreter, requirements) -> the folder of its commands, and what was
#: not as usual.
Install = Callable[[str, list[str | Path]], tuple[Path, str]]


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Install:
    def made(interpreter: str, requirements: list[str | Path]) -> tuple[Path, str]:
        folder = tmp_path_factory.mktemp("environment")
        run(interpreter, "-m", "venv", "venv", folder=folder)
        commands = folder / "venv" / "bin"
        pip = (commands / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile")
        pinned = ("--constraint", ROOT / "constraints.txt")
        if interpreter == sys.executable:
            run(*pip, *pinned, *requirements, folder=folder)
            return commands, ""
        # The versions are pinned where the tests run; some of them may have no wheel for another Python.
        try:
            run(*pip, "--only-binary", ":all:", *pinned, *requirements, folder=folder)
        except AssertionError as error:
            run(*pip, *requirements, folder=folder)
            why = next((line for line in str(error).splitlines() if line.startswith("ERROR:")), str(error))
            return commands, f"installed without constraints.txt, since with it pip said: {why}"
        return commands, ""

    return made
