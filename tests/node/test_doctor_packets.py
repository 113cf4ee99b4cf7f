"""Which rules of a firewall the doctor finds in the way of the tunnel: by what nft(8) itself prints."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from node.doctor import packets
from node.doctor.packets import Packet, Ruleset

LOCAL, HOST = "192.0.2.10", "198.51.100.1"
OWN, FAR = "10.100.1.1", "10.100.0.1"
KIT = Path(__file__).parents[2] / "cloudinit" / "kit" / "gateway.nft"
SETS = """define overlay = 10.100.0.0/16
table inet hybridnet
delete table inet hybridnet
table inet hybridnet {
  set wg_sources4 { type ipv4_addr; flags interval; elements = { 0.0.0.0/0 } }
  set wg_sources6 { type ipv6_addr; flags interval; elements = { ::/0 } }
  set kube_pairs4 { type ipv4_addr . ipv4_addr; flags interval; }
  set kube_pairs6 { type ipv6_addr . ipv6_addr; flags interval; }
  set lan4 { type ipv4_addr; flags interval; }
  set overlay6 { type ipv6_addr; flags interval; }
  set admin4 { type ipv4_addr; flags interval; elements = { 203.0.113.0/24 } }
  set admin6 { type ipv6_addr; flags interval; }
}
"""
"""As first boot's template has them, after a roster."""


@pytest.fixture(autouse=True)
def nft() -> None:
    probe = ["unshare", "--net", "true"]
    if shutil.which("nft") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("needs nft and the right to make a network namespace")


def ruleset(script: str) -> Ruleset:
    """What nft(8) prints of a script's rules, in a network namespace of its own."""
    listing = "nft -f - && nft -j list ruleset && echo '---' && nft -a list ruleset"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", listing], input=script, capture_output=True, text=True, check=True
    )
    made, _, text = done.stdout.partition("---\n")
    return packets.parse(made, text)


def gateways(sets: str = SETS) -> str:
    """A gateway's rules, as first boot's kit has them."""
    return KIT.read_text().replace('include "/etc/hybridnet/sets.nft"', sets)


def of_spoke() -> list[Packet]:
    return [
        *packets.inner(OWN, FAR, "wg0"),
        *packets.outer(LOCAL, HOST, "eth0", 51820, 51820, is_called=False),
    ]


def of_gateway() -> list[Packet]:
    return [
        *packets.inner(FAR, OWN, "wg0"),
        *packets.outer(HOST, LOCAL, "eth0", 51820, 51820, is_called=True),
        *packets.forwarded("10.100.1.1", "10.100.2.1", "wg0"),
    ]


def table(*lines: str, family: str = "inet") -> str:
    """A table of somebody else's."""
    return "\n".join(["", f"table {family} mine {{", *lines, "}", ""])


def chain(hook: str, *rules: str, policy: str = "accept", more: str = "") -> str:
    """A chain at a hook, after what is in ``more``."""
    return more + table("chain c {", f"type filter hook {hook} priority 5; policy {policy}", *rules, "}")


INNER = table("chain inner {", "udp dport 51820 drop", "}")
RETURNING = table("chain inner {", "return", "udp dport 51820 drop", "}")
FAR_SET = table("set far {", "type ipv4_addr", "elements = { 198.51.100.1 }", "}")


def found(script: str, among: list[Packet]) -> list[tuple[str, bool]]:
    return [(drop.text, drop.certain) for drop in packets.drops(ruleset(script), among)]


def test_a_gateways_own_rules_let_everything_of_the_tunnel_pass() -> None:
    assert found(gateways(), of_gateway()) == []


def test_a_gateways_own_rules_take_who_is_none_of_its_sources() -> None:
    script = gateways(SETS.replace("elements = { 0.0.0.0/0 }", "elements = { 203.0.113.0/24 }"))
    assert [certain for _, certain in found(script, of_gateway())] == [True]


DROPPING = {
    "WireGuard's port, going out": chain("output", "udp dport 51820 drop"),
    "WireGuard's port, coming in": chain("input", "udp sport 51820 drop"),
    "a set of ports": chain("output", "udp dport { 53, 51820-51821 } reject"),
    "the tunnel's device": chain("output", "oifname wg0 drop"),
    "any such device": chain("output", 'oifname "wg*" drop'),
    "the overlay": chain("input", "ip saddr 10.0.0.0/8 drop"),
    "a named set": chain("output", "ip daddr @far drop", more=FAR_SET),
    "behind a jump": chain("output", "meta l4proto udp jump inner", more=INNER),
    "a verdict map": chain("output", "udp dport vmap { 53 : accept, 51820 : drop }"),
    "large packets": chain("output", "meta length > 1400 drop"),
    "everything but": chain("output", "udp dport != 53 drop"),
    "before it is routed": chain("prerouting", f"ip saddr {HOST} drop"),
    "IPv4 alone": chain("output", f"ip daddr {HOST} drop").replace("table inet", "table ip"),
}
SOME = {
    "a number at random": chain("output", "udp dport 51820 numgen random mod 10 < 3 drop"),
    "a rate": chain("output", "udp dport 51820 limit rate over 10/second drop"),
    "a mark": chain("output", "udp dport 51820 meta mark 7 drop"),
}
PASSING = {
    "another port": chain("output", "udp dport 51999 drop"),
    "another protocol": chain("output", "tcp dport != 22 drop"),
    "IPv6": chain("output", "ip6 daddr != ::1 drop"),
    "another device": chain("output", "oifname eth7 drop"),
    "another address": chain("output", "ip daddr 192.0.2.99 drop"),
    "an accept before": chain("output", "oifname wg0 accept", "udp dport 51820 accept", "drop"),
    "small packets": chain("output", "meta length < 60 drop"),
    "what nobody asked for": chain(
        "input", "ct state established,related accept", "iifname wg0 accept", policy="drop"
    ),
    "a return before": chain(
        "output", "jump inner", more=RETURNING),
    "a counter": chain("output", "udp dport 51820 counter"),
}  # fmt: skip


