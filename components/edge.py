"""What stands before the gateways' port for requests: who may connect, whom gateways believe, what they show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pulumi

from components.certificates import Certificate, given_certificate
from components.machine import cidrs
from components.stack import Stack


@dataclass(frozen=True)
class Edge:
    """How requests come to the gateways.

    ``sources`` are the networks that may connect. Who connects from ``trusted_proxies`` may say whom it speaks for.
    ``certificate`` is every gateway's; None: each has one of the stack's authority. ``client_ca`` (PEM) is the
    authority that clients must have a certificate of; None: they need none. ``send_to`` is told the gateways' public
    addresses by their names, once they are known. ``prepared`` has to be there before gateways ask clients for
    certificates, and goes after they ask no more.
    """

    sources: pulumi.Input[Sequence[pulumi.Input[str]]]
    trusted_proxies: pulumi.Input[Sequence[str]]
    certificate: Certificate | None
    client_ca: pulumi.Input[str] | None
    send_to: Callable[[Mapping[str, pulumi.Input[str]]], None]
    prepared: Sequence[pulumi.Resource] = ()


def make_edge(stack: Stack) -> Edge | None:
    """How requests come to the stack's gateways; None when they answer none."""
    balancer, given = stack.settings.load_balancer, stack.settings.tls_certificate
    if not balancer.enabled:
        return None
    certificate = None if given is None else given_certificate(given)
    if balancer.cloudflare is None:
        return Edge(cidrs(balancer.sources), [], certificate, balancer.client_ca, _nobody_is_told)
    from components.clouds.cloudflare import CloudflareEdge

    front = CloudflareEdge("cloudflare", stack.settings, balancer.cloudflare)
    certificate = front.certificate or certificate
    return Edge(front.ranges, front.ranges, certificate, balancer.client_ca, front.send_to, front.prepared)


def _nobody_is_told(gateways: Mapping[str, pulumi.Input[str]]) -> None:
    """Clients know the gateways' addresses, or the user's DNS does."""
    del gateways
