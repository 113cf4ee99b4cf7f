"""A machine that joins the overlay through its gateway."""

from __future__ import annotations

import pulumi

from components.gateway import WgGateway
from components.keys import node_key
from components.machine import SiteNetwork
from components.plan import Machine
from components.stack import Stack
from components.userdata import spoke_user_data


class WgSpoke(pulumi.ComponentResource):
    """A spoke on any cloud: its key and its machine, in its site's network and behind that site's firewall.

    Its tunnel is complete at first boot and needs nothing from the control plane.
    """

    public_key: pulumi.Output[str]
    """Its WireGuard public key."""
    machine_id: pulumi.Output[str]
    """Its cloud's id of the machine."""

    def __init__(
        self,
        machine: Machine,
        stack: Stack,
        network: SiteNetwork,
        gateway: WgGateway,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``machine`` says which spoke of ``stack`` this is; it stands in ``network`` and enters by ``gateway``."""
        name = machine.name
        super().__init__("hybrid-wireguard:index:WgSpoke", name, {}, opts)
        self.machine = machine
        key = node_key(name, stack.settings.private_keys.get(name), pulumi.ResourceOptions(parent=self))
        user_data = spoke_user_data(stack, machine, gateway.machine, key=key, told=gateway.told_to(machine))
        self.public_key = key.public
        self.machine_id = network.spoke(machine, user_data, self)
        self.register_outputs({})
