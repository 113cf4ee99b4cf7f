"""Policies on what firewalls let in: when they say something, and when not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from policy.model import UNKNOWN
from tests.policy.findings import FIREWALL, GCP_FIREWALL, GROUP, INGRESS, INSTANCE, SERVER, said, settings, who_say
from tests.policy.openings import GCP_RULE, NOT_AS_PORTS, WAYS, Inputs, aws_group, gcp, gcp_policy, hetzner

Way = Callable[..., Inputs]
SSH, PORT, WIREGUARD = "ssh-open-to-world", "undeclared-port", "wireguard-port"
ways = pytest.mark.parametrize(("kind", "way"), WAYS)


@ways
@pytest.mark.parametrize("source", ["0.0.0.0/0", "::/0", "2000::/3", "128.0.0.0/1"])
def test_ssh_from_the_world_is_found_and_counts_as_nothing_else(kind: str, way: Way, source: str) -> None:
    inputs = way("tcp", "22", source)
    assert said(SSH, kind, inputs, settings()) == [f"lets SSH (TCP 22) in from {source}"]
    assert said(SSH, kind, inputs, None)
    assert who_say(kind, inputs, settings()) == {SSH}


@ways
@pytest.mark.parametrize("source", ["203.0.113.0/24", "203.0.113.7/32"])
def test_ssh_from_administrators_is_let_in(kind: str, way: Way, source: str) -> None:
    assert not who_say(kind, way("tcp", "22", source), settings())


@ways
def test_ssh_from_somebody_else_is_a_port_that_nobody_declared(kind: str, way: Way) -> None:
    for source in ("198.51.100.0/24", "2001:db8::/48"):
        assert who_say(kind, way("tcp", "22", source), settings()) == {PORT}, source


@ways
@pytest.mark.parametrize("ports", ["1-65535", "20-25", "0-22"])
def test_ssh_is_found_in_a_range_of_ports(kind: str, way: Way, ports: str) -> None:
    assert who_say(kind, way("tcp", ports, "0.0.0.0/0"), settings()) == {SSH, PORT}


@pytest.mark.parametrize(("kind", "inputs"), NOT_AS_PORTS)
def test_ssh_is_found_where_everything_is_let_in(kind: str, inputs: Inputs) -> None:
    assert {SSH, PORT} <= who_say(kind, inputs, settings())


def test_halves_of_the_internet_are_the_internet() -> None:
    quarters = [f"{first}.0.0.0/8" for first in range(64, 128)]
    for inputs in (hetzner("tcp", "22", *quarters), gcp("tcp", "22", "0.0.0.0/1", "128.0.0.0/1")):
        kind = FIREWALL if "rules" in inputs else GCP_FIREWALL
        assert said(SSH, kind, inputs, settings())
    rules = [*hetzner("tcp", "22", "2.0.0.0/8")["rules"], *hetzner("tcp", "20-30", "3.0.0.0/8")["rules"]]
    assert said(SSH, FIREWALL, {"rules": rules}, settings()) == ["lets SSH (TCP 22) in from 2.0.0.0/7"]
    assert not said(SSH, FIREWALL, {"rules": rules[:1]}, settings())


def test_private_networks_are_not_the_world() -> None:
    for source in ("10.0.0.0/8", "fc00::/7", "10.100.0.0/16"):
        assert not said(SSH, FIREWALL, hetzner("tcp", "22", source), settings()), source


@ways
@pytest.mark.parametrize(
    ("ports", "source"), [("8443", "0.0.0.0/0"), ("8443", "::/0"), ("443", "198.51.100.0/24"), ("443", "::/0")]
)
def test_what_the_settings_name_is_let_in(kind: str, way: Way, ports: str, source: str) -> None:
    assert not who_say(kind, way("tcp", ports, source), settings())


@ways
@pytest.mark.parametrize(
    ("ports", "source"), [("80", "0.0.0.0/0"), ("8000", "::/0"), ("442-443", "0.0.0.0/0"), ("6443", "192.0.2.7/32")]
)
def test_a_port_that_the_settings_do_not_name_is_found(kind: str, way: Way, ports: str, source: str) -> None:
    inputs = way("tcp", ports, source)
    assert said(PORT, kind, inputs, settings()) == [f"lets TCP {ports} in from {source}"]
    assert who_say(kind, inputs, settings()) == {PORT}
    assert not who_say(kind, inputs, None), "of a stack of another project nobody knows what it declares"


def test_requests_are_let_in_from_whom_the_settings_name_for_them() -> None:
    closed = settings({"loadBalancer": {"enabled": False}})
    few = settings({"loadBalancer": {"enabled": True, "sources": ["198.51.100.0/24"]}})
    for source, of, found in (
        ("198.51.100.0/25", few, False),
        ("0.0.0.0/0", few, True),
        ("::/0", few, True),
        ("198.51.100.0/24", closed, True),
    ):
        assert bool(said(PORT, FIREWALL, hetzner("tcp", "443", source), of)) is found, source


@ways
def test_the_overlay_and_the_sites_own_networks_may_use_every_port(kind: str, way: Way) -> None:
    of = settings({"network/overlay6": "fd3c:9a51:77d0::/64"})
    for source in ("10.100.0.0/16", "10.100.2.0/24", "172.28.0.0/20", "172.29.4.0/24", "fd3c:9a51:77d0::/64"):
        for protocol in ("tcp", "udp"):
            assert not who_say(kind, way(protocol, "1-65535", source), of), source
    assert said(PORT, kind, way("tcp", "5432", "10.0.0.0/8"), of), "nobody has named it"


def test_protocols_without_ports_are_open_or_harmless() -> None:
    of = settings()
    assert not who_say(FIREWALL, hetzner("icmp", "any", "0.0.0.0/0", "::/0"), of)
    assert not who_say(GROUP, {"ingress": [{"protocol": "58", "fromPort": -1, "ipv6CidrBlocks": ["::/0"]}]}, of)
    assert who_say(FIREWALL, {"rules": [{"direction": "in", "protocol": "gre", "sourceIps": ["::/0"]}]}, of) == {PORT}
    assert who_say(GCP_FIREWALL, gcp("sctp", "80", "0.0.0.0/0"), of) == {PORT}


def test_managed_lists_may_hold_anybody() -> None:
    group = {"ingress": [{"protocol": "tcp", "fromPort": 443, "toPort": 443, "prefixListIds": ["pl-1"]}]}
    assert said(PORT, GROUP, group, settings()) == ["lets TCP 443 in from pl-1"]
    rule = {"ipProtocol": "udp", "fromPort": 51820, "toPort": 51820, "prefixListId": "pl-1"}
    assert who_say(INGRESS, rule, settings()) == {WIREGUARD}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("srcRegionCodes", "DE"),
        ("srcFqdns", "example.com"),
        ("srcAddressGroups", "projects/p/locations/global/addressGroups/g"),
        ("srcThreatIntelligences", "iplist-known-malicious-ips"),
    ],
)
def test_countries_and_names_may_hold_anybody(key: str, value: str) -> None:
    for protocol, rule in (("tcp", PORT), ("udp", WIREGUARD)):
        inputs = gcp_policy(protocol, "22")
        let_in = {**inputs, "match": {**inputs["match"], key: [value]}}
        assert said(rule, GCP_RULE, let_in, settings()) == [f"lets {protocol.upper()} 22 in from {key} {value}"]
        assert who_say(GCP_RULE, let_in, settings()) == {rule}


def test_members_of_gcps_networks_come_from_inside_and_the_internet_is_the_world() -> None:
    inputs = gcp_policy("tcp", "22")
    for key, value, found in (
        ("srcSecureTags", [{"name": "tagValues/1"}], set[str]()),
        ("srcNetworks", ["n"], set[str]()),
        ("srcNetworkScope", "INTRA_VPC", set[str]()),
        ("srcNetworkScope", "INTERNET", {SSH}),
    ):
        match = {**inputs["match"], key: value}
        assert who_say(GCP_RULE, {**inputs, "match": match}, settings()) == found, value


def test_a_port_may_be_a_number() -> None:
    (rule,) = hetzner("tcp", "22", "0.0.0.0/0")["rules"]
    assert said(SSH, FIREWALL, {"rules": [{**rule, "port": 22.0}]}, settings())


@pytest.mark.parametrize("port", ["", "ssh", [], {}])
def test_what_the_cloud_refuses_does_not_end_the_policy(port: object) -> None:
    for ends in ({"fromPort": port, "toPort": 22}, {"fromPort": 22, "toPort": port}):
        assert not who_say(INGRESS, {"ipProtocol": "tcp", "cidrIpv4": "0.0.0.0/0", **ends}, settings())


def test_what_is_not_let_in_from_networks_is_left_alone() -> None:
    of = settings()
    outward = {"rules": [{"direction": "out", "protocol": "tcp", "port": "any", "destinationIps": ["0.0.0.0/0"]}]}
    member = {"ingress": [{"protocol": "-1", "fromPort": 0, "toPort": 0, "self": True, "securityGroups": ["sg-1"]}]}
    tagged = {"allows": [{"protocol": "all"}], "sourceTags": ["bastion"]}
    denied = {"denies": [{"protocol": "all"}], "sourceRanges": ["0.0.0.0/0"]}
    off = {**gcp("tcp", "22", "0.0.0.0/0"), "disabled": True}
    egress = {**gcp("tcp", "22", "0.0.0.0/0"), "direction": "EGRESS"}
    for kind, inputs in (
        (FIREWALL, outward),
        (GROUP, member),
        (GROUP, {"egress": aws_group("-1", "0", "0.0.0.0/0")["ingress"]}),
        (INGRESS, {"ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "referencedSecurityGroupId": "sg-1"}),
        ("aws:ec2/securityGroupRule:SecurityGroupRule", {"type": "egress", "protocol": "-1", "cidrBlocks": ["::/0"]}),
        (GCP_FIREWALL, tagged),
        (GCP_FIREWALL, denied),
        (GCP_FIREWALL, off),
        (GCP_FIREWALL, egress),
    ):
        assert not who_say(kind, inputs, of), inputs


UNKNOWNS: list[tuple[str, Inputs]] = [
    (FIREWALL, {"rules": UNKNOWN}),
    (FIREWALL, {"rules": [UNKNOWN]}),
    (FIREWALL, hetzner("tcp", "22")),
    (FIREWALL, {"rules": [{"direction": "in", "protocol": "tcp", "port": UNKNOWN, "sourceIps": ["0.0.0.0/0"]}]}),
    (FIREWALL, {"rules": [{"direction": "in", "protocol": "tcp", "port": "22", "sourceIps": [UNKNOWN]}]}),
    (GROUP, {"ingress": [{"protocol": "tcp", "fromPort": UNKNOWN, "toPort": 22, "cidrBlocks": ["0.0.0.0/0"]}]}),
    (INGRESS, {"ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "cidrIpv4": UNKNOWN}),
    (GCP_FIREWALL, {"allows": [{"protocol": UNKNOWN}], "sourceRanges": ["0.0.0.0/0"]}),
    (GCP_FIREWALL, {"allows": [{"protocol": "tcp", "ports": UNKNOWN}], "sourceRanges": ["0.0.0.0/0"]}),
    (GCP_FIREWALL, {"allows": [{"protocol": "tcp", "ports": [UNKNOWN]}], "sourceRanges": ["0.0.0.0/0"]}),
    (GCP_FIREWALL, {"allows": [{"protocol": "tcp"}], "sourceRanges": UNKNOWN}),
    (GCP_RULE, {**gcp_policy("tcp", "22"), "match": UNKNOWN}),
    (
        GCP_RULE,
        {**gcp_policy("tcp", "22"), "match": {"srcIpRanges": UNKNOWN, "layer4Configs": [{"ipProtocol": "tcp"}]}},
    ),
]


@pytest.mark.parametrize(("kind", "inputs"), UNKNOWNS)
def test_what_is_not_known_yet_is_no_violation(kind: str, inputs: Inputs) -> None:
    assert not who_say(kind, inputs, settings())


@ways
def test_the_tunnels_ports_are_let_in(kind: str, way: Way) -> None:
    for source in ("0.0.0.0/0", "::/0"):
        for ports in ("51820", "51820-51821"):
            assert not who_say(kind, way("udp", ports, source), settings()), (source, ports)


@ways
@pytest.mark.parametrize("ports", ["51822", "51819-51820", "1-65535", "53"])
def test_another_port_for_tunnels_is_found(kind: str, way: Way, ports: str) -> None:
    for source in ("0.0.0.0/0", "::/0", "192.0.2.7/32"):
        assert who_say(kind, way("udp", ports, source), settings()) == {WIREGUARD}, source


def test_gateways_ports_are_for_whom_the_settings_name() -> None:
    few = settings({"wireguardSources": ["198.51.100.0/24"]})
    assert not said(WIREGUARD, FIREWALL, hetzner("udp", "51820-51821", "198.51.100.0/24"), few)
    assert not said(WIREGUARD, FIREWALL, hetzner("udp", "51820", "0.0.0.0/0"), few), "spokes are called by anybody"
    assert said(WIREGUARD, FIREWALL, hetzner("udp", "51820-51821", "0.0.0.0/0"), few)


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("[Interface]\nListenPort = 51822\n", 51822),
        ("runcmd:\n- wg set wg0 listen-port 12345 private-key /etc/k\n", 12345),
        ("[Interface]\nlistenport=443\n", 443),
    ],
)
def test_a_port_that_user_data_gives_to_wireguard_is_found(text: str, port: int) -> None:
    expected = [f"is told by its user data to let WireGuard listen on UDP {port}"]
    for kind, inputs in ((SERVER, {"userData": text}), (INSTANCE, {"userData": text})):
        assert said(WIREGUARD, kind, inputs, settings()) == expected
    assert said(WIREGUARD, "gcp:compute/instance:Instance", {"metadata": {"user-data": text}}, settings()) == expected


def test_a_declared_port_in_user_data_is_none() -> None:
    text = "[Interface]\nListenPort = 51820\n# ListenPort = 1\n[Interface]\nListenPort = 51821\n"
    for kind in (SERVER, INSTANCE):
        assert not said(WIREGUARD, kind, {"userData": text}, settings())
    assert not said(WIREGUARD, SERVER, {"userData": UNKNOWN}, settings())
