"""What can be wrong with a network is found, and a right one is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network

import pytest

from overlay.checks import problems
from overlay.model import Network, Node, Role, Site


def network(topology: str = "hub", overlay: str = "10.100.0.0/16", **subnets: str) -> Network:
    subnets = subnets or {"hetzner": "10.100.1.0/24", "aws": "10.100.2.0/24"}
    sites = tuple(Site(name, "aws", IPv4Network(subnet), "r") for name, subnet in subnets.items())
    return Network(IPv4Network(overlay), sites, topology)


def node(name: str, site: str, address: str, role: Role = "spoke", key: str = "") -> Node:
    return Node(name, site, IPv4Address(address), role, key or name)


GATEWAY = node("gw", "hetzner", "10.100.0.1", "gateway")

LONE = node("gw", "one", "10.100.0.1", "gateway")


def test_a_right_network_has_no_problem() -> None:
    nodes = [GATEWAY, node("h-1", "hetzner", "10.100.1.1"), node("a-1", "aws", "10.100.2.1")]
    assert problems(network(), nodes, {"aws": IPv4Network("10.20.0.0/16")}) == []


CASES: list[tuple[Network, list[Node], Mapping[str, str], str, str]] = [
    (
        network(one="10.100.1.0/24", two="10.100.1.128/25"),
        [LONE],
        {},
        "sites.two.subnet",
        "overlaps",
    ),
    (
        network(one="10.101.1.0/24"),
        [LONE],
        {},
        "sites.one.subnet",
        "not inside the overlay",
    ),
    (network(), [GATEWAY], {"aws": "10.100.0.0/20"}, "sites.aws.vpcCidr", "overlaps the overlay"),
    (network(), [GATEWAY], {"aws": "10.0.0.0/8"}, "sites.aws.vpcCidr", "overlaps the overlay"),
    (network(), [GATEWAY, node("a-1", "aws", "10.200.0.1")], {}, "spokes.a-1.address", "outside the overlay"),
    (network(), [GATEWAY, node("a-1", "aws", "10.100.9.1")], {}, "spokes.a-1.address", "outside 10.100.2.0/24"),
    (network(), [GATEWAY, node("a-1", "aws", "10.100.1.9")], {}, "spokes.a-1.address", "belongs to 10.100.1.0/24"),
    (network(), [GATEWAY, node("a-1", "aws", "10.100.2.255")], {}, "spokes.a-1.address", "broadcast"),
    (network(), [GATEWAY, node("a-1", "aws", "10.100.2.0")], {}, "spokes.a-1.address", "broadcast"),
    (network(), [node("gw", "hetzner", "10.100.0.0", "gateway")], {}, "gateways.gw.address", "broadcast"),
    (network(), [node("gw", "hetzner", "10.100.2.9", "gateway")], {}, "gateways.gw.address", "belongs to"),
    (network(), [GATEWAY, node("a-1", "moon", "10.100.2.1")], {}, "spokes.a-1.site", "no such site"),
    (
        network(),
        [GATEWAY, node("a-1", "aws", "10.100.2.1"), node("a-2", "aws", "10.100.2.1")],
        {},
        "spokes.a-2.address",
        "a-1 has this address",
    ),
    (
        network(),
        [GATEWAY, node("a-1", "aws", "10.100.2.1", key="k"), node("a-2", "aws", "10.100.2.2", key="k")],
        {},
        "spokes.a-2.public_key",
        "a-1 has this key",
    ),
    (
        network(),
        [GATEWAY, node("a-1", "aws", "10.100.2.1"), node("a-1", "aws", "10.100.2.2", key="k")],
        {},
        "spokes.a-1.name",
        "another node",
    ),
    (network("ring"), [GATEWAY], {}, "network.topology", "no such topology"),
    (network(), [], {}, "gateways", "no node"),
    (network(), [node("a-1", "aws", "10.100.2.1")], {}, "gateways", "exactly one gateway"),
    (network(), [GATEWAY, node("gw-2", "aws", "10.100.0.2", "gateway")], {}, "gateways", "exactly one gateway"),
]


@pytest.mark.parametrize(("net", "nodes", "ranges", "subject", "reason"), CASES)
def test_what_is_wrong_is_named_with_reason_and_remedy(
    net: Network, nodes: list[Node], ranges: Mapping[str, str], subject: str, reason: str
) -> None:
    found = problems(net, nodes, {name: IPv4Network(text) for name, text in ranges.items()})
    assert [problem.subject for problem in found] == [subject]
    assert reason in found[0].reason
    assert found[0].remedy
