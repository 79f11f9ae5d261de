"""The sandbox as an HTTP server, in threads of this process."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.parse
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from email.message import Message
from email.utils import format_datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from ..store.account import Account
from .alterations import ALTERATIONS
from .api import Answer, Api
from .errors import ApiError
from .faults import Fault, Faults, new_fault
from .rate_limits import Limiter

DEFAULT_KEYS: Mapping[str, set[str] | None] = {"pk_sandbox": None}
POLL_S = 0.02
#: More than any page of Klaviyo's has.
HUGE_BYTES = 65 << 20
DRIPS = 8


@dataclass(frozen=True)
class Request:
    """A request that was answered, or whose connection was dropped (status 0).

    Attributes:
        started_at: when it was read, in seconds of `time.monotonic()`.
        ended_at: when its answer was ready to be sent.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    status: int
    started_at: float
    ended_at: float
    body: bytes = b""


def _gzipped(body: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


@cache
def _huge() -> bytes:
    """A packed body of HUGE_BYTES spaces."""
    packer, piece = zlib.compressobj(1, zlib.DEFLATED, 31), b" " * (1 << 20)
    return b"".join(packer.compress(piece) for _ in range(HUGE_BYTES >> 20)) + packer.flush()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    sandbox: Sandbox

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, _Handler)
        self.open: set[socket.socket] = set()
        self.open_lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that close their connection are not an error of the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server
    connection: socket.socket

    def setup(self) -> None:
        super().setup()
        with self.server.open_lock:
            self.server.open.add(self.connection)

    def finish(self) -> None:
        with self.server.open_lock:
            self.server.open.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are kept in `Sandbox.requests`, not printed."""

    def do_GET(self) -> None:
        self.server.sandbox.handle(self)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET


class Sandbox:
    """A local Klaviyo for one account.

        with Sandbox(account) as server:
            requests.get(f"{server.url}/api/events", headers={...})

    Args:
        account: the data; it can be changed while the server runs.
        latency_s: delay of each answer; it can be changed later.
        rate_limits: whether Klaviyo's rate limits apply.
        gzip: whether answers are compressed for clients that accept it.
        keys: private keys (`pk_...`) and access tokens with the scopes of each; None for all scopes.
        port: 0 for any free port.
        keep_requests: whether `requests` is filled.
        limiter: counts the requests; pass one to share it or to set its clock.
        report_rows: rows of a page of an analytics report; Klaviyo does not document its page size.
        page_rows: records of any other page at most, whatever `page[size]` asks for.
        vanished_status: of the answer to a request for what belongs to a record that does not exist. Klaviyo answers
            404, and 400 for some.
        unfilterable_metrics: names of metrics by which events cannot be filtered. Klaviyo says that these do not exist.
        includes_variations: whether the list of campaign messages can include campaign variations. Klaviyo's SDK says
            no, but a preview of the API could.

    Attributes:
        before_answer: called with each request that is about to be answered, in one of the server's threads.
    """

    def __init__(
        self,
        account: Account,
        *,
        latency_s: float = 0.0,
        rate_limits: bool = False,
        gzip: bool = True,
        keys: Mapping[str, set[str] | None] | None = None,
        port: int = 0,
        keep_requests: bool = True,
        limiter: Limiter | None = None,
        report_rows: int = 500,
        page_rows: int | None = None,
        vanished_status: int = 404,
        unfilterable_metrics: Collection[str] = ("Viewed Form",),
        includes_variations: bool = False,
    ) -> None:
        self.account = account
        self.before_answer: Callable[[], None] | None = None
        self.latency_s = latency_s
        self.gzip = gzip
        self.faults = Faults()
        self.requests: list[Request] = []
        self._keep_requests = keep_requests
        self._keys = dict(DEFAULT_KEYS if keys is None else keys)
        self._rate_limits = rate_limits
        self._limiter = limiter or Limiter()
        self._port = port
        self._report_rows = report_rows
        self._page_rows = page_rows
        self._vanished_status = vanished_status
        self._unfilterable_metrics = unfilterable_metrics
        self._includes_variations = includes_variations
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._api: Api | None = None

    @property
    def url(self) -> str:
        """Base address, such as `http://127.0.0.1:8400`, once started."""
        if self._server is None:
            raise RuntimeError("the sandbox is not started")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def api(self) -> Api:
        """The API that answers the requests, once started."""
        if self._api is None:
            raise RuntimeError("the sandbox is not started")
        return self._api

    def start(self) -> Self:
        """Start listening, in a thread."""
        self._server = _Server(("127.0.0.1", self._port))
        self._server.sandbox = self
        self._api = Api(
            self.account,
            self._keys,
            self.url,
            self._rate_limits,
            self._limiter,
            self._report_rows,
            self._page_rows,
            self._vanished_status,
            self._unfilterable_metrics,
            self._includes_variations,
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_S,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening and close all connections."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        with self._server.open_lock:
            left = list(self._server.open)
        for connection in left:
            _shut(connection)
        self._server.server_close()
        self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        self.requests.clear()

    def handle(self, handler: _Handler) -> None:
        """Read one request of a connection and answer it."""
        started_at = time.monotonic()
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length) if length else b""
        target = urllib.parse.urlsplit(handler.path)
        parameters = dict(urllib.parse.parse_qsl(target.query, keep_blank_values=True))
        fault = self.faults.due(target.path, self.api.template(target.path), parameters)
        if self.before_answer is not None:
            self.before_answer()
        if self.latency_s:
            time.sleep(self.latency_s)
        if fault is not None and fault.kind == "hang":
            time.sleep(fault.seconds)
        answer = self._answer(handler, target.path, parameters, body, fault)
        if answer is not None and answer.status == 200:
            answer, fault = self._altered(answer, target.path, parameters, fault)
        # Logged before the answer is sent, so that a client with an answer finds its request in the log.
        if self._keep_requests:
            self.requests.append(
                Request(
                    handler.command,
                    target.path,
                    parameters,
                    dict(handler.headers.items()),
                    0 if answer is None else answer.status,
                    started_at,
                    time.monotonic(),
                    body,
                )
            )
        # Counted before too, for the same reason.
        with contextlib.nullcontext() if fault is None else self.faults.counted(fault):
            if answer is None:
                handler.close_connection = True
                _shut(handler.connection)
            else:
                self._write(handler, answer, fault)

    def _answer(
        self, handler: _Handler, path: str, parameters: dict[str, str], body: bytes, fault: Fault | None
    ) -> Answer | None:
        """The answer to a request; None if the connection is to be dropped."""
        if fault is not None and fault.kind == "drop":
            return None
        if fault is not None and fault.kind == "status":
            refusal = ApiError(fault.status, "The sandbox was told to answer so.")
            headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
            return Answer(fault.status, refusal.body(), headers)
        if fault is not None and fault.kind == "redirect":
            return Answer(fault.status, b"", {"Location": "https://elsewhere.example/"})
        if fault is not None and fault.kind == "body":
            return Answer(fault.status, fault.body)
        if fault is not None and fault.kind == "empty":
            # The token of an empty page is one that no other page has.
            parameters = {name: value for name, value in parameters.items() if name != "page[cursor]"}
        return self.api.answer(handler.command, path, parameters, _lowered(handler.headers), body)

    def _altered(
        self, answer: Answer, path: str, parameters: dict[str, str], fault: Fault | None
    ) -> tuple[Answer, Fault | None]:
        """The answer and the fault that is in it; None if the fault found nothing to alter."""
        body = None
        if fault is not None and fault.kind in ALTERATIONS:
            body = self.faults.alterations.alter(fault.kind, path, parameters, answer.body)
            fault = None if body is None else fault
        if fault is None:
            body = self.faults.alterations.shifted(path, parameters, answer.body)
            fault = None if body is None else new_fault("shift")
        return (answer if body is None else replace(answer, body=body)), fault

    def _write(self, handler: _Handler, answer: Answer, fault: Fault | None) -> None:
        body, kind = answer.body, None if fault is None else fault.kind
        handler.send_response_only(answer.status)
        handler.send_header("Content-Type", "application/vnd.api+json")
        handler.send_header("Date", format_datetime(self.account.now, usegmt=True))
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if self.gzip and "gzip" in handler.headers.get("Accept-Encoding", ""):
            body = _huge() if kind == "huge" else _gzipped(body)
            handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if fault is not None and kind == "drip":
            size = len(body) // DRIPS + 1
            for start in range(0, len(body), size):
                handler.wfile.write(body[start : start + size])
                handler.wfile.flush()
                time.sleep(fault.seconds / DRIPS)
            return
        handler.wfile.write(body[: len(body) // 2] if kind == "truncate" else body)
        handler.wfile.flush()
        if kind == "truncate":
            handler.close_connection = True
            _shut(handler.connection)


def _lowered(headers: Message) -> dict[str, str]:
    return {name.lower(): str(value) for name, value in headers.items()}


def _shut(connection: socket.socket) -> None:
    # The client may have closed it already.
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
