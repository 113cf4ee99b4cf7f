"""The names of cloud resources, derived from prefix, site and node, and the clouds' rules for them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping

from components.settings.machines import GatewaySettings
from components.settings.models import Settings
from components.settings.places import gateway_address, has_gateway, is_first_address
from overlay.checks import Problem
from overlay.model import is_node_name

MAX_NAME = 63
"""Longest name that every cloud takes: a server's is a host name (RFC 1123), GCP's the same (RFC 1035)."""
GATEWAY = "wireguard-gateway"
SPOKE = "wireguard-spoke"
BURST = "burst"
"""Values of the label ``role``."""
RULES = ("wireguard", "overlay", "ssh")
"""What each spoke firewall rule is for; ends the names of GCP's rules."""
TUNNELS, CONTROL, REQUESTS, LAN = GATEWAY_RULES = ("tunnels", "control", "requests", "lan")
"""What each gateway firewall rule is for; ends the names of GCP's rules, and of AWS's group for requests."""
GATEWAYS = "gateway"
"""Ends the tag that a site's gateway has on GCP, and the name of its security group on AWS."""
SPOKES = "spoke"
"""Ends the tag that a site's spokes have on GCP, and the name of their security group on AWS."""

_MEMBER_ID = 17
"""The longest part of a cloud's id that a member is called by: EC2's ids have so many digits."""
_TEMPLATE_ID = 9
"""The shortest that the GCP provider adds to an instance template's ``name_prefix``."""
_ACCOUNT = range(6, 31)
"""Lengths that GCP takes for the id of a service account."""

_RULE = "clouds take lower-case letters, digits and hyphens, beginning with a letter, and at most 63 characters"


def server_name(prefix: str, node: str, *, is_first: bool) -> str:
    """The name of a node's machine.

    The gateway at the overlay's first address is called the same whatever its node is called. Neither that address nor
    a name ever moves while the machine lives.
    """
    return f"{prefix}-wg-gateway" if is_first else f"{prefix}-{node}"


def address6_name(server: str) -> str:
    """The name of the IPv6 address of the gateway that is called ``server``."""
    return f"{server}-ipv6"


def site_name(prefix: str, site: str, what: str = "") -> str:
    """The name of something that belongs to a site."""
    return f"{prefix}-{site}-{what}" if what else f"{prefix}-{site}"


def pool_name(prefix: str, pool: str) -> str:
    """The name of a pool's group, and of everything that it has only one of."""
    return f"{prefix}-{pool}"


def member_server_name(prefix: str, pool: str, number: int) -> str:
    """The name of one of a pool's servers on Hetzner, counted from 1."""
    return f"{pool_name(prefix, pool)}-{number}"


def account_id(prefix: str, pool: str) -> str:
    """The id of a pool's service account on GCP: its name, or as much of it as fits and a digest of the whole."""
    name = pool_name(prefix, pool)
    if len(name) in _ACCOUNT:
        return name
    return f"{name[:21].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def label_value(text: str) -> str:
    """``text`` as a label that all clouds take: lower case, and a hyphen for what GCP's labels cannot hold."""
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[:MAX_NAME].strip("-_") or "none"


def labels(
    settings: Settings, *, node: str | None = None, site: str | None = None, role: str = "", pool: str = ""
) -> dict[str, str]:
    """The labels of a resource: always the stack, and what applies of node, site, role and pool."""
    found = {"stack": label_value(settings.stack)}
    found |= {"node": node} if node else {}
    found |= {"site": site} if site else {}
    found |= {"role": role} if role else {}
    found |= {"pool": pool} if pool else {}
    return found


