"""Amazon's VPC, EC2, Auto Scaling and IAM: their kinds and lookups, and the machines among them."""

from localcloud.provider.clouds.aws import (
    addresses,
    groups,
    iam,
    instances,
    launch_templates,
    lookups,
    routes,
    scaling,
    vpc,
)
from localcloud.provider.clouds.aws.projection import machines
from localcloud.provider.kind import Kind, Lookup

KINDS: tuple[Kind, ...] = (
    *vpc.KINDS,
    *routes.KINDS,
    *groups.KINDS,
    *instances.KINDS,
    *addresses.KINDS,
    *iam.KINDS,
    *launch_templates.KINDS,
    *scaling.KINDS,
)
LOOKUPS: tuple[Lookup, ...] = lookups.LOOKUPS

__all__ = ["KINDS", "LOOKUPS", "machines"]
