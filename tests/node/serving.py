"""What the tests of the load balancer share: nginx in memory, credentials, and an inference server that can be told."""

from __future__ import annotations

import datetime
import threading
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from node.gateway.serving.nginx import NginxError
from overlay.serving import Check, Credentials, LoadBalancer, Share, Target, canonical_credentials
from overlay.signing import credentials_message
from tests.node.support import Stack

API_KEY = "sk-One.key+with/~signs_0123=="


@dataclass
class MemoryNginx:
    """An nginx whose configuration is in ``folder``. ``refusal`` is what it says instead of taking one."""

    folder: Path
    refusal: str | None = None
    running: bool = False
    text: str | None = None
    """What it goes on with."""
    taken: list[str] = field(default_factory=list[str])
    stops: int = 0
    stops_tried: int = 0
    is_ours: bool = True
    """Whether its unit takes what the service lays out."""
    takes: int = 0
    """How often it was told to take something."""
    gate: threading.Event = field(default_factory=threading.Event)
    """It takes nothing while this is not set."""

    def __post_init__(self) -> None:
        self.gate.set()

    def take(self) -> None:
        self.takes += 1
        assert self.gate.wait(30)
        if self.refusal:
            raise NginxError(self.refusal)
        candidate = self.folder / "candidate.conf"
        if self.is_ours and candidate.exists():
            candidate.replace(self.folder / "nginx.conf")
        if self.is_ours:
            self.text = (self.folder / "nginx.conf").read_text()
            self.taken.append(self.text)
        self.running = True

    def stop(self) -> None:
        self.stops_tried += 1
        if self.refusal:
            raise NginxError(self.refusal)
        self.running, self.stops = False, self.stops + 1

    def is_running(self) -> bool:
        return self.running


class Authority:
    """A CA, and what it issues."""

    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.pem = self._issue(self._name, self._key, _now() + datetime.timedelta(days=3650), is_ca=True)

    def issue(self, name: str = "gateway", *, days: float = 30) -> tuple[str, str]:
        """A certificate for ``localhost`` and 127.0.0.0/24's first addresses, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        pem = self._issue(subject, key, _now() + datetime.timedelta(days=days), is_ca=False)
        return pem, _key_pem(key)

    def _issue(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, end: datetime.datetime, *, is_ca: bool
    ) -> str:
        alternatives = [x509.DNSName("localhost"), *(x509.IPAddress(ip_address(f"127.0.0.{n}")) for n in (1, 2))]
        extension = (
            x509.BasicConstraints(ca=True, path_length=None) if is_ca else x509.SubjectAlternativeName(alternatives)
        )
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_now() - datetime.timedelta(days=60))
            .not_valid_after(end)
            .add_extension(extension, critical=is_ca)
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM).decode()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(*form, serialization.NoEncryption()).decode()


def credentials(number: int = 1, authority: Authority | None = None, **changes: object) -> Credentials:
    """Credentials of the gateway ``gw`` with a new certificate."""
    certificate, private_key = (authority or Authority()).issue()
    found: dict[str, object] = {"gateway": "gw", "certificate": certificate, "private_key": private_key, **changes}
    return Credentials(number, **found)  # type: ignore[arg-type]


def signed_credentials(stack: Stack, made: Credentials) -> tuple[bytes, str]:
    body = canonical_credentials(made)
    return body, stack.sign(credentials_message(body))


def balancer(
    nodes: dict[str, Target] | None = None, pools: dict[str, Share] | None = None, check: Check | None = None
) -> LoadBalancer:
    return LoadBalancer(check or Check(1, 1, 1), nodes or {}, pools or {})


@dataclass
class InferenceServer:
    """Answers at ``address`` as it is told: ``status`` to a health check; counts them, with the last one's path."""

    address: IPv4Address
    status: int = 200
    checks: int = 0
    path: str = ""
    port: int = 0
    _runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        async def health(request: web.Request) -> web.Response:
            self.checks += 1
            self.path = request.path_qs
            return web.Response(status=self.status)

        app = web.Application()
        app.router.add_get("/health", health)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, str(self.address), port or self.port)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None
