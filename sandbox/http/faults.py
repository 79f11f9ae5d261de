"""Faults on demand: errors, dropped connections and broken answers that a client has to survive."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["status", "drop", "truncate", "hang", "body"]


@dataclass
class Fault:
    """One fault. The first `after` requests that match pass, the next `times` are hit (None: all that follow)."""

    path: str
    kind: Kind
    status: int
    after: int
    times: int | None
    retry_after_s: int | None
    seconds: float
    body: bytes
    query: dict[str, str] = field(default_factory=dict)
    matched: int = 0

    def matches(self, path: str, template: str | None, query: dict[str, str]) -> bool:
        """Whether a request matches: by path template or prefix of the path, and by the parameters of the fault."""
        if template != self.path and not path.startswith(self.path):
            return False
        return all(name in query and value in query[name] for name, value in self.query.items())


class Faults:
    """The faults of a server. A request is hit by the first that is due, in the order in which they were added."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(
        self,
        *,
        path: str,
        kind: Kind,
        status: int | None = None,
        after: int = 0,
        times: int | None = 1,
        retry_after_s: int | None = None,
        seconds: float = 1.0,
        body: bytes = b"",
        query: dict[str, str] | None = None,
    ) -> Fault:
        """Add a fault.

        Args:
            path: path template (`/api/flows/{id}`) or prefix of a path.
            kind: "status" answers `status` with Klaviyo's error body (and `Retry-After` if given), "drop" closes the
                connection without an answer, "truncate" cuts the body in half, "hang" sleeps `seconds` and then
                answers as usual, "body" answers `status` (200 if none is given) with the bytes of `body`.
            after: matching requests that pass first.
            times: requests that it hits; None for all.
            query: parameters that the request must have, each containing the text given.
        """
        if status is None:
            status = 200 if kind == "body" else 503
        fault = Fault(path, kind, status, after, times, retry_after_s, seconds, body, query or {})
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    def due(self, path: str, template: str | None, query: dict[str, str]) -> Fault | None:
        """The fault that hits a request, if any. Counts the request as a match."""
        with self._lock:
            for fault in self._faults:
                if not fault.matches(path, template, query):
                    continue
                fault.matched += 1
                if fault.matched > fault.after and (fault.times is None or fault.matched <= fault.after + fault.times):
                    return fault
        return None
