"""Damaged files in a pipeline's working folder: which ones there are, and the folder rebuilt without them.

A full disk, a lost power supply or another program can leave a file of dlt's cut off, empty or with other content.
Observed with dlt 1.31.0: each such file ends every later run with an error of the parser, until it is removed.

All that the folder holds is in the destination too, or is read again from Klaviyo: the state and the schemas are
restored, and a load package that is not loaded has stored no coverage. Rows that such a package has left in a table are
merged when they are read again (`duckdb.never_loaded`).
"""

from __future__ import annotations

import gzip
import logging
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from dlt.common.json import json
from dlt.common.schema.utils import verify_schema_hash
from dlt.common.storages.file_storage import FileStorage
from dlt.common.storages.load_package import PackageStorage
from dlt.common.storages.versioned_storage import VersionedStorage
from dlt.common.versioned_state import json_decode_state, json_encode_state
from dlt.pipeline.pipeline import Pipeline
from dlt.pipeline.state_sync import (
    PIPELINE_STATE_ENGINE_VERSION,
    default_pipeline_state,
    generate_pipeline_state_version_hash,
)

from ..clock import SystemClock
from ..plan.state import SOURCE

log = logging.getLogger("klaviyo")

_SCHEMA, _STATE = ".schema.json", Pipeline.STATE_FILE
#: Folders of a load package with words for people, which dlt does not parse.
_NOTES = (PackageStorage.EXCEPTIONS_FOLDER, PackageStorage.FAILED_JOBS_FOLDER)
#: Errors of the parsers for what is not a whole file of its kind.
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, EOFError, zlib.error)


def rebuild_if_damaged(working_dir: Path) -> bool:
    """Look through the working folder. If a file in it is damaged, clear it, so that dlt restores it from the destination.

    Load packages of other sources that are not loaded cannot be read again. With one of them in it, the old folder is
    kept under another name.

    Returns:
        Whether the folder was cleared.
    """
    _remove_harmless(working_dir)
    damaged = sorted({str(path.relative_to(working_dir)) for path in _damaged(working_dir)})
    if not damaged:
        return False
    names = ", ".join(damaged[:3]) + (f" and {len(damaged) - 3} more" if len(damaged) > 3 else "")
    local, kept, mode = _local_state(working_dir), "", working_dir.stat().st_mode
    if all(map(_is_ours, _pending(working_dir))):
        shutil.rmtree(working_dir)
    else:
        aside = working_dir.with_name(f"{working_dir.name}.damaged-{SystemClock().now():%Y%m%dT%H%M%S}")
        working_dir.rename(aside)
        kept = f"; load packages of another source were not loaded and are kept in {aside}"
    if local:
        working_dir.mkdir()
        working_dir.chmod(mode)
        state = default_pipeline_state()
        state["_local"].update(local)  # type: ignore[typeddict-item]
        (working_dir / _STATE).write_text(json_encode_state(state), encoding="utf-8")
    log.warning("%s: damaged files of dlt (%s); the folder is rebuilt from the destination%s", working_dir, names, kept)
    return True


def _remove_harmless(working_dir: Path) -> None:
    """Remove damaged files that dlt writes anew without asking the destination."""
    for storage in ("normalize", "load"):
        version = working_dir / storage / VersionedStorage.VERSION_FILE
        if version.exists() and not _is_whole(version, _read_version):
            log.warning("%s was damaged and is written anew", version)
            version.unlink()


def _damaged(working_dir: Path) -> Iterator[Path]:
    state = working_dir / _STATE
    if ((working_dir / "load").exists() and not state.exists()) or not _is_whole(state, _read_state):
        yield state
    for schema in (working_dir / "schemas").glob(f"*{_SCHEMA}"):
        if not _is_whole(schema, _read_schema):
            yield schema
    with suppress(OSError, *_BROKEN):
        # dlt would go on with a state that knows of no schema.
        for name in json_decode_state(state.read_text(encoding="utf-8")).get("schema_names") or []:
            if not (working_dir / "schemas" / f"{name}{_SCHEMA}").exists():
                yield working_dir / "schemas" / f"{name}{_SCHEMA}"
    for package in _pending(working_dir):
        for path in package.rglob("*"):
            if path.is_file() and not _is_whole(path, _reader(path)):
                yield path


