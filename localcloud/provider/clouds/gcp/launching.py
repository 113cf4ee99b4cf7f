"""What an instance is launched with, be it declared or described by a template: type, tags, metadata, scheduling."""

from __future__ import annotations

import re

from localcloud.provider.clouds.gcp.common import project_of
from localcloud.provider.kind import Check
from localcloud.provider.rules.gcp import (
    MACHINE_TYPES,
    METADATA_BYTES,
    METADATA_KEY,
    METADATA_VALUE_BYTES,
    NAME,
    TAGS_PER_INSTANCE,
)

_SCHEDULING = {
    "provisioningModel": ("STANDARD", "SPOT"),
    "onHostMaintenance": ("MIGRATE", "TERMINATE"),
    "instanceTerminationAction": ("STOP", "DELETE"),
}
"""https://cloud.google.com/compute/docs/reference/rest/v1/instances (scheduling)."""


def check_tags(check: Check) -> None:
    """Network tags: https://cloud.google.com/vpc/docs/add-remove-network-tags#restrictions"""
    tags = check.inputs.texts("tags")
    if len(tags) > TAGS_PER_INSTANCE:
        check.refuse("tags", f"googleapi: Error 400: {len(tags)} tags, the limit is {TAGS_PER_INSTANCE}, invalid")
    for index, tag in enumerate(tags):
        if not re.fullmatch(NAME, tag):
            check.refuse(
                f"tags[{index}]",
                f"googleapi: Error 400: Invalid value for field 'resource.tags.items[{index}]': "
                f"'{tag}'. Must be a match of regex '(?:{NAME})', invalid",
            )


def check_metadata(check: Check) -> None:
    """Custom metadata: https://cloud.google.com/compute/docs/metadata/setting-custom-metadata#limitations"""
    metadata = check.inputs.mapping("metadata")
    for key, value in metadata.items():
        if not re.fullmatch(METADATA_KEY, key):
            check.refuse(
                f"metadata.{key}",
                "googleapi: Error 400: Invalid value for field 'resource.metadata.items[0].key': "
                f"'{key}'. Must be a match of regex '{METADATA_KEY}', invalid",
            )
        if len(value.encode()) > METADATA_VALUE_BYTES:
            check.refuse(
                f"metadata.{key}",
                "googleapi: Error 413: Value for field 'resource.metadata.items[0].value' is too "
                f"large: maximum size {METADATA_VALUE_BYTES} character(s); actual size "
                f"{len(value.encode())}., fieldSizeTooLarge",
            )
    total = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())
    if total > METADATA_BYTES:
        check.refuse(
            "metadata",
            f"googleapi: Error 413: Metadata has a total size of {total} bytes, the limit is "
            f"{METADATA_BYTES}., metadataTooLarge",
        )


def check_scheduling(check: Check) -> None:
    """Spot and preemptible instances: https://cloud.google.com/compute/docs/instances/create-use-spot"""
    scheduling = check.inputs.object("scheduling")
    if scheduling is None:
        return
    inner = check.within(scheduling)
    for name, allowed in _SCHEDULING.items():
        inner.one_of(
            name,
            allowed,
            f"googleapi: Error 400: Invalid value for field 'resource.scheduling.{name}': '{{}}'. "
            f"Must be one of {', '.join(allowed)}., invalid",
        )
    check.adopt(inner, "scheduling")
    spot = scheduling.text("provisioningModel") == "SPOT"
    if (
        (scheduling.flag("preemptible") or spot)
        and scheduling.flag("automaticRestart", True)
        and scheduling.known("automaticRestart")
    ):
        check.refuse(
            "scheduling.automaticRestart",
            "googleapi: Error 400: Scheduling must have preemptible be false when "
            "AutomaticRestart is true., badRequest",
        )
    if spot and not scheduling.flag("preemptible") and scheduling.known("preemptible"):
        check.refuse(
            "scheduling.preemptible",
            "googleapi: Error 400: preemptible has to be true when provisioningModel is SPOT., badRequest",
        )
    interruptible = spot or scheduling.flag("preemptible")
    if interruptible and scheduling.text("onHostMaintenance") == "MIGRATE":
        check.refuse(
            "scheduling.onHostMaintenance",
            "googleapi: Error 400: Scheduling must have onHostMaintenance be TERMINATE when preemptible is true., "
            "badRequest",
        )
    if scheduling.given("instanceTerminationAction") and not spot and scheduling.known("provisioningModel"):
        check.refuse(
            "scheduling.instanceTerminationAction",
            "googleapi: Error 400: instanceTerminationAction may be set on instances of the provisioning model SPOT "
            "alone., badRequest",
        )


def check_machine_type(check: Check, zone: str | None) -> None:
    """The machine type of the instance, or of those that a template describes."""
    text = check.inputs.text("machineType")
    if text is not None and text.rpartition("/")[2] not in MACHINE_TYPES:
        link = f"projects/{project_of(check.inputs, check.config)}/zones/{zone}/machineTypes/{text}"
        check.refuse(
            "machineType",
            "Error creating instance: googleapi: Error 400: Invalid value for field "
            f"'resource.machineType': '{link}'. The referenced resource does not exist., invalid",
        )
