"""Lookups: records that no page of a report can include, joined to pages as if Klaviyo had included them.

From revision 2026-10-15 on, only the variations of a campaign's messages tell what it sends and by which channel. They
are requested once in a run for all reports that need them, and added to the included records of the pages of campaigns
and messages (docs/decisions/0006). Whether the list of messages can include them is not known, so it is tried: with
that, one request brings the variations of many messages. Where Klaviyo refuses, they are requested message by message
(docs/decisions/0019).
"""

from __future__ import annotations

import json
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import nullcontext, suppress
from dataclasses import replace

import msgspec
from msgspec import Raw

from ..catalog.model import Endpoint, Variant
from ..catalog.report import Lookup
from ..errors import RequestRejected
from ..http import query
from ..http.client import Client, Traffic
from ..jsonapi import UNREADABLE, decode_object, has_data, index_of, object_of, page_records, refs_of, text_at
from .vanished import Vanished


class _Ref(msgspec.Struct):
    type: str
    id: str


class _Related(msgspec.Struct):
    data: list[_Ref] | _Ref | None = None


class _Record(_Ref):
    relationships: dict[str, _Related] | None = None


_decode_record = msgspec.json.Decoder(_Record).decode

#: The most parents that one request names. Their ids make a URL of about 2,000 characters.
_MOST_IDS = 50


class Lookups:
    """Answers for single parents, each requested once for all readers (single-flight). Thread-safe.

    An answer is kept, packed, until the last reader has taken it.

    Attributes:
        refused: in this run Klaviyo did not include the records in the list of their parents.
    """

    def __init__(self, client: Client, vanished: Vanished) -> None:
        self._client = client
        self._vanished = vanished
        self.refused = False
        # Whether the list of the parents includes the records; None until it was tried, by one thread at a time.
        self._included: bool | None = None
        self._trying = threading.Lock()
        self._lock = threading.Lock()
        # Path of a request -> its answer, and how many readers have taken it.
        self._answers: dict[str, Future[bytes]] = {}
        self._taken: Counter[str] = Counter()

    def one_by_one(self) -> None:
        """Do not try the list of the parents: it is known to include no such records."""
        self._included = False

    def joined(
        self, page: bytes, lookup: Lookup, readers: int, traffic: Traffic, stop: Callable[[], bool]
    ) -> bytes | None:
        """A page with the records of all its parents among its included ones; None if `stop` says so first.

        Args:
            page: a JSON:API document. The parents are its own records, or records that they point at.
            readers: how many readers ask for the same parents.
            traffic: counts the requests.

        Raises:
            KlaviyoError: the request for a parent failed.
        """
        kind, answers = lookup.parents.type, dict[str, bytes]()
        ids = parents(page, kind)
        for start in range(0, len(ids), _MOST_IDS):
            if stop():
                return None
            together = ids[start : start + _MOST_IDS]
            answers |= self._together(together, lookup, readers, traffic)
            for parent_id in together:
                if parent_id in answers:
                    continue
                if stop():
                    return None
                answers[parent_id] = self._get(parent_id, lookup.endpoint, readers, traffic)
        return join(page, kind, relationship_of(lookup), answers) if answers else page

    @property
    def _known_not_to_include(self) -> bool:
        # Another thread may find out at any time.
        return self._included is False

    def _together(self, ids: Sequence[str], lookup: Lookup, readers: int, traffic: Traffic) -> dict[str, bytes]:
        """The answers of those parents that nobody has asked for, as far as one request brings them."""
        if self._known_not_to_include:
            return {}
        mine: dict[str, tuple[str, Future[bytes]]] = {}
        with self._lock:
            for parent_id in ids:
                path = query.url(lookup.endpoint, parent_id=parent_id)
                if path not in self._answers:
                    answer = self._answers[path] = Future()
                    self._taken[path] = 1
                    mine[parent_id] = path, answer
        if not mine:
            return {}
        try:
            with self._trying if self._included is None else nullcontext():
                found = {} if self._known_not_to_include else self._listed([*mine], lookup, traffic)
        except BaseException as error:
            for path, answer in mine.values():
                self._fail(path, answer, error)
            raise
        for parent_id, (path, answer) in mine.items():
            with self._lock:
                if self._answers.get(path) is answer and (parent_id not in found or readers == 1):
                    del self._answers[path], self._taken[path]
            if parent_id in found:
                answer.set_result(zlib.compress(found[parent_id]))
            else:
                # Whoever waits for it asks anew.
                answer.cancel()
        return found

    def _listed(self, ids: Sequence[str], lookup: Lookup, traffic: Traffic) -> dict[str, bytes]:
        """What the list of the parents includes, for those parents whose records it has for certain."""
        relationship, endpoint = relationship_of(lookup), replace(lookup.parents, cursor=None)
        wanted = Variant(f"any(id,{json.dumps(list(ids), separators=(',', ':'))})")
        try:
            path = query.url(endpoint, variant=wanted, include=(relationship,))
            page = self._client.get(path, endpoint, endpoint.rate, traffic)
        except RequestRejected as error:
            if error.status != 400:
                raise
            self._included = False
            self.refused = error.parameter == "include" or relationship in error.detail
            return {}
        listed, found = included_by_parent(page.body, relationship)
        if listed and self._included is None:
            self._included = bool(found)
            self.refused = not found
        return found

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
        try:
            return zlib.decompress(earlier.result())
        except CancelledError:
            return self._get(parent_id, endpoint, readers, traffic)

    def _fail(self, path: str, answer: Future[bytes], error: BaseException) -> None:
        """Raise the error in all readers that wait for this answer; a later reader requests it again."""
        with self._lock:
            self._answers.pop(path, None)
            self._taken.pop(path, None)
        answer.set_exception(error)


def relationship_of(lookup: Lookup) -> str:
    """The relationship of a parent that leads to its records."""
    return lookup.endpoint.path.rpartition("/")[2]


def included_by_parent(page: bytes, relationship: str) -> tuple[int, dict[str, bytes]]:
    """How many parents a page has, and the document with its records for each parent that has all of them included."""
    records, included = page_records(page, Counter())
    index = index_of(included)
    found = {}
    for record in records:
        linked = (object_of((object_of(record) or {}).get("relationships")) or {}).get(relationship)
        refs, parent_id = refs_of(linked) if has_data(linked) else None, text_at(record, "id")
        if refs is None or parent_id is None or any((ref.type, ref.id) not in index for ref in refs):
            continue
        found[parent_id] = b'{"data":[%b]}' % b",".join(bytes(index[ref.type, ref.id]) for ref in refs)
    return len(records), found


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
    # A record that comes twice for one parent is one.
    refs: dict[str, dict[tuple[str, str], _Ref]] = {}
    looked_up: list[Raw] = []
    for parent_id, document in answers.items():
        for record in page_records(document, Counter())[0]:
            with suppress(*UNREADABLE):
                header = _decode_record(record)
                refs.setdefault(parent_id, {})[header.type, header.id] = _Ref(header.type, header.id)
            looked_up.append(_related(record, kind, _Ref(kind, parent_id)))
    listed = {parent_id: [*found.values()] for parent_id, found in refs.items()}
    own = [
        _related(record, relationship, [ref for parent in _parents_of(record, kind) for ref in listed.get(parent, ())])
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
