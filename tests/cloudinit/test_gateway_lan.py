"""What a gateway's firewall does for its site's own network, and with IPv6."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

import pytest

from cloudinit import render_gateway
from node.firewall import desired_sets, script
from overlay.model import Network, Node, Site
from overlay.roster import Roster
from tests.cloudinit.examples import GATEWAY, OVERLAY, key
from tests.cloudinit.test_documents import rules
from tests.node.flows import Machine, flows_through

SPOKE, OTHER_SPOKE, LAN, STRANGER = "10.100.2.3", "10.100.2.4", "172.31.0.9", "198.51.100.9"
OVERLAY6 = IPv6Network("fd12:3456:789a::/48")


def twin(address: str) -> str:
    return str(OVERLAY6.network_address + int(IPv4Address(address)))


def roster(lan: str | None, overlay6: IPv6Network | None = None) -> Roster:
    site = Site("aws", "aws", IPv4Network("10.100.2.0/24"), "eu-central-1", IPv4Network(lan) if lan else None)
    nodes = (
        Node("aws-3", "aws", IPv4Address(SPOKE), "spoke", key("aws-3")),
        Node("aws-4", "aws", IPv4Address(OTHER_SPOKE), "spoke", key("aws-4")),
        Node("gw", "aws", IPv4Address("10.100.2.254"), "gateway", key("gw")),
    )
    return Roster(1, Network(OVERLAY, (site,), "hub", overlay6), 1420, nodes, (), ())


def gateway(folder: Path, made: Roster, *, serves: tuple[str, ...] = ()) -> Machine:
    """With first boot's rules and the sets of a roster."""
    (folder / "sets").write_text(script(desired_sets(made, "gw")))
    interfaces = {
        "wg0": ["10.100.2.254/16", f"{twin('10.100.2.254')}/96"],
        "eth0": ["198.51.100.1/24", "2001:db8::1/64"],
        "eth1": ["172.31.0.1/16"],
    }
    return Machine(
        "gw", interfaces, [str(rules("gateway", render_gateway(GATEWAY), folder)), str(folder / "sets")], serves
    )


SERVES = ("tcp/8000", "tcp/6443", "udp/8444", "udp/51820")
# None has a route to the site's own network: an answer says that what came had the gateway's address.
MACHINES = [
    Machine(
        "spoke",
        {"wg0": [f"{SPOKE}/32", f"{twin(SPOKE)}/128"]},
        (),
        SERVES,
        ["10.100.0.0/16", str(OVERLAY6)],
    ),
    Machine(
        "other", {"wg0": [f"{OTHER_SPOKE}/32", f"{twin(OTHER_SPOKE)}/128"]}, (), SERVES, ["10.100.0.0/16", "default"]
    ),
    Machine("lan", {"eth1": [f"{LAN}/16"]}, (), ["tcp/8000"], ["10.100.0.0/16", "default"]),
    Machine(
        "stranger",
        {"eth0": [f"{STRANGER}/24", "2001:db8::9/64"]},
        (),
        SERVES,
        ["10.100.0.0/16", "172.31.0.0/16", "fd12:3456:789a::/48"],
    ),
]


def test_machines_of_the_sites_network_reach_the_overlay_and_the_internet_as_the_gateway(tmp_path: Path) -> None:
    flows = [
        ("lan", SPOKE, "tcp/8000"),
        ("lan", STRANGER, "tcp/8000"),
        ("lan", SPOKE, "from/8444"),
        ("lan", SPOKE, "tcp/6443"),
        ("stranger", LAN, "tcp/8000"),
        ("stranger", SPOKE, "tcp/8000"),
    ]
    found = flows_through(gateway(tmp_path, roster("172.31.0.0/16")), MACHINES, flows)
    assert [found[flow] for flow in flows] == [
        "answered", "answered", "10.100.2.254 8444", "silence", "silence", "silence"
    ]  # fmt: skip


def test_without_the_roster_saying_so_they_reach_nothing(tmp_path: Path) -> None:
    flows = [("lan", SPOKE, "tcp/8000"), ("lan", STRANGER, "tcp/8000"), ("spoke", OTHER_SPOKE, "tcp/8000")]
    found = flows_through(gateway(tmp_path, roster(None)), MACHINES, flows)
    assert [found[flow] for flow in flows] == ["silence", "silence", "answered"]


def test_a_tunnel_from_the_sites_network_does_not_take_the_gateways_own_port(tmp_path: Path) -> None:
    found = flows_through(gateway(tmp_path, roster("172.31.0.0/16")), MACHINES, [("lan", STRANGER, "from/51820")])
    (seen,) = found.values()
    address, port = seen.split()
    assert address == "198.51.100.1"
    assert 32768 <= int(port) < 51820


@pytest.mark.parametrize("overlay6", [OVERLAY6, None])
def test_ipv6_passes_between_tunnels_if_the_overlay_has_it(tmp_path: Path, overlay6: IPv6Network | None) -> None:
    flows = [
        ("spoke", twin(OTHER_SPOKE), "tcp/8000"),
        ("spoke", twin("10.100.2.254"), "udp/8444"),
        ("spoke", twin("10.100.2.254"), "tcp/53"),
        ("spoke", twin("10.100.2.254"), "tcp/8000"),
        ("stranger", twin(SPOKE), "tcp/8000"),
        ("stranger", twin("10.100.2.254"), "tcp/8443"),
    ]
    middle = gateway(tmp_path, roster(None, overlay6), serves=("tcp/53", "tcp/8000", "tcp/8443", "udp/8444"))
    found = flows_through(middle, MACHINES, flows)
    passing = ["answered"] * 3 if overlay6 else ["silence"] * 3
    rest = [found[flow] for flow in flows[3:]]
    assert [found[flow] for flow in flows[:3]] == passing
    assert rest[:2] == ["silence", "silence"]
    assert rest[2] == ("silence" if overlay6 else "answered")


def test_a_tunnels_ipv6_source_is_its_own_network_and_the_kubernetes_port_keeps_to_pairs(tmp_path: Path) -> None:
    stranger = replace(MACHINES[1], interfaces={"wg0": [f"{twin('11.0.0.4')}/128"]}, routes=["default"])
    made = roster(None, OVERLAY6)
    flows = [("other", twin(SPOKE), "tcp/8000"), ("spoke", twin(OTHER_SPOKE), "tcp/6443")]
    found = flows_through(gateway(tmp_path, made), [MACHINES[0], stranger], flows[:1])
    assert found[flows[0]] == "silence"
    assert flows_through(gateway(tmp_path, made), MACHINES, flows[1:]) == {flows[1]: "answered"}
    alone = replace(made, nodes=tuple(node for node in made.nodes if node.name != "aws-4"))
    assert flows_through(gateway(tmp_path, alone), MACHINES, flows[1:]) == {flows[1]: "silence"}


def test_names_and_nudges_come_from_tunnels_alone(tmp_path: Path) -> None:
    serves = ("udp/8444", "udp/53", "tcp/53")
    inside = [("spoke", "10.100.2.254", what) for what in serves]
    outside = [("stranger", "198.51.100.1", what) for what in serves]
    found = flows_through(gateway(tmp_path, roster(None), serves=serves), MACHINES, inside + outside)
    assert [found[flow] for flow in inside] == ["answered"] * 3
    assert [found[flow] for flow in outside] == ["silence"] * 3
