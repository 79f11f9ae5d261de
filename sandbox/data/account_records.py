"""All records that an account starts with, except profiles and events, which are computed from their number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from . import (
    account_settings,
    assets,
    brands,
    bulk_jobs,
    campaigns,
    canvas_campaigns,
    catalog,
    contact_channels,
    coupons,
    custom_objects,
    flows,
    forms,
    lists_and_segments,
    metrics,
    reviews,
    tags,
    templates,
    text_messaging,
    translations,
    webhooks,
)
from .campaigns_2026_10_15 import variation_id
from .maker import Maker
from .resource_types import CATALOG_JOBS, collection
from .resources import Resource

Records = dict[str, list[Resource]]


@dataclass(frozen=True)
class Sizes:
    """How many records of a kind there are."""

    lists: int
    segments: int
    campaigns: int
    flows: int
    templates: int
    metrics: int
    tags: int


@dataclass(frozen=True)
class AccountRecords:
    """Builds the records of an account, by kind.

    Args:
        seed: of the account.
        start, end: the history, in seconds since 1970.
        sizes: of the collections that `sized` builds.
    """

    seed: int
    start: int
    end: int
    sizes: Sizes

    def _maker(self, name: str) -> Maker:
        """A maker with random numbers of its own: a change of one collection does not change the others."""
        return Maker(Random(f"{self.seed} {name}"), self.start, self.end)  # noqa: S311  made-up data, no secret

    def sized(self) -> Records:
        """The collections whose size the user of the sandbox chooses, and the collections that belong to them."""
        make, sizes = Maker(Random(self.seed), self.start, self.end), self.sizes  # noqa: S311  made-up data, no secret
        built: Records = {"account": [account_settings.account(make)]}
        built["metric"] = metrics.metrics(make, sizes.metrics)
        built["tag-group"] = tags.tag_groups(make)
        built["tag"] = tags.tags(make, sizes.tags, built["tag-group"])
        built["list"] = lists_and_segments.lists(make, sizes.lists)
        built["segment"] = lists_and_segments.segments(make, sizes.segments, built["metric"])
        built["template"] = templates.templates(make, sizes.templates)
        built["campaign"], built["campaign-message"], built["campaign-recipient-estimation"] = campaigns.campaigns(
            make, sizes.campaigns, built["list"], built["segment"], built["template"]
        )
        built["flow"], built["flow-action"], built["flow-message"] = flows.flows(
            make, sizes.flows, built["metric"], built["list"], built["template"]
        )
        built["form"], built["form-version"] = forms.forms(self._maker("forms"))
        for kind in ("list", "segment", "campaign", "flow"):
            tags.link_tags(make, built["tag"], built[kind])
        return built

    def fixed(self, sized: Records, profiles: list[str], events: list[str]) -> Records:
        """The collections that have the same few records in every account.

        Args:
            sized: what `sized` built. Metrics get their metric properties as a relationship.
            profiles, events: ids that records may point at.
        """
        make = self._maker
        ids = {kind: [str(resource["id"]) for resource in resources] for kind, resources in sized.items()}
        account_id = ids["account"][0]
        built: Records = {}
        built["catalog-item"], built["catalog-variant"], built["catalog-category"] = catalog.catalog(make("catalog"))
        built["coupon"], built["coupon-code"] = coupons.coupons(make("coupons"), profiles)
        built["review"] = reviews.reviews(make("reviews"), built["catalog-item"], events)
        built["image"] = assets.images(make("images"))
        built["template-universal-content"] = templates.universal_content(make("universal content"))
        built["web-feed"] = assets.web_feeds(make("web feeds"))
        built["webhook"], built["webhook-topic"] = webhooks.webhooks(make("webhooks"))
        built["tracking-setting"] = [account_settings.tracking_setting(account_id)]
        built["custom-metric"] = metrics.custom_metrics(make("custom metrics"), ids["metric"])
        built["mapped-metric"] = metrics.mapped_metrics(make("mapping"), ids["metric"], built["custom-metric"])
        built["metric-property"] = metrics.metric_properties(make("properties"), sized["metric"])
        translated = {kind: ids.get(kind, []) for kind, _ in translations.TRANSLATED} | {
            "campaign-variation": [variation_id(identity) for identity in ids["campaign-message"]],
            "template-universal-content": [str(block["id"]) for block in built["template-universal-content"]],
        }
        built["translation"] = translations.translations(make("translations"), translated)
        built |= brands.brand_library(make("brand"), account_id)
        built |= text_messaging.senders(make("texts"), account_id)
        built["billing-usage"] = account_settings.billing_usage(make("billing"))
        built["push-token"] = contact_channels.push_tokens(make("push tokens"), profiles)
        built["conversation"] = contact_channels.conversations(make("conversations"), profiles[::2])
        built["data-source"] = custom_objects.data_sources(make("sources"))
        built |= custom_objects.objects(make("objects"), built["data-source"])
        for kind, relation in CATALOG_JOBS.items():
            name = collection(relation.type).removeprefix("catalog-")
            targets = [str(resource["id"]) for resource in built[relation.type]]
            built[kind] = bulk_jobs.bulk_jobs(make(kind), kind, name, relation.type, targets)
        codes = [str(resource["id"]) for resource in built["coupon-code"]]
        kind = "coupon-code-bulk-create-job"
        built[kind] = bulk_jobs.bulk_jobs(make(kind), kind, "coupon-codes", "coupon-code", codes)
        built["profile-bulk-import-job"], built["import-error"] = bulk_jobs.imports(
            make("imports"), ids["list"], profiles
        )
        for verb in ("create", "delete"):
            kind = f"profile-suppression-bulk-{verb}-job"
            built[kind] = bulk_jobs.suppressions(make(kind), kind, ids["list"], ids["segment"])
        return built

    def canvas_campaigns(self, sized: Records) -> Iterator[tuple[str, Resource]]:
        """(kind, record) of the campaigns that only revision 2026-10-15 can show: one for every ten others."""
        groups, template_ids, metric_ids = (
            [str(resource["id"]) for kind in chosen for resource in sized[kind]]
            for chosen in (("list", "segment"), ("template",), ("metric",))
        )
        count = -(-self.sizes.campaigns // 10)
        return canvas_campaigns.canvas_campaigns(self._maker("canvas"), count, groups, template_ids, metric_ids)
