"""Profiles, computed from their number: any account size costs no memory.

Numbers below `established` are profiles from before the history; their last updates are spread over the history in
another order than their creation, with bulk imports that give many of them one second. The others were created during
the history and updated shortly after.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd
from typing import Any

from ..data.ids import Codec, mix
from ..data.timestamps import iso
from .sorted_runs import Handle, Run
from .store import Resource, Store

DAY_S = 86400
YOUTH_S = 730 * DAY_S
FIRST_TOUCH_S = 90

FIRST_NAMES = ["Ada", "Björn", "Chloé", "Dmitri", "Élise", "Fatima", "George", "Hana", "Ines", "Jun", "Kofi", "Łukasz"]
LAST_NAMES = ["Nguyễn", "O'Brien", "García", "Smith", "Müller", "Иванова", "Sato", "Okafor", "Silva", "王", "Åkesson"]
CITIES = [
    ("Boston", "Massachusetts", "United States", "02111", "America/New_York", 42.3554, -71.0603),
    ("München", "Bayern", "Germany", "80331", "Europe/Berlin", 48.1372, 11.5755),
    ("São Paulo", "São Paulo", "Brazil", "01000-000", "America/Sao_Paulo", -23.5475, -46.6361),
    ("東京", "Tokyo", "Japan", "100-0001", "Asia/Tokyo", 35.6895, 139.6917),
    ("Sydney", "New South Wales", "Australia", "2000", "Australia/Sydney", -33.8679, 151.2073),
]
LOCALES = ["en-US", "de-DE", "pt-BR", "ja-JP", "en-AU", None]
REASONS = ["HARD_BOUNCE", "INVALID_EMAIL", "SPAM_COMPLAINT", "UNSUBSCRIBE", "USER_SUPPRESSED"]
METHODS = ["PREFERENCE_PAGE", "FORM", "API", "SUBSCRIBE_PAGE"]


def coprime(near: int, size: int) -> int:
    """A factor near `near` that permutes `range(size)`."""
    factor = near % max(size, 1) or 1
    while gcd(factor, size) != 1:
        factor += 1
    return factor


class ProfileStore(Store):
    """Profiles of an account.

    Args:
        size: how many.
        seed: of the account.
        start, end: the history, in seconds since 1970.
        list_ids: lists that suppressions may name.
    """

    default_order = "created"

    def __init__(
        self,
        size: int,
        seed: int,
        start: int,
        end: int,
        list_ids: list[str],
    ) -> None:
        super().__init__("profile")
        self.base_size = size
        self.established = size - size // 10
        self._seed = seed
        self._start, self._end = start, end
        self._list_ids = list_ids
        self.codec = Codec("01HKSANDBX" + f"{mix(seed, 7) % 10**10:010d}", seed + 1)
        n = self.established
        self._factor = coprime(int(n * 0.618), n)
        self._inverse = pow(self._factor, -1, n) if n > 1 else 0
        self._block = max(40, min(n // 8, 5000))
        self._clump = min(self._block // 2, 2500)

    def identity(self, number: int) -> str:
        """The id of a base profile."""
        return self.codec.encode(number).decode()

    def base_number(self, identity: str) -> int | None:
        return self.codec.decode(identity)

    def created(self, number: int) -> int:
        """Second of creation; rises with the number."""
        if number < self.established:
            return self._start - YOUTH_S + YOUTH_S * number // self.established
        place, young = number - self.established, self.base_size - self.established
        return self._start + (self._end - self._start - FIRST_TOUCH_S - 1) * place // young

    def _updated_of_rank(self, rank: int) -> int:
        within = rank % self._block
        if within < self._clump:
            rank -= within
        return self._start + (self._end - self._start) * rank // self.established

    def updated(self, number: int) -> int:
        """Second of the last update."""
        if number < self.established:
            return self._updated_of_rank(number * self._factor % self.established)
        return self.created(number) + FIRST_TOUCH_S

    def base_runs(self, order: str) -> list[Run] | None:
        n = self.established
        if order == "number":
            return [Run(self.base_size, lambda place: (place, place))]
        if order == "created":
            return [Run(self.base_size, lambda place: (self.created(place), place))]
        if order == "updated":
            # equal seconds of a bulk import: the number has to rise as well, so their ranks are sorted by it
            young = Run(self.base_size - n, lambda place: (self.created(n + place) + FIRST_TOUCH_S, n + place))
            return [Run(n, self._ranked, self._walk_ranked), young]
        return None

    def _ranked(self, rank: int) -> Handle:
        start, stop = self._clump_around(rank)
        if stop - start == 1:
            return self._updated_of_rank(rank), rank * self._inverse % self.established
        return self._updated_of_rank(rank), self._sorted_clump(start, stop)[rank - start]

    def _walk_ranked(self, places: range) -> Iterator[Handle]:
        return map(self._ranked, places)

    def _clump_around(self, rank: int) -> tuple[int, int]:
        """Ranks that share the second of a rank: a half-open range."""
        n, span = self.established, self._end - self._start
        within = rank % self._block
        if within < self._clump:
            start = rank - within
            stop = min(start + self._clump, n)
        else:
            start, stop = rank, rank + 1
        second = self._start + span * start // n
        # neighbours may fall into the same second where ranks are denser than seconds
        while start > 0 and self._updated_of_rank(start - 1) == second:
            start -= 1
        while stop < n and self._updated_of_rank(stop) == second:
            stop += 1
        return start, stop

    def _sorted_clump(self, start: int, stop: int) -> list[int]:
        kept = getattr(self, "_kept_clump", None)
        if kept is None or kept[0] != start:
            numbers = sorted(rank * self._inverse % self.established for rank in range(start, stop))
            kept = self._kept_clump = (start, numbers)
        return kept[1]

    def values(self, number: int, field: str) -> list[Any]:
        if field in ("id", "created", "updated") and self.in_overlay(number) is None:
            if field == "id":
                return [self.identity(number)]
            return [self.created(number) if field == "created" else self.updated(number)]
        return super().values(number, field)

    def base_resource(self, number: int) -> Resource:
        """The record without its lists and segments, which the account knows."""
        return {
            "type": "profile",
            "id": self.identity(number),
            "attributes": self._attributes(number),
            "relationships": {"push-tokens": {"data": []}, "conversations": {"data": []}},
        }

    def _attributes(self, number: int) -> Resource:
        x = mix(number, self._seed)
        first, last = FIRST_NAMES[x % 12], LAST_NAMES[(x >> 4) % 11]
        city, region, country, code, zone, latitude, longitude = CITIES[(x >> 8) % 5]
        created, updated = self.created(number), self.updated(number)
        has_email, has_phone = (x >> 12) % 20 != 0, (x >> 17) % 3 == 0 or (x >> 12) % 20 == 0
        event_second = self._start + (x >> 20) % max(1, self._end - self._start)
        return {
            "email": f"person{number}@example.com" if has_email else None,
            "phone_number": f"+1555{number % 10**7:07d}" if has_phone else None,
            "external_id": f"cust-{number}" if (x >> 22) % 2 else None,
            "first_name": first if (x >> 23) % 8 else None,
            "last_name": last if (x >> 26) % 8 else None,
            "organization": "Åcme \u2028GmbH" if (x >> 29) % 16 == 0 else None,
            "locale": LOCALES[(x >> 33) % 6],
            "title": "Engineer" if (x >> 36) % 8 == 0 else None,
            "image": f"https://images.example.com/{number}.png" if (x >> 39) % 8 == 0 else None,
            "created": iso(created),
            "updated": iso(updated),
            "last_event_date": iso(event_second) if (x >> 42) % 3 else None,
            "location": {
                "address1": f"{1 + x % 400} Market St" if (x >> 44) % 2 else None,
                "address2": None,
                "city": city,
                "country": country,
                "latitude": latitude if (x >> 45) % 2 else str(latitude),
                "longitude": longitude if (x >> 45) % 2 else str(longitude),
                "region": region,
                "zip": code,
                "timezone": zone,
                "ip": f"203.0.113.{x % 256}" if (x >> 46) % 2 else None,
            }
            if (x >> 47) % 8
            else {name: None for name in ("address1", "address2", "city", "country", "latitude", "longitude")}
            | {name: None for name in ("region", "zip", "timezone", "ip")},
            "properties": self._properties(x),
            "subscriptions": self._subscriptions(x, created, updated, has_email, has_phone),
            "predictive_analytics": self._analytics(x, updated),
        }

    @staticmethod
    def _properties(x: int) -> Resource:
        if x % 6 == 0:
            return {}
        properties: Resource = {
            "tier": ["gold", "silver", None][x % 3],
            "Loyalty Points": x % 5000 if x % 7 else str(x % 5000),
            "$source": -6 if x % 2 else "Shopify",
            "favourites": [f"sku-{x % 97}", f"sku-{x % 89}"],
        }
        if x % 5 == 0:
            properties["preferences"] = {
                "colour": "青",
                "sizes": {"shoe": 42.5, "shirt": "M"},
                "newsletter.weekly": True,
            }
        return properties

    def _subscriptions(self, x: int, created: int, updated: int, has_email: bool, has_phone: bool) -> Resource:
        consent = ["SUBSCRIBED", "NEVER_SUBSCRIBED", "UNSUBSCRIBED"][(x >> 31) % 3] if has_email else "NEVER_SUBSCRIBED"
        suppressed = has_email and (x >> 34) % 9 == 0
        listed = has_email and bool(self._list_ids) and (x >> 37) % 11 == 0
        at, later = (iso(created + (updated - created) * part // 4) for part in (2, 3))
        suppressions = [{"reason": REASONS[x % 5], "timestamp": at}]
        if (x >> 41) % 3 == 0:
            suppressions.append({"reason": REASONS[(x + 2) % 5], "timestamp": later})
        of_lists = [
            {"list_id": self._list_ids[(x + turn) % len(self._list_ids)], "reason": reason, "timestamp": moment}
            for turn, (reason, moment) in enumerate([("UNSUBSCRIBE", at), ("USER_SUPPRESSED", later)])
            if turn < len(self._list_ids) and turn <= (x >> 43) % 2
        ]
        marketing = {
            "can_receive_email_marketing": has_email and consent != "UNSUBSCRIBED" and not suppressed,
            "consent": consent,
            "consent_timestamp": at if consent != "NEVER_SUBSCRIBED" else None,
            "last_updated": at if consent != "NEVER_SUBSCRIBED" else None,
            "method": METHODS[x % 4] if consent != "NEVER_SUBSCRIBED" else None,
            "method_detail": "Footer form" if consent == "SUBSCRIBED" else None,
            "custom_method_detail": None,
            "double_optin": bool(x % 2) if consent == "SUBSCRIBED" else None,
            "suppression": suppressions if suppressed else [],
            "list_suppressions": of_lists if listed else [],
        }  # fmt: skip
        sms_consent = "SUBSCRIBED" if has_phone and x % 2 else "NEVER_SUBSCRIBED"
        if has_phone and x % 6 == 4:
            sms_consent = "UNSUBSCRIBED"
        subscribed = sms_consent == "SUBSCRIBED"
        open_tracking: Resource | None = None
        if x % 4 == 0:
            open_tracking = {
                "consent": "IMPLICIT",
                "consent_timestamp": None,
                "last_updated": at,
                "created_timestamp": at,
                "metadata": {},
                "can_receive": True,
                "valid_until": None,
            }
        sms = {
            "marketing": {
                "can_receive_sms_marketing": subscribed,
                "consent": sms_consent,
                "consent_timestamp": at if subscribed else None,
                "method": "CHECKOUT" if subscribed else None,
                "method_detail": "" if subscribed else None,
                "last_updated": at if subscribed else None,
            },
            "transactional": {
                "can_receive_sms_transactional": subscribed,
                "consent": sms_consent,
                "consent_timestamp": at if subscribed else None,
                "method": None,
                "method_detail": None,
                "last_updated": None,
            },
        }
        push = {"can_receive_push_marketing": x % 10 == 0, "consent": "SUBSCRIBED" if x % 10 == 0 else "UNSUBSCRIBED"}
        subscriptions: Resource = {
            "email": {"marketing": marketing}
            | ({"open_tracking": open_tracking} if open_tracking else {})
            | ({"click_tracking": open_tracking} if open_tracking and x % 8 else {}),
            "sms": sms,
            "mobile_push": {"marketing": push | {"consent_timestamp": at if x % 10 == 0 else None}},
        }
        if has_phone and x % 7 == 0:
            subscriptions["whatsapp"] = {
                name: {
                    "consent": "SUBSCRIBED" if name == "marketing" else "NEVER_SUBSCRIBED",
                    "consent_timestamp": at if name == "marketing" else None,
                    "last_updated": at,
                    "created_timestamp": at,
                    "metadata": {"origin": "form"},
                    "can_receive": name == "marketing",
                    "valid_until": None,
                    "phone_number": "+15550100",
                }
                for name in ("marketing", "transactional", "conversational")
            }
        return subscriptions

    @staticmethod
    def _analytics(x: int, updated: int) -> Resource:
        if x % 3 == 0:
            return {}
        orders = (x >> 9) % 12
        value = round(orders * (20 + x % 80) * 1.07, 2)
        return {
            "historic_clv": value,
            "predicted_clv": round(value * 0.4, 2),
            "total_clv": round(value * 1.4, 2),
            "historic_number_of_orders": orders,
            "predicted_number_of_orders": round(orders * 0.31, 2),
            "average_days_between_orders": round(30 + x % 90 + 0.5, 1) if orders > 1 else None,
            "average_order_value": round(value / orders, 2) if orders else None,
            "churn_probability": round((x >> 13) % 100 / 100, 2),
            "expected_date_of_next_order": iso(updated + (x % 60) * DAY_S) if orders > 1 else None,
            "ranked_channel_affinity": ["email", "sms", "push"][: x % 4],
        }
