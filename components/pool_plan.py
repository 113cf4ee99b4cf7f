"""From settings to what each pool is: names, sizes, types. Pure, as the plan of the other machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from components import names, server_types
from components.settings.machines import DEFAULT_SERVER_TYPE, PUBLIC_BY_DEFAULT, PoolSettings
from components.settings.models import Settings
from components.settings.places import reaches_gateway_at_home
from components.settings.sites import HetznerSite, SiteSettings
from overlay.pools import Pool


@dataclass(frozen=True)
class PoolPlan:
    """One pool of the stack, cloud-neutral.

    Of an external one the stack makes no machine: what says how its machines are means nothing then.
    ``resource_name`` is the cloud's name for its group and what names of its machines begin with; ``addresses`` its
    part of the site's subnet. It holds ``minimum`` to ``limit`` machines, both the same on Hetzner; ``on_demand_base``
    of them are no spot machines. ``location`` is Hetzner's and None elsewhere. ``prove`` says whether machines must
    show their cloud's proof of identity. ``ttl`` and ``rest`` are in seconds, as in :class:`overlay.pools.Pool`.
    ``group`` is empty where there are no groups. ``lan`` says whether its machines stand in the site's own network, and
    reach the site's gateway there.
    """

    name: str
    is_external: bool
    site: str
    cloud: str
    region: str
    resource_name: str
    overlay: IPv4Network
    addresses: IPv4Network
    minimum: int
    limit: int
    server_types: tuple[str, ...]
    on_demand_base: int
    image: str
    location: str | None
    public: bool
    port: int
    health_path: str
    user_setup: str
    drain_hook: str
    labels: Mapping[str, str]
    token_revision: int
    prove: bool
    ttl: int
    rest: int
    revision: int
    group: str
    lan: bool


def asked_types(settings: Settings, pool: PoolSettings) -> tuple[str, ...]:
    """The server types that the settings ask for, retired ones among them; none for machines that others make."""
    if pool.is_external:
        return ()
    return pool.server_types or (DEFAULT_SERVER_TYPE[settings.sites[pool.site].cloud],)


def plan_pool(settings: Settings, name: str, wanted: PoolSettings) -> PoolPlan:
    """The plan of the pool ``name``."""
    site = settings.sites[wanted.site]
    keep = settings.keep_retired_server_types
    types = (server_types.resolve(site.cloud, asked, keep_retired=keep) for asked in asked_types(settings, wanted))
    public = wanted.public_address
    return PoolPlan(
        name=name,
        is_external=wanted.is_external,
        site=wanted.site,
        cloud=site.cloud,
        region=site.region,
        resource_name=names.pool_name(settings.prefix, name),
        overlay=settings.overlay,
        addresses=wanted.addresses,
        minimum=_minimum(wanted, site),
        limit=wanted.limit,
        server_types=tuple(types),
        on_demand_base=wanted.on_demand_base or 0,
        image=wanted.image,
        location=site.location if isinstance(site, HetznerSite) else None,
        public=PUBLIC_BY_DEFAULT.get(site.cloud, False) if public is None else public,
        port=wanted.port,
        health_path=wanted.health_path,
        user_setup=wanted.user_setup,
        drain_hook=wanted.drain_hook,
        labels={**names.labels(settings, site=wanted.site, role=names.BURST, pool=name), **wanted.labels},
        token_revision=wanted.token_revision,
        prove=wanted.require_identity,
        ttl=wanted.lease_ttl,
        rest=wanted.address_rest,
        revision=wanted.revision or 1,
        group=wanted.group or "",
        lan=not wanted.is_external and reaches_gateway_at_home(settings, wanted.site),
    )


def _minimum(wanted: PoolSettings, site: SiteSettings) -> int:
    if wanted.is_external:
        return 0
    if isinstance(site, HetznerSite):
        return wanted.limit
    return 1 if wanted.minimum is None else wanted.minimum


def overlay_pools(settings: Settings) -> list[Pool]:
    """The pools as the overlay's checks see them, before there is any token."""
    return [
        Pool(
            name,
            p.site,
            p.addresses,
            p.limit,
            "",
            p.lease_ttl,
            p.address_rest,
            p.port,
            p.health_path,
            group=p.group or "",
        )
        for name, p in settings.pools.items()
    ]
