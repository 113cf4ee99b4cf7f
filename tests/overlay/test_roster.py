"""The roster's canonical bytes and what is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

import pytest

from overlay.model import EXTERNAL, Network, Node, Role, Site
from overlay.pools import Pool
from overlay.roster import Roster, RosterError, canonical, content_digest, parse, with_ranges
from overlay.signing import credentials_message, release_message, roster_message

SITE = Site("hetzner", "hetzner", IPv4Network("10.100.1.0/24"), "fsn1")


def key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


def node(name: str, address: str, role: Role, number: int, endpoint: str | None = None) -> Node:
    return Node(name, "hetzner", IPv4Address(address), role, key(number), endpoint)


POOL = Pool("burst", "hetzner", IPv4Network("10.100.1.128/26"), 4, "0" * 64, 30, 60, 8000, "/health", group="inference")
ROSTER = Roster(
    number=7,
    network=Network(IPv4Network("10.100.0.0/16"), (SITE,), "hub"),
    mtu=1420,
    nodes=(
        node("gw", "10.100.0.1", "gateway", 1, "198.51.100.1:51820"),
        node("hetzner-1", "10.100.1.1", "spoke", 2),
    ),
    wireguard_sources=(IPv4Network("0.0.0.0/0"), IPv6Network("::/0")),
    admin_cidrs=(IPv4Network("203.0.113.0/24"),),
)


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(canonical(ROSTER))
    change(document)
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def test_the_canonical_bytes_are_a_fixed_point() -> None:
    assert parse(canonical(ROSTER)) == ROSTER


def test_the_bytes_do_not_depend_on_the_order_of_the_nodes() -> None:
    assert canonical(replace(ROSTER, nodes=ROSTER.nodes[::-1])) == canonical(ROSTER)


def test_the_bytes_of_version_1_stay_as_they_are() -> None:
    """Machines in service verify signatures over these bytes, so they may change only with the schema's version."""
    small = replace(ROSTER, nodes=ROSTER.nodes[:1], pools=(), version=1)
    assert parse(canonical(small)) == small
    assert canonical(small) == (
        b'{"admin_cidrs":["203.0.113.0/24"],"network":{"mtu":1420,"overlay":"10.100.0.0/16","sites":{"hetzner":'
        b'{"cloud":"hetzner","region":"fsn1","subnet":"10.100.1.0/24"}},"topology":"hub"},"nodes":{"gw":{"address":'
        b'"10.100.0.1","endpoint":"198.51.100.1:51820","public_key":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",'
        b'"role":"gateway","site":"hetzner"}},"number":7,"revoked_keys":[],"schema_version":1,'
        b'"wireguard_sources":["0.0.0.0/0","::/0"]}'
    )


def test_the_content_digest_ignores_the_number_and_nothing_else() -> None:
    assert content_digest(replace(ROSTER, number=8)) == content_digest(ROSTER)
    assert content_digest(replace(ROSTER, mtu=1380)) != content_digest(ROSTER)


LATE = replace(
    ROSTER,
    network=with_ranges(
        replace(
            ROSTER.network,
            sites=(
                replace(SITE, lan=IPv4Network("10.0.0.0/16"), lan_group="admin"),
                Site("me", EXTERNAL, IPv4Network("10.100.9.0/24"), "home"),
            ),
            topology="mesh",
            overlay6=IPv6Network("fd12:3456:789a::/48"),
            groups={"admin": ("all",), "inference": ("inference", "loadbalancer")},
            domain="gpu.internal",
        ),
        [POOL],
    ),
    nodes=(
        replace(ROSTER.nodes[0], lan=True, lan_endpoint="10.0.0.2:51820", endpoint6="[2001:db8::1]:51820"),
        replace(ROSTER.nodes[1], group="inference", lan=True, only6=True),
        Node("laptop", "me", IPv4Address("10.100.9.1"), "spoke", key(3), group="admin"),
    ),
    pools=(POOL,),
)


