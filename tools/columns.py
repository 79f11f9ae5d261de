"""Bundles the declared columns: `schemas/*.yaml` into `sources/klaviyo/catalog/data/columns.json` (`make generate`)."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS = ROOT / "schemas"
BUNDLE = ROOT / "sources" / "klaviyo" / "catalog" / "data" / "columns.json"


def bundled(schemas: Path = SCHEMAS) -> str:
    """The text of the bundle: name of a report -> what its file says."""
    contracts = {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(schemas.glob("*.yaml"))}
    return json.dumps(contracts, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    BUNDLE.write_text(bundled(), encoding="utf-8")
