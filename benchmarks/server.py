"""`python -m benchmarks.server`: Klaviyo's events endpoint at memory speed, for measuring clients.

Knows `/api/events` and lists with their members, and little of what Klaviyo refuses: the sandbox is the one to test against. Filters on
`datetime` with all four comparisons, `sort=datetime`, page tokens, `page[size]` up to 1000, `include`. `/stats` tells
what was asked for.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import get_args
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from benchmarks.made_up import Events, Shape
from benchmarks.made_up_members import Lists
from sandbox.http.rate_limits import Limiter

#: Klaviyo's limits for this endpoint, requests a second and a minute.
BURST, STEADY = 350, 3500
KEY = "pk_benchmark"
#: A body, to be sent one part after another.
Parts = list[bytes | memoryview]
_MOST_PER_PAGE = 1000
_HUGE = {
    "RateLimit-Limit": "1000000, 1000000;w=1, 1000000;w=60",
    "RateLimit-Remaining": "1000000",
    "RateLimit-Reset": "60",
}
_TERM = re.compile(r"(greater-or-equal|greater-than|less-or-equal|less-than)\(datetime,([^)]*)\)")


class _Refused(Exception):
    """A request that is answered 400."""


class Server:
    """One account's events, and a count of what was asked for.

    Args:
        events: how many.
        shape: how they lie in time.
        latency_s: wait of each answer.
        limits: whether Klaviyo's rate limits hold.
        gzip: whether answers are compressed.
        page_rows: the most events a page, whatever is asked for; of members as many.
        lists: makes the lists, from the base address.
        ready: make all events before the first answer.
    """

    def __init__(
        self,
        events: int,
        shape: Shape,
        latency_s: float,
        limits: bool,
        gzip: bool,
        page_rows: int = _MOST_PER_PAGE,
        lists: Callable[[str], Lists] | None = None,
        ready: bool = False,
    ) -> None:
        self._latency_s, self._limits, self._gzip, self._page_rows = latency_s, limits, gzip, page_rows
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._events = Events(events, shape, self.url)
        if ready:
            self._events.make_ready()
        self._lists = lists(self.url) if lists else None
        self._lock = threading.Lock()
        self._limiter = Limiter()
        self._counts = {"requests": 0, "refused": 0, "connections": 0, "bytes": 0, "rows": 0}
        self._answered_s: list[float] = []

    def serve(self) -> None:
        """Answer for ever, each connection in a thread of its own."""
        while True:
            connection, _ = self._listener.accept()
            self._counts["connections"] += 1
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A whole page fits, so that the thread is done with it at once.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        received = b""
        with connection:
            while True:
                while b"\r\n\r\n" not in received:
                    more = connection.recv(65536)
                    if not more:
                        return
                    received += more
                head, _, received = received.partition(b"\r\n\r\n")
                status, headers, body = self._answer(head.split(b" ", 2)[1].decode())
                size = sum(map(len, body))
                headers["Content-Length"] = str(size)
                lines = [f"HTTP/1.1 {status}", "Content-Type: application/vnd.api+json"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                connection.sendall("\r\n".join([*lines, "", ""]).encode())
                # What does not fit at once is sent from a copy.
                if body and (sent := connection.sendmsg(body)) < size:
                    connection.sendall(b"".join(body)[sent:])

    def _answer(self, target: str) -> tuple[str, dict[str, str], Parts]:
        parts = urlsplit(target)
        if parts.path == "/stats":
            return "200 OK", {}, [json.dumps(self._stats()).encode()]
        if parts.path.startswith("/change/") and self._lists is not None:
            self._lists.change(int(parts.path.rpartition("/")[2]))
            return "200 OK", {}, [b"{}"]
        if self._latency_s:
            time.sleep(self._latency_s)
        headers = dict(_HUGE)
        if self._limits:
            verdict = self._limiter.ask(*_limit(parts.path))
            headers = dict(verdict.headers)
            if not verdict.allowed:
                with self._lock:
                    self._counts["requests"] += 1
                    self._counts["refused"] += 1
                return "429 Too Many Requests", headers, _error("429", "throttled")
        try:
            with self._lock:
                body, rows = self._page(parts.path, dict(parse_qsl(parts.query)))
                self._counts["requests"] += 1
                self._counts["rows"] += rows
                self._answered_s.append(time.monotonic())
        except (_Refused, ValueError) as error:
            return "400 Bad Request", headers, _error("400", str(error))
        if self._gzip:
            packer = zlib.compressobj(1, zlib.DEFLATED, 31)
            body = [packer.compress(b"".join(body)), packer.flush()]
            headers["Content-Encoding"] = "gzip"
        with self._lock:
            self._counts["bytes"] += sum(map(len, body))
        return "200 OK", headers, body

    def _stats(self) -> dict[str, object]:
        with self._lock:
            return {**self._counts, "answered_s": self._answered_s}

    def _page(self, path: str, parameters: dict[str, str]) -> tuple[Parts, int]:
        if self._lists is not None and path.startswith("/api/lists"):
            _, _, _, *below = path.rstrip("/").split("/")
            made, rows = (
                self._lists.members(below[0], parameters, self._page_rows) if below else self._lists.listing(parameters)
            )
            return [made], rows
        if path.rstrip("/") != "/api/events":
            raise _Refused(f"there is no {path} here")
        if parameters.get("sort", "datetime") != "datetime":
            raise _Refused("only sort=datetime")
        size = int(parameters.get("page[size]", "200"))
        if not 1 <= size <= _MOST_PER_PAGE:
            raise _Refused("page[size] is 1 to 1000")
        first, stop = self._range(parameters.get("filter", ""))
        first = int(parameters.get("page[cursor]", first))
        last = min(first + min(size, self._page_rows), stop)
        included = parameters.get("include")
        if included not in (None, "metric,attributions"):
            raise _Refused("only include=metric,attributions")
        following = "null"
        if last < stop:
            query = urlencode({**parameters, "page[cursor]": str(last)}, quote_via=quote)
            following = f'"{self.url}/api/events?{query}"'
        body = self._events.page(first, max(first, last), included is not None)
        links = f',"links":{{"self":"{self.url}/api/events","next":{following},"prev":null}}}}'
        return [b"{", *body, links.encode()], max(0, last - first)

    def _range(self, expression: str) -> tuple[int, int]:
        """Numbers of the events that a filter lets through."""
        first, stop = 0, self._events.timeline.events
        for operator, literal in _TERM.findall(expression):
            moment = datetime.fromisoformat(literal).timestamp()
            if operator.startswith("greater"):
                second = math.ceil(moment) if operator.endswith("equal") else math.floor(moment) + 1
                first = max(first, self._events.timeline.first_at(second))
            else:
                second = math.floor(moment) + 1 if operator.endswith("equal") else math.ceil(moment)
                stop = min(stop, self._events.timeline.first_at(second))
        if _TERM.sub("", expression).strip(","):
            raise _Refused(f"filter {expression} is not understood")
        return first, stop


def _limit(path: str) -> tuple[tuple[str, ...], int, int]:
    """The bucket that a request counts in, requests a second and a minute."""
    if path.startswith("/api/lists"):
        return ("members" if path.endswith("/profiles") else "lists",), 75, 750
    return ("events",), BURST, STEADY


def _error(status: str, detail: str) -> Parts:
    error = {"status": status, "code": "benchmark", "title": detail, "detail": detail}
    return [json.dumps({"errors": [error]}).encode()]


class Served:
    """A server in a process of its own, as the benchmarks see it.

    Attributes:
        url: base address.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def stats(self) -> dict[str, int]:
        """Counts since the start: requests, refused, connections, bytes, rows."""
        return {name: value for name, value in self._all().items() if isinstance(value, int)}

    def answered_s(self) -> list[float]:
        """When pages were answered, in seconds of a clock that never goes back."""
        found = self._all()["answered_s"]
        assert isinstance(found, list)  # noqa: S101 - for the type checker
        return found

    def change(self, members: int) -> None:
        """Let so many members leave every list, and as many join."""
        with urllib.request.urlopen(f"{self.url}/change/{members}"):  # noqa: S310 - our own address
            pass

    def _all(self) -> dict[str, int | list[float]]:
        with urllib.request.urlopen(f"{self.url}/stats") as answer:  # noqa: S310 - our own address
            found: dict[str, int | list[float]] = json.load(answer)
        return found


