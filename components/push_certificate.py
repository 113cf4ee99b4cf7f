"""The certificate of a gateway's control plane as a Pulumi resource: pushed to it, so that it may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from components.certificates import Certificate
from components.control import Held, Status
from components.keys import sign
from components.push_base import Props, Pushed, Pushing, PushProvider, headers
from overlay.certificate import ControlCertificate, canonical_certificate, certificate_digest
from overlay.signing import certificate_message


class ControlCertificateProvider(PushProvider):
    """Pushes what one gateway shows at its control plane: ``PUT /v1/certificate``."""

    kind = "certificate"

    def digest(self, props: Mapping[str, Any]) -> str:
        return certificate_digest(_document(props, 1))

    def held(self, status: Status) -> Held | None:
        return status.certificate

    def signed(self, props: Mapping[str, Any], number: int) -> tuple[bytes, dict[str, str]]:
        body = canonical_certificate(_document(props, number))
        return body, headers(number, sign(props["signingKey"], certificate_message(body)))


def _document(props: Mapping[str, Any], number: int) -> ControlCertificate:
    (gateway,) = props["gateways"]
    return ControlCertificate(number, gateway, props["certificate"], props["privateKey"])


class PushedCertificate(Pushed, module="hybrid-wireguard", name="ControlCertificate"):
    """What a gateway shows at its control plane, pushed to it: first boot's is from when its machine was made."""

    def __init__(
        self,
        name: str,
        *,
        certificate: Certificate,
        gateways: Mapping[str, Mapping[str, pulumi.Input[str]]],
        pushing: Pushing,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``gateways`` is the one that it is for."""
        props: Props = {
            "certificate": certificate.certificate,
            "privateKey": pulumi.Output.secret(certificate.private_key),
            **pushing.inputs(gateways),
            "number": None,
            "digest": None,
        }
        super().__init__(ControlCertificateProvider(), name, props, opts)
