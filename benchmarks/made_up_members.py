"""Made-up lists and their members, computed from their number: five million memberships cost no memory.

Ten lists hold 70 % of the memberships, the others share the rest. A change lets the same number of members leave every
list and others join it, so that what a second run has to write is known.
"""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import quote, urlencode

import numpy as np

from benchmarks.made_up import _BASE32, END, START, Numbers, Text, _characters, _moments, _Template

LARGE_LISTS = 10
_LARGE_SHARE = 0.7
_LISTS_PER_PAGE = 10
#: A prime, so that any factor spreads the numbers of members over it without meeting.
_PROFILES = 5_000_011
_FACTOR = 2_654_435
#: Joins of later changes have a place in time too.
_SLACK = 1000
_GROUP = 20
_TERM = re.compile(r"(greater-or-equal|less-than)\(joined_group_at,([^)]*)\)")


class Lists:
    """Lists, and who is in them.

    Args:
        lists: how many; at least `LARGE_LISTS`.
        memberships: of all lists together.
        base_url: start of every link.
    """

    def __init__(self, lists: int, memberships: int, base_url: str) -> None:
        self._base_url = base_url
        large, small = int(memberships * _LARGE_SHARE), memberships - int(memberships * _LARGE_SHARE)
        self.sizes = [
            *(large * (n + 1) // LARGE_LISTS - large * n // LARGE_LISTS for n in range(LARGE_LISTS)),
            *(small * (n + 1) // (lists - LARGE_LISTS) - small * n // (lists - LARGE_LISTS)
              for n in range(lists - LARGE_LISTS)),
        ]  # fmt: skip
        self._left = 0
        self._rows = _Template(
            ['{"type":"profile","id":"01J00000000000@profile@","attributes":{"joined_group_at":"@moment@+00:00"},'
             f'"links":{{"self":"{base_url}/api/profiles/01J00000000000@profile@/"}}}}'] * _GROUP,
            {"profile": 12, "moment": 19},
        )  # fmt: skip

    def change(self, members: int) -> None:
        """So many members leave every list, and as many join."""
        self._left += members

    def listing(self, parameters: dict[str, str]) -> tuple[bytes, int]:
        """A page of lists."""
        first = int(parameters.get("page[cursor]", 0))
        stop = min(first + _LISTS_PER_PAGE, len(self.sizes))
        moment = START.isoformat()
        records = ",".join(
            f'{{"type":"list","id":"L{n:05d}","attributes":{{"name":"List {n}","created":"{moment}",'
            f'"updated":"{moment}","opt_in_process":"single_opt_in"}},'
            f'"links":{{"self":"{self._base_url}/api/lists/L{n:05d}/"}}}}'
            for n in range(first, stop)
        )
        return self._document("/api/lists", parameters, records.encode(), stop, len(self.sizes)), stop - first

    def members(self, identity: str, parameters: dict[str, str], page_rows: int) -> tuple[bytes, int]:
        """A page of the members of a list, in the order in which they joined."""
        number = int(identity[1:])
        size = self.sizes[number]
        # Members are numbered as they join; those that left were the first.
        first, stop = self._left, self._left + size
        for operator, literal in _TERM.findall(parameters.get("filter", "")):
            bound = self._first_at(size, int(datetime.fromisoformat(literal).timestamp()))
            if operator == "less-than":
                stop = min(stop, bound)
            else:
                first = max(first, bound)
        first = int(parameters.get("page[cursor]", first))
        last = min(first + page_rows, stop)
        body = bytes(self._rows.filled(first, last, lambda numbers: self._values(number, size, numbers)))
        return self._document(f"/api/lists/{identity}/profiles", parameters, body, last, stop), max(0, last - first)

    @staticmethod
    def _second(size: int, member: Numbers) -> Numbers:
        start_s, span_s = int(START.timestamp()), int((END - START).total_seconds())
        return start_s + member * span_s // (size + _SLACK)

    @staticmethod
    def _first_at(size: int, second: int) -> int:
        """Number of the first member who joined at or after a second."""
        start_s, span_s = int(START.timestamp()), int((END - START).total_seconds())
        return max(0, -(-(second - start_s) * (size + _SLACK) // span_s))

    def _values(self, number: int, size: int, members: Numbers) -> dict[str, Text]:
        profiles = (members * _FACTOR + number * 7919) % _PROFILES
        return {
            "profile": _characters(profiles * np.int64(0x9E3779B9) & ((1 << 60) - 1), _BASE32, 5, 12),
            "moment": _moments(self._second(size, members)),
        }

    def _document(self, path: str, parameters: dict[str, str], records: bytes, last: int, stop: int) -> bytes:
        following = "null"
        if last < stop:
            query = urlencode({**parameters, "page[cursor]": str(last)}, quote_via=quote)
            following = f'"{self._base_url}{path}?{query}"'
        links = f'],"links":{{"self":"{self._base_url}{path}","next":{following},"prev":null}}}}'
        return b'{"data":[' + records + links.encode()
