"""What every room's tests share: markers that skip with the reason, and that no machine outlives the tests."""

import shutil
import signal
import subprocess
import sys
from functools import cache
from typing import cast

import pytest

from localcloud.cloud import NETNS, PROJECT, Cloud

signal.signal(signal.SIGINT, signal.default_int_handler)
"""Shells start background jobs with SIGINT ignored, and what tests start and interrupt would ignore it too."""


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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Several workers begin with the scenes, which take longest, so that none waits for another's at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.parent.name != "scenes")


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
