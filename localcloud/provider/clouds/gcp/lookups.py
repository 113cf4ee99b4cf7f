"""The functions: images, zones, and networks that exist already."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from localcloud.provider.clouds.gcp.common import API, SUBNETWORK, network, place_of, project_of, subnetwork
from localcloud.provider.clouds.gcp.images import self_link
from localcloud.provider.clouds.gcp.networks import Network, Subnetwork
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import CloudError, Lookup
from localcloud.provider.rules.gcp import IMAGES, REGIONS, ZONES
from localcloud.provider.world import World
from localcloud.wire import Value


class GetImage(Lookup):
    """One public image, by name or by family."""

    token = "gcp:compute/getImage:getImage"

    def find(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> dict[str, Value]:
        project = project_of(inputs, config)
        name, family = inputs.text("name"), inputs.text("family")
        if inputs.given("filter"):
            raise CloudError("the local cloud cannot look images up by filter: set family or name")
        if (name is None) == (family is None):
            raise CloudError("one of name and family has to be set")
        for image in IMAGES:
            if image.project == project and (image.name == name or image.family == family):
                number = str(int(hashlib.sha256(image.name.encode()).hexdigest()[:15], 16))
                return {
                    "id": f"projects/{image.project}/global/images/{image.name}",
                    "name": image.name,
                    "family": image.family,
                    "project": image.project,
                    "selfLink": self_link(image),
                    "imageId": number,
                    "creationTimestamp": image.created,
                    "diskSizeGb": image.disk,
                    "archiveSizeBytes": 0,
                    "status": "READY",
                    "labels": {},
                    "licenses": [],
                }
        what = f"images/family/{family}" if family else f"images/{name}"
        raise CloudError(
            "error retrieving image information: googleapi: Error 404: The resource "
            f"'projects/{project}/global/{what}' was not found, notFound"
        )


class GetZones(Lookup):
    """The region's zones."""

    token = "gcp:compute/getZones:getZones"

    def find(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> dict[str, Value]:
        project, region = project_of(inputs, config), place_of("region", inputs, config)
        if region not in REGIONS:
            raise CloudError(
                f"googleapi: Error 404: The resource 'projects/{project}/regions/{region}' was not found, notFound"
            )
        up = inputs.text("status") in (None, "UP")
        names: list[Value] = [zone for zone, home in ZONES.items() if home == region and up]
        return {"id": f"projects/{project}/regions/{region}", "project": project, "region": region, "names": names}


class GetNetwork(Lookup):
    """A network that exists already."""

    token = "gcp:compute/getNetwork:getNetwork"

    def find(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> dict[str, Value]:
        project = project_of(inputs, config)
        link = inputs.text("selfLink") or inputs.text("name")
        record = network(world, link, project)
        if record is None:
            raise CloudError(
                f"googleapi: Error 404: The resource 'projects/{project}/global/networks/{link}' was "
                "not found, notFound"
            )
        told = Network().outputs(record, world)
        inside = [
            s
            for s in world.all(SUBNETWORK)
            if network(world, s.inputs.text("network"), s.facts.text("project")) == record
        ]
        return {
            **{name: value for name, value in told.items() if name in self.shape.outputs},
            "id": record.id,
            "description": record.inputs.text("description") or "",
            "internalIpv6Range": "",
            "networkId": int(record.facts.text("number") or 0),
            "subnetworksSelfLinks": [f"{API}{subnet.id}" for subnet in inside],
        }


class GetSubnetwork(Lookup):
    """A subnetwork that exists already."""

    token = "gcp:compute/getSubnetwork:getSubnetwork"

    def find(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> dict[str, Value]:
        project, region = project_of(inputs, config), place_of("region", inputs, config)
        link = inputs.text("selfLink") or inputs.text("name")
        record = subnetwork(world, link, project, region)
        if record is None:
            raise CloudError(
                "googleapi: Error 404: The resource "
                f"'projects/{project}/regions/{region}/subnetworks/{link}' was not found, notFound"
            )
        told = Subnetwork().outputs(record, world)
        return {
            **{name: value for name, value in told.items() if name in self.shape.outputs},
            "id": record.id,
            "description": record.inputs.text("description") or "",
            "secondaryIpRanges": [],
            "internalIpv6Prefix": "",
            "ipv6AccessType": "",
        }


LOOKUPS: tuple[Lookup, ...] = (GetImage(), GetNetwork(), GetSubnetwork(), GetZones())
