"""Filter and sort fields: where each finds its values in a record, and how it sorts.

A field is usually named like the attribute or relationship that it looks at. The tables name the exceptions.
"""

from __future__ import annotations

import math
from typing import Any

from ..data.resources import Resource, dig
from ..data.timestamps import epoch_second

# Kind -> the attribute with the moment of the last change.
UPDATED = {
    "campaign": "updated_at",
    "campaign-message": "updated_at",
    "campaign@2026-10-15": "updated_at",
    "campaign-audience": "updated",
    "campaign-message@2026-10-15": "updated",
    "campaign-variation": "updated",
    "flow": "updated",
    "flow-action": "updated",
    "flow-message": "updated",
    "form": "updated_at",
    "form-version": "updated_at",
    "image": "updated_at",
    "list": "updated",
    "metric": "updated",
    "profile": "updated",
    "review": "updated",
    "segment": "updated",
    "template": "updated",
    "template-universal-content": "updated",
    "text-messaging-configuration": "updated_at",
    "text-messaging-sender-registration": "updated_at",
    "translation": "updated",
    "web-feed": "updated",
}
# Kind -> a boolean attribute: a list leaves out the records where it is true, unless a filter names it.
HIDDEN_UNLESS_ASKED = {
    "campaign": "archived",
    "campaign@2026-10-15": "archived",
    "flow": "archived",
    "image": "hidden",
}
# (kind, field) -> path of the attribute, where the field has another name.
FIELD_PATHS = {
    ("campaign@2026-10-15", "archived"): "definition.archived",
    ("campaign@2026-10-15", "builder"): "definition.builder",
    ("campaign@2026-10-15", "name"): "definition.name",
    ("campaign-message@2026-10-15", "name"): "definition.name",
    ("campaign-message@2026-10-15", "status"): "definition.status",
    ("flow-action", "action_type"): "definition.type",
    ("flow-action", "status"): "definition.data.status",
    ("profile-suppression-bulk-create-job", "created"): "created_at",
    ("profile-suppression-bulk-delete-job", "created"): "created_at",
}
# Lists of objects in a record: all conditions on their fields have to hold for the same object, and a record sorts by
# the latest moment in the list.
NESTED = ("subscriptions.email.marketing.suppression", "subscriptions.email.marketing.list_suppressions")
# (kind, field) -> the relationship, where the field has another name.
RELATION_FIELDS = {
    ("catalog-item", "category.id"): "categories",
    ("catalog-category", "item.id"): "items",
    ("object-ingestion-log", "record_id"): "object-record",
    ("profile-suppression-bulk-create-job", "list_id"): "lists",
    ("profile-suppression-bulk-create-job", "segment_id"): "segments",
    ("profile-suppression-bulk-delete-job", "list_id"): "lists",
    ("profile-suppression-bulk-delete-job", "segment_id"): "segments",
}
# (kind, field) -> a field with the same order, which is sorted already.
SAME_ORDER = {("event", "timestamp"): "datetime"}
# Kind -> the order of a list without `sort`, where it is not the order of the store.
DEFAULT_SORT = {"object-ingestion-log": "-timestamp"}


# Fields whose values are moments. They compare in whole seconds.
TIMES = {"created", "updated", "created_at", "updated_at", "scheduled_at", "datetime", "timestamp", "joined_group_at"}
# Sorts after every text.
LAST_STRING = "\U0010ffff"


def found_in(kind: str, resource: Resource, field: str) -> list[Any]:
    """Values of a filter or sort field in a record; empty if it has none."""
    if field in ("id", "ids"):
        return [resource.get("id")]
    relationship = RELATION_FIELDS.get((kind, field))
    if relationship:
        return dig(resource.get("relationships"), [relationship, "data", "id"])
    path = FIELD_PATHS.get((kind, field))
    if path:
        return dig(resource.get("attributes"), path.split("."))
    found = dig(resource.get("attributes"), field.split("."))
    if not found:
        relation, _, tail = field.rpartition("." if field.endswith(".id") else "_")
        if tail == "id" and relation:
            return dig(resource.get("relationships"), [relation, "data", "id"])
        return dig(resource.get("relationships"), [field, "data", "id"])
    return found


def is_time(order: str) -> bool:
    """Whether the values of a sort field are moments."""
    return order.rsplit(".", 1)[-1] in TIMES


def sort_value(kind: str, resource: Resource, field: str, second: int | None = None) -> int | float | str:
    """What a record sorts by, never None. Records without a moment come first, records without a text last.

    Args:
        second: the moment of the record, if it is not that of its JSON.
    """
    found = [value for value in found_in(kind, resource, field) if value is not None]
    if is_time(field):
        if second is not None:
            return second
        moments = found if field.startswith(NESTED) else found[:1]
        return max((second for second in map(epoch_second, moments) if second is not None), default=-math.inf)
    if found and isinstance(found[0], int | float):
        return f"{found[0]:030.6f}"
    return str(found[0]) if found else LAST_STRING
