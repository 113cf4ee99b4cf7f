"""Serves the machines' metadata on 169.254.169.254 in every router, and knows a machine by its address there."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from localcloud.cloud import NETNS, Cloud, LocalCloudError
from localcloud.fabric import internet, links
from localcloud.fabric.firewall import METADATA_ADDRESS
from localcloud.fabric.metadata import Answer, Request, Tokens, answer
from localcloud.fabric.store import Store
from localcloud.spec import MachineSpec

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
DEFAULT_TTL = 64


class MetadataServers:
    """One server for each router of the instance, as they come and go."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._store = Store(cloud)
        self._tokens = Tokens()
        self._servers: dict[str, tuple[int, _Server]] = {}

    def follow(self) -> None:
        """Serve in every router that there is now: new ones, and ones made anew under an old name."""
        there = {self._cloud.internet, *internet.namespaces(f"{self._cloud.prefix}n")}
        for namespace in sorted(there | self._servers.keys()):
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
            listening = _listen(NETNS / namespace)
        except OSError:
            return  # half made: the next look finds it whole
        server = _Server(listening, self, namespace)
        threading.Thread(target=server.serve_forever, name=f"metadata {namespace}", daemon=True).start()
        self._servers[namespace] = (inode, server)

    def _close(self, namespace: str) -> None:
        _, server = self._servers.pop(namespace)
        server.shutdown()
        server.server_close()

    def handle(self, namespace: str, address: str, request: Request) -> Answer:
        """The answer to a request from `address` on the router in `namespace`."""
        spec = self._machine_at(namespace, address)
        return Answer(404) if spec is None else answer(spec, request, self._tokens)

    def _machine_at(self, namespace: str, address: str) -> MachineSpec | None:
        records = self._store.records()
        numbers = self._store.networks(records)
        for record in records.values():
            for card in record.spec.interfaces:
                if card.address == address and links.router_namespace(self._cloud, card.network, numbers) == namespace:
                    return record.spec
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, listening: socket.socket, servers: MetadataServers, namespace: str) -> None:
        super().__init__(listening.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.servers = servers
        self.namespace = namespace


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        server = cast("_Server", self.server)
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, url.path, dict(parse_qsl(url.query)), headers)
        try:
            found = server.servers.handle(server.namespace, self.client_address[0], request)
        except LocalCloudError as error:
            self.log_error("%s", error)
            found = Answer(500)
        self.connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, found.hops or DEFAULT_TTL)
        body = found.body.encode()
        self.send_response(found.status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in found.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Requests are not logged: their headers carry tokens, and machines ask often."""


def _listen(namespace: Path) -> socket.socket:
    """A listening socket in another network namespace. Only a thread of its own goes there."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            enter_namespace(namespace)
            made.append(socket.create_server((METADATA_ADDRESS, 80), backlog=128))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def enter_namespace(namespace: Path) -> None:
    """Move the calling thread into a network namespace. Raises OSError."""
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.setns(descriptor, _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(namespace))
    finally:
        os.close(descriptor)
