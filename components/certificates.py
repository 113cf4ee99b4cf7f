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
"""How long before its end a `pulumi up` makes a gateway's certificate anew."""
_CURVE = "P256"
_AUTHORITY_USES = ["cert_signing", "crl_signing"]


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


def authority_name(prefix: str, revision: int) -> str:
    """What an authority's certificate calls it; another name a revision, so that nobody takes one for another."""
    return prefix if revision == 1 else f"{prefix} {revision}"


class CertificateAuthority(pulumi.ComponentResource):
    """An ECDSA authority of the stack's own: whoever trusts it trusts this stack's gateways and nobody else.

    Each revision is another authority, and the one before it vouches for it: who knows an earlier one alone finds the
    way to what the present one has issued by the certificates in between, the bridges, that a gateway shows, too.
    """

    certificate: pulumi.Output[str]
    """The present authority's certificate, PEM."""
    known: pulumi.Output[str]
    """The certificates of all of them, PEM: a gateway shows one of an earlier authority until it is told another."""

    def __init__(
        self,
        name: str,
        *,
        common_name: str,
        protect: bool,
        revision: int = 1,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``common_name`` stands in the certificates; ``protect`` keeps the authorities from being deleted."""
        super().__init__("hybrid-wireguard:index:CertificateAuthority", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self, protect=protect)
        self._revision = revision
        self._private_key, self.certificate = self._make(name, common_name, child)
        known, self._bridges = [self.certificate], list[pulumi.Output[str]]()
        for number in range(2, revision + 1):
            before = self._private_key, self.certificate
            called = authority_name(common_name, number)
            self._private_key, self.certificate = self._make(f"{name}-{number}", called, child)
            known.insert(0, self.certificate)
            self._bridges.insert(0, self._bridge(f"{name}-{number}", called, before, child))
        self.known = known[0] if len(known) == 1 else pulumi.Output.concat(*known)
        self.register_outputs({"certificate": self.certificate})

    def _make(
        self, name: str, common_name: str, opts: pulumi.ResourceOptions
    ) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
        """An authority: its private key, a secret, and its certificate, both PEM."""
        key = tls.PrivateKey(f"{name}-key", algorithm="ECDSA", ecdsa_curve=_CURVE, opts=opts)
        private_key = pulumi.Output.secret(key.private_key_pem)
        certificate = tls.SelfSignedCert(
            f"{name}-certificate",
            private_key_pem=private_key,
            subject={"common_name": common_name},
            is_ca_certificate=True,
            set_subject_key_id=True,
            allowed_uses=_AUTHORITY_USES,
            validity_period_hours=TEN_YEARS,
            opts=opts,
        )
        return private_key, certificate.cert_pem

    def _bridge(
        self,
        name: str,
        common_name: str,
        before: tuple[pulumi.Output[str], pulumi.Output[str]],
        opts: pulumi.ResourceOptions,
    ) -> pulumi.Output[str]:
        """The present authority's certificate by the one ``before`` it (private key and certificate), PEM."""
        request = tls.CertRequest(
            f"{name}-request", private_key_pem=self._private_key, subject={"common_name": common_name}, opts=opts
        )
        return tls.LocallySignedCert(
            f"{name}-bridge",
            cert_request_pem=request.cert_request_pem,
            ca_private_key_pem=before[0],
            ca_cert_pem=before[1],
            is_ca_certificate=True,
            set_subject_key_id=True,
            allowed_uses=_AUTHORITY_USES,
            validity_period_hours=TEN_YEARS,
            opts=opts,
        ).cert_pem

    def with_bridges(self, certificate: pulumi.Output[str]) -> pulumi.Output[str]:
        """``certificate`` (PEM), issued here, and behind it what leads on to every earlier authority."""
        return pulumi.Output.concat(certificate, *self._bridges) if self._bridges else certificate

    def issue(self, name: str, *, addresses: Sequence[pulumi.Input[str]], opts: pulumi.ResourceOptions) -> Certificate:
        """A control plane's certificate for ``name`` and the IP ``addresses``; ``opts`` says whose child it is."""
        return self._issue(_Wish(name, f"{name}-tls-key", name, (name,), addresses, TEN_YEARS), opts)

    def issue_serving(
        self,
        name: str,
        *,
        names: Sequence[str],
        addresses: Sequence[pulumi.Input[str]],
        opts: pulumi.ResourceOptions,
    ) -> Certificate:
        """What the gateway ``name`` shows to clients: a certificate for itself, ``names`` and the IP ``addresses``.

        It comes with the bridges, and without the authority itself: who trusts that has its certificate, and who does
        not would not trust one that comes along (RFC 8446, section 4.4.2, lets the root be left out).
        """
        dns_names = (*names, *(() if name in names else (name,)))
        key, stem = f"{name}-serving-key", f"{name}-serving"
        made = self._issue(_Wish(name, key, stem, dns_names, addresses, SERVING_HOURS), opts)
        return Certificate(self.with_bridges(made.certificate), made.private_key)

    def _issue(self, wish: _Wish, opts: pulumi.ResourceOptions) -> Certificate:
        name = wish.key if self._revision == 1 else f"{wish.key}-{self._revision}"
        key = tls.PrivateKey(name, algorithm="ECDSA", ecdsa_curve=_CURVE, opts=opts)
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
            early_renewal_hours=RENEWAL_HOURS,
            opts=opts,
        )
        return Certificate(certificate.cert_pem, private_key)
