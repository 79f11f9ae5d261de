"""`python -m benchmarks.new_fields`: what a page costs in which every record has a field that no column declares.

The same pages, as Klaviyo sends them today, with a new field in every record, and with numbers as `external_id`. They
take turns, so that other work on the machine meets all of them. The page that brings something for the first time is
left out: it is one page a run.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from typing import Any

from benchmarks.harness import median, table
from benchmarks.made_up import Events
from sandbox import Account
from sources.klaviyo.catalog.contracts import load_contract
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.decode.records import Shaper

_EVENTS_A_PAGE, _PROFILES_A_PAGE = 1000, 100


def _events(pages: int) -> list[Any]:
    made = Events(pages * _EVENTS_A_PAGE, "even", "https://a.klaviyo.com")
    texts = [
        b"".join([b"{", *made.page(n * _EVENTS_A_PAGE, (n + 1) * _EVENTS_A_PAGE, True), b"}"]) for n in range(pages)
    ]
    return [json.loads(text) for text in texts]


def _profiles(pages: int) -> list[Any]:
    account = Account(seed=1, now=datetime(2026, 7, 1, tzinfo=UTC), profiles=pages * _PROFILES_A_PAGE, events=0)
    records = list(account.records("profile"))
    for record in records:
        # Only on request.
        record["attributes"].pop("predictive_analytics")
    return [{"data": records[n * _PROFILES_A_PAGE : (n + 1) * _PROFILES_A_PAGE]} for n in range(pages)]


def _bytes(pages: list[Any], **attributes: Any) -> list[bytes]:
    """The pages with further attributes in every record."""
    added = [
        {**page, "data": [{**one, "attributes": {**one["attributes"], **attributes}} for one in page["data"]]}
        for page in pages
    ]
    return [json.dumps(page, ensure_ascii=False).encode() for page in added]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.new_fields", description=__doc__)
    parser.add_argument("--pages", type=int, default=20, help="of each kind")
    parser.add_argument("--repeat", type=int, default=30)
    given = parser.parse_args()
    events, profiles = _events(given.pages), _profiles(given.pages)
    kinds: dict[str, tuple[str, list[bytes]]] = {
        "events": ("events", _bytes(events)),
        "events, a new field": ("events", _bytes(events, new_field="a value")),
        "events, a new field that is null": ("events", _bytes(events, new_field=None)),
        "profiles": ("profiles", _bytes(profiles)),
        "profiles, a new field": ("profiles", _bytes(profiles, new_field="a value")),
        "profiles, three new fields": ("profiles", _bytes(profiles, new_a="a value", new_b=None, new_c={"a": [1]})),
        "profiles, external ids are numbers": ("profiles", _bytes(profiles, external_id=12345)),
    }
    shapers = {kind: Shaper(load_contract(report, DEFAULT_REVISION)) for kind, (report, _) in kinds.items()}
    for kind, (_, pages) in kinds.items():
        shapers[kind].shape(pages[0], {})
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(given.repeat):
        for kind, (_, pages) in kinds.items():
            began_s = time.process_time()
            for page in pages:
                shapers[kind].shape(page, {})
            taken[kind].append((time.process_time() - began_s) * 1e3 / len(pages))
    table(
        f"A page shaped into Arrow, medians of {given.repeat} times {given.pages} pages, taking turns",
        ["", "CPU ms a page", "of a page without"],
        [
            [kind, median(taken[kind]), median(taken[kind]) / median(taken[report])]
            for kind, (report, _) in kinds.items()
        ],
    )


if __name__ == "__main__":
    main()
