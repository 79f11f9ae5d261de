"""Statistics of reports, out of counted events.

An event of a metric plays a role: it is a message received, opened, clicked ... An event that is attributed to a message
counts for that message; and it counts when the event that it is attributed to happened, not when it happened itself:
Klaviyo's reports go by the date of the sending, so that what comes later changes past days.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from decimal import Decimal

from ..store.events import Sketch, amount

# Klaviyo's own metrics -> what their events are to a report. Texts were called SMS until July 2026.
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
#: Roles whose events are the sending itself.
SENDING = ("delivered", "bounced", "failed")
FORM_ROLES = {
    "Viewed Form": "viewed_form",
    "Viewed Form Step": "viewed_form_step",
    "Closed Form": "closed_form",
    "Qualified Form": "qualified_form",
    "Submitted Form Step": "submitted_form_step",
    "Submitted Form": "submits",
}
# account currency for a text message credit
CREDIT_PRICE = Decimal("0.01")


class Tally:
    """Events counted for one grouping and interval: by role, the profiles of each role, and sums of properties."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.profiles: defaultdict[str, set[str | int | None]] = defaultdict(set)
        self.sums: defaultdict[str, Decimal] = defaultdict(Decimal)

    def add(self, role: str, who: str | int | None) -> None:
        """Count an event."""
        self.count[role] += 1
        self.profiles[role].add(who)

    def add_text(self, sketch: Sketch) -> None:
        """Count what a text message cost."""
        self.sums["segments"] += amount(sketch.properties.get("Segment Count"))
        self.sums["credits"] += amount(sketch.properties.get("$usage_amount"))

    def unique(self, role: str) -> int:
        """How many profiles."""
        return len(self.profiles[role])

    @property
    def recipients(self) -> int:
        """Sendings, whether they arrived or not."""
        return sum(self.count[role] for role in SENDING)

    @property
    def undelivered(self) -> int:
        """Sendings that did not arrive."""
        return self.count["bounced"] + self.count["failed"]


Statistic = Callable[[Tally], float]


def share(part: float | Decimal, whole: float | Decimal) -> float:
    """A fraction; 0.0 of nothing."""
    return float(Decimal(part) / Decimal(whole)) if whole else 0.0


def rate(part: float, whole: float) -> float:
    """A fraction of people, at most 1.0: made-up people click without having received."""
    return min(1.0, share(part, whole))


def number(value: Decimal) -> float:
    """A sum as JSON writes it: whole ones without a fraction."""
    return int(value) if value == value.to_integral_value() else float(value)


MESSAGE_STATISTICS: dict[str, Statistic] = {
    "average_order_value": lambda t: share(t.sums["value"], t.count["conversions"]),
    "bounce_rate": lambda t: rate(t.count["bounced"], t.recipients),
    "bounced": lambda t: t.count["bounced"],
    "bounced_or_failed": lambda t: t.undelivered,
    "bounced_or_failed_rate": lambda t: rate(t.undelivered, t.recipients),
    "click_rate": lambda t: rate(t.unique("clicks"), t.count["delivered"]),
    "click_to_open_rate": lambda t: rate(t.unique("clicks"), t.unique("opens")),
    "clicks": lambda t: t.count["clicks"],
    "clicks_unique": lambda t: t.unique("clicks"),
    "conversion_rate": lambda t: rate(t.unique("conversions"), t.count["delivered"]),
    "conversion_uniques": lambda t: t.unique("conversions"),
    "conversion_value": lambda t: float(t.sums["value"]),
    "conversions": lambda t: t.count["conversions"],
    "delivered": lambda t: t.count["delivered"],
    "delivery_rate": lambda t: rate(t.count["delivered"], t.recipients),
    "failed": lambda t: t.count["failed"],
    "failed_rate": lambda t: rate(t.count["failed"], t.recipients),
    "message_segment_count_sum": lambda t: number(t.sums["segments"]),
    "open_rate": lambda t: rate(t.unique("opens"), t.count["delivered"]),
    "opens": lambda t: t.count["opens"],
    "opens_unique": lambda t: t.unique("opens"),
    "recipients": lambda t: t.recipients,
    "revenue_per_recipient": lambda t: share(t.sums["value"], t.recipients),
    "spam_complaint_rate": lambda t: rate(t.unique("spam_complaints"), t.count["delivered"]),
    "spam_complaints": lambda t: t.count["spam_complaints"],
    "text_message_credit_usage_amount": lambda t: number(t.sums["credits"]),
    "text_message_roi": lambda t: share(t.sums["value"], t.sums["credits"] * CREDIT_PRICE),
    "text_message_spend": lambda t: float(t.sums["credits"] * CREDIT_PRICE),
    "unsubscribe_rate": lambda t: rate(t.unique("unsubscribes"), t.count["delivered"]),
    "unsubscribe_uniques": lambda t: t.unique("unsubscribes"),
    "unsubscribes": lambda t: t.count["unsubscribes"],
}
FORM_STATISTICS: dict[str, Statistic] = {
    "closed_form": lambda t: t.count["closed_form"],
    "closed_form_uniques": lambda t: t.unique("closed_form"),
    "qualified_form": lambda t: t.count["qualified_form"],
    "qualified_form_uniques": lambda t: t.unique("qualified_form"),
    "submit_rate": lambda t: rate(t.count["submits"], t.count["viewed_form"]),
    "submits": lambda t: t.count["submits"],
    "submitted_form_step": lambda t: t.count["submitted_form_step"],
    "submitted_form_step_uniques": lambda t: t.unique("submitted_form_step"),
    "viewed_form": lambda t: t.count["viewed_form"],
    "viewed_form_step": lambda t: t.count["viewed_form_step"],
    "viewed_form_step_uniques": lambda t: t.unique("viewed_form_step"),
    "viewed_form_uniques": lambda t: t.unique("viewed_form"),
}
SEGMENT_STATISTICS = ("members_added", "members_removed", "net_members_changed", "total_members")
