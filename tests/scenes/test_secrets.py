"""No secret stands in plain text where somebody without the passphrase or root on the machine could read it."""

from __future__ import annotations

import json
import re
import stat

import pytest

from tests.scenes.scene import ADDRESSES, Scene

pytestmark = pytest.mark.localcloud


def secrets_of(scene: Scene) -> dict[str, str]:
    """Every key, token, lease secret and ticket by what it is; of the TLS key its body without line breaks."""
    found = {
        f"{node}'s WireGuard key": scene.exec(node, "sh", "-c", "sed -n 's/^PrivateKey = //p' /etc/wireguard/wg0.conf")
        for node in scene.everyone()
    }
    for lease in scene.leases():
        name = lease["name"]
        found[f"{lease['pool']}'s join token"] = scene.exec(name, "cat", "/etc/hybridnet/token")
        answer = json.loads(json.loads(scene.exec(name, "cat", "/var/lib/hybridnet/lease.json"))["answer"])
        found |= {f"{name}'s lease secret": answer["secret"], f"{name}'s ticket": answer["ticket"]}
    found["the gateway's seal key"] = scene.exec("hetzner-gw", "cat", "/etc/hybridnet/seal.key")
    pem = scene.exec("hetzner-gw", "cat", "/etc/hybridnet/tls.key")
    body = re.sub(r"-----[^-]+-----|\s", "", pem)
    return {name: value.strip() for name, value in found.items()} | {"the gateway's TLS key": body[:60]}


def test_no_secret_is_in_the_state_the_backend_or_the_logs(scene: Scene) -> None:
    scene.run("preview", "--stack", scene.stack, "--config-file", str(scene.config_file))
    said = "".join(scene.logs)
    secrets = secrets_of(scene)
    assert len(secrets) > 2 * len(ADDRESSES)
    assert all(len(value) > 40 for value in secrets.values())
    state = [path for path in scene.directory.rglob("*") if path.is_file() and "/machines/" not in str(path)]
    state = [path for path in state if path.name != "world.json"]
    assert state
    for path in state:
        try:
            text = path.read_bytes().replace(b"\\n", b"").replace(b"\n", b"")
        except FileNotFoundError:
            continue  # it is gone since it was listed
        for name, value in secrets.items():
            assert value.encode() not in text, f"{name} is in {path}"
    plain = said.replace("\\n", "").replace("\n", "")
    for name, value in secrets.items():
        assert value not in plain, f"{name} was printed"


def test_no_secret_is_in_a_journal_or_an_argument_of_any_machine(scene: Scene) -> None:
    secrets = secrets_of(scene)
    look = "journalctl --no-pager -o cat; cat /proc/[0-9]*/cmdline /var/lib/hybridnet/audit.jsonl | tr '\\0' ' '"
    for node in scene.everyone():
        seen = scene.exec(node, "sh", "-c", look, check=False)
        for name, value in secrets.items():
            assert value not in seen, f"{name} is in the journal or an argument on {node}"


def test_what_holds_a_secret_is_for_root_alone_on_every_machine(scene: Scene) -> None:
    secrets = secrets_of(scene)
    patterns = [word for value in secrets.values() for word in ("-e", value)]
    places = ("/etc", "/var", "/run", "/root", "/tmp")
    for node in scene.everyone():
        search = ["grep", "-rlsF", "--exclude-dir=proc", "--exclude-dir=sys", *patterns, *places]
        # It ends with 2 where a file vanishes meanwhile.
        holders = scene.exec(node, *search, check=False).split()
        assert "/etc/wireguard/wg0.conf" in holders
        for path in holders:
            assert open_to_others(scene, node, path) is False, f"{path} on {node} can be read by others"
    for node in (lease["name"] for lease in scene.leases()):
        search = ["grep", "-rlsF", *patterns, "/etc/hybridnet", "/var/lib/hybridnet"]
        held = set(scene.exec(node, *search, check=False).split())
        assert {"/etc/hybridnet/token", "/var/lib/hybridnet/identity.json", "/var/lib/hybridnet/lease.json"} <= held


def open_to_others(scene: Scene, node: str, path: str) -> bool:
    """Whether somebody other than root can read ``path``: the file's mode and that of every folder above it.

    What is gone since it was found cannot be read.
    """
    parts = path.strip("/").split("/")
    chain = ["/" + "/".join(parts[: end + 1]) for end in range(len(parts))]
    modes = [int(mode, 16) for mode in scene.exec(node, "stat", "-c", "%f", *chain, check=False).split()]
    if len(modes) < len(chain):
        assert not scene.succeeds(node, "test", "-e", path), f"{path} on {node} could not be looked at"
        return False
    folders_open = all(mode & stat.S_IXOTH for mode in modes[:-1])
    return folders_open and bool(modes[-1] & stat.S_IROTH)


def test_the_files_of_the_local_cloud_that_hold_secrets_are_for_root_alone(scene: Scene) -> None:
    for path in [scene.directory / "world.json", *scene.directory.glob("machines/*/spec.json")]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_metadata_is_for_root_alone(scene: Scene) -> None:
    ask = "exec 3<>/dev/tcp/169.254.169.254/80"
    for node in scene.everyone():
        assert scene.succeeds(node, "timeout", "3", "bash", "-c", ask), node
        assert not scene.succeeds(node, "setpriv", "--reuid=65534", "timeout", "3", "bash", "-c", ask), node
