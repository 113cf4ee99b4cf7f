"""The gateway's service with all that it listens on, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

from node import release
from node.gateway.api import application
from node.gateway.health import Health, Probe
from node.gateway.listener import Listener
from node.gateway.local import local_application, serve_locally
from node.gateway.network import Network
from node.gateway.nudges import listen
from node.gateway.plain import serve_plainly
from node.gateway.service import Service
from node.gateway.serving.nginx import Nginx
from node.log import say
from node.network import tunnel_file
from node.pulse import Pulse
from node.tunnels.enrolment import private_key_in


def own_key() -> str | None:
    """The private key of the gateway's interface, as first boot wrote it; None when there is none to be read."""
    path = tunnel_file.path()
    try:
        return private_key_in(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        say(f"{path} cannot be read, so no machine of a pool can join: {error}")
        return None


async def serve(
    network: Network,
    probe: Probe,
    pulse: Pulse,
    listener: socket.socket,
    nginx: Nginx,
    names: Callable[[], object] = lambda: None,
) -> None:
    """The service until SIGTERM, SIGINT, a newer release or the end of stage 0."""
    service = Service(network, Health(probe), pulse, release.running(), nginx, own_key(), names=names)
    loop = asyncio.get_running_loop()

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, service.end)
    https = Listener(application(service), listener, lambda: service.certificates.tls)
    await https.start()
    local = await serve_locally(local_application(service), network.config.state)
    address = network.config.control[0]
    routes = [
        *service.metrics.routes(),
        *service.targets.routes("/targets", lambda _: True),
        *service.page.routes(),
    ]
    try:
        await service.run(serve_plainly(routes, address), listen(address, service.exchange.nudge))
    finally:
        await https.close()
        await local.cleanup()
        service.close()
