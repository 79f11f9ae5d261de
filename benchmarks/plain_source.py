"""`python -m benchmarks.plain_source URL`: events the way a dlt user writes it in ten minutes, with dict rows.

dlt's RESTClient follows the pages, a generator yields dicts, dlt does the rest with its defaults. No nested tables
(`max_table_nesting=0`), the same columns as the report `events`: the cheapest that dict rows get.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

import dlt
from dlt.sources.helpers.rest_client.client import RESTClient
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator

from benchmarks.made_up import END, START
from benchmarks.server import KEY


@dlt.resource(name="events", primary_key="id", write_disposition="append", max_table_nesting=0)
def events(url: str, start: str, end: str) -> Iterator[list[dict[str, Any]]]:
    """Events of a period, a page a list."""
    client = RESTClient(
        url,
        headers={"Authorization": f"Klaviyo-API-Key {KEY}", "revision": "2026-07-15"},
        paginator=JSONLinkPaginator(next_url_path="links.next"),
        data_selector="$",
    )
    parameters = {
        "filter": f"greater-or-equal(datetime,{start}),less-than(datetime,{end})",
        "sort": "datetime",
        "page[size]": 1000,
        "include": "metric,attributions",
    }
    for page in client.paginate("/api/events", params=parameters):
        (document,) = page
        yield list(_rows(document))


def _rows(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    included = {(record["type"], record["id"]): record for record in document["included"]}
    for event in document["data"]:
        related = event["relationships"]
        metric = related["metric"]["data"]
        yield {
            "id": event["id"],
            **event["attributes"],
            "metric_id": metric["id"],
            "metric_name": included["metric", metric["id"]]["attributes"]["name"],
            "profile_id": related["profile"]["data"]["id"],
            "attributions": [included["attribution", ref["id"]] for ref in related["attributions"]["data"]],
        }


def main() -> None:
    """Load events into `warehouse.duckdb` in the working folder and say how it went."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plain_source", description=__doc__)
    parser.add_argument("url")
    given = parser.parse_args()
    began_s = time.perf_counter()
    pipeline = dlt.pipeline("plain", destination=dlt.destinations.duckdb("warehouse.duckdb"), dataset_name="klaviyo")
    pipeline.run(events(given.url, f"{START:%Y-%m-%dT%H:%M:%SZ}", f"{END:%Y-%m-%dT%H:%M:%SZ}"))
    print(json.dumps({"seconds": time.perf_counter() - began_s}))


if __name__ == "__main__":
    main()
