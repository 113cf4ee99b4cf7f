"""What Compute Engine accepts. As of November 2026."""

from __future__ import annotations

from dataclasses import dataclass

NAME = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
"""RFC 1035: terraform-provider-google, google/verify/validation.go (ValidateGCEName)."""
LABEL_KEY, LABEL_VALUE, LABELS_PER_RESOURCE = r"[a-z][-_a-z0-9]{0,62}", r"[-_a-z0-9]{0,63}", 64
"""https://cloud.google.com/compute/docs/labeling-resources#restrictions"""
DEFAULT_ROUTE_PRIORITY, ROUTE_PRIORITIES = 1000, range(65536)
"""https://cloud.google.com/vpc/docs/routes (the system-generated default route), .../static-routes (priority)"""
TAGS_PER_INSTANCE = 64
"""https://cloud.google.com/vpc/docs/add-remove-network-tags#restrictions"""

# https://cloud.google.com/compute/docs/metadata/setting-custom-metadata#limitations
METADATA_KEY = r"[-_a-zA-Z0-9]{1,128}"
METADATA_VALUE_BYTES = 256 * 1024
METADATA_BYTES = 512 * 1024

RESERVED_FIRST, RESERVED_LAST = 2, 2
"""Addresses at the ends of a subnet's primary range: https://cloud.google.com/vpc/docs/subnets#unusable-ip-addresses-in-every-subnet"""
LONGEST_PREFIX = 29
"""Smallest subnet: https://cloud.google.com/vpc/docs/subnets#valid-ranges"""
MTU = (1300, 8896, 1460)
"""Least, most, default: https://cloud.google.com/vpc/docs/mtu"""

REGIONS: dict[str, tuple[str, str]] = {
    "us-central1": ("abcf", "10.128.0.0/20"),
    "europe-west1": ("bcd", "10.132.0.0/20"),
    "us-west1": ("abc", "10.138.0.0/20"),
    "asia-east1": ("abc", "10.140.0.0/20"),
    "us-east1": ("bcd", "10.142.0.0/20"),
    "asia-northeast1": ("abc", "10.146.0.0/20"),
    "asia-southeast1": ("abc", "10.148.0.0/20"),
    "us-east4": ("abc", "10.150.0.0/20"),
    "australia-southeast1": ("abc", "10.152.0.0/20"),
    "europe-west2": ("abc", "10.154.0.0/20"),
    "europe-west3": ("abc", "10.156.0.0/20"),
    "southamerica-east1": ("abc", "10.158.0.0/20"),
    "asia-south1": ("abc", "10.160.0.0/20"),
    "northamerica-northeast1": ("abc", "10.162.0.0/20"),
    "europe-west4": ("abc", "10.164.0.0/20"),
    "europe-north1": ("abc", "10.166.0.0/20"),
    "us-west2": ("abc", "10.168.0.0/20"),
    "asia-east2": ("abc", "10.170.0.0/20"),
    "europe-west6": ("abc", "10.172.0.0/20"),
    "asia-northeast2": ("abc", "10.174.0.0/20"),
    "asia-northeast3": ("abc", "10.178.0.0/20"),
    "us-west3": ("abc", "10.180.0.0/20"),
    "us-west4": ("abc", "10.182.0.0/20"),
    "asia-southeast2": ("abc", "10.184.0.0/20"),
    "europe-central2": ("abc", "10.186.0.0/20"),
}
"""Region -> letters of its zones, and its range in networks of auto mode:
https://cloud.google.com/compute/docs/regions-zones and https://cloud.google.com/vpc/docs/subnets#ip-ranges"""
ZONES = {f"{region}-{letter}": region for region, (letters, _) in REGIONS.items() for letter in letters}
"""Zone -> region."""

