"""The policy on labels, which AWS calls tags: what belongs to which stack, site and role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from components.names import label_value
from components.settings.models import Settings
from policy.machines import AWS_TEMPLATE, GCP_MACHINES, SERVER
from policy.model import UNKNOWN, Finding, Resource, Rule, at, each

GROUP = "aws:autoscaling/group:Group"
CARRIERS: Mapping[str, str] = {
    **{
        f"hcloud:index/{kind}:{kind[0].upper()}{kind[1:]}": "labels"
        for kind in (
            *("certificate", "firewall", "floatingIp", "loadBalancer", "managedCertificate", "network"),
            *("placementGroup", "primaryIp", "server", "snapshot", "sshKey", "storageBox", "uploadedCertificate"),
            *("volume", "zone"),
        )
    },
    **{
        f"aws:{module}/{kind}:{kind[0].upper()}{kind[1:]}": "tags"
        for module, kinds in {
            "autoscaling": ("group",),
            "ebs": ("snapshot", "volume"),
            "ec2": (
                *("ami", "eip", "instance", "internetGateway", "keyPair", "launchTemplate", "natGateway", "networkAcl"),
                *("networkInterface", "placementGroup", "routeTable", "securityGroup", "spotInstanceRequest", "subnet"),
                *("vpc", "vpcEndpoint", "vpcPeeringConnection", "vpnConnection", "vpnGateway"),
            ),
            "efs": ("fileSystem",),
            "iam": ("instanceProfile", "policy", "role", "user"),
            "lb": ("listener", "loadBalancer", "targetGroup"),
            "vpc": ("securityGroupEgressRule", "securityGroupIngressRule"),
        }.items()
        for kind in kinds
    },
    **{
        f"gcp:compute/{kind}:{kind[0].upper()}{kind[1:]}": "labels"
        for kind in (
            *("address", "disk", "forwardingRule", "globalAddress", "globalForwardingRule", "haVpnGateway", "image"),
            *("instance", "instanceFromTemplate", "instanceTemplate", "regionDisk", "regionInstanceTemplate"),
            *("snapshot", "vPNTunnel"),
        )
    },
}
"""By type, the input that holds the labels of what costs, opens or names something."""
_MACHINES = (
    *(SERVER, "aws:ec2/instance:Instance", "aws:ec2/spotInstanceRequest:SpotInstanceRequest", AWS_TEMPLATE),
    *GCP_MACHINES,
)
"""What has a site and a role, too."""


def missing_tags(resource: Resource, settings: Settings | None) -> Iterator[Finding]:
    """The stack on everything that can carry it, and site and role on machines (``components.names.labels``).

    Stacks of other projects have no sites.
    """
    key = CARRIERS.get(resource.type)
    value = None if key is None else resource.inputs.get(key)
    if key is None or value is UNKNOWN:
        return
    found = _tags(value)
    wanted = ["stack", *(("site", "role") if settings is not None and resource.type in _MACHINES else ())]
    missing = [name for name in wanted if name not in found]
    word = "tag" if key == "tags" else "label"
    if missing:
        yield Finding(
            f"has no {word} {', '.join(missing)}",
            "nobody could tell what it belongs to, nor what the stack costs",
            "Give it components.names.labels(settings, site=…, role=…)",
        )
    stack = found.get("stack", UNKNOWN)
    if settings is not None and stack not in (UNKNOWN, label_value(settings.stack)):
        yield Finding(
            f"has the {word} stack={stack}",
            f"it belongs to the stack {settings.stack}",
            f"Set it to {label_value(settings.stack)}, as components.names.labels does",
        )


def _tags(value: Any) -> dict[str, Any]:
    """Labels by name; an auto-scaling group lists them."""
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    return {str(at(tag, "key")): at(tag, "value") for tag in each(value)}


RULES = (Rule("missing-tags", "Resources say which stack they belong to, machines their site and role.", missing_tags),)
