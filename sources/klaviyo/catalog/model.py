"""The types that the tables of endpoints and reports are written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from types import MappingProxyType

from ..calendar import Interval


class Ops(Enum):
    """Which comparison operators an endpoint offers on its cursor field."""

    RANGE = "greater-or-equal and less-than"
    STRICT = "greater-than and less-than only"
    CLOSED = "greater-or-equal and less-or-equal only"
    AFTER = "greater-than only"
    SINCE = "greater-or-equal only, since the endpoint takes a single date condition"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The field that orders change, and what the endpoint can do with it.

    Attributes:
        field: its name in filters, in `sort` and below `attributes` of a record.
        ops: the operators that a filter on it takes.
        ascending: whether `sort=<field>` exists. Then pages move forward in time, and a chain of pages can be cut in
            two while it is being read.
        from_start: read from the beginning of the account on a first run, whatever the start date is. For dimensions
            that other rows point at.
        always: keep the field in the filter even without a bound, because the filter also selects the records.
        fixed: the value of a record never changes, so a record belongs to one period only.
        unique: page tokens hold the id beside the value. Where they may not, the next page begins after the value in
            which a page ended, and what else has that value is asked for once more.
    """

    field: str
    ops: Ops = Ops.RANGE
    ascending: bool = True
    from_start: bool = False
    always: bool = False
    fixed: bool = False
    unique: bool = True


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate limit: fixed windows that Klaviyo counts at the same time, per account and endpoint.

    Attributes:
        burst: requests a second.
        steady: requests a minute.
        daily: requests a day, where there is such a quota.
    """

    burst: int
    steady: int
    daily: int | None = None


XS = Rate(1, 15)
S = Rate(3, 60)
M = Rate(10, 150)
L = Rate(75, 750)
XL = Rate(350, 3500)


@dataclass(frozen=True, slots=True)
class Variant:
    """One of several filters that together cover an endpoint.

    Attributes:
        filter: an expression in Klaviyo's filter grammar, combined with the date window by AND.
        context: constants that every record of this variant carries (`channel`).
        metric: id of the metric that the body of a POST asks for.
    """

    filter: str
    context: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    metric: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What tells the variants of one endpoint apart."""
        return self.filter, self.metric


NO_VARIANT = Variant("")


@dataclass(frozen=True, slots=True)
class Parent:
    """The parents of an endpoint that is asked once per parent.

    Attributes:
        endpoint: name of the endpoint that lists the parents; it may have parents itself.
        context: context column -> path in the parent record (`list_id` -> `id`).
        absent_ok: a 404 for one parent means that it has no such child. It is not an error.
        include: what the requests for the parents include.
        rows: None where the records of `endpoint` are the parents, else the included type that is.
        childless: path in the parent record -> values of parents that have no children and are not asked for them.
        filter: the filter field that takes the parent's id, where the path has no place for it.
        undated: ask for all parents, because a change in their children does not move their date.
        settled: path in the parent record, or in the included records of one of its relationships
            (`included.campaign-messages[].…`), and the value that says that nothing will be added to the parent any more.
            Where such a parent has no child, it is not asked again until its date changes.
    """

    endpoint: str
    context: Mapping[str, str]
    absent_ok: bool = False
    include: tuple[str, ...] = ()
    rows: str | None = None
    childless: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    filter: str | None = None
    undated: bool = False
    settled: tuple[str, str] | None = None

    @property
    def records(self) -> str:
        """What the parents are called, in messages."""
        return f"{self.rows.replace('-', '_')}s" if self.rows else self.endpoint


class AnalyticsApi(Enum):
    """How an analytics endpoint is asked, and what it answers."""

    REPORT = "statistics over a timeframe; `results` with groupings and statistics"
    AGGREGATE = "measurements of one metric between two datetimes; `data` with dimensions and measurements"


