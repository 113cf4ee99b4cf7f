"""What can be wrong with a network is found, and a right one is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest

from overlay.checks import problems
from overlay.model import EXTERNAL, Network, Node, Role, Site
from overlay.pools import Pool
from overlay.topology import TOPOLOGIES


def network(topology: str = "hub", overlay: str = "10.100.0.0/16", **subnets: str) -> Network:
    subnets = subnets or {"hetzner": "10.100.1.0/24", "aws": "10.100.2.0/24"}
    sites = tuple(Site(name, "aws", IPv4Network(subnet), "r") for name, subnet in subnets.items())
    return Network(IPv4Network(overlay), sites, topology)


def node(name: str, site: str, address: str, role: Role = "spoke", key: str = "") -> Node:
    return Node(name, site, IPv4Address(address), role, key or name)


GATEWAY = node("gw", "hetzner", "10.100.0.1", "gateway")

EXTERNAL_SITE = replace(
    network(), sites=(*network().sites, Site("me", EXTERNAL, IPv4Network("10.100.9.0/24"), "elsewhere"))
)
GROUPED = replace(network(), groups={"admin": ("all",), "inference": ("inference", "loadbalancer")})


def grouped(name: str, group: str) -> Node:
    return replace(node(name, "aws", "10.100.2.1"), group=group)


LONE = node("gw", "one", "10.100.0.1", "gateway")


POOL = Pool("burst", "aws", IPv4Network("10.100.2.128/26"), 4, "0" * 64, 30, 60, 8000, "/health")


def test_a_right_network_has_no_problem() -> None:
    nodes = [GATEWAY, node("h-1", "hetzner", "10.100.1.1"), node("a-1", "aws", "10.100.2.1")]
    assert problems(network(), nodes, {"aws": IPv4Network("10.20.0.0/16")}) == []


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_gateway_in_each_site_is_right_in_every_topology(topology: str) -> None:
    nodes = [
        GATEWAY,
        node("aws-gw", "aws", "10.100.2.254", "gateway"),
        grouped("a-1", "admin"),
        replace(node("me-1", "me", "10.100.9.1"), group="inference"),
    ]
    right = replace(EXTERNAL_SITE, topology=topology, groups=GROUPED.groups, overlay6=IPv6Network("fd00:1::/96"))
    assert problems(right, nodes, {}, [replace(POOL, group="inference")]) == []


def test_a_pool_too_is_in_a_group_where_there_are_groups() -> None:
    (problem,) = problems(GROUPED, [GATEWAY], {}, [POOL])
    assert (problem.subject, problem.value) == ("pools.burst.group", "nothing")
    assert "admin, inference, loadbalancer" in problem.remedy


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
    (network(), [node("a-1", "aws", "10.100.2.1")], {}, "gateways", "no gateway"),
    (network("mesh"), [node("a-1", "aws", "10.100.2.1")], {}, "gateways", "no gateway"),
    (network(), [GATEWAY, node("gw-2", "hetzner", "10.100.0.2", "gateway")], {}, "gateways.gw-2.site", "gw is this"),
    (EXTERNAL_SITE, [GATEWAY, node("me-gw", "me", "10.100.9.254", "gateway")], {}, "gateways.me-gw.site", "external"),
    (replace(network(), overlay6=IPv6Network("2001:db8::/48")), [GATEWAY], {}, "network.overlay6", "unique local"),
    (replace(network(), overlay6=IPv6Network("fd00::/97")), [GATEWAY], {}, "network.overlay6", "unique local"),
    (replace(network(), domain="Wg.internal"), [GATEWAY], {}, "network.domain", "no domain name"),
    (replace(network(), domain="wg..internal"), [GATEWAY], {}, "network.domain", "no domain name"),
    (replace(network(), domain=".".join(["a" * 63, "b" * 62])), [GATEWAY], {}, "network.domain", "at most 125"),
    (GROUPED, [GATEWAY, node("a-1", "aws", "10.100.2.1")], {}, "spokes.a-1.group", "everybody is in one"),
    (GROUPED, [GATEWAY, grouped("a-1", "admins")], {}, "spokes.a-1.group", "no such group"),
    (network(), [GATEWAY, grouped("a-1", "admin")], {}, "spokes.a-1.group", "there are no groups"),
    (
        replace(network(), groups={"admin": ("all", "inferense")}),
        [GATEWAY, grouped("a-1", "admin")],
        {},
        "groups.admin.reaches",
        "no such group",
    ),
    (
        replace(GROUPED, sites=(replace(GROUPED.sites[0], lan=IPv4Network("10.0.0.0/16"), lan_group="admins"),)),
        [GATEWAY],
        {},
        "sites.hetzner.lanGroup",
        "no such group",
    ),
]


@pytest.mark.parametrize(("net", "nodes", "ranges", "subject", "reason"), CASES)
def test_what_is_wrong_is_named_with_reason_and_remedy(
    net: Network, nodes: list[Node], ranges: Mapping[str, str], subject: str, reason: str
) -> None:
    found = problems(net, nodes, {name: IPv4Network(text) for name, text in ranges.items()})
    assert [problem.subject for problem in found] == [subject]
    assert reason in found[0].reason
    assert found[0].remedy
