"""Networks, subnetworks and reserved addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import ClassVar

from localcloud.provider import pools
from localcloud.provider.clouds.gcp.common import (
    ADDRESS,
    API,
    FIREWALL,
    NETWORK,
    ROUTE,
    ROUTER,
    SUBNETWORK,
    GcpKind,
    every_instance,
    in_use,
    network,
    place_of,
    project_of,
    refer,
    subnetwork,
)
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, Kind
from localcloud.provider.ranges import check_free
from localcloud.provider.rules.gcp import LONGEST_PREFIX, MTU, REGIONS, RESERVED_FIRST, RESERVED_LAST
from localcloud.provider.world import Record, World
from localcloud.wire import Value


class Network(GcpKind):
    """terraform-provider-google, google/services/compute/resource_compute_network.go."""

    token = NETWORK
    collection = "networks"
    title = "Network"
    replace = frozenset({"autoCreateSubnetworks", "description", "internalIpv6Range", "networkProfile", "params"})
    unsupported = ("networkProfile", "internalIpv6Range", "enableUlaInternalIpv6")
    defaults: ClassVar[Mapping[str, Value]] = {
        "autoCreateSubnetworks": True,
        "deleteDefaultRoutesOnCreate": False,
        "networkFirewallPolicyEnforcementOrder": "AFTER_CLASSIC_FIREWALL",
        "routingMode": "REGIONAL",
        "mtu": MTU[2],
    }

    def check(self, check: Check) -> None:
        super().check(check)
        mtu = check.inputs.number("mtu")
        if mtu is not None and not MTU[0] <= mtu <= MTU[1]:
            check.refuse(
                "mtu",
                f"googleapi: Error 400: Invalid value for field 'resource.mtu': '{mtu}'. Must be "
                f"{MTU[0]} to {MTU[1]}., invalid",
            )
        check.one_of(
            "routingMode", ("REGIONAL", "GLOBAL"), 'expected routing_mode to be one of ["REGIONAL" "GLOBAL"], got {}'
        )
        if (
            check.inputs.known("autoCreateSubnetworks")
            and check.old is None
            and check.inputs.flag("autoCreateSubnetworks", True)
        ):
            check_free(check, "autoCreateSubnetworks", ipaddress.IPv4Network("10.128.0.0/9"))

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        record = self.make(inputs, world, config)
        if inputs.flag("autoCreateSubnetworks", True):
            for region, (_, text) in REGIONS.items():
                properties: dict[str, Value] = {
                    "name": inputs.text("name"),
                    "network": record.id,
                    "ipCidrRange": text,
                    "region": region,
                    "project": record.facts.text("project"),
                }
                made = Subnetwork().make(Inputs(properties), world, config)
                world.note(made, auto=True)
        return record

    def delete(self, record: Record, world: World) -> None:
        users = [
            user
            for token in (FIREWALL, ROUTE, ROUTER, SUBNETWORK)
            for user in world.all(token)
            if _of(user, record, world)
        ]
        in_use("Network", record, [user for user in users if not user.facts.flag("auto")])
        for subnet in users:
            in_use("Network", record, used_by(subnet, world))
        super().delete(record, world)
        if world.get(self.token, record.id) is None:
            for subnet in users:
                world.remove(subnet)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {"gatewayIpv4": "", "networkId": record.facts.text("number"), "numericId": record.facts.text("number")}


class Subnetwork(GcpKind):
    """terraform-provider-google, google/services/compute/resource_compute_subnetwork.go."""

    token = SUBNETWORK
    collection = "subnetworks"
    scope = "region"
    title = "Subnetwork"
    replace = frozenset({"description", "network", "purpose", "reservedInternalRange", "externalIpv6Prefix", "params"})
    unsupported = ("reservedInternalRange", "externalIpv6Prefix", "ipv6AccessType", "secondaryIpRanges")
    defaults: ClassVar[Mapping[str, Value]] = {
        "privateIpGoogleAccess": False,
        "purpose": "PRIVATE",
        "stackType": "IPV4_ONLY",
        "secondaryIpRanges": [],
    }

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        check.one_of(
            "purpose", ("PRIVATE", "PRIVATE_RFC_1918"), "the local cloud has private subnetworks alone, not {}"
        )
        check.one_of("stackType", ("IPV4_ONLY",), "the local cloud has no IPv6 inside networks: {}")
        home = refer(check, NETWORK, "network", "network", inputs.text("network"))
        if not inputs.given("ipCidrRange"):
            check.refuse(
                "ipCidrRange", 'Missing required argument. The argument "ipCidrRange" is required, but it was not set'
            )
        span = check.network("ipCidrRange")
        if span is None or check.same("ipCidrRange"):
            return
        if span.version == 6 or span.prefixlen > LONGEST_PREFIX:
            check.refuse(
                "ipCidrRange",
                f"googleapi: Error 400: Invalid value for field 'resource.ipCidrRange': '{span}'. "
                f"Must be an IPv4 range of /{LONGEST_PREFIX} or larger., invalid",
            )
            return
        for other in check.world.all(self.token):
            if other.inputs.text("ipCidrRange") == check.was("ipCidrRange"):
                continue
            if home is not None and _of(other, home, check.world) and span.overlaps(range_of(other)):
                check.refuse(
                    "ipCidrRange",
                    f"googleapi: Error 400: Invalid IPCidrRange: {span} conflicts with existing "
                    f"subnetwork '{other.inputs.text('name')}' in region '{other.facts.text('place')}'., "
                    "invalidResourceUsage",
                )
                return
        check_free(check, "ipCidrRange", span)

    def replaces(self, path: str, old: Inputs, new: Inputs) -> bool:
        if path == "ipCidrRange":
            before, after = old.text("ipCidrRange"), new.text("ipCidrRange")
            if before is None or after is None:
                return True
            return not ipaddress.IPv4Network(before).subnet_of(ipaddress.IPv4Network(after))
        return super().replaces(path, old, new)

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        return self.make(inputs, world, config)

    def delete(self, record: Record, world: World) -> None:
        in_use("Subnetwork", record, used_by(record, world))
        super().delete(record, world)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        home = network(world, record.inputs.text("network"), record.facts.text("project"))
        return {
            "network": f"{API}{home.id}" if home else record.inputs.text("network"),
            "gatewayAddress": str(range_of(record)[1]),
            "subnetworkId": int(record.facts.text("number") or 0),
            "fingerprint": "",
            "ipv6CidrRange": "",
            "externalIpv6Prefix": "",
        }


class Address(GcpKind):
    """All but labels replace it: terraform-provider-google, google/services/compute/resource_compute_address.go."""

    token = ADDRESS
    collection = "addresses"
    scope = "region"
    title = "Address"
    replace = frozenset(
        {
            "address",
            "addressType",
            "description",
            "ipVersion",
            "ipv6EndpointType",
            "network",
            "networkTier",
            "prefixLength",
            "purpose",
            "subnetwork",
        }
    )
    unsupported = ("ipv6EndpointType", "ipCollection", "network")
    defaults: ClassVar[Mapping[str, Value]] = {
        "addressType": "EXTERNAL",
        "networkTier": "PREMIUM",
        "labels": {},
        "prefixLength": 0,
        "purpose": "",
    }

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        check.one_of(
            "addressType",
            ("EXTERNAL", "INTERNAL"),
            'expected address_type to be one of ["INTERNAL" "EXTERNAL"], got {}',
        )
        check.one_of(
            "networkTier", ("PREMIUM", "STANDARD"), 'expected network_tier to be one of ["PREMIUM" "STANDARD"], got {}'
        )
        check.one_of("ipVersion", ("IPV4",), "the local cloud reserves IPv4 addresses alone, not {}")
        internal = inputs.text("addressType") == "INTERNAL"
        if inputs.given("subnetwork") and not internal:
            check.refuse(
                "subnetwork",
                "googleapi: Error 400: Invalid value for field 'resource.subnetwork': only internal "
                "addresses have a subnetwork., invalid",
            )
        if internal and not inputs.given("subnetwork"):
            check.refuse("subnetwork", "an INTERNAL address needs a subnetwork")
        if inputs.given("address") and not internal:
            check.refuse(
                "address",
                "googleapi: Error 400: Invalid value for field 'resource.address': Specified "
                "external IP address cannot be chosen., invalid",
            )
        place = place_of("region", inputs, check.config)
        subnet = refer(check, SUBNETWORK, "subnetwork", "subnetwork", inputs.text("subnetwork"), place)
        wanted = inputs.text("address")
        if wanted is not None and subnet is not None and not check.same("address"):
            reason = why_not(wanted, subnet, check.world)
            if reason:
                check.refuse("address", reason)

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        if inputs.text("addressType") != "INTERNAL":
            return self.make(inputs, world, config, address=draw(world))
        subnet = subnetwork(
            world, inputs.text("subnetwork"), project_of(inputs, config), place_of("region", inputs, config)
        )
        assert subnet is not None
        return self.make(inputs, world, config, address=inputs.text("address") or pick(subnet, world))

    def delete(self, record: Record, world: World) -> None:
        in_use("Address", record, self._users(record, world))
        super().delete(record, world)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {
            "address": record.facts.text("address"),
            "addressId": record.facts.text("number"),
            "users": [f"{API}{user.id}" for user in self._users(record, world)],
        }

    @staticmethod
    def _users(record: Record, world: World) -> list[Record]:
        address = record.facts.text("address")
        return [i for i in every_instance(world) if address in (i.facts.text("public"), i.facts.text("private"))]


def range_of(subnet: Record) -> ipaddress.IPv4Network:
    """The subnetwork's primary range."""
    return ipaddress.IPv4Network(subnet.inputs.text("ipCidrRange") or "")


