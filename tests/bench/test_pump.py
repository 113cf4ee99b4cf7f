"""The pump that measures throughput, over the loopback."""

import socket
import threading

import pytest

from bench import pump


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_the_taker_counts_what_the_giver_sends() -> None:
    port = free_port()
    rates: list[float] = []
    taker = threading.Thread(target=lambda: rates.append(pump.take(port)))
    taker.start()
    pump.give("127.0.0.1", port, 2 * pump.WARM_UP)
    taker.join(timeout=30)
    assert len(rates) == 1
    assert rates[0] > pump.CHUNK


def test_a_giver_without_a_taker_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "PATIENCE", 0.1)
    with pytest.raises(ConnectionRefusedError):
        pump.give("127.0.0.1", free_port(), 1)
