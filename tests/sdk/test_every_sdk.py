"""What the tests ask of the installed SDK, asked of the SDKs of the other revisions too."""

from __future__ import annotations

import subprocess

import pytest

from sources.klaviyo.catalog.capabilities import revisions
from tests.support import sdks

ASKING = [
    "tests/sdk/test_contracts.py",
    "tests/sandbox/test_sandbox_sdk.py",
    "tests/sandbox/test_sandbox_sdk_reports.py",
    "tests/sdk/test_sdk_agreement.py",
]


def test_there_is_an_sdk_for_every_revision_with_facts() -> None:
    assert sorted([*sdks.beside(), sdks.first()]) == revisions()


@pytest.mark.parametrize("revision", sdks.beside())
def test_an_sdk_that_lies_beside_comes_first_where_it_is_asked_for(revision: str) -> None:
    assert sdks.run(revision, "tests.support.sdks").stdout == revision


@pytest.fixture(scope="module", params=sdks.beside())
def asked(request: pytest.FixtureRequest) -> subprocess.CompletedProcess[str]:
    """All these files in one process: to import an SDK takes longer than to ask it."""
    return sdks.run(request.param, "pytest", *ASKING, "-n0", "-p", "no:cacheprovider")


def test_the_files_are_run_with_the_sdk_of_another_revision(asked: subprocess.CompletedProcess[str]) -> None:
    assert asked.returncode in (0, 1), asked.stdout + asked.stderr
    assert "passed" in asked.stdout


@pytest.mark.parametrize("file", ASKING)
def test_the_sdk_of_another_revision_agrees_as_the_installed_one_does(
    asked: subprocess.CompletedProcess[str], file: str
) -> None:
    complaints = [line for line in asked.stdout.splitlines() if line.startswith((f"FAILED {file}", f"ERROR {file}"))]
    assert complaints == [], asked.stdout + asked.stderr
