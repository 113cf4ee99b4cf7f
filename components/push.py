"""Release, roster and credentials as Pulumi resources: what is pushed to the gateways over their control plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pulumi
from pulumi import dynamic

from components import release
from components.control import ControlPlane, Held, PushError, RefusedError, Status
from components.keys import sign
from components.push_base import Props, Pushed, Pushing, PushProvider, hand_over, headers
from components.roster_document import roster_document
from overlay.roster import canonical, content_digest
from overlay.serving import Credentials as CredentialsDocument
from overlay.serving import canonical_credentials, credentials_digest
from overlay.signing import credentials_message, release_message, roster_message

_FORBIDDEN = 403
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class ReleaseProvider(PushProvider):
    """Pushes the project's release: ``PUT /v1/release``."""

    kind = "release"

    def digest(self, props: Mapping[str, Any]) -> str:
        return str(props["sha256"])

    def held(self, status: Status) -> Held | None:
        return status.release

    def used(self, status: Status) -> int:
        return status.newest_release

    def send(self, plane: ControlPlane, status: Status, props: Mapping[str, Any], number: int) -> None:
        archive = release.build()
        if archive.sha256 != props["sha256"]:
            raise PushError("node/ or overlay/ changed since the program planned this release: run `pulumi up` again")
        if status.signing is not None:
            hand_over(plane, props)
        _put_release(plane, props, archive, number)
        plane.wait_for_release(number, archive.sha256)
        if status.signing is None:
            hand_over(plane, props)


def _put_release(plane: ControlPlane, props: Mapping[str, Any], archive: release.Archive, number: int) -> None:
    """Pushes a release, signed by the present key, or by one before it to a gateway that has not heard of another.

    Stage 0 and releases from before keys could change know first boot's alone.
    """
    earlier: Sequence[str] = props.get("earlierKeys", ())
    keys = [*earlier, str(props["signingKey"])]
    message = release_message(number, archive.sha256)
    while True:
        try:
            return plane.put("/v1/release", archive.data, headers(number, sign(keys.pop(), message)))
        except RefusedError as error:
            if error.status != _FORBIDDEN or not keys:
                raise


class RosterProvider(PushProvider):
    """Pushes the roster: ``PUT /v1/roster``."""

    kind = "roster"

    def check(self, _olds: Props, news: Props) -> dynamic.CheckResult:
        """Refuses, in the preview already where it is known, a revoked key that a declared node has, another overlay
        address for a gateway whose machine stays, and an earlier one of the stack's own keys.
        """
        revoked = set(news["revokedKeys"])
        holders = [name for name, node in sorted(news["nodes"].items()) if node["publicKey"] in revoked]
        reason = "{} has a key that is among revokedKeys: remove it there, or make the node anew with another key"
        failures = [dynamic.CheckFailure("revokedKeys", reason.format(name)) for name in holders]
        return dynamic.CheckResult(news, [*failures, *_moved_gateways(_olds, news), *_lowered(_olds, news)])

    def digest(self, props: Mapping[str, Any]) -> str:
        return content_digest(roster_document(props, 1))

    def held(self, status: Status) -> Held | None:
        return status.roster

    def signed(self, props: Mapping[str, Any], number: int) -> tuple[bytes, dict[str, str]]:
        body = canonical(roster_document(props, number))
        return body, headers(number, sign(props["signingKey"], roster_message(body)))

    def told(self, props: Mapping[str, Any], statuses: Mapping[str, Status]) -> Props:
        """The gateways' WireGuard keys: what each says that it uses, else what is known, else what it began with."""
        known: Mapping[str, str] = props.get("gateway_keys") or _NOTHING
        first: dict[str, str] = {name: props["nodes"][name]["publicKey"] for name in props["gateways"]}
        said = {name: status.public_key for name, status in statuses.items() if status.public_key is not None}
        return {"gateway_keys": {name: said.get(name, known.get(name, key)) for name, key in first.items()}}


