"""The interface as the rest of the code knows it, by enrolment keys, whatever keys are in use and being changed.

Nobody's packets are lost while a key changes. Whoever changes its key makes a second interface with the new one, and
the others make one, too. Both ends send by the second as soon as hands are shaken there; each still takes what comes by
the first. Then the first interface gets the new key, and in the same way everything comes back to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import NamedTuple

from node.keys import public_key
from node.log import say
from node.network_words import Keys
from node.reconcile import Wanted, changes
from node.tunnels.book import Book
from node.tunnels.device import Device, Second
from node.tunnels.own import OwnKeys
from node.tunnels.routes import Route, Routes, halves
from node.wireguard import INTERFACE, SECOND, Change, PeerState, WireGuardError
from overlay.addresses import address6, network6
from overlay.model import KEEPALIVE, ROTATION_PORT, Node, Prefix
from overlay.roster import Roster

LISTEN_SECONDS = 3.0
"""How long the second interface is there after it is not needed any more: until everybody has heard of it."""


class Place(NamedTuple):
    """Where a machine stands in the overlay; ``overlay6`` are the addresses of its IPv6 part, ``mtu`` is in bytes."""

    address: IPv4Address
    address6: IPv6Address | None
    overlay: IPv4Network
    overlay6: IPv6Network | None
    mtu: int
    is_gateway: bool

    @classmethod
    def of(cls, roster: Roster, me: Node) -> Place:
        """Where ``me``, a node of the network of ``roster``, stands."""
        network = roster.network
        own6, overlay6 = None, None
        if network.overlay6 is not None:
            own6, overlay6 = address6(network.overlay6, me.address), network6(network.overlay6, network.overlay)
        return cls(me.address, own6, network.overlay, overlay6, roster.mtu, me.role == "gateway")

    def whole(self, prefix: Prefix) -> bool:
        """Whether it is all of the overlay, for which first boot's route stands."""
        of = self.overlay if prefix.version == 4 else self.overlay6
        return of is not None and prefix.prefixlen <= of.prefixlen


class View(NamedTuple):
    """How the interfaces are.

    By enrolment key: the others' keys as the interfaces have them, and to whom this machine sends by the second.
    ``own`` are its own, None before the first look.
    """

    applied: Mapping[str, Keys]
    on_second: frozenset[str]
    own: Keys | None = None


