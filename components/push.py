"""Release, roster and credentials as Pulumi resources: what is pushed to the gateways over their control plane.

The engine runs these providers in a process of its own, which imports this module by name; importing it creates
nothing. What a resource says is in its inputs, and number and digest are its outputs, so an unchanged network is an
unchanged resource. The gateways' server ids are inputs too: a gateway made anew is told everything again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pulumi
from pulumi import dynamic
from pulumi.runtime import rpc

from components import release
from components.control import READ_SECONDS, ControlPlane, Held, Patience, PushError, Status, next_number
from components.keys import sign
from components.roster_document import roster_document
from overlay.roster import canonical, content_digest
from overlay.serving import Credentials as CredentialsDocument
from overlay.serving import canonical_credentials, credentials_digest
from overlay.signing import credentials_message, release_message, roster_message

Props = dict[str, Any]
_OUTPUTS = ("number", "digest", "__provider")


def _is_known(value: object) -> bool:
    """Whether no part of an input waits for another resource."""
    if isinstance(value, Mapping):
        return all(_is_known(item) for item in cast("Mapping[str, object]", value).values())
    if isinstance(value, list):
        return all(_is_known(item) for item in cast("list[object]", value))
    return value != rpc.UNKNOWN


def _stored(props: Mapping[str, Any]) -> Held | None:
    if props.get("number") is None or props.get("digest") is None:
        return None
    return Held(int(props["number"]), str(props["digest"]))


def _planes(props: Mapping[str, Any], patience: Patience) -> list[ControlPlane]:
    return [
        ControlPlane(name, gateway["url"], props["ca"], patience) for name, gateway in sorted(props["gateways"].items())
    ]


def _without_outputs(props: Mapping[str, Any]) -> Props:
    return {key: value for key, value in props.items() if key not in _OUTPUTS}


class _PushProvider(dynamic.ResourceProvider):
    """What all of them have in common: compare, number, push to every gateway."""

    kind = ""

    def digest(self, props: Mapping[str, Any]) -> str:
        """The digest of the content that ``props`` describe, without its number."""
        raise NotImplementedError

    def held(self, status: Status) -> Held | None:
        """What a gateway reports of this kind."""
        raise NotImplementedError

    def used(self, status: Status) -> int:
        """The highest number that a gateway can not take again for other content; 0 for none."""
        held = self.held(status)
        return held.number if held else 0

    def send(self, planes: Sequence[ControlPlane], props: Mapping[str, Any], number: int) -> None:
        """Pushes the content under ``number``."""
        raise NotImplementedError

    def push(self, props: Mapping[str, Any], stored: Held | None, patience: Patience | None = None) -> Props:
        """Makes every gateway hold the content; the resource's new state."""
        planes = _planes(props, patience or Patience())
        digest = self.digest(props)
        number = next_number(stored, digest, [self.used(plane.status()) for plane in planes])
        self.send(planes, props, number)
        return {**_without_outputs(props), "number": number, "digest": digest}

    def diff(self, _id: str, _olds: Props, _news: Props) -> dynamic.DiffResult:
        """Whether the inputs changed, or a refresh found a gateway that holds something else."""
        olds, news = _without_outputs(_olds), _without_outputs(_news)
        changed = olds != news
        if not changed and _is_known(news):
            changed = _olds.get("digest") != self.digest(news)
        return dynamic.DiffResult(changes=changed, replaces=[], delete_before_replace=False)

    def create(self, props: Props) -> dynamic.CreateResult:
        return dynamic.CreateResult(self.kind, self.push(props, None))

    def update(self, _id: str, _olds: Props, _news: Props) -> dynamic.UpdateResult:
        return dynamic.UpdateResult(self.push(_news, _stored(_olds)))

    def read(self, id_: str, props: Props) -> dynamic.ReadResult:
        """The state with the digest that the gateways really hold; one that does not answer is passed over."""
        state = {key: value for key, value in props.items() if key != "__provider"}
        patience = Patience(seconds=READ_SECONDS)
        for plane in _planes(props, patience):
            try:
                held = self.held(plane.status())
            except PushError as error:
                patience.say(f"not compared: {error}")
                continue
            if held is None or held.digest != state.get("digest"):
                state["digest"] = held.digest if held else ""
        return dynamic.ReadResult(id_, state)

    def delete(self, _id: str, _props: Props) -> None:
        """Nothing: a gateway keeps the last it was told, and a dead one could not be asked."""


class ReleaseProvider(_PushProvider):
    """Pushes the project's release: ``PUT /v1/release``."""

    kind = "release"

    def digest(self, props: Mapping[str, Any]) -> str:
        return str(props["sha256"])

    def held(self, status: Status) -> Held | None:
        return status.release

    def used(self, status: Status) -> int:
        return status.newest_release

    def send(self, planes: Sequence[ControlPlane], props: Mapping[str, Any], number: int) -> None:
        archive = release.build()
        if archive.sha256 != props["sha256"]:
            raise PushError("node/ or overlay/ changed since the program planned this release: run `pulumi up` again")
        headers = _headers(number, sign(props["signingKey"], release_message(number, archive.sha256)))
        for plane in planes:
            plane.put("/v1/release", archive.data, headers)
        for plane in planes:
            plane.wait_for_release(number, archive.sha256)


