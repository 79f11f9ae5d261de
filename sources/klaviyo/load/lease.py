"""A lease on a pipeline in the destination itself: machines that share no folder still see each other's run.

One row a pipeline, in a table of the dataset that dlt does not know, so dlt never touches it. The database decides: a
row that only serves as a lock is updated first, so of two transactions the second one waits for the first. Times are
those of the database's clock, as text, so no date arithmetic of any SQL dialect is needed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dlt
from dlt.common.destination.exceptions import DestinationException, DestinationUndefinedEntity
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.sql_client import SqlClientBase, WithSqlClient

from ..errors import ConfigError, LeaseLost, PipelineBusy
from .lock import Holder

log = logging.getLogger("klaviyo")

TABLE = "_klaviyo_lease"
#: Destinations in which a row that a transaction updated stays locked until it ends, and the next statement sees what
#: was committed. dlt's capability `supports_transactions` does not tell that.
DESTINATIONS = ("postgres", "snowflake")

_COLUMNS = ("pipeline_name", "run_id", "pid", "host", "since", "expires_at")
#: The name of the row that is the lock. No pipeline has an empty name.
_LOCK = ""


@dataclass(frozen=True, slots=True)
class _Row:
    """The lease of a pipeline. `expires_at` is None where it was given back."""

    holder: Holder
    expires_at: datetime | None


class Lease:
    """The lease of one run. Thread-safe.

    Args:
        pipeline: into one of `DESTINATIONS`.
        holder: this run.
        previous: the run that had the lock of the working folder before. If it has the lease, it is dead, since
            this run has the lock now.
        expiry_s: seconds after which a lease that is not renewed may be taken over.

    Attributes:
        last: the run that had the lease before this one; None where nobody is known. Set by `take`.
    """

    def __init__(self, pipeline: dlt.Pipeline, holder: Holder, previous: Holder | None, expiry_s: float) -> None:
        self._pipeline = pipeline
        self._me = holder
        self._previous = previous
        self._expiry_s = expiry_s
        self._client: Any = pipeline.destination_client()
        if not isinstance(self._client, WithSqlClient):
            raise TypeError(f"{type(self._client).__name__} has no SQL client")
        sql = self._client.sql_client
        self._table = sql.make_qualified_table_name(TABLE)
        self._names = {name: sql.escape_column_name(name) for name in _COLUMNS}
        # The client has one connection.
        self._using = threading.Lock()
        self._ended = threading.Event()
        self._lost: LeaseLost | None = None
        self.last: Holder | None = None

    def take(self) -> PipelineBusy | None:
        """Take it, if nobody has it; else who has it.

        Raises:
            ConfigError: somebody deleted rows of the table.
        """
        try:
            return self._take()
        except (DatabaseUndefinedRelation, DestinationUndefinedEntity):
            self._create()
            return self._take()

    def _take(self) -> PipelineBusy | None:
        with self._locked() as (sql, row, now):
            if row is not None and row.expires_at is not None and now < row.expires_at and not self._is_dead(row):
                return PipelineBusy(
                    f'pipeline "{self._pipeline.pipeline_name}" is being run by {row.holder}. If that process is gone, '
                    f"its lease in the destination ends at {row.expires_at:%H:%M:%S} UTC, and the next run goes on."
                )
            self.last = None if row is None else row.holder
            values = (self._me.run_id, str(self._me.pid), self._me.host, now.isoformat(), self._until(now))
            if row is None:
                marks = ", ".join(["%s"] * len(_COLUMNS))
                columns = ", ".join(self._names.values())
                sql.execute_sql(
                    f"INSERT INTO {self._table} ({columns}) VALUES ({marks})",  # noqa: S608 - our own names, escaped
                    self._pipeline.pipeline_name,
                    *values,
                )
            else:
                self._update(sql, dict(zip(_COLUMNS[1:], values, strict=True)))
        return None

    def _is_dead(self, row: _Row) -> bool:
        return self._previous is not None and row.holder.run_id == self._previous.run_id

    def keep(self) -> None:
        """Renew it.

        Raises:
            LeaseLost: somebody else has it.
        """
        with self._locked() as (sql, row, now):
            if row is None or row.holder.run_id != self._me.run_id:
                raise LeaseLost(
                    f'pipeline "{self._pipeline.pipeline_name}": this run did not renew its lease in the destination '
                    f"within {self._expiry_s:g} s, and {row.holder if row else 'another run'} took over. What this run "
                    "had not loaded by then is not loaded."
                )
            self._update(sql, {"expires_at": self._until(now)})

    def raise_lost(self) -> None:
        """Let the loss surface here, if renewing it has found out.

        Raises:
            LeaseLost: somebody else has it.
        """
        if self._lost is not None:
            raise self._lost

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew it from a thread, and give it back in the end."""
        thread = threading.Thread(target=self._renew, name="klaviyo-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()
            self._release()

    def _renew(self) -> None:
        while not self._ended.wait(self._expiry_s / 3):
            try:
                self.keep()
            except LeaseLost as error:
                self._lost = error
                return
            except Exception as error:
                # Tried again soon, and before anything is loaded.
                log.warning("the lease of the pipeline could not be renewed: %s", type(error).__name__)

    def _release(self) -> None:
        # If this fails, it expires.
        with suppress(DestinationException), self._locked() as (sql, row, _):
            if row is not None and row.holder.run_id == self._me.run_id:
                self._update(sql, {"expires_at": ""})

    @contextmanager
    def _locked(self) -> Iterator[tuple[SqlClientBase[Any], _Row | None, datetime]]:
        """A transaction that no other one on the table runs beside, the lease, and the time."""
        name, key = self._pipeline.pipeline_name, self._names["pipeline_name"]
        with self._using, self._client.sql_client as sql, sql.begin_transaction():
            sql.execute_sql(
                f"UPDATE {self._table} SET {key} = {key} WHERE {key} = %s",  # noqa: S608 - our own names, escaped
                _LOCK,
            )
            columns = ", ".join(self._names.values())
            rows = sql.execute_sql(
                f"SELECT CURRENT_TIMESTAMP, {columns} FROM {self._table} WHERE {key} IN (%s, %s)",  # noqa: S608 - our own names, escaped
                _LOCK,
                name,
            )
            found = {row[1]: row for row in rows or ()}
            if _LOCK not in found:
                raise ConfigError(f"{self._table} has lost the row that serves as a lock: drop this table.")
            now = found[_LOCK][0].astimezone(UTC)
            yield sql, _row(found[name][2:]) if name in found else None, now

    def _update(self, sql: SqlClientBase[Any], values: dict[str, str]) -> None:
        changes = ", ".join(f"{self._names[name]} = %s" for name in values)
        sql.execute_sql(
            f"UPDATE {self._table} SET {changes} WHERE {self._names['pipeline_name']} = %s",  # noqa: S608 - our own names, escaped
            *values.values(),
            self._pipeline.pipeline_name,
        )

    def _until(self, now: datetime) -> str:
        return (now + timedelta(seconds=self._expiry_s)).isoformat()

    def _create(self) -> None:
        """Make the table, with the row that is the lock. Others may make it at the same time."""
        # dlt forgets the local state of a dataset that was dropped, but only as long as the dataset does not exist.
        self._pipeline.sync_destination()
        first = {**dict.fromkeys(_COLUMNS, ""), "pipeline_name": _LOCK}
        columns = ", ".join(f"CAST('{first[name]}' AS VARCHAR(1000)) AS {self._names[name]}" for name in _COLUMNS)
        with self._using, self._client as client:
            # A failure that is no race shows in what comes next.
            with suppress(DestinationException):
                client.initialize_storage()
            with suppress(DestinationException):
                client.sql_client.execute_sql(f"CREATE TABLE IF NOT EXISTS {self._table} AS SELECT {columns}")


def _row(values: Any) -> _Row:
    run_id, pid, host, since, expires_at = values
    return _Row(
        Holder(run_id, int(pid), host, datetime.fromisoformat(since)),
        datetime.fromisoformat(expires_at) if expires_at else None,
    )
