"""What can be wrong with pools whose shapes are right; their names and their places in the overlay apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from components.images import unknown_image
from components.settings.errors import shown
from components.settings.machine_checks import way_out_problems
from components.settings.machines import PoolSettings
from components.settings.models import Settings
from components.settings.serving_checks import port_problems
from components.settings.sites import AwsSite, ExternalSite, GcpSite, HetznerSite, SiteSettings
from overlay.checks import Problem

MAX_TYPES = 40
"""Instance types in an AWS group's launch template overrides (Amazon EC2 Auto Scaling, LaunchTemplate)."""
MAX_LABELS = 32
"""Of the user's; with ours fewer than AWS (50 tags) and GCP (64 labels) take."""
_OUR_LABELS = frozenset({"stack", "site", "role", "pool", "node", "name"})
_LABELS: Mapping[str, tuple[re.Pattern[str], re.Pattern[str], str]] = MappingProxyType(
    {
        "aws": (
            re.compile(r"(?!aws:)[A-Za-z0-9 +\-=._:/@]{1,127}", re.IGNORECASE),
            re.compile(r"[A-Za-z0-9 +\-=._:/@]{0,256}"),
            "letters, digits, spaces and + - = . _ : / @, and no key beginning with aws:",
        ),
        "gcp": (
            re.compile(r"[a-z][a-z0-9_-]{0,62}"),
            re.compile(r"[a-z0-9_-]{0,63}"),
            "lower-case letters, digits, _ and -, at most 63, and a key begins with a letter",
        ),
        "hetzner": (
            re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"),
            re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?"),
            "letters, digits, . _ and -, at most 63, beginning and ending with a letter or a digit",
        ),
    }
)
"""By cloud: keys, values, and both in words (Amazon EC2, tag restrictions; Compute Engine, labels; Hetzner Cloud API,
labels)."""
_THEIR_MAKER = "remove it, and say it to what makes the machines"
_OF_THE_MACHINES: Mapping[str, str] = MappingProxyType(
    {
        "min": "remove it; max says how many the gateway lets in",
        "count": "remove it; max says how many the gateway lets in",
        "serverTypes": _THEIR_MAKER,
        "onDemandBase": _THEIR_MAKER,
        "image": _THEIR_MAKER,
        "publicAddress": _THEIR_MAKER,
        "labels": _THEIR_MAKER,
        "userSetup": "remove it, and set the machine up once it has joined, as the service's setup and run do",
        "drainHook": "remove it, and end the service when its machine shuts down",
        "requireIdentity": "remove it; the machines have the join token only, so keep it, and see tokenRevision",
        "revision": "remove it, and have the machines made anew where they are made",
    }
)
"""By key, what to do instead in a pool whose machines are made by others."""
_CERTIFICATES_PAGE = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/regions-certs.html"


def pool_problems(settings: Settings) -> Iterator[Problem]:
    """Everything that is wrong with single pools, whose sites exist."""
    for name, pool in settings.pools.items():
        where, site = f"pools.{name}", settings.sites[pool.site]
        yield from port_problems(f"{where}.port", pool.port)
        if pool.is_external:
            yield from _external_problems(where, pool)
            continue
        if isinstance(site, ExternalSite):
            reason = "the stack makes no machines in an external site"
            yield Problem(f"{where}.site", pool.site, reason, "choose another site, or set kind to external")
            continue
        yield from _size_problems(where, pool, site)
        yield from _type_problems(where, pool, site)
        yield from _label_problems(where, pool, site)
        yield from _identity_problems(where, pool, site)
        if pool.public_address is False:
            yield from way_out_problems(settings, where, pool.site, "the machines")
        wrong = unknown_image(site.cloud, pool.image)
        if wrong is not None:
            yield Problem(f"{where}.image", pool.image, *wrong)


def _unwanted(where: str, given: Mapping[str, object], reason: str, remedy: str) -> Iterator[Problem]:
    for key, value in given.items():
        if value is not None:
            yield Problem(f"{where}.{key}", shown(value), reason, remedy)


