"""Custom objects: data sources, object types, schemas, source mappings, records and ingestion logs."""

from __future__ import annotations

from .maker import DAY_S, Maker
from .resources import Resource, to_many, to_one
from .timestamps import iso

TYPES = [("Order", "custom-objects"), ("Haustier 🐕", "custom-objects"), ("Draft", "applications/9f2")]
# More than a page of 50.
LOG_COUNT = 63


def data_sources(make: Maker) -> list[Resource]:
    """Data sources of custom objects."""
    return [
        {
            "type": "data-source",
            "id": make.ulid(),
            "attributes": {
                "title": f"Quelle {place}",
                "visibility": ["private", "shared"][place % 2],
                "description": "" if place == 1 else "Lager, stündlich",
                "namespace": "custom-objects",
            },
            "relationships": {},
        }
        for place in range(3)
    ]


def objects(make: Maker, sources: list[Resource]) -> dict[str, list[Resource]]:
    """Object types with schemas, mappings, records and logs. The last type is a draft without records.

    Returns:
        Kind -> resources.
    """
    built: dict[str, list[Resource]] = {
        kind: [] for kind in ("object-type", "object-schema", "source-mapping", "object-record", "object-ingestion-log")
    }
    for place, (title, namespace) in enumerate(TYPES):
        identity = make.ulid()
        is_draft = title == "Draft"
        versions = [_schema(make, title, number, 3 - place) for number in range(3 - place)]
        for version in versions:
            # A draft has no source yet.
            if version["attributes"]["status"] == "active":
                mapping = _mapping(make, sources[place % len(sources)]["id"])
                version["relationships"]["source-mapping"] = to_one("source-mapping", mapping["id"])
                built["source-mapping"].append(mapping)
        drafts = [version["id"] for version in versions if version["attributes"]["status"] == "draft"]
        active = [version["id"] for version in versions if version["attributes"]["status"] == "active"]
        own = [] if is_draft else _records(identity, place)
        logs = [] if is_draft else _logs(make, identity, [record["id"] for record in own], place)
        created = make.second()
        built["object-type"].append(
            {
                "type": "object-type",
                "id": identity,
                "attributes": {
                    "title": title,
                    "description": "" if is_draft else f"{title}, je Kauf",
                    "status": "draft" if is_draft else "active",
                    "namespace": namespace,
                    "created_at": iso(created),
                    "updated_at": iso(make.second(created)),
                },
                "relationships": {
                    "current-schema": to_one("object-schema", active[-1] if active else None),
                    "draft-schema": to_one("object-schema", drafts[0] if drafts else None),
                    "schema-versions": to_many("object-schema", [version["id"] for version in versions]),
                    "object-types": to_many("object-type@relation", []),
                    "profile-object-types": to_many("profile-object-type@relation", []),
                    "object-records": to_many("object-record", [record["id"] for record in own]),
                    "object-ingestion-logs": to_many("object-ingestion-log", [log["id"] for log in logs]),
                },
            }
        )
        built["object-schema"] += versions
        built["object-record"] += own
        built["object-ingestion-log"] += logs
    return built | _relations(make, built["object-type"], built["object-schema"])


def _relations(make: Maker, types: list[Resource], schemas: list[Resource]) -> dict[str, list[Resource]]:
    """Relations among object types, among their schemas, and to profiles. The first also relates to itself, the last
    has none.

    Returns:
        Kind -> relations. The id of a relation is the related id and its name, so several records can share a relation.
    """
    built: dict[str, dict[str, Resource]] = {}
    for kind, records in (("object-type", types), ("object-schema", schemas)):
        for place, record in enumerate(records[:-1]):
            own = [(record["id"], "parent"), (records[place + 1]["id"], "gehört zu")] if place == 0 else []
            own += [(records[0]["id"], "gehört zu")] if place == 1 else []
            profiles = [("profile", name) for name in ("käufer", "owner")[: 2 - place]]
            for shown, related in ((kind, own), (f"profile-{kind}", profiles)):
                names_by_id = {f"{target}:::{name}": name for target, name in related}
                record["relationships"][f"{shown}s"] = to_many(f"{shown}@relation", [*names_by_id])
                for identity, name in names_by_id.items():
                    meta = {"relationship_id": make.ulid(), "name": name, "description": None}
                    found = {"type": shown, "id": identity, "attributes": {"meta": meta}}
                    built.setdefault(f"{shown}@relation", {}).setdefault(identity, found)
    return {kind: [*found.values()] for kind, found in built.items()}


def _schema(make: Maker, title: str, number: int, count: int) -> Resource:
    is_active = number < count - 1
    return {
        "type": "object-schema",
        "id": make.ulid(),
        "attributes": {
            "title": title,
            "description": f"Fassung {number + 1}",
            "status": "active" if is_active else "draft",
            "properties": [
                {"id": 1, "name": "größe", "type": "int", "description": None},
                {"id": 2, "name": "wann", "type": "timestamp", "description": "Kaufdatum"},
            ][: number + 1],
            "required": ["größe"] if number else [],
            "published_at": iso(make.second()) if is_active else None,
            "visibility": "private",
        },
        "relationships": {
            "source-mapping": to_one("source-mapping", None),
            "object-schemas": to_many("object-schema@relation", []),
            "profile-object-schemas": to_many("profile-object-schema@relation", []),
        },
    }


def _mapping(make: Maker, source: str) -> Resource:
    related = [{"identifier_type": "email", "path": "$['email']"}]
    return {
        "type": "source-mapping",
        "id": make.ulid(),
        "attributes": {
            "property_mappings": [
                {"id": 1, "type": "constant", "value": 42},
                {"id": 2, "type": "simple", "source": {"source_id": source, "id_path": "$.id", "data_path": "$.ü"}},
            ],
            "relationship_mappings": [
                {
                    "relationship_id": make.ulid(),
                    "type": "simple",
                    "source": {
                        "source_id": source,
                        "type": "profile",
                        "id_path": "$['id']",
                        "related_id_paths": related,
                        "update_strategy": "additive",
                    },
                }
            ],
        },
        "relationships": {},
    }


def _records(object_type: str, place: int) -> list[Resource]:
    return [
        {
            "type": "object-record",
            "id": f"{object_type}:::ext-{number}",
            "attributes": {
                "record_properties": {"größe": number, "wann": None, "big": 2**60 + number, "a.b": [1, {}]}
                if number % 5
                else {}
            },
            "relationships": {},
        }
        for number in range(110 if place == 0 else 3)
    ]


def _logs(make: Maker, object_type: str, records: list[str], place: int) -> list[Resource]:
    built = []
    for number in range(LOG_COUNT if place == 0 else 2):
        # Klaviyo keeps logs for two weeks.
        second = make.second(max(make.start, make.end - 14 * DAY_S))
        record = records[number % len(records)] if number % 3 else None
        built.append(
            {
                "type": "object-ingestion-log",
                "id": f"{make.identity(8)}-{number:04d}",
                "attributes": {
                    "status": ["error", "warning", "info"][number % 3],
                    "event_type": "validation_error",
                    "timestamp": iso(second),
                    "summary": f"1 validation error for ext-{number} — «größe»",
                    "errors": []
                    if number % 4 == 0
                    else [
                        {
                            "code": "string_type",
                            "message": "Input should be a valid string",
                            "property": "größe",
                            "invalid_value": '["A1"]' if number % 2 else None,
                        }
                    ],
                },
                "relationships": {
                    "object-type": to_one("object-type", object_type),
                    "object-record": to_one("object-record", record),
                },
            }
        )
    return built
