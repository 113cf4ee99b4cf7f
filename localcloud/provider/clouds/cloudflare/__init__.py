"""Cloudflare: its kinds; no machine is among them."""

from localcloud.provider.clouds.cloudflare import balancing, origin, ranges, zone
from localcloud.provider.kind import Kind, Lookup

KINDS: tuple[Kind, ...] = (*zone.KINDS, *origin.KINDS, *balancing.KINDS)
LOOKUPS: tuple[Lookup, ...] = ranges.LOOKUPS

__all__ = ["KINDS", "LOOKUPS"]
