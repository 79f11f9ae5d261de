"""The sandbox's account: deterministic, lazy, open to change, and served as its truth says."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import requests

from sandbox import Account, Sandbox
from tests.support.sandbox_client import HEADERS, get, read

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
EVERYTHING = {"additional-fields[profile]": "subscriptions,predictive_analytics"}


@pytest.fixture
def account() -> Account:
    return Account(seed=7, now=NOW, profiles=120, events=400)


@pytest.fixture
def server(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account) as running:
        yield running


def by_id(records: list[dict[str, Any]]) -> dict[str, Any]:
    keyed = {record["id"]: record["attributes"] for record in records}
    assert len(keyed) == len(records)
    return keyed


def test_the_same_seed_makes_the_same_account() -> None:
    one, two, other = (Account(seed=seed, now=NOW, profiles=20, events=30) for seed in (7, 7, 8))
    for kind in one.stores:
        assert list(one.records(kind)) == list(two.records(kind))
    assert list(one.records("event")) != list(other.records("event"))
    assert list(one.records("profile")) != list(other.records("profile"))


@pytest.mark.parametrize("kind", ["event", "profile", "metric", "list", "segment", "template", "tag", "tag-group"])
def test_what_is_served_is_the_truth(account: Account, server: Sandbox, kind: str) -> None:
    parameters = EVERYTHING if kind == "profile" else {}
    parameters = {"additional-fields[template]": "definition"} if kind == "template" else parameters
    truth = by_id(list(account.records(kind)))
    for attributes in truth.values():
        # only had of a single list or segment
        attributes.pop("profile_count", None)
    assert by_id(read(server, f"/api/{kind}s", **parameters)) == truth


def test_campaigns_and_flows_leave_out_archived_ones_unless_asked(account: Account, server: Sandbox) -> None:
    def served(archived: str, channel: str) -> list[dict[str, Any]]:
        return read(server, "/api/campaigns", filter=f"equals(messages.channel,'{channel}'){archived}")

    channels = ["email", "sms", "mobile_push"]
    live = [record for channel in channels for record in served("", channel)]
    archived = [record for channel in channels for record in served(",equals(archived,true)", channel)]
    assert by_id(live + archived) == by_id(list(account.records("campaign")))
    assert {record["attributes"]["archived"] for record in live} == {False}
    assert {record["attributes"]["archived"] for record in archived} == {True}
    flows = read(server, "/api/flows") + read(server, "/api/flows", filter="equals(archived,true)")
    expected = list(account.records("flow"))
    for flow in expected:
        del flow["attributes"]["definition"]
    assert by_id(flows) == by_id(expected)
    assert len(read(server, "/api/flows")) < len(expected)


def test_hidden_images_come_only_to_those_who_ask_for_them(account: Account, server: Sandbox) -> None:
    images = list(account.records("image"))
    hidden = [image for image in images if image["attributes"]["hidden"]]
    assert 0 < len(hidden) < len(images)
    assert by_id(read(server, "/api/images", filter="equals(hidden,true)")) == by_id(hidden)
    shown = [image for image in images if image not in hidden]
    assert by_id(read(server, "/api/images")) == by_id(shown)
    assert by_id(read(server, "/api/images", filter="equals(hidden,false)")) == by_id(shown)


def test_members_are_served_in_the_order_of_joining(account: Account, server: Sandbox) -> None:
    sizes = []
    for kind in ("list", "segment"):
        for group in account.records(kind):
            members = account.members(kind, group["id"])
            path = f"/api/{kind}s/{group['id']}"
            served = read(server, f"{path}/profiles", **{"page[size]": 50})
            moments = [datetime.fromisoformat(record["attributes"]["joined_group_at"]) for record in served]
            assert {r["id"]: moment for r, moment in zip(served, moments, strict=True)} == members
            assert moments == sorted(moments)
            identifiers = read(server, f"{path}/relationships/profiles", sort="-joined_group_at")
            assert identifiers == [{"type": "profile", "id": r["id"]} for r in reversed(served)]
            sizes.append(len(members))
            assert account.record(kind, group["id"])["attributes"]["profile_count"] == len(members)  # type: ignore[index]
    assert min(sizes) == 0
    assert max(sizes) > 90


def test_a_profile_knows_its_lists_and_segments(account: Account, server: Sandbox) -> None:
    profile = next(p for p in account.records("profile") if p["relationships"]["lists"]["data"])
    document = get(server, f"/api/profiles/{profile['id']}", include="lists,segments")
    for name in ("lists", "segments"):
        assert document["data"]["relationships"][name]["data"] == profile["relationships"][name]["data"]
    for group in profile["relationships"]["lists"]["data"]:
        assert profile["id"] in account.members("list", group["id"])
    included = {(item["type"], item["id"]) for item in document["included"]}
    assert included == {
        (g["type"], g["id"]) for n in ("lists", "segments") for g in profile["relationships"][n]["data"]
    }


def test_relationships_to_many_carry_data_only_when_included(account: Account, server: Sandbox) -> None:
    plain = get(server, "/api/events")["data"][0]["relationships"]
    assert set(plain) == {"profile", "metric", "attributions"}
    assert set(plain["attributions"]) == {"links"}
    assert set(plain["metric"]) == {"data", "links"}
    document = get(server, "/api/events", include="attributions,metric,profile", **{"page[size]": 1000})
    truth = {record["id"]: record["relationships"] for record in account.records("event")}
    for event in document["data"]:
        for name, relationship in event["relationships"].items():
            assert relationship["data"] == truth[event["id"]][name]["data"]
    included = {(item["type"], item["id"]): item for item in document["included"]}
    assert len(included) == len(document["included"])
    attributions = list(account.records("attribution"))
    assert len(attributions) > 20
    for attribution in attributions:
        served = included["attribution", attribution["id"]]["relationships"]
        for name, relationship in attribution["relationships"].items():
            assert served[name]["data"] == relationship["data"]
    pointed = [a["relationships"] for a in attributions]
    campaigns = {c["id"] for c in account.records("campaign")}
    flows = {f["id"] for f in account.records("flow")}
    assert {r["campaign"]["data"]["id"] for r in pointed if r["campaign"]["data"]} <= campaigns
    assert {r["flow"]["data"]["id"] for r in pointed if r["flow"]["data"]} <= flows
    assert any(r["campaign"]["data"] for r in pointed)
    assert any(r["flow"]["data"] for r in pointed)


def test_sparse_fieldsets_go_into_objects(server: Sandbox) -> None:
    record = get(server, "/api/profiles", **{"fields[profile]": "email,location.city"})["data"][0]
    assert set(record["attributes"]) == {"email", "location"}
    assert set(record["attributes"]["location"]) == {"city"}
    document = get(server, "/api/events", include="metric", **{"fields[event]": "timestamp", "fields[metric]": "name"})
    assert {frozenset(event["attributes"]) for event in document["data"]} == {frozenset({"timestamp"})}
    assert {frozenset(metric["attributes"]) for metric in document["included"]} == {frozenset({"name"})}


def test_additional_fields_are_absent_unless_asked_for(account: Account, server: Sandbox) -> None:
    assert not {"subscriptions", "predictive_analytics"} & set(get(server, "/api/profiles")["data"][0]["attributes"])
    parameters = {"additional-fields[profile]": "subscriptions"}
    attributes = get(server, "/api/profiles", **parameters)["data"][0]["attributes"]
    assert "subscriptions" in attributes
    assert "predictive_analytics" not in attributes
    group = list(account.records("list"))[1]
    assert "profile_count" not in get(server, f"/api/lists/{group['id']}")["data"]["attributes"]
    counted = get(server, f"/api/lists/{group['id']}", **{"additional-fields[list]": "profile_count"})
    assert counted["data"]["attributes"]["profile_count"] == len(account.members("list", group["id"]))


@pytest.mark.parametrize("shape", ["bursty", "even"])
def test_windows_of_events_hold_what_the_truth_holds(shape: Any) -> None:
    account = Account(seed=3, now=NOW, profiles=50, events=2000, shape=shape)
    moments = sorted(record["attributes"]["timestamp"] for record in account.records("event"))
    some = [moments[0], moments[500], moments[500] + 1, moments[999], moments[1500], int(NOW.timestamp())]
    with Sandbox(account) as server:
        for start, end in pairwise(some):
            low, high = (datetime.fromtimestamp(s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for s in (start, end))
            window = f"greater-or-equal(datetime,{low}),less-than(datetime,{high})"
            found = read(server, "/api/events", filter=window, sort="datetime", **{"page[size]": 300})
            assert [r["attributes"]["timestamp"] for r in found] == [m for m in moments if start <= m < end]
        metric_id = next(account.records("metric"))["id"]
        found = read(server, "/api/events", filter=f'equals(metric_id,"{metric_id}")', **{"page[size]": 1000})
        pointers = {r["id"]: r["relationships"]["metric"]["data"] for r in account.records("event")}
        # an event can have lost its metric
        assert None in pointers.values()
        truth = [event for event, pointer in pointers.items() if pointer and pointer["id"] == metric_id]
        assert sorted(r["id"] for r in found) == sorted(truth)


def test_profiles_filter_strictly_and_in_whole_seconds(account: Account, server: Sandbox) -> None:
    seconds = Counter(record["attributes"]["updated"] for record in account.records("profile"))
    crowded, count = seconds.most_common(1)[0]
    assert count >= 10
    moment = datetime.fromisoformat(crowded)

    def between(low: datetime, high: datetime) -> int:
        bounds = f"greater-than(updated,{low:%Y-%m-%dT%H:%M:%SZ}),less-than(updated,{high:%Y-%m-%dT%H:%M:%SZ})"
        return len(read(server, "/api/profiles", filter=bounds, sort="updated"))

    second = timedelta(seconds=1)
    assert between(moment - second, moment + second) == count
    assert between(moment - 2 * second, moment) == seconds.get((moment - second).isoformat(), 0)


@pytest.mark.parametrize("name", ["suppression", "list_suppressions"])
def test_profiles_are_found_by_their_suppressions(name: str) -> None:
    account = Account(seed=7, now=NOW, profiles=1500, events=0)
    path = f"subscriptions.email.marketing.{name}"

    def told(profile: dict[str, Any]) -> list[dict[str, str]]:
        found = profile["attributes"]["subscriptions"]["email"]["marketing"][name]
        return list(found)

    truth = {profile["id"]: told(profile) for profile in account.records("profile")}
    several = {identity: found for identity, found in truth.items() if len(found) > 1}
    assert len(several) > 5
    bound = sorted(found[0]["timestamp"] for found in truth.values() if found)[20]
    group = next(iter(several.values()))[0].get("list_id")
    conditions = f",equals({path}.list_id,'{group}')" if group else ""
    with Sandbox(account) as server:

        def ids(filter: str, **parameters: str) -> list[str]:
            found = read(server, "/api/profiles", filter=filter + conditions, **{"page[size]": "100"}, **parameters)
            return [profile["id"] for profile in found]

        def having(fits: Any) -> set[str]:
            return {
                identity
                for identity, found in truth.items()
                if any(fits(one) and (not group or one["list_id"] == group) for one in found)
            }

        z = bound.replace("+00:00", "Z")
        since = ids(f"greater-or-equal({path}.timestamp,{z})")
        assert set(since) == having(lambda one: one["timestamp"] >= bound)
        until = ids(f"less-than({path}.timestamp,{z})", sort=f"-{path}.timestamp")
        assert set(until) == having(lambda one: one["timestamp"] < bound)
        # the reason of one and the time of another do not make a find
        for reason in ("UNSUBSCRIBE", "USER_SUPPRESSED"):
            some = ids(f"equals({path}.reason,'{reason}'),greater-than({path}.timestamp,{z})")
            assert set(some) == having(lambda one, r=reason: one["reason"] == r and one["timestamp"] > bound)
        assert 0 < len(since) < len(truth)
        latest = [max(one["timestamp"] for one in truth[identity]) for identity in until]
        assert latest == sorted(latest, reverse=True)


def test_events_of_the_future_show_only_without_an_upper_bound() -> None:
    account = Account(seed=7, now=NOW, profiles=20, events=2000)
    with Sandbox(account) as server:
        everything = read(server, "/api/events", **{"page[size]": 1000})
        until_now = f"less-or-equal(datetime,{NOW:%Y-%m-%dT%H:%M:%SZ})"
        bounded = read(server, "/api/events", filter=until_now, **{"page[size]": 1000})
        assert (len(everything), len(bounded)) == (2000, 1996)
        account.now = NOW + timedelta(days=400)
        later = f"less-or-equal(datetime,{account.now:%Y-%m-%dT%H:%M:%SZ})"
        assert len(read(server, "/api/events", filter=later, **{"page[size]": 1000})) == 2000


def test_a_page_token_is_stable_when_rows_come_in_behind(account: Account, server: Sandbox) -> None:
    parameters = {"sort": "-datetime", "page[size]": 100, "filter": f"less-than(datetime,{NOW:%Y-%m-%dT%H:%M:%SZ})"}
    first = get(server, "/api/events", **parameters)
    for _ in range(5):
        account.add("event", {"attributes": {"datetime": NOW - timedelta(seconds=1)}})
    rest, url = [], first["links"]["next"]
    while url:
        document = requests.get(url, headers=HEADERS, timeout=10).json()
        rest += document["data"]
        url = document["links"]["next"]
    identities = [record["id"] for record in first["data"] + rest]
    assert len(identities) == len(set(identities)) == 400
    last = first["data"][-1]["id"]
    account.remove("event", last)
    again = requests.get(first["links"]["next"], headers=HEADERS, timeout=10).json()["data"]
    assert again == rest[:100]


def test_records_can_be_added_changed_and_removed(account: Account, server: Sandbox) -> None:
    profile_id = account.add("profile", {"attributes": {"email": "new@example.com", "properties": {"a": 1}}})
    metric = next(account.records("metric"))
    event_id = account.add(
        "event",
        {
            "attributes": {"datetime": "2026-06-23 00:15:23.918411+00:00", "event_properties": {"x": None}},
            "relationships": {"profile": profile_id, "metric": metric["id"]},
        },
    )
    event = get(server, f"/api/events/{event_id}", include="profile,metric")
    assert event["data"]["attributes"]["timestamp"] == 1782173723
    assert event["data"]["attributes"]["datetime"] == "2026-06-23 00:15:23.918411+00:00"
    assert {item["id"] for item in event["included"]} == {profile_id, metric["id"]}
    second = "greater-or-equal(datetime,2026-06-23T00:15:23Z),less-or-equal(datetime,2026-06-23T00:15:23Z)"
    assert event_id in by_id(read(server, "/api/events", filter=second))

    account.now = NOW + timedelta(hours=1)
    old = next(account.records("profile"))
    account.update("profile", old["id"], {"location": {"city": "Oslo"}, "title": "Boss"})
    changed = read(server, "/api/profiles", filter=f"greater-than(updated,{NOW:%Y-%m-%dT%H:%M:%SZ})")
    assert [record["id"] for record in changed] == [old["id"]]
    attributes = changed[0]["attributes"]
    assert (attributes["title"], attributes["updated"]) == ("Boss", "2026-06-30T13:00:00+00:00")
    assert attributes["location"] == old["attributes"]["location"] | {"city": "Oslo"}
    account.update("profile", old["id"], {"title": "Quiet"}, touch=False)
    assert account.record("profile", old["id"])["attributes"]["updated"] == "2026-06-30T13:00:00+00:00"  # type: ignore[index]

    everybody = by_id(read(server, "/api/profiles"))
    account.remove("profile", old["id"])
    assert set(by_id(read(server, "/api/profiles"))) == set(everybody) - {old["id"]}
    for group in account.records("list"):
        assert old["id"] not in account.members("list", group["id"])
    with pytest.raises(KeyError):
        account.remove("profile", old["id"])


def test_profiles_join_and_leave(account: Account, server: Sandbox) -> None:
    empty, large = [group["id"] for group in account.records("list")][:2]
    first, *_, last = account.members("list", large)
    account.join("list", empty, last)
    account.join("list", empty, first, at=NOW - timedelta(days=1))
    assert list(account.members("list", empty)) == [first, last]
    account.leave("list", empty, last)
    account.leave("list", large, first)
    served = read(server, f"/api/lists/{empty}/profiles", **{"fields[profile]": "joined_group_at"})
    assert [r["attributes"]["joined_group_at"] for r in served] == ["2026-06-29T12:00:00+00:00"]
    assert first not in [r["id"] for r in read(server, f"/api/lists/{large}/profiles", **{"page[size]": 100})]
    account.join("list", large, first)
    recent = read(
        server, f"/api/lists/{large}/profiles", filter="greater-or-equal(joined_group_at,2026-06-30T12:00:00Z)"
    )
    assert [record["id"] for record in recent] == [first]


def test_raw_records_are_served_byte_for_byte(account: Account, server: Sandbox) -> None:
    raw = (
        b'{"type":"event","id":"odd","attributes":{"datetime":7,"timestamp":9007199254740993,'
        b'"event_properties":{"a":1,"A":2,"a":3,"n":1.0,"e":1E+2,"s":"\\u2028"}},"relationships":null,"links":{}}'
    )
    assert account.add_raw("event", NOW - timedelta(minutes=1), raw) == "odd"
    broken = account.add_raw("event", NOW - timedelta(minutes=2), b"{nonsense")
    window = "greater-or-equal(datetime,2026-06-30T11:59:00Z),less-than(datetime,2026-06-30T11:59:01Z)"
    answer = requests.get(server.url + "/api/events", params={"filter": window}, headers=HEADERS, timeout=10)
    assert raw in answer.content
    page = requests.get(server.url + f"/api/events/{broken}", headers=HEADERS, timeout=10)
    assert page.content.startswith(b'{"data":{nonsense,')


def test_a_resource_can_be_put_as_it_is(account: Account, server: Sandbox) -> None:
    hostile = {"type": "list", "id": "X", "attributes": {"name": 5, "created": None, "updated": "?", "odd": [2**60]}}
    account.put("list", hostile)
    assert get(server, "/api/lists/X")["data"]["attributes"] == hostile["attributes"]
    assert account.members("list", "X") == {}


def test_a_campaign_send_puts_a_crowd_into_one_second_and_leaves_hours_empty() -> None:
    account = Account(seed=7, now=NOW, profiles=50, events=30_000)
    seconds = Counter(second for second, _ in account.stores["event"].scan("datetime"))
    hours = Counter(second // 3600 for second, _ in account.stores["event"].scan("datetime"))
    assert seconds.most_common(1)[0][1] > 300
    assert hours.most_common(1)[0][1] > 3000
    assert len(hours) < 0.95 * 90 * 24


def test_millions_of_records_cost_no_memory() -> None:
    tracemalloc.start()
    account = Account(seed=7, now=NOW, profiles=5_000_000, events=10_000_000, history_days=365)
    with Sandbox(account, gzip=False) as server:
        for path, sort in (("/api/events", "datetime"), ("/api/events", "-datetime"), ("/api/profiles", "updated")):
            field = sort.removeprefix("-")
            bound = f"greater-than({field},2026-03-01T00:00:00Z)"
            document = get(server, path, sort=sort, filter=bound, **{"page[size]": 100})
            assert len(document["data"]) == 100
            assert document["links"]["next"]
        large = list(account.stores["list"])[1]
        members = get(server, f"/api/lists/{large['id']}/profiles", **{"page[size]": 100})
        assert len(members["data"]) == 100
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30_000_000


def test_events_are_about_as_large_as_real_ones(server: Sandbox) -> None:
    document = get(server, "/api/events", **{"page[size]": 1000})
    size = len(json.dumps(document, ensure_ascii=False, separators=(",", ":"))) / len(document["data"])
    assert 1000 < size < 1500
