"""A small stack that is there, in an engine's state and the local cloud's books, without a machine; and changes of it.

The providers are the local cloud's, over a fabric that makes nothing. `told` lets the program's pushes to gateways that
do not run count as told.
"""

from __future__ import annotations

import copy
import io
import os
import shutil
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import yaml

from localcloud.cli.desk import PASSPHRASE
from localcloud.cloud import Cloud
from localcloud.driver import Driver, PulumiCli, SmallEngine, Stack
from localcloud.provider.server import Providers
from localcloud.spec import MachineSpec

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
PREFIX = "hybrid-wireguard:"
Config = dict[str, Any]


class NoMachines:
    """Takes the place of the fabric where nothing is booted."""

    def apply(self, specs: Mapping[str, MachineSpec], /) -> None:
        """Makes nothing."""


def _nothing(config: Config) -> None:
    """Leaves the base as it is."""
    del config


def _add_a_spoke(config: Config) -> None:
    config["spokes"]["gcp-1"] = {"site": "gcp"}


def _open_a_port(config: Config) -> None:
    config["adminCidrs"].append("198.51.100.7/32")


def _change_server_type(config: Config) -> None:
    config["spokes"]["hetzner-1"]["serverType"] = "cx33"


def _change_topology(config: Config) -> None:
    config["network"] = {"topology": "mesh"}


def _remove_a_pool(config: Config) -> None:
    del config["pools"]["aws-burst"]


def _raise_a_revision(config: Config) -> None:
    config["spokes"]["aws-1"]["revision"] = 2


CHANGES: Mapping[str, Callable[[Config], None]] = {
    "add-a-spoke": _add_a_spoke,
    "open-a-port": _open_a_port,
    "change-server-type": _change_server_type,
    "change-topology": _change_topology,
    "remove-a-pool": _remove_a_pool,
    "raise-a-revision": _raise_a_revision,
}
"""Name -> what it does to the base's settings."""


def environment(ports: Mapping[str, int]) -> dict[str, str]:
    """What leads an engine to the providers."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI")}
    return {
        **keep,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        "PULUMI_DEBUG_PROVIDERS": ",".join(f"{package}:{port}" for package, port in ports.items()),
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PYTHONPATH": f"{HERE / 'told'}:{ROOT}",
    }


class ChangedStack:
    """The base, which an engine has made; previews of changes leave it as it is."""

    def __init__(self, folder: Path, ports: Mapping[str, int], executable: str | None) -> None:
        self._folder = folder
        self._executable = executable
        self._ports = ports
        self._base = cast("Config", yaml.safe_load((HERE / "changes" / "base.yaml").read_text()))
        outcome = self._driver(_nothing).up()
        assert outcome.succeeded, self._said.getvalue()

    def preview(self, change: str) -> str:
        """The document of the preview of a change."""
        succeeded, document = self._driver(CHANGES[change]).preview_document()
        assert succeeded, document
        return document

    def _driver(self, change: Callable[[Config], None]) -> Driver:
        document = copy.deepcopy(self._base)
        plain: Config = {key.removeprefix(PREFIX): value for key, value in document["config"].items()}
        change(plain)
        document["config"] = {f"{PREFIX}{key}": value for key, value in plain.items()}
        source = self._folder / "Pulumi.dev.yaml"
        source.write_text(yaml.safe_dump(document, sort_keys=False))
        stack = Stack(ROOT, "dev", self._folder / "instance", environment(self._ports), source=source)
        self._said = io.StringIO()
        if self._executable:
            return PulumiCli(stack, self._executable, self._said)
        return SmallEngine(stack, self._said)


@contextmanager
def made(folder: Path, *, cli: bool = False) -> Generator[ChangedStack]:
    """The base, made in a folder by the small engine or by the pulumi CLI."""
    folder.mkdir(parents=True, exist_ok=True)
    providers = Providers(Cloud(folder / "cloud"), NoMachines())
    try:
        yield ChangedStack(folder, providers.ports, shutil.which("pulumi") if cli else None)
    finally:
        providers.stop()
