"""Copies a Klaviyo account into a warehouse: the key is in .dlt/secrets.toml, the start date in .dlt/config.toml."""

import sys

import dlt
from klaviyo import sync


def load_klaviyo() -> bool:
    """Load what is missing since the last run; whether all of it could be read."""
    pipeline = dlt.pipeline("klaviyo", destination="duckdb", dataset_name="klaviyo_data")
    # Without `reports` everything that is on by default is loaded.
    outcomes = sync(pipeline, reports=["profiles", "events", "metrics", "lists", "campaigns"])
    for outcome in outcomes:
        print(f"{outcome.report}: {outcome.rows} rows", outcome.error or "")
    return not any(outcome.error for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(0 if load_klaviyo() else 1)
