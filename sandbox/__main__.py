"""`python -m sandbox`: a sandbox that runs until it is terminated."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from datetime import UTC, datetime

from . import Account, Sandbox


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--key", default="pk_sandbox", help="the private key that is accepted (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="same seed, same account (default: %(default)s)")
    sizes = {"profiles": 300, "events": 3000, "lists": 12, "segments": 8, "campaigns": 40, "flows": 12}
    for name, size in {**sizes, "templates": 25, "metrics": 23, "tags": 9}.items():
        parser.add_argument(f"--{name}", type=int, default=size, metavar="N", help=f"default: {size}")
    parser.add_argument("--history-days", type=float, default=90, help="days the data goes back (default: %(default)s)")
    parser.add_argument("--shape", choices=["bursty", "even"], default="bursty", help="how events lie in time")
    parser.add_argument("--now", type=_moment, help="a fixed present, ISO 8601 (default: the real one)")
    parser.add_argument("--latency-ms", type=float, default=0, help="wait of each answer (default: none)")
    parser.add_argument("--no-rate-limits", action="store_true", help="count no requests")
    parser.add_argument("--no-gzip", action="store_true", help="never compress")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the sandbox; the exit code."""
    told = _parser().parse_args(arguments)
    account = Account(
        seed=told.seed,
        now=told.now or (lambda: datetime.now(UTC)),
        profiles=told.profiles,
        events=told.events,
        lists=told.lists,
        segments=told.segments,
        campaigns=told.campaigns,
        flows=told.flows,
        templates=told.templates,
        metrics=told.metrics,
        tags=told.tags,
        history_days=told.history_days,
        shape=told.shape,
    )
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    server = Sandbox(
        account,
        latency_s=told.latency_ms / 1000,
        rate_limits=not told.no_rate_limits,
        gzip=not told.no_gzip,
        keys={told.key: None},
        port=told.port,
        keep_requests=False,
    )
    with server:
        sys.stdout.write(f"sandbox: {server.url} key {told.key}\n")
        sys.stdout.flush()
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
