"""`python -m benchmarks.limits`: how much of Klaviyo's rate limits is used, and how often it is broken.

With Klaviyo's limits and 300 ms a request. Events alone from the benchmark server, then several reports together from
the sandbox, each with enough to read for the minutes asked for. A steady window begins with the first request in it
and lasts a minute, as the servers count; the share is what was answered in the windows that were full minutes of work,
of what the windows allow. The burst limit makes the last window short, so it is left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import duckdb

from benchmarks.harness import DATASET, ROOT, WrongRows, contender, folder, megabytes, table, verify
from benchmarks.made_up import DAYS, END, START, truth
from benchmarks.server import STEADY, serving
from sandbox import Account, Sandbox
from sources.klaviyo.catalog.endpoints import endpoints
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION

_MINUTE_S = 60.0
_HEADERS = ["", "requests", "429s", "% refused", "allowed a minute", "full windows", "% of allowed", "seconds"]
_TOO_MANY = 429
#: Reports to read together, and the records that fill a minute of each endpoint.
_SIZES = {"profiles": 75_000, "templates": 7_500, "flows": 3_000}


def _windows(answered_s: Sequence[float]) -> list[int]:
    """Answers in each steady window, the last one left out."""
    counts: list[int] = []
    started_s = float("-inf")
    for moment_s in sorted(answered_s):
        if moment_s - started_s >= _MINUTE_S:
            started_s = moment_s
            counts.append(0)
        counts[-1] += 1
    return counts[:-1]


def _row(name: str, requests: int, refused: int, allowed: int, answered_s: Sequence[float]) -> list[object]:
    full = _windows(answered_s)
    share = f"{100 * sum(full) / (allowed * len(full)):.1f}" if full else "-"
    seconds = max(answered_s) - min(answered_s) if answered_s else 0.0
    return [name, requests, refused, f"{100 * refused / max(1, requests):.2f}", allowed, len(full), share, seconds]


def _events(minutes: int, latency_ms: int, page_rows: int) -> None:
    # A little more than the full windows take, so that the last one is known to have been full.
    events = int(STEADY * (minutes + 0.1)) * page_rows
    with serving(events, latency_ms=latency_ms, limits=True, page_rows=page_rows) as server, folder() as home:
        measured = contender("ours", home, server.url)
        verify(home, truth(events, "even"))
        stats = server.stats()
        row = _row("events", stats["requests"], stats["refused"], STEADY, server.answered_s())
    table(
        f"Events alone, {events:,} rows, {page_rows} a page, {latency_ms} ms; all rows verified; "
        f"peak {megabytes(measured.peak_bytes):.0f} MB, {measured.cpu_s:.0f} CPU s",
        _HEADERS,
        [row],
    )


def _together(minutes: int, latency_ms: int) -> None:
    with _account(minutes, latency_ms) as account, folder() as home:
        measured = contender("ours", home, account.url, "--key", "pk_sandbox", "--reports", *_SIZES)
        calls, sizes = account.end()
        _verify(home, sizes)
    table(
        f"{len(_SIZES)} reports together from the sandbox, {latency_ms} ms; all rows counted; "
        f"peak {megabytes(measured.peak_bytes):.0f} MB, {measured.cpu_s:.0f} CPU s",
        _HEADERS,
        [
            _row(
                path,
                len(found),
                sum(status == _TOO_MANY for _, status in found),
                next(
                    endpoint.rate.steady for endpoint in endpoints(DEFAULT_REVISION).values() if endpoint.path == path
                ),
                [moment_s for moment_s, status in found if status != _TOO_MANY],
            )
            for path, found in sorted(calls.items())
        ],
    )


def _verify(home: Path, sizes: Mapping[str, int]) -> None:
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        for report, size in sizes.items():
            found = connection.execute(f"SELECT count(*), count(DISTINCT id) FROM {DATASET}.{report}").fetchone()
            if found != (size, size):
                raise WrongRows(f"{report} shows {found}, the account has {size}")


class _Account:
    """A sandbox in a process of its own, which tells at its end what it was asked for.

    Attributes:
        url: base address.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        return self._process.stdout.readline().strip()

    def end(self) -> tuple[Mapping[str, Sequence[tuple[float, int]]], Mapping[str, int]]:
        """Path -> moment (s) and status of each answer; report -> rows that the account has."""
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        self._process.stdin.close()
        said = json.loads(self._line())
        return said["calls"], said["sizes"]


@contextmanager
def _account(minutes: int, latency_ms: int) -> Iterator[_Account]:
    command = [sys.executable, "-m", "benchmarks.limits", "--serve", "--minutes", str(minutes)]
    command += ["--latency-ms", str(latency_ms)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield _Account(process)
        finally:
            process.terminate()


def _serve(minutes: int, latency_ms: int) -> None:
    # Some lie outside of the period.
    numbers = [int(a_minute * (minutes + 0.6)) for a_minute in _SIZES.values()]
    profiles, templates, flows = numbers
    account = Account(
        now=END, history_days=DAYS, events=0, lists=0, segments=0, metrics=3, tags=0,
        profiles=profiles, templates=templates, flows=flows,
    )  # fmt: skip
    with Sandbox(account, latency_s=latency_ms / 1000, rate_limits=True) as server:
        print(server.url, flush=True)
        sys.stdin.read()
        calls: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for request in server.requests:
            calls[str(server.api.template(request.path))].append((request.ended_at, request.status))
        sizes = {name: _in_period(account, name.removesuffix("s")) for name in _SIZES}
        print(json.dumps({"calls": calls, "sizes": sizes}), flush=True)


def _in_period(account: Account, kind: str) -> int:
    moments = (datetime.fromisoformat(record["attributes"]["updated"]) for record in account.records(kind))
    return sum(START <= moment < END for moment in moments)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument("--minutes", type=int, default=2, help="full minutes of work")
    parser.add_argument("--latency-ms", type=int, default=300)
    parser.add_argument("--page-rows", type=int, default=1000, help="events a page, less for a slow machine")
    parser.add_argument("--only", choices=("events", "together"))
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        _serve(given.minutes, given.latency_ms)
        return
    if given.only != "together":
        _events(given.minutes, given.latency_ms, given.page_rows)
    if given.only != "events":
        _together(given.minutes, given.latency_ms)


if __name__ == "__main__":
    main()
