"""ICMP echo (RFC 792) through the tunnels: the greeting at start, and the probe of health."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import NamedTuple

_ECHO_REPLY = 0
_ECHO_REQUEST = 8
_SOL_RAW = 255
_ICMP_FILTER = 1
"""Option of a raw socket (linux/icmp.h): a bit for each ICMP type that it is not to receive."""
_SO_RCVBUFFORCE = 33
"""Option of any socket (asm-generic/socket.h): a receive buffer above the system's limit, with CAP_NET_ADMIN."""
_SO_TIMESTAMPNS = 35
"""Option of any socket (asm-generic/socket.h): the kernel says with each packet when it came, by the wall clock."""
_STAMP = struct.Struct("@ll")
"""A timespec: seconds and nanoseconds."""
_BUFFER = 4 << 20
"""Bytes: room for the answers of a thousand peers at once."""
_HEADER = struct.Struct("!BBHHH")
_SENT = struct.Struct("!Q")
_STEP_NS = 1_000_000
"""A wall clock that has moved against the monotonic one by more was set: packets' times tell nothing then."""
_LONGEST_NS = 60 * 1_000_000_000
"""What took longer is no round trip that anybody waits for, or was not sent by this boot."""


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Reply(NamedTuple):
    """An echo reply. ``sent`` is what the request carried: nanoseconds of the sender's monotonic clock."""

    identifier: int
    sent: int


def request(identifier: int, sequence: int, sent: int) -> bytes:
    """An echo request that carries when it was sent; identifier and sequence have 16 bits, ``sent`` 64."""
    payload = _SENT.pack(sent)
    bare = _HEADER.pack(_ECHO_REQUEST, 0, 0, identifier, sequence) + payload
    return _HEADER.pack(_ECHO_REQUEST, 0, checksum(bare), identifier, sequence) + payload


def reply(packet: bytes) -> Reply | None:
    """The echo reply in an IPv4 packet, or None when it is none that answers a :func:`request`."""
    length = (packet[0] & 0x0F) * 4 if packet else 0
    if length < 20 or len(packet) != length + _HEADER.size + _SENT.size:
        return None
    kind, _, _, identifier, _ = _HEADER.unpack_from(packet, length)
    (sent,) = _SENT.unpack_from(packet, length + _HEADER.size)
    return Reply(identifier, sent) if kind == _ECHO_REPLY else None


def _offset() -> int:
    """By how much the wall clock is ahead of the monotonic one (ns)."""
    return time.time_ns() - time.monotonic_ns()


class Pinger:
    """A raw socket that sends echo requests and collects who answered, and after how long. Needs CAP_NET_RAW.

    How long a packet took is known however late it is read: the request says when it was sent, the kernel when the
    answer came. Linux starts to stamp packets some milliseconds after the first socket asked for it; what came before
    that is stamped when it is read (``sock_recv_timestamp`` in net/socket.c), and tells nothing.
    """

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.socket.setblocking(False)
        self.socket.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << _ECHO_REPLY) & 0xFFFFFFFF))
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        with contextlib.suppress(PermissionError):
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._identifier = os.getpid() & 0xFFFF
        self._sequence = 0
        self._offset = _offset()

    def send(self, addresses: Iterable[IPv4Address]) -> None:
        """One echo request to each; what cannot be sent counts as lost."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        for address in addresses:
            packet = request(self._identifier, self._sequence, time.monotonic_ns())
            with contextlib.suppress(OSError):
                self.socket.sendto(packet, (str(address), 0))

    def answered(self) -> dict[IPv4Address, float | None]:
        """Who has answered since the last call, and after how many seconds; None when that cannot be told."""
        found: dict[IPv4Address, float | None] = {}
        before, self._offset = self._offset, _offset()
        is_steady = abs(self._offset - before) < _STEP_NS
        room = socket.CMSG_SPACE(_STAMP.size)
        with contextlib.suppress(BlockingIOError):
            while True:
                began = time.time_ns()
                packet, extra, _, (address, _) = self.socket.recvmsg(2048, room)
                answer = reply(packet)
                if answer and answer.identifier == self._identifier:
                    came = _came(extra)
                    took = came - self._offset - answer.sent
                    is_known = is_steady and came < began and 0 <= took < _LONGEST_NS
                    found[IPv4Address(address)] = took / 1e9 if is_known else None
        return found

    def close(self) -> None:
        self.socket.close()


def _came(extra: list[tuple[int, int, bytes]]) -> int:
    """When a packet came, by the wall clock (ns); 0 when the kernel does not say."""
    for level, kind, data in extra:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _STAMP.unpack_from(data)
            return seconds * 1_000_000_000 + nanoseconds
    return 0
