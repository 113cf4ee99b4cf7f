"""Groups on the machines themselves: an nftables table of the release's own, made from ``overlay.groups``.

It is apart from first boot's rules, so machines that were made before there were groups have it, too. A gateway judges
what it passes on and what comes to itself; every other machine judges its own, since direct links pass no gateway.
Only what opens a flow is judged. Of TCP that is what has SYN and no ACK (some systems take one with FIN, too), whatever
connection tracking knows of the rest: a connection goes on through a gateway that has just taken it over, or was just
booted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from node.firewall import merged, text_of
from node.log import say
from node.network_document import NUDGE_PORT
from node.wireguard import INTERFACE, SECOND, WireGuardError, run
from overlay.addresses import network6
from overlay.groups import LOADBALANCER, is_administrator, members_of, reaches
from overlay.model import CONTROL_PORT, Network, Node, gateways_of, host_network

TABLE = "inet hybridnet_groups"
_SERVING_PORT = 443
_NAMES_PORT = 53
_TUNNELS = f'{{ "{INTERFACE}", "{SECOND}" }}'
"""Both interfaces: the second one is there while somebody's key changes."""
_REJECT = "reject with icmpx type admin-prohibited"
_COMMON = f"""\
  chain begun {{
    ct state established,related accept
    tcp flags & (syn | ack) != syn accept
  }}
  chain of_gateway {{
    udp dport {{ {_NAMES_PORT}, {NUDGE_PORT} }} accept
    tcp dport {{ {_NAMES_PORT}, {CONTROL_PORT} }} accept
    icmp type echo-request accept
    icmpv6 type echo-request accept
  }}
  chain by_gateway {{
    udp dport {NUDGE_PORT} accept
    icmp type echo-request accept
    icmpv6 type echo-request accept
  }}
"""
"""What is let through whatever the groups: what a gateway is there for, and what it needs of the others."""
_GATEWAY = f"""\
  chain input {{
    type filter hook input priority 10;
    iifname != {_TUNNELS} accept
    jump begun
    jump of_gateway
%s    {_REJECT}
  }}
  chain forward {{
    type filter hook forward priority 10;
    iifname != {_TUNNELS} oifname != {_TUNNELS} accept
    jump begun
%s    {_REJECT}
  }}
"""
_SHUT = f"""\
  chain forward {{
    type filter hook forward priority 10;
    oifname != {_TUNNELS} accept
    jump begun
    ip saddr %s {_REJECT}
  }}
"""
"""A gateway that leads its site's own network to the internet alone."""
_SPOKE = f"""\
  chain incoming {{
    jump begun
%s    {_REJECT}
  }}
  chain outgoing {{
    jump begun
%s    {_REJECT}
  }}
  chain input {{
    type filter hook input priority 10;
    iifname {_TUNNELS} jump incoming
  }}
  chain forward {{
    type filter hook forward priority 10;
    iifname {_TUNNELS} jump incoming
    oifname {_TUNNELS} jump outgoing
  }}
  chain output {{
    type filter hook output priority 10;
    oifname {_TUNNELS} jump outgoing
  }}
"""
"""Containers' packets are forwarded, to and from other addresses than the tunnel's."""


class Segments(Protocol):
    """The machine's part in the groups; raises WireGuardError."""

    def keep(self, network: Network, nodes: Sequence[Node], me: Node) -> bool:
        """Make the rules those of ``network`` for ``me``; whether anything had to change.

        ``nodes`` are the roster's; ``network.ranges`` has the pools (``overlay.roster.with_ranges``).
        """
        ...


@dataclass(frozen=True)
class _Family:
    """IPv4, or with the overlay's IPv6 part its twin."""

    overlay: IPv4Network
    overlay6: IPv6Network | None = None

    @property
    def word(self) -> str:
        return "ip6" if self.overlay6 else "ip"

    def set_of(self, prefixes: Iterable[IPv4Network]) -> str:
        """As an anonymous set of nft(8); empty for no address."""
        if self.overlay6:
            found = [network6(self.overlay6, each) for each in prefixes if each.subnet_of(self.overlay)]
            intervals = merged((int(each.network_address), int(each.broadcast_address)) for each in found)
            texts = [text_of(interval, 6) for interval in intervals]
        else:
            intervals = merged((int(each.network_address), int(each.broadcast_address)) for each in prefixes)
            texts = [text_of(interval, 4) for interval in intervals]
        return f"{{ {', '.join(texts)} }}" if texts else ""

    def rule(
        self, source: Sequence[IPv4Network] | None, target: Sequence[IPv4Network] | None, verdict: str = "accept"
    ) -> list[str]:
        """The rule for these addresses, None for any; no rule where one side is nobody."""
        sides = [("saddr", source), ("daddr", target)]
        sets = [(side, self.set_of(prefixes)) for side, prefixes in sides if prefixes is not None]
        if not all(text for _, text in sets):
            return []
        return [" ".join([*(f"{self.word} {side} {text}" for side, text in sets), verdict])]


