"""Starting and ending the instance's daemon."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

from localcloud.cloud import PROJECT, Cloud, LocalCloudError, is_locked
from localcloud.fabric.process import wait_until

START_SECONDS = 60
STOP_SECONDS = 60
"""A daemon that is told to end first ends what it does for an engine."""


def is_running(cloud: Cloud) -> bool:
    """Whether a daemon holds the instance's daemon lock."""
    return is_locked(cloud.daemon_lock)


def ensure(cloud: Cloud, namespace: Path, *, current: bool = False) -> dict[str, int]:
    """Package -> port of the daemon in the desk's `namespace`, which is started if need be.

    With `current` one that runs older code than there is now is replaced.
    """
    with cloud.locked("start"):
        serves = is_running(cloud) and cloud.providers.exists()
        if serves and not (current and cloud.daemon_pid.stat().st_mtime < _newest_source()):
            return _ports(cloud)
        stop(cloud)
        cloud.providers.unlink(missing_ok=True)
        if not _start(cloud, namespace):
            tail = "\n".join(cloud.daemon_log.read_text(errors="replace").splitlines()[-8:])
            raise LocalCloudError(f"the local cloud's daemon did not start; {cloud.daemon_log} ends with:\n{tail}")
        return _ports(cloud)


def _start(cloud: Cloud, namespace: Path) -> bool:
    """Whether the daemon said that it serves, on a pipe that also ends when the daemon does."""
    serve = [sys.executable, "-m", "localcloud", "--dir", str(cloud.directory), "serve", "--ready"]
    reading, writing = os.pipe()
    try:
        with cloud.daemon_log.open("ab") as log:
            cloud.daemon_log.chmod(0o600)
            subprocess.run(
                ["setsid", "--fork", "nsenter", f"--net={namespace}", *serve, str(writing)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=PROJECT,
                umask=0o022,
                pass_fds=(writing,),
                check=True,
            )
    finally:
        os.close(writing)
    try:
        said, _, _ = select.select([reading], [], [], START_SECONDS)
        return bool(said and os.read(reading, 1))
    finally:
        os.close(reading)


def stop(cloud: Cloud) -> None:
    """End the daemon if one runs."""
    if not is_running(cloud):
        return
    process = int(cloud.daemon_pid.read_text())
    os.kill(process, signal.SIGTERM)
    if not wait_until(lambda: not is_running(cloud), STOP_SECONDS):
        os.kill(process, signal.SIGKILL)
        wait_until(lambda: not is_running(cloud), STOP_SECONDS)


def _ports(cloud: Cloud) -> dict[str, int]:
    return cast("dict[str, int]", json.loads(cloud.providers.read_text()))


def _newest_source() -> float:
    package = Path(__file__).parent
    return max(path.stat().st_mtime for path in package.rglob("*") if path.suffix in (".py", ".sh"))
