"""Static routes by instances, and what they amount to for a machine."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import ClassVar

from localcloud.provider.clouds.gcp.common import (
    API,
    INSTANCE,
    NETWORK,
    ROUTE,
    SUBNETWORK,
    GcpKind,
    every_instance,
    network,
    not_found,
    project_of,
    refer,
)
from localcloud.provider.clouds.gcp.instances import is_running
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, Kind
from localcloud.provider.rules.gcp import DEFAULT_ROUTE_PRIORITY, NAME, ROUTE_PRIORITIES
from localcloud.provider.world import Record, World
from localcloud.spec import Route as Way
from localcloud.wire import Value

_ELSEWHERE = ("nextHopGateway", "nextHopIlb", "nextHopVpnTunnel")
"""Where routes may lead to elsewhere; the local cloud has instances alone."""


class Route(GcpKind):
    """All but the deletion policy replace it: terraform-provider-google, services/compute/resource_compute_route.go."""

    token = ROUTE
    collection = "routes"
    title = "Route"
    replace = frozenset(
        {
            "description",
            "destRange",
            "network",
            "nextHopInstance",
            "nextHopInstanceZone",
            "nextHopIp",
            "params",
            "priority",
            "tags",
            *_ELSEWHERE,
        }
    )
    unsupported = (*_ELSEWHERE, "params")
    defaults: ClassVar[Mapping[str, Value]] = {"priority": DEFAULT_ROUTE_PRIORITY}

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        home = refer(check, NETWORK, "network", "network", inputs.text("network"))
        _check_destination(check, home)
        priority = inputs.number("priority")
        if priority is not None and priority not in ROUTE_PRIORITIES:
            check.refuse(
                "priority",
                f"googleapi: Error 400: Invalid value for field 'resource.priority': '{priority}'. Must be "
                f"{ROUTE_PRIORITIES[0]} to {ROUTE_PRIORITIES[-1]}., invalid",
            )
        for index, tag in enumerate(inputs.texts("tags")):
            if not re.fullmatch(NAME, tag):
                check.refuse(
                    f"tags[{index}]",
                    f"googleapi: Error 400: Invalid value for field 'resource.tags[{index}]': '{tag}'. "
                    f"Must be a match of regex '(?:{NAME})', invalid",
                )
        elsewhere = any(inputs.given(name) for name in _ELSEWHERE)
        if not elsewhere and inputs.given("nextHopInstance") == inputs.given("nextHopIp"):
            check.refuse(
                "nextHopInstance",
                f'"next_hop_instance": only one of `{",".join(_NEXT_HOPS)}` can be specified, and one has to be',
            )
        _check_instance(check, home)
        _check_address(check)

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        return self.make(inputs, world, config)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        inputs, facts = record.inputs, record.facts
        home = network(world, inputs.text("network"), facts.text("project"))
        hop = _next_hop(record, world)
        told: dict[str, Value] = {
            "network": f"{API}{home.id}" if home else inputs.text("network"),
            "nextHopNetwork": f"{API}{home.id}" if home else "",
            "routeType": "STATIC",
            "warnings": [{"code": code, "message": "", "datas": []} for code in _warnings(inputs, hop)],
        }
        if inputs.given("nextHopInstance"):
            id_ = _instance_id(inputs, facts.text("project")) or ""
            told["nextHopInstance"], told["nextHopInstanceZone"] = f"{API}{id_}", id_.split("/")[3]
            told["nextHopIp"] = (hop.facts.text("private") or "") if hop else ""
        return told


_NEXT_HOPS = ("next_hop_gateway", "next_hop_ilb", "next_hop_instance", "next_hop_ip", "next_hop_vpn_tunnel")


def ways(instance: Record, home: Record, world: World) -> tuple[Way, ...]:
    """The routes for what the instance sends, the longest prefix first, of equal ones that with the lowest priority.

    https://cloud.google.com/vpc/docs/routes#routeselection: those whose next hop is stopped or gone are disregarded; of
    equal priorities one by an instance comes before the internet gateway of the network's own default route.
    """
    tags = set(instance.inputs.texts("tags"))
    chosen: dict[str, tuple[int, int, str]] = {}
    for record in world.all(ROUTE):
        inputs = record.inputs
        only, hop = set(inputs.texts("tags")), _next_hop(record, world)
        concerned = network(world, inputs.text("network"), record.facts.text("project")) == home
        if not concerned or (only and not only & tags) or hop is None or not is_running(hop):
            continue
        destination, priority = inputs.text("destRange") or "", _priority(inputs)
        if destination == "0.0.0.0/0" and has_default_route(home) and priority > DEFAULT_ROUTE_PRIORITY:
            continue
        rank = (priority, int(record.facts.text("number") or 0), hop.facts.text("private") or "")
        chosen[destination] = min(rank, chosen.get(destination, rank))
    found = (Way(destination, via) for destination, (_, _, via) in chosen.items())
    return tuple(sorted(found, key=lambda way: (-ipaddress.IPv4Network(way.destination).prefixlen, way.destination)))


def has_default_route(home: Record) -> bool:
    """Whether the network has its own route to the internet."""
    return not home.inputs.flag("deleteDefaultRoutesOnCreate")


def _priority(inputs: Inputs) -> int:
    priority = inputs.number("priority")
    return DEFAULT_ROUTE_PRIORITY if priority is None else priority


def _next_hop(record: Record, world: World) -> Record | None:
    """The instance that the route leads to, while there is one in the route's network."""
    inputs, project = record.inputs, record.facts.text("project")
    if inputs.given("nextHopInstance"):
        return world.get(INSTANCE, _instance_id(inputs, project))
    home = network(world, inputs.text("network"), project)
    for instance in every_instance(world):
        if instance.facts.text("private") == inputs.text("nextHopIp") and _is_on(instance, home, world):
            return instance
    return None


