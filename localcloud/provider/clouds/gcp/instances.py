"""Instances."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import ClassVar

from localcloud.provider.clouds.gcp import images, launching
from localcloud.provider.clouds.gcp.common import (
    ADDRESS,
    API,
    INSTANCE,
    NETWORK,
    SUBNETWORK,
    GcpKind,
    every_instance,
    network,
    not_found,
    place_of,
    project_of,
    refer,
    subnetwork,
)
from localcloud.provider.clouds.gcp.networks import draw, pick, taken, why_not
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind
from localcloud.provider.rules.gcp import (
    DISK_TYPES,
    ZONES,
)
from localcloud.provider.world import Record, World
from localcloud.wire import Value

_STOPS = (
    "machineType",
    "minCpuPlatform",
    "serviceAccount",
    "enableDisplay",
    "shieldedInstanceConfig",
    "advancedMachineFeatures",
    "canIpForward",
)
"""What the provider changes on a stopped instance: resource_compute_instance.go (resourceComputeInstanceUpdate)."""


class Instance(GcpKind):
    """terraform-provider-google, google/services/compute/resource_compute_instance.go (ForceNew)."""

    token = INSTANCE
    collection = "instances"
    scope = "zone"
    title = "instance"
    replace = frozenset(
        {
            "bootDisk",
            "confidentialInstanceConfig",
            "description",
            "guestAccelerators",
            "hostname",
            "metadataStartupScript",
            "networkInterfaces[].network",
            "networkInterfaces[].networkIp",
            "networkInterfaces[].nicType",
            "networkInterfaces[].queueCount",
            "networkInterfaces[].subnetwork",
            "networkPerformanceConfig",
            "params",
            "reservationAffinity",
            "scheduling.preemptible",
            "scheduling.provisioningModel",
            "scratchDisks",
        }
    )
    unsupported = ("attachedDisks", "scratchDisks", "metadataStartupScript", "instanceEncryptionKey")
    defaults: ClassVar[Mapping[str, Value]] = {
        "canIpForward": False,
        "deletionProtection": False,
        "enableDisplay": False,
        "metadata": {},
        "tags": [],
    }

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        zone = place_of("zone", inputs, check.config)
        launching.check_machine_type(check, zone)
        _check_disk(check)
        launching.check_tags(check)
        launching.check_metadata(check)
        launching.check_scheduling(check)
        _check_interfaces(check, ZONES.get(zone or ""))
        check.one_of(
            "desiredStatus",
            ("RUNNING", "TERMINATED"),
            'expected desired_status to be one of ["RUNNING" "TERMINATED"], got {}',
        )

    def replaces(self, path: str, old: Inputs, new: Inputs) -> bool:
        if path.startswith("networkInterfaces") and len(old.objects("networkInterfaces")) != len(
            new.objects("networkInterfaces")
        ):
            return True
        return super().replaces(path, old, new)

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        card = inputs.objects("networkInterfaces")[0]
        project, zone = project_of(inputs, config), place_of("zone", inputs, config) or ""
        subnet = subnet_of(card, world, project, ZONES[zone])
        if subnet is None:
            raise CloudError(not_found("networkInterfaces[0].subnetwork", card.text("subnetwork")))
        private = card.text("networkIp") or pick(subnet, world)
        if not private:
            raise CloudError(f"googleapi: Error 400: IP space of '{subnet.id}' is exhausted., ipSpaceExhausted")
        if private in taken(subnet, world) and not _reserved(private, world):
            raise CloudError(
                f"googleapi: Error 400: IP '{private}' is already being used by another resource., invalidResourceUsage"
            )
        return self.make(
            inputs, world, config, subnetwork=subnet.id, private=private, public=_external(card, world, None)
        )

    def update(self, record: Record, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        changed = _stops(record.inputs, inputs)
        if changed and is_running(record) and not inputs.flag("allowStoppingForUpdate"):
            raise CloudError(
                f"Changing {', '.join(changed)} on a started instance requires stopping it. To acknowledge this, "
                "please set allow_stopping_for_update = true in your config."
            )
        record = super().update(record, inputs, world, config)
        card = inputs.objects("networkInterfaces")[0]
        return world.note(record, public=_external(card, world, record))

    def restarts(self, record: Record, inputs: Inputs) -> bool:
        return bool(_stops(record.inputs, inputs))

    def delete(self, record: Record, world: World) -> None:
        if record.inputs.flag("deletionProtection"):
            raise CloudError(
                f"Cannot delete instance {record.inputs.text('name')}: instance Deletion Protection is enabled. "
                "Set deletion_protection to false for this resource before attempting to delete it."
            )
        super().delete(record, world)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        inputs = record.inputs
        fingerprint = hashlib.sha256(repr(sorted(inputs.mapping("metadata").items())).encode()).hexdigest()[:12]
        return {
            "bootDisk": _disk_output(inputs.object("bootDisk") or Inputs({}), record),
            "cpuPlatform": "Intel Broadwell",
            "currentStatus": "RUNNING" if is_running(record) else "TERMINATED",
            "instanceId": record.facts.text("number"),
            "metadataFingerprint": fingerprint,
            "networkInterfaces": [_card_output(inputs.objects("networkInterfaces")[0], record, world)],
            "scheduling": {**_SCHEDULING, **(inputs.object("scheduling") or Inputs({})).values},
            "tagsFingerprint": "42WmSpB8rSM=",
        }


_SCHEDULING: dict[str, Value] = {
    "automaticRestart": True,
    "onHostMaintenance": "MIGRATE",
    "preemptible": False,
    "provisioningModel": "STANDARD",
}


def is_running(record: Record) -> bool:
    """Whether the instance shall run."""
    return not record.facts.flag("stopped") and record.inputs.text("desiredStatus") != "TERMINATED"


def subnet_of(card: Inputs, world: World, project: str | None, region: str | None) -> Record | None:
    """The subnetwork of a card: named, or the one of the named network in the region."""
    if card.given("subnetwork"):
        return subnetwork(world, card.text("subnetwork"), card.text("subnetworkProject") or project, region)
    home = network(world, card.text("network"), project)
    inside = [s for s in world.all(SUBNETWORK) if s.facts.text("place") == region and home is not None]
    inside = [s for s in inside if network(world, s.inputs.text("network"), s.facts.text("project")) == home]
    return inside[0] if inside else None


def _stops(old: Inputs, new: Inputs) -> list[str]:
    return [name for name in _STOPS if old.values.get(name) != new.values.get(name)]


def _reserved(address: str, world: World) -> bool:
    return any(record.facts.text("address") == address for record in world.all(ADDRESS))


def _external(card: Inputs, world: World, record: Record | None) -> str | None:
    """The card's external address: the one asked for, the one it has, or a new one; None without accessConfigs."""
    configs = card.objects("accessConfigs")
    if not configs:
        return None
    wanted, current = configs[0].text("natIp"), record.facts.text("public") if record else None
    if wanted:
        return wanted
    return current if current is not None and not _reserved(current, world) else draw(world)


