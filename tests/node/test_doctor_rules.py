"""Each of the doctor's rules, with facts on which it speaks and others on which it does not."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from node.doctor import machine_rules, tunnel_rules
from node.doctor.facts import (
    Disk,
    Drop,
    Expected,
    Facts,
    Filter,
    Names,
    PeerFacts,
    Reach,
    Release,
    Tunnel,
    Unit,
    Way,
)
from node.doctor.rules import diagnose
from tests.node.support import key

GATEWAY, OWN, OTHER = IPv4Address("10.100.0.1"), IPv4Address("10.100.1.1"), IPv4Address("10.100.1.2")
ENDPOINT = "198.51.100.1:51820"
WELL = Reach(20, (0.012,) * 20)
SILENT = Reach(12)
LOSSY = Reach(20, (0.012,) * 14)
Change = Callable[[Facts], Facts]


def healthy() -> Facts:
    """A spoke on which everything is as it should be."""
    gateway = PeerFacts(
        "gw", "gateway", GATEWAY, key("gw"), ENDPOINT,
        seen_endpoints=(ENDPOINT,), handshake_age=40, reach=WELL, full=Reach(3, (0.013,) * 3),
        way=Way("198.51.100.1", Reach(20, (0.011,) * 20), "yes", "silent"), routed_by="wg0", routed_as="10.100.0.0/16",
    )  # fmt: skip
    unit = Unit("hybridnet", "loaded", "active", "running", "enabled")
    tunnel = Unit("wg-quick@wg0", "loaded", "active", "exited", "enabled")
    return Facts(
        "spoke-1",
        "spoke",
        Expected(OWN, key("spoke-1"), 1420, 3, domain="wg.internal", others={GATEWAY: "gw", OTHER: "spoke-2"}),
        Tunnel(True, 1420, (OWN,), key("spoke-1"), 51820),
        (gateway,),
        {"hybridnet": unit, "wg-quick@wg0": tunnel},
        Release(4, 4, 4),
        Disk("/var/lib/hybridnet", 1 << 30, 1 << 34, 100_000),
        filter=Filter({"wg0": 2, "eth0": 2}),
        names=Names("active", ("10.100.0.1",), "gw.hetzner.wg.internal", "10.100.0.1", "10.100.0.1", "10.100.0.1"),
        forwarding=False,
        conntrack=(120, 262_144),
        skew=0.0,
        beyond=(("spoke-2", Reach(4, (0.02,))), ("spoke-3", Reach(4, (0.02,)))),
    )


def healthy_gateway() -> Facts:
    """A gateway on which everything is as it should be."""
    spokes = tuple(
        PeerFacts(
            f"spoke-{index}", "spoke", IPv4Address(f"10.100.1.{index}"), key(f"spoke-{index}"),
            seen_endpoints=(f"203.0.113.{index}:51820",), handshake_age=90, reach=WELL, full=Reach(3, (0.013,) * 3),
            routed_by="wg0", routed_as="10.100.0.0/16",
        )
        for index in (1, 2)
    )  # fmt: skip
    return replace(
        healthy(),
        name="gw",
        role="gateway",
        expected=Expected(GATEWAY, key("gw"), 1420, 3, others={OWN: "spoke-1", OTHER: "spoke-2"}),
        tunnel=Tunnel(True, 1420, (GATEWAY,), key("gw"), 51820),
        peers=spokes,
        forwarding=True,
        answers=True,
        is_healthy=True,
        beyond=(),
        skew=None,
    )


def peer(**changes: object) -> Change:
    """The first peer, changed."""
    return lambda facts: replace(facts, peers=(replace(facts.peers[0], **changes), *facts.peers[1:]))  # type: ignore[arg-type]


def peers(**changes: object) -> Change:
    """All peers, changed."""
    return lambda facts: replace(facts, peers=tuple(replace(each, **changes) for each in facts.peers))  # type: ignore[arg-type]


def changed(**changes: object) -> Change:
    return lambda facts: replace(facts, **changes)  # type: ignore[arg-type]


def part(name: str, **changes: object) -> Change:
    """One of the facts' own parts, changed."""
    return lambda facts: replace(facts, **{name: replace(getattr(facts, name), **changes)})


def both(*changes: Change) -> Change:
    def do(facts: Facts) -> Facts:
        for change in changes:
            facts = change(facts)
        return facts

    return do


def unit(name: str = "hybridnet", **changes: object) -> Change:
    return lambda facts: replace(
        facts, units={**facts.units, name: replace(facts.units["hybridnet"], name=name, **changes)}
    )  # type: ignore[arg-type]


