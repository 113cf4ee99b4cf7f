"""What the node tests share: a stack's keys, releases, rosters, and an interface and a firewall in memory."""

from __future__ import annotations

import base64
import datetime
import gzip
import hashlib
import io
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from node.trust.trust import Trust
from node.wireguard import Change, PeerState, WireGuardError
from overlay.model import Network, Node, Site
from overlay.roster import Roster, canonical
from overlay.signing import release_message, roster_message

GATEWAY_ADDRESS = "127.0.0.1"
"""Stands for the gateway's address on the overlay; the rest of 127.0.0.0/8 for its public one."""


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain for {what}"
        time.sleep(0.02)


class Stack:
    """A stack's signing key, and its CA with one gateway certificate for all of loopback that tests use."""

    def __init__(self) -> None:
        self._signing = Ed25519PrivateKey.generate()
        raw = self._signing.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.public_key = base64.b64encode(raw).decode()
        self.ca_pem, self.certificate_pem, self.key_pem = _certificates()

    def sign(self, message: bytes) -> str:
        return base64.b64encode(self._signing.sign(message)).decode()

    def trust(self, folder: Path) -> Trust:
        """A machine's trust in this stack, with its state and first boot's files in ``folder``."""
        return Trust(folder, folder, self.public_key)

    def sign_roster(self, body: bytes) -> str:
        return self.sign(roster_message(body))

    def release_headers(self, number: int, archive: bytes) -> dict[str, str]:
        return {
            "X-Hybridnet-Number": str(number),
            "X-Hybridnet-Signature": self.sign(release_message(number, hashlib.sha256(archive).hexdigest())),
        }


def _certificates() -> tuple[str, str, str]:
    start = datetime.datetime(2026, 1, 1)  # noqa: DTZ001  the oldest cryptography takes naive times only
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("ca", "gateway")]
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in names]
    addresses = [
        x509.IPAddress(ip_address(text))
        for text in ("127.0.0.1", "127.0.0.2", "127.0.1.254", "127.0.2.254", "127.0.3.254", "::1")
    ]
    made: list[str] = []
    for name, key, extension in (
        (names[0], keys[0], x509.BasicConstraints(ca=True, path_length=None)),
        (names[1], keys[1], x509.SubjectAlternativeName(addresses)),
    ):
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(names[0])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=3650))
            .add_extension(extension, critical=False)
            .sign(keys[0], hashes.SHA256())
        )
        made.append(certificate.public_bytes(serialization.Encoding.PEM).decode())
    key_pem = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return made[0], made[1], key_pem.decode()


def archive(files: Mapping[str, str]) -> bytes:
    """A release's archive: path -> text."""
    made = io.BytesIO()
    with gzip.GzipFile(fileobj=made, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()


def key(seed: str) -> str:
    return base64.b64encode(hashlib.sha256(seed.encode()).digest()).decode()


def roster(number: int = 1, spokes: int = 2, **changes: object) -> Roster:
    """A gateway ``gw`` and spokes ``spoke-1`` … in one site."""
    site = Site("hetzner", "hetzner", IPv4Network("10.100.1.0/24"), "fsn1")
    nodes = [Node("gw", "hetzner", IPv4Address("10.100.0.1"), "gateway", key("gw"), "198.51.100.1:51820")]
    nodes += [
        Node(f"spoke-{index}", "hetzner", IPv4Address(f"10.100.1.{index}"), "spoke", key(f"spoke-{index}"))
        for index in range(1, spokes + 1)
    ]
    made = Roster(
        number,
        Network(IPv4Network("10.100.0.0/16"), (site,), "hub"),
        1420,
        tuple(nodes),
        (IPv4Network("0.0.0.0/0"),),
        (IPv4Network("203.0.113.0/24"),),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def signed(stack: Stack, made: Roster) -> tuple[bytes, str]:
    body = canonical(made)
    return body, stack.sign_roster(body)


@dataclass
class MemoryWireGuard:
    """An interface that does what wg(8) would, and counts the changes. ``broken`` makes every call fail."""

    state: dict[str, PeerState] = field(default_factory=dict[str, PeerState])
    applied: list[Change] = field(default_factory=list[Change])
    size: int = 1420
    broken: bool = False

    def peers(self) -> Mapping[str, PeerState]:
        self._check()
        return dict(self.state)

    def apply(self, changes: Sequence[Change]) -> None:
        self._check()
        for change in changes:
            self.applied.append(change)
            self._apply(change)

    def _apply(self, change: Change) -> None:
        if change.remove:
            self.state.pop(change.public_key, None)
            return
        old = self.state.get(change.public_key, PeerState(change.public_key, None, frozenset(), 0, 0, 0, None))
        allowed = old.allowed_ips if change.allowed_ips is None else frozenset(map(str, change.allowed_ips))
        for key_, other in self.state.items():
            if not allowed.isdisjoint(other.allowed_ips):
                self.state[key_] = other._replace(allowed_ips=other.allowed_ips - allowed)
        self.state[change.public_key] = old._replace(
            allowed_ips=allowed,
            endpoint=change.endpoint or old.endpoint,
            keepalive=old.keepalive if change.keepalive is None else change.keepalive or None,
        )

    def mtu(self) -> int:
        self._check()
        return self.size

    def set_mtu(self, mtu: int) -> None:
        self.size = mtu

    def _check(self) -> None:
        if self.broken:
            raise WireGuardError("wg: no such device")


@dataclass
class MemoryFirewall:
    roster: Roster | None = None

    def keep(self, roster: Roster, name: str) -> str:
        before, self.roster = self.roster, roster
        return "" if before == roster else "admin4"


@dataclass
class MemoryProbe:
    """Peers in ``alive`` answer every probe at once, after ``rtt`` seconds."""

    alive: set[IPv4Address] = field(default_factory=set[IPv4Address])
    rtt: float | None = 0.002
    waiting: set[IPv4Address] = field(default_factory=set[IPv4Address])

    def send(self, addresses: Iterable[IPv4Address]) -> None:
        self.waiting = {address for address in addresses if address in self.alive}

    def answered(self) -> dict[IPv4Address, float | None]:
        found, self.waiting = self.waiting, set()
        return dict.fromkeys(found, self.rtt)


def write_config(folder: Path, stack: Stack, role: str, control: str) -> None:
    """First boot's files, as `cloudinit` writes them."""
    import json

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.pem").write_text(stack.ca_pem)
    (folder / "tls.crt").write_text(stack.certificate_pem)
    (folder / "tls.key").write_text(stack.key_pem)
    document = {
        "schema_version": 1,
        "role": role,
        "name": "gw" if role == "gateway" else "spoke-1",
        "control": control,
        "signing_public_key": stack.public_key,
    }
    (folder / "config.json").write_text(json.dumps(document))


class Time:
    """The wall clock and a monotonic one, which go when they are told to."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.steady = 50.0

    def clock(self) -> float:
        return self.wall

    def ticks(self) -> float:
        return self.steady

    def go(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds
