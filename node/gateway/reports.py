"""What nodes say of themselves, the newest of each, and what follows from both ends of a link saying the same."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Set
from dataclasses import replace

from node.network_words import Report

_NONE: frozenset[str] = frozenset()


class Reports:
    """The newest report of each node. Any thread may call; what is returned does not change any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str, Report] = {}
        self._active: dict[str, frozenset[str]] = {}
        self.version = 0
        """Another one after each change."""

    def of(self, name: str) -> Report | None:
        return self._newest.get(name)

    def all(self) -> dict[str, Report]:
        """Name -> newest report."""
        return dict(self._newest)

    def links_of(self, name: str) -> frozenset[str]:
        """With whom the node has a direct tunnel that both ends have reported."""
        return self._active.get(name, _NONE)

    def pairs(self) -> list[list[str]]:
        """Each active link, its ends in order."""
        return sorted([name, other] for name, links in dict(self._active).items() for other in links if name < other)

    def gateways(self) -> dict[str, str]:
        """By name, the gateway that a node says it hangs on."""
        return {name: report.gateway for name, report in dict(self._newest).items()}

    def take(self, reports: Iterable[Report]) -> set[str]:
        """Keep those newer than what is known: the nodes whose gateway, keys or active links are others now."""
        with self._lock:
            return {name for report in reports for name in self._put(report)}

    def keep(self, names: Set[str]) -> None:
        """Forget the reports of all but these nodes."""
        with self._lock:
            for name in self._newest.keys() - names:
                del self._newest[name]
                self._relink(name, ())
                self.version += 1

    def _put(self, report: Report) -> set[str]:
        old = self._newest.get(report.name)
        if old is not None and report.stamp <= old.stamp:
            return set()
        self._newest[report.name] = report
        self.version += 1
        changed = self._relink(report.name, report.links)
        if old is None or replace(old, stamp=report.stamp, links=report.links) != report:
            changed.add(report.name)
        return changed

    def _relink(self, name: str, named: Iterable[str]) -> set[str]:
        """Bring the active links of ``name`` up to date: everybody whose links are others now, ``name`` included."""
        confirmed = frozenset(other for other in named if other != name and self._names(other, name))
        was = self._active.get(name, _NONE)
        changed = was ^ confirmed
        if not changed:
            return set()
        self._set(name, confirmed)
        for other in changed:
            theirs = self._active.get(other, _NONE)
            self._set(other, theirs | {name} if other in confirmed else theirs - {name})
        return {name, *changed}

    def _names(self, one: str, other: str) -> bool:
        report = self._newest.get(one)
        return report is not None and other in report.links

    def _set(self, name: str, links: frozenset[str]) -> None:
        if links:
            self._active[name] = links
        else:
            self._active.pop(name, None)
