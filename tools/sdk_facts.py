"""What Klaviyo's official SDK says of every readable endpoint, written down as one file a revision.

    python -m tools.sdk_facts

reads the installed `klaviyo-api` and those beside it (see `tests/support/sdks.py`; no network) and writes
`sources/klaviyo/catalog/data/<revision>.json`. The files are generated: edit this script, not them.
`tests/sdk/test_sdk_agreement.py` checks that each SDK still agrees with its file.

Where each fact comes from:

- path, method, parameters: what the SDK's methods send;
- filters, page sizes, rates, rate overrides, scopes, additional fields: the docstrings;
- type, includes, sparse fields: the response models (the SDK takes `include` and `fields[…]` as bare strings). An
  include is a relationship whose type has a `fields[…]` parameter; sparse fields are the attributes at every depth,
  lists not entered. `x.*` stands for whatever lies below an object that the SDK leaves untyped;
- value types of filters: the docstrings where they tell them (since 2026-10-15), else the attribute of that name;
- bodies of reports: the request models, their validators and their descriptions;
- what none of these says: the tables `SORTS` to `KINDS` below, kept by hand, from Klaviyo's reference.

A parameter of a new revision that the tables should know and don't stops the command with a sentence that says so.
"""

from __future__ import annotations

import ast
import datetime
import enum
import inspect
import json
import re
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import openapi_client
import openapi_client.models as models
from pydantic import BaseModel

from tests.support import sdks

TARGET = Path(__file__).resolve().parents[1] / "sources" / "klaviyo" / "catalog" / "data"
READING_POSTS = re.compile(r"/api/(\w+-(values|series)-reports|metric-aggregates)")

# What the SDK does not say, by path. A name can be sorted by in both directions. Read off Klaviyo's reference of
# 2026-07-15; of those new in 2026-10-15 (campaign-messages, text-messaging-senders, translations) off that of their
# beta, and not yet tried against the API.
_CATALOG = ("created",)
_FLOW_ACTIONS = ("action_type", "created", "id", "status", "updated")
_FLOW_MESSAGES = ("created", "id", "name", "updated")
_FORM_VERSIONS = ("created_at", "updated_at")
_MEMBERS = ("joined_group_at",)
_NAMED = ("created", "id", "name", "updated")
SORTS: dict[str, tuple[str, ...]] = {
    "/api/campaign-messages": ("created", "id", "name", "status", "updated"),
    "/api/campaigns": ("created_at", "id", "name", "updated_at"),
    "/api/catalog-categories": _CATALOG,
    "/api/catalog-categories/{id}/items": _CATALOG,
    "/api/catalog-categories/{id}/relationships/items": _CATALOG,
    "/api/catalog-items": _CATALOG,
    "/api/catalog-items/{id}/categories": _CATALOG,
    "/api/catalog-items/{id}/relationships/categories": _CATALOG,
    "/api/catalog-items/{id}/relationships/variants": _CATALOG,
    "/api/catalog-items/{id}/variants": _CATALOG,
    "/api/catalog-variants": _CATALOG,
    "/api/events": ("datetime", "timestamp"),
    "/api/flow-actions/{id}/flow-messages": _FLOW_MESSAGES,
    "/api/flow-actions/{id}/relationships/flow-messages": _FLOW_MESSAGES,
    "/api/flows": ("created", "id", "name", "status", "trigger_type", "updated"),
    "/api/flows/{id}/flow-actions": _FLOW_ACTIONS,
    "/api/flows/{id}/relationships/flow-actions": _FLOW_ACTIONS,
    "/api/forms": ("created_at", "updated_at"),
    "/api/forms/{id}/form-versions": _FORM_VERSIONS,
    "/api/forms/{id}/relationships/form-versions": _FORM_VERSIONS,
    "/api/images": ("format", "id", "name", "size", "updated_at"),
    "/api/lists": _NAMED,
    "/api/lists/{id}/profiles": _MEMBERS,
    "/api/lists/{id}/relationships/profiles": _MEMBERS,
    "/api/profile-bulk-import-jobs": ("created_at",),
    "/api/profile-suppression-bulk-create-jobs": ("created",),
    "/api/profile-suppression-bulk-delete-jobs": ("created",),
    "/api/profiles": (
        "created",
        "email",
        "id",
        "subscriptions.email.marketing.list_suppressions.timestamp",
        "subscriptions.email.marketing.suppression.timestamp",
        "updated",
    ),
    "/api/reviews": ("created", "rating", "updated"),
    "/api/segments": _NAMED,
    "/api/segments/{id}/profiles": _MEMBERS,
    "/api/segments/{id}/relationships/profiles": _MEMBERS,
    "/api/tag-groups": ("id", "name"),
    "/api/tags": ("id", "name"),
    "/api/template-universal-content": _NAMED,
    "/api/templates": _NAMED,
    "/api/text-messaging-senders": ("created_at",),
    "/api/translations": ("id",),
    "/api/web-feeds": ("created", "name", "updated"),
}
# Where one revision sorts by something else than the table above says.
SORTS_OF: dict[str, dict[str, tuple[str, ...]]] = {
    "2026-07-15": {"/api/campaigns": ("created_at", "id", "name", "scheduled_at", "updated_at")},
}

