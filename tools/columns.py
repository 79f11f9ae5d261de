"""Bundles the declared columns: `schemas/*.yaml` into `sources/klaviyo/catalog/data/columns.json` (`make generate`)."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS = ROOT / "schemas"
BUNDLE = ROOT / "sources" / "klaviyo" / "catalog" / "data" / "columns.json"


#: Said of every unique count, after its own description.
NOT_ADDITIVE = "These counts don't add up over intervals or groups: each profile counts once in every one of them."


def bundled(schemas: Path = SCHEMAS) -> str:
    """The text of the bundle: name of a report -> what its file says."""
    contracts = {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(schemas.glob("*.yaml"))}
    for contract in contracts.values():
        for column in contract["columns"].values():
            if is_unique_count(column["path"]):
                column["description"] += f" {NOT_ADDITIVE}"
    return json.dumps(contracts, indent=1, ensure_ascii=False) + "\n"


def is_unique_count(path: object) -> bool:
    """Whether a column with this path holds how many profiles did something: `statistics.opens_unique`."""
    kind, _, name = str(path).partition(".")
    return kind in ("statistics", "measurements") and "unique" in name


if __name__ == "__main__":
    BUNDLE.write_text(bundled(), encoding="utf-8")
