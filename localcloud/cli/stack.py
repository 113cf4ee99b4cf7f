"""Commands that make and unmake the whole: up, preview, down."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from localcloud import daemon, host, image, residents
from localcloud.cli import balancer, exported, gateways, members, mesh
from localcloud.cli.console import GREEN, YELLOW, Console
from localcloud.cli.desk import Choice, engine, environment
from localcloud.cli.shape import Shape
from localcloud.cloud import PROJECT, Cloud, LocalCloudError
from localcloud.driver import Driver, Outcome
from localcloud.engine import packs
from localcloud.engine.errors import EngineError
from localcloud.fabric import Fabric
from localcloud.fabric.process import wait_until

BOOT_SECONDS = 180


def up(cloud: Cloud, options: argparse.Namespace) -> int:
    """up: 0 when the stack is as declared and every node reaches every node; of another project when it is made."""
    console = Console()
    choice = _choice(cloud, options)
    policy_packs = _policy_packs(options)
    with _alone(cloud, console):
        driver = _open(cloud, choice, console, policy_packs)
        if options.skip_preview:
            is_changed = _made(driver, console).changes
        else:
            is_changed = _previewed(driver, console).changes
            if is_changed:
                _made(driver, console)
        if not is_changed:
            console.say(console.paint("nothing changes: the local cloud is as the stack declares it", GREEN))
        outputs = driver.outputs()
        fabric = Fabric(cloud)
        if not choice.is_own:
            booted = wait_for_first_boots(fabric, console)
            exported.show(outputs, console)
            return 0 if booted else 1
        mesh.write(cloud, outputs)
        nodes = mesh.peers(outputs)
        wait_for_first_boots(fabric, console)
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
    choice = _choice(cloud, options)
    policy_packs = _policy_packs(options)
    with _alone(cloud, console):
        driver = _open(cloud, choice, console, policy_packs)
        if not options.json:
            _previewed(driver, console)
            return 0
        console.step("previewing")
        succeeded, document = driver.preview_document()
        print(document, end="", flush=True)
        if not succeeded:
            raise LocalCloudError("the preview failed; the document says why, as far as there is one")
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


def _choice(cloud: Cloud, options: argparse.Namespace) -> Choice:
    file = options.config_file.resolve() if options.config_file else None
    choice = Choice(options.stack, file, options.cwd.resolve() if options.cwd else PROJECT)
    choice.check()
    choice.check_beside(cloud)
    return choice


def _open(cloud: Cloud, choice: Choice, console: Console, policy_packs: Sequence[tuple[Path, Path | None]]) -> Driver:
    """Host, image, namespaces, machines that should run, daemon: everything that the engine needs."""
    choice.check_beside(cloud)
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
    driver = engine(cloud, choice, environment(cloud, choice.stack, current=True), policy_packs)
    if broken_off := driver.broken_off():
        console.detail("removing what an engine that died was making")
        from localcloud.provider import unclaimed

        daemon.stop(cloud)
        unclaimed.remove(cloud, fabric, broken_off)
        driver = engine(cloud, choice, environment(cloud, choice.stack), policy_packs)
    choice.remember(cloud)
    whose = "" if choice.is_own else f" of {choice.project}"
    console.step(f"reading stack {choice.stack}{whose} with {driver.description}")
    return driver


def _policy_packs(options: argparse.Namespace) -> list[tuple[Path, Path | None]]:
    """The packs that are asked for; raises LocalCloudError when one is none, or its file is wrong."""
    try:
        pairs = packs.pair(options.policy_pack, options.policy_pack_config)
        for directory, config in pairs:
            packs.find(directory)
            if config:
                packs.read_settings(config)
    except EngineError as error:
        raise LocalCloudError(str(error)) from error
    return [(directory.resolve(), config.resolve() if config else None) for directory, config in pairs]


def _made(driver: Driver, console: Console) -> Outcome:
    problem = "`up` failed and has said why; what was made stays, and the next `up` goes on from there"
    return _operated("making the changes", driver.up, problem, console)


def _previewed(driver: Driver, console: Console) -> Outcome:
    problem = "the preview failed, so nothing was changed; the reason is above"
    return _operated("previewing", driver.preview, problem, console)


def _operated(step: str, operate: Callable[[], Outcome], problem: str, console: Console) -> Outcome:
    """What an operation did; raises LocalCloudError with the problem when it failed."""
    console.step(step)
    outcome = operate()
    if not outcome.succeeded:
        raise LocalCloudError(problem)
    return outcome


def wait_for_first_boots(fabric: Fabric, console: Console) -> bool:
    """Whether all declared machines have had theirs and nothing went wrong."""
    console.step("waiting for the machines' first boot")

    def all_done() -> bool:
        declared = [machine for machine in fabric.machines() if not machine.spec.pool]
        waiting = [machine.spec.node for machine in declared if machine.status != "running"]
        if waiting:
            console.detail(f"waiting for {', '.join(waiting)}")
        return not waiting

    done = wait_until(all_done, BOOT_SECONDS, interval=0.2)
    if not done:
        console.say(console.paint("some machines have not finished their first boot; going on without them", YELLOW))
    failed = fabric.first_boot_errors()
    for node, errors in failed.items():
        console.say(console.paint(f"{node}: the first boot went wrong: {'; '.join(errors)}", YELLOW))
        console.say(f"  see `python -m localcloud exec {node} -- cat /var/log/cloud-init-output.log`")
    return done and not failed
