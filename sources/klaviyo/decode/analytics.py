"""Answers of endpoints that count -> Arrow tables, a row for each grouping and interval. Pure.

Klaviyo answers column by column: for each grouping, a list of numbers for each statistic, and beside them the dates that
the numbers belong to; or single numbers, where they are of the whole timeframe. What fits no column goes to the `_extra`
column of its row.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa
from msgspec import Raw

from .. import calendar as periods
from ..calendar import Interval
from ..catalog.contracts import DELETED, EXTRA, Column, Contract
from ..errors import ContractViolation, TransientError
from ..jsonapi import decode_array, decode_object, json_object, mended, text_of
from ..windows import Window
from .tables import Shaped, schema_of, table_of
from .values import value_of

#: Key of the context: when the numbers were read.
OBSERVED_AT = "observed_at"

#: What makes a row the same row when it is read again.
ID = "id"

#: Paths of the columns that tell one period from another: its rows are replaced together.
PERIOD_KEY = ("context.interval", "context.conversion_metric_id", "context.metric_id", "period.first_day")


class _Result(msgspec.Struct):
    groupings: Raw = Raw()
    statistics: Raw = Raw()
    dimensions: list[Raw] | None = None
    measurements: Raw = Raw()


class _Attributes(msgspec.Struct):
    results: list[Raw] | None = None
    date_times: list[str] | None = None
    data: list[Raw] | None = None
    dates: list[str] | None = None


class _Answer(msgspec.Struct):
    attributes: _Attributes


class _Document(msgspec.Struct):
    data: _Answer


_decode_document = msgspec.json.Decoder(_Document).decode


_decode_result = msgspec.json.Decoder(_Result).decode


decode_any = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class _Bucket:
    """One interval of an answer.

    Attributes:
        start: aware UTC, None where Klaviyo's date is none.
        index: place of its numbers in the lists; None where there are no lists.
        text: the date as Klaviyo wrote it.
    """

    start: datetime | None
    index: int | None = None
    text: str = ""


class AnalyticsShaper:
    """Turns answers of one report that counts into rows.

    Args:
        contract: columns with paths `groupings.…`, `dimensions.…`, `statistics.…`, `measurements.…`, `context.…` and
            `period.…` (`start`, `first_day`, `last_day`), and the key `id`.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.schema = schema_of(contract)
        self._by_path = {column.path: column for column in contract.columns if column.name != EXTRA}

    def empty(self) -> pa.Table:
        """A table without rows, with every declared column."""
        return self.schema.empty_table()

    def shape(self, page: bytes, context: Mapping[str, str | None]) -> Shaped:
        """All rows of one answer.

        Args:
            context: that of `query.context_of`, what the variant knows, and `observed_at`.

        Raises:
            TransientError: it is not the document that was expected.
            ContractViolation: none of its dates lies in the timeframe that was asked for.
        """
        misfits: Counter[str] = Counter()
        page, _ = mended(page)
        try:
            attributes = _decode_document(page).data.attributes
        except msgspec.DecodeError as error:
            raise TransientError(f"the answer is not the JSON that was expected: {error}") from None
        zone, window = ZoneInfo(context["timezone"] or "UTC"), _window(context)
        dates = attributes.date_times if attributes.date_times is not None else attributes.dates
        interval = cast(Interval, context["interval"])
        buckets = _buckets(dates, window, interval, zone) if dates is not None else [_Bucket(window.start)]
        known = self._known(context)
        rows = [
            row
            for raw in (attributes.results if attributes.results is not None else attributes.data) or ()
            for row in self._rows(raw, buckets, window, interval, zone, known, context, misfits)
        ]
        if DELETED in self.schema.names:
            rows += self._orders(window, interval, zone, known, context)
        return Shaped(table_of(rows, self.schema), misfits)

    def _orders(
        self,
        window: Window,
        interval: Interval,
        zone: ZoneInfo,
        known: Mapping[str, Any],
        context: Mapping[str, str | None],
    ) -> list[dict[str, Any]]:
        """Orders to delete, one a period that was asked for: where nothing is counted any more, no row would say so."""
        metric = context.get("metric_id") or context.get("conversion_metric_id") or ""
        found: dict[Any, dict[str, Any]] = {}
        for part in periods.intervals(window, interval, zone):
            row = {**known, DELETED: True}
            self._place(row, part.start, window, interval, zone)
            key = str(row[self._by_path["period.first_day"].name])
            row[ID] = _digest("deleted", interval, key, metric)
            found[key] = row
        return list(found.values())

    def _known(self, context: Mapping[str, str | None]) -> dict[str, Any]:
        """The columns that are the same in all rows of an answer."""
        found: dict[str, Any] = {}
        for path, column in self._by_path.items():
            if path.startswith("context."):
                value = context.get(path.removeprefix("context."))
                is_moment = column.data_type == "timestamp" and value is not None
                found[column.name] = datetime.fromisoformat(value).astimezone(UTC) if is_moment and value else value
        return found

    def _rows(
        self,
        raw: Raw,
        buckets: Sequence[_Bucket],
        window: Window,
        interval: Interval,
        zone: ZoneInfo,
        known: Mapping[str, Any],
        context: Mapping[str, str | None],
        misfits: Counter[str],
    ) -> Iterator[dict[str, Any]]:
        """The rows of one grouping, one an interval."""
        try:
            result = _decode_result(raw)
            groups, numbers = self._groups(result, context), _numbers(result)
        except msgspec.DecodeError:
            groups, numbers = {"$": raw}, {}
        named = _canonical(groups)
        metric = context.get("metric_id") or context.get("conversion_metric_id") or ""
        for bucket in buckets:
            row, extra = dict(known), {}
            when = bucket.text if bucket.start is None else bucket.start.isoformat()
            row[ID] = _digest(interval, when, metric, named)
            if bucket.start is None:
                extra["date_times"] = msgspec.json.encode(bucket.text)
            self._place(row, bucket.start, window, interval, zone)
            for path, value in groups.items():
                column = self._by_path.get(path)
                if column is None or not _put(row, column, value):
                    extra[path] = bytes(value)
            for path, values in numbers.items():
                one = values if bucket.index is None else _nth(values, bucket.index)
                column = self._by_path.get(path)
                if one is not None and (column is None or not _put(row, column, one)):
                    extra[path] = bytes(one)
            if extra:
                row[EXTRA] = json_object(extra)
                misfits.update(extra.keys())
            yield row

    def _groups(self, result: _Result, context: Mapping[str, str | None]) -> dict[str, Raw]:
        """Path -> value of what tells this grouping from the others."""
        if result.dimensions is None:
            return {f"groupings.{name}": value for name, value in object_of(result.groupings).items()}
        asked = msgspec.json.decode(context.get("groups") or "[]", type=list[str])
        found = {f"dimensions.{name}": value for name, value in zip(asked, result.dimensions, strict=False)}
        for place, value in enumerate(result.dimensions[len(asked) :]):
            found[f"dimensions[{len(asked) + place}]"] = value
        return found

    def _place(
        self, row: dict[str, Any], start: datetime | None, window: Window, interval: Interval, zone: ZoneInfo
    ) -> None:
        """Where in time the row is."""
        # What has no readable date is replaced together with the first interval of its request.
        first = periods.beginning(start or window.start, interval, zone)
        last = min(window.end, periods.following(first, interval, zone)) - timedelta(seconds=1)
        places = {
            "period.start": first,
            "period.first_day": first.astimezone(zone).date(),
            "period.last_day": last.astimezone(zone).date(),
        }
        for path, value in places.items():
            if path in self._by_path:
                row[self._by_path[path].name] = value


