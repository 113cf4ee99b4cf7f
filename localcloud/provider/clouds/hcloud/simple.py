"""SSH keys, placement groups and primary addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import ClassVar

from localcloud.provider import pools
from localcloud.provider.clouds.hcloud import tokens
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind
from localcloud.provider.rules.hcloud import LOCATIONS
from localcloud.provider.tls.keys import md5_fingerprint
from localcloud.provider.world import Record, World
from localcloud.wire import Value


class SshKey(Kind):
    """The key itself replaces it: terraform-provider-hcloud, internal/sshkey/resource.go."""

    token = tokens.SSH_KEY
    naming = tokens.NAMING
    replace = frozenset({"publicKey"})
    defaults: ClassVar[Mapping[str, Value]] = {"labels": {}}

    def check(self, check: Check) -> None:
        tokens.check_name(check, self.token, "SSH key")
        tokens.check_labels(check)
        text = check.inputs.text("publicKey")
        if text is None:
            return
        try:
            fingerprint = md5_fingerprint(text)
        except ValueError:
            check.refuse("publicKey", "invalid input in field 'public_key' (invalid_input): not an OpenSSH public key")
            return
        twin = [key for key in check.world.all(self.token) if key.facts.text("fingerprint") == fingerprint]
        if twin and not check.same("publicKey"):
            check.refuse("publicKey", "SSH key not unique (uniqueness_error): it is already in the project")

    def identity(self, inputs: Inputs, config: Mapping[str, str]) -> str | None:
        return inputs.text("name")

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        fingerprint = md5_fingerprint(inputs.text("publicKey") or "")
        return world.put(Record(self.token, tokens.next_id(world), inputs.values, {"fingerprint": fingerprint}))

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {"fingerprint": record.facts.text("fingerprint")}


class PlacementGroup(Kind):
    """terraform-provider-hcloud, internal/placementgroup/resource.go."""

    token = tokens.PLACEMENT_GROUP
    naming = tokens.NAMING
    replace = frozenset({"type"})
    defaults: ClassVar[Mapping[str, Value]] = {"labels": {}}

    def check(self, check: Check) -> None:
        tokens.check_name(check, self.token, "placement group")
        tokens.check_labels(check)
        check.one_of("type", ("spread",), "{} is not a valid placement group type")

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        return world.put(Record(self.token, tokens.next_id(world), inputs.values))

    def delete(self, record: Record, world: World) -> None:
        if members := self._members(record, world):
            raise CloudError(f"placement group {record.id} is still in use by servers {members} (resource_in_use)")
        world.remove(record)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {"servers": [*self._members(record, world)]}

    @staticmethod
    def _members(record: Record, world: World) -> list[int]:
        servers = world.all(tokens.SERVER)
        return [int(server.id) for server in servers if server.inputs.number("placementGroupId") == int(record.id)]


class PrimaryIp(Kind):
    """terraform-provider-hcloud, internal/primaryip/resource.go: type and location replace, the rest is in place."""

    token = tokens.PRIMARY_IP
    naming = tokens.NAMING
    replace = frozenset({"type", "location"})
    defaults: ClassVar[Mapping[str, Value]] = {
        "labels": {},
        "autoDelete": False,
        "deleteProtection": False,
        "assigneeType": "server",
    }

    def check(self, check: Check) -> None:
        tokens.check_name(check, self.token, "primary IP")
        tokens.check_labels(check)
        inputs = check.inputs
        check.one_of(
            "type", ("ipv4", "ipv6"), "invalid input in field 'type' (invalid_input): {} is neither ipv4 nor ipv6"
        )
        check.one_of("location", LOCATIONS, "location {} not found (not_found)")
        check.one_of("assigneeType", ("server",), "invalid input in field 'assignee_type' (invalid_input): {}")
        if inputs.given("datacenter"):
            check.refuse("datacenter", 'Removed Attribute: The datacenter attribute is removed, use "location"')
        if inputs.given("location") == inputs.given("assigneeId"):
            check.refuse("", "Exactly one of these attributes must be configured: [location,assignee_id]")
        if inputs.given("assigneeId") and not inputs.given("assigneeType"):
            check.refuse("assigneeId", "These attributes must be configured together: [assignee_id,assignee_type]")
        tokens.exists(check, tokens.SERVER, "assigneeId", inputs.number("assigneeId"), "server")

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        server = world.get(tokens.SERVER, inputs.number("assigneeId"))
        location = inputs.text("location") or (server.facts.text("location") if server else None)
        address, network = draw(world, inputs.text("type") or "")
        facts: dict[str, Value] = {"ipAddress": address, "ipNetwork": network, "location": location}
        record = world.put(Record(self.token, tokens.next_id(world), inputs.values, facts))
        if server is not None:
            self._assign(record, server, world)
        return record

    def update(self, record: Record, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        was, wanted = record.inputs.number("assigneeId"), inputs.number("assigneeId")
        record = super().update(record, inputs, world, config)
        if was != wanted:
            for server in assigned(world, record):
                world.note(server, **{family(record): None})
            if wanted is not None:
                self._assign(record, tokens.need(world, tokens.SERVER, wanted), world)
        return record

    def delete(self, record: Record, world: World) -> None:
        if record.inputs.flag("deleteProtection"):
            raise CloudError("primary IP is delete protected (protected)")
        for server in assigned(world, record):
            world.note(server, **{family(record): None})
        world.remove(record)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        servers = assigned(world, record)
        address, network = record.facts.text("ipAddress"), record.facts.text("ipNetwork")
        return {
            # Of IPv6 it is where the network begins; a server has the address after that: hcloud-go, hcloud/schema.go
            # (PrimaryIPFromSchema), and internal/server/resource.go (ipv6_address) of terraform-provider-hcloud.
            "ipAddress": network.partition("/")[0] if network else address,
            "ipNetwork": network,
            "location": record.facts.text("location"),
            "datacenter": "",
            "assigneeId": int(servers[0].id) if servers else 0,
        }

    @staticmethod
    def _assign(record: Record, server: Record, world: World) -> None:
        if server.facts.text(family(record)):
            raise CloudError(
                f"Server already has an {record.inputs.text('type')} address (server_has_{record.inputs.text('type')})"
            )
        world.note(server, **{family(record): record.id})


def family(record: Record) -> str:
    """Under which of its facts a server keeps the id of such a primary address."""
    return "ipv4" if record.inputs.text("type") == "ipv4" else "ipv6"


def assigned(world: World, record: Record) -> list[Record]:
    """The server that has the primary address, if any."""
    return [server for server in world.all(tokens.SERVER) if server.facts.text(family(record)) == record.id]


def draw(world: World, version: str) -> tuple[str, str | None]:
    """A new public address: the address, and the network of an IPv6 one."""
    if version == "ipv6":
        network: ipaddress.IPv6Network = pools.hetzner6(world)
        return str(network[1]), str(network)
    taken = [record.facts.text("ipAddress") for record in world.all(tokens.PRIMARY_IP)]
    return pools.allocate(world, pools.HETZNER, taken, "public addresses at Hetzner"), None


KINDS: tuple[Kind, ...] = (SshKey(), PlacementGroup(), PrimaryIp())
