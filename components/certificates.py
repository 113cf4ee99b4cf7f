"""The stack's certificate authority, and the certificates that gateways show: of it, or given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_tls as tls
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from components.settings.serving import TlsCertificate

TEN_YEARS = 10 * 365 * 24
"""Hours. Certificates stand in user data that is fixed for a machine's life, so none expires within it."""
SERVING_HOURS = 397 * 24
"""Clients may bound how long a server's certificate is valid: browsers take 398 days at most of public authorities."""
RENEWAL_HOURS = 90 * 24
"""How long before its end a `pulumi up` makes it anew."""
_CURVE = "P256"


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, PEM; ``private_key`` is secret."""

    certificate: pulumi.Output[str]
    private_key: pulumi.Output[str]


def given_certificate(given: TlsCertificate) -> Certificate:
    """What the settings give, in the PEM that everybody writes; they were found to fit each other."""
    chain = x509.load_pem_x509_certificates(given.certificate.encode())
    key = load_pem_private_key(given.private_key.encode(), None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    certificate = "".join(each.public_bytes(Encoding.PEM).decode() for each in chain)
    return Certificate(pulumi.Output.from_input(certificate), pulumi.Output.secret(pem))


@dataclass(frozen=True)
class _Wish:
    """What to issue: the subject, what the key's and the other resources' names are made of, how long it is valid."""

    common_name: str
    key: str
    stem: str
    names: Sequence[str]
    addresses: Sequence[pulumi.Input[str]]
    hours: int
    early: int | None


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
        """A control plane's certificate for ``name`` and the IP ``addresses``; ``opts`` says whose child it is."""
        return self._issue(_Wish(name, f"{name}-tls-key", name, (name,), addresses, TEN_YEARS, None), opts)

    def issue_serving(
        self,
        name: str,
        *,
        names: Sequence[str],
        addresses: Sequence[pulumi.Input[str]],
        opts: pulumi.ResourceOptions,
    ) -> Certificate:
        """What the gateway ``name`` shows to clients: a certificate for itself, ``names`` and the IP ``addresses``.

        It is the leaf alone: who trusts the authority has its certificate, and who does not would not trust one that
        comes along (RFC 8446, section 4.4.2, lets the root be left out).
        """
        dns_names = (*names, *(() if name in names else (name,)))
        key, stem = f"{name}-serving-key", f"{name}-serving"
        return self._issue(_Wish(name, key, stem, dns_names, addresses, SERVING_HOURS, RENEWAL_HOURS), opts)

    def _issue(self, wish: _Wish, opts: pulumi.ResourceOptions) -> Certificate:
        key = tls.PrivateKey(wish.key, algorithm="ECDSA", ecdsa_curve=_CURVE, opts=opts)
        private_key = pulumi.Output.secret(key.private_key_pem)
        request = tls.CertRequest(
            f"{wish.stem}-request",
            private_key_pem=private_key,
            subject={"common_name": wish.common_name},
            dns_names=wish.names,
            ip_addresses=wish.addresses,
            opts=opts,
        )
        certificate = tls.LocallySignedCert(
            f"{wish.stem}-certificate",
            cert_request_pem=request.cert_request_pem,
            ca_private_key_pem=self._private_key,
            ca_cert_pem=self.certificate,
            allowed_uses=["digital_signature", "server_auth"],
            set_subject_key_id=True,
            validity_period_hours=wish.hours,
            early_renewal_hours=wish.early,
            opts=opts,
        )
        return Certificate(certificate.cert_pem, private_key)
