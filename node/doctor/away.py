"""How a peer's machine answers outside of the tunnel."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import ip_address

from node.doctor import probe
from node.doctor.facts import Answer, Reach, Way
from node.doctor.knowledge import Known
from node.doctor.look import Look
from node.doctor.probe import Echo, Target
from overlay.model import CONTROL_PORT

_PINGS = 20
_OUTSIDE_SECONDS = 0.6
"""Pings outside of the tunnel are dropped by many a provider's firewall: they are not waited for."""


class Away:
    """How a peer's machine answers outside of the tunnel, asked all at once; nothing where nobody knows where it is."""

    def __init__(self, pool: ThreadPoolExecutor, look: Look, peer: Known) -> None:
        self._place = _place(look, peer)
        self._pings: Future[Reach] | None = None
        self._told: Future[probe.Told] | None = None
        self._poked: Future[Answer] | None = None
        if self._place is None:
            return
        host, port = self._place
        if is_ipv4(host):
            self._pings = pool.submit(_outside, host)
        if peer.role == "gateway":
            self._told = pool.submit(probe.ask, look.known.trust.tls, host, CONTROL_PORT)
            self._poked = pool.submit(probe.poke, host, port)

    def told(self) -> probe.Told | None:
        return self._told.result() if self._told else None

    def way(self) -> Way | None:
        if self._place is None:
            return None
        told = self.told()
        pings, poked = self._pings.result() if self._pings else Reach(0), self._poked.result() if self._poked else None
        return Way(self._place[0], pings, told.answer if told else None, poked)


def _place(look: Look, peer: Known) -> tuple[str, int] | None:
    """Where the peer's machine is outside of the tunnel: where it is to be called, or is heard from."""
    state = look.states.get(peer.public_key)
    endpoint = peer.endpoint or (state.endpoint if state else None)
    if endpoint is None:
        return None
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def _outside(host: str) -> Reach:
    echo = Echo()
    try:
        pings = Reach(3)
        if echo.first([host], _OUTSIDE_SECONDS, _OUTSIDE_SECONDS / pings.sent):
            (pings,) = echo.ping([Target(host, _PINGS)])
        return pings
    finally:
        echo.close()


def is_ipv4(host: str) -> bool:
    try:
        return ip_address(host).version == 4
    except ValueError:
        return False
