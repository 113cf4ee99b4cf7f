"""The provider servers: one port a package on 127.0.0.1, for PULUMI_DEBUG_PROVIDERS."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from localcloud.cloud import Cloud, write_private
from localcloud.provider import catalogue
from localcloud.provider.clouds import KINDS, LOOKUPS, project
from localcloud.provider.ledger import Applies, Ledger
from localcloud.provider.servicer import Provider

ALWAYS = ("hcloud", "aws", "gcp", "tls")
EXTRA = "cloudflare"
"""Served where its SDK is installed. It takes seconds to import, so it is imported only when it is asked for."""
_THREADS = 32
"""Requests under way at once for a package; the engine asks for 16 resources in parallel unless told otherwise."""


def packages() -> tuple[str, ...]:
    """What is served here."""
    return (*ALWAYS, EXTRA) if find_spec(f"pulumi_{EXTRA}") else ALWAYS


class Providers:
    """The servers over one world."""

    def __init__(self, cloud: Cloud, fabric: Applies) -> None:
        self.ledger = Ledger(cloud.world, fabric, project)
        self.ports: dict[str, int] = {}
        self._servers: list[grpc.Server] = []
        for package in packages():
            server = grpc.server(
                ThreadPoolExecutor(_THREADS, thread_name_prefix=package),
                options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
            )
            kinds = {token: kind for token, kind in KINDS.items() if token.startswith(f"{package}:")}
            lookups = {token: lookup for token, lookup in LOOKUPS.items() if token.startswith(f"{package}:")}
            provider = Provider(package, kinds, lookups, self.ledger)
            provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
            self.ports[package] = server.add_insecure_port("127.0.0.1:0")
            server.start()
            self._servers.append(server)

    def warm(self) -> None:
        """Import the SDKs that most programs use, in the background."""
        threading.Thread(target=lambda: [catalogue.warm(package) for package in ALWAYS], daemon=True).start()

    def stop(self) -> None:
        """Refuse new requests at once, let those under way end, and return then."""
        for stopped in [server.stop(grace=None) for server in self._servers]:
            stopped.wait()


def serve(cloud: Cloud, fabric: Applies) -> Providers:
    """Start the servers, which serve as long as what this answers is held; `cloud.providers` tells their ports."""
    providers = Providers(cloud, fabric)
    providers.warm()
    cloud.directory.mkdir(parents=True, exist_ok=True)
    write_private(cloud.providers, json.dumps(providers.ports))
    return providers
