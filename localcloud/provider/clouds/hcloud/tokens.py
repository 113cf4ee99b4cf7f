"""The kinds' tokens, and what the kinds have in common."""

from __future__ import annotations

import re

from localcloud.provider.kind import Check, CloudError, Naming
from localcloud.provider.rules.hcloud import LABEL_KEY, LABEL_VALUE
from localcloud.provider.world import Record, World

SSH_KEY = "hcloud:index/sshKey:SshKey"
FIREWALL = "hcloud:index/firewall:Firewall"
FIREWALL_ATTACHMENT = "hcloud:index/firewallAttachment:FirewallAttachment"
PRIMARY_IP = "hcloud:index/primaryIp:PrimaryIp"
SERVER = "hcloud:index/server:Server"
NETWORK = "hcloud:index/network:Network"
SUBNET = "hcloud:index/networkSubnet:NetworkSubnet"
NETWORK_ROUTE = "hcloud:index/networkRoute:NetworkRoute"
SERVER_NETWORK = "hcloud:index/serverNetwork:ServerNetwork"
PLACEMENT_GROUP = "hcloud:index/placementGroup:PlacementGroup"

NAMING = Naming()
"""Bridged provider: SetAutonaming(255, "-") in pulumi-hcloud's provider/resources.go."""


def next_id(world: World) -> str:
    """Ids are numbers, written as text."""
    return str(4_700_000 + world.next("hcloud"))


def check_labels(check: Check) -> None:
    """hcloud-go, hcloud/labels.go: ValidateResourceLabels."""
    for key, value in check.inputs.mapping("labels").items():
        if not re.fullmatch(LABEL_KEY, key):
            check.refuse(f"labels.{key}", f"label key '{key}' is not correctly formatted")
        if not re.fullmatch(LABEL_VALUE, value):
            check.refuse(f"labels.{key}", f"label value '{value}' (key: {key}) is not correctly formatted")


def check_name(check: Check, token: str, what: str) -> None:
    """A name is 1 to 128 characters and taken once a project."""
    name = check.inputs.text("name")
    if name is None:
        return
    if not 1 <= len(name) <= 128:
        check.refuse(
            "name",
            f"invalid input in field 'name' (invalid_input): [name => [length must be 1 to 128, got {len(name)}]]",
        )
    elif not check.same("name") and check.world.find(token, "name", name):
        check.refuse("name", f"{what} name is already used (uniqueness_error)")


def exists(check: Check, token: str, path: str, id_: str | int | None, what: str) -> Record | None:
    """The resource that a property names; refused when there is none."""
    if id_ is None:
        return None
    record = check.world.get(token, id_)
    if record is None:
        check.refuse(path, f"{what} with ID '{id_}' not found (not_found)")
    return record


def need(world: World, token: str, id_: str | int | None) -> Record:
    """The resource with that id. Raises CloudError."""
    record = world.get(token, id_)
    if record is None:
        raise CloudError(f"{token.rpartition(':')[2]} with ID '{id_}' not found (not_found)")
    return record
