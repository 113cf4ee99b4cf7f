"""What a machine is told at first boot: one pure renderer for each role."""

from cloudinit.boot import BootError, ExternalBoot, GatewayBoot, PoolBoot, SpokeBoot
from cloudinit.render import (
    MAX_BYTES,
    TOKEN_VARIABLE,
    render_external,
    render_gateway,
    render_pool,
    render_spoke,
)

__all__ = [
    "MAX_BYTES",
    "TOKEN_VARIABLE",
    "BootError",
    "ExternalBoot",
    "GatewayBoot",
    "PoolBoot",
    "SpokeBoot",
    "render_external",
    "render_gateway",
    "render_pool",
    "render_spoke",
]
