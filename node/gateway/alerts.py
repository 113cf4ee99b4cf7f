"""What is wrong now, as the gateway itself sees it: facts in, findings out, and since when each has held."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Severity = Literal["critical", "warning"]

STALE_SECONDS = 15.0
"""Without a successful reconcile for this long something is wrong."""
HOLD_SECONDS = 10.0
"""What mends itself sooner than this is told to nobody; so a restart, which begins with silence, is no alert."""
SILENT_SECONDS = 5.0
"""Beyond the seconds that it takes until a node counts as unhealthy."""
MANY = 5
"""More silent nodes of one site than this are one alert: nobody reads fifty."""
CERTIFICATE_SECONDS = 21 * 86400.0
LAST_SECONDS = 3 * 86400.0
"""So long before a certificate's end it is a warning, and so long before critical."""
FREE_SHARE = 0.1
"""A pool with a smaller part of its addresses free is nearly full."""


@dataclass(frozen=True)
class Silent:
    """A node that does not answer, for how many seconds. ``pool`` is empty for a declared node."""

    name: str
    site: str
    seconds: float
    pool: str = ""


@dataclass(frozen=True)
class Facts:
    """What the gateway knows at ``now`` (seconds since 1970); whatever has a default is well then.

    ``reconciled`` is how many seconds ago the network was last made equal to what it should be, None for never.
    ``sites`` is how many probed nodes each site has. ``missing`` and ``strangers`` are peers that the interface lacks
    or should not have, ``unreachable`` other gateways that do not answer, with the seconds since they did (None: never
    yet). ``certificates`` end at the given seconds since 1970; ``pools`` have (free, all) addresses,
    ``barred`` are those whose join token was revoked.
    """

    now: float
    reconciled: float | None = 0.0
    problem: str = ""
    has_roster: bool = True
    silent: Sequence[Silent] = ()
    sites: Mapping[str, int] = field(default_factory=dict[str, int])
    missing: Sequence[str] = ()
    strangers: int = 0
    unreachable: Mapping[str, float | None] = field(default_factory=dict[str, "float | None"])
    roster_refused: str | None = None
    certificates: Mapping[str, float] = field(default_factory=dict[str, float])
    pools: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    barred: Sequence[str] = ()
    cleanup: str | None = None
    failed_release: tuple[int, str] | None = None
    balancer: str | None = None
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])


class Finding(NamedTuple):
    """One thing that is wrong: it is the same one as long as ``name`` and ``subject`` are.

    ``since`` is in seconds since 1970, None where only the first look tells. It is an alert once it has held for
    ``hold`` seconds.
    """

    name: str
    subject: str
    severity: Severity
    summary: str
    since: float | None = None
    hold: float = 0.0


def find(facts: Facts) -> list[Finding]:
    """What is wrong, the worst first."""
    found = [*_service(facts), *_silence(facts), *_peers(facts), *_documents(facts), *_rooms(facts), *_reports(facts)]
    return sorted(found, key=lambda each: each.severity != "critical")


def _service(facts: Facts) -> Iterator[Finding]:
    if facts.reconciled is None or facts.reconciled >= STALE_SECONDS:
        why = facts.problem or "it takes too long"
        since = None if facts.reconciled is None else facts.now - facts.reconciled
        yield Finding(
            "ReconcileFailing", "", "critical", f"the tunnels cannot be kept right: {why}", since, HOLD_SECONDS
        )
    if not facts.has_roster:
        told = "no roster yet: `pulumi up` pushes it, with `--refresh` if it finds nothing to change"
        yield Finding("NoRoster", "", "warning", told, hold=HOLD_SECONDS)


def _silence(facts: Facts) -> Iterator[Finding]:
    by_site: dict[str, list[Silent]] = {}
    for each in facts.silent:
        by_site.setdefault(each.site, []).append(each)
    for site, silent in by_site.items():
        count, of = len(silent), facts.sites.get(site, 0)
        since = facts.now - max(each.seconds for each in silent)
        if count == of > 1:
            told = f"none of the {count} nodes in {site} answers: the site or the way to it is down"
            yield Finding("SiteSilent", site, "critical", told, since, SILENT_SECONDS)
        elif count > MANY:
            names = ", ".join(each.name for each in silent[:MANY])
            severity = "warning" if all(each.pool for each in silent) else "critical"
            told = f"{count} of the {of} nodes in {site} do not answer: {names} and {count - MANY} more"
            yield Finding("NodesSilent", site, severity, told, since, SILENT_SECONDS)
        else:
            yield from map(_silent_node, silent, [facts.now] * count)


