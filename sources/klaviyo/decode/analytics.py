"""Answers of analytics endpoints -> Arrow tables, one row for each grouping and interval. Pure.

Klaviyo answers by columns. A series has, for each grouping, a list of numbers for each statistic, and one list of the
dates that the numbers belong to. Without a series there is one number for the whole timeframe. Values that fit no
column go to the `_extra` column of their row.
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
from ..errors import ContractViolation
from ..jsonapi import decode_any, decode_array, decode_object, decode_whole, json_object, mended, text_of
from ..windows import Window
from .tables import Shaped, schema_of, table_of
from .values import value_of

#: Key of the context: when the numbers were read.
OBSERVED_AT = "observed_at"

#: The column that identifies a row when it is read again.
ID = "id"

#: Values of a grouping for what belongs to none: not attributed to a message, or without the property. The dimensions
#: of metric aggregates are texts and never null in Klaviyo's specification.
_NONE = (b"null", b'""')

#: Paths of the columns that identify a period, whose rows are replaced together.
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


@dataclass(frozen=True, slots=True)
class _Bucket:
    """One interval of an answer.

    Attributes:
        start: aware UTC; None where Klaviyo's text is not a date.
        index: position of its numbers in the lists; None where there is no series.
        text: the date as Klaviyo wrote it.
    """

    start: datetime | None
    index: int | None = None
    text: str = ""


class AnalyticsShaper:
    """Turns answers of one analytics report into rows.

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
            context: the values of `query.context_of`, those of the variant, and `observed_at`.

        Raises:
            TransientError: the answer is not the expected document.
            ContractViolation: none of its dates lies in the requested window.
        """
        misfits: Counter[str] = Counter()
        new_fields: Counter[str] = Counter()
        page, mends = mended(page)
        misfits.update(mends)
        attributes = decode_whole(_decode_document, page, misfits).data.attributes
        zone, window = ZoneInfo(context["timezone"] or "UTC"), _window(context)
        dates = attributes.date_times if attributes.date_times is not None else attributes.dates
        interval = cast(Interval, context["interval"])
        buckets = _buckets(dates, window, interval, zone) if dates is not None else [_Bucket(window.start)]
        constant = self._constant_columns(context)
        rows = [
            row
            for raw in (attributes.results if attributes.results is not None else attributes.data) or ()
            for row in self._rows(raw, buckets, window, interval, zone, constant, context, misfits, new_fields)
        ]
        if DELETED in self.schema.names:
            rows += self._delete_markers(window, interval, zone, constant, context)
        return Shaped(table_of(rows, self.schema), misfits, new_fields)

    def _delete_markers(
        self,
        window: Window,
        interval: Interval,
        zone: ZoneInfo,
        constant: Mapping[str, Any],
        context: Mapping[str, str | None],
    ) -> list[dict[str, Any]]:
        """One delete marker for each period of the request.

        Where Klaviyo no longer counts anything, the answer has no row that would replace the loaded ones.
        """
        metric = context.get("metric_id") or context.get("conversion_metric_id") or ""
        markers: dict[str, dict[str, Any]] = {}
        for part in periods.intervals(window, interval, zone):
            row = {**constant, DELETED: True}
            self._place(row, part.start, window, interval, zone)
            key = str(row[self._by_path["period.first_day"].name])
            row[ID] = _digest("deleted", interval, key, metric)
            markers[key] = row
        return list(markers.values())

    def _constant_columns(self, context: Mapping[str, str | None]) -> dict[str, Any]:
        """Column -> value, for the columns that are the same in all rows of an answer."""
        columns: dict[str, Any] = {}
        for path, column in self._by_path.items():
            if path.startswith("context."):
                value = context.get(path.removeprefix("context."))
                is_moment = column.data_type == "timestamp" and value is not None
                columns[column.name] = datetime.fromisoformat(value).astimezone(UTC) if is_moment and value else value
        return columns

    def _rows(
        self,
        raw: Raw,
        buckets: Sequence[_Bucket],
        window: Window,
        interval: Interval,
        zone: ZoneInfo,
        constant: Mapping[str, Any],
        context: Mapping[str, str | None],
        misfits: Counter[str],
        new_fields: Counter[str],
    ) -> Iterator[dict[str, Any]]:
        """The rows of one grouping, one for each interval."""
        try:
            result = _decode_result(raw)
            groups, numbers = self._groups(result, context), _numbers(result)
        except msgspec.DecodeError:
            groups, numbers = {"$": raw}, {}
        grouping = _canonical(groups)
        metric = context.get("metric_id") or context.get("conversion_metric_id") or ""
        undeclared = (groups.keys() | numbers.keys()) - self._by_path.keys() - {"$"}
        for bucket in buckets:
            row, extra = dict(constant), {}
            when = bucket.text if bucket.start is None else bucket.start.isoformat()
            row[ID] = _digest(interval, when, metric, grouping)
            if bucket.start is None:
                extra["date_times"] = msgspec.json.encode(bucket.text)
            self._place(row, bucket.start, window, interval, zone)
            for path, value in groups.items():
                column = self._by_path.get(path)
                if column is not None and bytes(value) in _NONE:
                    continue
                if column is None or not _put(row, column, value):
                    extra[path] = bytes(value)
            for path, values in numbers.items():
                one = values if bucket.index is None else _nth(values, bucket.index)
                column = self._by_path.get(path)
                if one is not None and (column is None or not _put(row, column, one)):
                    extra[path] = bytes(one)
            if extra:
                row[EXTRA] = json_object(extra)
                new_fields.update(extra.keys() & undeclared)
                misfits.update(extra.keys() - undeclared)
            yield row

    def _groups(self, result: _Result, context: Mapping[str, str | None]) -> dict[str, Raw]:
        """Path -> value, for the values that identify this grouping."""
        if result.dimensions is None:
            return {f"groupings.{name}": value for name, value in _members(result.groupings).items()}
        requested = msgspec.json.decode(context.get("groups") or "[]", type=list[str])
        groups = {f"dimensions.{name}": value for name, value in zip(requested, result.dimensions, strict=False)}
        for position, value in enumerate(result.dimensions[len(requested) :], start=len(requested)):
            groups[f"dimensions[{position}]"] = value
        return groups

    def _place(
        self, row: dict[str, Any], start: datetime | None, window: Window, interval: Interval, zone: ZoneInfo
    ) -> None:
        """Write the columns of the row's period.

        Args:
            start: start of the interval; None puts the row into the first interval of the request, with which it will
                be replaced.
        """
        first = periods.beginning(start or window.start, interval, zone)
        last = min(window.end, periods.following(first, interval, zone)) - timedelta(seconds=1)
        period = {
            "period.start": first,
            "period.first_day": first.astimezone(zone).date(),
            "period.last_day": last.astimezone(zone).date(),
        }
        for path, value in period.items():
            if path in self._by_path:
                row[self._by_path[path].name] = value


def each_once(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of several pages with each id once: the last row of an id stays."""
    table = pa.concat_tables(tables)
    last = {key: position for position, key in enumerate(table.column(ID).to_pylist())}
    return table if len(last) == table.num_rows else table.take(pa.array(sorted(last.values())))


