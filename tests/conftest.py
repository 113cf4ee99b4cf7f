"""What every room's tests share: markers that skip with the reason, and that no machine outlives the tests."""

import os
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import PurePath
from typing import cast

import pytest
from hypothesis import settings
from xdist.remote import Producer  # pyright: ignore[reportMissingTypeStubs]
from xdist.scheduler import LoadFileScheduling  # pyright: ignore[reportMissingTypeStubs]

from localcloud.cloud import NETNS, PROJECT, Cloud
from tests.scenes.dev_stack import is_on_it

settings.register_profile("the same everywhere", derandomize=True, deadline=None, database=None)
settings.load_profile("the same everywhere")
"""Every run tries the same examples, however busy the host is."""
signal.signal(signal.SIGINT, signal.default_int_handler)
"""Shells start background jobs with SIGINT ignored, and what tests start and interrupt would ignore it too."""
os.environ["PATH"] += f":{PROJECT / '.venv' / 'prometheus' / 'usr' / 'bin'}"
"""Where `make test` puts Prometheus' tools, unless the host has them."""


@cache
def _why_no_local_cloud() -> str | None:
    """What keeps this host from booting machines, in the local cloud's own words; None when nothing does."""
    from localcloud import host

    found = host.problems()
    return "; ".join(found) if found else None


@cache
def _why_no_pulumi_cli() -> str | None:
    return None if shutil.which("pulumi") else "needs a pulumi CLI on PATH"


REASONS = {"localcloud": _why_no_local_cloud, "pulumi_cli": _why_no_pulumi_cli}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, why in REASONS.items():
        if item.get_closest_marker(marker) and (reason := why()):
            pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The scenes, which take longest, come first: no worker waits for another's at the end.

    Of them those that share a stack come one after the other.
    """
    items.sort(key=lambda item: (item.path.parent.name != "scenes", not is_on_it(item.path)))


class _Scheduling(LoadFileScheduling):
    """One worker has all tests of a file, and all files that share a stack."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "the shared dev stack" if is_on_it(PurePath(file)) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """With `--dist loadfile`."""
    return _Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take down the machines of tests that could not: a worker that died, or one with too little time after Ctrl-C."""
    if hasattr(session.config, "workerinput"):
        return
    factory = cast("pytest.TempPathFactory", vars(session.config)["_tmp_path_factory"])
    folder = factory.getbasetemp()
    for mark in [*folder.glob("*/*/instance"), *folder.glob("popen-*/*/*/instance")]:
        cloud = Cloud(mark.parent)
        if any(NETNS.glob(f"{cloud.prefix}*")):
            down = [sys.executable, "-m", "localcloud", "--dir", str(cloud.directory), "down"]
            subprocess.run(down, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
