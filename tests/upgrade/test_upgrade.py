"""An upgrade: this version goes on from what an earlier one left behind, and reads and writes nothing but what is new.

`data/<version>.tar.xz` is made by that version; see `make_fixture.py`. To add a version: write its archive, and name it
in VERSIONS.
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sandbox import Account, Request
from tests.support.journeys import FakeClock, Journey, home, small_account
from tests.upgrade.make_fixture import FOLDER, move, tables

VERSIONS = ("0.1.0",)
DATA = Path(__file__).parent / "data"
#: By which the rows of a table are told apart; by their id where nothing is said.
KEYS: dict[str, tuple[str, ...]] = {
    "klaviyo.subscriptions": ("profile_id", "channel", "purpose"),
    "klaviyo.list_profiles": ("list_id", "profile_id", "_dlt_valid_from"),
    "klaviyo.orders__included": ("type", "id"),
}
#: Where a request says from when on it wants records, by path.
PERIODS = {
    "/api/events": "datetime",
    "/api/profiles": "updated",
    "/api/lists": "updated",
    "/api/metric-aggregates": "datetime",
}
#: Channel and purpose of the subscription that stays.
MARKETING = ("sms", "marketing")
#: The name of the metric "Opened Email" from now on.
RENAMED = "Opened E-Mail"
#: How many reports Klaviyo gives a day.
QUOTA = 225
#: When the records of the account changed that nobody is to ask for again.
LONG_AGO = "2026-05-02T00:00:00+00:00"

Key = tuple[str | None, ...]
Rows = dict[Key, dict[str, str | None]]


class FastClock(FakeClock):
    """Two reports a minute would take long."""

    speed = 4000


@dataclass
class Case:
    """A case of an archive, unpacked, and a sandbox account to go on with an hour later.

    Attributes:
        told: what the manifest says of it.
    """

    told: Mapping[str, Any]
    journey: Journey
    clock: FakeClock

    @property
    def account(self) -> Account:
        return self.journey.account

    def rows(self) -> dict[str, Rows]:
        """Table -> key -> values as text, of all tables of reports."""
        return {table: self._rows(table) for table in tables(self.journey.folder)}

    def _rows(self, table: str) -> Rows:
        names = sorted(tables(self.journey.folder)[table]["columns"])
        texts = ", ".join(f'"{name}"::VARCHAR' for name in names)
        listed = [dict(zip(names, row, strict=True)) for row in self.journey.sql(f"SELECT {texts} FROM {table}")]
        found = {tuple(row[name] for name in KEYS.get(table, ("id",))): row for row in listed}
        assert len(found) == len(listed), f"{table} has rows twice"
        return found


@contextmanager
def unpacked(version: str, name: str, folder: Path) -> Iterator[Case]:
    """A case of an archive in a folder, as if it had been made there."""
    with tarfile.open(DATA / f"{version}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["cases"][name]
    move(folder / name, FOLDER, str(folder / name))
    clock = FastClock(datetime.fromisoformat(told["now"]) + timedelta(hours=1))
    with home(folder / name):
        journey = Journey(folder / name, account_of(told["account"], clock), clock)
        yield Case(told, journey, clock)
        journey.close()


def account_of(told: Mapping[str, Any], clock: FakeClock) -> Account:
    """An account in which nothing has changed since, with as much in it as the reports go by."""
    account = small_account(clock)
    account.update("account", next(account.records("account"))["id"], {"timezone": told["timezone"]})
    category = {"id": 15, "category": "Advertising"}
    integration = {"object": "application", "id": "0rG4eQ", "name": "Shop", "category": category}
    for metric, name in told["metrics"].items():
        account.add("metric", {"id": metric, "attributes": {"name": name, "integration": integration}})
    for group, about in told["lists"].items():
        attributes = {"name": about["name"], "created": LONG_AGO, "updated": LONG_AGO}
        account.add("list", {"id": group, "attributes": attributes})
        for profile, joined in about["members"].items():
            if account.record("profile", profile) is None:
                account.add("profile", {"id": profile, "attributes": {"created": LONG_AGO, "updated": LONG_AGO}})
            account.join("list", group, profile, datetime.fromisoformat(joined))
    return account


@dataclass
class Changes:
    """What has happened in the hour since, besides a metric with another name.

    Attributes:
        event: an order of the lookback, which comes with other properties.
        new: old name of a metric -> its new event.
        profile: has another title, and of its subscriptions only that to sms marketing.
        group: the list that `leaver` has left and `joiner` is on now.
    """

    event: str
    new: dict[str, str]
    profile: str
    group: str
    leaver: str
    joiner: str


def an_hour_passes(case: Case, before: Mapping[str, Rows]) -> Changes:
    """Let something of each kind change."""
    account, ago = case.account, case.clock.now() - timedelta(minutes=30)
    order = max(before["klaviyo.orders"].values(), key=lambda row: str(row["datetime"]))
    metrics = {name: identity for identity, name in case.told["account"]["metrics"].items()}
    changed = {"datetime": str(order["datetime"]).replace(" ", "T") + ":00", "event_properties": {"changed": True}}
    placed = {"metric": metrics["Placed Order"]}
    account.add("event", {"id": order["id"], "attributes": changed, "relationships": placed})
    new = {
        name: account.add("event", {"attributes": {"datetime": ago}, "relationships": {"metric": identity}})
        for name, identity in metrics.items()
    }
    both = {profile for profile, channel, _ in before["klaviyo.subscriptions"] if channel == "email"} & {
        profile for profile, channel, purpose in before["klaviyo.subscriptions"] if (channel, purpose) == MARKETING
    }
    profile = str(min(both, key=str))
    consent = {"consent": "UNSUBSCRIBED", "consent_timestamp": LONG_AGO}
    attributes = {
        "title": "changed",
        "anonymous_id": "visitor",
        "subscriptions": {"sms": {"marketing": consent}},
        "updated": ago,
    }
    if account.record("profile", profile) is None:
        account.add("profile", {"id": profile})
    account.update("profile", profile, attributes, touch=False)
    account.update("metric", metrics["Opened Email"], {"name": RENAMED})
    lists = case.told["account"]["lists"]
    group = max(lists, key=lambda one: len(lists[one]["members"]))
    leaver = min(lists[group]["members"])
    joiner = next(str(one) for (one,) in before["klaviyo.profiles"] if one not in lists[group]["members"])
    if account.record("profile", joiner) is None:
        account.add("profile", {"id": joiner, "attributes": {"created": LONG_AGO, "updated": LONG_AGO}})
    account.leave("list", group, leaver)
    account.join("list", group, joiner, ago)
    return Changes(str(order["id"]), new, profile, group, leaver, joiner)


@dataclass
class Upgraded:
    """The case `settled` before and after a run of this version.

    Attributes:
        requests: pipeline -> what it asked for.
    """

    told: Mapping[str, Any]
    changes: Changes
    kinds_before: Mapping[str, Any]
    kinds: Mapping[str, Any]
    before: dict[str, Rows]
    after: dict[str, Rows]
    requests: dict[str, list[Request]]

    def unlike(self, table: str) -> tuple[set[Key], set[Key], set[Key]]:
        """Keys of the rows of a table that are gone, that changed in any column, and that are new.

        A column that came since is null in a row that did not change.
        """
        old, new = self.before[table], self.after[table]
        changed = {key for key in {*old} & {*new} if dict.fromkeys(new[key]) | old[key] != new[key]}
        return {*old} - {*new}, changed, {*new} - {*old}


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["folder-kept", "folder-wiped"])
def upgraded(version: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Upgraded:
    """A run of each pipeline an hour after the last one of the earlier version."""
    with unpacked(version, "settled", tmp_path_factory.mktemp("upgrade")) as case:
        kinds, before = tables(case.journey.folder), case.rows()
        assert kinds == case.told["tables"]
        changes = an_hour_passes(case, before)
        if request.param == "folder-wiped":
            shutil.rmtree(case.journey.pipelines_dir)
        requests = {}
        for pipeline, flags in case.told["settings"].items():
            case.journey.load(pipeline=pipeline, **flags)
            requests[pipeline] = [*case.journey.server.requests]
        return Upgraded(case.told, changes, kinds, tables(case.journey.folder), before, case.rows(), requests)


def asked_from(requests: list[Request], path: str) -> list[datetime | None]:
    """From when on each request to a path wants records; None for all."""
    of = re.compile(rf"greater-(?:than|or-equal)\({PERIODS[path]},([^)]+)\)")
    asked = [request for request in requests if request.path == path]
    found = [of.search(request.query.get("filter", "") + request.body.decode()) for request in asked]
    return [datetime.fromisoformat(match[1]) if match else None for match in found]


def days_asked(requests: list[Request]) -> list[tuple[date, date]]:
    """First and last day of each campaign report that was asked for, on the account's calendar."""
    bodies = [json.loads(request.body) for request in requests if request.path == "/api/campaign-values-reports"]
    frames = [body["data"]["attributes"]["timeframe"] for body in bodies]
    return [(date.fromisoformat(one["start"][:10]), date.fromisoformat(one["end"][:10])) for one in frames]


