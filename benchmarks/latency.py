"""`python -m benchmarks.latency`: what reading side by side gains when every answer takes its time.

100,000 events at 300 ms a request under Klaviyo's rate limits: this project, the same run one page after another
(`split_by = "none"`), and a plain dlt source with dict rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from benchmarks.harness import contender, folder, median, megabytes, table, verify
from benchmarks.made_up import truth
from benchmarks.server import serving

_CONTENDERS: Mapping[str, tuple[str, ...]] = {
    "side by side (auto)": ("ours", "--split-by", "auto"),
    "one page after another (none)": ("ours", "--split-by", "none"),
    "plain dlt, dict rows": ("plain_source",),
}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--latency-ms", type=int, default=300)
    parser.add_argument("--shape", choices=("even", "bursty"), default="even")
    parser.add_argument("--repeat", type=int, default=1)
    given = parser.parse_args()
    expected = truth(given.events, given.shape)
    rows: list[list[object]] = []
    first_s = None
    for name, (module, *options) in _CONTENDERS.items():
        runs = []
        for _ in range(given.repeat):
            with (
                serving(given.events, given.shape, latency_ms=given.latency_ms, limits=True) as server,
                folder() as home,
            ):
                measured = contender(module, home, server.url, *options)
                verify(home, expected)
                runs.append((measured, server.stats()))
        seconds = median(measured.seconds for measured, _ in runs)
        first_s = first_s or seconds
        measured, stats = runs[-1]
        rows.append(
            [name, seconds, given.events / seconds, seconds / first_s, stats["requests"], stats["refused"],
             megabytes(measured.peak_bytes)]
        )  # fmt: skip
    table(
        f"{given.events:,} events ({given.shape}), {given.latency_ms} ms a request, Klaviyo's limits; all rows verified",
        ["", "seconds", "rows/s", "times as long", "requests", "429s", "peak MB"],
        rows,
    )


if __name__ == "__main__":
    main()
