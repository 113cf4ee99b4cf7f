"""Nudges: a datagram over the overlay that says "ask now", to nodes and between gateways."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Hashable, Iterable, Mapping
from ipaddress import IPv4Address

from node.log import say
from node.network_document import NUDGE, NUDGE_PORT

TRIES = 5
"""So often a node is told of the same thing."""
AGAIN_SECONDS = 1.0
AT_ONCE = 25
"""So many are told, and then no one for :data:`REST_SECONDS`: a thousand that ask at the same moment would all wait."""
REST_SECONDS = 0.1
_RETRY_SECONDS = 10.0


class Nudges:
    """Tells nodes to ask until they have been told what they should know. ``own`` is this gateway's overlay address."""

    def __init__(self, own: IPv4Address, port: int = NUDGE_PORT) -> None:
        self._own = own
        self._port = port
        self._socket: socket.socket | None = None
        self._tried: dict[str, tuple[Hashable, int]] = {}

    def send(self, addresses: Iterable[IPv4Address]) -> None:
        """One nudge to each; what cannot be sent is lost."""
        if self._socket is None and not self._open():
            return
        assert self._socket
        for address in addresses:
            with contextlib.suppress(OSError):
                self._socket.sendto(NUDGE, (str(address), self._port))

    def _open(self) -> bool:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            made.bind((str(self._own), 0))
        except OSError:
            made.close()
            return False
        self._socket = made
        return True

    def due(self, wanted: Mapping[str, Hashable], told: Mapping[str, Hashable]) -> list[str]:
        """The nodes to be nudged in this round: ``wanted`` is what each is to know, ``told`` what it was told last."""
        self._tried = {name: tried for name, tried in self._tried.items() if name in wanted}
        found: list[str] = []
        for name, what in wanted.items():
            if told.get(name) == what:
                self._tried.pop(name, None)
                continue
            before, tries = self._tried.get(name, (what, 0))
            tries = tries if before == what else 0
            if tries < TRIES:
                self._tried[name] = what, tries + 1
                found.append(name)
        return found

    async def round(self, names: Iterable[str], addresses: Mapping[str, IPv4Address]) -> None:
        """Nudge these nodes, not all at the same moment."""
        waiting = [addresses[name] for name in names if name in addresses]
        for start in range(0, len(waiting), AT_ONCE):
            self.send(waiting[start : start + AT_ONCE])
            if start + AT_ONCE < len(waiting):
                await asyncio.sleep(REST_SECONDS)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, on_nudge: Callable[[str], None]) -> None:
        self._on_nudge = on_nudge

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data == NUDGE:
            self._on_nudge(addr[0])


async def listen(address: IPv4Address, on_nudge: Callable[[str], None], port: int = NUDGE_PORT) -> None:
    """Call ``on_nudge`` with the sender of each nudge until cancelled; the address may come later than this."""
    loop, is_told = asyncio.get_running_loop(), False
    while True:
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Receiver(on_nudge), local_addr=(str(address), port)
            )
            break
        except OSError as error:
            if not is_told:
                say(f"no nudges are heard at {address}:{port} yet: {error.strerror}")
            is_told = True
            await asyncio.sleep(_RETRY_SECONDS)
    try:
        await asyncio.Event().wait()
    finally:
        transport.close()
