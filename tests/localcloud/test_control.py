"""Commands to the daemon over its socket."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from localcloud.cloud import Cloud, LocalCloudError
from localcloud.control import Control, ask


def add(told: Mapping[str, Any]) -> int:
    return told["a"] + told["b"]


def refuse(told: Mapping[str, Any]) -> None:
    raise LocalCloudError(f"no pool {told['pool']!r}; pools: x")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """An instance in a folder with a path longer than a socket's may be, and its daemon's socket."""
    cloud = Cloud(tmp_path / ("long" * 30) / "cloud")
    cloud.claim()
    control = Control(cloud, {"add": add, "refuse": refuse, "break": lambda told: told["absent"]})
    yield cloud
    control.close()


def said_to(cloud: Cloud, line: bytes, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The answer to a line that `ask` would not send."""
    monkeypatch.chdir(cloud.directory)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(cloud.control.name)
        connection.sendall(line)
        with connection.makefile() as stream:
            return json.loads(stream.readline())


def test_an_answer_comes_back(cloud: Cloud) -> None:
    assert ask(cloud, "add", a=1, b=2) == 3
    assert ask(cloud, "add", a="x", b="y") == "xy"


def test_root_alone_may_speak(cloud: Cloud) -> None:
    assert stat.S_IMODE(cloud.control.stat().st_mode) == 0o600


def test_a_refusal_is_told_as_it_is(cloud: Cloud) -> None:
    with pytest.raises(LocalCloudError, match="no pool 'y'; pools: x"):
        ask(cloud, "refuse", pool="y")


def test_a_fault_is_told_without_its_insides_and_the_daemon_goes_on(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(LocalCloudError, match="break failed: the daemon's log says why"):
        ask(cloud, "break")
    assert "absent" in caplog.text
    assert ask(cloud, "add", a=1, b=1) == 2


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"[]\n", b"{\n", b"\xff\n"])
def test_what_is_no_request_is_refused(cloud: Cloud, line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said_to(cloud, line, monkeypatch) == {"error": "this is no request"}


def test_another_version_is_told_to_renew_the_daemon(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps({"version": 2, "command": "add", "arguments": {}}).encode() + b"\n"
    assert "`python -m localcloud up` renews it" in said_to(cloud, line, monkeypatch)["error"]
    with pytest.raises(LocalCloudError, match="does not know frobnicate"):
        ask(cloud, "frobnicate")


def test_whoever_goes_without_waiting_disturbs_nobody(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cloud.directory)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(cloud.control.name)
        connection.sendall(b"{")
    assert ask(cloud, "add", a=1, b=1) == 2


def test_without_a_daemon_it_says_what_to_do(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    with pytest.raises(LocalCloudError, match="`python -m localcloud up`"):
        ask(cloud, "add")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(cloud.control))
    with pytest.raises(LocalCloudError, match="`python -m localcloud up`"):
        ask(cloud, "add")
    control = Control(cloud, {"add": add})
    assert ask(cloud, "add", a=1, b=2) == 3, "what a daemon that was killed left is no hindrance"
    control.close()
    assert not cloud.control.exists()
