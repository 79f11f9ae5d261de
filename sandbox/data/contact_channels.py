"""Push tokens of profiles' devices, and conversations with profiles."""

from __future__ import annotations

from .maker import Maker
from .resources import Resource, to_one
from .timestamps import iso

ENABLEMENT = ["AUTHORIZED", "DENIED", "NOT_DETERMINED", "PROVISIONAL", "UNAUTHORIZED"]
CHANNELS = ["sms", "whatsapp", "instagram"]


def push_tokens(make: Maker, profiles: list[str]) -> list[Resource]:
    """One or two tokens for each of these profiles, with all, some or no metadata."""
    built = []
    for place, profile in enumerate(profiles):
        for number in range(1 + place % 2):
            created = make.second()
            ios = (place + number) % 2 == 0
            attributes: Resource = {
                "created": iso(created),
                "token": f"{make.identity(40)}",
                "enablement_status": ENABLEMENT[(place + number) % len(ENABLEMENT)],
                "platform": "ios" if ios else "android",
                "vendor": "APNs" if ios else "FCM",
                "background": "AVAILABLE" if place % 3 else "DENIED",
                # A string in Klaviyo's documentation. Some have a space, as seen in Klaviyo's timestamps now and then.
                "recorded_date": iso(created).replace("T", " " if place % 2 else "T"),
            }
            if place % 4 != 3:
                attributes["metadata"] = {
                    "device_id": make.identity(10),
                    "klaviyo_sdk": "swift" if ios else "android",
                    "sdk_version": "4.2.0",
                    "device_model": "iPhone12,1" if ios else "Größe-9",
                    "os_name": "ios" if ios else "android",
                    "os_version": "17.1" if place % 2 else None,
                    "manufacturer": "Apple" if ios else None,
                    "app_name": "Nordlys",
                    "app_version": "1.0.0",
                    "app_build": str(place),
                    "app_id": "com.example.nordlys",
                    "environment": "release" if place % 5 else "debug",
                }
            built.append(
                {
                    "type": "push-token",
                    "id": make.identity(32),
                    "attributes": attributes,
                    "relationships": {"profile": to_one("profile", profile)},
                }
            )
    return built


def conversations(make: Maker, profiles: list[str]) -> list[Resource]:
    """One or two conversations for each of these profiles."""
    return [
        {
            "type": "conversation",
            "id": make.ulid(),
            "attributes": {"channel": CHANNELS[(place + number) % len(CHANNELS)]},
            "relationships": {"profile": to_one("profile", profile)},
        }
        for place, profile in enumerate(profiles)
        for number in range(1 + (place % 3 == 1))
    ]
