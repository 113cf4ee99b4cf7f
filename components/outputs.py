"""The stack's outputs: the contract with other stacks (docs/exports.md), and their typed reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, TypeVar, cast

import pulumi

from components.configurations import configuration
from components.documents import prometheus_targets, service_on_pool, service_on_spokes, ssh_node_pools
from components.gateway import WgGateway
from components.plan import Machine, Plan
from components.pool import InferencePool
from components.spoke import WgSpoke
from components.stack import Stack
from overlay.addresses import address6
from overlay.groups import LOADBALANCER

_T = TypeVar("_T")
SCHEMA_VERSION = 1
"""Raised when a field changes or goes; a new field leaves it as it is."""


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
) -> dict[str, Any]:
    """Everything that the stack exports, by name; SkyPilot knows the machines by the stack's prefix."""
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
                name: _configuration(plan, spoke, gateways[plan.hangs_on(spoke.machine).name])
                for name, spoke in spokes.items()
                if spoke.machine.is_external
            }
        ),
        "ssh_private_key": stack.keys.ssh_private,
    }


def _configuration(plan: Plan, spoke: WgSpoke, gateway: WgGateway) -> pulumi.Output[str]:
    known = pulumi.Output.all(gateway.public_key, gateway.endpoint)

    def written(private: str | None) -> pulumi.Output[str]:
        return known.apply(lambda found: configuration(plan, spoke.machine, private, *found))

    return written(None) if spoke.key is None else spoke.key.use(written)


class OutputsError(ValueError):
    """Outputs that this reader does not understand; the message says which and why."""


@dataclass(frozen=True)
class GatewayOutput:
    """A gateway. ``public_ip`` is on the internet, ``address`` on the overlay, ``lan_address`` in its site's network.

    ``url`` is its control plane.
    """

    name: str
    site: str
    address: IPv4Address
    public_ip: str
    endpoint: str
    url: str
    server_id: str
    public_key: str
    lan_address: IPv4Address | None


@dataclass(frozen=True)
class PeerOutput:
    """A node as its peers know it. ``group`` is None where there are no groups, ``address6`` where there is no IPv6.

    ``dns_name`` is None in a stack that was not updated since there are names.
    """

    name: str
    site: str
    role: str
    address: IPv4Address
    public_key: str
    endpoint: str | None
    allowed_ips: tuple[IPv4Network, ...]
    allowed_ips6: tuple[IPv6Network, ...]
    address6: IPv6Address | None
    dns_name: str | None
    group: str | None


@dataclass(frozen=True)
class PoolOutput:
    """A pool, whose machines have addresses of ``range``, ``min`` to ``max`` of them.

    ``kind`` is ``managed``, or ``external`` when others make its machines; ``cloud`` and ``region`` are its site's.
    ``port`` and ``health_path`` are the inference server's. ``group`` is the cloud's name of the group, ``role`` what
    its machines act as there: an IAM role's name, a service account's e-mail. Both are None on Hetzner, and where
    others make the machines.
    """

    name: str
    kind: str
    site: str
    cloud: str
    region: str
    range: IPv4Network
    min: int
    max: int
    port: int
    health_path: str
    group: str | None
    role: str | None


@dataclass(frozen=True)
class NetworkOutput:
    """The overlay: its range, topology, tunnel MTU in bytes, and each site's part by name.

    ``groups`` says by name which groups (or ``all``) the members of one may reach. ``domain`` is what nodes' names end
    with; None in a stack that was not updated since there are names.
    """

    overlay: IPv4Network
    overlay6: IPv6Network | None
    topology: str
    domain: str | None
    groups: Mapping[str, tuple[str, ...]]
    mtu: int
    sites: Mapping[str, IPv4Network]


@dataclass(frozen=True)
class LoadBalancerOutput:
    """Where gateways answer requests, at ``url``.

    ``ca`` (PEM) is the authority to trust; None when the certificate is of another than the stack's.
    """

    url: str
    server_names: tuple[str, ...]
    ca: str | None


@dataclass(frozen=True)
class StackOutputs:
    """The plain outputs of a stack of this project."""

    wg_gateway_ip: str
    gateways: tuple[GatewayOutput, ...]
    peers: tuple[PeerOutput, ...]
    pools: tuple[PoolOutput, ...]
    network: NetworkOutput
    load_balancer: LoadBalancerOutput | None
    ssh_node_pools: str
    skyserve_service: str
    prometheus_targets: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class JoinOutput:
    """What a machine needs to join at run time; a secret."""

    url: str
    ca: str
    tokens: Mapping[str, str]


PLAIN = (
    "schema_version",
    "wg_gateway_ip",
    "gateways",
    "peers",
    "network",
    "ssh_node_pools",
    "skyserve_service",
    "prometheus_targets",
)
"""What every stack of this version has, all of it no secret."""
ADDED = ("pools", "load_balancer")
"""What came later, no secret either: a stack that was not updated since does not have it."""


