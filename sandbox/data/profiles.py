"""The attributes of profiles, computed from pseudo-random bits."""

from __future__ import annotations

from .maker import DAY_S
from .resources import Resource
from .timestamps import iso

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


def attributes(number: int, x: int, *, created: int, updated: int, last_event: int, list_ids: list[str]) -> Resource:
    """The attributes of a profile.

    Args:
        x: 64 pseudo-random bits of the profile; each attribute takes some of them.
        created, updated, last_event: seconds since 1970.
        list_ids: lists that suppressions may name.
    """
    first, last = FIRST_NAMES[x % 12], LAST_NAMES[(x >> 4) % 11]
    city, region, country, code, zone, latitude, longitude = CITIES[(x >> 8) % 5]
    has_email, has_phone = (x >> 12) % 20 != 0, (x >> 17) % 3 == 0 or (x >> 12) % 20 == 0
    return {
        "email": f"person{number}@example.com" if has_email else None,
        "phone_number": f"+1555{number % 10**7:07d}" if has_phone else None,
        "external_id": f"cust-{number}" if (x >> 22) % 2 else None,
        # In no response schema, and in every profile (seen).
        "anonymous_id": f"{x:016x}" if (x >> 48) % 16 == 0 else None,
        "whatsapp_bsuid": f"US.{x % 10**18:018d}" if has_phone and x % 7 == 0 else None,
        "first_name": first if (x >> 23) % 8 else None,
        "last_name": last if (x >> 26) % 8 else None,
        "organization": "Åcme \u2028GmbH" if (x >> 29) % 16 == 0 else None,
        "locale": LOCALES[(x >> 33) % 6],
        "title": "Engineer" if (x >> 36) % 8 == 0 else None,
        "image": f"https://images.example.com/{number}.png" if (x >> 39) % 8 == 0 else None,
        "created": iso(created),
        "updated": iso(updated),
        "last_event_date": iso(last_event) if (x >> 42) % 3 else None,
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
        "properties": _properties(x),
        "subscriptions": _subscriptions(x, created, updated, has_email, has_phone, list_ids),
        "predictive_analytics": _predictive_analytics(x, updated),
    }


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


def _subscriptions(
    x: int, created: int, updated: int, has_email: bool, has_phone: bool, list_ids: list[str]
) -> Resource:
    consent = ["SUBSCRIBED", "NEVER_SUBSCRIBED", "UNSUBSCRIBED"][(x >> 31) % 3] if has_email else "NEVER_SUBSCRIBED"
    suppressed = has_email and (x >> 34) % 9 == 0
    listed = has_email and bool(list_ids) and (x >> 37) % 11 == 0
    at, later = (iso(created + (updated - created) * part // 4) for part in (2, 3))
    suppressions = [{"reason": REASONS[x % 5], "timestamp": at}]
    if (x >> 41) % 3 == 0:
        suppressions.append({"reason": REASONS[(x + 2) % 5], "timestamp": later})
    of_lists = [
        {"list_id": list_ids[(x + turn) % len(list_ids)], "reason": reason, "timestamp": moment}
        for turn, (reason, moment) in enumerate([("UNSUBSCRIBE", at), ("USER_SUPPRESSED", later)])
        if turn < len(list_ids) and turn <= (x >> 43) % 2
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


def _predictive_analytics(x: int, updated: int) -> Resource:
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
