"""User data of gateways, spokes and pools, and the bound on its size that holds before any secret is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pulumi

from cloudinit import (
    BootError,
    ExternalBoot,
    GatewayBoot,
    PoolBoot,
    SpokeBoot,
    render_external,
    render_gateway,
    render_pool,
    render_spoke,
)
from components.certificates import Certificate, authority_name
from components.keys import NodeKey
from components.names import MAX_NAME
from components.plan import Machine, Plan, make_plan
from components.pool_plan import PoolPlan
from components.settings.models import Settings
from components.stack import Stack
from overlay.checks import Problem
from overlay.model import CONTROL_PORT, WG_PORT

LIMITS: Mapping[str, int] = {"hetzner": 32 * 1024, "aws": 16 * 1024, "gcp": 256 * 1024}
"""Bytes of user data that a cloud takes (Hetzner Cloud API, create a server; EC2 user guide, instance user data;
Compute Engine documentation, metadata values). A document may have half, which leaves room for what is to come; a
gateway's, which is as small as the smallest of them anywhere, and a pool's with the user's scripts may have all."""
KEY_PEM_BYTES = 227
"""A P-256 key in SEC 1 form (RFC 5915) is 121 bytes of DER."""
CERTIFICATE_PEM_BYTES = 1000
"""More than a P-256 certificate takes whose three names (issuer, subject, DNS) are as long as names may be (tested)."""

_KEY = "Ag" + "A" * 41 + "="
"""Stands for a WireGuard or ED25519 key: base64 of 32 bytes."""
_TOKEN = "A" * 43
"""Stands for a join token: base64url of 32 bytes."""
_ADDRESS = IPv4Address("255.255.255.254")
_ADDRESS6 = IPv6Address(2**128 - 1)


