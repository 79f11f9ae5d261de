"""A report with all that the tables say of it: what every module below the settings is handed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import cast

from .contracts import EXTRA_COLUMN, Column, Contract, DataType, with_deletions
from .model import Cursor, Custom, Endpoint, EventMetric, Nested, Rate


@dataclass(frozen=True, slots=True)
class Lookup:
    """Records that no request can include, asked for once for each of their parents in a page.

    Attributes:
        endpoint: what is asked, with the parent's id in its path.
        parents: the endpoint that the parents are records of.
    """

    endpoint: Endpoint
    parents: Endpoint


@dataclass(frozen=True)
class Report:
    """One table that a run can fill, resolved for one revision of the API: predefined, or written by the user.

    Attributes:
        name: the report, the dlt resource and, unless `table` says otherwise, the table.
        revision: the revision that it is read under.
        endpoint: what is read.
        parents: the endpoints that list the parents, from the one that is asked first down.
        declared: the declared columns of a predefined report; None for a custom one.
        lookup: what is asked for the records of each page.
        beside: other endpoints that a run asks for this report (timezone, metrics). The key needs their scopes.
        sort: how to ask for the records, where not by the cursor.
        metric: name of the metric whose events are wanted. Its id is looked up when a run starts.
        custom: set where a user wrote the report: its table is raw.
        event_metric: set where the rows are the events of one chosen metric.
        like: the predefined report that it is a part or another definition of, if any. Such reports share their threads.
        table: the table it writes, where not the one of its name.
        include, additional_fields, optional_fields, fields, rows, nested, history, whole, on_by_default, by_metric:
            see `ReportRow`.
    """

    name: str
    revision: str
    endpoint: Endpoint
    parents: tuple[Endpoint, ...] = ()
    declared: Contract | None = None
    include: tuple[str, ...] = ()
    additional_fields: tuple[str, ...] = ()
    optional_fields: tuple[str, ...] = ()
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    rows: str | None = None
    nested: Nested | None = None
    history: bool = False
    whole: bool = False
    on_by_default: bool = True
    lookup: Lookup | None = None
    beside: tuple[Endpoint, ...] = ()
    by_metric: bool = False
    sort: str | None = None
    metric: str | None = None
    custom: Custom | None = None
    event_metric: EventMetric | None = None
    like: str | None = None
    table: str | None = None

    def with_options(self, options: frozenset[str]) -> Report:
        """The report as it is asked for with these switches on."""
        asked = tuple(name for name in self.optional_fields if name in options)
        return replace(self, additional_fields=self.additional_fields + asked) if asked else self

    @property
    def redefines(self) -> str | None:
        """The predefined analytics report that a user wrote another definition of; None for any other report."""
        return self.like if self.endpoint.analytics is not None else None

    @property
    def is_users_own(self) -> bool:
        """Whether a user wrote it, under `custom_reports`."""
        return self.custom is not None or self.redefines is not None

    @cached_property
    def lineage(self) -> tuple[Endpoint, ...]:
        """The endpoints that are read, from the one that is asked first down to the report's own."""
        return (*self.parents, self.endpoint)

    def below(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint of the lineage that is asked once for each record of this one."""
        return self.lineage[self.lineage.index(endpoint) + 1]

    @cached_property
    def contract(self) -> Contract:
        """The columns: those declared in `schemas/`, or those of a raw table."""
        if self.declared is None:
            return self._raw_contract()
        deletes = self.nested is not None or self.endpoint.analytics is not None
        return with_deletions(self.declared) if deletes else self.declared

    def _raw_contract(self) -> Contract:
        """Columns of a custom report's table, or of the one with its included records."""
        endpoint, included = self.endpoint, self.rows is not None
        above = [] if included else list(context_columns(endpoint))
        parents = endpoint.parent.context if endpoint.parent else {}
        columns = [
            *(
                Column(name, "text", f"context.{name}", "Known from the request.", name not in parents, name in parents)
                for name in above
            ),
            Column("id", "text", "id", "Id of the record.", nullable=False, primary_key=True),
            # The table of included records holds several types.
            Column("type", "text", "type", "JSON:API type of the record.", not included, included),
        ]
        if endpoint.cursor is not None and not included:
            name, path = raw_column(endpoint.cursor.field), f"attributes.{endpoint.cursor.field}"
            columns.append(Column(name, "timestamp", path, "When the record happened or changed, UTC."))
        columns += [
            Column(name, "json", name, f"The {name} of the record as Klaviyo sent them.")
            for name in ("attributes", "relationships", "links")
        ]
        if self.custom is not None and not included:
            columns += [
                Column(name, cast(DataType, kind), path, f"Lifted out of {path}.")
                for name, (kind, path) in self.custom.columns.items()
            ]
        doc = f"What is included with {self.name.rpartition('__')[0]}." if included else endpoint.doc
        return Contract(self.name, endpoint.type, doc, (*columns, EXTRA_COLUMN))

    @cached_property
    def key_columns(self) -> list[str]:
        """The columns that make a row unique. Memberships have no primary key in dlt's sense."""
        key = self.contract.primary_key
        return key or [c.name for c in self.contract.columns if c.path == "id" or c.path.startswith("context.")]

    @cached_property
    def dated_endpoint(self) -> Endpoint:
        """The endpoint whose cursor bounds the period: that of the first parents that have one."""
        return next((endpoint for endpoint in self.lineage if endpoint.cursor), self.lineage[0])

    @property
    def cursor(self) -> Cursor | None:
        """The cursor that bounds the period."""
        return self.dated_endpoint.cursor

    @cached_property
    def dated_by(self) -> str:
        """The field that the period is one of, as a revision has it; stored with what is loaded.

        A period that was loaded by another field says nothing about this one: where Klaviyo changes an endpoint, it
        may show records that it did not show before. So may this project: see `EndpointRow.asked`.
        """
        endpoint = self.dated_endpoint
        field = endpoint.cursor.field if endpoint.cursor else ""
        named = (endpoint.path, field, endpoint.since or "", endpoint.asked)
        return " ".join(filter(None, named))

    @property
    def is_windowed(self) -> bool:
        """Whether a date window applies. Memberships are compared whole, and what has no date filter is read whole."""
        return not (self.history or self.whole) and self.cursor is not None

    @cached_property
    def cursor_column(self) -> str | None:
        """The column with a row's place in time, where rows are the endpoint's own records."""
        cursor = self.endpoint.cursor
        if cursor is None or self.rows is not None or self.endpoint.analytics is not None:
            return None
        path = f"attributes.{cursor.field}"
        found = (column.name for column in self.contract.columns if column.path == path)
        # Rows out of lists inside a record have no place in time of their own.
        return next(found) if self.nested is None else next(found, None)

    @cached_property
    def rate(self) -> Rate:
        """The rate limit of the requests for the rows, with all that the report asks for."""
        overrides = self.endpoint.rate_overrides
        lower = [overrides[name] for name in self.additional_fields if name in overrides]
        return min([self.endpoint.rate, *lower], key=lambda rate: rate.steady)

    @cached_property
    def scopes(self) -> tuple[str, ...]:
        """What a key needs: for every endpoint that a run asks for this report."""
        looked_up = (self.lookup.endpoint,) if self.lookup else ()
        asked = (self.endpoint, *self.parents, *looked_up, *self.beside)
        return tuple(dict.fromkeys(scope for endpoint in asked for scope in endpoint.scopes))


def raw_column(field: str) -> str:
    """The column of a raw table that holds a field."""
    return field.replace(".", "_")


def context_columns(endpoint: Endpoint) -> list[str]:
    """Columns that the request knows and the record does not: the parent's, and those of the variants."""
    found = dict.fromkeys(endpoint.parent.context if endpoint.parent else ())
    for variant in endpoint.variants:
        found.update(dict.fromkeys(variant.context))
    return list(found)
