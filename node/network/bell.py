"""What wakes whoever asks the gateway: a nudge of the gateway's, or this process itself."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterable
from ipaddress import IPv4Address

from node.log import say
from node.network_document import NUDGE, NUDGE_PORT

_IP_FREEBIND = 15
"""``<linux/in.h>``; Python names it only from 3.14 on."""
_AT_ONCE = 256
"""Datagrams that are read without a look at the clock, however many come."""


class Bell:
    """Rung by :meth:`ring` from any thread, and by a gateway's nudge to ``port`` of the machine's overlay address."""

    def __init__(self, port: int = NUDGE_PORT) -> None:
        self.port = port
        self._listening: tuple[IPv4Address, socket.socket] | None = None
        self._refused: IPv4Address | None = None
        self._gateways: frozenset[str] = frozenset()
        self._inner, self._outer = socket.socketpair()
        self._inner.setblocking(False)
        self._outer.setblocking(False)

    def ring(self) -> None:
        """Wake whoever waits, or will."""
        # One that is full wakes as well, and after the end there is nobody to wake.
        with contextlib.suppress(OSError):
            self._outer.send(b"!")

    def listen(self, address: IPv4Address | None, gateways: Iterable[IPv4Address] = ()) -> None:
        """Take the nudges of ``gateways`` at ``address`` from now on, whether the interface has it just now or not.

        At None none are taken. Nobody else's count: whoever could make all nodes ask all the time would keep the
        gateways busy.
        """
        self._gateways = frozenset(map(str, gateways))
        if self._listening is not None and self._listening[0] != address:
            self._listening[1].close()
            self._listening = None
        if self._listening is not None or address is None:
            return
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            made.setblocking(False)
            made.bind((str(address), self.port))
        except OSError as error:
            made.close()
            if self._refused != address:
                say(f"no nudges come to {address}, so changes are seen only after ten seconds: {error}")
            self._refused = address
        else:
            self._listening, self._refused = (address, made), None

    def wait(self, seconds: float) -> bool:
        """Wait for that long at most; whether it was rung. What rang meanwhile counts as once."""
        end = time.monotonic() + seconds
        sockets = [self._inner, *([self._listening[1]] if self._listening else [])]
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select(sockets, [], [], left)
            if sum(self._drain(each) for each in ready):
                return True
        return False

    def _drain(self, ready: socket.socket) -> bool:
        """Read what has come; whether any of it counts."""
        counts = False
        with contextlib.suppress(OSError):
            for _ in range(_AT_ONCE):
                heard, source = ready.recvfrom(4096)
                counts = counts or ready is self._inner or (heard == NUDGE and source[0] in self._gateways)
        return counts

    def close(self) -> None:
        self.listen(None)
        self._inner.close()
        self._outer.close()
