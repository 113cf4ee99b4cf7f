"""The WireGuard gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pulumi

from components.certificates import Certificate
from components.edge import Edge
from components.keys import node_key
from components.machine import GatewayAddress, SiteNetwork
from components.plan import Machine
from components.pool_plan import PoolPlan
from components.stack import Stack
from components.userdata import entrance, gateway_user_data
from overlay.model import CONTROL_PORT, WG_PORT


class WgGateway(pulumi.ComponentResource):
    """A WireGuard gateway on any cloud: key, certificate, address and machine, behind a firewall of its own.

    The address outlives the machine, and so do key and certificate: a gateway made anew is the same to its spokes.
    """

    public_address: pulumi.Output[str]
    """Its IPv4 address on the internet."""
    endpoint: pulumi.Output[str]
    """Where spokes send WireGuard's packets, ``address:port``."""
    endpoint6: pulumi.Output[str] | None
    """The same for spokes that have IPv6 alone; None without an IPv6 address of its own."""
    url: pulumi.Output[str]
    """Its control plane."""
    public_key: pulumi.Output[str]
    """Its WireGuard public key."""
    server_id: pulumi.Output[str]
    """Its cloud's id of its machine; another one after the machine was made anew."""
    certificate: Certificate
    """What its control plane shows, with what leads to every earlier authority of the stack."""
    serving: Certificate | None
    """What it shows to clients; None when it answers no requests."""

    def __init__(
        self,
        machine: Machine,
        stack: Stack,
        network: SiteNetwork,
        edge: Edge | None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``machine`` says which gateway of ``stack`` this is; it stands in ``network``, ``edge`` before it."""
        name, settings = machine.name, stack.settings
        super().__init__("hybrid-wireguard:index:WgGateway", name, {}, opts)
        self.machine = machine
        self._stack = stack
        self._told: dict[str, pulumi.Output[Mapping[str, str]]] = {}
        child = pulumi.ResourceOptions(parent=self)
        kept = pulumi.ResourceOptions(parent=self, protect=settings.protect)
        key = node_key(name, settings.private_keys.get(name), kept)
        address = network.gateway_address(machine, self)
        addresses = [address.ipv4, str(machine.address), *self._more_addresses(address)]
        certificate = stack.authority.issue(name, addresses=addresses, opts=child)
        self.certificate = replace(certificate, certificate=stack.authority.with_bridges(certificate.certificate))
        self.serving = None
        if edge is not None:
            self.serving = edge.certificate or stack.authority.issue_serving(
                name, names=settings.load_balancer.names, addresses=addresses, opts=child
            )
        user_data = gateway_user_data(stack, machine, key=key, certificate=certificate)
        self.server_id = network.gateway(machine, address, user_data, None if edge is None else edge.sources, self)
        self.public_address = address.ipv4
        self._address6 = address.ipv6
        self.endpoint = address.ipv4.apply(lambda ip: f"{ip}:{WG_PORT}")
        self.endpoint6 = None if address.ipv6 is None else address.ipv6.apply(lambda ip: f"[{ip}]:{WG_PORT}")
        self.url = address.ipv4.apply(lambda ip: f"https://{ip}:{CONTROL_PORT}")
        self.public_key = key.public
        self.register_outputs(
            {
                "publicAddress": self.public_address,
                "endpoint": self.endpoint,
                "url": self.url,
                "publicKey": self.public_key,
                "serverId": self.server_id,
            }
        )

    def _more_addresses(self, address: GatewayAddress) -> list[pulumi.Input[str]]:
        """Addresses of its certificates besides the two that gateways always had."""
        private = self.machine.private_address
        found: list[pulumi.Input[str]] = [] if private is None or not _names_private(self.machine) else [str(private)]
        return found if address.ipv6 is None else [*found, address.ipv6]

    def told_to(self, spoke: Machine) -> pulumi.Output[Mapping[str, str]]:
        """How ``spoke`` reaches this gateway: at its private address when both are in its private network."""
        private = self.machine.private_address
        if spoke.lan and spoke.site == self.machine.site and private is not None:
            return self._told_at(str(private), str(private))
        if spoke.ipv6_only:
            assert self._address6 is not None, "the settings' checks ask for a gateway with an IPv6 address"
            return self._told_at("ipv6", self._address6.apply(lambda address: f"[{address}]"))
        return self._told_at("ipv4", self.public_address)

    def told_to_pool(self, pool: PoolPlan) -> pulumi.Output[Mapping[str, str]]:
        """How machines of ``pool`` reach this gateway, whose certificate must name the address."""
        private = self.machine.private_address
        if pool.lan and pool.site == self.machine.site and private is not None and _names_private(self.machine):
            return self._told_at(str(private), str(private))
        return self._told_at("ipv4", self.public_address)

    def _told_at(self, which: str, host: pulumi.Input[str]) -> pulumi.Output[Mapping[str, str]]:
        if which not in self._told:
            output = pulumi.Output.from_input(host)
            self._told[which] = entrance(self._stack, gateway_key=self.public_key, gateway_host=output)
        return self._told[which]


def _names_private(gateway: Machine) -> bool:
    """Whether a gateway's certificates name its private address: not on Hetzner, where some were made without it.

    Theirs would be issued anew, and a gateway keeps what its first boot told it.
    """
    return gateway.cloud != "hetzner"
