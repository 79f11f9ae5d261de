"""The sandbox's smaller collections: served as its truth says, by every way that leads to them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from sandbox import Account, Sandbox
from tests.support.sandbox_client import get, read

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
# type -> the path that lists all its records
LISTED = {
    "catalog-category": "/api/catalog-categories",
    "catalog-category-bulk-delete-job": "/api/catalog-category-bulk-delete-jobs",
    "catalog-item": "/api/catalog-items",
    "catalog-item-bulk-create-job": "/api/catalog-item-bulk-create-jobs",
    "catalog-variant": "/api/catalog-variants",
    "coupon": "/api/coupons",
    "coupon-code-bulk-create-job": "/api/coupon-code-bulk-create-jobs",
    "custom-metric": "/api/custom-metrics",
    "data-source": "/api/data-sources",
    "image": "/api/images",
    "mapped-metric": "/api/mapped-metrics",
    "object-type": "/api/object-types",
    "profile-bulk-import-job": "/api/profile-bulk-import-jobs",
    "profile-suppression-bulk-create-job": "/api/profile-suppression-bulk-create-jobs",
    "push-token": "/api/push-tokens",
    "review": "/api/reviews",
    "template-universal-content": "/api/template-universal-content",
    "tracking-setting": "/api/tracking-settings",
    "web-feed": "/api/web-feeds",
    "webhook": "/api/webhooks",
    "webhook-topic": "/api/webhook-topics",
}
# (type, relationship): asked for at each record
CHILDREN = [
    ("catalog-category", "items"),
    ("coupon", "coupon-codes"),
    ("flow-action", "flow-messages"),
    ("form", "form-versions"),
    ("metric", "metric-properties"),
    ("object-type", "object-ingestion-logs"),
    ("object-type", "object-records"),
    ("object-type", "schema-versions"),
    ("profile", "conversations"),
    ("profile", "push-tokens"),
    ("profile-bulk-import-job", "import-errors"),
]


@pytest.fixture(scope="module")
def account() -> Account:
    return Account(seed=7, now=NOW, profiles=60, events=80)


@pytest.fixture(scope="module")
def server(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account) as running:
        yield running


def plain(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Attributes by id, None for a record without any; but for what the messages of flows show as translations' alone."""
    keyed = {record["id"]: record.get("attributes") for record in records}
    for attributes in keyed.values():
        if attributes and {"channel", "definition"} <= {*attributes}:
            attributes.pop("content", None), attributes.pop("name", None)
    assert len(keyed) == len(records)
    return keyed


@pytest.mark.parametrize("kind", LISTED)
def test_a_list_has_all_records_of_its_type(account: Account, server: Sandbox, kind: str) -> None:
    truth = plain(list(account.records(kind)))
    assert truth
    hidden_too = {"filter": "any(hidden,[true,false])"} if kind == "image" else {}
    assert plain(read(server, LISTED[kind], **hidden_too)) == truth


@pytest.mark.parametrize(("kind", "relationship"), CHILDREN)
def test_a_record_answers_for_what_it_points_at(
    account: Account, server: Sandbox, kind: str, relationship: str
) -> None:
    served = 0
    for record in list(account.records(kind))[:12]:
        name = "flow-actions" if kind == "flow-action" else "catalog-categories" if kind[-1] == "y" else f"{kind}s"
        path = f"/api/{name}/{quote(record['id'], safe='')}/{relationship}"
        additional = {"additional-fields[metric-property]": "sample_values"} if kind == "metric" else {}
        truth = [account.record(item["type"], item["id"]) for item in record["relationships"][relationship]["data"]]
        assert plain(read(server, path, **additional)) == plain([child for child in truth if child is not None])
        served += len(truth)
    assert served > 0


def test_coupon_codes_are_those_of_the_coupons_asked_for(account: Account, server: Sandbox) -> None:
    coupons = [record["id"] for record in account.records("coupon")]
    assert coupons[2] == '5"off'
    found = read(server, "/api/coupon-codes", filter='equals(coupon.id,"5\\"off")', include="coupon")
    assert {record["relationships"]["coupon"]["data"]["id"] for record in found} == {'5"off'}
    assert len(found) == 3
    both = read(server, "/api/coupon-codes", filter=f'any(coupon.id,["{coupons[0]}","{coupons[1]}"])')
    assert len(both) == len(list(account.records("coupon-code"))) - 3


def test_items_are_filtered_by_category_and_variants_by_item(account: Account, server: Sandbox) -> None:
    category = next(iter(account.records("catalog-category")))
    items = read(server, "/api/catalog-items", filter=f'equals(category.id,"{category["id"]}")')
    assert {item["id"] for item in items} == {item["id"] for item in category["relationships"]["items"]["data"]}
    item = next(r for r in account.records("catalog-item") if len(r["relationships"]["variants"]["data"]) == 2)
    variants = read(server, "/api/catalog-variants", filter=f'equals(item.id,"{item["id"]}")')
    assert [variant["id"] for variant in variants] == [v["id"] for v in item["relationships"]["variants"]["data"]]


def test_ingestion_logs_come_newest_first_fifty_a_page_and_within_the_window(account: Account, server: Sandbox) -> None:
    kind = next(iter(account.records("object-type")))
    path = f"/api/object-types/{kind['id']}/object-ingestion-logs"
    assert len(get(server, path)["data"]) == 50
    moments = [record["attributes"]["timestamp"] for record in read(server, path)]
    assert len(moments) == 63
    assert moments == sorted(moments, reverse=True)
    middle = moments[30].replace("+00:00", "Z")
    later = read(server, path, filter=f"greater-or-equal(timestamp,{middle})")
    earlier = read(server, path, filter=f"less-than(timestamp,{middle})")
    assert len(later) >= 31
    assert len(later) + len(earlier) == 63
    assert min(record["attributes"]["timestamp"] for record in later) == moments[30]


def test_a_form_sends_its_definition_only_where_it_is_asked_for_alone(account: Account, server: Sandbox) -> None:
    form = list(account.records("form"))[1]
    assert "definition" not in read(server, "/api/forms")[0]["attributes"]
    assert get(server, f"/api/forms/{form['id']}")["data"]["attributes"] == form["attributes"]


def test_profiles_include_their_conversations_and_push_tokens(account: Account, server: Sandbox) -> None:
    document = get(server, "/api/profiles", include="conversations,push-tokens", **{"page[size]": 100})
    found = {record["id"] for record in document["included"]}
    kinds = ("conversation", "push-token")
    assert found == {record["id"] for kind in kinds for record in account.records(kind)}


def test_sizes_and_ratings_sort_as_numbers(server: Sandbox) -> None:
    sizes = [record["attributes"]["size"] for record in read(server, "/api/images", sort="size")]
    assert sizes == sorted(sizes)
    assert len(str(sizes[0])) < len(str(sizes[-1]))
