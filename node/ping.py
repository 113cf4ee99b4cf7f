"""ICMP echo (RFC 792) through the tunnels: the greeting at start, and the probe of health."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address

_ECHO_REPLY = 0
_ECHO_REQUEST = 8
_SOL_RAW = 255
_ICMP_FILTER = 1
"""Option of a raw socket (linux/icmp.h): a bit for each ICMP type that it is not to receive."""
_SO_RCVBUFFORCE = 33
"""Option of any socket (asm-generic/socket.h): a receive buffer above the system's limit, with CAP_NET_ADMIN."""
_BUFFER = 4 << 20
"""Bytes: room for the answers of a thousand peers at once."""
_HEADER = struct.Struct("!BBHHH")


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def request(identifier: int, sequence: int) -> bytes:
    """An echo request; both numbers have 16 bits."""
    bare = _HEADER.pack(_ECHO_REQUEST, 0, 0, identifier, sequence)
    return _HEADER.pack(_ECHO_REQUEST, 0, checksum(bare), identifier, sequence)


def reply(packet: bytes) -> int | None:
    """The identifier of the echo reply in an IPv4 packet, or None when it is none."""
    length = (packet[0] & 0x0F) * 4 if packet else 0
    if len(packet) < length + _HEADER.size or length < 20:
        return None
    kind, _, _, identifier, _ = _HEADER.unpack_from(packet, length)
    return identifier if kind == _ECHO_REPLY else None


class Pinger:
    """A raw socket that sends echo requests and collects who answered. Needs CAP_NET_RAW."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.socket.setblocking(False)
        self.socket.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << _ECHO_REPLY) & 0xFFFFFFFF))
        with contextlib.suppress(PermissionError):
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._identifier = os.getpid() & 0xFFFF
        self._sequence = 0

    def send(self, addresses: Iterable[IPv4Address]) -> None:
        """One echo request to each; what cannot be sent counts as lost."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        packet = request(self._identifier, self._sequence)
        for address in addresses:
            with contextlib.suppress(OSError):
                self.socket.sendto(packet, (str(address), 0))

    def answered(self) -> set[IPv4Address]:
        """Who has answered since the last call."""
        found: set[IPv4Address] = set()
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, (address, _) = self.socket.recvfrom(2048)
                if reply(packet) == self._identifier:
                    found.add(IPv4Address(address))
        return found

    def close(self) -> None:
        self.socket.close()
