"""What can be wrong with a network, found before any resource is made."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from itertools import combinations

from overlay.groups import ALL, LOADBALANCER
from overlay.model import EXTERNAL, Network, Node, Prefix
from overlay.pools import Pool, usable_addresses
from overlay.topology import TOPOLOGIES, Peering, TopologyError

_ULA = IPv6Network("fc00::/7")
"""Unique local addresses (RFC 4193)."""
_LONGEST_DOMAIN = 253 - 2 * 64
"""What a name has room for (RFC 1035, without the last dot) after a node's and a site's, of 63 characters each."""
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: whose, which value, why it can not be, and what mends it.

    ``subject`` is a path in the words of the settings: ``network.overlay``, ``sites.aws.subnet``,
    ``gateways.hetzner-gw.address``, ``spokes.aws-1.address``, ``sites.aws.vpcCidr``, ``pools.aws-burst.range``.
    """

    subject: str
    value: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.subject} = {self.value}: {self.reason}; {self.remedy}"


def _subject(node: Node, field: str) -> str:
    return f"{'gateways' if node.role == 'gateway' else 'spokes'}.{node.name}.{field}"


def _site_problems(network: Network, vpc_ranges: Mapping[str, IPv4Network]) -> list[Problem]:
    found: list[Problem] = []
    for site in network.sites:
        if not site.subnet.subnet_of(network.overlay):
            found.append(
                Problem(
                    f"sites.{site.name}.subnet",
                    str(site.subnet),
                    f"it is not inside the overlay {network.overlay}",
                    "choose a part of the overlay or widen network.overlay",
                )
            )
    for one, other in combinations(network.sites, 2):
        if one.subnet.overlaps(other.subnet):
            found.append(
                Problem(
                    f"sites.{other.name}.subnet",
                    str(other.subnet),
                    f"it overlaps {one.subnet} of site {one.name}",
                    "give each site a part of the overlay of its own",
                )
            )
    for name, vpc in sorted(vpc_ranges.items()):
        if vpc.overlaps(network.overlay):
            found.append(
                Problem(
                    f"sites.{name}.vpcCidr",
                    str(vpc),
                    f"the site's own network overlaps the overlay {network.overlay}",
                    "machines could not tell one from the other: move network.overlay or the site's network",
                )
            )
    return found


def _is_reserved(address: IPv4Address, network: IPv4Network) -> bool:
    return network.prefixlen < 31 and address in (network.network_address, network.broadcast_address)


def _address_problem(network: Network, node: Node) -> tuple[str, str] | None:
    home = network.site(node.site)
    if node.address not in network.overlay:
        return f"it is outside the overlay {network.overlay}", "choose an address of the overlay"
    if _is_reserved(node.address, network.overlay) or _is_reserved(node.address, home.subnet):
        return "it is a network or broadcast address", "choose a host address"
    foreign = next((s for s in network.sites if s.name != node.site and node.address in s.subnet), None)
    if foreign is not None:
        return (
            f"it belongs to {foreign.subnet} of site {foreign.name}, and the node is in {node.site}",
            f"choose an address of {home.subnet}",
        )
    if node.role == "spoke" and node.address not in home.subnet:
        return f"it is outside {home.subnet} of site {node.site}", f"choose an address of {home.subnet}"
    return None


def _node_problems(network: Network, nodes: Sequence[Node]) -> list[Problem]:
    found: list[Problem] = []
    known = {site.name for site in network.sites}
    holders: dict[IPv4Address, Node] = {}
    keys: dict[str, Node] = {}
    names: set[str] = set()
    for node in nodes:
        if node.name in names:
            reason = "another node has this name"
            found.append(Problem(_subject(node, "name"), node.name, reason, "rename one of the two"))
        names.add(node.name)
        if node.site not in known:
            sites = ", ".join(sorted(known)) or "none"
            found.append(Problem(_subject(node, "site"), node.site, "no such site", f"use one of: {sites}"))
            continue
        wrong = _address_problem(network, node)
        if wrong is not None:
            found.append(Problem(_subject(node, "address"), str(node.address), *wrong))
        holder = holders.setdefault(node.address, node)
        if holder is not node:
            reason = f"{holder.name} has this address already"
            found.append(Problem(_subject(node, "address"), str(node.address), reason, "pin another with `address:`"))
        owner = keys.setdefault(node.public_key, node)
        if owner is not node:
            reason = f"{owner.name} has this key already"
            found.append(Problem(_subject(node, "public_key"), node.public_key, reason, "give each node its own key"))
    return found


def _peer_problems(network: Network, nodes: Sequence[Node]) -> list[Problem]:
    """One prefix on two peers of a node: WireGuard would silently keep the later one."""
    found: list[Problem] = []
    peering = Peering(network, nodes)
    for node in nodes:
        claims: dict[Prefix, str] = {}
        for peer in peering.of(node):
            for prefix in peer.allowed_ips:
                if claims.setdefault(prefix, peer.public_key) != peer.public_key:
                    reason = f"two peers of {node.name} claim this prefix"
                    found.append(
                        Problem(_subject(node, "allowed_ips"), str(prefix), reason, "give each node its own address")
                    )
    return found


