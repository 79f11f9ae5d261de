"""Tries a key: one cheap request a report tells whether it may be read."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import msgspec

from sources.klaviyo import query
from sources.klaviyo.account import Account
from sources.klaviyo.client import Client, Traffic
from sources.klaviyo.endpoints import endpoints
from sources.klaviyo.errors import AuthError, KlaviyoError, RequestRejected
from sources.klaviyo.limits import Governor, SystemClock
from sources.klaviyo.metrics import Metrics
from sources.klaviyo.reports import endpoint_of, report_of, scopes_of
from sources.klaviyo.settings import Settings
from sources.klaviyo.shape import parents
from sources.klaviyo.spec import Endpoint, Figures, Parent, Report
from sources.klaviyo.windows import Window

_SIDE_BY_SIDE = 8


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one report may be read.

    Attributes:
        allowed: None where the account has nothing to try it with.
        scopes: what the key needs.
        error: Klaviyo's refusal.
        remark: what else there is to say.
    """

    report: str
    allowed: bool | None
    scopes: tuple[str, ...]
    error: KlaviyoError | None = None
    remark: str = ""

    @property
    def lacks(self) -> str:
        """What the key or the account lacks, in a word; empty where nothing does."""
        if self.error is None:
            return ""
        if not isinstance(self.error, AuthError):
            return "not readable"
        if self.error.status == 401:
            return "wrong key"
        return "missing scope" if "scope" in self.error.detail.lower() else "not in the plan, or missing scope"


@dataclass(frozen=True, slots=True)
class Result:
    """What a key may read.

    Attributes:
        account: name and id of the account, or why they are not known.
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
    body, error = probe.ask(endpoint, query.url(endpoint))
    if isinstance(error, AuthError) and error.status == 403:
        # A refusal of this one scope shows that Klaviyo knows the key.
        return "unknown; the key works, but may not read accounts (accounts:read)"
    if error is not None:
        raise error
    try:
        record: Any = msgspec.json.decode(body)["data"][0]
        name = record["attributes"]["contact_information"]["organization_name"]
    except (msgspec.DecodeError, LookupError, TypeError):
        return "unknown; Klaviyo's answer does not name it"
    return f"{name} ({record['id']})"


class _Probe:
    def __init__(self, client: Client, revision: str) -> None:
        self.revision = revision
        self._client = client
        self._account = Account(client, revision)

    def ask(self, endpoint: Endpoint, path: str, body: bytes | None = None) -> tuple[bytes, KlaviyoError | None]:
        try:
            return self._client.get(path, endpoint, endpoint.rate, Traffic(), body).body, None
        except KlaviyoError as error:
            return b"", error

    def verdicts(self, settings: Settings) -> list[Verdict]:
        """Reports that send the same requests are tried once."""
        keys: dict[str, tuple[object, ...]] = {}
        asked: dict[tuple[object, ...], tuple[Report, tuple[str, ...], Figures | None]] = {}
        for name, own in settings.reports.items():
            report = report_of(settings, name)
            endpoint = endpoint_of(report)
            options = tuple(option for option in report.optional_fields if option in own.options)
            additional_fields = report.additional_fields + options
            fields = tuple(sorted(report.fields.items()))
            first = endpoint.variants[0].filter
            keys[name] = (endpoint.path, first, report.sort, report.include, additional_fields, fields)
            asked.setdefault(keys[name], (report, additional_fields, own.analytics))
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            tried = dict(zip(asked, pool.map(lambda one: self._try(*one), asked.values()), strict=True))
        return [replace(tried[key], report=name) for name, key in keys.items()]

    def _try(self, report: Report, additional_fields: tuple[str, ...], figures: Figures | None) -> Verdict:
        endpoint = endpoint_of(report)
        if figures is not None:
            return self._try_counting(report, figures)
        parent_id = None
        if endpoint.parent is not None:
            parent_id, error = self._any_parent(endpoint.parent)
            if error is not None:
                return Verdict("", False, endpoint.scopes, error)
            if parent_id is None:
                return Verdict("", None, endpoint.scopes, remark=f"no {endpoint.parent.records} to try it with")
        path = query.url(
            endpoint,
            variant=endpoint.variants[0],
            parent_id=parent_id,
            include=report.include,
            fields=report.fields,
            additional_fields=additional_fields,
            page_size=1,
            sort=report.sort,
        )
        _, error = self.ask(endpoint, path)
        absent_ok = endpoint.parent is not None and endpoint.parent.absent_ok
        if isinstance(error, RequestRejected) and error.status == 404 and absent_ok:
            error = None
        return Verdict("", error is None, endpoint.scopes, error)

    def _try_counting(self, report: Report, figures: Figures) -> Verdict:
        """One request of the quota of a day: the numbers of yesterday."""
        scopes = scopes_of(report)
        if self._account.timezone() is None:
            return Verdict("", False, scopes, self._account.error)
        report, error = Metrics(self._client).counted(report, figures.metrics)
        endpoint = endpoint_of(report)
        if error is None and endpoint.analytics is not None:
            today = SystemClock().now().replace(hour=0, minute=0, second=0, microsecond=0)
            yesterday = Window(today - timedelta(days=1), today)
            body = query.body(endpoint, endpoint.analytics, figures, yesterday, endpoint.variants[0])
            _, error = self.ask(endpoint, endpoint.path, body)
        return Verdict("", error is None, scopes, error)

    def _any_parent(self, parent: Parent) -> tuple[str | None, KlaviyoError | None]:
        """Any parent's id; None where there is none."""
        endpoint, above = endpoints(self.revision)[parent.endpoint], None
        if endpoint.parent is not None:
            above, error = self._any_parent(endpoint.parent)
            if above is None:
                return None, error
        # A record need not have any of those that it includes.
        page_size = 1 if parent.rows is None else None
        for variant in endpoint.variants:
            path = query.url(endpoint, variant=variant, parent_id=above, include=parent.include, page_size=page_size)
            body, error = self.ask(endpoint, path)
            if error is not None:
                return None, error
            if found := parents(body, parent):
                return found[0][0], None
        return None, None
