"""The IPv6 addresses of an interface, as the kernel tells them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv6Interface, IPv6Network

import pytest

from node.gateway.boot import Rules
from node.network.addresses6 import Ip6, keep, parse_table
from overlay.model import Network, Node
from tests.node.gateways import three_sites
from tests.node.network_support import MemoryAddresses6
from tests.node.support import MemoryFirewall

TABLE = (
    "00000000000000000000000000000001 01 80 10 80       lo\n"
    "fd0000000000000100000000" + "0a640201" + " 02 40 00 80      wg0\n"
    "fe80000000000000021122fffe334455 02 40 20 80      wg0\n"
    "20010db8000000000000000000000007 03 40 00 00     eth0\n"
)


def test_only_the_interfaces_own_addresses_count_and_not_those_of_its_link() -> None:
    assert parse_table(TABLE, "wg0") == {IPv6Interface("fd00:0:0:1::a64:201/64")}
    assert parse_table("", "wg0") == set()


def test_an_interface_that_is_not_there_has_none() -> None:
    assert Ip6("hybridnet-none").there() == set()


def test_only_what_is_wrong_is_changed() -> None:
    right, old = IPv6Interface("fd00::1/96"), IPv6Interface("fd01::1/96")
    addresses = MemoryAddresses6({right}, refuses=True)
    keep(addresses, right)
    addresses = MemoryAddresses6({old})
    keep(addresses, right)
    assert addresses.there() == {right}
    keep(addresses, None)
    assert addresses.there() == set()


class NoGroups:
    """A machine whose network has no groups."""

    def keep(self, network: Network, nodes: Sequence[Node], me: Node) -> bool:
        return False


def test_a_gateway_that_takes_no_ipv6_address_says_so_once_and_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    made, firewall = three_sites(), MemoryFirewall()
    roster = replace(made, network=replace(made.network, overlay6=IPv6Network("fd12:3456:789a::/48")))
    addresses = MemoryAddresses6(refuses=True)
    rules = Rules(firewall, NoGroups(), addresses)
    assert [rules.keep(roster, "gw-a") for _ in range(2)] == ["admin4", ""]
    assert firewall.roster == roster
    assert capfd.readouterr().err.count("IPv6 cannot be kept") == 1
    addresses.refuses = False
    rules.keep(roster, "gw-a")
    assert len(addresses.there()) == 1
