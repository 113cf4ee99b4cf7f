"""A pool's machine in the network: where it joins, what a join's answer does to its tunnel, and what it follows."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from node.network.agent import NetworkAgent
from node.network_document import Member as Machine
from node.network_document import NetworkDocument, Request, SignedRoster, roster_digest
from node.pool.client import Home
from node.pool.system import TUNNEL
from overlay.model import Peer
from overlay.roster import Roster
from tests.node.network_support import OVERLAY, public, three_sites
from tests.node.pool_support import GATEWAY_ADDRESS, OTHER_ADDRESS, PUBLIC_ADDRESS, Member
from tests.node.support import Stack, signed, wait_for

ROOT = Peer(public("root"), "198.51.100.1:51820", (OVERLAY,), 25)
SITE = Peer(public("gw-b"), "198.51.100.2:51820", (OVERLAY,), 25)


def home_of(member: Member) -> Home:
    document = json.loads((member.state / "home.json").read_text())
    return Home(document["host"], document["port"], document["public_key"])


def test_a_machine_joins_where_it_is_sent_and_remembers_that(member: Member) -> None:
    member.gateway.home = OTHER_ADDRESS
    member.start()
    wait_for("the network", member.is_member)
    assert member.gateway.said() == [f"sent on from {PUBLIC_ADDRESS}", "join"]
    assert home_of(member).host == OTHER_ADDRESS
    member.end()
    member.gateway.leases.clear()
    member.start()
    wait_for("another join", lambda: len(member.gateway.requests) == 2)
    assert member.gateway.said()[2:] == ["join"], "it goes there at once"


def test_when_its_home_does_not_answer_it_asks_first_boots_gateway(member: Member) -> None:
    member.gateway.home = OTHER_ADDRESS
    member.start()
    wait_for("the network", member.is_member)
    member.gateway.dead.add(OTHER_ADDRESS)
    member.gateway.home = PUBLIC_ADDRESS
    member.gateway.leases.clear()
    wait_for("another join", lambda: len(member.gateway.requests) == 2)
    assert member.gateway.said() == [f"sent on from {PUBLIC_ADDRESS}", "join", "join"]


def test_gateways_that_send_a_machine_to_each_other_are_asked_once_each_and_again_later(
    member: Member, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("node.pool.client._CAP", 0.02)
    member.gateway.home = GATEWAY_ADDRESS
    answer = member.gateway.answer

    def to_the_other(method: str, path: str, at: str, headers: dict[str, str], body: bytes) -> object:
        reply = answer(method, path, at, headers, body)
        other = PUBLIC_ADDRESS if at == OTHER_ADDRESS else OTHER_ADDRESS
        return reply[0], reply[1], reply[2].replace(GATEWAY_ADDRESS.encode(), other.encode())

    monkeypatch.setattr(member.gateway, "answer", to_the_other)
    member.start()
    wait_for("a few attempts", lambda: len(member.gateway.log) > 5)
    member.end()
    assert capfd.readouterr().err.count("cannot join: 421 not here") == 1
    assert not (member.state / "home.json").exists(), "nobody took it in"


@pytest.mark.parametrize(
    "place", ["http://127.0.1.254:8443", "https://127.0.1.254", "", "https://:8443", "https://[x:1"]
)
def test_a_place_that_is_none_is_not_gone_to(
    member: Member, place: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    member.gateway.home = OTHER_ADDRESS
    answer = member.gateway.answer

    def elsewhere(method: str, path: str, at: str, headers: dict[str, str], body: bytes) -> object:
        status, more, text = answer(method, path, at, headers, body)
        return status, more, text.replace(f"https://{OTHER_ADDRESS}:{member.gateway.port}".encode(), place.encode())

    monkeypatch.setattr(member.gateway, "answer", elsewhere)
    member.start()
    wait_for("an attempt", lambda: "sent on from" in " ".join(member.gateway.log))
    wait_for("another one", lambda: len(member.gateway.log) > 1)
    member.end()
    assert capfd.readouterr().err.count("the gateway sends this machine to") == 1
    assert not member.gateway.requests


def test_state_of_a_home_that_cannot_be_read_is_put_aside(member: Member) -> None:
    (member.state / "home.json").write_text(json.dumps({"schema_version": 1, "host": "x", "port": 1, "public_key": ""}))
    member.start()
    wait_for("the network", member.is_member)
    assert (member.state / "home.json.corrupt").exists()


def peers(member: Member) -> dict[str, set[str]]:
    return {key: set(state.allowed_ips) for key, state in member.wireguard.state.items()}


def test_other_peers_in_an_answer_do_not_start_a_tunnel_anew(member: Member) -> None:
    member.gateway.peer = ROOT
    member.start()
    wait_for("the network", member.is_member)
    assert peers(member) == {ROOT.public_key: {str(OVERLAY)}}
    member.gateway.peer = SITE
    member.gateway.leases.clear()
    member.gateway.next_host = 130
    wait_for("the other peer", lambda: peers(member).get(SITE.public_key) == {str(OVERLAY)})
    wait_for("the configuration", lambda: SITE.public_key in member.conf.read_text())
    assert ROOT.public_key not in member.conf.read_text(), "a boot must reach the gateway, too"
    assert member.system.log == [f"restart {TUNNEL}"]


def test_a_gateway_that_moved_is_called_where_the_answer_says(member: Member) -> None:
    member.gateway.peer = ROOT
    member.start()
    wait_for("the network", member.is_member)
    member.gateway.peer = replace(ROOT, endpoint="198.51.100.77:51820")
    member.gateway.leases.clear()
    member.gateway.next_host = 130
    wait_for("its place", lambda: member.wireguard.state[ROOT.public_key].endpoint == "198.51.100.77:51820")
    assert member.system.log == [f"restart {TUNNEL}"]


class Tells:
    """A gateway's documents for machines of a pool in the site b."""

    def __init__(self, stack: Stack, roster: Roster) -> None:
        self.stack = stack
        self.roster = roster
        self.stamps: list[tuple[int, str]] = []

    def document(self, request: Request) -> NetworkDocument:
        body, signature = signed(self.stack, self.roster)
        if request.report:
            self.stamps.append((request.report.stamp, request.report.gateway))
        machine = Machine(request.name, "burst", "b", IPv4Address("10.100.2.130"), public("burst"), "", lan=False)
        known = max(self.stamps)[0] if self.stamps else 0
        roster = None if request.roster == roster_digest(body) else SignedRoster(body, signature)
        return NetworkDocument(str(self.roster.number), roster_digest(body), roster, (machine,), {}, frozenset(), known)


