"""Key pairs and instances."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
from collections.abc import Mapping
from typing import ClassVar

from localcloud.provider import pools
from localcloud.provider.clouds.aws import launching
from localcloud.provider.clouds.aws.common import (
    EIP,
    INSTANCE,
    KEY_PAIR,
    SUBNET,
    VPC,
    AwsKind,
    check_tags,
    every_instance,
    exists,
    need,
    region_of,
)
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind, Naming
from localcloud.provider.rules.aws import (
    IMPORTABLE_KEYS,
    INSTANCE_TYPES,
    RESERVED_ADDRESSES,
    USER_DATA_BYTES,
    VOLUME_TYPES,
)
from localcloud.provider.tls.keys import md5_fingerprint
from localcloud.provider.world import Record, World
from localcloud.wire import Value

_UNSUPPORTED = (
    "ebsBlockDevices",
    "hibernation",
    "hostId",
    "hostResourceGroupArn",
    "ipv6AddressCount",
    "ipv6Addresses",
    "launchTemplate",
    "networkInterfaces",
    "primaryNetworkInterface",
    "secondaryNetworkInterfaces",
    "secondaryPrivateIps",
    "securityGroups",
)


class KeyPair(AwsKind):
    """Its name and key replace it: terraform-provider-aws, internal/service/ec2/ec2_key_pair.go."""

    token = KEY_PAIR
    prefix = "key"
    naming = Naming("keyName", unless="keyNamePrefix")
    replace = frozenset({"keyName", "keyNamePrefix", "publicKey"})
    defaults: ClassVar[Mapping[str, Value]] = {"keyNamePrefix": ""}

    def check(self, check: Check) -> None:
        super().check(check)
        text, name = check.inputs.text("publicKey"), check.inputs.text("keyName")
        if text is not None:
            try:
                md5_fingerprint(text)
            except ValueError:
                check.refuse("publicKey", "InvalidKey.Format: Key is not in valid OpenSSH public key format")
            else:
                if text.split()[0] not in IMPORTABLE_KEYS:
                    check.refuse(
                        "publicKey",
                        f"InvalidKey.Format: {text.split()[0]} keys cannot be imported, only "
                        f"{', '.join(IMPORTABLE_KEYS)}",
                    )
        region = region_of(check.inputs, check.config)
        if name is not None and not check.same("keyName") and launching.find_key(check.world, name, region):
            check.refuse("keyName", f"InvalidKeyPair.Duplicate: The keypair already exists ({name})")

    def identity(self, inputs: Inputs, config: Mapping[str, str]) -> str | None:
        return f"{region_of(inputs, config)}/{inputs.text('keyName')}" if inputs.given("keyName") else None

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        name = inputs.text("keyName") or f"{inputs.text('keyNamePrefix')}{world.next('key name'):026d}"
        facts: dict[str, Value] = {"region": region_of(inputs, config), "pair": world.hex_id("key-"), "name": name}
        return world.put(Record(self.token, name, inputs.values, facts))

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        line = record.inputs.text("publicKey") or ""
        digest = base64.b64encode(hashlib.sha256(base64.b64decode(line.split()[1])).digest()).decode()
        ed25519 = line.startswith("ssh-ed25519")
        return {
            "arn": f"arn:aws:ec2:{record.facts.text('region')}:123456789012:key-pair/{record.id}",
            "fingerprint": digest if ed25519 else md5_fingerprint(line),
            "keyName": record.facts.text("name"),
            "keyPairId": record.facts.text("pair"),
            "keyType": "ed25519" if ed25519 else "rsa",
        }


class Instance(AwsKind):
    """terraform-provider-aws, internal/service/ec2/ec2_instance.go (ForceNew and CustomizeDiff)."""

    token = INSTANCE
    prefix = "i"
    arn = "instance"
    replace = frozenset(
        {
            "ami",
            "associatePublicIpAddress",
            "availabilityZone",
            "cpuOptions",
            "ebsOptimized",
            "enclaveOptions",
            "ephemeralBlockDevices",
            "instanceMarketOptions",
            "keyName",
            "placementGroup",
            "placementPartitionNumber",
            "privateDnsNameOptions",
            "privateIp",
            "rootBlockDevice.encrypted",
            "rootBlockDevice.kmsKeyId",
            "subnetId",
            "tenancy",
            *_UNSUPPORTED,
        }
    )
    unsupported = _UNSUPPORTED
    defaults: ClassVar[Mapping[str, Value]] = {
        "getPasswordData": False,
        "sourceDestCheck": True,
        "userDataReplaceOnChange": False,
        "forceDestroy": False,
    }

    def check(self, check: Check) -> None:
        super().check(check)
        check_tags(check, "volumeTags")
        inputs = check.inputs
        for name in ("ami", "instanceType"):
            if not inputs.given(name):
                check.refuse(
                    name, f'Missing required argument. "{name}": one of `{name},launch_template` must be specified'
                )
        type_, ami = inputs.text("instanceType"), inputs.text("ami")
        check.one_of("instanceType", INSTANCE_TYPES, "InvalidInstanceType: Invalid value '{}' for InstanceType")
        launching.check_image(check, "ami", ami, type_)
        launching.check_key(check)
        _check_user_data(check)
        _check_network(check)
        _check_options(check)

    def replaces(self, path: str, old: Inputs, new: Inputs) -> bool:
        if path in ("userData", "userDataBase64"):
            return new.flag("userDataReplaceOnChange")
        return super().replaces(path, old, new)

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        subnet = need(world, SUBNET, inputs.text("subnetId"), "Subnet")
        private = private_address(subnet, world, inputs.text("privateIp"))
        wanted = inputs.flag("associatePublicIpAddress", subnet.inputs.flag("mapPublicIpOnLaunch"))
        return self.make(
            inputs,
            world,
            config,
            privateIp=private,
            publicIp=draw(world) if wanted else None,
            interface=world.hex_id("eni-"),
            volume=world.hex_id("vol-"),
            zone=subnet.facts.text("zone"),
        )

    def restarts(self, record: Record, inputs: Inputs) -> bool:
        names = ("instanceType", "userData", "userDataBase64")
        return any(record.properties.get(name) != inputs.values.get(name) for name in names)

    def update(self, record: Record, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        if self.restarts(record, inputs) and record.facts.text("publicIp"):
            record = world.note(record, publicIp=draw(world))
        return super().update(record, inputs, world, config)

    def delete(self, record: Record, world: World) -> None:
        if record.inputs.flag("disableApiTermination") and not record.inputs.flag("forceDestroy"):
            raise CloudError(
                f"OperationNotPermitted: The instance '{record.id}' may not be terminated. "
                "Modify its 'disableApiTermination' instance attribute and try again."
            )
        world.remove(record)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        inputs, facts = record.inputs, record.facts
        subnet = world.get(SUBNET, inputs.text("subnetId"))
        vpc = world.get(VPC, subnet.inputs.text("vpcId")) if subnet else None
        private, public, region = facts.text("privateIp") or "", public_address(record, world), facts.text("region")
        names = vpc is not None and vpc.inputs.flag("enableDnsHostnames")
        market = inputs.object("instanceMarketOptions")
        options, root = inputs.object("metadataOptions") or Inputs({}), inputs.object("rootBlockDevice") or Inputs({})
        groups: list[Value] = [*inputs.texts("vpcSecurityGroupIds")]
        return {
            "associatePublicIpAddress": facts.text("publicIp") is not None,
            "availabilityZone": facts.text("zone"),
            "instanceLifecycle": (market.text("marketType") or "") if market else "",
            "instanceState": "stopped" if facts.flag("stopped") else "running",
            "metadataOptions": {**_METADATA_DEFAULTS, **options.values},
            "primaryNetworkInterfaceId": facts.text("interface"),
            "privateDns": f"ip-{private.replace('.', '-')}.{_domain(region)}",
            "privateIp": private,
            "publicDns": f"ec2-{public.replace('.', '-')}.{region}.compute.amazonaws.com" if public and names else "",
            "publicIp": public or "",
            "rootBlockDevice": {**_ROOT_DEFAULTS, **root.values, "volumeId": facts.text("volume")},
            "tenancy": inputs.text("tenancy") or "default",
            "vpcSecurityGroupIds": groups or ([vpc.facts.text("group")] if vpc else []),
        }


_METADATA_DEFAULTS: dict[str, Value] = {
    "httpEndpoint": "enabled",
    "httpProtocolIpv6": "disabled",
    "httpPutResponseHopLimit": 1,
    "httpTokens": "optional",
    "instanceMetadataTags": "disabled",
}
_ROOT_DEFAULTS: dict[str, Value] = {
    "deleteOnTermination": True,
    "deviceName": "/dev/sda1",
    "encrypted": False,
    "volumeSize": 8,
    "volumeType": "gp3",
}


def user_data(inputs: Inputs) -> str:
    """What cloud-init gets to see."""
    encoded = inputs.text("userDataBase64")
    return base64.b64decode(encoded).decode() if encoded else inputs.text("userData") or ""


def elastic_addresses(instance: Record, world: World) -> list[Record]:
    """The elastic addresses that point to the instance."""
    return [eip for eip in world.all(EIP) if eip.facts.text("instance") == instance.id]


def public_address(instance: Record, world: World) -> str | None:
    """The instance's public address: an elastic one, else the one it got at its start."""
    elastic = elastic_addresses(instance, world)
    return elastic[0].facts.text("publicIp") if elastic else instance.facts.text("publicIp")


