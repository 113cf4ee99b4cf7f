"""Health checks of inference servers, and the metrics of what they find."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from ipaddress import IPv4Address

import aiohttp
import pytest
from aiohttp import web

from node.gateway.plain import serve_plainly
from node.gateway.serving import checks as checking
from node.gateway.serving.checks import Checks, Outcome
from node.gateway.serving.machines import Endpoint
from overlay.serving import Check
from tests.node.place import target
from tests.node.pools import PoolGateway, pool_roster
from tests.node.real_nginx import free_port
from tests.node.serving import InferenceServer, balancer, credentials, signed_credentials

QUICK = Check(1, 1, 1)


@pytest.fixture
async def checks(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Checks]:
    monkeypatch.setattr(checking.random, "random", lambda: 0.0)
    made = Checks(lambda: None)
    yield made
    await made.close()


@pytest.fixture
async def server() -> AsyncIterator[InferenceServer]:
    made = InferenceServer(IPv4Address("127.0.4.1"))
    await made.start()
    yield made
    await made.stop()


def endpoint(server: InferenceServer, path: str = "/health") -> Endpoint:
    return Endpoint("spoke-1", server.address, server.port, path)


async def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


def outcome(checks: Checks, of: Endpoint) -> Outcome:
    found = checks.outcome(of)
    assert found
    return found


def test_so_many_in_a_row_make_a_machine_healthy_and_unhealthy() -> None:
    found, before = Outcome(healthy=False), False
    for why, healthy in (
        (None, False), ("x", False), (None, False), (None, True),
        ("a", True), ("b", True), (None, True), ("c", True), ("d", True), ("e", False), (None, False),
    ):  # fmt: skip
        assert found.take(why, Check(1, 2, 3)) is (healthy != before)
        assert found.healthy is healthy
        before = healthy
    assert (found.failures, found.why) == (6, "e")


async def test_a_new_machine_is_asked_at_once_and_one_that_went_no_more(
    checks: Checks, server: InferenceServer
) -> None:
    checks.follow(Check(3600, 2, 3), [endpoint(server)])
    await until(lambda: server.checks == 2, "the first check, and the second that may come at any time")
    await until(lambda: checks.is_healthy(endpoint(server)), "its health")
    checks.stop()
    assert checks.outcome(endpoint(server)) is None
    checks.follow(QUICK, [endpoint(server)], {(server.address, server.port)})
    assert checks.is_healthy(endpoint(server)), "it is trusted until a check fails"


async def test_a_machine_with_another_health_path_keeps_its_verdict_until_that_fails(
    checks: Checks, server: InferenceServer
) -> None:
    slow = Check(3600, 1, 3)
    checks.follow(slow, [endpoint(server)])
    await until(lambda: checks.is_healthy(endpoint(server)), "its health")
    other = replace(endpoint(server, "/absent"), node="renamed")
    checks.follow(slow, [other])
    await until(lambda: outcome(checks, other).failures == 2, "the first check, and the second")
    assert checks.is_healthy(other)
    assert checks.outcome(endpoint(server)) is None
    checks.follow(replace(slow, fall=2), [replace(other, node="again")])
    await until(lambda: not checks.is_healthy(replace(other, node="again")), "two more that failed")
    checks.follow(slow, [replace(other, health_path="/health?new", port=other.port)])
    assert not checks.is_healthy(replace(other, health_path="/health?new")), "it has to earn that, too"
    await until(lambda: checks.is_healthy(replace(other, health_path="/health?new")), "its health")
    checks.follow(slow, [replace(other, port=free_port())])
    assert not checks.is_healthy(other)


async def answer_to(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], checks: Checks, path: str = "/health"
) -> Outcome:
    """What a check makes of a server with ``handler``."""
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.4.2", 0).start()
        where = Endpoint("x", IPv4Address("127.0.4.2"), int(runner.addresses[0][1]), path)
        checks.follow(replace(QUICK, interval=3600, fall=2), [where])
        found = outcome(checks, where)
        await until(lambda: found.healthy or found.failures, "a check")
        return found
    finally:
        checks.stop()
        await runner.cleanup()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (204, True), (302, False), (404, False), (503, False)])
async def test_2xx_is_healthy_and_nothing_is_followed(checks: Checks, status: int, *, healthy: bool) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    found = await answer_to(handler, checks, "/health?deep=1&x=%2F")
    assert found.healthy is healthy
    assert set(asked) == {"/health?deep=1&x=%2F"}
    assert healthy or str(status) in found.why


async def test_a_server_that_hangs_or_drips_is_not_waited_for(checks: Checks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "ANSWER_SECONDS", 0.2)
    gone = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await gone.wait()
        return web.Response()

    async def drip(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while not gone.is_set():
            await answer.write(b"x")
            await asyncio.sleep(0.02)
        return answer

    for handler in (hang, drip):
        found = await answer_to(handler, checks)
        assert (found.healthy, "took longer" in found.why) == (False, True)
    gone.set()


async def test_only_so_much_of_an_answer_is_read(checks: Checks) -> None:
    sent = [0]

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 65536)
            sent[0] += 65536

    assert (await answer_to(endless, checks)).healthy
    assert sent[0] < 64 << 20, "the connection was given up"


async def test_no_connection_and_no_http_are_told(checks: Checks) -> None:
    where = Endpoint("x", IPv4Address("127.0.4.3"), free_port(), "/health")
    checks.follow(QUICK, [where])
    await until(lambda: outcome(checks, where).failures, "a check")
    assert "it takes no connection" in outcome(checks, where).why

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-x\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.4.3", where.port)
    await until(lambda: "no HTTP answer" in outcome(checks, where).why, "another reason")
    server.close()


async def test_a_check_that_fails_as_nobody_foresaw_has_failed_and_the_next_one_comes(
    checks: Checks, server: InferenceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("unforeseen")

    with monkeypatch.context() as during:
        during.setattr(aiohttp.ClientSession, "get", broken)
        checks.follow(Check(1, 1, 2), [endpoint(server)], {(server.address, server.port)})
        await until(lambda: not checks.is_healthy(endpoint(server)), "two checks that failed")
        assert "RuntimeError" in outcome(checks, endpoint(server)).why
    await until(lambda: checks.is_healthy(endpoint(server)), "its health")


async def test_metrics(gateway: PoolGateway, server: InferenceServer) -> None:
    body, signature = signed_credentials(gateway.stack, credentials())
    await gateway.ask("PUT", "/v1/credentials", body, {"X-Hybridnet-Signature": signature})
    await gateway.push(pool_roster(2, load_balancer=balancer({"spoke-1": target(free_port())})))
    port = free_port()
    running = asyncio.create_task(serve_plainly(gateway.service.metrics.routes(), IPv4Address("127.0.0.1"), port))
    labels = '{address="127.0.1.1",node="spoke-1"}'
    lines: list[str] = []
    end = time.monotonic() + 60
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < end:
            try:
                async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                    lines = (await answer.text()).splitlines()
            except aiohttp.ClientConnectorError:
                lines = []
            failed = [line for line in lines if line.startswith(f"hybridnet_upstream_check_failures_total{labels}")]
            if failed and not failed[0].endswith(" 0.0") and "hybridnet_balancer_reloads_total 1.0" in lines:
                break
            await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert f"hybridnet_upstream_healthy{labels} 0.0" in lines
    assert f"hybridnet_upstream_in_rotation{labels} 0.0" in lines
    name = 'hybridnet_certificate_expiry_timestamp_seconds{certificate="serving"} '
    (expiry,) = [line for line in lines if line.startswith(name)]
    told = (await gateway.status())["load_balancer"]["certificate"]["not_after"]
    assert float(expiry.split()[1]) == datetime.datetime.fromisoformat(told).timestamp()


async def test_metrics_wait_for_their_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("node.gateway.plain._RETRY_SECONDS", 0.02)
    running = asyncio.create_task(serve_plainly([], IPv4Address("203.0.113.1"), free_port()))
    seen = ""

    def told() -> bool:
        nonlocal seen
        seen += capsys.readouterr().err
        return "no metrics and no status page at 203.0.113.1" in seen

    await until(told, "its word")
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
