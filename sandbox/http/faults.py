"""Faults on demand: errors, dropped connections and broken answers that a client has to survive."""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from .alterations import Alteration, Alterations

Kind = Literal["status", "redirect", "drop", "truncate", "hang", "drip", "huge", "body"] | Alteration


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

    @property
    def name(self) -> str:
        """What it is counted as: its kind, or the status that it answers."""
        if self.kind != "status":
            return self.kind
        return str(self.status) if self.retry_after_s is None else f"{self.status} with Retry-After"

    def matches(self, path: str, template: str | None, query: dict[str, str]) -> bool:
        """Whether a request matches: by path template or prefix of the path, and by the parameters of the fault."""
        if template != self.path and not path.startswith(self.path):
            return False
        return all(name in query and value in query[name] for name, value in self.query.items())


@dataclass
class Storm:
    """Many faults at random. Which attempts of a request are hit depends on the seed and the request alone.

    Args:
        share: of the requests that are hit, from 0 to 1.
        weights: fault -> how often it is chosen, compared with the others.
        in_a_row: a request that was hit so often in a row passes next, so that a client that tries again gets through.
    """

    seed: int
    share: float
    weights: list[tuple[Fault, int]]
    in_a_row: int = 3
    _attempts: Counter[str] = field(default_factory=Counter)
    _hits: Counter[str] = field(default_factory=Counter)

    def due(self, path: str, query: Mapping[str, str]) -> Fault | None:
        """The fault that hits a request, if any."""
        request = f"{path} {sorted(query.items())}"
        self._attempts[request] += 1
        chance = zlib.crc32(f"{self.seed} {self._attempts[request]} {request}".encode()) / 2**32
        if chance >= self.share or self._hits[request] >= self.in_a_row:
            self._hits[request] = 0
            return None
        self._hits[request] += 1
        place = chance / self.share * sum(weight for _, weight in self.weights)
        for fault, weight in self.weights:
            place -= weight
            if place < 0:
                return fault
        return None


class Faults:
    """The faults of a server. A request is hit by the first that is due, in the order in which they were added.

    Attributes:
        served: name of a fault -> answers that it spoilt.
        alterations: what alters pages.
    """

    def __init__(self) -> None:
        self.served: Counter[str] = Counter()
        self.alterations = Alterations()
        self._faults: list[Fault] = []
        self._storm: Storm | None = None
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
            kind: "status" answers `status` with Klaviyo's error body (and `Retry-After` if given), "redirect" sends the
                client elsewhere, "drop" closes the connection without an answer, "truncate" cuts the body in half,
                "hang" sleeps `seconds` and then answers as usual, "drip" takes `seconds` to send the body bit by bit,
                "huge" sends 65 MB, well packed, "body" answers `status` (200 if none is given) with the bytes of
                `body`. The others send the page, but altered: see `alterations`.
            after: matching requests that pass first.
            times: requests that it hits; None for all.
            query: parameters that the request must have, each containing the text given.
        """
        fault = new_fault(kind, path=path, status=status, retry_after_s=retry_after_s, seconds=seconds, body=body)
        fault.after, fault.times, fault.query = after, times, query or {}
        with self._lock:
            self._faults.append(fault)
        return fault

    def rage(self, storm: Storm) -> None:
        """Let a storm hit the requests that no other fault hits, until `clear`."""
        with self._lock:
            self._storm = storm

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()
            self._storm = None
            self.alterations = Alterations()

    def due(self, path: str, template: str | None, query: dict[str, str]) -> Fault | None:
        """The fault that hits a request, if any. Counts the request as a match."""
        with self._lock:
            for fault in self._faults:
                if not fault.matches(path, template, query):
                    continue
                fault.matched += 1
                if fault.matched > fault.after and (fault.times is None or fault.matched <= fault.after + fault.times):
                    return fault
            return self._storm.due(path, query) if self._storm else None

    @contextmanager
    def counted(self, fault: Fault) -> Iterator[None]:
        """Count an answer that is spoilt, unless it cannot be sent."""
        with self._lock:
            self.served[fault.name] += 1
        try:
            yield
        except OSError:
            with self._lock:
                self.served[fault.name] -= 1
            raise


def new_fault(
    kind: Kind,
    *,
    path: str = "/",
    status: int | None = None,
    retry_after_s: int | None = None,
    seconds: float = 1.0,
    body: bytes = b"",
) -> Fault:
    """A fault that hits the first request; for the arguments see `Faults.add`."""
    if status is None:
        status = {"body": 200, "redirect": 302}.get(kind, 503)
    return Fault(path, kind, status, 0, 1, retry_after_s, seconds, body)