def _moved_gateways(olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[dynamic.CheckFailure]:
    """A gateway's machine keeps the address that its first boot told it, and every node knows it by that."""
    before: Mapping[str, Mapping[str, Any]] = olds.get("nodes") or {}
    machines: Mapping[str, Mapping[str, Any]] = olds.get("gateways") or {}
    failures: list[dynamic.CheckFailure] = []
    for name, gateway in sorted(news["gateways"].items()):
        if name not in before or name not in machines or machines[name]["serverId"] != gateway["serverId"]:
            continue
        old, new = before[name]["address"], news["nodes"][name]["address"]
        if old != new:
            reason = (
                f"gateways.{name} has the overlay address {old}, and its machine, which stays, would not have {new}: "
                f"pin `address: {old}`, or raise its revision"
            )
            failures.append(dynamic.CheckFailure("nodes", reason))
    return failures


def _lowered(olds: Mapping[str, Any], news: Mapping[str, Any]) -> list[dynamic.CheckFailure]:
    """Machines believe the newest of the stack's keys that they have met, and no earlier one."""
    before: Mapping[str, float] = olds.get("keys", _NOTHING)
    now: Mapping[str, float] = news.get("keys", _NOTHING)
    return [
        dynamic.CheckFailure(
            "keys",
            f"keys.{name} was {int(revision)}, and machines go back to no earlier one: set {int(revision)}, or more",
        )
        for name, revision in sorted(before.items())
        if int(now.get(name, 1)) < int(revision)
    ]


class CredentialsProvider(PushProvider):
    """Pushes what one gateway answers requests with: ``PUT /v1/credentials``."""

    kind = "credentials"

    def digest(self, props: Mapping[str, Any]) -> str:
        return credentials_digest(_credentials(props, 1))

    def held(self, status: Status) -> Held | None:
        return status.credentials

    def signed(self, props: Mapping[str, Any], number: int) -> tuple[bytes, dict[str, str]]:
        body = canonical_credentials(_credentials(props, number))
        return body, headers(number, sign(props["signingKey"], credentials_message(body)))


def _credentials(props: Mapping[str, Any], number: int) -> CredentialsDocument:
    (gateway,) = props["gateways"]
    return CredentialsDocument(
        number, gateway, props["certificate"], props["privateKey"], props.get("clientCa"), dict(props["apiKeys"])
    )


class Release(Pushed, module="hybrid-wireguard", name="Release"):
    """The code that runs on the machines, pushed to every gateway; spokes take it from theirs."""

    def __init__(
        self,
        name: str,
        *,
        gateways: Mapping[str, Mapping[str, pulumi.Input[str]]],
        pushing: Pushing,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``gateways`` gives url and serverId by name."""
        props: Props = {
            "sha256": release.build().sha256,
            **pushing.inputs(gateways),
            "number": None,
            "digest": None,
        }
        super().__init__(ReleaseProvider(), name, props, opts)


class Roster(Pushed, module="hybrid-wireguard", name="Roster"):
    """What the stack declares, pushed to every gateway."""

    gateway_keys: pulumi.Output[Mapping[str, str]]
    """Gateway -> the WireGuard public key that it used when it was last asked: it may have changed its first one."""

    def __init__(
        self,
        name: str,
        *,
        network: Mapping[str, Any],
        nodes: Mapping[str, Mapping[str, pulumi.Input[str | None]]],
        pools: Mapping[str, Mapping[str, Any]],
        paths: Mapping[str, str],
        load_balancer: Mapping[str, Any] | None,
        wireguard_sources: Sequence[str],
        admin_cidrs: Sequence[str],
        revoked_keys: Sequence[str],
        authorities: Sequence[pulumi.Input[str]],
        keys: Mapping[str, int],
        gateways: Mapping[str, Mapping[str, pulumi.Input[str]]],
        pushing: Pushing,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``nodes`` and ``pools`` are mappings by name whose leaves alone are outputs, and so is ``load_balancer``.

        So a preview shows the change of one node or pool. ``paths`` and ``keys`` are for whoever reads the preview: by
        which gateway each goes, and which of the stack's own keys hold. They are no part of the roster.
        """
        props: Props = {
            "network": network,
            "nodes": nodes,
            "pools": pools,
            "paths": paths,
            "loadBalancer": load_balancer,
            "wireguardSources": list(wireguard_sources),
            "adminCidrs": list(admin_cidrs),
            "revokedKeys": list(revoked_keys),
            "authorities": list(authorities),
            "keys": keys,
            **pushing.inputs(gateways),
            "number": None,
            "digest": None,
            "gateway_keys": None,
        }
        super().__init__(RosterProvider(), name, props, opts)


class Credentials(Pushed, module="hybrid-wireguard", name="Credentials"):
    """What a gateway shows to clients and asks of them, pushed to it."""

    def __init__(
        self,
        name: str,
        *,
        certificate: pulumi.Input[str],
        private_key: pulumi.Input[str],
        client_ca: pulumi.Input[str] | None,
        api_keys: Mapping[str, str],
        gateways: Mapping[str, Mapping[str, pulumi.Input[str]]],
        pushing: Pushing,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """As :class:`overlay.serving.Credentials`; ``private_key`` and ``api_keys`` are secrets.

        ``gateways`` is the one that they are for.
        """
        props: Props = {
            "certificate": certificate,
            "privateKey": pulumi.Output.secret(private_key),
            "clientCa": client_ca,
            "apiKeys": pulumi.Output.secret(dict(api_keys)),
            **pushing.inputs(gateways),
            "number": None,
            "digest": None,
        }
        super().__init__(CredentialsProvider(), name, props, opts)
