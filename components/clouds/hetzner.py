"""Hetzner: servers, firewalls, primary IPs, private networks."""

from __future__ import annotations

from ipaddress import ip_network

import pulumi
import pulumi_hcloud as hcloud

from components import names
from components.clouds.hetzner_servers import IGNORED, Ground, PrivateNetwork, make_servers
from components.machine import (
    GatewayAddress,
    PoolGroup,
    Sources,
    SpokeMachine,
    cidrs,
    fixed,
    machine_options,
)
from components.plan import Machine
from components.pool_plan import PoolPlan
from components.settings.models import Settings
from components.settings.sites import HetznerSite
from components.settings.types import EVERYWHERE
from overlay.model import CONTROL_PORT, ROTATION_PORT, WG_PORT
from overlay.serving import SERVING_PORT

NETWORK_ZONES = {
    "fsn1": "eu-central",
    "nbg1": "eu-central",
    "hel1": "eu-central",
    "ash": "us-east",
    "hil": "us-west",
    "sin": "ap-southeast",
}
"""Network zone of each location (docs.hetzner.com, Cloud locations)."""
ANYWHERE = cidrs(EVERYWHERE)


def ssh_key(settings: Settings, public_key: pulumi.Input[str]) -> hcloud.SshKey:
    """The stack's SSH key in the Hetzner project, which takes every key only once."""
    return hcloud.SshKey(
        "ssh-key",
        name=settings.prefix,
        public_key=public_key,
        labels=names.labels(settings),
        opts=pulumi.ResourceOptions(delete_before_replace=True),
    )


def _inbound(protocol: str, sources: Sources, port: str | None, description: str) -> hcloud.FirewallRuleArgs:
    return hcloud.FirewallRuleArgs(
        direction="in", protocol=protocol, port=port, source_ips=sources, description=description
    )


def _ssh_rules(settings: Settings) -> list[hcloud.FirewallRuleArgs]:
    """None without admin networks: a rule without sources is refused."""
    admins = cidrs(settings.admin_cidrs)
    return [_inbound("tcp", admins, "22", "SSH for administrators")] if admins else []


def _gateway_rules(settings: Settings, clients: Sources | None) -> list[hcloud.FirewallRuleArgs]:
    """What a gateway lets in: WireGuard and its rotation port, the control plane, SSH for administrators, requests.

    ``clients`` are the networks that requests may come from; None when it answers none.
    """
    tunnels = cidrs(settings.wireguard_sources)
    requests = [] if clients is None else [_inbound("tcp", clients, str(SERVING_PORT), "requests")]
    return [
        _inbound("udp", tunnels, f"{WG_PORT}-{ROTATION_PORT}", "WireGuard"),
        _inbound("tcp", ANYWHERE, str(CONTROL_PORT), "control plane"),
        *_ssh_rules(settings),
        *requests,
    ]


def _spoke_rules(settings: Settings) -> list[hcloud.FirewallRuleArgs]:
    """What a spoke lets in: WireGuard, everything from the overlay, SSH for administrators."""
    overlay = [str(settings.overlay)]
    return [
        _inbound("udp", ANYWHERE, str(WG_PORT), "WireGuard"),
        _inbound("tcp", overlay, "any", "overlay"),
        _inbound("udp", overlay, "any", "overlay"),
        _inbound("icmp", overlay, None, "overlay"),
        *_ssh_rules(settings),
    ]


def _primary_ip(
    name: str, resource_name: str, version: str, machine: Machine, *, protect: bool, parent: pulumi.Resource
) -> hcloud.PrimaryIp:
    """An address of the gateway: it outlives its server, so spokes never need to be told another one."""
    return hcloud.PrimaryIp(
        name,
        name=resource_name,
        type=version,
        assignee_type="server",
        auto_delete=False,
        location=machine.location,
        delete_protection=protect,
        labels=machine.labels,
        opts=pulumi.ResourceOptions(parent=parent, delete_before_replace=True, protect=protect),
    )


def _first_host(network: str) -> str:
    """The address that a server has of its IPv6 network (docs.hetzner.com, Primary IPs: servers come up with ::1)."""
    return str(ip_network(network, strict=False).network_address + 1)


def _firewall(
    name: str,
    *,
    resource_name: str,
    labels: dict[str, str],
    rules: list[hcloud.FirewallRuleArgs],
    parent: pulumi.Resource,
) -> hcloud.Firewall:
    """A firewall that lets in what ``rules`` say and everything out."""
    return hcloud.Firewall(name, name=resource_name, rules=rules, labels=labels, opts=fixed(parent))


