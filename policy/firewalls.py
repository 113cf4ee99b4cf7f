"""What firewalls let in, in one form for all clouds. What is only known once the stack is up is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Any

from components.settings.types import EVERYWHERE, WIDEST_ADMIN_V4, WIDEST_ADMIN_V6, Source
from policy.model import UNKNOWN, Resource, at, each, words

ALL_PORTS = (0, 65535)
_PROTOCOLS = {"-1": "all", "any": "all", "1": "icmp", "6": "tcp", "17": "udp", "58": "icmp", "icmpv6": "icmp"}
"""Other ways to write them; numbers are IANA's."""
_GCP_LISTS = ("srcAddressGroups", "srcFqdns", "srcRegionCodes", "srcThreatIntelligences")
_GCP_MEMBERS = ("srcNetworks", "srcSecureTags")
_PRIVATE = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"))
)
"""Nobody comes from there over the internet (RFC 1918, 6598, 4193, 4291)."""


@dataclass(frozen=True)
class Opening:
    """Ports ``first`` to ``last`` of ``protocol`` (``all`` for all) that ``sources`` are let in to.

    ``lists`` are what stands for networks that nobody can look up here: managed lists, countries, names.
    """

    protocol: str
    first: int
    last: int
    sources: tuple[Source, ...]
    lists: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """The protocol and the ports, as users say them."""
        if self.protocol in ("all", "icmp"):
            return "every protocol" if self.protocol == "all" else "ICMP"
        if self.first <= 1 and self.last == ALL_PORTS[1]:
            return f"every {self.protocol.upper()} port"
        ports = f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.protocol.upper()} {ports}"


def openings(resource: Resource) -> list[Opening]:
    """What ``resource`` lets in from networks; nothing for what is no firewall. Who is let in as a member of a group,
    or by a tag, comes from inside the cloud's network and is left out."""
    read = _READERS.get(resource.type)
    return [] if read is None else [found for found in read(resource.inputs) if found.sources or found.lists]


def is_public(source: Source) -> bool:
    """Whether somebody on the internet may be among ``source``."""
    return not any(source.version == private.version and _is_in(source, private) for private in _PRIVATE)


def is_wide(source: Source) -> bool:
    """Whether ``source`` is more than one organisation's: wider than the settings let an admin network be."""
    widest = WIDEST_ADMIN_V4 if source.version == 4 else WIDEST_ADMIN_V6
    return source.prefixlen < widest and is_public(source)


def wide(sources: Sequence[Source]) -> list[Source]:
    """What of ``sources`` is wide once neighbours are put together."""
    together = [
        *collapse_addresses(source for source in sources if isinstance(source, IPv4Network)),
        *collapse_addresses(source for source in sources if isinstance(source, IPv6Network)),
    ]
    return [source for source in together if is_wide(source)]


def is_within(source: Source, others: Sequence[Source]) -> bool:
    """Whether all of ``source`` is in one of ``others``."""
    return any(source.version == other.version and _is_in(source, other) for other in others)


def _is_in(source: Source, other: Source) -> bool:
    if isinstance(source, IPv4Network) and isinstance(other, IPv4Network):
        return source.subnet_of(other)
    return isinstance(source, IPv6Network) and isinstance(other, IPv6Network) and source.subnet_of(other)


def _networks(texts: Sequence[str]) -> tuple[Source, ...]:
    found: list[Source] = []
    for text in texts:
        try:
            found.append(ip_network(text, strict=False))
        except ValueError:
            continue  # the cloud refuses it
    return tuple(found)


def _protocol(value: Any) -> str | None:
    """None when it is unknown."""
    if value is UNKNOWN or value is None:
        return None
    text = str(int(value) if isinstance(value, float) else value).lower()
    return _PROTOCOLS.get(text, text)


def _span(text: Any) -> tuple[int, int] | None:
    """The ports that a text like ``22``, ``80-85`` or ``any`` names; None when it is unknown or no such text."""
    if text is None or text == "any":
        return ALL_PORTS
    first, _, last = (f"{text:g}" if isinstance(text, float) else str(text)).partition("-")
    return (int(first), int(last or first)) if first.isdigit() and (last or first).isdigit() else None


def _is_whole(port: Any) -> bool:
    """Whether it is a port's number; not when it is unknown, or something that the cloud refuses."""
    return isinstance(port, int | float) or (isinstance(port, str) and port.removeprefix("-").isdigit())


def _hcloud(inputs: Any) -> Iterator[Opening]:
    for rule in each(inputs, "rules"):
        protocol, span = _protocol(at(rule, "protocol")), _span(at(rule, "port"))
        if at(rule, "direction") == "in" and protocol is not None and span is not None:
            yield Opening(protocol, *span, _networks(words(rule, "sourceIps")))


