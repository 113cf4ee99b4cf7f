"""Google's instances as machines."""

from __future__ import annotations

import hashlib
import ipaddress

from localcloud.provider import members
from localcloud.provider.clouds.gcp import firewalls, routers, routes
from localcloud.provider.clouds.gcp.common import SUBNETWORK, every_instance, network
from localcloud.provider.clouds.gcp.fleet import is_spot
from localcloud.provider.clouds.gcp.instances import is_running
from localcloud.provider.members import MEMBER
from localcloud.provider.rules.gcp import MTU, ZONES
from localcloud.provider.world import Record, World
from localcloud.spec import JSON, Interface, MachineSpec

_CREATED = "2026-11-01T07:00:00Z"
"""When declared instances were made, to the local cloud."""


def machines(world: World) -> dict[str, MachineSpec]:
    """Every instance, be it declared or launched by a group, by the id that the fabric knows it by."""
    specs = (_machine(instance, world) for instance in every_instance(world))
    return {spec.id: spec for spec in specs}


def _machine(instance: Record, world: World) -> MachineSpec:
    inputs, facts = instance.inputs, instance.facts
    subnet = world.get(SUBNETWORK, facts.text("subnetwork"))
    assert subnet is not None
    home = network(world, subnet.inputs.text("network"), subnet.facts.text("project"))
    assert home is not None
    labels, metadata = inputs.mapping("labels"), inputs.mapping("metadata")
    name, zone = inputs.text("name") or "", facts.text("place") or ""
    ways, leaves = routes.ways(instance, home, world), routes.has_default_route(home)
    public = facts.text("public") if leaves else None
    leaves_by_itself = leaves and not any(way.destination == "0.0.0.0/0" for way in ways)
    image = (inputs.object("bootDisk") or inputs).object("initializeParams")
    card = Interface(
        name="eth0",
        network=f"gcp-{home.id}",
        address=facts.text("private") or "",
        prefix=ipaddress.IPv4Network(subnet.inputs.text("ipCidrRange") or "").prefixlen,
        mtu=home.inputs.number("mtu") or MTU[2],
        public=public,
        nat=routers.nat_address(subnet, world) if leaves_by_itself and not public else None,
        routes=ways,
    )
    return MachineSpec(
        id=f"gcp-{facts.text('number')}",
        node=members.node(instance) if instance.token == MEMBER else labels.get("node", name),
        cloud="gcp",
        hostname=(inputs.text("hostname") or name).partition(".")[0],
        user_data=metadata.get("user-data", ""),
        ssh_keys=tuple(_key(line) for line in metadata.get("ssh-keys", "").splitlines() if line.strip()),
        interfaces=(card,),
        ingress=firewalls.rules(instance, home, world, "INGRESS"),
        egress=firewalls.rules(instance, home, world, "EGRESS"),
        forwarding=inputs.flag("canIpForward"),
        metadata={
            **_identity(instance),
            **(_membership(instance) if instance.token == MEMBER else {}),
            "instance_id": facts.text("number"),
            "instance_type": (inputs.text("machineType") or "").rpartition("/")[2],
            "image": image.text("image") if image else None,
            "region": ZONES.get(zone),
            "zone": zone,
            "project": facts.text("project"),
            "labels": labels,
        },
        running=is_running(instance),
    )


def _identity(instance: Record) -> dict[str, JSON]:
    """Who the instance is, as its identity token says it."""
    facts, account = instance.facts, instance.inputs.object("serviceAccount")
    launched = facts.number("launched")
    told: dict[str, JSON] = {
        "name": instance.inputs.text("name"),
        "project_number": project_number(facts.text("project") or ""),
        "created": _CREATED if launched is None else members.clock(launched),
        "preemptible": is_spot(instance),
        "preempted": facts.given("notice"),
    }
    if account is not None and account.text("email"):
        told["service_account"] = account.text("email")
    return told


def _membership(member: Record) -> dict[str, JSON]:
    """What is told of members of groups alone."""
    return {"pool": member.facts.text("pool"), "group": (member.facts.text("group") or "").rpartition("/")[2]}


def project_number(project: str) -> str:
    """The number of a project, of 12 digits."""
    return str(10**11 + int(hashlib.sha256(project.encode()).hexdigest(), 16) % (9 * 10**11))


def _key(line: str) -> str:
    """The key of a line `user:ssh-ed25519 AAAA… comment` of the `ssh-keys` metadata."""
    user, _, key = line.strip().partition(":")
    return key if " " not in user else line.strip()
