"""The HTTP client: authorization, revision, retries, and the error for each status. No other module sends requests.

dlt's own requests client is not used: it would retry without the governor, and every attempt counts against the quota.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
import urllib3
from requests.adapters import HTTPAdapter

from ..catalog.model import Endpoint, Rate
from ..config.settings import Settings
from ..errors import AuthError, KlaviyoError, RateLimited, RequestRejected, TransientError
from ..jsonapi import JSON_API, next_link
from .body import read_body
from .rate_limit import Governor, too_long
from .server_time import ServerTime

#: Statuses of temporary failures. 524 is the timeout of the network in front of Klaviyo (seen).
_TEMPORARY = frozenset({408, 500, 502, 503, 504, 520, 522, 524})
#: Attempts for one page, if all meet temporary failures.
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ATTEMPTS = 6
#: Answers 429 to one page before it fails.
_MOST_REFUSALS = 30
#: `Traffic.answer_s` is a moving average over about this many answers.
_ANSWERS_AVERAGED = 20
_CONNECT_TIMEOUT_S = 10.0


@dataclass(slots=True)
class Traffic:
    """The requests of one report, counted.

    Attributes:
        requests: all attempts that were sent.
        refused: answers 429.
        retries: attempts after a temporary failure.
        answer_s: seconds until an answer is read, as a moving average.
    """

    requests: int = 0
    refused: int = 0
    retries: int = 0
    answer_s: float = 0.0

    def answered(self, seconds: float) -> None:
        """Count an answer that took so long."""
        self.answer_s += (seconds - self.answer_s) / min(self.requests, _ANSWERS_AVERAGED)


@dataclass(slots=True)
class Page:
    """One page of an answer.

    Attributes:
        body: a JSON:API document.
        next: path and query of the next page; None on the last one.
    """

    body: bytes
    next: str | None


class _Session(requests.Session):
    """A session to which a redirect is an answer like any other.

    requests reads the whole body of a redirect even if it is not to be followed, without bounds, and looks at where it
    leads. What is read then cannot be read again if it was packed.
    """

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class Client:
    """Sends read-only requests for one account. Thread-safe.

    Args:
        settings: key, base URL, revision and timeouts.
        governor: asked before every attempt.
    """

    def __init__(self, settings: Settings, governor: Governor) -> None:
        self._base_url = settings.base_url
        self._timeout_s = (_CONNECT_TIMEOUT_S, settings.request_timeout_s)
        self._secret = settings.authorization.partition(" ")[2]
        self._governor = governor
        self.server_time = ServerTime(governor.clock)
        self._counting = threading.Lock()
        self._session = _Session()
        self._session.headers.update(
            {
                "Authorization": settings.authorization,
                "revision": settings.revision,
                "Accept": JSON_API,
                "Accept-Encoding": "gzip",
                "User-Agent": f"dlt-klaviyo/{_version()}",
            }
        )
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Concurrency is limited by the number of threads. A smaller pool would open new connections all the time.
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=256)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        # Once for all requests: looking up proxies costs more time than everything else in a request.
        self._send_options: dict[str, Any] = dict(
            self._session.merge_environment_settings(self._base_url, {}, True, None, None)
        )
        # Proxies and certificates are already set above. With `trust_env`, a .netrc would replace the Authorization
        # header.
        self._session.trust_env = False

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def get(self, path: str, endpoint: Endpoint, rate: Rate, traffic: Traffic, body: bytes | None = None) -> Page:
        """Fetch one page; retries after temporary failures and after answers 429.

        Args:
            path: path and query, from `query.url` or `Page.next`.
            endpoint: the endpoint, for its scopes and its bucket of the rate limit.
            rate: the rate limit of this request (a lower one for requests with rate overrides).
            traffic: counts the attempts.
            body: body of a POST, from `query.body`; None for a GET. Such a POST changes nothing, so retries are safe.

        Raises:
            AuthError, RequestRejected: Klaviyo's final answer.
            RateLimited: Klaviyo asks for a longer wait than `max_wait_s`, or has answered 429 too often.
            TransientError: every attempt met a temporary failure.
        """
        attempt, refusals = 1, 0
        while True:
            try:
                return self._attempt(path, endpoint, rate, traffic, body)
            except RateLimited as error:
                refusals += 1
                if refusals > _MOST_REFUSALS or error.retry_after_s > self._governor.max_wait_s:
                    raise
                # The next attempt waits in the governor, as all threads do.
            except TransientError as error:
                if attempt >= _ATTEMPTS or self._governor.stop.is_set():
                    raise TransientError(f"{error} ({attempt} attempts)") from None
                with self._counting:
                    traffic.retries += 1
                # With jitter, threads that failed at the same time do not retry at the same time.
                pause_s = 0.5 * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
                if error.retry_after_s > self._governor.max_wait_s:
                    wait_s = error.retry_after_s
                    raise RateLimited(f"{error}; it asks to wait {wait_s:.0f} s", retry_after_s=wait_s) from None
                pause_s = max(pause_s, error.retry_after_s)
                self._governor.clock.wait(pause_s, self._governor.stop)
                attempt += 1

    def _attempt(self, path: str, endpoint: Endpoint, rate: Rate, traffic: Traffic, request_body: bytes | None) -> Page:
        bucket = self._governor.acquire(f"{endpoint.path} {rate.steady}", rate)
        with self._counting:
            traffic.requests += 1
        sent_s = self._governor.clock.monotonic()
        try:
            method, headers = ("GET", None) if request_body is None else ("POST", {"Content-Type": JSON_API})
            request = self._session.prepare_request(
                requests.Request(method, self._base_url + path, data=request_body, headers=headers)
            )
            response = self._session.send(request, timeout=self._timeout_s, allow_redirects=False, **self._send_options)
            until_s = self._governor.clock.monotonic() + self._timeout_s[1]
            encoding = response.headers.get("Content-Encoding", "").strip().lower()
            body = read_body(response.raw, encoding, lambda: self._governor.clock.monotonic() > until_s)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, TransientError) as error:
            self._governor.failed(bucket)
            raise TransientError(f"no whole answer from {endpoint.path}: {self._clean(error)}") from None
        took_s = self._governor.clock.monotonic() - sent_s
        self.server_time.note(response.headers.get("Date"))
        with self._counting:
            traffic.answered(took_s)
        if response.status_code == 429:
            wait_s = _retry_after_s(response.headers.get("Retry-After"))
            self._governor.refused(bucket, wait_s)
            with self._counting:
                traffic.refused += 1
            raise too_long(wait_s, f"Klaviyo asks {endpoint.path} to wait {wait_s:.0f} s (429)")
        self._governor.answered(bucket, response.headers, took_s)
        if response.status_code != 200:
            raise self._error(response.status_code, body, endpoint, response.headers)
        link = next_link(body)
        return Page(body, _path_of(link) if link else None)

    def _error(self, status: int, body: bytes, endpoint: Endpoint, headers: Mapping[str, str]) -> KlaviyoError:
        explained = _explanation(body)
        detail = self._clean(explained.detail)
        reason = f": {detail}" if detail else ""
        if status in _TEMPORARY:
            # Only some of them say when to come back.
            wait_s = _retry_after_s(headers["Retry-After"]) if "Retry-After" in headers else 0.0
            return TransientError(f"Klaviyo answered {status} for {endpoint.path}{reason}", retry_after_s=wait_s)
        if status in _REDIRECTS:
            return RequestRejected(
                f"{self._base_url} answered {status}, a redirect to {_host_of(headers)}: base_url must be the API itself",
                status=status,
                advice="Set base_url to the address of the API, or leave it out.",
            )
        if status == 401:
            return AuthError(f"Klaviyo does not accept the key (401){reason}", status=status, detail=detail)
        if status == 403:
            error = AuthError(f"the key may not read {endpoint.path} (403){reason}", status=status, detail=detail)
            if error.lacks_scope is not False:
                error.args = (f"{error} (needs {', '.join(endpoint.scopes)})",)
            return error
        return RequestRejected(
            f"Klaviyo refused {endpoint.path} ({status}){reason}",
            status=status,
            code=explained.code,
            detail=detail,
            parameter=explained.parameter,
        )

    def _clean(self, message: Any) -> str:
        """A message without the key, and without query strings, whose filters may contain an email address."""
        text = str(message).replace(self._secret, "***") if self._secret else str(message)
        return re.sub(r"\?\S+", "?…", text)


def _path_of(link: str) -> str:
    """Path and query of a link. The host is dropped: the key is only ever sent to the configured one."""
    try:
        parts = urlsplit(link)
    except ValueError:
        raise TransientError("the link to the next page is not a URL") from None
    # Without the slash, the path would become part of the host's name.
    path = "/" + parts.path.lstrip("/")
    return f"{path}?{parts.query}" if parts.query else path


def _host_of(headers: Mapping[str, str]) -> str:
    """Where a redirect leads, without its path and query."""
    try:
        return urlsplit(headers.get("Location", "")).hostname or "a path of its own"
    except ValueError:
        return "something that is no URL"


def _retry_after_s(value: str | None) -> float:
    """Seconds of a `Retry-After` header; at least 1, and 60 where it is not a number."""
    try:
        return max(1.0, float(value or 1))
    except ValueError:
        return 60.0


class _Source(msgspec.Struct):
    parameter: str | None = None


class _Error(msgspec.Struct):
    code: str | None = None
    title: str | None = None
    detail: str | None = None
    source: _Source | None = None


class _Errors(msgspec.Struct):
    errors: list[_Error] = []


@dataclass(frozen=True, slots=True)
class _Explanation:
    """What the body of an error says; empty where it says nothing.

    Attributes:
        code, detail: Klaviyo's own words.
        parameter: the query parameter that Klaviyo objects to.
    """

    code: str = ""
    detail: str = ""
    parameter: str = ""


def _explanation(body: bytes) -> _Explanation:
    try:
        errors = msgspec.json.decode(body, type=_Errors).errors
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Explanation()
    if not errors:
        return _Explanation()
    first, detail = errors[0], " / ".join(error.detail or error.title or "" for error in errors)
    return _Explanation(first.code or "", detail, (first.source and first.source.parameter) or "")


def _version() -> str:
    try:
        return version("dlt-klaviyo")
    except PackageNotFoundError:
        return "0"
