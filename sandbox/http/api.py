"""Answers requests: authentication, rate limits, routing and rendering, without sockets."""

from __future__ import annotations

import re
import threading
import urllib.parse
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from .. import rules
from ..data.resource_types import NAMED_ONLY, RELATIONS, SINCE, kinds, later_attributes, type_of
from ..rules import Endpoint
from ..store.account import Account
from ..store.record_sources import AllRecords, GroupMembers, RelatedRecords, Source
from . import aggregate_requests, pages, query, report_requests
from .errors import ApiError, invalid
from .query import Query
from .rate_limits import Limiter
from .render import Renderer, dumped

REVISION = re.compile(r"\d{4}-\d\d-\d\d(\.[a-z]+)?")
REVISION_LIFETIME = timedelta(days=2 * 365)
ESTIMATION = "campaign-recipient-estimation"
# Of rendered pages.
CACHED_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of an answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class _Cache:
    """The pages used last, up to a number of bytes."""

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[int, str], bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[int, str]) -> bytes | None:
        with self._lock:
            if key in self._pages:
                self._pages.move_to_end(key)
            return self._pages.get(key)

    def put(self, key: tuple[int, str], body: bytes) -> None:
        with self._lock:
            if key in self._pages or len(body) > CACHED_BYTES:
                return
            self._pages[key] = body
            self._size += len(body)
            while self._size > CACHED_BYTES:
                self._size -= len(self._pages.popitem(last=False)[1])


