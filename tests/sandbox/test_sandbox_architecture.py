"""The sandbox: which subpackage each module lies in, and what a subpackage may import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SANDBOX = ROOT / "sandbox"

#: A module imports from its own subpackage and from the subpackages after it in this list.
SUBPACKAGES = ["http", "analytics", "store", "data", "rules"]
#: The only modules outside the subpackages: the public names, and the command line.
OUTSIDE = {"sandbox/__init__.py", "sandbox/__main__.py"}
FOREIGN = {"sources", "pipelines", "tests", "benchmarks", "tools", "klaviyo_api", "openapi_client"}


def modules() -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in SANDBOX.rglob("*.py"))


def subpackage(module: str) -> str:
    """The folder below `sandbox/` that a module lies in; "" outside the folders."""
    return Path(module).parts[1] if len(Path(module).parts) > 2 else ""


@cache
def import_statements(module: str) -> list[ast.Import | ast.ImportFrom]:
    """The imports of a module, also those within functions."""
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def file_of(parts: tuple[str, ...]) -> str | None:
    """The file of a dotted name, if it is a module of this project."""
    path = ROOT.joinpath(*parts)
    candidates = [path / "__init__.py", path.with_suffix(".py")] if parts else []
    return next((found.relative_to(ROOT).as_posix() for found in candidates if found.is_file()), None)


@cache
def imported(module: str) -> frozenset[str]:
    """The modules of the sandbox that a module imports."""

    def found() -> Iterator[str | None]:
        package = Path(module).parts[:-1]
        for node in import_statements(module):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = (*package[: len(package) - node.level + 1], *(node.module.split(".") if node.module else ()))
                submodules = [file_of((*base, name.name)) for name in node.names]
                yield from submodules
                if None in submodules:
                    yield file_of(base)

    return frozenset(name for name in found() if name is not None)


def test_every_module_lies_in_a_room() -> None:
    assert {module for module in modules() if subpackage(module) not in SUBPACKAGES} == OUTSIDE
    assert {subpackage(module) for module in modules()} == {"", *SUBPACKAGES}


@pytest.mark.parametrize("module", sorted(set(modules()) - OUTSIDE))
def test_imports_descend_room_by_room(module: str) -> None:
    below = {"", *SUBPACKAGES[: SUBPACKAGES.index(subpackage(module))]}
    assert {other for other in imported(module) if subpackage(other) in below} == set()


def test_the_rooms_are_connected_as_the_order_says() -> None:
    pairs = {
        (subpackage(module), subpackage(other)) for module in set(modules()) - OUTSIDE for other in imported(module)
    }
    assert {pair for pair in pairs if pair[0] != pair[1]} == {
        ("http", "analytics"),
        ("http", "store"),
        ("http", "data"),
        ("http", "rules"),
        ("analytics", "store"),
        ("analytics", "data"),
        ("store", "data"),
    }


def test_no_module_imports_itself_through_others() -> None:
    finished: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above, module])
        if module not in finished:
            for other in imported(module):
                visit(other, (*above, module))
            finished.add(module)

    for module in modules():
        visit(module, ())


@pytest.mark.parametrize("module", modules())
def test_the_sandbox_imports_its_own_modules_by_relative_names(module: str) -> None:
    absolute = [
        name
        for node in import_statements(module)
        for name in ([each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if isinstance(node, ast.Import) or node.level == 0
    ]
    assert {name for name in absolute if name.split(".")[0] in {"sandbox", "klaviyo_sandbox"}} == set()


@pytest.mark.parametrize("module", modules())
def test_the_sandbox_imports_nothing_of_the_rest_of_the_project_and_nothing_of_the_sdk(module: str) -> None:
    found = set()
    for node in import_statements(module):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif node.level == 0:
            found.add(str(node.module).split(".")[0])
        else:
            # A relative import must not climb out of the package.
            assert node.level <= len(Path(module).parts) - 1
    assert found & FOREIGN == set()


def test_the_rules_are_beside_their_loader() -> None:
    assert {path.suffix for path in (SANDBOX / "rules").iterdir() if path.is_file()} == {".py", ".json"}
