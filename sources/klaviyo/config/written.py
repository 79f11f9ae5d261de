"""The base of what users write about one report, beside the settings of every report."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from .raw_settings import RawSettings, listed, nearest, show


class Written:
    """The settings of one report as the user wrote them. Problems are collected, so that all are reported at once.

    Args:
        raw: all settings.
        name: of the report.
        section: the tables that lead to its own (`custom_reports`), for messages.
    """

    def __init__(self, raw: RawSettings, name: str, *section: str) -> None:
        self.name = name
        self.problems: list[str] = []
        self._raw = raw
        self._path = ".".join((*section, name))
        table: Any = raw.values
        for key in (*section, name):
            table = table.get(key) if isinstance(table, Mapping) else None
        self.table: Any = table

    @property
    def label(self) -> str:
        """How messages call the report."""
        return self.name

    def value(self, key: str) -> Any:
        """What was written; None where nothing was."""
        return self.table.get(key) if isinstance(self.table, Mapping) else None

    def wrong(self, key: str, problem: str, value: Any = None) -> None:
        """Note a problem with a setting."""
        value = self.value(key) if value is None else value
        where = self._raw.where(f"{self._path}.{key}")
        self.problems.append(f"{self.label}: {key} = {show(value)}{where}: {problem}")

    def text(self, key: str, wanted: str) -> str | None:
        """A text that is not empty.

        Args:
            wanted: what is needed, in words.
        """
        value = self.value(key)
        if value is None or (isinstance(value, str) and value.strip()):
            return value
        self.wrong(key, f"{wanted} is needed.")
        return None

    def names(self, key: str, value: Any = None) -> tuple[str, ...]:
        """A list of names, each once; empty where nothing was written."""
        written = self.value(key) if value is None else value
        if written is None:
            return ()
        found = listed(written)
        if isinstance(found, Sequence) and found and all(isinstance(name, str) and name for name in found):
            return tuple(dict.fromkeys(found))
        self.wrong(key, "a list of names is needed.", value)
        return ()

    def raise_problems(self) -> None:
        """
        Raises:
            ConfigError: with one line for each problem.
        """
        if self.problems:
            raise ConfigError("\n".join(self.problems))


def unknown(name: str, allowed: Collection[str]) -> str:
    """The beginning of a sentence about an unknown name."""
    return f'unknown "{name}"{nearest(name, allowed)}'


def all_of(allowed: Iterable[str]) -> str:
    """All that is allowed, in words."""
    return ", ".join(sorted(allowed)) or "none"
