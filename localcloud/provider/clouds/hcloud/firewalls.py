"""Firewalls, their attachments, and which of them a server has."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import ClassVar

from localcloud.provider.clouds.hcloud import tokens
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind
from localcloud.provider.rules.hcloud import (
    EFFECTIVE_RULES_PER_FIREWALL,
    FIREWALLS_PER_PROJECT,
    FIREWALLS_PER_SERVER,
)
from localcloud.provider.world import Record, World
from localcloud.wire import Value

_PROTOCOLS = ("tcp", "udp", "icmp", "esp", "gre")


class Firewall(Kind):
    """Everything changes in place: terraform-provider-hcloud, internal/firewall/resource.go."""

    token = tokens.FIREWALL
    naming = tokens.NAMING
    defaults: ClassVar[Mapping[str, Value]] = {"labels": {}}

    def check(self, check: Check) -> None:
        tokens.check_name(check, self.token, "firewall")
        tokens.check_labels(check)
        effective = 0
        for index, rule in enumerate(check.inputs.objects("rules")):
            _check_rule(check, rule, f"rules[{index}]")
            effective += max(1, len(rule.texts("sourceIps")) + len(rule.texts("destinationIps")))
        if effective > EFFECTIVE_RULES_PER_FIREWALL:
            check.refuse(
                "rules",
                f"firewall rule limit exceeded (resource_limit_exceeded): {effective} effective rules, "
                f"the limit is {EFFECTIVE_RULES_PER_FIREWALL}",
            )
        if check.old is None and len(list(check.world.all(self.token))) >= FIREWALLS_PER_PROJECT:
            check.refuse(
                "", f"firewall limit exceeded (resource_limit_exceeded): {FIREWALLS_PER_PROJECT} in the project"
            )
        for index, target in enumerate(check.inputs.objects("applyTos")):
            _check_target(check, f"applyTos[{index}]", target.number("server"), target.text("labelSelector"))

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        record = world.put(Record(self.token, tokens.next_id(world), inputs.values))
        _limit(world)
        return record

    def update(self, record: Record, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        record = super().update(record, inputs, world, config)
        _limit(world)
        return record

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        targets: list[Value] = []
        for selector in _selectors(record, world):
            targets.append({"labelSelector": selector, "server": 0})
        for server in sorted(_servers(record, world)):
            targets.append({"labelSelector": "", "server": server})
        return {"applyTos": targets}


class FirewallAttachment(Kind):
    """The firewall replaces it: terraform-provider-hcloud, internal/firewall/attachment_resource.go."""

    token = tokens.FIREWALL_ATTACHMENT
    replace = frozenset({"firewallId"})

    def check(self, check: Check) -> None:
        inputs = check.inputs
        firewall = inputs.number("firewallId")
        tokens.exists(check, tokens.FIREWALL, "firewallId", firewall, "firewall")
        if not inputs.given("serverIds") and not inputs.given("labelSelectors"):
            check.refuse("", "no resources referenced: set serverIds or labelSelectors")
        for index, server in enumerate(inputs.numbers("serverIds")):
            _check_target(check, f"serverIds[{index}]", server, None)
        for index, selector in enumerate(inputs.texts("labelSelectors")):
            _check_target(check, f"labelSelectors[{index}]", None, selector)
        if not check.same("firewallId") and firewall is not None and check.world.get(self.token, firewall):
            check.refuse(
                "firewallId",
                "Firewall was already applied on resource (firewall_already_applied): firewall "
                f"{firewall} has an attachment",
            )

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        record = world.put(Record(self.token, str(inputs.number("firewallId")), inputs.values))
        _limit(world)
        return record

    def update(self, record: Record, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        record = super().update(record, inputs, world, config)
        _limit(world)
        return record


def firewalls_of(server: Record, world: World) -> list[Record]:
    """The firewalls that guard the server, however each came to it."""
    labels, named = server.inputs.mapping("labels"), server.inputs.numbers("firewallIds")
    return [
        firewall
        for firewall in world.all(tokens.FIREWALL)
        if int(firewall.id) in named
        or int(server.id) in _targets(firewall, world)
        or any(selects(selector, labels) for selector in _selectors(firewall, world))
    ]


def selects(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether a label selector picks those labels: https://docs.hetzner.cloud/reference/cloud#label-selector"""
    return all(_term(term.strip(), labels) for term in re.split(r",(?![^(]*\))", selector))