def _card_output(card: Inputs, record: Record, world: World) -> Value:
    subnet = world.get(SUBNETWORK, record.facts.text("subnetwork"))
    home = network(world, subnet.inputs.text("network"), subnet.facts.text("project")) if subnet else None
    public = record.facts.text("public")
    configs: list[Value] = []
    for entry in card.objects("accessConfigs"):
        configs.append({"networkTier": "PREMIUM", "publicPtrDomainName": "", **entry.values, "natIp": public or ""})
    return {
        **card.values,
        "accessConfigs": configs,
        "name": "nic0",
        "network": f"{API}{home.id}" if home else "",
        "networkIp": record.facts.text("private"),
        "stackType": "IPV4_ONLY",
        "subnetwork": f"{API}{subnet.id}" if subnet else "",
        "subnetworkProject": record.facts.text("project"),
    }


def _disk_output(disk: Inputs, record: Record) -> Value:
    params = disk.object("initializeParams") or Inputs({})
    image = images.resolve(params.text("image") or "")
    told: dict[str, Value] = {"size": image.disk if image else 10, "type": "pd-standard", "labels": {}, **params.values}
    if image is not None:
        told["image"] = images.self_link(image)
    source = f"{API}{record.id.replace('/instances/', '/disks/')}"
    defaults: dict[str, Value] = {
        "autoDelete": True,
        "deviceName": "persistent-disk-0",
        "mode": "READ_WRITE",
        "source": source,
    }
    return {**defaults, **disk.values, "initializeParams": told}


