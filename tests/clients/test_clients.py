"""``python -m clients``: text, file and QR code of one configuration, and what it says when it is not called right."""

from __future__ import annotations

import io
import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zxingcpp

from clients.__main__ import PLACEHOLDER, main
from clients.qr import QrError, qr_code
from components import configurations

ROOT = Path(__file__).parents[2]
SECRET = "GE1AFY974hTtgqQ9UOajVqW0pdAzqdj0XKSHNSudHDc="
TEXT = f"""\
# laptop-1 of home, by the gateway hetzner-gw.
[Interface]
Address = 10.100.9.1/32
PrivateKey = {SECRET}
MTU = 1380

[Peer]
PublicKey = sVH5o+GYs26IfJWoiPlQy/O1rFKFvfHr35p13mgdvD4=
Endpoint = 198.51.100.1:51820
AllowedIPs = 10.100.0.1/32, 10.100.1.0/24
PersistentKeepalive = 25
"""
KNOWN = {"laptop-1": TEXT, "laptop-2": TEXT.replace(SECRET, PLACEHOLDER)}
OUTPUTS: dict[str, Any] = {"schema_version": 1, "wg_gateway_ip": "198.51.100.1", "configurations": KNOWN}
BLOCKS = {"█": (255, 255), "▀": (255, 0), "▄": (0, 255), " ": (0, 0)}
"""A character of the code -> how light its upper and its lower half are, in light colour on dark."""


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(OUTPUTS))
    return path


def scanned(shown: str) -> str:
    """What a reader of QR codes sees on the terminal."""
    lines = [re.sub(r"\x1b\[97;40m(.*)\x1b\[0m", r"\1", line) for line in shown.splitlines()]
    rows = [[BLOCKS[block][half] for block in line] for line in lines for half in (0, 1)]
    image = bytes(value for row in rows for _ in range(4) for value in row for _ in range(4))
    (found,) = zxingcpp.read_barcodes(memoryview(image).cast("B", shape=[4 * len(rows), 4 * len(rows[0])]))
    assert found.format == zxingcpp.BarcodeFormat.QRCode
    return found.text


@pytest.mark.parametrize("document", [OUTPUTS, KNOWN], ids=["all outputs", "that output alone"])
def test_the_text_comes_from_standard_input(document: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "clients", "laptop-1"]
    done = subprocess.run(
        command, cwd=ROOT, input=json.dumps(document), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, TEXT, "")


def test_the_code_says_the_configuration_without_its_comments(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["laptop-1", "--qr", "--from", str(outputs)]) == 0
    assert scanned(capsys.readouterr().out) == "".join(
        f"{line}\n" for line in TEXT.splitlines() if line and not line.startswith("#")
    )


def test_a_code_that_the_terminal_has_no_room_for_is_not_shown() -> None:
    width = len(re.sub(r"\x1b\[[0-9;]*m", "", qr_code(TEXT, None).splitlines()[0]))
    assert qr_code(TEXT, width) == qr_code(TEXT, None)
    with pytest.raises(QrError, match=rf"{width} columns wide, and the terminal has {width - 1}: widen"):
        qr_code(TEXT, width - 1)


def test_a_text_that_no_code_holds_is_told() -> None:
    with pytest.raises(QrError, match=r"too long.*--write"):
        qr_code("x" * 3000, None)


def test_the_file_is_for_its_owner_alone_and_replaces_none(
    outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wg0.conf"
    call = ["laptop-1", "--write", str(path), "--from", str(outputs)]
    assert main(call) == 0
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (TEXT, 0o600)
    path.write_text("mine")
    assert main(call) == 1
    assert path.read_text() == "mine"
    told = capsys.readouterr()
    assert (told.out, "wg0.conf exists: remove it" in told.err) == ("", True)


def test_a_code_of_a_key_that_the_stack_has_not_is_refused(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["laptop-2", "--qr", "--from", str(outputs)]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert "the owner of laptop-2 keeps its private key" in told.err
    assert main(["laptop-2", "--from", str(outputs)]) == 0


@pytest.mark.parametrize(
    ("name", "document", "says"),
    [
        ("laptop-3", OUTPUTS, "laptop-3 is no machine of an external site; known: laptop-1, laptop-2"),
        ("laptop-1", {**OUTPUTS, "configurations": {}}, "no machine of an external site: declare one"),
        ("laptop-1", {**OUTPUTS, "configurations": "[secret]"}, "masked: say --show-secrets"),
        ("laptop-1", "[secret]", "masked: say --show-secrets"),
        ("laptop-1", {"schema_version": 1}, "the outputs have no configurations"),
        ("laptop-1", ["laptop-1"], "no stack's outputs"),
        ("laptop-1", {"laptop-1": SECRET}, "no stack's outputs"),
    ],
)
def test_misuse_says_what_to_do_and_nothing_secret(
    name: str, document: object, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(document)))
    assert main([name]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert says in told.err
    assert SECRET not in told.err


def test_what_is_no_json_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(TEXT))
    assert main(["laptop-1"]) == 2
    told = capsys.readouterr().err
    assert "not JSON" in told
    assert SECRET not in told


def test_the_placeholder_is_the_stacks() -> None:
    assert configurations.PLACEHOLDER == PLACEHOLDER


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["laptop-1", "--from", str(tmp_path / "none.json")]) == 1
    assert "none.json cannot be read: No such file" in capsys.readouterr().err


def test_the_help_says_where_the_outputs_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "pulumi stack output --json --show-secrets | python -m clients laptop-1 --qr" in told
    assert "--write exports" in told
