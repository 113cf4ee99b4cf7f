"""Hetzner's servers as machines."""

from __future__ import annotations

import ipaddress

from localcloud.provider.clouds.hcloud import networks, routes, servers, tokens
from localcloud.provider.clouds.hcloud.firewalls import firewalls_of, ports, range_of
from localcloud.provider.inputs import Inputs
from localcloud.provider.world import Record, World
from localcloud.spec import INTERNET, Interface, MachineSpec, Rule
from overlay.pools import member_name

_PUBLIC_MTU = 1500
_PRIVATE_MTU = 1450
"""https://docs.hetzner.com/cloud/networks/faq/ (whose networks look at no packet's source either)"""


def machines(world: World) -> dict[str, MachineSpec]:
    """Every server, by the id that the fabric knows it by."""
    specs = (_machine(server, world) for server in world.all(tokens.SERVER))
    return {spec.id: spec for spec in specs}


def _machine(server: Record, world: World) -> MachineSpec:
    inputs = server.inputs
    labels = inputs.mapping("labels")
    name = inputs.text("name") or server.id
    firewalls = firewalls_of(server, world)
    rules = [rule for firewall in firewalls for rule in firewall.inputs.objects("rules")]
    outgoing = [rule for rule in rules if rule.text("direction") == "out"]
    keys = [servers.find_key(world, key) for key in inputs.texts("sshKeys")]
    return MachineSpec(
        id=f"hcloud-{server.id}",
        node=member_name(labels["pool"], server.id) if "pool" in labels else labels.get("node", name),
        cloud="hetzner",
        hostname=name,
        user_data=inputs.text("userData") or "",
        ssh_keys=tuple((key.inputs.text("publicKey") or "").strip() for key in keys if key is not None),
        interfaces=tuple(_interfaces(server, world)),
        ingress=tuple(_rule(rule, "sourceIps") for rule in rules if rule.text("direction") == "in")
        if firewalls
        else None,
        egress=tuple(_rule(rule, "destinationIps") for rule in outgoing) if outgoing else None,
        forwarding=True,
        metadata={
            "instance_id": server.id,
            "instance_type": inputs.text("serverType"),
            "image": inputs.text("image"),
            "region": server.facts.text("location"),
            "zone": server.facts.text("location"),
            "labels": labels,
        },
        running=not server.facts.flag("stopped"),
    )


def _interfaces(server: Record, world: World) -> list[Interface]:
    cards: list[Interface] = []
    ipv4, ipv6 = (world.get(tokens.PRIMARY_IP, server.facts.text(name)) for name in ("ipv4", "ipv6"))
    address, address6 = (each.facts.text("ipAddress") if each else None for each in (ipv4, ipv6))
    if address or address6:
        cards.append(Interface("eth0", INTERNET, address, 32, _PUBLIC_MTU, public=address, address6=address6))
    for number, place in enumerate(networks.places(server, world), start=7):
        outer = ipaddress.IPv4Network(place.network.inputs.text("ipRange") or "")
        name, network, ways = f"enp{number}s0", f"hcloud-{place.network.id}", routes.routes_of(place.network, world)
        cards.append(Interface(name, network, place.ip, outer.prefixlen, _PRIVATE_MTU, routes=ways))
    return cards


def _rule(rule: Inputs, far_end: str) -> Rule:
    protocol = rule.text("protocol")
    assert protocol in ("tcp", "udp", "icmp")
    port = rule.text("port")
    far = [range_of(text) for text in rule.texts(far_end)]
    return Rule(protocol, ports(port) if port is not None else None, tuple(far))
