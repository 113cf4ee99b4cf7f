"""Whatever a crash leaves behind, the next `apply` puts right; `down` leaves nothing."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from localcloud import daemon, host, residents
from localcloud.cloud import NETNS
from localcloud.enter import CGROUPS, init_of
from localcloud.fabric import internet
from localcloud.fabric.machine import Machine, processes_of
from localcloud.fabric.process import run
from localcloud.fabric.store import Store
from tests.localcloud.fabric.machines import OVERLAY, World
from tests.localcloud.fabric.worlds import AWS, GCP, HETZNER

pytestmark = pytest.mark.localcloud


def namespace_of(world: World, node: str) -> str:
    return (world.cloud.directory / "nodes" / node).read_text()


def command_of(process: int) -> str:
    """The command line of a process; empty for one that has ended meanwhile."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def named(world: World, node: str, part: str) -> int:
    """The host's process of a machine with this in its command line."""
    processes = processes_of(namespace_of(world, node))
    found = [p for p in processes if part in command_of(p)]
    assert len(found) == 1, (part, found)
    return found[0]


def end_supervisor(world: World, node: str) -> None:
    os.kill(named(world, node, "supervise.sh"), signal.SIGKILL)
    world.wait("the supervisor is gone", lambda: not supervised(world, node))


def supervised(world: World, node: str) -> bool:
    (record,) = (record for record in Store(world.cloud).records().values() if record.spec.node == node)
    return Machine(world.cloud, record).supervised


def groups(world: World) -> list[Path]:
    return [path for base in CGROUPS for path in Path(base).glob(f"{world.cloud.prefix}*")]


def test_a_machine_whose_supervisor_died_runs_on_and_is_looked_after_again(world: World) -> None:
    before = world.fabric.init_of("aws-1")
    end_supervisor(world, "aws-1")
    world.apply()
    assert world.fabric.init_of("aws-1") == before, "picked up, not booted again"
    world.fabric.reboot("aws-1")
    assert world.fabric.init_of("aws-1") != before
    world.wait_for_mesh()


def test_a_machine_whose_supervisor_died_can_be_stopped(world: World) -> None:
    end_supervisor(world, "aws-1")
    world.apply()
    world.fabric.stop("aws-1")
    world.wait("nothing is left of it", lambda: not processes_of(namespace_of(world, "aws-1")))
    world.fabric.start("aws-1")
    world.wait_for_mesh()


def test_a_crashed_machine_is_booted_again(world: World) -> None:
    os.kill(world.fabric.init_of("gcp-1"), signal.SIGKILL)
    world.wait("it is gone", lambda: status(world, "gcp-1") == "crashed")
    world.apply()
    assert status(world, "gcp-1") == "running"
    world.wait_for_mesh()


def test_a_machine_whose_nspawn_was_killed_never_runs_twice(world: World) -> None:
    orphan = world.fabric.init_of("gcp-1")
    os.kill(named(world, "gcp-1", "systemd-nspawn"), signal.SIGKILL)
    world.wait("its supervisor ended", lambda: not supervised(world, "gcp-1"))
    world.apply()
    assert world.fabric.init_of("gcp-1") != orphan
    assert not Path(f"/proc/{orphan}/ns").exists() or orphan not in processes_of(namespace_of(world, "gcp-1"))
    world.wait_for_mesh()


def test_half_made_namespaces_are_made_anew(world: World) -> None:
    run("ip", "-n", world.cloud.internet, "link", "set", "lo", "alias", "half")
    run("ip", "-n", world.cloud.network_namespace(1), "link", "set", "lo", "alias", "half")
    inits = {node: world.fabric.init_of(node) for node in OVERLAY}
    world.apply()
    world.wait_for_mesh()
    assert {node: world.fabric.init_of(node) for node in OVERLAY} == inits, "machines run through it"
    world.wait("SSH", lambda: world.banner(world.cloud.desk, "198.18.1.5", 22) == "SSH")


def test_missing_desk_and_half_plugged_card_are_made_anew(world: World) -> None:
    run("ip", "netns", "del", world.cloud.desk)
    world.apply()
    world.wait("SSH", lambda: world.banner(world.cloud.desk, "198.18.1.5", 22) == "SSH")
    device = next(name for name in internet.aliases(world.cloud.internet) if name.startswith("v"))
    run("ip", "-n", world.cloud.internet, "link", "set", device, "alias", "half")
    world.apply()
    world.wait_for_mesh()


def test_what_belongs_to_no_machine_is_swept_away(world: World) -> None:
    folder = world.cloud.machines / "half-made"
    (folder / "upper").mkdir(parents=True)
    stray = world.cloud.machine_namespace(77)
    run("ip", "netns", "add", stray)
    for base in CGROUPS:
        if (Path(base) / "cgroup.procs").exists():
            (Path(base) / stray / "payload").mkdir(parents=True)
    run("ip", "-n", world.cloud.internet, "link", "add", "v77-eth0", "type", "veth", "peer", "name", "other")
    run("ip", "netns", "add", world.cloud.network_namespace(77))
    world.apply()
    assert not folder.exists()
    assert not (NETNS / stray).exists()
    assert not (NETNS / world.cloud.network_namespace(77)).exists()
    assert not [path for path in groups(world) if path.name == stray]
    assert "v77-eth0" not in internet.aliases(world.cloud.internet)


