"""What a row of an analytics report is about: a message of a campaign or a flow, a version of a form, a segment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..data.resources import Resource, dig
from ..store.account import Account

# Channel of a message -> its name in reports. Messages of other channels are in no report.
SEND_CHANNELS = {"email": "email", "sms": "sms", "mobile_push": "push-notification", "whatsapp": "whatsapp"}


@dataclass(frozen=True)
class Subject:
    """What a row is about, with the values to filter and group by.

    Attributes:
        attributes: values by attribute.
        tags: (id, name) of each tag.
    """

    attributes: dict[str, str | None]
    tags: tuple[tuple[str, str], ...] = ()

    def values(self, attribute: str) -> list[str | None]:
        """The values of an attribute, for a filter."""
        if attribute in ("tag_id", "tag_name"):
            return [tag[attribute == "tag_name"] for tag in self.tags]
        return [self.attributes[attribute]]

    def fits(self, conditions: list[tuple[str, str, list[str]]]) -> bool:
        """Whether all conditions hold."""
        for operator, attribute, wanted in conditions:
            found = self.values(attribute)
            if not (all if operator == "contains-all" else any)(value in found for value in wanted):
                return False
        return True

    def groupings(self, groups: tuple[str, ...]) -> list[tuple[str | None, ...]]:
        """The values of some attributes, for grouping: one grouping, or one for each tag when grouped by tags."""
        tagged = bool({"tag_id", "tag_name"} & {*groups})
        tags: list[tuple[str | None, str | None]] = [*self.tags] if tagged and self.tags else [(None, None)]
        found = []
        for tag_id, tag_name in tags:
            values = self.attributes | {"tag_id": tag_id, "tag_name": tag_name}
            found.append(tuple(values[name] for name in groups))
        return list(dict.fromkeys(found))


def campaign_messages(account: Account) -> dict[str, Subject]:
    """Id -> message, of campaigns."""
    found = {}
    for message in account.stores["campaign-message"]:
        campaign_id = _first(dig(message, ["relationships", "campaign", "data", "id"])) or ""
        campaign = account.stores["campaign"].get(campaign_id)
        channel = SEND_CHANNELS.get(account.channel(campaign)) if campaign else None
        if campaign is None or channel is None:
            continue
        name = _first(dig(message, ["attributes", "definition", "label"])) or str(campaign["attributes"]["name"])
        media = _first(dig(message, ["attributes", "definition", "content", "media_url"]))
        found[str(message["id"])] = Subject(
            {
                "campaign_id": campaign_id,
                "campaign_message_id": campaign_id if campaign_id in account.named_by_campaign else str(message["id"]),
                "campaign_message_name": name,
                "group": None,
                "group_name": None,
                **_sent(message, name, channel, media),
            },
            _tags(account, "campaign", campaign),
        )
    return found


def flow_messages(account: Account) -> dict[str, Subject]:
    """Id -> message, of flows."""
    found = {}
    for message in account.stores["flow-message"]:
        action = account.stores["flow-action"].get(
            _first(dig(message, ["relationships", "flow-action", "data", "id"])) or ""
        )
        flow_id = _first(dig(action, ["relationships", "flow", "data", "id"])) or ""
        flow = account.stores["flow"].get(flow_id)
        channel = SEND_CHANNELS.get(_first(dig(message, ["attributes", "channel"])) or "")
        if flow is None or channel is None:
            continue
        name = _first(dig(message, ["attributes", "definition", "name"]))
        image = _first(dig(message, ["attributes", "definition", "image_id"]))
        found[str(message["id"])] = Subject(
            {
                "flow_id": flow_id,
                "flow_message_id": str(message["id"]),
                "flow_message_name": name,
                "flow_name": str(flow["attributes"]["name"]),
                **_sent(message, name, channel, image),
            },
            _tags(account, "flow", flow),
        )
    return found


def _sent(message: Resource, name: str | None, channel: str, picture: str | None) -> dict[str, str | None]:
    """The attributes that messages of campaigns and of flows share."""
    return {
        "send_channel": channel,
        "text_message_format": ("mms" if picture else "sms") if channel == "sms" else None,
        "variation": str(message["id"]),
        "variation_name": name,
    }


def _tags(account: Account, kind: str, owner: Resource) -> tuple[tuple[str, str], ...]:
    found = ((target, account.stores["tag"].get(target)) for target in account.related(kind, owner, "tags"))
    return tuple((target, str(tag["attributes"]["name"])) for target, tag in found if tag is not None)


def _first(found: list[Any]) -> str | None:
    return next((str(value) for value in found if value is not None), None)
