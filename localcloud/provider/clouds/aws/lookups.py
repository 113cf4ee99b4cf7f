"""The functions: images, zones, and networks that exist already."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping

from localcloud.provider.clouds.aws.common import ACCOUNT, SUBNET, VPC, region_of
from localcloud.provider.clouds.aws.images import image_id
from localcloud.provider.clouds.aws.vpc import Subnet, Vpc, zone_id, zones
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import CloudError, Lookup
from localcloud.provider.rules.aws import AMIS, CANONICAL, DEBIAN, REGIONS, Ami
from localcloud.provider.world import Record, World
from localcloud.wire import Value

_ALIASES = {"amazon": (CANONICAL, DEBIAN), "self": (ACCOUNT,), "aws-marketplace": ()}


class GetAmi(Lookup):
    """Finds one public image by name, owner and traits."""

    token = "aws:ec2/getAmi:getAmi"

    def find(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> dict[str, Value]:
        region = need_region(inputs, config)
        found = [ami for ami in AMIS if self._matches(ami, inputs, region)]
        pattern = inputs.text("nameRegex")
        if pattern is not None:
            found = [ami for ami in found if re.search(pattern, ami.name)]
        if not found:
            raise CloudError("Your query returned no results. Please change your search criteria and try again.")
        if len(found) > 1 and not inputs.flag("mostRecent"):
            raise CloudError(
                "Your query returned more than one result. Please try a more specific search "
                "criteria, or set `most_recent` attribute to true."
            )
        ami = max(found, key=lambda candidate: candidate.created)
        id_ = image_id(ami, region)
        return {
            **_traits(ami, region),
            "id": id_,
            "arn": f"arn:aws:ec2:{region}::image/{id_}",
            "region": region,
            "creationDate": ami.created,
            "imageLocation": f"amazon/{ami.name}",
            "description": ami.description,
            "tags": {},
            "usageOperation": "RunInstances",
            "platformDetails": "Linux/UNIX",
            "enaSupport": True,
            "public": True,
            "includeDeprecated": inputs.flag("includeDeprecated"),
            "blockDeviceMappings": [],
            "productCodes": [],
            "stateReason": {},
            "rootDeviceName": "/dev/xvda" if ami.owner == DEBIAN else "/dev/sda1",
        }

    @staticmethod
    def _matches(ami: Ami, inputs: Inputs, region: str) -> bool:
        owners = inputs.texts("owners")
        if owners and not any(ami.owner in _ALIASES.get(owner, (owner,)) for owner in owners):
            return False
        traits = {_hyphens(name): str(value) for name, value in _traits(ami, region).items()}
        traits["is-public"] = "true"
        return _filtered(inputs, traits, "image")


class GetAvailabilityZones(Lookup):
    """The region's zones."""

    token = "aws:index/getAvailabilityZones:getAvailabilityZones"

    def find(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> dict[str, Value]:
        region = need_region(inputs, config)
        excluded = inputs.texts("excludeNames")
        names = [
            zone
            for zone in zones(region)
            if zone not in excluded
            and zone_id(zone) not in inputs.texts("excludeZoneIds")
            and inputs.text("state") in (None, "available")
            and _filtered(
                inputs,
                {
                    "zone-name": zone,
                    "zone-id": zone_id(zone),
                    "region-name": region,
                    "zone-type": "availability-zone",
                    "opt-in-status": "opt-in-not-required",
                    "state": "available",
                },
                "zone",
            )
        ]
        groups: list[Value] = [f"{region}-zg-1"]
        return {
            "id": region,
            "region": region,
            "names": [*names],
            "zoneIds": [zone_id(name) for name in names],
            "groupNames": groups,
        }


class GetRegion(Lookup):
    """The provider's region."""

    token = "aws:index/getRegion:getRegion"

    def find(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> dict[str, Value]:
        region = need_region(inputs, config)
        endpoint = f"ec2.{region}.amazonaws.com"
        return {"id": region, "region": region, "name": region, "endpoint": endpoint, "description": region}


class GetCallerIdentity(Lookup):
    """The one account."""

    token = "aws:index/getCallerIdentity:getCallerIdentity"

    def find(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> dict[str, Value]:
        arn = f"arn:aws:iam::{ACCOUNT}:user/local"
        return {"id": ACCOUNT, "accountId": ACCOUNT, "arn": arn, "userId": "AIDALOCAL"}


class GetVpc(Lookup):
    """A VPC that exists already, by id, range, tags or filters."""

    token = "aws:ec2/getVpc:getVpc"

    def find(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> dict[str, Value]:
        record = _one(world.all(VPC), inputs, need_region(inputs, config), "EC2 VPC")
        told = Vpc().outputs(record, world)
        names = ("arn", "cidrBlock", "enableDnsHostnames", "enableDnsSupport", "enableNetworkAddressUsageMetrics")
        more = ("instanceTenancy", "mainRouteTableId", "ownerId", "dhcpOptionsId", "ipv6AssociationId", "ipv6CidrBlock")
        return {
            **{name: told.get(name) for name in (*names, *more)},
            "id": record.id,
            "region": record.facts.text("region"),
            "default": False,
            "state": "available",
            "tags": {**record.inputs.mapping("tags")},
            "cidrBlockAssociations": [],
        }


class GetSubnet(Lookup):
    """A subnet that exists already, by id, VPC, range, zone, tags or filters."""

    token = "aws:ec2/getSubnet:getSubnet"

    def find(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> dict[str, Value]:
        record = _one(world.all(SUBNET), inputs, need_region(inputs, config), "EC2 Subnet")
        told = Subnet().outputs(record, world)
        skipped = ("tags", "tagsAll", "ipv6Native")
        return {
            **{name: value for name, value in told.items() if name in self.shape.outputs and name not in skipped},
            "id": record.id,
            "vpcId": record.inputs.text("vpcId"),
            "defaultForAz": False,
            "ipv6Native": False,
            "state": "available",
            "availableIpAddressCount": 0,
            "tags": {**record.inputs.mapping("tags")},
        }


def need_region(inputs: Inputs, config: Mapping[str, str]) -> str:
    """The region to look in. Raises CloudError."""
    region = region_of(inputs, config)
    if region is None:
        raise CloudError("Invalid Configuration: Missing Region: set aws:region, or region on the function")
    if region not in REGIONS:
        raise CloudError(f"Invalid AWS Region: {region}")
    return region


def _one(records: Iterable[Record], inputs: Inputs, region: str, what: str) -> Record:
    found = [record for record in records if record.facts.text("region") == region and _wanted(record, inputs)]
    if not found:
        raise CloudError(f"no matching {what} found")
    if len(found) > 1:
        raise CloudError(f"multiple {what}s matched; use additional constraints to reduce matches to a single {what}")
    return found[0]


def _wanted(record: Record, inputs: Inputs) -> bool:
    tags, zone = record.inputs.mapping("tags"), record.facts.text("zone")
    traits = {"vpc-id": record.inputs.text("vpcId") or record.id, "subnet-id": record.id, "state": "available"}
    traits.update({"cidr": record.inputs.text("cidrBlock") or "", "cidr-block": record.inputs.text("cidrBlock") or ""})
    traits.update({"availability-zone": zone or "", "is-default": "false"})
    traits.update({f"tag:{key}": value for key, value in tags.items()})
    return (
        inputs.text("id") in (None, record.id)
        and inputs.text("vpcId") in (None, record.inputs.text("vpcId"))
        and inputs.text("cidrBlock") in (None, record.inputs.text("cidrBlock"))
        and inputs.text("availabilityZone") in (None, zone)
        and not inputs.flag("default")
        and not inputs.flag("defaultForAz")
        and inputs.mapping("tags").items() <= tags.items()
        and _filtered(inputs, traits, "resource")
    )


def _filtered(inputs: Inputs, traits: Mapping[str, str], what: str) -> bool:
    """Whether every filter has a value, wildcards allowed, that the trait matches."""
    for wanted in inputs.objects("filters"):
        name = wanted.text("name") or ""
        if name not in traits and not name.startswith("tag:"):
            raise CloudError(
                f"InvalidParameterValue: The filter '{name}' is invalid ({what} filters: {', '.join(traits)})"
            )
        if not any(fnmatch.fnmatchcase(traits.get(name, ""), pattern) for pattern in wanted.texts("values")):
            return False
    return True


def _traits(ami: Ami, region: str) -> dict[str, Value]:
    return {
        "architecture": ami.architecture,
        "hypervisor": "xen",
        "imageId": image_id(ami, region),
        "imageOwnerAlias": "amazon",
        "imageType": "machine",
        "name": ami.name,
        "ownerId": ami.owner,
        "rootDeviceType": "ebs",
        "state": "available",
        "virtualizationType": "hvm",
    }


def _hyphens(name: str) -> str:
    hyphenated = re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
    return "owner-alias" if hyphenated == "image-owner-alias" else hyphenated


LOOKUPS: tuple[Lookup, ...] = (
    GetAmi(),
    GetAvailabilityZones(),
    GetCallerIdentity(),
    GetRegion(),
    GetSubnet(),
    GetVpc(),
)
