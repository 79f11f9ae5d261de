"""Parsers: a value as the user wrote it -> a setting's value. An error says what is wrong, where, and what is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import urlsplit

import pendulum

from ..errors import ConfigError
from ..windows import BEGINNING, END_OF_TIME
from .raw_settings import RawSettings, listed, nearest, show

DEFAULT_BASE_URL = "https://a.klaviyo.com"
#: Takes the settings, the name of one and its default; returns the value.
Parser = Callable[[RawSettings, str, Any], Any]

_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?")
_MOST_SECONDS = 86_400
_MOST_DAYS = 36_500


def choice(*allowed: str) -> Parser:
    """One of some words."""

    def parse(raw: RawSettings, name: str, default: str | None) -> str | None:
        value = raw.values.get(name)
        if value is None:
            return default
        value = value.isoformat() if isinstance(value, date) else value
        if value not in allowed:
            raise ConfigError(
                f"{name} = {show(value)}{raw.where(name)}{nearest(str(value), allowed)} Allowed: {', '.join(allowed)}."
            )
        return str(value)

    return parse


def seconds(allowed: str, *, zero: bool) -> Parser:
    """A number of seconds, a day at most.

    Args:
        allowed: what is allowed, in words.
        zero: whether 0 is.
    """

    def parse(raw: RawSettings, name: str, default: float) -> float:
        value = _number(raw, name, default)
        if not 0 <= value <= _MOST_SECONDS or (value == 0 and not zero):
            raise ConfigError(
                f"{name} = {show(raw.values[name])}{raw.where(name)}: {allowed} is needed, {_MOST_SECONDS} at most."
            )
        return value

    return parse


def days(allowed: str) -> Parser:
    """A number of days, as a duration of whole seconds, the grain of windows."""

    def parse(raw: RawSettings, name: str, default: float) -> timedelta:
        value = _number(raw, name, default)
        if not 0 <= value <= _MOST_DAYS:
            raise ConfigError(
                f"{name} = {show(raw.values[name])}{raw.where(name)}: {allowed} is needed, {_MOST_DAYS} at most."
            )
        return timedelta(seconds=math.ceil(value * 86_400))

    return parse


def flag(raw: RawSettings, name: str, default: bool) -> bool:
    """True or false."""
    value = raw.values.get(name)
    if value is None:
        return default
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ConfigError(f"{name} = {show(value)}{raw.where(name)}: true or false is needed.")
    return value


def names(of: str) -> Parser:
    """A list of names, each once.

    Args:
        of: what they are names of, in words.
    """

    def parse(raw: RawSettings, name: str, default: Sequence[str] | None) -> tuple[str, ...]:
        value = raw.values.get(name)
        if value is None:
            return tuple(default or ())
        found = listed(value)
        if isinstance(found, list | tuple) and found and all(isinstance(one, str) and one.strip() for one in found):
            return tuple(dict.fromkeys(found))
        raise ConfigError(f"{name} = {show(value)}{raw.where(name)}: a list of {of} is needed.")

    return parse


def moment(*, is_end: bool) -> Parser:
    """A date or a time as UTC whole seconds; a time without an offset is UTC.

    Args:
        is_end: a date includes that day.
    """

    def parse(raw: RawSettings, name: str, default: datetime | None) -> datetime | None:
        value = raw.values.get(name)
        if value in (None, ""):
            return default
        whole_day = isinstance(value, date) and not isinstance(value, datetime)
        text = value.isoformat() if isinstance(value, date) else value
        try:
            if not isinstance(text, str) or not _DATE_TIME.fullmatch(text):
                raise ValueError
            whole_day = whole_day or len(text) == len("2026-01-31")
            read = cast(datetime, pendulum.parse(text, tz="UTC", strict=True))
            found = datetime.fromtimestamp(read.timestamp(), UTC)
            if not BEGINNING < found < END_OF_TIME - timedelta(days=2):
                raise ValueError
        except (ValueError, OverflowError):
            raise ConfigError(
                f"{name} = {show(value)}{raw.where(name)} is not a date. "
                'Allowed: a date ("2026-01-31") or a time ("2026-01-31T09:30:00Z"), UTC unless it carries an offset, '
                "after 1970."
            ) from None
        if is_end and whole_day:
            found += timedelta(days=1)
        if found.microsecond:
            found = found.replace(microsecond=0) + timedelta(seconds=1 if is_end else 0)
        return found

    return parse


def base_url(raw: RawSettings, name: str, default: str) -> str:
    """An http(s) URL, without a slash at its end. An http address must be on this machine, or be allowed."""
    value = raw.values.get(name) or default
    if not isinstance(value, str) or not _is_base_url(value):
        raise ConfigError(
            f"{name}{raw.where(name)}: an http(s) URL without user, query and fragment is needed, "
            f"like {DEFAULT_BASE_URL}."
        )
    if urlsplit(value).scheme == "http" and not _is_loopback(value) and not flag(raw, "allow_http", False):
        raise ConfigError(
            f"{name}{raw.where(name)}: http:// sends the API key without encryption. Use an https:// address, or set "
            "allow_http = true if the network is trusted. Addresses of this machine (127.0.0.1, localhost) are allowed."
        )
    return value.rstrip("/")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _is_base_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    plain = not re.search(r"[\s@?#]", text)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and plain


def authorization(raw: RawSettings) -> str:
    """The value of the `Authorization` header, from a private key or an OAuth token."""
    key, token = raw.values.get("api_key"), raw.values.get("access_token")
    if key and token:
        raise ConfigError(
            f"api_key{raw.where('api_key')} and access_token{raw.where('access_token')} are both set: leave one out."
        )
    if token:
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise ConfigError(f"access_token{raw.where('access_token')} has blanks or unprintable characters in it.")
        return f"Bearer {token}"
    if not key:
        raise ConfigError(
            "no api_key. Put a private key (Klaviyo: Settings > API keys) into .dlt/secrets.toml, "
            '`[sources.klaviyo]` `api_key = "pk_…"`, or into the environment as SOURCES__KLAVIYO__API_KEY; '
            "or try the source with --sandbox."
        )
    # The value itself stays out of the message: it may be a key with one character too many.
    if not isinstance(key, str) or not re.fullmatch(r"pk_[A-Za-z0-9_-]+", key):
        hint = " A public key (site id) cannot read." if re.fullmatch(r"[A-Za-z0-9]{6}", str(key)) else ""
        raise ConfigError(
            f"api_key{raw.where('api_key')} is malformed: a private key is `pk_` and then letters and digits.{hint}"
        )
    return f"Klaviyo-API-Key {key}"


def _number(raw: RawSettings, name: str, default: float) -> float:
    value = raw.values.get(name)
    if value is None:
        return default
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
        if number != number:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{name} = {show(value)}{raw.where(name)}: a number is needed.") from None
    return number
