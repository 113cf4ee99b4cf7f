"""The desk: where whoever runs the program sits, with providers, backend and passphrase at hand."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from localcloud import daemon, driver, residents, stacks
from localcloud.cloud import NETNS, PROJECT, Cloud, LocalCloudError, write_private

PASSPHRASE = "local-cloud"
"""Published: Pulumi.dev.yaml carries its salt. It guards nothing; real stacks are other stacks."""


@dataclass(frozen=True)
class Choice:
    """Which stack the instance is for, or which stack of another project stands beside that one."""

    stack: str
    config_file: Path | None
    """Where it is not the project's `Pulumi.<stack>.yaml`."""
    project: Path = PROJECT
    """Where `Pulumi.yaml` is."""

    @property
    def is_own(self) -> bool:
        """Whether the stack is of this project."""
        return self.project == PROJECT

    def check(self) -> None:
        """Raise LocalCloudError when there is no such stack."""
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", self.stack):
            raise LocalCloudError(f"{self.stack!r} is no name of a stack: letters, digits, `-`, `_` and `.`")
        if not self.is_own and stacks.project_name(self.project) == stacks.project_name(PROJECT):
            raise LocalCloudError(
                f"{self.project} is a project of the same name as this one, and their stacks would be the same: "
                "rename it in its Pulumi.yaml"
            )
        file = self.config_file or self.project / f"Pulumi.{self.stack}.yaml"
        if not file.is_file():
            raise LocalCloudError(f"there is no {file}: the configuration of stack {self.stack} is read from it")

    def check_beside(self, cloud: Cloud) -> None:
        """Raise LocalCloudError when the stack is of another project and this project's own is not up."""
        if not (self.is_own or cloud.outputs.exists()):
            raise LocalCloudError(
                f"the stack of {self.project} stands beside this project's own, which is not up: "
                "`python -m localcloud up` makes that first"
            )

    def check_fits(self, cloud: Cloud) -> None:
        """Raise LocalCloudError when the instance has what another stack of the project made: it would have both's."""
        kept = _kept(cloud, self.project)
        if kept is None or kept.stack == self.stack:
            return
        if self.is_own:
            raise LocalCloudError(
                f"this local cloud has the machines of stack {kept.stack}: `python -m localcloud down` takes them "
                f"away, or make stack {self.stack} in a folder of its own (`--dir DIR`)"
            )
        if stacks.is_made(stack_of(cloud, kept, {})):
            raise LocalCloudError(
                f"this local cloud has what stack {kept.stack} of {self.project} made: `python -m localcloud down` "
                "takes everything away"
            )

    def remember(self, cloud: Cloud) -> None:
        """Keep it for the commands after `up`."""
        file = str(self.config_file) if self.config_file else None
        path = _file(cloud, self.project)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, json.dumps({"stack": self.stack, "config_file": file}))


def _file(cloud: Cloud, project: Path) -> Path:
    """Where the choice of a project's stack is kept."""
    return cloud.choice if project == PROJECT else cloud.project(stacks.project_name(project)) / "stack.json"


def _kept(cloud: Cloud, project: Path) -> Choice | None:
    path = _file(cloud, project)
    if not path.exists():
        return None
    document = json.loads(path.read_text())
    file = document["config_file"]
    return Choice(document["stack"], Path(file) if file else None, project)


def chosen(cloud: Cloud, project: Path = PROJECT) -> Choice:
    """What the last `up` of the project was for. Raises LocalCloudError when there was none."""
    if _kept(cloud, PROJECT) is None:
        raise LocalCloudError("the local cloud is not up: `python -m localcloud up` makes it")
    kept = _kept(cloud, project)
    if kept is None:
        raise LocalCloudError(f"no stack of {project} is up: `python -m localcloud up --cwd {project}` makes it")
    return kept


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


def stack_of(cloud: Cloud, choice: Choice, variables: Mapping[str, str]) -> stacks.Stack:
    """The stack as engines run it at the desk."""
    return stacks.Stack(
        project=choice.project,
        name=choice.stack,
        instance=cloud.directory,
        environment={**variables, residents.ENGINE: cloud.tag},
        # An engine ends, with what it has begun, when the command that runs it dies.
        prefix=("setpriv", "--pdeathsig", "TERM", "nsenter", f"--net={NETNS / cloud.desk}"),
        source=choice.config_file,
        folder=None if choice.is_own else cloud.project(stacks.project_name(choice.project)),
    )


def engine(
    cloud: Cloud, choice: Choice, variables: Mapping[str, str], policy_packs: Sequence[tuple[Path, Path | None]] = ()
) -> driver.Driver:
    """What runs the program at the desk, judged by policy packs (directory and configuration file)."""
    return driver.choose(replace(stack_of(cloud, choice, variables), policy_packs=policy_packs))
