"""What every room's tests share: markers that skip with the reason where this host cannot run the test."""

import shutil
import signal
from functools import cache

import pytest

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
