"""``python -m tests.node.gateway_process DESCRIPTOR``: a gateway's real service, with its interface in memory.

Its folders are those of the environment, as on a machine; the descriptor is its listening socket.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from node import config, release
from node.gateway.network import Network
from node.gateway.serve import serve
from node.pulse import Pulse
from tests.node.serving import MemoryNginx
from tests.node.support import MemoryFirewall, MemoryProbe, MemoryWireGuard


def main(descriptor: int) -> None:
    release.running = lambda: release.Release(3, b"an archive", "c2lnbmF0dXJl")
    network = Network(config.load(), MemoryWireGuard(), MemoryFirewall())
    network.load()
    network.reconcile()
    _, pulse = os.pipe()
    nginx = MemoryNginx(network.config.state / "nginx")
    asyncio.run(serve(network, MemoryProbe(), Pulse(pulse), socket.socket(fileno=descriptor), nginx))


if __name__ == "__main__":
    main(int(sys.argv[1]))
