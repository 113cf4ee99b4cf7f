"""What can be wrong with settings about Cloudflare whose shapes are right."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from components.settings.models import Settings
from components.settings.types import EVERYWHERE
from overlay.checks import Problem

PACKAGE = "pulumi_cloudflare"
_WHERE = "loadBalancer.cloudflare"


def cloudflare_problems(settings: Settings) -> Iterator[Problem]:
    """What is missing for Cloudflare, and what does not go with it."""
    balancer = settings.load_balancer
    wanted = balancer.cloudflare
    if wanted is None:
        if balancer.certificate == "cloudflare":
            remedy = f"give {_WHERE} with zoneId and hostname"
            yield Problem("loadBalancer.certificate", "cloudflare", f"there is no {_WHERE}", remedy)
        return
    hostname = wanted.hostname
    if find_spec(PACKAGE) is None:
        reason = "the package pulumi-cloudflare is not installed"
        yield Problem(_WHERE, hostname, reason, "run `make cloudflare`, which installs it into .venv")
    if not balancer.enabled:
        reason = "the gateways answer no requests"
        yield Problem(_WHERE, hostname, reason, "set loadBalancer.enabled to true, or remove it")
    if hostname.startswith("*.") or "." not in hostname:
        remedy = "name one host of the zone, such as inference.example.com"
        yield Problem(f"{_WHERE}.hostname", hostname, "it is not the full name of one host", remedy)
    if balancer.sources != EVERYWHERE:
        reason = "with Cloudflare before the gateways, its published networks and nobody else may connect"
        value = ", ".join(map(str, balancer.sources))
        yield Problem("loadBalancer.sources", value, reason, "remove it: those networks are looked up")
    if wanted.monitor and balancer.client_ca is not None:
        reason = "Cloudflare's health checks show no certificate, and with clientCa nobody is answered without one"
        yield Problem(f"{_WHERE}.monitor", "true", reason, "set it to false, or remove loadBalancer.clientCa")
    if len(settings.gateways) > 1 and wanted.account_id is None:
        reason = "there are several gateways, and pools of origins belong to an account"
        yield Problem(f"{_WHERE}.accountId", "nothing", reason, "give the id of the zone's account")
