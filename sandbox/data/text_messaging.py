"""Text messaging senders, their registrations and configuration, since revision 2026-10-15."""

from __future__ import annotations

from .maker import DAY_S, Maker
from .resources import Resource, to_one
from .timestamps import iso

SENDER_TYPES = ["toll_free", "long_code", "short_code", "alpha", "vanity_short_code"]
SENDER_STATES = ["active", "registering", "registration_failed", "pending_registration", "suspended"]
REGISTRATION_STATES = ["approved", "in_review", "rejected", "action_required"]
# More than a page of 20.
SENDER_COUNT = 23


def senders(make: Maker, account_id: str) -> dict[str, list[Resource]]:
    """Type -> records: senders, the registrations of most of them, and the configuration of the account."""
    built, registrations = [], []
    for place in range(SENDER_COUNT):
        created = make.second(make.start - 300 * DAY_S)
        decided = make.second(created)
        registration = make.ulid() if place % 4 != 3 else None
        sender: Resource = {
            "type": "text-messaging-sender",
            "id": make.ulid(),
            "attributes": {
                "sender_type": SENDER_TYPES[place % len(SENDER_TYPES)],
                "sender_details": {"country": ["US", "DE", "GB"][place % 3]},
                "status": SENDER_STATES[place % len(SENDER_STATES)],
                "created_at": iso(created),
                "forwarding_number": "+4930123456" if place % 6 == 1 else None,
                "sender_identifier": f"+1800555{place:04d}" if place % 5 else None,
            },
            "relationships": {
                "text-messaging-sender-registration": to_one("text-messaging-sender-registration", registration)
            },
        }
        built.append(sender)
        if registration is None:
            continue
        status = REGISTRATION_STATES[place % len(REGISTRATION_STATES)]
        registrations.append(
            {
                "type": "text-messaging-sender-registration",
                "id": registration,
                "attributes": {
                    "status": status,
                    "failures": [{"detail": "Adresse fehlt: „Straße“"}] if status == "rejected" else [],
                    "created_at": iso(created),
                    "updated_at": iso(decided),
                    "submitted_at": iso(created) if place % 5 else None,
                    "decided_at": iso(decided) if status in ("approved", "rejected") else None,
                },
                "relationships": {"text-messaging-sender": to_one("text-messaging-sender", sender["id"])},
            }
        )
    configuration: Resource = {
        "type": "text-messaging-configuration",
        "id": account_id,
        "attributes": {
            "org_prefix": "Nordlys",
            "opt_out_language": "Reply STOP — „Stopp“",
            "status": "active",
            "created_at": iso(make.start),
            "updated_at": iso(make.second()),
        },
        "relationships": {},
    }
    return {
        "text-messaging-sender": built,
        "text-messaging-sender-registration": registrations,
        "text-messaging-configuration": [configuration],
    }