def _aws_rule(rule: Any, protocol_key: str, sources: list[str], lists: list[str]) -> Iterator[Opening]:
    protocol = _protocol(at(rule, protocol_key))
    ports = (at(rule, "fromPort"), at(rule, "toPort"))
    if protocol is None or not all(port is None or _is_whole(port) for port in ports):
        return
    first, last = (None if port is None else int(port) for port in ports)
    is_all = protocol not in ("tcp", "udp") or first is None or last is None or first == -1
    span = ALL_PORTS if is_all or first is None or last is None else (first, last)
    yield Opening(protocol, *span, _networks(sources), tuple(lists))


def _aws_blocks(rule: Any) -> Iterator[Opening]:
    sources = words(rule, "cidrBlocks") + words(rule, "ipv6CidrBlocks")
    yield from _aws_rule(rule, "protocol", sources, words(rule, "prefixListIds"))


def _aws_group(inputs: Any) -> Iterator[Opening]:
    for rule in each(inputs, "ingress"):
        yield from _aws_blocks(rule)


def _aws_group_rule(inputs: Any) -> Iterator[Opening]:
    if at(inputs, "type") == "ingress":
        yield from _aws_blocks(inputs)


def _aws_ingress_rule(inputs: Any) -> Iterator[Opening]:
    sources = words(inputs, "cidrIpv4") + words(inputs, "cidrIpv6")
    yield from _aws_rule(inputs, "ipProtocol", sources, words(inputs, "prefixListId"))


def _gcp_ports(
    rule: Any, protocol_key: str, sources: tuple[Source, ...], lists: tuple[str, ...] = ()
) -> Iterator[Opening]:
    protocol = _protocol(at(rule, protocol_key))
    ports = at(rule, "ports")
    if protocol is None or ports is UNKNOWN:
        return
    for span in map(_span, each(ports)) if ports else [ALL_PORTS]:
        if span is not None:
            yield Opening(protocol, *span, sources, lists)


def _gcp(inputs: Any) -> Iterator[Opening]:
    """A rule that names nobody lets everybody in (Compute Engine API, firewalls)."""
    if at(inputs, "direction") not in (None, "INGRESS") or at(inputs, "disabled") is True:
        return
    given = [inputs.get(key) for key in ("sourceRanges", "sourceTags", "sourceServiceAccounts")]
    sources = _networks(words(inputs, "sourceRanges")) if any(given) else EVERYWHERE[:1]
    for rule in each(inputs, "allows"):
        yield from _gcp_ports(rule, "protocol", sources)


def _gcp_policy_rule(inputs: Any) -> Iterator[Opening]:
    """Like `_gcp`; it may name whom it lets in in more ways."""
    if at(inputs, "direction") != "INGRESS" or at(inputs, "action") != "allow" or at(inputs, "disabled") is True:
        return
    match = at(inputs, "match")
    given = [at(match, key) for key in ("srcIpRanges", *_GCP_LISTS, *_GCP_MEMBERS)]
    given += [at(match, key) not in (None, "INTERNET") for key in ("srcNetworkContext", "srcNetworkScope")]
    sources = _networks(words(match, "srcIpRanges")) if any(given) else EVERYWHERE
    lists = tuple(f"{key} {text}" for key in _GCP_LISTS for text in words(match, key))
    for rule in each(match, "layer4Configs"):
        yield from _gcp_ports(rule, "ipProtocol", sources, lists)


def _gcp_policy(inputs: Any) -> Iterator[Opening]:
    for rule in each(inputs, "rules"):
        yield from _gcp_policy_rule(rule)


_READERS = {
    "hcloud:index/firewall:Firewall": _hcloud,
    "aws:ec2/securityGroup:SecurityGroup": _aws_group,
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": _aws_group,
    "aws:ec2/securityGroupRule:SecurityGroupRule": _aws_group_rule,
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _aws_ingress_rule,
    "gcp:compute/firewall:Firewall": _gcp,
    "gcp:compute/firewallPolicyRule:FirewallPolicyRule": _gcp_policy_rule,
    "gcp:compute/firewallPolicyWithRules:FirewallPolicyWithRules": _gcp_policy,
    "gcp:compute/networkFirewallPolicyWithRules:NetworkFirewallPolicyWithRules": _gcp_policy,
    "gcp:compute/regionNetworkFirewallPolicyWithRules:RegionNetworkFirewallPolicyWithRules": _gcp_policy,
    "gcp:compute/networkFirewallPolicyRule:NetworkFirewallPolicyRule": _gcp_policy_rule,
    "gcp:compute/regionNetworkFirewallPolicyRule:RegionNetworkFirewallPolicyRule": _gcp_policy_rule,
}
