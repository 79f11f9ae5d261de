"""One account, and runs that meet faults, changes, kills and lost folders until a last run without any."""

from __future__ import annotations

import multiprocessing.process
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sandbox import Account
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.extract.tuning import Tuning
from sources.klaviyo.load.runner import run
from sources.klaviyo.load.turn import Turn
from tests.kills import mixture
from tests.kills.changes import Changes
from tests.support import truth
from tests.support.journeys import NOW, FakeClock, Journey, doubled, held_open, home
from tests.support.killed import DIED, FAILED, PROCESSES, STEPS, Death, work
from tests.support.postgres_journey import PostgresJourney

#: A run that takes longer than this hangs.
HANGS_S = 300.0
READS = {"duckdb": truth.DUCKDB_READS, "postgres": truth.POSTGRES_READS}
CREDENTIALS = "DESTINATION__POSTGRES__CREDENTIALS"
BEGINNING, END_OF_TIME = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
#: Reports that most scenarios have, since most can go wrong with them.
COMMON = ("events", "profiles", "list_profiles", "metrics", "tags")


class QuickClock(FakeClock):
    """A calendar that is ahead of the account's, and a stopwatch that runs 200 times as fast as time."""

    speed = 200
    ahead = timedelta(0)

    def now(self) -> datetime:
        return self.moment + self.ahead

    def wait(self, seconds: float, stop: threading.Event) -> None:
        # At least a moment: whoever waits in a loop must not use up the processor.
        stop.wait(max(0.005, seconds / self.speed))