def _term(term: str, labels: Mapping[str, str]) -> bool:
    if match := re.fullmatch(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)", term):
        listed = labels.get(match[1]) in [value.strip() for value in match[3].split(",")]
        return listed if match[2] == "in" else not listed
    if match := re.fullmatch(r"([^!=\s]+)\s*(==|=|!=)\s*(\S*)", term):
        same = labels.get(match[1]) == match[3]
        return not same if match[2] == "!=" else same
    return term[1:] not in labels if term.startswith("!") else term in labels


def _servers(firewall: Record, world: World) -> set[int]:
    """Ids of the servers that exist and have the firewall by name, not by a selector."""
    own = (server for server in world.all(tokens.SERVER) if int(firewall.id) in server.inputs.numbers("firewallIds"))
    wanted = _targets(firewall, world) | {int(server.id) for server in own}
    return {server for server in wanted if world.get(tokens.SERVER, server)}


def _targets(firewall: Record, world: World) -> set[int]:
    """Ids of the servers that the firewall itself or its attachment names."""
    attachment = world.get(tokens.FIREWALL_ATTACHMENT, firewall.id)
    named = [target.number("server") for target in firewall.inputs.objects("applyTos")]
    return {server for server in named if server} | set(attachment.inputs.numbers("serverIds") if attachment else ())


def _selectors(firewall: Record, world: World) -> list[str]:
    selectors = [target.text("labelSelector") for target in firewall.inputs.objects("applyTos")]
    attachment = world.get(tokens.FIREWALL_ATTACHMENT, firewall.id)
    if attachment is not None:
        selectors += attachment.inputs.texts("labelSelectors")
    return [selector for selector in selectors if selector]


def _limit(world: World) -> None:
    for server in world.all(tokens.SERVER):
        count = len(firewalls_of(server, world))
        if count > FIREWALLS_PER_SERVER:
            raise CloudError(
                f"firewall limit of server {server.id} exceeded (resource_limit_exceeded): "
                f"{count} firewalls, the limit is {FIREWALLS_PER_SERVER}"
            )


def _check_target(check: Check, path: str, server: int | None, selector: str | None) -> None:
    record = tokens.exists(check, tokens.SERVER, path, server or None, "server")
    if record is not None and not record.facts.text("ipv4") and not record.facts.text("ipv6"):
        check.refuse(path, f"server {record.id} has no public interface (private_net_only_server)")
    if selector is not None and not re.fullmatch(r"[-\w./!=, ()]+", selector):
        check.refuse(path, f"invalid input in field 'label_selector' (invalid_input): {selector}")


def _check_rule(check: Check, rule: Inputs, path: str) -> None:
    inner = check.within(rule)
    inner.one_of("direction", ("in", "out"), "{} is not a valid direction")
    inner.one_of("protocol", _PROTOCOLS, "{} is not a valid protocol")
    protocol, port, direction = rule.text("protocol"), rule.text("port"), rule.text("direction")
    if protocol in ("tcp", "udp") and not rule.given("port"):
        inner.refuse("port", f"port required for protocol {protocol} (invalid_input)")
    if protocol not in (None, "tcp", "udp") and rule.given("port"):
        inner.refuse("port", f"port not allowed for protocol {protocol} (invalid_input)")
    if protocol in ("esp", "gre"):
        inner.refuse("protocol", f"the local cloud cannot let {protocol} through: it filters tcp, udp and icmp")
    if port is not None and ports(port) is None:
        inner.refuse("port", f"invalid port {port} (invalid_input): one port, a range such as 80-85, or any")
    needed, other = ("sourceIps", "destinationIps") if direction != "out" else ("destinationIps", "sourceIps")
    if direction is not None and not rule.given(needed):
        inner.refuse(needed, f"{needed} required for direction {direction} (invalid_input)")
    if direction is not None and rule.texts(other):
        inner.refuse(other, f"{other} not allowed for direction {direction} (invalid_input)")
    for name in ("sourceIps", "destinationIps"):
        for index, text in enumerate(rule.texts(name)):
            inner.cidr(f"{name}[{index}]", range_of(text))
    check.adopt(inner, path)


def ports(text: str) -> tuple[int, int] | None:
    """First and last port that the text allows, or None when it is malformed."""
    if text == "any":
        return 1, 65535
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text)
    if match is None:
        return None
    first, last = int(match[1]), int(match[2] or match[1])
    return (first, last) if 1 <= first <= last <= 65535 else None


def range_of(text: str) -> str:
    """A lone address as the range of one, everything else as it is."""
    try:
        return str(ipaddress.ip_network(ipaddress.ip_address(text)))
    except ValueError:
        return text


KINDS: tuple[Kind, ...] = (Firewall(), FirewallAttachment())
