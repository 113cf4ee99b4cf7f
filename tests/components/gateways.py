"""A gateway's control plane on 127.0.0.1, with a certificate of an authority made for the test."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from components.control import Patience
from components.keys import signing_public_key
from overlay.certificate import certificate_digest, parse_certificate
from overlay.roster import content_digest, parse
from overlay.serving import credentials_digest, parse_credentials
from overlay.signing import (
    certificate_message,
    credentials_message,
    handovers_message,
    parse_handovers,
    release_message,
    roster_message,
    trusted,
)
from tests.components.recorder import key_pem

SIGNING_KEY = key_pem("stack-signing", "ED25519")[0]
LOCALHOST = "127.0.0.1"


@cache
def authority(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate authority called ``name``, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    certificate = _builder(subject, subject, key).add_extension(constraints, critical=True).sign(key, hashes.SHA256())
    return certificate, key


def ca_pem(name: str = "stack") -> str:
    """The certificate (PEM) of the authority ``name``."""
    return authority(name)[0].public_bytes(serialization.Encoding.PEM).decode()


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def server_context(folder: Path) -> ssl.SSLContext:
    """A server's context with a certificate of the authority ``stack`` for 127.0.0.1."""
    issuer, issuer_key = authority("stack")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(LOCALHOST))])
    from_issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    certificate = (
        _builder(subject, issuer.subject, key)
        .add_extension(names, critical=False)
        .add_extension(from_issuer, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    pem = folder / "gateway.pem"
    bare = serialization.NoEncryption()
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, bare)
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


@dataclass
class Gateway:
    """What the gateway holds and how it answers; ``puts`` are the requests that changed something."""

    url: str = ""
    release: dict[str, Any] | None = None
    roster: dict[str, Any] | None = None
    credentials: dict[str, Any] | None = None
    knows_credentials: bool = True
    """Whether its release is one that answers requests."""
    certificate: dict[str, Any] | None = None
    key: str = field(default_factory=lambda: signing_public_key(SIGNING_KEY))
    """The signing key that it believes."""
    handovers: int | None = None
    """How many it knows, if its release is one that tells that."""
    knows_signing: bool = True
    """Whether its release is one that can come to believe another."""
    public_key: str | None = None
    """The WireGuard key that it says it uses."""
    healthy: bool = True
    runs_what_it_takes: bool = True
    newest_release: int = 0
    failed_release: dict[str, Any] | None = None
    answers_before: list[tuple[int, dict[str, Any]]] = field(default_factory=list[tuple[int, dict[str, Any]]])
    """Given once each, before anything else is answered."""
    on_put: Callable[[str, int], object] = lambda _kind, _number: None
    """Called before something is taken."""
    puts: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

    def status(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "stage": "service" if self.release else "stage0",
            "healthy": self.healthy,
            "release": self.release,
            "roster": self.roster,
            "newest_release": self.newest_release,
            **({"credentials": self.credentials} if self.release and self.knows_credentials else {}),
            **({"failed_release": self.failed_release} if self.release else {}),
            **({"signing": self.key, "certificate": self.certificate} if self.release and self.knows_signing else {}),
            **({"handovers": self.handovers} if self.release and self.handovers is not None else {}),
            **({"public_key": self.public_key} if self.release and self.public_key else {}),
        }

    def take(self, path: str, number: int, signature: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """The answer to a PUT, by the rules of the control plane."""
        kind = path.removeprefix("/v1/")
        if kind == "signing":
            return self._hand_over(signature, body)
        digest = hashlib.sha256(body).hexdigest()
        messages = {
            "roster": roster_message,
            "credentials": credentials_message,
            "certificate": certificate_message,
        }
        message = messages[kind](body) if kind in messages else release_message(number, digest)
        if not verified(message, signature, self.key):
            return 403, {"status": "refused", "reason": "the signature is not the stack's"}
        held = {
            "roster": self.roster,
            "credentials": self.credentials,
            "certificate": self.certificate,
            "release": self.release,
        }[kind]
        if held and (number < held["number"] or (number == held["number"] and digest != held["sha256"])):
            return 409, {"status": "refused", "reason": f"number {held['number']} is held"}
        if kind == "release" and self.failed_release and number == self.failed_release["number"]:
            return 409, {"status": "refused", "reason": "this release failed here"}
        self.on_put(kind, number)
        self.puts.append((kind, number))
        made = {"number": number, "sha256": digest}
        if kind == "roster":
            self.roster = {**made, "content": content_digest(parse(body))}
        elif kind == "credentials":
            self.credentials = {**made, "content": credentials_digest(parse_credentials(body))}
        elif kind == "certificate":
            self.certificate = {**made, "content": certificate_digest(parse_certificate(body))}
        else:
            self.newest_release = number
            if self.runs_what_it_takes:
                self.release = made
            else:
                self.failed_release = {"number": number, "reason": "its self-check ended with status 7"}
        return 201, {"status": "taken"}

    def _hand_over(self, signature: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if self.release is None or not self.knows_signing:
            return 404, {"status": 404, "reason": "not found"}
        handovers = parse_handovers(body)
        keys = trusted(self.key, handovers, verified)
        if keys[-1] != handovers[-1].public_key or not verified(handovers_message(body), signature, keys[-1]):
            return 403, {"status": "refused", "reason": "it leads nowhere"}
        self.key, self.handovers = keys[-1], len(handovers)
        self.puts.append(("signing", len(handovers)))
        return 201, {"status": "taken"}


def verified(message: bytes, signature: str, public_key: str) -> bool:
    """Whether the private half of ``public_key`` signed ``message``."""
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key)).verify(base64.b64decode(signature), message)
    except InvalidSignature:
        return False
    return True


class _Server(ThreadingHTTPServer):
    request_queue_size = 128


@contextmanager
def serving(gateway: Gateway, folder: Path) -> Generator[Gateway]:
    """Serves ``gateway`` at a free port of 127.0.0.1; its ``url`` says which."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, code: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            early = gateway.answers_before
            self._answer(*(early.pop(0) if early else (200, gateway.status())))

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            number, signature = int(self.headers["X-Hybridnet-Number"]), self.headers["X-Hybridnet-Signature"]
            early = gateway.answers_before
            self._answer(*(early.pop(0) if early else gateway.take(self.path, number, signature, body)))

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = _Server((LOCALHOST, 0), Handler)
    server.socket = server_context(folder).wrap_socket(server.socket, server_side=True)
    gateway.url = f"https://{LOCALHOST}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Time:
    """Time that passes only when somebody sleeps, and what was said meanwhile."""

    now: float = 0.0
    said: list[str] = field(default_factory=list[str])

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def patience(self, seconds: float = 600) -> Patience:
        return Patience(seconds, lambda: self.now, self.sleep, self.said.append)


def inputs_of(gateway: Gateway, **changes: Any) -> dict[str, Any]:
    """A roster's inputs for one gateway and two spokes."""
    return {
        "network": {
            "overlay": "10.100.0.0/16",
            "topology": "hub",
            "mtu": 1380.0,
            "sites": {"aws": {"cloud": "aws", "subnet": "10.100.2.0/24", "region": "eu-central-1"}},
        },
        "nodes": {
            "gw": node("10.100.0.1", "GE1AFY974hTtgqQ9UOajVqW0pdAzqdj0XKSHNSudHDc=", "gateway", "192.0.2.1:51820"),
            "aws-1": node("10.100.2.1", "sVH5o+GYs26IfJWoiPlQy/O1rFKFvfHr35p13mgdvD4=", "spoke", None),
        },
        "pools": {},
        "wireguardSources": ["0.0.0.0/0", "::/0"],
        "adminCidrs": ["203.0.113.0/24"],
        "revokedKeys": [],
        "gateways": {"gw": {"url": gateway.url, "serverId": "7"}},
        "ca": ca_pem(),
        "signingKey": SIGNING_KEY,
        "__provider": "pickled",
        **changes,
    }


def node(address: str, key: str, role: str, endpoint: str | None) -> dict[str, Any]:
    found = {"site": "aws", "role": role, "address": address, "publicKey": key}
    return found if endpoint is None else {**found, "endpoint": endpoint}
