"""Fields that Klaviyo sends and no column declares: counted by report, and named in the log once a run.

Only fields that are declared level by level are named. Keys of free-form objects, such as event properties, belong to
the account and may be personal data; they are in JSON columns as a whole and never get here.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

log = logging.getLogger("klaviyo")

#: Under which name the fields are counted that come after the most that are named.
OTHERS = "(other fields)"
#: The most fields of a report that are named: with more, they are keys of something that is no record.
_MOST_NAMED = 20
#: The longest name that is shown whole, in characters.
_LONGEST_NAME = 100


class NewFields:
    """The new fields of one run. Not thread-safe."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()

    def count(self, report: str, family: str, found: Mapping[str, int], counts: Counter[str]) -> None:
        """Add the new fields of a page to the counts of a report, and log those that the run has not met before.

        Args:
            report: name of the report.
            family: the report that it is a part of, if it is the report of one metric; else its own name.
            found: path -> number of values.
            counts: name as it is shown -> number of values so far; never more than `_MOST_NAMED` names and `OTHERS`.
        """
        first = []
        for path, number in found.items():
            name = _shown(path)
            if name not in counts and len(counts) >= _MOST_NAMED:
                name = OTHERS
            counts[name] += number
            if (family, name) not in self._logged:
                self._logged.add((family, name))
                first.append(name)
        if len(first) == 1:
            log.warning(
                "%s: Klaviyo sent a field that this version does not know: %s. It is kept in _extra.", report, first[0]
            )
        elif first:
            listed = ", ".join(first)
            log.warning(
                "%s: Klaviyo sent fields that this version does not know: %s. They are kept in _extra.", report, listed
            )


def _shown(path: str) -> str:
    """A path that can be printed: one line, not too long."""
    name = "".join(character if character.isprintable() else "?" for character in path)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."