_STANDARD = ("2", "4", "8", "16", "32", "48", "64", "80", "96", "128")
_SERIES: dict[str, tuple[str, ...]] = {
    "e2": ("micro", "small", "medium"),
    "e2-standard": ("2", "4", "8", "16", "32"),
    "e2-highmem": ("2", "4", "8", "16"),
    "e2-highcpu": ("2", "4", "8", "16", "32"),
    "n1-standard": ("1", "2", "4", "8", "16", "32", "64", "96"),
    "n1-highmem": ("2", "4", "8", "16", "32", "64", "96"),
    "n2-standard": _STANDARD,
    "n2-highmem": _STANDARD,
    "n2-highcpu": ("2", "4", "8", "16", "32", "48", "64", "80", "96"),
    "n2d-standard": ("2", "4", "8", "16", "32", "48", "64", "80", "96", "128", "224"),
    "n4-standard": ("2", "4", "8", "16", "32", "48", "64", "80"),
    "c2-standard": ("4", "8", "16", "30", "60"),
    "c3-standard": ("4", "8", "22", "44", "88", "176"),
    "t2d-standard": ("1", "2", "4", "8", "16", "32", "48", "60"),
    "g2-standard": ("4", "8", "12", "16", "24", "32", "48", "96"),
    "a2-highgpu": ("1g", "2g", "4g", "8g"),
    "a2-ultragpu": ("1g", "2g", "4g", "8g"),
    "a3-highgpu": ("1g", "2g", "4g", "8g"),
}
MACHINE_TYPES = frozenset(f"{series}-{size}" for series, sizes in _SERIES.items() for size in sizes) | {
    "f1-micro",
    "g1-small",
}
"""x86-64 types: https://cloud.google.com/compute/docs/machine-resource"""
DISK_TYPES = ("pd-standard", "pd-balanced", "pd-ssd", "pd-extreme", "hyperdisk-balanced", "hyperdisk-extreme")
"""https://cloud.google.com/compute/docs/disks"""


@dataclass(frozen=True)
class Image:
    """A public image: the newest of its family."""

    project: str
    family: str
    name: str
    disk: int
    """GB."""
    created: str


IMAGES = (
    Image("ubuntu-os-cloud", "ubuntu-2204-lts", "ubuntu-2204-jammy-v20261020", 10, "2026-10-20T11:08:14.000-07:00"),
    Image(
        "ubuntu-os-cloud",
        "ubuntu-2404-lts-amd64",
        "ubuntu-2404-noble-amd64-v20261021",
        10,
        "2026-10-21T10:41:37.000-07:00",
    ),
    Image("debian-cloud", "debian-12", "debian-12-bookworm-v20261014", 10, "2026-10-14T16:20:05.000-07:00"),
)
"""Families: https://cloud.google.com/compute/docs/images/os-details; the local cloud's one image stands for each."""

TEMPLATE_PREFIX_CHARACTERS, SHORT_SUFFIX_FROM = 54, 38
"""Longest name prefix of an instance template, and from which length on its suffix is a short one:
terraform-provider-google, google/services/compute/resource_compute_instance_template.go."""
BASE_NAME = r"[a-z]([-a-z0-9]{0,56}[a-z0-9])?"
"""A hyphen and 4 characters follow it: https://cloud.google.com/compute/docs/reference/rest/v1/regionInstanceGroupManagers"""
GROUP_SIZE = 2000
"""https://cloud.google.com/compute/docs/instance-groups#limits (regional)"""
ZONES_PER_GROUP = 3
"""Of a region that has more, when none are named: https://cloud.google.com/compute/docs/instance-groups/regional-migs"""
PERCENT_FROM = 10
"""Size from which on an update policy may be told in percent:
https://cloud.google.com/compute/docs/instance-groups/rolling-out-updates-to-managed-instance-groups#max_surge"""
STOP_SECONDS, PREEMPTION_SECONDS = 90, 30
"""From the power button to the power cut, of an instance that is deleted and of one that is preempted:
https://cloud.google.com/compute/docs/shutdownscript#shutdown_period and https://cloud.google.com/compute/docs/instances/spot#preemption-process"""
ACCOUNT_ID = r"[a-z]([-a-z0-9]{4,28}[a-z0-9])"
"""terraform-provider-google, google/verify/validation.go (ServiceAccountNameRegex)."""
ACCOUNT_DESCRIPTION_BYTES, ACCOUNT_NAME_BYTES = 256, 100
"""https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts"""
SCOPE = r"https://www\.googleapis\.com/auth/[a-z0-9._-]+(/[a-z]+)?|[a-z][a-z0-9-]*"
"""A scope's URL, or an alias such as cloud-platform: https://cloud.google.com/sdk/gcloud/reference/alpha/compute/instances/set-scopes#--scopes"""
