"""From settings to what each machine is: names, addresses, types, peers. Pure: nothing here registers a resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network

from components import names, server_types
from components.pool_plan import PoolPlan, asked_types, overlay_pools, plan_pool
from components.serving_plan import balancer_warnings, plan_balancer
from components.settings.machines import DEFAULT_SERVER_TYPE, PUBLIC_BY_DEFAULT, GatewaySettings, SpokeSettings
from components.settings.models import Settings
from components.settings.places import (
    gateway_address,
    is_first_address,
    private_address,
    private_range,
    reaches_gateway_at_home,
)
from components.settings.sites import AwsSite, ExternalSite, HetznerSite, SiteSettings
from overlay import topology
from overlay.addresses import AddressError, address_of, network6
from overlay.checks import Problem
from overlay.model import Network, Node, Prefix, Role, Site, gateways_of
from overlay.mtu import wireguard_mtu
from overlay.roster import with_ranges
from overlay.serving import LoadBalancer


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
    one of a gateway in its site's own network. A gateway with ``ipv6`` has a public address of that kind too, a spoke
    with ``ipv6_only`` no other. ``group`` is empty where there are no groups, and a gateway's. ``lan`` says whether it
    stands in its site's own network, and reaches the site's gateway there.

    Of one that ``is_external`` the stack makes no machine: what says how it is made means nothing then.
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
    ipv6: bool = False
    ipv6_only: bool = False
    group: str = ""
    lan: bool = False
    is_external: bool = False


@dataclass(frozen=True)
class Plan:
    """The whole stack: the network, its tunnels' MTU in bytes, its machines by node name, and its pools by theirs."""

    network: Network
    mtu: int
    gateways: Mapping[str, Machine]
    spokes: Mapping[str, Machine]
    pools: Mapping[str, PoolPlan]
    load_balancer: LoadBalancer | None = None
    """What gateways balance requests onto; None when they do not."""

    @property
    def machines(self) -> Mapping[str, Machine]:
        """Gateways and spokes by node name."""
        return {**self.gateways, **self.spokes}

    @property
    def made(self) -> Mapping[str, Machine]:
        """Those of them that the stack makes, by node name."""
        return {name: machine for name, machine in self.machines.items() if not machine.is_external}

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Gateways and spokes as the overlay's functions take them, each with its name in place of its key."""
        return tuple(_node(machine) for machine in self.machines.values())

    @cached_property
    def _gateways(self) -> list[Node]:
        return gateways_of(self.nodes)

    @cached_property
    def allowed_ips(self) -> Mapping[str, tuple[Prefix, ...]]:
        """By node: what its gateway sends to it; of a gateway, what its spokes may send."""
        peering = topology.Peering(self.network, self.nodes)
        overlay, overlay6 = self.network.overlay, self.network.overlay6
        whole = (overlay, *([] if overlay6 is None else [network6(overlay6, overlay)]))
        found: dict[str, tuple[Prefix, ...]] = {}
        for node in self.nodes:
            entry = None if node.role == "gateway" else peering.entry(peering.gateway_of(node), node)
            found[node.name] = whole if entry is None else entry.allowed_ips
        return found

    @property
    def root(self) -> Machine:
        """The gateway with the lowest overlay address."""
        return self.gateways[topology.root_of(self._gateways).name]

    def gateway_of(self, entering: Machine | PoolPlan) -> Machine:
        """The home of a spoke or a pool: where it asks the control plane and joins, whatever the topology."""
        return self.gateways[topology.home_of(self._gateways, entering.site).name]

    def hangs_on(self, entering: Machine | PoolPlan) -> Machine:
        """The gateway that the packets of a spoke, or of a pool's machines, go by under the topology."""
        return self.gateways[topology.gateway_of(self.network, self._gateways, entering.site).name]


def overlay_network(settings: Settings) -> Network:
    """The network that the settings describe."""
    sites = tuple(
        Site(name, site.cloud, site.subnet, site.region, *_lan(settings, name)) for name, site in settings.sites.items()
    )
    groups = {name: group.reaches for name, group in settings.groups.items()}
    network = Network(settings.overlay, sites, settings.topology, settings.overlay6, groups, domain=settings.domain)
    return with_ranges(network, overlay_pools(settings))


