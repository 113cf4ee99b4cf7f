"""What the stack exports: the contract with other stacks (docs/exports.md), which components/outputs.py reads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pulumi

from components.configurations import configuration
from components.documents import prometheus_targets, service_on_pool, service_on_spokes, ssh_node_pools
from components.gateway import WgGateway
from components.outputs import SCHEMA_VERSION
from components.plan import Machine, Plan
from components.pool import InferencePool
from components.push import Roster
from components.spoke import WgSpoke
from components.stack import Stack
from overlay.addresses import address6
from overlay.groups import LOADBALANCER


def _peer(machine: Machine, plan: Plan, public_key: pulumi.Output[str], endpoint: pulumi.Output[str] | None) -> Any:
    network = plan.network
    return {
        "name": machine.name,
        "site": machine.site,
        "role": machine.role,
        "address": str(machine.address),
        "public_key": public_key,
        "endpoint": endpoint,
        "allowed_ips": [str(prefix) for prefix in plan.allowed_ips[machine.name] if isinstance(prefix, IPv4Network)],
        "allowed_ips6": [str(prefix) for prefix in plan.allowed_ips[machine.name] if isinstance(prefix, IPv6Network)],
        "address6": None if network.overlay6 is None else str(address6(network.overlay6, machine.address)),
        "dns_name": f"{machine.name}.{machine.site}.{network.domain}",
        "group": (LOADBALANCER if machine.role == "gateway" else machine.group) if network.groups else None,
    }


def _network(plan: Plan) -> dict[str, Any]:
    overlay6 = plan.network.overlay6
    return {
        "overlay": str(plan.network.overlay),
        "overlay6": None if overlay6 is None else str(overlay6),
        "topology": plan.network.topology,
        "domain": plan.network.domain,
        "groups": {name: list(reached) for name, reached in plan.network.groups.items()},
        "mtu": plan.mtu,
        "sites": {
            site.name: {"cloud": site.cloud, "subnet": str(site.subnet), "region": site.region}
            for site in plan.network.sites
        },
    }


def _pool(pool: InferencePool) -> dict[str, Any]:
    plan = pool.plan
    return {
        "name": plan.name,
        "kind": "external" if plan.is_external else "managed",
        "site": plan.site,
        "cloud": plan.cloud,
        "region": plan.region,
        "range": str(plan.addresses),
        "min": plan.minimum,
        "max": plan.limit,
        "port": plan.port,
        "health_path": plan.health_path,
        "group": pool.group.name,
        "role": pool.group.role,
    }


def _service(plan: Plan, known_as: str, pools: Mapping[str, InferencePool]) -> pulumi.Input[str]:
    """The SkyServe service: its replicas are the first external pool's machines, else it runs on the spokes."""
    for pool in pools.values():
        if pool.join_script is not None:
            return pool.join_script.apply(partial(service_on_pool, plan, known_as, pool.plan))
    return service_on_spokes(plan, known_as)


def _load_balancer(stack: Stack, first: WgGateway) -> dict[str, Any] | None:
    """Where requests are answered: by a name, if there is one that is no pattern, which the user's DNS knows."""
    settings = stack.settings.load_balancer
    if not settings.enabled:
        return None
    named = next((name for name in settings.names if not name.startswith("*.")), None)
    return {
        "url": first.public_address.apply(lambda ip: f"https://{named or ip}"),
        "server_names": list(settings.names),
        "ca": stack.authority.certificate if settings.certificate == "stack" and settings.cloudflare is None else None,
    }


def stack_outputs(
    stack: Stack,
    gateways: Mapping[str, WgGateway],
    spokes: Mapping[str, WgSpoke],
    pools: Mapping[str, InferencePool],
    roster: Roster,
) -> dict[str, Any]:
    """Everything that the stack exports, by name; SkyPilot knows the machines by the stack's prefix.

    Who connects with a configuration calls a gateway by the key that ``roster`` says it uses.
    """
    plan, known_as = stack.plan, stack.settings.prefix
    first = gateways[plan.root.name]
    called = plan.network.topology == "mesh"
    peers = [_peer(g.machine, plan, g.public_key, g.endpoint) for g in gateways.values()]
    peers += [_peer(s.machine, plan, s.public_key, s.endpoint if called else None) for s in spokes.values()]
    return {
        "schema_version": SCHEMA_VERSION,
        "wg_gateway_ip": first.public_address,
        "gateways": [
            {
                "name": name,
                "site": gateway.machine.site,
                "address": str(gateway.machine.address),
                "public_ip": gateway.public_address,
                "endpoint": gateway.endpoint,
                "url": gateway.url,
                "server_id": gateway.server_id,
                "public_key": gateway.public_key,
                "lan_address": gateway.machine.private_address and str(gateway.machine.private_address),
            }
            for name, gateway in gateways.items()
        ],
        "peers": peers,
        "pools": [_pool(pool) for pool in pools.values()],
        "network": _network(plan),
        "load_balancer": _load_balancer(stack, first),
        "ssh_node_pools": ssh_node_pools(plan, known_as),
        "skyserve_service": _service(plan, known_as, pools),
        "prometheus_targets": prometheus_targets(plan),
        "join": pulumi.Output.secret(
            {
                "url": first.url,
                "ca": stack.authority.certificate,
                "tokens": {name: pool.token for name, pool in pools.items()},
            }
        ),
        "configurations": pulumi.Output.secret(
            {
                name: _configuration(plan, spoke, gateways[plan.hangs_on(spoke.machine).name], roster)
                for name, spoke in spokes.items()
                if spoke.machine.is_external
            }
        ),
        "ssh_private_key": stack.keys.ssh_private,
    }


def _configuration(plan: Plan, spoke: WgSpoke, gateway: WgGateway, roster: Roster) -> pulumi.Output[str]:
    name = gateway.machine.name
    known = pulumi.Output.all(roster.gateway_keys.apply(lambda keys: keys[name]), gateway.endpoint)

    def written(private: str | None) -> pulumi.Output[str]:
        return known.apply(lambda found: configuration(plan, spoke.machine, private, *found))

    return written(None) if spoke.key is None else spoke.key.use(written)