def _external_problems(where: str, pool: PoolSettings) -> Iterator[Problem]:
    """What is said of machines that the stack does not make."""
    given = pool.model_dump(by_alias=True, include=pool.model_fields_set)
    for key, remedy in _OF_THE_MACHINES.items():
        if key in given:
            reason = "the stack does not make the machines of an external pool"
            yield Problem(f"{where}.{key}", shown(given[key]), reason, remedy)
    if pool.maximum is None:
        yield Problem(f"{where}.max", "nothing", "it is required", "say how many machines at most")


def _size_problems(where: str, pool: PoolSettings, site: SiteSettings) -> Iterator[Problem]:
    if isinstance(site, HetznerSite):
        scaled = {"min": pool.minimum, "max": pool.maximum, "onDemandBase": pool.on_demand_base}
        yield from _unwanted(where, scaled, "Hetzner has no group that scales", "remove it; count says how many")
        if pool.count is None:
            yield Problem(f"{where}.count", "nothing", "it is required on Hetzner", "say how many servers")
        return
    fixed = {"count": pool.count, "revision": pool.revision}
    yield from _unwanted(where, fixed, f"on {site.cloud} a group makes the machines", "remove it; see min and max")
    if isinstance(site, GcpSite):
        base = {"onDemandBase": pool.on_demand_base}
        yield from _unwanted(where, base, "a group of GCP has machines of one kind only", "remove it")
    if pool.maximum is None:
        yield Problem(f"{where}.max", "nothing", f"it is required on {site.cloud}", "say how many machines at most")
        return
    least = 1 if pool.minimum is None else pool.minimum
    if least > pool.maximum:
        yield Problem(f"{where}.min", str(least), f"it is more than max, {pool.maximum}", "lower it or raise max")
    if (pool.on_demand_base or 0) > pool.maximum:
        reason = f"it is more than max, {pool.maximum}"
        yield Problem(f"{where}.onDemandBase", str(pool.on_demand_base), reason, "lower it or raise max")


def _type_problems(where: str, pool: PoolSettings, site: SiteSettings) -> Iterator[Problem]:
    types = pool.server_types or ()
    value = shown(list(types))
    if len(types) > 1 and not isinstance(site, AwsSite):
        reason = f"machines of one group are of one type on {site.cloud}"
        yield Problem(f"{where}.serverTypes", value, reason, "name one, or declare another pool")
    if len(types) > MAX_TYPES:
        reason = f"a group of AWS takes at most {MAX_TYPES} types"
        yield Problem(f"{where}.serverTypes", f"{len(types)} types", reason, "name fewer")
    for name, count in Counter(types).items():
        if count > 1:
            yield Problem(f"{where}.serverTypes", value, f"{name} stands there {count} times", "name it once")


def _label_problems(where: str, pool: PoolSettings, site: SiteSettings) -> Iterator[Problem]:
    keys, values, words = _LABELS[site.cloud]
    if len(pool.labels) > MAX_LABELS:
        reason = f"machines have at most {MAX_LABELS} labels besides the stack's own"
        yield Problem(f"{where}.labels", f"{len(pool.labels)} labels", reason, "give fewer")
    for key, value in pool.labels.items():
        at = f"{where}.labels.{key}"
        if key.lower() in _OUR_LABELS:
            yield Problem(at, shown(value), "the stack gives its machines this label itself", "choose another key")
        elif keys.fullmatch(key) is None:
            yield Problem(at, shown(key), f"it is no key of a label on {site.cloud}", f"use {words}")
        elif values.fullmatch(value) is None:
            yield Problem(at, shown(value), f"it is no value of a label on {site.cloud}", f"use {words}")


def _identity_problems(where: str, pool: PoolSettings, site: SiteSettings) -> Iterator[Problem]:
    if not pool.require_identity:
        return
    at = f"{where}.requireIdentity"
    if isinstance(site, HetznerSite):
        yield Problem(at, "true", "Hetzner's machines have nothing to prove their identity with", "remove it")
    if isinstance(site, AwsSite) and not site.identity_certificates:
        reason = f"nothing says which certificates AWS signs identity documents of {site.region} with"
        remedy = f"give sites.{pool.site}.identityCertificates, the region's under RSA at {_CERTIFICATES_PAGE}"
        yield Problem(at, "true", reason, remedy)
