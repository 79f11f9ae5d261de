"""One account through two revisions: what 2026-10-15 shows otherwise, and what it alone shows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from sandbox import Account, Sandbox

OLD, NEW = "2026-07-15", "2026-10-15"
NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)

Record = dict[str, Any]


def made() -> Account:
    return Account(seed=7, now=NOW, profiles=30, events=400, campaigns=40, flows=6, templates=12)


@pytest.fixture(scope="module")
def account() -> Account:
    return made()


@pytest.fixture(scope="module")
def server(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account) as started:
        yield started


@pytest.fixture
def own_account() -> Account:
    """An account to change."""
    return made()


@pytest.fixture
def own(own_account: Account) -> Iterator[Sandbox]:
    with Sandbox(own_account) as started:
        yield started


def ask(server: Sandbox, path: str, revision: str = NEW, **parameters: str) -> requests.Response:
    headers = {"Authorization": "Klaviyo-API-Key pk_sandbox", "revision": revision}
    return requests.get(server.url + path, params=parameters, headers=headers, timeout=10)


def read(server: Sandbox, path: str, revision: str = NEW, **parameters: str) -> list[Record]:
    """Every record of a list, page by page."""
    answer = ask(server, path, revision, **parameters)
    found: list[Record] = []
    while True:
        assert answer.status_code == 200, answer.text
        document = answer.json()
        found += document["data"]
        following = document["links"]["next"]
        if not following:
            return found
        headers = {"Authorization": "Klaviyo-API-Key pk_sandbox", "revision": revision}
        answer = requests.get(following, headers=headers, timeout=10)


def both(server: Sandbox, path: str = "/api/campaigns", revision: str = NEW, extra: str = "") -> list[Record]:
    """Campaigns, archived or not."""
    return [
        record
        for archived in ("false", "true")
        for record in read(server, path, revision, filter=f"{extra}equals(archived,{archived})")
    ]


def older(server: Sandbox) -> dict[str, Record]:
    """The campaigns of every channel, as 2026-07-15 shows them, by id."""
    found = [
        record
        for channel in ("email", "sms", "mobile_push")
        for record in both(server, revision=OLD, extra=f"equals(messages.channel,'{channel}'),")
    ]
    return {record["id"]: record for record in found}


def by_id(records: list[Record]) -> dict[str, Record]:
    keyed = {record["id"]: record for record in records}
    assert len(keyed) == len(records)
    return keyed


# Campaigns


def test_both_revisions_show_the_same_campaigns(server: Sandbox) -> None:
    old, new = older(server), by_id(both(server))
    assert len(old) == 40
    wizard = {key: record for key, record in new.items() if record["attributes"]["definition"]["builder"] == "wizard"}
    assert {*wizard} == {*old}
    for key, record in wizard.items():
        was, now = old[key]["attributes"], record["attributes"]
        assert {*now} == {"created_at", "updated_at", "definition"}
        assert (now["created_at"], now["updated_at"]) == (was["created_at"], was["updated_at"])
        assert (now["definition"]["name"], now["definition"]["archived"]) == (was["name"], was["archived"])


def test_a_campaign_of_a_canvas_has_no_older_form(server: Sandbox) -> None:
    new = by_id(both(server))
    canvas = [key for key, record in new.items() if record["attributes"]["definition"]["builder"] == "canvas"]
    assert len(canvas) == 4
    assert not {*canvas} & {*older(server)}
    messages = read(server, f"/api/campaigns/{canvas[0]}/campaign-messages")
    statuses = sorted(message["attributes"]["definition"]["status"] for message in messages)
    assert statuses == ["cancelled", "draft", "scheduled", "sending", "sent"]
    assert len(read(server, f"/api/campaigns/{canvas[0]}/campaign-audiences")) == 2


def test_a_message_keeps_its_id_and_the_arms_of_a_test_become_its_variations(account: Account, server: Sandbox) -> None:
    messages = by_id(read(server, "/api/campaign-messages"))
    several = 0
    for campaign in account.records("campaign"):
        ids = [item["id"] for item in _data(campaign, "campaign-messages")]
        own = [record for identity in ids if (record := account.record("campaign-message", identity))]
        message = messages[ids[0]]
        assert message["relationships"]["campaign"]["data"]["id"] == campaign["id"]
        variations = read(server, f"/api/campaign-messages/{message['id']}/campaign-variations")
        assert len(variations) == len(own)
        several += len(own) > 1
        for was, variation in zip(own, variations, strict=True):
            old, new = was["attributes"]["definition"], variation["attributes"]["definition"]["details"]
            assert new["channel"] == old["channel"].replace("mobile_push", "push")
            assert new.get("subject") == old.get("content", {}).get("subject")
            assert new.get("body") == old.get("content", {}).get("body")
    assert several > 3


def _data(record: Record, relationship: str) -> Any:
    return record["relationships"][relationship]["data"]


def test_status_time_and_tracking_are_on_the_message(account: Account, server: Sandbox) -> None:
    messages = {_data(record, "campaign")["id"]: record for record in read(server, "/api/campaign-messages")}
    seen = set()
    for campaign in account.records("campaign"):
        was, now = campaign["attributes"], messages[campaign["id"]]["attributes"]["definition"]
        assert now["status"] == was["status"].lower()
        assert now["send_options"]["send_time"] == (was["send_time"] or was["scheduled_at"])
        assert (now["tracking_options"] is None) == (was["tracking_options"] is None)
        seen.add(now["status"])
    assert seen == {"sent", "draft", "scheduled", "cancelled"}


def test_audiences_travel_with_their_campaign(account: Account, server: Sandbox) -> None:
    answer = ask(server, "/api/campaigns", include="campaign-audiences,tags", filter="equals(archived,false)").json()
    audiences = {item["id"]: item for item in answer["included"] if item["type"] == "campaign-audience"}
    for campaign in answer["data"]:
        own = [audiences[item["id"]] for item in _data(campaign, "campaign-audiences")]
        old = account.record("campaign", campaign["id"])
        if old:
            (audience,) = own
            groups = audience["attributes"]["definition"]
            assert {name: groups[name] for name in ("included", "excluded")} == old["attributes"]["audiences"]
        else:
            assert [audience["attributes"]["definition"]["priority"] for audience in own] == [1, 2]


def test_every_attribution_leads_to_a_message_that_both_revisions_show(account: Account, server: Sandbox) -> None:
    found = {
        identifier["id"]
        for attribution in account.records("attribution")
        if (identifier := _data(attribution, "campaign-message"))
    }
    assert len(found) > 3
    assert found <= {*by_id(read(server, "/api/campaign-messages"))}
    assert found <= {record["id"] for record in account.records("campaign-message", OLD)}


def test_the_truth_of_a_revision_is_what_it_answers(account: Account, server: Sandbox) -> None:
    campaigns = by_id(both(server))
    assert {key: record["attributes"] for key, record in campaigns.items()} == {
        record["id"]: record["attributes"] for record in account.records("campaign", NEW)
    }
    messages = by_id(read(server, "/api/campaign-messages"))
    assert {key: record["attributes"] for key, record in messages.items()} == {
        record["id"]: record["attributes"] for record in account.records("campaign-message", NEW)
    }
    one = next(account.records("campaign-variation", NEW))
    assert ask(server, f"/api/campaign-variations/{one['id']}").json()["data"]["attributes"] == one["attributes"]


# Changes


def test_a_change_in_the_older_form_is_seen_in_both(own_account: Account, own: Sandbox) -> None:
    campaign = next(r for r in own_account.records("campaign") if r["attributes"]["status"] == "Scheduled")
    own_account.now = NOW + timedelta(hours=1)
    own_account.update("campaign", campaign["id"], {"status": "Cancelled: No Recipients", "name": "Umbenannt"})
    definition = ask(own, f"/api/campaigns/{campaign['id']}").json()["data"]["attributes"]["definition"]
    assert definition["name"] == "Umbenannt"
    since = (NOW + timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    moved = read(own, "/api/campaign-messages", filter=f"greater-or-equal(updated,{since})")
    assert [_data(message, "campaign")["id"] for message in moved] == [campaign["id"]]
    assert moved[0]["attributes"]["definition"]["status"] == "cancelled"


def test_a_message_can_change_without_its_campaign(own_account: Account, own: Sandbox) -> None:
    message = next(own_account.records("campaign-message", NEW))
    owner = _data(message, "campaign")["id"]
    before = own_account.record("campaign", owner, NEW)
    own_account.now = NOW + timedelta(hours=1)
    own_account.update("campaign-message@2026-10-15", message["id"], {"definition": {"status": "sent"}})
    since = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert [r["id"] for r in read(own, "/api/campaign-messages", filter=f"greater-than(updated,{since})")] == [
        message["id"]
    ]
    assert both(own, extra=f"greater-than(updated_at,{since}),") == []
    assert own_account.record("campaign", owner, NEW) == before


def test_a_campaign_that_is_added_or_removed_comes_and_goes_in_both(own_account: Account, own: Sandbox) -> None:
    first = next(own_account.records("campaign"))
    identity = own_account.add("campaign", {"attributes": {"name": "Neu", "archived": False}, "relationships": {}})
    assert ask(own, f"/api/campaigns/{identity}").json()["data"]["attributes"]["definition"]["name"] == "Neu"
    assert read(own, f"/api/campaigns/{identity}/campaign-messages") == []
    message = _data(first, "campaign-messages")[0]["id"]
    own_account.remove("campaign", first["id"])
    assert ask(own, f"/api/campaigns/{first['id']}").status_code == 404
    assert ask(own, f"/api/campaign-messages/{message}").status_code == 404


def test_paging_goes_on_where_it_was_when_campaigns_change(own_account: Account, own: Sandbox) -> None:
    parameters = {"page[size]": "7", "sort": "created"}
    first = ask(own, "/api/campaign-messages", **parameters).json()
    gone = own_account.record("campaign-message", first["data"][2]["id"])
    assert gone is not None
    own_account.remove("campaign", _data(gone, "campaign")["id"])
    rest = requests.get(
        first["links"]["next"],
        headers={"Authorization": "Klaviyo-API-Key pk_sandbox", "revision": NEW},
        timeout=10,
    ).json()["data"]
    wanted = sorted(own_account.records("campaign-message", NEW), key=lambda record: record["attributes"]["created"])
    assert [record["id"] for record in rest] == [record["id"] for record in wanted[6:13]]


def test_odd_campaigns_have_a_newer_form_too(own_account: Account, own: Sandbox) -> None:
    odd: list[Record] = [
        {"type": "campaign", "id": "odd1"},
        {"type": "campaign", "id": "odd2", "attributes": None, "relationships": []},
        {"type": "campaign", "id": "odd3", "attributes": {"send_strategy": 7, "audiences": [], "status": None}},
    ]
    for record in odd:
        own_account.put("campaign", record)
    for record in odd:
        assert ask(own, f"/api/campaigns/{record['id']}").status_code == 200


# What is refused


@pytest.mark.parametrize(
    ("path", "parameters", "told"),
    [
        ("/api/campaigns", {"filter": "equals(messages.channel,'email')"}, "allowed: archived, builder, created_at"),
        ("/api/campaigns", {"filter": "equals(status,'Sent')"}, "'status' is not an allowed filter field"),
        ("/api/campaigns", {"filter": "less-than(scheduled_at,2026-06-01T00:00:00Z)"}, "'scheduled_at' is not"),
        ("/api/campaigns", {"sort": "scheduled_at"}, "'scheduled_at' is not a valid sort"),
        ("/api/campaigns", {"fields[campaign]": "name"}, "'name' is not allowed for 'fields[campaign]'"),
        ("/api/campaigns", {"page[size]": "101"}, "between 1 and 100"),
        ("/api/campaign-messages", {"filter": "greater-than(updated_at,2026-06-01T00:00:00Z)"}, "'updated_at' is not"),
        ("/api/campaign-messages", {"include": "campaign-variations"}, "'campaign-variations' is not allowed"),
        ("/api/campaign-messages", {"page[size]": "101"}, "between 1 and 100"),
        ("/api/text-messaging-senders", {"page[size]": "21"}, "between 1 and 20"),
        ("/api/translations", {"filter": "equals(channel,'fax')"}, "'fax' is not allowed for 'channel'"),
        ("/api/translations", {"additional-fields[translation]": "values"}, "is not a valid field for the resource"),
        ("/api/brand-colors", {"sort": "name"}, "'sort' is not a valid field"),
    ],
)
def test_the_newer_revision_refuses_what_it_does_not_know(
    server: Sandbox, path: str, parameters: dict[str, str], told: str
) -> None:
    answer = ask(server, path, **parameters)
    assert answer.status_code == 400
    assert told in answer.json()["errors"][0]["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/campaign-messages",
        "/api/translations",
        "/api/billing-usage",
        "/api/brand-colors",
        "/api/text-messaging-senders",
    ],
)
def test_the_older_revision_has_none_of_the_newer_collections(server: Sandbox, path: str) -> None:
    assert ask(server, path, OLD).status_code == 404
    assert ask(server, path, NEW).status_code == 200


def test_the_older_revision_wants_a_channel_and_the_newer_none(server: Sandbox) -> None:
    assert ask(server, "/api/campaigns", OLD, filter="equals(archived,false)").status_code == 400
    assert ask(server, "/api/campaigns", NEW).status_code == 200


# What is new


def test_attributes_come_with_their_revision(server: Sandbox) -> None:
    for path, name in (("/api/templates", "screenshot_url"), ("/api/coupons", "assigner_configuration")):
        assert all(name not in record["attributes"] for record in read(server, path, OLD))
        assert {bool(record["attributes"][name]) for record in read(server, path, NEW)} == {True, False}


def test_profiles_have_attributes_that_no_schema_of_their_revision_has(server: Sandbox) -> None:
    asked = {"additional-fields[profile]": "subscriptions"}
    for revision in (OLD, NEW):
        profiles = [record["attributes"] for record in read(server, "/api/profiles", revision, **asked)]
        assert any("click_tracking" in attributes["subscriptions"]["email"] for attributes in profiles)
        for name in ("anonymous_id", "whatsapp_bsuid"):
            assert {isinstance(attributes[name], str) for attributes in profiles} == {True, False}


def test_the_truth_of_the_older_revision_lacks_them_too(account: Account) -> None:
    assert all("screenshot_url" not in record["attributes"] for record in account.records("template"))
    assert all("screenshot_url" in record["attributes"] for record in account.records("template", NEW))


LISTED = {
    "billing-usage": "/api/billing-usage",
    "brand-button": "/api/brand-buttons",
    "brand-color": "/api/brand-colors",
    "brand-email-default": "/api/brand-email-defaults",
    "brand-logo": "/api/brand-logos",
    "brand-social-group": "/api/brand-social-groups",
    "text-messaging-sender": "/api/text-messaging-senders",
}


@pytest.mark.parametrize("kind", LISTED)
def test_a_list_has_all_records_of_its_type(account: Account, server: Sandbox, kind: str) -> None:
    truth = {record["id"]: record["attributes"] for record in account.records(kind, NEW)}
    assert truth
    assert {record["id"]: record["attributes"] for record in read(server, LISTED[kind])} == truth


def test_translations_are_found_by_what_they_translate(account: Account, server: Sandbox) -> None:
    listed = by_id(read(server, "/api/translations"))
    assert {*listed} == {record["id"] for record in account.records("translation")}
    assert all("values" not in record["attributes"] for record in listed.values())
    of_campaigns = read(server, "/api/translations", filter="equals(resource_type,'campaign-variation')")
    assert of_campaigns
    variation = _data(of_campaigns[0], "campaign-variation")["id"]
    found = read(server, "/api/translations", filter=f"equals(related_resource_id,'{variation}')")
    assert [record["id"] for record in found] == [of_campaigns[0]["id"]]
    answer = ask(server, f"/api/campaign-variations/{variation}", include="translation").json()
    assert [item["id"] for item in answer["included"]] == [of_campaigns[0]["id"]]
    whole = ask(server, f"/api/translations/{found[0]['id']}", **{"additional-fields[translation]": "values"}).json()
    assert "values" in whole["data"]["attributes"]


def test_the_voice_and_the_texting_configuration_are_the_accounts(account: Account, server: Sandbox) -> None:
    company = next(account.records("account"))["id"]
    assert ask(server, f"/api/brand-voice/{company}").json()["data"]["attributes"]["version"] == "v1"
    assert ask(server, f"/api/text-messaging-configurations/{company}").json()["data"]["id"] == company
    assert ask(server, "/api/brand-voice/other").status_code == 404
