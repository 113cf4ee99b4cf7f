"""The roster: the numbered document of what the stack declares, and its canonical bytes.

The bytes are JSON with sorted keys, no spaces and ASCII only, so the same roster is always the same bytes; the
stack's key signs them (``overlay.signing``). ``docs/control-plane.md`` describes every field. Version 2 added pools,
version 3 the load balancer, version 4 what topologies of several gateways, groups, names and IPv6 need, version 5 the
authorities; older ones are still read, since a gateway may have one on its disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from overlay.checks import problems
from overlay.fields import FieldError, Fields, Source, is_pem, read
from overlay.model import Network, Node, Site, is_node_name
from overlay.pools import AwsIdentity, GcpIdentity, Identity, Pool
from overlay.serving import LoadBalancer, balancer_document, is_health_path, read_balancer

SCHEMA_VERSION = 5
MAX_NUMBER = 2**53 - 1
"""The largest number that every JSON reader keeps exact (RFC 8259, section 6)."""


class RosterError(ValueError):
    """The bytes are not a valid roster; the message names the field and what is wrong with it."""


@dataclass(frozen=True)
class Roster:
    """What the stack declares.

    ``mtu`` is the tunnels' in bytes; ``wireguard_sources`` are the networks that may speak WireGuard to a gateway,
    ``admin_cidrs`` those that may use SSH; ``revoked_keys`` are WireGuard public keys that no node may use. Version 1
    has no pools, and neither it nor version 2 has a ``load_balancer``. By ``authorities`` (PEM, the present one first)
    gateways' control planes are known; there are none before version 5, and then first boot's is.
    """

    number: int
    network: Network
    mtu: int
    nodes: tuple[Node, ...]
    wireguard_sources: tuple[Source, ...]
    admin_cidrs: tuple[Source, ...]
    revoked_keys: tuple[str, ...] = ()
    pools: tuple[Pool, ...] = ()
    load_balancer: LoadBalancer | None = None
    version: int = SCHEMA_VERSION
    authorities: tuple[str, ...] = ()

    def node(self, name: str) -> Node:
        """The node called ``name``; KeyError when the roster has none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def pool(self, name: str) -> Pool:
        """The pool called ``name``; KeyError when the roster has none."""
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise KeyError(name)


def _identity_document(identity: Identity | None) -> dict[str, Any] | None:
    match identity:
        case None:
            return None
        case AwsIdentity():
            certificates = list(identity.certificates)
            return {
                "cloud": "aws",
                "account": identity.account,
                "region": identity.region,
                "certificates": certificates,
            }
        case GcpIdentity():
            return {"cloud": "gcp", "project": identity.project}


def _network_document(roster: Roster) -> dict[str, Any]:
    network, is_late = roster.network, roster.version > 3
    document: dict[str, Any] = {
        "overlay": str(network.overlay),
        "topology": network.topology,
        "mtu": roster.mtu,
        "sites": {
            site.name: {
                "cloud": site.cloud,
                "subnet": str(site.subnet),
                "region": site.region,
                **({"lan": _text(site.lan), "lan_group": site.lan_group} if is_late else {}),
            }
            for site in network.sites
        },
    }
    if is_late:
        document["overlay6"] = _text(network.overlay6)
        document["groups"] = {name: list(reached) for name, reached in network.groups.items()}
        document["domain"] = network.domain
    return document


def _text(network: object | None) -> str | None:
    return None if network is None else str(network)


def _node_document(node: Node, version: int) -> dict[str, Any]:
    document: dict[str, Any] = {
        "site": node.site,
        "role": node.role,
        "address": str(node.address),
        "public_key": node.public_key,
        "endpoint": node.endpoint,
    }
    if version > 3:
        document |= {
            "group": node.group,
            "lan": node.lan,
            "lan_endpoint": node.lan_endpoint,
            "only6": node.only6,
            "endpoint6": node.endpoint6,
        }
    return document


def canonical(roster: Roster) -> bytes:
    """The roster's bytes, as they are signed, sent and stored."""
    document: dict[str, Any] = {
        "schema_version": roster.version,
        "number": roster.number,
        "network": _network_document(roster),
        "nodes": {node.name: _node_document(node, roster.version) for node in roster.nodes},
        "wireguard_sources": [str(source) for source in roster.wireguard_sources],
        "admin_cidrs": [str(source) for source in roster.admin_cidrs],
        "revoked_keys": sorted(roster.revoked_keys),
    }
    if roster.version > 1:
        document["pools"] = {
            pool.name: {
                "site": pool.site,
                "range": str(pool.addresses),
                "limit": pool.limit,
                "token_sha256": pool.token_sha256,
                "ttl": pool.ttl,
                "rest": pool.rest,
                "port": pool.port,
                "health_path": pool.health_path,
                "identity": _identity_document(pool.identity),
                **({"group": pool.group, "lan": pool.lan} if roster.version > 3 else {}),
            }
            for pool in roster.pools
        }
    if roster.version > 2:
        document["load_balancer"] = balancer_document(roster.load_balancer)
    if roster.version > 4:
        document["authorities"] = list(roster.authorities)
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def with_ranges(network: Network, pools: Iterable[Pool]) -> Network:
    """``network`` with the ranges of ``pools``, where there are groups."""
    ranges = tuple((pool.addresses, pool.group) for pool in pools) if network.groups else ()
    return replace(network, ranges=ranges)