def _window(context: Mapping[str, str | None]) -> Window:
    start, end = (datetime.fromisoformat(context[name] or "") for name in ("start", "end"))
    return Window(start, end)


def _buckets(dates: Sequence[str], window: Window, interval: Interval, zone: ZoneInfo) -> list[_Bucket]:
    """The intervals of a series that lie in the window; others belong to other requests."""
    buckets = [_Bucket(start, index, dates[index]) for index, start in enumerate(periods.moments(dates, window, zone))]
    first = periods.beginning(window.start, interval, zone)
    inside = [bucket for bucket in buckets if bucket.start is None or first <= bucket.start < window.end]
    if buckets and not inside:
        raise ContractViolation(
            f"a series requested for {window} has dates from {dates[0]} to {dates[-1]}: its numbers are those of other "
            "days"
        )
    return inside


def _members(raw: Raw) -> dict[str, Raw]:
    """The members of a JSON object; none where it is absent or null."""
    return decode_object(raw) if bytes(raw) not in (b"", b"null") else {}


def _numbers(result: _Result) -> dict[str, Raw]:
    """Path -> numbers, for one grouping."""
    if result.dimensions is None:
        return {f"statistics.{name}": value for name, value in _members(result.statistics).items()}
    return {f"measurements.{name}": value for name, value in _members(result.measurements).items()}


def _nth(values: Raw, index: int) -> Raw | None:
    """One number of a list: None where the list is too short, and the value itself where it is not a list."""
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
    """A grouping as one text, whatever the order of its members."""
    return "|".join(f"{path}={text_of(value)}" for path, value in sorted(groups.items()))


def _digest(*parts: str) -> str:
    """An id made of texts: 32 hexadecimal digits."""
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]
