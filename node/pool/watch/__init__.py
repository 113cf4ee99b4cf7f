"""What a cloud tells a machine about itself, and that it takes the machine back."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from node.joining import Proof
from node.log import say

LOOK_SECONDS = 5.0
"""What AWS recommends (EC2 user guide, Spot Instance interruption notices)."""


@dataclass(frozen=True)
class Notice:
    """The machine will be taken: there are ``seconds`` to drain. ``power_off`` when the cloud waits for its end."""

    reason: str
    seconds: float
    power_off: bool = False


@dataclass(frozen=True)
class Sight:
    """One look. ``at_risk`` when the machine may be taken before long."""

    notice: Notice | None = None
    at_risk: bool = False


class Cloud(Protocol):
    """A cloud's metadata service; OSError when it does not answer."""

    @property
    def replaces(self) -> bool:
        """Whether a machine that powers itself off is replaced by its group."""
        ...

    def instance_id(self) -> str: ...

    def proof(self, pool: str, public_key: str) -> Proof | None:
        """What proves to the gateway which machine this is; None where the cloud has no such thing for it."""
        ...

    def look(self) -> Sight: ...


class Watcher:
    """Looks every few seconds; ``sight`` is what was seen last."""

    def __init__(self, cloud: Cloud, stop: threading.Event) -> None:
        self.sight = Sight()
        self._cloud = cloud
        self._stop = stop
        self._problem = ""

    def run(self, beat: Callable[[], None] = lambda: None) -> None:
        """Until ``stop`` is set."""
        while not self._stop.is_set():
            beat()
            try:
                self.sight = self._cloud.look()
                self._problem = ""
            except OSError as error:
                if str(error) != self._problem:
                    say(f"the metadata service does not answer: {error}")
                self._problem = str(error)
            self._stop.wait(LOOK_SECONDS * random.uniform(0.9, 1.0))
