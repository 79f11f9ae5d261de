"""Bulk jobs: profile imports and their errors, suppressions, changes of the catalog, new coupon codes."""

from __future__ import annotations

from .maker import DAY_S, Maker
from .resources import Resource, to_many
from .timestamps import iso

STATES = ["complete", "processing", "queued", "cancelled", "complete"]


def _job(make: Maker, kind: str, place: int, *, counts: tuple[str, ...]) -> Resource:
    """The part that all jobs share. `created_at` has a fraction, as in Klaviyo's documentation."""
    status = STATES[place % len(STATES)]
    created = make.second(make.end - 10 * DAY_S)
    total = 1 + place * 7
    done = total if status == "complete" else None
    attributes: Resource = {
        "status": status,
        "created_at": iso(created).replace("+00:00", f".{place:06d}+00:00"),
        "total_count": total,
        "completed_count": done,
        "completed_at": iso(created + 60) if done is not None else None,
    }
    for name in counts:
        attributes[name] = place % 3 if done is not None else None
    return {"type": kind, "id": f"{kind[:4]}{place}{make.identity(20)}", "attributes": attributes, "relationships": {}}


def bulk_jobs(make: Maker, kind: str, relationship: str, target: str, targets: list[str]) -> list[Resource]:
    """Jobs on the catalog or on coupon codes, some with errors.

    Args:
        kind: of the jobs.
        relationship: from a job to the records that it works on.
        target: the type of these records.
        targets: their ids.
    """
    built = []
    for place in range(6):
        job = _job(make, kind, place, counts=("failed_count",))
        attributes = job["attributes"]
        attributes["expires_at"] = iso(make.end + DAY_S) if place % 2 else None
        attributes["errors"] = [
            {
                "id": f"e4eebb08-{place:04d}",
                "code": "invalid",
                "title": "Invalid input",
                "detail": "„price“ must be a number.",
                "source": {"pointer": "/data/attributes/items/data/0"},
            }
        ] * (attributes["failed_count"] or 0) or [[], None][place % 2]
        job["relationships"] = {relationship: to_many(target, targets[place : place + place % 3])}
        built.append(job)
    return built


def imports(make: Maker, lists: list[str], profiles: list[str]) -> tuple[list[Resource], list[Resource]]:
    """Profile imports, and the errors of the imports that have any."""
    built, errors = [], []
    for place in range(12):
        job = _job(make, "profile-bulk-import-job", place, counts=("failed_count",))
        attributes = job["attributes"]
        attributes["started_at"] = attributes["created_at"] if attributes["completed_at"] else None
        attributes["expires_at"] = iso(make.end + 7 * DAY_S) if place % 2 else None
        own = [_error(make, place, number) for number in range(attributes["failed_count"] or 0)]
        errors += own
        job["relationships"] = {
            "lists": to_many("list", lists[: place % 2]),
            "profiles": to_many("profile", profiles[place : place + 2]),
            "import-errors": to_many("import-error", [error["id"] for error in own]),
        }
        built.append(job)
    return built, errors


def _error(make: Maker, place: int, number: int) -> Resource:
    return {
        "type": "import-error",
        "id": f"{make.identity(12)}-{place}-{number}",
        "attributes": {
            "code": "invalid",
            "title": "Invalid input",
            "detail": "„+49 1“ is not a phone number.",
            "source": {"pointer": f"/data/attributes/profiles/data/{number}" if number else None},
            "original_payload": {"email": "ä@example.com", "phone_number": "+49 1", "n": 2**60} if place % 2 else None,
        },
        "relationships": {},
    }


def suppressions(make: Maker, kind: str, lists: list[str], segments: list[str]) -> list[Resource]:
    """Jobs that suppress or unsuppress single profiles, lists or segments."""
    built = []
    for place in range(7):
        job = _job(make, kind, place, counts=("skipped_count",))
        job["relationships"] = {
            "lists": to_many("list", lists[:1] if place % 3 == 1 else []),
            "segments": to_many("segment", segments[:2] if place % 3 == 2 else []),
        }
        built.append(job)
    return built
