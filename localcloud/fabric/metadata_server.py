"""Serves the machines' metadata on 169.254.169.254 in every router, and knows a machine by its address there."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from localcloud.cloud import Cloud, LocalCloudError
from localcloud.fabric import internet, links
from localcloud.fabric.authority import Authority
from localcloud.fabric.firewall import METADATA_ADDRESS
from localcloud.fabric.listeners import Listeners
from localcloud.fabric.metadata import Answer, Request, Tokens, answer
from localcloud.fabric.store import Store
from localcloud.spec import MachineSpec

DEFAULT_TTL = 64


class MetadataServers:
    """One server for each router of the instance, as they come and go."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._store = Store(cloud)
        self._tokens = Tokens()
        self._authority = Authority(cloud)
        self._listeners = Listeners(self._routers, (METADATA_ADDRESS, 80), self._serve)

    def follow(self) -> None:
        """Serve in every router that there is now."""
        self._listeners.follow()

    def close(self) -> None:
        """Stop serving."""
        self._listeners.close()

    def _routers(self) -> set[str]:
        return {self._cloud.internet, *internet.namespaces(f"{self._cloud.prefix}n")}

    def _serve(self, listening: socket.socket, namespace: str) -> _Server:
        return _Server(listening, self, namespace)

    def handle(self, namespace: str, address: str, request: Request) -> Answer:
        """The answer to a request from `address` on the router in `namespace`."""
        spec = self._machine_at(namespace, address)
        return Answer(404) if spec is None else answer(spec, request, self._tokens, self._authority)

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