SILENCE = peer(reach=SILENT, full=None)
AWAY = Way("198.51.100.1", Reach(3), "silent", "silent")
DROP = Drop("inet mine", "out", 7, "udp dport 51820 drop", "WireGuard's packets (176 bytes) to 198.51.100.1", True)
PASSING = replace(DROP, chain="fwd", text="iifname wg0 drop", packet="pings from 10.100.1.1 to 10.100.1.2")
NAMES = healthy().names

ON_A_SPOKE: dict[str, tuple[str, Change]] = {
    "the interface is gone": ("interface-down", both(SILENCE, changed(tunnel=None))),
    "the interface is down": ("interface-down", both(SILENCE, part("tunnel", is_up=False))),
    "another's address is here": ("duplicate-address", part("tunnel", addresses=(OWN, OTHER))),
    "the own address is not here": ("wrong-address", part("tunnel", addresses=())),
    "another private key": ("wrong-key", both(SILENCE, part("tunnel", public_key=key("other")))),
    "another peer's key": (
        "wrong-key",
        both(peer(is_present=False, reach=SILENT), part("tunnel", strangers=(key("x"),))),
    ),
    "no peer": ("peer-missing", peer(is_present=False, reach=SILENT)),
    "a prefix is gone": ("allowed-ips", both(SILENCE, peer(missing_allowed=("10.100.0.0/16",)))),
    "called elsewhere": ("endpoint-changed", both(SILENCE, peer(seen_endpoints=("192.0.2.9:51820",)))),
    "two machines with one key": (
        "duplicate-key",
        peer(reach=LOSSY, again=LOSSY, seen_endpoints=(ENDPOINT, "192.0.2.9:51820")),
    ),
    "not in the roster": ("not-in-roster", both(SILENCE, part("expected", is_listed=False))),
    "revoked": ("not-in-roster", both(SILENCE, part("expected", is_revoked=True))),
    "a pool's machine that may not join": (
        "not-in-roster",
        both(SILENCE, part("expected", refusal="403 public_key: this key was revoked"), changed(role="pool")),
    ),
    "refused by the gateway": ("not-in-roster", both(SILENCE, part("expected", refusal="403, no node's key"))),
    "another route": ("route", both(SILENCE, peer(routed_by="eth0", routed_as="10.100.0.0/24"))),
    "no route to it": ("route", both(SILENCE, peer(routed_by=None, routed_as=None, has_route=False))),
    "the default route alone": ("route", both(SILENCE, peer(routed_by="eth0", routed_as="default", has_route=False))),
    "no way out": ("no-uplink", both(SILENCE, peer(way=AWAY), changed(uplink=None))),
    "nobody at the port": (
        "gateway-interface",
        both(SILENCE, peer(way=replace(AWAY, control="yes", tunnel_port="refused"))),
    ),
    "a closed port": ("provider-firewall", both(SILENCE, peer(way=replace(AWAY, control="yes")))),
    "nothing answers": ("gateway-down", both(SILENCE, peer(way=AWAY))),
    "only pings answer": ("gateway-service", both(SILENCE, peer(way=replace(AWAY, ping=WELL)))),
    "large packets vanish": ("mtu-black-hole", peer(full=Reach(3), largest=1280)),
    "another MTU": ("wrong-mtu", part("tunnel", mtu=8921)),
    "packets are lost": ("packet-loss", peer(reach=LOSSY, again=LOSSY)),
    "the way is slow": (
        "high-latency",
        peer(reach=Reach(20, (0.42,) * 20), way=Way("h", Reach(20, (0.4,) * 20), "yes")),
    ),
    "the tunnel is slow": ("high-latency", peer(reach=Reach(20, (0.25,) * 20))),
    "nobody behind the gateway": ("not-forwarded", changed(beyond=(("spoke-2", Reach(4)), ("spoke-3", Reach(4))))),
    "a rule that drops": ("nftables-drop", both(SILENCE, part("rules", drops=(DROP,)))),
    "a rule that drops some": (
        "nftables-drop",
        both(peer(reach=LOSSY, again=LOSSY), part("rules", drops=(replace(DROP, certain=False),))),
    ),
    "the firewall is gone": ("firewall-missing", part("rules", is_missing=True)),
    "the firewall was changed": ("firewall-changed", part("rules", added=("input: tcp dport 23 accept",))),
    "a rule of ours is gone": (
        "firewall-changed",
        part("rules", lacking=("forward: ip daddr 169.254.169.254 reject",)),
    ),
    "strict filtering that takes packets": (
        "rp-filter",
        both(SILENCE, changed(filter=Filter({"wg0": 1, "eth0": 2}, 12))),
    ),
    "all flows are tracked": ("conntrack-full", changed(conntrack=(262_144, 262_144))),
    "all flows are tracked, and packets lost": (
        "conntrack-full",
        both(peer(reach=LOSSY, again=LOSSY), changed(conntrack=(260_000, 262_144))),
    ),
    "the clock is behind": ("clock-skew", changed(skew=-95.0)),
    "the clock is ahead": ("clock-skew", changed(skew=3600.0)),
    "the clock is behind, and no handshake": ("clock-skew", both(SILENCE, changed(skew=-95.0))),
    "another's certificate": ("certificate", changed(certificate="self-signed certificate")),
    "no room": ("disk-full", part("disk", free=0)),
    "no inodes": ("disk-full", part("disk", inodes=0)),
    "a disk that takes nothing": ("disk-full", part("disk", refusal="Read-only file system")),
    "no service": ("service-down", unit(active="inactive", sub="dead")),
    "a service that fails": ("service-down", unit(active="failed", sub="failed")),
    "a stopped process": ("service-hung", unit(is_stopped=True)),
    "no release that runs": ("service-down", part("release", running=0)),
    "an old release": ("old-release", part("release", running=3, newest=3)),
    "a release that failed": ("old-release", part("release", running=3, newest=4, offered=3, failed="status 1")),
    "a setup that failed": ("setup-failed", unit("hybridnet-setup", active="failed", sub="failed")),
    "no resolver": ("dns", changed(names=replace(NAMES, resolver="inactive", here="unknown"))),
    "names are asked elsewhere": ("dns", changed(names=replace(NAMES, servers=("9.9.9.9",), here="unknown"))),
    "no DNS on the gateway": ("dns", changed(names=replace(NAMES, here="unknown", there="refused"))),
}
ON_A_GATEWAY: dict[str, tuple[str, Change]] = {
    "forwarding is off": ("forwarding-off", changed(forwarding=False)),
    "strict filtering that takes packets": (
        "rp-filter",
        both(peer(reach=SILENT, full=None), changed(filter=Filter({"wg0": 1, "eth0": 1}, 3))),
    ),
    "a rule that drops what is passed on": ("nftables-drop", part("rules", drops=(PASSING,))),
    "sets of another roster": ("firewall-changed", part("rules", wrong_sets=("admin4",))),
    "no peer is heard": ("provider-firewall", peers(reach=SILENT, full=None, handshake_age=400)),
    "one peer is silent": ("peer-silent", peer(reach=SILENT, full=None, handshake_age=400)),
    "a service without an answer": ("service-hung", changed(answers=False)),
    "an unwell service": ("service-unwell", changed(is_healthy=False)),
}


