"""Asks a sandbox for records, as any client would."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import requests

from sandbox import Sandbox

HEADERS = {"Authorization": "Klaviyo-API-Key pk_sandbox", "revision": "2026-07-15"}


def get(server: Sandbox, path: str, **parameters: Any) -> dict[str, Any]:
    answer = requests.get(server.url + path, params=parameters, headers=HEADERS, timeout=10)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def read(server: Sandbox, path: str, **parameters: Any) -> list[dict[str, Any]]:
    """All records of a list, page after page."""
    found: list[dict[str, Any]] = []
    url: str | None = f"{server.url}{path}?{urlencode(parameters)}"
    with requests.Session() as session:
        while url:
            answer = session.get(url, headers=HEADERS, timeout=10)
            assert answer.status_code == 200, answer.text
            document = answer.json()
            found += document["data"]
            url = document["links"]["next"]
    return found
