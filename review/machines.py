"""What happens to machines: replaced, stopped and started, made, deleted, changed while they run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from review.inputs import SECRET, items, number, section, text
from review.preview import GONE, REPLACING, Preview, State, Step

MACHINES = ("hcloud:index/server:Server", "aws:ec2/instance:Instance", "gcp:compute/instance:Instance")
POOLS = (
    "aws:autoscaling/group:Group", "gcp:compute/regionInstanceGroupManager:RegionInstanceGroupManager",
)  # fmt: skip
TYPES = ("serverType", "instanceType", "machineType")
"""A machine is stopped and started for another one."""
SETTINGS = {
    "serverType": "serverType", "instanceType": "serverType", "machineType": "serverType", "location": "location",
    "datacenter": "location", "availabilityZone": "availabilityZone", "zone": "zone", "region": "region",
    "subnetId": "the subnet", "networkInterfaces": "the network or publicAddress", "publicNets": "publicAddress",
    "associatePublicIpAddress": "publicAddress", "image": "image", "ami": "image", "bootDisk": "image",
    "userData": "what first boots are told", "metadata": "what first boots are told", "name": "the name",
    "sshKeys": "SSH keys", "keyName": "SSH keys", "privateIp": "the private address",
    "canIpForward": "the role", "project": "project",
}  # fmt: skip
"""Property -> the setting to look at."""
SHORT = (*TYPES, "location", "datacenter", "availabilityZone", "zone", "region", "image", "ami", "name", "privateIp",
         "project", "subnetId")  # fmt: skip
"""Properties whose values are told; others may be long, or secret."""
KINDS = ("replaced", "deleted", "stopped and started", "made", "changed while it runs")


@dataclass(frozen=True)
class MachineChange:
    """One machine, or a pool's group of them: its name, what it is, what happens to it and why."""

    kind: str
    """One of `KINDS`."""
    name: str
    role: str
    """`gateway`, `spoke` or `pool`; empty where its labels say nothing."""
    server_type: str
    place: str
    why: str


def machine_changes(preview: Preview) -> list[MachineChange]:
    """What is worst first."""
    kinds = (*MACHINES, *POOLS)
    found = [_change(step) for step in preview.steps if step.type in kinds and step.operation not in ("same", "read")]
    return sorted(found, key=lambda change: (KINDS.index(change.kind), change.name))


def _change(step: Step) -> MachineChange:
    state = step.new or step.old
    assert state is not None
    about = node_name(state), _role(state), machine_type(state), _place(state)
    if step.operation.startswith(REPLACING):
        return MachineChange("replaced", *about, _why(step))
    if step.operation in GONE:
        return MachineChange("deleted", *about, f"the settings no longer have it{_size(state)}")
    if step.operation != "update":
        return MachineChange("made", *about, "")
    differing = _differing(step)
    kind = "stopped and started" if any(key in TYPES for key in differing) else "changed while it runs"
    return MachineChange(kind, *about, _told(step, differing))


def _size(state: State) -> str:
    """How many machines a group has, where the state is one's."""
    if state.type not in POOLS:
        return ""
    least = number(state.inputs, "minSize") or number(state.inputs, "targetSize")
    most = number(state.inputs, "maxSize")
    return f"; its machines go, {least} to {most} of them" if most else f"; its machines go, {least} or more of them"


def _role(state: State) -> str:
    if state.type in POOLS:
        return "pool"
    return text(_marks(state), "role").removeprefix("wireguard-")


def _why(step: Step) -> str:
    assert step.old is not None
    assert step.new is not None
    old, new = step.old.trigger, step.new.trigger
    if old is not None and new is not None and old != new:
        return f"its revision is raised: {_number(old)} → {_number(new)}"
    reasons = [reason.partition("[")[0].partition(".")[0] for reason in step.reasons]
    return _told(step, list(dict.fromkeys(reasons))) or "what it depends on is replaced"


def _told(step: Step, keys: list[str]) -> str:
    assert step.old is not None
    assert step.new is not None
    told: list[str] = []
    for key in keys:
        setting = SETTINGS.get(key, key)
        old, new = (text(state.inputs, key) for state in (step.old, step.new))
        told.append(
            f"{setting}: {old} → {new}"
            if key in SHORT and old and new and old != new and SECRET not in old + new
            else setting
        )
    return ", ".join(told)


def _differing(step: Step) -> list[str]:
    assert step.old is not None
    assert step.new is not None
    old, new = step.old.inputs, step.new.inputs
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def _number(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def node_name(state: State) -> str:
    """The name that the settings give a machine, or a pool; of a pool's machines on Hetzner each has a number."""
    marked = _marks(state)
    name = text(marked, "node") or ("" if state.type in MACHINES else text(marked, "pool"))
    for ending in ("-server", "-instance", "-group", "-template"):
        name = name or (state.name.removesuffix(ending) if state.name.endswith(ending) else "")
    return name or state.name


def _marks(state: State) -> dict[str, Any]:
    """Labels and tags."""
    return {**section(state.inputs, "labels"), **section(state.inputs, "tags")}


def machine_type(state: State) -> str:
    """The server type, or those that a group chooses from; empty where there is none."""
    template = section(section(state.inputs, "mixedInstancesPolicy"), "launchTemplate")
    several = [text(one, "instanceType") for one in items(template, "overrides")]
    return " or ".join(several) or next((text(state.inputs, key) for key in TYPES if key in state.inputs), "")


def _place(state: State) -> str:
    return next((text(state.inputs, key) for key in ("location", "zone", "region") if key in state.inputs), "")
