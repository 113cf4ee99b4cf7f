"""How nginx runs on a gateway: never with the distribution's page, nor with a configuration that it does not take."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from cloudinit.pack import KIT, KITS
from node.gateway.serving.nginx import TIMEOUT as SYSTEMCTL_SECONDS
from tests.cloudinit.examples import documents

DOCUMENT = cast("dict[str, Any]", yaml.safe_load(documents()["gateway.yaml"]))
DROP_INS = "etc/systemd/system/nginx.service.d/"
UNIT = """[Unit]
Description=The parts of the distributions' unit that ours change
[Service]
Type=forking
PIDFile=/run/nginx.pid
ExecStartPre=/bin/echo -t
ExecStart=/bin/echo
ExecReload=/bin/echo -s reload
ExecStop=-/bin/echo --stop --retry QUIT/5
TimeoutStopSec=5
KillMode=mixed
"""

# What the script runs as nginx: it takes every file in which there is no "bad".
NGINX = """#!/bin/sh
[ "$1 $2 $3" = "-t -q -c" ] && ! grep -q bad "$4"
"""


def condition() -> str:
    """The drop-in that first boot writes before it installs any package."""
    (entry,) = (each for each in DOCUMENT["write_files"] if each["path"].startswith(f"/{DROP_INS}"))
    return entry["content"]


def ours() -> str:
    """The drop-in of the gateway's kit."""
    return KITS["gateway"][f"{DROP_INS}hybridnet.conf"].read_text()


def settings() -> dict[str, list[str]]:
    """What systemd makes of the unit with its drop-ins: an empty value takes back what stands before it."""
    found: dict[str, list[str]] = {}
    for line in "\n".join([UNIT, condition(), ours()]).splitlines():
        key, is_setting, value = line.partition("=")
        if is_setting and not key.startswith("#"):
            found[key] = [*found.get(key, []), value] if value else []
    return found


def test_nginx_is_installed_on_gateways_alone() -> None:
    having = {
        name
        for name, text in documents().items()
        if "nginx" in cast("dict[str, Any]", yaml.safe_load(text))["packages"]
    }
    assert having == {"gateway.yaml"}


def test_nginx_does_not_start_before_there_is_a_configuration_of_ours() -> None:
    """The kit is unpacked after the packages are installed, which starts nginx: so this does not wait for the kit."""
    assert condition() == "[Unit]\nConditionPathExistsGlob=/var/lib/hybridnet/nginx/*.conf\n"


def test_a_library_upgrade_makes_another_nginx_and_cuts_no_request() -> None:
    """needrestart runs what is called as the unit and is executable; the rest is the distribution's own script."""
    path = "/etc/needrestart/restart.d/nginx.service"
    (entry,) = (each for each in DOCUMENT["write_files"] if each["path"] == path)
    assert (entry["permissions"], entry["content"].split("\n", 1)) == (
        "0755",
        ["#!/bin/sh", "exec /etc/init.d/nginx upgrade\n"],
    )


def test_systemd_takes_the_drop_ins(tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("needs systemd-analyze")
    (tmp_path / "nginx.service").write_text(UNIT)
    folder = tmp_path / "nginx.service.d"
    folder.mkdir()
    (folder / "condition.conf").write_text(condition())
    # The programs need not be here, and are no part of the question.
    text = ours().replace("/usr/sbin/nginx", "/bin/echo").replace("/sbin/start-stop-daemon", "/bin/echo")
    (folder / "hybridnet.conf").write_text(text)
    command = [tool, "verify", "--man=no", str(tmp_path / "nginx.service")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not [line for line in checked.stderr.splitlines() if "nginx.service" in line], checked.stderr


def test_nginx_starts_after_the_tunnel_and_stops_before_it() -> None:
    assert "wg-quick@wg0.service" in " ".join(settings()["After"]).split()


def test_a_stop_waits_for_requests_under_way_but_not_for_ever() -> None:
    """The command sends SIGQUIT and returns when nginx has ended, or the seconds are over and systemd ends it."""
    found = settings()
    (command,) = found["ExecStop"]
    seconds = int(command.partition("--retry QUIT/")[2].partition(" ")[0])
    assert 5 < seconds < int(found["TimeoutStopSec"][-1]) < SYSTEMCTL_SECONDS


def test_a_reload_is_for_the_nginx_that_takes_requests() -> None:
    """After an upgrade of the package systemd's main process is the old one until its last request has ended."""
    *_, last = settings()["ExecReload"]
    assert last.endswith(" -s reload")
    assert not any("MAINPID" in command for command in settings()["ExecReload"])


def test_shellcheck_finds_nothing_in_the_script() -> None:
    tool = shutil.which("shellcheck")
    if tool is None:
        pytest.skip("needs shellcheck")
    checked = subprocess.run([tool, str(KIT / "take-nginx")], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("candidate", "current", "taken", "left"),
    [
        ("new", "old", True, {"nginx.conf": "new"}),
        ("new", None, True, {"nginx.conf": "new"}),
        ("bad", "old", False, {"candidate.conf": "bad", "nginx.conf": "old"}),
        ("bad", None, False, {"candidate.conf": "bad"}),
        (None, "old", True, {"nginx.conf": "old"}),
    ],
)
def test_a_candidate_takes_the_configurations_place_only_if_nginx_takes_it(
    tmp_path: Path, candidate: str | None, current: str | None, taken: bool, left: dict[str, str]
) -> None:
    prefix = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a mount namespace")
    folder = tmp_path / "lib" / "hybridnet" / "nginx"
    folder.mkdir(parents=True)
    for name, text in (("candidate.conf", candidate), ("nginx.conf", current)):
        if text is not None:
            (folder / name).write_text(text)
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin" / "nginx").write_text(NGINX)
    (tmp_path / "sbin" / "nginx").chmod(0o755)
    (tmp_path / "take-nginx").write_bytes(KITS["gateway"]["usr/local/lib/hybridnet/take-nginx"].read_bytes())
    script = f"cd {tmp_path} && mount --bind lib /var/lib && mount --bind sbin /usr/sbin && exec /bin/sh take-nginx"
    done = subprocess.run([*prefix, "sh", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode == 0, done.stderr) == (taken, "")
    assert {path.name: path.read_text() for path in folder.iterdir()} == left
