"""Going into a machine. Kept free of imports that take time: `exec` costs little more than the command itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

DROPPED = ",".join(
    f"-{name}"
    for name in (
        "audit_read", "block_suspend", "bpf", "checkpoint_restore", "ipc_lock", "mac_admin", "mac_override",
        "perfmon", "sys_module", "sys_pacct", "sys_rawio", "sys_time", "syslog", "wake_alarm",
    )
)  # fmt: skip
"""The capabilities that nspawn takes from a machine; with the host's, `date -s` in it would set the host's clock."""


WAITING = ("sh", "-c", '"$@"; exit $?', "sh")
"""A shell that only waits for its command.

nsenter itself, where it is the one that waits, stops when its command is stopped; a machine that goes off stops all of
its processes before it ends them. Nobody would wait for the command then, and the machine's end waits for that.
"""


def init_of(namespace: str) -> int | None:
    """The host's number of process 1 of the machine in `namespace`, which its control group is named after."""
    for hierarchy in CGROUPS:
        try:
            with open(f"{hierarchy}/{namespace}/payload/init.scope/cgroup.procs") as file:  # noqa: PTH123 (pathlib takes 4 ms)
                processes = file.read().split()
        except OSError:
            continue
        if processes:
            return int(processes[0])
    return None


def command_line(init: int, command: Sequence[str], variables: Mapping[str, str] = os.environ) -> list[str]:
    """What runs `command` as root in the machine whose process 1 is `init`; it ends with the command's exit status.

    `variables` are those of whoever asks, of which a terminal's few count in the machine, too.
    """
    environment = ["HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "LANG=C.UTF-8", f"PATH={PATH}"]
    if terminal := variables.get("TERM"):
        environment.append(f"TERM={terminal}")
    if variables.get("NO_COLOR"):
        environment.append("NO_COLOR=1")
    limit = ["setpriv", "--bounding-set", DROPPED, "--inh-caps", DROPPED, "--"]
    inside = ["env", "-i", "-C", "/root", *environment, *command]
    return ["nsenter", "-t", str(init), "-a", "--no-fork", "--", *limit, *WAITING, *inside]
