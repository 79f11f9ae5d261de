"""Write the sandbox's rules of a revision from Klaviyo's OpenAPI file.

    python -m tools.sandbox_rules_from_openapi PATH_TO_KLAVIYO_OPENAPI.json

writes `sandbox/rules/<revision>.json`. It has all GET endpoints below `/api/` and the POST endpoints that only read,
with everything the server needs to accept or refuse a request. The file is generated: edit this script, not the file.

Shape of the file: `{"revision", "enums": [[...]], "endpoints": [...]}`. Many endpoints share lists of allowed values,
so `sort`, `include`, `fields`, `additional` and `relationships` refer to them by their index in `enums`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from sandbox.rules import RULES_DIR

MEDIA_TYPE = "application/vnd.api+json"
READING_POSTS = re.compile(r"^/api/(\w+-(values|series)-reports|metric-aggregates)$")

# Lower limits for some parameters:
# "Rate limits when using the `additional-fields[profile]=predictive_analytics` parameter ...: Burst: `10/s` ..."
VARIANT = re.compile(
    r"Rate limits when using the `(?P<parameter>[^=`]+)=(?P<value>[^`]+)` parameter in your API request:"
    r"<br>Burst: `(?P<burst>\d+)/s`<br>Steady: `(?P<steady>\d+)/m`"
)
PAGE_PROSE = re.compile(r"(?:maximum|fixed page\s+size) of (\d+)")
# Page size of endpoints whose documentation does not state it.
UNDOCUMENTED_PAGE_SIZE = 100


def _resolve(spec: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Resolve a `$ref`, or an `allOf` to its last member: Klaviyo puts the additional fields first."""
    while True:
        if "$ref" in schema:
            target: Any = spec
            for part in schema["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            schema = target
        elif "allOf" in schema:
            schema = schema["allOf"][-1]
        else:
            return schema


def _kind(spec: dict[str, Any], resource: dict[str, Any]) -> str | None:
    """The resource type that a schema of a resource states."""
    kind = _resolve(spec, resource.get("properties", {}).get("type", {}))
    values: list[str] = kind.get("enum", [])
    return values[0] if values else None


def _answer(spec: dict[str, Any], operation: dict[str, Any]) -> tuple[str | None, bool, dict[str, list[str]]]:
    """Resource type of the primary data, whether it is a list, and the relationships of each type in the answer."""
    content = operation["responses"].get("200", {}).get("content", {})
    if MEDIA_TYPE not in content:
        return None, False, {}
    document = _resolve(spec, content[MEDIA_TYPE]["schema"])["properties"]
    data = _resolve(spec, document["data"])
    many = data.get("type") == "array"
    item = _resolve(spec, data["items"]) if many else data
    included = _resolve(spec, document["included"]["items"]) if "included" in document else {}
    relationships = {}
    for schema in [item, *included.get("oneOf", [included])]:
        resource = _resolve(spec, schema)
        kind = _kind(spec, resource)
        if kind and "relationships" in resource["properties"]:
            relationships[kind] = list(_resolve(spec, resource["properties"]["relationships"])["properties"])
    return _kind(spec, item), many, relationships


def _filters(operation: dict[str, Any]) -> dict[str, Any]:
    """`{field: {"single": [op], "list": [op], "none": [op], "value": type, "enum": [...]}}`, without empty parts."""
    rules = {}
    for field, raw in operation.get("x-klaviyo-filters", {}).items():
        rule = dict(raw["operators"])
        value = raw.get("value")
        if value:
            rule["value"] = value.get("format", value["type"])
            if "enum" in value:
                rule["enum"] = value["enum"]
        rules[field] = rule
    return rules


def name_variants_as_included(variants: list[dict[str, Any]], include: list[str]) -> None:
    """Correct the values of rate overrides: the prose says `include=list` where the parameter takes `lists`."""
    for variant in variants:
        if variant["parameter"] == "include" and variant["value"] not in include:
            variant["value"] += "s"


def _per_unit(limit: str) -> int:
    return int(limit.split("/")[0])


def extract(spec: dict[str, Any]) -> dict[str, Any]:
    """The rules of all endpoints of an OpenAPI document that only read."""
    enums: list[list[str]] = []

    def pooled(values: list[str]) -> int:
        if values not in enums:
            enums.append(values)
        return enums.index(values)

    endpoints = []
    for path, item in spec["paths"].items():
        method = "GET" if "get" in item else "POST"
        if not path.startswith("/api/") or (method == "POST" and not READING_POSTS.match(path)):
            continue
        operation = item[method.lower()]
        answer, many, relationships = _answer(spec, operation)
        limits = operation["x-klaviyo-ratelimit"]
        rule: dict[str, Any] = {
            "path": path,
            "method": method,
            "operation": operation["operationId"],
            "type": answer,
            "many": many,
            "scopes": operation["x-klaviyo-scopes"],
            "burst": _per_unit(limits["burst"]),
            "steady": _per_unit(limits["steady"]),
        }
        if relationships:
            rule["relationships"] = {kind: pooled(names) for kind, names in relationships.items()}
        if "daily" in limits:
            rule["daily"] = _per_unit(limits["daily"])
        variants = [match.groupdict() for match in VARIANT.finditer(operation["description"])]
        if variants:
            rule["variants"] = [v | {"burst": int(v["burst"]), "steady": int(v["steady"])} for v in variants]
        filters = _filters(operation)
        if filters:
            rule["filters"] = filters
        required = []
        for parameter in operation.get("parameters", []):
            name, schema = parameter["name"], parameter["schema"]
            if parameter["in"] != "query":
                continue
            if parameter.get("required"):
                required.append(name)
            enum = schema.get("items", schema).get("enum")
            grouped = re.fullmatch(r"(fields|additional-fields)\[(.+)\]", name)
            if name == "page[size]":
                rule["page"] = {"default": schema["default"], "max": schema["maximum"], "min": schema["minimum"]}
            elif name == "page[cursor]":
                rule["cursor"] = True
            elif grouped:
                group = "fields" if grouped[1] == "fields" else "additional"
                rule.setdefault(group, {})[grouped[2]] = pooled(enum)
            elif name in ("sort", "include"):
                rule[name] = pooled(enum)
            elif name != "filter":
                rule.setdefault("other", []).append(name)
        if "include" in rule:
            name_variants_as_included(rule.get("variants", []), enums[rule["include"]])
        if required:
            rule["required"] = required
        if rule.get("cursor") and "page" not in rule:
            stated = PAGE_PROSE.search(operation["description"])
            rule["page"] = {"fixed": int(stated[1]) if stated else UNDOCUMENTED_PAGE_SIZE}
        endpoints.append(rule)
    return {"revision": spec["info"]["version"], "enums": enums, "endpoints": endpoints}


def dump(rules: dict[str, Any]) -> str:
    """The rules as JSON, with one line for each endpoint and each enum, so that revisions can be compared by `diff`."""

    def lines(items: list[Any]) -> str:
        return ",\n".join("  " + json.dumps(item, separators=(",", ":")) for item in items)

    return (
        f'{{\n "revision": {json.dumps(rules["revision"])},\n'
        f' "enums": [\n{lines(rules["enums"])}\n ],\n'
        f' "endpoints": [\n{lines(rules["endpoints"])}\n ]\n}}\n'
    )


def write(rules: dict[str, Any]) -> None:
    """Write the file of a revision."""
    target = RULES_DIR / f"{rules['revision']}.json"
    target.write_text(dump(rules), encoding="utf-8")
    sys.stdout.write(f"{target}: {len(rules['endpoints'])} endpoints\n")


def main(arguments: list[str]) -> int:
    """Write the rules of the OpenAPI file given on the command line, and return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m tools.sandbox_rules_from_openapi PATH_TO_KLAVIYO_OPENAPI.json\n")
        return 2
    write(extract(json.loads(Path(arguments[0]).read_text(encoding="utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
