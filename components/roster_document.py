"""The roster as a resource's inputs say it, and the document that they describe.

Inputs come back from the engine as JSON: numbers are floats, and what is None is left out. Of what not every network
has (groups, IPv6, a site's own network) the inputs say nothing where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from typing import Any

import pulumi

from overlay.model import DOMAIN, Network, Node, Site
from overlay.pools import AwsIdentity, GcpIdentity, Identity, Pool
from overlay.roster import Roster, with_ranges
from overlay.serving import Check, LoadBalancer, Share, Target


def balancer_inputs(balancer: LoadBalancer, trusted_proxies: pulumi.Input[Sequence[str]]) -> dict[str, Any]:
    """A roster's ``loadBalancer``: mappings by name, so that a preview shows the change of one machine or pool."""
    check = balancer.check
    return {
        "check": {"interval": check.interval, "rise": check.rise, "fall": check.fall},
        "nodes": {
            name: {"port": target.port, "healthPath": target.health_path, **_share_inputs(target.share)}
            for name, target in balancer.nodes.items()
        },
        "pools": {name: _share_inputs(share) for name, share in balancer.pools.items()},
        "trustedProxies": trusted_proxies,
    }


def _share_inputs(share: Share) -> dict[str, Any]:
    return {"weight": share.weight, "backup": share.backup, "maxConns": share.max_conns}


def roster_document(props: Mapping[str, Any], number: int) -> Roster:
    """The roster that a resource's inputs describe."""
    network = props["network"]
    pools = tuple(_pool(name, pool) for name, pool in sorted(props["pools"].items()))
    return Roster(
        number=number,
        network=with_ranges(_network(network), pools),
        mtu=int(network["mtu"]),
        nodes=tuple(_node(name, node) for name, node in sorted(props["nodes"].items())),
        wireguard_sources=tuple(ip_network(text) for text in props["wireguardSources"]),
        admin_cidrs=tuple(ip_network(text) for text in props["adminCidrs"]),
        revoked_keys=tuple(props["revokedKeys"]),
        pools=pools,
        load_balancer=_balancer(props.get("loadBalancer")),
        authorities=tuple(props.get("authorities", ())),
    )


def _network(network: Mapping[str, Any]) -> Network:
    overlay6 = network.get("overlay6")
    return Network(
        overlay=IPv4Network(network["overlay"]),
        sites=tuple(_site(name, site) for name, site in sorted(network["sites"].items())),
        topology=network["topology"],
        overlay6=None if overlay6 is None else IPv6Network(overlay6),
        groups={name: tuple(reached) for name, reached in sorted(network.get("groups", {}).items())},
        domain=network.get("domain", DOMAIN),
    )


def _site(name: str, site: Mapping[str, Any]) -> Site:
    lan = site.get("lan")
    own = None if lan is None else IPv4Network(lan)
    return Site(name, site["cloud"], IPv4Network(site["subnet"]), site["region"], own, site.get("lanGroup"))


def _node(name: str, node: Mapping[str, Any]) -> Node:
    return Node(
        name=name,
        site=node["site"],
        address=IPv4Address(node["address"]),
        role=node["role"],
        public_key=node["publicKey"],
        endpoint=node.get("endpoint"),
        group=node.get("group", ""),
        lan=bool(node.get("lan", False)),
        lan_endpoint=node.get("lanEndpoint"),
        only6=bool(node.get("only6", False)),
        endpoint6=node.get("endpoint6"),
    )


def _pool(name: str, pool: Mapping[str, Any]) -> Pool:
    return Pool(
        name=name,
        site=pool["site"],
        addresses=IPv4Network(pool["range"]),
        limit=int(pool["limit"]),
        token_sha256=pool["tokenSha256"],
        ttl=int(pool["ttl"]),
        rest=int(pool["rest"]),
        port=int(pool["port"]),
        health_path=pool["healthPath"],
        identity=_identity(pool.get("identity")),
        group=pool.get("group", ""),
        lan=bool(pool.get("lan", False)),
    )


def _identity(identity: Mapping[str, Any] | None) -> Identity | None:
    if identity is None:
        return None
    if identity["cloud"] == "gcp":
        return GcpIdentity(identity["project"])
    return AwsIdentity(identity["account"], identity["region"], tuple(identity["certificates"]))


def _balancer(balancer: Mapping[str, Any] | None) -> LoadBalancer | None:
    if balancer is None:
        return None
    check = balancer["check"]
    return LoadBalancer(
        Check(int(check["interval"]), int(check["rise"]), int(check["fall"])),
        {
            name: Target(int(target["port"]), target["healthPath"], _share(target))
            for name, target in sorted(balancer["nodes"].items())
        },
        {name: _share(share) for name, share in sorted(balancer["pools"].items())},
        tuple(ip_network(text) for text in balancer["trustedProxies"]),
    )


def _share(share: Mapping[str, Any]) -> Share:
    return Share(int(share["weight"]), bool(share["backup"]), int(share["maxConns"]))
