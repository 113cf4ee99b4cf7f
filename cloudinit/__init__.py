"""What a machine is told at first boot: one pure renderer for each role."""

from cloudinit.boot import BootError, GatewayBoot, PoolBoot, SpokeBoot
from cloudinit.render import MAX_BYTES, render_gateway, render_pool, render_spoke

__all__ = [
    "MAX_BYTES",
    "BootError",
    "GatewayBoot",
    "PoolBoot",
    "SpokeBoot",
    "render_gateway",
    "render_pool",
    "render_spoke",
]
