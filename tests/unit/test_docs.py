"""The documentation says what the code declares, names everything, and its links lead somewhere."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from sources.klaviyo.catalog.reports import REPORT_SPANS, described
from sources.klaviyo.cli.options import COMMANDS
from sources.klaviyo.config.settings import (
    ACCOUNT_SETTINGS,
    ANALYTICS_SETTINGS,
    CUSTOM_SETTINGS,
    METRIC_SETTINGS,
    REPORT_SETTINGS,
)
from tools import docs

ROOT = Path(__file__).resolve().parents[2]
MARKDOWN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
#: A file of the project that a page names in backquotes: `load/runner.py`, `tests/journeys/test_append.py`.
NAMED_FILE = re.compile(r"`([\w./-]+/[\w.-]+\.(?:py|yaml|json|md|toml))`")


@cache
def text_of(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return re.sub(r"^```[\s\S]*?^```$|^    .*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: Counter[str] = Counter()
    names = set()
    for heading in re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


@pytest.mark.parametrize("name", docs.PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (docs.DOCS / name).read_text(encoding="utf-8") == docs.PAGES[name](), "run `make generate`"


def test_every_report_is_on_exactly_one_page() -> None:
    placed = Counter(report for topic in docs.TOPICS for report in topic.reports)
    assert placed == Counter(list(REPORT_SPANS))
    headings = Counter(
        heading
        for topic in docs.TOPICS
        for heading in re.findall(r"^## (.+)$", text_of(docs.DOCS / "reports" / f"{topic.page}.md"), re.MULTILINE)
    )
    assert headings == placed


def test_no_page_of_reports_is_left_over() -> None:
    written = {path.relative_to(docs.DOCS).as_posix() for path in (docs.DOCS / "reports").iterdir()}
    assert written == {name for name in docs.PAGES if name.startswith("reports/")}


@pytest.mark.parametrize("topic", docs.TOPICS, ids=lambda topic: topic.page)
def test_every_column_of_a_report_is_on_its_page(topic: docs.Topic) -> None:
    page = (docs.DOCS / "reports" / f"{topic.page}.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE))
    for report in topic.reports:
        columns = re.findall(r"^\| `(\w+)` \| \w", sections[report], re.MULTILINE)
        assert columns == [column.name for column in described(report).contract.columns]


def test_every_report_is_in_the_index() -> None:
    rows = re.findall(r"^\| \[`(\w+)`\]", text_of(docs.DOCS / "reports" / "README.md"), re.MULTILINE)
    assert sorted(rows) == sorted(REPORT_SPANS)


def test_every_command_is_in_the_documentation() -> None:
    page = docs.DOCS / "commands.md"
    assert set(COMMANDS) <= anchors(page)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [command for command in COMMANDS if f"dlt pipeline klaviyo {command}" not in readme] == []


def test_every_setting_is_in_the_documentation() -> None:
    page = text_of(docs.DOCS / "configuration.md") + text_of(docs.DOCS / "custom-reports.md")
    settings = {**ACCOUNT_SETTINGS, **REPORT_SETTINGS, **METRIC_SETTINGS, **ANALYTICS_SETTINGS, **CUSTOM_SETTINGS}
    assert [name for name in settings if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    # Paths are from the root of the project or, for the source, from `sources/klaviyo/`.
    roots = (ROOT, ROOT / "sources" / "klaviyo")
    named = set(NAMED_FILE.findall(text_of(page)))
    # What a user has, not the project.
    named -= {name for name in named if name.startswith(".dlt/")}
    assert {name for name in named if not any((root / name).exists() for root in roots)} == set()


def test_every_decision_is_in_the_list_of_decisions() -> None:
    folder = docs.DOCS / "decisions"
    records = sorted(path.name for path in folder.glob("[0-9]*.md"))
    numbers = [int(name[:4]) for name in records]
    assert len(set(numbers)) == len(numbers)
    listed = re.findall(r"\]\((\d[^)]+\.md)\)", text_of(folder / "README.md"))
    assert listed == records