@dataclass
class Tally:
    """What happened, counted.

    Attributes:
        faults: name -> answers of the sandbox that were spoilt.
        mishaps: the same for what happened to clocks and folders.
        kills: processes that were alive and killed.
        changes: of the account, while a run read it.
    """

    runs: int = 0
    kills: int = 0
    changes: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    mishaps: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Count what is counted there, too."""
        self.runs += other.runs
        self.kills += other.kills
        self.changes += other.changes
        self.faults += other.faults
        self.mishaps += other.mishaps


class Different(AssertionError):
    """A table is not what it has to be, or a run ended as it may not."""


@contextmanager
def scenario(seed: int, folder: Path, destination: str, revision: str, dsn: str | None) -> Iterator[Scenario]:
    """A scenario in a folder of its own, to be worked with in this context.

    Args:
        dsn: of an empty Postgres database, if that is the destination.
    """
    with home(folder), pytest.MonkeyPatch.context() as patch:
        if dsn is not None:
            patch.setenv(CREDENTIALS, dsn)
        made = Scenario(seed, folder, destination, revision, dsn)
        try:
            yield made
        finally:
            made.journey.close()


class Scenario:
    """One account and what happens to it, out of a seed.

    Attributes:
        lookback: the same for all runs, since late records are only due within it.
        read_whole: reports with a date filter that a run read from the beginning of the account.
    """

    def __init__(self, seed: int, folder: Path, destination: str, revision: str, dsn: str | None) -> None:
        pick = self.random = Random(seed)
        self.tally = Tally()
        self.seed, self.folder, self.destination, self.revision = seed, folder, destination, revision
        self.clock = QuickClock()
        account = Account(
            seed=seed,
            now=lambda: self.clock.moment,
            profiles=pick.choice([1, 40, 150]),
            events=pick.choice([0, 50, 300, 900]),
            lists=pick.choice([0, 1, 4]),
            segments=pick.choice([0, 2]),
            campaigns=pick.choice([0, 3, 8]),
            flows=pick.choice([0, 4]),
            templates=pick.choice([0, 11, 25]),
            metrics=pick.choice([1, 5]),
            tags=pick.choice([0, 3]),
            history_days=pick.choice([2, 30, 60]),
            shape=pick.choice(["bursty", "even"]),
        )
        # Small pages: many requests, and as many places for a fault, to a small account.
        sandbox = {"page_rows": pick.choice([3, 10, 40])}
        self.journey = (
            Journey(folder, account, self.clock, **sandbox)
            if dsn is None
            else PostgresJourney(dsn, folder, account, self.clock, **sandbox)
        )
        self.environment = {} if dsn is None else {CREDENTIALS: dsn}
        self.lookback = timedelta(hours=pick.choice([0, 1, 24, 72]))
        self.start = (NOW - timedelta(days=pick.choice([1, 20, 40]))).replace(minute=pick.randrange(60), microsecond=0)
        known = truth.by_default(revision)
        common = pick.sample(COMMON, k=pick.randrange(1, len(COMMON)))
        others = pick.sample(known, k=pick.choice([0, 1, 3, len(known)]))
        self.reports = [name for name in known if name in {*common, *others}]
        # Small packages, for kills to hit in many places.
        self.tuning = Tuning(
            table_rows=pick.choice([1, 20, 20_000]),
            unloaded_bytes=pick.choice([50_000, 128 << 20]),
            pages_worth_sharing=pick.choice([2, 8]),
            worth_loading_rows=pick.choice([40, 500, 100_000]),
            most_empty_pages=10,
            # What a killed run leaves in a database ends soon.
            lease_s=2.0,
        )
        self.changes = Changes(Random(seed), account, self.clock, self.lookback, self.start)
        self.read_whole: set[str] = set()
        self._longest_s = 1.5

    @property
    def account(self) -> Account:
        return self.journey.account

    def play(self, runs: int) -> None:
        """So many runs, and a last one without faults after which every table has to be exact.

        Raises:
            Different: it is not.
        """
        for _ in range(runs):
            self._run()
            self._let_time_pass()
            for name, (chance, happen) in MISHAPS.items():
                if self.random.random() < chance:
                    happen(self)
                    self.tally.mishaps[name] += 1
        self.finish()
        if found := self.differences():
            raise Different("\n".join(found))

    def finish(self) -> None:
        """Load everything, undisturbed."""
        self.tally.runs += 1
        self.clock.forward(seconds=61)
        self._load(self._flags(), self.tuning, may_fail=False)

    def differences(self) -> list[str]:
        """What is not as it has to be in the tables, in words, after `finish`."""
        end = self.clock.moment - timedelta(seconds=60)
        return [f"{report}: {words}" for report in self.reports for words in self._compared(report, self.start, end)]

    def _compared(self, report: str, start: datetime, end: datetime) -> list[str]:
        where = "_dlt_valid_to IS NULL" if report in truth.MEMBERS else "true"
        table, reads = f"klaviyo.{report} WHERE {where}", READS[self.destination]
        found = truth.read(self.journey.sql, table, report, reads)
        wanted = truth.expected(self.account, report, start, end, revision=self.revision)
        due = {truth.place(row) for row in wanted}
        if report in self.read_whole:
            # Also of the time before and after, as far as such a run came.
            others = truth.expected(self.account, report, BEGINNING, END_OF_TIME, revision=self.revision)
            there = {truth.place(row) for row in found}
            wanted = [row for row in others if truth.place(row) in due | there]
            due = {truth.place(row) for row in wanted}
        twice = doubled([str(truth.place(row)) for row in found])
        # Nothing tells of deletions, so tables that are not read as a whole keep the rows.
        gone = self.changes.deleted if reports(self.revision)[report].is_windowed else set()
        found = [row for row in found if truth.place(row) in due or row.get("id") not in gone]
        words = truth.differences(found, wanted)
        if twice:
            words.append(f"there twice: {[*twice][:3]}")
        if report in truth.MEMBERS and (overlaps := self._overlaps(report)):
            words.append(f"{overlaps} periods of a membership overlap")
        return words

    def _overlaps(self, report: str) -> int:
        """How many periods of a membership begin before the one before is over."""
        group, load = f"{truth.MEMBERS[report]}_id", "_dlt_valid_from, _dlt_valid_to"
        rows = self.journey.sql(f"SELECT {group}, profile_id, {load} FROM klaviyo.{report} ORDER BY 1, 2, 3, 4")
        pairs = [(one, then) for one, then in pairwise(rows) if one[:2] == then[:2]]
        return sum(one[3] is None or one[3] > then[2] or one[2] == then[2] for one, then in pairs)

    # --- runs

    def _flags(self) -> dict[str, Any]:
        return {
            "reports": self.reports,
            "revision": self.revision,
            "start_date": self.start,
            "lookback_days": self.lookback / timedelta(days=1),
            # By the stopwatch of the clock, which runs on while others use the processor.
            "request_timeout_s": 10 * QuickClock.speed,
        }

    def _random_flags(self) -> dict[str, Any]:
        pick = self.random
        if pick.random() < 0.2:
            self.start -= timedelta(days=pick.choice([1, 13]))
        flags = self._flags() | {"split_by": pick.choice(["auto", "auto", "none", "day", "week", "month"])}
        if pick.random() < 0.5:
            flags["reports"] = pick.sample(self.reports, k=pick.randrange(1, len(self.reports) + 1))
        if pick.random() < 0.15:
            flags["end_date"] = self.start + (self.clock.moment - self.start) * pick.random()
        if pick.random() < 0.1:
            flags["reread"] = True
        if pick.random() < 0.1:
            flags["extract"] = "all"
            self.read_whole |= {name for name in flags["reports"] if reports(self.revision)[name].is_windowed}
        return flags

    def _run(self) -> None:
        pick, server = self.random, self.journey.server
        flags = self._random_flags()
        server.faults.rage(mixture.storm(pick, pick.getrandbits(32)))
        lasting = mixture.lasting(pick)
        for fault in lasting:
            server.faults.add(**fault)
        jumps = pick.random() < 0.15
        if jumps:
            # A start in the future would be refused.
            back = self.clock.moment - self.start > timedelta(hours=97)
            self.clock.ahead = timedelta(hours=-96 if back and pick.random() < 0.5 else 96)
            self.tally.mishaps["clock 96 hours off"] += 1
        changes = pick.choice([0, 0, 4, 20])
        before = self.changes.made
        if changes:
            server.before_answer = lambda: self.changes.during(changes)
        tuning = replace(self.tuning, package_rows=pick.choice([60, 400, 500_000]))
        self.tally.runs += 1
        self.changes.mark = self.clock.moment
        # A list that is deleted while its members are read fails them.
        may_fail = bool(lasting) or jumps or bool(changes)
        if pick.random() < 0.7:
            self._run_and_kill(flags, tuning, may_fail)
        else:
            self._load(flags, tuning, may_fail, stop_after_s=pick.uniform(0, 1) if pick.random() < 0.15 else None)
        server.before_answer = None
        self.clock.ahead = timedelta(0)
        self.tally.faults += server.faults.served
        self.tally.changes += self.changes.made - before
        server.faults.served.clear()
        server.faults.clear()
        if self.changes.errors:
            raise self.changes.errors[0]

    def _load(self, flags: dict[str, Any], tuning: Tuning, may_fail: bool, stop_after_s: float | None = None) -> None:
        """A run in this process."""
        journey, stop = self.journey, threading.Event()
        stopper = threading.Timer(stop_after_s or 0, stop.set)
        if stop_after_s is not None:
            stopper.start()
        settings = journey.settings(*flags["reports"], **{name: flags[name] for name in flags if name != "reports"})
        with Turn("klaviyo", str(journey.pipelines_dir), wait=True) as turn:
            loading = journey.pipeline(turn=turn)
            with held_open(loading):
                outcomes = run(loading, settings, clock=self.clock, stop=stop, tuning=tuning, turn=turn)
        stopper.cancel()
        failed = {one.report: one.error for one in outcomes if one.error or not one.loaded}
        if failed and not may_fail and stop_after_s is None:
            raise Different(f"reports failed that should not: {failed}")

    def _run_and_kill(self, flags: dict[str, Any], tuning: Tuning, may_fail: bool) -> None:
        """A run in a process of its own that is killed at a random moment, or at a step of a load package."""
        pick = self.random
        death: Death | None = None
        if pick.random() < 0.4:
            death = (pick.choice([*STEPS]), pick.random() < 0.5, pick.choice([1, 1, 2, 3]))
        began = PROCESSES.Event()
        process = self._start(flags, tuning, death, began)
        while not began.wait(0.1) and process.is_alive():
            pass
        began_s = time.monotonic()
        process.join(HANGS_S if death else pick.uniform(0.05, self._longest_s))
        if process.is_alive():
            process.kill()
            process.join()
            if death:
                raise Different(f"a run did not end within {HANGS_S:.0f} s")
        else:
            # It was through before its moment came, or never took the step.
            self._longest_s = 0.7 * self._longest_s + 0.3 * (time.monotonic() - began_s)
        if process.exitcode == DIED:
            self.tally.kills += 1
        elif process.exitcode != 0 and not (may_fail and process.exitcode == FAILED):
            raise Different(f"a run ended with exit code {process.exitcode}")

    def _start(
        self,
        flags: dict[str, Any],
        tuning: Tuning,
        death: Death | None = None,
        began: Any = None,
        *,
        waits: bool = True,
    ) -> multiprocessing.process.BaseProcess:
        given = {
            "folder": self.folder, "url": self.journey.server.url, "clock": self.clock, "flags": flags, "death": death,
            "tuning": tuning, "destination": self.destination, "environment": self.environment, "began": began, "waits": waits,
        }  # fmt: skip
        process = PROCESSES.Process(target=work, kwargs=given)
        process.start()
        return process

    def _let_time_pass(self) -> None:
        pick = self.random
        self.clock.forward(minutes=pick.choice([1, 7, 200, 2000]))
        self.changes.several(8)
        self.clock.forward(seconds=pick.choice([0, 30, 61, 3600]))

    # --- what happens between runs

    def wipe_folder(self) -> None:
        """Throw the local folder away, as schedulers do."""
        shutil.rmtree(self.journey.pipelines_dir, ignore_errors=True)

    def damage_files(self) -> None:
        """Spoil some of dlt's local files, as a full disk or a power cut does."""
        pick = self.random
        files = sorted(path for path in self.journey.pipelines_dir.rglob("*") if path.is_file())
        for path in pick.sample(files, k=min(len(files), pick.choice([1, 3]))):
            whole = path.read_bytes()
            path.write_bytes(pick.choice([b"", b"\0" * len(whole), whole[: len(whole) // 2]]))

    def run_two_at_once(self) -> None:
        """Two runs of the same pipeline, of which the second refuses or waits."""
        waits = self.random.random() < 0.5
        processes = [self._start(self._flags(), self.tuning, waits=waits) for _ in range(2)]
        for process in processes:
            process.join(HANGS_S)
            if process.is_alive():
                process.kill()
                raise Different(f"one of two runs at once did not end within {HANGS_S:.0f} s")


#: Name -> how likely it happens after a run, and what.
MISHAPS: dict[str, tuple[float, Callable[[Scenario], None]]] = {
    "folder wiped": (0.3, Scenario.wipe_folder),
    "files damaged": (0.1, Scenario.damage_files),
    "two runs at once": (0.1, Scenario.run_two_at_once),
}
