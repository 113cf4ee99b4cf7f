"""The probes of health: who counts as healthy, how soon one that vanished does not, and how long its answers took."""

from __future__ import annotations

import os
import socket
import struct
import time as clock
from ipaddress import IPv4Address

import pytest

from node.gateway import service as serving_
from node.gateway.health import LATE_SECONDS, MISSES, Health
from node.ping import Pinger, checksum, reply, request
from tests.node.support import MemoryProbe, Time, wait_for

SO_TIMESTAMPNS = 35
"""asm-generic/socket.h: the kernel says with each packet when it came."""


def test_a_machine_that_vanishes_counts_as_unhealthy_within_eight_seconds() -> None:
    time = Time()
    step, address = serving_.PROBE_SECONDS / serving_.PROBE_STEPS, IPv4Address("10.100.1.1")
    probe = MemoryProbe({address})
    health = Health(probe, time.ticks)
    health.round([address])
    assert health.healthy() == {address}
    probe.alive.clear()
    steps = 0
    while health.healthy() and steps < 100:
        steps += 1
        time.go(step)
        health.round(health.late() if steps % serving_.PROBE_STEPS else {address})
    assert steps * step < 8


def test_a_peer_is_healthy_from_its_first_answer_until_four_probes_in_a_row_found_none() -> None:
    one, other = IPv4Address("10.100.1.1"), IPv4Address("10.100.1.2")
    probe, time = MemoryProbe({one}), Time()
    health = Health(probe, time.ticks)
    health.round([one, other])
    assert health.healthy() == {one}
    probe.alive.clear()
    for _ in range(MISSES):
        health.round([one, other])
        assert health.healthy() == {one}, "the last answer still counts, and a few lost probes are no outage"
    health.round([one, other])
    assert health.healthy() == set()
    time.go(7)
    assert health.silence(one) == 7
    probe.alive = {one, other}
    health.greet([other])
    assert health.healthy() == {other}


def test_only_a_healthy_peer_that_owes_an_answer_is_probed_again_at_once() -> None:
    one, other = IPv4Address("10.100.1.1"), IPv4Address("10.100.1.2")
    probe, time = MemoryProbe({one}), Time()
    health = Health(probe, time.ticks)
    health.round([one, other])
    time.go(LATE_SECONDS)
    assert health.late() == set(), "one has answered, and the other was never there"
    probe.alive.clear()
    health.round([one])
    time.go(LATE_SECONDS / 2)
    assert health.late() == set()
    time.go(LATE_SECONDS / 2)
    assert health.late() == {one}
    for _ in range(MISSES):
        health.round([one])
        time.go(LATE_SECONDS)
    assert health.late() == set(), "it is unhealthy, and there is no haste any more"


def test_a_round_trip_time_follows_longer_ones_slowly_and_ends_with_the_answers() -> None:
    one = IPv4Address("10.100.1.1")
    probe = MemoryProbe({one}, rtt=0.010)
    health = Health(probe)
    for took, smoothed in ((0.010, 0.010), (0.030, 0.015), (None, 0.015), (0.005, 0.010)):
        probe.rtt = took
        health.round([one])
        health.collect()
        assert health.rtt(one) == pytest.approx(smoothed)
    probe.alive.clear()
    for _ in range(MISSES + 1):
        health.round([one])
    assert health.rtt(one) is None
    probe.alive, probe.rtt = {one}, 0.001
    health.greet([one])
    assert health.healthy() == {one}
    assert health.rtt(one) == 0.001, "what was before its silence is forgotten"
    health.keep(set())
    assert health.rtt(one) is None


def test_an_echo_request_has_a_right_checksum_and_its_reply_is_known() -> None:
    packet = request(0x1234, 7, 1 << 40)
    assert checksum(packet) == 0
    header = bytes([0x45]) + bytes(19)
    assert reply(header + b"\x00" + packet[1:]) == (0x1234, 1 << 40)
    assert reply(header + packet) is None, "a request is no reply"
    for short in (b"", header, header + packet[:5], header + b"\x00" + packet[1:8]):
        assert reply(short) is None


def can_ping() -> bool:
    try:
        Pinger().close()
    except PermissionError:
        return False
    return True


@pytest.mark.skipif(not can_ping(), reason="needs CAP_NET_RAW for a raw socket")
def test_a_round_trip_takes_as_long_as_the_packet_and_not_as_the_reader() -> None:
    one, pinger, late = IPv4Address("127.0.0.1"), Pinger(), 0.5
    tooks: list[float | None] = []

    def is_known() -> bool:
        pinger.send([one])
        began = clock.monotonic()
        wait_for("time to pass", lambda: clock.monotonic() - began > late)
        found = pinger.answered()
        assert found.keys() == {one}
        tooks.append(found[one])
        return tooks[-1] is not None

    wait_for("a stamp", is_known)
    pinger.close()
    took = tooks[-1]
    assert took is not None
    assert 0 < took < late


class ReadLate:
    """A raw socket with one answer in it, which was sent ``late`` seconds ago and is stamped when it is read."""

    def __init__(self, identifier: int, late: float) -> None:
        sent = clock.monotonic_ns() - int(late * 1e9)
        header = bytes([0x45]) + bytes(19)
        self._packets = [header + b"\x00" + request(identifier, 1, sent)[1:]]

    def recvmsg(self, _size: int, _room: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, tuple[str, int]]:
        if not self._packets:
            raise BlockingIOError
        stamp = struct.pack("@ll", *divmod(clock.time_ns(), 1_000_000_000))
        return self._packets.pop(), [(socket.SOL_SOCKET, SO_TIMESTAMPNS, stamp)], 0, ("127.0.0.1", 0)


@pytest.mark.skipif(not can_ping(), reason="needs CAP_NET_RAW for a raw socket")
def test_an_answer_that_is_stamped_when_it_is_read_took_nobody_knows_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    pinger = Pinger()
    pinger.close()
    monkeypatch.setattr(pinger, "socket", ReadLate(os.getpid() & 0xFFFF, 0.25))
    assert pinger.answered() == {IPv4Address("127.0.0.1"): None}


@pytest.mark.skipif(not can_ping(), reason="needs CAP_NET_RAW for a raw socket")
def test_when_the_wall_clock_is_set_a_round_trip_takes_nobody_knows_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    one, pinger = IPv4Address("127.0.0.1"), Pinger()
    pinger.send([one])
    real = clock.time_ns
    monkeypatch.setattr(clock, "time_ns", lambda: real() + 3_000_000_000)
    found: dict[IPv4Address, float | None] = {}
    wait_for("the answer", lambda: bool(found.update(pinger.answered()) or found))
    pinger.close()
    assert found == {one: None}
