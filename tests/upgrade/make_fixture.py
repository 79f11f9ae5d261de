"""Make `data/0.1.0.tar.xz`: what version 0.1.0 leaves behind, for `test_upgrade.py` to go on from.

To be run inside a checkout of 0.1.0 (commit b2ce131) with its own environment:

    PYTHONPATH=. .venv/bin/python <this file> <the archive to write>

The modules of 0.1.0 have other names than those of later versions, so they are imported by name and not checked.

The archive holds `manifest.json` and a folder for each case: `warehouse.duckdb` and the folder `pipelines` of dlt.

- `settled`: two runs of each of two pipelines, a day apart. `klaviyo` has all kinds of reports, `per_metric` has a table
  for each metric.
- `interrupted`: a run, and a day later one that dies while it loads. Its load package is pending, and the rows of one of
  its jobs are in the table already.

`manifest.json`, for each case: the present of the last run, the settings of each pipeline, its state for each report, the
account as far as reports go by it, and for each table its columns, number of rows and checksum. Of `interrupted` these
are as 0.1.0 itself leaves them when it finishes the package.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import duckdb

#: Stands for the folder of a case, which dlt writes into its state.
FOLDER = "{folder}"
SETTLED: dict[str, dict[str, Any]] = {
    "klaviyo": {
        "reports": [
            "events", "profiles", "subscriptions", "metrics", "lists", "list_profiles", "campaign_values",
            "metric_aggregates", "orders",
        ],
        "start_date": "2026-05-01",
        "campaign_values": {
            # Nearly all of a day's quota, 225 requests: the next run has less than it would like.
            "interval": "day", "start_date": "2025-11-24", "lookback_days": 10,
            "statistics": ["recipients", "open_rate", "conversion_value"],
        },
        "metric_aggregates": {"start_date": "2026-06-20", "metrics": ["Placed Order", "Opened *"]},
        "custom_reports": {
            "orders": {
                "endpoint": "events", "metric": "Placed Order", "filter": "greater-than(timestamp,1777000000)",
                "include": ["metric"], "columns": {"uuid": "attributes.uuid"},
            },
        },
    },
    "per_metric": {
        "reports": ["events"],
        "start_date": "2026-05-01",
        "events": {"metrics": ["Placed Order", "Opened*"], "split_tables": True},
    },
}  # fmt: skip
INTERRUPTED: dict[str, dict[str, Any]] = {
    "klaviyo": {
        "reports": ["events", "profiles", "subscriptions", "list_profiles"],
        "start_date": "2026-05-01",
        # Nothing is read twice: such events are appended, not merged.
        "events": {"lookback_days": 0},
    },
}
#: The rows of this job are in the table, and nothing on disk says so.
DEATH = ("job marked", True, 1, r"^events\..*parquet")
SIZES = {"profiles": 30, "events": 240, "lists": 3, "metrics": 4, "campaigns": 10, "flows": 2, "history_days": 60}
MARKETING = {"consent": "SUBSCRIBED", "consent_timestamp": "2026-06-01T00:00:00+00:00"}


def make(archive: Path) -> None:
    """Write the archive."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = {"version": "0.1.0", "cases": {"settled": settled(folder), "interrupted": interrupted(folder)}}
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
        for case in manifest["cases"]:
            move(folder / case, str(folder / case), FOLDER)
            shutil.rmtree(folder / case / "home", ignore_errors=True)
            # dlt's record of the last run is for people to read, and describes the machine.
            for trace in folder.glob(f"{case}/pipelines/*/trace.pickle"):
                trace.unlink()
        with tarfile.open(archive, "w:xz", preset=9) as packed:
            for path in sorted(folder.iterdir()):
                packed.add(path, path.name, filter=anonymous)


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member of an archive without its owner."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def settled(root: Path) -> dict[str, Any]:
    """Make the case `settled`."""
    journeys = import_module("tests.journeys")
    clock, account, folder = start(root / "settled")
    with journeys.home(folder):
        journey = journeys.Journey(folder, account, clock)
        for pipeline, flags in SETTLED.items():
            journey.load(pipeline=pipeline, **flags)
        a_day_passes(account, clock)
        for pipeline, flags in SETTLED.items():
            journey.load(pipeline=pipeline, **flags)
        journey.close()
        return told(folder, account, clock, SETTLED)


def interrupted(root: Path) -> dict[str, Any]:
    """Make the case `interrupted`."""
    journeys, recovery = import_module("tests.journeys"), import_module("pipelines.klaviyo_recovery")
    clock, account, folder = start(root / "interrupted")
    flags = INTERRUPTED["klaviyo"]
    with journeys.home(folder):
        journey = journeys.Journey(folder, account, clock)
        journey.load(**flags)
        a_day_passes(account, clock)
        process = multiprocessing.get_context("spawn").Process(
            target=run_and_die, args=(folder, journey.server.url, clock.now(), flags)
        )
        process.start()
        process.join()
        journey.close()
    assert process.exitcode == import_module("tests.killed").DIED
    with tempfile.TemporaryDirectory() as name:
        finished = Path(name)
        shutil.copytree(folder, finished, dirs_exist_ok=True)
        move(finished, str(folder), str(finished))
        with journeys.home(finished):
            opening = import_module("pipelines.klaviyo_open")
            pipeline = opening.open_pipeline("klaviyo", pipelines_dir=str(finished / "pipelines"))
            assert pipeline.has_pending_data
            recovery.recover(pipeline)
            return told(finished, account, clock, INTERRUPTED)


