"""Run a sandbox until the process is terminated."""

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
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--key", default="pk_sandbox", help="the private key that is accepted (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=7, help="the same seed makes the same account (default: %(default)s)"
    )
    sizes = {"profiles": 300, "events": 3000, "lists": 12, "segments": 8, "campaigns": 40, "flows": 12}
    for name, size in {**sizes, "templates": 25, "metrics": 23, "tags": 9}.items():
        parser.add_argument(f"--{name}", type=int, default=size, metavar="N", help=f"default: {size}")
    parser.add_argument(
        "--history-days", type=float, default=90, help="length of the history in days (default: %(default)s)"
    )
    parser.add_argument(
        "--shape",
        choices=["bursty", "even"],
        default="bursty",
        help="how events are spread over time (default: %(default)s)",
    )
    parser.add_argument("--now", type=_moment, help="a fixed present, ISO 8601 (default: the clock)")
    parser.add_argument("--latency-ms", type=float, default=0, help="delay of each answer (default: none)")
    parser.add_argument("--no-rate-limits", action="store_true", help="do not apply rate limits")
    parser.add_argument("--no-gzip", action="store_true", help="never compress answers")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a sandbox and return the exit code."""
    options = _parser().parse_args(arguments)
    account = Account(
        seed=options.seed,
        now=options.now or (lambda: datetime.now(UTC)),
        profiles=options.profiles,
        events=options.events,
        lists=options.lists,
        segments=options.segments,
        campaigns=options.campaigns,
        flows=options.flows,
        templates=options.templates,
        metrics=options.metrics,
        tags=options.tags,
        history_days=options.history_days,
        shape=options.shape,
    )
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    server = Sandbox(
        account,
        latency_s=options.latency_ms / 1000,
        rate_limits=not options.no_rate_limits,
        gzip=not options.no_gzip,
        keys={options.key: None},
        port=options.port,
        keep_requests=False,
    )
    with server:
        sys.stdout.write(f"sandbox: {server.url} key {options.key}\n")
        sys.stdout.flush()
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
