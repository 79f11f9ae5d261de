"""The types that the tables of endpoints and reports are written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from types import MappingProxyType
from typing import Literal

JSON_API = "application/vnd.api+json"


class Ops(Enum):
    """Which comparisons an endpoint offers on its cursor field."""

    RANGE = "greater-or-equal and less-than"
    STRICT = "greater-than and less-than only"
    CLOSED = "greater-or-equal and less-or-equal only"
    AFTER = "greater-than only"
    SINCE = "greater-or-equal alone, since one condition on a date is all that the endpoint takes"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The field that orders change, and what the endpoint lets one do with it.

    Attributes:
        field: name in filters, in `sort` and below `attributes` of a record.
        ops: the comparisons that the endpoint allows.
        ascending: whether `sort=<field>` exists, so that a chain of pages moves forward in time
            and can be cut in two while it is being read.
        from_start: read from the beginning of the account on a first run, whatever the start date
            (dimensions that other rows point at).
        always: the field stands in the filter even where nothing bounds it: without it other records would come too.
        fixed: whether a record has the same value for good, so that it belongs to one period and to no other.
    """

    field: str
    ops: Ops = Ops.RANGE
    ascending: bool = True
    from_start: bool = False
    always: bool = False
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Rate:
    """Two fixed windows that Klaviyo counts at once, per account and endpoint.

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
    """One of several filters that together cover an endpoint that has to be asked more than once.

    Attributes:
        filter: an expression in Klaviyo's grammar, ANDed to the date window.
        context: constants that every record of this variant carries (`channel`).
        metric: id of the metric that the body asks for, where a body does.
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
    """Where the ids come from of an endpoint that is asked once per parent.

    Attributes:
        endpoint: name of the endpoint that lists the parents; it may have parents itself.
        context: context column -> path in the parent record (`list_id` -> `id`).
        absent_ok: a 404 for one parent means that it has no such child, not an error.
        include: what the requests for the parents include.
        rows: None where the records of `endpoint` are the parents, or the included type that is.
        childless: path in the parent record -> values of parents that have no children: they are not asked for.
        filter: the field of a filter that takes the parent's id, where the path has no place for it.
        undated: all parents are asked for, since what changes in their children does not move their date.
    """

    endpoint: str
    context: Mapping[str, str]
    absent_ok: bool = False
    include: tuple[str, ...] = ()
    rows: str | None = None
    childless: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    filter: str | None = None
    undated: bool = False

    @property
    def records(self) -> str:
        """What the parents are called."""
        return f"{self.rows.replace('-', '_')}s" if self.rows else self.endpoint


#: What numbers are counted by: calendar intervals in the account's own timezone; weeks begin on Monday.
Interval = Literal["hour", "day", "week", "month"]


class Grammar(Enum):
    """How an endpoint that counts is asked, and answers."""

    REPORT = "statistics over a timeframe, `results` with groupings and statistics"
    AGGREGATE = "measurements of one metric between two datetimes, `data` with dimensions and measurements"


