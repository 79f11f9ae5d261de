"""What Klaviyo lists for one parent at a time joins the pages of those who need it, asked for once."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from sources.klaviyo.catalog.endpoints import endpoints
from sources.klaviyo.catalog.report import Lookup
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.decode.records import Shaper
from sources.klaviyo.errors import KlaviyoError, RequestRejected, TransientError
from sources.klaviyo.extract.lookups import Lookups, join, parents
from sources.klaviyo.extract.vanished import Vanished
from sources.klaviyo.http.client import Client, Page, Traffic

REVISION = "2026-10-15"
VARIATIONS = endpoints(REVISION)["campaign_variations"]
LOOKUP = Lookup(VARIATIONS, endpoints(REVISION)["campaign_messages"])
KIND = "campaign-message"


def variation(name: str, **details: Any) -> dict[str, Any]:
    return {"type": "campaign-variation", "id": name, "attributes": {"definition": {"details": details}}}


def message(name: str, **relationships: Any) -> dict[str, Any]:
    return {"type": KIND, "id": name, "attributes": {"definition": {}}, "relationships": relationships}


def campaign(name: str, *messages: str) -> dict[str, Any]:
    refs = [{"type": KIND, "id": one} for one in messages]
    return {"type": "campaign", "id": name, "relationships": {"campaign-messages": {"data": refs}, "tags": {}}}


def document(*records: dict[str, Any], included: tuple[dict[str, Any], ...] = ()) -> bytes:
    return json.dumps({"data": records, "included": included, "links": {"next": None}}).encode()


REFUSED = RequestRejected(
    "refused", status=400, detail="'campaign-variations' is not allowed for 'include'.", parameter="include"
)


class Klaviyo:
    """Stands for the client: bodies by path, or errors; counts who asks for what."""

    def __init__(
        self,
        answers: dict[str, bytes | KlaviyoError],
        including: Callable[[list[str]], bytes | KlaviyoError] | None = None,
    ) -> None:
        self.answers = answers
        self.including = including
        self.asked: Counter[str] = Counter()
        self.lists: list[list[str]] = []

    def listed(self, path: str) -> Page:
        """The answer to a request for several messages with their variations."""
        asked = parse_qs(urlsplit(path).query)
        assert asked["include"] == ["campaign-variations"]
        assert asked.keys() == {"include", "filter", "page[size]"}
        ids = json.loads(asked["filter"][0].removeprefix("any(id,").removesuffix(")"))
        self.lists.append(ids)
        answer = self.including(ids) if self.including else REFUSED
        if isinstance(answer, KlaviyoError):
            raise answer
        return Page(answer, None)

    def get(self, path: str, endpoint: object, rate: object, traffic: Traffic) -> Page:
        traffic.requests += 1
        if path.startswith("/api/campaign-messages?"):
            return self.listed(path)
        self.asked[path] += 1
        answer = self.answers[path]
        if isinstance(answer, KlaviyoError):
            raise answer
        return Page(answer, None)


def path(name: str) -> str:
    return f"/api/campaign-messages/{name}/campaign-variations"


def lookups_of(klaviyo: Klaviyo, together: bool = False) -> Lookups:
    client = cast(Client, klaviyo)
    lookups = Lookups(client, Vanished(client, REVISION))
    if not together:
        lookups.one_by_one()
    return lookups


def joined(lookups: Lookups, page: bytes, readers: int = 1, traffic: Traffic | None = None) -> Any:
    body = lookups.joined(page, LOOKUP, readers, traffic or Traffic(), lambda: False)
    assert body is not None
    return json.loads(body)


def test_parents_are_the_records_themselves_or_what_they_point_at_each_once() -> None:
    assert parents(document(message("M1"), message("M2"), message("M1")), KIND) == ["M1", "M2"]
    assert parents(document(campaign("C1", "M1", "M2"), campaign("C2", "M2"), campaign("C3")), KIND) == ["M1", "M2"]
    assert parents(document(), KIND) == []
    assert parents(b'{"data":[{"id":7},null,"x",{"type":"campaign","id":"C","relationships":[]}]}', KIND) == []


def test_what_is_found_is_included_and_linked_both_ways() -> None:
    page = document(campaign("C1", "M1", "M2"), campaign("C2"), included=(message("M1"),))
    found = {"M1": document(variation("V1"), variation("V2")), "M2": document(variation("V3"))}
    body = json.loads(join(page, KIND, "campaign-variations", found))
    first, second = body["data"]
    refs = [{"type": "campaign-variation", "id": name} for name in ("V1", "V2", "V3")]
    assert first["relationships"]["campaign-variations"] == {"data": refs}
    assert second["relationships"]["campaign-variations"] == {"data": []}
    assert first["relationships"]["campaign-messages"]["data"] == [{"type": KIND, "id": name} for name in ("M1", "M2")]
    assert [record["id"] for record in body["included"]] == ["M1", "V1", "V2", "V3"]
    backward = [record["relationships"]["campaign-message"]["data"]["id"] for record in body["included"][1:]]
    assert backward == ["M1", "M1", "M2"]


def test_a_record_that_comes_twice_for_a_parent_is_linked_once() -> None:
    found = {"M1": document(variation("V1"), variation("V2"), variation("V1")), "M2": document(variation("V1"))}
    body = json.loads(join(document(message("M1"), message("M2")), KIND, "campaign-variations", found))
    linked = [[ref["id"] for ref in one["relationships"]["campaign-variations"]["data"]] for one in body["data"]]
    assert linked == [["V1", "V2"], ["V1"]]


def test_the_bytes_of_the_attributes_stay_as_they_were_sent() -> None:
    odd = b'{"a": 12345678901234567890123, "b":1.50, "B": "\\u2028", "b":2, "n":null}'
    page = b'{"data":[{"type":"campaign-message","id":"M1","attributes":' + odd + b"}]}"
    found = {"M1": b'{"data":[{"type":"campaign-variation","id":"V1","attributes":' + odd + b"}]}"}
    assert join(page, KIND, "campaign-variations", found).count(odd) == 2


def test_a_record_that_is_none_stays_as_it_is() -> None:
    page = b'{"data":["odd",{"type":"campaign-message","id":"M1","relationships":7}],"included":[8]}'
    found = {"M1": b'{"data":["odd too",{"id":"V1"}]}'}
    body = json.loads(join(page, KIND, "campaign-variations", found))
    assert body["data"][0] == "odd"
    assert body["included"][:2] == [8, "odd too"]


def test_each_parent_is_asked_once_for_all_reads_and_then_forgotten() -> None:
    klaviyo = Klaviyo({path(name): document(variation(f"V-{name}")) for name in ("M1", "M2")})
    lookups, traffic = lookups_of(klaviyo), Traffic()
    of_campaigns = joined(lookups, document(campaign("C1", "M1", "M2")), 2, traffic)
    of_messages = joined(lookups, document(message("M2"), message("M1")), 2, traffic)
    assert klaviyo.asked == {path("M1"): 1, path("M2"): 1}
    assert traffic.requests == 2
    assert [r["id"] for r in of_campaigns["included"]] == ["V-M1", "V-M2"]
    assert [r["id"] for r in of_messages["included"]] == ["V-M2", "V-M1"]
    assert (lookups._answers, lookups._taken) == ({}, Counter())


def test_reads_side_by_side_ask_once_too() -> None:
    names = [f"M{number}" for number in range(50)]
    klaviyo = Klaviyo({path(name): document(variation(f"V-{name}")) for name in names})
    lookups = lookups_of(klaviyo)
    bodies: list[Any] = []
    threads = [
        threading.Thread(target=lambda page=page: bodies.append(joined(lookups, page, 2)))
        for page in (document(*map(message, names)), document(campaign("C1", *reversed(names))))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(klaviyo.asked.values()) == {1}
    assert {len(body["included"]) for body in bodies} == {50}


def test_a_message_that_is_gone_meanwhile_has_no_variations() -> None:
    gone = RequestRejected("gone", status=404, code="", detail="")
    lookups = lookups_of(Klaviyo({path("M1"): gone, path("M2"): document(variation("V2"))}))
    body = joined(lookups, document(message("M1"), message("M2")), 2)
    assert [record["relationships"]["campaign-variations"]["data"] for record in body["data"]] == [
        [],
        [{"type": "campaign-variation", "id": "V2"}],
    ]
    assert joined(lookups, document(message("M1")), 2)["included"] == []


def test_an_error_ends_the_page_and_is_asked_for_again_by_the_next() -> None:
    klaviyo = Klaviyo({path("M1"): TransientError("down")})
    lookups = lookups_of(klaviyo)
    for _ in range(2):
        with pytest.raises(TransientError, match="down"):
            joined(lookups, document(message("M1")), 2)
    klaviyo.answers[path("M1")] = document(variation("V1"))
    assert [record["id"] for record in joined(lookups, document(message("M1")), 2)["included"]] == ["V1"]
    assert klaviyo.asked[path("M1")] == 3


def test_who_has_to_stop_asks_no_further() -> None:
    klaviyo = Klaviyo({path("M1"): document()})
    page = document(message("M1"), message("M2"))
    stop = iter([False, False, True])
    assert lookups_of(klaviyo).joined(page, LOOKUP, 1, Traffic(), lambda: next(stop)) is None
    assert klaviyo.asked == {path("M1"): 1}


def test_a_campaign_has_the_channel_of_its_first_message_in_the_words_of_both_revisions() -> None:
    report = reports(REVISION)["campaigns"]
    page = document(campaign("C1", "M1", "M2"), campaign("C2", "M3"), campaign("C3"), campaign("C4", "M4"))
    found = {
        "M1": document(variation("V1", channel="push"), variation("V2", channel="sms")),
        "M2": document(variation("V3", channel="email")),
        "M3": document(variation("V4", channel="whatsapp")),
        "M4": document(),
    }
    shaped = Shaper(report.contract).shape(join(page, KIND, "campaign-variations", found), {})
    assert shaped.table.column("channel").to_pylist() == ["mobile_push", "whatsapp", None, None]


def test_only_reports_of_campaigns_look_something_up() -> None:
    asking = {name: report.lookup for name, report in reports(REVISION).items() if report.lookup}
    above = endpoints(REVISION)["campaign_messages"]
    assert asking == dict.fromkeys(("campaigns", "campaign_messages", "campaign_variations"), Lookup(VARIATIONS, above))


# --- several parents at once


def with_variations(name: str, *variations: str) -> dict[str, Any]:
    refs = [{"type": "campaign-variation", "id": one} for one in variations]
    return message(name, **{"campaign-variations": {"data": refs}})


def including(ids: list[str]) -> bytes:
    """Every message has two variations, both included."""
    names = {name: (f"V-{name}-1", f"V-{name}-2") for name in ids}
    return document(
        *(with_variations(name, *own) for name, own in names.items()),
        included=tuple(variation(one) for own in names.values() for one in own),
    )


def one_at_a_time(names: list[str]) -> dict[str, bytes | KlaviyoError]:
    return {path(name): document(variation(f"V-{name}-1"), variation(f"V-{name}-2")) for name in names}


def test_where_klaviyo_includes_them_fifty_parents_take_one_request_and_give_the_same_page() -> None:
    names = [f"M{number}" for number in range(120)]
    page = document(*map(message, names))
    together, alone = Klaviyo({}, including), Klaviyo(one_at_a_time(names))
    lookups = lookups_of(together, together=True)
    assert joined(lookups, page) == joined(lookups_of(alone), page)
    assert [len(ids) for ids in together.lists] == [50, 50, 20]
    assert together.asked == {}
    assert not lookups.refused
    assert (lookups._answers, lookups._taken) == ({}, Counter())


def test_where_klaviyo_refuses_it_is_asked_once_and_each_parent_alone() -> None:
    names = [f"M{number}" for number in range(120)]
    klaviyo = Klaviyo(one_at_a_time(names))
    lookups = lookups_of(klaviyo, together=True)
    page = document(*map(message, names))
    assert joined(lookups, page) == joined(lookups_of(Klaviyo(one_at_a_time(names))), page)
    assert len(klaviyo.lists) == 1
    assert klaviyo.asked == {path(name): 1 for name in names}
    assert lookups.refused


def test_a_refusal_of_something_else_is_not_held_against_the_include() -> None:
    klaviyo = Klaviyo(one_at_a_time(["M1"]), lambda _: RequestRejected("no", status=400, detail="'any' is too long."))
    lookups = lookups_of(klaviyo, together=True)
    assert len(joined(lookups, document(message("M1")))["included"]) == 2
    assert not lookups.refused


def test_an_include_that_klaviyo_ignores_counts_as_refused() -> None:
    klaviyo = Klaviyo(one_at_a_time(["M1", "M2"]), lambda ids: document(*map(message, ids)))
    lookups = lookups_of(klaviyo, together=True)
    assert len(joined(lookups, document(message("M1"), message("M2")))["included"]) == 4
    assert lookups.refused


def test_what_the_list_does_not_tell_for_certain_is_asked_for_alone() -> None:
    answer = document(
        with_variations("M1", "V-M1-1", "V-M1-2"),
        with_variations("M2", "V-M2-1", "V-M2-2"),
        message("M3", **{"campaign-variations": {"links": {}}}),
        with_variations("M5"),
        # One variation of the second message is missing, and the fourth message.
        included=(variation("V-M1-1"), variation("V-M1-2"), variation("V-M2-1")),
    )
    klaviyo = Klaviyo(one_at_a_time(["M2", "M3", "M4"]), lambda _: answer)
    lookups = lookups_of(klaviyo, together=True)
    names = ["M1", "M2", "M3", "M4", "M5"]
    found = joined(lookups, document(*map(message, names)))
    refs = {one["id"]: [v["id"] for v in one["relationships"]["campaign-variations"]["data"]] for one in found["data"]}
    assert refs == {name: [f"V-{name}-1", f"V-{name}-2"] for name in names[:4]} | {"M5": []}
    assert klaviyo.asked == {path(name): 1 for name in ("M2", "M3", "M4")}


@pytest.mark.parametrize("answer", [including, None])
def test_reads_side_by_side_get_the_same_whether_klaviyo_includes_or_refuses(
    answer: Callable[[list[str]], bytes] | None,
) -> None:
    names = [f"M{number}" for number in range(130)]
    klaviyo = Klaviyo(one_at_a_time(names), answer)
    lookups = lookups_of(klaviyo, together=True)
    pages = [document(*map(message, names)), document(campaign("C1", *reversed(names))), document(*map(message, names))]
    bodies: dict[int, Any] = {}
    start = threading.Barrier(len(pages))

    def read(number: int) -> None:
        start.wait()
        bodies[number] = joined(lookups, pages[number], len(pages))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(pages))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    alone = Klaviyo(one_at_a_time(names))
    assert [bodies[number] for number in range(len(pages))] == [joined(lookups_of(alone), page) for page in pages]
    asked = sum(map(len, klaviyo.lists)) + sum(klaviyo.asked.values())
    assert asked == (len(names) if answer else sum(map(len, klaviyo.lists)) + len(names))
    assert len(klaviyo.lists) == 1 if answer is None else len(klaviyo.lists) >= 3
    assert (lookups._answers, lookups._taken) == ({}, Counter())


def test_a_fault_while_several_are_asked_for_ends_the_page_and_is_asked_for_again_by_the_next() -> None:
    faults: list[KlaviyoError] = [TransientError("down")]
    klaviyo = Klaviyo({}, lambda ids: faults.pop() if faults else including(ids))
    lookups = lookups_of(klaviyo, together=True)
    with pytest.raises(TransientError, match="down"):
        joined(lookups, document(message("M1")), 2)
    assert len(joined(lookups, document(message("M1")), 2)["included"]) == 2
    assert not lookups.refused