class _Groups:
    """Who is who, as far as one machine has to know.

    Another site's own network may have the same addresses as this one's: its machines are known by their gateway's
    address, behind which they come.
    """

    def __init__(self, network: Network, nodes: Sequence[Node], me: Node) -> None:
        is_own = me.site if me.role == "gateway" else None
        sites = tuple(site if site.name == is_own else replace(site, lan=None) for site in network.sites)
        self.network = network
        self.gateways = [host_network(gateway.address) for gateway in gateways_of(nodes)]
        spokes = [node for node in nodes if node.role == "spoke"]
        self.targets = members_of(replace(network, sites=sites), spokes)
        self.sources = {group: list(prefixes) for group, prefixes in self.targets.items()}
        self.sources.setdefault(LOADBALANCER, []).extend(self.gateways)
        for site in network.sites:
            if site.lan is not None and site.lan_group is not None:
                behind = [host_network(gateway.address) for gateway in gateways_of(nodes) if gateway.site == site.name]
                self.sources.setdefault(site.lan_group, []).extend(behind)
        self.families = [_Family(network.overlay)]
        if network.overlay6:
            self.families.append(_Family(network.overlay, network.overlay6))

    def is_served(self, group: str) -> bool:
        """Whether members of ``group`` may send requests to the gateways, and have nothing else of them."""
        return reaches(self.network, group, LOADBALANCER) and not is_administrator(self.network, group)

    def reached(self, group: str) -> list[IPv4Network]:
        """Whom members of ``group`` may have everything of."""
        found = [
            each
            for target, prefixes in self.targets.items()
            for each in prefixes
            if reaches(self.network, group, target)
        ]
        return found + self.gateways if is_administrator(self.network, group) else found

    def reaching(self, group: str) -> list[IPv4Network]:
        """Who may open connections to members of ``group``."""
        return [
            each
            for source, prefixes in self.sources.items()
            for each in prefixes
            if reaches(self.network, source, group)
        ]


def _input(groups: _Groups, family: _Family) -> list[str]:
    """What a gateway lets in besides what everybody may have of it."""
    found: list[str] = []
    for group, prefixes in groups.sources.items():
        if is_administrator(groups.network, group):
            found += family.rule(prefixes, None)
        elif groups.is_served(group):
            found += family.rule(prefixes, None, f"tcp dport {_SERVING_PORT} accept")
    return found


def _forward(groups: _Groups, family: _Family) -> list[str]:
    """What a gateway passes on. Out of the overlay, where a gateway's own network is, only administrators get."""
    found = family.rule(None, groups.gateways, "jump of_gateway")
    found += family.rule(groups.gateways, None, "jump by_gateway")
    for group, prefixes in groups.sources.items():
        found += family.rule(prefixes, None if is_administrator(groups.network, group) else groups.reached(group))
        if groups.is_served(group):
            found += family.rule(prefixes, groups.gateways, f"tcp dport {_SERVING_PORT} accept")
    return found


def _incoming(groups: _Groups, family: _Family, me: Node) -> list[str]:
    return family.rule(groups.gateways, None, "jump by_gateway") + family.rule(groups.reaching(me.group), None)


def _outgoing(groups: _Groups, family: _Family, me: Node) -> list[str]:
    found = family.rule(None, groups.gateways, "jump of_gateway") + family.rule(None, groups.reached(me.group))
    if groups.is_served(me.group):
        found += family.rule(None, groups.gateways, f"tcp dport {_SERVING_PORT} accept")
    return found


def _lines(rules_of: Iterable[Sequence[str]]) -> str:
    return "".join(f"    {rule}\n" for each in rules_of for rule in each)


def _shut(network: Network, me: Node) -> str | None:
    """What keeps a site's own network out of the overlay, to which its gateway shall not lead it; None elsewhere."""
    site = network.site(me.site)
    if me.role != "gateway" or site.lan is None or site.lan_group is not None:
        return None
    return _replacing(_SHUT % site.lan)


def _replacing(chains: str) -> str:
    return f"table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n{_COMMON}{chains}}}\n"


def rules(network: Network, nodes: Sequence[Node], me: Node) -> str | None:
    """What makes nft(8) put the rules of ``me`` in the place of those before, in one step.

    None where nothing is closed: there are no groups, and no network of a site that shall not reach the overlay.
    """
    if not network.groups:
        return _shut(network, me)
    groups = _Groups(network, nodes, me)
    if me.role == "gateway":
        own = _lines(_input(groups, family) for family in groups.families)
        passed = _lines(_forward(groups, family) for family in groups.families)
        chains = _GATEWAY % (own, passed)
    else:
        incoming = _lines(_incoming(groups, family, me) for family in groups.families)
        outgoing = _lines(_outgoing(groups, family, me) for family in groups.families)
        chains = _SPOKE % (incoming, outgoing)
    return _replacing(chains)


class NftSegments:
    """The machine's own rules, through nft(8).

    How nft(8) prints rules is its release's affair, so what it prints right after taking them is what it must print
    later. That is unknown at the start, when they are replaced once, which disturbs no flow.
    """

    def __init__(self) -> None:
        self._held: tuple[str, str | None] | None = None
        self._told = False

    def keep(self, network: Network, nodes: Sequence[Node], me: Node) -> bool:
        wanted = rules(network, nodes, me)
        if shutil.which("nft") is None:
            if wanted:
                self._tell()
            return False
        listing = _listing()
        if wanted is None:
            if listing is None:
                return False
            run(["nft", "delete", "table", *TABLE.split()])
            self._held = None
            return True
        if self._held == (wanted, listing):
            return False
        run(["nft", "-f", "-"], wanted)
        self._held = wanted, _listing()
        return True

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            say(
                "this machine has no nft(8), so others alone keep to the groups what it sends, and nobody what it "
                "gets over direct links: install the package nftables"
            )


def _listing() -> str | None:
    """What the table holds, or None when there is none."""
    try:
        return run(["nft", "-j", "list", "table", *TABLE.split()])
    except WireGuardError:
        return None
