"""Elastic addresses and their associations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from localcloud.provider.clouds.aws.common import (
    EIP,
    EIP_ASSOCIATION,
    GATEWAY,
    INSTANCE,
    SUBNET,
    AwsKind,
    exists,
    need,
)
from localcloud.provider.clouds.aws.instances import draw
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind
from localcloud.provider.world import Record, World
from localcloud.wire import Value


class Eip(AwsKind):
    """terraform-provider-aws, internal/service/ec2/ec2_eip.go."""

    token = EIP
    prefix = "eipalloc"
    arn = "elastic-ip"
    replace = frozenset({"address", "domain", "networkBorderGroup", "publicIpv4Pool"})
    unsupported = (
        "address",
        "associateWithPrivateIp",
        "customerOwnedIpv4Pool",
        "ipamPoolId",
        "networkInterface",
        "publicIpv4Pool",
    )
    defaults: ClassVar[Mapping[str, Value]] = {
        "domain": "vpc",
        "publicIpv4Pool": "amazon",
        "customerOwnedIp": "",
        "carrierIp": "",
    }

    def check(self, check: Check) -> None:
        super().check(check)
        check.one_of("domain", ("vpc",), 'expected domain to be one of ["vpc"], got {}')
        exists(check, INSTANCE, "instance", check.inputs.text("instance"), "Instance")

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        record = self.make(inputs, world, config, publicIp=draw(world), instance=None)
        return associate(record, inputs.text("instance"), world)

    def update(self, record: Record, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        changed = record.inputs.text("instance") != inputs.text("instance")
        record = super().update(record, inputs, world, config)
        return associate(record, inputs.text("instance"), world) if changed else record

    def delete(self, record: Record, world: World) -> None:
        for association in world.all(EIP_ASSOCIATION):
            if association.inputs.text("allocationId") == record.id:
                raise CloudError(
                    f"InvalidIPAddress.InUse: Address {record.facts.text('publicIp')} is in use ({association.id})"
                )
        world.remove(record)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        facts = record.facts
        instance = world.get(INSTANCE, facts.text("instance"))
        address = facts.text("publicIp") or ""
        return {
            "allocationId": record.id,
            "associationId": facts.text("association") if instance else "",
            "instance": instance.id if instance else "",
            "networkInterface": instance.facts.text("interface") if instance else "",
            "privateIp": instance.facts.text("privateIp") if instance else "",
            "publicIp": address,
            "publicDns": f"ec2-{address.replace('.', '-')}.{facts.text('region')}.compute.amazonaws.com",
        }


class EipAssociation(AwsKind):
    """Everything replaces it: terraform-provider-aws, internal/service/ec2/ec2_eip_association.go.

    An address that points elsewhere is taken from there (EC2 API, AssociateAddress: reassociation is automatic).
    """

    token = EIP_ASSOCIATION
    prefix = "eipassoc"
    tagged = False
    replace = frozenset(
        {"allocationId", "allowReassociation", "instanceId", "networkInterfaceId", "privateIpAddress", "publicIp"}
    )
    unsupported = ("networkInterfaceId", "privateIpAddress")

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        if not inputs.given("allocationId") and not inputs.given("publicIp"):
            check.refuse("allocationId", "one of `allocation_id,public_ip` must be specified")
        if not inputs.given("instanceId"):
            check.refuse("instanceId", "one of `instance_id,network_interface_id` must be specified")
        exists(check, EIP, "allocationId", inputs.text("allocationId"), "Allocation")
        exists(check, INSTANCE, "instanceId", inputs.text("instanceId"), "Instance")

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        record = self.make(inputs, world, config)
        associate(self._address(inputs, world), inputs.text("instanceId"), world, record.id)
        return record

    def delete(self, record: Record, world: World) -> None:
        eip = world.get(EIP, record.inputs.text("allocationId"))
        if eip is not None and eip.facts.text("association") == record.id:
            world.note(eip, instance=None, association=None)
        world.remove(record)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        eip, instance = self._address(record.inputs, world), world.get(INSTANCE, record.inputs.text("instanceId"))
        return {
            "allocationId": eip.id,
            "publicIp": eip.facts.text("publicIp"),
            "networkInterfaceId": instance.facts.text("interface") if instance else "",
            "privateIpAddress": instance.facts.text("privateIp") if instance else "",
        }

    @staticmethod
    def _address(inputs: Inputs, world: World) -> Record:
        if inputs.given("allocationId"):
            return need(world, EIP, inputs.text("allocationId"), "Allocation")
        for eip in world.all(EIP):
            if eip.facts.text("publicIp") == inputs.text("publicIp"):
                return eip
        raise CloudError(f"InvalidAddress.NotFound: Address '{inputs.text('publicIp')}' not found.")


def associate(eip: Record, instance: str | None, world: World, association: str | None = None) -> Record:
    """Point the address to the instance, or to none. Raises CloudError where the internet is not attached."""
    holder = world.get(INSTANCE, instance)
    subnet = world.get(SUBNET, holder.inputs.text("subnetId")) if holder else None
    vpc = subnet.inputs.text("vpcId") if subnet else None
    if vpc is not None and world.find(GATEWAY, "vpcId", vpc) is None:
        raise CloudError(f"Gateway.NotAttached: Network {vpc} is not attached to any internet gateway")
    id_ = association or (world.hex_id("eipassoc-") if instance else None)
    return world.note(eip, instance=instance, association=id_)


KINDS: tuple[Kind, ...] = (Eip(), EipAssociation())
