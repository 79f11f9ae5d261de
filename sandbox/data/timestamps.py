"""Timestamps as Klaviyo writes them, to and from seconds since 1970."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any


def iso(second: float) -> str:
    """Seconds since 1970 as `2026-06-23T00:15:23+00:00`."""
    return datetime.fromtimestamp(math.floor(second), UTC).isoformat()


def epoch_second(value: Any) -> int | None:
    """Whole seconds since 1970, of a timestamp, a `datetime` or a number; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return math.floor(value)
    if isinstance(value, datetime):
        return math.floor(value.timestamp())
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return math.floor((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
