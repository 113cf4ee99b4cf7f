"""Tokens, projects, names and links: what Google's kinds have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import ClassVar, Literal

from localcloud.provider import members
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind, Naming
from localcloud.provider.rules.gcp import (
    LABEL_KEY,
    LABEL_VALUE,
    LABELS_PER_RESOURCE,
    NAME,
    REGIONS,
    ZONES,
)
from localcloud.provider.world import Record, World
from localcloud.wire import Value

NETWORK = "gcp:compute/network:Network"
SUBNETWORK = "gcp:compute/subnetwork:Subnetwork"
ROUTER = "gcp:compute/router:Router"
ROUTER_NAT = "gcp:compute/routerNat:RouterNat"
FIREWALL = "gcp:compute/firewall:Firewall"
INSTANCE = "gcp:compute/instance:Instance"
ADDRESS = "gcp:compute/address:Address"
ROUTE = "gcp:compute/route:Route"
INSTANCE_TEMPLATE = "gcp:compute/instanceTemplate:InstanceTemplate"
GROUP_MANAGER = "gcp:compute/regionInstanceGroupManager:RegionInstanceGroupManager"
ACCOUNT = "gcp:serviceaccount/account:Account"

_COLLECTIONS = {
    NETWORK: "networks",
    SUBNETWORK: "subnetworks",
    ROUTER: "routers",
    ADDRESS: "addresses",
    INSTANCE_TEMPLATE: "instanceTemplates",
}
API = "https://www.googleapis.com/compute/v1/"
_CREATED = "2026-11-01T00:00:00.000-07:00"
Scope = Literal["global", "region", "zone"]


class GcpKind(Kind):
    """A kind with a project, a place and a name; those three always replace it."""

    collection: ClassVar[str]
    """Its word in links: networks, instances …"""
    scope: ClassVar[Scope] = "global"
    title: ClassVar[str]
    """What error messages call it."""
    naming = Naming(longest=63, lower=True)
    unsupported: ClassVar[Iterable[str]] = ()
    """Properties that the local cloud cannot honour."""

    def check(self, check: Check) -> None:
        inputs = check.inputs
        name = inputs.text("name")
        if name is not None and not re.fullmatch(NAME, name):
            check.refuse(
                "name",
                f'"name" ("{name}") doesn\'t match regexp "^(?:{NAME})$": 1 to 63 lowercase letters, '
                "digits and hyphens, a letter first",
            )
        if project_of(inputs, check.config) is None and inputs.known("project"):
            check.refuse(
                "project",
                "Failed to retrieve project, pid: , err: project: required field is not set: set "
                "gcp:project, or project on the resource",
            )
        place = place_of(self.scope, inputs, check.config)
        if self.scope != "global" and inputs.known(self.scope):
            known: Iterable[str] = ZONES if self.scope == "zone" else REGIONS
            if place is None:
                check.refuse(
                    self.scope,
                    f"Cannot determine {self.scope}: set in this resource, or set provider-level {self.scope}",
                )
            elif place not in known:
                check.refuse(
                    self.scope,
                    f"googleapi: Error 400: Invalid value for field '{self.scope}': '{place}'. Unknown "
                    f"{self.scope}., invalid",
                )
        check_labels(check)
        for unsupported in self.unsupported:
            if inputs.given(unsupported):
                check.refuse(unsupported, f"the local cloud cannot honour {unsupported}")
        self._check_taken(check)

    def replaces(self, path: str, old: Inputs, new: Inputs) -> bool:
        return path in ("name", "project", self.scope) or super().replaces(path, old, new)

    def make(self, inputs: Inputs, world: World, config: Mapping[str, str], **facts: Value) -> Record:
        """Put a new record into the world, under the id that its project, place and name make."""
        id_ = self.identity(inputs, config)
        facts["project"] = project_of(inputs, config)
        facts["place"] = place_of(self.scope, inputs, config)
        facts["number"] = str(4_000_000_000_000_000 + world.next("gcp"))
        return world.put(Record(self.token, id_ or "", inputs.values, facts))

    def identity(self, inputs: Inputs, config: Mapping[str, str]) -> str | None:
        """The id, when everything in it is known: it is made of names of the user's choice."""
        project, place, name = project_of(inputs, config), place_of(self.scope, inputs, config), inputs.text("name")
        if project is None or name is None or (self.scope != "global" and place is None):
            return None
        where = "global" if self.scope == "global" else f"{self.scope}s/{place}"
        return f"projects/{project}/{where}/{self.collection}/{name}"

    def delete(self, record: Record, world: World) -> None:
        match record.inputs.text("deletionPolicy"):
            case "PREVENT":
                raise CloudError(f"cannot destroy {self.title} {record.id}: deletion_policy is PREVENT")
            case "ABANDON":
                return
            case _:
                world.remove(record)

    def outputs(self, record: Record, world: World) -> dict[str, Value]:
        common: dict[str, Value] = {
            "project": record.facts.text("project"),
            "selfLink": f"{API}{record.id}",
            "creationTimestamp": _CREATED,
            "deletionPolicy": "DELETE",
        }
        if self.scope != "global":
            common[self.scope] = record.facts.text("place")
        if "labels" in self.shape.inputs:
            labels: dict[str, Value] = {**record.inputs.mapping("labels")}
            all_labels: dict[str, Value] = {**labels, "goog-pulumi-provisioned": "true"}
            common |= {"effectiveLabels": all_labels, "pulumiLabels": all_labels, "labelFingerprint": "42WmSpB8rSM="}
        told = {**common, **super().outputs(record, world)}
        return {name: value for name, value in told.items() if name in self.shape.outputs}

    def _check_taken(self, check: Check) -> None:
        id_ = self.identity(check.inputs, check.config)
        if id_ is None or (check.old is not None and self.identity(check.old, check.config) == id_):
            return
        if check.world.get(self.token, id_):
            check.refuse(
                "name",
                f"Error creating {self.title}: googleapi: Error 409: The resource '{id_}' already "
                "exists, alreadyExists",
            )


