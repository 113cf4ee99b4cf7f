"""VPC firewall rules, and what they amount to for a machine."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from localcloud.provider.clouds.gcp.common import (
    API,
    FIREWALL,
    NETWORK,
    GcpKind,
    every_instance,
    network,
    refer,
)
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, Kind
from localcloud.provider.kind import Network as IpNetwork
from localcloud.provider.rules.gcp import NAME
from localcloud.provider.world import Record, World
from localcloud.spec import Protocol, Rule
from localcloud.wire import Value

_PROTOCOLS: dict[str, Protocol] = {
    "all": "any",
    "tcp": "tcp",
    "6": "tcp",
    "udp": "udp",
    "17": "udp",
    "icmp": "icmp",
    "1": "icmp",
}
_EVERYWHERE = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
_EVERY_PORT = (0, 65535)


class Firewall(GcpKind):
    """Name, project and direction replace it: terraform-provider-google, resource_compute_firewall.go."""

    token = FIREWALL
    collection = "firewalls"
    title = "Firewall"
    replace = frozenset({"direction", "params"})
    unsupported = ("sourceServiceAccounts", "targetServiceAccounts")
    defaults: ClassVar[Mapping[str, Value]] = {
        "direction": "INGRESS",
        "priority": 1000,
        "disabled": False,
        "enableLogging": False,
    }

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        check.one_of("direction", ("INGRESS", "EGRESS"), 'expected direction to be one of ["INGRESS" "EGRESS"], got {}')
        priority = inputs.number("priority")
        if priority is not None and not 0 <= priority <= 65535:
            check.refuse("priority", f"expected priority to be in the range (0 - 65535), got {priority}")
        refer(check, NETWORK, "network", "network", inputs.text("network"))
        if inputs.given("allows") == inputs.given("denies"):
            check.refuse("allows", '"allow": one of `allow,deny` must be specified')
        _check_ends(check)
        for name in ("allows", "denies"):
            for index, part in enumerate(inputs.objects(name)):
                _check_part(check, part, f"{name}[{index}]")

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        return self.make(inputs, world, config)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        home = network(world, record.inputs.text("network"), record.facts.text("project"))
        return {"network": f"{API}{home.id}" if home else record.inputs.text("network")}


@dataclass(frozen=True)
class _Box:
    """Traffic of one protocol, between two ports, with one range at the far end."""

    protocol: Protocol
    ports: tuple[int, int]
    far: IpNetwork


def rules(
    instance: Record, home: Record, world: World, direction: Literal["INGRESS", "EGRESS"]
) -> tuple[Rule, ...] | None:
    """What the network's rules let pass for the machine; None is everything (outgoing, with no rule about it)."""
    found = [record for record in world.all(FIREWALL) if _concerns(record, instance, home, world, direction)]
    if direction == "EGRESS" and not found:
        return None
    allowed, denied = list[_Box](), list[_Box]()
    for record in sorted(found, key=_precedence):
        boxes = list(_boxes(record, world))
        if record.inputs.given("denies"):
            denied += boxes
        else:
            allowed += _without(boxes, denied)
    if direction == "EGRESS":
        allowed += _without([_Box("any", _EVERY_PORT, far) for far in _EVERYWHERE], denied)
    return tuple(_merged(allowed))


def _concerns(record: Record, instance: Record, home: Record, world: World, direction: str) -> bool:
    inputs = record.inputs
    targets = inputs.texts("targetTags")
    return (
        (inputs.text("direction") or "INGRESS") == direction
        and not inputs.flag("disabled")
        and network(world, inputs.text("network"), record.facts.text("project")) == home
        and (not targets or bool(set(targets) & set(instance.inputs.texts("tags"))))
    )


def _precedence(record: Record) -> tuple[int, bool]:
    priority = record.inputs.number("priority")
    return 1000 if priority is None else priority, not record.inputs.given("denies")


def _boxes(record: Record, world: World) -> Iterator[_Box]:
    inputs = record.inputs
    far = [ipaddress.ip_network(text) for text in (*inputs.texts("sourceRanges"), *inputs.texts("destinationRanges"))]
    tags = set(inputs.texts("sourceTags"))
    for other in every_instance(world) if tags else ():
        if tags & set(other.inputs.texts("tags")):
            far.append(ipaddress.ip_network(other.facts.text("private") or ""))
    if not far and not tags:
        far = list(_EVERYWHERE)
    for part in (*inputs.objects("allows"), *inputs.objects("denies")):
        protocol = _PROTOCOLS[(part.text("protocol") or "").lower()]
        spans = [_ports(text) or _EVERY_PORT for text in part.texts("ports")] or [_EVERY_PORT]
        yield from (_Box(protocol, span, end) for span in spans for end in far)


