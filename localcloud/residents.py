"""Processes at the desk and at the stranger's place: engines, shells and whatever `run` was given."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from localcloud.cloud import NETNS, Cloud, LocalCloudError
from localcloud.fabric.process import wait_until

TERM_SECONDS = 5
KILL_SECONDS = 10


def of(cloud: Cloud) -> list[int]:
    """Their numbers, without this process and those that it runs under."""
    places: set[tuple[int, int]] = set()
    for name in (cloud.desk, cloud.stranger):
        if (NETNS / name).exists():
            status = (NETNS / name).stat()
            places.add((status.st_dev, status.st_ino))
    if not places:
        return []
    own = _line_of(os.getpid())
    return [
        process
        for process in (int(path.name) for path in Path("/proc").glob("[0-9]*"))
        if process not in own and _place_of(process) in places
    ]


def end(cloud: Cloud) -> None:
    """End them all, kindly at first. Raises LocalCloudError when one does not end."""
    for number, seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        for process in of(cloud):
            try:
                os.kill(process, number)
            except ProcessLookupError:
                continue
        if wait_until(lambda: not of(cloud), seconds):
            return
    raise LocalCloudError(f"processes {of(cloud)} at the desk do not end")


def _line_of(process: int) -> set[int]:
    """The process and its ancestors."""
    line: set[int] = set()
    while process:
        line.add(process)
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return line


def _place_of(process: int) -> tuple[int, int] | None:
    try:
        status = Path(f"/proc/{process}/ns/net").stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