def every_instance(world: World) -> Iterator[Record]:
    """Everything that runs: the declared instances, and those that groups launched."""
    return chain(world.all(INSTANCE), members.members(world, "gcp"))


def project_of(inputs: Inputs, config: Mapping[str, str]) -> str | None:
    """The project of a resource: its own, else the provider's."""
    return inputs.text("project") or (None if inputs.given("project") else config.get("project"))


def place_of(scope: Scope, inputs: Inputs, config: Mapping[str, str]) -> str | None:
    """The region or zone of a resource: its own, else the provider's."""
    if scope == "global":
        return None
    own = inputs.text(scope)
    return own.rpartition("/")[2] if own else (None if inputs.given(scope) else config.get(scope))


def check_labels(check: Check) -> None:
    """https://cloud.google.com/compute/docs/labeling-resources#restrictions"""
    labels = check.inputs.mapping("labels")
    if len(labels) > LABELS_PER_RESOURCE:
        check.refuse(
            "labels", f"googleapi: Error 400: {len(labels)} labels, the limit is {LABELS_PER_RESOURCE}, invalid"
        )
    for key, value in labels.items():
        if not re.fullmatch(LABEL_KEY, key) or not re.fullmatch(LABEL_VALUE, value):
            check.refuse(
                f"labels.{key}",
                f"googleapi: Error 400: Invalid value for field 'resource.labels': '{key}={value}'. "
                "Label keys and values "
                "may hold lowercase letters, digits, hyphens and underscores, 63 at most, keys a "
                "letter first., invalid",
            )


def id_of(link: str, collection: str, project: str | None, place: str | None) -> str:
    """The id that a name, an id or a self link, unique or not, stands for; a bare name is one of project and place."""
    id_ = link.partition("?")[0].removeprefix("https://compute.googleapis.com/compute/v1/").removeprefix(API)
    where = "global" if place is None else f"regions/{place}"
    return id_ if id_.startswith("projects/") else f"projects/{project}/{where}/{collection}/{id_.rpartition('/')[2]}"


def find(world: World, token: str, link: str | None, project: str | None, place: str | None) -> Record | None:
    """The resource that a link names."""
    return None if link is None else world.get(token, id_of(link, _COLLECTIONS[token], project, place))


def refer(check: Check, token: str, path: str, field: str, link: str | None, place: str | None = None) -> Record | None:
    """The resource that a property names; refused when there is none and none is going to be made."""
    project = project_of(check.inputs, check.config)
    record = find(check.world, token, link, project, place)
    if link is None or record is not None:
        return record
    if (token, id_of(link, _COLLECTIONS[token], project, place)) not in check.planned:
        check.refuse(path, not_found(field, link))
    return None


def network(world: World, link: str | None, project: str | None) -> Record | None:
    """The network that a link names."""
    return find(world, NETWORK, link, project, None)


def subnetwork(world: World, link: str | None, project: str | None, region: str | None) -> Record | None:
    """The subnetwork that a link names."""
    return find(world, SUBNETWORK, link, project, region)


def not_found(field: str, link: str | None) -> str:
    """How the API says that a reference leads nowhere."""
    return (
        f"googleapi: Error 400: Invalid value for field 'resource.{field}': '{link}'. "
        "The referenced resource cannot be found., invalid"
    )


def in_use(title: str, record: Record, users: list[Record]) -> None:
    """Raise CloudError when anything still depends on the resource."""
    if users:
        raise CloudError(
            f"Error waiting for Deleting {title}: The {title.lower()} resource '{record.id}' is already being used by "
            f"'{users[0].id}' (resourceInUseByAnotherResource)"
        )
