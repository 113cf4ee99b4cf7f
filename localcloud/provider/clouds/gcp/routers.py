"""Cloud routers, and Cloud NAT on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from localcloud.provider import pools
from localcloud.provider.clouds.gcp.common import (
    ADDRESS,
    API,
    NETWORK,
    ROUTER,
    ROUTER_NAT,
    SUBNETWORK,
    GcpKind,
    find,
    in_use,
    network,
    not_found,
    place_of,
    project_of,
    refer,
    subnetwork,
)
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind
from localcloud.provider.world import Record, World
from localcloud.wire import Value

_RANGES = ("ALL_SUBNETWORKS_ALL_IP_RANGES", "ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES", "LIST_OF_SUBNETWORKS")


class Router(GcpKind):
    """terraform-provider-google, google/services/compute/resource_compute_router.go."""

    token = ROUTER
    collection = "routers"
    scope = "region"
    title = "Router"
    replace = frozenset({"network", "encryptedInterconnectRouter", "params"})
    unsupported = ("bgp", "nccGateway", "encryptedInterconnectRouter", "md5AuthenticationKeys")

    def check(self, check: Check) -> None:
        super().check(check)
        if not check.inputs.given("network"):
            check.refuse("network", 'Missing required argument. The argument "network" is required, but it was not set')
        refer(check, NETWORK, "network", "network", check.inputs.text("network"))

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        return self.make(inputs, world, config)

    def delete(self, record: Record, world: World) -> None:
        in_use("Router", record, [nat for nat in world.all(ROUTER_NAT) if nat.facts.text("router") == record.id])
        super().delete(record, world)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        home = network(world, record.inputs.text("network"), record.facts.text("project"))
        return {"network": f"{API}{home.id}" if home else record.inputs.text("network")}


class RouterNat(GcpKind):
    """terraform-provider-google, google/services/compute/resource_compute_router_nat.go."""

    token = ROUTER_NAT
    collection = "nats"
    scope = "region"
    title = "RouterNat"
    replace = frozenset({"router", "endpointTypes", "initialNatIps", "type"})
    unsupported = (
        "endpointTypes",
        "type",
        "rules",
        "nat64Subnetworks",
        "sourceSubnetworkIpRangesToNat64",
        "drainNatIps",
        "initialNatIps",
    )
    defaults: ClassVar[Mapping[str, Value]] = {
        "natIpAllocateOption": "AUTO_ONLY",
        "enableDynamicPortAllocation": False,
        "enableEndpointIndependentMapping": False,
        "icmpIdleTimeoutSec": 30,
        "tcpEstablishedIdleTimeoutSec": 1200,
        "tcpTimeWaitTimeoutSec": 120,
        "tcpTransitoryIdleTimeoutSec": 30,
        "udpIdleTimeoutSec": 30,
    }

    def check(self, check: Check) -> None:
        super().check(check)
        inputs, world = check.inputs, check.world
        region = place_of("region", inputs, check.config)
        check.one_of(
            "natIpAllocateOption",
            ("AUTO_ONLY", "MANUAL_ONLY"),
            'expected nat_ip_allocate_option to be one of ["MANUAL_ONLY" "AUTO_ONLY"], got {}',
        )
        check.one_of(
            "sourceSubnetworkIpRangesToNat",
            _RANGES,
            f"expected source_subnetwork_ip_ranges_to_nat to be one of {list(_RANGES)}, got {{}}",
        )
        router = refer(check, ROUTER, "router", "router", inputs.text("router"), region)
        for other in world.all(self.token) if check.old is None else ():
            mine = router is not None and other.facts.text("router") == router.id
            if mine and {"ALL"} & {_kind(other.inputs), _kind(inputs)}:
                check.refuse(
                    "sourceSubnetworkIpRangesToNat",
                    f"googleapi: Error 400: NAT '{other.inputs.text('name')}' of the router covers these "
                    "subnetworks already., invalid",
                )
        listed = inputs.text("sourceSubnetworkIpRangesToNat") == "LIST_OF_SUBNETWORKS"
        if inputs.known("sourceSubnetworkIpRangesToNat") and listed != inputs.given("subnetworks"):
            check.refuse("subnetworks", "subnetworks have to be set with LIST_OF_SUBNETWORKS, and with it alone")
        for index, entry in enumerate(inputs.objects("subnetworks")):
            path, name = f"subnetworks[{index}].name", entry.text("name")
            refer(check, SUBNETWORK, path, f"nats[0].subnetworks[{index}].name", name, region)
        manual = inputs.text("natIpAllocateOption") == "MANUAL_ONLY"
        if manual != inputs.given("natIps") and inputs.known("natIpAllocateOption"):
            check.refuse("natIps", "natIps have to be set with MANUAL_ONLY, and with it alone")
        for index, ip in enumerate(inputs.texts("natIps")):
            refer(check, ADDRESS, f"natIps[{index}]", f"nats[0].natIps[{index}]", ip, region)

    def identity(self, inputs: Inputs, config: Mapping[str, str]) -> str | None:
        project, region = project_of(inputs, config), place_of("region", inputs, config)
        name, router = inputs.text("name"), inputs.text("router")
        known = project and region and name and router
        return f"{project}/{region}/{(router or '').rpartition('/')[2]}/{name}" if known else None

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        project, region = project_of(inputs, config), place_of("region", inputs, config)
        router = find(world, ROUTER, inputs.text("router"), project, region)
        if router is None:
            raise CloudError(not_found("router", inputs.text("router")))
        used = [nat.facts.text("address") for nat in world.all(self.token)]
        address = pools.allocate(world, pools.NAT, used, "addresses for Cloud NAT")
        return self.make(inputs, world, config, router=router.id, address=address)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {}


def nat_address(subnet: Record, world: World) -> str | None:
    """The address with which machines of the subnetwork that have no external one reach the internet."""
    home = network(world, subnet.inputs.text("network"), subnet.facts.text("project"))
    for nat in world.all(ROUTER_NAT):
        router = world.get(ROUTER, nat.facts.text("router"))
        if router is None or home is None or router.facts.text("place") != subnet.facts.text("place"):
            continue
        project, region = router.facts.text("project"), router.facts.text("place")
        if network(world, router.inputs.text("network"), project) != home:
            continue
        named = [subnetwork(world, e.text("name"), project, region) for e in nat.inputs.objects("subnetworks")]
        if _kind(nat.inputs) == "ALL" or subnet in named:
            manual = [find(world, ADDRESS, ip, project, region) for ip in nat.inputs.texts("natIps")]
            return manual[0].facts.text("address") if manual and manual[0] else nat.facts.text("address")
    return None


def _kind(inputs: Inputs) -> str:
    return (inputs.text("sourceSubnetworkIpRangesToNat") or "").partition("_")[0]


KINDS: tuple[Kind, ...] = (Router(), RouterNat())
