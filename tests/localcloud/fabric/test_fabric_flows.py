"""Which tracked flows end when a rule is withdrawn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localcloud.fabric.firewall import Port, Router
from localcloud.fabric.flows import forbidden, moved, parse
from localcloud.spec import Rule
from tests.localcloud.fabric.worlds import ANYWHERE, WIREGUARD

LISTING = """\
udp      17 118 src=198.18.2.7 dst=198.18.1.5 sport=40000 dport=51820 src=198.18.1.5 dst=198.18.2.7 sport=51820 dport=40000 [ASSURED] mark=0 use=1
tcp      6 431999 ESTABLISHED src=203.0.113.10 dst=198.18.1.5 sport=50000 dport=22 src=198.18.1.5 dst=203.0.113.10 sport=22 dport=50000 [ASSURED] mark=0 use=1
icmp     1 29 src=198.18.1.6 dst=198.18.1.5 type=8 code=0 id=5 [UNREPLIED] src=198.18.1.5 dst=198.18.1.6 type=0 code=0 id=5 mark=0 use=1
"""  # noqa: E501

TRANSLATED = """\
udp      17 20 src=198.18.1.5 dst=198.18.2.7 sport=51820 dport=51820 src=10.0.1.10 dst=198.18.1.5 sport=51820 dport=51820 mark=0 use=1
udp      17 20 src=10.0.1.11 dst=198.18.2.7 sport=9 dport=51820 src=10.0.1.10 dst=198.18.2.8 sport=51820 dport=9 mark=0 use=1
"""  # noqa: E501


def test_a_flow_is_read_as_its_two_ends_see_it() -> None:
    udp, tcp, icmp = parse(LISTING)
    assert (udp.protocol, udp.sender, udp.receiver, udp.port) == ("udp", "198.18.2.7", "198.18.1.5", 51820)
    assert (tcp.protocol, tcp.port, tcp.original["sport"]) == ("tcp", 22, "50000")
    assert (icmp.protocol, icmp.port) == ("icmp", None)


def test_a_firewall_sees_the_translated_source_and_its_own_address() -> None:
    _, neighbour = parse(TRANSLATED)
    assert (neighbour.sender, neighbour.sender_seen, neighbour.receiver) == ("10.0.1.11", "198.18.2.8", "10.0.1.10")


def test_lines_that_are_no_flows_are_passed_over() -> None:
    assert not list(parse("conntrack v1.4.7 (conntrack-tools): 0 flow entries have been shown.\n\n"))


def test_only_what_the_rules_no_longer_let_in_ends() -> None:
    port = Port("v1-eth0", ("198.18.1.5",), ingress=(WIREGUARD,))
    assert [flow.protocol for flow in forbidden(parse(LISTING), [port])] == ["tcp", "icmp"]


def test_only_what_the_rules_no_longer_let_out_ends() -> None:
    port = Port("v1-eth0", ("198.18.2.7",), egress=(Rule("tcp", None, ANYWHERE),))
    assert [flow.protocol for flow in forbidden(parse(LISTING), [port])] == ["udp"]


def test_a_narrowed_source_ends_the_flows_of_the_others() -> None:
    rule = Rule("udp", (51820, 51820), ("198.18.2.8/32",))
    port = Port("v1-eth0", ("10.0.1.10",), ingress=(rule,))
    assert [flow.sender for flow in forbidden(parse(TRANSLATED), [port])] == ["198.18.1.5"]


OLD = Port("v1", ("172.28.0.10",), public={"172.28.0.10": "198.18.2.31"})
STAYS = Port("v2", ("172.28.0.11",), public={"172.28.0.11": "198.18.2.32"})


@pytest.mark.parametrize(
    ("now", "ended"),
    [
        pytest.param((STAYS, OLD), [], id="another order"),
        pytest.param((STAYS,), ["172.28.0.10"], id="gone"),
        pytest.param((replace(OLD, device="v3"), STAYS), ["172.28.0.10"], id="another machine's"),
        pytest.param(
            (replace(OLD, public={"172.28.0.10": "198.18.2.37"}), STAYS), ["172.28.0.10"], id="translated anew"
        ),
        pytest.param(
            (replace(OLD, public=None, shared={"172.28.0.10": "198.18.9.1"}), STAYS), ["172.28.0.10"], id="shared"
        ),
        pytest.param((replace(OLD, ingress=()), STAYS), [], id="other rules"),
    ],
)
def test_flows_of_an_address_end_when_another_machine_gets_it(now: tuple[Port, ...], ended: list[str]) -> None:
    assert moved(Router((OLD, STAYS), private=True), Router(now, private=True)) == ended
