"""A machine that joins the overlay through its gateway."""

from __future__ import annotations

import pulumi

from components.gateway import WgGateway
from components.keys import NodeKey, node_key
from components.machine import SiteNetwork
from components.plan import Machine
from components.stack import Stack
from components.userdata import spoke_user_data
from overlay.model import WG_PORT


class WgSpoke(pulumi.ComponentResource):
    """A spoke on any cloud: its key and its machine, in its site's network and behind that site's firewall.

    Its tunnel is complete at first boot and needs nothing from the control plane. The machine of an external site is
    made by others; it has a key, unless its owner keeps that and gives the public half.
    """

    public_key: pulumi.Output[str]
    """Its WireGuard public key."""
    key: NodeKey | None
    """The private one; None when its owner keeps it."""
    machine_id: pulumi.Output[str] | None
    """Its cloud's id of the machine; None when others make it."""
    endpoint: pulumi.Output[str] | None
    """Where WireGuard's packets reach it, ``host:port``; None when nobody can reach it first."""

    def __init__(
        self,
        machine: Machine,
        stack: Stack,
        network: SiteNetwork | None,
        gateway: WgGateway,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``machine`` says which spoke of ``stack`` this is; it stands in ``network`` and hangs on ``gateway``.

        One of an external site needs no network.
        """
        name, settings = machine.name, stack.settings
        super().__init__("hybrid-wireguard:index:WgSpoke", name, {}, opts)
        self.machine = machine
        self.machine_id = self.endpoint = self.key = None
        given = settings.spokes[name].public_key
        if given is not None:
            self.public_key = pulumi.Output.from_input(given)
        else:
            self.key = node_key(name, settings.private_keys.get(name), pulumi.ResourceOptions(parent=self))
            self.public_key = self.key.public
        if network is not None and self.key is not None:
            told = gateway.told_to(machine)
            made = network.spoke(
                machine, spoke_user_data(stack, machine, gateway.machine, key=self.key, told=told), self
            )
            self.machine_id = made.id
            if made.public_address is not None:
                self.endpoint = made.public_address.apply(lambda host: f"{host}:{WG_PORT}")
        self.register_outputs({})
