"""The instance's daemon: the providers' servers at the desk and the machines' metadata service.

Machines do not depend on it: one that is started again finds them as they are.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import threading
from types import FrameType
from typing import IO

from localcloud.cloud import Cloud, write_private
from localcloud.fabric import Fabric
from localcloud.fabric.metadata_server import MetadataServers
from localcloud.fabric.process import wait_until

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
    from localcloud.provider import server

    ending = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    metadata = MetadataServers(cloud)
    metadata.follow()
    ports = server.serve(cloud, Fabric(cloud))
    log.info("serving %s", ", ".join(f"{package} on {port}" for package, port in ports.items()))
    if ready is not None:
        os.write(ready, b"1")
        os.close(ready)
    while not ending.wait(LOOK_SECONDS):
        metadata.follow()
    cloud.providers.unlink(missing_ok=True)
    metadata.close()
    log.info("ended")
