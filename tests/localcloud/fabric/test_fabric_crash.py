"""The process that changes the world may die at any moment: whoever comes next finishes the work."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localcloud.cloud import Cloud
from localcloud.enter import CGROUPS
from localcloud.fabric import Fabric, internet
from localcloud.fabric.process import run, wait_until
from localcloud.spec import MachineSpec, Route
from tests.localcloud.fabric.worlds import AWS, HETZNER

pytestmark = pytest.mark.localcloud


class DiedError(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.fixture
def fabric(tmp_path: Path) -> Iterator[Fabric]:
    fabric = Fabric(Cloud(tmp_path / "cloud"))
    yield fabric
    fabric.down()
    assert not internet.namespaces(fabric.cloud.prefix)


class Tools:
    """The tools that are run, and the end of the process before one of them."""

    def __init__(self) -> None:
        self.used: list[str] = []
        self.dies_at: int | None = None

    def watch(self, dies_at: int | None = None) -> None:
        """Begin to count; the tool with this number is not run, and nothing after it."""
        self.used, self.dies_at = [], dies_at

    def use(self, command: object) -> None:
        if len(self.used) == self.dies_at:
            self.watch()
            raise DiedError
        self.used.append(" ".join(command) if isinstance(command, (list, tuple)) else str(command))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Tools:
    tools = Tools()
    real = subprocess.run

    def watched(command: Any, **options: Any) -> Any:
        tools.use(command)
        return real(command, **options)  # pyright: ignore[reportUnknownVariableType]

    monkeypatch.setattr(subprocess, "run", watched)
    return tools


def rules(namespace: str) -> str:
    return run("ip", "netns", "exec", namespace, "nft", "list", "table", "inet", "fabric")


def test_the_network_is_whole_after_a_death_at_any_tool(fabric: Fabric, tools: Tools) -> None:
    card = replace(AWS.interfaces[0], routes=(Route("10.100.0.0/16", "10.0.1.99"),))
    off = {spec.id: replace(spec, running=False) for spec in (HETZNER, replace(AWS, interfaces=(card,)))}
    tools.watch()
    fabric.apply(off)
    count = len(tools.used)
    assert count > 15

    def routers() -> dict[str, tuple[list[str], str, str, str]]:
        def listed(name: str, *words: str) -> str:
            return run("ip", "-n", name, *words)

        return {
            name: (
                sorted(internet.aliases(name)),
                rules(name),
                listed(name, "rule", "show"),
                listed(name, "-4", "route", "show", "table", "all"),
            )
            for name in (fabric.cloud.internet, fabric.cloud.network_namespace(1))
        }

    whole = routers()
    assert "blackhole 10.100.0.0/16" in whole[fabric.cloud.network_namespace(1)][3]
    fabric.down()
    for number in range(count):
        tools.watch(number)
        with pytest.raises(DiedError):
            fabric.apply(off)
        fabric.apply(off)
        assert routers() == whole, f"after a death at tool {number}"
        fabric.down()
        assert not internet.namespaces(fabric.cloud.prefix), f"after a death at tool {number}"


def test_a_boot_and_a_destruction_are_finished_after_a_death_at_any_tool(fabric: Fabric, tools: Tools) -> None:
    one = {HETZNER.id: replace(HETZNER, user_data="#cloud-config\n{}\n")}
    namespace = fabric.cloud.machine_namespace(1)
    fabric.apply({})
    tools.watch()
    fabric.apply(one)
    to_boot = [number for number, tool in enumerate(tools.used) if tool.startswith(("mount", "setsid"))]
    tools.watch()
    fabric.apply({})
    to_destroy = [
        number for number, tool in enumerate(tools.used) if tool.startswith(("kill", "umount", "ip netns del"))
    ]
    assert (len(to_boot), len(to_destroy) >= 3) == (2, True)

    def change(wanted: dict[str, MachineSpec], number: int) -> None:
        tools.watch(number)
        with pytest.raises(DiedError):
            fabric.apply(wanted)
        fabric.apply(wanted)

    for number in to_boot:
        change(one, number)
        assert wait_until(lambda: [m.status for m in fabric.machines()] == ["running"], 240), number
        fabric.apply({})
    for number in to_destroy:
        fabric.apply(one)
        change({}, number)
        assert namespace not in internet.namespaces(fabric.cloud.prefix), number
        assert not any((Path(base) / namespace).exists() for base in CGROUPS), number
        assert str(fabric.cloud.directory) not in Path("/proc/mounts").read_text(), number
