"""Private networks, their subnets, and servers' places in them."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from typing import ClassVar

from localcloud.provider.clouds.hcloud import tokens
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind
from localcloud.provider.pools import lowest
from localcloud.provider.ranges import check_free
from localcloud.provider.rules.hcloud import (
    LOCATIONS,
    NETWORKS_PER_SERVER,
    PRIVATE_RANGES,
    PUBLIC_GATEWAY,
    SERVERS_PER_NETWORK,
    SUBNETS_PER_NETWORK,
)
from localcloud.provider.world import Record, World
from localcloud.wire import Value


class Network(Kind):
    """The range replaces it: terraform-provider-hcloud, internal/network/resource.go."""

    token = tokens.NETWORK
    naming = tokens.NAMING
    replace = frozenset({"ipRange"})
    defaults: ClassVar[Mapping[str, Value]] = {"labels": {}, "deleteProtection": False, "exposeRoutesToVswitch": False}

    def check(self, check: Check) -> None:
        tokens.check_name(check, self.token, "network")
        tokens.check_labels(check)
        network = check.network("ipRange")
        if network is None:
            return
        if network.version == 6 or not any(network.subnet_of(private) for private in PRIVATE_RANGES):
            check.refuse(
                "ipRange",
                f"invalid input in field 'ip_range' (invalid_input): {network} is no private IPv4 range (RFC 1918)",
            )
        elif network.prefixlen > 24:
            check.refuse("ipRange", f"invalid input in field 'ip_range' (invalid_input): {network} is smaller than /24")
        elif not check.same("ipRange"):
            check_free(check, "ipRange", network)

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        return world.put(Record(self.token, tokens.next_id(world), inputs.values))

    def delete(self, record: Record, world: World) -> None:
        if record.inputs.flag("deleteProtection"):
            raise CloudError("network is delete protected (protected)")
        for token in (tokens.SUBNET, tokens.NETWORK_ROUTE):
            for inner in [inner for inner in world.all(token) if _network_id(inner) == record.id]:
                world.remove(inner)
        for attachment in [
            place for place in world.all(tokens.SERVER_NETWORK) if place.facts.text("network") == record.id
        ]:
            world.remove(attachment)
        world.remove(record)


class NetworkSubnet(Kind):
    """Everything replaces it: terraform-provider-hcloud, internal/network/resource_subnet.go."""

    token = tokens.SUBNET
    replace = frozenset({"networkId", "type", "networkZone", "ipRange", "vswitchId"})

    def check(self, check: Check) -> None:
        inputs = check.inputs
        check.one_of(
            "type", ("cloud", "server", "vswitch"), "expected type to be one of [cloud server vswitch], got {}"
        )
        zones = frozenset(LOCATIONS.values())
        check.one_of("networkZone", zones, "invalid input in field 'network_zone' (invalid_input): {}")
        if inputs.text("type") == "vswitch":
            check.refuse("type", "the local cloud has no vSwitch to couple the subnet with")
        network = tokens.exists(check, tokens.NETWORK, "networkId", inputs.number("networkId"), "network")
        subnet = check.network("ipRange")
        if network is None or subnet is None or check.same("ipRange"):
            return
        outer = ipaddress.IPv4Network(network.inputs.text("ipRange") or "")
        if not isinstance(subnet, ipaddress.IPv4Network) or not subnet.subnet_of(outer):
            check.refuse(
                "ipRange",
                f"invalid input in field 'ip_range' (invalid_input): {subnet} is not inside the network's {outer}",
            )
            return
        others = [_range(other) for other in check.world.all(self.token) if _network_id(other) == network.id]
        if any(subnet.overlaps(other) and str(other) != check.was("ipRange") for other in others):
            check.refuse(
                "ipRange",
                f"invalid input in field 'ip_range' (invalid_input): {subnet} overlaps another subnet of the network",
            )
        routes = [
            record.inputs for record in check.world.all(tokens.NETWORK_ROUTE) if _network_id(record) == network.id
        ]
        routed = [ipaddress.IPv4Network(route.text("destination") or "") for route in routes]
        if any(subnet.overlaps(destination) for destination in routed if destination.prefixlen):
            check.refuse(
                "ipRange",
                f"invalid input in field 'ip_range' (invalid_input): {subnet} overlaps a route of the network",
            )
        if len(others) >= SUBNETS_PER_NETWORK:
            check.refuse("", f"subnet limit exceeded (resource_limit_exceeded): {SUBNETS_PER_NETWORK} a network")

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        network = tokens.need(world, tokens.NETWORK, inputs.number("networkId"))
        return world.put(Record(self.token, f"{network.id}-{inputs.text('ipRange')}", inputs.values))

    def delete(self, record: Record, world: World) -> None:
        for server in world.all(tokens.SERVER):
            for place in places(server, world):
                if place.network.id == _network_id(record) and ipaddress.ip_address(place.ip) in _range(record):
                    raise CloudError(
                        f"cannot remove subnet because servers are attached to it (service_error): server {server.id}"
                    )
        world.remove(record)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        network = world.get(tokens.NETWORK, _network_id(record))
        outer = network.inputs.text("ipRange") if network else None
        return {"gateway": str(ipaddress.IPv4Network(outer)[1]) if outer else ""}


class ServerNetwork(Kind):
    """All but the alias addresses replace it: terraform-provider-hcloud, internal/server/resource_network.go."""

    token = tokens.SERVER_NETWORK
    replace = frozenset({"serverId", "networkId", "subnetId", "ip"})
    defaults: ClassVar[Mapping[str, Value]] = {"aliasIps": []}

    def check(self, check: Check) -> None:
        inputs = check.inputs
        if inputs.given("networkId") == inputs.given("subnetId"):
            check.refuse("", "Exactly one of these attributes must be configured: [network_id,subnet_id]")
        server = tokens.exists(check, tokens.SERVER, "serverId", inputs.number("serverId"), "server")
        check_place(check, inputs, "")
        network = network_of(inputs, check.world)
        if server is None or network is None or check.old is not None:
            return
        if any(place.network.id == network.id for place in places(server, check.world)):
            check.refuse("serverId", f"server is already attached to network {network.id} (server_already_attached)")

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        server = tokens.need(world, tokens.SERVER, inputs.number("serverId"))
        network = network_of(inputs, world)
        assert network is not None
        if len(places(server, world)) >= NETWORKS_PER_SERVER:
            raise CloudError(f"server network limit exceeded (resource_limit_exceeded): {NETWORKS_PER_SERVER} a server")
        ip = choose(inputs, network, world)
        facts: dict[str, Value] = {"network": network.id, "ip": ip, "mac": mac(server, network)}
        return world.put(Record(self.token, f"{server.id}-{network.id}", inputs.values, facts))

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {
            "networkId": int(record.facts.text("network") or 0),
            "ip": record.facts.text("ip"),
            "macAddress": record.facts.text("mac"),
        }


class Place:
    """A server's card in a private network."""

    def __init__(self, network: Record, ip: str, mac_address: str, aliases: list[str]) -> None:
        self.network = network
        self.ip = ip
        self.mac = mac_address
        self.aliases = aliases


