"""Tag groups and tags."""

from __future__ import annotations

from .maker import Maker
from .resources import Resource, to_many

TAGS = ["VIP", "Q4 — Black Friday", "lifecycle", "日本", "Test", "Win-back", "sms", "Naïve", "Holiday"]


def tag_groups(make: Maker) -> list[Resource]:
    """The default tag group and an exclusive one."""
    return [
        {
            "type": "tag-group",
            "id": make.ulid(),
            "attributes": {"name": name, "exclusive": exclusive, "default": default},
            "relationships": {"tags": to_many("tag", [])},
        }
        for name, exclusive, default in (("Default Tag Group", False, True), ("Season", True, False))
    ]


def tags(make: Maker, count: int, groups: list[Resource]) -> list[Resource]:
    """Tags. `link_tags` adds the tagged records."""
    built = []
    for place in range(count):
        group = groups[place % len(groups)]
        tag = {
            "type": "tag",
            "id": make.ulid(),
            "attributes": {"name": TAGS[place] if place < len(TAGS) else f"tag {place}"},
            "relationships": {
                "tag-group": {"data": {"type": "tag-group", "id": group["id"]}},
                "lists": to_many("list", []),
                "segments": to_many("segment", []),
                "campaigns": to_many("campaign", []),
                "flows": to_many("flow", []),
            },
        }
        group["relationships"]["tags"]["data"].append({"type": "tag", "id": tag["id"]})
        built.append(tag)
    return built


def link_tags(make: Maker, tags_: list[Resource], tagged: list[Resource]) -> None:
    """Give each record up to two tags; both get the relationship."""
    for record in tagged:
        for tag in make.random.sample(tags_, k=min(len(tags_), make.random.choice([0, 0, 1, 2]))):
            record["relationships"]["tags"]["data"].append({"type": "tag", "id": tag["id"]})
            tag["relationships"][f"{record['type']}s"]["data"].append({"type": record["type"], "id": record["id"]})