class Api:
    """Klaviyo's answers for one account.

    Args:
        account: the data.
        keys: private keys and access tokens with the scopes of each; None for all scopes.
        base: start of every link.
        rate_limits: whether requests are counted and refused.
        limiter: counts the requests.
        report_rows: rows of a page of an analytics report.
        page_rows: records of any other page at most; None for as many as are asked for.
        vanished_status: of the answer to a request for what belongs to a record that does not exist. The request for
            the record itself gets 404.
        unfilterable_metrics: names of metrics by which events cannot be filtered.
        includes_variations: whether the list of campaign messages can include campaign variations.
    """

    def __init__(
        self,
        account: Account,
        keys: Mapping[str, set[str] | None],
        base: str,
        rate_limits: bool,
        limiter: Limiter,
        report_rows: int = 500,
        page_rows: int | None = None,
        vanished_status: int = 404,
        unfilterable_metrics: Collection[str] = (),
        includes_variations: bool = False,
    ) -> None:
        self._account = account
        self._keys = keys
        self._base = base
        self.rate_limits = rate_limits
        self._limiter = limiter
        self._report_rows = report_rows
        self._page_rows = page_rows
        self._vanished_status = vanished_status
        self._unfilterable_metrics = frozenset(unfilterable_metrics)
        self._cache = _Cache()
        self._kinds = {revision: kinds(revision) for revision in rules.revisions()}
        self._routes: dict[str, list[tuple[re.Pattern[str], Endpoint]]] = {}
        for revision in rules.revisions():
            self._routes[revision] = [
                (re.compile(re.sub(r"\{\w+\}", "([^/]+)", endpoint.path)), endpoint)
                for endpoint in rules.load(revision).endpoints
            ]
            if includes_variations:
                self._routes[revision] = [
                    (pattern, _with_variations(endpoint) if endpoint.path == "/api/campaign-messages" else endpoint)
                    for pattern, endpoint in self._routes[revision]
                ]

    def template(self, path: str) -> str | None:
        """The path template of a path, in any revision; None if there is none."""
        for routes in self._routes.values():
            for pattern, endpoint in routes:
                if pattern.fullmatch(path.rstrip("/")):
                    return endpoint.path
        return None

    def answer(
        self, method: str, path: str, parameters: dict[str, str], headers: Mapping[str, str], content: bytes = b""
    ) -> Answer:
        """Answer a request, with an error if it is refused.

        Args:
            headers: with names in lower case.
        """
        limit_headers: dict[str, str] = {}
        try:
            key, owner = self._authenticate(headers)
            revision = self._revision(headers)
            endpoint, identities = self._endpoint(revision, method, path.rstrip("/"))
            self._check_scopes(key, endpoint)
            if self.rate_limits:
                limit_headers = self._count_request(owner, endpoint, parameters)
            if endpoint.method == "POST":
                body = self._post_body(endpoint, parameters, headers.get("content-type", ""), content)
            else:
                body = self._get_body(revision, endpoint, identities, path, parameters)
        except _Throttled as refusal:
            return Answer(429, refusal.body(), {"Retry-After": refusal.retry_after})
        except ApiError as refusal:
            return Answer(refusal.status, refusal.body(), limit_headers)
        return Answer(200, body, limit_headers)

    def _authenticate(self, headers: Mapping[str, str]) -> tuple[str, str]:
        """The key of a request and the owner of its quota: the private keys share one, each token has its own."""
        authorization = headers.get("authorization", "").strip()
        if not authorization:
            raise ApiError(401, "Missing or invalid authorization header.")
        scheme, _, key = authorization.partition(" ")
        key = key.strip()
        private = scheme == "Klaviyo-API-Key"
        if (not private and scheme != "Bearer") or key not in self._keys or (not private and key.startswith("pk_")):
            raise ApiError(
                401,
                f"The {'API key' if private else 'access token'} specified is invalid.",
                code="authentication_failed",
                title="Incorrect authentication credentials.",
            )
        return key, "account" if private else key

    def _revision(self, headers: Mapping[str, str]) -> str:
        given = headers.get("revision", "").strip()
        if not given:
            raise ApiError(400, "The 'revision' header is required.", code="missing_revision", pointer="/headers")
        if not REVISION.fullmatch(given):
            raise ApiError(400, f"'{given}' is not a revision; the form is YYYY-MM-DD.", pointer="/headers")
        if given in self._routes:
            return given
        try:
            day = date.fromisoformat(given[:10])
        except ValueError:
            raise ApiError(400, f"'{given}' is not a date.", pointer="/headers") from None
        if day < self._account.now.date() - REVISION_LIFETIME:
            raise ApiError(410, f"The revision {given} is retired.", pointer="/headers")
        known = ", ".join(self._routes)
        raise ApiError(400, f"The revision {given} is not supported; supported: {known}.", pointer="/headers")

    def _endpoint(self, revision: str, method: str, path: str) -> tuple[Endpoint, list[str]]:
        methods = []
        for pattern, endpoint in self._routes[revision]:
            match = pattern.fullmatch(path)
            if match and endpoint.method == method:
                return endpoint, [urllib.parse.unquote(part) for part in match.groups()]
            if match:
                methods.append(endpoint.method)
        if methods:
            raise ApiError(405, f"Method {method} not allowed.")
        raise ApiError(404, f"There is nothing at {path}.")

    def _check_scopes(self, key: str, endpoint: Endpoint) -> None:
        scopes = self._keys[key]
        missing = [scope for scope in endpoint.scopes if scopes is not None and scope not in scopes]
        if missing:
            raise ApiError(
                403,
                f"The API key is missing the required scope(s): {', '.join(missing)}.",
                pointer="/data/",
            )

    def _count_request(self, owner: str, endpoint: Endpoint, parameters: Mapping[str, str]) -> dict[str, str]:
        burst, steady, overridden_by = endpoint.burst, endpoint.steady, ""
        for override in endpoint.rate_overrides:
            if override.value in parameters.get(override.parameter, "").split(",") and override.steady < steady:
                burst, steady, overridden_by = override.burst, override.steady, override.value
        verdict = self._limiter.ask(
            (owner, endpoint.method, endpoint.path, overridden_by), burst, steady, endpoint.daily
        )
        if not verdict.allowed:
            raise _Throttled(verdict.headers["Retry-After"])
        return verdict.headers

    def _post_body(self, endpoint: Endpoint, parameters: dict[str, str], content_type: str, content: bytes) -> bytes:
        """The answer to an analytics report or a metric aggregate."""
        fields = query.read(endpoint, parameters, self._account.now.timestamp()).fields.get(str(endpoint.type))

        def link(asked: Mapping[str, str]) -> str:
            return self._link(endpoint.path, asked)

        if endpoint.path == aggregate_requests.PATH:
            return dumped(aggregate_requests.answer(self._account, content, content_type, fields, link))
        report = report_requests.REPORTS.get(endpoint.path)
        if report is None:
            raise ApiError(501, f"The sandbox has no data for {endpoint.path}.")
        document = report_requests.answer(
            report, self._account, content, content_type, parameters, fields, link, self._report_rows
        )
        return dumped(document)

    def _get_body(
        self, revision: str, endpoint: Endpoint, identities: list[str], path: str, parameters: dict[str, str]
    ) -> bytes:
        asked = query.read(endpoint, parameters, self._account.now.timestamp())
        self._refuse_metrics(asked)
        target = self._link(path, parameters)
        key = (self._account.version, revision + target)
        body = self._cache.get(key)
        if body is None:
            renderer = Renderer(self._account, self._left_out(revision, endpoint), endpoint.relationships, self._base)
            body = self._rendered(renderer, revision, endpoint, identities, path, parameters, asked)
            if endpoint.many:
                self._cache.put(key, body)
        return body

    def _refuse_metrics(self, asked: Query) -> None:
        """Events cannot be filtered by some of Klaviyo's own metrics (seen)."""
        condition = asked.condition("metric_id")
        for identity in condition.values if condition is not None else ():
            metric = self._account.stores["metric"].get(str(identity))
            if metric is not None and metric["attributes"].get("name") in self._unfilterable_metrics:
                raise invalid(f"Metric IDs ['{identity}'] do not exist.", "filter")

    def _left_out(self, revision: str, endpoint: Endpoint) -> dict[str, frozenset[str]]:
        """Attributes, by type, that an endpoint leaves out unless `additional-fields` names them."""
        absent = dict(rules.load(revision).additional)
        for kind, names in NAMED_ONLY.items():
            absent[kind] = absent.get(kind, frozenset()) | (names - {*endpoint.fields.get(kind, ())})
        for kind in {name for kinds_since in SINCE.values() for name in kinds_since}:
            absent[kind] = absent.get(kind, frozenset()) | later_attributes(kind, revision)
        return absent

    def _link(self, path: str, parameters: Mapping[str, str]) -> str:
        encoded = urllib.parse.urlencode(parameters, quote_via=urllib.parse.quote)
        return self._base + path + ("?" + encoded if encoded else "")

    def _rendered(
        self,
        renderer: Renderer,
        revision: str,
        endpoint: Endpoint,
        identities: list[str],
        path: str,
        parameters: dict[str, str],
        asked: Query,
    ) -> bytes:
        parts = endpoint.path.removeprefix("/api/").split("/")
        kind = self._kinds[revision].get(parts[0])
        if endpoint.method != "GET" or kind is None or (len(parts) > 2 and parts[-1] not in RELATIONS[kind]):
            raise ApiError(501, f"The sandbox has no data for {endpoint.path}.")
        if len(parts) == 1:
            source: Source = AllRecords(self._account, self._account.stores[kind])
            return self._many(renderer, endpoint, source, path, parameters, asked)
        # An estimation has the id of its campaign.
        campaigns = self._account.stores[self._kinds[revision]["campaigns"]]
        below = len(parts) > 2 or (kind == ESTIMATION and campaigns.get(identities[0]) is None)
        number = self._number(kind, identities[0], self._vanished_status if below else 404)
        if len(parts) == 2:
            return self._one(renderer, kind, [(0, number)], path, asked)
        name = parts[-1]
        target = RELATIONS[kind][name].type
        store = self._account.stores[target]
        if kind in ("list", "segment") and name == "profiles":
            joined = GroupMembers(self._account.groups(kind, identities[0]), store)
            return self._many(renderer, endpoint, joined, path, parameters, asked)
        resource = self._account.stores[kind].entry(number).resource
        targets = self._account.related(kind, resource, name)
        if endpoint.many:
            return self._many(
                renderer, endpoint, RelatedRecords(self._account, store, targets), path, parameters, asked
            )
        numbers = [number for number in (store.number(t) for t in targets) if number is not None]
        if not numbers:
            raise ApiError(404, f"The {type_of(kind)} '{identities[0]}' has no {name}.")
        if "relationships" in parts:
            return self._document(renderer.identifiers(target, [(0, numbers[0])])[0], path)
        return self._one(renderer, target, [(0, numbers[0])], path, asked)

    def _number(self, kind: str, identity: str, missing: int) -> int:
        """The number of a record; the answer has the status `missing` where there is no such record."""
        number = self._account.stores[kind].number(identity)
        if number is None:
            raise ApiError(missing, f"A {type_of(kind)} with id {identity} does not exist.")
        return number

    def _many(
        self,
        renderer: Renderer,
        endpoint: Endpoint,
        source: Source,
        path: str,
        parameters: dict[str, str],
        asked: Query,
    ) -> bytes:
        if self._page_rows is not None:
            asked = replace(asked, size=min(asked.size, self._page_rows))
        page = pages.page(source, path.rstrip("/"), parameters, asked, endpoint.paged)
        following = None
        if page.next_token is not None:
            following = self._link(path, {**parameters, "page[cursor]": page.next_token})
        links = {"self": self._link(path, parameters), "next": following, "prev": None}
        if "/relationships/" in endpoint.path:
            rows = renderer.identifiers(source.kind, page.handles)
        else:
            rows = renderer.rows(source.kind, page.handles, asked, joined=isinstance(source, GroupMembers))
        pieces = [b'{"data":[', b",".join(rows), b"]"]
        if asked.include:
            pieces += [b',"included":[', b",".join(renderer.included(source.kind, page.handles, asked)), b"]"]
        return b"".join([*pieces, b',"links":', dumped(links), b"}"])

    def _one(self, renderer: Renderer, kind: str, handles: list[tuple[int, int]], path: str, asked: Query) -> bytes:
        if kind == "event":
            store = self._account.stores[kind]
            handles = [(store.order_value(number, "datetime"), number) for _, number in handles]
        row = renderer.rows(kind, handles, asked)[0]
        included = None
        if asked.include:
            included = b",".join(renderer.included(kind, handles, asked))
        return self._document(row, path, included)

    def _document(self, row: bytes, path: str, included: bytes | None = None) -> bytes:
        middle = b"" if included is None else b',"included":[' + included + b"]"
        return b'{"data":' + row + middle + b',"links":' + dumped({"self": self._base + path}) + b"}"


def _with_variations(endpoint: Endpoint) -> Endpoint:
    """The list of campaign messages as a preview of the API had it."""
    of_variation = {"campaign-variation": ("campaign-message", "image", "translation")}
    return replace(
        endpoint,
        include=(*endpoint.include, "campaign-variations"),
        relationships={**endpoint.relationships, **of_variation},
    )


class _Throttled(ApiError):
    def __init__(self, retry_after: str) -> None:
        super().__init__(429, f"Request was throttled. Expected available in {retry_after} second(s).")
        self.retry_after = retry_after
