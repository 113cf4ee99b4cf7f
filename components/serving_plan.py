"""From settings to what gateways balance requests onto: machines and their shares. Pure, as the rest of the plan."""

from __future__ import annotations

from components.settings.machines import PoolSettings, SpokeSettings
from components.settings.models import Settings
from components.settings.serving import BURST_SHARE, DEFAULT_SHARE, Shares
from overlay.serving import Check, LoadBalancer, Share, Target


def _share(wanted: Shares, default: Share) -> Share:
    return Share(
        default.weight if wanted.weight is None else wanted.weight,
        default.backup if wanted.backup is None else wanted.backup,
        default.max_conns if wanted.max_conns is None else wanted.max_conns,
    )


def _pool_share(settings: Settings, pool: PoolSettings) -> Share:
    # Others make an external pool's machines on demand, in whatever cloud.
    return _share(pool, BURST_SHARE if pool.is_external else DEFAULT_SHARE[settings.sites[pool.site].cloud])


def _serves(settings: Settings, spoke: SpokeSettings) -> bool:
    return not settings.is_external(spoke.site) if spoke.serves is None else spoke.serves


def plan_balancer(settings: Settings) -> LoadBalancer | None:
    """What gateways balance requests onto; None when they shall not. It trusts no proxy: an edge's are looked up."""
    wanted = settings.load_balancer
    if not wanted.enabled:
        return None
    nodes: dict[str, Target] = {}
    for name, spoke in settings.spokes.items():
        if _serves(settings, spoke):
            serving = settings.sites[spoke.site].serving
            share = _share(serving, DEFAULT_SHARE[settings.sites[spoke.site].cloud])
            nodes[name] = Target(serving.port, serving.health_path, share)
    pools = {name: _pool_share(settings, pool) for name, pool in settings.pools.items()}
    return LoadBalancer(Check(wanted.check_interval, wanted.rise, wanted.fall), nodes, pools)


def balancer_warnings(settings: Settings) -> list[str]:
    """What a preview warns of: a load balancer that has nothing to send requests to."""
    balancer = plan_balancer(settings)
    if balancer is None or balancer.nodes or balancer.pools:
        return []
    remedy = "declare a pool, or a spoke that serves"
    return [f"the load balancer has no machine to send requests to, and will answer them with 503: {remedy}"]
