"""Processes at the desk, at the stranger's place and at the edge: engines, shells and whatever `run` was given."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from localcloud.cloud import NETNS, Cloud, LocalCloudError
from localcloud.fabric.process import wait_until

ENGINE = "LOCALCLOUD_ENGINE"
"""Environment variable of the engine that `up` or `preview` runs, and of all that it runs itself."""
TERM_SECONDS = 5
ENGINE_SECONDS = 60
"""An engine that is told to end first ends, and records, what it has begun."""
KILL_SECONDS = 10


def of(cloud: Cloud, *, engines: bool = False) -> list[int]:
    """Their numbers, or those of `engines` alone, without this process and those that it runs under."""
    places: set[tuple[int, int]] = set()
    for name in (cloud.desk, cloud.stranger, cloud.edge):
        if (NETNS / name).exists():
            status = (NETNS / name).stat()
            places.add((status.st_dev, status.st_ino))
    if not places:
        return []
    own = _line_of(os.getpid())
    return [
        process
        for process in (int(path.name) for path in Path("/proc").glob("[0-9]*"))
        if process not in own and _place_of(process) in places and (not engines or _is_engine(process))
    ]


def end(cloud: Cloud, *, engines: bool = False) -> None:
    """End them, kindly at first. Raises LocalCloudError when one does not end.

    `engines` alone are what a command that died left running: give it under the lock of the commands.
    """
    patience = ENGINE_SECONDS if engines else TERM_SECONDS
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, KILL_SECONDS)):
        for process in of(cloud, engines=engines):
            try:
                os.kill(process, number)
            except ProcessLookupError:
                continue
        if wait_until(lambda: not of(cloud, engines=engines), seconds, interval=0.1):
            return
    raise LocalCloudError(f"processes {of(cloud)} at the desk do not end")


def _line_of(process: int) -> set[int]:
    """The process and its ancestors."""
    line: set[int] = set()
    while process:
        line.add(process)
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return line


def _is_engine(process: int) -> bool:
    try:
        return f"{ENGINE}=".encode() in Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        return False


def _place_of(process: int) -> tuple[int, int] | None:
    try:
        status = Path(f"/proc/{process}/ns/net").stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
