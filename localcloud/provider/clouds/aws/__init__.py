"""Amazon's VPC and EC2: their kinds and lookups, and the machines among them."""

from localcloud.provider.clouds.aws import addresses, groups, instances, lookups, routes, vpc
from localcloud.provider.clouds.aws.projection import machines
from localcloud.provider.kind import Kind, Lookup

KINDS: tuple[Kind, ...] = (*vpc.KINDS, *routes.KINDS, *groups.KINDS, *instances.KINDS, *addresses.KINDS)
LOOKUPS: tuple[Lookup, ...] = lookups.LOOKUPS

__all__ = ["KINDS", "LOOKUPS", "machines"]
