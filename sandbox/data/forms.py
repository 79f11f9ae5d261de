"""Sign-up forms and their versions."""

from __future__ import annotations

from .maker import DAY_S, Maker
from .resources import Resource, to_many, to_one
from .timestamps import iso

FORM_TYPES = ["popup", "flyout", "embed", "full_page", "banner"]
# The same types, as the definition of a form names them.
DEFINITION_TYPES = ["popup", "flyout", "embed", "full_screen", "banner"]


def forms(make: Maker) -> tuple[list[Resource], list[Resource]]:
    """Forms and their versions. The first form has no versions; some forms are A/B tests."""
    built, versions = [], []
    for place in range(9):
        created = make.second(make.start - 100 * DAY_S)
        updated = make.second(created)
        identity = make.identity()
        is_test = place % 4 == 2
        own: list[Resource] = []
        for number in range(0 if place == 0 else 1 + place % 3):
            began = make.second(created, updated + 1)
            attributes: Resource = {
                "form_type": FORM_TYPES[place % 5],
                "variation_name": f"Variante {number + 1}",
                "status": ["live", "draft"][number % 2],
                "created_at": iso(began),
                "updated_at": iso(make.second(began, updated + 1)),
            }
            if is_test:
                attributes["ab_test"] = {"variation_name": f"Größerer Knopf {number}"}
            own.append(
                {
                    "type": "form-version",
                    "id": str(make.random.randrange(10**6, 10**7)),
                    "attributes": attributes,
                    "relationships": {"form": to_one("form", identity)},
                }
            )
        versions += own
        built.append(
            {
                "type": "form",
                "id": identity,
                "attributes": {
                    "name": f"Newsletter — „{place}“",
                    "status": ["live", "draft"][place % 2],
                    "ab_test": is_test,
                    "created_at": iso(created),
                    "updated_at": iso(updated),
                    "definition": {
                        "versions": [
                            {
                                "id": int(version["id"]),
                                "name": version["attributes"]["variation_name"],
                                "steps": [{"id": "01J", "name": "E-Mail", "columns": [], "steps": None}],
                                "type": DEFINITION_TYPES[place % 5],
                                "location": None,
                                "status": version["attributes"]["status"],
                                "ab_test": is_test,
                            }
                            for version in own
                        ]
                    },
                },
                "relationships": {"form-versions": to_many("form-version", [version["id"] for version in own])},
            }
        )
    return built, versions
