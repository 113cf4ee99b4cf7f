"""The exporter's HTTP: at one address alone, there as soon as that is, and nobody's to hang or to end."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Generator
from ipaddress import IPv4Address

import pytest

from node.exporter.server import CONNECTIONS, LIFETIME_SECONDS
from node.exporter.worker import Exporter
from node.workers import Workers
from tests.node.real_nginx import free_port
from tests.node.support import wait_for

HERE = IPv4Address("127.0.0.1")
ELSEWHERE = IPv4Address("127.0.0.9")
NOT_HERE = IPv4Address("203.0.113.1")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.exporter.worker._RETRY_SECONDS", 0.02)
    monkeypatch.setattr("node.exporter.server._SLICE", 0.05)


@contextlib.contextmanager
def exporting(
    port: int, text: Callable[[], bytes] = lambda: b"well 1\n", address: Callable[[], IPv4Address | None] = lambda: HERE
) -> Generator[Exporter]:
    stop = threading.Event()
    exporter = Exporter(text, address, stop, port)
    thread = threading.Thread(target=exporter.run)
    thread.start()
    try:
        yield exporter
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def ask(port: int, path: str = "/metrics", method: str = "GET", at: IPv4Address = HERE) -> tuple[int, str, bytes]:
    """Status, type and body; OSError."""
    connection = http.client.HTTPConnection(str(at), port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


def is_there(port: int, at: IPv4Address = HERE) -> bool:
    try:
        return ask(port, at=at)[0] == 200
    except OSError:
        return False


def silent(port: int) -> socket.socket:
    """A client that connects and says nothing."""
    return socket.create_connection((str(HERE), port), timeout=LIFETIME_SECONDS / 2)


def test_it_answers_at_its_address_alone() -> None:
    port = free_port()
    with exporting(port):
        wait_for("the exporter", lambda: is_there(port))
        assert ask(port) == (200, "text/plain; version=0.0.4; charset=utf-8", b"well 1\n")
        assert ask(port, "/metrics?collect[]=x")[0] == 200
        assert not is_there(port, ELSEWHERE)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("POST", "/metrics", 501)])
def test_there_is_nothing_else(method: str, path: str, status: int) -> None:
    port = free_port()
    with exporting(port):
        wait_for("the exporter", lambda: is_there(port))
        assert ask(port, path, method)[0] == status


def test_its_address_may_come_later_and_become_another_one(capsys: pytest.CaptureFixture[str]) -> None:
    port, now = free_port(), None
    asked = threading.Event()

    def address() -> IPv4Address | None:
        asked.set()
        return now

    with exporting(port, address=address):
        assert asked.wait(60)
        now = HERE
        wait_for("its address", lambda: is_there(port))
        now = None
        asked.clear()
        assert asked.wait(60)
        assert is_there(port), "it stays where it is while it has none"
        now = ELSEWHERE
        wait_for("the other address", lambda: is_there(port, ELSEWHERE))
        assert not is_there(port)
    assert capsys.readouterr().err == ""


def test_an_address_that_cannot_be_had_is_told_once_and_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    port, tries, now = free_port(), 0, NOT_HERE

    def address() -> IPv4Address:
        nonlocal tries
        tries += 1
        return now

    with exporting(port, address=address):
        wait_for("three tries", lambda: tries > 3)
        now = HERE
        wait_for("its address", lambda: is_there(port))
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"no metrics at {NOT_HERE}:{port} yet: ")


def test_a_port_that_somebody_else_has_is_taken_once_it_is_free() -> None:
    with socket.create_server((str(HERE), 0)) as other:
        port = int(other.getsockname()[1])
        tries = 0

        def address() -> IPv4Address:
            nonlocal tries
            tries += 1
            return HERE

        with exporting(port, address=address):
            wait_for("three tries", lambda: tries > 3)
            other.close()
            wait_for("the port", lambda: is_there(port))


def test_clients_that_say_nothing_keep_nobody_out_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.exporter.server.LIFETIME_SECONDS", 2.0)
    port = free_port()
    with exporting(port):
        wait_for("the exporter", lambda: is_there(port))
        clients = [silent(port) for _ in range(CONNECTIONS)]
        assert ask(port)[0] == 200
        for client in clients:
            assert client.recv(1) == b"", "it is cut off"
            client.close()


def test_a_client_that_asks_a_byte_at_a_time_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.exporter.server.LIFETIME_SECONDS", 0.3)
    port = free_port()
    with exporting(port):
        wait_for("the exporter", lambda: is_there(port))
        with silent(port) as client:
            client.settimeout(0.02)

            def is_cut_off() -> bool:
                try:
                    client.sendall(b"G")
                    return client.recv(1) == b""
                except TimeoutError:
                    return False
                except OSError:
                    return True

            wait_for("its end", is_cut_off)


def test_whoever_is_connected_at_the_end_is_cut_off() -> None:
    port = free_port()
    with exporting(port):
        wait_for("the exporter", lambda: is_there(port))
        client = silent(port)
        assert ask(port)[0] == 200
    assert client.recv(1) == b""
    client.close()


def test_metrics_that_cannot_be_made_are_an_error_told_once_and_end_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    port, is_broken = free_port(), False

    def text() -> bytes:
        if is_broken:
            raise RuntimeError("no such thing")
        return b""

    with exporting(port, text):
        wait_for("the exporter", lambda: is_there(port))
        is_broken = True
        assert [ask(port)[0] for _ in range(3)] == [500] * 3
        is_broken = False
        assert ask(port)[0] == 200
    assert capsys.readouterr().err.splitlines() == ["the metrics cannot be made: RuntimeError: no such thing"]


def test_texts_are_made_one_at_a_time() -> None:
    port, together, statuses = free_port(), threading.Barrier(2), list[int]()

    def text() -> bytes:
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(0.1)
            raise RuntimeError("two at once")
        together.reset()
        return b""

    with exporting(port, text):
        wait_for("the exporter", lambda: is_there(port))
        threads = [threading.Thread(target=lambda: statuses.append(ask(port)[0])) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert statuses == [200] * 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_exporter_that_fails_ends_the_agent_and_one_that_works_gives_signs() -> None:
    stop, now = threading.Event(), HERE

    def address() -> IPv4Address:
        if now is NOT_HERE:
            raise RuntimeError("unforeseen")
        return now

    port, workers = free_port(), Workers(stop)
    workers.start(Exporter(lambda: b"", address, stop, port).run)
    wait_for("the exporter", lambda: is_there(port))
    assert workers.are_well()
    assert not stop.is_set()
    now = NOT_HERE
    assert stop.wait(10)
    workers.join(10)
    assert workers.is_failed
