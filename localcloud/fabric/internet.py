"""The network between machines, as namespaces of this host: the internet with what is on it, and private routers.

Every packet stays in these namespaces; the host's own network is neither used nor changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from ipaddress import ip_network
from typing import Any, cast

from localcloud.cloud import NETNS, Cloud, LocalCloudError
from localcloud.fabric.firewall import METADATA_ADDRESS, UPLINK, Router, render
from localcloud.fabric.links import BLACKHOLE, BY_MACHINE, GATEWAY, route
from localcloud.fabric.plan import (
    DESK_DEVICE,
    EDGE_DEVICE,
    GOOGLE_DEVICE,
    PLACES,
    STRANGER_DEVICE,
    uplink_address,
    uplink_device,
)
from localcloud.fabric.process import run
from localcloud.fabric.steering import Steering, Way

_TRANSIT = "100.64.0.1"
"""The internet's address on its links to private routers; theirs are `uplink_address`."""

_NEAR, _STEERED = 1000, 1001
"""Priorities of the rules that lead what a card with routes sends to its table."""

_ROUTER_SETTINGS = {
    "net/ipv4/ip_forward": 1,
    "net/ipv6/conf/all/forwarding": 1,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv4/conf/all/send_redirects": 0,
    "net/ipv4/conf/default/send_redirects": 0,
}


def namespaces(prefix: str) -> list[str]:
    """Names of this host's namespaces that begin with `prefix`."""
    return sorted(path.name for path in NETNS.glob(f"{prefix}*"))


def ensure_internet(cloud: Cloud) -> None:
    """Make the internet with desk, stranger, Google and edge on it, unless they are there whole."""
    ends = {
        DESK_DEVICE: cloud.desk,
        STRANGER_DEVICE: cloud.stranger,
        GOOGLE_DEVICE: cloud.google,
        EDGE_DEVICE: cloud.edge,
    }
    if _is_whole(cloud.internet) and all((NETNS / namespace).exists() for namespace in ends.values()):
        return
    delete_namespaces(cloud.internet, *ends.values())
    _make_router(cloud.internet)
    for device, namespace in ends.items():
        address = PLACES[device]
        run("ip", "netns", "add", namespace)
        _batch(
            cloud.internet,
            f"link add {device} type veth peer name eth0 netns {namespace}",
            f"address add {GATEWAY}/32 dev {device}",
            f"link set {device} up",
            f"route add {address}/32 dev {device}",
        )
        _batch(
            namespace,
            "link set lo up",
            f"address add {address}/32 dev eth0",
            "link set eth0 up",
            f"route add {GATEWAY}/32 dev eth0",
            f"route add default via {GATEWAY} dev eth0",
        )
    _mark_whole(cloud.internet)


def ensure_private_router(cloud: Cloud, number: int, outside: Collection[str]) -> None:
    """Make the router of private network `number` with its link to the internet, which reaches `outside` over it."""
    namespace, device, address = cloud.network_namespace(number), uplink_device(number), uplink_address(number)
    links = aliases(cloud.internet)
    if not _is_whole(namespace) or device not in links:
        if device in links:
            _batch(cloud.internet, f"link del {device}")
        delete_namespaces(namespace)
        _make_router(namespace)
        _batch(
            cloud.internet,
            f"link add {device} type veth peer name {UPLINK} netns {namespace}",
            f"address add {_TRANSIT} peer {address}/32 dev {device}",
            f"link set {device} up",
        )
        _batch(
            namespace,
            f"address add {address} peer {_TRANSIT}/32 dev {UPLINK}",
            f"link set {UPLINK} up",
            f"route add default via {_TRANSIT} dev {UPLINK}",
        )
        _mark_whole(namespace)
    listed = cast("list[dict[str, Any]]", _query(cloud.internet, "route", "show", "dev", device))
    there = {cast("str", route["dst"]) for route in listed} - {address}
    changes = [f"route replace {new}/32 via {address} dev {device}" for new in sorted(set(outside) - there)]
    changes += [f"route del {old}/32 dev {device}" for old in sorted(there - set(outside))]
    if changes:
        _batch(cloud.internet, *changes)


def steer(namespace: str, steering: Steering) -> None:
    """Make the router's tables and the rules that lead to them those of `steering`; the rest is left alone."""
    changes = _steering_changes(namespace, steering)
    try:
        _batch(namespace, *changes)
    except LocalCloudError:
        # A machine that boots again takes its devices away for a moment, and its ways with them.
        _batch(namespace, *_steering_changes(namespace, steering))


