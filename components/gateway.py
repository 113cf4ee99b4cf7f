"""The WireGuard gateway."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
import pulumi_hcloud as hcloud

from components.certificates import Certificate
from components.clouds import hetzner
from components.edge import Edge
from components.keys import node_key
from components.names import labels
from components.plan import Machine
from components.stack import Stack
from components.userdata import entrance, gateway_user_data
from overlay.model import CONTROL_PORT, WG_PORT


class WgGateway(pulumi.ComponentResource):
    """A WireGuard gateway on Hetzner: key, certificate, primary IP, firewall and server.

    The address outlives the server, and so do key and certificate: a gateway made anew is the same to its spokes.
    """

    public_address: pulumi.Output[str]
    """Its IPv4 address on the internet."""
    endpoint: pulumi.Output[str]
    """Where spokes send WireGuard's packets, ``address:port``."""
    url: pulumi.Output[str]
    """Its control plane."""
    public_key: pulumi.Output[str]
    """Its WireGuard public key."""
    server_id: pulumi.Output[str]
    """Hetzner's id of its server; another one after the server was made anew."""
    serving: Certificate | None
    """What it shows to clients; None when it answers no requests."""

    def __init__(
        self,
        machine: Machine,
        stack: Stack,
        network: hetzner.HetznerNetwork,
        edge: Edge | None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``machine`` says which gateway of ``stack`` this is; it stands in ``network``, ``edge`` before it."""
        name, settings = machine.name, stack.settings
        super().__init__("hybrid-wireguard:index:WgGateway", name, {}, opts)
        self.machine = machine
        self._stack = stack
        self._told: dict[str | None, pulumi.Output[Mapping[str, str]]] = {}
        child = pulumi.ResourceOptions(parent=self)
        kept = pulumi.ResourceOptions(parent=self, protect=settings.protect)
        key = node_key(name, settings.private_keys.get(name), kept)
        address = hetzner.primary_ip(name, machine, protect=settings.protect, parent=self)
        addresses = [address.ip_address, str(machine.address)]
        certificate = stack.authority.issue(name, addresses=addresses, opts=child)
        self.serving = None
        if edge is not None:
            self.serving = edge.certificate or stack.authority.issue_serving(
                name, names=settings.load_balancer.names, addresses=addresses, opts=child
            )
        firewall = hetzner.firewall(
            f"{name}-firewall",
            resource_name=machine.resource_name,
            labels=labels(settings, node=name, site=machine.site),
            rules=hetzner.gateway_rules(settings, None if edge is None else edge.sources),
            parent=self,
        )
        server = network.server(
            machine,
            gateway_user_data(stack, machine, key=key, certificate=certificate),
            firewall.id.apply(int),
            hcloud.ServerPublicNetArgs(ipv4_enabled=True, ipv4=address.id.apply(int), ipv6_enabled=True),
            self,
            protect=settings.protect,
        )
        self.public_address = address.ip_address
        self.endpoint = address.ip_address.apply(lambda ip: f"{ip}:{WG_PORT}")
        self.url = address.ip_address.apply(lambda ip: f"https://{ip}:{CONTROL_PORT}")
        self.public_key = key.public
        self.server_id = server.id
        self.register_outputs(
            {
                "publicAddress": self.public_address,
                "endpoint": self.endpoint,
                "url": self.url,
                "publicKey": self.public_key,
                "serverId": self.server_id,
            }
        )

    def told_to(self, spoke: Machine) -> pulumi.Output[Mapping[str, str]]:
        """How ``spoke`` reaches this gateway: at its private address when both are in its private network."""
        private = self.machine.private_address
        if spoke.site == self.machine.site and private is not None:
            return self._told_at(str(private))
        return self.told_to_pools()

    def told_to_pools(self) -> pulumi.Output[Mapping[str, str]]:
        """How machines of pools reach this gateway: at its address on the internet."""
        return self._told_at(None)

    def _told_at(self, private: str | None) -> pulumi.Output[Mapping[str, str]]:
        if private not in self._told:
            host = self.public_address if private is None else pulumi.Output.from_input(private)
            self._told[private] = entrance(self._stack, gateway_key=self.public_key, gateway_host=host)
        return self._told[private]
