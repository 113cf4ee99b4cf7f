"""State on disk: what survives, and what is refused loudly."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from node import config as machine
from node import files
from node.gateway.endpoints import Endpoints
from node.gateway.network import Network
from node.gateway.rosters import Rosters
from tests.node.support import MemoryFirewall, MemoryWireGuard, Stack, key, roster, signed, write_config


@pytest.fixture
def config(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> machine.Config:
    write_config(tmp_path / "config", stack, "gateway", "10.100.0.1:8443")
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path / "config"))
    return machine.load()


def network(config: machine.Config, interface: MemoryWireGuard | None = None) -> Network:
    return Network(config, interface or MemoryWireGuard(), MemoryFirewall())


def test_a_file_is_for_root_alone_and_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    files.write(path, {"a": 1})
    inode = path.stat().st_ino
    files.write(path, {"a": 2})
    assert files.read(path, "") == {"schema_version": 1, "a": 2}
    assert path.stat().st_ino != inode
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]


def test_a_write_that_did_not_finish_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    files.write(path, {"a": 1})
    (tmp_path / "state.json.new").write_text('{"schema_ver')
    assert files.read(path, "") == {"schema_version": 1, "a": 1}
    files.write(path, {"a": 2})
    assert files.read(path, "") == {"schema_version": 1, "a": 2}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00" * 100, '{"schema_version": 2}', "{}", "[" * 100_000])
def test_a_corrupt_roster_is_refused_with_the_file_and_the_way_out(config: machine.Config, text: str) -> None:
    path = config.state / "roster.json"
    path.write_text(text)
    with pytest.raises(files.StateError) as caught:
        network(config).load()
    assert str(path) in str(caught.value)
    assert "push the roster again" in str(caught.value)
    assert path.read_text() == text, "the evidence is gone"


def test_a_roster_that_was_altered_on_disk_is_refused(config: machine.Config, stack: Stack) -> None:
    path = config.state / "roster.json"
    assert Rosters(path, "gw", stack.trust(path.parent)).offer(*signed(stack, roster(1)))[0] == 201
    document = json.loads(path.read_text())
    document["body"] = document["body"].replace("10.100.1.1", "10.100.1.9")
    path.write_text(json.dumps(document))
    rosters = Rosters(path, "gw", stack.trust(path.parent))
    rosters.load()
    with pytest.raises(files.StateError, match="the stack did not sign it"):
        rosters.verify()


@pytest.mark.parametrize("change", [{"body": "{}"}, {"body": 7}, {"signature": None}])
def test_a_roster_file_of_another_shape_is_refused(
    config: machine.Config, stack: Stack, change: dict[str, Any]
) -> None:
    path = config.state / "roster.json"
    body, signature = signed(stack, roster(1))
    files.write(path, {"body": body.decode(), "signature": signature, **change})

    def read() -> None:
        rosters = Rosters(path, "gw", stack.trust(path.parent))
        rosters.load()
        rosters.verify()

    with pytest.raises(files.StateError):
        read()


def test_without_a_roster_a_gateway_leaves_its_peers_alone(config: machine.Config) -> None:
    interface = MemoryWireGuard()
    made = network(config, interface)
    made.load()
    assert made.reconcile() == []
    assert interface.applied == []


def test_a_restart_brings_the_peers_back_where_they_were_last_heard_from(config: machine.Config, stack: Stack) -> None:
    interface = MemoryWireGuard()
    before = network(config, interface)
    before.rosters.offer(*signed(stack, roster(1, spokes=2)))
    before.reconcile()
    spoke = key("spoke-1")
    interface.state[spoke] = interface.state[spoke]._replace(endpoint="203.0.113.9:4242", handshake=1)
    before.reconcile()

    fresh = MemoryWireGuard(size=1500)
    after = network(config, fresh)
    after.load()
    after.reconcile()
    assert set(fresh.state) == {key("spoke-1"), key("spoke-2")}
    assert fresh.state[spoke].endpoint == "203.0.113.9:4242"
    assert fresh.size == 1420
    assert after.drift_repaired == 0, "a restart is no drift"


def test_endpoints_of_gone_peers_are_forgotten_and_nothing_is_written_without_a_change(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    memory = Endpoints(path)
    memory.remember({"a": "1.2.3.4:5", "b": "1.2.3.4:6"}, {"a", "b"})
    inode = path.stat().st_ino
    memory.remember({"a": "1.2.3.4:5"}, {"a", "b"})
    assert path.stat().st_ino == inode
    memory.remember({}, {"b"})
    again = Endpoints(path)
    again.load()
    assert again.known == {"b": "1.2.3.4:6"}


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 1}', '{"schema_version": 1, "endpoints": []}'])
def test_a_corrupt_memory_is_put_aside_loudly(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "endpoints.json"
    path.write_text(text)
    memory = Endpoints(path)
    memory.load()
    assert memory.known == {}
    assert str(path) in capsys.readouterr().err
    assert (tmp_path / "endpoints.json.corrupt").read_text() == text


def test_a_configuration_that_cannot_be_used_is_refused_with_the_way_out(config: machine.Config) -> None:
    for text in ("", '{"schema_version": 2}', '{"schema_version": 1, "control": "nowhere"}'):
        (config.files / "config.json").write_text(text)
        with pytest.raises(machine.ConfigError, match=r"config\.json cannot be used .*revision"):
            machine.load()
