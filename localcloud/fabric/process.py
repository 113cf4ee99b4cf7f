"""Running the tools that the fabric is made of."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from localcloud.cloud import LocalCloudError
from localcloud.enter import PATH


def run(*command: str, text: str | None = None, check: bool = True) -> str:
    """Standard output of the command, fed `text`. Raises LocalCloudError with what it said when it fails."""
    done = subprocess.run(
        command,
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": PATH, "LC_ALL": "C.UTF-8"},
    )
    if check and done.returncode:
        raise LocalCloudError(
            f"`{' '.join(command)}` ended with {done.returncode}: {(done.stderr or done.stdout).strip()}"
        )
    return done.stdout


def wait_until(condition: Callable[[], bool], seconds: float, interval: float = 0.02) -> bool:
    """Whether the condition came to hold within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True
