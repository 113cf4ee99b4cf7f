"""How a machine leaves: the gateway knows at once, the user's drain hook and the last requests end, then the lease."""

from __future__ import annotations

import time
from collections.abc import Callable

from node.joining import Answer, JoinError
from node.log import say
from node.pool.client import Client, RefusalError
from node.pool.system import DRAIN, System
from node.wireguard import WireGuardError

_GONE = frozenset({403, 404})
"""What the gateway answers about a lease that it does not have (any more)."""
QUIET_LOOKS = 3
"""Looks in a row, half a second apart, that find no request: by then one that was on its way is here."""


class Farewell:
    """One machine's way out of its ``lease``.

    ``port`` is where requests come, None where that is not known. ``has_hook`` says whether the user gave a drain hook;
    ``tell`` gets what went wrong, and at what.
    """

    def __init__(
        self,
        client: Client,
        system: System,
        lease: Answer,
        reason: str,
        tell: Callable[[str, str], None],
        *,
        port: int | None,
        has_hook: bool,
    ) -> None:
        self._client = client
        self._system = system
        self._lease = lease
        self._reason = reason
        self._tell = tell
        self._has_hook = has_hook
        self._is_known = False
        self._port = port
        self._quiet = 0

    def drain(self, limit: Callable[[], float | None], pause: Callable[[], None]) -> bool:
        """Tell the gateway, and wait for that, the hook and the requests until ``limit`` (monotonic clock).

        False when that says None. A hook that has run in this boot does not run again.
        """
        self._announce()
        while unfinished := self._unfinished():
            end = limit()
            if end is None:
                return False
            if time.monotonic() >= end:
                self._tell("hook", f"{unfinished}, but the time is over")
                break
            pause()
            self._announce()
        return True

    def leave(self) -> bool:
        """End the lease; False when the gateway does not answer."""
        try:
            self._client.leave(self._lease, self._reason)
        except RefusalError as error:
            if error.status not in _GONE:
                self._tell("leave", f"cannot leave: {error}")
                return False
        except OSError as error:
            self._tell("leave", f"cannot leave: {error}")
            return False
        say("left")
        return True

    def _announce(self) -> None:
        """Be `draining` at the gateway; tried again as long as it does not answer."""
        if self._is_known:
            return
        try:
            self._port = self._client.drain(self._lease, self._reason).port or self._port
        except RefusalError as error:
            self._is_known = error.status in _GONE
        except (OSError, JoinError) as error:
            self._tell("drain", f"the gateway does not know yet that this machine drains: {error}")
        else:
            self._is_known = True

    def _unfinished(self) -> str:
        """What is still to be waited for, empty for nothing."""
        if self._drains():
            return "the drain hook is still at work"
        if not self._is_known:
            return "requests may still be sent here"
        return "requests are still at work" if self._serves() else ""

    def _drains(self) -> bool:
        """Whether the hook is at work; the first call starts it."""
        if not self._has_hook:
            return False
        try:
            state = self._system.state(DRAIN)
            if state == "inactive":
                say("the drain hook starts")
                self._system.start(DRAIN)
                state = self._system.state(DRAIN)
        except WireGuardError as error:
            self._tell("hook", f"the drain hook cannot run: {error}")
            return False
        return state == "activating"

    def _serves(self) -> bool:
        """Whether there are requests, or were a moment ago; what nobody sends requests to does not serve."""
        if self._port is None:
            return False
        try:
            count = self._system.connections(self._port)
        except WireGuardError as error:
            self._tell("requests", f"whether requests are at work cannot be found out: {error}")
            return False
        self._quiet = 0 if count else self._quiet + 1
        return self._quiet < QUIET_LOOKS
