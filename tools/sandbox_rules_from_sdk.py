"""Write the sandbox's rules of a revision from Klaviyo's official Python SDK, for a revision without an OpenAPI file.

    python -m tools.sandbox_rules_from_sdk PATH_TO_openapi_client [REVISION_BEFORE]

writes `sandbox/rules/<revision>.json`, in the shape that `sandbox_rules_from_openapi.py` describes. It reads the source
text of the SDK and imports nothing of it, so it works with any version. The file is generated: edit this script, not
the file.

Where each fact comes from:

- path, parameters and operation id: what the SDK's methods send;
- filters, page sizes, rate limits and their overrides, scopes, additional fields: the docstrings;
- types, includes, relationships, sparse fields: the models;
- what the SDK does not state, which is the sort fields and the fields below objects that have several shapes: the rules
  of the revision before, or the tables below for endpoints that it does not have.

`tests/sandbox/test_sandbox_rules.py` runs this on the SDK of the revision that has an OpenAPI file, and lists the differences.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sandbox import rules
from sandbox.rules import Endpoint, FilterField

from .sandbox_rules_from_openapi import (
    PAGE_PROSE,
    READING_POSTS,
    UNDOCUMENTED_PAGE_SIZE,
    VARIANT,
    name_variants_as_included,
    write,
)

# Sort fields of endpoints that are new in a revision or have changed, from the OpenAPI file of the beta of 2026-10-15.
SORTS: dict[str, dict[str, tuple[str, ...]]] = {
    "2026-10-15": {
        "/api/campaign-messages": ("created", "id", "name", "status", "updated"),
        "/api/campaigns": ("created_at", "id", "name", "updated_at"),
        "/api/text-messaging-senders": ("created_at",),
        "/api/translations": ("id",),
    }
}
# Fields below objects that have several shapes, from the same file.
_DETAILS = """action_buttons add_info_link add_opt_out_language add_org_prefix android_deep_link badge badge_config
badge_value bcc_email body cc_email channel content_available cost dynamic_media_template from_email from_label
include_contact_card ios_deep_link kv_pairs message_hierarchy mms_dynamic_image_template mms_static_image_asset_id
mutable_content open_action preview_text push_type reply_to_email shorten_links sound sound_file_name static_asset_id
subject template_id text_message_type title video_asset_id web_url"""
_CONTENT = """action_buttons android_link badge bcc_email body cc_email dynamic_image from_email from_label ios_link
media_url on_open preview_text reply_to_email sound subject title web_url"""
SHAPES: dict[tuple[str, str], tuple[str, ...]] = {
    ("campaign-variation", "definition.details"): tuple(f"definition.details.{name}" for name in _DETAILS.split()),
    ("flow-message", "content"): tuple(f"content.{name}" for name in _CONTENT.split()),
}
# (path, type) -> model of included records, where it differs from that of other endpoints.
INCLUDED_AS = {
    ("/api/translations", "flow-message"): "FlowMessageResponseObjectResource",
    ("/api/translations/{id}", "flow-message"): "FlowMessageResponseObjectResource",
}
# (path, type) -> sparse fields of records that are only ever included and have no model.
_RELATED = ("meta", "meta.description", "meta.name", "meta.relationship_id")
WITHOUT_MODEL: dict[tuple[str, str], tuple[str, ...]] = {
    ("/api/object-schemas/{id}", "object-schema"): _RELATED,
    ("/api/object-schemas/{id}", "profile-object-schema"): _RELATED,
    ("/api/object-types/{id}", "object-type"): _RELATED,
    ("/api/object-types/{id}", "profile-object-type"): _RELATED,
}

Rule = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """The type of a field: the name of a model or a plain type, of one value or of a list."""

    name: str
    many: bool = False

    @property
    def value(self) -> str:
        """The type of value that a filter on the field takes."""
        plain = {"StrictBool": "boolean", "StrictInt": "integer", "StrictFloat": "number", "datetime": "date-time"}
        return "string" if self.many else plain.get(self.name, "string")


def _kind(annotation: ast.expr) -> Kind:
    """The type in an annotation; `Dict` for an object without a model."""
    if not isinstance(annotation, ast.Subscript):
        return Kind(annotation.id if isinstance(annotation, ast.Name) else "")
    outer = annotation.value.id if isinstance(annotation.value, ast.Name) else ""
    inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
    if outer == "List":
        return Kind(_kind(inner[0]).name, many=True)
    if outer == "Union":
        return Kind("StrictFloat" if {_kind(each).name for each in inner} <= {"StrictFloat", "StrictInt"} else "Union")
    return Kind("Dict") if outer == "Dict" else _kind(inner[0])


class Sdk:
    """The source text of an SDK.

    Args:
        folder: of its package `openapi_client`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._models: dict[str, dict[str, Kind]] = {}

    @cached_property
    def revision(self) -> str:
        """The revision of the API that it is for."""
        wrapper = (self.folder.parent / "klaviyo_api" / "wrapper.py").read_text(encoding="utf-8")
        return _one(r'_REVISION = "([^"]+)"', wrapper)

    @cached_property
    def _files(self) -> dict[str, str]:
        """Class -> name of its module."""
        imports = (self.folder / "models" / "__init__.py").read_text(encoding="utf-8")
        return {
            name: module for module, name in re.findall(r"from openapi_client\.models\.(\w+) import (\w+)", imports)
        }

    def is_model(self, name: str) -> bool:
        """Whether a type is a model with fields."""
        return name in self._files and bool(self.fields(name))

    def _text(self, name: str) -> str:
        return (self.folder / "models" / f"{self._files[name]}.py").read_text(encoding="utf-8")

    def fields(self, model: str) -> dict[str, Kind]:
        """JSON name of a field -> type, of a model."""
        if model not in self._models:
            tree = ast.parse(self._text(model))
            body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == model)
            found = {}
            for node in body:
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id[0] != "_":
                    words = node.value.keywords if isinstance(node.value, ast.Call) else []
                    alias = next((word.value.value for word in words if word.arg == "alias"), node.target.id)  # type: ignore[attr-defined]
                    found[str(alias)] = _kind(node.annotation)
            self._models[model] = found
        return self._models[model]

    def states(self, model: str) -> str:
        """The JSON:API type of a model's records."""
        return _one(r"(?m)^    [A-Z_0-9]+ = '([^']+)'", self._text(self.fields(model)["type"].name))

    def record(self, response: str) -> Kind:
        """The model of the records in an answer, and whether it is a list."""
        return self.fields(response)["data"]

    def attributes(self, record: str) -> dict[str, Kind]:
        """Attribute -> type, of a record, with dotted names for those of objects. Objects in lists are left out."""
        own = self.fields(record).get("attributes")
        return dict(self._below(own.name)) if own and self.is_model(own.name) else {}

    def _below(self, model: str, path: str = "") -> Iterator[tuple[str, Kind]]:
        for name, kind in self.fields(model).items():
            yield path + name, kind
            if not kind.many and self.is_model(kind.name):
                yield from self._below(kind.name, f"{path}{name}.")

    def relationships(self, record: str) -> dict[str, str]:
        """Relationship -> type, of a record."""
        own = self.fields(record).get("relationships")
        found = {}
        for name, kind in self.fields(own.name).items() if own else ():
            data = self.fields(kind.name).get("data")
            if data:
                found[name] = self.states(data.name)
        return found

    def of_type(self, kind: str) -> list[str]:
        """The models of a type, those with the fewest attributes first."""
        return self._records.get(kind, [])

    @cached_property
    def _records(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in sorted(self._files):
            if re.search(r"Response\w*ObjectResource", name) and self.fields(name).keys() >= {"type", "id", "links"}:
                found.setdefault(self.states(name), []).append(name)
        return {kind: sorted(names, key=lambda name: len(self.attributes(name))) for kind, names in found.items()}

    def plain(self, kind: str) -> str | None:
        """The model of included records of a type: the one with the fewest attributes. None if there is none."""
        return next((name for name in self.of_type(kind) if name.endswith("ObjectResource")), None)

    def operations(self) -> Iterator[Operation]:
        """All operations that only read, sorted by path."""
        found = []
        for file in sorted((self.folder / "api").glob("*_api.py")):
            methods = dict(re.findall(r"(?ms)^    def (\w+)\((.*?)(?=^    (?:def|@)|\Z)", file.read_text("utf-8")))
            for name, text in methods.items():
                sent = methods.get(f"_{name}_serialize")
                if sent is None:
                    continue
                path, method = _one(r"resource_path='([^']+)'", sent), _one(r"method='([A-Z]+)'", sent)
                if path.startswith("/api/") and (method == "GET" or READING_POSTS.match(path)):
                    docstring = ast.literal_eval('"""' + text.split('"""')[1] + '"""')
                    queries = re.findall(r"_query_params\.append\(\('([^']+)'", sent)
                    found.append(
                        Operation(
                            name,
                            path,
                            method,
                            tuple(dict.fromkeys(queries)),
                            docstring.partition("\n        :param ")[0],
                            dict(re.findall(r":param (\w+): ?(.*)", docstring)),
                            _one(r"'200': \"(\w+)\"", text),
                        )
                    )
        return iter(sorted(found, key=lambda operation: operation.path))


@dataclass(frozen=True)
class Operation:
    """One method of the SDK.

    Attributes:
        name: the operation id.
        queries: names of its query parameters, as they are sent.
        prose: what the docstring says before its parameters.
        parameter_docs: Python name of a parameter -> what the docstring says about it.
        response: name of the model of the answer.
    """

    name: str
    path: str
    method: str
    queries: tuple[str, ...]
    prose: str
    parameter_docs: dict[str, str]
    response: str


def _one(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"nothing matches {pattern} in {text[:200]!r}: the SDK is written differently now")
    return found[1]


def _limits(operation: Operation) -> dict[str, int]:
    match = re.search(
        r"\*Rate limits\*:<br>Burst: `(\d+)/s`<br>Steady: `(\d+)/m`(?:<br>Daily: `(\d+)/d`)?", operation.prose
    )
    if match is None:
        raise ValueError(f"{operation.name}: no rate limits in its docstring")
    found = {"burst": int(match[1]), "steady": int(match[2])}
    return found | ({"daily": int(match[3])} if match[3] else {})


def _filters(sdk: Sdk, operation: Operation, record: str, before: Endpoint | None) -> dict[str, Rule]:
    """`{field: {"single": [op], "list": [op], "none": [op], "value": type, "enum": [...]}}`, without empty parts.

    The SDK does not say which operators take lists. A field with the same operators as in the revision before takes
    lists as it did there. Otherwise `any` takes a list, and so does `equals` if the field has both.
    """
    whole = sdk.attributes(record) or sdk.attributes(sdk.plain(sdk.states(record)) or record)
    found = {}
    for line in operation.parameter_docs.get("filter", "").split("<br>")[2:]:
        field, listed, rest = re.match(r"`([^`]+)`: ((?:`[^`]+`(?:, )?)+) ?(.*)", line).groups()  # type: ignore[union-attr]
        operators = re.findall(r"`([^`]+)`", listed)
        known = before.filters.get(field) if before else None
        if known is None or sorted(known.operators) != sorted(operators):
            several = tuple(op for op in operators if op == "any" or (op == "equals" and "any" in operators))
            single = tuple(op for op in operators if op not in ("any", "has"))
            known = FilterField(single, several, tuple(op for op in operators if op == "has"), "")
        rule: Rule = {"single": [*known.single], "list": [*known.many], "none": [*known.none]}
        rule = {part: ops for part, ops in rule.items() if ops}
        if "none" not in rule:
            values = re.findall(r"`'([^`]+)'`", rest)
            stated = re.match(r"\(([a-z-]+)\)", rest.replace("(required)", ""))
            by_name = "date-time" if field.endswith(("timestamp", "_at")) else "string"
            by_model = whole[field].value if field in whole else by_name
            rule["value"] = "string" if values else stated[1] if stated else known.value or by_model
            if values or known.enum:
                rule["enum"] = values or [*known.enum]
        found[field] = rule
    return found


def _fields(sdk: Sdk, operation: Operation, record: str, kind: str, before: tuple[Endpoint, ...]) -> list[str]:
    """What `fields[kind]` takes: the attributes at every depth, but not those of objects in lists."""
    included = INCLUDED_AS.get((operation.path, kind)) or sdk.plain(kind)
    model = record if sdk.states(record) == kind else included
    found = {"id", *WITHOUT_MODEL.get((operation.path, kind), ())}
    for path, attribute in (sdk.attributes(model) if model else {}).items():
        found.add(path)
        if attribute == Kind("Dict"):
            below = [*SHAPES.get((kind, path), ()), *(name for old in before for name in old.fields.get(kind, ()))]
            found |= {name for name in below if name.startswith(f"{path}.")}
    return sorted(found)


def _include(sdk: Sdk, operation: Operation, record: str, before: Endpoint | None) -> list[str]:
    """Relationships that can be included: those whose type has a `fields` parameter.

    Left out are relationships that the revision before had and could not include: their type has the parameter for
    another relationship.
    """
    if "include" not in operation.queries:
        return []
    old = before.relationships.get(sdk.states(record), ()) if before else ()
    return [
        name
        for name, kind in sdk.relationships(record).items()
        if f"fields[{kind}]" in operation.queries and (before is None or name in before.include or name not in old)
    ]


def _relationships(sdk: Sdk, record: str, include: list[str], before: Endpoint | None) -> dict[str, list[str]]:
    """Type -> names of relationships, of the records in an answer and of those included with them."""
    own = sdk.relationships(record)
    found = {sdk.states(record): [*own]}
    for kind in (own[name] for name in include):
        plain = sdk.plain(kind)
        if kind not in found and plain:
            found[kind] = [*sdk.relationships(plain)]
        elif kind not in found and before:
            # Attributions have no model.
            found[kind] = [*before.relationships.get(kind, ())]
    return {kind: names for kind, names in found.items() if names}


def extract(sdk: Sdk, before: rules.Rules | None = None) -> Rule:
    """The rules of all endpoints of an SDK that only read.

    Args:
        before: the rules of the revision before, for what the SDK does not state.
    """
    old = before.endpoints if before else ()
    earlier = {(endpoint.path, endpoint.method): endpoint for endpoint in old}
    enums: list[list[str]] = []
    endpoints = []

    def pooled(values: list[str]) -> int:
        if values not in enums:
            enums.append(values)
        return enums.index(values)

    for operation in sdk.operations():
        known = earlier.get((operation.path, operation.method))
        record, many = sdk.record(operation.response).name, sdk.record(operation.response).many
        rule: Rule = {
            "path": operation.path,
            "method": operation.method,
            "operation": operation.name,
            "type": sdk.states(record),
            "many": many,
            "scopes": re.findall(r"`([^`]+)`", _one(r"\*\*Scopes:\*\*((?:\s+`[^`]+`)+)", operation.prose)),
            **_limits(operation),
        }
        include = _include(sdk, operation, record, known)
        if below := _relationships(sdk, record, include, known):
            rule["relationships"] = {kind: pooled(names) for kind, names in below.items()}
        if variants := [match.groupdict() for match in VARIANT.finditer(operation.prose)]:
            rule["variants"] = [v | {"burst": int(v["burst"]), "steady": int(v["steady"])} for v in variants]
        if filters := _filters(sdk, operation, record, known):
            rule["filters"] = filters
        for query in operation.queries:
            grouped = re.fullmatch(r"(fields|additional-fields)\[(.+)\]", query)
            if query == "page[size]":
                text = operation.parameter_docs["page_size"]
                rule["page"] = {name.lower(): int(_one(rf"{name}: (\d+)", text)) for name in ("Default", "Max", "Min")}
            elif query == "page[cursor]":
                rule["cursor"] = True
            elif grouped and grouped[1] == "fields":
                names = _fields(sdk, operation, record, grouped[2], old)
                rule.setdefault("fields", {})[grouped[2]] = pooled(names)
            elif grouped:
                text = operation.parameter_docs["additional_fields_" + grouped[2].replace("-", "_")]
                values = re.findall(r"'([^']+)'", text.partition("Supported values:")[2])
                rule.setdefault("additional", {})[grouped[2]] = pooled(values)
            elif query == "sort":
                both = [
                    sign + name for name in SORTS.get(sdk.revision, {}).get(operation.path, ()) for sign in ("", "-")
                ]
                rule["sort"] = pooled(both or [*(known.sort if known else ())])
            elif query == "include":
                rule["include"] = pooled(include)
            elif query != "filter":
                rule.setdefault("other", []).append(query)
        name_variants_as_included(rule.get("variants", []), include)
        if "(required)" in operation.parameter_docs.get("filter", ""):
            rule["required"] = ["filter"]
        if rule.get("cursor") and "page" not in rule:
            size = PAGE_PROSE.search(operation.prose)
            rule["page"] = {"fixed": int(size[1]) if size else UNDOCUMENTED_PAGE_SIZE}
        endpoints.append(rule)
    return {"revision": sdk.revision, "enums": enums, "endpoints": endpoints}


def main(arguments: list[str]) -> int:
    """Write the rules of the SDK given on the command line, and return the exit code."""
    if len(arguments) not in (1, 2):
        sys.stderr.write("usage: python -m tools.sandbox_rules_from_sdk PATH_TO_openapi_client [REVISION_BEFORE]\n")
        return 2
    write(extract(Sdk(Path(arguments[0])), rules.load(arguments[1]) if arguments[1:] else None))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
