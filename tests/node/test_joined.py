"""What a machine of an external pool waits for, and what it says meanwhile; the gateway answers over real HTTPS."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from node import joined
from tests.node.pool_support import TOKEN, Member, pool_config
from tests.node.support import Stack

RELEASE: tuple[int, bytes, dict[str, str]] = (1, b"", {})


@pytest.fixture
def machine(member: Member, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Member:
    """A machine whose gateway has a release, and whose journal ends with a line of the agent's."""
    monkeypatch.setattr(joined, "CONFIG", member.files)
    monkeypatch.setattr(joined, "STATE", member.state)
    journal = tmp_path / "bin" / "journalctl"
    journal.parent.mkdir()
    journal.write_text("#!/bin/sh\necho cannot join: 503 the pool is full\n")
    journal.chmod(0o755)
    monkeypatch.setenv("PATH", f"{journal.parent}:{os.environ['PATH']}")
    member.gateway.release = RELEASE
    return member


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """What is said of a machine that has no time left."""
    assert joined.main(0) == 1
    return capsys.readouterr().err


def test_it_waits_until_the_machine_is_in(machine: Member, capsys: pytest.CaptureFixture[str]) -> None:
    machine.gateway.release = None
    machine.start()
    assert joined.main(20) == 0
    said = capsys.readouterr().err.splitlines()
    (lease,) = machine.gateway.leases.values()
    assert said[-1] == f"hybridnet: joined as aws-burst-{lease['host']} at 10.100.2.{lease['host']}"


def test_it_says_what_the_agent_is_told(machine: Member, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys)
    assert "not joined aws-burst within 0 s: not joined yet; the agent says: cannot join: 503 the pool is full" in said
    assert "journalctl -u hybridnet" in said


def test_a_wrong_token_is_named_and_not_shown(
    machine: Member, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    pool_config(machine.files, stack, machine.gateway.port, "another")
    said = told(capsys)
    assert "does not know the join token" in said
    assert "another" not in said
    assert TOKEN not in said


def test_a_gateway_that_does_not_answer_is_named(
    machine: Member, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    pool_config(machine.files, stack, 1)
    assert ":1 does not answer: [Errno 111] Connection refused; let TCP out to it" in told(capsys)


def test_a_stack_without_a_release_is_named(machine: Member, capsys: pytest.CaptureFixture[str]) -> None:
    machine.gateway.release = None
    assert "has no release for this machine (status 503)" in told(capsys)


def test_a_join_without_a_tunnel_is_none(machine: Member, capsys: pytest.CaptureFixture[str]) -> None:
    machine.start()
    assert joined.main(20) == 0
    machine.gateway.is_cut = True
    assert "but nothing comes back through the tunnel" in told(capsys)


def test_a_lease_that_does_not_hold_is_none(machine: Member, capsys: pytest.CaptureFixture[str]) -> None:
    machine.start()
    assert joined.main(20) == 0
    machine.end()
    (lease,) = machine.gateway.leases.values()
    lease["state"] = "draining"
    assert "the lease does not hold (status 200)" in told(capsys)
    machine.gateway.leases.clear()
    assert "the lease does not hold (status 404)" in told(capsys)
    kept = json.loads((machine.state / "lease.json").read_text())
    (machine.state / "lease.json").write_text(json.dumps({**kept, "ended": True}))
    assert "not joined yet" in told(capsys)


def test_it_says_now_and_then_why_it_waits(machine: Member, capsys: pytest.CaptureFixture[str]) -> None:
    """At once, and not every second."""
    assert joined.main(1.5) == 1
    said = capsys.readouterr().err.splitlines()
    assert ["waiting to join aws-burst" in line for line in said] == [True, False, False]
