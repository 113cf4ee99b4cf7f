"""What a machine of the local cloud shall be: the words that the provider and the fabric share.

The provider projects the resources of the program to `MachineSpec`s; the fabric makes the world equal to them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, cast

JSON: TypeAlias = "Mapping[str, JSON] | list[JSON] | tuple[JSON, ...] | str | int | float | bool | None"
Protocol = Literal["tcp", "udp", "icmp", "any"]
CloudName = Literal["hetzner", "aws", "gcp"]

INTERNET = "internet"
"""The network of an interface that holds its public address itself, as Hetzner's eth0 does."""


@dataclass(frozen=True)
class Rule:
    """Traffic that a provider's firewall lets pass; what no rule names is dropped."""

    protocol: Protocol
    ports: tuple[int, int] | None
    """First and last port, both included; None is every port."""
    sources: tuple[str, ...]
    """CIDRs of either family at the far end: where it comes from (ingress) or goes to (egress)."""


@dataclass(frozen=True)
class Route:
    """A way out of a private network by one of its own machines, which forwards."""

    destination: str
    """IPv4 CIDR."""
    via: str
    """That machine's address in the network."""


@dataclass(frozen=True)
class Interface:
    """A network card of a machine."""

    name: str
    network: str
    """`INTERNET`, or the id of a private network; two ids never reach each other, even with the same ranges."""
    address: str | None
    """IPv4 address; None on a card with IPv6 alone."""
    prefix: int
    """Prefix length of the range that is reached over this card: the subnet's, or the private network's on Hetzner."""
    mtu: int
    public: str | None = None
    """Public address: equal to `address` where it is routed to the machine, else translated one to one."""
    address6: str | None = None
    """Public IPv6 address, routed to the machine."""
    nat: str | None = None
    """Address that this card shares with others to reach the internet when it has no public one."""
    routes: tuple[Route, ...] = ()
    """Ways for what this card sends, the longest prefix first to be asked; everything else goes the network's way."""


@dataclass(frozen=True)
class MachineSpec:
    """A machine as the program declared it."""

    id: str
    """The provider's id of it, unique in the instance."""
    node: str
    """The name that the stack declares, which the commands take as NODE."""
    cloud: CloudName
    hostname: str
    user_data: str
    ssh_keys: tuple[str, ...]
    """Public keys in OpenSSH's format."""
    interfaces: tuple[Interface, ...]
    """The first is the one with the default route."""
    ingress: tuple[Rule, ...] | None
    """None: no firewall is attached, everything comes in. Empty: nothing does."""
    egress: tuple[Rule, ...] | None
    """None: everything may leave."""
    forwarding: bool
    """May send packets from other addresses than its own on private networks (source/destination check off)."""
    metadata: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    """What only the metadata service tells, each key optional: instance_id (where it is not `id`), instance_type,
    image, region, zone, labels ({name: value}, on AWS tags).

    On AWS: imds ({enabled, tokens_required, instance_tags: bool, hop_limit: int}), account. On GCP: name, project,
    project_number (decimal), created (time), service_account (its address), preemptible, preempted.

    Members of groups: pool, group. On AWS: role, lifecycle (spot, on-demand), lifecycle_state (InService, Terminated),
    from the notice of an interruption on spot_action ({action, time}), from the recommendation to rebalance on
    rebalance (its time). Times are ISO 8601 with seconds, UTC."""
    running: bool = True

    @property
    def instance_id(self) -> str:
        """What the machine is told that its id is."""
        return str(self.metadata.get("instance_id", self.id))

    @property
    def pool(self) -> str | None:
        """The pool whose group the machine is a member of. Such a machine is replaced, never repaired: it boots once,
        and what ends it ends it for good."""
        found = self.metadata.get("pool") or self.metadata.get("group")
        return None if found is None else str(found)


def to_json(spec: MachineSpec) -> str:
    """The spec as a JSON document; it holds the user data and with it secrets, so keep it in files of mode 0600."""
    return json.dumps(asdict(spec), sort_keys=True, indent=1)


def from_json(text: str) -> MachineSpec:
    """The inverse of `to_json`. Raises ValueError, KeyError or TypeError on a document of another shape."""
    document = cast("dict[str, Any]", json.loads(text))
    document["ssh_keys"] = tuple(document["ssh_keys"])
    document["interfaces"] = tuple(_interface(interface) for interface in document["interfaces"])
    document["ingress"] = _rules(document["ingress"])
    document["egress"] = _rules(document["egress"])
    return MachineSpec(**document)


def _interface(card: dict[str, Any]) -> Interface:
    routes = tuple(Route(**route) for route in card.pop("routes"))
    return Interface(**card, routes=routes)


def _rules(rules: list[dict[str, Any]] | None) -> tuple[Rule, ...] | None:
    if rules is None:
        return None
    return tuple(
        Rule(
            protocol=rule["protocol"],
            ports=None if rule["ports"] is None else (rule["ports"][0], rule["ports"][1]),
            sources=tuple(rule["sources"]),
        )
        for rule in rules
    )