@dataclass(frozen=True, slots=True)
class Analytics:
    """What an analytics endpoint can count. It takes a POST and answers with numbers instead of records.

    Attributes:
        api: form of body and answer.
        intervals: interval -> how many of them one request may span. Without a series the numbers are of the whole
            timeframe, so every interval is a request of its own.
        default_interval: the interval, unless a setting says otherwise.
        series: there is a number for every interval.
        groups: the grouping, unless a setting says otherwise.
        default_metric: name of the metric, unless a setting says otherwise; `*` stands for any text. None where the
            endpoint takes no metric.
        lookback_days: how long numbers change after the fact, unless a setting says otherwise.
        since: Klaviyo has no data before this day.
        together: group -> groups that must be asked for with it.
    """

    api: AnalyticsApi
    intervals: Mapping[Interval, int]
    default_interval: Interval
    series: bool
    groups: tuple[str, ...] = ()
    default_metric: str | None = None
    lookback_days: float = 1.0
    since: date | None = None
    together: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings that a report of this endpoint has beside those of every report."""
        if self.api is AnalyticsApi.AGGREGATE:
            return "interval", "measurements", "by", "metrics"
        grouped = ("group_by",) if self.groups else ()
        metric = ("conversion_metric",) if self.default_metric else ()
        return "interval", "statistics", *grouped, "filter", *metric

    @property
    def metric_setting(self) -> str:
        """The setting that names metrics."""
        return "conversion_metric" if self.api is AnalyticsApi.REPORT else "metrics"


#: To be changed where the same answer becomes other rows, so that tables are read again. Version 0.1.0 had none: its
#: tables can hold rows of several definitions, and an empty text where nothing is attributed.
_SHAPE_OF_ROWS = "2"


@dataclass(frozen=True, slots=True)
class AnalyticsQuery:
    """Which numbers a run asks an analytics endpoint for.

    Attributes:
        interval: the interval of the numbers.
        statistics: which ones, in Klaviyo's words.
        groups: the grouping.
        filter: Klaviyo's filter grammar; empty means everything.
        metrics: names or patterns (`Opened*`) of the metrics.
        zone: IANA name of the account's timezone.
        most_requests: how many requests this run may start, where there is a daily quota.
    """

    interval: Interval
    statistics: tuple[str, ...]
    groups: tuple[str, ...] = ()
    filter: str = ""
    metrics: tuple[str, ...] = ()
    zone: str = "UTC"
    most_requests: int | None = None

    @property
    def signature(self) -> str:
        """The definition of the rows. If it differs from the one that was loaded, the loaded rows are not these.

        The timezone is a part of it: days of two timezones overlap.
        """
        parts = (self.interval, *self.statistics, "", *self.groups, "", self.filter, *self.metrics, "", self.zone)
        return "|".join((_SHAPE_OF_ROWS, *parts))


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One row of the table of endpoints: what this project decides about an endpoint. Only deviations are written.

    Type, rate limits, scopes and page sizes are Klaviyo's: they come from the packaged SDK facts (`capabilities`).

    Attributes:
        name: how this project calls the endpoint.
        path: path below the base URL; `{id}` stands for the parent's id.
        doc: one sentence for the reference.
        cursor: the field for date windows, or None where there is no date filter.
        variants: the filters to ask one after the other.
        parent: set where the endpoint is asked once per parent.
        analytics: set where it takes a POST and answers with numbers. The cursor is then what bounds its body.
        since: the first API revision that this row is true of; None for all.
        until: the last one. Rows of the same name take turns.
        asked: set where the requests show records that those of an earlier version of this project did not. It is stored
            with the coverage, so that a period that was loaded without these records is read again, once.
    """

    name: str
    path: str
    doc: str
    cursor: Cursor | None = None
    variants: tuple[Variant, ...] = (NO_VARIANT,)
    parent: Parent | None = None
    analytics: Analytics | None = None
    since: str | None = None
    until: str | None = None
    asked: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One readable collection of Klaviyo's API under one revision: the row of the table and the SDK's facts together.

    Attributes:
        name, path, doc, cursor, variants, parent, analytics, since, asked: see `EndpointRow`.
        type: JSON:API type of its records.
        rate: its own rate limit.
        scopes: what a private key needs.
        page_size: the greatest `page[size]`, or None where the endpoint takes no such parameter.
        rate_overrides: `additional-fields` value -> the lower rate limit that asking for it brings.
    """

    name: str
    path: str
    type: str
    doc: str
    rate: Rate
    scopes: tuple[str, ...]
    page_size: int | None = 100
    cursor: Cursor | None = None
    variants: tuple[Variant, ...] = (NO_VARIANT,)
    parent: Parent | None = None
    rate_overrides: Mapping[str, Rate] = field(default_factory=lambda: MappingProxyType({}))
    since: str | None = None
    analytics: Analytics | None = None
    asked: str = ""


@dataclass(frozen=True, slots=True)
class Custom:
    """What a user wrote for a raw table, beside the requests.

    Attributes:
        columns: what is lifted out of the JSON: column -> (dlt's name of the type, path in the record).
        inferred: dlt unpacks the records instead.
    """

    columns: Mapping[str, tuple[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    inferred: bool = False


@dataclass(frozen=True, slots=True)
class Nested:
    """What lies inside a record and makes rows of its own.

    A row that is no longer there must go from the table. So every expected place that a record lacks also becomes a
    row: one that tells the destination to delete it.

    Attributes:
        path: where the rows lie. `{name}` stands for any key of an object or any position in a list, and is a column.
        expected: the places that are known.
        within: field of a row -> context column that it must equal; other rows are left to other requests.
    """

    path: str
    expected: tuple[tuple[str | int, ...], ...]
    within: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class EventMetric:
    """The metric that the rows of a report are events of.

    Attributes:
        id: of the metric. It identifies the metric, since names change.
        names: under which it was chosen, the latest last.
        by_pattern: only patterns with a `*` chose it; nobody named it.
    """

    id: str
    names: tuple[str, ...]
    by_pattern: bool = False


#: For `Report.rows` of a custom report: all included records, whatever their type.
ALL_INCLUDED = "*"


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One row of the table of predefined reports: one table, and what is asked for in the requests that fill it.

    Attributes:
        name: the report, the dlt resource and the table.
        endpoint: name of the endpoint that is read.
        include: related resources that travel in the same answer.
        additional_fields: what Klaviyo leaves out unless asked.
        optional_fields: additional fields that a setting of the same name switches on.
        fields: sparse fieldsets, type -> fields; empty means everything.
        rows: None where the records themselves make the rows, else the included type that does.
        nested: set where what lies inside the records makes the rows.
        history: rows are memberships, kept as slowly changing history (dlt's scd2).
        whole: read whole by every run although its parents have a date filter, because a change in its rows does not
            move the date of a parent.
        on_by_default: loaded unless `reports` says otherwise.
        lookup: name of an endpoint that is asked once for each of its parents in a page, where no request can include
            its records. They join the included ones under the last part of its path.
        by_metric: the user may choose metrics; each of them is then a report.
        since: the first API revision that this row is true of; None for all.
        until: the last one. Rows of the same name take turns.
    """

    name: str
    endpoint: str
    include: tuple[str, ...] = ()
    additional_fields: tuple[str, ...] = ()
    optional_fields: tuple[str, ...] = ()
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    rows: str | None = None
    nested: Nested | None = None
    history: bool = False
    whole: bool = False
    on_by_default: bool = True
    lookup: str | None = None
    by_metric: bool = False
    since: str | None = None
    until: str | None = None
