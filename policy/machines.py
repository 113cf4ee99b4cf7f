"""Policies on machines: how their metadata is read, their disks, addresses, types, and what protects gateways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from components import names
from components.server_types import RETIRED
from components.settings.models import Settings
from components.settings.places import has_gateway
from components.settings.sites import AwsSite, GcpSite
from policy.model import UNKNOWN, Finding, Resource, Rule, at, each, is_on, labels_of

SERVER = "hcloud:index/server:Server"
AWS_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
AWS_MACHINES = (
    "aws:ec2/instance:Instance",
    "aws:ec2/spotInstanceRequest:SpotInstanceRequest",
    "aws:ec2/launchConfiguration:LaunchConfiguration",
)
GCP_MACHINES = (
    "gcp:compute/instance:Instance",
    "gcp:compute/instanceTemplate:InstanceTemplate",
    "gcp:compute/regionInstanceTemplate:RegionInstanceTemplate",
    "gcp:compute/instanceFromTemplate:InstanceFromTemplate",
)
MACHINES = (SERVER, *AWS_MACHINES, AWS_TEMPLATE, *GCP_MACHINES)
_GATEWAY_PARTS = (
    *MACHINES,
    "hcloud:index/primaryIp:PrimaryIp",
    "hcloud:index/floatingIp:FloatingIp",
    "aws:ec2/eip:Eip",
    "gcp:compute/address:Address",
)
"""What of a gateway cannot be made again as it was."""
_ROOT_DEVICES = ("/dev/sda", "/dev/sda1", "/dev/xvda", "/dev/xvda1")
_CLOUDS_PROTECTION = ("deleteProtection", "disableApiTermination", "deletionProtection")
"""What clouds call it (hcloud, EC2, Compute Engine)."""


def imdsv1(resource: Resource, settings: Settings | None) -> Iterator[Finding]:
    """An instance of a launch template that says nothing itself has what the template says."""
    del settings
    if resource.type not in (*AWS_MACHINES, AWS_TEMPLATE):
        return
    options = resource.inputs.get("metadataOptions")
    if options is None and resource.inputs.get("launchTemplate") is not None:
        return
    if at(options, "httpEndpoint") == "disabled":
        return
    tokens = at(options, "httpTokens")
    if tokens not in ("required", UNKNOWN):
        said = "does not say whether its metadata takes a token" if tokens is None else f"has httpTokens {tokens}"
        yield Finding(
            f"{said}, so it answers IMDSv1",
            "whoever gets the machine to fetch a URL reads its user data and its role's credentials",
            'Set metadata_options.http_tokens to "required"',
        )


def unencrypted_disk(resource: Resource, settings: Settings | None) -> Iterator[Finding]:
    """GCP encrypts every disk, and Hetzner none: nothing can be set there."""
    del settings
    for disk in _plain_disks(resource):
        yield Finding(
            f"has {disk} that is not encrypted",
            "AWS encrypts only disks that ask for it, and disks hold keys",
            "Set encrypted to true on it",
        )


def _plain_disks(resource: Resource) -> Iterator[str]:
    inputs = resource.inputs
    if resource.type == "aws:ebs/volume:Volume":
        if not is_on(inputs.get("encrypted")):
            yield "a disk"
    elif resource.type in AWS_MACHINES:
        root = inputs.get("rootBlockDevice")
        is_elsewhere = root is None and inputs.get("launchTemplate") is not None
        if not is_elsewhere and root is not UNKNOWN and not is_on(at(root, "encrypted")):
            yield "a root disk"
        yield from (_called(disk) for disk in each(inputs, "ebsBlockDevices") if not is_on(at(disk, "encrypted")))
    elif resource.type == AWS_TEMPLATE:
        mappings = inputs.get("blockDeviceMappings")
        disks = [disk for disk in each(mappings) if at(disk, "ebs") is not None]
        if mappings is not UNKNOWN and not any(map(_may_be_root, [*mappings] if mappings else [])):
            yield "a root disk"
        yield from (_called(disk) for disk in disks if not is_on(at(disk, "ebs", "encrypted")))


def _may_be_root(mapping: Any) -> bool:
    """By what EC2 calls root devices (Amazon EC2 User Guide, device names): what a template leaves out is as the image
    has it, which is seldom encrypted."""
    return (
        mapping is UNKNOWN
        or at(mapping, "ebs") is UNKNOWN
        or (at(mapping, "ebs") is not None and at(mapping, "deviceName") in (UNKNOWN, *_ROOT_DEVICES))
    )


def _called(disk: Any) -> str:
    name = at(disk, "deviceName")
    return f"a disk {name}" if isinstance(name, str) else "a disk"


def inference_public_address(resource: Resource, settings: Settings | None) -> Iterator[Finding]:
    """By its labels a machine is one that serves: a pool's, or a spoke that the load balancer sends requests to."""
    if settings is None or resource.type not in MACHINES or not _serves(resource, settings):
        return
    way_out = _way_out(settings, labels_of(resource).get("site"))
    if way_out is None:
        return
    for kind in _public_kinds(resource):
        yield Finding(
            f"serves inference and has a public {kind} address",
            f"requests come through the overlay, and {way_out} leads it out",
            "Set publicAddress to false on the spoke or the pool, or remove it on GCP",
        )