def places(server: Record, world: World) -> list[Place]:
    """The server's cards, those that it was made with first."""
    found: list[Place] = []
    for entry in server.facts.objects("places"):
        network = world.get(tokens.NETWORK, entry.text("network"))
        if network is not None:
            found.append(Place(network, entry.text("ip") or "", entry.text("mac") or "", entry.texts("aliases")))
    for record in world.all(tokens.SERVER_NETWORK):
        network = world.get(tokens.NETWORK, record.facts.text("network"))
        if network is not None and record.inputs.number("serverId") == int(server.id):
            aliases = record.inputs.texts("aliasIps")
            found.append(Place(network, record.facts.text("ip") or "", record.facts.text("mac") or "", aliases))
    return found


def network_of(inputs: Inputs, world: World) -> Record | None:
    """The network that `networkId` or `subnetId` names."""
    subnet = inputs.text("subnetId")
    return world.get(tokens.NETWORK, subnet.partition("-")[0] if subnet else inputs.number("networkId"))


def check_place(check: Check, inputs: Inputs, path: str) -> None:
    """Check the network, subnet and address of a card."""
    for name, token, what in (("networkId", tokens.NETWORK, "network"), ("subnetId", tokens.SUBNET, "subnet")):
        id_ = inputs.text(name) or inputs.number(name)
        tokens.exists(check, token, f"{path}{name}", id_, what)
    network, ip = network_of(inputs, check.world), inputs.text("ip")
    if ip is None:
        return
    try:
        address = ipaddress.IPv4Address(ip)
    except ValueError:
        check.refuse(f"{path}ip", f"Invalid IP address: {ip}")
        return
    if network is None or check.same("ip"):
        return
    ranges = [_range(subnet) for subnet in check.world.all(tokens.SUBNET) if _network_id(subnet) == network.id]
    if not any(address in subnet for subnet in ranges):
        check.refuse(f"{path}ip", f"IP {ip} is in no subnet of network {network.id} (ip_not_available)")
    elif ip in _taken(network, check.world) and check.old is None:
        check.refuse(f"{path}ip", f"The provided Network IP {ip} is not available (ip_not_available)")


def choose(inputs: Inputs, network: Record, world: World) -> str:
    """The card's address: the one asked for, or the lowest free one. Raises CloudError."""
    taken = _taken(network, world)
    wanted = inputs.text("ip")
    if wanted is not None:
        if wanted in taken:
            raise CloudError(f"The provided Network IP {wanted} is not available (ip_not_available)")
        return wanted
    if len(taken) > SERVERS_PER_NETWORK + 1:
        raise CloudError(f"network limit exceeded (resource_limit_exceeded): {SERVERS_PER_NETWORK} servers a network")
    subnets = [s for s in world.all(tokens.SUBNET) if _network_id(s) == network.id]
    if inputs.given("subnetId"):
        subnets = [subnet for subnet in subnets if subnet.id == inputs.text("subnetId")]
    for subnet in sorted(subnets, key=_range, reverse=True):
        address = lowest(_range(subnet), 1, taken)
        if address is not None:
            return address
    raise CloudError(f"No Subnet or IP is available for the Server within network {network.id} (no_subnet_available)")


def mac(server: Record, network: Record) -> str:
    """The card's MAC address, from Hetzner's range for private networks (86:00:00)."""
    digest = hashlib.sha256(f"{server.id}/{network.id}".encode()).digest()
    return f"86:00:00:{digest[0]:02x}:{digest[1]:02x}:{digest[2]:02x}"


def _taken(network: Record, world: World) -> set[str]:
    outer = ipaddress.IPv4Network(network.inputs.text("ipRange") or "")
    taken = {str(outer[1]), str(PUBLIC_GATEWAY)}
    for server in world.all(tokens.SERVER):
        for place in places(server, world):
            if place.network.id == network.id:
                taken.update((place.ip, *place.aliases))
    return taken


def _network_id(subnet: Record) -> str:
    return str(subnet.inputs.number("networkId"))


def _range(subnet: Record) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(subnet.inputs.text("ipRange") or "")


KINDS: tuple[Kind, ...] = (Network(), NetworkSubnet(), ServerNetwork())