class Tunnels:
    """``first`` and ``second`` in one, as a ``node.wireguard.WireGuard``. One caller at a time.

    ``book`` says which keys others use.
    """

    def __init__(
        self,
        first: Device,
        second: Second,
        routes: Routes,
        own: OwnKeys,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.book = Book()
        self.own = own
        self.view = View({}, frozenset())
        self._first = first
        self._second = second
        self._routes = routes
        self._raw: Mapping[str, PeerState] = {}
        self._ticks = ticks
        self._is_clear = False
        self._left: float | None = None
        self._problem = ""

    def know(self, keys: Mapping[str, Keys]) -> None:
        """From now on others use these; who is not among them uses its enrolment key."""
        book = Book(keys, self.book)
        if book != self.book:
            self.book = book

    # What the rest of the code knows.

    def peers(self) -> Mapping[str, PeerState]:
        """By enrolment key; who has no such peer under the key in use has it under the one that it is seen with."""
        raw = self._rekeyed(self._kept())
        self._raw = raw
        found = {
            (name := self.book.identity(key) or key): state._replace(public_key=name) for key, state in raw.items()
        }
        if (self.own.is_turning or self.book.turning()) and self._second.is_there():
            for key, state in self._second.peers().items():
                name = self._whose(key)
                if name in found:
                    found[name] = _both(found[name], state)
        return found

    def apply(self, changes: Sequence[Change]) -> None:
        self._first.apply([replace(change, public_key=self.book.first(change.public_key)) for change in changes])

    def mtu(self) -> int:
        return self._first.mtu()

    def set_mtu(self, mtu: int) -> None:
        self._first.set_mtu(mtu)

    # Keys.

    def _kept(self) -> Mapping[str, PeerState]:
        """The first interface's peers, once it has this machine's own key."""
        raw, private = self._first.peers(), self.own.first
        if private is not None and public_key(private) != self._first.public_key():
            self._first.set_private_key(private)
            # Anew, so that a handshake that is seen is one with this key.
            self._first.apply([change for state in raw.values() for change in _anew(state.public_key, state)])
            raw = self._first.peers()
            say("the interface has another key now")
        return raw

    def _rekeyed(self, raw: Mapping[str, PeerState]) -> Mapping[str, PeerState]:
        """The first interface's peers, each under the key that it uses now: with all else that its peer had."""
        needed: list[Change] = []
        for identity, keys in self.book.stale().items():
            right = self.book.first(identity)
            for stale in keys & raw.keys():
                if right in raw:
                    needed.append(Change(stale, remove=True))
                else:
                    needed += [Change(stale, remove=True), _anew(right, raw[stale])[1]]
        if not needed:
            return raw
        self._first.apply(needed)
        return self._first.peers()

    def _whose(self, key: str) -> str:
        """The enrolment key of whom an interface has under ``key``."""
        return self.book.identity(key) or key

    def call(self, identity: str) -> None:
        """Have the first interface try a handshake at once; WireGuardError."""
        key = self.book.first(identity)
        state = self._first.peers().get(key)
        if state is not None:
            self._first.apply(_anew(key, state))

    # The second interface.

    def follow(self, desired: Mapping[str, Wanted], place: Place, gateways: Set[str], *, is_ready: bool = True) -> View:
        """Have the second interface as it is needed now, and send by it to whom has shaken hands there.

        ``desired`` are the first interface's peers, ``gateways`` those of them that are gateways, by enrolment key.
        Without ``is_ready`` nobody is called by this machine's new key, since nobody knows it yet. To be called after
        :meth:`peers`. What does not work is told, and tried again by the next call.
        """
        try:
            self.view = self._follow(desired, place, gateways, is_ready=is_ready)
            self._problem = ""
        except (WireGuardError, OSError) as error:
            if str(error) != self._problem:
                say(f"the second interface cannot be kept as a change of keys needs it: {error}")
            self._problem = str(error)
        return self.view

    def _follow(self, desired: Mapping[str, Wanted], place: Place, gateways: Set[str], *, is_ready: bool) -> View:
        moving = self._moving(desired)
        if not moving and not self.own.is_turning:
            self._leave(None, place, desired)
            return View(self.book.all(), frozenset(), self.own.keys)
        self._is_clear = False
        private = self.own.second
        if private is None:
            raise WireGuardError("this machine's key cannot be read")
        if not self._leave(private, place, desired):
            first = {identity: Keys(keys.first) for identity, keys in self.book.all().items()}
            return View(first, frozenset(), Keys(self.own.keys.first))
        self._make(private, place)
        wanted = {
            key: _mirrored(key, desired[identity], is_gateway=identity in gateways)
            for identity, key in (moving.items() if is_ready else ())
        }
        observed = self._second.peers()
        if needed := changes(wanted, observed, {}):
            self._second.apply(needed)
            observed = self._second.peers()
        on_second = frozenset(name for name, key in moving.items() if self._is_on_second(name, observed.get(key)))
        self._route(on_second, desired, place)
        held = {identity: self._held(identity, moving) for identity in self.book.all()}
        return View(held, on_second, self.own.keys)

    def _moving(self, desired: Mapping[str, Wanted]) -> dict[str, str]:
        """By enrolment key, under which key the second interface needs whom."""
        whole = {identity for identity, peer in desired.items() if peer.allowed_ips}
        if self.own.is_turning:
            return {identity: self.book.first(identity) for identity in whole}
        return {
            identity: keys.second
            for identity, keys in self.book.turning().items()
            if identity in whole and keys.second is not None
        }

    def _held(self, identity: str, moving: Mapping[str, str]) -> Keys:
        """Another's keys as far as the interfaces have them: not the second one while this machine changes its own."""
        keys = self.book.keys(identity)
        return keys if moving.get(identity) == keys.second else Keys(keys.first, None)

    def _is_on_second(self, identity: str, state: PeerState | None) -> bool:
        if state is None or not state.handshake:
            return False
        keys = self.book.keys(identity)
        is_back = self.own.is_back if self.own.is_turning else keys.first == keys.second
        first = self._raw.get(self.book.first(identity))
        return not (is_back and first is not None and first.handshake)

    def _make(self, private: str, place: Place) -> None:
        if not self._second.is_there():
            self._second.up(private, place.address, ROTATION_PORT if place.is_gateway else None, place.mtu)
        if self._second.mtu() != place.mtu:
            self._second.set_mtu(place.mtu)

    def _leave(self, private: str | None, place: Place, desired: Mapping[str, Wanted]) -> bool:
        """Have no second interface but one with the key ``private``; whether that is so.

        Nothing is sent by one that is left, but others, who hear of it later, are listened to for a while yet.
        """
        if self._is_clear:
            return True
        if not self._second.is_there():
            self._left = None
            if private is None:
                self._routes.keep(frozenset(), _sources(place))
                self._is_clear = True
            return True
        if private is not None and self._second.public_key() == public_key(private):
            self._left = None
            return True
        self._routes.keep(frozenset(), _sources(place))
        if self._left is None:
            self._left = self._ticks()
        if self._ticks() - self._left < LISTEN_SECONDS:
            self._keep_only(desired)
            return False
        self._second.down()
        self._left, self._is_clear = None, private is None
        return True

    def _keep_only(self, desired: Mapping[str, Wanted]) -> None:
        """Take nothing more by the second interface from addresses that are nobody's now."""
        known = {prefix for peer in desired.values() for prefix in peer.prefixes}
        peers = self._second.peers()
        if gone := [Change(key, remove=True) for key, state in peers.items() if not state.allowed_ips <= known]:
            self._second.apply(gone)

    def _route(self, on_second: Set[str], desired: Mapping[str, Wanted], place: Place) -> None:
        moved = [prefix for name in on_second for prefix in desired[name].allowed_ips]
        routes = {
            Route(str(part), SECOND)
            for prefix in moved
            for part in (halves(prefix) if place.whole(prefix) else [prefix])
        }
        wide = [prefix for prefix in moved if prefix.prefixlen < prefix.max_prefixlen]
        for name, peer in desired.items() if wide else ():
            if name not in on_second:
                routes |= {Route(str(each), INTERFACE) for each in peer.allowed_ips if _is_within(each, wide)}
        self._routes.keep(routes, _sources(place))


def _sources(place: Place) -> dict[int, IPv4Address | IPv6Address]:
    found: dict[int, IPv4Address | IPv6Address] = {4: place.address}
    return found if place.address6 is None else {**found, 6: place.address6}


def _is_within(prefix: Prefix, others: Sequence[Prefix]) -> bool:
    """Whether one of ``others`` has all of ``prefix``, and more."""
    return any(
        prefix.version == other.version and prefix.prefixlen > other.prefixlen and prefix.network_address in other
        for other in others
    )


def _mirrored(key: str, peer: Wanted, *, is_gateway: bool) -> Wanted:
    """A peer of the first interface as the second one has it: gateways are called at its port there."""
    endpoint = None
    if is_gateway and peer.endpoint is not None:
        endpoint = f"{peer.endpoint.rpartition(':')[0]}:{ROTATION_PORT}"
    keepalive = (peer.keepalive or KEEPALIVE) if endpoint else None
    return Wanted(key, endpoint, peer.allowed_ips, keepalive, peer.prefixes)


def _anew(key: str, state: PeerState) -> list[Change]:
    """What makes the peer ``key`` anew, with what ``state`` has."""
    allowed = tuple(ip_network(prefix) for prefix in sorted(state.allowed_ips))
    return [
        Change(key, remove=True),
        Change(key, allowed_ips=allowed, endpoint=state.endpoint, keepalive=state.keepalive or 0),
    ]


def _both(first: PeerState, second: PeerState) -> PeerState:
    return first._replace(
        handshake=max(first.handshake, second.handshake),
        received=first.received + second.received,
        sent=first.sent + second.sent,
    )
