"""The roster: the numbered document of what the stack declares, and its canonical bytes.

The bytes are JSON with sorted keys, no spaces and ASCII only, so the same roster is always the same bytes; the
stack's key signs them (``overlay.signing``). Version 1; ``docs/control-plane.md`` describes every field.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from typing import Any, cast

from overlay.checks import problems
from overlay.model import Network, Node, Site, is_endpoint, is_node_name, is_wireguard_key

SCHEMA_VERSION = 1
MAX_NUMBER = 2**53 - 1
"""The largest number that every JSON reader keeps exact (RFC 8259, section 6)."""

Source = IPv4Network | IPv6Network


class RosterError(ValueError):
    """The bytes are not a valid roster; the message names the field and what is wrong with it."""


@dataclass(frozen=True)
class Roster:
    """What the stack declares.

    ``mtu`` is the tunnels' in bytes; ``wireguard_sources`` are the networks that may speak WireGuard to a gateway,
    ``admin_cidrs`` those that may use SSH; ``revoked_keys`` are WireGuard public keys that no node may use.
    """

    number: int
    network: Network
    mtu: int
    nodes: tuple[Node, ...]
    wireguard_sources: tuple[Source, ...]
    admin_cidrs: tuple[Source, ...]
    revoked_keys: tuple[str, ...] = ()

    def node(self, name: str) -> Node:
        """The node called ``name``; KeyError when the roster has none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)


def canonical(roster: Roster) -> bytes:
    """The roster's bytes, as they are signed, sent and stored."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "number": roster.number,
        "network": {
            "overlay": str(roster.network.overlay),
            "topology": roster.network.topology,
            "mtu": roster.mtu,
            "sites": {
                site.name: {"cloud": site.cloud, "subnet": str(site.subnet), "region": site.region}
                for site in roster.network.sites
            },
        },
        "nodes": {
            node.name: {
                "site": node.site,
                "role": node.role,
                "address": str(node.address),
                "public_key": node.public_key,
                "endpoint": node.endpoint,
            }
            for node in roster.nodes
        },
        "wireguard_sources": [str(source) for source in roster.wireguard_sources],
        "admin_cidrs": [str(source) for source in roster.admin_cidrs],
        "revoked_keys": sorted(roster.revoked_keys),
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def content_digest(roster: Roster) -> str:
    """SHA-256 (hex) of the roster without its number: two rosters that say the same have the same digest."""
    return hashlib.sha256(canonical(replace(roster, number=0))).hexdigest()


class _Fields:
    """A JSON object that is read field by field; every field must be read, and none may be missing."""

    def __init__(self, where: str, value: object) -> None:
        if not isinstance(value, dict):
            raise RosterError(f"{where}: an object is needed")
        self._where = where
        self._left = dict(cast("dict[str, object]", value))

    def take(self, key: str) -> tuple[str, object]:
        path = f"{self._where}.{key}"
        if key not in self._left:
            raise RosterError(f"{path}: missing")
        return path, self._left.pop(key)

    def text(self, key: str) -> str:
        path, value = self.take(key)
        if not isinstance(value, str) or not value:
            raise RosterError(f"{path}: a text is needed")
        return value

    def number(self, key: str, low: int, high: int) -> int:
        path, value = self.take(key)
        if type(value) is not int or not low <= value <= high:
            raise RosterError(f"{path}: a whole number from {low} to {high} is needed")
        return value

    def network(self, key: str) -> IPv4Network:
        try:
            return IPv4Network(self.text(key))
        except ValueError as error:
            raise RosterError(f"{self._where}.{key}: {error}") from None

    def address(self, key: str) -> IPv4Address:
        try:
            return IPv4Address(self.text(key))
        except ValueError as error:
            raise RosterError(f"{self._where}.{key}: {error}") from None

    def key(self, key: str) -> str:
        value = self.text(key)
        if not is_wireguard_key(value):
            raise RosterError(f"{self._where}.{key}: not a WireGuard key (base64 of 32 bytes)")
        return value

    def endpoint(self, key: str) -> str | None:
        if self._left.get(key, "") is None:
            del self._left[key]
            return None
        value = self.text(key)
        if not is_endpoint(value):
            raise RosterError(f"{self._where}.{key}: {value!r} is not host:port")
        return value

    def objects(self, key: str) -> Mapping[str, _Fields]:
        path, value = self.take(key)
        if not isinstance(value, dict):
            raise RosterError(f"{path}: an object is needed")
        return {name: _Fields(f"{path}.{name}", item) for name, item in cast("dict[str, object]", value).items()}

    def texts(self, key: str) -> Sequence[str]:
        path, value = self.take(key)
        items = cast("list[object]", value) if isinstance(value, list) else None
        if items is None or not all(isinstance(item, str) for item in items):
            raise RosterError(f"{path}: a list of texts is needed")
        return cast("list[str]", items)

    def sources(self, key: str) -> tuple[Source, ...]:
        try:
            return tuple(ip_network(text) for text in self.texts(key))
        except ValueError as error:
            raise RosterError(f"{self._where}.{key}: {error}") from None

    def end(self) -> None:
        if self._left:
            raise RosterError(f"{self._where}: unknown field {min(self._left)!r}")


def _site(name: str, fields: _Fields) -> Site:
    site = Site(name, fields.text("cloud"), fields.network("subnet"), fields.text("region"))
    fields.end()
    return site


def _node(name: str, fields: _Fields) -> Node:
    if not is_node_name(name):
        raise RosterError(f"nodes.{name}: not a lower-case DNS label")
    role = fields.text("role")
    if role not in ("gateway", "spoke"):
        raise RosterError(f"nodes.{name}.role: {role!r} is neither gateway nor spoke")
    node = Node(
        name,
        fields.text("site"),
        fields.address("address"),
        role,
        fields.key("public_key"),
        fields.endpoint("endpoint"),
    )
    fields.end()
    return node


def _no_duplicate_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RosterError("the same field stands twice in one object")
    return found


def parse(body: bytes) -> Roster:
    """The roster of canonical bytes; RosterError unless they are exactly what :func:`canonical` makes."""
    try:
        document: object = json.loads(body.decode("ascii"), object_pairs_hook=_no_duplicate_fields)
    except (ValueError, RecursionError) as error:
        if isinstance(error, RosterError):
            raise
        raise RosterError(f"not JSON in ASCII: {type(error).__name__}") from None
    top = _Fields("roster", document)
    top.number("schema_version", SCHEMA_VERSION, SCHEMA_VERSION)
    number = top.number("number", 1, MAX_NUMBER)
    net = _Fields("roster.network", top.take("network")[1])
    sites = tuple(_site(name, fields) for name, fields in net.objects("sites").items())
    network = Network(net.network("overlay"), sites, net.text("topology"))
    mtu = net.number("mtu", 576, 9000)
    net.end()
    roster = Roster(
        number,
        network,
        mtu,
        tuple(_node(name, fields) for name, fields in top.objects("nodes").items()),
        top.sources("wireguard_sources"),
        top.sources("admin_cidrs"),
        tuple(top.texts("revoked_keys")),
    )
    top.end()
    if canonical(roster) != body:
        raise RosterError("not in canonical form: sorted keys, no spaces, ASCII, addresses in their shortest form")
    revoked = set(roster.revoked_keys)
    for node in roster.nodes:
        if node.public_key in revoked:
            raise RosterError(f"nodes.{node.name}.public_key: this key is revoked")
    wrong = problems(network, roster.nodes, {})
    if wrong:
        raise RosterError(str(wrong[0]))
    return roster
