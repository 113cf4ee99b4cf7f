"""Who peers with whom, and which address a node has."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest

from overlay.addresses import AddressError, address6, address_of, network6
from overlay.model import EXTERNAL, Network, Node, Peer, Site, is_endpoint, is_node_name, is_wireguard_key
from overlay.mtu import wireguard_mtu
from overlay.topology import (
    TOPOLOGIES,
    Peering,
    TopologyError,
    endpoint_for,
    gateway_of,
    home_of,
    peers_of,
    root_of,
)

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
AWS_GATEWAY = Node("aws-gw", "aws", IPv4Address("10.100.2.254"), "gateway", "H", "198.51.100.3:51820")
THREE = (*NODES, AWS_GATEWAY)
SITES = replace(NETWORK, topology="sites")


def host(address: str) -> IPv4Network:
    return IPv4Network(address)


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


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_network_without_a_gateway_is_refused(topology: str) -> None:
    with pytest.raises(TopologyError, match="no gateway"):
        peers_of(replace(NETWORK, topology=topology), ONE, (ONE, TWO))


def test_the_root_is_the_gateway_with_the_lowest_address_whatever_its_name_and_place() -> None:
    low = replace(GATEWAY, name="zz", address=IPv4Address("10.100.0.9"))
    high = replace(GATEWAY, name="aa", address=IPv4Address("10.100.0.10"))
    assert root_of((high, low, ONE)) is root_of((low, high)) is low


def test_a_site_without_a_gateway_has_the_root_as_its_home() -> None:
    assert home_of(THREE, "aws") == AWS_GATEWAY
    assert home_of(THREE, "hetzner") == home_of(THREE, "moon") == GATEWAY
    assert gateway_of(NETWORK, THREE, "aws") == GATEWAY
    assert gateway_of(SITES, THREE, "aws") == AWS_GATEWAY


def test_in_a_hub_other_gateways_are_as_spokes_and_call_the_root() -> None:
    assert peers_of(NETWORK, AWS_GATEWAY, THREE) == [Peer("G", GATEWAY.endpoint, (NETWORK.overlay,), 25)]
    assert peers_of(NETWORK, GATEWAY, THREE)[-1] == Peer("H", AWS_GATEWAY.endpoint, (host("10.100.2.254"),), 25)


def test_gateways_of_sites_have_each_others_subnets_and_the_lower_one_keeps_the_way_open() -> None:
    (spoke, other) = peers_of(SITES, AWS_GATEWAY, THREE)
    assert spoke == Peer("A", TWO.endpoint, (host("10.100.2.1"),), None)
    assert other == Peer("G", GATEWAY.endpoint, (IPv4Network("10.100.1.0/24"), host("10.100.0.1")), None)
    assert peers_of(SITES, GATEWAY, THREE)[-1] == Peer("H", AWS_GATEWAY.endpoint, (IPv4Network("10.100.2.0/24"),), 25)


def test_a_node_that_hangs_elsewhere_is_at_that_gateway_for_every_other() -> None:
    attached = {"aws-1": "gw", "hetzner-1": "nobody"}
    assert peers_of(SITES, TWO, THREE, {}, attached) == [Peer("G", GATEWAY.endpoint, (SITES.overlay,), 25)]
    (other,) = peers_of(SITES, AWS_GATEWAY, THREE, {}, attached)
    assert host("10.100.2.1") in other.allowed_ips
    assert Peering(SITES, THREE, {}, attached).gateway_of(ONE) == GATEWAY


def test_a_link_of_two_nodes_is_a_peer_with_one_address_and_many_keepalives() -> None:
    mesh = replace(SITES, topology="mesh")
    links = {"aws-1": {"hetzner-1", "aws-gw", "stranger"}, "hetzner-1": {"aws-1", "hetzner-1"}, "aws-gw": {"aws-1"}}
    link = Peer("A", TWO.endpoint, (host("10.100.2.1"),), 4)
    assert peers_of(mesh, ONE, THREE, links) == [link, Peer("G", GATEWAY.endpoint, (mesh.overlay,), 25)]
    assert [peer.public_key for peer in peers_of(mesh, TWO, THREE, links)] == ["B", "H"]
    assert peers_of(SITES, ONE, THREE, links) == peers_of(SITES, ONE, THREE)


def test_a_gateway_has_a_peer_for_a_spoke_that_hangs_on_it_and_none_for_others() -> None:
    peering = Peering(replace(SITES, topology="mesh"), THREE, {"gw": {"aws-1"}, "aws-1": {"gw"}})
    assert peering.entry(AWS_GATEWAY, TWO) == Peer("A", TWO.endpoint, (host("10.100.2.1"),), None)
    assert peering.entry(GATEWAY, TWO) is None
    assert peering.entry(AWS_GATEWAY, ONE) is None


def test_a_gateway_is_called_in_its_own_network_by_who_stands_there_and_at_ipv6_by_who_has_nothing_else() -> None:
    near = replace(GATEWAY, lan=True, lan_endpoint="10.0.0.2:51820", endpoint6="[2001:db8::1]:51820")
    for node, endpoint in [
        (replace(ONE, lan=True), near.lan_endpoint),
        (ONE, near.endpoint),
        (replace(TWO, lan=True), near.endpoint),
        (replace(ONE, only6=True), near.endpoint6),
        (replace(ONE, only6=True, lan=True), near.lan_endpoint),
    ]:
        assert endpoint_for(node, near) == endpoint
    assert endpoint_for(replace(ONE, lan=True), GATEWAY) == GATEWAY.endpoint


def test_every_prefix_has_its_twin_in_ipv6() -> None:
    network = replace(SITES, overlay6=IPv6Network("fd12:3456:789a::/48"))
    (peer,) = peers_of(network, ONE, THREE)
    assert peer.allowed_ips == (network.overlay, IPv6Network("fd12:3456:789a::a64:0/112"))
    (spoke, other) = peers_of(network, AWS_GATEWAY, THREE)
    assert spoke.allowed_ips == (host("10.100.2.1"), IPv6Network("fd12:3456:789a::a64:201/128"))
    assert IPv6Network("fd12:3456:789a::a64:100/120") in other.allowed_ips


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
    ("overlay6", "network", "twin"),
    [
        ("fd12:3456:789a::/48", "10.100.2.1/32", "fd12:3456:789a::a64:201/128"),
        ("fd12:3456:789a::/48", "10.100.0.0/16", "fd12:3456:789a::a64:0/112"),
        ("fd00:0:0:1:2:3::/96", "10.0.0.0/8", "fd00:0:0:1:2:3:a00:0/104"),
    ],
)
def test_an_ipv6_address_ends_with_the_ipv4_address(overlay6: str, network: str, twin: str) -> None:
    prefix, own = IPv6Network(overlay6), IPv4Network(network)
    assert network6(prefix, own) == IPv6Network(twin)
    assert address6(prefix, own.network_address) == IPv6Network(twin).network_address


@pytest.mark.parametrize(
    ("clouds", "private", "mtu"),
    [
        (["hetzner", "aws"], False, 1420),
        (["hetzner", "gcp"], False, 1380),
        (["hetzner"], True, 1370),
        (["gcp"], True, 1370),
        ([EXTERNAL, "gcp"], False, 1380),
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