@pytest.mark.parametrize("facts", [healthy(), healthy_gateway()], ids=["spoke", "gateway"])
def test_who_is_well_has_no_causes(facts: Facts) -> None:
    assert diagnose(facts) == []


@pytest.mark.parametrize(("cause", "change"), ON_A_SPOKE.values(), ids=ON_A_SPOKE)
def test_a_spokes_cause_is_named_first(cause: str, change: Change) -> None:
    found = diagnose(change(healthy()))
    assert [found[0].cause] == [cause], found
    assert all(found[0].evidence)
    assert found[0].command


@pytest.mark.parametrize(("cause", "change"), ON_A_GATEWAY.values(), ids=ON_A_GATEWAY)
def test_a_gateways_cause_is_named_first(cause: str, change: Change) -> None:
    found = diagnose(change(healthy_gateway()))
    assert found[0].cause == cause, found


NO_FAULT: dict[str, Change] = {
    "a rule that would drop, where nothing is lost": part("rules", drops=(DROP,)),
    "strict filtering that takes nothing": changed(filter=Filter({"wg0": 1, "eth0": 1})),
    "packets that were filtered, and nothing is lost": changed(filter=Filter({"wg0": 1}, 5)),
    "one ping that was lost": peer(reach=Reach(20, (0.01,) * 19), again=WELL),
    "pings that were lost once": peer(reach=LOSSY, again=WELL),
    "a large ping that was lost": peer(full=Reach(3, (0.01,) * 2)),
    "a peer that is heard elsewhere and answers": peer(seen_endpoints=("192.0.2.9:51820",)),
    "a route over the second interface": peer(routed_by="wg1"),
    "a peer on the second interface alone": both(peer(is_present=False), part("tunnel", strangers=(key("x"),))),
    "an old handshake of a peer that answers": peer(handshake_age=500),
    "a clock within its second": changed(skew=1.0),
    "many flows": changed(conntrack=(200_000, 262_144)),
    "a gateway whose provider drops pings": peer(way=replace(AWAY, control="yes")),
    "no systemd-resolved": changed(names=Names()),
    "one node behind the gateway is off": changed(beyond=(("spoke-2", Reach(4)), ("spoke-3", Reach(4, (0.1,))))),
    "the only node behind the gateway is off": changed(beyond=(("spoke-2", Reach(4)),)),
    "a newer release than the gateway's": part("release", running=5, newest=5),
    "a way of 200 ms": peer(reach=Reach(20, (0.2,) * 20), way=Way("h", Reach(20, (0.19,) * 20), "yes")),
    "a laptop that is shut": lambda facts: replace(
        facts, peers=(*facts.peers, PeerFacts("laptop", "spoke", OTHER, key("l"), may_be_off=True))
    ),
}


