"""The resource types of the API and their relationships. A new collection is a row here plus its records.

A kind is a resource type in one form. Where a later revision has another form of a type, there are two kinds:
`campaign` is the form up to 2026-07-15, `campaign@2026-10-15` the form since then.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

FIRST_REVISION = "2026-07-15"


@dataclass(frozen=True)
class Relation:
    """A relationship to resources of a kind: to-many, or to-one."""

    type: str
    many: bool = True


def one(kind: str) -> Relation:
    """A to-one relationship."""
    return Relation(kind, many=False)


# Types whose path segment is not their plural.
WITHOUT_PLURAL = {"billing-usage", "brand-voice", "template-universal-content"}


def type_of(kind: str) -> str:
    """The JSON:API type of a kind: `campaign@2026-10-15` -> `campaign`."""
    return kind.partition("@")[0]


@cache
def kinds(revision: str) -> dict[str, str]:
    """Path segment -> kind, in a revision."""
    shown = [kind for kind in RELATIONS if kind.partition("@")[2] <= revision]
    return {collection(kind): kind for kind in sorted(shown)}


def kind_in(kind: str, revision: str) -> str:
    """The kind of a type in a revision: `campaign` -> `campaign@2026-10-15`. A kind with a revision stays as it is."""
    return kind if "@" in kind else kinds(revision)[collection(kind)]


def later_attributes(kind: str, revision: str) -> frozenset[str]:
    """Attributes of a kind that came after a revision."""
    return frozenset(name for since, names in SINCE.items() if since > revision for name in names.get(kind, ()))


def collection(kind: str) -> str:
    """Path segment of a kind: `flow-action` -> `flow-actions`."""
    kind = type_of(kind)
    if kind in WITHOUT_PLURAL:
        return kind
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


RELATIONS: dict[str, dict[str, Relation]] = {
    "account": {},
    "attribution": {
        "event": one("event"),
        "attributed-event": one("event"),
        "campaign": one("campaign"),
        "campaign-message": one("campaign-message"),
        "flow": one("flow"),
        "flow-message": one("flow-message"),
        "flow-message-variation": one("flow-message"),
    },
    "billing-usage": {},
    "brand-button": {},
    "brand-color": {},
    "brand-email-default": {
        "brand-button": one("brand-button"),
        "brand-logo": one("brand-logo"),
        "brand-social-group": one("brand-social-group"),
    },
    "brand-logo": {"image": one("image")},
    "brand-social-group": {},
    "brand-voice": {},
    "campaign": {"campaign-messages": Relation("campaign-message"), "tags": Relation("tag")},
    "campaign-message": {"campaign": one("campaign"), "template": one("template"), "image": one("image")},
    "campaign@2026-10-15": {
        "campaign-audiences": Relation("campaign-audience"),
        "campaign-messages": Relation("campaign-message@2026-10-15"),
        "tags": Relation("tag"),
    },
    "campaign-audience": {
        "campaign": one("campaign@2026-10-15"),
        "campaign-messages": Relation("campaign-message@2026-10-15"),
    },
    "campaign-message@2026-10-15": {
        "campaign": one("campaign@2026-10-15"),
        "campaign-audience": one("campaign-audience"),
        "campaign-variations": Relation("campaign-variation"),
        "tags": Relation("tag"),
        "template": one("template"),
        "image": one("image"),
    },
    "campaign-recipient-estimation": {},
    "campaign-variation": {
        "campaign-message": one("campaign-message@2026-10-15"),
        "translation": one("translation"),
        "image": one("image"),
    },
    "catalog-category": {"items": Relation("catalog-item")},
    "catalog-item": {"variants": Relation("catalog-variant"), "categories": Relation("catalog-category")},
    "catalog-variant": {"item": one("catalog-item")},
    "consent-page": {},
    "conversation": {"profile": one("profile")},
    "coupon": {"coupon-codes": Relation("coupon-code")},
    "coupon-code": {"coupon": one("coupon"), "profile": one("profile")},
    "coupon-code-bulk-create-job": {"coupon-codes": Relation("coupon-code")},
    "custom-metric": {"metrics": Relation("metric")},
    "data-source": {},
    "event": {"profile": one("profile"), "metric": one("metric"), "attributions": Relation("attribution")},
    "flow": {"flow-actions": Relation("flow-action"), "tags": Relation("tag")},
    "flow-action": {"flow": one("flow"), "flow-messages": Relation("flow-message")},
    "flow-message": {"flow-action": one("flow-action"), "template": one("template")},
    "form": {"form-versions": Relation("form-version")},
    "form-version": {"form": one("form")},
    "image": {},
    "import-error": {},
    "list": {"profiles": Relation("profile"), "tags": Relation("tag"), "flow-triggers": Relation("flow")},
    "mapped-metric": {"metric": one("metric"), "custom-metric": one("custom-metric")},
    "metric": {"flow-triggers": Relation("flow"), "metric-properties": Relation("metric-property")},
    "metric-property": {"metric": one("metric")},
    "object-ingestion-log": {"object-type": one("object-type"), "object-record": one("object-record")},
    "object-record": {},
    "object-schema": {
        "source-mapping": one("source-mapping"),
        "object-schemas": Relation("object-schema@relation"),
        "profile-object-schemas": Relation("profile-object-schema@relation"),
    },
    "object-type": {
        "current-schema": one("object-schema"),
        "draft-schema": one("object-schema"),
        "schema-versions": Relation("object-schema"),
        "object-types": Relation("object-type@relation"),
        "profile-object-types": Relation("profile-object-type@relation"),
        "object-records": Relation("object-record"),
        "object-ingestion-logs": Relation("object-ingestion-log"),
    },
    "profile": {
        "lists": Relation("list"),
        "segments": Relation("segment"),
        "push-tokens": Relation("push-token"),
        "conversations": Relation("conversation"),
        "conversation": one("conversation"),
    },
    "profile-bulk-import-job": {
        "lists": Relation("list"),
        "profiles": Relation("profile"),
        "import-errors": Relation("import-error"),
    },
    # Relations of object types and schemas. They are shown with the type of the related record, and have no collection.
    "object-schema@relation": {},
    "object-type@relation": {},
    "profile-object-schema@relation": {},
    "profile-object-type@relation": {},
    "profile-suppression-bulk-create-job": {"lists": Relation("list"), "segments": Relation("segment")},
    "profile-suppression-bulk-delete-job": {"lists": Relation("list"), "segments": Relation("segment")},
    "push-token": {"profile": one("profile")},
    "review": {"events": Relation("event"), "item": one("catalog-item")},
    "segment": {"profiles": Relation("profile"), "tags": Relation("tag"), "flow-triggers": Relation("flow")},
    "source-mapping": {},
    "tag": {
        "tag-group": one("tag-group"),
        "lists": Relation("list"),
        "segments": Relation("segment"),
        "campaigns": Relation("campaign"),
        "flows": Relation("flow"),
    },
    "tag-group": {"tags": Relation("tag")},
    "template": {},
    "template-universal-content": {},
    "text-messaging-configuration": {},
    "text-messaging-sender": {"text-messaging-sender-registration": one("text-messaging-sender-registration")},
    "text-messaging-sender-registration": {"text-messaging-sender": one("text-messaging-sender")},
    "tracking-setting": {},
    "translation": {
        "campaign-variation": one("campaign-variation"),
        "flow-message": one("flow-message"),
        "template": one("template"),
        "template-universal-content": one("template-universal-content"),
        "consent-page": one("consent-page"),
    },
    "web-feed": {},
    "webhook": {"webhook-topics": Relation("webhook-topic")},
    "webhook-topic": {},
}

# Bulk jobs on the catalog -> what they work on.
CATALOG_JOBS = {
    f"catalog-{kind}-bulk-{verb}-job": Relation(f"catalog-{kind}")
    for kind in ("item", "variant", "category")
    for verb in ("create", "update", "delete")
}

RELATIONS |= {
    job: {collection(relation.type).removeprefix("catalog-"): relation} for job, relation in CATALOG_JOBS.items()
}


# Type -> attributes that an endpoint sends only if its sparse fieldset offers them.
NAMED_ONLY = {"flow-message": frozenset({"content", "definition", "name"}), "form": frozenset({"definition"})}

# Revision -> kind -> attributes that came with it; dots lead into objects.
SINCE: dict[str, dict[str, frozenset[str]]] = {
    "2026-10-15": {
        "coupon": frozenset({"assigner_configuration"}),
        "template": frozenset({"screenshot_url"}),
    }
}