def content_digest(roster: Roster) -> str:
    """SHA-256 (hex) of the roster without its number: two rosters that say the same have the same digest."""
    return hashlib.sha256(canonical(replace(roster, number=0))).hexdigest()


def _site(name: str, fields: Fields, version: int) -> Site:
    if not is_node_name(name):
        raise RosterError(f"network.sites.{name}: not a lower-case DNS label")
    site = Site(name, fields.text("cloud"), fields.network("subnet"), fields.text("region"))
    if version > 3:
        site = replace(site, lan=fields.maybe_network("lan"), lan_group=fields.maybe_optional_text("lan_group"))
    fields.end()
    return site


def _node(name: str, fields: Fields, version: int) -> Node:
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
    if version > 3:
        group, lan = fields.optional_text("group"), fields.flag("lan")
        node = replace(node, group=group, lan=lan, lan_endpoint=fields.endpoint("lan_endpoint"))
        node = replace(node, only6=fields.flag("only6"), endpoint6=fields.endpoint("endpoint6"))
    fields.end()
    return node


def _pool(name: str, fields: Fields, version: int) -> Pool:
    if not is_node_name(name):
        raise RosterError(f"pools.{name}: not a lower-case DNS label")
    path = fields.text("health_path")
    if not is_health_path(path):
        raise RosterError(f"pools.{name}.health_path: {path!r} is not the path of a URL")
    pool = Pool(
        name,
        fields.text("site"),
        fields.network("range"),
        fields.number("limit", 1, 65536),
        fields.digest("token_sha256"),
        fields.number("ttl", 1, 86400 * 365),
        fields.number("rest", 0, 86400 * 365),
        fields.number("port", 1, 65535),
        path,
        _identity(fields.maybe("identity")),
    )
    if version > 3:
        pool = replace(pool, group=fields.optional_text("group"), lan=fields.flag("lan"))
    fields.end()
    return pool


def _identity(fields: Fields | None) -> Identity | None:
    if fields is None:
        return None
    cloud = fields.text("cloud")
    identity: Identity
    if cloud == "aws":
        identity = AwsIdentity(fields.text("account"), fields.text("region"), tuple(fields.texts("certificates")))
    elif cloud == "gcp":
        identity = GcpIdentity(fields.text("project"))
    else:
        raise FieldError(f"identity.cloud: {cloud!r} is neither aws nor gcp")
    fields.end()
    return identity


def _authorities(top: Fields) -> tuple[str, ...]:
    found = tuple(top.texts("authorities"))
    if not all(map(is_pem, found)):
        raise FieldError("roster.authorities: not PEM")
    return found


def _check_balancer(roster: Roster) -> None:
    """RosterError when requests are to go to what the roster does not declare as a machine that can serve."""
    if roster.load_balancer is None:
        return
    spokes = {node.name for node in roster.nodes if node.role == "spoke"}
    for name in roster.load_balancer.nodes:
        if name not in spokes:
            raise RosterError(f"load_balancer.nodes.{name}: no such spoke")
    pools = {pool.name for pool in roster.pools}
    for name in roster.load_balancer.pools:
        if name not in pools:
            raise RosterError(f"load_balancer.pools.{name}: no such pool")


def parse(body: bytes) -> Roster:
    """The roster of canonical bytes; RosterError unless they are exactly what :func:`canonical` makes."""
    try:
        return _parsed(body)
    except FieldError as error:
        raise RosterError(str(error)) from None


def _parsed(body: bytes) -> Roster:
    top = read("roster", body)
    version = top.number("schema_version", 1, SCHEMA_VERSION)
    number = top.number("number", 1, MAX_NUMBER)
    net = top.object("network")
    sites = tuple(_site(name, fields, version) for name, fields in net.objects("sites").items())
    network = Network(net.network("overlay"), sites, net.text("topology"))
    mtu = net.number("mtu", 576, 9000)
    if version > 3:
        groups, domain = net.text_lists("groups"), net.text("domain")
        network = replace(network, overlay6=net.maybe_network6("overlay6"), groups=groups, domain=domain)
    net.end()
    nodes = tuple(_node(name, fields, version) for name, fields in top.objects("nodes").items())
    wireguard_sources, admin_cidrs = top.sources("wireguard_sources"), top.sources("admin_cidrs")
    revoked_keys = tuple(top.texts("revoked_keys"))
    pools: tuple[Pool, ...] = ()
    if version > 1:
        pools = tuple(_pool(name, fields, version) for name, fields in top.objects("pools").items())
    network = with_ranges(network, pools)
    balancer = read_balancer(top.maybe("load_balancer")) if version > 2 else None
    authorities = _authorities(top) if version > 4 else ()
    roster = Roster(
        number,
        network,
        mtu,
        nodes,
        wireguard_sources,
        admin_cidrs,
        revoked_keys,
        pools,
        balancer,
        version,
        authorities,
    )
    top.end()
    if canonical(roster) != body:
        raise RosterError("not in canonical form: sorted keys, no spaces, ASCII, addresses in their shortest form")
    revoked = set(roster.revoked_keys)
    for node in roster.nodes:
        if node.public_key in revoked:
            raise RosterError(f"nodes.{node.name}.public_key: this key is revoked")
    _check_balancer(roster)
    wrong = problems(network, roster.nodes, {}, roster.pools)
    if wrong:
        raise RosterError(str(wrong[0]))
    return roster
