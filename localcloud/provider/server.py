"""The provider servers: one port a package on 127.0.0.1, for PULUMI_DEBUG_PROVIDERS."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from localcloud.cloud import Cloud, write_private
from localcloud.provider import catalogue
from localcloud.provider.clouds import KINDS, LOOKUPS, project
from localcloud.provider.ledger import Applies, Ledger
from localcloud.provider.servicer import Provider

PACKAGES = ("hcloud", "aws", "gcp", "tls")
_THREADS = 32
"""Requests under way at once for a package; the engine asks for 16 resources in parallel unless told otherwise."""


class Providers:
    """The four servers over one world."""

    def __init__(self, cloud: Cloud, fabric: Applies) -> None:
        self.ledger = Ledger(cloud.world, fabric, project)
        self.ports: dict[str, int] = {}
        self._servers: list[grpc.Server] = []
        for package in PACKAGES:
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
        """Import the SDKs in the background."""
        threading.Thread(target=lambda: [catalogue.warm(package) for package in PACKAGES], daemon=True).start()

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
