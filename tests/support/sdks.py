"""Klaviyo's official SDK, one a revision: the installed one, and others beside it, in `.venv/sdk/<revision>`.

Two of them don't install together. What asks another one runs in a process of its own, with that one first on its path.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BESIDE = Path(sys.prefix) / "sdk"


def first() -> str:
    """The revision of the SDK that is first on the path: the installed one's, unless `run` put another there."""
    from klaviyo_api.wrapper import KlaviyoAPI  # here, since it takes a second

    return str(KlaviyoAPI._REVISION)


def beside() -> list[str]:
    """Revisions of the SDKs that lie beside the installed one, oldest first."""
    return sorted(folder.name for folder in BESIDE.glob("*-*-*"))


def run(revision: str, *module_and_arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module of Python's path with the SDK of a revision that lies beside the installed one.

    Raises:
        FileNotFoundError: there is none of this revision.
    """
    folder = BESIDE / revision
    if not folder.is_dir():
        raise FileNotFoundError(f"no SDK of revision {revision} in {BESIDE}: `make` puts it there")
    return subprocess.run(
        [sys.executable, "-m", *module_and_arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    sys.stdout.write(first())
