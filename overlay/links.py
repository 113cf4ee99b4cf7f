"""Direct links of a mesh: which pairs are worth trying, and where one end calls the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network

from overlay.groups import may_talk
from overlay.model import EXTERNAL, WG_PORT, Network, Node

_OWN_RANGES = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
"""Addresses that mean nothing elsewhere (RFC 1918, RFC 6598)."""

Partners = dict[str, str | None]
"""Spoke -> the endpoint to call it at, or None when it has to call."""


def partners(network: Network, node: Node, nodes: Iterable[Node], seen: Mapping[str, str]) -> Partners:
    """With which other spokes ``node`` could have a direct link, and where it calls them; empty but in a mesh.

    ``seen`` says by spoke where the gateway that it hangs on sees it. Two nodes of which neither can call the other,
    as two behind address translation, stay on their gateways, and so do machines of external sites, which run nothing
    that could confirm a link.
    """
    if network.topology != "mesh" or node.role == "gateway":
        return {}
    external = {site.name for site in network.sites if site.cloud == EXTERNAL}
    if node.site in external:
        return {}
    found: Partners = {}
    for other in nodes:
        if other.role == "gateway" or other.name == node.name or other.site in external:
            continue
        if not may_talk(network, node, other):
            continue
        there = callable_at(node, other, seen)
        if there or callable_at(other, node, seen):
            found[other.name] = there
    return found


def callable_at(caller: Node, node: Node, seen: Mapping[str, str]) -> str | None:
    """Where ``caller`` reaches the spoke ``node`` without having heard from it; None when it cannot.

    Where a node is seen counts for more than its endpoint, which a cloud may have changed since it was declared.
    """
    at = seen.get(node.name)
    if at is not None and is_in_own_range(at):
        if caller.lan and node.lan and caller.site == node.site:
            return at
        at = None
    there = node.endpoint if at is None or is_translated(at) else at
    return None if there is not None and caller.only6 and not there.startswith("[") else there


def is_translated(endpoint: str) -> bool:
    """Whether an endpoint is one of a translator's, good for whom it was made for alone: its port is not WireGuard's.

    A translator that keeps ports is not found out; such a link is tried in vain.
    """
    return endpoint.rpartition(":")[2] != str(WG_PORT)


def is_in_own_range(endpoint: str) -> bool:
    """Whether an endpoint lies in a range that every network may use for itself."""
    try:
        address = IPv4Address(endpoint.rpartition(":")[0])
    except ValueError:
        return False
    return any(address in own for own in _OWN_RANGES)
