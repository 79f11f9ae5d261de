"""Messages for errors: what is wrong and what to do, without keys or passwords."""

from __future__ import annotations

import errno
import os
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from dlt.common.configuration.exceptions import ConfigFieldMissingException, ConfigurationException, LookupTraces
from dlt.common.destination.exceptions import DestinationException, UnknownDestinationModule
from dlt.common.exceptions import MissingDependencyException, PipelineException
from dlt.destinations.exceptions import DestinationConnectionError
from dlt.pipeline.exceptions import PipelineStepFailed

from ..config.raw_settings import nearest
from ..errors import ConfigError, KlaviyoError, PipelineBusy, StorageError

#: Full, over its quota, read-only, forbidden, no folder, or limited by `ulimit`.
_OF_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EFBIG)
_MOST_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error as the user sees it.

    Attributes:
        message: one or more lines.
        exit_code: exit code of the process.
        foreseen: False for an error in the program itself; the traceback is shown then.
    """

    message: str
    exit_code: int
    foreseen: bool = True


def explain(error: BaseException) -> Trouble:
    """The message for an error, and the exit code."""
    chain = list(_chain(error))
    if any(isinstance(cause, KeyboardInterrupt) for cause in chain):
        return Trouble("stopped at once; a run goes on from the last load package that was committed.", 130)
    if isinstance(error, ConfigError):
        return Trouble(redacted(_alike_together(str(error))), 2)
    if isinstance(error, PipelineBusy):
        return Trouble(redacted(f"{error}\n{error.advice}"), 3)
    if isinstance(error, KlaviyoError):
        return Trouble(redacted(f"{error}\n{error.advice}"), 1)
    if storage := _of_storage(chain):
        return Trouble(redacted(f"{storage}\n{storage.advice}"), 1)
    dlt_errors = (PipelineException, DestinationException, ConfigurationException, MissingDependencyException)
    if not isinstance(error, dlt_errors):
        message = (
            f"{type(error).__name__}: {_first_lines(error)}\n"
            "This is a bug in the source: please report it with the text above."
        )
        return Trouble(redacted(message), 1, foreseen=False)
    # The innermost error of dlt is the most specific one. The error of a database driver below it has the cause.
    from_dlt = [cause for cause in chain if isinstance(cause, dlt_errors)]
    trouble = _explain_dlt(from_dlt[-1], chain[-1])
    return Trouble(redacted(trouble.message), trouble.exit_code)


def _of_storage(chain: list[BaseException]) -> StorageError | None:
    """The error of a disk or a folder among an error and its causes."""
    for cause in reversed(chain):
        if isinstance(cause, OSError) and cause.errno in _OF_STORAGE:
            place = cause.filename or "a file of this machine"
            return StorageError(f"{place} cannot be written: {os.strerror(cause.errno)}")
        words = next((os.strerror(number) for number in _OF_STORAGE if os.strerror(number) in str(cause)), None)
        if words and type(cause).__module__.partition(".")[0] in ("duckdb", "_duckdb"):
            file = re.search(r'file "([^"]+)"', str(cause))
            return StorageError(f"{file[1] if file else 'the DuckDB file'} cannot be written: {words}")
    return None


def _explain_dlt(error: BaseException, root: BaseException) -> Trouble:
    """The message for an error of dlt.

    Args:
        root: its innermost cause.
    """
    if isinstance(error, UnknownDestinationModule):
        import dlt

        names = [name for name in dlt.destinations.__all__ if name not in ("destination", "dummy")]
        return Trouble(
            f'unknown destination "{error.ref}"{nearest(error.ref, names)} Allowed: {", ".join(names)}, or a name of your '
            f"own with its destination_type in .dlt/config.toml under [destination.{error.ref}].",
            2,
        )
    if isinstance(error, MissingDependencyException):
        packages = " ".join(f'"{package}"' for package in error.dependencies)
        return Trouble(f"{error.caller} needs packages that are not installed: pip install {packages}", 2)
    if isinstance(error, ConfigFieldMissingException):
        return Trouble(_missing(error), 2)
    if isinstance(error, ConfigurationException):
        return Trouble(_first_lines(error), 2)
    if "Could not set lock on file" in str(root):
        file = re.search(r'file "([^"]+)"', str(root))
        holder = re.search(r"\(PID (\d+)\)", str(root))
        who = f" (process {holder[1]})" if holder else ""
        return Trouble(f"{file[1] if file else 'the DuckDB file'} is open in another program{who}: close it there.", 1)
    if isinstance(error, DestinationConnectionError):
        return Trouble(
            f"no connection to the destination: {_first_lines(root)}\n"
            "Check that it runs and that its credentials in .dlt/secrets.toml, section [destination], are right.",
            1,
        )
    step = f" in step {error.step}" if isinstance(error, PipelineStepFailed) else ""
    reason = root if isinstance(error, PipelineStepFailed) else error
    return Trouble(
        f"dlt failed{step}: {_first_lines(reason)}\n"
        "Run again when the cause is gone: it goes on from the last load package that was committed.",
        1,
    )


def _alike_together(text: str) -> str:
    """Joins lines `report: problem` that have the same problem: `report, report: problem`."""
    lines: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, colon, problem = line.partition(": ")
        of_report = bool(colon) and name.isidentifier()
        lines.setdefault(problem if of_report else line, []).extend([name] if of_report else [])
    return "\n".join(f"{', '.join(names)}: {line}" if names else line for line, names in lines.items())


def _missing(error: ConfigFieldMissingException) -> str:
    """The message for settings of a destination that are missing."""
    fields = {}
    for name, traces in error.traces.items():
        inner = next((trace for trace in traces if isinstance(trace, LookupTraces)), None)
        fields[name] = [f"{name}.{field}" for field in inner.traces] if inner else [name]
    names = ", ".join(name for group in fields.values() for name in group)
    kind = re.sub(r"(Destination)?(Client)?(Configuration|Credentials)$", "", error.spec_name).lower()
    return f"settings are missing for {kind}: {names}. Set them in .dlt/secrets.toml under [destination.{kind}]."


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes, the innermost last."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        inner = cause.exception if isinstance(cause, PipelineStepFailed) else None
        hidden = cause.__suppress_context__
        cause = inner or cause.__cause__ or (None if hidden else cause.__context__)


def _first_lines(error: BaseException) -> str:
    """The beginning of an error's message, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…"


def traceback_of(error: BaseException) -> str:
    """The traceback of an error, redacted."""
    return redacted("".join(traceback.format_exception(error)))


def redacted(text: str) -> str:
    """The text without anything that looks like a key or a password."""
    text = re.sub(r"\bpk_[A-Za-z0-9_-]+", "pk_…", text)
    text = re.sub(r"\bBearer\s+\S+", "Bearer …", text)
    return re.sub(r"(://[^:/@\s]*:)[^@\s]+@", r"\1…@", text)