def covered_until(told: Mapping[str, Any], pipeline: str) -> datetime:
    """The end of what was loaded without a gap, of all reports with a period."""
    covered = [state["covered"] for state in told["states"][pipeline].values() if "covered" in state]
    assert {len(windows) for windows in covered} == {1}
    (end,) = {windows[0][1] for windows in covered}
    return datetime.fromisoformat(end)


def test_records_are_asked_for_from_the_lookback_on(upgraded: Upgraded) -> None:
    end = covered_until(upgraded.told, "klaviyo")
    # Klaviyo's strict bound: the second before is asked for, too.
    lookback = end - timedelta(days=1, seconds=1)
    asked = {path: asked_from(upgraded.requests["klaviyo"], path) for path in PERIODS}
    # Of all events, and of the custom report's.
    assert len(asked["/api/events"]) == 2
    for path in ("/api/events", "/api/profiles"):
        assert asked[path]
        assert all(bound is not None and lookback <= bound <= end for bound in asked[path]), path
    # And a walk over all lists, for the members of each.
    bounds = asked["/api/lists"]
    assert bounds.count(None) == 1
    assert all(lookback <= bound <= end for bound in bounds if bound is not None)
    assert len(bounds) > 1


def test_numbers_are_all_asked_for_again_the_newest_first(upgraded: Upgraded) -> None:
    # The tables may hold rows of several definitions, and what is attributed to nothing is null by now.
    start = datetime.fromisoformat(upgraded.told["states"]["klaviyo"]["metric_aggregates"]["covered"][0][0])
    bounds = asked_from(upgraded.requests["klaviyo"], "/api/metric-aggregates")
    assert bounds == [start, start]
    today = covered_until(upgraded.told, "klaviyo").date()
    assert days_asked(upgraded.requests["klaviyo"])[0] == (today, today)


