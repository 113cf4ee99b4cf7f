"""The gateway's Prometheus metrics, on its overlay address alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import cast

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from node.gateway.serving.balancer import Balancer
from node.gateway.serving.credentials import CredentialStore
from node.log import say

PORT = 9586
_RETRY_SECONDS = 10.0
_LABELS = ("node", "address")


class _Collector:
    """What prometheus_client asks for at every scrape."""

    def __init__(self, balancer: Balancer, credentials: CredentialStore) -> None:
        self._balancer = balancer
        self._credentials = credentials

    def collect(self) -> Iterator[Metric]:
        yield from self._certificate()
        reloads = CounterMetricFamily("hybridnet_balancer_reloads", "Configurations that nginx has taken.")
        reloads.add_metric([], self._balancer.reloads)
        yield reloads
        healthy = GaugeMetricFamily(
            "hybridnet_upstream_healthy", "Whether the machine's health checks succeed.", labels=_LABELS
        )
        chosen = GaugeMetricFamily(
            "hybridnet_upstream_in_rotation", "Whether nginx sends requests to the machine.", labels=_LABELS
        )
        failures = CounterMetricFamily(
            "hybridnet_upstream_check_failures", "Health checks of the machine that failed.", labels=_LABELS
        )
        for machine in self._balancer.machines:
            endpoint = machine.endpoint
            labels, outcome = [endpoint.node, str(endpoint.address)], self._balancer.checks.outcome(endpoint)
            healthy.add_metric(labels, outcome is not None and outcome.healthy)
            chosen.add_metric(labels, endpoint in self._balancer.rotation)
            failures.add_metric(labels, outcome.failures if outcome else 0)
        yield from (healthy, chosen, failures)

    def _certificate(self) -> Iterator[Metric]:
        kept = self._credentials.kept
        if kept:
            yield GaugeMetricFamily(
                "hybridnet_certificate_expiry_timestamp_seconds",
                "When the certificate that requests are served with expires, in seconds since 1970.",
                value=kept.not_after.timestamp(),
            )


class Metrics:
    """Answers ``GET /metrics``."""

    def __init__(self, balancer: Balancer, credentials: CredentialStore) -> None:
        self._is_told = False
        self._registry = CollectorRegistry()
        self._registry.register(cast("CollectorRegistry", _Collector(balancer, credentials)))

    async def _answer(self, request: web.Request) -> web.Response:  # noqa: ARG002
        text = generate_latest(self._registry)
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def run(self, address: IPv4Address, port: int = PORT) -> None:
        """Serve at ``address`` until cancelled; it may come later than this."""
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        server: asyncio.AbstractServer | None = None
        try:
            server = await self._bound(runner, str(address), port)
            await asyncio.Event().wait()
        finally:
            if server:
                server.close()
            await runner.cleanup()

    async def _bound(self, runner: web.AppRunner, address: str, port: int) -> asyncio.AbstractServer:
        assert runner.server
        while (server := await self._try(runner.server, address, port)) is None:  # noqa: ASYNC110
            await asyncio.sleep(_RETRY_SECONDS)
        return server

    async def _try(self, server: web.Server, address: str, port: int) -> asyncio.AbstractServer | None:
        try:
            return await asyncio.get_running_loop().create_server(server, address, port)
        except OSError as error:
            if not self._is_told:
                say(f"no metrics at {address}:{port} yet: {error.strerror}")
            self._is_told = True
            return None