# Relationships that look like includes by the rule above and are none: their type has a sparse fieldset because it is
# the records' own, or that of an include beside them.
NOT_INCLUDED: dict[str, set[str]] = {"/api/object-types": {"object-types", "schema-versions"}}

# Sparse fields that the models of the included records don't show: of records that only travel in answers to others
# and have no model, and of those that come in one of two shapes.
_RELATED = ("meta", "meta.description", "meta.name", "meta.relationship_id")
FIELDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("/api/flow-actions/{id}", "flow-message"): (),
    ("/api/object-schemas/{id}", "object-schema"): _RELATED,
    ("/api/object-schemas/{id}", "profile-object-schema"): _RELATED,
    ("/api/object-types/{id}", "object-type"): _RELATED,
    ("/api/object-types/{id}", "profile-object-type"): _RELATED,
    ("/api/translations", "flow-message"): ("content", "content.*", "name"),
    ("/api/translations/{id}", "flow-message"): ("content", "content.*", "name"),
}

# Values of filters that are not of the type of the attribute of that name.
KINDS: dict[tuple[str, str], str] = {("/api/events", "timestamp"): "number"}

Facts = dict[str, Any]


class Unsaid(Exception):
    """The SDK has something that this script cannot read or that its tables do not know."""


@dataclass(frozen=True)
class Operation:
    """One method of the SDK.

    Attributes:
        name: the operation id.
        path: as in the API's reference, ids in braces.
        parameters: names of the query parameters, as they are sent.
        prose: what the docstring says before its parameters.
        told: Python name of a parameter -> what the docstring says of it.
        request: name of the model of the body, empty where there is none.
        response: name of the model of the answer.
    """

    name: str
    path: str
    parameters: tuple[str, ...]
    prose: str
    told: dict[str, str]
    request: str
    response: str


def operations() -> Iterator[Operation]:
    """Every readable operation of the installed SDK: GETs, and the POSTs that only ask."""
    for file in sorted((Path(openapi_client.__file__).parent / "api").glob("*_api.py")):
        source = file.read_text(encoding="utf-8")
        starts = [*re.finditer(r"^    def (\w+)\(", source, re.MULTILINE)]
        ends = [start.start() for start in starts[1:]] + [len(source)]
        # Importing these modules builds a validator for each of a thousand methods: four seconds. Their text says it all.
        methods = {start[1]: source[start.start() : end] for start, end in zip(starts, ends, strict=True)}
        for name, text in methods.items():
            sent = methods.get(f"_{name}_serialize")
            if sent is None:
                continue
            path, method = _one(r"resource_path='([^']+)'", sent, name), _one(r"method='([A-Z]+)'", sent, name)
            if not path.startswith("/api/") or (method != "GET" and not READING_POSTS.fullmatch(path)):
                continue
            prose, told = _docstring(text)
            yield Operation(
                name,
                path,
                tuple(sorted(set(re.findall(r"_query_params\.append\(\('([^']+)'", sent)))),
                prose,
                told,
                _one(r":type \w+: (\w+)", text, name) if method == "POST" else "",
                _one(r"'200': \"(\w+)\"", text, name),
            )


