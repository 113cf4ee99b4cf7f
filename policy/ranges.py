"""The policy on ranges of clouds' networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_network

from components.settings.models import Settings
from components.settings.types import Source
from policy.model import Finding, Resource, Rule, each, words

_RANGES: Mapping[str, tuple[str, ...]] = {
    "hcloud:index/network:Network": ("ipRange",),
    "hcloud:index/networkSubnet:NetworkSubnet": ("ipRange",),
    "aws:ec2/vpc:Vpc": ("cidrBlock", "ipv6CidrBlock"),
    "aws:ec2/vpcIpv4CidrBlockAssociation:VpcIpv4CidrBlockAssociation": ("cidrBlock",),
    "aws:ec2/vpcIpv6CidrBlockAssociation:VpcIpv6CidrBlockAssociation": ("ipv6CidrBlock",),
    "aws:ec2/subnet:Subnet": ("cidrBlock", "ipv6CidrBlock"),
    "gcp:compute/network:Network": ("internalIpv6Range",),
    "gcp:compute/subnetwork:Subnetwork": ("ipCidrRange", "internalIpv6Prefix"),
}
"""By type, the inputs that say which addresses a network's machines have."""


_GCP_AUTOMATIC = "10.128.0.0/9"
"""Where a network of GCP makes a subnetwork in each region unless it is told not to (VPC networks, auto mode)."""


def overlay_overlaps_vpc(resource: Resource, settings: Settings | None) -> Iterator[Finding]:
    """A subnetwork's secondary ranges count, too, and what a network makes by itself."""
    if settings is None:
        return
    overlays: list[Source] = [settings.overlay, *([settings.overlay6] if settings.overlay6 else [])]
    texts = [text for key in _RANGES.get(resource.type, ()) for text in words(resource.inputs, key)]
    if resource.type == "gcp:compute/subnetwork:Subnetwork":
        texts += [text for one in each(resource.inputs, "secondaryIpRanges") for text in words(one, "ipCidrRange")]
    if resource.type == "gcp:compute/network:Network" and resource.inputs.get("autoCreateSubnetworks") in (None, True):
        texts.append(_GCP_AUTOMATIC)
    for text in texts:
        for overlay in overlays:
            if _overlap(text, overlay):
                yield Finding(
                    f"has {text}, which overlaps the overlay {overlay}",
                    "machines there could not tell one from the other, and packets for one would go to the other",
                    "Choose another range, or move hybrid-wireguard:network.overlay (overlay6)",
                )


def _overlap(text: str, overlay: Source) -> bool:
    try:
        found = ip_network(text, strict=False)
    except ValueError:
        return False  # the cloud refuses it
    return found.version == overlay.version and found.overlaps(overlay)


RULES = (Rule("overlay-overlaps-vpc", "The overlay and the clouds' networks are apart.", overlay_overlaps_vpc),)
