"""Made-up events, computed from their number at memory speed: ten million of them cost no memory.

The JSON of twenty events is a template of fixed width; a page is a matrix of such templates in which the ids, moments
and amounts are filled in by column, a thousand events in some milliseconds. They can be made beforehand, so that it is not the maker
who is measured. Every fifth event is attributed.
"""

from __future__ import annotations

import json
import mmap
import re
import tempfile
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Shape = Literal["even", "bursty"]
Numbers = npt.NDArray[np.int64]
Text = npt.NDArray[np.uint8]

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 90
END = START + timedelta(days=DAYS)
EVENTS_PER_PROFILE = 20

_HOUR_S = 3600
_GROUP = 20
_AT_ONCE = 20_000
_ATTRIBUTED = 5
_METRICS = ("Placed Order", "Opened Email", "Clicked Email", "Received Email", "Active on Site", "Viewed Product")
_BASE32 = np.frombuffer(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ", np.uint8)
_DIGITS = np.frombuffer(b"0123456789", np.uint8)
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
# An odd factor keeps the lowest 55 bits of the product one to one with the number: 11 characters of 5 bits.
_ID_BITS = (1 << 55) - 1
_ID_FACTOR = 0x9E3779B97F4A7C15 & _ID_BITS | 1


class Timeline:
    """When each event happened: seconds that never go back as the number grows.

    Args:
        events: how many.
        shape: "even", or "bursty": a campaign send a month brings a third of the month in an hour, an eighth of that
            within its first second, and one day in five is silent.
    """

    def __init__(self, events: int, shape: Shape = "even") -> None:
        self.events = events
        self.start_s = int(START.timestamp())
        hours = DAYS * 24
        self.end_s = self.start_s + hours * _HOUR_S
        weights = np.full(hours, 1000, np.int64)
        self._sends = np.zeros(hours, bool)
        if shape == "bursty":
            day, hour = np.divmod(np.arange(hours), 24)
            weights = np.where(day % 5 == 3, 0, 300 + 60 * np.minimum(hour, 24 - hour))
            for month in range(0, hours, 720):
                weights[month + 250] = weights[month : month + 720].sum() // 2
                self._sends[month + 250] = True
        upto = np.concatenate([[0], np.cumsum(weights)])
        # As Python integers: the product passes 2^63 for large accounts.
        self._bounds = np.array([events * int(part) // int(upto[-1]) for part in upto], np.int64)

    def seconds(self, numbers: Numbers) -> Numbers:
        """Seconds since 1970 of some events."""
        hours = np.searchsorted(self._bounds, numbers, side="right") - 1
        first = self._bounds[hours]
        part = (numbers - first) / (self._bounds[hours + 1] - first)
        part = np.where(self._sends[hours], part**4, part)
        found: Numbers = self.start_s + hours * _HOUR_S + (part * _HOUR_S).astype(np.int64)
        return found

    def first_at(self, second: int) -> int:
        """Number of the first event at or after a second; the count of all events where there is none."""
        return bisect_left(range(self.events), second, key=lambda number: int(self.seconds(np.array([number]))[0]))


@dataclass(frozen=True)
class Truth:
    """What a table of all events has to show.

    Attributes:
        rows: events, each with an id of its own.
        seconds: sum of their moments, in seconds since 1970.
        numbers: sum of their numbers, which their uuids carry.
    """

    rows: int
    seconds: int
    numbers: int


def truth(events: int, shape: Shape) -> Truth:
    """The truth of an account."""
    timeline = Timeline(events, shape)
    seconds = 0
    for first in range(0, events, 1 << 20):
        seconds += int(timeline.seconds(np.arange(first, min(events, first + (1 << 20)))).sum())
    return Truth(events, seconds, events * (events - 1) // 2)


@dataclass
class _Blank:
    """A field of the template: where its copies start, and how wide it is."""

    width: int
    places: list[tuple[int, int]] = field(default_factory=list)


class _Template:
    """JSON of some records with blanks of fixed width, to be filled for many such groups at once.

    Args:
        records: JSON texts; `@name@` stands for a blank.
        blanks: name -> width.
    """

    def __init__(self, records: list[str], blanks: dict[str, int]) -> None:
        self.blanks = {name: _Blank(width) for name, width in blanks.items()}
        text = b""
        self.offsets = [0]
        for row, record in enumerate(records):
            # Between the marks stands what is fixed.
            for position, part in enumerate(re.split("@(\\w+)@", record + ",")):
                if position % 2:
                    self.blanks[part].places.append((row, len(text)))
                text += b"_" * self.blanks[part].width if position % 2 else part.encode()
            self.offsets.append(len(text))
        self._text = np.frombuffer(text, np.uint8)
        self._matrix = np.empty((0, len(text)), np.uint8)
        self._ready = memoryview(b"")

    def make_ready(self, stop: int, values: Callable[[Numbers], dict[str, Text]]) -> None:
        """Fill the records `[0, stop)` now, in a file without a name, for `filled` to take them from."""
        with tempfile.TemporaryFile() as file:
            for first in range(0, stop, _AT_ONCE):
                file.write(self.filled(first, min(first + _AT_ONCE, stop), values))
                file.write(b",")
            file.flush()
            if stop:
                self._ready = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def _place(self, record: int) -> int:
        """Where a record begins in the text of all of them."""
        groups, within = divmod(record, len(self.offsets) - 1)
        return groups * len(self._text) + self.offsets[within]

    def filled(self, first: int, stop: int, values: Callable[[Numbers], dict[str, Text]]) -> bytes | memoryview:
        """The records `[first, stop)` with commas between.

        Args:
            values: record numbers -> name -> characters, one row a record.
        """
        if first >= stop:
            return b""
        if self._ready:
            # Without the last comma.
            return self._ready[self._place(first) : self._place(stop) - 1]
        size = len(self.offsets) - 1
        low, high = first // size, -(-stop // size)
        if len(self._matrix) < high - low:
            self._matrix = np.tile(self._text, (high - low, 1))
        matrix = self._matrix[: high - low]
        given = values(np.arange(low * size, high * size))
        for name, blank in self.blanks.items():
            texts = given[name].reshape(high - low, size, blank.width)
            for row, place in blank.places:
                matrix[:, place : place + blank.width] = texts[:, row]
        begin, end = (self._place(record - low * size) for record in (first, stop))
        return matrix.reshape(-1)[begin : end - 1].tobytes()


def _characters(numbers: Numbers, alphabet: Text, bits: int, width: int) -> Text:
    shifts = np.arange((width - 1) * bits, -1, -bits, dtype=np.int64)
    texts: Text = alphabet[(numbers[:, None] >> shifts) & ((1 << bits) - 1)]
    return texts


def _decimals(numbers: Numbers, width: int) -> Text:
    powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    texts: Text = _DIGITS[(numbers[:, None] // powers) % 10]
    return texts


def _moments(seconds: Numbers) -> Text:
    # Consecutive events share many a second.
    distinct, where = np.unique(seconds, return_inverse=True)
    texts = np.datetime_as_string(distinct.astype("datetime64[s]")).astype("S19")
    return texts.view(np.uint8).reshape(-1, 19)[where]


def _ids(numbers: Numbers) -> Text:
    return _characters((numbers * _ID_FACTOR) & _ID_BITS, _BASE32, 5, 11)


class Events:
    """The JSON of an account's events.

    Args:
        events: how many.
        shape: how they lie in time.
        base_url: start of every link.
    """

    def __init__(self, events: int, shape: Shape, base_url: str) -> None:
        self.timeline = Timeline(events, shape)
        self._rows = _Template(
            [_text(_event(row, base_url)) for row in range(_GROUP)],
            {"id": 11, "second": 10, "moment": 19, "uuid_a": 8, "uuid_b": 12, "profile": 12, "amount": 3, "order": 9},
        )
        self._attributions = _Template(
            [_text(_attribution(row, base_url)) for row in range(_GROUP // _ATTRIBUTED)],
            {"id": 11, "earlier": 11},
        )
        self._metrics = ",".join(_text(_metric(number, base_url)) for number in range(len(_METRICS))).encode()

    def make_ready(self) -> None:
        """Make all of them now: about 1.2 GB a million, in a temporary file."""
        self._rows.make_ready(self.timeline.events, self._event_values)
        self._attributions.make_ready(self.timeline.events // _ATTRIBUTED, _attribution_values)

    def page(self, first: int, stop: int, included: bool) -> list[bytes | memoryview]:
        """The members `data` and `included` of a page with the events `[first, stop)`, in parts to be joined."""
        data = self._rows.filled(first, stop, self._event_values)
        if not included:
            return [b'"data":[', data, b"]"]
        attributions = self._attributions.filled(first // _ATTRIBUTED, stop // _ATTRIBUTED, _attribution_values)
        metrics = self._metrics if data else b""
        return [
            b'"data":[',
            data,
            b'],"included":[',
            metrics,
            b"," if metrics and attributions else b"",
            attributions,
            b"]",
        ]

    def _event_values(self, numbers: Numbers) -> dict[str, Text]:
        # A group may reach past the account's end; what lies there is cut off.
        seconds = self.timeline.seconds(np.minimum(numbers, self.timeline.events - 1))
        mixed = (numbers * _ID_FACTOR) & _ID_BITS
        profiles = (mixed >> 13) % max(1, self.timeline.events // EVENTS_PER_PROFILE)
        return {
            "id": _ids(numbers),
            "second": _decimals(seconds, 10),
            "moment": _moments(seconds),
            "uuid_a": _characters(mixed, _HEX, 4, 8),
            "uuid_b": _characters(numbers, _HEX, 4, 12),
            "profile": _characters((profiles * _ID_FACTOR) & _ID_BITS, _BASE32, 5, 12),
            "amount": _decimals(mixed >> 7, 3),
            "order": _decimals(mixed >> 11, 9),
        }


def _attribution_values(numbers: Numbers) -> dict[str, Text]:
    events = numbers * _ATTRIBUTED + _ATTRIBUTED - 1
    return {"id": _ids(events), "earlier": _ids(events - 1)}


def _text(record: Any) -> str:
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    # Blanks that are numbers.
    return text.replace('"@second@"', "@second@").replace('"@amount@"', "1@amount@.25")


def _related(base_url: str, kind: str, identity: str, name: str) -> dict[str, str]:
    own = f"{base_url}/api/{kind}/{identity}/"
    return {"self": f"{own}relationships/{name}/", "related": f"{own}{name}/"}


def _event(row: int, base_url: str) -> dict[str, Any]:
    attributed = row % _ATTRIBUTED == _ATTRIBUTED - 1
    properties: dict[str, Any] = {"$event_id": "@order@", "$value": "@amount@"}
    if row % 2:
        properties |= {"Subject": f"Über uns — week {row}", "Campaign Name": f"Newsletter {row * 7}",
                       "Client Name": ("Gmail", "Apple Mail")[row % 3 == 0], "machine_open": row % 3 == 0,
                       "URL": f"https://shop.example.com/p/@order@?utm_source=klaviyo&utm_campaign=week%20{row}"}  # fmt: skip
    else:
        items = [{"SKU": f"sku-{n}-@amount@", "Name": "Łódź mug", "Quantity": n, "Price": 19.9 * n} for n in (1, 2)]
        properties |= {"OrderId": "@order@", "Items": items, "big": 2**53 + 1, "Discount": None, "empty": {}}
    data = {"data": [{"type": "attribution", "id": "@id@-1"}] if attributed else []}
    metric = f"MTRC{row % len(_METRICS):02d}"
    return {
        "type": "event",
        "id": "@id@",
        "attributes": {"timestamp": "@second@", "event_properties": properties,
                       "datetime": "@moment@+00:00", "uuid": "@uuid_a@-0000-11f1-8000-@uuid_b@"},
        "relationships": {
            "profile": {"data": {"type": "profile", "id": "01J0000000000@profile@"},
                        "links": _related(base_url, "events", "@id@", "profile")},
            "metric": {"data": {"type": "metric", "id": metric}, "links": _related(base_url, "events", "@id@", "metric")},
            "attributions": {**data, "links": _related(base_url, "events", "@id@", "attributions")},
        },
        "links": {"self": f"{base_url}/api/events/@id@/"},
    }  # fmt: skip


def _attribution(row: int, base_url: str) -> dict[str, Any]:
    chosen = {"event": "@id@", "attributed-event": "@earlier@", "campaign": None, "campaign-message": None,
              "flow": None, "flow-message": None, "flow-message-variation": None}  # fmt: skip
    for name in ("campaign", "campaign-message") if row % 2 else ("flow", "flow-message", "flow-message-variation"):
        chosen[name] = f"01HKMADEUP{name.upper()[-4:]:X<4}{row:012d}"
    kinds = {"attributed-event": "event", "flow-message-variation": "flow-message"}
    return {
        "type": "attribution",
        "id": "@id@-1",
        "relationships": {
            name: {"data": {"type": kinds.get(name, name), "id": target} if target else None}
            for name, target in chosen.items()
        },
        "links": {"self": f"{base_url}/api/attributions/@id@-1/"},
    }


def _metric(number: int, base_url: str) -> dict[str, Any]:
    return {
        "type": "metric",
        "id": f"MTRC{number:02d}",
        "attributes": {"name": _METRICS[number]},
        "links": {"self": f"{base_url}/api/metrics/MTRC{number:02d}/"},
    }