def parse_outputs(values: Mapping[str, Any]) -> StackOutputs:
    """The outputs of their JSON; OutputsError when they are of another version or a field is missing or wrong."""
    version = values.get("schema_version")
    if version != SCHEMA_VERSION:
        raise OutputsError(f"schema_version is {version!r}, and this reader knows {SCHEMA_VERSION}: update the reader")
    try:
        network = values["network"]
        return StackOutputs(
            wg_gateway_ip=values["wg_gateway_ip"],
            gateways=tuple(_parsed_gateway(gateway) for gateway in values["gateways"]),
            peers=tuple(_parsed_peer(peer) for peer in values["peers"]),
            pools=tuple(_parsed_pool(pool) for pool in values.get("pools") or ()),
            network=NetworkOutput(
                overlay=IPv4Network(network["overlay"]),
                overlay6=_maybe(IPv6Network, network.get("overlay6")),
                topology=network["topology"],
                domain=network.get("domain"),
                groups=_parsed_groups(network.get("groups")),
                mtu=int(network["mtu"]),
                sites={name: IPv4Network(site["subnet"]) for name, site in network["sites"].items()},
            ),
            load_balancer=_parsed_balancer(values.get("load_balancer")),
            ssh_node_pools=values["ssh_node_pools"],
            skyserve_service=values["skyserve_service"],
            prometheus_targets=tuple(values["prometheus_targets"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise OutputsError(f"the outputs are not as docs/exports.md says: {type(error).__name__} {error}") from None


def _fields(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that ``kind`` knows: a later version of the contract may have added others."""
    return {name: values[name] for name in kind.__dataclass_fields__}


def _maybe(kind: Callable[[str], _T], text: str | None) -> _T | None:
    return None if text is None else kind(text)


def _parsed_groups(groups: Mapping[str, Sequence[str]] | None) -> Mapping[str, tuple[str, ...]]:
    return {name: tuple(reached) for name, reached in (groups or {}).items()}


def _parsed_gateway(values: Mapping[str, Any]) -> GatewayOutput:
    known = _fields(GatewayOutput, {"lan_address": None, **values})
    known["address"] = IPv4Address(values["address"])
    known["lan_address"] = _maybe(IPv4Address, known["lan_address"])
    return GatewayOutput(**known)


def _parsed_peer(values: Mapping[str, Any]) -> PeerOutput:
    late = {"allowed_ips6": (), "address6": None, "dns_name": None, "group": None}
    known = _fields(PeerOutput, {"endpoint": None, **late, **values})
    known["address"] = IPv4Address(values["address"])
    known["address6"] = _maybe(IPv6Address, known["address6"])
    known["allowed_ips"] = tuple(IPv4Network(text) for text in values["allowed_ips"])
    known["allowed_ips6"] = tuple(IPv6Network(text) for text in known["allowed_ips6"])
    return PeerOutput(**known)


def _parsed_pool(values: Mapping[str, Any]) -> PoolOutput:
    known = _fields(PoolOutput, {"kind": "managed", "group": None, "role": None, **values})
    known["range"] = IPv4Network(values["range"])
    known |= {name: int(values[name]) for name in ("min", "max", "port")}
    return PoolOutput(**known)


def _parsed_balancer(values: Mapping[str, Any] | None) -> LoadBalancerOutput | None:
    if values is None:
        return None
    known = _fields(LoadBalancerOutput, {"ca": None, **values})
    known["server_names"] = tuple(values["server_names"])
    return LoadBalancerOutput(**known)


class StackReader:
    """Another stack's view of this one: ``StackReader(pulumi.StackReference("org/hybrid-wireguard/prod"))``."""

    outputs: pulumi.Output[StackOutputs]
    """Everything that is no secret."""
    join: pulumi.Output[JoinOutput]
    """What a machine needs to join; secret."""
    configurations: pulumi.Output[Mapping[str, str]]
    """wg-quick's text by name, for people and machines of external sites; secret."""

    def __init__(self, reference: pulumi.StackReference) -> None:
        values = {name: reference.require_output(name) for name in PLAIN}
        values |= {name: reference.get_output(name) for name in ADDED}
        self.outputs = pulumi.Output.all(**values).apply(parse_outputs)
        self.join = pulumi.Output.secret(reference.require_output("join").apply(_parsed_join))
        configurations = reference.get_output("configurations")
        self.configurations = pulumi.Output.secret(configurations.apply(lambda found: found or {}))


def _parsed_join(values: object) -> JoinOutput:
    known = cast("Mapping[str, Any]", values)
    return JoinOutput(known["url"], known["ca"], known["tokens"])
