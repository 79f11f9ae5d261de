"""Subpackages: which may import which, and who may open a connection, ask the time or print."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "sources" / "klaviyo"

#: The order in which data flows back to its settings: a subpackage imports itself and the subpackages before it.
SUBPACKAGES = ("basics", "catalog", "config", "http", "decode", "plan", "extract", "load", "cli")
#: Files that lie in no folder and import no folder.
BASICS = {"calendar", "clock", "errors", "jsonapi", "windows"}
#: The public door. It imports what it offers when it is asked for.
OUTSIDE = "__init__"
#: What a subpackage may use beside the standard library and what is said nowhere else here.
DLT_ROOMS = {"config", "load", "cli"}
HTTP = {
    "requests",
    "urllib3",
    "http.client",
    "urllib.request",
    "httpx",
    "aiohttp",
    "dlt.sources.helpers.requests",
}
CLOCKS = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.perf_counter",
    "time.sleep",
    "pendulum.now",
    "pendulum.today",
}


def python_files(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a file imports, also within functions; relative ones from the root of the project."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{name.name}" for name in node.names)


def reaches(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def modules() -> list[str]:
    """`subpackage/module` of every module of the source, `module` of those in no subpackage."""
    return [path.relative_to(SOURCE).with_suffix("").as_posix() for path in python_files("sources/klaviyo")]


def subpackage(module: str) -> str:
    return module.partition("/")[0] if "/" in module else "basics"


@cache
def neighbours(module: str) -> set[str]:
    """The modules of the source that a module imports."""
    prefix = "sources.klaviyo."
    known = {name.replace("/", "."): name for name in modules()}
    found = set()
    for name in imports(SOURCE / f"{module}.py"):
        inside = name.removeprefix(prefix)
        if name.startswith(prefix) and inside in known:
            found.add(known[inside])
    return found


def test_every_module_of_the_source_is_in_a_room() -> None:
    outside = {module for module in modules() if "/" not in module}
    assert outside == {OUTSIDE, *BASICS}
    assert {subpackage(module) for module in modules()} == set(SUBPACKAGES)
    # A subpackage within a subpackage would hide what is in it.
    assert [module for module in modules() if module.count("/") > 1 and not module.endswith("data/__init__")] == []


@pytest.mark.parametrize("module", sorted({*modules()} - {OUTSIDE}))
def test_imports_descend_room_by_room(module: str) -> None:
    allowed = SUBPACKAGES[: SUBPACKAGES.index(subpackage(module)) + 1]
    assert {other for other in neighbours(module) if subpackage(other) not in allowed} == set()


@pytest.mark.parametrize("module", sorted({*modules()} - {OUTSIDE}))
def test_imports_within_the_source_are_relative(module: str) -> None:
    """The same files are called `sources.klaviyo`, `dlt_klaviyo` and, after `dlt init`, `klaviyo`."""
    tree = ast.parse((SOURCE / f"{module}.py").read_text(encoding="utf-8"))
    absolute = {
        name
        for node in ast.walk(tree)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        if name.partition(".")[0] in ("sources", "dlt_klaviyo", "klaviyo")
    }
    assert absolute == set()


def test_no_module_imports_itself_through_others() -> None:
    seen: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above, module])
        if module in seen:
            return
        for other in neighbours(module):
            visit(other, (*above, module))
        seen.add(module)

    for module in modules():
        visit(module, ())


def test_only_the_client_opens_connections() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for folder in ("sources", "pipelines")
        for path in python_files(folder)
        if any(reaches(name, library) for name in imports(path) for library in HTTP)
    }
    assert users == {"sources/klaviyo/http/client.py"}


def test_dlt_is_seen_in_its_rooms_only() -> None:
    users = {
        subpackage(path.relative_to(SOURCE).with_suffix("").as_posix())
        for path in python_files("sources/klaviyo")
        if any(reaches(name, "dlt") for name in imports(path))
    }
    assert users == DLT_ROOMS


def calls(path: Path) -> Iterator[tuple[str, str]]:
    """What a file calls or hands on, as `name.name`, and the class in which it does so."""

    def visit(node: ast.AST, owner: str) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            inside = child.name if isinstance(child, ast.ClassDef) else owner
            if isinstance(child, ast.Attribute):
                value = child.value
                name = (
                    value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
                )
                yield f"{name}.{child.attr}", inside
            elif isinstance(child, ast.Name):
                yield child.id, inside
            yield from visit(child, inside)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), "")


def test_the_source_asks_one_clock_for_the_time() -> None:
    # What a terminal shows may go by the machine's stopwatch.
    files = [path for path in python_files("sources") if path.name != "progress.py"]
    users = {(path.stem, owner) for path in files for name, owner in calls(path) if name in CLOCKS}
    assert users == {("clock", "SystemClock")}
    from_time = {name for path in files for name in imports(path) if name.startswith("time.")}
    assert from_time == set()


def test_the_source_logs_and_never_prints() -> None:
    files = python_files("sources/klaviyo")
    assert [path.stem for path in files if any(name == "print" for name, _ in calls(path))] == []


@pytest.mark.parametrize(
    ("folder", "foreign"),
    [
        ("sandbox", ("sources", "dlt_klaviyo", "pipelines", "tests", "benchmarks", "klaviyo_api", "openapi_client")),
        (
            "sources",
            ("sandbox", "klaviyo_sandbox", "pipelines", "tests", "benchmarks", "klaviyo_api", "openapi_client"),
        ),
        ("pipelines", ("tests", "benchmarks", "klaviyo_api", "openapi_client")),
    ],
)
def test_a_room_knows_nothing_of_those_beside_and_above_it(folder: str, foreign: tuple[str, ...]) -> None:
    files = python_files(folder)
    assert files
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in files
        for name in imports(path)
        if any(reaches(name, package) for package in foreign)
    }
    assert found == set()


@pytest.mark.parametrize("folder", ["sources", "pipelines"])
def test_the_outer_folders_are_open_to_a_users_other_sources(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()