def _range_problem(network: Network, nodes: Sequence[Node], pool: Pool) -> tuple[str, str] | None:
    subnet = network.site(pool.site).subnet
    if not pool.addresses.subnet_of(subnet):
        return f"it is outside {subnet} of site {pool.site}", f"choose a part of {subnet}"
    holder = next((node for node in nodes if node.address in pool.addresses), None)
    if holder is not None:
        remedy = f"choose a part of the subnet without declared nodes, or pin {holder.name} elsewhere with `address:`"
        return f"{holder.name} has {holder.address} in it", remedy
    size, needed = len(usable_addresses(pool.addresses, subnet)), 2 * pool.limit
    if size < needed:
        why = "an address rests before it is given again, so a machine and the one that takes its place have one each"
        reason = f"it has {size} addresses, and {pool.limit} machines need {needed}: {why}"
        return reason, "widen it or lower the pool's max"
    return None


def _pool_problems(network: Network, nodes: Sequence[Node], pools: Sequence[Pool]) -> list[Problem]:
    found: list[Problem] = []
    known = {site.name for site in network.sites}
    names = {node.name for node in nodes}
    for pool in pools:
        where = f"pools.{pool.name}"
        if pool.name in names:
            found.append(Problem(f"{where}.name", pool.name, "a node has this name", "rename one of the two"))
        names.add(pool.name)
        if pool.site not in known:
            sites = ", ".join(sorted(known)) or "none"
            found.append(Problem(f"{where}.site", pool.site, "no such site", f"use one of: {sites}"))
            continue
        wrong = _range_problem(network, nodes, pool)
        if wrong is not None:
            found.append(Problem(f"{where}.range", str(pool.addresses), *wrong))
    for one, other in combinations(pools, 2):
        if one.addresses.overlaps(other.addresses):
            reason = f"it overlaps {one.addresses} of pool {one.name}"
            remedy = "give each pool a range of its own"
            found.append(Problem(f"pools.{other.name}.range", str(other.addresses), reason, remedy))
    return found


def _gateway_problems(network: Network, nodes: Sequence[Node]) -> list[Problem]:
    """A site has one gateway at most: it is the home of the site's machines. External ones have none."""
    found: list[Problem] = []
    holders: dict[str, Node] = {}
    external = {site.name for site in network.sites if site.cloud == EXTERNAL}
    for gateway in (node for node in nodes if node.role == "gateway"):
        if gateway.site in external:
            reason = "machines of an external site are not the stack's"
            found.append(Problem(_subject(gateway, "site"), gateway.site, reason, "choose another site"))
        holder = holders.setdefault(gateway.site, gateway)
        if holder is not gateway:
            reason = f"{holder.name} is this site's gateway already"
            remedy = "put it into another site, or take one of the two away"
            found.append(Problem(_subject(gateway, "site"), gateway.site, reason, remedy))
    return found


def _option_problems(network: Network) -> list[Problem]:
    found: list[Problem] = []
    overlay6 = network.overlay6
    if overlay6 is not None and (not overlay6.subnet_of(_ULA) or overlay6.prefixlen > 96):
        reason = "it is no unique local network (RFC 4193) of /96 or larger"
        remedy = "make one like fd12:3456:789a::/48 with 40 random bits"
        found.append(Problem("network.overlay6", str(overlay6), reason, remedy))
    if len(network.domain) > _LONGEST_DOMAIN or not _DOMAIN.fullmatch(network.domain):
        reason = f"it is no domain name of lower-case labels, at most {_LONGEST_DOMAIN} characters long"
        found.append(Problem("network.domain", network.domain, reason, "write it like wg.internal"))
    return found


def _group_problems(network: Network, nodes: Sequence[Node], pools: Sequence[Pool]) -> list[Problem]:
    """Groups that are not there, or are not given to everybody once there are any."""
    known = {*network.groups, LOADBALANCER}
    listed = ", ".join(sorted(known)) if network.groups else "none"
    found = [
        Problem(f"groups.{name}.reaches", reached, "no such group", f"use {ALL} or one of: {listed}")
        for name, all_reached in network.groups.items()
        for reached in all_reached
        if reached not in {*known, ALL}
    ]
    held = [(_subject(node, "group"), node.group) for node in nodes if node.role == "spoke"]
    held += [(f"pools.{pool.name}.group", pool.group) for pool in pools]
    held += [(f"sites.{site.name}.lanGroup", site.lan_group) for site in network.sites if site.lan_group is not None]
    for subject, group in held:
        if network.groups and group not in network.groups:
            reason = "no such group" if group else "where there are groups everybody is in one"
            found.append(Problem(subject, group or "nothing", reason, f"use one of: {listed}"))
        elif group and not network.groups:
            found.append(Problem(subject, group, "there are no groups", "declare groups, or remove it"))
    return found


def problems(
    network: Network, nodes: Sequence[Node], vpc_ranges: Mapping[str, IPv4Network], pools: Sequence[Pool] = ()
) -> list[Problem]:
    """Everything that is wrong with the network, in a stable order; empty when nothing is.

    ``vpc_ranges`` gives, by site name, the range of the site's own network where it is known. Before keys exist a
    node's ``public_key`` may be any text that is unique to it.
    """
    found = _site_problems(network, vpc_ranges) + _gateway_problems(network, nodes) + _node_problems(network, nodes)
    found += _pool_problems(network, nodes, pools)
    found += _option_problems(network) + _group_problems(network, nodes, pools)
    if network.topology not in TOPOLOGIES:
        known = ", ".join(sorted(TOPOLOGIES))
        found.append(Problem("network.topology", network.topology, "no such topology", f"use one of: {known}"))
    elif not nodes:
        found.append(Problem("gateways", "none", "the network has no node", "declare a gateway"))
    elif not found:
        try:
            found = _peer_problems(network, nodes)
        except TopologyError as error:
            found.append(Problem("gateways", network.topology, str(error), "declare the gateways it needs"))
    return found