def _derived(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """(config key, its value, name made of it) of everything that is named after it."""
    for name, gateway in settings.gateways.items():
        is_first = _is_first(settings, gateway)
        key, value = ("prefix", settings.prefix) if is_first else (f"gateways.{name}", name)
        server = server_name(settings.prefix, name, is_first=is_first)
        yield key, value, address6_name(server) if gateway.ipv6 else server
    for name, spoke in settings.spokes.items():
        if not _is_external(settings, spoke.site):
            yield f"spokes.{name}", name, server_name(settings.prefix, name, is_first=False)
    for name in settings.sites:
        if _is_external(settings, name):
            continue
        has_rules = settings.sites[name].cloud != "hetzner" and has_gateway(settings, name)
        for what in (*RULES, SPOKES, *((*GATEWAY_RULES, GATEWAYS) if has_rules else ())):
            yield f"sites.{name}", name, site_name(settings.prefix, name, what)
    for name, pool in settings.pools.items():
        yield f"pools.{name}", name, f"{name}-{'0' * _MEMBER_ID}"
        if pool.is_external:
            continue
        own = pool_name(settings.prefix, name)
        yield f"pools.{name}", name, own
        cloud = settings.sites[pool.site].cloud if pool.site in settings.sites else None
        if cloud == "gcp":
            yield f"pools.{name}", name, f"{own}-{'0' * _TEMPLATE_ID}"
        if cloud == "hetzner":
            yield f"pools.{name}", name, member_server_name(settings.prefix, name, pool.limit)


def _is_first(settings: Settings, gateway: GatewaySettings) -> bool:
    return gateway.site in settings.sites and is_first_address(settings, gateway_address(settings, gateway))


def _is_external(settings: Settings, site: str) -> bool:
    return site in settings.sites and settings.is_external(site)


def _first_per_key(found: list[Problem]) -> list[Problem]:
    first: Mapping[str, Problem] = {problem.subject: problem for problem in reversed(found)}
    return [problem for problem in found if first[problem.subject] is problem]


def name_problems(settings: Settings) -> list[Problem]:
    """Every name that some cloud would refuse."""
    if not is_node_name(f"{settings.prefix}-x"):
        remedy = "set hybrid-wireguard:prefix (it is made from project and stack when it is not set)"
        return [Problem("prefix", settings.prefix, f"names cannot begin with it: {_RULE}", remedy)]
    found: list[Problem] = []
    declared = [("sites", name) for name in settings.sites]
    declared += [("gateways", name) for name in settings.gateways]
    declared += [("spokes", name) for name in settings.spokes]
    declared += [("pools", name) for name in settings.pools]
    for kind, name in declared:
        if not is_node_name(name):
            found.append(Problem(f"{kind}.{name}", name, f"it is not a name: {_RULE}", "rename it"))
    for key, value, name in _derived(settings):
        if len(name) > MAX_NAME:
            reason = f"{name} would be {len(name)} characters long, and clouds take {MAX_NAME}"
            found.append(Problem(key, value, reason, "choose a shorter name or a shorter hybrid-wireguard:prefix"))
    for name in sorted(settings.gateways.keys() & settings.spokes.keys()):
        found.append(Problem(f"spokes.{name}", name, "a gateway has this name", "rename one of the two"))
    found += _server_name_problems(settings)
    found += _pool_name_problems(settings)
    return _first_per_key(found)


def _server_name_problems(settings: Settings) -> Iterator[Problem]:
    """Machines that are called like the first gateway's, or like the firewall of a Hetzner site."""
    first = [name for name, gateway in settings.gateways.items() if _is_first(settings, gateway)]
    firewalls = [name for name, site in settings.sites.items() if site.cloud == "hetzner"]
    servers = {server_name(settings.prefix, name, is_first=True): f"gateways.{name}" for name in first}
    guarded = {site_name(settings.prefix, name): f"sites.{name}" for name in firewalls}
    for name, gateway in settings.gateways.items():
        if name not in first:
            has_firewall = gateway.site in firewalls
            yield from _taken(settings, f"gateways.{name}", name, {**servers, **(guarded if has_firewall else {})})
    for name, spoke in settings.spokes.items():
        if not _is_external(settings, spoke.site):
            yield from _taken(settings, f"spokes.{name}", name, servers)


def _taken(settings: Settings, key: str, node: str, taken: Mapping[str, str]) -> Iterator[Problem]:
    name = server_name(settings.prefix, node, is_first=False)
    if name in taken:
        yield Problem(key, node, f"{name} is already what something of {taken[name]} is called", "rename it")


def _pool_name_problems(settings: Settings) -> Iterator[Problem]:
    """Pools whose names, or whose members' or resources' names, something else has."""
    nodes = settings.gateways.keys() | settings.spokes.keys()
    taken = {name: key for key, _, name in _derived(settings) if not key.startswith("pools.")}
    made = [name for name in settings.sites if not settings.is_external(name)]
    taken |= {site_name(settings.prefix, name): f"sites.{name}" for name in made}
    for name, pool in settings.pools.items():
        key, remedy = f"pools.{name}", "rename one of the two"
        if name in nodes:
            yield Problem(key, name, "a node has this name", remedy)
        for node in sorted(nodes):
            if re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{8,{_MEMBER_ID}}}", node):
                yield Problem(key, name, f"a member of it could be called {node}, as a declared node is", remedy)
        own = [] if pool.is_external else [pool_name(settings.prefix, name)]
        own += [member_server_name(settings.prefix, name, n + 1) for n in range(pool.count or 0)]
        for resource in own:
            if resource in taken:
                yield Problem(key, name, f"{resource} is already what something of {taken[resource]} is called", remedy)
