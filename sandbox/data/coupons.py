"""Coupons and their codes."""

from __future__ import annotations

from .maker import DAY_S, Maker
from .resources import Resource, to_many, to_one
from .timestamps import iso

CODE_COUNT = 120
CODE_STATES = ["UNASSIGNED", "ASSIGNED_TO_PROFILE", "USED", "DELETING", "PROCESSING", "VERSION_NOT_ACTIVE"]


def coupons(make: Maker, profiles: list[str]) -> tuple[list[Resource], list[Resource]]:
    """Coupons and codes: one with more than a page of codes, one without codes, two whose ids need quoting."""
    built, codes = [], []
    for place, (name, count) in enumerate([("10OFF", CODE_COUNT), ("Frühling 20%", 5), ('5"off', 3), ("UNUSED", 0)]):
        own: list[Resource] = []
        for number in range(count):
            unique = f"{make.identity(10).upper()}{number}"
            given = profiles[number % len(profiles)] if profiles and number % 3 else None
            own.append(
                {
                    "type": "coupon-code",
                    "id": f"{name}-{unique}",
                    "attributes": {
                        "unique_code": unique,
                        "expires_at": iso(make.end + number * DAY_S) if number % 4 else None,
                        "status": CODE_STATES[number % len(CODE_STATES)],
                    },
                    "relationships": {
                        "coupon": to_one("coupon", name),
                        "profile": to_one("profile", given),
                    },
                }
            )
        codes += own
        built.append(
            {
                "type": "coupon",
                "id": name,
                "attributes": {
                    "external_id": name,
                    "description": None if place == 3 else f"{name} — für Käufe über 50 €",
                    "monitor_configuration": [{"low_balance_threshold": 500}, {}, None, None][place],
                    "assigner_configuration": {"used": "ASSIGN_IF_EXPIRED", "unused_expired": "ALWAYS_ASSIGN"}
                    if place % 2
                    else None,
                },
                "relationships": {"coupon-codes": to_many("coupon-code", [code["id"] for code in own])},
            }
        )
    return built, codes
