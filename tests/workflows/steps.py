"""The steps of the workflows in .github/workflows, read from the files, and what a runner does with one."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"

Document = dict[str, Any]

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_SUDO = """\
#!/bin/sh
# sudo(8) for who is root already, as Ubuntu has it: no environment unless it is asked for, and never PATH.
keep=
while :; do
    case $1 in
    --preserve-env) keep=yes ;;
    --set-home) HOME=/root ;;
    -*) echo "sudo: $1 is not known here" >&2; exit 1 ;;
    *) break ;;
    esac
    shift
done
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
[ "$keep" ] || exec env -i "PATH=$PATH" "HOME=$HOME" "$@"
exec "$@"
"""


@dataclass(frozen=True)
class Step:
    """One step that runs a command."""

    workflow: str
    """The file's name."""
    job: str
    identifier: str
    """Its `id:`, empty where it has none."""
    name: str
    run: str
    condition: str
    """Its `if:`, empty where it has none."""
    shell: str
    """As in the file, with `{0}` for the script."""
    environment: Mapping[str, str]
    """The workflow's, the job's and its own, with expressions as in the file."""

    @property
    def key(self) -> str:
        """What a list calls it."""
        return f"{self.workflow}/{self.job}/{self.name}"

    @property
    def runs_after_failures(self) -> bool:
        """Whether it runs although a step before it failed."""
        return "!cancelled()" in self.condition

    def is_wanted(self, values: Mapping[str, str]) -> bool:
        """Whether its `if:` holds, as far as it asks for inputs, among `values` as `inputs.operation`."""
        asked = re.findall(r"(inputs\.\w+) (==|!=) '(\w+)'", self.condition)
        return all((values[name] == wanted) == (how == "==") for name, how, wanted in asked)


def workflows() -> dict[str, Document]:
    """Every workflow by its file's name."""
    found: dict[str, Document] = {}
    for path in sorted(FOLDER.glob("*.yml")):
        document = cast("dict[Any, Any]", yaml.safe_load(path.read_text()))
        document["on"] = document.pop(True)  # what YAML 1.1 takes `on` for
        found[path.name] = document
    return found


def jobs() -> dict[tuple[str, str], Document]:
    """Every job by (file's name, job's id)."""
    return {(file, job): body for file, document in workflows().items() for job, body in document["jobs"].items()}


def commands() -> list[Step]:
    """Every step that runs a command, in the files' order."""
    found: list[Step] = []
    documents = workflows()
    for (file, job), body in jobs().items():
        shell = documents[file].get("defaults", {}).get("run", {}).get("shell", "")
        for step in body.get("steps", []):
            if "run" in step:
                environment = {**documents[file].get("env", {}), **body.get("env", {}), **step.get("env", {})}
                condition = step.get("if", "")
                names = (file, job, step.get("id", ""), step["name"])
                found.append(Step(*names, step["run"], condition, step.get("shell", shell), environment))
    return found


def of_job(workflow: str, job: str) -> list[Step]:
    """The commands of one job in their order."""
    return [step for step in commands() if (step.workflow, step.job) == (workflow, job)]


@dataclass
class Runner:
    """What runs the steps of one job: a checkout, the files that GitHub's runners offer, and `sudo`."""

    place: Path
    """A folder for the runner's files."""
    checkout: Path
    substitutes: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables that make a command cheaper, or lead it to a local cloud of the test's own."""
    values: dict[str, str] = field(default_factory=dict[str, str])
    """What expressions are here, by their text: `inputs.stack`. Those of environments must be among them; steps add
    what they put out."""
    prefix: tuple[str, ...] = ()
    """Put before the shell, such as what leads to the desk."""

    def __post_init__(self) -> None:
        """Make the runner's files."""
        (self.place / "bin").mkdir(parents=True)
        (self.place / "bin" / "sudo").write_text(_SUDO)
        (self.place / "bin" / "sudo").chmod(0o755)
        self.summary.touch()

    @property
    def summary(self) -> Path:
        """The job's summary, in Markdown."""
        return self.place / "summary.md"

    def run(self, step: Step) -> subprocess.CompletedProcess[str]:
        """The step's command exactly as it stands."""
        script = self.place / "step.sh"
        script.write_text(step.run)
        output = self.place / "output"
        output.write_text("")
        environment = {
            name: _EXPRESSION.sub(lambda found: self.values[found.group(1)], value)
            for name, value in step.environment.items()
        }
        head = subprocess.run(
            ["git", "rev-parse", "change"], cwd=self.checkout, capture_output=True, text=True, check=True
        )
        path = f"{self.place / 'bin'}:{self.substitutes.get('PATH', os.environ['PATH'])}"
        done = subprocess.run(
            [*self.prefix, *shlex.split(step.shell.replace("{0}", str(script)))],
            cwd=self.checkout,
            env={
                **os.environ,
                "CI": "true",
                "NO_COLOR": "1",
                "GITHUB_SHA": head.stdout.strip(),
                "GITHUB_OUTPUT": str(output),
                "GITHUB_STEP_SUMMARY": str(self.summary),
                "GITHUB_WORKSPACE": str(self.checkout),
                **environment,
                **self.substitutes,
                "PATH": path,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        for line in output.read_text().splitlines():
            name, _, value = line.partition("=")
            self.values[f"steps.{step.identifier}.outputs.{name}"] = value
        return done
