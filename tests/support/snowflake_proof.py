"""What has to hold for a Snowflake warehouse: the stand-in in every test run, and a real account on request.

Everything is asked in Snowflake's SQL through dlt's client.
"""

from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime, timedelta
from typing import Any

import dlt

from sandbox import Account
from sources.klaviyo.load.runner import run as run_loop
from tests.support import truth
from tests.support.journeys import FakeClock, Journey, small_account
from tests.support.killed import DIED, Death

START = datetime(2026, 4, 1, tzinfo=UTC)
LAG = timedelta(seconds=60)
#: Merged, replaced, and kept as history.
REPORTS = ("events", "profiles", "tags", "lists", "list_profiles")
FLAGS: dict[str, Any] = {"start_date": "2026-04-01", "reports": list(REPORTS), "lookback_days": 3, "split_by": "week"}
#: How a run dies: before or after the nth time that dlt takes a step (`tests/support/killed.py`).
DEATHS: list[Death] = [
    ("job started", False, 1, r"^events\..*parquet"),
    ("job marked", True, 1, r"^tags\..*parquet"),
    ("job marked", True, 1, r"^list_profiles\..*parquet"),
    ("job completed", True, 1, r"^events\..*sql"),
    ("load recorded", False, 1),
]
READS = {"timestamp": "DATE_PART(EPOCH_MICROSECOND, {})", "json": "TO_JSON({})"}


def config(dataset: str) -> str:
    """dlt's settings for a pipeline into Snowflake."""
    return f'[pipelines.klaviyo]\ndestination_type = "snowflake"\ndataset_name = "{dataset}"\n'


def made_up(clock: FakeClock) -> Account:
    """An account with JSON of every kind."""
    account = small_account(clock, seed=81, events=120, profiles=30, lists=2, metrics=3, tags=4)
    properties = {
        "Items": [{"SKU": "a-1", "price": 19.90, "tags": []}, {"SKU": None}],
        "large": 12345678901234567890123456789012345678,
        "fine": 0.1234567890123456,
        "small": 1.5e-07,
        "text": 'Zoë "Z" \\ \n',
        "empty": {},
    }
    for hours in range(3):
        at = clock.now() - timedelta(hours=hours + 2)
        account.add("event", {"attributes": {"datetime": at, "event_properties": properties}})
    return account


class Warehouse:
    """The tables of a journey's pipeline, in Snowflake's SQL."""

    def __init__(self, journey: Journey) -> None:
        self._journey = journey

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query. Upper case throughout: dlt's names are, and stay so in quotes."""
        with self._journey.pipeline().sql_client() as client:
            return [tuple(row) for row in client.execute_sql(query.upper()) or []]

    def rows(self, report: str) -> list[truth.Row]:
        """The rows of a report that are valid now, as `truth.expected` has them."""
        where = "_dlt_valid_to IS NULL" if report in truth.MEMBERS else "TRUE"
        return truth.read(self.ask, f"{report} WHERE {where}", report, READS)

    def exact(self) -> None:
        """Every row of the account is there, once, as it is; JSON is objects and arrays."""
        journey = self._journey
        end = journey.clock.now() - LAG
        for report in REPORTS:
            wanted = truth.expected(journey.account, report, START, end)
            assert wanted, report
            assert truth.differences(self.rows(report), wanted) == [], report

    def objects(self) -> None:
        """`event_properties:Items` answers."""
        journey = self._journey
        events = truth.expected(journey.account, "events", START, journey.clock.now() - LAG)
        with_items = [row["id"] for row in events if "Items" in (row["event_properties"] or {})]
        assert len(with_items) > 3
        with journey.pipeline().sql_client() as client:
            found = client.execute_sql("SELECT ID FROM EVENTS WHERE EVENT_PROPERTIES:Items IS NOT NULL ORDER BY ID")
        assert [row[0] for row in found or []] == sorted(with_items)


def change_something(account: Account, clock: FakeClock, name: str) -> None:
    """New events, a changed profile, a new tag, and somebody else on a list."""
    for seconds in range(30):
        at = clock.now() - timedelta(seconds=seconds)
        account.add("event", {"attributes": {"datetime": at, "event_properties": {"Items": [seconds], "name": name}}})
    account.update("profile", next(iter(account.records("profile")))["id"], {"properties": {"since": [name]}})
    account.add("tag", {"attributes": {"name": name}})
    large = next(r["id"] for r in account.records("list") if account.members("list", r["id"]))
    members = account.members("list", large)
    account.join("list", large, next(r["id"] for r in account.records("profile") if r["id"] not in members))
    account.leave("list", large, next(iter(members)))
    clock.forward(minutes=5)


def run(journey: Journey, pipeline: dlt.Pipeline, *reports: str, **flags: Any) -> None:
    """A run of some reports in a pipeline that was opened already, which has to succeed."""
    outcomes = run_loop(pipeline, journey.settings(*reports, **flags), clock=journey.clock)
    assert [outcome.error for outcome in outcomes if outcome.error] == []


def prove(journey: Journey, work: Any) -> None:
    """A full run, a second one, and for each way to die one that dies and one that goes on; all values each time.

    Args:
        work: `tests.support.killed.work` for this warehouse, to be run in a process of its own.
    """
    warehouse = Warehouse(journey)
    journey.load(**FLAGS)
    warehouse.exact()
    warehouse.objects()
    before = {report: warehouse.rows(report) for report in REPORTS}
    # Another machine: what is loaded is known from the warehouse alone.
    journey.forget()
    journey.load(**FLAGS)
    assert {report: warehouse.rows(report) for report in REPORTS} == before
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.support.killed"])
    for number, death in enumerate(DEATHS):
        change_something(journey.account, journey.clock, f"before death {number}")
        process = processes.Process(target=work, args=(journey.folder, journey.server.url, journey.clock, FLAGS, death))
        process.start()
        process.join()
        assert process.exitcode == DIED, death
        journey.load(**FLAGS)
        warehouse.exact()
    warehouse.objects()
    (closed,) = warehouse.ask("SELECT count(*) FROM list_profiles WHERE _dlt_valid_to IS NOT NULL")[0]
    assert closed == len(DEATHS)
