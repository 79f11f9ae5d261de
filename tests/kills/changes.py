"""What happens to an account while it is loaded: at random, between runs and during them."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from random import Random

from sandbox import Account
from tests.support.journeys import FakeClock

KINDS = ("profile", "event", "list", "segment", "template", "flow", "campaign", "tag")
#: Kinds of which records are deleted. Those of other kinds have children that would go too.
DELETED = ("profile", "event", "list", "template", "tag")
#: JSON that Klaviyo sends and no decoder takes -> what the column holds of it. The array is nested 1,000 deep; a value
#: deeper than 500 is kept as text from the 64th level of the page on, which is the 59th below the properties.
ODD = [
    ('{"a":NaN,"b":[-Infinity,Infinity]}', '{"a":"NaN","b":["-Infinity","Infinity"]}'),
    ('{"deep":' + "[" * 1000 + "]" * 1000 + "}",
     '{"deep":' + "[" * 58 + '"' + "[" * 942 + "]" * 942 + '"' + "]" * 58 + "}"),
    ('{"big":12345678901234567890123,"a.b":"\\u2028","":[{}]}', '{"big":12345678901234567890123,"a.b":"\\u2028","":[{}]}'),
]  # fmt: skip


class Changes:
    """Changes an account at random. Thread-safe.

    Args:
        lookback: how late a record may appear.
        start: of the first run; no record is dated earlier.

    Attributes:
        mark: what a run may have read up to; None before the first.
        made: how many changes there were.
        errors: what changes during a run raised; to be raised when it is over.
        deleted: ids of the records that were deleted; their rows stay in tables with a date filter.
    """

    def __init__(self, pick: Random, account: Account, clock: FakeClock, lookback: timedelta, start: datetime) -> None:
        self.pick = pick
        self.mark: datetime | None = None
        self.made = 0
        self.errors: list[Exception] = []
        self.deleted: set[str] = set()
        self._account, self._clock = account, clock
        self._lookback, self._start = lookback, start
        self._lock = threading.Lock()
        self._ids = {kind: [str(record["id"]) for record in account.records(kind)] for kind in KINDS}

    def several(self, most: int) -> None:
        """Make so many changes at most."""
        for _ in range(self.pick.randrange(most + 1)):
            self.one()

    def one(self) -> None:
        """Make a change, if there is something to change."""
        with self._lock:
            change = self.pick.choice([
                self._event, self._event, self._events, self._odd_event, self._profile, self._update, self._update,
                self._join, self._join, self._leave, self._leave, self._tag, self._delete,
            ])  # fmt: skip
            self.made += change()

    def during(self, requests: int) -> None:
        """Make a change once in so many calls; to be called with each request of a run."""
        if self.pick.randrange(requests) == 0:
            try:
                self.one()
            except Exception as error:
                # In a thread of the sandbox, it would pass for one more dropped connection.
                self.errors.append(error)
                raise

    def _moment(self) -> datetime:
        """When a record may appear so that a run has to bring it: now, later, or late within the lookback."""
        pick, now = self.pick, self._clock.moment
        late = max(self._start, (self.mark or now) - self._lookback)
        choice = pick.choice(["now", "future", "late", "late", "edge", "midnight"])
        if choice == "future":
            return now + timedelta(minutes=pick.choice([1, 300, 100_000]))
        if choice == "late":
            return late + (now - late) * pick.random() ** 2
        if choice == "edge":
            return late
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight if choice == "midnight" and midnight >= late else now

    def _add(self, kind: str, attributes: dict[str, object]) -> None:
        self._ids[kind].append(self._account.add(kind, {"attributes": attributes}))

    def _event(self) -> bool:
        self._add("event", {"datetime": self._moment()})
        return True

    def _events(self) -> bool:
        """Many in one second, as a campaign send makes them."""
        moment = self._moment()
        for _ in range(self.pick.choice([3, 60])):
            self._add("event", {"datetime": moment})
        return True

    def _odd_event(self) -> bool:
        sent, kept = self.pick.choice(ODD)
        moment, identity = self._moment().replace(microsecond=0), f"odd{self.pick.getrandbits(60)}"
        attributes = {"datetime": moment.isoformat(), "timestamp": int(moment.timestamp()), "uuid": identity,
                      "event_properties": "HERE"}  # fmt: skip
        relationships = {"profile": {"data": None}, "metric": {"data": None}, "attributions": {"data": []}}
        record = {"type": "event", "id": identity, "attributes": attributes, "relationships": relationships}
        raw = json.dumps(record).replace('"HERE"', sent).encode()
        attributes["event_properties"] = json.loads(kept)
        self._account.stores["event"].put(record, raw, int(moment.timestamp()))
        return True

    def _profile(self) -> bool:
        self._add("profile", {"updated": min(self._moment(), self._clock.moment)})
        return True

    def _tag(self) -> bool:
        self._add("tag", {"name": f"tag {self.pick.random()}"})
        return True

    def _update(self) -> bool:
        kind = self.pick.choice(["profile", "profile", "list", "segment", "template", "flow", "campaign"])
        if not self._ids[kind]:
            return False
        name = "first_name" if kind == "profile" else "name"
        self._account.update(kind, self.pick.choice(self._ids[kind]), {name: f"changed {self.pick.random()}"})
        return True

    def _join(self) -> bool:
        kind = self.pick.choice(["list", "segment"])
        if not self._ids[kind] or not self._ids["profile"]:
            return False
        self._account.join(kind, self.pick.choice(self._ids[kind]), self.pick.choice(self._ids["profile"]))
        return True

    def _leave(self) -> bool:
        kind = self.pick.choice(["list", "segment"])
        groups = [identity for identity in self._ids[kind] if self._account.members(kind, identity)]
        if not groups:
            return False
        group = self.pick.choice(groups)
        self._account.leave(kind, group, self.pick.choice([*self._account.members(kind, group)]))
        return True

    def _delete(self) -> bool:
        kind = self.pick.choice(DELETED)
        # Each kind keeps some of its records to be changed.
        if len(self._ids[kind]) < 3:
            return False
        identity = self._ids[kind].pop(self.pick.randrange(len(self._ids[kind])))
        self._account.remove(kind, identity)
        self.deleted.add(identity)
        return True
