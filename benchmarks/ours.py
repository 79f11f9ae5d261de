"""`python -m benchmarks.ours URL`: one run of this project's run loop over the benchmark account."""

from __future__ import annotations

import argparse
import json
import time
from datetime import timedelta


def main() -> None:
    """Load events into `warehouse.duckdb` in the working folder and say how it went."""
    from benchmarks.made_up import DAYS, END
    from benchmarks.server import KEY
    from sources.klaviyo.load.pipeline import load_settings, open_pipeline
    from sources.klaviyo.load.runner import run

    parser = argparse.ArgumentParser(prog="python -m benchmarks.ours", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--split-by", default="auto")
    parser.add_argument("--reread", action="store_true", help="read what is loaded already and merge it")
    parser.add_argument("--last-days", type=int, default=DAYS, help="days of the history to read")
    parser.add_argument("--reports", nargs="+", default=["events"])
    parser.add_argument("--key", default=KEY)
    given = parser.parse_args()
    flags = {
        "base_url": given.url,
        "api_key": given.key,
        "reports": given.reports,
        "start_date": (END - timedelta(days=given.last_days)).isoformat(),
        "end_date": END.isoformat(),
        "split_by": given.split_by,
        "reread": given.reread,
        "lookback_days": 0,
    }
    began_s = time.perf_counter()
    pipeline = open_pipeline("klaviyo")
    # Somebody watches, as on a terminal.
    outcomes = run(pipeline, load_settings("klaviyo", flags), on_progress=lambda _: None)
    seconds = time.perf_counter() - began_s
    for outcome in outcomes:
        if outcome.error:
            raise outcome.error
    said = {name: sum(getattr(outcome, name) for outcome in outcomes) for name in ("rows", "requests", "refused")}
    print(json.dumps({"seconds": seconds, **said}))


if __name__ == "__main__":
    main()