def test_what_was_spent_of_a_quota_a_day_is_remembered(upgraded: Upgraded) -> None:
    # All of it within the last 24 hours.
    spent = sum(number for _, number in upgraded.told["states"]["klaviyo"]["campaign_values"]["spent"])
    # Less than an hour's share, which leaves nothing for the runs of the coming hours.
    assert 0 < QUOTA - spent < QUOTA // 24
    assert len(days_asked(upgraded.requests["klaviyo"])) == 1


def test_the_events_of_each_metric_are_asked_for_from_the_lookback_on(upgraded: Upgraded) -> None:
    end = covered_until(upgraded.told, "per_metric")
    bounds = asked_from(upgraded.requests["per_metric"], "/api/events")
    assert len(bounds) == len(upgraded.told["states"]["per_metric"]) == 2
    assert all(bound is not None and end - timedelta(days=1, seconds=1) <= bound <= end for bound in bounds)


def test_tables_and_columns_keep_their_names_and_types(upgraded: Upgraded) -> None:
    # What is read again goes through these.
    staged = {"klaviyo.campaign_values__next", "klaviyo.metric_aggregates__next"}
    assert {*upgraded.kinds} == {*upgraded.kinds_before} | staged
    for table, about in upgraded.kinds_before.items():
        # A later version may add some.
        assert about["columns"].items() <= upgraded.kinds[table]["columns"].items(), table


