"""The statistics of analytics reports, computed from counts of events.

The metric of an event decides its role: message delivered, opened, clicked, ... An event that is attributed to a
message counts for that message, at the time of the event that it is attributed to: Klaviyo's reports go by the date of
the sending, so later events change past days.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from decimal import Decimal

from ..store.events import EventSummary, to_decimal

# Klaviyo's own metrics -> the role of their events. Text messages were called SMS until July 2026.
MESSAGE_ROLES = {
    "Received Email": "delivered",
    "Received SMS": "delivered",
    "Received Text Message": "delivered",
    "Received Push": "delivered",
    "Received WhatsApp": "delivered",
    "Bounced Email": "bounced",
    "Bounced Push": "bounced",
    "Failed to Deliver SMS": "failed",
    "Failed to Deliver Text Message": "failed",
    "Opened Email": "opens",
    "Opened Push": "opens",
    "Clicked Email": "clicks",
    "Clicked SMS": "clicks",
    "Clicked Text Message": "clicks",
    "Marked Email as Spam": "spam_complaints",
    "Unsubscribed from Email Marketing": "unsubscribes",
    "Unsubscribed from SMS Marketing": "unsubscribes",
    "Unsubscribed from Text Message Marketing": "unsubscribes",
}
# Roles whose events are the sending itself.
SENDING = ("delivered", "bounced", "failed")
FORM_ROLES = {
    "Viewed Form": "viewed_form",
    "Viewed Form Step": "viewed_form_step",
    "Closed Form": "closed_form",
    "Qualified Form": "qualified_form",
    "Submitted Form Step": "submitted_form_step",
    "Submitted Form": "submits",
}
# Price of a text message credit in the account's currency.
CREDIT_PRICE = Decimal("0.01")


class EventCounts:
    """Counts for one grouping and interval.

    Attributes:
        count: events by role.
        profiles: the profiles of the events, by role.
        sums: sums of event properties, by name.
    """

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.profiles: defaultdict[str, set[str | int | None]] = defaultdict(set)
        self.sums: defaultdict[str, Decimal] = defaultdict(Decimal)

    def add(self, role: str, profile: str | int | None) -> None:
        """Count an event of a profile."""
        self.count[role] += 1
        self.profiles[role].add(profile)

    def add_text(self, summary: EventSummary) -> None:
        """Add the segments and credits of a text message."""
        self.sums["segments"] += to_decimal(summary.properties.get("Segment Count"))
        self.sums["credits"] += to_decimal(summary.properties.get("$usage_amount"))

    def unique(self, role: str) -> int:
        """Number of profiles with an event of a role."""
        return len(self.profiles[role])

    @property
    def recipients(self) -> int:
        """Messages sent, delivered or not."""
        return sum(self.count[role] for role in SENDING)

    @property
    def undelivered(self) -> int:
        """Messages sent that were not delivered."""
        return self.count["bounced"] + self.count["failed"]


Statistic = Callable[[EventCounts], float]


def ratio(part: float | Decimal, whole: float | Decimal) -> float:
    """A fraction; 0.0 if the whole is 0."""
    return float(Decimal(part) / Decimal(whole)) if whole else 0.0


def rate_of_people(part: float, whole: float) -> float:
    """A fraction of people, at most 1.0: in made-up data, people click without having received."""
    return min(1.0, ratio(part, whole))


def plain_number(value: Decimal) -> float:
    """A sum as JSON writes it: whole numbers without a fraction."""
    return int(value) if value == value.to_integral_value() else float(value)


MESSAGE_STATISTICS: dict[str, Statistic] = {
    "average_order_value": lambda t: ratio(t.sums["value"], t.count["conversions"]),
    "bounce_rate": lambda t: rate_of_people(t.count["bounced"], t.recipients),
    "bounced": lambda t: t.count["bounced"],
    "bounced_or_failed": lambda t: t.undelivered,
    "bounced_or_failed_rate": lambda t: rate_of_people(t.undelivered, t.recipients),
    "click_rate": lambda t: rate_of_people(t.unique("clicks"), t.count["delivered"]),
    "click_to_open_rate": lambda t: rate_of_people(t.unique("clicks"), t.unique("opens")),
    "clicks": lambda t: t.count["clicks"],
    "clicks_unique": lambda t: t.unique("clicks"),
    "conversion_rate": lambda t: rate_of_people(t.unique("conversions"), t.count["delivered"]),
    "conversion_uniques": lambda t: t.unique("conversions"),
    "conversion_value": lambda t: float(t.sums["value"]),
    "conversions": lambda t: t.count["conversions"],
    "delivered": lambda t: t.count["delivered"],
    "delivery_rate": lambda t: rate_of_people(t.count["delivered"], t.recipients),
    "failed": lambda t: t.count["failed"],
    "failed_rate": lambda t: rate_of_people(t.count["failed"], t.recipients),
    "message_segment_count_sum": lambda t: plain_number(t.sums["segments"]),
    "open_rate": lambda t: rate_of_people(t.unique("opens"), t.count["delivered"]),
    "opens": lambda t: t.count["opens"],
    "opens_unique": lambda t: t.unique("opens"),
    "recipients": lambda t: t.recipients,
    "revenue_per_recipient": lambda t: ratio(t.sums["value"], t.recipients),
    "spam_complaint_rate": lambda t: rate_of_people(t.unique("spam_complaints"), t.count["delivered"]),
    "spam_complaints": lambda t: t.count["spam_complaints"],
    "text_message_credit_usage_amount": lambda t: plain_number(t.sums["credits"]),
    "text_message_roi": lambda t: ratio(t.sums["value"], t.sums["credits"] * CREDIT_PRICE),
    "text_message_spend": lambda t: float(t.sums["credits"] * CREDIT_PRICE),
    "unsubscribe_rate": lambda t: rate_of_people(t.unique("unsubscribes"), t.count["delivered"]),
    "unsubscribe_uniques": lambda t: t.unique("unsubscribes"),
    "unsubscribes": lambda t: t.count["unsubscribes"],
}
FORM_STATISTICS: dict[str, Statistic] = {
    "closed_form": lambda t: t.count["closed_form"],
    "closed_form_uniques": lambda t: t.unique("closed_form"),
    "qualified_form": lambda t: t.count["qualified_form"],
    "qualified_form_uniques": lambda t: t.unique("qualified_form"),
    "submit_rate": lambda t: rate_of_people(t.count["submits"], t.count["viewed_form"]),
    "submits": lambda t: t.count["submits"],
    "submitted_form_step": lambda t: t.count["submitted_form_step"],
    "submitted_form_step_uniques": lambda t: t.unique("submitted_form_step"),
    "viewed_form": lambda t: t.count["viewed_form"],
    "viewed_form_step": lambda t: t.count["viewed_form_step"],
    "viewed_form_step_uniques": lambda t: t.unique("viewed_form_step"),
    "viewed_form_uniques": lambda t: t.unique("viewed_form"),
}
SEGMENT_STATISTICS = ("members_added", "members_removed", "net_members_changed", "total_members")
