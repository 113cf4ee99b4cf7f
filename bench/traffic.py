"""Requests through a gateway to machines that serve: what it costs, and what becomes of them when machines go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import yaml

from bench import compared, reloads
from bench.compared import MACHINES
from bench.figures import Row
from bench.load import PATIENCE
from bench.place import Place
from bench.serving import POOL_SETUP, Serving
from bench.stacks import PREFIX, ROOT
from bench.steady import POOL, report_rows, steady

MEMBERS = 2
RATE = 50.0
"""Requests a second while machines come and go."""


class TrafficStack:
    """The dev stack's gateway, two machines on Hetzner that serve and a pool that takes what does not fit."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.place = Place(folder / "cloud")
        self.config_file = folder / "Pulumi.dev.yaml"
        self._document = cast("dict[str, Any]", yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text()))
        self.change(_only_what_is_measured, up=False)

    def change(self, change: Callable[[dict[str, Any]], object], *, up: bool = True) -> None:
        """The stack with other settings: `change` gets them by their names."""
        config = self._document["config"]
        ours = {key.removeprefix(PREFIX): config.pop(key) for key in list(config) if key.startswith(PREFIX)}
        change(ours)
        config.update({f"{PREFIX}{key}": value for key, value in ours.items()})
        self.config_file.write_text(yaml.safe_dump(self._document, sort_keys=False))
        if up:
            self.up()

    def up(self) -> None:
        """Make the instance equal to the stack."""
        self.place.run("up", "--config-file", str(self.config_file))


def _only_what_is_measured(config: dict[str, Any]) -> None:
    config["loadBalancer"] = {"enabled": True}
    config["spokes"] = {name: {"site": "hetzner"} for name in MACHINES}
    config["pools"] = {POOL: {**config["pools"][POOL], "min": MEMBERS, "userSetup": POOL_SETUP}}


def rows(folder: Path, say: Callable[[str], None]) -> list[Row]:
    """The table's lines on requests."""
    stack = TrafficStack(folder)
    serving = Serving(stack.place)
    try:
        say("a network that serves")
        stack.up()
        for node, address in MACHINES.items():
            serving.install(node, address)
        serving.give_files()
        serving.wait_for_rotation("the machines", lambda names: set(MACHINES) < names)
        serving.wait_for_members(POOL, MEMBERS)
        by_hand = compared.start_nginx_by_hand(serving)
        found = compared.rows(serving, by_hand, say)
        say("clients that keep their connections while nginx reloads")
        kept = reloads.rows(serving, by_hand)
        report = steady(serving, stack.change, RATE, PATIENCE, say)
    finally:
        stack.place.run("down")
    return [*found, *report_rows(report, RATE), *kept]
