"""The one HTTP door: authorization, revision, retries, status -> error.

Why not dlt's own requests client: its retries know nothing of the governor, and every attempt spends the same quota.
"""

from __future__ import annotations

import random
import re
import threading
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
from .rate_limit import Governor, too_long

#: 524 is the timeout of the network in front of Klaviyo (seen).
_PASSING = frozenset({408, 500, 502, 503, 504, 520, 522, 524})


_ATTEMPTS = 6


_MOST_REFUSALS = 30


_ANSWERS_REMEMBERED = 20


_CONNECT_TIMEOUT_S = 10.0


@dataclass(slots=True)
class Traffic:
    """What one report cost.

    Attributes:
        requests: every attempt that was sent.
        refused: answers 429.
        retries: attempts after a passing fault.
        answer_s: how long an answer takes, most of all the last ones.
    """

    requests: int = 0
    refused: int = 0
    retries: int = 0
    answer_s: float = 0.0

    def answered(self, seconds: float) -> None:
        """Note how long an answer took."""
        self.answer_s += (seconds - self.answer_s) / min(self.requests, _ANSWERS_REMEMBERED)


@dataclass(slots=True)
class Page:
    """One answer.

    Attributes:
        body: a JSON:API document.
        next: path and query of the next page, or None on the last.
    """

    body: bytes
    next: str | None


class Client:
    """Sends requests that only read for one account. Thread-safe.

    Args:
        settings: key, base URL, revision and timeouts.
        governor: asked before every attempt.
    """

    def __init__(self, settings: Settings, governor: Governor) -> None:
        self._base_url = settings.base_url
        self._timeout_s = (_CONNECT_TIMEOUT_S, settings.request_timeout_s)
        self._secret = settings.authorization.partition(" ")[2]
        self._governor = governor
        self._counting = threading.Lock()
        self._session = requests.Session()
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
        # Threads are the measure of concurrency; a pool smaller than them would open connections over and over.
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=256)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        # Once, since looking up proxies costs more than all else in a request.
        self._send_options: dict[str, Any] = dict(
            self._session.merge_environment_settings(self._base_url, {}, True, None, None)
        )
        # Proxies and certificates are known by now; a .netrc would replace the Authorization header.
        self._session.trust_env = False

    def close(self) -> None:
        self._session.close()

    def get(self, path: str, endpoint: Endpoint, rate: Rate, traffic: Traffic, body: bytes | None = None) -> Page:
        """One page, after as many attempts as it takes within reason.

        Args:
            path: path and query, as `query.url` or `Page.next` gives them.
            endpoint: whose limits and scopes apply.
            rate: the rate that this request falls under (lower for rate_overrides variants).
            traffic: where to count.
            body: what a POST asks, as `query.body` gives it; None for a GET. It changes nothing at Klaviyo, so that it
                may be sent again.

        Raises:
            AuthError, RequestRejected: final answers.
            RateLimited: Klaviyo asks for a longer wait than `max_wait_s`.
            TransientError: every attempt met a passing fault.
        """
        attempt, refusals = 1, 0
        while True:
            try:
                return self._attempt(path, endpoint, rate, traffic, body)
            except RateLimited as error:
                refusals += 1
                if refusals > _MOST_REFUSALS or error.retry_after_s > self._governor.max_wait_s:
                    raise
                # The governor holds everybody back until the wait is over.
            except TransientError as error:
                if attempt >= _ATTEMPTS or self._governor.stop.is_set():
                    raise TransientError(f"{error} ({attempt} attempts)") from None
                with self._counting:
                    traffic.retries += 1
                # Jitter keeps threads that failed together from coming back together.
                pause_s = 0.5 * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
                self._governor.clock.wait(pause_s, self._governor.stop)
                attempt += 1

    def _attempt(self, path: str, endpoint: Endpoint, rate: Rate, traffic: Traffic, asked: bytes | None) -> Page:
        bucket = self._governor.acquire(f"{endpoint.path} {rate.steady}", rate)
        with self._counting:
            traffic.requests += 1
        sent_s = self._governor.clock.monotonic()
        try:
            method, headers = ("GET", None) if asked is None else ("POST", {"Content-Type": JSON_API})
            request = self._session.prepare_request(
                requests.Request(method, self._base_url + path, data=asked, headers=headers)
            )
            response = self._session.send(request, timeout=self._timeout_s, allow_redirects=False, **self._send_options)
            # One read of the whole body: iterating in chunks costs several times as much for a page of a megabyte.
            body: bytes = response.raw.read(decode_content=True)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            self._governor.failed(bucket)
            raise TransientError(f"no whole answer from {endpoint.path}: {self._clean(error)}") from None
        took_s = self._governor.clock.monotonic() - sent_s
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
            raise self._error(response.status_code, body, endpoint)
        link = next_link(body)
        return Page(body, _path_of(link) if link else None)

    def _error(self, status: int, body: bytes, endpoint: Endpoint) -> KlaviyoError:
        code, detail = _explanation(body)
        detail = self._clean(detail)
        said = f": {detail}" if detail else ""
        if status in _PASSING:
            return TransientError(f"Klaviyo answered {status} for {endpoint.path}{said}")
        if status == 401:
            return AuthError(f"Klaviyo does not accept the key (401){said}", status=status, detail=detail)
        if status == 403:
            scopes = ", ".join(endpoint.scopes)
            return AuthError(
                f"the key may not read {endpoint.path} (403){said} (needs {scopes})", status=status, detail=detail
            )
        return RequestRejected(
            f"Klaviyo refused {endpoint.path} ({status}){said}", status=status, code=code, detail=detail
        )

    def _clean(self, what: Any) -> str:
        """Text for people: without the key, and without the query, which may hold an address in a filter."""
        text = str(what).replace(self._secret, "***") if self._secret else str(what)
        return re.sub(r"\?\S+", "?…", text)


def _path_of(link: str) -> str:
    """Path and query alone: the key goes to the configured host, whatever host a link names."""
    try:
        parts = urlsplit(link)
    except ValueError:
        raise TransientError("the link to the next page is not a URL") from None
    # Without the slash, what follows would be a part of the host's name.
    path = "/" + parts.path.lstrip("/")
    return f"{path}?{parts.query}" if parts.query else path


def _retry_after_s(value: str | None) -> float:
    try:
        return max(1.0, float(value or 1))
    except ValueError:
        return 60.0


class _Error(msgspec.Struct):
    code: str | None = None
    title: str | None = None
    detail: str | None = None


class _Errors(msgspec.Struct):
    errors: list[_Error] = []


def _explanation(body: bytes) -> tuple[str, str]:
    """Klaviyo's code and detail out of an error body, as far as it is one."""
    try:
        errors = msgspec.json.decode(body, type=_Errors).errors
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", ""
    if not errors:
        return "", ""
    return errors[0].code or "", " / ".join(error.detail or error.title or "" for error in errors)


def _version() -> str:
    try:
        return version("dlt-klaviyo")
    except PackageNotFoundError:
        return "0"