def _steering_changes(namespace: str, steering: Steering) -> list[str]:
    """Lines for `ip -batch`. At no moment does a steered packet find no table, or a table without its routes."""
    devices = aliases(namespace)
    routes = {(way.table, way.destination, BLACKHOLE): f"blackhole {_blackhole(way)}" for way in steering.ways}
    for way in steering.ways:
        if way.device in devices:
            routes[way.table, way.destination, BY_MACHINE] = route(way)
    there = _tabled_routes(namespace)
    rules = {line for device, table in steering.tables.items() for line in _lookups(device, str(table))}
    ruled = _lookups_there(namespace)
    return [
        *(f"route replace {line}" for key, line in routes.items() if there.get(key) != line),
        *(f"rule add {line}" for line in sorted(rules - ruled)),
        *(f"rule del {line}" for line in sorted(ruled - rules)),
        *(f"route del {line}" for key, line in there.items() if key not in routes),
    ]


def _blackhole(way: Way) -> str:
    return f"{way.destination} table {way.table} metric {BLACKHOLE}"


def _lookups(device: str, table: str) -> tuple[str, str]:
    """First what is closer than a default route in the network itself, then the card's own table."""
    return (
        f"pref {_NEAR} iif {device} lookup main suppress_prefixlength 0",
        f"pref {_STEERED} iif {device} lookup {table}",
    )


def _lookups_there(namespace: str) -> set[str]:
    listed = cast("list[dict[str, Any]]", _query(namespace, "rule", "show"))
    own = [rule for rule in listed if rule["priority"] in (_NEAR, _STEERED)]
    return {_lookups(rule["iif"], rule["table"])[rule["priority"] == _STEERED] for rule in own}


def _tabled_routes(namespace: str) -> dict[tuple[int, str, int], str]:
    """(table, destination, metric) -> the route, of the tables of cards."""
    found: dict[tuple[int, str, int], str] = {}
    for listed in cast("list[dict[str, Any]]", _query(namespace, "-4", "route", "show", "table", "all")):
        if not str(listed.get("table", "")).isdigit():
            continue
        network = "0.0.0.0/0" if listed["dst"] == "default" else str(ip_network(listed["dst"]))
        way = Way(int(listed["table"]), network, listed.get("gateway", ""), listed.get("dev"))
        blackhole = listed.get("type") == "blackhole"
        found[way.table, network, listed["metric"]] = f"blackhole {_blackhole(way)}" if blackhole else route(way)
    return found


def load_rules(namespace: str, router: Router) -> None:
    """Replace the router's rules in one step; flows that the new rules forbid are not ended by that."""
    run("ip", "netns", "exec", namespace, "nft", "-f", "-", text=render(router))


def aliases(namespace: str) -> dict[str, str]:
    """Device -> alias ("" if it has none) of every device in a namespace."""
    devices = cast("list[dict[str, Any]]", _query(namespace, "link", "show"))
    return {cast("str", device["ifname"]): cast("str", device.get("ifalias", "")) for device in devices}


def delete_devices(namespace: str, devices: Collection[str]) -> None:
    """Unplug these devices from a router."""
    if devices:
        _batch(namespace, *(f"link del {device}" for device in sorted(devices)))


def delete_namespaces(*names: str) -> None:
    """Delete those of the namespaces that exist."""
    for name in names:
        if (NETNS / name).exists():
            run("ip", "netns", "del", name)


def _make_router(namespace: str) -> None:
    run("ip", "netns", "add", namespace)
    settings = "\n".join(f"echo {value} >/proc/sys/{name}" for name, value in _ROUTER_SETTINGS.items())
    run("ip", "netns", "exec", namespace, "sh", "-eu", text=settings)
    _batch(namespace, "link set lo up", f"address add {METADATA_ADDRESS}/32 dev lo")


def _mark_whole(namespace: str) -> None:
    run("ip", "-n", namespace, "link", "set", "lo", "alias", _recipe())


def _is_whole(namespace: str) -> bool:
    """Whether the namespace was made to its end by this version of the code."""
    return (NETNS / namespace).exists() and aliases(namespace).get("lo") == _recipe()


def _recipe() -> str:
    settings: Mapping[str, object] = _ROUTER_SETTINGS
    return "whole-" + hashlib.sha256(json.dumps([settings, METADATA_ADDRESS, _TRANSIT]).encode()).hexdigest()[:12]


def _batch(namespace: str, *lines: str) -> None:
    if not lines:
        return
    run("ip", "-n", namespace, "-batch", "-", text="".join(f"{line}\n" for line in lines))


def _query(namespace: str, *words: str) -> object:
    return json.loads(run("ip", "-n", namespace, "-j", *words) or "[]")
