"""Starting and ending the instance's daemon."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

from localcloud.cloud import PROJECT, Cloud, LocalCloudError
from localcloud.fabric.process import wait_until

START_SECONDS = 60
STOP_SECONDS = 60
"""A daemon that is told to end first ends what it does for an engine."""


def is_running(cloud: Cloud) -> bool:
    """Whether a daemon holds the instance's daemon lock."""
    try:
        with cloud.daemon_lock.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def ensure(cloud: Cloud, namespace: Path) -> dict[str, int]:
    """Package -> port of a daemon that runs the present code in the desk's `namespace`, started anew if need be."""
    if is_running(cloud) and cloud.providers.exists() and cloud.daemon_pid.stat().st_mtime > _newest_source():
        return _ports(cloud)
    stop(cloud)
    cloud.providers.unlink(missing_ok=True)
    with cloud.daemon_log.open("ab") as log:
        cloud.daemon_log.chmod(0o600)
        process = subprocess.Popen(
            [
                "nsenter",
                f"--net={namespace}",
                sys.executable,
                "-m",
                "localcloud",
                "--dir",
                str(cloud.directory),
                "serve",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=PROJECT,
            start_new_session=True,
            umask=0o022,
        )
    if not wait_until(lambda: cloud.providers.exists() or process.poll() is not None, START_SECONDS):
        process.terminate()
    if not cloud.providers.exists():
        tail = "\n".join(cloud.daemon_log.read_text(errors="replace").splitlines()[-8:])
        raise LocalCloudError(f"the local cloud's daemon did not start; {cloud.daemon_log} ends with:\n{tail}")
    return _ports(cloud)


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
