"""The stack's outputs: the contract with other stacks (docs/exports.md), and their typed reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from typing import Any, cast

import pulumi

from components.documents import prometheus_targets, service_on_pool, service_on_spokes, ssh_node_pools
from components.gateway import WgGateway
from components.plan import Machine, Plan
from components.pool import InferencePool
from components.spoke import WgSpoke
from components.stack import Stack

SCHEMA_VERSION = 1
"""Raised when a field changes or goes; a new field leaves it as it is."""


def _peer(machine: Machine, plan: Plan, public_key: pulumi.Output[str], endpoint: pulumi.Output[str] | None) -> Any:
    return {
        "name": machine.name,
        "site": machine.site,
        "role": machine.role,
        "address": str(machine.address),
        "public_key": public_key,
        "endpoint": endpoint,
        "allowed_ips": [str(network) for network in plan.allowed_ips[machine.name]],
    }


def network_document(plan: Plan) -> dict[str, Any]:
    """The network as outputs and rosters describe it."""
    return {
        "overlay": str(plan.network.overlay),
        "topology": plan.network.topology,
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
    first = next(iter(gateways.values()))
    peers = [_peer(g.machine, plan, g.public_key, g.endpoint) for g in gateways.values()]
    peers += [_peer(s.machine, plan, s.public_key, None) for s in spokes.values()]
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
            }
            for name, gateway in gateways.items()
        ],
        "peers": peers,
        "pools": [_pool(pool) for pool in pools.values()],
        "network": network_document(plan),
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
        "ssh_private_key": stack.keys.ssh_private,
    }


class OutputsError(ValueError):
    """Outputs that this reader does not understand; the message says which and why."""


@dataclass(frozen=True)
class GatewayOutput:
    """A gateway. ``public_ip`` is on the internet, ``address`` on the overlay; ``url`` is its control plane."""

    name: str
    site: str
    address: IPv4Address
    public_ip: str
    endpoint: str
    url: str
    server_id: str
    public_key: str


@dataclass(frozen=True)
class PeerOutput:
    """A node as its peers know it."""

    name: str
    site: str
    role: str
    address: IPv4Address
    public_key: str
    endpoint: str | None
    allowed_ips: tuple[IPv4Network, ...]


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
    """The overlay: its range, topology, tunnel MTU in bytes, and each site's part by name."""

    overlay: IPv4Network
    topology: str
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
                topology=network["topology"],
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


def _parsed_gateway(values: Mapping[str, Any]) -> GatewayOutput:
    known = _fields(GatewayOutput, values)
    known["address"] = IPv4Address(values["address"])
    return GatewayOutput(**known)


def _parsed_peer(values: Mapping[str, Any]) -> PeerOutput:
    known = _fields(PeerOutput, {"endpoint": None, **values})
    known["address"] = IPv4Address(values["address"])
    known["allowed_ips"] = tuple(IPv4Network(text) for text in values["allowed_ips"])
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

    def __init__(self, reference: pulumi.StackReference) -> None:
        values = {name: reference.require_output(name) for name in PLAIN}
        values |= {name: reference.get_output(name) for name in ADDED}
        self.outputs = pulumi.Output.all(**values).apply(parse_outputs)
        self.join = pulumi.Output.secret(reference.require_output("join").apply(_parsed_join))


def _parsed_join(values: object) -> JoinOutput:
    known = cast("Mapping[str, Any]", values)
    return JoinOutput(known["url"], known["ca"], known["tokens"])