def each_once(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of several pages with each key once, as the last of them says."""
    table = pa.concat_tables(tables)
    last = {key: place for place, key in enumerate(table.column(ID).to_pylist())}
    return table if len(last) == table.num_rows else table.take(pa.array(sorted(last.values())))


def _window(context: Mapping[str, str | None]) -> Window:
    start, end = (datetime.fromisoformat(context[name] or "") for name in ("start", "end"))
    return Window(start, end)


def _buckets(dates: Sequence[str], window: Window, interval: Interval, zone: ZoneInfo) -> list[_Bucket]:
    """The intervals of a series that the request was for: what lies beyond belongs to another request."""
    found = [_Bucket(start, index, dates[index]) for index, start in enumerate(periods.moments(dates, window, zone))]
    first = periods.beginning(window.start, interval, zone)
    inside = [one for one in found if one.start is None or first <= one.start < window.end]
    if found and not inside:
        raise ContractViolation(
            f"a series that was asked for {window} has dates from {dates[0]} to {dates[-1]}; its numbers would be "
            "those of other days"
        )
    return inside


def object_of(raw: Raw) -> dict[str, Raw]:
    return decode_object(raw) if bytes(raw) not in (b"", b"null") else {}


def _numbers(result: _Result) -> dict[str, Raw]:
    """Path -> numbers of one grouping."""
    if result.dimensions is None:
        return {f"statistics.{name}": value for name, value in object_of(result.statistics).items()}
    return {f"measurements.{name}": value for name, value in object_of(result.measurements).items()}


def _nth(values: Raw, index: int) -> Raw | None:
    """A number out of a list; what is no list is kept whole, and a list that is too short has none."""
    try:
        numbers = decode_array(values)
    except msgspec.DecodeError:
        return values
    return numbers[index] if index < len(numbers) else None


def _put(row: dict[str, Any], column: Column, raw: Raw) -> bool:
    """Write a value into its column; False where it does not fit."""
    if bytes(raw) == b"null":
        return True
    value, whole = value_of(column, raw)
    if not whole and column.data_type == "bigint":
        # Klaviyo writes some counts as 12.0.
        number = decode_any(raw)
        if isinstance(number, float) and number.is_integer() and abs(number) < 2**53:
            value, whole = int(number), True
    row[column.name] = value
    return bool(whole)


def _canonical(groups: Mapping[str, Raw]) -> str:
    return "|".join(f"{path}={text_of(value)}" for path, value in sorted(groups.items()))


def _digest(*parts: str) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]
