"""What the tests ask of the installed SDK, asked of the SDKs of the other revisions too."""

from __future__ import annotations

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


@pytest.mark.parametrize("file", ASKING)
@pytest.mark.parametrize("revision", sdks.beside())
def test_the_sdk_of_another_revision_agrees_as_the_installed_one_does(revision: str, file: str) -> None:
    asked = sdks.run(revision, "pytest", file, "-n0", "-p", "no:cacheprovider")
    assert asked.returncode == 0, asked.stdout + asked.stderr
