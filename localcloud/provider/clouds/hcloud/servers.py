"""Servers."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import ClassVar

from localcloud.provider.clouds.hcloud import networks, simple, tokens
from localcloud.provider.clouds.hcloud.firewalls import firewalls_of
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind
from localcloud.provider.rules.hcloud import (
    BOOTABLE,
    FIREWALLS_PER_SERVER,
    HOSTNAME,
    IMAGES,
    LOCATIONS,
    NETWORKS_PER_SERVER,
    SERVER_TYPES,
    SERVERS_PER_PLACEMENT_GROUP,
    USER_DATA_BYTES,
)
from localcloud.provider.world import Record, World
from localcloud.wire import Value

_DEFAULT_LOCATION = "fsn1"


class Server(Kind):
    """image, location, ssh_keys and user_data replace it: terraform-provider-hcloud, internal/server/resource.go."""

    token = tokens.SERVER
    naming = tokens.NAMING
    replace = frozenset({"image", "location", "datacenter", "sshKeys", "userData"})
    defaults: ClassVar[Mapping[str, Value]] = {
        "allowDeprecatedImages": False,
        "backups": False,
        "deleteProtection": False,
        "ignoreRemoteFirewallIds": False,
        "keepDisk": False,
        "labels": {},
        "rebuildProtection": False,
        "shutdownBeforeDeletion": False,
    }

    def check(self, check: Check) -> None:
        inputs = check.inputs
        tokens.check_name(check, self.token, "server")
        tokens.check_labels(check)
        name, user_data = inputs.text("name"), inputs.text("userData")
        if name is not None and (not re.fullmatch(HOSTNAME, name) or len(name) > 253):
            check.refuse(
                "name",
                f"invalid input in field 'name' (invalid_input): [name => [{name!r} is not a valid "
                "hostname as per RFC 1123]]",
            )
        if user_data is not None and len(user_data.encode()) > USER_DATA_BYTES:
            size = len(user_data.encode())
            check.refuse(
                "userData",
                "invalid input in field 'user_data' (invalid_input): [user_data => [must be at most "
                f"{USER_DATA_BYTES} bytes, has {size}]]",
            )
        if inputs.given("datacenter"):
            check.refuse("datacenter", 'Removed Attribute: The datacenter attribute is removed, use "location"')
        if (
            inputs.known("deleteProtection")
            and inputs.known("rebuildProtection")
            and inputs.flag("deleteProtection") != inputs.flag("rebuildProtection")
        ):
            check.refuse("rebuildProtection", "delete and rebuild protection have to be the same (invalid_input)")
        for unsupported in ("iso", "rescue"):
            if inputs.given(unsupported):
                check.refuse(unsupported, f"the local cloud cannot boot from {unsupported}")
        _check_type(check)
        _check_keys(check)
        _check_groups(check)
        for index, place in enumerate(inputs.objects("networks")):
            if not place.given("networkId") and not place.given("subnetId"):
                check.refuse(f"networks[{index}]", "networkId or subnetId has to be set")
            if check.old is None:
                networks.check_place(check, place, f"networks[{index}].")
        if len(inputs.objects("networks")) > NETWORKS_PER_SERVER:
            check.refuse(
                "networks", f"network limit exceeded (resource_limit_exceeded): {NETWORKS_PER_SERVER} a server"
            )
        _check_public(check)

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        location = inputs.text("location") or _location_of_addresses(inputs, world) or _DEFAULT_LOCATION
        type_ = SERVER_TYPES[inputs.text("serverType") or ""]
        facts: dict[str, Value] = {"location": location, "disk": type_.disk, "places": []}
        record = world.put(Record(self.token, tokens.next_id(world), inputs.values, facts))
        record = _connect(record, world)
        record = _join(record, world)
        count = len(firewalls_of(record, world))
        if count > FIREWALLS_PER_SERVER:
            raise CloudError(
                f"firewall limit exceeded (resource_limit_exceeded): {count}, the limit is "
                f"{FIREWALLS_PER_SERVER} a server"
            )
        return record

    def update(self, record: Record, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        before = record.inputs
        _check_resize(record, inputs)
        record = super().update(record, inputs, world, config)
        if before.values.get("publicNets") != inputs.values.get("publicNets"):
            _release(record, world)
            record = _connect(record, world)
        if before.values.get("networks") != inputs.values.get("networks"):
            record = _join(record, world)
        new = SERVER_TYPES[inputs.text("serverType") or ""]
        disk = record.facts.number("disk") or 0
        return world.note(record, disk=disk if inputs.flag("keepDisk") else max(disk, new.disk))

    def restarts(self, record: Record, inputs: Inputs) -> bool:
        return any(record.properties.get(name) != inputs.values.get(name) for name in ("serverType", "publicNets"))

    def shuts_down(self, record: Record) -> bool:
        return record.inputs.flag("shutdownBeforeDeletion")

    def delete(self, record: Record, world: World) -> None:
        if record.inputs.flag("deleteProtection"):
            raise CloudError("server deletion is protected (protected)")
        _release(record, world)
        for place in [p for p in world.all(tokens.SERVER_NETWORK) if p.inputs.number("serverId") == int(record.id)]:
            world.remove(place)
        world.remove(record)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        ipv4, ipv6 = (world.get(tokens.PRIMARY_IP, record.facts.text(name)) for name in ("ipv4", "ipv6"))
        outputs: dict[str, Value] = {
            "backupWindow": "22-02" if record.inputs.flag("backups") else "",
            "datacenter": "",
            "firewallIds": [int(firewall.id) for firewall in firewalls_of(record, world)],
            "ipv4Address": ipv4.facts.text("ipAddress") if ipv4 else "",
            "ipv6Address": ipv6.facts.text("ipAddress") if ipv6 else "",
            "ipv6Network": ipv6.facts.text("ipNetwork") if ipv6 else "",
            "location": record.facts.text("location"),
            "placementGroupId": record.inputs.number("placementGroupId") or 0,
            "primaryDiskSize": record.facts.number("disk"),
            "status": "off" if record.facts.flag("stopped") else "running",
        }
        user_data = record.inputs.text("userData")
        if user_data is not None:
            digest = hashlib.sha1(user_data.encode(), usedforsecurity=False).digest()
            outputs["userData"] = base64.b64encode(digest).decode()
        if record.inputs.given("networks"):
            outputs["networks"] = [_place_output(place) for place in networks.places(record, world)]
        return outputs


def _place_output(place: networks.Place) -> Value:
    aliases: list[Value] = [*place.aliases]
    return {"networkId": int(place.network.id), "ip": place.ip, "macAddress": place.mac, "aliasIps": aliases}


def _check_type(check: Check) -> None:
    """Types, images and locations; a type that is no longer sold may stay, but not be ordered."""
    inputs = check.inputs
    name, image, location = inputs.text("serverType"), inputs.text("image"), inputs.text("location")
    type_ = SERVER_TYPES.get(name or "")
    check.one_of("location", LOCATIONS, "location {} not found (not_found)")
    check.one_of("serverType", SERVER_TYPES, "server type {} not found")
    if not inputs.given("image"):
        check.refuse("image", "missing required field 'image' (invalid_input)")
    elif image is not None and image not in IMAGES:
        architecture = type_.architecture if type_ else "x86"
        check.refuse("image", f"image {image} for architecture {architecture} not found")
    elif image is not None and image not in BOOTABLE:
        check.refuse("image", f"the local cloud has no image that stands for {image}; it has {', '.join(BOOTABLE)}")
    if type_ is None or (not check.anew and check.same("serverType")):
        return
    if type_.retired is not None:
        check.refuse(
            "serverType",
            f'Server Type "{name}" is unavailable in all locations and can no longer be ordered '
            f"(since {type_.retired}; its successor is {type_.successor})",
        )
    elif (location or _DEFAULT_LOCATION) not in type_.locations and location in LOCATIONS:
        check.refuse(
            "serverType",
            f'Server Type "{name}" is unavailable in "{location}" and can no longer be ordered in '
            "this location: unsupported location for server type (invalid_input)",
        )


def _check_resize(record: Record, inputs: Inputs) -> None:
    """What a server may become without being made anew. Raises CloudError."""
    old, new = (SERVER_TYPES[each.text("serverType") or ""] for each in (record.inputs, inputs))
    name, disk = inputs.text("serverType"), record.facts.number("disk") or 0
    if old.architecture != new.architecture:
        raise CloudError(f"cannot change from {old.architecture} to {new.architecture} (invalid_server_type)")
    if new.disk < disk:
        raise CloudError(
            f"the disk of {name} ({new.disk} GB) is smaller than the server's ({disk} GB) (invalid_server_type)"
        )


def _check_keys(check: Check) -> None:
    """Only a server that is made needs its keys: one that is there may outlive them."""
    if check.same("sshKeys") and not check.anew:
        return
    for index, key in enumerate(check.inputs.texts("sshKeys")):
        if find_key(check.world, key) is None and (tokens.SSH_KEY, key) not in check.planned:
            check.refuse(f"sshKeys[{index}]", f"SSH key not found: {key}")


def _check_groups(check: Check) -> None:
    inputs, world = check.inputs, check.world
    for index, firewall in enumerate(inputs.numbers("firewallIds")):
        tokens.exists(check, tokens.FIREWALL, f"firewallIds[{index}]", firewall, "firewall")
    if len(inputs.numbers("firewallIds")) > FIREWALLS_PER_SERVER:
        check.refuse(
            "firewallIds",
            f"firewall limit exceeded (resource_limit_exceeded): the limit is {FIREWALLS_PER_SERVER} a server",
        )
    group = inputs.number("placementGroupId")
    if group is None or check.same("placementGroupId"):
        return
    tokens.exists(check, tokens.PLACEMENT_GROUP, "placementGroupId", group, "placement group")
    members = [server for server in world.all(tokens.SERVER) if server.inputs.number("placementGroupId") == group]
    if len(members) >= SERVERS_PER_PLACEMENT_GROUP:
        check.refuse(
            "placementGroupId",
            f"placement group {group} is full (placement_error): {SERVERS_PER_PLACEMENT_GROUP} servers",
        )


def _check_public(check: Check) -> None:
    """Primary addresses have to be free, of the right version and in the server's location."""
    inputs = check.inputs
    if len(inputs.objects("publicNets")) > 1:
        check.refuse("publicNets", "only one public_net block is allowed")
    for entry in inputs.objects("publicNets"):
        for version in ("ipv4", "ipv6"):
            path, id_ = f"publicNets[0].{version}", entry.number(version)
            record = tokens.exists(check, tokens.PRIMARY_IP, path, id_ or None, "primary IP")
            if record is None:
                continue
            location = inputs.text("location")
            if record.inputs.text("type") != version:
                check.refuse(path, f"Primary IP {id_} has the wrong IP Version (primary_ip_version_mismatch)")
            if location and record.facts.text("location") != location:
                check.refuse(
                    path,
                    f"Primary IP {id_} is in {record.facts.text('location')}, not in {location} "
                    "(primary_ip_datacenter_mismatch)",
                )
            if check.old is None and simple.assigned(check.world, record):
                check.refuse(
                    path, f"The specified Primary IP {id_} is already assigned to a server (primary_ip_assigned)"
                )
        enabled = [entry.flag(f"{version}Enabled", True) for version in ("ipv4", "ipv6")]
        if not any(enabled) and not inputs.given("networks"):
            check.refuse("publicNets", "server has neither a public nor a private network (invalid_input)")


