"""What Amazon EC2 and VPC accept. As of November 2026."""

from __future__ import annotations

from dataclasses import dataclass

USER_DATA_BYTES = 16384
"""Raw, before base64: terraform-provider-aws, internal/service/ec2/ec2_instance.go (user_data)."""

# https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html (limits of tags)
TAGS_PER_RESOURCE = 50
TAG_KEY_CHARACTERS = 128
TAG_VALUE_CHARACTERS = 256
METADATA_TAG_KEY = r"[0-9a-zA-Z\-_+=,.@:]{1,255}"
"""Where tags are in instance metadata: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/work-with-tags-in-IMDS.html"""

# https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html (defaults)
VPCS_PER_REGION = 5
RULES_PER_GROUP = 60
GROUPS_PER_INTERFACE = 5
ROUTES_PER_TABLE = 500

LONGEST_PREFIX, SHORTEST_PREFIX = 28, 16
"""Of a VPC and of a subnet: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html"""
RESERVED_ADDRESSES = 4
"""At the start of a subnet, and one at its end: https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html"""

GROUP_TEXT = r"[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{0,255}"
"""Name and description of a security group: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html"""

REGIONS: dict[str, str] = {
    "us-east-1": "abcdef",
    "us-east-2": "abc",
    "us-west-1": "ab",
    "us-west-2": "abcd",
    "ca-central-1": "abd",
    "sa-east-1": "abc",
    "eu-west-1": "abc",
    "eu-west-2": "abc",
    "eu-west-3": "abc",
    "eu-central-1": "abc",
    "eu-central-2": "abc",
    "eu-north-1": "abc",
    "eu-south-1": "abc",
    "eu-south-2": "abc",
    "ap-south-1": "abc",
    "ap-northeast-1": "acd",
    "ap-northeast-2": "abcd",
    "ap-northeast-3": "abc",
    "ap-southeast-1": "abc",
    "ap-southeast-2": "abc",
    "me-central-1": "abc",
    "af-south-1": "abc",
    "il-central-1": "abc",
}
"""Region -> letters of its zones: https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-availability-zones.html"""

_SMALL = ("nano", "micro", "small", "medium", "large", "xlarge", "2xlarge")
_LARGE = ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge")
_GPU = ("xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge", "48xlarge")

FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "t2": ("x86_64", _SMALL),
    "t3": ("x86_64", _SMALL),
    "t3a": ("x86_64", _SMALL),
    "t4g": ("arm64", _SMALL),
    "m5": ("x86_64", _LARGE),
    "m6i": ("x86_64", (*_LARGE, "32xlarge")),
    "m6a": ("x86_64", (*_LARGE, "32xlarge", "48xlarge")),
    "m7i": ("x86_64", (*_LARGE, "48xlarge")),
    "m7g": ("arm64", ("medium", *_LARGE[:-1])),
    "c5": ("x86_64", ("large", "xlarge", "2xlarge", "4xlarge", "9xlarge", "12xlarge", "18xlarge", "24xlarge")),
    "c6i": ("x86_64", (*_LARGE, "32xlarge")),
    "c6g": ("arm64", ("medium", *_LARGE[:-1])),
    "c7i": ("x86_64", (*_LARGE, "48xlarge")),
    "c7g": ("arm64", ("medium", *_LARGE[:-1])),
    "r5": ("x86_64", _LARGE),
    "r6i": ("x86_64", (*_LARGE, "32xlarge")),
    "r7i": ("x86_64", (*_LARGE, "48xlarge")),
    "g4dn": ("x86_64", ("xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge")),
    "g5": ("x86_64", _GPU),
    "g6": ("x86_64", _GPU),
    "g6e": ("x86_64", _GPU),
    "p3": ("x86_64", ("2xlarge", "8xlarge", "16xlarge")),
    "p4d": ("x86_64", ("24xlarge",)),
    "p5": ("x86_64", ("4xlarge", "48xlarge")),
}
"""Family -> architecture and sizes: https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-types.html"""
INSTANCE_TYPES: dict[str, str] = {
    f"{family}.{size}": architecture for family, (architecture, sizes) in FAMILIES.items() for size in sizes
}
"""Instance type -> architecture."""

VOLUME_TYPES = ("standard", "io1", "io2", "gp2", "gp3", "sc1", "st1")
"""https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EbsBlockDevice.html"""
IMPORTABLE_KEYS = ("ssh-rsa", "ssh-ed25519")
"""https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/create-key-pairs.html"""

CANONICAL, DEBIAN = "099720109477", "136693071363"
"""https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/ and https://wiki.debian.org/Cloud/AmazonEC2Image"""


@dataclass(frozen=True)
class Ami:
    """A public image; every region has its own id for it."""

    name: str
    owner: str
    architecture: str
    created: str
    description: str


AMIS = (
    Ami(
        "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20261015",
        CANONICAL,
        "x86_64",
        "2026-10-15T05:12:41.000Z",
        "Canonical, Ubuntu, 22.04, amd64 jammy image",
    ),
    Ami(
        "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20261022",
        CANONICAL,
        "x86_64",
        "2026-10-22T03:40:10.000Z",
        "Canonical, Ubuntu, 24.04, amd64 noble image",
    ),
    Ami(
        "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-arm64-server-20261015",
        CANONICAL,
        "arm64",
        "2026-10-15T05:13:02.000Z",
        "Canonical, Ubuntu, 22.04, arm64 jammy image",
    ),
    Ami(
        "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-server-20261022",
        CANONICAL,
        "arm64",
        "2026-10-22T03:41:55.000Z",
        "Canonical, Ubuntu, 24.04, arm64 noble image",
    ),
    Ami("debian-12-amd64-20261006-2250", DEBIAN, "x86_64", "2026-10-06T06:55:31.000Z", "Debian 12 (20261006-2250)"),
    Ami("debian-12-arm64-20261006-2250", DEBIAN, "arm64", "2026-10-06T06:57:18.000Z", "Debian 12 (20261006-2250)"),
)
"""Names follow the owners' patterns; the local cloud's one image stands for each."""

LAUNCH_TEMPLATE_NAME = r"[a-zA-Z0-9().\-/_]{3,128}"
"""https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplate.html"""
TAGGED_AT_LAUNCH = ("elastic-gpu", "instance", "network-interface", "spot-instances-request", "volume")
"""https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LaunchTemplateTagSpecificationRequest.html"""
VOLUME_THROUGHPUT = (125, 1000)
"""MiB/s of gp3: terraform-provider-aws, internal/service/ec2/ec2_launch_template.go."""

# https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_InstancesDistribution.html
SPOT_STRATEGIES = ("lowest-price", "capacity-optimized", "capacity-optimized-prioritized", "price-capacity-optimized")
ON_DEMAND_STRATEGIES = ("prioritized", "lowest-price")
OVERRIDES_PER_GROUP = 40
"""https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LaunchTemplate.html"""
HOOK_NAME = r"[A-Za-z0-9\-_/]{1,255}"
HOOK_SECONDS = (30, 7200, 3600)
"""Least, most, default: https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutLifecycleHook.html"""
LAUNCHING, TERMINATING = "autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"
INTERRUPTION_SECONDS = 120
"""From a spot instance's notice to its end: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html"""

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html (characters)
IAM_NAME = r"[\w+=,.@-]"
ROLE_NAME_CHARACTERS, PROFILE_NAME_CHARACTERS = 64, 128
ROLE_DESCRIPTION_CHARACTERS, TRUST_POLICY_CHARACTERS = 1000, 2048
ROLE_SESSION_SECONDS = (3600, 43200)