@dataclass(frozen=True, slots=True)
class Analytics:
    """What an endpoint counts that takes a POST and answers with numbers instead of records.

    Attributes:
        grammar: of body and answer.
        intervals: interval -> the most of them that one request may span. Where the answer is no series, its numbers
            are of the whole timeframe, and every interval is a request of its own.
        default_interval: unless a setting says otherwise.
        series: there is a number for every interval.
        groups: what is grouped by unless a setting says otherwise.
        default_metric: name of the metric that is asked for unless a setting says otherwise; `*` stands for any text.
            None where the endpoint takes no metric.
        lookback_days: how long numbers change after the fact, unless a setting says otherwise.
        since: Klaviyo has no data before this day.
        together: group -> groups that have to be asked for with it.
    """

    grammar: Grammar
    intervals: Mapping[Interval, int]
    default_interval: Interval
    series: bool
    groups: tuple[str, ...] = ()
    default_metric: str | None = None
    lookback_days: float = 1.0
    since: date | None = None
    together: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Figures:
    """Which numbers a run asks an endpoint for.

    Attributes:
        interval: what they are counted by.
        statistics: which ones, in Klaviyo's words.
        groups: what they are grouped by.
        filter: Klaviyo's grammar; empty means everything.
        metrics: names or patterns (`Opened*`) of the metrics that are asked for.
        zone: IANA name of the account's timezone.
        most_requests: how many requests this run may begin, where there is a quota a day.
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
        """What the rows depend on: where it changes, what is loaded is not what is asked for."""
        parts = (self.interval, *self.statistics, "", *self.groups, "", self.filter, *self.metrics)
        return "|".join(parts)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One readable collection of Klaviyo's API. Defaults silent, only deviations shown.

    Attributes:
        name: how this project calls it.
        path: path below the base URL; `{id}` stands for the parent's id, unless a filter names it.
        type: JSON:API type of its records.
        doc: one sentence for the reference.
        rate: its own rate limit.
        scopes: what a private key needs.
        page_size: the greatest `page[size]`, or None where the endpoint takes no such parameter.
        cursor: the field for date windows, or None where there is no date filter.
        variants: the filters to ask one after the other; one without a filter where there are none.
        parent: set where it takes one chain of requests a parent.
        dearer: `additional-fields` value -> the lower rate that asking for it brings.
        since: the first revision of the API that this row is true of; None for all.
        until: the last one. Rows of the same name take turns.
        analytics: set where it takes a POST and answers with numbers; the cursor is then what bounds its body.
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
    dearer: Mapping[str, Rate] = field(default_factory=lambda: MappingProxyType({}))
    since: str | None = None
    until: str | None = None
    analytics: Analytics | None = None


@dataclass(frozen=True, slots=True)
class Custom:
    """What a user has written for a raw table, beside the requests.

    Attributes:
        columns: what is lifted out of the JSON: column -> (dlt's name of the type, path in the record).
        inferred: dlt unpacks the records instead.
    """

    columns: Mapping[str, tuple[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    inferred: bool = False


@dataclass(frozen=True, slots=True)
class Each:
    """What lies inside a record and makes rows of its own.

    A row that is there no longer must go from the table. So whatever of `expected` a record lacks becomes a row too,
    one that tells the destination to delete it.

    Attributes:
        path: where the rows lie: `{name}` stands for any key of an object or any place in a list, and is a column.
        expected: what the places may be, as far as one can tell.
        within: field of a row -> context column that it has to equal; other rows are left to other requests.
    """

    path: str
    expected: tuple[tuple[str | int, ...], ...]
    within: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class OfMetric:
    """The metric that the rows of a report are events of.

    Attributes:
        id: of the metric; what it is known by, since names change.
        names: under which it was chosen, the latest last.
    """

    id: str
    names: tuple[str, ...]


#: For `Report.rows` of a custom report: all that is included, whatever its type.
ALL_INCLUDED = "*"


@dataclass(frozen=True, slots=True)
class Report:
    """One table that a user can ask for, and the requests that fill it.

    Attributes:
        name: the report, the dlt resource and the table.
        endpoint: name of the endpoint that is read.
        include: related resources that travel in the same answer.
        additional_fields: what Klaviyo leaves out unless asked.
        optional_fields: additional fields that a setting of the same name switches on.
        fields: sparse fieldsets, type -> fields; empty means everything.
        rows: None for the records themselves, or the included type that makes the rows.
        each: set where what lies inside the records makes the rows.
        history: rows are memberships, kept as slowly changing history (dlt's scd2).
        whole: read as a whole by every run although its parents have a date filter, since what changes in its rows
            does not move the date of a parent.
        on_by_default: loaded unless `reports` says otherwise.
        own: the endpoint with what a custom report changes in it, or one that is no row of the table.
        sort: how to ask for the records, where not by the cursor.
        metric: name of the metric whose events are wanted; its id is looked up when a run starts.
        lookup: name of an endpoint that is asked once for each of its parents in a page, where nothing includes its
            records; they join the included ones under the last part of its path.
        custom: set where a user wrote the report: its table is raw.
        by_metric: the user may choose metrics, of which each is a report then.
        of_metric: the metric of such a report.
        like: the predefined report whose columns it has, where not its own.
        table: the table it writes, where not the one of its name.
        since: the first revision of the API that this row is true of; None for all.
        until: the last one. Rows of the same name take turns.
        revision: the one that the report is read under; whoever looks a report up sets it.
    """

    name: str
    endpoint: str
    include: tuple[str, ...] = ()
    additional_fields: tuple[str, ...] = ()
    optional_fields: tuple[str, ...] = ()
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    rows: str | None = None
    each: Each | None = None
    history: bool = False
    whole: bool = False
    on_by_default: bool = True
    own: Endpoint | None = None
    sort: str | None = None
    metric: str | None = None
    lookup: str | None = None
    custom: Custom | None = None
    by_metric: bool = False
    of_metric: OfMetric | None = None
    like: str | None = None
    table: str | None = None
    since: str | None = None
    until: str | None = None
    revision: str = ""
