"""Whether a refused request for children means that their parent is gone."""

from __future__ import annotations

from typing import cast

import pytest

from sources.klaviyo.catalog.endpoints import endpoints
from sources.klaviyo.catalog.revisions import REVISIONS
from sources.klaviyo.errors import AuthError, KlaviyoError, RequestRejected, TransientError
from sources.klaviyo.extract.vanished import Vanished, own_endpoint
from sources.klaviyo.http.client import Client, Page, Traffic

REVISION = "2026-10-15"
MEMBERS = endpoints(REVISION)["list_profiles"]
BAD = RequestRejected("refused", status=400, detail="A list with id Xy7 does not exist.")


class Klaviyo:
    """Answers the request for the parent."""

    def __init__(self, answer: KlaviyoError | None) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def get(self, path: str, *_: object) -> Page:
        self.asked.append(path)
        if self.answer is not None:
            raise self.answer
        return Page(b"{}", None)


@pytest.mark.parametrize(
    ("answer", "gone"),
    [
        (RequestRejected("no such list", status=404), True),
        (RequestRejected("refused", status=400, detail="'Xy7' is not a valid id."), True),
        (RequestRejected("refused", status=400, detail="The revision is not supported."), False),
        (RequestRejected("retired", status=410), False),
        (AuthError("no scope", status=403), False),
        (TransientError("down"), False),
        (None, False),
    ],
)
def test_the_answer_about_the_parent_itself_decides(answer: KlaviyoError | None, gone: bool) -> None:
    klaviyo = Klaviyo(answer)
    vanished = Vanished(cast(Client, klaviyo), REVISION)
    assert vanished.explains(BAD, MEMBERS, "Xy7", Traffic()) is gone
    assert klaviyo.asked == ["/api/lists/Xy7"]


@pytest.mark.parametrize("status", [405, 409, 410, 415])
def test_what_says_nothing_of_the_parent_asks_for_nothing(status: int) -> None:
    klaviyo = Klaviyo(RequestRejected("no such list", status=404))
    error = RequestRejected("refused", status=status)
    assert not Vanished(cast(Client, klaviyo), REVISION).explains(error, MEMBERS, "Xy7", Traffic())
    assert klaviyo.asked == []


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_parent_but_the_schemas_of_objects_has_a_record_of_its_own(revision: str) -> None:
    without = {
        endpoint.parent.endpoint
        for endpoint in endpoints(revision).values()
        if endpoint.parent is not None and own_endpoint(endpoint, revision) is None
    }
    # Klaviyo has no such endpoint, so a 400 about the children of a schema fails the report.
    assert without == {"object_schemas"}
    assert own_endpoint(endpoints(revision)["profiles"], revision) is None