def _silent_node(node: Silent, now: float) -> Finding:
    if node.pool:
        told = f"{node.name}, of the pool {node.pool}, does not answer; its lease ends if that goes on"
        return Finding("MachineSilent", node.name, "warning", told, now - node.seconds, SILENT_SECONDS)
    told = f"{node.name} in {node.site} does not answer through its tunnel"
    return Finding("NodeSilent", node.name, "critical", told, now - node.seconds, SILENT_SECONDS)


def _peers(facts: Facts) -> Iterator[Finding]:
    for name, age in facts.unreachable.items():
        since = None if age is None else facts.now - age
        told = f"the gateway {name} does not say what it knows of its machines"
        yield Finding("GatewaySilent", name, "critical", told, since, HOLD_SECONDS)
    if facts.missing or facts.strangers:
        parts = [f"missing: {', '.join(facts.missing[:MANY])}" if facts.missing else ""]
        parts += [f"and {len(facts.missing) - MANY} more" if len(facts.missing) > MANY else ""]
        parts += [f"not wanted: {facts.strangers}" if facts.strangers else ""]
        told = f"the interface has other peers than it should ({' '.join(filter(None, parts))})"
        yield Finding("PeersDiffer", "", "warning", told, hold=HOLD_SECONDS)


def _documents(facts: Facts) -> Iterator[Finding]:
    if facts.roster_refused is not None:
        yield Finding("RosterRefused", "", "warning", f"the last roster was refused: {facts.roster_refused}")
    for name, end in facts.certificates.items():
        left = end - facts.now
        if left >= CERTIFICATE_SECONDS:
            continue
        date = datetime.datetime.fromtimestamp(end, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        told = f"the {name} certificate {'ended' if left <= 0 else 'ends'} on {date}"
        yield Finding("CertificateEnding", name, "critical" if left < LAST_SECONDS else "warning", told)
    if facts.failed_release:
        number, reason = facts.failed_release
        yield Finding(
            "ReleaseFailed", str(number), "warning", f"release {number} failed here, the one before runs: {reason}"
        )


def _rooms(facts: Facts) -> Iterator[Finding]:
    for name, (free, size) in facts.pools.items():
        if size and free < FREE_SHARE * size:
            told = f"the pool {name} has {free} of its {size} addresses free"
            yield Finding("PoolNearlyFull", name, "warning" if free else "critical", told)
    for name in facts.barred:
        told = f"the pool {name} lets no machine in, since its join token was revoked: raise its tokenRevision"
        yield Finding("PoolBarred", name, "warning", told)
    if facts.cleanup is not None:
        told = f"no lease ends for its machine's silence: {facts.cleanup}"
        yield Finding("CleanupPaused", "", "warning", told)
    if facts.balancer is not None:
        yield Finding("LoadBalancer", "", "critical", f"the load balancer: {facts.balancer}", hold=HOLD_SECONDS)


def _reports(facts: Facts) -> Iterator[Finding]:
    for name, condition in facts.conditions.items():
        if not condition.get("healthy", True):
            problems = "; ".join(map(str, condition.get("problems", ()))) or "it does not say what"
            yield Finding("NodeReportsProblem", name, "warning", f"{name} reports: {problems}")


class Alerts:
    """The findings that have held for long enough, each with its beginning."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], float] = {}
        self.now: list[dict[str, Any]] = []
        """``alerts`` of ``GET /v1/status``."""

    def look(self, findings: Iterable[Finding], now: float) -> None:
        """Take in what is wrong at ``now`` (seconds since 1970)."""
        listed = list(findings)
        self._since = {
            each[:2]: each.since if each.since is not None else min(now, self._since.get(each[:2], now))
            for each in listed
        }
        self.now = [
            {
                "name": each.name,
                "subject": each.subject,
                "severity": each.severity,
                "summary": each.summary,
                "since": round(self._since[each[:2]], 1),
            }
            for each in listed
            if now - self._since[each[:2]] >= each.hold
        ]
