"""Which ports open and close: what the clouds' firewalls let in, from where, and to which machines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from review.inputs import flag, items, number, text, texts
from review.machines import MACHINES, node_name
from review.preview import Preview, State

TEMPLATES = ("aws:ec2/launchTemplate:LaunchTemplate", "gcp:compute/instanceTemplate:InstanceTemplate")
SERVER = "hcloud:index/server:Server"
HETZNER, GROUP, GOOGLE = (
    "hcloud:index/firewall:Firewall", "aws:ec2/securityGroup:SecurityGroup", "gcp:compute/firewall:Firewall",
)  # fmt: skip
RULE = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EVERYWHERE = {"0.0.0.0/0", "::/0"}
Rules = Mapping[str, frozenset[str]]
"""Port and protocol -> the networks that may send there."""


@dataclass(frozen=True)
class PortChange:
    """A port that machines are let in to: by whom before, and by whom after."""

    port: str
    machines: tuple[str, ...]
    before: str
    after: str

    @property
    def is_to_anyone(self) -> bool:
        """Whether it is open to the whole internet afterwards, and was not before."""
        return "anywhere" in self.after and "anywhere" not in self.before

    @property
    def verb(self) -> str:
        """`opens`, `closes`, or `changes`."""
        return "opens" if not self.before else "closes" if not self.after else "changes"


def port_changes(preview: Preview) -> list[PortChange]:
    """Alike for several machines: once. What opens comes first."""
    sides = [preview.states(after=later) for later in (False, True)]
    used = {urn for states in sides for urns in _behind(states).values() for urn in urns}
    nobody = "no machine yet" if preview.lists_all else "the preview does not list its machines"
    before, after = (_by_machine(states, used, nobody) for states in sides)
    grouped: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for machine in sorted(before.keys() | after.keys()):
        old, new = before.get(machine, {}), after.get(machine, {})
        for port in sorted(old.keys() | new.keys()):
            was, will = old.get(port, frozenset()), new.get(port, frozenset())
            if was != will:
                grouped[port, _told(was), _told(will)].append(machine)
    found = [PortChange(port, tuple(names), was, will) for (port, was, will), names in grouped.items()]
    return sorted(found, key=lambda change: (("opens", "changes", "closes").index(change.verb), change.port))


def _told(sources: frozenset[str]) -> str:
    if sources >= EVERYWHERE:
        return "anywhere"
    words = {"0.0.0.0/0": "anywhere (IPv4)", "::/0": "anywhere (IPv6)", "[unknown]": "known after the change"}
    return ", ".join(words.get(source, source) for source in sorted(sources))


def _behind(states: list[State]) -> Mapping[str, list[str]]:
    """URN of a machine, or of what a pool's machines are made from -> the URNs of its firewalls."""
    google = [state for state in states if state.type == GOOGLE]
    return {state.urn: _walls(state, google) for state in states if state.type in (*MACHINES, *TEMPLATES)}


def _by_machine(states: list[State], used: set[str], nobody: str) -> Mapping[str, Rules]:
    """Machine or pool -> what it is let in to; so for firewalls not among the ``used`` ones, with ``nobody`` as why."""
    found: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    walls = {state.urn: state for state in states if state.type in (HETZNER, GROUP, GOOGLE)}
    rules: dict[str, list[tuple[str, list[str]]]] = {urn: list(_rules(wall)) for urn, wall in walls.items()}
    for state in states:
        if state.type == RULE:
            for urn in state.comes_from.get("securityGroupId", ()) or (state.urn,):
                rules.setdefault(urn, []).append(_rule(state))
    names = {state.urn: node_name(state) for state in states}
    subjects = [(names[urn], urns) for urn, urns in _behind(states).items()]
    subjects += [(f"{names.get(urn, urn)} ({nobody})", [urn]) for urn in rules if urn not in used]
    for state in states:
        if state.type == SERVER and not state.inputs.get("firewallIds") and _is_public(state):
            found[names[state.urn]]["everything"] = set(EVERYWHERE)  # Hetzner blocks nothing without a firewall
    for name, urns in subjects:
        for urn in urns:
            for port, sources in rules.get(urn, ()):
                found[name][port].update(sources)
    return {name: {port: frozenset(sources) for port, sources in ports.items()} for name, ports in found.items()}


def _is_public(server: State) -> bool:
    nets = items(server.inputs, "publicNets")
    return not nets or any(flag(net, key, default=True) for net in nets for key in ("ipv4Enabled", "ipv6Enabled"))


def _walls(machine: State, walls: Iterable[State]) -> list[str]:
    """The URNs of the firewalls that a machine stands behind; Google's ``walls`` are for whoever has their tags."""
    from_properties = [
        urn
        for key in ("firewallIds", "vpcSecurityGroupIds", "networkInterfaces")
        for urn in machine.comes_from.get(key, ())
    ]
    tags = set(texts(machine.inputs, "tags")) if machine.type.startswith("gcp:") else set[str]()
    tagged = [wall.urn for wall in walls if tags.intersection(texts(wall.inputs, "targetTags"))]
    return [*from_properties, *tagged]


def _rules(wall: State) -> Iterator[tuple[str, list[str]]]:
    inputs = wall.inputs
    if wall.type == HETZNER:
        for rule in items(inputs, "rules"):
            if text(rule, "direction") == "in":
                yield _port(text(rule, "protocol"), text(rule, "port")), texts(rule, "sourceIps")
    elif wall.type == GOOGLE and text(inputs, "direction") != "EGRESS":
        for allowed in items(inputs, "allows"):
            for port in texts(allowed, "ports") or [""]:
                yield _port(text(allowed, "protocol"), port), texts(inputs, "sourceRanges")
    elif wall.type == GROUP:
        for rule in items(inputs, "ingress"):
            yield _range(rule, "protocol"), [*texts(rule, "cidrBlocks"), *texts(rule, "ipv6CidrBlocks")]


def _rule(state: State) -> tuple[str, list[str]]:
    inputs = state.inputs
    sources = [text(inputs, key) for key in ("cidrIpv4", "cidrIpv6") if text(inputs, key)]
    return _range(inputs, "ipProtocol"), sources or ["[unknown]"]


def _range(rule: Mapping[str, Any], key: str) -> str:
    first, last = number(rule, "fromPort"), number(rule, "toPort")
    return _port(text(rule, key), str(first) if first == last else f"{first}-{last}")


def _port(protocol: str, port: str) -> str:
    if protocol in ("-1", "all"):
        return "everything"
    if protocol in ("icmp", "icmpv6", "esp", "gre"):
        return protocol
    return f"{'every port' if port in ('any', '', '0') else port}/{protocol}"
