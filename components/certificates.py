"""The stack's certificate authority and the certificates of the gateways' control plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_tls as tls

TEN_YEARS = 10 * 365 * 24
"""Hours. Certificates stand in user data that is fixed for a machine's life, so none expires within it."""
_CURVE = "P256"


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, PEM; ``private_key`` is secret."""

    certificate: pulumi.Output[str]
    private_key: pulumi.Output[str]


class CertificateAuthority(pulumi.ComponentResource):
    """An ECDSA authority of the stack's own: whoever trusts it trusts this stack's gateways and nobody else."""

    certificate: pulumi.Output[str]
    """The authority's certificate, PEM."""

    def __init__(
        self, name: str, *, common_name: str, protect: bool, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """``common_name`` stands in the certificate; ``protect`` keeps the authority from being deleted."""
        super().__init__("hybrid-wireguard:index:CertificateAuthority", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, protect=protect)
        key = tls.PrivateKey(f"{name}-key", algorithm="ECDSA", ecdsa_curve=_CURVE, opts=child)
        self._private_key = pulumi.Output.secret(key.private_key_pem)
        certificate = tls.SelfSignedCert(
            f"{name}-certificate",
            private_key_pem=self._private_key,
            subject={"common_name": common_name},
            is_ca_certificate=True,
            set_subject_key_id=True,
            allowed_uses=["cert_signing", "crl_signing"],
            validity_period_hours=TEN_YEARS,
            opts=child,
        )
        self.certificate = certificate.cert_pem
        self.register_outputs({"certificate": self.certificate})

    def issue(self, name: str, *, addresses: Sequence[pulumi.Input[str]], opts: pulumi.ResourceOptions) -> Certificate:
        """A server's certificate for ``name`` and the IP ``addresses``; ``opts`` says whose children its parts are."""
        key = tls.PrivateKey(f"{name}-tls-key", algorithm="ECDSA", ecdsa_curve=_CURVE, opts=opts)
        private_key = pulumi.Output.secret(key.private_key_pem)
        request = tls.CertRequest(
            f"{name}-request",
            private_key_pem=private_key,
            subject={"common_name": name},
            dns_names=[name],
            ip_addresses=addresses,
            opts=opts,
        )
        certificate = tls.LocallySignedCert(
            f"{name}-certificate",
            cert_request_pem=request.cert_request_pem,
            ca_private_key_pem=self._private_key,
            ca_cert_pem=self.certificate,
            allowed_uses=["digital_signature", "server_auth"],
            set_subject_key_id=True,
            validity_period_hours=TEN_YEARS,
            opts=opts,
        )
        return Certificate(certificate.cert_pem, private_key)
