"""Timestamps as Klaviyo writes them."""

from __future__ import annotations

import math
from datetime import UTC, datetime


def iso(second: float) -> str:
    """`2026-06-23T00:15:23+00:00` from seconds since 1970."""
    return datetime.fromtimestamp(math.floor(second), UTC).isoformat()
