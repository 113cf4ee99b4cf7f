"""Instance templates, and the service accounts that instances act as."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import ClassVar

from localcloud.provider.clouds.gcp import images, launching
from localcloud.provider.clouds.gcp.common import (
    ACCOUNT,
    API,
    GROUP_MANAGER,
    INSTANCE_TEMPLATE,
    NETWORK,
    SUBNETWORK,
    GcpKind,
    find,
    in_use,
    project_of,
    refer,
)
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind, Naming
from localcloud.provider.rules.gcp import (
    ACCOUNT_DESCRIPTION_BYTES,
    ACCOUNT_ID,
    ACCOUNT_NAME_BYTES,
    DISK_TYPES,
    SCOPE,
    SHORT_SUFFIX_FROM,
    TEMPLATE_PREFIX_CHARACTERS,
)
from localcloud.provider.world import Record, World
from localcloud.wire import Value

_NO_CARD = (
    "aliasIpRanges",
    "aliasIpv6Ranges",
    "ipv6AccessConfigs",
    "ipv6Address",
    "networkAttachment",
    "networkIp",
    "parentNicName",
)
_NO_DISK = ("diskEncryptionKey", "source", "sourceImageEncryptionKey", "sourceSnapshot", "sourceSnapshotEncryptionKey")


class InstanceTemplate(GcpKind):
    """Every change replaces it: terraform-provider-google, resource_compute_instance_template.go (all is ForceNew)."""

    token = INSTANCE_TEMPLATE
    collection = "instanceTemplates"
    title = "Instance Template"
    naming = Naming(longest=63, lower=True, unless="namePrefix")
    unsupported = (
        "advancedMachineFeatures",
        "confidentialInstanceConfig",
        "guestAccelerators",
        "keyRevocationActionType",
        "metadataStartupScript",
        "networkPerformanceConfig",
        "partnerMetadata",
        "reservationAffinity",
        "resourceManagerTags",
        "resourcePolicies",
        "workloadIdentityConfig",
    )
    defaults: ClassVar[Mapping[str, Value]] = {"canIpForward": False, "metadata": {}, "tags": []}

    def check(self, check: Check) -> None:
        super().check(check)
        prefix = check.inputs.text("namePrefix")
        if check.inputs.given("name") and check.inputs.given("namePrefix"):
            check.refuse("namePrefix", '"name_prefix": conflicts with name')
        if prefix is not None and not re.fullmatch(f"[a-z][-a-z0-9]{{0,{TEMPLATE_PREFIX_CHARACTERS - 1}}}", prefix):
            check.refuse(
                "namePrefix",
                f'"name_prefix" ("{prefix}") begins a name: lowercase letters, digits and hyphens, a letter first, '
                f"{TEMPLATE_PREFIX_CHARACTERS} characters at most",
            )
        launching.check_machine_type(check, None)
        launching.check_tags(check)
        launching.check_metadata(check)
        launching.check_scheduling(check)
        _check_disks(check)
        _check_cards(check)
        _check_account(check)

    def replaces(self, path: str, old: Inputs, new: Inputs) -> bool:
        return True

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        name = inputs.text("name") or _unique_name(inputs.text("namePrefix") or "", world)
        id_ = self.identity(Inputs({**inputs.values, "name": name}), config)
        number = str(4_000_000_000_000_000 + world.next("gcp"))
        facts: dict[str, Value] = {"name": name, "number": number, "project": project_of(inputs, config)}
        return world.put(Record(self.token, id_ or "", inputs.values, facts))

    def delete(self, record: Record, world: World) -> None:
        # https://cloud.google.com/compute/docs/reference/rest/v1/instanceTemplates/delete: not while a group uses it
        in_use(
            self.title, record, [group for group in world.all(GROUP_MANAGER) if record in templates_of(group, world)]
        )
        super().delete(record, world)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        number = record.facts.text("number") or ""
        metadata = record.inputs.mapping("metadata")
        return {
            "metadataFingerprint": hashlib.sha256(repr(sorted(metadata.items())).encode()).hexdigest()[:12],
            "name": record.facts.text("name"),
            "numericId": number,
            "selfLinkUnique": f"{API}{record.id}?uniqueId={number}",
            "tagsFingerprint": "42WmSpB8rSM=",
        }


class Account(Kind):
    """Id and project replace it: terraform-provider-google, resource_google_service_account.go (ForceNew)."""

    token = ACCOUNT
    naming = Naming("accountId", longest=30, lower=True)
    replace = frozenset({"accountId", "project"})
    defaults: ClassVar[Mapping[str, Value]] = {"disabled": False}

    def check(self, check: Check) -> None:
        inputs = check.inputs
        id_ = inputs.text("accountId")
        if id_ is not None and not re.fullmatch(ACCOUNT_ID, id_):
            check.refuse(
                "accountId",
                f'"account_id" ("{id_}") must be 6 to 30 lowercase letters, digits and hyphens, a letter first and no '
                "hyphen last",
            )
        if project_of(inputs, check.config) is None and inputs.known("project"):
            check.refuse("project", "project: required field is not set: set gcp:project, or project on the resource")
        limits = {"description": ACCOUNT_DESCRIPTION_BYTES, "displayName": ACCOUNT_NAME_BYTES}
        for name, most in limits.items():
            if len((inputs.text(name) or "").encode()) > most:
                check.refuse(name, f"expected length of {name} to be at most {most} bytes")
        email = self.identity(inputs, check.config)
        unchanged = check.old is not None and self.identity(check.old, check.config) == email
        if email is not None and not unchanged and check.world.get(self.token, email):
            check.refuse(
                "accountId",
                f"Error creating service account: googleapi: Error 409: Service account {id_} already exists within "
                f"project projects/{project_of(inputs, check.config)}., alreadyExists",
            )

    def identity(self, inputs: Inputs, config: Mapping[str, str]) -> str | None:
        project, id_ = project_of(inputs, config), inputs.text("accountId")
        if project is None or id_ is None:
            return None
        return f"projects/{project}/serviceAccounts/{id_}@{project}.iam.gserviceaccount.com"

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        facts: dict[str, Value] = {
            "project": project_of(inputs, config),
            "number": str(100_000_000_000_000_000_000 + world.next("gcp account")),
        }
        return world.put(Record(self.token, self.identity(inputs, config) or "", inputs.values, facts))

    def delete(self, record: Record, world: World) -> None:
        if record.inputs.text("deletionPolicy") == "PREVENT":
            raise CloudError(f"cannot destroy service account {record.id}: deletion_policy is PREVENT")
        if record.inputs.text("deletionPolicy") != "ABANDON":
            super().delete(record, world)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        email = record.id.rpartition("/")[2]
        return {
            "deletionPolicy": record.inputs.text("deletionPolicy") or "DELETE",
            "email": email,
            "member": f"serviceAccount:{email}",
            "name": record.id,
            "project": record.facts.text("project"),
            "uniqueId": record.facts.text("number"),
        }


def templates_of(group: Record, world: World) -> list[Record]:
    """The templates that a managed instance group launches from."""
    project = group.facts.text("project")
    links = [entry.text("instanceTemplate") for entry in group.inputs.objects("versions")]
    found = [find(world, INSTANCE_TEMPLATE, link, project, None) for link in links]
    return [template for template in found if template is not None]


def _unique_name(prefix: str, world: World) -> str:
    """The prefix and what makes it unique: short where the prefix is long."""
    digits = 9 if len(prefix) >= SHORT_SUFFIX_FROM else 26
    return f"{prefix}{world.next('template name'):0{digits}d}"


def _check_disks(check: Check) -> None:
    disks = check.inputs.objects("disks")
    if check.inputs.known("disks") and len(disks) != 1:
        check.refuse("disks", f"the local cloud gives an instance one disk, not {len(disks)}")
    for disk in disks[:1]:
        inner = check.within(disk)
        for name in _NO_DISK:
            if disk.given(name):
                inner.refuse(name, f"the local cloud cannot honour {name}: it boots from images alone")
        image, type_, size = disk.text("sourceImage"), disk.text("diskType"), disk.number("diskSizeGb")
        found = images.resolve(image) if image is not None else None
        if not disk.given("sourceImage"):
            inner.refuse(
                "sourceImage",
                "googleapi: Error 400: Invalid value for field 'resource.properties.disks[0]': Disk has to have a "
                "source or an image., invalid",
            )
        if image is not None and found is None:
            inner.refuse("sourceImage", f"Error resolving image name '{image}': Could not find image or family {image}")
        if not disk.flag("boot", True):
            inner.refuse("boot", "googleapi: Error 400: the first disk of an instance is its boot disk., invalid")
        if type_ is not None and type_.rpartition("/")[2] not in DISK_TYPES:
            inner.refuse("diskType", f"Error loading disk type '{type_}': it is none of {', '.join(DISK_TYPES)}")
        if size is not None and found is not None and size < found.disk:
            inner.refuse(
                "diskSizeGb",
                f"googleapi: Error 400: Requested disk size cannot be smaller than the image size ({found.disk} GB)., "
                "invalid",
            )
        inner.one_of("type", ("PERSISTENT",), "the local cloud has no disks of the type {}")
        inner.one_of("mode", ("READ_WRITE",), "googleapi: Error 400: a boot disk cannot be {}., invalid")
        check.adopt(inner, "disks[0]")


def _check_cards(check: Check) -> None:
    cards, region = check.inputs.objects("networkInterfaces"), check.inputs.text("region") or check.config.get("region")
    if check.inputs.known("networkInterfaces") and len(cards) != 1:
        check.refuse("networkInterfaces", f"the local cloud gives an instance one network interface, not {len(cards)}")
    for card in cards[:1]:
        path = "networkInterfaces[0]"
        if not card.given("network") and not card.given("subnetwork"):
            check.refuse(path, "exactly one of network or subnetwork must be provided")
        for name in _NO_CARD:
            if card.given(name):
                check.refuse(f"{path}.{name}", f"the local cloud cannot honour {name}")
        refer(check, NETWORK, f"{path}.network", "properties.networkInterfaces[0].network", card.text("network"))
        refer(
            check,
            SUBNETWORK,
            f"{path}.subnetwork",
            "properties.networkInterfaces[0].subnetwork",
            card.text("subnetwork"),
            region,
        )
        for entry in card.objects("accessConfigs"):
            if entry.text("natIp"):
                check.refuse(
                    f"{path}.accessConfigs[0].natIp",
                    "googleapi: Error 400: Invalid value for field 'resource.properties.networkInterfaces[0]."
                    "accessConfigs[0].natIP': a template cannot give several instances one address., invalid",
                )


def _check_account(check: Check) -> None:
    account = check.inputs.object("serviceAccount")
    if account is None:
        return
    for index, scope in enumerate(account.texts("scopes")):
        if not re.fullmatch(SCOPE, scope):
            check.refuse(
                f"serviceAccount.scopes[{index}]",
                f"googleapi: Error 400: Invalid value for field 'resource.properties.serviceAccounts[0].scopes[{index}]"
                f"': '{scope}'. Malformed scope., invalid",
            )
    email = account.text("email")
    if email is None or email == "default":
        return
    known = [record.id for record in check.world.all(ACCOUNT)] + [
        id_ for token, id_ in check.planned if token == ACCOUNT
    ]
    if not any(id_.endswith(f"/{email}") for id_ in known):
        check.refuse(
            "serviceAccount.email",
            f"googleapi: Error 400: The resource '{email}' of type 'serviceAccount' was not found., resourceNotFound",
        )


KINDS: tuple[Kind, ...] = (InstanceTemplate(), Account())
