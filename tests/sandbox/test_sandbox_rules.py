"""The sandbox's rules: those of 2026-10-15 are what its SDK says, and the script that reads it is proved on 2026-07-15.

That revision has both an OpenAPI file and an SDK. What the script reads out of the SDK must be what the file says, but
for what the SDK does not tell, each listed here with its reason.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openapi_client
import pytest

from sandbox import rules
from sandbox.rules import RULES_DIR
from tests.support import sdks
from tools.sandbox_rules_from_openapi import dump
from tools.sandbox_rules_from_sdk import WITHOUT_MODEL, Kind, Sdk, extract

WITH_FILE = "2026-07-15"

Endpoint = dict[str, Any]

# Where an endpoint differs in one field, or in one filter, each with its reason.
ODD: dict[tuple[str, str, str], str] = {
    ("/api/events", "filters", "timestamp"): "a whole number in the model, any number in a filter",
    ("/api/events", "relationships", "attribution"): "attributions have no model",
    ("/api/events/{id}", "relationships", "attribution"): "attributions have no model",
    ("/api/object-types", "include", ""): "its records relate to their own type, which has sparse fields anyway",
}


@pytest.fixture(scope="module")
def sdk() -> Sdk:
    return Sdk(sdks.BESIDE / WITH_FILE / "openapi_client")


@pytest.fixture(scope="module")
def told() -> str:
    return (RULES_DIR / f"{WITH_FILE}.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def read(sdk: Sdk) -> dict[str, Endpoint]:
    return endpoints(extract(sdk))


def endpoints(made: dict[str, Any]) -> dict[str, Endpoint]:
    """Path -> endpoint, with the lists in place of their numbers, sorted."""
    enums, found = made["enums"], {}
    for endpoint in json.loads(json.dumps(made["endpoints"])):
        for name in ("sort", "include"):
            if name in endpoint:
                endpoint[name] = sorted(enums[endpoint[name]])
        for name in ("fields", "additional", "relationships"):
            endpoint[name] = {key: sorted(enums[place]) for key, place in endpoint.get(name, {}).items()}
        for rule in endpoint.get("filters", {}).values():
            rule |= {name: sorted(rule[name]) for name in ("single", "list", "none", "enum") if name in rule}
        endpoint["scopes"].sort()
        found[f"{endpoint['path']}"] = endpoint
    return found


def differences(told: dict[str, Endpoint], read: dict[str, Endpoint]) -> list[tuple[str, str, str, Any, Any]]:
    """(path, field, key, in the file, by the SDK) of what differs; the key is empty where the field has none."""
    found = []
    for path in sorted({*told, *read}):
        one, other = told.get(path, {}), read.get(path, {})
        for name in sorted({*one, *other}):
            left, right = one.get(name), other.get(name)
            if name in ("filters", "fields", "additional", "relationships"):
                left, right = left or {}, right or {}
                keys = [key for key in sorted({*left, *right}) if left.get(key) != right.get(key)]
                found += [(path, name, key, left.get(key), right.get(key)) for key in keys]
            elif left != right:
                found.append((path, name, "", left, right))
    return found


def untold_values(told: Any, read: Any) -> bool:
    """A filter of which the SDK does not tell the values (it does since 2026-10-15)."""
    return bool(told and read and {**told, "enum": None} == {**read, "enum": None} and "enum" not in read)


def untold_lists(told: Any, read: Any) -> bool:
    """A filter whose operators are the same, though not known to take lists, or not known to take nothing else."""
    if not told or not read or told["value"] != read["value"]:
        return False
    operators = [{*rule.get("single", []), *rule.get("list", [])} for rule in (told, read)]
    several = [{*rule.get("list", [])} for rule in (told, read)]
    return operators[0] == operators[1] and several[0] ^ several[1] <= {"equals"}


def untyped_below(sdk: Sdk, kind: str, told: Any, read: Any) -> bool:
    """Sparse fields below objects that come in several shapes, which have no model."""
    more = {*told} - {*read}
    untyped = {
        f"{path}."
        for model in sdk.of_type(kind)
        for path, is_of in sdk.attributes(model).items()
        if is_of == Kind("Dict")
    }
    return {*read} <= {*told} and all(name.startswith(tuple(untyped)) for name in more)


def explained(sdk: Sdk, difference: tuple[str, str, str, Any, Any]) -> bool:
    path, name, key, told, read = difference
    if (path, name, key) in ODD:
        return True
    if name == "sort":
        # the SDK tells that there is such a parameter
        return bool(told) and read == []
    if name == "filters":
        return untold_values(told, read) or untold_lists(told, read)
    return name == "fields" and untyped_below(sdk, key, told, read)


def test_the_sdk_says_what_the_openapi_file_says(sdk: Sdk, told: str, read: dict[str, Endpoint]) -> None:
    found = differences(endpoints(json.loads(told)), read)
    assert [difference for difference in found if not explained(sdk, difference)] == []
    assert {*ODD} <= {difference[:3] for difference in found}


def test_with_the_rules_of_the_revision_before_nothing_is_left_untold(sdk: Sdk, told: str) -> None:
    filled = endpoints(extract(sdk, rules.load(WITH_FILE)))
    assert differences(endpoints(json.loads(told)), filled) == []


@pytest.mark.parametrize(
    ("rule", "changed"),
    [
        ('"burst":10', '"burst":11'),
        ('"list":["any","equals"]', '"list":["any"]'),
        ('"single":["contains"]', '"single":["equals"]'),
        ('"value":"boolean"', '"value":"string"'),
        ('"max":100', '"max":50'),
        ('"scopes":["tags:read"]', '"scopes":[]'),
        ('"many":true', '"many":false'),
        ('"cursor":true', '"cursor":false'),
        ('"first_name",', ""),
    ],
)
def test_a_rule_that_the_sdk_contradicts_is_named(
    sdk: Sdk, told: str, read: dict[str, Endpoint], rule: str, changed: str
) -> None:
    assert rule in told
    found = differences(endpoints(json.loads(told.replace(rule, changed))), read)
    assert [difference for difference in found if not explained(sdk, difference)]


def test_the_rules_of_the_installed_sdk_are_those_in_the_file() -> None:
    installed = Sdk(Path(openapi_client.__file__).parent)
    committed = (RULES_DIR / f"{installed.revision}.json").read_text(encoding="utf-8")
    again = "run python -m tools.sandbox_rules_from_sdk PATH_TO_openapi_client REVISION_BEFORE and read the diff"
    assert dump(extract(installed, rules.load(WITH_FILE))) == committed, again


def test_all_that_the_newest_revision_can_sort_and_include_is_known() -> None:
    made = json.loads((RULES_DIR / f"{rules.revisions()[-1]}.json").read_text(encoding="utf-8"))
    asked = [
        (e["path"], name, made["enums"][e[name]])
        for e in made["endpoints"]
        for name in ("sort", "include")
        if name in e
    ]
    assert len(asked) > 60
    assert [(path, name) for path, name, values in asked if not values] == []


def test_what_is_unshown_is_still_unshown(sdk: Sdk) -> None:
    for _, kind in WITHOUT_MODEL:
        assert all("meta" not in sdk.attributes(model) for model in sdk.of_type(kind))
