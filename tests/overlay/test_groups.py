"""Who may reach whom, and which parts of the overlay a node has to do with."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import product

import pytest

from overlay.groups import group_of, is_administrator, may_talk, members_of, reach_of, reaches
from overlay.model import Network, Node, Site

LAN = IPv4Network("10.20.0.0/16")
RANGE = IPv4Network("10.100.2.128/26")
OPEN = Network(
    IPv4Network("10.100.0.0/16"),
    (
        Site("hetzner", "hetzner", IPv4Network("10.100.1.0/24"), "r"),
        Site("aws", "aws", IPv4Network("10.100.2.0/24"), "r"),
    ),
    "hub",
)
NETWORK = replace(
    OPEN,
    sites=(OPEN.sites[0], replace(OPEN.sites[1], lan=LAN, lan_group="office")),
    groups={
        "admin": ("all",),
        "inference": ("inference", "loadbalancer"),
        "loadbalancer": ("inference",),
        "office": ("loadbalancer",),
    },
    ranges=((RANGE, "inference"),),
)
GATEWAY = Node("gw", "hetzner", IPv4Address("10.100.0.1"), "gateway", "G")
ADMIN = Node("hetzner-1", "hetzner", IPv4Address("10.100.1.1"), "spoke", "A", group="admin")
WORKER = Node("aws-2", "aws", IPv4Address("10.100.2.2"), "spoke", "B", group="inference")
OTHER = Node("aws-3", "aws", IPv4Address("10.100.2.3"), "spoke", "C", group="inference")
CLERK = Node("aws-9", "aws", IPv4Address("10.100.2.9"), "spoke", "D", group="office")
NODES = (GATEWAY, ADMIN, WORKER, OTHER, CLERK)


def net(text: str) -> IPv4Network:
    return IPv4Network(text)


def test_a_group_reaches_what_it_names_and_all_is_everything() -> None:
    names = ["admin", "inference", "loadbalancer", "office", "later"]
    found = {pair for pair in product(names, names) if reaches(NETWORK, *pair)}
    assert found == {
        *(("admin", name) for name in names),
        ("inference", "inference"), ("inference", "loadbalancer"), ("loadbalancer", "inference"),
        ("office", "loadbalancer"),
    }  # fmt: skip


def test_without_groups_everybody_reaches_everybody_and_is_an_administrator() -> None:
    assert reaches(OPEN, "", "")
    assert is_administrator(OPEN, "")
    assert may_talk(OPEN, WORKER, ADMIN)
    assert group_of(OPEN, NODES, ADMIN.address) is None
    assert reach_of(OPEN, NODES, WORKER) == [OPEN.overlay]


@pytest.mark.parametrize(
    ("group", "is_one"), [("admin", True), ("inference", False), ("loadbalancer", False), ("x", False)]
)
def test_administrators_are_those_that_reach_all(group: str, is_one: bool) -> None:
    assert is_administrator(NETWORK, group) is is_one


@pytest.mark.parametrize(
    ("one", "other", "may"),
    [
        (WORKER, OTHER, True),
        (ADMIN, WORKER, True),
        (WORKER, ADMIN, True),
        (WORKER, CLERK, False),
        (CLERK, WORKER, False),
        (CLERK, GATEWAY, True),
        (GATEWAY, CLERK, True),
    ],
)
def test_two_talk_if_either_may_open_a_connection_and_a_gateway_with_everybody(
    one: Node, other: Node, may: bool
) -> None:
    assert may_talk(NETWORK, one, other) is may


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("10.100.0.1", "loadbalancer"),
        ("10.100.1.1", "admin"),
        ("10.100.2.130", "inference"),
        ("10.20.3.4", "office"),
        ("10.100.1.77", None),
        ("203.0.113.1", None),
    ],
)
def test_an_address_is_of_a_nodes_a_pools_or_a_lans_group(address: str, group: str | None) -> None:
    assert group_of(NETWORK, NODES, IPv4Address(address)) == group


def test_the_members_of_a_group_are_in_as_few_prefixes_as_possible() -> None:
    assert members_of(NETWORK, NODES) == {
        "admin": [net("10.100.1.1/32")],
        "inference": [net("10.100.2.2/31"), RANGE],
        "loadbalancer": [net("10.100.0.1/32")],
        "office": [LAN, net("10.100.2.9/32")],
    }
    assert members_of(replace(NETWORK, groups={**NETWORK.groups, "empty": ()}), NODES)["empty"] == []


def test_a_node_has_to_do_with_whom_it_reaches_who_reaches_it_and_the_gateways() -> None:
    gateway = net("10.100.0.1/32")
    assert reach_of(NETWORK, NODES, WORKER) == [gateway, net("10.100.1.1/32"), net("10.100.2.2/31"), RANGE]
    assert reach_of(NETWORK, NODES, CLERK) == [gateway, net("10.100.1.1/32")]
    assert reach_of(NETWORK, NODES, GATEWAY) == [NETWORK.overlay]
