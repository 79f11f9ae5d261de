"""The command `check`: one cheap request for each report shows whether the key may read it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import msgspec

from ..catalog.endpoints import endpoints
from ..catalog.model import AnalyticsQuery, Endpoint, Parent
from ..catalog.report import Report
from ..clock import SystemClock
from ..config.settings import Settings
from ..decode.parents import parents
from ..errors import AuthError, KlaviyoError, RequestRejected
from ..extract.account import Account
from ..extract.metrics import Metrics
from ..http import query
from ..http.client import Client, Traffic
from ..http.rate_limit import Governor
from ..plan.plan import Selection, selections
from ..windows import Window

#: Reports that are tried at the same time.
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the key may read one report.

    Attributes:
        allowed: None if it could not be tried, since the account has no parent record for the request.
        scopes: the scopes that the key needs.
        error: Klaviyo's refusal.
        remark: why it could not be tried; else empty.
    """

    report: str
    allowed: bool | None
    scopes: tuple[str, ...]
    error: KlaviyoError | None = None
    remark: str = ""

    @property
    def lacks(self) -> str:
        """What the key or the account lacks, in a few words; empty where nothing is missing."""
        if self.error is None:
            return ""
        if not isinstance(self.error, AuthError):
            return "not readable"
        if self.error.status == 401:
            return "wrong key"
        words = {True: "missing scope", False: "not in the plan", None: "not in the plan, or missing scope"}
        return words[self.error.lacks_scope]


@dataclass(frozen=True, slots=True)
class Result:
    """What a key may read.

    Attributes:
        account: name and id of the account, or why they are unknown.
    """

    account: str
    verdicts: list[Verdict]

    @property
    def all_allowed(self) -> bool:
        return all(verdict.allowed is not False for verdict in self.verdicts)


def check(settings: Settings) -> Result:
    """Try the key on the account and on every report of the settings.

    Raises:
        KlaviyoError: no report can be read: a wrong key, a retired revision, no connection.
    """
    clock = SystemClock()
    client = Client(settings, Governor(clock, settings.max_wait_s, threading.Event()))
    try:
        probe = _Probe(client, settings.revision)
        return Result(_account(probe), probe.verdicts(settings))
    finally:
        client.close()


def _account(probe: _Probe) -> str:
    endpoint = endpoints(probe.revision)["accounts"]
    try:
        record: Any = msgspec.json.decode(probe.ask(endpoint, query.url(endpoint)))["data"][0]
        name = record["attributes"]["contact_information"]["organization_name"]
    except AuthError as error:
        if error.status != 403:
            raise
        # A missing scope (403) shows that the key itself is valid.
        return "unknown; the key works, but may not read accounts (accounts:read)"
    except (msgspec.DecodeError, LookupError, TypeError):
        return "unknown; Klaviyo's answer does not name it"
    return f"{name} ({record['id']})"


class _Probe:
    """Sends the requests that try a key."""

    def __init__(self, client: Client, revision: str) -> None:
        self.revision = revision
        self._client = client
        self._account = Account(client, revision)
        self._metrics = Metrics(client, revision)

    def ask(self, endpoint: Endpoint, path: str, body: bytes | None = None) -> bytes:
        """The body of the answer."""
        return self._client.get(path, endpoint, endpoint.rate, Traffic(), body).body

    def verdicts(self, settings: Settings) -> list[Verdict]:
        """A verdict for each report of the settings. Reports that send the same requests are tried once."""
        keys: dict[str, tuple[object, ...]] = {}
        to_try: dict[tuple[object, ...], Selection] = {}
        for name, selected in selections(settings).items():
            report = selected.report
            fields, first = tuple(sorted(report.fields.items())), report.endpoint.variants[0].filter
            path, include, additional = report.endpoint.path, report.include, report.additional_fields
            # Whether the account has the metrics that are counted differs between definitions of one report.
            counted = selected.settings.analytics.metrics if selected.settings.analytics else ()
            keys[name] = (path, first, report.sort, include, additional, fields, counted)
            to_try.setdefault(keys[name], selected)
        with ThreadPoolExecutor(_THREADS) as pool:
            tried = dict(zip(to_try, pool.map(self._verdict, to_try.values()), strict=True))
        return [replace(tried[key], report=name) for name, key in keys.items()]

    def _verdict(self, selected: Selection) -> Verdict:
        """The verdict on one report, without its name."""
        report, analytics_query = selected.report, selected.settings.analytics
        try:
            remark = self._try(report) if analytics_query is None else self._try_analytics(report, analytics_query)
        except KlaviyoError as error:
            return Verdict("", False, report.scopes, error)
        return Verdict("", None if remark else True, report.scopes, remark=remark)

    def _try(self, report: Report) -> str:
        """Request one record. Returns why that is not possible; empty where it is.

        Raises:
            KlaviyoError: Klaviyo refused.
        """
        endpoint, parent_id = report.endpoint, None
        if endpoint.parent is not None:
            parent_id = self._any_parent(endpoint.parent)
            if parent_id is None:
                return f"no {endpoint.parent.records} to try it with"
        path = query.url(
            endpoint,
            variant=endpoint.variants[0],
            parent_id=parent_id,
            include=report.include,
            fields=report.fields,
            additional_fields=report.additional_fields,
            page_size=1,
            sort=report.sort,
        )
        try:
            self.ask(endpoint, path)
        except RequestRejected as error:
            if error.status != 404 or endpoint.parent is None or not endpoint.parent.absent_ok:
                raise
        return ""

    def _try_analytics(self, report: Report, analytics_query: AnalyticsQuery) -> str:
        """As `_try`, for an analytics report: requests yesterday's numbers. Costs one request of the daily quota."""
        self._account.timezone()
        endpoint = self._metrics.counted(report, analytics_query.metrics).endpoint
        if endpoint.analytics is not None:
            today = SystemClock().now().replace(hour=0, minute=0, second=0, microsecond=0)
            yesterday = Window(today - timedelta(days=1), today)
            self.ask(
                endpoint,
                endpoint.path,
                query.body(endpoint, endpoint.analytics, analytics_query, yesterday, endpoint.variants[0]),
            )
        return ""

    def _any_parent(self, parent: Parent) -> str | None:
        """Id of any parent record; None where the account has none."""
        endpoint, above = endpoints(self.revision)[parent.endpoint], None
        if endpoint.parent is not None:
            above = self._any_parent(endpoint.parent)
            if above is None:
                return None
        # Where included records are the parents, one record may have none of them: request a full page.
        page_size = 1 if parent.rows is None else None
        for variant in endpoint.variants:
            path = query.url(endpoint, variant=variant, parent_id=above, include=parent.include, page_size=page_size)
            for record in parents(self.ask(endpoint, path), parent):
                return record.id
        return None
