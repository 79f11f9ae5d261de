"""Data that no documentation mentions: the row is there, and what fits no column is in `_extra`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sources.klaviyo.load.runner import Outcome
from tests.support.journeys import FakeClock, Journey, home, small_account, sql

WHEN = datetime(2026, 6, 10, 0, 15, 23, tzinfo=UTC)
US = 1_000_000
EPOCH = int(WHEN.timestamp())

#: id -> the attributes that differ from those of a proper event.
EVENTS: dict[str, dict[str, Any]] = {
    "proper": {},
    "unknown": {"sentiment": {"score": 0.5}, "lang": "de"},
    "uuid-number": {"uuid": 17},
    "uuid-switch": {"uuid": True},
    "seconds-text": {"timestamp": "1781050523"},
    "seconds-huge": {"timestamp": 2**70},
    "seconds-true": {"timestamp": True},
    "seconds-half": {"timestamp": 1.5},
    "properties-list": {"event_properties": [1, "two", None]},
    "properties-text": {"event_properties": "none at all"},
    "properties-null": {"event_properties": None},
    "properties-empty": {"event_properties": {}},
    "keys": {"event_properties": {"a": 1, "A": 2, "ä": 3, "": 4, "a.b": 5, "$value": 6, "x\u2028y": 7}},
}
#: id -> how `datetime` is written, and microseconds since 1970 as the column has it.
MOMENTS: dict[str, tuple[Any, int | None]] = {
    "time-usual": ("2026-06-10T00:15:23+00:00", EPOCH * US),
    "time-z": ("2026-06-10T00:15:23Z", EPOCH * US),
    "time-space": ("2026-06-10 00:15:23.918411+00:00", EPOCH * US + 918_411),
    "time-offset": ("2026-06-10T02:15:23+02:00", EPOCH * US),
    "time-naive": ("2026-06-10T00:15:23", EPOCH * US),
    "time-minutes": ("2026-06-10T00:15+00:00", (EPOCH - 23) * US),
    "time-milli": ("2026-06-10T00:15:23.5Z", EPOCH * US + 500_000),
    "time-nano": ("2026-06-10T00:15:23.918411999+00:00", EPOCH * US + 918_411),
    "time-words": ("yesterday", None),
    "time-empty": ("", None),
    "time-number": (EPOCH, None),
    "time-null": (None, None),
    "time-object": ({"date": "2026-06-10"}, None),
}
RAW: dict[str, bytes] = {
    "digits": b'{"n":12345678901234567890123,"f":1.10,"e":1e400,"z":-0.0,"n":1}',
    "nul": rb'{"nul":"a\u0000b","lone":"\ud800","pair":"\ud83c\udf81","slash":"\/"}',
    "spaces": b'{ "a" : [ 1 , 2 ] ,\n "b":{ } }',
}


def event(identity: Any, attributes: dict[str, Any]) -> dict[str, Any]:
    """An event as Klaviyo sends it, but for what is given."""
    usual = {"datetime": WHEN.isoformat(), "timestamp": EPOCH, "uuid": "u", "event_properties": {"a": 1}}
    return {
        "type": "event",
        "id": identity,
        "attributes": usual | attributes,
        "relationships": {"profile": {"data": {"type": "profile", "id": "P"}}, "metric": {"data": None},
                          "attributions": {"data": []}},
    }  # fmt: skip


STRANGE: list[bytes] = [
    json.dumps(event(4711, {})).encode(),
    b'{"type":"event","attributes":{"datetime":"2026-06-10T00:15:23+00:00","event_properties":{"who":"am I"}}}',
    b'{"type":"event","id":null,"attributes":{"uuid":"second without id"}}',
    b'{"type":"event","id":"bare"}',
    b'{"type":"event","id":"attributes-null","attributes":null,"relationships":null}',
    b'{"type":"event","id":"attributes-list","attributes":[1,2]}',
    b'{"type":"event","id":"many-profiles","attributes":{"uuid":"m"},"relationships":{"profile":{"data":'
    b'[{"type":"profile","id":"A"},{"type":"profile","id":"B"}]},"metric":7}}',
]


@dataclass
class Loaded:
    """What the run left."""

    folder: Path
    outcomes: dict[str, Outcome]

    def one(self, identity: str, columns: str, report: str = "events") -> tuple[Any, ...]:
        (row,) = sql(self.folder, f"SELECT {columns} FROM klaviyo.{report} WHERE id = '{identity}'")
        return row

    def extra(self, identity: str, report: str = "events") -> dict[str, Any] | None:
        (text,) = self.one(identity, "_extra::VARCHAR", report)
        return None if text is None else json.loads(text)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder, clock = tmp_path_factory.mktemp("hostile"), FakeClock()
    account = small_account(clock, seed=51, events=300, profiles=30, metrics=2, history_days=30)
    for identity, attributes in EVENTS.items():
        account.add_raw("event", WHEN, json.dumps(event(identity, attributes)).encode())
    for identity, (written, _) in MOMENTS.items():
        account.add_raw("event", WHEN, json.dumps(event(identity, {"datetime": written})).encode())
    for identity, properties in RAW.items():
        text = json.dumps(event(identity, {"event_properties": "HERE"})).encode()
        account.add_raw("event", WHEN, text.replace(b'"HERE"', properties))
    for raw in STRANGE:
        account.add_raw("event", WHEN + timedelta(seconds=1), raw)
    account.add("event", {"id": "large", "attributes": {"datetime": WHEN, "event_properties": {"html": "ü" * 500_000}}})
    account.add("profile", {"id": "odd", "attributes": {
        "updated": WHEN, "email": [5], "external_id": 2**60, "properties": {"n": 2**60}, "location": "Boston",
        "subscriptions": {"email": {"marketing": {"consent": "SUBSCRIBED", "double_optin": "yes", "new": 1}, "beta": {}},
                          "fax": {"consent": "NEVER"}},
    }})  # fmt: skip
    account.add("profile", {"id": "place", "attributes": {
        "updated": WHEN, "location": {"latitude": "42.5", "longitude": "north", "city": ["a"], "zip": 2111},
    }})  # fmt: skip
    with home(folder):
        journey = Journey(folder, account, clock)
        try:
            yield Loaded(folder, journey.load("events", "profiles", start_date="2026-04-01"))
        finally:
            journey.close()


def test_every_record_is_a_row(hostile: Loaded) -> None:
    found = {identity for (identity,) in sql(hostile.folder, "SELECT id FROM klaviyo.events")}
    assert {
        *EVENTS,
        *MOMENTS,
        *RAW,
        "4711",
        "bare",
        "attributes-null",
        "attributes-list",
        "many-profiles",
        "large",
    } <= found
    assert len([identity for identity in found if identity.startswith("no-id-")]) == 2
    assert len(found) == 300 + len(EVENTS) + len(MOMENTS) + len(RAW) + len(STRANGE) + 1
    assert sql(hostile.folder, "SELECT count(*) FROM klaviyo.events") == [(len(found),)]


def test_what_fits_loads_as_ever_beside_what_does_not(hostile: Loaded) -> None:
    columns = "uuid, epoch_us(datetime), timestamp, event_properties::VARCHAR, profile_id, metric_id"
    usual = ("u", EPOCH * US, EPOCH, '{"a": 1}', "P", None)
    assert hostile.one("proper", columns) == usual
    assert hostile.extra("proper") is None
    assert hostile.one("unknown", columns) == usual
    assert hostile.extra("unknown") == {"attributes.sentiment": {"score": 0.5}, "attributes.lang": "de"}
    assert hostile.one("uuid-number", columns) == ("17", *usual[1:])
    assert hostile.extra("uuid-number") is None
    assert hostile.one("uuid-switch", columns) == (None, *usual[1:])
    assert hostile.extra("uuid-switch") == {"attributes.uuid": True}
    for identity, value in (("text", "1781050523"), ("huge", 2**70), ("true", True), ("half", 1.5)):
        assert hostile.one(f"seconds-{identity}", "timestamp, uuid, profile_id") == (None, "u", "P")
        assert hostile.extra(f"seconds-{identity}") == {"attributes.timestamp": value}


def test_open_ended_json_of_any_shape_stays_as_it_was_written(hostile: Loaded) -> None:
    for identity, attributes in EVENTS.items():
        if "event_properties" in attributes:
            (text,) = hostile.one(identity, "event_properties::VARCHAR")
            assert (None if text is None else json.loads(text)) == attributes["event_properties"]
            assert hostile.extra(identity) is None
    for identity, raw in RAW.items():
        # Half a surrogate pair is no text that a database could hold; everything else keeps its bytes.
        assert hostile.one(identity, "event_properties::VARCHAR") == (raw.decode().replace(r"\ud800", r"\ufffd"),)
    assert hostile.one("digits", "event_properties->>'f'") == ("1.1",)
    assert hostile.one("keys", """event_properties->>'$."$value"', event_properties->>'A'""") == ("6", "2")
    assert hostile.one("large", "length(event_properties->>'html')") == (500_000,)


@pytest.mark.parametrize("identity", MOMENTS)
def test_a_timestamp_in_any_shape_is_utc_and_no_digit_is_lost(hostile: Loaded, identity: str) -> None:
    written, wanted = MOMENTS[identity]
    assert hostile.one(identity, "epoch_us(datetime)") == (wanted,)
    whole = written is None or (wanted is not None and identity != "time-nano")
    assert hostile.extra(identity) == (None if whole else {"attributes.datetime": written})


def test_records_without_a_usable_id_are_kept_whole_and_once(hostile: Loaded) -> None:
    rows = sql(
        hostile.folder, "SELECT _extra->>'$.\"$\"' FROM klaviyo.events WHERE starts_with(id, 'no-id-') ORDER BY 1"
    )
    assert sorted(json.dumps(json.loads(text)) for (text,) in rows) == sorted(
        json.dumps(json.loads(raw)) for raw in STRANGE[1:3]
    )
    assert hostile.one("4711", "uuid, profile_id") == ("u", "P")


def test_a_record_of_another_shape_keeps_what_it_has(hostile: Loaded) -> None:
    assert hostile.one("bare", "uuid, datetime, event_properties, profile_id") == (None, None, None, None)
    assert hostile.extra("attributes-list") == {"attributes": [1, 2]}
    extra = hostile.extra("many-profiles")
    assert extra is not None
    assert [ref["id"] for ref in extra["relationships.profile"]["data"]] == ["A", "B"]
    assert extra["relationships.metric"] == 7
    assert hostile.one("many-profiles", "uuid, profile_id") == ("m", None)


def test_nested_misfits_are_named_by_their_path(hostile: Loaded) -> None:
    consent = "subscriptions_email_marketing_consent, subscriptions_email_marketing_double_optin"
    assert hostile.one("odd", f"email, external_id, location_city, {consent}, properties->>'n'", "profiles") == (
        None, str(2**60), None, "SUBSCRIBED", None, str(2**60),
    )  # fmt: skip
    assert hostile.extra("odd", "profiles") == {
        "attributes.email": [5],
        "attributes.location": "Boston",
        "attributes.subscriptions.email.marketing.double_optin": "yes",
        "attributes.subscriptions.email.marketing.new": 1,
        "attributes.subscriptions.email.beta": {},
        "attributes.subscriptions.fax": {"consent": "NEVER"},
    }
    where = "location_latitude, location_longitude, location_city, location_zip"
    assert hostile.one("place", where, "profiles") == (42.5, None, None, "2111")
    assert hostile.extra("place", "profiles") == {
        "attributes.location.longitude": "north",
        "attributes.location.city": ["a"],
    }


def test_the_outcome_counts_what_did_not_fit(hostile: Loaded) -> None:
    events, profiles = hostile.outcomes["events"].misfits, hostile.outcomes["profiles"].misfits
    unfit = [i for i, (written, wanted) in MOMENTS.items() if written is not None and wanted is None]
    assert events["attributes.datetime"] == len(unfit) + 1
    assert events["attributes.timestamp"] == 4
    assert (events["attributes.uuid"], events["$"]) == (1, 2)
    assert profiles["attributes.location"] == profiles["attributes.email"] == 1
    assert hostile.outcomes["events"].new_fields == {"attributes.sentiment": 1, "attributes.lang": 1}
    assert hostile.outcomes["profiles"].new_fields == {
        f"attributes.subscriptions.{path}": 1 for path in ("email.marketing.new", "email.beta", "fax")
    }
    # Nothing is counted that is not in the column, and the other way round.
    for report in ("events", "profiles"):
        ((cells,),) = sql(hostile.folder, f"SELECT sum(len(json_keys(_extra))) FROM klaviyo.{report}")
        counted = hostile.outcomes[report].misfits + hostile.outcomes[report].new_fields
        assert counted.pop("(text that is not Unicode)", 0) == (1 if report == "events" else 0)
        assert sum(counted.values()) == cells
