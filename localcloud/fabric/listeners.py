"""Servers of the daemon in network namespaces that come and go."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable, Collection
from http.server import ThreadingHTTPServer
from pathlib import Path

from localcloud.cloud import NETNS

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


class Listeners:
    """One server in each of the namespaces that `there` names, at the same address in all of them.

    `serve` makes a server of a listening socket and the namespace's name.
    """

    def __init__(
        self,
        there: Callable[[], Collection[str]],
        address: tuple[str, int],
        serve: Callable[[socket.socket, str], ThreadingHTTPServer],
    ) -> None:
        self._there = there
        self._address = address
        self._serve = serve
        self._servers: dict[str, tuple[int, ThreadingHTTPServer]] = {}

    def follow(self) -> None:
        """Serve in every namespace that there is now: new ones, and ones made anew under an old name."""
        for namespace in sorted({*self._there(), *self._servers}):
            try:
                inode = (NETNS / namespace).stat().st_ino
            except FileNotFoundError:
                inode = None
            known = self._servers.get(namespace)
            if known and known[0] != inode:
                self._close(namespace)
            if inode is not None and namespace not in self._servers:
                self._open(namespace, inode)

    def close(self) -> None:
        """Stop serving."""
        for namespace in list(self._servers):
            self._close(namespace)

    def _open(self, namespace: str, inode: int) -> None:
        try:
            listening = _listen(NETNS / namespace, self._address)
        except OSError:
            return  # half made: the next look finds it whole
        server = self._serve(listening, namespace)
        threading.Thread(target=server.serve_forever, name=f"{self._address[0]} {namespace}", daemon=True).start()
        self._servers[namespace] = (inode, server)

    def _close(self, namespace: str) -> None:
        _, server = self._servers.pop(namespace)
        server.shutdown()
        server.server_close()


def enter_namespace(namespace: Path) -> None:
    """Move the calling thread into a network namespace. Raises OSError."""
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.setns(descriptor, _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(namespace))
    finally:
        os.close(descriptor)


def _listen(namespace: Path, address: tuple[str, int]) -> socket.socket:
    """A listening socket in another network namespace. Only a thread of its own goes there."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            enter_namespace(namespace)
            made.append(socket.create_server(address, backlog=128))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]