@contextmanager
def serving(
    events: int,
    shape: Shape = "even",
    *,
    latency_ms: int = 0,
    limits: bool = False,
    gzip: bool = False,
    page_rows: int = _MOST_PER_PAGE,
    lists: int = 0,
    memberships: int = 0,
    ready: bool = False,
) -> Iterator[Served]:
    """A server in a process of its own, for as long as the block lasts."""
    command = [sys.executable, "-m", "benchmarks.server", "--events", str(events), "--shape", shape]
    command += [
        "--latency-ms",
        str(latency_ms),
        "--page-rows",
        str(page_rows),
        "--lists",
        str(lists),
        "--memberships",
        str(memberships),
        *["--limits"] * limits,
        *["--gzip"] * gzip,
        *["--ready"] * ready,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - for the type checker
            yield Served(process.stdout.readline().strip())
        finally:
            process.terminate()


def main() -> None:
    """Serve until terminated; the first line on stdout is the address."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--shape", choices=get_args(Shape), default="even")
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--limits", action="store_true", help="Klaviyo's rate limits")
    parser.add_argument("--gzip", action="store_true", help="compress the answers")
    parser.add_argument("--page-rows", type=int, default=_MOST_PER_PAGE, help="the most events a page")
    parser.add_argument("--ready", action="store_true", help="make all events before the first answer")
    parser.add_argument("--lists", type=int, default=0)
    parser.add_argument("--memberships", type=int, default=0, help="of all lists together")
    given = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    lists = partial(Lists, given.lists, given.memberships) if given.lists else None
    server = Server(
        given.events,
        given.shape,
        given.latency_ms / 1000,
        given.limits,
        given.gzip,
        given.page_rows,
        lists,
        given.ready,
    )
    print(server.url, flush=True)
    server.serve()


if __name__ == "__main__":
    main()
