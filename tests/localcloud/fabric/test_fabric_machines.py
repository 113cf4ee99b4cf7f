"""Machines boot from their first-boot documents, end in every way, and come back with their data."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from localcloud import enter
from localcloud.cli import mesh
from localcloud.cli.mesh import run_on
from tests.localcloud.fabric.machines import OVERLAY, SECONDS, World
from tests.localcloud.fabric.worlds import AWS, HETZNER

pytestmark = pytest.mark.localcloud


def status_of(world: World, node: str) -> str:
    return {m.spec.node: m.status for m in world.fabric.machines()}[node]


def test_the_first_boot_installs_packages_and_brings_the_tunnels_up(world: World) -> None:
    log = world.on("hetzner-gw", "cat", "/var/log/dpkg.log").stdout
    assert " install wireguard-tools:" in log, "the image must not bring it"
    shown = world.on("hetzner-gw", "wg", "show", "wg0", "endpoints").stdout
    addresses = {line.split("\t")[1].rpartition(":")[0] for line in shown.splitlines()}
    assert addresses == {"198.18.2.7", "198.18.9.1"}, "one to one for AWS, shared for the one without public address"
    assert world.fabric.first_boot_errors() == {}


def test_a_machine_knows_its_name_and_identity_and_shares_neither(world: World) -> None:
    assert world.on("aws-1", "hostname").stdout.strip() == AWS.hostname
    ids = {world.on(node, "cat", "/etc/machine-id").stdout for node in OVERLAY}
    keys = {world.on(node, "cat", "/etc/ssh/ssh_host_ed25519_key.pub").stdout for node in OVERLAY}
    assert (len(ids), len(keys)) == (3, 3)


def test_ssh_keys_go_to_root_on_hetzner_and_to_the_images_user_elsewhere(world: World) -> None:
    root = world.on("hetzner-gw", "sh", "-c", "cat ~/.ssh/authorized_keys").stdout
    assert root.strip() == HETZNER.ssh_keys[0]
    assert world.on("aws-1", "su", "ubuntu", "-c", "tail -n1 ~/.ssh/authorized_keys").stdout.strip() == AWS.ssh_keys[0]
    assert world.on("aws-1", "su", "ubuntu", "-c", "sudo -n id -u").stdout.strip() == "0"


def test_nothing_failed_at_boot(world: World) -> None:
    for node in OVERLAY:
        assert world.on(node, "systemctl", "is-system-running", "--wait").stdout.strip() == "running"


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_data_and_identity_survive_the_end_of_power(world: World, end: str) -> None:
    world.on("aws-1", "sh", "-c", "date +%N >/root/note; sync")
    before = [world.on("aws-1", "cat", path).stdout for path in ("/root/note", "/etc/machine-id")]
    assert world.command(end, "aws-1").status == 0
    assert {m.spec.node: m.status for m in world.fabric.machines()}["aws-1"] == "stopped"
    assert not world.pings("hetzner-gw", OVERLAY["aws-1"])
    world.apply(replace(world.specs[HETZNER.id], hostname="gw2"))
    assert {m.spec.node: m.status for m in world.fabric.machines()}["aws-1"] == "stopped", "a change elsewhere"
    assert world.command("start", "aws-1").status == 0
    world.wait_for_mesh()
    assert [world.on("aws-1", "cat", path).stdout for path in ("/root/note", "/etc/machine-id")] == before
    assert world.on("aws-1", "grep", "-c", " install wireguard-tools:", "/var/log/dpkg.log").stdout == "1\n"


def test_a_reboot_makes_a_new_init_and_a_fresh_network(world: World) -> None:
    before = world.fabric.init_of("gcp-1")
    assert world.on("gcp-1", "ip", "link", "add", "left-over", "type", "veth").status == 0
    assert world.command("reboot", "gcp-1").status == 0
    assert world.fabric.init_of("gcp-1") != before
    assert world.on("gcp-1", "ip", "link", "show", "left-over").status != 0
    world.wait_for_mesh()


def test_a_reboot_from_inside_comes_back_and_a_power_off_from_inside_stays(world: World) -> None:
    before = world.fabric.init_of("gcp-1")
    world.on("gcp-1", "systemctl", "reboot")

    def status() -> str:
        return status_of(world, "gcp-1")

    world.wait("it is back", lambda: status() == "running" and world.fabric.init_of("gcp-1") != before)
    world.on("gcp-1", "systemctl", "poweroff")
    world.wait("it is off", lambda: status() == "stopped")
    world.apply()
    assert status() == "stopped"
    world.fabric.start("gcp-1")
    world.wait_for_mesh()


@pytest.mark.parametrize("end", ["power-off", "power button", "crash"])
def test_a_pools_machine_that_ended_is_left_to_its_group_and_a_declared_one_is_not(world: World, end: str) -> None:
    card = replace(HETZNER.interfaces[0], address="198.18.1.9", public="198.18.1.9", address6=None)
    member = replace(HETZNER, id="303", node="burst-1", interfaces=(card,), metadata={"pool": "burst"})
    world.apply(member)

    def statuses() -> dict[str, str]:
        return {m.spec.node: m.status for m in world.fabric.machines()}

    init = world.fabric.init_of("burst-1")
    if end == "power-off":
        world.on("burst-1", "systemctl", "poweroff")
    elif end == "power button":
        world.fabric.press_power("burst-1")
    else:
        os.kill(init, signal.SIGKILL)
        os.kill(world.fabric.init_of("aws-1"), signal.SIGKILL)
    over = "crashed" if end == "crash" else "stopped"
    world.wait("it is over", lambda: statuses()["burst-1"] == over)
    world.fabric.repair()
    assert statuses()["burst-1"] == over
    world.fabric.apply({**world.specs, member.id: replace(member, hostname="other")})
    assert statuses()["burst-1"] == over, "nor does a change boot it"
    assert statuses()["aws-1"] in ("running", "booting")
    world.fabric.press_power("burst-1")
    world.apply(replace(member, id="304", node="burst-2"))
    assert statuses().keys() == {*OVERLAY, "burst-2"}, "its group's other one, under its address"
    world.fabric.press_power("nobody")


def test_a_command_under_way_does_not_keep_a_machine_from_going_off(world: World) -> None:
    # A machine that goes off stops every process on it before it ends them, this one too.
    with subprocess.Popen(enter.command_line(world.fabric.init_of("gcp-1"), ["sleep", "infinity"])) as command:
        world.on("gcp-1", "systemctl", "poweroff")
        try:
            world.wait("it is off", lambda: status_of(world, "gcp-1") == "stopped")
            assert command.wait(SECONDS) != 0
        finally:
            command.kill()
            command.send_signal(signal.SIGCONT)
    world.fabric.start("gcp-1")
    world.wait_for_mesh()


def test_exec_ends_as_its_command_does(world: World) -> None:
    assert world.command("exec", "aws-1", "--", "sh", "-c", "echo out; echo err >&2; exit 7") == world.command(
        "exec", "aws-1", "sh", "-c", "echo out; echo err >&2; exit 7"
    )
    done = world.command("exec", "aws-1", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.status, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert world.command("exec", "aws-1", "--", "cat", stdin="through").stdout == "through"
    assert world.command("exec", "aws-1", "--", "no-such-command").status == 127
    assert world.command("exec", "aws-1", "--", "sh", "-c", "kill -KILL $$").status in (137, -9)


def test_a_look_at_a_machine_ends_though_its_command_does_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_on(world.cloud, "aws-1", "echo", "here") == "here\n"
    monkeypatch.setattr(mesh, "COMMAND_SECONDS", 0.2)
    assert run_on(world.cloud, "aws-1", "sleep", "4711") is None
    assert "sleep 4711" not in world.on("aws-1", "ps", "-eo", "args").stdout


def test_exec_on_no_machine_says_what_there_is(world: World) -> None:
    done = world.command("exec", "aws-7", "--", "true")
    assert done.status == 125
    assert "no machine 'aws-7'; machines: aws-1, gcp-1, hetzner-gw" in done.stderr


def test_a_command_on_a_machine_cannot_touch_the_host(world: World) -> None:
    assert world.on("aws-1", "date", "-s", "2020-01-01").status != 0
    own = world.on("aws-1", "grep", "CapBnd", "/proc/self/status").stdout
    assert own == world.on("aws-1", "grep", "CapBnd", "/proc/1/status").stdout, "no more than the machine itself"
    assert str(os.getpid()) not in world.on("aws-1", "ps", "-eo", "pid").stdout.split()


def test_shell_takes_commands_from_standard_input(world: World) -> None:
    done = world.command("shell", "aws-1", stdin="hostname\nexit 3\n")
    assert (done.status, done.stdout.strip()) == (3, AWS.hostname)


def test_shell_has_a_terminal_of_the_machines_own(world: World) -> None:
    child, terminal = pty.fork()
    if child == 0:
        words = ["-m", "localcloud", "--dir", str(world.cloud.directory), "shell", "aws-1"]
        os.execv(sys.executable, [sys.executable, *words])
    os.write(terminal, b"test -t 0 && echo on-$(tty) on-$(hostname); exit 4\n")
    said = b""
    try:
        while chunk := os.read(terminal, 4096):
            said += chunk
    except OSError:
        pass  # how a terminal says that the other end is gone
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    assert f"on-/dev/pts/1 on-{AWS.hostname}".encode() in said, said
