"""From settings to what each machine is: names, addresses, types, peers. Pure: nothing here registers a resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from components import names, server_types
from components.pool_plan import PoolPlan, asked_types, plan_pool
from components.serving_plan import balancer_warnings, plan_balancer
from components.settings.models import (
    DEFAULT_SERVER_TYPE,
    GatewaySettings,
    GcpSite,
    HetznerSite,
    Settings,
    SpokeSettings,
)
from overlay.addresses import AddressError, address_of
from overlay.checks import Problem
from overlay.model import Network, Node, Role, Site
from overlay.mtu import wireguard_mtu
from overlay.serving import LoadBalancer
from overlay.topology import peers_of


class AddressProblemsError(Exception):
    """Nodes that can be given no overlay address; ``problems`` says which and why."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Machine:
    """One machine of the stack, cloud-neutral.

    ``name`` is the node's, ``resource_name`` the cloud's name for it; ``server_type`` can be ordered; ``location``
    is Hetzner's and None elsewhere; ``public`` whether it has a public IPv4 address; ``private_address`` the fixed
    one of a gateway in its site's private network.
    """

    name: str
    role: Role
    site: str
    cloud: str
    address: IPv4Address
    resource_name: str
    server_type: str
    image: str
    location: str | None
    public: bool
    revision: int
    labels: Mapping[str, str]
    private_address: IPv4Address | None = None


@dataclass(frozen=True)
class Plan:
    """The whole stack: the network, its tunnels' MTU in bytes, its machines by node name, and its pools by theirs."""

    network: Network
    mtu: int
    gateways: Mapping[str, Machine]
    spokes: Mapping[str, Machine]
    pools: Mapping[str, PoolPlan]
    allowed_ips: Mapping[str, tuple[IPv4Network, ...]]
    """By node: what its peers send to it."""
    load_balancer: LoadBalancer | None = None
    """What gateways balance requests onto; None when they do not."""

    @property
    def machines(self) -> Mapping[str, Machine]:
        """Gateways and spokes by node name."""
        return {**self.gateways, **self.spokes}

    def gateway_of(self, entering: Machine | PoolPlan) -> Machine:
        """The gateway that a spoke, or the members of a pool, enter the overlay by."""
        address = entering.addresses[0] if isinstance(entering, PoolPlan) else entering.address
        node = Node(entering.name, entering.site, address, "spoke", entering.name)
        (peer,) = peers_of(self.network, node, [*_as_nodes(list(self.gateways.values())), node])
        return self.gateways[peer.public_key]


def overlay_network(settings: Settings) -> Network:
    """The network that the settings describe."""
    sites = tuple(Site(name, site.cloud, site.subnet, site.region) for name, site in settings.sites.items())
    return Network(settings.overlay, sites, settings.topology)


def _gateway_address(settings: Settings, gateway: GatewaySettings) -> IPv4Address:
    return gateway.address or settings.overlay.network_address + 1


def nodes_of(settings: Settings) -> list[Node]:
    """The overlay's nodes, each with its name in place of its key; AddressProblemsError when some have no address."""
    found = [
        Node(name, gateway.site, _gateway_address(settings, gateway), "gateway", name)
        for name, gateway in settings.gateways.items()
    ]
    problems: list[Problem] = []
    for name, spoke in settings.spokes.items():
        subnet = settings.sites[spoke.site].subnet
        try:
            found.append(Node(name, spoke.site, address_of(name, subnet, spoke.address), "spoke", name))
        except AddressError as error:
            reason, _, remedy = str(error).partition("; ")
            problems.append(Problem(f"spokes.{name}.address", "nothing", reason, remedy))
    if problems:
        raise AddressProblemsError(problems)
    return found


def _as_nodes(machines: Sequence[Machine]) -> list[Node]:
    return [Node(m.name, m.site, m.address, m.role, m.name) for m in machines]


def _is_public(settings: Settings, spoke: SpokeSettings) -> bool:
    if spoke.public_address is not None:
        return spoke.public_address
    return not isinstance(settings.sites[spoke.site], GcpSite)


