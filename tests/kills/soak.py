"""Random accounts, settings, changes, faults, stops and lost folders against the truth, for as long as one likes.

    python -m tests.kills.soak --minutes 10 --seed 1

Not part of the suite. Each scenario has a seed of its own, printed first, and can be run alone: `--seed 17 --scenarios 1`.
"""

from __future__ import annotations

import argparse
import faulthandler
import shutil
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from sandbox import Account
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.extract.tuning import Tuning
from sources.klaviyo.load import runner as klaviyo_run
from sources.klaviyo.load.runner import Outcome
from tests.support import truth
from tests.support.journeys import NOW, FakeClock, Journey, doubled, home

LAG = timedelta(seconds=60)
TABLE = reports(DEFAULT_REVISION)
PATHS = ["/api/events", "/api/profiles", "/api/lists", "/api/lists/{id}/profiles", "/api/segments", "/api/flows",
         "/api/segments/{id}/profiles", "/api/campaigns", "/api/templates", "/api/metrics", "/api/tags",
         "/api/campaign-recipient-estimations/{id}"]  # fmt: skip
#: A run that takes longer than this hangs.
_HANGS_S = 180.0


@dataclass
class Scenario:
    """One account and what happens to it.

    Attributes:
        marks: report -> how far any run has read.
        lookback: the same for all runs, since late records are only due within it.
    """

    seed: int
    folder: Path
    random: Random = field(init=False)
    clock: FakeClock = field(default_factory=FakeClock)
    marks: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pick = self.random = Random(self.seed)
        self.account = Account(
            seed=self.seed,
            now=self.clock.now,
            profiles=pick.choice([1, 40, 300, 1500]),
            events=pick.choice([0, 50, 999, 3000, 7000]),
            lists=pick.choice([0, 1, 4, 12]),
            segments=pick.choice([0, 2, 11]),
            campaigns=pick.choice([0, 3, 25]),
            flows=pick.choice([0, 6]),
            templates=pick.choice([0, 11, 25]),
            metrics=pick.choice([1, 5]),
            tags=pick.choice([0, 3]),
            history_days=pick.choice([2, 30, 90]),
            shape=pick.choice(["bursty", "even"]),
        )
        self.journey = Journey(self.folder, self.account, self.clock, latency_s=pick.choice([0, 0, 0.002, 0.01]))
        self.lookback = timedelta(hours=pick.choice([0, 1, 24, 72]))
        self.start = (NOW - timedelta(days=pick.choice([1, 20, 60]))).replace(minute=pick.randrange(60), microsecond=0)
        self.tuning = Tuning(
            table_rows=pick.choice([1, 50, 20_000]),
            unloaded_bytes=pick.choice([50_000, 128 << 20]),
            pages_worth_sharing=pick.choice([2, 8]),
            worth_loading_rows=pick.choice([100, 1000, 100_000]),
        )

    def play(self, runs: int) -> None:
        """So many runs with changes in between, and a last one over everything without faults."""
        for number in range(runs):
            self._run(last=number == runs - 1)
            self.clock.forward(minutes=self.random.choice([1, 7, 200, 2000]))
            for _ in range(self.random.randrange(12)):
                self._change()
            self.clock.forward(seconds=self.random.choice([0, 30, 61, 3600]))
            if self.random.random() < 0.3:
                self.journey.forget()
        self.journey.close()

    def _settings(self, last: bool) -> dict[str, Any]:
        pick = self.random
        if pick.random() < 0.2:
            self.start -= timedelta(days=pick.choice([1, 13]))
        flags: dict[str, Any] = {
            "start_date": self.start,
            "lookback_days": self.lookback / timedelta(days=1),
            "split_by": pick.choice(["auto", "auto", "none", "day", "week", "month"]),
            "request_timeout_s": 20,
        }
        if not last and pick.random() < 0.5:
            flags["reports"] = pick.sample(truth.REPORTS, k=pick.randrange(1, 6))
        if not last and pick.random() < 0.15:
            flags["end_date"] = self.start + (self.clock.now() - self.start) * pick.random()
        if pick.random() < 0.1:
            flags["reread"] = True
        if pick.random() < 0.1:
            flags["extract"] = "all"
        return flags

    def _run(self, last: bool) -> None:
        pick, journey = self.random, self.journey
        flags = self._settings(last)
        settings = journey.settings(*flags.pop("reports", ()), **flags)
        for_good = set()
        for _ in range(0 if last else pick.choice([0, 0, 2, 6])):
            path = pick.choice(PATHS)
            fault: dict[str, Any] = pick.choice(
                [{"kind": "status", "status": 503}, {"kind": "drop"}, {"kind": "truncate"}, {"kind": "status", "status": 429,
                 "retry_after_s": 1}, {"kind": "body", "body": b"<html>"}]
            )  # fmt: skip
            journey.server.faults.add(path=path, after=pick.randrange(6), times=pick.choice([1, 2]), **fault)
            if pick.random() < 0.3:
                for_good.add(path)
                status = pick.choice([400, 403, 500])
                journey.server.faults.add(path=path, kind="status", status=status, after=pick.randrange(5), times=None)
        stop = threading.Event()
        stopper = threading.Timer(pick.uniform(0, 1.0), stop.set)
        stops = not last and pick.random() < 0.15
        if stops:
            stopper.start()
        rows = pick.choice([400, 2000, 500_000])
        print(
            f"   run of {len(settings.reports)} reports {flags} faults {sorted(for_good)} stop {stops} package {rows}"
        )
        faulthandler.dump_traceback_later(_HANGS_S, exit=True)
        began_s = time.monotonic()
        outcomes = klaviyo_run.run(
            journey.pipeline(), settings, clock=self.clock, stop=stop, tuning=replace(self.tuning, package_rows=rows),
        )  # fmt: skip
        stopper.cancel()
        faulthandler.cancel_dump_traceback_later()
        journey.server.faults.clear()
        print(f"      {time.monotonic() - began_s:.1f} s, {sum(outcome.rows for outcome in outcomes)} rows, "
              f"{sum(outcome.requests for outcome in outcomes)} requests, "
              f"failed {[outcome.report for outcome in outcomes if outcome.error]}")  # fmt: skip
        for outcome in outcomes:
            self._check(outcome, settings.reports[outcome.report].end, bool(for_good) or stops)

    def _check(self, outcome: Outcome, end: datetime, may_fail: bool) -> None:
        report, account = outcome.report, self.account
        # A run that failed may have loaded what lies beyond the gap: late records are due behind its end too.
        self.marks[report] = max(end, self.marks.get(report, end))
        if outcome.error and not may_fail:
            raise AssertionError(f"{report}: {outcome.error!r}")
        if report not in self.journey.tables():
            return
        where = "_dlt_valid_to IS NULL" if report in truth.MEMBERS else "true"
        found = truth.loaded(self.folder, report, where)
        names = [str(truth._place(row)) for row in found]
        assert not doubled(names), (report, doubled(names))
        if not outcome.loaded or outcome.error:
            return
        wanted = {str(truth._place(row)): row for row in truth.expected(account, report, self.start, end)}
        of_them = [row for row in found if str(truth._place(row)) in wanted]
        assert truth.differences(of_them, list(wanted.values())) == [], (report, truth.differences(
            of_them, list(wanted.values())))  # fmt: skip
        if report in truth.MEMBERS or not TABLE[report].is_windowed:
            assert len(found) == len(wanted), (report, len(found), len(wanted))

    def _moment(self, report: str) -> datetime:
        """When a record may appear so that a run has to bring it: now, later, or late within the lookback."""
        pick, now = self.random, self.clock.now()
        mark = self.marks.get(report)
        late = (mark or now) - self.lookback
        choice = pick.choice(["now", "future", "late", "edge", "midnight"])
        if choice == "future":
            return now + timedelta(minutes=pick.choice([1, 300, 100_000]))
        if choice == "late":
            return max(late, self.start) + (now - late) * pick.random() ** 2
        if choice == "edge":
            return late
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight if choice == "midnight" and midnight >= late else now

    def _change(self) -> None:
        pick, account = self.random, self.account
        kind = pick.choice(["event", "event", "events", "profile", "profile", "join", "leave", "list", "template", "flow",
                            "campaign", "tag", "segment", "untag", "unlist"])  # fmt: skip
        known = {name: [record["id"] for record in account.records(name)]
                 for name in ("profile", "list", "segment", "template", "flow", "campaign", "tag")}  # fmt: skip
        group = pick.choice(["list", "segment"])
        if kind == "event":
            account.add("event", {"attributes": {"datetime": self._moment("events")}})
        elif kind == "events":
            moment = self._moment("events")
            for _ in range(pick.choice([3, 1200])):
                account.add("event", {"attributes": {"datetime": moment}})
        elif kind == "profile" and pick.random() < 0.5:
            account.add("profile", {"attributes": {"updated": min(self._moment("profiles"), self.clock.now())}})
        elif kind in ("join", "leave") and known[group] and known["profile"]:
            identity, profile = pick.choice(known[group]), pick.choice(known["profile"])
            account.join(group, identity, profile) if kind == "join" else account.leave(group, identity, profile)
        elif kind == "tag":
            account.add("tag", {"attributes": {"name": f"tag {pick.random()}"}})
        elif kind == "untag" and known["tag"]:
            account.remove("tag", pick.choice(known["tag"]))
        elif kind == "unlist" and known["list"] and pick.random() < 0.3:
            account.remove("list", pick.choice(known["list"]))
        elif known.get(kind):
            changes = {"first_name": "x"} if kind == "profile" else {"name": f"renamed {pick.random()}"}
            account.update(kind, pick.choice(known[kind]), changes)


def main() -> None:
    """Play scenarios until the time is up; the first that fails ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenarios", type=int, default=10**9)
    parser.add_argument("--runs", type=int, default=6)
    given = parser.parse_args()
    began_s, seed = time.monotonic(), given.seed
    while time.monotonic() - began_s < given.minutes * 60 and seed < given.seed + given.scenarios:
        folder = Path(tempfile.mkdtemp(prefix="klaviyo-soak-"))
        print(f"scenario {seed}", flush=True)
        try:
            with home(folder):
                Scenario(seed, folder).play(given.runs)
        except BaseException:
            traceback.print_exc()
            print(f"scenario {seed} failed; its folder is {folder}")
            sys.exit(1)
        shutil.rmtree(folder, ignore_errors=True)
        seed += 1
    print(f"{seed - given.seed} scenarios")


if __name__ == "__main__":
    main()