@pytest.fixture
def told(member: Member, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Tells:
    """``member`` is told of the network, in a hub at first; overlay addresses of gateways are all 127.0.0.1."""
    roster = three_sites("hub")
    tells = Tells(stack, roster)
    monkeypatch.setattr("node.network.asker.ASK_SECONDS", 0.1)
    monkeypatch.setattr("node.network.running.ROUND_SECONDS", 0.05)

    def controls(_: NetworkAgent) -> list[IPv4Address]:
        return [IPv4Address(GATEWAY_ADDRESS)]

    monkeypatch.setattr(NetworkAgent, "controls", controls)
    member.gateway.document = tells.document
    member.gateway.peer = ROOT
    return tells


def test_a_machine_follows_the_network_without_a_new_tunnel(member: Member, told: Tells) -> None:
    member.start()
    wait_for("a report", lambda: [gateway for _, gateway in told.stamps[-1:]] == ["root"])
    assert peers(member) == {ROOT.public_key: {str(OVERLAY)}}
    told.roster = three_sites("sites", 2)
    wait_for("the candidate", lambda: SITE.public_key in member.wireguard.state)
    assert peers(member) == {ROOT.public_key: {str(OVERLAY)}, SITE.public_key: set()}
    state = member.wireguard.state[SITE.public_key]
    member.wireguard.state[SITE.public_key] = state._replace(handshake=2**33)
    wait_for("the handover", lambda: peers(member) == {SITE.public_key: {str(OVERLAY)}})
    member.end()
    assert member.system.log == [f"restart {TUNNEL}"]
    assert ROOT.public_key in member.conf.read_text()
    root = member.wireguard.state[SITE.public_key]._replace(public_key=ROOT.public_key)
    member.wireguard.state = {ROOT.public_key: root}
    member.gateway.is_cut, member.gateway.refusal = True, (503, "not yet", "")
    member.start()
    wait_for("its gateway after a boot", lambda: peers(member) == {SITE.public_key: {str(OVERLAY)}})


def test_a_machine_without_a_lease_is_left_alone(member: Member, told: Tells) -> None:
    member.gateway.refusal = (403, "unknown token", "")
    member.start()
    wait_for("a refusal", lambda: "refused" in member.gateway.log)
    assert told.stamps == []
    assert not member.wireguard.applied
    member.gateway.refusal = None
    wait_for("a report", lambda: bool(told.stamps))


def test_where_a_join_says_is_where_a_machine_hangs(member: Member, told: Tells) -> None:
    """Nothing comes through the tunnel, so the machine joins again, and its gateway is another one now."""
    member.start()
    wait_for("a report", lambda: bool(told.stamps))
    told.roster = three_sites("sites", 2)
    wait_for("the candidate", lambda: SITE.public_key in member.wireguard.state)
    member.gateway.peer = SITE
    member.gateway.is_cut = True
    wait_for("the other gateway", lambda: peers(member).get(SITE.public_key) == {str(OVERLAY)})
    member.gateway.is_cut = False
    wait_for("a report of it", lambda: told.stamps[-1][1] == "gw-b")
    wait_for("nothing else", lambda: set(peers(member)) == {SITE.public_key})
    assert member.system.log == [f"restart {TUNNEL}"]


def test_a_gateway_that_the_document_does_not_have_is_believed_rather_than_the_document(
    member: Member, told: Tells
) -> None:
    member.start()
    wait_for("a report", lambda: bool(told.stamps))
    member.gateway.peer = Peer(public("made later"), "198.51.100.9:51820", (OVERLAY,), 25)
    member.gateway.is_cut = True
    wait_for("the other gateway", lambda: peers(member).get(public("made later")) == {str(OVERLAY)})
    assert not (member.state / "network.json").exists()