def test_a_destroyed_machine_leaves_nothing_and_its_name_can_be_used_again(world: World) -> None:
    extra = replace(
        HETZNER,
        id="303",
        node="extra",
        interfaces=(replace(HETZNER.interfaces[0], address="198.18.1.9", public="198.18.1.9", address6=None),),
    )
    world.apply(extra)
    namespace, folder = namespace_of(world, "extra"), world.cloud.machine("303")
    world.on("extra", "touch", "/root/old")
    world.apply()
    assert not folder.exists()
    assert not (NETNS / namespace).exists()
    assert not [path for path in groups(world) if path.name == namespace]
    assert not processes_of(namespace)
    assert world.command("exec", "extra", "--", "true").status == 125
    world.apply(replace(extra, id="304"))
    assert world.on("extra", "test", "-e", "/root/old").status == 1


@pytest.fixture
def no_daemon(world: World) -> Iterator[World]:
    yield world
    daemon.stop(world.cloud)


def test_machines_do_not_depend_on_the_daemon_and_a_new_one_picks_them_up(no_daemon: World) -> None:
    world = no_daemon
    desk = NETNS / world.cloud.desk
    ask = ("curl", "-s", "-m", "2", "http://169.254.169.254/hetzner/v1/metadata/hostname")
    daemon.ensure(world.cloud, desk)
    world.wait("metadata", lambda: world.on("hetzner-gw", *ask).stdout == "gw")
    os.kill(int(world.cloud.daemon_pid.read_text()), signal.SIGKILL)
    world.wait("the daemon is gone", lambda: not daemon.is_running(world.cloud))
    assert world.pings("aws-1", OVERLAY["gcp-1"])
    assert world.on("hetzner-gw", *ask).status != 0
    ports = daemon.ensure(world.cloud, desk)
    assert set(ports) == {"hcloud", "aws", "gcp", "tls", "cloudflare"}
    world.wait("metadata", lambda: world.on("hetzner-gw", *ask).stdout == "gw")
    assert daemon.ensure(world.cloud, desk) == ports, "one that runs stays"


def test_whoever_asks_at_once_gets_one_daemon(no_daemon: World) -> None:
    desk = NETNS / no_daemon.cloud.desk
    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(daemon.ensure, [no_daemon.cloud] * 4, [desk] * 4))
        assert answers[1:] == answers[:-1]
        daemon.stop(no_daemon.cloud)


def test_a_machine_boots_while_others_look_at_it(world: World) -> None:
    """Who looks whether a supervisor lives holds its lock for an instant: the supervisor waits for that."""
    lock = world.cloud.machine(GCP.id) / "supervisor.lock"
    world.fabric.kill("gcp-1")
    starting = threading.Thread(target=world.fabric.start, args=("gcp-1",))
    with lock.open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        starting.start()
        waiter = re.compile(rf"-> FLOCK.*:{lock.stat().st_ino} ")
        world.wait("it waits", lambda: waiter.search(Path("/proc/locks").read_text()))
    starting.join()
    assert supervised(world, "gcp-1")
    world.wait_for_mesh()


def test_an_engine_that_was_left_alone_ends_and_other_residents_stay(world: World) -> None:
    enter = ["nsenter", f"--net={NETNS / world.cloud.desk}", "sleep", "600"]
    with (
        subprocess.Popen(enter) as shell,
        subprocess.Popen(enter, env={**os.environ, residents.ENGINE: world.cloud.tag}) as engine,
    ):
        both = {shell.pid, engine.pid}
        world.wait("both are at the desk", lambda: both <= set(residents.of(world.cloud)))
        threading.Thread(target=engine.wait).start()
        residents.end(world.cloud, engines=True)
        assert engine.wait(30) == -signal.SIGTERM
        assert shell.poll() is None
        shell.kill()


def test_down_leaves_nothing_behind_even_when_records_are_damaged(tmp_path: Path) -> None:
    world = World(tmp_path / "cloud")
    one = {HETZNER.id: replace(HETZNER, user_data="#cloud-config\n{}\n")}
    try:
        world.fabric.apply(one)
        world.fabric.apply({**one, AWS.id: AWS, GCP.id: GCP})
        namespaces = [namespace_of(world, node) for node in OVERLAY]
        (world.cloud.machine(AWS.id) / "spec.json").write_text("{")
        enter = ["nsenter", f"--net={NETNS / world.cloud.desk}", "sh", "-c", "trap '' TERM; echo on; sleep 600"]
        resident = subprocess.Popen(enter, stdout=subprocess.PIPE, start_new_session=True)
        with resident.stdout as said:  # pyright: ignore[reportOptionalContextManager]
            assert said.readline() == b"on\n"
        threading.Thread(target=resident.wait).start()
    finally:
        done = world.command("down")
    assert done.status == 0, done.stderr
    assert resident.wait(30) == -signal.SIGKILL, "what runs at the desk ends too"
    assert not internet.namespaces(world.cloud.prefix)
    assert not groups(world)
    assert all(init_of(namespace) is None for namespace in namespaces)
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert not world.cloud.directory.exists()
    assert not (host.INOTIFY_BEFORE / world.cloud.tag).exists(), "nothing keeps the limit raised for it"


def status(world: World, node: str) -> str:
    return {machine.spec.node: machine.status for machine in world.fabric.machines()}[node]
