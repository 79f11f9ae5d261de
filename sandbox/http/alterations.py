"""Pages with something wrong in them: JSON that is not quite JSON, links that never end, records that come twice."""

from __future__ import annotations

import json
import threading
import urllib.parse
from typing import Literal, get_args

from ..data.resources import Resource
from .render import dumped

#: "bom" puts a byte order mark before the page, "nan" numbers that JSON does not have beside its records, "deep" an array
#: nested 1,000 deep. "loop" links to the page itself, "empty" to an empty page again and again. "again" repeats one of
#: its records at its end; "shift" lets the next page begin with its last record, as if one had been added before it.
Alteration = Literal["bom", "nan", "deep", "loop", "empty", "again", "shift"]
ALTERATIONS: tuple[str, ...] = get_args(Alteration)

_DEEP = b"[" * 1000 + b"]" * 1000
#: Values of the member `meta`, which JSON:API allows in every document.
_META = {"nan": b'{"ratio":NaN,"most":Infinity,"least":-Infinity}', "deep": b'{"deep":' + _DEEP + b"}"}

Target = tuple[str, tuple[tuple[str, str], ...]]


class Alterations:
    """Alters pages. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._empty_pages = 0
        # Path and parameters of a page -> the record that it begins with, of the page before, and what that one includes.
        self._shifted: dict[Target, tuple[Resource, list[Resource] | None]] = {}

    def alter(self, kind: str, path: str, parameters: dict[str, str], page: bytes) -> bytes | None:
        """The altered page; None if there is nothing in it to alter."""
        if kind == "bom":
            return b"\xef\xbb\xbf" + page
        if kind in _META:
            return b'{"meta":' + _META[kind] + b"," + page[1:]
        document = _parsed(page)
        if document is None:
            return None
        if kind == "loop":
            document["links"]["next"] = document["links"]["self"]
            return dumped(document)
        if kind == "empty":
            with self._lock:
                self._empty_pages += 1
                asked = parameters | {"page[cursor]": f"empty{self._empty_pages}"}
            address = document["links"]["self"].partition("?")[0] + "?" + urllib.parse.urlencode(asked)
            return dumped({"data": [], "links": document["links"] | {"next": address}})
        rows, following = document["data"], document["links"].get("next")
        if not rows:
            return None
        if kind == "again":
            document["data"] = [*rows, rows[len(rows) // 2]]
            return dumped(document)
        if following:
            query = urllib.parse.urlsplit(following).query
            with self._lock:
                self._shifted[_target(path, dict(urllib.parse.parse_qsl(query, keep_blank_values=True)))] = (
                    rows[-1],
                    document.get("included"),
                )
        return None

    def shifted(self, path: str, parameters: dict[str, str], page: bytes) -> bytes | None:
        """The page with the last record of the page before, if "shift" hit that one; else None."""
        with self._lock:
            shifted = self._shifted.pop(_target(path, parameters), None)
        if shifted is None or (document := _parsed(page)) is None:
            return None
        record, beside = shifted
        document["data"].insert(0, record)
        if beside:
            # What the record refers to comes with it.
            included = document.setdefault("included", [])
            there = {(one["type"], one["id"]) for one in included}
            included += [one for one in beside if (one["type"], one["id"]) not in there]
        return dumped(document)


def _target(path: str, parameters: dict[str, str]) -> Target:
    return path, tuple(sorted(parameters.items()))


def _parsed(page: bytes) -> Resource | None:
    """A page with a list of records; None for other documents, and where a record is served that is no JSON."""
    try:
        document: Resource = json.loads(page)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document.get("data"), list) and "links" in document else None