def _check_disk(check: Check) -> None:
    disk = check.inputs.object("bootDisk")
    if disk is None:
        return
    if disk.given("source"):
        check.refuse("bootDisk.source", "the local cloud boots from images alone: set initializeParams.image")
        return
    params = disk.object("initializeParams") or Inputs({})
    image, type_, size = params.text("image"), params.text("type"), params.number("size")
    found = images.resolve(image) if image is not None else None
    if not params.given("image") and disk.known("initializeParams"):
        check.refuse(
            "bootDisk.initializeParams.image",
            "googleapi: Error 400: Invalid value for field 'resource.disks[0]': Disk has to have "
            "a source or an image., invalid",
        )
    if image is not None and found is None:
        check.refuse(
            "bootDisk.initializeParams.image",
            f"Error resolving image name '{image}': Could not find image or family {image}",
        )
    if type_ is not None and type_.rpartition("/")[2] not in DISK_TYPES:
        check.refuse(
            "bootDisk.initializeParams.type",
            f"Error loading disk type '{type_}': it is none of {', '.join(DISK_TYPES)}",
        )
    if size is not None and found is not None and size < found.disk:
        check.refuse(
            "bootDisk.initializeParams.size",
            "googleapi: Error 400: Requested disk size cannot be smaller than the image size "
            f"({found.disk} GB)., invalid",
        )


def _check_interfaces(check: Check, region: str | None) -> None:
    inputs, world = check.inputs, check.world
    cards, project = inputs.objects("networkInterfaces"), project_of(inputs, check.config)
    if inputs.known("networkInterfaces") and len(cards) != 1:
        check.refuse("networkInterfaces", f"the local cloud gives an instance one network interface, not {len(cards)}")
    for card in cards[:1]:
        path = "networkInterfaces[0]"
        if not card.given("network") and not card.given("subnetwork"):
            check.refuse(path, "exactly one of network or subnetwork must be provided")
        for name in ("ipv6AccessConfigs", "aliasIpRanges", "networkAttachment"):
            if card.given(name):
                check.refuse(f"{path}.{name}", f"the local cloud cannot honour {name}")
        home = refer(check, NETWORK, f"{path}.network", "networkInterfaces[0].network", card.text("network"))
        named = card.text("subnetwork")
        subnet = refer(check, SUBNETWORK, f"{path}.subnetwork", "networkInterfaces[0].subnetwork", named, region)
        if home is not None and not card.given("subnetwork") and region is not None:
            subnet = subnet_of(card, world, project, region)
            if subnet is None and not any(token == SUBNETWORK for token, _ in check.planned):
                check.refuse(f"{path}.subnetwork", not_found("networkInterfaces[0].subnetwork", card.text("network")))
        wanted = card.text("networkIp")
        if subnet is not None and wanted is not None and check.old is None and not _reserved(wanted, world):
            reason = why_not(wanted, subnet, world)
            if reason:
                check.refuse(f"{path}.networkIp", reason)
        _check_external(check, card, path)


def _check_external(check: Check, card: Inputs, path: str) -> None:
    for entry in card.objects("accessConfigs"):
        address = entry.text("natIp")
        if not address:
            continue
        if not _reserved(address, check.world):
            check.refuse(
                f"{path}.accessConfigs[0].natIp",
                "googleapi: Error 400: Invalid value for field "
                f"'resource.networkInterfaces[0].accessConfigs[0].natIP': '{address}'. The specified "
                f"external IP address '{address}' was not found in region., invalid",
            )
        others = [i for i in every_instance(check.world) if i.facts.text("public") == address]
        if others and check.old is None:
            check.refuse(
                f"{path}.accessConfigs[0].natIp",
                f"googleapi: Error 400: External IP address '{address}' is already being used by "
                f"another resource ({others[0].id})., invalidResourceUsage",
            )


KINDS: tuple[Kind, ...] = (Instance(),)
