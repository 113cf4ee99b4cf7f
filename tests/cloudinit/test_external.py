"""The script by which machines that others make join: pinned, no secret in it, and safe inside a longer one."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any, cast

import pytest

from cloudinit import TOKEN_VARIABLE, BootError, render_external
from cloudinit.pack import packed_file, unpack
from tests.cloudinit.examples import EXTERNAL, GOLDEN, POOL

SCRIPT = render_external(EXTERNAL)


def run(script: str, *options: str, token: str | None = None) -> subprocess.CompletedProcess[str]:
    """The script in a longer one, as SkyPilot runs a task's setup."""
    environment = {"PATH": "/usr/bin:/bin"} | ({} if token is None else {TOKEN_VARIABLE: token})
    command = ["bash", *options, "-c", f"{script}echo the rest\n"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_bytes_are_those_of_the_golden_file() -> None:
    assert (GOLDEN / "external.sh").read_text() == SCRIPT, (
        "new machines would run another script: if that is wanted, `python -m tests.cloudinit.examples`"
    )
    assert SCRIPT.isascii()
    assert SCRIPT.endswith("\n"), "what follows begins a line of its own"


def test_it_writes_what_the_agent_reads() -> None:
    (line,) = [line for line in SCRIPT.splitlines() if line.startswith("{")]
    assert json.loads(line) == {
        "schema_version": 1,
        "role": "pool",
        "name": "replicas",
        "control": "198.51.100.10:8443",
        "signing_public_key": EXTERNAL.signing_public_key,
        "cloud": "external",
        "gateway_public_key": EXTERNAL.gateway_public_key,
    }
    assert EXTERNAL.ca_pem in SCRIPT


def test_what_it_unpacks_leaves_firewall_and_metadata_service_alone() -> None:
    packed = packed_file("external").read_text()
    assert f"\n{packed}END\n" in SCRIPT
    kit = unpack(packed)
    health = {"hybridnet-health.service", "hybridnet-health.timer", "hybridnet"}
    assert {name.rpartition("/")[2] for name in kit} == {
        *("hybridnet.service", "pool.conf", "stage0.py", "joined.py"),
        *health,
    }
    assert not [text for text in (*kit.values(), SCRIPT.encode()) if b"169.254" in text or b"nftables.conf" in text]


@pytest.mark.parametrize("token", [None, "", "short", f"{POOL.token};true", f"{POOL.token}\ntrue"])
@pytest.mark.parametrize("options", [(), ("-i",), ("-e",), ("-x",)], ids=str)
def test_without_a_token_it_ends_before_it_does_anything(options: tuple[str, ...], token: str | None) -> None:
    done = run(SCRIPT, *options, token=token)
    assert done.returncode == 1
    assert f"hybridnet: {TOKEN_VARIABLE} is not a join token: give the pool's" in done.stderr
    assert done.stdout == "", "what follows must not run without a network"
    assert not token or token not in done.stderr


def test_what_follows_keeps_its_own_shell() -> None:
    """Only the part between the parentheses may be strict, and see the token only in its own variable."""
    head, _, rest = SCRIPT.partition("\n(\n")
    body, _, tail = rest.partition("\n)\n")
    assert "\n)" not in body.replace("\n)\n", "")
    after = run(f"{head}\n(\n{body.partition('join_token=')[0]}\n)\n{tail}set -o; declare -F; ", token=POOL.token)
    assert after.returncode == 0, after.stderr
    assert "the rest" in after.stdout
    for option in ("errexit", "nounset", "pipefail"):
        assert f"{option}" in after.stdout
        assert [line.split() for line in after.stdout.splitlines() if line.startswith(option)] == [[option, "off"]]
    assert "as_root" not in after.stdout


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pool", "replicas\ntrue"),
        ("pool", "$(true)"),
        ("gateway_public_key", "A" * 44),
        ("gateway_control", "gateway.example:8443"),
        ("ca_pem", "END\ntrue\n"),
        ("signing_public_key", "no key"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(BootError, match=field):
        replace(EXTERNAL, **cast("dict[str, Any]", {field: value}))


def test_another_overlay_is_looked_for_among_the_machines_routes() -> None:
    other = render_external(replace(EXTERNAL, overlay=IPv4Network("100.64.0.0/12")))
    assert "ip -4 route show root 100.64.0.0/12" in other
    assert "10.100.0.0/16" not in other