def _one(pattern: str, text: str, where: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise Unsaid(
            f"{where}: nothing matches {pattern}: the SDK is written differently now, this script must follow."
        )
    return found[1]


def _docstring(method: str) -> tuple[str, dict[str, str]]:
    """What the docstring of a method says, and what of each parameter."""
    text = ast.literal_eval('"""' + method.split('"""')[1] + '"""')
    prose, _, _ = text.partition("\n        :param ")
    return prose, dict(re.findall(r":param (\w+): ?(.*)", text))


# The docstrings


def rates(operation: Operation) -> Iterator[tuple[str, Facts]]:
    """The rates in the docstring: that of the endpoint under an empty name, the overrides under `parameter=value`."""
    pattern = (
        r"(?:\*Rate limits\*:|Rate limits when using the `([^`]+)` parameter in your API request:)"
        r"<br>Burst: `(\d+)/s`<br>Steady: `(\d+)/m`(?:<br>Daily: `(\d+)/d`)?"
    )
    for variant, burst, steady, daily in re.findall(pattern, operation.prose):
        rate = {"burst": int(burst), "steady": int(steady)}
        yield variant, rate | ({"daily": int(daily)} if daily else {})


def rate_overrides(operation: Operation, includes: dict[str, str]) -> list[Facts]:
    """Parameters that bring a lower rate with them."""
    found = []
    for variant, rate in rates(operation):
        if variant:
            parameter, _, value = variant.partition("=")
            if parameter == "include" and value not in includes:
                # The prose says `include=list` where the value is `lists`.
                value = next(name for name, kind in includes.items() if kind == value)
            found.append({"parameter": parameter, "value": value, "rate": rate})
    return sorted(found, key=lambda variant: (variant["parameter"], variant["value"]))


def scopes(operation: Operation) -> list[str]:
    """What a key needs."""
    return sorted(re.findall(r"`([^`]+)`", _one(r"\*\*Scopes:\*\*((?:\s+`[^`]+`)+)", operation.prose, operation.name)))


def filters(operation: Operation, record: type[BaseModel]) -> dict[str, Facts]:
    """Field -> the operators it takes, the type of the value and, where the SDK tells them, the values."""
    told = operation.told.get("filter", "")
    found: dict[str, Facts] = {}
    for line in told.split("<br>")[2:]:
        field, operators, rest = re.fullmatch(r"`([^`]+)`: ((?:`[^`]+`(?:, )?)+) ?(.*)", line).groups()  # type: ignore[union-attr]
        known: Facts = {"ops": sorted(re.findall(r"`([^`]+)`", operators))}
        stated = re.match(r"\(([a-z-]+)\)", rest.replace("(required)", ""))
        values = re.findall(r"`'([^`]+)'`", rest)
        if known["ops"] != ["has"]:
            kind = "string" if values else stated[1] if stated else _kind_of(operation, record, field)
            known |= {"type": kind} if kind != "string" else {}
        found[field] = known | ({"values": values} if values else {})
    return dict(sorted(found.items()))


def page_size(operation: Operation) -> Facts | None:
    """The default and the greatest `page[size]`; None where there is no such parameter."""
    if "page[size]" not in operation.parameters:
        return None
    told = operation.told["page_size"]
    return {
        "default": int(_one(r"Default: (\d+)", told, operation.name)),
        "max": int(_one(r"Max: (\d+)", told, operation.name)),
    }


def sort(operation: Operation) -> list[str]:
    """What records can be sorted by: the tables say it, and the docstrings of some endpoints too."""
    known = (SORTS | SORTS_OF.get(sdks.first(), {})).get(operation.path, ())
    prose = re.search(r"sorted by (?:the following fields[^:]*: )?((?:`[^`]+`(?:, | or )?)+)", operation.prose)
    told = re.findall(r"`([^`]+)`", prose[1]) if prose else []
    if not known or not {*told} <= {*known}:
        raise Unsaid(
            f"{operation.path}: say in SORTS what it can be sorted by, from Klaviyo's reference: {told} by the SDK."
        )
    return list(known)


def additional_fields(operation: Operation) -> dict[str, list[str]]:
    """Type -> what Klaviyo leaves out unless asked."""
    found = {}
    for parameter in operation.parameters:
        if grouped := re.fullmatch(r"additional-fields\[(.+)\]", parameter):
            told = operation.told["additional_fields_" + grouped[1].replace("-", "_")]
            found[grouped[1]] = sorted(re.findall(r"'([^']+)'", told.partition("Supported values:")[2]))
    return found


# The models


def bare(annotation: Any) -> Any:
    """The annotation without `Annotated` and `Optional`; `float | int` is a float."""
    if typing.get_origin(annotation) is typing.Annotated:
        return bare(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) is typing.Union:
        kinds = {bare(arg) for arg in typing.get_args(annotation) if arg is not type(None)}
        if len(kinds) == 1:
            return kinds.pop()
        if kinds == {float, int}:
            return float
    return annotation


def is_model(kind: Any) -> typing.TypeGuard[type[BaseModel]]:
    return inspect.isclass(kind) and issubclass(kind, BaseModel)


def _inner(model: type[BaseModel], field: str) -> Any:
    """Type of a field, that of its items where it is a list; None where there is no such field."""
    info = model.model_fields.get(field)
    kind = bare(info.annotation) if info else None
    return bare(typing.get_args(kind)[0]) if typing.get_origin(kind) is list else kind


def _states(model: type[BaseModel]) -> str:
    """The JSON:API type that records of a model state."""
    kinds = _inner(model, "type")
    if not (inspect.isclass(kinds) and issubclass(kinds, enum.Enum)) or len(kinds) != 1:
        raise Unsaid(f"{model.__name__}: states no one type.")
    return str(next(iter(kinds)).value)


def record_model(operation: Operation) -> tuple[type[BaseModel], bool]:
    """The model of one record of the answer, and whether there are many."""
    response = getattr(models, operation.response)
    record = _inner(response, "data")
    if not is_model(record):
        raise Unsaid(f"{operation.name}: {operation.response} holds no records that have a model.")
    return record, typing.get_origin(bare(response.model_fields["data"].annotation)) is list


def attributes(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every attribute below a model as (dotted path, type); lists are not entered."""
    for name, info in model.model_fields.items():
        at = f"{path}.{info.alias or name}".lstrip(".")
        kind = bare(info.annotation)
        yield at, kind
        if is_model(kind):
            yield from attributes(kind, at)


@cache
def sparse_fields(record: type[BaseModel]) -> tuple[str, ...]:
    """What `fields[…]` takes for the records of a model."""
    below = _inner(record, "attributes")
    found = {"id"}
    for path, kind in attributes(below) if is_model(below) else ():
        found.add(path)
        if (typing.get_origin(kind) or kind) is dict:
            found.add(f"{path}.*")
    return tuple(sorted(found))


def _kind_of(operation: Operation, record: type[BaseModel], field: str) -> str:
    """Type of a filter's value by the attribute of that name; a string where there is none."""
    if (operation.path, field) in KINDS:
        return KINDS[operation.path, field]
    # Records of `/relationships/…` have no attributes of their own; the filters are on those of the whole records.
    below = _inner(record, "attributes") or _inner(plain_records()[_states(record)][0], "attributes")
    kind: Any = dict(attributes(below)).get(field) if is_model(below) else None
    if kind is None and field.endswith(("timestamp", "_at")):
        return "date-time"
    return {bool: "boolean", int: "integer", float: "number", datetime.datetime: "date-time"}.get(kind, "string")


@cache
def plain_records() -> dict[str, list[type[BaseModel]]]:
    """Type -> the models of its records as they travel in answers to other ones, that with the fewest fields first."""
    found: dict[str, list[type[BaseModel]]] = {}
    for file in sorted((Path(openapi_client.__file__).parent / "models").glob("*response*object_resource.py")):
        model = getattr(models, _one(r"(?m)^class (\w+)\(BaseModel\)", file.read_text(encoding="utf-8"), file.name))
        found.setdefault(_states(model), []).append(model)
    for known in found.values():
        known.sort(key=lambda model: len(sparse_fields(model)))
    return found


def plain_fields(kind: str) -> tuple[str, ...]:
    """What `fields[…]` takes for a record that travels as an include: its id alone, where the SDK has no model of it."""
    known = plain_records().get(kind)
    return sparse_fields(known[0]) if known else ("id",)


def relationships(record: type[BaseModel]) -> dict[str, str]:
    """Name -> type, of every relationship that records of a model can state."""
    below = _inner(record, "relationships")
    found = {}
    for name, info in below.model_fields.items() if is_model(below) else ():
        related = _inner(bare(info.annotation), "data")
        if is_model(related):
            found[info.alias or name] = _states(related)
    return found


def includes(operation: Operation, record: type[BaseModel]) -> dict[str, str]:
    """Name -> type, of what can travel in the same answer."""
    if "include" not in operation.parameters:
        return {}
    return {
        name: kind
        for name, kind in sorted(relationships(record).items())
        if f"fields[{kind}]" in operation.parameters and name not in NOT_INCLUDED.get(operation.path, ())
    }


def fields(operation: Operation, record: type[BaseModel]) -> dict[str, tuple[str, ...]]:
    """Type -> what its sparse fieldset takes."""
    found = {}
    for parameter in operation.parameters:
        if grouped := re.fullmatch(r"fields\[(.+)\]", parameter):
            kind = grouped[1]
            own = _states(record) == kind
            known = sparse_fields(record) if own else plain_fields(kind)
            shapes = [] if own or (operation.path, kind) in FIELDS else plain_records().get(kind, [])
            if not all(set(known) <= {*sparse_fields(shape)} for shape in shapes):
                raise Unsaid(
                    f"{operation.path}: a {kind} has several shapes: say in FIELDS what this one has besides {known}."
                )
            found[kind] = tuple(sorted({*known, *FIELDS.get((operation.path, kind), ())}))
    return found


# The reports' bodies


def body(operation: Operation) -> tuple[dict[str, Facts], dict[str, Facts]]:
    """Of an endpoint that is asked in a body: attribute -> what it takes, and the filters in it."""
    if not operation.request:
        return {}, {}
    below = bare(_inner(getattr(models, operation.request), "data").model_fields["attributes"].annotation)
    source = Path(inspect.getfile(below)).read_text(encoding="utf-8")
    found: dict[str, Facts] = {}
    allowed: dict[str, Facts] = {}
    for name, info in sorted(below.model_fields.items()):
        kind = bare(info.annotation)
        many = typing.get_origin(kind) is list
        kind = bare(typing.get_args(kind)[0]) if many else kind
        values = re.search(rf"def {name}_validate_enum.*?set\((\[.*?\])\)", source, re.DOTALL)
        needed = re.search(r"attributes are required: ([\w, ]+)", info.description or "")
        known: Facts = {"type": {int: "integer", str: "string"}.get(kind, "object")}
        known |= {"many": True} if many else {}
        known |= {"required": True} if info.is_required() else {}
        known |= {"default": info.default} if not info.is_required() and info.default is not None else {}
        known |= {"values": sorted(ast.literal_eval(values[1]))} if values else {}
        known |= {"needed": sorted(needed[1].split(", "))} if needed else {}
        found[name] = {key: value for key, value in known.items() if (key, value) != ("type", "string")}
        if name == "filter":
            told = re.findall(r"attributes \(([^)]+)\): Supported operators: ([\w, -]+)", info.description or "")
            told += re.findall(
                r"Allowed filters are ([\w, ]+)\. Allowed operators are ([\w, -]+)", info.description or ""
            )
            allowed = {field: {"ops": sorted(ops.split(", "))} for names, ops in told for field in names.split(", ")}
    return found, dict(sorted(allowed.items()))


# The file


def extract() -> Facts:
    """All facts of the SDK that is first on the path, in the shape of the file.

    Shape: `{"revision", "sdk", "fields": {name: [...]}, "endpoints": [{...}]}`. Sparse fieldsets repeat a lot, so
    endpoints name them (`fieldsets`): by the type, with the attributes that they have beyond
    a record that travels as an include.

    Raises:
        Unsaid: something new that this script or its tables must learn first.
    """
    pool: dict[str, tuple[str, ...]] = {}

    def pooled(kind: str, names: tuple[str, ...]) -> str:
        plain = set(plain_fields(kind)) if kind in plain_records() else set(names)
        top = [name for name in sorted({*names} ^ plain) if "." not in name]
        key = kind + "".join(("+" if name in names else "-") + name for name in top)
        if pool.setdefault(key, names) != names:
            raise Unsaid(f"{key}: two sparse fieldsets differ below their attributes only: name them apart here.")
        return key

    endpoints: list[Facts] = []
    for operation in sorted(operations(), key=lambda known: known.path):
        record, many = record_model(operation)
        included = includes(operation, record)
        asked, allowed = body(operation)
        facts: Facts = {"path": operation.path, "operation": operation.name, "type": _states(record)}
        facts |= {"many": True} if many else {}
        facts |= {"rate": dict(rates(operation))[""], "scopes": scopes(operation)}
        if (below := rate_overrides(operation, included)) != []:
            facts["rate_overrides"] = below
        if "page[cursor]" in operation.parameters or "page_cursor" in operation.parameters:
            facts["paged"] = True
        if size := page_size(operation):
            facts["page_size"] = size
        if known := allowed or filters(operation, record):
            facts["filters"] = known
        if "sort" in operation.parameters:
            facts["sort"] = sort(operation)
        facts |= {"include": included} if included else {}
        if sparse := fields(operation, record):
            facts["fieldsets"] = {kind: pooled(kind, names) for kind, names in sorted(sparse.items())}
        if more := additional_fields(operation):
            facts["additional_fields"] = more
        facts |= {"body": asked} if asked else {}
        facts["parameters"] = list(operation.parameters)
        if "(required)" in operation.told.get("filter", ""):
            facts["required"] = ["filter"]
        endpoints.append(facts)
    sdk = str(openapi_client.__version__)
    return {"revision": sdks.first(), "sdk": sdk, "fields": dict(sorted(pool.items())), "endpoints": endpoints}


def dump(facts: Facts) -> str:
    """Canonical text: one line an endpoint and a fieldset, so that a diff between revisions reads well."""

    def compact(item: Any) -> str:
        return json.dumps(item, separators=(",", ":"))

    fieldsets = ",\n".join(f"  {json.dumps(name)}: {compact(names)}" for name, names in facts["fields"].items())
    endpoints = ",\n".join(f"  {compact(endpoint)}" for endpoint in facts["endpoints"])
    return (
        f'{{\n "revision": {json.dumps(facts["revision"])},\n "sdk": {json.dumps(facts["sdk"])},\n'
        f' "fields": {{\n{fieldsets}\n }},\n "endpoints": [\n{endpoints}\n ]\n}}\n'
    )


def main(arguments: list[str]) -> int:
    """Write the facts of the SDK that is first on the path, and without arguments those of the others; the exit code."""
    try:
        facts = extract()
    except Unsaid as unsaid:
        sys.stderr.write(f"klaviyo-api {openapi_client.__version__}: {unsaid}\n")
        return 1
    target = TARGET / f"{facts['revision']}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(dump(facts), encoding="utf-8")
    sys.stdout.write(f"{target}: {len(facts['endpoints'])} endpoints of klaviyo-api {facts['sdk']}\n")
    if arguments:
        return 0
    others = [sdks.run(beside, "tools.sdk_facts", "--alone") for beside in sdks.beside()]
    sys.stdout.write("".join(other.stdout for other in others))
    sys.stderr.write("".join(other.stderr for other in others))
    return max((other.returncode for other in others), default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
