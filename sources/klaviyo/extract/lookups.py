"""Lookups: records that Klaviyo lists for one parent at a time and never includes, joined to pages as if it did.

From revision 2026-10-15 on, only the variations of a campaign's messages tell what it sends and by which channel. They
are requested message by message, once in a run for all reports that need them, and added to the included records of the
pages of campaigns and messages (docs/decisions/0006).
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
from .vanished import Vanished


class _Ref(msgspec.Struct):
    type: str
    id: str


class _Related(msgspec.Struct):
    data: list[_Ref] | _Ref | None = None


class _Record(_Ref):
    relationships: dict[str, _Related] | None = None


_decode_record = msgspec.json.Decoder(_Record).decode


class Lookups:
    """Answers for single parents, each requested once for all readers (single-flight). Thread-safe.

    An answer is kept, packed, until the last reader has taken it.
    """

    def __init__(self, client: Client, vanished: Vanished) -> None:
        self._client = client
        self._vanished = vanished
        self._lock = threading.Lock()
        # Path of a request -> its answer, and how many readers have taken it.
        self._answers: dict[str, Future[bytes]] = {}
        self._taken: Counter[str] = Counter()

    def joined(
        self, page: bytes, endpoint: Endpoint, kind: str, readers: int, traffic: Traffic, stop: Callable[[], bool]
    ) -> bytes | None:
        """A page with the records of all its parents among its included ones; None if `stop` says so first.

        Args:
            page: a JSON:API document.
            endpoint: lists the records of one parent, with the parent's id in its path.
            kind: JSON:API type of the parents: the page's own records, or records that they point at.
            readers: how many readers ask for the same parents.
            traffic: counts the requests.

        Raises:
            KlaviyoError: the request for a parent failed.
        """
        answers: dict[str, bytes] = {}
        for parent_id in parents(page, kind):
            if stop():
                return None
            answers[parent_id] = self._get(parent_id, endpoint, readers, traffic)
        return join(page, kind, endpoint.path.rpartition("/")[2], answers) if answers else page

    def _get(self, parent_id: str, endpoint: Endpoint, readers: int, traffic: Traffic) -> bytes:
        path = query.url(endpoint, parent_id=parent_id)
        with self._lock:
            earlier = self._answers.get(path)
            answer = self._answers[path] = Future() if earlier is None else earlier
            self._taken[path] += 1
            if last := self._taken[path] >= readers:
                del self._answers[path], self._taken[path]
        if earlier is None:
            try:
                body = self._client.get(path, endpoint, endpoint.rate, traffic).body
            except RequestRejected as error:
                absent = error.status == 404 and endpoint.parent is not None and endpoint.parent.absent_ok
                if not absent and not self._vanished.explains(error, endpoint, parent_id, traffic):
                    self._fail(path, answer, error)
                    raise
                body = b'{"data":[]}'
            except BaseException as error:
                self._fail(path, answer, error)
                raise
            if not last:
                answer.set_result(zlib.compress(body))
            return body
        return zlib.decompress(earlier.result())

    def _fail(self, path: str, answer: Future[bytes], error: BaseException) -> None:
        """Raise the error in all readers that wait for this answer; a later reader requests it again."""
        with self._lock:
            self._answers.pop(path, None)
            self._taken.pop(path, None)
        answer.set_exception(error)


def parents(page: bytes, kind: str) -> list[str]:
    """Ids of a type on a page, each once: of its own records, or of records that they point at."""
    records, _ = page_records(page, Counter())
    return list(dict.fromkeys(parent_id for record in records for parent_id in _parents_of(record, kind)))


def join(page: bytes, kind: str, relationship: str, answers: Mapping[str, bytes]) -> bytes:
    """A page with the records of its parents among its included ones, and relationships in both directions.

    Args:
        kind: JSON:API type of the parents.
        relationship: name of the new relationship of the page's own records.
        answers: id of a parent -> the document with its records.
    """
    records, included = page_records(page, Counter())
    refs: dict[str, list[_Ref]] = {}
    looked_up: list[Raw] = []
    for parent_id, document in answers.items():
        for record in page_records(document, Counter())[0]:
            with suppress(*UNREADABLE):
                header = _decode_record(record)
                refs.setdefault(parent_id, []).append(_Ref(header.type, header.id))
            looked_up.append(_related(record, kind, _Ref(kind, parent_id)))
    own = [
        _related(record, relationship, [ref for parent in _parents_of(record, kind) for ref in refs.get(parent, ())])
        for record in records
    ]
    return msgspec.json.encode({"data": own, "included": [*included, *looked_up]})


def _parents_of(raw: Raw, kind: str) -> list[str]:
    try:
        record = _decode_record(raw)
    except UNREADABLE:
        return []
    if record.type == kind:
        return [record.id]
    ids = []
    for related in (record.relationships or {}).values():
        refs = related.data if isinstance(related.data, list) else [related.data] if related.data else []
        ids += [ref.id for ref in refs if ref.type == kind]
    return ids


def _related(raw: Raw, relationship: str, refs: _Ref | list[_Ref]) -> Raw:
    """A record with one more relationship. Its other members keep their bytes; what is not a record stays as it is."""
    try:
        record = decode_object(raw)
        relationships = decode_object(record["relationships"]) if "relationships" in record else {}
    except UNREADABLE:
        return raw
    relationships[relationship] = Raw(msgspec.json.encode({"data": refs}))
    record["relationships"] = Raw(msgspec.json.encode(relationships))
    return Raw(msgspec.json.encode(record))
