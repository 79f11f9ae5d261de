"""The option `--sandbox`: commands use a made-up account, served by this process, instead of the user's own."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from ..clock import SystemClock
from ..config import providers
from ..errors import ConfigError

#: The sandbox's data ends here, so that the account is the same one in every run.
SANDBOX_END = datetime(2026, 7, 1, tzinfo=UTC)
SANDBOX_HISTORY_DAYS = 90


def _sandbox() -> Any:
    """The sandbox package: `klaviyo_sandbox` if installed, the folder `sandbox` in a clone of the repository.

    Raises:
        ConfigError: there is none, as after `dlt init`, which copies only the source.
    """
    for name in ("klaviyo_sandbox", "sandbox"):
        try:
            module = import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            continue
        # The user may have a folder called `sandbox` too.
        if hasattr(module, "Sandbox"):
            return module
    raise ConfigError("--sandbox needs the made-up account, which is a part of the package: pip install dlt-klaviyo")


@contextmanager
def account(name: str, args: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pipeline's working name, and the settings of the sandbox (none without `--sandbox`).

    With the sandbox the working name is another one. Its pipeline has a state and a dataset of its own, so made-up rows
    never mix with real ones.
    """
    sizes = {key.removeprefix("sandbox_"): value for key, value in vars(args).items() if key.startswith("sandbox_")}
    if not getattr(args, "sandbox", False):
        if sizes:
            raise ConfigError(f"--sandbox-{next(iter(sizes)).replace('_', '-')} needs --sandbox.")
        yield name, {}
        return
    sandbox = _sandbox()
    latency_ms = sizes.pop("latency_ms", 0)
    made_up = sandbox.Account(now=SANDBOX_END, history_days=SANDBOX_HISTORY_DAYS, **sizes)
    made_up.now = SystemClock().now
    with sandbox.Sandbox(made_up, latency_s=latency_ms / 1000, rate_limits=True, keep_requests=False) as server:
        # The empty token hides a configured one, which would conflict with the key.
        flags: dict[str, Any] = {"base_url": server.url, "api_key": "pk_sandbox", "access_token": ""}
        configured = providers.read(name).values
        given = {**configured, **vars(args)}
        if not any(given.get(key) for key in ("start_date", "period")):
            flags["start_date"] = (SANDBOX_END - timedelta(days=SANDBOX_HISTORY_DAYS)).date().isoformat()
        yield (name if name.endswith("_sandbox") else f"{name}_sandbox"), flags
