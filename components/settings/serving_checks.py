"""What can be wrong with settings about serving whose shapes are right: names, ports, certificates, API keys."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from components.documents import METRICS_PORT
from components.settings.cloudflare_checks import cloudflare_problems
from components.settings.errors import SECRET
from components.settings.models import Settings
from overlay.checks import Problem
from overlay.model import is_node_name
from overlay.serving import API_KEY

SSH_PORT = 22
MIN_RSA_BITS = 2048
"""The fewest that browsers and certificate authorities take (CA/Browser Forum, Baseline Requirements 6.1.5)."""
_PEM_REMEDY = "give it in PEM, as the authority or your tool wrote it, from its BEGIN to its END line"
_KEY_REMEDY = "make one with `openssl rand -hex 32`"


def serving_problems(settings: Settings) -> Iterator[Problem]:
    """Everything that is wrong with what the load balancer shows, asks for and sends requests to."""
    for name, site in settings.sites.items():
        yield from port_problems(f"sites.{name}.serving.port", site.serving.port)
    balancer = settings.load_balancer
    for name, count in Counter(balancer.server_names).items():
        if count > 1:
            yield Problem("loadBalancer.serverNames", name, "it stands there twice", "remove one of the two")
    yield from _source_problems(settings)
    yield from cloudflare_problems(settings)
    yield from _api_key_problems(settings)


def port_problems(where: str, port: int) -> Iterator[Problem]:
    """An inference server's port that something else of the machine listens at."""
    taken = {SSH_PORT: "SSH", METRICS_PORT: "the machine's own metrics"}.get(port)
    if taken is not None:
        yield Problem(where, str(port), f"{taken} is there", "serve at another port")


def _source_problems(settings: Settings) -> Iterator[Problem]:
    """A certificate that nothing would use, one that is missing, one that cannot be used."""
    wanted, given = settings.load_balancer.certificate, settings.tls_certificate
    where = "loadBalancer.certificate"
    if given is None:
        if wanted == "given":
            remedy = "give it and its key, encrypted: see tlsCertificate in docs/settings.md"
            yield Problem(where, wanted, "there is no tlsCertificate", remedy)
        return
    if wanted != "given":
        reason = f"nothing would use it, since {where} is {wanted}"
        yield Problem("tlsCertificate", SECRET, reason, f"set {where} to given, or remove it")
    yield from certificate_problems(given.certificate, given.private_key, settings.load_balancer.names)


def certificate_problems(certificate: str, private_key: str, names: tuple[str, ...]) -> Iterator[Problem]:
    """Why a server could not show this chain with this key (both PEM) to whoever asks for one of ``names``."""
    at, key_at = "tlsCertificate.certificate", "tlsCertificate.privateKey"
    try:
        chain = x509.load_pem_x509_certificates(certificate.encode())
        public = chain[0].public_key()
    except (ValueError, UnsupportedAlgorithm):
        yield Problem(at, SECRET, "it is no certificate that can be read", _PEM_REMEDY)
        return
    try:
        key = load_pem_private_key(private_key.encode(), None)
    except TypeError:
        remedy = "decrypt it (`openssl pkey`): the config's encryption keeps it secret"
        yield Problem(key_at, SECRET, "it is encrypted with a passphrase", remedy)
        return
    except (ValueError, UnsupportedAlgorithm):
        yield Problem(key_at, SECRET, "it is no private key that can be read", _PEM_REMEDY)
        return
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        reason = "it is neither an RSA nor an ECDSA key, and browsers take no other"
        yield Problem(key_at, SECRET, reason, "have a certificate issued for such a key")
    elif isinstance(key, rsa.RSAPrivateKey) and key.key_size < MIN_RSA_BITS:
        reason = f"an RSA key of {key.key_size} bits is refused by clients"
        yield Problem(key_at, SECRET, reason, f"make one of {MIN_RSA_BITS} bits or more")
    own = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != own:
        reason = "it is not the key of the (first) certificate"
        yield Problem(key_at, SECRET, reason, "give the pair that belongs together, the server's certificate first")
    yield from _chain_problems(at, chain)
    yield from _time_problems(at, chain)
    yield from _name_problems(at, chain[0], names)


def _chain_problems(where: str, chain: list[x509.Certificate]) -> Iterator[Problem]:
    for number, (issued, issuer) in enumerate(pairwise(chain), start=1):
        try:
            issued.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            reason = f"certificate {number + 1} of the chain did not issue certificate {number}"
            yield Problem(where, SECRET, reason, "give the server's first, then each one's issuer")


def _time_problems(where: str, chain: list[x509.Certificate]) -> Iterator[Problem]:
    now = datetime.datetime.now(datetime.UTC)
    for number, each in enumerate(chain, start=1):
        which = "it" if len(chain) == 1 else f"certificate {number} of the chain"
        if each.not_valid_after_utc <= now:
            reason = f"{which} expired on {each.not_valid_after_utc:%Y-%m-%d}"
            yield Problem(where, SECRET, reason, "give the renewed one")
        elif each.not_valid_before_utc > now:
            reason = f"{which} is not valid before {each.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            yield Problem(where, SECRET, reason, "wait until then, or look at this machine's clock")


def _name_problems(where: str, certificate: x509.Certificate, wanted: tuple[str, ...]) -> Iterator[Problem]:
    """Clients look at alternative names alone (RFC 9525, section 6.3), where ``*`` stands for one label."""
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = {name.lower() for name in alternative.get_values_for_type(x509.DNSName)}
    except (x509.ExtensionNotFound, ValueError):
        names = set[str]()
    for name in wanted:
        if name not in names and f"*.{name.partition('.')[2]}" not in names:
            listed = ", ".join(sorted(names)) or "none"
            remedy = f"remove it, or give a certificate for it (this one's names: {listed})"
            yield Problem("loadBalancer.serverNames", name, f"{where} is not for this name", remedy)


def _api_key_problems(settings: Settings) -> Iterator[Problem]:
    owners: dict[str, str] = {}
    for name, key in sorted(settings.api_keys.items()):
        where = f"apiKeys.{name}"
        if not is_node_name(name):
            reason = "a key's name is lower-case letters, digits and hyphens, beginning with a letter"
            yield Problem("apiKeys", SECRET, f"one of its names is none: {reason}", "call it by who uses it")
        elif not API_KEY.fullmatch(key):
            reason = "it is no bearer token of 16 to 256 characters: letters, digits and - . _ ~ + /"
            yield Problem(where, SECRET, reason, _KEY_REMEDY)
        elif owners.setdefault(key, name) != name:
            yield Problem(where, SECRET, f"{owners[key]} has this key already", _KEY_REMEDY)
