"""What the doctor asks others: pings, a datagram, a request, a name. Nothing of it changes anything."""

from __future__ import annotations

import os
import secrets
import select
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address

from node.control import ControlPlane, Reply
from node.doctor.facts import Answer, Reach
from node.ping import checksum

_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_PROBE = 3
"""Option of a socket (ip(7)): packets go out unfragmented with the DF flag, whatever is known of the way."""
_HEADER = struct.Struct("!BBHHH")
_ECHO_REPLY = 0
_ECHO_REQUEST = 8
OVERHEAD = 28
"""Bytes of a ping's IPv4 and ICMP headers."""
_SMALL = 84
_BUFFER = 4 << 20


@dataclass(frozen=True)
class Target:
    """Pings of ``size`` bytes with their headers, ``count`` of them."""

    address: str
    count: int
    size: int = _SMALL


class Echo:
    """A raw socket for pings of any size. Needs CAP_NET_RAW; OSError without."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.setblocking(False)
        self._identifier = int.from_bytes(secrets.token_bytes(2), "big")
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def first(self, addresses: Iterable[str], seconds: float, interval: float) -> set[str]:
        """Who answers at all: WireGuard loses what it has before hands are shaken, and tries that again after 5 s."""
        waiting, end = set(addresses), time.monotonic() + seconds
        found: set[str] = set()
        sent: dict[int, str] = {}
        while waiting and (now := time.monotonic()) < end:
            sent |= {self._send(address, _SMALL): address for address in waiting}
            for sequence, _ in self._answers(min(end, now + interval), len(waiting), sent):
                found.add(sent[sequence])
            waiting -= found
        return found

    def ping(self, targets: Sequence[Target], interval: float = 0.03, wait: float = 1.0) -> list[Reach]:
        """What all of the pings came to, each ``interval`` seconds after the one before to the same address."""
        sent: dict[int, tuple[int, float]] = {}
        found: list[list[float]] = [[] for _ in targets]
        rounds = max((target.count for target in targets), default=0)
        for turn in range(rounds):
            began = time.monotonic()
            for index, target in enumerate(targets):
                if turn < target.count:
                    sequence = self._send(target.address, target.size)
                    sent[sequence] = index, time.monotonic()
            until = began + (interval if turn < rounds - 1 else wait)
            missing = sum(target.count for target in targets) if turn < rounds - 1 else len(sent) - sum(map(len, found))
            for sequence, at in self._answers(until, missing, sent):
                index, start = sent[sequence]
                found[index].append(at - start)
        return [Reach(target.count, tuple(rtts)) for target, rtts in zip(targets, found, strict=True)]

    def _send(self, address: str, size: int) -> int:
        self._sequence = (self._sequence + 1) & 0xFFFF
        load = bytes(size - OVERHEAD)
        bare = _HEADER.pack(_ECHO_REQUEST, 0, 0, self._identifier, self._sequence) + load
        total = checksum(bare + b"\0" * (len(bare) & 1))
        packet = _HEADER.pack(_ECHO_REQUEST, 0, total, self._identifier, self._sequence) + load
        try:
            self._socket.sendto(packet, (address, 0))
        except OSError:
            return self._sequence  # no route, or larger than the device takes: lost
        return self._sequence

    def _answers(self, until: float, most: int, sent: Mapping[int, object]) -> list[tuple[int, float]]:
        """(sequence, when) of the answers that come, each once, until a time or as soon as there are ``most``."""
        found: dict[int, float] = {}
        while len(found) < most:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                break
            packet, _ = self._socket.recvfrom(65536)
            start = (packet[0] & 0x0F) * 4
            if len(packet) < start + _HEADER.size:
                continue
            kind, _, _, identifier, sequence = _HEADER.unpack_from(packet, start)
            if kind == _ECHO_REPLY and identifier == self._identifier and sequence in sent:
                found.setdefault(sequence, time.monotonic())
        return list(found.items())


def poke(host: str, port: int, seconds: float = 1.0) -> Answer:
    """What a datagram to a UDP port meets: ``refused`` when its machine says that nobody listens there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(seconds)
        try:
            sock.connect((host, port))
            sock.send(b"\0")
            sock.recv(64)
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "silent"
    return "yes"


@dataclass(frozen=True)
class Told:
    """What a control plane said. ``skew`` is this machine's clock less the gateway's in seconds, which tells whole
    ones; ``certificate`` is why its certificate is not believed, and then there is no ``reply``."""

    answer: Answer
    reply: Reply | None = None
    skew: float | None = None
    certificate: str | None = None


def ask(
    tls: ssl.SSLContext,
    host: str,
    port: int,
    method: str = "GET",
    path: str = "/v1/status?brief",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    limit: int = 1 << 16,
) -> Told:
    """One request to a control plane, of which ``tls`` says whom to believe."""
    began = time.time()
    try:
        reply = ControlPlane(host, port, tls).ask(method, path, body, headers, limit=limit)
    except ssl.SSLCertVerificationError as error:
        return _unbelieved(host, port, error.verify_message)
    except ConnectionRefusedError:
        return Told("refused")
    except (OSError, ValueError):
        return Told("silent")
    return Told("yes", reply, _skew(reply, began))


def _unbelieved(host: str, port: int, why: str) -> Told:
    """The clock alone, of whom nothing else is believed."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    began = time.time()
    try:
        reply = ControlPlane(host, port, tls).ask("GET", "/v1/status?brief")
    except OSError:
        return Told("silent", certificate=why)
    return Told("yes", None, _skew(reply, began), why)


def _skew(reply: Reply, began: float) -> float | None:
    """How far this machine's clock is ahead, 0 within the second that the header leaves open and what the way took."""
    text = {name.lower(): value for name, value in reply.headers.items()}.get("date", "")
    try:
        there = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        return None
    least, most = began - (there + 1), time.time() - there
    return 0.0 if least <= 0 <= most else max(least, 0.0) or most


def lookup(server: IPv4Address, name: str, seconds: float = 2.0) -> str:
    """What a DNS server says of a name's address (RFC 1035): that, or ``silent``, ``refused`` or ``unknown``."""
    number = os.urandom(2)
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0\0\x01\0\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(seconds)
        try:
            sock.connect((str(server), 53))
            sock.send(number + b"\x01\0\0\x01\0\0\0\0\0\0" + question)
            answer = sock.recv(1500)
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "silent"
    return address_in(answer, len(question))


def address_in(answer: bytes, question: int) -> str:
    """The address in a DNS answer to a question of that many bytes; ``unknown`` without one."""
    start = 12 + question
    for _ in range(int.from_bytes(answer[6:8], "big")):
        while start < len(answer) and answer[start] and answer[start] < 0xC0:
            start += 1 + answer[start]
        start += 1 if start < len(answer) and not answer[start] else 2
        kind, length = (
            int.from_bytes(answer[start : start + 2], "big"),
            int.from_bytes(answer[start + 8 : start + 10], "big"),
        )
        if kind == 1 and length == 4:
            return str(IPv4Address(answer[start + 10 : start + 14]))
        start += 10 + length
    return "unknown"
