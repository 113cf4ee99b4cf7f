"""The pool machine's agent against a gateway over real HTTPS: joining, staying, and what disturbs neither."""

from __future__ import annotations

import json
import stat
import threading

import pytest

from node import keys, stage0
from node.pool import watch
from node.pool.system import SETUP, TUNNEL
from node.pool.watch.aws import Aws
from tests.node.pool_support import TOKEN, Member
from tests.node.support import Stack, archive, wait_for


def test_a_machine_joins_and_then_the_users_setup_starts(member: Member, capfd: pytest.CaptureFixture[str]) -> None:
    (member.files / "setup").touch()
    member.start()
    wait_for("the setup", lambda: f"start {SETUP}" in member.system.log)
    assert member.gateway.log[:2] == ["join", "get"], "the setup must not start before the tunnel works"
    wait_for("two more rounds", lambda: member.gateway.log.count("get") > 3)
    assert member.system.log == [f"restart {TUNNEL}", f"start {SETUP}"]
    private_key, [request] = member.private_key(), member.gateway.requests
    assert (request.pool, request.instance_id) == ("aws-burst", "i-0abc1234def567890")
    assert (request.public_key, request.ticket, request.proof) == (keys.public_key(private_key), None, None)
    assert member.gateway.tokens == [TOKEN]
    assert member.conf.read_text().splitlines() == [
        "[Interface]",
        "Address = 10.100.2.130/16",
        f"PrivateKey = {private_key}",
        "ListenPort = 51820",
        "MTU = 1380",
        "",
        "[Peer]",
        f"PublicKey = {json.loads((member.files / 'config.json').read_text())['gateway_public_key']}",
        "Endpoint = 198.51.100.1:51820",
        "AllowedIPs = 10.100.0.0/16",
        "PersistentKeepalive = 25",
    ]
    for path in (member.conf, *member.state.glob("*.json")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    said = capfd.readouterr()
    assert "joined as aws-burst-130 at 10.100.2.130" in said.err
    for secret in (private_key, "secret of", "ticket of", TOKEN):
        assert secret not in said.out + said.err


def test_a_new_agent_disturbs_nothing(member: Member) -> None:
    (member.files / "setup").touch()
    member.start()
    wait_for("the setup", lambda: f"start {SETUP}" in member.system.log)
    member.end()
    member.system.states[SETUP] = "active"
    before, asked = list(member.system.log), len(member.gateway.log)
    member.start()
    wait_for("a few rounds", lambda: len(member.gateway.log) > asked + 3)
    member.end()
    assert member.gateway.said() == ["join"]
    assert member.system.log == before
    assert member.status == 0


def test_after_a_boot_the_tunnel_is_there_before_the_gateway_is_asked(member: Member) -> None:
    member.start()
    wait_for("the network", member.is_member)
    member.end()
    before = member.conf.read_text()
    member.system.reboot()
    member.gateway.is_cut, member.gateway.refusal = True, (503, "not yet", "")
    member.start()
    wait_for("the tunnel", member.system.has_interface)
    wait_for("a refusal", lambda: "refused" in member.gateway.log)
    assert member.system.log == [f"restart {TUNNEL}"] * 2
    assert member.conf.read_text() == before


def test_a_setup_that_is_through_is_not_started_after_a_boot(member: Member) -> None:
    (member.files / "setup").touch()
    member.start()
    wait_for("the setup", lambda: f"start {SETUP}" in member.system.log)
    member.end()
    (member.state / "setup-done").touch()
    member.system.reboot()
    asked = len(member.gateway.log)
    member.start()
    wait_for("a few rounds", lambda: len(member.gateway.log) > asked + 3)
    assert member.system.log.count(f"start {SETUP}") == 1


def test_a_machine_that_the_gateway_forgot_joins_with_its_ticket_and_the_same_key(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.pool.agent.SILENCE_SECONDS", 1e9)
    member.start()
    wait_for("the network", member.is_member)
    public_key = keys.public_key(member.private_key())
    member.gateway.next_host = 130
    member.gateway.leases.clear()
    wait_for("another join", lambda: len(member.gateway.requests) == 2)
    assert member.gateway.requests[1].public_key == public_key
    assert member.gateway.requests[1].ticket == f"ticket of {public_key}"
    asked = len(member.gateway.log)
    wait_for("the lease", lambda: len(member.gateway.log) > asked + 1)
    assert member.system.log == [f"restart {TUNNEL}"], "the answer was the same: the tunnel is none of its business"


def test_another_address_makes_the_tunnel_anew(member: Member) -> None:
    member.start()
    wait_for("the network", member.is_member)
    member.gateway.next_host = 140
    member.gateway.leases.clear()
    wait_for("another tunnel", lambda: len(member.system.log) == 2)
    wait_for("its configuration", lambda: "Address = 10.100.2.140/16" in member.conf.read_text())


def test_without_an_answer_through_the_tunnel_it_asks_on_the_internet_and_leaves_the_tunnel_alone(
    member: Member, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    member.start()
    wait_for("the network", member.is_member)

    def as_another_release_writes_it(*_: object) -> str:
        return "no reason to touch a tunnel that stands"

    monkeypatch.setattr("node.pool.agent.configuration", as_another_release_writes_it)
    member.gateway.is_cut = True
    wait_for("joins", lambda: len(member.gateway.requests) > 2)
    member.gateway.is_cut = False
    member.gateway.log.clear()
    wait_for("the network again", member.is_member)
    assert member.system.log == [f"restart {TUNNEL}"]
    member.end()
    assert capfd.readouterr().err.count("no answer through the tunnel") == 1


def test_after_a_boot_one_unanswered_question_is_enough_to_ask_on_the_internet(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    member.start()
    wait_for("the network", member.is_member)
    member.end()
    member.system.reboot()
    member.gateway.is_cut = True
    monkeypatch.setattr("node.pool.agent.SILENCE_SECONDS", 1e9)
    member.start()
    wait_for("another join", lambda: len(member.gateway.requests) == 2)


def test_an_interface_that_went_comes_back(member: Member) -> None:
    member.start()
    wait_for("the network", member.is_member)
    member.system.interface = False
    wait_for("the tunnel", member.system.has_interface)


def test_a_refused_machine_says_why_once_and_never_gives_up(
    member: Member, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.pool.client._CAP", 0.02)
    member.gateway.refusal = (403, "unknown token", "")
    member.start()
    wait_for("a few refusals", lambda: member.gateway.log.count("refused") > 5)
    member.gateway.refusal = (503, "the pool is full", "")
    count = len(member.gateway.log)
    wait_for("a few more", lambda: len(member.gateway.log) > count + 5)
    assert member.beats() > 0
    assert not member.conf.exists()
    member.gateway.refusal = None
    wait_for("the network", member.is_member)
    said = capfd.readouterr().err
    assert said.count("cannot join: 403 unknown token") == 1
    assert said.count("cannot join: 503 the pool is full") == 1


def test_retry_after_is_honoured_and_a_signal_ends_the_wait(member: Member) -> None:
    member.gateway.refusal = (503, "the pool is full", "200")
    member.start()
    wait_for("a refusal", lambda: "refused" in member.gateway.log)
    count = 20
    while (count := count - member.beats()) > 0:
        wait_for("beats", lambda: not member.ends())
    assert member.gateway.log == ["refused"]
    member.end()


def test_a_lease_that_a_shutdown_left_draining_is_replaced(member: Member) -> None:
    member.start()
    wait_for("the network", member.is_member)
    [lease] = member.gateway.leases.values()
    lease["state"] = "draining"
    wait_for("another lease", lambda: [each["state"] for each in list(member.gateway.leases.values())] == ["active"])
    assert member.gateway.said() == ["join", "leave the machine works again", "join"]


@pytest.mark.parametrize("is_cut", [False, True], ids=["through the tunnel", "on the internet"])
def test_a_newer_release_takes_over_and_neither_tunnel_nor_lease_knows(
    member: Member, stack: Stack, is_cut: bool
) -> None:
    member.start()
    wait_for("the network", member.is_member)
    member.gateway.is_cut = is_cut
    body = archive({"node/__init__.py": "", "node/__main__.py": "import sys; assert sys.argv[1:] == ['pool', 'check']"})
    member.gateway.release = (2, body, stack.release_headers(2, body))
    wait_for("its end", member.ends)
    assert member.status == 0
    assert stage0.has(2, "archive")
    assert not stage0.has(2, "bad")
    assert set(member.gateway.said()) == {"join"}
    assert member.system.log == [f"restart {TUNNEL}"]


def test_a_thread_that_fails_ends_the_agent(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)

    def look(_: Aws) -> watch.Sight:
        raise KeyError("unexpected")

    monkeypatch.setattr(Aws, "look", look)
    member.start()
    wait_for("its end", member.ends)
    assert member.status == 1
    assert len(failures) == 1
