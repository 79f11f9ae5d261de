"""Reads JSON:API documents from bytes: pages, their records, what is included with them, links and references.

Used on the hot path of decoding. Nested JSON stays raw bytes, so that nothing is re-serialised.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from .errors import TransientError

#: The media type of requests and answers.
JSON_API = "application/vnd.api+json"

#: What decoding raises. msgspec raises UnicodeDecodeError for text that is not UTF-8.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)

#: Under which path broken characters are counted among the misfits.
NOT_UNICODE = "(text that is not Unicode)"

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


def decode_whole(decode: Callable[[bytes], Any], page: bytes) -> Any:
    """Decode a page; if it has text that is not Unicode, decode it again with that text mended.

    Raises:
        TransientError: the page is not the JSON that `decode` expects.
    """
    try:
        return decode(page)
    except UNREADABLE:
        page, _ = mended(page)
    try:
        return decode(page)
    except msgspec.DecodeError as error:
        raise TransientError(f"the answer is not the JSON that was expected: {error}") from None


_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|u[dD][89a-fA-F]..|.)", re.DOTALL)


def mended(page: bytes) -> tuple[bytes, int]:
    """The page with all text valid Unicode, and how many characters were replaced.

    Python, and so Klaviyo, writes half an emoji (from a text cut at a maximum length) as a lone surrogate. That is not
    a valid character, and decoders and warehouses reject the whole document because of it. Lone surrogates and bytes
    that are not UTF-8 become U+FFFD.
    """
    broken = 0

    def replaced(match: re.Match[bytes]) -> bytes:
        nonlocal broken
        escape = match.group()
        if len(escape) != len(rb"\ud800"):
            return escape
        broken += 1
        return rb"\ufffd"

    try:
        page.decode()
    except UnicodeDecodeError:
        text = page.decode(errors="replace")
        broken += text.count("\ufffd") - page.count("\ufffd".encode())
        page = text.encode()
    if b"\\ud" in page or b"\\uD" in page:
        page = _ESCAPE.sub(replaced, page)
    return page, broken


def page_records(page: bytes, misfits: Counter[str]) -> tuple[list[Raw], list[Raw]]:
    """The records of a page and its included records, each as it was sent.

    Args:
        misfits: counts broken characters under `NOT_UNICODE`.

    Raises:
        TransientError: the page is not a JSON:API document.
    """
    page, broken = mended(page)
    if broken:
        misfits[NOT_UNICODE] += broken
    document = decode_whole(_decode_page, page)
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
