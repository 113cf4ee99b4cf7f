"""What people and machines of external sites connect with: the text of a wg-quick(8) configuration for each."""

from __future__ import annotations

from dataclasses import replace

from components.plan import Machine, Plan
from overlay.addresses import address6
from overlay.topology import peers_of

PLACEHOLDER = "REPLACE-WITH-YOUR-PRIVATE-KEY"
"""No key: wg(8) refuses it, so nobody runs a tunnel without one unnoticed."""


def configuration(
    plan: Plan, machine: Machine, private_key: str | None, gateway_key: str, gateway_endpoint: str
) -> str:
    """The configuration of ``machine``: one peer, the gateway it hangs on, for that part of the overlay it may reach.

    A secret unless ``private_key`` is None, which says that its owner has it. Gateways answer for the network's names
    alone, so as the resolver of all names (``DNS =``) one would cut its owner off from the internet's.
    """
    network, gateway = plan.network, plan.hangs_on(machine)
    node = next(node for node in plan.nodes if node.name == machine.name)
    (peer,) = peers_of(network, node, plan.nodes)
    addresses = [f"{machine.address}/32"]
    if network.overlay6 is not None:
        addresses.append(f"{address6(network.overlay6, machine.address)}/128")
    lines = [
        f"# {machine.name} of {machine.site}, by the gateway {gateway.name}.",
        f"# Names in {network.domain} are known to {gateway.address} alone. With systemd-resolved, on this interface:",
        f"#   resolvectl dns INTERFACE {gateway.address} && resolvectl domain INTERFACE '~{network.domain}'",
        "[Interface]",
        f"Address = {', '.join(addresses)}",
        *_key_lines(private_key),
        f"MTU = {plan.mtu}",
        "",
    ]
    return "\n".join(lines) + "\n" + replace(peer, public_key=gateway_key, endpoint=gateway_endpoint).section


def _key_lines(private_key: str | None) -> list[str]:
    if private_key is not None:
        return [f"PrivateKey = {private_key}"]
    return ["# Your private key goes here, whose public half you gave to the stack:", f"PrivateKey = {PLACEHOLDER}"]