def find_key(world: World, id_or_name: str) -> Record | None:
    """The SSH key of that id or name."""
    return world.get(tokens.SSH_KEY, id_or_name) or world.find(tokens.SSH_KEY, "name", id_or_name)


def _location_of_addresses(inputs: Inputs, world: World) -> str | None:
    for entry in inputs.objects("publicNets"):
        for version in ("ipv4", "ipv6"):
            record = world.get(tokens.PRIMARY_IP, entry.number(version))
            if record is not None:
                return record.facts.text("location")
    return None


def _connect(record: Record, world: World) -> Record:
    """Give the server its public addresses: those of `publicNets`, or new ones that go with it."""
    entries = record.inputs.objects("publicNets") or [Inputs({})]
    for version in ("ipv4", "ipv6"):
        wanted = entries[0].number(version)
        if wanted:
            primary = tokens.need(world, tokens.PRIMARY_IP, wanted)
            if simple.assigned(world, primary):
                raise CloudError(
                    f"The specified Primary IP {wanted} is already assigned to a server (primary_ip_assigned)"
                )
        elif entries[0].flag(f"{version}Enabled", True):
            address, network = simple.draw(world, version)
            id_ = tokens.next_id(world)
            properties: dict[str, Value] = {"name": f"primary_ip-{id_}", "type": version, "autoDelete": True}
            facts: dict[str, Value] = {
                "ipAddress": address,
                "ipNetwork": network,
                "location": record.facts.text("location"),
            }
            primary = world.put(Record(tokens.PRIMARY_IP, id_, properties, facts))
        else:
            continue
        record = world.note(record, **{version: primary.id})
    return record


