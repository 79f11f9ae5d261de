"""Settings as the user wrote them, and how errors name them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import date
from typing import Any


class RawSettings:
    """Settings as the user wrote them, with where each was written.

    Args:
        values: setting -> value; a mapping under a report's name holds that report's own settings.
        origins: dotted setting -> where it was set, in the user's words (`.dlt/config.toml [sources.klaviyo]`).
    """

    def __init__(self, values: Mapping[str, Any], origins: Mapping[str, str] | None = None) -> None:
        self.values = values
        self.origins = origins or {}

    def where(self, name: str) -> str:
        """`(set in …)`, or nothing where the origin is not known."""
        origin = self.origins.get(name)
        return f" (set in {origin})" if origin else ""


def nearest(name: str, allowed: Collection[str]) -> str:
    """The end of a sentence about an unknown name: `; did you mean "…"?` for a typo, or a full stop."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else "."


def show(value: Any) -> str:
    """A value as an error names it."""
    return f'"{value}"' if isinstance(value, str | date) else repr(value)


def listed(value: Any) -> Any:
    """A list as the environment holds one, a JSON array or names between commas; anything else as it is."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        with suppress(ValueError):
            return json.loads(value)
    return [name.strip() for name in value.split(",") if name.strip()]


def without_secrets(text: str, raw: RawSettings) -> str:
    """A message without the key or token that stands in a place where it does not belong."""
    text = re.sub(r"pk_[\w-]+", "pk_…", text)
    token = raw.values.get("access_token")
    return text.replace(token, "…") if isinstance(token, str) and len(token) > 7 else text