def private_address(subnet: Record, world: World, wanted: str | None = None) -> str:
    """The address that an instance gets in the subnet: `wanted`, or the lowest free one. Raises CloudError."""
    network = ipaddress.IPv4Network(subnet.inputs.text("cidrBlock") or "")
    taken = [i.facts.text("privateIp") for i in every_instance(world) if i.inputs.text("subnetId") == subnet.id]
    private = wanted or pools.lowest(network, RESERVED_ADDRESSES, taken)
    if private is None:
        raise CloudError(f"InsufficientFreeAddressesInSubnet: The subnet '{subnet.id}' has no free addresses")
    if private in taken:
        raise CloudError(f"InvalidIPAddress.InUse: Address {private} is in use.")
    return private


def draw(world: World) -> str:
    """A new public address."""
    taken = [record.facts.text("publicIp") for record in (*every_instance(world), *world.all(EIP))]
    return pools.allocate(world, pools.AWS, taken, "public addresses at AWS")


def _domain(region: str | None) -> str:
    return "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"


def _check_user_data(check: Check) -> None:
    text, encoded = check.inputs.text("userData"), check.inputs.text("userDataBase64")
    if check.inputs.given("userData") and check.inputs.given("userDataBase64"):
        check.refuse("userData", '"user_data": conflicts with user_data_base64')
    if encoded is not None:
        try:
            text = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            check.refuse("userDataBase64", "must be base64-encoded text (the local cloud does not unpack gzip)")
            return
    if text is not None and len(text.encode()) > USER_DATA_BYTES:
        check.refuse(
            "userData" if encoded is None else "userDataBase64",
            f"InvalidParameterValue: User data is limited to {USER_DATA_BYTES} bytes, has {len(text.encode())}",
        )


