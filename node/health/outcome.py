"""What the last look at this machine's health came to: written by the timer, read by whoever tells it on."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PATH = Path("/run/hybridnet/health.json")
"""Gone with a reboot."""
STALE_SECONDS = 180.0
"""An older outcome says nothing: the timer looks every 30 s."""
MOST_PROBLEMS = 10
LONGEST_PROBLEM = 200
"""Characters."""


@dataclass(frozen=True)
class Outcome:
    """``problems`` may have something worth knowing of a machine that is well. ``at`` is in seconds since 1970."""

    healthy: bool
    problems: tuple[str, ...]
    at: float

    def document(self) -> dict[str, Any]:
        """As a gateway is told it (``POST /v1/health``)."""
        problems = [problem[:LONGEST_PROBLEM] for problem in self.problems[:MOST_PROBLEMS]]
        return {"schema_version": 1, "healthy": self.healthy, "problems": problems}


def write(outcome: Outcome, path: Path = PATH) -> None:
    """Keep the outcome; OSError."""
    path.parent.mkdir(mode=0o755, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps({**asdict(outcome), "ticks": time.monotonic()}))
    new.replace(path)


def read(path: Path = PATH, now: float | None = None) -> Outcome | None:
    """The last outcome; None for none, an old one, or one that cannot be read. ``now`` is monotonic."""
    try:
        document: Mapping[str, Any] = json.loads(path.read_text())
        age = (time.monotonic() if now is None else now) - float(document["ticks"])
        problems = tuple(str(problem) for problem in document["problems"])
        found = Outcome(bool(document["healthy"]), problems, float(document["at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if 0 <= age < STALE_SECONDS else None
