"""What a router's ruleset says, and that nftables takes it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from localcloud.fabric import plan
from localcloud.fabric.firewall import Cut, Port, Router, admits, render
from localcloud.spec import INTERNET, Interface, Rule
from tests.localcloud.fabric.worlds import ANYWHERE, AWS, GCP, HETZNER, SSH_FROM_DESK, WIREGUARD, recorded

PRIVATE = Interface("eth1", "hcloud-7", "10.1.0.2", 16, 1450)


def checked(ruleset: str) -> str:
    """The ruleset, after nftables found nothing wrong with it (in a namespace of its own, where it may look)."""
    if os.geteuid() != 0 or not shutil.which("nft", path="/usr/sbin:/usr/bin"):
        pytest.skip("needs root and nft")
    done = subprocess.run(
        ["unshare", "--net", "nft", "-c", "-f", "-"], input=ruleset, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, f"{done.stderr}\n{ruleset}"
    return ruleset


def chain(ruleset: str, name: str) -> list[str]:
    """The rules of a chain."""
    _, found, rest = ruleset.partition(f"  chain {name} {{\n")
    assert found, f"no chain {name} in:\n{ruleset}"
    return [line.strip() for line in rest.partition("  }\n")[0].splitlines()]


def test_every_router_of_three_clouds_is_taken_by_nftables(tmp_path: Path) -> None:
    hetzner = replace(HETZNER, interfaces=(*HETZNER.interfaces, PRIVATE))
    records, numbers = recorded(tmp_path, hetzner, AWS, GCP)
    cuts = {frozenset({"aws-1"}), frozenset({"hetzner-gw", "gcp-1"})}
    routers = plan.routers(records, numbers, cuts)
    assert set(routers) == {INTERNET, "vpc-1", "network-1", "hcloud-7"}
    for router in routers.values():
        checked(render(router))


def test_an_empty_internet_is_taken_by_nftables() -> None:
    checked(render(plan.routers({}, {})[INTERNET]))


def test_what_no_rule_names_is_dropped() -> None:
    port = Port("v1-eth0", ("198.18.1.5",), ingress=(WIREGUARD, SSH_FROM_DESK))
    ruleset = checked(render(Router((port,), private=False)))
    assert chain(ruleset, "in_v1_eth0") == [
        "meta nfproto ipv4 udp dport 51820-51820 accept",
        "meta nfproto ipv6 udp dport 51820-51820 accept",
        "ip saddr { 203.0.113.0/24 } tcp dport 22-22 accept",
        "drop",
    ]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule("any", None, ("10.0.0.0/8",)), ["ip saddr { 10.0.0.0/8 } accept"]),
        (Rule("tcp", None, ("10.0.0.0/8",)), ["ip saddr { 10.0.0.0/8 } tcp dport 0-65535 accept"]),
        (
            Rule("icmp", None, ANYWHERE),
            ["meta nfproto ipv4 meta l4proto icmp accept", "meta nfproto ipv6 meta l4proto ipv6-icmp accept"],
        ),
        (Rule("udp", (1, 2), ("2001:db8::/32",)), ["ip6 saddr { 2001:db8::/32 } udp dport 1-2 accept"]),
        (Rule("udp", (1, 2), ()), []),
        (Rule("any", None, ("10.0.0.0/8", "10.1.0.0/16")), ["ip saddr { 10.0.0.0/8 } accept"]),
    ],
)
def test_each_kind_of_rule(rule: Rule, expected: list[str]) -> None:
    port = Port("v1-eth0", ("198.18.1.5",), ingress=(rule,))
    assert chain(checked(render(Router((port,), private=False))), "in_v1_eth0") == [*expected, "drop"]


def test_no_firewall_lets_everything_in_and_an_empty_one_nothing() -> None:
    def deliver(ingress: tuple[Rule, ...] | None) -> str:
        return render(Router((Port("v1-eth0", ("198.18.1.5",), ingress=ingress),), private=False))

    assert "in_v1_eth0" not in deliver(None)
    assert chain(deliver(()), "in_v1_eth0") == ["drop"]


def test_hetzners_firewall_does_not_filter_its_private_network(tmp_path: Path) -> None:
    hetzner = replace(HETZNER, interfaces=(*HETZNER.interfaces, PRIVATE))
    routers = plan.routers(*recorded(tmp_path, hetzner))
    assert routers["hcloud-7"].ports[0].ingress is None
    assert routers[INTERNET].ports[0].ingress == HETZNER.ingress


def test_a_machine_sends_from_other_addresses_only_where_it_may_forward(tmp_path: Path) -> None:
    hetzner = replace(HETZNER, interfaces=(*HETZNER.interfaces, PRIVATE))
    routers = plan.routers(*recorded(tmp_path, hetzner, AWS, replace(AWS, id="i-2", node="aws-2", forwarding=True)))
    assert [port.any_source for port in routers["vpc-1"].ports] == [False, True]
    assert routers[INTERNET].ports[0].any_source is False, "nobody forges a public address"
    assert routers["hcloud-7"].ports[0].any_source is True
    assert '"v2-eth0" . 10.0.1.10' in render(routers["vpc-1"])
    assert "v3-eth0 ." not in render(routers["vpc-1"])


def test_public_addresses_are_translated_one_to_one_and_the_rest_share_one(tmp_path: Path) -> None:
    routers = plan.routers(*recorded(tmp_path, AWS, GCP))
    vpc, network = render(routers["vpc-1"]), render(routers["network-1"])
    assert "dnat ip to ip daddr map { 198.18.2.7 : 10.0.1.10 }" in vpc
    assert "snat ip to ip saddr map { 10.0.1.10 : 198.18.2.7 }" in vpc
    assert "dnat" not in network.replace("ct status dnat", "")
    assert "ip saddr 10.0.1.10 snat ip to 198.18.9.1" in chain(network, "translate")
    uplinks = {port.device: port.addresses for port in routers[INTERNET].ports if port.device.startswith("n")}
    assert uplinks == {"n1": ("198.18.9.1", "100.64.1.1"), "n2": ("198.18.2.7", "100.64.1.2")}


def test_without_a_public_address_nothing_leaves_a_private_network() -> None:
    ruleset = checked(render(Router((Port("v1-eth0", ("10.0.1.10",)),), private=True)))
    assert chain(ruleset, "untranslated")[-1] == 'iifname != "uplink" oifname "uplink" ct state new drop'


def test_a_cut_pair_knows_each_other_by_every_address_that_is_its_own(tmp_path: Path) -> None:
    neighbour = replace(
        AWS, id="i-2", node="aws-2", interfaces=(Interface("eth0", "vpc-1", "10.0.1.11", 24, 9001, "198.18.2.8"),)
    )
    records, numbers = recorded(tmp_path, HETZNER, AWS, GCP, neighbour)
    cuts = {frozenset({"aws-1", "aws-2"}), frozenset({"aws-1", "gcp-1"}), frozenset({"aws-1", "hetzner-gw"})}
    routers = plan.routers(records, numbers, cuts)
    device = records[AWS.id].device("eth0")
    assert {cut.addresses or () for cut in routers["vpc-1"].cuts if cut.device == device} == {
        ("10.0.1.11", "198.18.2.8"),
        ("198.18.1.5", "2001:db8:1::1"),
    }
    assert routers["network-1"].cuts == (Cut(records[GCP.id].device("eth0"), ("198.18.2.7",)),)
    for router in routers.values():
        checked(render(router))


def test_admits_agrees_with_what_the_rules_mean() -> None:
    rules = (WIREGUARD, SSH_FROM_DESK, Rule("icmp", None, ("::/0",)), Rule("any", None, ("10.100.0.0/16",)))
    assert admits(None, "tcp", 1, "192.0.2.1")
    assert not admits((), "tcp", 1, "192.0.2.1")
    assert admits(rules, "udp", 51820, "192.0.2.1")
    assert not admits(rules, "udp", 51821, "192.0.2.1")
    assert admits(rules, "tcp", 22, "203.0.113.10")
    assert not admits(rules, "tcp", 22, "198.51.100.7")
    assert admits(rules, "icmpv6", None, "2001:db8::1")
    assert not admits(rules, "icmp", None, "192.0.2.1")
    assert admits(rules, "sctp", 9, "10.100.3.4")


def test_who_has_no_address_on_the_internet_reaches_no_public_address_next_door(tmp_path: Path) -> None:
    inside = replace(
        AWS, id="i-2", node="aws-2", interfaces=(Interface("eth0", "vpc-1", "10.0.1.11", 24, 9001),), ingress=None
    )
    vpc = checked(render(plan.routers(*recorded(tmp_path, AWS, inside))["vpc-1"]))
    translated = [line.partition(" dnat ")[0] for line in chain(vpc, "inbound")[1:]]
    assert translated == ['iifname "uplink"', "ip saddr { 10.0.1.10 }"]


def test_a_card_with_ipv6_alone_has_no_ipv4_address_of_its_own(tmp_path: Path) -> None:
    card = Interface("eth0", INTERNET, None, 32, 1500, address6="2001:db8:1::6")
    internet = plan.routers(*recorded(tmp_path, replace(HETZNER, interfaces=(card,))))[INTERNET]
    assert internet.ports[0].addresses == ("2001:db8:1::6",)
    spoof = chain(checked(render(internet)), "spoof")
    assert any("ipv4" in line and '"v1-eth0"' in line and '"v1-eth0" .' not in line for line in spoof), "none is its"
