"""The faults that a soak mixes."""

from __future__ import annotations

from random import Random
from typing import Any

from sandbox import Fault, Storm, new_fault

#: Faults that pass: a client that tries again, or looks twice, gets what it asked for.
PASSING: list[tuple[Fault, int]] = [
    (new_fault("status", status=503), 4),
    *((new_fault("status", status=status), 1) for status in (408, 500, 502, 504, 520, 522, 524)),
    (new_fault("status", status=503, retry_after_s=2), 1),
    (new_fault("status", status=429), 2),
    (new_fault("status", status=429, retry_after_s=1), 3),
    (new_fault("drop"), 6),
    (new_fault("truncate"), 6),
    (new_fault("body", body=b"<html><body>Bad gateway"), 3),
    (new_fault("body", body=b""), 2),
    (new_fault("bom"), 3),
    (new_fault("nan"), 3),
    (new_fault("deep"), 2),
    (new_fault("again"), 6),
    (new_fault("shift"), 9),
    (new_fault("drip", seconds=0.05), 2),
]
#: Passing too, but each costs a second.
COSTLY: list[tuple[Fault, int]] = [(new_fault("drip", seconds=1.0), 1), (new_fault("huge"), 1)]
#: Faults that end a report, or a window of it, for as long as they last.
LASTING: list[dict[str, Any]] = [
    {"kind": "status", "status": 400},
    {"kind": "status", "status": 403},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 429, "retry_after_s": 40_000},
    {"kind": "redirect"},
    {"kind": "body", "body": b'{"data":'},
    {"kind": "loop"},
    {"kind": "empty"},
]
PATHS = ("/api/events", "/api/profiles", "/api/lists", "/api/lists/{id}/profiles", "/api/segments", "/api/flows",
         "/api/segments/{id}/profiles", "/api/campaigns", "/api/templates", "/api/metrics", "/api/tags")  # fmt: skip


def storm(pick: Random, seed: int) -> Storm:
    """Passing faults, few or many."""
    share = pick.choice([0.1, 0.5, 0.6, 0.7])
    costly = COSTLY if pick.random() < 0.05 else []
    return Storm(seed, share, [*((fault, 10 * weight) for fault, weight in PASSING), *costly])


def lasting(pick: Random) -> list[dict[str, Any]]:
    """Arguments of `Faults.add` for faults that last as long as a run; mostly none."""
    if pick.random() < 0.8:
        return []
    chosen = pick.sample(PATHS, k=pick.choice([1, 1, 3]))
    return [{"path": path, "after": pick.randrange(5), "times": None, **pick.choice(LASTING)} for path in chosen]
