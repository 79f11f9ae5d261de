"""`python -m benchmarks.plot RESULTS FIGURE`: the figures of earlier commands as bars, one panel a table.

Run the others with `BENCHMARK_RESULTS=results.jsonl` in the environment, which keeps what they print. Needs matplotlib:
`pip install -e ".[benchmarks]"`.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import Any

#: What a panel shows: the first of these columns that its table has.
_SHOWN = ("rows/s", "peak MB", "median s", "seconds")


def main() -> None:
    """Draw every table that was kept; of tables with the same title the last one."""
    import matplotlib.pyplot as plt

    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description=__doc__)
    parser.add_argument("results", type=Path, help="the file that BENCHMARK_RESULTS named")
    parser.add_argument("figure", type=Path, help="the picture to write: .svg or .png")
    given = parser.parse_args()
    kept = [json.loads(line) for line in given.results.read_text(encoding="utf-8").splitlines()]
    tables: list[dict[str, Any]] = list({table["title"]: table for table in kept}.values())
    figure, panels = plt.subplots(len(tables), 1, squeeze=False, figsize=(9, 2.6 * len(tables)), layout="constrained")
    for panel, table in zip(panels[:, 0], tables, strict=True):
        shown = next(name for name in _SHOWN if name in table["headers"])
        place = table["headers"].index(shown)
        bars = panel.barh([str(row[0]) for row in table["rows"]], [float(row[place]) for row in table["rows"]])
        panel.bar_label(bars, fmt="{:,.4g}", padding=3)
        panel.invert_yaxis()
        panel.margins(x=0.15)
        panel.set_xlabel(shown)
        panel.set_title(textwrap.fill(table["title"], 100), fontsize="small", loc="left")
    figure.suptitle(tables[-1]["machine"], fontsize="x-small")
    figure.savefig(given.figure)


if __name__ == "__main__":
    main()