def _warnings(inputs: Inputs, hop: Record | None) -> list[str]:
    """https://cloud.google.com/compute/docs/reference/rest/v1/routes (warnings[].code)"""
    if hop is None:
        return ["NEXT_HOP_INSTANCE_NOT_FOUND" if inputs.given("nextHopInstance") else "NEXT_HOP_ADDRESS_NOT_ASSIGNED"]
    stopped = [] if is_running(hop) else ["NEXT_HOP_NOT_RUNNING"]
    return stopped + ([] if hop.inputs.flag("canIpForward") else ["NEXT_HOP_CANNOT_IP_FORWARD"])


def _is_on(instance: Record, home: Record | None, world: World) -> bool:
    subnet = world.get(SUBNETWORK, instance.facts.text("subnetwork"))
    found = network(world, subnet.inputs.text("network"), subnet.facts.text("project")) if subnet else None
    return found is not None and found == home


def _instance_id(inputs: Inputs, project: str | None) -> str | None:
    """The id that a link to an instance, or its name and zone, stand for; None when they name no zone."""
    link, zone = inputs.text("nextHopInstance"), inputs.text("nextHopInstanceZone")
    if link is None:
        return None
    parts = link.removeprefix(API).split("/")
    match parts:
        case ["projects", _, "zones", _, "instances", _]:
            return "/".join(parts)
        case ["zones", _, "instances", _]:
            return "/".join(["projects", project or "", *parts])
        case [name] if zone is not None:
            return f"projects/{project}/zones/{zone.rpartition('/')[2]}/instances/{name}"
        case _:
            return None


def _check_destination(check: Check, home: Record | None) -> None:
    span = check.network("destRange")
    if span is None:
        return
    if span.version == 6:
        check.refuse("destRange", f"the local cloud has no IPv6 inside networks: {span}")
        return
    for subnet in check.world.all(SUBNETWORK) if home is not None else ():
        inside = network(check.world, subnet.inputs.text("network"), subnet.facts.text("project")) == home
        if inside and span.subnet_of(ipaddress.IPv4Network(subnet.inputs.text("ipCidrRange") or "")):
            check.refuse(
                "destRange",
                f"googleapi: Error 400: Invalid value for field 'resource.destRange': '{span}'. It is within the "
                f"range of subnetwork '{subnet.inputs.text('name')}', whose own route takes precedence., invalid",
            )


def _check_instance(check: Check, home: Record | None) -> None:
    inputs = check.inputs
    link = inputs.text("nextHopInstance")
    if link is None or not inputs.known("nextHopInstanceZone"):
        return
    id_ = _instance_id(inputs, project_of(inputs, check.config))
    if id_ is None:
        check.refuse(
            "nextHopInstanceZone", "next_hop_instance_zone must be set when next_hop_instance is no URL of an instance"
        )
        return
    instance = check.world.get(INSTANCE, id_)
    if instance is None and (INSTANCE, id_) not in check.planned:
        check.refuse("nextHopInstance", not_found("nextHopInstance", link))
    elif instance is not None and home is not None and not _is_on(instance, home, check.world):
        check.refuse(
            "nextHopInstance",
            f"googleapi: Error 400: Invalid value for field 'resource.nextHopInstance': '{link}'. The instance has no "
            f"network interface in '{home.id}'., invalid",
        )


def _check_address(check: Check) -> None:
    address = check.inputs.text("nextHopIp")
    if address is None:
        return
    try:
        ipaddress.IPv4Address(address)
    except ValueError:
        check.refuse(
            "nextHopIp",
            f"googleapi: Error 400: Invalid value for field 'resource.nextHopIp': '{address}'. It is no IPv4 address., "
            "invalid",
        )


KINDS: tuple[Kind, ...] = (Route(),)