def start(folder: Path) -> tuple[Any, Any, Path]:
    """A clock, an account and an empty folder."""
    folder.mkdir()
    clock = import_module("tests.test_analytics_journeys").FastClock()
    account = import_module("tests.journeys").small_account(clock, seed=5, **SIZES)
    for record in [*account.records("profile")][:4]:
        change(account, record["id"], {"email": {"marketing": MARKETING}, "sms": {"marketing": MARKETING}})
    # What changed is visible to a run that begins now.
    clock.forward(minutes=5)
    return clock, account, folder


def a_day_passes(account: Any, clock: Any) -> None:
    """New events, changed profiles, a subscription less, and somebody leaves a list, somebody joins it."""
    clock.forward(days=1)
    metrics = [record["id"] for record in account.records("metric")]
    for hours in range(24):
        given = {"attributes": {"datetime": clock.now() - timedelta(hours=hours, minutes=10)}}
        account.add("event", {**given, "relationships": {"metric": metrics[hours % len(metrics)]}})
    profiles = [record["id"] for record in account.records("profile")]
    change(account, profiles[0], {"sms": {"marketing": MARKETING}})
    for profile in profiles[5:9]:
        account.update("profile", profile, {"title": "changed"})
    large = max((record["id"] for record in account.records("list")), key=lambda one: len(account.members("list", one)))
    members = account.members("list", large)
    account.leave("list", large, next(iter(members)))
    account.join("list", large, next(profile for profile in profiles if profile not in members))
    clock.forward(minutes=5)


def change(account: Any, profile: str, subscriptions: Mapping[str, Any]) -> None:
    """What a profile has consented to becomes this, now."""
    record = account.record("profile", profile)
    record["attributes"]["subscriptions"] = subscriptions
    account.put("profile", record)
    account.update("profile", profile, {})


def run_and_die(folder: Path, url: str, moment: Any, flags: dict[str, Any]) -> None:
    """A run that ends in the middle of its load, in a process of its own."""
    journeys, killed = import_module("tests.journeys"), import_module("tests.killed")
    opening, loop = import_module("pipelines.klaviyo_open"), import_module("pipelines.klaviyo_run")
    killed.die(*DEATH)
    clock = journeys.FakeClock(moment)
    with journeys.home(folder):
        given = {"api_key": journeys.KEY, "base_url": url, **flags}
        settings = opening.load_settings("klaviyo", given, clock=clock)
        pipeline = opening.open_pipeline("klaviyo", pipelines_dir=str(folder / "pipelines"))
        loop.run(pipeline, settings, clock=clock)


def move(folder: Path, before: str, after: str) -> None:
    """Replace the folder of a case in what dlt has written about it.

    dlt remembers the folder that a pipeline first ran in (`initial_cwd` in its `state.json`, and a copy in each load
    package), and looks for the DuckDB file there from then on. Observed with dlt 1.31.0: after both were moved, a run fails
    with the old path of the file; after both were copied, it loads into the old file. Without the pipeline's folder it takes
    the folder that it runs in.
    """
    for file in folder.rglob("pipelines/**/*.json"):
        file.write_text(file.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")


def told(folder: Path, account: Any, clock: Any, pipelines: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest says of a case."""
    opening = import_module("pipelines.klaviyo_open")
    states = {}
    for name in pipelines:
        state = opening.open_pipeline(name, pipelines_dir=str(folder / "pipelines")).state
        states[name] = state["sources"]["klaviyo"]["resources"]
    return {
        "now": clock.now().isoformat(),
        "settings": dict(pipelines),
        "states": states,
        "account": {
            "timezone": next(account.records("account"))["attributes"]["timezone"],
            "metrics": {one["id"]: one["attributes"]["name"] for one in account.records("metric")},
            "lists": {
                one["id"]: {
                    "name": one["attributes"]["name"],
                    "members": {who: at.isoformat() for who, at in account.members("list", one["id"]).items()},
                }
                for one in account.records("list")
            },
        },
        "tables": tables(folder),
    }


def tables(folder: Path) -> dict[str, dict[str, Any]]:
    """`<dataset>.<table>` -> columns, number of rows and checksum of every table in `warehouse.duckdb` but dlt's own.

    The checksum is SHA-256 of the rows as JSON, a row a list of texts by the order of the columns' names, sorted.
    """
    found = {}
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        columns: dict[str, dict[str, str]] = {}
        for dataset, table, column, kind in connection.execute(
            "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
            "WHERE NOT starts_with(table_name, '_dlt') AND NOT ends_with(table_schema, '_staging') ORDER BY ALL"
        ).fetchall():
            columns.setdefault(f"{dataset}.{table}", {})[column] = kind
        for name, kinds in columns.items():
            texts = ", ".join(f'"{column}"::VARCHAR' for column in kinds)
            rows = sorted(json.dumps(row) for row in connection.execute(f"SELECT {texts} FROM {name}").fetchall())
            digest = sha256("\n".join(rows).encode()).hexdigest()
            found[name] = {"columns": kinds, "rows": len(rows), "sha256": digest}
    return found


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve())
