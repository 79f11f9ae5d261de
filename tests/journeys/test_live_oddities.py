"""What live answers show beyond Klaviyo's documentation: odd ids, hidden records, and parents that vanish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import Account
from sources.klaviyo.catalog.model import NO_VARIANT
from sources.klaviyo.catalog.reports import reports
from sources.klaviyo.catalog.revisions import DEFAULT_REVISION
from sources.klaviyo.plan import plan
from tests.support.journeys import NOW, FakeClock, Journey, home

START = "2026-03-01"


class FastClock(FakeClock):
    """Analytics reports wait half a minute for each request."""

    speed = 4000


@pytest.fixture
def clock() -> FakeClock:
    return FastClock()


def account_of(clock: FakeClock) -> Account:
    return Account(
        seed=7, now=clock.now, profiles=60, events=3000, lists=4, segments=3, flows=4, campaigns=12, history_days=60
    )


@pytest.fixture
def journey(tmp_path: Path, clock: FakeClock) -> Iterator[Journey]:
    with home(tmp_path):
        made = Journey(tmp_path, account_of(clock), clock)
        yield made
        made.close()


# Hidden images


def test_images_come_whether_they_are_hidden_or_not_and_each_once(journey: Journey) -> None:
    outcome = journey.load("images", start_date="2024-01-01")["images"]
    wanted = {image["id"]: image["attributes"]["hidden"] for image in journey.account.records("image")}
    assert {*wanted.values()} == {True, False}
    assert journey.sql("SELECT id, hidden FROM klaviyo.images ORDER BY id") == sorted(wanted.items())
    assert outcome.rows == len(wanted)
    assert journey.requested("/api/images") == 2


def test_images_that_were_loaded_without_the_hidden_ones_are_read_again_once(
    journey: Journey, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = replace(reports(DEFAULT_REVISION)["images"].endpoint, variants=(NO_VARIANT,), asked="")
    before = {**reports(DEFAULT_REVISION), "images": replace(reports(DEFAULT_REVISION)["images"], endpoint=row)}
    with monkeypatch.context() as patch:
        patch.setattr(plan, "reports", lambda revision: before)
        journey.load("images", start_date="2024-01-01")
    assert journey.sql("SELECT count(*) FROM klaviyo.images WHERE hidden") == [(0,)]
    # They changed long before the lookback.
    journey.clock.forward(days=9)
    journey.load("images", start_date="2024-01-01")
    assert sorted(journey.ids("images")) == sorted(image["id"] for image in journey.account.records("image"))
    journey.clock.forward(hours=1)
    (window,) = journey.load("images", start_date="2024-01-01")["images"].windows
    assert window.start > NOW


# Ids of campaigns where messages are expected


def test_campaign_values_join_to_their_campaign_and_where_there_is_one_to_their_message(journey: Journey) -> None:
    journey.load("campaign_values", "campaigns", "campaign_messages", start_date=START)
    joined = """
        SELECT v.id, v.campaign_id, c.id, v.campaign_message_id, m.id FROM klaviyo.campaign_values v
        LEFT JOIN klaviyo.campaigns c ON c.id = v.campaign_id
        LEFT JOIN klaviyo.campaign_messages m ON m.id = v.campaign_message_id
    """
    rows = journey.sql(joined)
    assert len(rows) == len(journey.ids("campaign_values"))
    assert all(campaign == joined_to for _, campaign, joined_to, _, _ in rows)
    own = {campaign for _, campaign, _, message, _ in rows if message == campaign}
    assert own == journey.account.named_by_campaign & {campaign for _, campaign, _, _, _ in rows} != set()
    of_messages = [row for row in rows if row[1] not in own]
    assert of_messages
    assert all(message == joined_to for _, _, _, message, joined_to in of_messages)


def test_the_message_of_an_event_is_kept_as_klaviyo_sent_it(journey: Journey) -> None:
    journey.load("events", "campaigns", "campaign_messages", start_date=START)
    named = """
        SELECT id, event_properties->>'$."$message"', attributed_campaign_ids->>0 FROM klaviyo.events
        WHERE json_array_length(attributed_campaign_ids) > 0 AND (event_properties->>'$."$message"') IS NOT NULL
    """
    rows = journey.sql(named)
    sent = {event["id"]: event["attributes"]["event_properties"] for event in journey.account.records("event")}
    assert {event: message for event, message, _ in rows} == {event: sent[event]["$message"] for event, _, _ in rows}
    campaigns, messages = {*journey.ids("campaigns")}, {*journey.ids("campaign_messages")}
    own = {campaign for _, message, campaign in rows if message == campaign}
    assert own == journey.account.named_by_campaign & {campaign for _, _, campaign in rows} != set()
    assert all(message in campaigns for _, message, campaign in rows if campaign in own)
    others = [message for _, message, campaign in rows if campaign not in own]
    assert others
    assert {*others} <= messages