def _without(boxes: list[_Box], denied: list[_Box]) -> list[_Box]:
    for deny in denied:
        boxes = [rest for box in boxes for rest in _subtract(box, deny)]
    return boxes


def _subtract(box: _Box, deny: _Box) -> Iterator[_Box]:
    """What of the box remains. Of `any`, what is neither TCP, UDP nor ICMP goes with the first deny of one of them."""
    if not box.far.overlaps(deny.far) or box.ports[1] < deny.ports[0] or deny.ports[1] < box.ports[0]:
        yield box
        return
    if box.protocol == "any" != deny.protocol:
        for protocol in ("tcp", "udp", "icmp"):
            yield from _subtract(_Box(protocol, box.ports, box.far), deny)
        return
    if deny.protocol not in (box.protocol, "any"):
        yield box
        return
    if box.ports[0] < deny.ports[0]:
        yield _Box(box.protocol, (box.ports[0], deny.ports[0] - 1), box.far)
    if deny.ports[1] < box.ports[1]:
        yield _Box(box.protocol, (deny.ports[1] + 1, box.ports[1]), box.far)
    both = max(box.ports[0], deny.ports[0]), min(box.ports[1], deny.ports[1])
    for far in _outside(box.far, deny.far):
        yield _Box(box.protocol, both, far)


def _outside(whole: IpNetwork, hole: IpNetwork) -> Iterator[IpNetwork]:
    if isinstance(whole, ipaddress.IPv4Network) and isinstance(hole, ipaddress.IPv4Network):
        if not whole.subnet_of(hole):
            yield from whole.address_exclude(hole)
    elif (
        isinstance(whole, ipaddress.IPv6Network)
        and isinstance(hole, ipaddress.IPv6Network)
        and not whole.subnet_of(hole)
    ):
        yield from whole.address_exclude(hole)


def _merged(boxes: list[_Box]) -> Iterator[Rule]:
    """One rule for all boxes that differ in their far end alone."""
    ends: dict[tuple[Protocol, tuple[int, int]], list[str]] = {}
    for box in boxes:
        far = ends.setdefault((box.protocol, box.ports), [])
        if str(box.far) not in far:
            far.append(str(box.far))
    for (protocol, span), far in ends.items():
        whole = span == _EVERY_PORT or protocol not in ("tcp", "udp")
        yield Rule(protocol, None if whole else span, tuple(far))


def _check_ends(check: Check) -> None:
    inputs = check.inputs
    egress = inputs.text("direction") == "EGRESS"
    if inputs.known("direction"):
        if not egress and not inputs.given("sourceRanges") and not inputs.given("sourceTags"):
            check.refuse(
                "sourceRanges", "one of source_tags, source_ranges, or source_service_accounts must be defined"
            )
        for name in ("sourceRanges", "sourceTags") if egress else ():
            if inputs.given(name):
                check.refuse(
                    name,
                    f"googleapi: Error 400: Invalid value for field 'resource.{name}': EGRESS rules have "
                    "no sources., invalid",
                )
    for name in ("sourceRanges", "destinationRanges"):
        for index, text in enumerate(inputs.texts(name)):
            check.cidr(f"{name}[{index}]", text)
    for name in ("sourceTags", "targetTags"):
        for index, tag in enumerate(inputs.texts(name)):
            if not re.fullmatch(NAME, tag):
                check.refuse(
                    f"{name}[{index}]",
                    f"googleapi: Error 400: Invalid value for field 'resource.{name}[{index}]': '{tag}'. "
                    f"Must be a match of regex '{NAME}', invalid",
                )


def _check_part(check: Check, part: Inputs, path: str) -> None:
    protocol = part.text("protocol")
    if protocol is None:
        return
    known = _PROTOCOLS.get(protocol.lower())
    if known is None:
        check.refuse(
            f"{path}.protocol",
            f"Invalid value for field 'protocol': '{protocol}': the local cloud filters tcp, udp, icmp and all",
        )
    for index, text in enumerate(part.texts("ports")):
        if known not in (None, "tcp", "udp"):
            check.refuse(
                f"{path}.ports[{index}]",
                "googleapi: Error 400: Invalid value for field 'ports': Ports may only be specified "
                f"on rules whose protocol is one of [TCP, UDP, SCTP], not {protocol}., invalid",
            )
        elif _ports(text) is None:
            check.refuse(
                f"{path}.ports[{index}]",
                f"googleapi: Error 400: Invalid value for field 'ports': '{text}'. Must be a port or "
                "a range such as 80-90., invalid",
            )


def _ports(text: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text)
    if match is None:
        return None
    first, last = int(match[1]), int(match[2] or match[1])
    return (first, last) if first <= last <= 65535 else None


KINDS: tuple[Kind, ...] = (Firewall(),)
