"""JSON:API documents, as bytes."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from .errors import TransientError

JSON_API = "application/vnd.api+json"


#: What decoding raises; text that is not UTF-8 has an error of its own.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)

#: Where broken characters are counted among the misfits.
NOT_UNICODE = "(text that is not Unicode)"


Index = dict[tuple[str, str], Raw]


# No struct here takes part in a cycle (gc=False): the collector, which would walk every page several times while it is
# decoded, took much of the time.

decode_object = msgspec.json.Decoder(dict[str, Raw]).decode


decode_any = msgspec.json.Decoder().decode


_decode_string = msgspec.json.Decoder(str).decode


class Ref(msgspec.Struct, gc=False):
    type: str
    id: str


class ToOne(msgspec.Struct, gc=False):
    data: Ref | None = None


class ToMany(msgspec.Struct, gc=False):
    data: list[Ref] | None = None


class Page(msgspec.Struct, gc=False):
    data: Raw
    included: list[Raw] | None = None


_decode_header = msgspec.json.Decoder(Ref).decode


_decode_page = msgspec.json.Decoder(Page).decode


decode_array = msgspec.json.Decoder(list[Raw]).decode


class _Links(msgspec.Struct, gc=False):
    next: str | None = None


class _LinksPage(msgspec.Struct, gc=False):
    links: _Links | None = None


_decode_links = msgspec.json.Decoder(_LinksPage).decode


def next_link(page: bytes) -> str | None:
    """`links.next` of a page, or None on the last one.

    Raises:
        TransientError: the body is not a whole JSON document, as when a connection is cut.
    """
    links = decode_whole(_decode_links, page).links
    return links.next if links else None


def decode_whole(decode: Callable[[bytes], Any], page: bytes) -> Any:
    try:
        return decode(page)
    except UNREADABLE:
        page, _ = mended(page)
    try:
        return decode(page)
    except msgspec.DecodeError as error:
        raise TransientError(f"the answer is not the JSON that was expected: {error}") from None


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


def mended(page: bytes) -> tuple[bytes, int]:
    """A page in which all text is Unicode, and how many characters were not.

    Python, and so Klaviyo, writes half an emoji (a text cut by its length) as half a surrogate pair. That is no
    character: decoders and warehouses refuse the whole document for it. It becomes U+FFFD, as do bytes that are not
    UTF-8.
    """
    broken = 0

    def whole(match: re.Match[bytes]) -> bytes:
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
        page = _ESCAPE.sub(whole, page)
    return page, broken


def page_records(page: bytes, misfits: Counter[str]) -> tuple[list[Raw], list[Raw]]:
    """The records of a page and what is included with them, each as it was sent.

    Args:
        misfits: where characters that are none are counted.

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
    try:
        return None if raw is None else decode_object(raw)
    except UNREADABLE:
        return None


def refs_of(raw: Raw | None) -> list[Ref] | None:
    """The references of a relationship of either kind; None where it has no readable ones."""
    relationship = object_of(raw)
    if relationship is None:
        return None
    data = relationship.get("data")
    try:
        found = msgspec.json.decode(data, type=list[Ref] | Ref | None) if data is not None else None
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, list) else [found] if found else []


def has_data(raw: Raw | None) -> bool:
    return bytes((object_of(raw) or {}).get("data") or b"null") != b"null"


def json_ids(refs: Sequence[Ref] | None) -> str | None:
    if not refs:
        return None if refs is None else "[]"
    return msgspec.json.encode([ref.id for ref in refs]).decode()


def index_of(included: Iterable[Raw] | None) -> Index:
    found: Index = {}
    for raw in included or ():
        try:
            header = _decode_header(raw)
        except msgspec.DecodeError:
            # Nothing can point at it, but it may be a row.
            header = Ref(text_of((object_of(raw) or {}).get("type")) or "", f"no-id-{len(found)}")
        found[header.type, header.id] = raw
    return found


def stand_in_id(raw: Raw) -> str:
    """A name made of the content of a record that has no id."""
    return f"no-id-{hashlib.sha256(bytes(raw)).hexdigest()[:32]}"


def text_of(raw: Raw | None) -> str | None:
    """A JSON string as text, anything else as the JSON that it is; None for null."""
    if raw is None or bytes(raw) == b"null":
        return None
    try:
        return _decode_string(raw)
    except UNREADABLE:
        return bytes(raw).decode(errors="replace")


def json_object(values: Mapping[str, bytes]) -> str:
    """A JSON object of values that are JSON already."""
    parts = [msgspec.json.encode(key) + b":" + value for key, value in values.items()]
    return (b"{" + b",".join(parts) + b"}").decode(errors="replace")


class ListPage(msgspec.Struct, gc=False):
    data: list[Raw]
    included: list[Raw] | None = None


decode_list = msgspec.json.Decoder(ListPage).decode


def text_at(raw: Raw | None, path: str) -> str | None:
    for step in path.split("."):
        raw = (object_of(raw) or {}).get(step)
    return text_of(raw)
