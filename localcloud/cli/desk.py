"""The desk: where whoever runs the program sits, with providers, backend and passphrase at hand."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localcloud import daemon, driver, residents
from localcloud.cloud import NETNS, PROJECT, Cloud, LocalCloudError, write_private

PASSPHRASE = "local-cloud"
"""Published: Pulumi.dev.yaml carries its salt. It guards nothing; real stacks are other stacks."""


@dataclass(frozen=True)
class Choice:
    """Which stack the instance is for."""

    stack: str
    config_file: Path | None
    """Where it is not the project's `Pulumi.<stack>.yaml`."""

    def check(self) -> None:
        """Raise LocalCloudError when there is no such stack."""
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", self.stack):
            raise LocalCloudError(f"{self.stack!r} is no name of a stack: letters, digits, `-`, `_` and `.`")
        file = self.config_file or PROJECT / f"Pulumi.{self.stack}.yaml"
        if not file.is_file():
            raise LocalCloudError(f"there is no {file}: the configuration of stack {self.stack} is read from it")

    def check_fits(self, cloud: Cloud) -> None:
        """Raise LocalCloudError when the instance, which has machines, is for another stack: it would have both's."""
        other = chosen(cloud).stack if cloud.choice.exists() else self.stack
        if other != self.stack:
            raise LocalCloudError(
                f"this local cloud has the machines of stack {other}: `python -m localcloud down` takes them away, "
                f"or make stack {self.stack} in a folder of its own (`--dir DIR`)"
            )

    def remember(self, cloud: Cloud) -> None:
        """Keep it for the commands after `up`."""
        file = str(self.config_file) if self.config_file else None
        write_private(cloud.choice, json.dumps({"stack": self.stack, "config_file": file}))


def chosen(cloud: Cloud) -> Choice:
    """What the last `up` was for. Raises LocalCloudError when there was none."""
    if not cloud.choice.exists():
        raise LocalCloudError("the local cloud is not up: `python -m localcloud up` makes it")
    document = json.loads(cloud.choice.read_text())
    file = document["config_file"]
    return Choice(document["stack"], Path(file) if file else None)


def environment(cloud: Cloud, stack: str, *, current: bool = False) -> dict[str, str]:
    """This process's variables with what leads an engine to the local cloud, whose daemon is started if need be.

    With `current` a daemon of older code is replaced, which disturbs whatever else runs at the desk.
    """
    namespace = NETNS / cloud.desk
    if not namespace.exists():
        raise LocalCloudError("the local cloud is not up: `python -m localcloud up` makes it")
    ports = daemon.ensure(cloud, namespace, current=current)
    cloud.backend.mkdir(parents=True, exist_ok=True, mode=0o700)
    cloud.pulumi_home.mkdir(parents=True, exist_ok=True, mode=0o700)
    binaries = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "LOCALCLOUD_DIR": str(cloud.directory),
        "PATH": f"{binaries}:{os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}",
        "PULUMI_BACKEND_URL": f"file://{cloud.backend}",
        "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        "PULUMI_DEBUG_PROVIDERS": ",".join(f"{package}:{port}" for package, port in ports.items()),
        # The desk reaches no index of plugins; looking for one would be minutes of time-outs.
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_HOME": str(cloud.pulumi_home),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_STACK": stack,
    }


def engine(cloud: Cloud, choice: Choice, variables: Mapping[str, str]) -> driver.Driver:
    """What runs the program at the desk."""
    return driver.choose(
        driver.Stack(
            project=PROJECT,
            name=choice.stack,
            instance=cloud.directory,
            environment={**variables, residents.ENGINE: cloud.tag},
            # An engine ends, with what it has begun, when the command that runs it dies.
            prefix=("setpriv", "--pdeathsig", "TERM", "nsenter", f"--net={NETNS / cloud.desk}"),
            source=choice.config_file,
        )
    )
