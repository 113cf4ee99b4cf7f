"""The documents of pool machines: what is theirs alone, and users' scripts that cannot break out of them."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from cloudinit import MAX_BYTES, BootError, render_pool
from cloudinit.pack import packed_file, unpack
from tests.cloudinit.examples import POOL, SCRIPTED_POOL


def parsed(text: str) -> dict[str, Any]:
    return cast("dict[str, Any]", yaml.safe_load(text))


def written(text: str) -> dict[str, dict[str, str]]:
    """Path -> entry of ``write_files``."""
    return {entry["path"]: entry for entry in parsed(text)["write_files"]}


def content(entry: dict[str, str]) -> str:
    """What cloud-init writes for an entry."""
    return base64.b64decode(entry["content"]).decode() if entry.get("encoding") == "b64" else entry["content"]


def test_a_pool_machine_is_told_whom_to_ask_and_gets_no_key_and_no_address() -> None:
    files = written(render_pool(POOL))
    assert json.loads(files["/etc/hybridnet/config.json"]["content"]) == {
        "schema_version": 1,
        "role": "pool",
        "name": "aws-burst",
        "control": "198.51.100.10:8443",
        "signing_public_key": POOL.signing_public_key,
        "cloud": "aws",
        "gateway_public_key": POOL.gateway_public_key,
    }
    assert files["/etc/hybridnet/token"]["content"] == POOL.token + "\n"
    assert files["/etc/hybridnet/ca.pem"]["content"] == POOL.ca_pem
    assert set(files) == {
        "/usr/local/lib/hybridnet.tar",
        "/etc/apt/apt.conf.d/60hybridnet",
        "/etc/hybridnet/ca.pem",
        "/etc/hybridnet/config.json",
        "/etc/hybridnet/token",
    }


def test_the_tunnel_is_the_agents_to_start() -> None:
    assert "wg-quick" not in " ".join(parsed(render_pool(POOL))["runcmd"])


def test_the_services_sandbox_lets_the_agent_write_the_tunnels_configuration_and_drain() -> None:
    kit = unpack(packed_file("pool").read_text())
    drop_in = kit["etc/systemd/system/hybridnet.service.d/pool.conf"].decode()
    assert "ReadWritePaths=/etc/wireguard\n" in drop_in
    assert "TimeoutStopSec=50\n" in drop_in
    stage0 = kit["usr/local/lib/hybridnet/stage0.py"].decode()
    assert "wait = 40 if role == 'pool' else 10\n" in stage0, "systemd must wait for longer than stage 0 does"


@pytest.mark.parametrize(
    "script",
    [
        "#!/bin/bash\necho one\n\necho two\n",
        "#!/usr/bin/env python3\nif True:\n    print('x')\n\tpass\n",
        "#!/bin/sh\ncat <<END\n---\n...\n- path: /etc/passwd\nruncmd:\n- reboot\nEND\n",
        "#!/bin/sh\n{{ boom }} {% raw %} ${x} \"'`\\ # % & * ! | > @ : - ? [ ] ,\n",
        "#!/bin/sh\n   \n      deeply\nshallow\n",
        "#!/bin/sh\necho 'grüß dich, 世界'\n",
        "#!/bin/sh\necho 'a line\u2028break, a non-breaking\xa0space'\n",
    ],
)
def test_a_script_arrives_as_it_is(script: str) -> None:
    text = render_pool(replace(POOL, user_setup=script, drain_hook=script))
    assert text.isascii()
    files = written(text)
    for path in ("/etc/hybridnet/setup", "/etc/hybridnet/drain"):
        assert content(files[path]) == script
        assert files[path]["permissions"] == "0700"
    assert parsed(text)["runcmd"] == parsed(render_pool(POOL))["runcmd"]
    assert set(files) - {"/etc/hybridnet/setup", "/etc/hybridnet/drain"} == set(written(render_pool(POOL)))


@pytest.mark.parametrize(
    "script", ["echo hello\n", "  echo hello", "\n\necho hello\n\n\n", "\n#!/bin/bash\necho hello"]
)
def test_a_script_that_names_no_interpreter_is_for_sh(script: str, tmp_path: Path) -> None:
    found = content(written(render_pool(replace(POOL, user_setup=script)))["/etc/hybridnet/setup"])
    assert found == "#!/bin/sh\n" + script.rstrip() + "\n"
    (tmp_path / "setup").write_text(found)
    (tmp_path / "setup").chmod(0o700)
    assert subprocess.run([tmp_path / "setup"], capture_output=True, text=True, check=True).stdout == "hello\n"


@pytest.mark.parametrize("script", ["", " \n\t\n"])
def test_no_script_is_no_file(script: str) -> None:
    assert render_pool(replace(POOL, user_setup=script, drain_hook=script)) == render_pool(POOL)


def test_cloud_init_takes_a_document_with_any_script(tmp_path: Path) -> None:
    tool = shutil.which("cloud-init")
    if tool is None:
        pytest.skip("needs cloud-init")
    (tmp_path / "document").write_text(render_pool(replace(SCRIPTED_POOL, user_setup="- a: b\n...\n---\nruncmd: 1\n")))
    command = [tool, "schema", "--config-file", str(tmp_path / "document")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pool", "aws\nruncmd: [reboot]"),
        ("pool", ""),
        ("cloud", "azure"),
        ("gateway_public_key", "A" * 44),
        ("gateway_control", "198.51.100.10"),
        ("gateway_control", "198.51.100.10:0"),
        ("gateway_control", "198.51.100.10:65536"),
        ("gateway_control", "198.51.100.10:8443\n"),
        ("gateway_control", "gateway.example:8443"),
        ("gateway_control", ":8443"),
        ("gateway_control", "198.51.100.10:"),
        ("token", ""),
        ("token", POOL.token[:-2]),
        ("token", POOL.token + "\nruncmd: [reboot]"),
        ("token", POOL.token.replace("-", "+")),
        ("ca_pem", ""),
        ("signing_public_key", "not base64!"),
        ("user_setup", "echo one\r\n"),
        ("user_setup", "echo \x00"),
        ("user_setup", "echo \x1b[31m"),
        ("drain_hook", "echo \x85runcmd: [reboot]"),
        ("drain_hook", "echo \ud800"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(BootError, match=field) as caught:
        replace(POOL, **cast("dict[str, Any]", {field: value}))
    assert field != "token" or not value or str(value) not in str(caught.value), "a secret stands in the message"


def test_the_message_about_a_script_says_where_and_what_to_do() -> None:
    with pytest.raises(BootError, match=r"U\+000D in line 2.*take it out"):
        replace(POOL, user_setup="echo one\necho two\r\n")


def test_scripts_have_the_room_that_the_cloud_leaves_and_no_more() -> None:
    room = MAX_BYTES["pool"] - len(render_pool(replace(POOL, user_setup="#!/bin/sh\n#")))
    assert len(render_pool(replace(POOL, user_setup="#!/bin/sh\n#" + "x" * room))) == MAX_BYTES["pool"] == 16384
    with pytest.raises(BootError, match=r"has 16385 bytes and may have 16384: shorten userSetup and drainHook"):
        render_pool(replace(POOL, user_setup="#!/bin/sh\n#" + "x" * (room + 1)))
