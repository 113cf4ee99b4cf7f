"""Google's instances as machines."""

from __future__ import annotations

from localcloud.provider.clouds.gcp import firewalls, routers
from localcloud.provider.clouds.gcp.common import INSTANCE, SUBNETWORK, network
from localcloud.provider.clouds.gcp.instances import is_running
from localcloud.provider.rules.gcp import MTU, ZONES
from localcloud.provider.world import Record, World
from localcloud.spec import Interface, MachineSpec


def machines(world: World) -> dict[str, MachineSpec]:
    """Every instance, by the id that the fabric knows it by."""
    specs = (_machine(instance, world) for instance in world.all(INSTANCE))
    return {spec.id: spec for spec in specs}


def _machine(instance: Record, world: World) -> MachineSpec:
    inputs, facts = instance.inputs, instance.facts
    subnet = world.get(SUBNETWORK, facts.text("subnetwork"))
    assert subnet is not None
    home = network(world, subnet.inputs.text("network"), subnet.facts.text("project"))
    assert home is not None
    labels, metadata = inputs.mapping("labels"), inputs.mapping("metadata")
    name, zone, public = inputs.text("name") or "", facts.text("place") or "", facts.text("public")
    image = (inputs.object("bootDisk") or inputs).object("initializeParams")
    card = Interface(
        name="eth0",
        network=f"gcp-{home.id}",
        address=facts.text("private") or "",
        prefix=32,
        mtu=home.inputs.number("mtu") or MTU[2],
        public=public,
        nat=None if public else routers.nat_address(subnet, world),
    )
    return MachineSpec(
        id=f"gcp-{facts.text('number')}",
        node=labels.get("node", name),
        cloud="gcp",
        hostname=(inputs.text("hostname") or name).partition(".")[0],
        user_data=metadata.get("user-data", ""),
        ssh_keys=tuple(_key(line) for line in metadata.get("ssh-keys", "").splitlines() if line.strip()),
        interfaces=(card,),
        ingress=firewalls.rules(instance, home, world, "INGRESS"),
        egress=firewalls.rules(instance, home, world, "EGRESS"),
        forwarding=inputs.flag("canIpForward"),
        metadata={
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


def _key(line: str) -> str:
    """The key of a line `user:ssh-ed25519 AAAA… comment` of the `ssh-keys` metadata."""
    user, _, key = line.strip().partition(":")
    return key if " " not in user else line.strip()
