"""How a spoke changes its own key: made here, told through the tunnel, and taken back if it does not work."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from node.log import say
from node.network_document import NetworkDocument
from node.network_words import NO_KEYS, Keys
from node.tunnels.schedule import is_due
from node.tunnels.tunnels import Tunnels
from overlay.model import Node

PATIENCE_SECONDS = 60.0
"""How long a change waits for hands to be shaken on the second interface before it is taken back."""
REST_SECONDS = 600.0
"""Until the next try after one that was taken back. That nobody asks for comes later each time: its gateway may be one
that was made before there was a second interface, and so may be that of a thousand others."""
LONGEST_REST_SECONDS = 86400.0
HOLD_SECONDS = 1.0
"""How long both ends send by the same interface before the other one changes: what is on its way arrives."""
REQUEST = "rotate"
"""In the machine's state: while this file is there, the key is to be changed."""


class Turn:
    """The change of one spoke's key, step by step; every step is on disk before anybody hears of it.

    ``state`` is the machine's state folder, ``wall`` are seconds since 1970, ``ticks`` a clock that is never set.
    """

    def __init__(
        self,
        tunnels: Tunnels,
        state: Path,
        wall: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tunnels = tunnels
        self._own = tunnels.own
        self._request = state / REQUEST
        self._wall = wall
        self._ticks = ticks
        self._since = ticks()
        self._resumed = self._own.keys if self._own.is_turning else None
        self._called: Keys | None = None
        self._agreed: float | None = None
        self._document: NetworkDocument | None = None
        self._not_before = self._not_by_itself_before = float("-inf")
        self._rest = REST_SECONDS

    def hear(self, document: NetworkDocument) -> None:
        """Take in what the gateway has told just now."""
        self._document = document

    @property
    def is_on(self) -> bool:
        return self._own.is_turning

    @property
    def is_ready(self) -> bool:
        """Whether the gateway knows the new key, as far as is known: a change that was under way goes on."""
        own = self._own
        return not own.is_turning or own.is_back or self._resumed == own.keys or self._is_known()

    def _is_known(self) -> bool:
        if self._document is None:
            return False
        applied, keys = self._document.applied, self._own.keys
        # On the way back the first interface does, for a gateway that has lost patience with the second one.
        return applied == keys or (self._own.is_back and applied.first == keys.first)

    def forget(self) -> None:
        """Go back to the enrolment key, as the gateway does when the machine joins anew; OSError."""
        if self._own.keys != NO_KEYS:
            self._own.forget()

    def step(self, gateway: Node, *, may_begin: bool) -> None:
        """Go on as far as is possible now; ``gateway`` is whom the machine hangs on. WireGuardError, OSError."""
        document = self._document
        if document is None:
            return
        is_gateway_turning = document.keys.get(gateway.name, NO_KEYS).second is not None
        if not self._own.is_turning:
            if may_begin and not is_gateway_turning and self._is_due(document):
                self._own.begin()
                self._since, self._agreed = self._ticks(), None
                say("this machine changes its WireGuard key")
            return
        here = gateway.public_key in self.tunnels.view.on_second
        there = document.on_second
        if self._own.is_back:
            self._come_back(gateway, here=here, there=there)
        elif is_gateway_turning:
            self._give_up(f"{gateway.name} changes its own key first", 0)
        elif self._is_known() and here and there:
            if self._has_held():
                self._own.turn()
                self._agreed = None
        else:
            self._agreed = None
            if self._ticks() - self._since > PATIENCE_SECONDS:
                self._give_up(f"no handshake with {gateway.name} by the second interface; is UDP 51821 open to it?")

    def _come_back(self, gateway: Node, *, here: bool, there: bool) -> None:
        if not self._is_known():
            return
        if self._called != self._own.keys:
            # It called before, but then the gateway did not know the key yet.
            self.tunnels.call(gateway.public_key)
            self._called = self._own.keys
        elif here or there:
            self._agreed = None
        elif self._has_held():
            self._request.unlink(missing_ok=True)
            self._own.end()
            self._agreed, self._rest = None, REST_SECONDS
            say("this machine has another WireGuard key now; the one before is of no use any more")

    def _has_held(self) -> bool:
        """Whether what is the case now has been for a while."""
        if self._agreed is None:
            self._agreed = self._ticks()
        return self._ticks() - self._agreed >= HOLD_SECONDS

    def _give_up(self, why: str, rest: float = REST_SECONDS) -> None:
        """Keep the key of before, for ``rest`` seconds at least."""
        self._own.end()
        self._agreed = None
        self._not_before = self._ticks() + rest
        if rest:
            self._not_by_itself_before = self._ticks() + self._rest
            self._rest = min(2 * self._rest, LONGEST_REST_SECONDS)
        say(f"this machine keeps its WireGuard key: {why}")

    def _is_due(self, document: NetworkDocument) -> bool:
        identity, made = self._own.identity, self._own.made
        if identity is None or self._ticks() < self._not_before:
            return False
        is_asked = document.rotate_asked > 0 or self._request.exists()
        is_rested = self._ticks() >= self._not_by_itself_before
        return is_asked or (is_rested and is_due(identity, made, int(self._wall() * 1000)))