def test_columns_that_came_since_are_filled_from_now_on(upgraded: Upgraded) -> None:
    for table, columns in {
        "klaviyo.profiles": {"anonymous_id", "whatsapp_bsuid"},
        "klaviyo.metrics": {"integration_object", "integration_category_id"},
    }.items():
        assert columns <= {*upgraded.kinds[table]["columns"]} - {*upgraded.kinds_before[table]["columns"]}
    profiles = upgraded.after["klaviyo.profiles"]
    changed = (upgraded.changes.profile,)
    assert {key: row["anonymous_id"] for key, row in profiles.items() if row["anonymous_id"]} == {changed: "visitor"}
    categories = {row["integration_category_id"] for row in upgraded.after["klaviyo.metrics"].values()}
    assert categories == {"15"}


def test_of_events_only_those_are_written_that_came_again_or_are_new(upgraded: Upgraded) -> None:
    again, new = {(upgraded.changes.event,)}, {name: (identity,) for name, identity in upgraded.changes.new.items()}
    nothing: set[Key] = set()
    # Among them the events of a metric that has another name by now than its table.
    assert upgraded.unlike("klaviyo.events") == (nothing, again, {*new.values()})
    assert upgraded.unlike("klaviyo.orders") == (nothing, again, {new["Placed Order"]})
    assert upgraded.unlike("per_metric.events_placed_order") == (nothing, again, {new["Placed Order"]})
    assert upgraded.unlike("per_metric.events_opened_email") == (nothing, nothing, {new["Opened Email"]})
    for table in ("klaviyo.events", "per_metric.events_placed_order"):
        assert upgraded.after[table][upgraded.changes.event,]["event_properties"] == '{"changed":true}'
    (changed,) = (upgraded.after["klaviyo.orders"][key] for key in again)
    assert json.loads(str(changed["attributes"]))["event_properties"] == {"changed": True}
    gone, _, added = upgraded.unlike("klaviyo.orders__included")
    assert (gone, added) == (nothing, nothing)


def test_of_profiles_only_the_changed_one_is_written(upgraded: Upgraded) -> None:
    profile = upgraded.changes.profile
    assert upgraded.unlike("klaviyo.profiles") == (set(), {(profile,)}, set())
    assert upgraded.after["klaviyo.profiles"][profile,]["title"] == "changed"


def test_subscriptions_that_are_over_are_deleted_and_no_others(upgraded: Upgraded) -> None:
    profile, old = upgraded.changes.profile, upgraded.before["klaviyo.subscriptions"]
    kept = (profile, *MARKETING)
    assert upgraded.unlike("klaviyo.subscriptions") == (
        {key for key in old if key[0] == profile} - {kept},
        {kept},
        set(),
    )
    assert upgraded.after["klaviyo.subscriptions"][kept]["consent"] == "UNSUBSCRIBED"


def test_lists_and_metrics_are_the_same(upgraded: Upgraded) -> None:
    assert upgraded.unlike("klaviyo.lists") == (set(), set(), set())
    # Read as a whole.
    gone, _, new = upgraded.unlike("klaviyo.metrics")
    assert (gone, new) == (set(), set())
    assert RENAMED in {row["name"] for row in upgraded.after["klaviyo.metrics"].values()}


