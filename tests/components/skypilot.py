"""SkyPilot itself, in an environment of its own that is made once on this host, and asked without any network."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from tests.components.configs import ROOT

REQUIREMENTS = ROOT / "requirements-skypilot.txt"
SAYS = Path(__file__).with_name("skypilot_says.py")


def _place() -> Path:
    """Where the environment of the present requirements is."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    made_of = REQUIREMENTS.read_bytes() + sys.version.encode()
    return cache / "hybrid-wireguard" / f"skypilot-{hashlib.sha256(made_of).hexdigest()[:16]}"


def python() -> Path:
    """The interpreter of an environment with SkyPilot; the first time it is made (460 MB, a minute)."""
    place = _place()
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "made").exists():
            shutil.rmtree(place, ignore_errors=True)
            venv.create(place, with_pip=True)
            options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-compile", "--require-hashes"]
            command = [place / "bin" / "python", "-m", "pip", "install", *options, "-r", REQUIREMENTS]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"SkyPilot cannot be installed:\n{done.stdout}{done.stderr}"
            (place / "made").touch()
    return place / "bin" / "python"


def ask(home: Path, services: Mapping[str, str], pools: Mapping[str, str]) -> dict[str, Any]:
    """What SkyPilot, whose home is ``home``, says of documents by their names (skypilot_says.py).

    As root it sits in a network namespace without interfaces.
    """
    alone = ["unshare", "--net"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*alone, python(), SAYS],
        input=json.dumps({"services": services, "pools": pools}),
        env={"HOME": str(home), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return cast("dict[str, Any]", json.loads(done.stdout.splitlines()[-1]))
