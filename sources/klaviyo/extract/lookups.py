"""Records that Klaviyo lists for one parent at a time and includes nowhere, put among the included ones of a page.

From revision 2026-10-15 on what a campaign sends, and by which channel, stands in the variations of its messages alone.
They are asked for message by message, once a run for all reports that need them, and joined to the pages of campaigns
and of messages as if Klaviyo had included them (docs/decisions/0006).
"""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress

import msgspec
from msgspec import Raw

from ..catalog.model import Endpoint
from ..errors import RequestRejected
from ..http import query
from ..http.client import Client, Traffic
from ..jsonapi import UNREADABLE, decode_object, page_records


class _Ref(msgspec.Struct):
    type: str
    id: str


class _Related(msgspec.Struct):
    data: list[_Ref] | _Ref | None = None


class _Record(_Ref):
    relationships: dict[str, _Related] | None = None


_decode_record = msgspec.json.Decoder(_Record).decode


class Lookups:
    """Answers for single parents, each asked for once, however many reads want it.

    An answer waits, packed, until the last of them has taken it.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._asked: dict[str, Future[bytes]] = {}
        self._taken: Counter[str] = Counter()

    def joined(
        self, page: bytes, endpoint: Endpoint, kind: str, readers: int, traffic: Traffic, stop: Callable[[], bool]
    ) -> bytes | None:
        """A page with what is found for its parents among the included records; None if it is to stop first.

        Args:
            page: a JSON:API document.
            endpoint: what to ask, with the parent's id in its path.
            kind: JSON:API type of the parents, the page's own records or those that they point at.
            readers: how many reads will ask for the same parents.
            traffic: where to count.

        Raises:
            KlaviyoError: one of the parents cannot be asked.
        """
        found: dict[str, bytes] = {}
        for parent_id in parents(page, kind):
            if stop():
                return None
            found[parent_id] = self._of(query.url(endpoint, parent_id=parent_id), endpoint, readers, traffic)
        return join(page, kind, endpoint.path.rpartition("/")[2], found) if found else page

    def _of(self, path: str, endpoint: Endpoint, readers: int, traffic: Traffic) -> bytes:
        with self._lock:
            waiting = self._asked.get(path)
            mine = self._asked[path] = Future() if waiting is None else waiting
            self._taken[path] += 1
            if last := self._taken[path] >= readers:
                del self._asked[path], self._taken[path]
        if waiting is None:
            try:
                body = self._client.get(path, endpoint, endpoint.rate, traffic).body
            except RequestRejected as error:
                if error.status != 404 or endpoint.parent is None or not endpoint.parent.absent_ok:
                    self._failed(path, mine, error)
                    raise
                body = b'{"data":[]}'
            except BaseException as error:
                self._failed(path, mine, error)
                raise
            if not last:
                mine.set_result(zlib.compress(body))
            return body
        return zlib.decompress(waiting.result())

    def _failed(self, path: str, asked: Future[bytes], error: BaseException) -> None:
        """Whoever waits for this answer has the same error; whoever comes later asks again."""
        with self._lock:
            self._asked.pop(path, None)
            self._taken.pop(path, None)
        asked.set_exception(error)


def parents(page: bytes, kind: str) -> list[str]:
    """Ids of a type in a page, each once: of its own records, or of those that they point at."""
    records, _ = page_records(page, Counter())
    return list(dict.fromkeys(parent_id for record in records for parent_id in _parents_of(record, kind)))


def join(page: bytes, kind: str, relationship: str, found: Mapping[str, bytes]) -> bytes:
    """A page with the found records among its included ones, and relationships that lead there and back.

    Args:
        kind: JSON:API type of the parents.
        relationship: what the page's own records call what was found.
        found: id of a parent -> the document with its records.
    """
    records, included = page_records(page, Counter())
    refs: dict[str, list[_Ref]] = {}
    beside: list[Raw] = []
    for parent_id, document in found.items():
        for record in page_records(document, Counter())[0]:
            with suppress(*UNREADABLE):
                known = _decode_record(record)
                refs.setdefault(parent_id, []).append(_Ref(known.type, known.id))
            beside.append(_related(record, kind, _Ref(kind, parent_id)))
    own = [
        _related(record, relationship, [ref for one in _parents_of(record, kind) for ref in refs.get(one, ())])
        for record in records
    ]
    return msgspec.json.encode({"data": own, "included": [*included, *beside]})


def _parents_of(raw: Raw, kind: str) -> list[str]:
    try:
        record = _decode_record(raw)
    except UNREADABLE:
        return []
    if record.type == kind:
        return [record.id]
    found = []
    for related in (record.relationships or {}).values():
        refs = related.data if isinstance(related.data, list) else [related.data] if related.data else []
        found += [ref.id for ref in refs if ref.type == kind]
    return found


def _related(raw: Raw, relationship: str, refs: _Ref | list[_Ref]) -> Raw:
    """A record with one more relationship; every other byte of its parts stays, and a record that is none stays whole."""
    try:
        record = decode_object(raw)
        relationships = decode_object(record["relationships"]) if "relationships" in record else {}
    except UNREADABLE:
        return raw
    relationships[relationship] = Raw(msgspec.json.encode({"data": refs}))
    record["relationships"] = Raw(msgspec.json.encode(relationships))
    return Raw(msgspec.json.encode(record))