def test_the_history_of_members_goes_on(upgraded: Upgraded) -> None:
    changes = upgraded.changes
    gone, (left,), (joined,) = upgraded.unlike("klaviyo.list_profiles")
    assert gone == set()
    assert left[:2] == (changes.group, changes.leaver)
    assert joined[:2] == (changes.group, changes.joiner)
    before, after = upgraded.before["klaviyo.list_profiles"][left], upgraded.after["klaviyo.list_profiles"][left]
    assert before["_dlt_valid_to"] is None
    # A period ends where the other begins: both are the load's.
    assert after == before | {"_dlt_valid_to": joined[2]}
    # Those who had left before 0.1.0's last run are there, too.
    assert any(row["_dlt_valid_to"] for row in upgraded.before["klaviyo.list_profiles"].values())


def test_numbers_stay_until_all_of_them_were_asked_for_again(upgraded: Upgraded) -> None:
    assert upgraded.after["klaviyo.campaign_values"] == upgraded.before["klaviyo.campaign_values"]
    assert upgraded.before["klaviyo.campaign_values"]


def test_numbers_that_were_all_asked_for_again_replace_the_table(upgraded: Upgraded) -> None:
    # Two metrics are counted: one event of each is new, and one came again. There was nothing else in this account.
    after = upgraded.after["klaviyo.metric_aggregates"]
    assert sum(int(str(row["count"])) for row in after.values()) == 3
    assert {row["observed_at"] for row in after.values()}.isdisjoint(
        row["observed_at"] for row in upgraded.before["klaviyo.metric_aggregates"].values()
    )


def test_numbers_of_several_definitions_give_way_to_those_of_one_within_days(version: str, tmp_path: Path) -> None:
    with unpacked(version, "settled", tmp_path) as case:
        table, flags = "klaviyo.campaign_values", case.told["settings"]["klaviyo"]
        before = case.journey.sql(f"SELECT count(*), min(interval), max(interval) FROM {table}")
        with duckdb.connect(str(case.journey.folder / "warehouse.duckdb")) as connection:
            # As 0.1.0 leaves them where the interval was changed.
            connection.execute(
                f"INSERT INTO {table} SELECT * REPLACE ('week' AS interval, id || 'w' AS id) FROM {table}"
            )
        unfinished = []
        for _ in range(3):
            case.clock.forward(days=1)
            outcome = case.journey.load(**flags)["campaign_values"]
            unfinished.append(outcome.unfinished is not None)
            found = case.journey.sql(f"SELECT DISTINCT interval FROM {table} ORDER BY 1")
            assert found == ([("day",), ("week",)] if unfinished[-1] else [])
        # 220 days and those since, 200 a day. The account of this sandbox has no campaigns, so nothing is left.
        assert unfinished == [True, False, False]
        assert before[0][0] > 0


def test_a_package_that_was_pending_is_loaded_once(version: str, tmp_path: Path) -> None:
    with unpacked(version, "interrupted", tmp_path) as case:
        journey = case.journey
        (pending,) = journey.pipeline().list_normalized_load_packages()
        # The load died between the rows and the note that they are there.
        assert journey.sql(f"SELECT count(*) > 0 FROM klaviyo.events WHERE _dlt_load_id = '{pending}'") == [(True,)]
        assert tables(journey.folder) != case.told["tables"]
        journey.load(**case.told["settings"]["klaviyo"])
        # As the earlier version finishes it, in every value; nothing has happened in the account since.
        assert tables(journey.folder) == case.told["tables"]
        case.rows()
        assert not journey.pipeline().has_pending_data
        assert journey.sql(f"SELECT status FROM klaviyo._dlt_loads WHERE load_id = '{pending}'") == [(0,)]
        # What the package brought is not asked for again.
        end = covered_until(case.told, "klaviyo")
        assert asked_from([*journey.server.requests], "/api/events") == [end]
        assert asked_from([*journey.server.requests], "/api/profiles") == [end - timedelta(days=1, seconds=1)]
