"""Bodies of POST requests that only read: JSON:API documents whose attributes say what to count."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from typing import Any

from .errors import ApiError, invalid

MEDIA_TYPES = ("application/vnd.api+json", "application/json")


def refused(detail: str, attribute: str | None = None) -> ApiError:
    """A 400 error that points at an attribute of the body."""
    return ApiError(400, detail, pointer=f"/data/attributes/{attribute}" if attribute else "/data")


def attributes(
    body: bytes, content_type: str, kind: str, known: Iterable[str], needed: Iterable[str]
) -> dict[str, Any]:
    """Check a document and give its attributes, without those that are null.

    Args:
        kind: the type that the document must have.
        known: attributes that it may have.
        needed: attributes that it must have.

    Raises:
        ApiError: 400 or 415, with what is wrong and where.
    """
    if content_type.partition(";")[0].strip().lower() not in MEDIA_TYPES:
        raise ApiError(415, f"Unsupported media type '{content_type}' in request.")
    try:
        document = json.loads(body)
    except ValueError:
        raise refused("The payload provided in the request is invalid JSON.") from None
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict):
        raise refused("The payload must be an object with the resource in 'data'.")
    if data.get("type") != kind:
        raise ApiError(400, f"The resource type must be '{kind}'.", pointer="/data/type")
    given = data.get("attributes")
    if not isinstance(given, dict):
        raise ApiError(400, f"'attributes' is a required field for the resource '{kind}'.", pointer="/data/attributes")
    known = list(known)
    for name in given:
        if name not in known:
            raise refused(
                f"'{name}' is not a valid field for the resource '{kind}'; allowed: {', '.join(known)}.", name
            )
    for name in needed:
        if given.get(name) is None:
            raise refused(f"'{name}' is a required field for the resource '{kind}'.", name)
    return {name: value for name, value in given.items() if value is not None}


def choice(given: dict[str, Any], name: str, allowed: Iterable[str]) -> str:
    """The value of an attribute that takes one of some values.

    Raises:
        ApiError: 400.
    """
    allowed = list(allowed)
    value = given[name]
    if value not in allowed:
        raise refused(f"'{value}' is not a valid value for '{name}'; allowed: {', '.join(allowed)}.", name)
    return str(value)


def choices(given: dict[str, Any], name: str, allowed: Iterable[str]) -> list[str]:
    """The values of an attribute that takes a list of some values, without duplicates.

    Raises:
        ApiError: 400.
    """
    allowed = list(allowed)
    values = given[name]
    if not isinstance(values, list):
        raise refused(f"'{name}' must be a list.", name)
    for value in values:
        if value not in allowed:
            raise refused(f"'{value}' is not a valid value for '{name}'; allowed: {', '.join(allowed)}.", name)
    return list(dict.fromkeys(values))


def token(question: Any, offset: int) -> str:
    """The page token for the page that starts at a row.

    Args:
        question: what the request asks for; the token is valid for this only.
    """
    return base64.urlsafe_b64encode(json.dumps([_mark(question), offset]).encode()).decode().rstrip("=")


def offset(question: Any, given: Any, error: ApiError) -> int:
    """The row at which the page of a token starts; 0 without a token.

    Args:
        given: the token.
        error: raised if the token is not one for this question.

    Raises:
        ApiError: `error`.
    """
    if given is None:
        return 0
    try:
        mark, start = json.loads(base64.urlsafe_b64decode(str(given) + "=" * (-len(str(given)) % 4)))
    except (ValueError, TypeError):
        raise error from None
    if mark != _mark(question) or not isinstance(start, int):
        raise error
    return start


def _mark(question: Any) -> int:
    return zlib.crc32(json.dumps(question, sort_keys=True).encode())


def cursor_error() -> ApiError:
    """A 400 error for an invalid `page_cursor`."""
    return invalid("Invalid page cursor.", "page_cursor")
