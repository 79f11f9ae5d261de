"""Reads JSON:API documents from bytes: pages, their records, what is included with them, links and references.

Used on the hot path of decoding. Nested JSON stays raw bytes, so that nothing is re-serialised.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw

from .errors import TransientError

#: The media type of requests and answers.
JSON_API = "application/vnd.api+json"

#: What decoding raises. msgspec raises UnicodeDecodeError for text that is not UTF-8.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

#: Under which path broken characters are counted among the misfits.
NOT_UNICODE = "(text that is not Unicode)"
#: The same for NaN and Infinity, and for values that are nested too deep.
NO_NUMBER = "(NaN or Infinity)"
TOO_DEEP = "(nested too deep)"
#: A value that is nested deeper than the second is kept as text from the first level on.
_TEXT_FROM, _MOST_NESTED = 64, 500

#: (type, id) -> included record.
Index = dict[tuple[str, str], Raw]

decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
decode_array = msgspec.json.Decoder(list[Raw]).decode
decode_any = msgspec.json.Decoder().decode
_decode_string = msgspec.json.Decoder(str).decode


# Structs here are never part of a reference cycle, hence gc=False. The garbage collector would otherwise walk every
# page several times while it is decoded, which took much of the time.


class Ref(msgspec.Struct, gc=False):
    """A resource identifier: what a relationship points at."""

    type: str
    id: str


class ToOne(msgspec.Struct, gc=False):
    """A to-one relationship."""

    data: Ref | None = None


class ToMany(msgspec.Struct, gc=False):
    """A to-many relationship."""

    data: list[Ref] | None = None


class Page(msgspec.Struct, gc=False):
    """A document whose `data` is one record or a list of them."""

    data: Raw
    included: list[Raw] | None = None


class ListPage(msgspec.Struct, gc=False):
    """A document whose `data` is a list of records."""

    data: list[Raw]
    included: list[Raw] | None = None


class _Links(msgspec.Struct, gc=False):
    next: str | None = None


class _LinksPage(msgspec.Struct, gc=False):
    links: _Links | None = None


decode_list = msgspec.json.Decoder(ListPage).decode
_decode_header = msgspec.json.Decoder(Ref).decode
_decode_page = msgspec.json.Decoder(Page).decode
_decode_links = msgspec.json.Decoder(_LinksPage).decode


def next_link(page: bytes) -> str | None:
    """`links.next` of a page, or None on the last one.

    Raises:
        TransientError: the body is not a complete JSON document, for instance after a cut connection.
    """
    links = decode_whole(_decode_links, page).links
    return links.next if links else None


def decode_whole(decode: Callable[[bytes], Any], page: bytes, misfits: Counter[str] | None = None) -> Any:
    """Decode a page; if it is not quite JSON, decode it again mended.

    Args:
        misfits: counts what was mended.

    Raises:
        TransientError: the page is not the JSON that `decode` expects.
    """
    with suppress(*UNREADABLE):
        return decode(page)
    # A page can be wrong in several ways, and a decoder tells of the first only.
    page, mends = mended(page)
    try:
        try:
            document = decode(page)
        except RecursionError:
            page, deep = shallow(page)
            mends += deep
            document = decode(page)
    except UNREADABLE as error:
        raise TransientError(f"the answer is not the JSON that was expected: {error}") from None
    if misfits is not None:
        misfits.update(mends)
    return document


class _DataPage(msgspec.Struct, gc=False):
    data: list[Raw] | Raw = []


_decode_data = msgspec.json.Decoder(_DataPage).decode


def has_records(page: bytes) -> bool:
    """Whether a page holds any record."""
    try:
        data = _decode_data(page).data
    except UNREADABLE:
        return True
    return bool(data) if isinstance(data, list) else bytes(data) != b"null"


_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|u[dD][89a-fA-F]..|.)", re.DOTALL)
_STRING = rb'"(?:[^"\\]|\\.)*"'
_NO_NUMBER = re.compile(_STRING + rb"|-?\b(?:NaN|Infinity)\b", re.DOTALL)
_BRACKET = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def mended(page: bytes) -> tuple[bytes, Counter[str]]:
    """The page as valid JSON, and what was replaced for that: what -> how often.

    - Python, and so Klaviyo, writes half an emoji (from a text cut at a maximum length) as a lone surrogate. That is not
      a valid character, and decoders and warehouses reject the whole document because of it. Lone surrogates and bytes
      that are not UTF-8 become U+FFFD.
    - Python also writes `NaN` and `Infinity`, which are no JSON. They become strings, which fit no column of numbers, so
      they are kept in `_extra`.
    - A byte order mark goes.
    """
    mends: Counter[str] = Counter()

    def escape(match: re.Match[bytes]) -> bytes:
        text = match.group()
        if len(text) != len(rb"\ud800"):
            return text
        mends[NOT_UNICODE] += 1
        return rb"\ufffd"

    def number(match: re.Match[bytes]) -> bytes:
        text = match.group()
        if text.startswith(b'"'):
            return text
        mends[NO_NUMBER] += 1
        return b'"' + text + b'"'

    page = page.removeprefix(_BYTE_ORDER_MARK)
    try:
        page.decode()
    except UnicodeDecodeError:
        text = page.decode(errors="replace")
        mends[NOT_UNICODE] += text.count("\ufffd") - page.count("\ufffd".encode())
        page = text.encode()
    if b"\\ud" in page or b"\\uD" in page:
        page = _ESCAPE.sub(escape, page)
    if b"NaN" in page or b"Infinity" in page:
        page = _NO_NUMBER.sub(number, page)
    return page, mends


def shallow(page: bytes) -> tuple[bytes, Counter[str]]:
    """The page with values that are nested too deep for any decoder as strings of their JSON, and how many there were.

    Decoders go down recursively, and fail for the whole page (seen from about 1,000 levels on).
    """
    mends: Counter[str] = Counter()
    parts, taken, depth, deepest, start = [], 0, 0, 0, 0
    for match in _BRACKET.finditer(page):
        bracket = match.group()
        if bracket in (b"[", b"{"):
            depth += 1
            if depth == _TEXT_FROM:
                start, deepest = match.start(), depth
            deepest = max(deepest, depth)
        elif bracket in (b"]", b"}"):
            if depth == _TEXT_FROM and deepest > _MOST_NESTED:
                parts += [page[taken:start], msgspec.json.encode(page[start : match.end()].decode(errors="replace"))]
                taken = match.end()
                mends[TOO_DEEP] += 1
            depth -= 1
    return b"".join([*parts, page[taken:]]), mends


def page_records(page: bytes, misfits: Counter[str]) -> tuple[list[Raw], list[Raw]]:
    """The records of a page and its included records, each as it was sent.

    Args:
        misfits: counts what was mended: `NOT_UNICODE`, `NO_NUMBER`, `TOO_DEEP`.

    Raises:
        TransientError: the page is not a JSON:API document.
    """
    page, mends = mended(page)
    misfits.update(mends)
    document = decode_whole(_decode_page, page, misfits)
    records = decode_array(document.data) if bytes(document.data).startswith(b"[") else [document.data]
    return [raw for raw in records if bytes(raw) != b"null"], document.included or []


def object_of(raw: Raw | None) -> dict[str, Raw] | None:
    """The members of a JSON object; None where it is absent, null or something else."""
    try:
        return None if raw is None else decode_object(raw)
    except UNREADABLE:
        return None


def refs_of(raw: Raw | None) -> list[Ref] | None:
    """The references of a to-one or to-many relationship, as a list; None where they cannot be read."""
    relationship = object_of(raw)
    if relationship is None:
        return None
    data = relationship.get("data")
    try:
        refs = msgspec.json.decode(data, type=list[Ref] | Ref | None) if data is not None else None
    except msgspec.DecodeError:
        return None
    return refs if isinstance(refs, list) else [refs] if refs else []


def has_data(raw: Raw | None) -> bool:
    """Whether a relationship has `data` that is not null; an empty list counts."""
    return bytes((object_of(raw) or {}).get("data") or b"null") != b"null"


def json_ids(refs: Sequence[Ref] | None) -> str | None:
    """The ids of a to-many relationship as a JSON list; None where it is absent."""
    if not refs:
        return None if refs is None else "[]"
    return msgspec.json.encode([ref.id for ref in refs]).decode()


def index_of(included: Iterable[Raw] | None) -> Index:
    """Included records by type and id."""
    index: Index = {}
    for raw in included or ():
        try:
            header = _decode_header(raw)
        except msgspec.DecodeError:
            # Without an id no relationship can point at it, but it can still be a row of its own.
            header = Ref(text_of((object_of(raw) or {}).get("type")) or "", f"no-id-{len(index)}")
        index[header.type, header.id] = raw
    return index


def stand_in_id(raw: Raw) -> str:
    """An id for a record that has none: a hash of its content."""
    return f"no-id-{hashlib.sha256(bytes(raw)).hexdigest()[:32]}"


def text_of(raw: Raw | None) -> str | None:
    """A JSON string as text, any other value as its JSON; None for null."""
    if raw is None or bytes(raw) == b"null":
        return None
    try:
        return _decode_string(raw)
    except UNREADABLE:
        return bytes(raw).decode(errors="replace")


def json_object(values: Mapping[str, bytes]) -> str:
    """A JSON object from values that are already JSON."""
    parts = [msgspec.json.encode(key) + b":" + value for key, value in values.items()]
    return (b"{" + b",".join(parts) + b"}").decode(errors="replace")


def text_at(raw: Raw | None, path: str) -> str | None:
    """`text_of` the value at a dotted path; None where the path does not exist."""
    for step in path.split("."):
        raw = (object_of(raw) or {}).get(step)
    return text_of(raw)