@pytest.mark.parametrize("change", NO_FAULT.values(), ids=NO_FAULT)
def test_what_is_no_fault_is_not_accused(change: Change) -> None:
    assert diagnose(change(healthy())) == []


def test_strict_filtering_that_takes_nothing_is_no_fault_of_a_gateways_either() -> None:
    strict = changed(filter=Filter({"wg0": 1, "eth0": 1}))
    assert diagnose(strict(healthy_gateway())) == []
    lost = both(strict, peer(reach=SILENT, full=None))(healthy_gateway())
    assert "rp-filter" not in [each.cause for each in diagnose(lost)]


def test_no_command_takes_the_machines_own_routes_away() -> None:
    for routed_as in ("default", "10.0.0.0/8"):
        gone = both(SILENCE, peer(routed_by="eth0", routed_as=routed_as, has_route=False))(healthy())
        assert not any("route del" in each.command for each in diagnose(gone))


def test_what_mends_names_the_rule_the_key_and_the_route() -> None:
    def command(facts: Facts) -> str:
        return diagnose(facts)[0].command

    facts = healthy()
    assert command(ON_A_SPOKE["a rule that drops"][1](facts)) == "nft delete rule inet mine out handle 7"
    assert command(ON_A_SPOKE["called elsewhere"][1](facts)) == f"wg set wg0 peer {key('gw')} endpoint {ENDPOINT}"
    assert command(ON_A_SPOKE["another route"][1](facts)) == "ip route del 10.100.0.0/24 dev eth0"
    assert command(ON_A_SPOKE["another MTU"][1](facts)) == "ip link set dev wg0 mtu 1420"


def test_our_firewall_comes_back_and_nobody_elses_goes() -> None:
    for name in ("the firewall is gone", "the firewall was changed", "a rule of ours is gone"):
        command = diagnose(ON_A_SPOKE[name][1](healthy()))[0].command
        assert command.startswith("systemctl reload-or-restart nftables")


def test_a_cause_of_the_silence_comes_before_what_is_wrong_besides() -> None:
    facts = both(unit(active="inactive"), part("release", running=0), SILENCE)(healthy())
    found = diagnose(peer(seen_endpoints=("192.0.2.9:51820",))(facts))
    assert [cause.cause for cause in found][:1] == ["endpoint-changed"]
    assert "service-down" in [cause.cause for cause in found]


@pytest.mark.parametrize(("age", "cause"), [(30, "no-traffic"), (None, "no-handshake"), (400, "no-handshake")])
def test_a_silence_without_a_cause_is_told_as_what_it_is(age: int | None, cause: str) -> None:
    facts = both(SILENCE, peer(way=None, handshake_age=age), changed(journal=("no answer from 10.100.0.1",)))(healthy())
    (found,) = diagnose(facts)
    assert found.cause == cause
    assert "the agent says: no answer from 10.100.0.1" in found.evidence


def test_a_clock_that_keeps_hands_from_being_shaken_says_so() -> None:
    behind, ahead = (diagnose(both(SILENCE, changed(skew=skew))(healthy()))[0] for skew in (-95.0, 95.0))
    assert any("no handshake that is older" in line for line in behind.evidence)
    assert not any("no handshake that is older" in line for line in ahead.evidence)


def test_the_page_on_troubleshooting_has_every_cause() -> None:
    page = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()
    causes = {cause for cause, _ in (*ON_A_SPOKE.values(), *ON_A_GATEWAY.values())} | {"no-traffic", "no-handshake"}
    assert [cause for cause in sorted(causes) if f"`{cause}`" not in page] == []


def test_every_rule_is_tried_here() -> None:
    """That no rule is without facts on which it speaks."""
    spoken = {cause for cause, _ in (*ON_A_SPOKE.values(), *ON_A_GATEWAY.values())} | {"no-traffic", "no-handshake"}
    sources = inspect.getsource(machine_rules) + inspect.getsource(tunnel_rules)
    assert set(re.findall(r'Cause\(\s*"([a-z-]+)"', sources)) - spoken == set()
