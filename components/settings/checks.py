"""What can be wrong with settings whose shapes are right: names, places, addresses, keys, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Network

from components.keys import public_key_of
from components.names import name_problems
from components.plan import AddressProblemsError, nodes_of, overlay_network
from components.pool_plan import overlay_pools
from components.settings.errors import SECRET, nearest, shown
from components.settings.group_checks import group_problems
from components.settings.machine_checks import machine_problems, way_in_problems
from components.settings.models import Settings
from components.settings.places import has_gateway
from components.settings.pool_checks import pool_problems
from components.settings.serving_checks import serving_problems
from components.settings.site_checks import RANGE_KEY, site_problems
from components.settings.sites import HetznerSite
from components.userdata import size_problems
from overlay import checks
from overlay.checks import Problem
from overlay.model import is_wireguard_key

MAX_SOURCES = 50
"""Networks in one list: AWS takes 60 rules in a security group, Hetzner 100 networks in a rule."""
_CARRIER_GRADE = IPv4Network("100.64.0.0/10")


def setting_problems(settings: Settings) -> list[Problem]:
    """Everything that is wrong, each group only when those before it found nothing."""
    for group in (_reference_problems, _shape_problems, _network_problems, way_in_problems, size_problems):
        found = list(group(settings))
        if found:
            return found
    return []


def _reference_problems(settings: Settings) -> Iterator[Problem]:
    yield from name_problems(settings)
    for kind, declared in (("gateways", settings.gateways), ("spokes", settings.spokes), ("pools", settings.pools)):
        for name, wanted in declared.items():
            if wanted.site not in settings.sites:
                remedy = nearest(wanted.site, settings.sites)
                yield Problem(f"{kind}.{name}.site", wanted.site, "no such site", remedy)
    if not settings.gateways:
        yield Problem("gateways", "nothing", "the network has no gateway", "declare one")


def _shape_problems(settings: Settings) -> Iterator[Problem]:
    yield from _overlay_range_problems(settings)
    yield from site_problems(settings)
    yield from machine_problems(settings)
    yield from group_problems(settings)
    yield from pool_problems(settings)
    yield from serving_problems(settings)
    yield from _key_problems(settings)
    yield from _source_problems(settings)


def _source_problems(settings: Settings) -> Iterator[Problem]:
    for key, sources in (
        ("adminCidrs", settings.admin_cidrs),
        ("wireguardSources", settings.wireguard_sources),
        ("loadBalancer.sources", settings.load_balancer.sources),
    ):
        if len(sources) > MAX_SOURCES:
            reason = f"clouds' firewalls take at most {MAX_SOURCES} networks here"
            yield Problem(key, f"{len(sources)} networks", reason, "join neighbouring networks")
        for source, count in Counter(sources).items():
            if count > 1:
                yield Problem(key, str(source), "it stands there twice", "remove one of the two")
    for name, site in settings.sites.items():
        private = site.own_range if isinstance(site, HetznerSite) or has_gateway(settings, name) else None
        within = [s for s in settings.wireguard_sources if isinstance(s, IPv4Network)]
        if private is not None and not any(private.subnet_of(source) for source in within):
            reason = f"spokes of {name} come from its own network {private}, which is not among them"
            yield Problem("wireguardSources", ", ".join(map(str, settings.wireguard_sources)), reason, f"add {private}")


def _overlay_range_problems(settings: Settings) -> Iterator[Problem]:
    overlay = settings.overlay
    usable = (overlay.is_private or overlay.subnet_of(_CARRIER_GRADE)) and not (
        overlay.is_link_local or overlay.is_loopback or overlay.is_reserved
    )
    if not usable:
        remedy = "use a part of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10"
        yield Problem("network.overlay", str(overlay), "it is not a private network", remedy)
    elif overlay.prefixlen > 29:
        yield Problem("network.overlay", str(overlay), "it is too small for a network", "use a /29 or larger")


def _key_problems(settings: Settings) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    nodes = settings.gateways.keys() | settings.spokes.keys()
    given = {name: spoke.public_key for name, spoke in settings.spokes.items() if spoke.public_key is not None}
    for name, key in sorted(settings.private_keys.items()):
        where = f"privateKeys.{name}"
        if name not in nodes:
            yield Problem(where, SECRET, "no such node", nearest(name, nodes))
        elif name in given:
            reason = f"spokes.{name}.publicKey says that its owner keeps its private key"
            yield Problem(where, SECRET, reason, "give one of the two")
        elif not is_wireguard_key(key):
            yield Problem(where, SECRET, "it is not base64 of 32 bytes", "make one with `wg genkey`")
        else:
            yield from _holder_problems(settings, owners, name, (where, SECRET), public_key_of(key))
    for name, public in sorted(given.items()):
        yield from _holder_problems(settings, owners, name, (f"spokes.{name}.publicKey", public), public)
    for key, count in Counter(settings.revoked_keys).items():
        if count > 1:
            yield Problem("revokedKeys", shown(key), "it stands there twice", "remove one of the two")


def _holder_problems(
    settings: Settings, owners: dict[str, str], name: str, told: tuple[str, str], public: str
) -> Iterator[Problem]:
    """A key that another node has, or that is locked out. ``told`` is where it stands and how it is shown."""
    owner = owners.setdefault(public, name)
    if owner != name:
        yield Problem(*told, f"{owner} has this key already", "give each node a key of its own")
    if public in settings.revoked_keys:
        yield Problem(*told, "its public key is among revokedKeys", "give the node another key")


def _network_problems(settings: Settings) -> Iterator[Problem]:
    network = overlay_network(settings)
    try:
        nodes = nodes_of(settings)
    except AddressProblemsError as error:
        yield from error.problems
        return
    ranges = {name: own for name, site in settings.sites.items() if (own := site.own_range) is not None}
    for problem in checks.problems(network, nodes, ranges, overlay_pools(settings)):
        kind, _, rest = problem.subject.partition(".")
        site, _, key = rest.partition(".")
        if kind == "sites" and key == "vpcCidr":
            key = RANGE_KEY[settings.sites[site].cloud]
            yield Problem(f"sites.{site}.{key}", problem.value, problem.reason, problem.remedy)
        else:
            yield problem