@pytest.mark.parametrize("script", DROPPING.values(), ids=DROPPING)
def test_a_rule_that_takes_packets_of_the_tunnel_is_found(script: str) -> None:
    assert [certain for _, certain in found(script, of_spoke())] == [True]


@pytest.mark.parametrize("script", SOME.values(), ids=SOME)
def test_a_rule_that_takes_some_of_them_is_not_certain(script: str) -> None:
    assert [certain for _, certain in found(script, of_spoke())] == [False]


@pytest.mark.parametrize("script", PASSING.values(), ids=PASSING)
def test_a_rule_that_takes_none_of_them_is_passed_over(script: str) -> None:
    assert found(script, of_spoke()) == []


def test_a_rule_that_takes_what_a_gateway_passes_on_is_found_with_its_handle() -> None:
    script = gateways() + chain("forward", "iifname wg0 oifname wg0 ip protocol icmp drop")
    (drop,) = packets.drops(ruleset(script), of_gateway())
    assert (drop.table, drop.chain, drop.certain) == ("inet mine", "c", True)
    assert drop.handle > 0
    assert drop.text.endswith(" drop")
    assert packets.drops(ruleset(script), of_gateway(), aside=("inet mine",)) == []


def test_what_somebody_took_and_added_is_told_in_the_words_of_nft() -> None:
    wanted = ruleset(gateways())
    shorter = [line for line in gateways().splitlines() if "ip saddr @admin4 tcp dport 22" not in line]
    other = "\n".join(shorter).replace(
        "tcp dport { 443, 8443 } accept", "tcp dport { 443, 8443 } accept\n    tcp dport 23 accept"
    )
    lacking, added = packets.difference(wanted, ruleset(other), "inet hybridnet")
    assert lacking == ["input: ip saddr @admin4 tcp dport 22 accept"]
    assert added == ["input: tcp dport 23 accept"]
    assert packets.difference(wanted, ruleset(gateways()), "inet hybridnet") == ([], [])


def test_elements_of_sets_are_no_difference() -> None:
    other = SETS.replace("203.0.113.0/24", "192.0.2.0/24")
    assert packets.difference(ruleset(gateways()), ruleset(gateways(other)), "inet hybridnet") == ([], [])


def test_a_chain_with_another_policy_is_a_difference() -> None:
    other = gateways().replace(
        "hook forward priority filter; policy drop", "hook forward priority filter; policy accept"
    )
    lacking, added = packets.difference(ruleset(gateways()), ruleset(other), "inet hybridnet")
    assert (lacking, added) == (["chain forward (policy drop)"], ["chain forward (policy accept)"])


def test_docker_in_front_of_the_tunnel_is_found_and_its_rules_for_others_are_not() -> None:
    docker = """
    table ip filter {
      chain DOCKER { iifname != "docker0" oifname "docker0" drop; }
      chain FORWARD {
        type filter hook forward priority 0; policy accept;
        oifname "docker0" ct state related,established accept
        iifname "docker0" drop
        jump DOCKER
      }
    }
    table inet other { chain f { type filter hook forward priority 0; meta protocol ip6 drop; }; }
    table ip nat { chain POSTROUTING { type nat hook postrouting priority 100; oifname "eth0" masquerade; }; }
    """
    passing = packets.forwarded("10.100.1.1", "10.100.2.1", "wg0")
    assert packets.drops(ruleset(docker), passing) == []
    (shut,) = packets.drops(ruleset(docker.replace("policy accept", "policy drop")), passing)
    assert (shut.chain, shut.certain) == ("FORWARD", True)


def parsed(*rules: list[object], policy: str = "accept") -> Ruleset:
    """A chain of nft(8)'s JSON, of parts that this machine's nft may not print."""
    chain = {"family": "ip", "table": "t", "name": "c", "hook": "forward", "type": "filter", "policy": policy}
    listed = [
        {"rule": {"family": "ip", "table": "t", "chain": "c", "handle": number, "expr": rule}}
        for number, rule in enumerate(rules, 2)
    ]
    return packets.parse(json.dumps({"nftables": [{"chain": chain}, *listed]}))


def test_what_an_older_nft_has_no_json_for_is_unknown_and_no_error() -> None:
    passing = packets.forwarded("10.100.1.1", "10.100.2.1", "wg0")
    for unknown in ("synproxy mss 1460", {"xt": None}):
        (found,) = packets.drops(parsed([unknown, {"drop": None}]), passing)
        assert not found.certain
        (policy,) = packets.drops(parsed([unknown, {"accept": None}], policy="drop"), passing)
        assert not policy.certain
    with pytest.raises(ValueError, match="not known here"):
        packets.drops(parsed([{"vmap": {}}]), passing)


def test_a_map_that_says_continue_ends_nothing() -> None:
    verdicts = {"vmap": {"key": {"meta": {"key": "iifname"}}, "data": {"set": [["wg0", {"continue": None}]]}}}
    (found,) = packets.drops(parsed([verdicts], [{"drop": None}]), packets.forwarded("10.1.1.1", "10.1.1.2", "wg0"))
    assert found.certain
