"""The floors of the house: who may import whom, who may open a connection, ask the time or say something."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "sources" / "klaviyo"

#: Module -> floor. Imports go down or stay on the floor. A new module gets its floor here.
FLOORS = {
    "spec": 0,
    "errors": 0,
    "settings": 0,
    # Pure arithmetic without imports of ours, whose vocabulary (splits, the ends of time) settings speak.
    "windows": 0,
    "periods": 0,
    "quota": 0,
    "api_facts": 1,
    "revisions": 0,
    "endpoints": 1,
    "contracts": 1,
    "reports": 1,
    "query": 2,
    "stream": 2,
    "by_metric": 2,
    "custom": 2,
    "each": 2,
    "raw": 2,
    "figures": 2,
    "results": 2,
    "shape": 2,
    "limits": 3,
    "client": 3,
    "listings": 3,
    "spool": 3,
    "waiting": 3,
    "engine": 3,
    "lookups": 3,
    "account": 3,
    "metrics": 3,
    "novelty": 2,
    "config": 4,
    "state": 4,
    "planning": 4,
    "resources": 4,
    "__init__": 4,
}
#: Where dlt may be seen; that `pipelines/` is above all of these needs no entry.
DLT_FROM_FLOOR = 4
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
    return [path.stem for path in SOURCE.glob("*.py")]


@cache
def neighbours(module: str) -> set[str]:
    """The modules of the source that a module imports."""
    prefix = "sources.klaviyo."
    named = {
        name.removeprefix(prefix).split(".")[0] for name in imports(SOURCE / f"{module}.py") if name.startswith(prefix)
    }
    return named & set(FLOORS)


def test_every_module_of_the_source_has_a_floor() -> None:
    assert set(modules()) - set(FLOORS) == set()
    assert [path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if path.parent != SOURCE] == []


@pytest.mark.parametrize("module", modules())
def test_imports_go_down_the_floors_only(module: str) -> None:
    assert {other for other in neighbours(module) if FLOORS[other] > FLOORS.get(module, 0)} == set()


def test_no_module_imports_itself_through_others() -> None:
    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above, module])
        for other in neighbours(module):
            visit(other, (*above, module))

    for module in modules():
        visit(module, ())


def test_only_the_client_opens_connections() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for folder in ("sources", "pipelines")
        for path in python_files(folder)
        if any(reaches(name, library) for name in imports(path) for library in HTTP)
    }
    assert users == {"sources/klaviyo/client.py"}


def test_dlt_is_seen_on_the_upper_floors_only() -> None:
    users = {path.stem for path in SOURCE.glob("*.py") if any(reaches(name, "dlt") for name in imports(path))}
    assert {module for module in users if FLOORS.get(module, 0) < DLT_FROM_FLOOR} == set()
    assert "resources" in users


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
    users = {(path.stem, owner) for path in python_files("sources") for name, owner in calls(path) if name in CLOCKS}
    assert users == {("limits", "SystemClock")}
    from_time = {name for path in python_files("sources") for name in imports(path) if name.startswith("time.")}
    assert from_time == set()


def test_the_source_logs_and_never_prints() -> None:
    assert [path.stem for path in python_files("sources") if any(name == "print" for name, _ in calls(path))] == []


@pytest.mark.parametrize(
    ("folder", "foreign"),
    [
        ("sandbox", ("sources", "pipelines", "tests", "benchmarks", "klaviyo_api", "openapi_client")),
        ("sources", ("sandbox", "pipelines", "tests", "benchmarks", "klaviyo_api", "openapi_client")),
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
