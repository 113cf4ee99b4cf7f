"""The instance's daemon: the providers' servers at the desk, the clouds' groups, and what machines ask their clouds.

Machines do not depend on it: one that is started again finds them as they are.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from localcloud.cloud import Cloud, LocalCloudError, write_private
from localcloud.control import Command, Control
from localcloud.fabric import Fabric
from localcloud.fabric.google import GoogleServer
from localcloud.fabric.metadata_server import MetadataServers
from localcloud.fabric.process import wait_until
from localcloud.spec import JSON

if TYPE_CHECKING:
    from localcloud.keeper import Keeper
    from localcloud.provider.ledger import Ledger
    from localcloud.provider.world import World

log = logging.getLogger("localcloud")
LOCK_SECONDS = 1
"""Who looks whether a daemon lives holds its lock for an instant."""
LOOK_SECONDS = 0.25
"""How often it looks for routers that came or went."""


def main(cloud: Cloud, ready: int | None) -> int:
    """Serve until SIGTERM or SIGINT; 1 when another daemon serves already. Runs in the desk's network namespace.

    `ready` is the descriptor of a pipe to whoever started it, who waits for a byte on it.
    """
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    with cloud.daemon_lock.open("a") as lock:
        if not wait_until(lambda: _taken(lock), LOCK_SECONDS):
            log.error("another daemon serves %s", cloud.directory)
            return 1
        write_private(cloud.daemon_pid, f"{os.getpid()}\n")
        _serve(cloud, ready)
    return 0


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _serve(cloud: Cloud, ready: int | None) -> None:
    from localcloud.keeper import Keeper
    from localcloud.provider import server

    ending = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    asked = (MetadataServers(cloud), GoogleServer(cloud))
    for servers in asked:
        servers.follow()
    fabric = Fabric(cloud)
    providers = server.serve(cloud, fabric)
    keeper = Keeper(providers.ledger, fabric)
    keeper.start()
    control = Control(cloud, commands(providers.ledger, keeper))
    log.info("serving %s", ", ".join(f"{package} on {port}" for package, port in providers.ports.items()))
    if ready is not None:
        os.write(ready, b"1")
        os.close(ready)
    while not ending.wait(LOOK_SECONDS):
        for servers in asked:
            servers.follow()
    cloud.providers.unlink(missing_ok=True)
    control.close()
    keeper.end()
    for servers in asked:
        servers.close()
    log.info("ended")


def commands(ledger: Ledger, keeper: Keeper) -> dict[str, Command]:
    """What the control socket serves, by name."""
    from localcloud.provider import groups
    from localcloud.provider.kind import CloudError

    def change(act: Callable[[World], float | None]) -> float | None:
        try:
            answer = ledger.change(act)
        except CloudError as error:
            raise LocalCloudError(str(error)) from None
        keeper.wake()
        return answer

    def scale(told: Mapping[str, Any]) -> None:
        change(lambda world: groups.scale(world, str(told["pool"]), int(told["size"])))

    def interrupt(told: Mapping[str, Any]) -> float | None:
        after = None if told["after"] is None else float(told["after"])
        return change(lambda world: groups.interrupt(world, str(told["node"]), time.time(), after))

    def rebalance(told: Mapping[str, Any]) -> None:
        change(lambda world: groups.rebalance(world, str(told["node"]), time.time()))

    def pools(told: Mapping[str, Any]) -> JSON:
        del told
        return [
            {"name": pool.name, "desired": pool.desired, "members": {each.node: each.phase for each in pool.members}}
            for pool in groups.pools(ledger.world)
        ]

    return {"scale": scale, "interrupt": interrupt, "rebalance": rebalance, "pools": pools}
