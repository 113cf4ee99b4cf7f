"""What of the stack is pushed to its gateways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from components.edge import Edge
from components.gateway import WgGateway
from components.machine import cidrs
from components.paths import paths
from components.plan import Machine, Plan
from components.pool import InferencePool
from components.push import Credentials, Release, Roster
from components.push_base import Pushing
from components.push_certificate import PushedCertificate
from components.roster_document import balancer_inputs
from components.spoke import WgSpoke
from components.stack import Stack
from overlay.model import WG_PORT


def _network(plan: Plan) -> dict[str, Any]:
    """The roster's network; what it has not is left out."""
    network = plan.network
    sites = {
        site.name: _given(
            cloud=site.cloud,
            subnet=str(site.subnet),
            region=site.region,
            lan=site.lan and str(site.lan),
            lanGroup=site.lan_group,
        )
        for site in network.sites
    }
    groups = {name: list(reached) for name, reached in network.groups.items()}
    return _given(
        overlay=str(network.overlay),
        overlay6=network.overlay6 and str(network.overlay6),
        topology=network.topology,
        mtu=plan.mtu,
        domain=network.domain,
        groups=groups or None,
        sites=sites,
    )


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _node(machine: Machine, public_key: pulumi.Output[str], endpoint: pulumi.Output[str] | None) -> dict[str, Any]:
    """A node of the roster; only keys and endpoints wait for other resources."""
    private = machine.private_address
    return _given(
        site=machine.site,
        role=machine.role,
        address=str(machine.address),
        publicKey=public_key,
        endpoint=endpoint,
        group=machine.group or None,
        lan=machine.lan or None,
        lanEndpoint=None if private is None else f"{private}:{WG_PORT}",
        only6=machine.ipv6_only or None,
    )


def _pool(pool: InferencePool) -> dict[str, Any]:
    """A pool of the roster; only the token's digest and an AWS account wait for something."""
    plan, identity = pool.plan, pool.group.identity
    known: dict[str, Any] = {
        "site": plan.site,
        "range": str(plan.addresses),
        "limit": plan.limit,
        "tokenSha256": pool.token_digest,
        "ttl": plan.ttl,
        "rest": plan.rest,
        "port": plan.port,
        "healthPath": plan.health_path,
    }
    return known | _given(identity=identity, group=plan.group or None, lan=plan.lan or None)


def push_everything(
    stack: Stack,
    gateways: Mapping[str, WgGateway],
    spokes: Mapping[str, WgSpoke],
    pools: Mapping[str, InferencePool],
    edge: Edge | None,
) -> Roster:
    """Registers the release and, after it, certificates, roster and credentials, which the release's code reads.

    What has a private key in it is a resource a gateway: none holds another one's. The roster, by which nodes learn
    whom to trust, comes after the gateways have the certificates that go with it.
    """
    planes = {name: {"url": gateway.url, "serverId": gateway.server_id} for name, gateway in gateways.items()}
    pushing = Pushing(
        stack.authority.known, stack.keys.signing_private_pem, stack.keys.earlier_signing, stack.keys.handovers
    )
    release = Release("release", gateways=planes, pushing=pushing)
    certificates = [
        PushedCertificate(
            f"{name}-control",
            certificate=gateway.certificate,
            gateways={name: planes[name]},
            pushing=pushing,
            opts=pulumi.ResourceOptions(depends_on=[release]),
        )
        for name, gateway in gateways.items()
    ]
    nodes = {
        name: _node(gateway.machine, gateway.public_key, gateway.endpoint) | _given(endpoint6=gateway.endpoint6)
        for name, gateway in gateways.items()
    }
    called = stack.plan.network.topology == "mesh"
    for name, spoke in spokes.items():
        nodes[name] = _node(spoke.machine, spoke.public_key, spoke.endpoint if called else None)
    balancer = stack.plan.load_balancer
    keys = stack.settings.keys
    roster = Roster(
        "roster",
        network=_network(stack.plan),
        nodes=nodes,
        pools={name: _pool(pool) for name, pool in pools.items()},
        paths=paths(stack.plan),
        load_balancer=None if balancer is None or edge is None else balancer_inputs(balancer, edge.trusted_proxies),
        wireguard_sources=cidrs(stack.settings.wireguard_sources),
        admin_cidrs=cidrs(stack.settings.admin_cidrs),
        revoked_keys=stack.settings.revoked_keys,
        authorities=[stack.authority.certificate],
        keys={"signingRevision": keys.signing_revision, "caRevision": keys.ca_revision},
        gateways=planes,
        pushing=pushing,
        opts=pulumi.ResourceOptions(depends_on=[release, *certificates]),
    )
    for name, gateway in gateways.items():
        if edge is not None and gateway.serving is not None:
            Credentials(
                f"{name}-credentials",
                certificate=gateway.serving.certificate,
                private_key=gateway.serving.private_key,
                client_ca=edge.client_ca,
                api_keys=stack.settings.api_keys,
                gateways={name: planes[name]},
                pushing=pushing,
                opts=pulumi.ResourceOptions(depends_on=[release, *edge.prepared]),
            )
    return roster