def placeholder_pem(kind: str, length: int) -> str:
    """A PEM block of at least ``length`` bytes that holds nothing."""
    frame = len(f"-----BEGIN {kind}----------END {kind}-----") + 2
    lines = -(-(length - frame) // 65)
    return f"-----BEGIN {kind}-----\n" + ("A" * 64 + "\n") * lines + f"-----END {kind}-----\n"


def certificate_bytes(*names: str, more: Sequence[IPv4Address | IPv6Address] = ()) -> int:
    """The bound on a certificate that holds ``names``, at most three, and ``more`` addresses than two of IPv4.

    Base64 has four characters for three bytes. An address takes two bytes besides its own, and a line has its end.
    """
    addresses = sum(len(address.packed) + 2 for address in more)
    return CERTIFICATE_PEM_BYTES - (3 * MAX_NAME - sum(map(len, names))) * 4 // 3 + addresses * 3 // 2


def gateway_user_data(stack: Stack, machine: Machine, *, key: NodeKey, certificate: Certificate) -> pulumi.Output[str]:
    """The first-boot document of the gateway ``machine``; secret, as its key is."""
    told: pulumi.Output[Mapping[str, str]] = pulumi.Output.all(
        certificate=certificate.certificate,
        tls_key=certificate.private_key,
        signing=stack.keys.signing_public,
        seal=stack.keys.seal,
        authority=stack.authority.certificate,
    )

    def render(private: str, told: Mapping[str, str]) -> str:
        return render_gateway(_gateway_boot(stack.settings, stack.plan, machine, {**told, "private": private}))

    return key.use(lambda private: told.apply(lambda found: render(private, found)))


def entrance(
    stack: Stack, *, gateway_key: pulumi.Output[str], gateway_host: pulumi.Output[str]
) -> pulumi.Output[Mapping[str, str]]:
    """What all machines that reach a gateway at ``gateway_host`` are told alike; made once, since it is waited for.

    The host is an IPv4 address, or for spokes an IPv6 address in brackets.
    """
    return pulumi.Output.all(
        gateway_key=gateway_key,
        gateway_host=gateway_host,
        authority=stack.authority.certificate,
        signing=stack.keys.signing_public,
    )


def spoke_user_data(
    stack: Stack, machine: Machine, gateway: Machine, *, key: NodeKey, told: pulumi.Output[Mapping[str, str]]
) -> pulumi.Output[str]:
    """The first-boot document of the spoke ``machine``, which hangs on ``gateway``; secret as its key is."""

    def render(private: str, told: Mapping[str, str]) -> str:
        return render_spoke(_spoke_boot(stack.plan, machine, gateway, {**told, "private": private}))

    return key.use(lambda private: told.apply(lambda found: render(private, found)))


def pool_user_data(
    pool: PoolPlan, *, token: pulumi.Output[str], told: pulumi.Output[Mapping[str, str]]
) -> pulumi.Output[str]:
    """The first-boot document of the machines of ``pool``; secret as its join token is."""
    values: pulumi.Output[tuple[str, Mapping[str, str]]] = pulumi.Output.all(token, told).apply(lambda v: (v[0], v[1]))
    return values.apply(lambda found: render_pool(_pool_boot(pool, {**found[1], "token": found[0]})))


def join_script(pool: PoolPlan, *, told: pulumi.Output[Mapping[str, str]]) -> pulumi.Output[str]:
    """The script by which machines join the external ``pool``; no secret, since their token comes apart from it."""

    def render(told: Mapping[str, str]) -> str:
        return render_external(
            ExternalBoot(
                pool=pool.name,
                overlay=pool.overlay,
                gateway_public_key=told["gateway_key"],
                gateway_control=f"{told['gateway_host']}:{CONTROL_PORT}",
                ca_pem=told["authority"],
                signing_public_key=told["signing"],
            )
        )

    return told.apply(render)


def _gateway_boot(settings: Settings, plan: Plan, machine: Machine, values: Mapping[str, str]) -> GatewayBoot:
    return GatewayBoot(
        name=machine.name,
        address=machine.address,
        overlay=settings.overlay,
        mtu=plan.mtu,
        wireguard_private_key=values["private"],
        tls_certificate_pem=values["certificate"],
        tls_private_key_pem=values["tls_key"],
        ca_pem=values["authority"],
        signing_public_key=values["signing"],
        seal_key=values["seal"],
        admin_cidrs=settings.admin_cidrs,
        overlay6=settings.overlay6,
    )


def _spoke_boot(plan: Plan, machine: Machine, gateway: Machine, values: Mapping[str, str]) -> SpokeBoot:
    return SpokeBoot(
        name=machine.name,
        cloud=machine.cloud,
        address=machine.address,
        overlay=plan.network.overlay,
        mtu=plan.mtu,
        wireguard_private_key=values["private"],
        gateway_public_key=values["gateway_key"],
        gateway_endpoint=f"{values['gateway_host']}:{WG_PORT}",
        gateway_address=gateway.address,
        ca_pem=values["authority"],
        signing_public_key=values["signing"],
        overlay6=plan.network.overlay6,
    )


def _pool_boot(pool: PoolPlan, values: Mapping[str, str]) -> PoolBoot:
    return PoolBoot(
        pool=pool.name,
        cloud=pool.cloud,
        gateway_public_key=values["gateway_key"],
        gateway_control=f"{values['gateway_host']}:{CONTROL_PORT}",
        token=values["token"],
        ca_pem=values["authority"],
        signing_public_key=values["signing"],
        user_setup=pool.user_setup,
        drain_hook=pool.drain_hook,
    )


def _placeholders(settings: Settings, name: str, machine: Machine | None = None) -> dict[str, str]:
    """What stands for the values that the machine ``name`` is told, each as long as the longest can be."""
    issuer = authority_name(settings.prefix, settings.keys.ca_revision)
    private = machine is not None and machine.private_address is not None
    more = [*([_ADDRESS] if private else []), *([_ADDRESS6] if machine is not None and machine.ipv6 else [])]
    return {
        "private": _KEY,
        "certificate": placeholder_pem("CERTIFICATE", certificate_bytes(issuer, name, name, more=more)),
        "tls_key": placeholder_pem("EC PRIVATE KEY", KEY_PEM_BYTES),
        "authority": placeholder_pem("CERTIFICATE", certificate_bytes(issuer, issuer)),
        "signing": _KEY,
        "seal": _KEY,
        "token": _TOKEN,
        "gateway_key": _KEY,
        "gateway_host": f"[{_ADDRESS6}]" if machine is not None and machine.ipv6_only else str(_ADDRESS),
    }


def largest_user_data(settings: Settings, plan: Plan, machine: Machine) -> int:
    """Bytes that the machine's document has at most, whatever its secrets; BootError when it cannot be rendered."""
    values = _placeholders(settings, machine.name, machine)
    if machine.role == "gateway":
        return len(render_gateway(_gateway_boot(settings, plan, machine, values)))
    return len(render_spoke(_spoke_boot(plan, machine, plan.hangs_on(machine), values)))


def largest_pool_user_data(settings: Settings, pool: PoolPlan) -> int:
    """Bytes that the document of the pool's machines has at most; BootError when it cannot be rendered."""
    return len(render_pool(_pool_boot(pool, _placeholders(settings, pool.name))))


def _pool_problem(settings: Settings, pool: PoolPlan) -> Problem | None:
    """What keeps the pool's document from being rendered: the user's scripts, since all else in it is bounded."""
    scripts = {"userSetup": pool.user_setup, "drainHook": pool.drain_hook}
    for key, script in scripts.items():
        try:
            largest_pool_user_data(settings, replace(pool, user_setup=script, drain_hook=""))
        except BootError as error:
            return _script_problem(pool, key, scripts, error)
    try:
        largest_pool_user_data(settings, pool)
    except BootError as error:
        return _script_problem(pool, max(scripts, key=lambda key: len(scripts[key])), scripts, error)
    return None


def _script_problem(pool: PoolPlan, key: str, scripts: Mapping[str, str], error: BootError) -> Problem:
    reason, _, remedy = str(error).partition(": ")
    value = f"{len(scripts[key].encode(errors='replace'))} bytes"
    return Problem(f"pools.{pool.name}.{key}", value, reason, remedy)


def size_problems(settings: Settings) -> list[Problem]:
    """Machines whose user data could be larger than half of what their cloud takes; a gateway's or pool's, than all.

    All spokes of a cloud differ by name and address only, so the one with the longest name stands for them.
    """
    plan = make_plan(settings)
    spokes = [machine for machine in plan.spokes.values() if not machine.is_external]
    longest = {machine.cloud: machine for machine in sorted(spokes, key=lambda m: len(m.name))}
    found: list[Problem] = []
    for machine in (*plan.gateways.values(), *longest.values()):
        kind = "gateways" if machine.role == "gateway" else "spokes"
        remedy = "declare fewer networks in adminCidrs"
        try:
            size = largest_user_data(settings, plan, machine)
        except BootError as error:
            found.append(Problem(f"{kind}.{machine.name}", machine.name, str(error), remedy))
            continue
        limit = LIMITS[machine.cloud] // (1 if machine.role == "gateway" else 2)
        if size > limit:
            reason = f"its user data could have {size} bytes, and may have {limit}"
            found.append(Problem(f"{kind}.{machine.name}", machine.name, reason, remedy))
    pools = [pool for pool in plan.pools.values() if not pool.is_external]
    found += [problem for pool in pools if (problem := _pool_problem(settings, pool)) is not None]
    return found
