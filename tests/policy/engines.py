"""Previews with the pack, by either engine, against the local cloud's providers and no machines."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from localcloud.cli.desk import PASSPHRASE
from tests.components.configs import ROOT

PACK = ROOT / "policy"
STACKS = Path(__file__).parent / "stacks"
_VIOLATION = re.compile(r"^[\s-]*\[?(mandatory|advisory)\]?\s+([a-z0-9-]+)\s", re.MULTILINE)
"""A line of the table of violations, with which level and name begin; the CLI puts the level in brackets."""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Ran:
    """How a preview ended, and what it said."""

    status: int
    text: str

    @property
    def violations(self) -> set[tuple[str, str]]:
        """Levels and names of the policies that were violated."""
        return {(level, name) for level, name in _VIOLATION.findall(self.text)}


@dataclass(frozen=True)
class Previews:
    """Previews of stacks that do not exist yet, in a folder of their own, with the providers ``attached``."""

    folder: Path
    attached: str
    cli: bool

    def of(self, project: Path, config: Mapping[str, Any], *, stack: str = "dev", levels: Any = None) -> Ran:
        """A preview of the program in ``project``, with the settings ``config`` by key, and perhaps other levels."""
        config_file = self.folder / f"Pulumi.{stack}.yaml"
        salt = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())["encryptionsalt"]
        namespaced = {f"hybrid-wireguard:{key}": value for key, value in config.items()}
        config_file.write_text(yaml.safe_dump({"encryptionsalt": salt, "config": namespaced}))
        options = ["--config-file", str(config_file), "--policy-pack", str(PACK)]
        if levels is not None:
            levels_file = self.folder / "levels.json"
            levels_file.write_text(json.dumps(levels))
            options += ["--policy-pack-config", str(levels_file)]
        return self._by_cli(project, stack, options) if self.cli else self._by_small_engine(project, stack, options)

    def program(self, name: str) -> Path:
        """A project of its own with the program ``name`` of ``stacks``."""
        project = self.folder / name
        project.mkdir(exist_ok=True)
        (project / "Pulumi.yaml").write_text("name: hybrid-wireguard\nruntime: python\n")
        shutil.copyfile(STACKS / f"{name}.py", project / "__main__.py")
        return project

    def _by_small_engine(self, project: Path, stack: str, options: list[str]) -> Ran:
        where = ["--stack", stack, "--cwd", str(project), "--state", str(self.folder / "state")]
        return self._run([sys.executable, "-m", "localcloud.engine", "preview", *where, *options], ROOT)

    def _by_cli(self, project: Path, stack: str, options: list[str]) -> Ran:
        (self.folder / "backend").mkdir(exist_ok=True)
        made = self._run(["pulumi", "stack", "select", "--create", stack, "--non-interactive"], project, stack)
        assert made.status == 0, made.text
        return self._run(["pulumi", "preview", "--non-interactive", "--color", "never", *options], project, stack)

    def _run(self, command: list[str], directory: Path, stack: str = "") -> Ran:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI")}
        done = subprocess.run(
            command,
            cwd=directory,
            env={
                **kept,
                "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
                "PULUMI_BACKEND_URL": f"file://{self.folder / 'backend'}",
                "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
                "PULUMI_DEBUG_PROVIDERS": self.attached,
                "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
                "PULUMI_HOME": str(self.folder / "home"),
                "PULUMI_SKIP_UPDATE_CHECK": "true",
                **({"PULUMI_STACK": stack} if stack else {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Ran(done.returncode, _ESCAPES.sub("", done.stdout))