def _lan(settings: Settings, name: str) -> tuple[IPv4Network | None, str | None]:
    """Whose packets the gateway of the site ``name`` takes without a tunnel, and their group."""
    site = settings.sites[name]
    if isinstance(site, ExternalSite):
        return None, None
    if site.overlay_routes:
        return site.own_range, site.lan_group or ""
    is_made = isinstance(site, AwsSite) and site.vpc_id is None
    return private_range(settings, name) if is_made else None, None


def nodes_of(settings: Settings) -> list[Node]:
    """The overlay's nodes, each with its name in place of its key; AddressProblemsError when some have no address."""
    found = [
        Node(name, gateway.site, gateway_address(settings, gateway), "gateway", name)
        for name, gateway in settings.gateways.items()
    ]
    problems: list[Problem] = []
    for name, spoke in settings.spokes.items():
        subnet = settings.sites[spoke.site].subnet
        try:
            address = address_of(name, subnet, spoke.address)
            found.append(Node(name, spoke.site, address, "spoke", name, group=spoke.group or ""))
        except AddressError as error:
            reason, _, remedy = str(error).partition("; ")
            problems.append(Problem(f"spokes.{name}.address", "nothing", reason, remedy))
    if problems:
        raise AddressProblemsError(problems)
    return found


def _node(machine: Machine) -> Node:
    return Node(
        machine.name, machine.site, machine.address, machine.role, machine.name, group=machine.group, lan=machine.lan
    )


def is_public(site: SiteSettings, public_address: bool | str | None) -> bool:
    """Whether a machine of ``site`` that is no gateway has a public IPv4 address."""
    return PUBLIC_BY_DEFAULT.get(site.cloud, False) if public_address is None else public_address is True


def _machine(settings: Settings, node: Node, wanted: GatewaySettings | SpokeSettings, *, lan: bool) -> Machine:
    site = settings.sites[node.site]
    gateway = wanted if isinstance(wanted, GatewaySettings) else None
    public_address = wanted.public_address if isinstance(wanted, SpokeSettings) else True
    server_type = wanted.server_type or DEFAULT_SERVER_TYPE.get(site.cloud, "")
    is_first = gateway is not None and is_first_address(settings, node.address)
    return Machine(
        name=node.name,
        role=node.role,
        site=node.site,
        cloud=site.cloud,
        address=node.address,
        resource_name=names.server_name(settings.prefix, node.name, is_first=is_first),
        server_type=server_types.resolve(site.cloud, server_type, keep_retired=settings.keep_retired_server_types),
        image=wanted.image,
        location=(wanted.location or site.location) if isinstance(site, HetznerSite) else None,
        public=is_public(site, public_address),
        revision=wanted.revision,
        labels=names.labels(settings, node=node.name, site=node.site, role=names.GATEWAY if gateway else names.SPOKE),
        private_address=None if gateway is None else private_address(settings, gateway),
        ipv6=gateway is not None and gateway.ipv6,
        ipv6_only=public_address == "ipv6",
        group=node.group,
        lan=lan,
        is_external=settings.is_external(node.site),
    )


def warnings(settings: Settings) -> list[str]:
    """What a preview warns of: server types that are replaced by their successors, requests that nothing serves."""
    found: dict[str, list[str]] = {}
    for name, machine in {**settings.gateways, **settings.spokes}.items():
        cloud = settings.sites[machine.site].cloud
        if settings.is_external(machine.site):
            continue
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
    at_home = {name for name in settings.sites if reaches_gateway_at_home(settings, name)}
    machines = [_machine(settings, node, wanted[node.name], lan=node.site in at_home) for node in nodes]
    private = any(isinstance(s, HetznerSite) and s.has_private_network for s in settings.sites.values())
    return Plan(
        network=network,
        mtu=wireguard_mtu({site.cloud for site in network.sites}, private_hetzner=private),
        gateways={m.name: m for m in machines if m.role == "gateway"},
        spokes={m.name: m for m in machines if m.role == "spoke"},
        pools={name: plan_pool(settings, name, pool) for name, pool in settings.pools.items()},
        load_balancer=plan_balancer(settings),
    )
