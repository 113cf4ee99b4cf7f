"""The typed reader of what a stack exports: the contract with other stacks (docs/exports.md).

It needs nothing of this project, and of others only Pulumi: another repository may take a copy of this one file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, TypeVar, cast

import pulumi

_T = TypeVar("_T")
_TEXTS = ("str", "IPv4Address", "IPv4Network")
"""Types of fields that are always texts in JSON."""
SCHEMA_VERSION = 1
"""Raised when a field changes or goes; a new field leaves it as it is."""


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
    _check_version(values.get("schema_version"))
    values = {name: value for name, value in values.items() if value is not None}
    try:
        network = values["network"]
        return StackOutputs(
            wg_gateway_ip=_text(values, "wg_gateway_ip"),
            gateways=tuple(_parsed_gateway(gateway) for gateway in values["gateways"]),
            peers=tuple(_parsed_peer(peer) for peer in values["peers"]),
            pools=tuple(_parsed_pool(pool) for pool in values.get("pools") or ()),
            network=NetworkOutput(
                overlay=IPv4Network(_text(network, "overlay")),
                overlay6=_maybe(IPv6Network, network.get("overlay6")),
                topology=_text(network, "topology"),
                domain=network.get("domain"),
                groups=_parsed_groups(network.get("groups")),
                mtu=int(network["mtu"]),
                sites={name: IPv4Network(_text(site, "subnet")) for name, site in network["sites"].items()},
            ),
            load_balancer=_parsed_balancer(values.get("load_balancer")),
            ssh_node_pools=_text(values, "ssh_node_pools"),
            skyserve_service=_text(values, "skyserve_service"),
            prometheus_targets=tuple(values["prometheus_targets"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise OutputsError(f"the outputs are not as docs/exports.md says: {type(error).__name__} {error}") from None


def parse_join(values: Mapping[str, Any]) -> JoinOutput:
    """The secret output ``join``, with the ``schema_version`` that it is of; OutputsError as :func:`parse_outputs`."""
    _check_version(values.get("schema_version"))
    join = values.get("join")
    known = cast("Mapping[str, Any]", join if isinstance(join, Mapping) else {})
    missing = [name for name in JoinOutput.__dataclass_fields__ if name not in known]
    if missing:
        raise OutputsError(f"the outputs are not as docs/exports.md says: join has no {', '.join(missing)}")
    return JoinOutput(known["url"], known["ca"], known["tokens"])


def parse_configurations(values: Mapping[str, Any]) -> Mapping[str, str]:
    """The same of ``configurations``, which stacks that were not updated since do not have."""
    _check_version(values.get("schema_version"))
    return values.get("configurations") or {}


def _check_version(version: object) -> None:
    if version == SCHEMA_VERSION:
        return
    remedy = "update the reader"
    if version is None:
        remedy = "see whether the stack is one of hybrid-wireguard, and whether it has been made"
    raise OutputsError(f"schema_version is {version!r}, and this reader knows {SCHEMA_VERSION}: {remedy}")


def _text(values: Mapping[str, Any], name: str) -> str:
    if not isinstance(values[name], str):
        raise TypeError(f"{name} is no text")
    return values[name]


def _fields(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that ``kind`` knows: a later version of the contract may have added others."""
    known: Mapping[str, Any] = kind.__dataclass_fields__
    return {name: _text(values, name) if field.type in _TEXTS else values[name] for name, field in known.items()}


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
        # Not required of Pulumi: another version may lack an output, and it is the version that is to be said then.
        values = {name: reference.get_output(name) for name in (*PLAIN, *ADDED)}
        self.outputs = pulumi.Output.all(**values).apply(parse_outputs)

        def with_version(name: str) -> pulumi.Output[dict[str, Any]]:
            return pulumi.Output.all(**{"schema_version": values["schema_version"], name: reference.get_output(name)})

        self.join = pulumi.Output.secret(with_version("join").apply(parse_join))
        self.configurations = pulumi.Output.secret(with_version("configurations").apply(parse_configurations))