class HetznerNetwork(pulumi.ComponentResource):
    """A Hetzner site: the firewall of its spokes, and a private network where the settings ask for one."""

    private: PrivateNetwork | None
    """The private network that the site's servers join."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        site: HetznerSite,
        ssh_key: hcloud.SshKey,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``name`` is the site's; ``ssh_key`` is what its servers let administrators in with."""
        super().__init__("hybrid-wireguard:index:HetznerNetwork", name, {}, opts)
        labels = names.labels(settings, site=name)
        self._name = name
        self._settings = settings
        self._site = site
        self._ssh_key = ssh_key
        spokes_firewall = _firewall(
            f"{name}-firewall",
            resource_name=names.site_name(settings.prefix, name),
            labels=labels,
            rules=_spoke_rules(settings),
            parent=self,
        )
        self._firewall_id = spokes_firewall.id.apply(int)
        self.private = self._private_network(name, settings, site, labels)
        self.register_outputs({})

    def _private_network(
        self, name: str, settings: Settings, site: HetznerSite, labels: dict[str, str]
    ) -> PrivateNetwork | None:
        if site.network_id is not None:
            return PrivateNetwork(pulumi.Output.from_input(site.network_id), ())
        if site.network_cidr is None:
            return None
        network = hcloud.Network(
            f"{name}-network",
            name=names.site_name(settings.prefix, name),
            ip_range=str(site.network_cidr),
            labels=labels,
            opts=fixed(self),
        )
        network_id = network.id.apply(int)
        subnet = hcloud.NetworkSubnet(
            f"{name}-subnet",
            network_id=network_id,
            type="cloud",
            network_zone=NETWORK_ZONES.get(site.location, "eu-central"),
            ip_range=str(site.network_cidr),
            opts=fixed(self),
        )
        return PrivateNetwork(network_id, (subnet,))

    def gateway_address(self, machine: Machine, parent: pulumi.Resource) -> GatewayAddress:
        """Registers primary addresses as children of ``parent``."""
        name, protect = machine.name, self._settings.protect
        ipv4 = _primary_ip(f"{name}-address", machine.resource_name, "ipv4", machine, protect=protect, parent=parent)
        if not machine.ipv6:
            return GatewayAddress(ipv4.ip_address, None, (ipv4.id,))
        name6 = names.address6_name(machine.resource_name)
        ipv6 = _primary_ip(f"{name}-address6", name6, "ipv6", machine, protect=protect, parent=parent)
        return GatewayAddress(ipv4.ip_address, ipv6.ip_network.apply(_first_host), (ipv4.id, ipv6.id))

    def gateway(
        self,
        machine: Machine,
        address: GatewayAddress,
        user_data: pulumi.Input[str],
        clients: Sources | None,
        parent: pulumi.Resource,
    ) -> pulumi.Output[str]:
        """Registers the gateway's server and firewall as children of ``parent``, and the route to it; its id."""
        firewall = _firewall(
            f"{machine.name}-firewall",
            resource_name=machine.resource_name,
            labels=names.labels(self._settings, node=machine.name, site=machine.site),
            rules=_gateway_rules(self._settings, clients),
            parent=parent,
        )
        ipv4, *ipv6 = (id_.apply(int) for id_ in address.ids)
        public = hcloud.ServerPublicNetArgs(
            ipv4_enabled=True, ipv4=ipv4, ipv6_enabled=True, ipv6=ipv6[0] if ipv6 else None
        )
        server = self._server(
            machine, user_data, firewall.id.apply(int), public, parent, protect=self._settings.protect
        )
        if self._site.overlay_routes and self.private is not None and machine.private_address is not None:
            options = fixed(self)
            options.depends_on = list(self.private.ready)
            hcloud.NetworkRoute(
                f"{self._name}-overlay-route",
                network_id=self.private.id,
                destination=str(self._settings.overlay),
                gateway=str(machine.private_address),
                opts=options,
            )
        return server.id

    def spoke(self, machine: Machine, user_data: pulumi.Input[str], parent: pulumi.Resource) -> SpokeMachine:
        """Registers the spoke's server as a child of ``parent``."""
        public = hcloud.ServerPublicNetArgs(
            ipv4_enabled=machine.public, ipv6_enabled=machine.public or machine.ipv6_only
        )
        server = self._server(machine, user_data, self._firewall_id, public, parent)
        if machine.ipv6_only:
            return SpokeMachine(server.id, server.ipv6_address.apply(lambda address: f"[{address}]"))
        return SpokeMachine(server.id, server.ipv4_address if machine.public else None)

    def pool(self, pool: PoolPlan, user_data: pulumi.Output[str], parent: pulumi.Resource) -> PoolGroup:
        """Registers the pool's servers as children of ``parent``."""
        return make_servers(pool, Ground(self._settings.prefix, self._ssh_key, self.private), user_data, parent)

    def _server(
        self,
        machine: Machine,
        user_data: pulumi.Input[str],
        firewall_id: pulumi.Input[int],
        public: hcloud.ServerPublicNetArgs,
        parent: pulumi.Resource,
        *,
        protect: bool = False,
    ) -> hcloud.Server:
        """Registers a server in the site's private network, behind the firewall, as a child of ``parent``."""
        options = machine_options(machine.revision, parent, IGNORED, secret_outputs=["user_data"], protect=protect)
        networks: list[hcloud.ServerNetworkArgs] | None = None
        if self.private is not None:
            pinned = str(machine.private_address) if machine.private_address else None
            networks = [hcloud.ServerNetworkArgs(network_id=self.private.id, ip=pinned, alias_ips=[])]
            options.depends_on = list(self.private.ready)
        return hcloud.Server(
            f"{machine.name}-server",
            name=machine.resource_name,
            server_type=machine.server_type,
            image=machine.image,
            location=machine.location,
            ssh_keys=[self._ssh_key.id],
            public_nets=[public],
            networks=networks,
            firewall_ids=[firewall_id],
            user_data=user_data,
            labels=machine.labels,
            opts=options,
        )
