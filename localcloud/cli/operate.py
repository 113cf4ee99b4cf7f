"""Commands that treat machines as hardware: power and cables."""

from __future__ import annotations

import argparse

from localcloud.cli.console import Console
from localcloud.cloud import Cloud, LocalCloudError
from localcloud.fabric import Fabric

_DONE = {"stop": "stopped", "start": "started", "kill": "without power", "reboot": "rebooted"}


def power(cloud: Cloud, options: argparse.Namespace) -> int:
    """stop, start, kill, reboot."""
    fabric, console = _fabric(cloud), Console()
    orders = {"stop": fabric.stop, "start": fabric.start, "kill": fabric.kill, "reboot": fabric.reboot}
    orders[options.name](options.node)
    console.say(f"{options.node} is {_DONE[options.name]}")
    return 0


def connect(cloud: Cloud, options: argparse.Namespace) -> int:
    """cut, heal."""
    fabric, console = _fabric(cloud), Console()
    if options.node == options.other:
        raise LocalCloudError(f"{options.node} twice: name another node, or none for everything")
    between = f"{options.node} and {options.other}" if options.other else options.node
    if options.name == "cut":
        fabric.cut(options.node, options.other)
        console.say(f"{between}: cut")
    elif fabric.heal(options.node, options.other):
        console.say(f"{between}: healed")
    else:
        console.say(f"{between}: there was no such cut, so nothing changes; `status` lists what is cut")
    return 0


def _fabric(cloud: Cloud) -> Fabric:
    if not cloud.directory.exists():  # an order would make it
        raise LocalCloudError("the local cloud is not up: `python -m localcloud up` makes it")
    return Fabric(cloud)