def _pending(working_dir: Path) -> list[Path]:
    """The folders of load packages that are not loaded."""
    folders = [*(working_dir / "normalize" / "extracted").glob("*"), *(working_dir / "load" / "normalized").glob("*")]
    return [folder for folder in folders if folder.is_dir()]


def _is_ours(package: Path) -> bool:
    """Whether it is known that a package holds nothing but what this source has read."""
    with suppress(OSError, *_BROKEN):
        return bool(_read_json(package / PackageStorage.SCHEMA_FILE_NAME)["name"] == SOURCE)
    return False


def _local_state(working_dir: Path) -> dict[str, Any]:
    """What dlt keeps in the folder alone, above all where a DuckDB file lies that was named without its folder.

    Every load package has a copy of the state that it began with.
    """
    copies = sorted((working_dir / "load").glob(f"*/*/{PackageStorage.RESTORE_FOLDER}/{_STATE}"), reverse=True)
    for path in (working_dir / _STATE, *copies):
        with suppress(OSError, *_BROKEN):
            local = _read_state(path)["_local"]
            return {key: local[key] for key in ("initial_cwd", "duckdb_database") if key in local}
    return {}


def _is_whole(path: Path, read: Callable[[Path], Any]) -> bool:
    try:
        read(path)
    except FileNotFoundError:
        # There is none, or another process has moved it on.
        return True
    except OSError as error:
        # Without a number it comes from a parser (gzip, Arrow), not from the operating system.
        if error.errno is not None:
            raise
        return False
    except _BROKEN:
        return False
    return True


def _reader(path: Path) -> Callable[[Path], Any]:
    """How a file of a load package is read."""
    # Statements are written anew anyway.
    notes = path.parent.name in _NOTES or path.name == PackageStorage.PACKAGE_COMPLETED_FILE_NAME
    if notes or path.suffix == ".sql":
        return Path.read_bytes
    if path.name == PackageStorage.SCHEMA_FILE_NAME:
        return _read_schema
    if path.name == PackageStorage.LOAD_PACKAGE_STATE_FILE_NAME:
        return _read_versioned
    if path.suffix == ".json" or path.parent.name == PackageStorage.PENDING_TRANSITIONS_FOLDER:
        return _read_json
    if path.suffix == ".parquet":
        return _read_parquet
    return _read_text


def _read_version(path: Path) -> object:
    return VersionedStorage(FileStorage(str(path.parent))).version


def _read_json(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(path.name)
    return found


def _read_schema(path: Path) -> None:
    if not verify_schema_hash(_read_json(path), verifies_if_not_migrated=True):
        raise ValueError(path.name)


def _read_versioned(path: Path) -> dict[str, Any]:
    state = json_decode_state(path.read_text(encoding="utf-8"))
    if not isinstance(state["_state_engine_version"], int):
        raise TypeError(path.name)
    return state


def _read_state(path: Path) -> dict[str, Any]:
    state: Any = _read_versioned(path)
    if state["_state_engine_version"] == PIPELINE_STATE_ENGINE_VERSION and "_version_hash" in state:
        whole = state["_version_hash"] == generate_pipeline_state_version_hash(state)
        if not whole or not isinstance(state["_local"], dict):
            raise ValueError(path.name)
    return dict(state)


def _read_parquet(path: Path) -> None:
    # Imported here, since `plan` looks through the folder too, and these imports take longer than the rest of it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for _ in file.iter_batches():
                pass
    except pa.ArrowException as error:
        raise ValueError(path.name) from error


def _read_text(path: Path) -> None:
    """Read a job in text, which dlt packs with gzip unless a setting says otherwise. None of them is ever empty."""
    if path.suffix == ".gz":
        if not path.stat().st_size:
            raise EOFError(path.name)
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass
        return
    text = path.read_text(encoding="utf-8").rstrip()
    cut_off = path.suffix == ".insert_values" and not text.endswith(";")
    # A file that was not written out before the power went is full of zeros.
    if not text or "\0" in text or cut_off:
        raise ValueError(path.name)
