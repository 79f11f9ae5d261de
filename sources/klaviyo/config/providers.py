"""Reads the settings from dlt's own config providers, each with the place where it was set.

Files, names and order are those of dlt. Two of dlt's rules are left out: the fallback to bare names (another program's
`START_DATE` or `API_KEY` in the environment would be taken for ours), and ignoring keys that were not requested (a typo
would go unnoticed).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dlt
from dlt.common.configuration.providers import EnvironProvider
from dlt.common.configuration.providers.provider import ConfigProvider
from dlt.common.typing import TSecretStrValue

from ..errors import ConfigError
from .raw_settings import RawSettings

_SECTIONS = ("sources", "klaviyo")
_SECRETS = ("api_key", "access_token")


@dataclass(frozen=True, slots=True)
class _Setting:
    value: Any = field(repr=False)  # may be a key
    origin: str
    may_be_secret: bool


# A leaf is a _Setting, a table is another tree.
_Tree = dict[str, Any]


def read(pipeline_name: str | None, explicit: Mapping[str, Any] | None = None, origin: str = "the call") -> RawSettings:
    """All settings of one pipeline.

    Order of precedence: explicit values (flags, arguments), then dlt's order: pipeline-scoped sections before unscoped
    ones, and in each the environment, secrets.toml, config.toml and further providers.

    Args:
        pipeline_name: the pipeline whose scoped sections (`[klaviyo_acme.sources.klaviyo]`) apply.
        explicit: values that take precedence over every configured one.
        origin: how messages call the place of the explicit values; `{}` stands for the flag's name.

    Raises:
        ConfigError: a key is set in a place that is not for secrets, or a setting is both a value and a table.
    """
    return configured(pipeline_name).under(explicit or {}, origin)


class Configured:
    """The settings of one pipeline as dlt's providers hold them, read once."""

    def __init__(self, tree: _Tree) -> None:
        self._tree = tree

    @property
    def values(self) -> Mapping[str, Any]:
        """Setting -> value; a mapping under a report's name holds that report's own settings."""
        return _raw(self._tree).values

    def under(self, explicit: Mapping[str, Any], origin: str) -> RawSettings:
        """All settings, explicit values first; see `read`.

        Raises:
            ConfigError: a key is set in a place that is not for secrets.
        """
        tree = _explicit(explicit, origin)
        _fill(tree, self._tree)
        for secret in _SECRETS:
            setting = tree.get(secret)
            if isinstance(setting, _Setting) and not setting.may_be_secret:
                raise ConfigError(
                    f"{secret} is set in {setting.origin}: put it into .dlt/secrets.toml or the environment."
                )
        return _raw(tree)


def configured(pipeline_name: str | None) -> Configured:
    """What is configured for one pipeline, in dlt's order of precedence.

    Raises:
        ConfigError: a setting is both a value and a table.
    """
    tree: _Tree = {}
    for scope in (pipeline_name, None) if pipeline_name else (None,):
        for provider in dlt.config.config_providers:
            _fill(tree, _provided(provider, scope))
    return Configured(tree)


def _explicit(values: Mapping[str, Any], origin: str, path: str = "") -> _Tree:
    tree: _Tree = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            tree[key] = _explicit(value, origin, f"{path}{key}.")
        elif value is not None:
            tree[key] = _Setting(value, origin.format("--" + key.replace("_", "-")), True)
    # `period` and `start_date` with `end_date` are two ways to say the same: either one, given here, must also hide the
    # other one where it is configured.
    if "period" in tree:
        tree.setdefault("start_date", _Setting(None, "", True))
        tree.setdefault("end_date", _Setting(None, "", True))
    elif "start_date" in tree or "end_date" in tree:
        tree.setdefault("period", _Setting(None, "", True))
    return tree


def _raw(tree: _Tree) -> RawSettings:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, node in tree.items():
        if isinstance(node, _Setting):
            values[key], origins[key] = node.value, node.origin
        else:
            inner = _raw(node)
            values[key] = inner.values
            origins.update({f"{key}.{name}": origin for name, origin in inner.origins.items()})
            origins[key] = next(iter(inner.origins.values()), "")
    return RawSettings(values, origins)


def _provided(provider: ConfigProvider, scope: str | None) -> _Tree:
    tree: _Tree = {}
    for key in _SECRETS:
        # By name: vaults have no tables, and mounted secret files are only found this way.
        value, name = provider.get_value(key, TSecretStrValue, scope or "", *_SECTIONS)
        if value is not None:
            tree[key] = _Setting(value, f"{provider.name}, {name}", provider.supports_secrets)
    if isinstance(provider, EnvironProvider):
        return {**tree, **_environment(scope)}
    table, _ = provider.get_value(_SECTIONS[-1], TSecretStrValue, scope or "", *_SECTIONS[:-1])
    if isinstance(table, dict):
        # These origins are more precise (file and section) than the ones above.
        tree = {**tree, **_table(table, (), provider, scope)}
    return tree


def _environment(scope: str | None) -> _Tree:
    prefix = EnvironProvider.get_key_name("", *filter(None, (scope, *_SECTIONS)))
    tree: _Tree = {}
    for name, value in sorted(os.environ.items()):
        path = name[len(prefix) :].lower().split("__")
        if not name.startswith(prefix) or not path[-1]:
            continue
        node = tree
        for table in path[:-1]:
            node = node.setdefault(table, {})
            if isinstance(node, _Setting):
                raise ConfigError(f"{name} and {node.origin} exclude each other: one is a value, one a table.")
        node[path[-1]] = _Setting(value, f"the environment, {name}", True)
    return tree


def _table(table: Mapping[str, Any], path: tuple[str, ...], provider: ConfigProvider, scope: str | None) -> _Tree:
    def origin(key: str) -> str:
        location = provider.get_value_location(key, scope or "", *_SECTIONS, *path)
        name = location.rpartition(":")[2]
        files = [file for file in provider.present_locations if os.path.basename(file) == name]
        file = os.path.relpath(files[-1 if ":" in location else 0]) if files else provider.name
        return f"{file} [{'.'.join(filter(None, (scope, *_SECTIONS, *path)))}]"

    return {
        key: _table(value, (*path, key), provider, scope)
        if isinstance(value, dict)
        else _Setting(value, origin(key), provider.supports_secrets)
        for key, value in table.items()
    }


def _fill(tree: _Tree, weaker: _Tree) -> None:
    for key, value in weaker.items():
        if key not in tree:
            tree[key] = value
        elif isinstance(tree[key], dict) and isinstance(value, dict):
            _fill(tree[key], value)
