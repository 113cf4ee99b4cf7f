"""Commands that make and unmake the whole: up, preview, down."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager

from localcloud import daemon, host, image, residents
from localcloud.cli import balancer, gateways, members, mesh
from localcloud.cli.console import GREEN, YELLOW, Console
from localcloud.cli.desk import Choice, engine, environment
from localcloud.cli.shape import Shape
from localcloud.cloud import Cloud, LocalCloudError
from localcloud.driver import Driver, Outcome
from localcloud.fabric import Fabric
from localcloud.fabric.process import wait_until

BOOT_SECONDS = 180


def up(cloud: Cloud, options: argparse.Namespace) -> int:
    """up: 0 when the stack is as declared and every node reaches every node."""
    console = Console()
    with _alone(cloud, console):
        driver = _open(cloud, options, console)
        outcome = _previewed(driver)
        if outcome.changes:
            console.step("making the changes")
            if not driver.up().succeeded:
                raise LocalCloudError("the changes were not all made; what was made stays, and `up` goes on from there")
        else:
            console.say(console.paint("nothing changes: the local cloud is as the stack declares it", GREEN))
        outputs = driver.outputs()
        mesh.write(cloud, outputs)
        fabric, nodes = Fabric(cloud), mesh.peers(outputs)
        _wait_for_first_boots(fabric, console)
        joined = members.wait(cloud, fabric, nodes, console)
        told = gateways.ask(cloud, nodes)
        nodes += members.peers(
            fabric.machines(), members.leases(told), outputs, gateways.pool_groups(cloud, nodes, outputs)
        )
        connected = mesh.show(cloud, nodes, Shape(nodes, outputs, told), console)
        told = gateways.ask(cloud, nodes)
        if told.topology == "mesh":
            pairs = "1 pair has" if len(told.links) == 1 else f"{len(told.links)} pairs have"
            console.say(f"{pairs} a direct tunnel now; the others go through their gateways")
        balancer.line(told, outputs, console)
        return 0 if connected and joined else 1


def preview(cloud: Cloud, options: argparse.Namespace) -> int:
    """preview: 0 when the program could be previewed, whether it changes anything or not."""
    console = Console()
    with _alone(cloud, console):
        _previewed(_open(cloud, options, console))
    return 0


def down(cloud: Cloud, options: argparse.Namespace) -> int:
    """down: 0 when nothing is left."""
    del options
    console = Console()
    with _alone(cloud, console):
        console.step("ending the daemon")
        daemon.stop(cloud)
        residents.end(cloud)
        Fabric(cloud).down(console.step)
        cloud.remove()
    console.say("the local cloud is gone; the machines' image stays in the cache for the next time")
    return 0


def serve(cloud: Cloud, options: argparse.Namespace) -> int:
    """serve: until it is told to end."""
    from localcloud import serve as server

    return server.main(cloud, options.ready)


def _alone(cloud: Cloud, console: Console) -> AbstractContextManager[None]:
    """The lock of the commands that make and unmake."""
    return cloud.locked("command", lambda: console.step("waiting for another `up`, `preview` or `down` to end"))


def _open(cloud: Cloud, options: argparse.Namespace, console: Console) -> Driver:
    """Host, image, namespaces, machines that should run, daemon: everything that the engine needs."""
    choice = Choice(options.stack, options.config_file.resolve() if options.config_file else None)
    choice.check()
    if cloud.directory.exists() and Fabric(cloud).machines():
        choice.check_fits(cloud)
    console.step("looking at this host")
    host.prepare(console.detail)
    image.ensure(console.detail)
    console.step("the internet and the machines that are there")
    residents.end(cloud, engines=True)
    fabric = Fabric(cloud)
    fabric.repair(console.detail)
    for machine in fabric.machines():
        if machine.status == "stopped" and machine.spec.running and not machine.spec.pool:
            console.detail(f"starting {machine.spec.node}, which was stopped")
            fabric.start(machine.spec.node)
    console.step("the clouds' providers")
    driver = engine(cloud, choice, environment(cloud, choice.stack, current=True))
    if broken_off := driver.broken_off():
        console.detail("removing what an engine that died was making")
        from localcloud.provider import unclaimed

        daemon.stop(cloud)
        unclaimed.remove(cloud, fabric, broken_off)
        driver = engine(cloud, choice, environment(cloud, choice.stack))
    choice.remember(cloud)
    console.step(f"previewing stack {choice.stack} with {driver.description}")
    return driver


def _previewed(driver: Driver) -> Outcome:
    outcome = driver.preview()
    if not outcome.succeeded:
        raise LocalCloudError("the preview failed, so nothing was changed; the reason is above")
    return outcome


def _wait_for_first_boots(fabric: Fabric, console: Console) -> None:
    console.step("waiting for the machines' first boot")

    def all_done() -> bool:
        declared = [machine for machine in fabric.machines() if not machine.spec.pool]
        waiting = [machine.spec.node for machine in declared if machine.status != "running"]
        if waiting:
            console.detail(f"waiting for {', '.join(waiting)}")
        return not waiting

    if not wait_until(all_done, BOOT_SECONDS, interval=0.2):
        console.say(console.paint("some machines have not finished their first boot; going on without them", YELLOW))
    for node, errors in fabric.first_boot_errors().items():
        console.say(console.paint(f"{node}: the first boot went wrong: {'; '.join(errors)}", YELLOW))
        console.say(f"  see `python -m localcloud exec {node} -- cat /var/log/cloud-init-output.log`")
