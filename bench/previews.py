"""How long a first preview takes, beside a program that registers the same resources by hand in the same engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import yaml

from bench.figures import Paired, Row, pairs, shown_ratio
from bench.stacks import ROOT, spoke_names, stack_config
from localcloud.cli.desk import PASSPHRASE
from localcloud.engine.urn import type_of

SIZES = (10, 100, 1000)
ROUNDS: Mapping[int, int] = {10: 5, 100: 3, 1000: 3}
"""Pairs of previews by number of spokes."""
BASELINE = Path(__file__).parent / "baseline"
AIM = 1.15
"""At most this ratio at the largest size."""


class UnequalError(Exception):
    """The two programs do not register the same kinds and numbers of resources, so their times say nothing."""


@contextmanager
def providers(directory: Path, module: str = "bench.providers") -> Generator[str]:
    """The providers that ``module`` serves over an empty world, in a process of their own.

    What PULUMI_DEBUG_PROVIDERS shall be.
    """
    with subprocess.Popen(
        [sys.executable, "-m", module, str(directory)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def preview(project: Path, config_file: Path, state: Path, attached: str) -> tuple[float, Counter[str]]:
    """Seconds of a preview of a stack that does not exist yet, and how many resources of each kind it would make."""
    begun = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "localcloud.engine", "preview", "--json", "--stack", "dev"),
            *("--cwd", str(project), "--config-file", str(config_file), "--state", str(state)),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "PULUMI_DEBUG_PROVIDERS": attached,
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PYTHONPATH": str(ROOT),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - begun
    if done.returncode:
        raise RuntimeError(f"the preview of {project} failed:\n{done.stderr}")
    return seconds, kinds(step["urn"] for step in json.loads(done.stdout)["steps"])


def kinds(urns: Iterable[str]) -> Counter[str]:
    """How many resources of each kind; components and dynamic resources count as one kind each."""
    return Counter(_kind(type_of(urn)) for urn in urns)


def _kind(token: str) -> str:
    package = token.partition(":")[0]
    if package in ("hybrid-wireguard", "by-hand"):
        return "component"
    return "dynamic resource" if package == "pulumi-python" else token


class Comparison:
    """Previews of generated stacks by the program and by the baseline, in a folder of its own."""

    def __init__(self, folder: Path, attached: str) -> None:
        self._folder = folder
        self._attached = attached

    def ours(self, count: int) -> tuple[float, Counter[str]]:
        """A preview of the program with `count` spokes."""
        return self._preview(ROOT, f"ours-{count}", stack_config(count))

    def by_hand(self, count: int) -> tuple[float, Counter[str]]:
        """A preview of the baseline with `count` spokes."""
        config = yaml.safe_dump({"config": {"by-hand:spokes": spoke_names(count)}})
        return self._preview(BASELINE, f"by-hand-{count}", config)

    def check_equal(self, count: int) -> int:
        """The number of resources that both programs register with `count` spokes; UnequalError when they differ."""
        ours, by_hand = self.ours(count)[1], self.by_hand(count)[1]
        if ours != by_hand:
            raise UnequalError(f"ours has more {dict(ours - by_hand)}, the baseline more {dict(by_hand - ours)}")
        return ours.total()

    def times(self, count: int) -> Paired:
        """Seconds of previews with `count` spokes, in pairs."""
        return pairs(lambda: self.ours(count)[0], lambda: self.by_hand(count)[0], ROUNDS[count])

    def _preview(self, project: Path, name: str, config: str) -> tuple[float, Counter[str]]:
        config_file = self._folder / f"{name}.yaml"
        config_file.write_text(config)
        return preview(project, config_file, self._folder / "state", self._attached)


def rows(folder: Path, say: Callable[[str], None]) -> list[Row]:
    """The table's lines on previews."""
    found: list[Row] = []
    with providers(folder / "world") as attached:
        comparison = Comparison(folder, attached)
        for count in SIZES:
            say(f"previews with {count} spokes")
            resources = comparison.check_equal(count)
            paired = comparison.times(count)
            found.append(
                Row(
                    f"preview, {count} spokes ({resources} resources)",
                    f"{median(paired.ours):.2f} s",
                    f"{median(paired.by_hand):.2f} s",
                    shown_ratio(paired),
                    f"<= {AIM}" if count == SIZES[-1] else "",
                )
            )
    return found
