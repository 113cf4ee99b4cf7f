"""Routes of private networks, and what they amount to for a server."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from localcloud.provider.clouds.hcloud import tokens
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, Kind
from localcloud.provider.rules.hcloud import PRIVATE_RANGES, PUBLIC_GATEWAY
from localcloud.provider.world import Record, World
from localcloud.spec import Route
from localcloud.wire import Value

_EVERYWHERE = ipaddress.IPv4Network("0.0.0.0/0")


class NetworkRoute(Kind):
    """Everything replaces it: terraform-provider-hcloud, internal/network/resource_route.go.

    What a destination and a gateway may be: https://docs.hetzner.cloud/reference/cloud (network actions, add route).
    """

    token = tokens.NETWORK_ROUTE
    replace = frozenset({"networkId", "destination", "gateway"})

    def check(self, check: Check) -> None:
        network = tokens.exists(check, tokens.NETWORK, "networkId", check.inputs.number("networkId"), "network")
        outer = ipaddress.IPv4Network(network.inputs.text("ipRange") or "") if network else None
        _check_gateway(check, outer)
        destination = check.network("destination")
        if destination is None:
            return
        if destination != _EVERYWHERE and not any(
            isinstance(destination, ipaddress.IPv4Network) and destination.subnet_of(private)
            for private in PRIVATE_RANGES
        ):
            check.refuse(
                "destination",
                f"invalid input in field 'destination' (invalid_input): {destination} is neither a private IPv4 range "
                f"(RFC 1918) nor {_EVERYWHERE}",
            )
        elif destination != _EVERYWHERE and PUBLIC_GATEWAY in destination:
            check.refuse(
                "destination",
                f"invalid input in field 'destination' (invalid_input): {destination} overlaps {PUBLIC_GATEWAY}",
            )
        elif network is not None and not check.same("destination"):
            _check_free(check, network, destination)

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        network = tokens.need(world, tokens.NETWORK, inputs.number("networkId"))
        return world.put(Record(self.token, f"{network.id}-{inputs.text('destination')}", inputs.values))

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {}


def routes_of(network: Record, world: World) -> tuple[Route, ...]:
    """What every server on the network sends by one of them, the longest prefix first."""
    found = [
        Route(record.inputs.text("destination") or "", record.inputs.text("gateway") or "")
        for record in world.all(tokens.NETWORK_ROUTE)
        if record.inputs.number("networkId") == int(network.id)
    ]
    return tuple(sorted(found, key=lambda way: (-ipaddress.IPv4Network(way.destination).prefixlen, way.destination)))


def _check_gateway(check: Check, outer: ipaddress.IPv4Network | None) -> None:
    text = check.inputs.text("gateway")
    if text is None:
        return
    try:
        gateway = ipaddress.IPv4Address(text)
    except ValueError:
        check.refuse("gateway", f"Invalid IP address: {text}")
        return
    if outer is not None and (gateway not in outer or gateway in (outer[1], PUBLIC_GATEWAY)):
        check.refuse(
            "gateway",
            f"invalid input in field 'gateway' (invalid_input): {text} is no address that a server may have in {outer}",
        )


def _check_free(check: Check, network: Record, destination: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
    world = check.world
    same = [record for record in world.all(tokens.NETWORK_ROUTE) if _network_id(record) == network.id]
    subnets = [record for record in world.all(tokens.SUBNET) if _network_id(record) == network.id]
    taken = [ipaddress.ip_network(record.inputs.text("destination") or "") for record in same]
    if destination in taken:
        check.refuse("destination", f"route to {destination} is already defined (invalid_input)")
    elif destination != _EVERYWHERE:
        taken += [ipaddress.ip_network(record.inputs.text("ipRange") or "") for record in subnets]
        for other in taken:
            if other != _EVERYWHERE and destination.overlaps(other):
                check.refuse(
                    "destination",
                    f"invalid input in field 'destination' (invalid_input): {destination} overlaps {other} of the "
                    "network",
                )
                return


def _network_id(record: Record) -> str:
    return str(record.inputs.number("networkId"))


KINDS: tuple[Kind, ...] = (NetworkRoute(),)
