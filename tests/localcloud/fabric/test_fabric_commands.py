"""Words in, exit status and messages out: the commands where no machine is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from localcloud import enter, fast
from localcloud.cli import mesh
from localcloud.cli.console import Console
from localcloud.cli.parser import main

COMMANDS = (
    "up", "preview", "down", "status", "outputs", "exec", "shell", "run", "stop", "start", "kill", "reboot", "cut",
    "heal", "scale", "interrupt", "identity",
)  # fmt: skip


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert [command for command in COMMANDS if f"\n    {command}" not in text] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert f"usage: python -m localcloud {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["frobnicate"],
        ["stop"],
        ["cut"],
        ["up", "--stak", "dev"],
        ["stop", "a", "b"],
        ["scale", "a"],
        ["scale", "a", "two"],
        ["interrupt"],
    ],
)
def test_wrong_words_are_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "usage:" in capsys.readouterr().err


def test_without_root_every_command_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["--dir", str(tmp_path / "cloud"), "status"]) == 1
    assert "needs root" in capsys.readouterr().err
    assert not (tmp_path / "cloud").exists()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["stop", "aws-1"], 1, "the local cloud is not up"),
        (["cut", "aws-1", "gcp-1"], 1, "the local cloud is not up"),
        (["exec", "aws-1", "--", "true"], 125, "there is no machine 'aws-1'; machines: none"),
        (["exec", "aws-1"], 125, "exec needs a command"),
        (["run", "--", "true"], 125, "the local cloud is not up"),
        (["outputs", "--json"], 1, "the local cloud is not up"),
        (["scale", "aws-burst", "6"], 1, "the local cloud is not up"),
        (["interrupt", "aws-burst-1"], 1, "the local cloud is not up"),
    ],
)
def test_before_up_the_commands_say_what_to_do(
    words: list[str], status: int, said: str, as_root: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--dir", str(tmp_path / "cloud"), *words]) == status
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "cloud").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["preview", "--config-file", "nowhere.yaml"], "nowhere.yaml: the configuration of stack dev is read from it"),
        (["up", "--stack", "nosuch"], "Pulumi.nosuch.yaml: the configuration of stack nosuch is read from it"),
        (["up", "--stack", "../dev"], "'../dev' is no name of a stack"),
        (["cut", "aws-1", "aws-1"], "aws-1 twice"),
        (["interrupt", "aws-burst-1", "--rebalance", "--after", "3"], "give one of the two"),
        (["interrupt", "aws-burst-1", "--after", "-1"], "seconds from 0 to 300"),
        (["interrupt", "aws-burst-1", "--after", "nan"], "seconds from 0 to 300"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    words: list[str], said: str, as_root: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cloud").mkdir()
    assert main(["--dir", str(tmp_path / "cloud"), *words]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["up", "down"])
def test_an_instance_is_a_folder(
    command: str, as_root: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cloud").touch()
    assert main(["--dir", str(tmp_path / "cloud"), command]) == 1
    assert "is no folder" in capsys.readouterr().err


def test_the_identity_is_there_before_the_machines_and_stays(
    as_root: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    for _ in range(2):
        assert main(["--dir", str(tmp_path / "cloud"), "identity"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert x509.load_pem_x509_certificate(said[0].encode()).issuer.rfc4514_string().startswith("CN=ec2")
    assert "PRIVATE" not in said[0]
    for path in (tmp_path / "cloud/authority").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_status_without_machines(as_root: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dir", str(tmp_path / "cloud"), "status"]) == 0
    assert "`python -m localcloud up`" in capsys.readouterr().out
    assert main(["--dir", str(tmp_path / "cloud"), "status", "--json"]) == 0
    assert '"machines": []' in capsys.readouterr().out


def test_exec_goes_the_short_way_only_where_it_is_sure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.execvp", lambda _, command: became.append(command))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    monkeypatch.setattr(enter, "init_of", lambda namespace: 4711 if namespace == "lc-x-m01" else None)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes/aws-1").write_text("lc-x-m01")
    (tmp_path / "nodes/off").write_text("lc-x-m02")
    start = ["--dir", str(tmp_path)]
    for words in (
        ["exec", "off", "--", "true"], ["exec", "none", "--", "true"], ["exec", "aws-1", "true"], ["status"], [],
        ["exec", "aws-1", "--"], ["exec", "../nodes/aws-1", "--", "true"], ["exec", "--help"],
    ):  # fmt: skip
        fast.run_in_machine([*start, *words])
    assert became == []
    fast.run_in_machine([*start, "exec", "aws-1", "--", "sh", "-c", "--", "exit 3"])
    assert became == [enter.command_line(4711, ["sh", "-c", "--", "exit 3"])]


def test_exec_imports_next_to_nothing() -> None:
    script = "import sys; before = set(sys.modules); import localcloud.fast; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {
        "__future__", "collections.abc", "localcloud", "localcloud.enter", "localcloud.fast", "collections", "heapq",
        "itertools", "keyword", "operator", "reprlib", "_collections", "_heapq", "_operator", "_thread", "_functools",
        "_collections_abc",
    }  # fmt: skip


def test_outputs_are_read_without_grpc_and_the_sdk() -> None:
    script = "import sys, localcloud.engine.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"grpc", "pulumi"} & set(done.stdout.split())


def test_tables_are_aligned_and_without_colour_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.table(["NODE", "STATE"], [["aws-1", console.paint("running", "32")], ["hetzner-gw", "off"]])
    assert capsys.readouterr().out == "NODE        STATE\naws-1       running\nhetzner-gw  off\n"


def test_peers_are_read_from_the_outputs() -> None:
    exported = {
        "name": "aws-1",
        "site": "aws",
        "role": "spoke",
        "address": "10.100.2.1",
        "public_key": "k",
        "endpoint": None,
    }
    assert mesh.peers({"peers": [exported]}) == [mesh.Peer("aws-1", "aws", "spoke", "10.100.2.1", "k")]
    assert mesh.peers({}) == []
