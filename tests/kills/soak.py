"""Scenarios out of seeds, for as long as one likes: random accounts, settings, faults, changes and kills.

    python -m tests.kills.soak --minutes 10 --seed 1 [--destination duckdb|postgres|both] [--revision 2026-10-15]

The line of a failed scenario has the command that plays it alone. The last line counts what happened.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import forkserver
from pathlib import Path
from random import Random

from sources.klaviyo.catalog.revisions import REVISIONS
from tests.kills.scenario import HANGS_S, Tally, scenario
from tests.support.postgres import PostgresServer, running_server

#: File descriptor; `sys.stderr` may be a text in memory.
STDERR = 2
DESTINATIONS = ("duckdb", "postgres")


def choice(seed: int, destination: str, revision: str) -> tuple[str, str]:
    """Destination and revision of a scenario.

    Args:
        destination, revision: the only ones to choose, unless "both".
    """
    pick = Random(seed)
    chosen = pick.choice(DESTINATIONS), pick.choice([*REVISIONS])
    return (chosen[0] if destination == "both" else destination), (chosen[1] if revision == "both" else revision)


def play(
    seed: int, destination: str, revision: str, runs: int, server: PostgresServer | None, folder: Path, tally: Tally
) -> None:
    """Play one scenario and count it.

    Raises:
        Different: a table is not exact in the end.
    """
    with ExitStack() as stack:
        dsn = stack.enter_context(server.database()) if server is not None and destination == "postgres" else None
        played = stack.enter_context(scenario(seed, folder, destination, revision, dsn))
        try:
            played.play(runs)
        finally:
            tally.add(played.tally)


def summary(seeds: range, tally: Tally, differences: int, cpu_s: float) -> str:
    """The last line."""
    faults = tally.faults.total()
    kinds = ", ".join(f"{name} {number:,}" for name, number in tally.faults.most_common())
    mishaps = "".join(f", {name} {number:,}" for name, number in sorted(tally.mishaps.items()))
    minutes = cpu_s / 60
    return (
        f"soak: seed {seeds[0]}..{seeds[-1]}, {len(seeds)} scenarios, {tally.runs:,} runs, {faults:,} faults injected "
        f"({kinds}), {tally.kills:,} kills{mishaps}, {tally.changes:,} changes during runs, {differences} differences, "
        f"{minutes:.1f} CPU minutes: {faults / minutes:.0f} faults and {tally.kills / minutes:.0f} kills a CPU minute"
    )


def cpu_s(servers: list[int]) -> float:
    """Seconds of processor time of this process, of servers that it started, and of what those forked and saw end."""
    used = time.process_time()
    for process in servers:
        # Their own time and that of their children, user and system. Only Linux tells.
        told = Path(f"/proc/{process}/stat")
        if told.exists():
            used += sum(map(int, told.read_text().rpartition(")")[2].split()[11:15])) / os.sysconf("SC_CLK_TCK")
    return used


@contextmanager
def _postgres(wanted: bool) -> Iterator[PostgresServer | None]:
    if not wanted:
        yield None
        return
    with running_server(Path(tempfile.gettempdir()) / "klaviyo-soak-postgres.lock") as server:
        yield server


def main() -> None:
    """Play scenarios until the time is up; the first that fails ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenarios", type=int, default=10**9)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--destination", choices=[*DESTINATIONS, "both"], default="both")
    parser.add_argument("--revision", choices=[*REVISIONS, "both"], default="both")
    given = parser.parse_args()
    began_s, seed, tally, failed = time.monotonic(), given.seed, Tally(), False
    with _postgres(given.destination != "duckdb") as server:
        while not failed and time.monotonic() - began_s < given.minutes * 60 and seed < given.seed + given.scenarios:
            destination, revision = choice(seed, given.destination, given.revision)
            replay = (
                f"--seed {seed} --scenarios 1 --runs {given.runs} --destination {destination} --revision {revision}"
            )
            print(f"scenario {replay}", flush=True)
            folder = Path(tempfile.mkdtemp(prefix="klaviyo-soak-"))
            faulthandler.dump_traceback_later(4 * HANGS_S, exit=True, file=STDERR)
            try:
                play(seed, destination, revision, given.runs, server, folder, tally)
            except Exception:
                traceback.print_exc()
                print(f"FAILED: python -m tests.kills.soak {replay}; its folder is {folder}")
                failed = True
            else:
                shutil.rmtree(folder, ignore_errors=True)
            faulthandler.cancel_dump_traceback_later()
            seed += 1
        servers = [forkserver._forkserver._forkserver_pid, server.pid if server else None]  # type: ignore[attr-defined]
        used_s = cpu_s([process for process in servers if process])
    print(summary(range(given.seed, seed), tally, int(failed), used_s))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    # What a spoilt answer makes the source say is expected here.
    logging.getLogger("klaviyo").setLevel(logging.ERROR)
    main()