def late(change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(canonical(LATE))
    change(document)
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def test_everything_that_version_4_added_comes_back_from_its_bytes() -> None:
    assert parse(canonical(LATE)) == LATE
    assert LATE.network.ranges == ((POOL.addresses, "inference"),)
    assert canonical(replace(LATE, nodes=LATE.nodes[::-1])) == canonical(LATE)


def test_the_bytes_of_version_4_stay_as_they_are() -> None:
    """Machines verify a signature over them, and an older or a newer release must make the same."""
    document = json.loads(canonical(replace(LATE, nodes=LATE.nodes[:1], pools=())))
    assert document["network"] == {
        "overlay": "10.100.0.0/16", "overlay6": "fd12:3456:789a::/48", "topology": "mesh", "mtu": 1420,
        "domain": "gpu.internal", "groups": {"admin": ["all"], "inference": ["inference", "loadbalancer"]},
        "sites": {
            "hetzner": {
                "cloud": "hetzner", "subnet": "10.100.1.0/24", "region": "fsn1", "lan": "10.0.0.0/16",
                "lan_group": "admin",
            },
            "me": {"cloud": "external", "subnet": "10.100.9.0/24", "region": "home", "lan": None, "lan_group": None},
        },
    }  # fmt: skip
    assert document["nodes"]["gw"] == {
        "site": "hetzner", "role": "gateway", "address": "10.100.0.1", "public_key": key(1), "group": "", "lan": True,
        "endpoint": "198.51.100.1:51820", "lan_endpoint": "10.0.0.2:51820", "only6": False,
        "endpoint6": "[2001:db8::1]:51820",
    }  # fmt: skip


def test_version_5_names_the_authorities_and_version_4_none() -> None:
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    named = replace(ROSTER, authorities=(pem, pem))
    assert parse(canonical(named)) == named
    assert json.loads(canonical(named))["authorities"] == [pem, pem]
    old = replace(ROSTER, version=4)
    assert parse(canonical(old)) == old
    assert b"authorities" not in canonical(old)
    assert content_digest(named) != content_digest(ROSTER)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_rosters_of_earlier_versions_are_read_and_know_nothing_of_what_came_later(version: int) -> None:
    old = replace(ROSTER, version=version)
    assert parse(canonical(old)) == old
    assert b"group" not in canonical(old)
    assert b"lan" not in canonical(old).replace(b"load_balancer", b"")
    newer = json.loads(canonical(old))
    newer["network"]["domain"] = "wg.internal"
    with pytest.raises(RosterError, match="unknown field 'domain'"):
        parse(json.dumps(newer, sort_keys=True, separators=(",", ":")).encode())


def test_ranges_have_a_group_only_where_there_are_groups() -> None:
    assert with_ranges(ROSTER.network, [POOL]).ranges == ()


REFUSALS: list[tuple[str, bytes, str]] = [
    ("truncated", canonical(ROSTER)[:-1], "not JSON"),
    ("empty", b"", "not JSON"),
    ("not ASCII", '{"é":1}'.encode(), "not JSON"),
    ("a list", b"[]", "object is needed"),
    ("deep nesting", b"[" * 100_000, "not JSON"),
    ("a field twice", canonical(ROSTER).replace(b'"number":7', b'"number":7,"number":7'), "twice"),
    ("spaces", json.dumps(json.loads(canonical(ROSTER)), sort_keys=True).encode(), "canonical"),
    ("unknown field", changed(lambda d: d.update(extra=1)), "unknown field 'extra'"),
    ("unknown field of a node", changed(lambda d: d["nodes"]["gw"].update(x=1)), "unknown field 'x'"),
    ("missing field", changed(lambda d: d.pop("admin_cidrs")), "admin_cidrs: missing"),
    ("other version", changed(lambda d: d.update(schema_version=6)), "schema_version"),
    ("no authority", changed(lambda d: d.update(authorities=["x"])), "authorities: not PEM"),
    ("number 0", changed(lambda d: d.update(number=0)), "number"),
    ("number true", changed(lambda d: d.update(number=True)), "number"),
    ("number as text", changed(lambda d: d.update(number="7")), "number"),
    ("mtu 100", changed(lambda d: d["network"].update(mtu=100)), "mtu"),
    ("short key", changed(lambda d: d["nodes"]["gw"].update(public_key="c2hvcnQ=")), "not a WireGuard key"),
    ("bad address", changed(lambda d: d["nodes"]["gw"].update(address="10.100.0.256")), "gw.address"),
    ("bad endpoint", changed(lambda d: d["nodes"]["gw"].update(endpoint="--help")), "not host:port"),
    ("bad role", changed(lambda d: d["nodes"]["gw"].update(role="king")), "neither gateway nor spoke"),
    ("bad name", changed(lambda d: d["nodes"].update({"A B": d["nodes"].pop("gw")})), "DNS label"),
    ("bad source", changed(lambda d: d.update(wireguard_sources=["10.0.0.1/8"])), "wireguard_sources"),
    ("source not a text", changed(lambda d: d.update(admin_cidrs=[1])), "list of texts"),
    ("revoked key in use", changed(lambda d: d.update(revoked_keys=[key(2)])), "revoked"),
    ("an address outside its site", changed(lambda d: d["nodes"]["hetzner-1"].update(address="10.100.9.1")), "outside"),
    ("two nodes, one key", changed(lambda d: d["nodes"]["hetzner-1"].update(public_key=key(1))), "already"),
    ("unknown site", changed(lambda d: d["nodes"]["gw"].update(site="moon")), "no such site"),
    ("unknown topology", changed(lambda d: d["network"].update(topology="ring")), "no such topology"),
    ("no groups", late(lambda d: d["network"].pop("groups")), "groups: missing"),
    ("groups as a list", late(lambda d: d["network"].update(groups=[])), "groups: an object"),
    ("a group that is no list", late(lambda d: d["network"]["groups"].update(admin="all")), "admin: a list of texts"),
    ("unknown group reached", late(lambda d: d["network"]["groups"].update(admin=["b"])), "no such group"),
    ("group of a node", late(lambda d: d["nodes"]["laptop"].update(group="b")), "laptop.group = b: no such group"),
    ("no group of a node", late(lambda d: d["nodes"]["laptop"].update(group="")), "everybody is in one"),
    ("group null", late(lambda d: d["nodes"]["laptop"].update(group=None)), "group: a text"),
    ("group missing", late(lambda d: d["nodes"]["laptop"].pop("group")), "group: missing"),
    ("group of a pool", late(lambda d: d["pools"]["burst"].update(group="b")), "pools.burst.group = b"),
    ("group of a lan", late(lambda d: d["network"]["sites"]["hetzner"].update(lan_group="b")), "lanGroup = b"),
    ("lan of a site", late(lambda d: d["network"]["sites"]["hetzner"].update(lan="10.0.0.1/16")), "hetzner.lan"),
    ("lan of a node", late(lambda d: d["nodes"]["gw"].update(lan=1)), "gw.lan: true or false"),
    ("lan of a pool", late(lambda d: d["pools"]["burst"].update(lan="yes")), "burst.lan: true or false"),
    ("lan endpoint", late(lambda d: d["nodes"]["gw"].update(lan_endpoint="10.0.0.2")), "not host:port"),
    ("overlay6 of IPv4", late(lambda d: d["network"].update(overlay6="10.0.0.0/8")), "overlay6"),
    ("overlay6 of the internet", late(lambda d: d["network"].update(overlay6="2001:db8::/48")), "unique local"),
    ("overlay6 too small", late(lambda d: d["network"].update(overlay6="fd12::/97")), "unique local"),
    ("overlay6 long", late(lambda d: d["network"].update(overlay6="fd12:0::/48")), "canonical"),
    ("domain", late(lambda d: d["network"].update(domain="WG")), "no domain name"),
    ("no domain", late(lambda d: d["network"].update(domain="")), "domain: a text"),
    ("two gateways of a site", late(lambda d: d["nodes"]["hetzner-1"].update(role="gateway")), "gateway already"),
    ("gateway elsewhere", late(lambda d: d["nodes"]["laptop"].update(role="gateway")), "not the stack's"),
    ("no gateway", changed(lambda d: d["nodes"].pop("gw")), "no gateway"),
]


@pytest.mark.parametrize(("body", "reason"), [pytest.param(body, why, id=name) for name, body, why in REFUSALS])
def test_a_bad_roster_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(RosterError, match=reason):
        parse(body)


def test_a_signature_of_one_kind_is_never_over_the_bytes_of_the_other() -> None:
    assert roster_message(b"1\nab\n") != release_message(1, "ab")
    assert release_message(1, "ab") == b"hybridnet release 1\n1\nab\n"
    assert len({credentials_message(b""), roster_message(b""), release_message(1, "")}) == 3