def _machine(settings: Settings, node: Node, wanted: GatewaySettings | SpokeSettings) -> Machine:
    site = settings.sites[node.site]
    is_gateway = node.role == "gateway"
    server_type = wanted.server_type or DEFAULT_SERVER_TYPE[site.cloud]
    return Machine(
        name=node.name,
        role=node.role,
        site=node.site,
        cloud=site.cloud,
        address=node.address,
        resource_name=names.server_name(settings.prefix, node.name, is_gateway=is_gateway),
        server_type=server_types.resolve(site.cloud, server_type, keep_retired=settings.keep_retired_server_types),
        image=wanted.image,
        location=(wanted.location or site.location) if isinstance(site, HetznerSite) else None,
        public=True if isinstance(wanted, GatewaySettings) else _is_public(settings, wanted),
        revision=wanted.revision,
        labels=names.labels(
            settings, node=node.name, site=node.site, role=names.GATEWAY if is_gateway else names.SPOKE
        ),
        private_address=_private_address(site, wanted) if isinstance(wanted, GatewaySettings) else None,
    )


def _private_address(site: object, gateway: GatewaySettings) -> IPv4Address | None:
    """The gateway's fixed address in its site's private network: the pinned one, else the last host.

    Hetzner gives the first free addresses to servers that ask for none, and those may be made before the gateway.
    """
    if gateway.private_address is not None or not isinstance(site, HetznerSite) or site.network_cidr is None:
        return gateway.private_address
    return site.network_cidr.broadcast_address - 1


def warnings(settings: Settings) -> list[str]:
    """What a preview warns of: server types that are replaced by their successors, requests that nothing serves."""
    found: dict[str, list[str]] = {}
    for name, machine in {**settings.gateways, **settings.spokes}.items():
        cloud = settings.sites[machine.site].cloud
        asked = machine.server_type or DEFAULT_SERVER_TYPE[cloud]
        if server_types.resolve(cloud, asked, keep_retired=settings.keep_retired_server_types) != asked:
            found.setdefault(asked, []).append(name)
    for name, pool in settings.pools.items():
        cloud = settings.sites[pool.site].cloud
        for asked in asked_types(settings, pool):
            if server_types.resolve(cloud, asked, keep_retired=settings.keep_retired_server_types) != asked:
                found.setdefault(asked, []).append(name)
    retired = [server_types.retirement_warning(asked, nodes) for asked, nodes in sorted(found.items())]
    return [*retired, *balancer_warnings(settings)]


def make_plan(settings: Settings) -> Plan:
    """The plan of settings that ``components.settings.load`` accepted."""
    network = overlay_network(settings)
    nodes = nodes_of(settings)
    wanted = {**settings.gateways, **settings.spokes}
    machines = [_machine(settings, node, wanted[node.name]) for node in nodes]
    private = any(isinstance(s, HetznerSite) and s.has_private_network for s in settings.sites.values())
    return Plan(
        network=network,
        mtu=wireguard_mtu({site.cloud for site in network.sites}, private_hetzner=private),
        gateways={m.name: m for m in machines if m.role == "gateway"},
        spokes={m.name: m for m in machines if m.role == "spoke"},
        pools={name: plan_pool(settings, name, pool) for name, pool in settings.pools.items()},
        allowed_ips=_allowed_ips(network, nodes),
        load_balancer=plan_balancer(settings),
    )


def _allowed_ips(network: Network, nodes: Sequence[Node]) -> Mapping[str, tuple[IPv4Network, ...]]:
    """By node, the widest that any gateway (for spokes) or any of its spokes (for gateways) sends to it."""
    found: dict[str, tuple[IPv4Network, ...]] = {}
    gateways = [node for node in nodes if node.role == "gateway"]
    spokes = [node for node in nodes if node.role == "spoke"]
    for node in (*gateways, *spokes[:1]):
        for peer in peers_of(network, node, nodes):
            found[peer.public_key] = peer.allowed_ips
    for gateway in gateways:
        found.setdefault(gateway.name, (network.overlay,))
    return found
