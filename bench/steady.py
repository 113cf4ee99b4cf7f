"""What becomes of steady requests while machines come and go, and the roster and the certificate change."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.figures import Row
from bench.load import Outcome, in_flight
from bench.serving import Served, Serving, until

SECONDS = 2.0
"""What each answer takes."""
POOL = "aws-burst"
VICTIM, VICTIM_ADDRESS = "hetzner-2", "10.100.1.2"
"""The machine whose plug is pulled."""
NOTICE = 30
"""Seconds from the notice of an interruption to the machine's end; ten less are for draining."""
WEIGHT = 3
"""The pool's machines' other weight."""
HEALTH_PATH = "/health?of=model"
"""Another path that the machines' servers answer as well."""
NEW_NAME = "inference.example.com"
"""What the renewed certificate is for, too."""

Change = Callable[[Callable[[dict[str, Any]], object]], object]
"""Applies a change of the stack's settings."""


@dataclass(frozen=True)
class Report:
    """What was seen. `killed` and `noticed` are when a machine had lost its power, and when the gateway had taken it
    out, seconds since the epoch. `refused` are the lines of the gateway's log with another status than 200.

    Who has failed is told by the log alone: a client that heard nothing does not know which machine it waited for. No
    failure is another machine's than the victim's, if there are as many lines as failures and each names the victim.
    """

    outcomes: Sequence[Outcome]
    refused: Sequence[Served]
    killed: float
    noticed: float

    @property
    def failed(self) -> list[Outcome]:
        return [each for each in self.outcomes if each.error]

    @property
    def in_flight(self) -> list[Outcome]:
        """The failed ones that were under way when the power went."""
        return in_flight(self.failed, self.killed)

    @property
    def too_early(self) -> list[Outcome]:
        """The failed ones that were sent after that and before the gateway took the machine out."""
        return [each for each in self.failed if self.killed < each.sent < self.noticed]

    @property
    def unexplained(self) -> list[Outcome]:
        """The failed ones that nothing excuses."""
        excused = [*self.in_flight, *self.too_early]
        return [each for each in self.failed if each not in excused]

    @property
    def sent_elsewhere(self) -> list[Served]:
        """What the gateway's log says to have failed at another machine than the victim, or at none."""
        return [each for each in self.refused if not each.upstreams[-1].startswith(f"{VICTIM_ADDRESS}:")]

    @property
    def unlogged(self) -> int:
        """How many failed without being among `refused`: nobody knows where."""
        return len(self.failed) - len(self.refused)

    @property
    def machines(self) -> Counter[str]:
        """Answers by machine."""
        return Counter(each.machine for each in self.outcomes if not each.error)


def steady(serving: Serving, change: Change, rate: float, patience: float, say: Callable[[str], None]) -> Report:
    """Do everything that may happen to machines that serve, one after the other, under `rate` requests a second.

    `patience` is how many seconds a client waits for an answer. The machines are as many as before in the end, the
    settings are others.
    """
    place, before = serving.place, len(serving.served())

    def flows() -> bool:
        return len(serving.served()) - before > 2 * rate * SECONDS

    with serving.load(serving.task({"seconds": SECONDS}, rate=rate, patience=patience)) as outcomes:
        until("requests and answers", flows)
        say("one machine is interrupted")
        members = serving.members(POOL)
        gone = members[0]
        place.run("interrupt", gone, "--after", str(NOTICE))
        until("the interrupted one's leave", lambda: gone not in serving.leases())

        say("another loses its power")
        place.run("kill", VICTIM)
        killed = time.time()
        noticed = serving.wait_for_rotation("the killed one out", lambda names: VICTIM not in names)

        say("the pool grows and shrinks")
        for count in (len(members) + 2, len(members)):
            place.run("scale", POOL, str(count))
            serving.wait_for_members(POOL, count)

        say("the roster changes, the certificate is renewed, and the killed one comes back")
        certificate = serving.certificate()
        change(_other_share_path_and_name)
        until("the other weight", lambda: serving.weights(POOL) == {WEIGHT})
        until("the other certificate", lambda: serving.certificate() != certificate)
        # A change of the local cloud's stack has switched it on already.
        place.run("start", VICTIM)
        serving.wait_for_rotation("the killed one back", lambda names: VICTIM in names)
    refused = [each for each in serving.served()[before:] if each.status != 200]
    return Report(outcomes, refused, killed, noticed)


def _other_share_path_and_name(config: dict[str, Any]) -> None:
    config["pools"][POOL]["weight"] = WEIGHT
    # Everybody's: a machine that keeps its path would take the requests of those that were out for it.
    for pool in config["pools"].values():
        pool["healthPath"] = HEALTH_PATH
    for site in config["sites"].values():
        site.setdefault("serving", {})["healthPath"] = HEALTH_PATH
    config["loadBalancer"]["serverNames"] = [NEW_NAME]


def report_rows(report: Report, rate: float) -> list[Row]:
    """What was seen, as lines of the table."""
    return [
        Row(
            f"requests, {rate:g} a second with answers of {SECONDS:g} s, while machines come and go",
            str(len(report.outcomes)),
        ),
        Row("  in flight and lost when a machine's power went", str(len(report.in_flight))),
        Row("  sent and lost before that was noticed", str(len(report.too_early))),
        Row("  from its end until it gets no request", f"{report.noticed - report.killed:.1f} s"),
        Row("  lost at other machines, by the gateway's log", str(len(report.sent_elsewhere)), aim="0"),
        Row("  lost without being in the gateway's log", str(report.unlogged), aim="0"),
        Row("  lost at another time", str(len(report.unexplained)), aim="0"),
    ]