def _release(record: Record, world: World) -> None:
    """Take the server's public addresses away; those that delete themselves do."""
    for version in ("ipv4", "ipv6"):
        primary = world.get(tokens.PRIMARY_IP, record.facts.text(version))
        record = world.note(record, **{version: None})
        if primary is not None and primary.inputs.flag("autoDelete"):
            world.remove(primary)


def _join(record: Record, world: World) -> Record:
    """Give the server its cards in the private networks of `networks`; one that stays keeps its address."""
    kept = {entry.text("network"): entry for entry in record.facts.objects("places")}
    record = world.note(record, places=[])
    cards: list[Value] = []
    for entry in record.inputs.objects("networks"):
        network = networks.network_of(entry, world)
        if network is None:
            raise CloudError(f"network with ID '{entry.number('networkId')}' not found (not_found)")
        before = kept.get(network.id)
        stays = before is not None and entry.text("ip") in (None, before.text("ip"))
        ip = (before.text("ip") if before and stays else None) or networks.choose(entry, network, world)
        aliases: list[Value] = [*entry.texts("aliasIps")]
        cards.append({"network": network.id, "ip": ip, "mac": networks.mac(record, network), "aliases": aliases})
        record = world.note(record, places=[*cards])
    return record


KINDS: tuple[Kind, ...] = (Server(),)
