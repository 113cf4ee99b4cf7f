"""Who peers with whom, and which address a node has."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from overlay.addresses import AddressError, address_of
from overlay.model import Network, Node, Peer, Site, is_endpoint, is_node_name, is_wireguard_key
from overlay.mtu import wireguard_mtu
from overlay.topology import TopologyError, peers_of

NETWORK = Network(
    IPv4Network("10.100.0.0/16"),
    (
        Site("hetzner", "hetzner", IPv4Network("10.100.1.0/24"), "fsn1"),
        Site("aws", "aws", IPv4Network("10.100.2.0/24"), "eu-central-1"),
    ),
    "hub",
)
GATEWAY = Node("gw", "hetzner", IPv4Address("10.100.0.1"), "gateway", "G", "198.51.100.1:51820")
ONE = Node("hetzner-1", "hetzner", IPv4Address("10.100.1.1"), "spoke", "B", None)
TWO = Node("aws-1", "aws", IPv4Address("10.100.2.1"), "spoke", "A", "198.51.100.2:51820")
NODES = (GATEWAY, ONE, TWO)


def test_a_spoke_of_a_hub_sends_the_whole_overlay_to_the_gateway_and_keeps_the_way_open() -> None:
    gateway = Peer("G", "198.51.100.1:51820", (IPv4Network("10.100.0.0/16"),), 25)
    assert peers_of(NETWORK, ONE, NODES) == [gateway]


def test_the_gateway_of_a_hub_has_one_address_for_each_spoke_sorted_by_key_and_no_keepalive() -> None:
    assert peers_of(NETWORK, GATEWAY, NODES) == [
        Peer("A", "198.51.100.2:51820", (IPv4Network("10.100.2.1/32"),), None),
        Peer("B", None, (IPv4Network("10.100.1.1/32"),), None),
    ]


def test_the_order_of_the_nodes_does_not_matter() -> None:
    for node in NODES:
        assert peers_of(NETWORK, node, NODES) == peers_of(NETWORK, node, NODES[::-1])


@pytest.mark.parametrize("nodes", [(ONE, TWO), (GATEWAY, replace(GATEWAY, name="gw-2"), ONE)])
def test_a_hub_without_exactly_one_gateway_is_refused(nodes: tuple[Node, ...]) -> None:
    with pytest.raises(TopologyError, match="exactly one gateway"):
        peers_of(NETWORK, ONE, nodes)


def test_an_unknown_topology_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TopologyError, match=r"'ring'.*hub"):
        peers_of(replace(NETWORK, topology="ring"), ONE, NODES)


@pytest.mark.parametrize(
    ("name", "pinned", "address"),
    [
        ("aws-1", None, "10.100.2.1"),
        ("aws-254", None, "10.100.2.254"),
        ("gpu-box-7", None, "10.100.2.7"),
        ("anything", "10.100.2.9", "10.100.2.9"),
        ("aws-1", "10.100.2.9", "10.100.2.9"),
    ],
)
def test_an_address_is_the_pin_or_the_number_of_the_name(name: str, pinned: str | None, address: str) -> None:
    given = address_of(name, IPv4Network("10.100.2.0/24"), IPv4Address(pinned) if pinned else None)
    assert given == IPv4Address(address)


@pytest.mark.parametrize("name", ["aws", "aws-0", "aws-01", "aws-255", "aws-300", "aws1"])
def test_a_name_that_gives_no_host_of_the_subnet_is_refused_with_the_remedy(name: str) -> None:
    with pytest.raises(AddressError, match="address:"):
        address_of(name, IPv4Network("10.100.2.0/24"))


@pytest.mark.parametrize(
    ("clouds", "private", "mtu"),
    [
        (["hetzner", "aws"], False, 1420),
        (["hetzner", "gcp"], False, 1380),
        (["hetzner"], True, 1370),
        (["gcp"], True, 1370),
        ([], False, 1420),
    ],
)
def test_the_mtu_is_that_of_the_narrowest_link(clouds: list[str], private: bool, mtu: int) -> None:
    assert wireguard_mtu(clouds, private_hetzner=private) == mtu


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("YAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=", True),
        ("YAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk", False),
        ("YAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBml=", False),
        ("A" * 43 + "=", False),
        ("c2hvcnQ=", False),
        ("", False),
        ("not base64 at all", False),
    ],
)
def test_a_wireguard_key_is_the_base64_of_32_bytes_that_are_not_all_zero(text: str, valid: bool) -> None:
    assert is_wireguard_key(text) is valid


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("198.51.100.1:51820", True),
        ("[2001:db8::1]:51820", True),
        ("gw.example.com:51820", True),
        ("198.51.100.1", False),
        ("198.51.100.1:0", False),
        ("198.51.100.1:65536", False),
        ("-h:51820", False),
        ("2001:db8::1:51820", False),
    ],
)
def test_an_endpoint_is_a_host_and_a_port(text: str, valid: bool) -> None:
    assert is_endpoint(text) is valid


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("aws-1", True),
        ("a", True),
        ("a" * 63, True),
        ("a" * 64, False),
        ("1a", False),
        ("a-", False),
        ("A", False),
        ("a_b", False),
    ],
)
def test_a_node_name_is_a_dns_label(text: str, valid: bool) -> None:
    assert is_node_name(text) is valid
