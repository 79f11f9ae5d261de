"""The sandbox, asked by Klaviyo's official SDK: every endpoint answers, and every answer parses into its models."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from klaviyo_api import KlaviyoAPI
from openapi_client.exceptions import ApiException
from pydantic import ValidationError

from sandbox import Account, Sandbox, rules
from sandbox.data.resource_types import RELATIONS, kinds, type_of
from sandbox.rules import Endpoint, FilterField
from tests.support import sdks

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
RULES = rules.load(sdks.first())
KINDS = kinds(sdks.first())
SERVED = [e for e in RULES.endpoints if e.method == "GET" and e.path.split("/")[2] in KINDS]
CHANNELS = ["email", "sms", "mobile_push"]
# what Klaviyo's models call the resources that arrive included
MODELS = {
    "attribution": None,
    "flow-action": "FlowActionEncodedResponseObjectResource",
    "flow-message": "FlowMessageEncodedResponseObjectResource",
}
if sdks.first() >= "2026-10-15":
    MODELS |= {
        "campaign": "OmniCampaignResponseObjectResource",
        "campaign-audience": "AudienceResponseObjectResource",
        "campaign-message": "MessageResponseObjectResource",
        "campaign-variation": "VariationResponseObjectResource",
        "template-universal-content": "UniversalContentResponseV1ObjectResource",
    }
# what has to be filtered on, where something has to be
NEEDED = {
    "/api/campaigns": "equals(messages.channel,'email')",
    "/api/coupon-codes": "equals(coupon.id,'10OFF')",
}
# (model, field) that the SDK wants to be objects, where Klaviyo's OpenAPI file, and so Klaviyo, has plain values
MISTYPED: set[tuple[str, int | str]] = {
    ("MetricPropertyResponseObjectResourceExtendedAttributes", "sample_values"),
    ("ReentryCriteria", "unit"),
}


@pytest.fixture(scope="module")
def klaviyo() -> Iterator[SimpleNamespace]:
    account = Account(seed=7, now=NOW, profiles=40, events=60, campaigns=20, templates=12)
    with Sandbox(account) as server:
        api = KlaviyoAPI("pk_sandbox", test_host=server.url, max_retries=1)
        groups = [getattr(api, name) for name in dir(api) if name[0].isupper()]
        yield SimpleNamespace(account=account, server=server, groups=groups)


def ask(klaviyo: SimpleNamespace, endpoint: Endpoint, identity: str | None = None, **parameters: Any) -> Any:
    operation = next(getattr(g, endpoint.operation) for g in klaviyo.groups if hasattr(g, endpoint.operation))
    if endpoint.required_filters and "filter" not in parameters:
        parameters["filter"] = NEEDED[endpoint.path]
    return operation(*([] if identity is None else [identity]), **parameters)


def identities(klaviyo: SimpleNamespace, endpoint: Endpoint) -> list[str | None]:
    """Ids to ask an endpoint for: of up to six records, the empty list and the large one among them."""
    if "{" not in endpoint.path:
        return [None]
    return [record["id"] for record in klaviyo.account.records(KINDS[endpoint.path.split("/")[2]])][:6]


def variations(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    """Requests that together use all that an endpoint offers, but for its filters."""
    yield {}
    if endpoint.include:
        yield {"include": list(endpoint.include)}
    for kind, names in endpoint.additional.items():
        yield {f"additional_fields_{kind.replace('-', '_')}": list(names)}
    for sort in endpoint.sort:
        yield {"sort": sort}
    if "messages.channel" in endpoint.filters:
        for channel in CHANNELS:
            yield {"filter": f"equals(messages.channel,'{channel}')", "include": list(endpoint.include)}


def check_included(document: Any) -> int:
    """The SDK leaves included resources as dicts: parse each into the model of its type. How many there were."""
    included = getattr(document, "included", None) or []
    for resource in included:
        raw = resource if isinstance(resource, dict) else resource.to_dict()
        kind = raw["type"]
        if [*raw.get("attributes", ())] == ["meta"]:
            # Relations among custom objects: Klaviyo's OpenAPI file has models of them, the SDK has none.
            assert {*raw["attributes"]["meta"]} == {"relationship_id", "name", "description"}
            continue
        name = MODELS.get(kind, "".join(map(str.title, kind.split("-"))) + "ResponseObjectResource")
        if name:
            model = getattr(importlib.import_module("openapi_client.models"), name)
            assert model.from_dict(raw).id == raw["id"]
    return len(included)


@pytest.mark.parametrize("endpoint", SERVED, ids=lambda endpoint: endpoint.operation)
def test_every_answer_of_an_endpoint_parses_into_the_models_of_the_sdk(
    klaviyo: SimpleNamespace, endpoint: Endpoint
) -> None:
    answered = 0
    for identity in identities(klaviyo, endpoint):
        for variation in variations(endpoint):
            try:
                document = ask(klaviyo, endpoint, identity, **variation)
            except ApiException as error:
                # a record without a template or an image
                if error.status == 404 and "{id}/" in endpoint.path:
                    continue
                raise
            except ValidationError as error:
                if {(error.title, problem["loc"][0]) for problem in error.errors()} - MISTYPED:
                    raise
                answered += 1
                continue
            assert isinstance(document.data, list) == endpoint.many
            assert not isinstance(document, dict)
            if not endpoint.many:
                assert document.data.type.value == endpoint.type
            check_included(document)
            answered += 1
    assert answered


@pytest.mark.parametrize(
    "endpoint", [e for e in SERVED if e.include and "{" not in e.path], ids=lambda endpoint: endpoint.operation
)
def test_included_resources_are_there_once_each(klaviyo: SimpleNamespace, endpoint: Endpoint) -> None:
    document = ask(klaviyo, endpoint, include=list(endpoint.include))
    keys = [(item["type"], item["id"]) for item in document.to_dict().get("included") or []]
    assert len(keys) == len(set(keys))
    relations = RELATIONS[KINDS[endpoint.path.split("/")[2]]]
    assert keys
    assert {kind for kind, _ in keys} <= {type_of(relations[name].type) for name in endpoint.include}


def filter_values(account: Account, field: str, rule: FilterField) -> tuple[str, ...]:
    """A value that the field accepts, as text in the filter."""
    if rule.value == "date-time":
        return ("2026-05-01T00:00:00Z",)
    if rule.value == "boolean":
        return ("true", "false")
    if rule.value in ("number", "integer"):
        return ("1777593600",)
    if rule.enum:
        return tuple(f"'{value}'" for value in rule.enum[:3])
    return ("'a \"quoted\" värde'", '"x"')


def filters(account: Account, endpoint: Endpoint) -> Iterator[str]:
    """A filter for each field, operator and form of value."""
    needed = NEEDED[endpoint.path] if endpoint.required_filters else ""
    for field, rule in endpoint.filters.items():
        with_list = field.startswith("subscriptions.email.marketing.list_suppressions.") and "list_id" not in field
        extra = "equals(subscriptions.email.marketing.list_suppressions.list_id,'abc')" if with_list else ""
        others = [] if field in endpoint.required_filters else [needed]
        for operator in rule.operators:
            if operator in rule.none:
                texts = [f"{operator}({field})"]
            else:
                values = filter_values(account, field, rule)
                texts = [f"{operator}({field},{value})" for value in values if operator in rule.single]
                texts += [f"{operator}({field},[{','.join(values)}])"] if operator in rule.many else []
            for text in texts:
                yield ",".join(part for part in [text, extra, *others] if part)


@pytest.mark.parametrize("endpoint", [e for e in SERVED if e.filters], ids=lambda endpoint: endpoint.operation)
def test_every_filter_that_the_rules_allow_is_taken(klaviyo: SimpleNamespace, endpoint: Endpoint) -> None:
    asked = 0
    for identity in identities(klaviyo, endpoint)[:1]:
        for text in filters(klaviyo.account, endpoint):
            assert isinstance(ask(klaviyo, endpoint, identity, filter=text).data, list), text
            asked += 1
    assert asked


def token(document: Any) -> str | None:
    following = document.links.next
    return parse_qs(urlsplit(following).query)["page[cursor]"][0] if following else None


@pytest.mark.parametrize(
    "path", ["/api/profiles", "/api/events", "/api/lists", "/api/templates", "/api/flows", "/api/campaigns"]
)
@pytest.mark.parametrize("direction", ["", "-"])
def test_paging_visits_each_record_once_in_order(klaviyo: SimpleNamespace, path: str, direction: str) -> None:
    endpoint = RULES.endpoint(path)
    kind = KINDS[path.split("/")[2]]
    field = next(field for field in ("updated", "updated_at", "datetime") if field in endpoint.sort)
    extra: dict[str, Any] = {"sort": direction + field, "page_size": 7}
    expected = {record["id"] for record in klaviyo.account.records(kind)}
    if kind == "flow":
        extra["filter"] = "equals(archived,false)"
    if kind == "campaign":
        extra["filter"] = "equals(messages.channel,'email'),equals(archived,false)"
    if kind == "campaign@2026-10-15":
        extra["filter"] = "equals(archived,false)"
        records = klaviyo.account.records(kind)
        expected = {r["id"] for r in records if not r["attributes"]["definition"]["archived"]}
    if kind in ("flow", "campaign"):
        records = [r for r in klaviyo.account.records(kind) if not r["attributes"]["archived"]]
        expected = {r["id"] for r in records if kind == "flow" or klaviyo.account.channel(r) == "email"}
    seen, cursor = [], None
    while True:
        document = ask(klaviyo, endpoint, **extra, **({"page_cursor": cursor} if cursor else {}))
        assert len(document.data) <= 7
        seen += document.data
        cursor = token(document)
        if cursor is None:
            break
    assert sorted(item.id for item in seen) == sorted(expected)
    # the SDK renames the attribute that would hide the class
    attribute = "datetime_" if field == "datetime" else field
    moments = [getattr(item.attributes, attribute).replace(microsecond=0) for item in seen]
    assert moments == sorted(moments, reverse=direction == "-")


def test_the_rules_know_the_page_sizes_limits_and_scopes_of_klaviyo() -> None:
    told = {e.path: (e.page_default, e.page_max, e.page_size_accepted, e.burst, e.steady, e.scopes) for e in SERVED}
    assert told["/api/events"] == (200, 1000, True, 350, 3500, ("events:read",))
    assert told["/api/metrics"] == (200, 200, False, 10, 150, ("metrics:read",))
    assert told["/api/lists/{id}/profiles"] == (20, 100, True, 75, 750, ("lists:read", "profiles:read"))
    assert told["/api/templates"][:3] == (10, 10, True)
    override = RULES.endpoint("/api/profiles").rate_overrides[0]
    assert (override.parameter, override.value, override.burst, override.steady) == (
        "additional-fields[profile]",
        "predictive_analytics",
        10,
        150,
    )
    assert RULES.endpoint("/api/campaign-values-reports", "POST").daily == 225