def _serves(resource: Resource, settings: Settings) -> bool:
    labels = labels_of(resource)
    if labels.get("role") == names.BURST:
        return True
    spoke = settings.spokes.get(str(labels.get("node")))
    return labels.get("role") == names.SPOKE and (spoke is None or spoke.serves is not False)


def _way_out(settings: Settings, name: Any) -> str | None:
    """What leads machines of the site ``name`` to the internet without addresses of their own; Hetzner has no such
    thing."""
    site = settings.sites.get(str(name))
    if isinstance(site, GcpSite):
        return "Cloud NAT" if site.network is None else f"the NAT of network {site.network}"
    if isinstance(site, AwsSite):
        if site.vpc_id is not None:
            return f"the NAT of {site.vpc_id}"
        return "the site's gateway" if has_gateway(settings, str(name)) else None
    return None


def _public_kinds(resource: Resource) -> Iterator[str]:
    """Kinds of public addresses that a machine has by what is said of it; AWS's subnets may say more."""
    inputs = resource.inputs
    if resource.type in GCP_MACHINES:
        interfaces = list(each(inputs, "networkInterfaces"))
        if any(_has_some(at(one, "accessConfigs")) for one in interfaces):
            yield "IPv4"
        if any(_has_some(at(one, "ipv6AccessConfigs")) for one in interfaces):
            yield "IPv6"
    elif resource.type != SERVER:
        places = [inputs, *each(inputs, "networkInterfaces")]
        if any(at(one, "associatePublicIpAddress") in (True, "true") for one in places):
            yield "IPv4"
        if any(_has_some(at(one, "ipv6Addresses")) or _is_some(at(one, "ipv6AddressCount")) for one in places):
            yield "IPv6"


def _has_some(value: Any) -> bool:
    return value is not UNKNOWN and bool(value)


def _is_some(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


def retired_server_type(resource: Resource, settings: Settings | None) -> Iterator[Finding]:
    """Hetzner's, as far as ``components.server_types`` knows."""
    del settings
    retired = RETIRED.get(str(resource.inputs.get("serverType"))) if resource.type == SERVER else None
    if retired is not None:
        yield Finding(
            f"is a {resource.inputs['serverType']}",
            f"it cannot be ordered since {retired.since} ({retired.source}), so a machine that is lost stays lost",
            f"Set serverType to {retired.successor}, without hybrid-wireguard:keepRetiredServerTypes",
        )


def gateway_unprotected(resource: Resource, settings: Settings | None) -> Iterator[Finding]:
    """Of stacks that say they are production. The option ``protect`` will do, and so will the cloud's own lock."""
    if settings is None or not settings.production or resource.type not in _GATEWAY_PARTS:
        return
    locks = [resource.inputs.get(key) for key in _CLOUDS_PROTECTION]
    if labels_of(resource).get("role") == names.GATEWAY and not resource.protect and not any(map(is_on, locks)):
        yield Finding(
            "can be deleted or replaced by a mistake",
            "it is part of a gateway of a stack that is marked production, and everybody's way in",
            "Remove hybrid-wireguard:protect: false",
        )


RULES = (
    Rule("imdsv1", "EC2's metadata is read with a token (IMDSv2).", imdsv1),
    Rule("unencrypted-disk", "Disks are encrypted.", unencrypted_disk),
    Rule(
        "inference-public-address",
        "Machines that serve have no public address where another way leads out.",
        inference_public_address,
    ),
    Rule("retired-server-type", "Server types are ones that can be ordered.", retired_server_type),
    Rule("gateway-unprotected", "Gateways of production are protected from deletion.", gateway_unprotected),
)