class RosterProvider(_PushProvider):
    """Pushes the roster: ``PUT /v1/roster``."""

    kind = "roster"

    def check(self, _olds: Props, news: Props) -> dynamic.CheckResult:
        """Refuses, in the preview already where it is known, a revoked key that a declared node has, and another
        overlay address for a gateway whose machine stays.
        """
        revoked = set(news["revokedKeys"])
        holders = [name for name, node in sorted(news["nodes"].items()) if node["publicKey"] in revoked]
        reason = "{} has a key that is among revokedKeys: remove it there, or make the node anew with another key"
        failures = [dynamic.CheckFailure("revokedKeys", reason.format(name)) for name in holders]
        return dynamic.CheckResult(news, [*failures, *_moved_gateways(_olds, news)])

    def digest(self, props: Mapping[str, Any]) -> str:
        return content_digest(roster_document(props, 1))

    def held(self, status: Status) -> Held | None:
        return status.roster

    def send(self, planes: Sequence[ControlPlane], props: Mapping[str, Any], number: int) -> None:
        body = canonical(roster_document(props, number))
        headers = _headers(number, sign(props["signingKey"], roster_message(body)))
        for plane in planes:
            plane.put("/v1/roster", body, headers)


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


class CredentialsProvider(_PushProvider):
    """Pushes what one gateway answers requests with: ``PUT /v1/credentials``."""

    kind = "credentials"

    def digest(self, props: Mapping[str, Any]) -> str:
        return credentials_digest(_credentials(props, 1))

    def held(self, status: Status) -> Held | None:
        return status.credentials

    def send(self, planes: Sequence[ControlPlane], props: Mapping[str, Any], number: int) -> None:
        body = canonical_credentials(_credentials(props, number))
        headers = _headers(number, sign(props["signingKey"], credentials_message(body)))
        for plane in planes:
            plane.put("/v1/credentials", body, headers)


def _credentials(props: Mapping[str, Any], number: int) -> CredentialsDocument:
    (gateway,) = props["gateways"]
    return CredentialsDocument(
        number, gateway, props["certificate"], props["privateKey"], props.get("clientCa"), dict(props["apiKeys"])
    )


def _headers(number: int, signature: str) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        "X-Hybridnet-Number": str(number),
        "X-Hybridnet-Signature": signature,
    }


class _Pushed(dynamic.Resource):
    number: pulumi.Output[int]
    """Under which the gateways hold it: above every one before."""
    digest: pulumi.Output[str]
    """SHA-256 (hex) of its content."""


class Release(_Pushed, module="hybrid-wireguard", name="Release"):
    """The code that runs on the machines, pushed to every gateway; spokes take it from theirs."""

    def __init__(
        self,
        name: str,
        *,
        gateways: Mapping[str, Mapping[str, pulumi.Input[str]]],
        ca: pulumi.Input[str],
        signing_key: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``gateways`` gives url and serverId by name; ``signing_key`` (PEM) is a secret."""
        props: Props = {
            "sha256": release.build().sha256,
            "gateways": gateways,
            "ca": ca,
            "signingKey": pulumi.Output.secret(signing_key),
            "number": None,
            "digest": None,
        }
        super().__init__(ReleaseProvider(), name, props, opts)


class Roster(_Pushed, module="hybrid-wireguard", name="Roster"):
    """What the stack declares, pushed to every gateway."""

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
        gateways: Mapping[str, Mapping[str, pulumi.Input[str]]],
        ca: pulumi.Input[str],
        signing_key: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``nodes`` and ``pools`` are mappings by name whose leaves alone are outputs, and so is ``load_balancer``.

        So a preview shows the change of one node or pool. ``paths`` is for whoever reads the preview: by which gateway
        each goes. It is no part of the roster.
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
            "gateways": gateways,
            "ca": ca,
            "signingKey": pulumi.Output.secret(signing_key),
            "number": None,
            "digest": None,
        }
        super().__init__(RosterProvider(), name, props, opts)


class Credentials(_Pushed, module="hybrid-wireguard", name="Credentials"):
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
        ca: pulumi.Input[str],
        signing_key: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """As :class:`overlay.serving.Credentials`; ``private_key``, ``api_keys`` and ``signing_key`` are secrets.

        ``gateways`` is the one that they are for.
        """
        props: Props = {
            "certificate": certificate,
            "privateKey": pulumi.Output.secret(private_key),
            "clientCa": client_ca,
            "apiKeys": pulumi.Output.secret(dict(api_keys)),
            "gateways": gateways,
            "ca": ca,
            "signingKey": pulumi.Output.secret(signing_key),
            "number": None,
            "digest": None,
        }
        super().__init__(CredentialsProvider(), name, props, opts)