def used_by(subnet: Record, world: World) -> list[Record]:
    """The instances and reserved addresses in the subnetwork."""
    instances = [i for i in every_instance(world) if i.facts.text("subnetwork") == subnet.id]
    inside = [
        address
        for address in world.all(ADDRESS)
        if subnetwork(
            world, address.inputs.text("subnetwork"), address.facts.text("project"), address.facts.text("place")
        )
        == subnet
    ]
    return instances + inside


def taken(subnet: Record, world: World) -> set[str]:
    """The subnetwork's private addresses that are given away."""
    users = used_by(subnet, world)
    return {user.facts.text("private") or user.facts.text("address") or "" for user in users}


def pick(subnet: Record, world: World) -> str:
    """The lowest free private address."""
    last = {str(range_of(subnet)[-1 - back]) for back in range(RESERVED_LAST)}
    address = pools.lowest(range_of(subnet), RESERVED_FIRST, taken(subnet, world) | last)
    return address or ""


def why_not(text: str, subnet: Record, world: World) -> str | None:
    """Why a private address cannot be had in the subnetwork, or None."""
    span = range_of(subnet)
    try:
        inside = ipaddress.IPv4Address(text) in span
    except ValueError:
        inside = False
    if not inside:
        return (
            f"googleapi: Error 400: Invalid value for field 'resource.networkInterfaces[0].networkIP': '{text}'. "
            "Requested internal IP address is outside the subnetwork CIDR range., invalid"
        )
    ends = {str(span[i]) for i in (*range(RESERVED_FIRST), *range(-RESERVED_LAST, 0))}
    if text in ends or text in taken(subnet, world):
        return f"googleapi: Error 400: IP '{text}' is already being used by another resource., invalidResourceUsage"
    return None


def draw(world: World) -> str:
    """A new external address."""
    used = [record.facts.text("address") for record in world.all(ADDRESS)]
    used += [record.facts.text("public") for record in every_instance(world)]
    return pools.allocate(world, pools.GCP, used, "external addresses at GCP")


def _of(user: Record, home: Record, world: World) -> bool:
    found = network(world, user.inputs.text("network"), user.facts.text("project"))
    return found is not None and found.id == home.id


KINDS: tuple[Kind, ...] = (Network(), Subnetwork(), Address())
