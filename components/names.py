"""The names of cloud resources, derived from prefix, site and node, and the clouds' rules for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from components.settings.models import Settings
from overlay.checks import Problem
from overlay.model import is_node_name

MAX_NAME = 63
"""Longest name that every cloud takes: a server's is a host name (RFC 1123), GCP's the same (RFC 1035)."""
GATEWAY = "wireguard-gateway"
SPOKE = "wireguard-spoke"
"""Values of the label ``role``."""
RULES = ("wireguard", "overlay", "ssh")
"""What each spoke firewall rule is for; ends the names of GCP's rules."""

_RULE = "clouds take lower-case letters, digits and hyphens, beginning with a letter, and at most 63 characters"


def server_name(prefix: str, node: str, *, is_gateway: bool) -> str:
    """The name of a node's machine; the hub's only gateway is called the same whatever its node is called."""
    return f"{prefix}-wg-gateway" if is_gateway else f"{prefix}-{node}"


def site_name(prefix: str, site: str, what: str = "") -> str:
    """The name of something that belongs to a site."""
    return f"{prefix}-{site}-{what}" if what else f"{prefix}-{site}"


def label_value(text: str) -> str:
    """``text`` as a label that all clouds take: lower case, and a hyphen for what GCP's labels cannot hold."""
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[:MAX_NAME].strip("-_") or "none"


def labels(settings: Settings, *, node: str | None = None, site: str | None = None, role: str = "") -> dict[str, str]:
    """The labels of a resource: always the stack, and what applies of node, site and role."""
    found = {"stack": label_value(settings.stack)}
    found |= {"node": node} if node else {}
    found |= {"site": site} if site else {}
    found |= {"role": role} if role else {}
    return found


def _derived(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """(config key, its value, name made of it) of everything that is named after it."""
    for name in settings.gateways:
        yield "prefix", settings.prefix, server_name(settings.prefix, name, is_gateway=True)
    for name in settings.spokes:
        yield f"spokes.{name}", name, server_name(settings.prefix, name, is_gateway=False)
    for name in settings.sites:
        for rule in RULES:
            yield f"sites.{name}", name, site_name(settings.prefix, name, rule)


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
    for kind, name in declared:
        if not is_node_name(name):
            found.append(Problem(f"{kind}.{name}", name, f"it is not a name: {_RULE}", "rename it"))
    for key, value, name in _derived(settings):
        if len(name) > MAX_NAME:
            reason = f"{name} would be {len(name)} characters long, and clouds take {MAX_NAME}"
            found.append(Problem(key, value, reason, "choose a shorter name or a shorter hybrid-wireguard:prefix"))
    for name in sorted(settings.gateways.keys() & settings.spokes.keys()):
        found.append(Problem(f"spokes.{name}", name, "a gateway has this name", "rename one of the two"))
    return _first_per_key(found)
