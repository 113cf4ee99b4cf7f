"""Which pairs of a mesh are worth a direct link, and where one end calls the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from overlay.links import Partners, callable_at, is_in_own_range, is_translated, partners
from overlay.model import EXTERNAL, Network, Node, Role, Site

SITES = (
    Site("hetzner", "hetzner", IPv4Network("10.100.1.0/24"), "fsn1"),
    Site("aws", "aws", IPv4Network("10.100.2.0/24"), "eu-central-1"),
    Site("me", EXTERNAL, IPv4Network("10.100.9.0/24"), "home"),
)
NETWORK = Network(IPv4Network("10.100.0.0/16"), SITES, "mesh")


def node(name: str, site: str, address: str, endpoint: str | None = None, role: Role = "spoke") -> Node:
    return Node(name, site, IPv4Address(address), role, f"key of {name}", endpoint)


GATEWAY = node("gw", "hetzner", "10.100.0.1", "198.51.100.1:51820", "gateway")
AWS_GATEWAY = replace(
    node("aws-gw", "aws", "10.100.2.254", "198.51.100.2:51820", "gateway"), lan=True, lan_endpoint="10.20.0.4:51820"
)
OPEN = node("hetzner-1", "hetzner", "10.100.1.1", "198.51.100.3:51820")
HIDDEN = replace(node("aws-1", "aws", "10.100.2.1"), lan=True)
ALSO_HIDDEN = replace(node("aws-2", "aws", "10.100.2.2"), lan=True)
LAPTOP = node("laptop", "me", "10.100.9.1", "203.0.113.7:51820")
NODES = (GATEWAY, AWS_GATEWAY, OPEN, HIDDEN, ALSO_HIDDEN, LAPTOP)
TRANSLATED = "203.0.113.9:40001"


def of(who: Node, seen: Mapping[str, str] | None = None, network: Network = NETWORK) -> Partners:
    return partners(network, who, NODES, seen or {})


def test_who_has_an_endpoint_is_called_there_and_calls_nobody_hidden() -> None:
    assert of(OPEN) == {"aws-1": None, "aws-2": None}
    assert of(HIDDEN) == {"hetzner-1": "198.51.100.3:51820"}


def test_both_ends_name_each_other_or_neither_does() -> None:
    seen = {"aws-1": "10.20.0.5:51820", "aws-2": "10.20.0.6:51820", "hetzner-1": TRANSLATED}
    for one in NODES:
        for other in NODES:
            assert (other.name in of(one, seen)) == (one.name in of(other, seen)), (one.name, other.name)


def test_machines_of_one_network_call_each_other_where_their_gateway_sees_them() -> None:
    assert of(HIDDEN, {"aws-2": "10.20.0.6:51820"})["aws-2"] == "10.20.0.6:51820"
    assert callable_at(replace(HIDDEN, lan=False), ALSO_HIDDEN, {"aws-2": "10.20.0.6:51820"}) is None
    assert callable_at(OPEN, ALSO_HIDDEN, {"aws-2": "10.20.0.6:51820"}) is None
    assert callable_at(replace(OPEN, lan=True), ALSO_HIDDEN, {"aws-2": "10.20.0.6:51820"}) is None


@pytest.mark.parametrize(
    ("seen", "endpoint"),
    [
        ({}, None),
        ({"aws-1": TRANSLATED}, None),
        ({"aws-1": "203.0.113.9:51820"}, "203.0.113.9:51820"),
        ({"aws-1": "[2001:db8::9]:51820"}, "[2001:db8::9]:51820"),
        ({"aws-1": "100.64.3.4:51820"}, None),
    ],
)
def test_who_has_no_endpoint_is_called_where_it_is_seen_unless_that_is_good_for_the_gateway_alone(
    seen: dict[str, str], endpoint: str | None
) -> None:
    assert callable_at(OPEN, HIDDEN, seen) == endpoint


def test_where_a_node_is_seen_counts_for_more_than_its_endpoint() -> None:
    assert callable_at(HIDDEN, OPEN, {"hetzner-1": "203.0.113.9:51820"}) == "203.0.113.9:51820"
    assert callable_at(HIDDEN, OPEN, {"hetzner-1": TRANSLATED}) == OPEN.endpoint
    assert callable_at(HIDDEN, OPEN, {"hetzner-1": "10.20.0.6:51820"}) == OPEN.endpoint


def test_who_has_ipv6_alone_calls_nobody_at_ipv4() -> None:
    only6 = replace(HIDDEN, only6=True)
    assert callable_at(only6, OPEN, {}) is None
    assert callable_at(only6, OPEN, {"hetzner-1": "[2001:db8::9]:51820"}) == "[2001:db8::9]:51820"


def test_nobody_tries_itself_a_gateway_or_a_laptop() -> None:
    assert of(GATEWAY) == of(LAPTOP) == {}
    assert of(OPEN).keys().isdisjoint({"hetzner-1", "gw", "aws-gw", "laptop"})


@pytest.mark.parametrize("topology", ["hub", "sites"])
def test_only_a_mesh_has_links(topology: str) -> None:
    assert of(OPEN, network=replace(NETWORK, topology=topology)) == {}


def test_who_may_not_talk_does_not_try() -> None:
    network = replace(NETWORK, groups={"one": ("one",), "two": ("two",)})
    one, two, both = (replace(OPEN, group="one"), replace(HIDDEN, group="two"), replace(ALSO_HIDDEN, group="one"))
    nodes = (GATEWAY, AWS_GATEWAY, one, two, both)
    assert partners(network, one, nodes, {}).keys() == {"aws-2"}
    assert partners(network, two, nodes, {}) == {}


def test_a_translator_shows_by_its_port_and_private_ranges_by_their_addresses() -> None:
    assert is_translated("203.0.113.9:1024")
    assert not is_translated("[2001:db8::1]:51820")
    own = ["10.1.2.3:1", "172.16.0.1:1", "172.31.255.255:1", "192.168.1.1:1", "100.127.0.1:1"]
    assert all(map(is_in_own_range, own))
    assert not any(map(is_in_own_range, ["172.32.0.1:1", "100.128.0.1:1", "[fd00::1]:1", "gw.example.com:1"]))
