"""The account itself, its UTM tracking settings and the usage of its plan."""

from __future__ import annotations

from .maker import DAY_S, Maker
from .resources import Resource
from .timestamps import iso

USAGES = [
    ("email_sends", "messages", 250_000),
    ("sms_credits", "credits", 1250),
    ("active_profiles", "profiles", 15_000),
    ("customer_hub_active_profiles", "profiles", 0),
    ("reviews_orders", "orders", 1000),
]


def account(make: Maker) -> Resource:
    """The account resource."""
    return {
        "type": "account",
        "id": make.identity(),
        "attributes": {
            "test_account": False,
            "contact_information": {
                "default_sender_name": "Nordlys & Söhne",
                "default_sender_email": "hello@nordlys.example.com",
                "website_url": "https://nordlys.example.com",
                "organization_name": "Nordlys",
                "street_address": {
                    "address1": "1 Harbour St",
                    "address2": "2nd floor",
                    "city": "Boston",
                    "region": "MA",
                    "country": "United States",
                    "zip": "02111",
                },
            },
            "industry": "Ecommerce, Home & Garden",
            "timezone": "America/New_York",
            "preferred_currency": "USD",
            "public_api_key": make.identity(),
            "locale": "en-US",
        },
        "relationships": {},
    }


def tracking_setting(account_id: str) -> Resource:
    """The UTM settings of an account: static and dynamic values, null, and missing ones."""
    return {
        "type": "tracking-setting",
        "id": account_id,
        "attributes": {
            "auto_add_parameters": True,
            "utm_source": {
                "flow": {"type": "static", "value": "Klaviyo — flow"},
                "campaign": {"type": "dynamic", "value": "campaign_name"},
            },
            "utm_medium": {"flow": {"type": "dynamic", "value": "message_type"}, "campaign": None},
            "utm_campaign": {"flow": {"type": "dynamic", "value": "flow_name"}},
            "utm_term": {"flow": {"type": "static", "value": ""}, "campaign": {"type": "dynamic", "value": "group_id"}},
            "utm_id": {"flow": None, "campaign": {"type": "dynamic", "value": "campaign_id"}},
            "custom_parameters": [
                {
                    "name": "tw_profile_id",
                    "flow": {"type": "dynamic", "value": "profile_id"},
                    "campaign": {"type": "static", "value": "ü"},
                }
            ],
        },
        "relationships": {},
    }


def billing_usage(make: Maker) -> list[Resource]:
    """The usage of each part of the plan, since revision 2026-10-15; the id is the name of the part."""
    return [
        {
            "type": "billing-usage",
            "id": name,
            "attributes": {
                "usage_used": round(make.random.random() * limit, 4),
                "usage_max": limit,
                "unit": unit,
                "period_start": iso(make.end - 10 * DAY_S),
                "period_end": iso(make.end + 20 * DAY_S),
                "as_of": iso(make.end),
            },
            "relationships": {},
        }
        for name, unit, limit in USAGES
    ]