def _check_network(check: Check) -> None:
    inputs = check.inputs
    if not inputs.given("subnetId"):
        check.refuse("subnetId", "VPCIdNotSpecified: No default VPC for this user: set subnetId")
    subnet = exists(check, SUBNET, "subnetId", inputs.text("subnetId"), "Subnet")
    vpc = subnet.inputs.text("vpcId") if subnet else None
    launching.check_groups(check, "vpcSecurityGroupIds", inputs.texts("vpcSecurityGroupIds"), vpc, subnet)
    zone, private = inputs.text("availabilityZone"), inputs.text("privateIp")
    if subnet is None:
        return
    if zone is not None and zone != subnet.facts.text("zone"):
        check.refuse(
            "availabilityZone", f"InvalidParameterValue: {subnet.id} is in {subnet.facts.text('zone')}, not in {zone}"
        )
    if private is not None:
        network = ipaddress.IPv4Network(subnet.inputs.text("cidrBlock") or "")
        free = [str(network[i]) for i in (*range(RESERVED_ADDRESSES), -1)]
        try:
            inside = ipaddress.IPv4Address(private) in network and private not in free
        except ValueError:
            inside = False
        if not inside:
            check.refuse(
                "privateIp",
                f"InvalidParameterValue: Address {private} does not fall within the subnet's address range {network}",
            )


def _check_options(check: Check) -> None:
    options, root = check.inputs.object("metadataOptions"), check.inputs.object("rootBlockDevice")
    if options is not None:
        inner = check.within(options)
        launching.check_metadata_options(inner, check.inputs.keys("tags"))
        check.adopt(inner, "metadataOptions")
    if root is not None:
        type_, size = root.text("volumeType"), root.number("volumeSize")
        if type_ is not None and type_ not in VOLUME_TYPES:
            check.refuse(
                "rootBlockDevice.volumeType", f"expected volumeType to be one of {list(VOLUME_TYPES)}, got {type_}"
            )
        if size is not None and size < 8:
            check.refuse(
                "rootBlockDevice.volumeSize",
                f"InvalidBlockDeviceMapping: Volume of size {size}GB is smaller than snapshot, expect size >= 8GB",
            )


KINDS: tuple[Kind, ...] = (KeyPair(), Instance())
