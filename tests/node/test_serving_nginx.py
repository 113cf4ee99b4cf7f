"""What a real nginx does with requests under the configuration that a gateway renders."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.node.nginx_site import Site, dead, server
from tests.node.real_nginx import RealNginx, client_files, running
from tests.node.serving import API_KEY, Authority


@pytest.fixture
def nginx(nginx_program: Path, tmp_path: Path) -> Iterator[RealNginx]:
    with running(nginx_program, tmp_path) as made:
        yield made


@pytest.fixture
async def site(nginx: RealNginx) -> AsyncIterator[Site]:
    connector = aiohttp.TCPConnector(ssl=nginx.trust(), limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as client:
        made = Site(nginx, client)
        yield made
        for machine in made.machines:
            await machine.stop()


async def until(condition: Any, what: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


async def test_no_machine_is_told_clearly(site: Site) -> None:
    await site.serve()
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/completions"), ("GET", "/health")):
        status, headers, told = await site.ask(method, path, data=b"{}" if method == "POST" else None)
        assert (status, headers["Content-Type"], headers["Retry-After"]) == (503, "application/json", "5")
        assert (told["error"]["type"], told["error"]["code"]) == ("server_error", "no_machine")
        assert told["error"]["message"]
        assert len(headers["X-Request-ID"]) == 32
    machine = await site.machine()
    await site.serve(server(machine))
    assert (await site.ask(path="/health"))[::2] == (200, {"status": "ok"})
    assert machine.seen == [], "nginx answers that itself"
    assert (await site.ask())[::2] == (200, {"by": machine.address})


async def test_backups_take_what_the_others_have_no_room_for(site: Site) -> None:
    base, burst = await site.machine(), await site.machine()
    await site.serve(server(base, max_conns=2), server(burst, 5, backup=True, max_conns=1))
    held = [asyncio.create_task(site.ask("POST", "/hold", data=b"x")) for _ in range(2)]
    await until(lambda: len(base.seen) == 2, "both places taken")
    held.append(asyncio.create_task(site.ask("POST", "/hold", data=b"x")))
    await until(lambda: len(burst.seen) == 1, "the overflow")
    status, headers, told = await site.ask("POST", "/hold", data=b"x")
    assert (status, headers["Retry-After"], told["error"]["code"]) == (503, "5", "no_machine")
    assert (len(base.seen), len(burst.seen)) == (2, 1)
    base.go.set()
    burst.go.set()
    assert [answer[0] for answer in await asyncio.gather(*held)] == [200] * 3
    assert (await site.ask())[2] == {"by": base.address}


async def test_what_was_not_sent_goes_to_another_machine_and_what_was_sent_is_not_done_again(site: Site) -> None:
    first, second = await site.machine(), await site.machine()
    await site.serve(dead(), server(first))
    for _ in range(8):
        assert (await site.ask("POST", data=b"x"))[0] == 200
    await site.serve(server(first), server(second))
    status, headers, told = await site.ask("POST", "/boom", data=b"x")
    assert (status, headers["Retry-After"], told["error"]["code"]) == (502, "5", "bad_gateway")
    assert len([each for machine in (first, second) for each in machine.seen if each.path == "/boom"]) == 1
    first.seen.clear()
    second.seen.clear()
    assert (await site.ask("GET", "/boom"))[0] in (502, 503)
    assert (len(first.seen), len(second.seen)) == (1, 1), "what is safe is tried elsewhere"


async def test_a_machines_own_errors_pass(site: Site) -> None:
    await site.serve(server(await site.machine()))
    status, headers, told = await site.ask(path="/own-error")
    assert (status, told, "Retry-After" in headers) == (503, "the machine's own words", False)


async def test_a_machine_does_not_steer_the_gateway(site: Site) -> None:
    await site.serve(server(await site.machine()))
    status, headers, told = await asyncio.wait_for(site.ask(path="/steer"), 10)
    assert (status, told) == (200, "the machine's own words")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert not [name for name in headers if name.startswith("X-Accel")]


async def test_tokens_come_one_by_one_and_through_a_reload(site: Site) -> None:
    machine = await site.machine()
    await site.serve(server(machine))
    async with site.client.get(site.nginx.url("/stream")) as answer:
        for number in range(6):
            machine.tokens.put_nowait(f"data: {number}\n\n".encode())
            assert await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 30) == f"data: {number}\n\n".encode()
            if number == 2:
                await site.serve()
                assert (await site.ask())[0] == 503, "new requests have the new configuration"
        machine.tokens.put_nowait(b"")
        assert await answer.content.read() == b""


async def test_web_sockets_pass_and_no_other_upgrade(site: Site) -> None:
    machine = await site.machine()
    await site.serve(server(machine))
    async with site.client.ws_connect(site.nginx.url("/ws")) as web_socket:
        await web_socket.send_str("hello")
        assert await web_socket.receive_str() == "you said hello"
    assert (await site.ask(headers={"Upgrade": "h2c", "Connection": "Upgrade"}))[0] == 200
    assert (machine.seen[-1].headers.get("Upgrade"), machine.seen[-1].headers["Connection"]) == (None, "close")


async def test_machines_hear_the_gateways_word_about_the_client(site: Site) -> None:
    machine = await site.machine()
    await site.serve(server(machine))
    lies = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Real-IP": "6.6.6.6",
        "Forwarded": "for=6.6.6.6",
        "CF-Connecting-IP": "6.6.6.6",
        "X-Forwarded-Proto": "http",
        "True-Client-IP": "6.6.6.6",
        "X-Client-IP": "6.6.6.6",
        "CF-Connecting-IPv6": "::6.6.6.6",
        "X-Forwarded-Host": "6.6.6.6",
        "X-Forwarded-Port": "6666",
        "X-Original-URL": "/6666",
        "X-HTTP-Method-Override": "DELETE6666",
        "X-Forwarded-User": "user-6666",
        "X_Forwarded_For": "6.6.6.6",
        "X-Request-ID": "mine",
        "Authorization": "Bearer of-the-machine",
    }
    _, headers, _ = await site.ask(headers=lies)
    seen = machine.seen[-1].headers
    assert not {name: value for name, value in seen.items() if "6.6.6.6" in value or "6666" in value}
    assert (seen["X-Forwarded-For"], seen["X-Real-IP"], seen["X-Forwarded-Proto"]) == ("127.0.0.1",) * 2 + ("https",)
    assert headers.getall("X-Request-ID") == [seen["X-Request-ID"]]
    assert (len(seen["X-Request-ID"]), seen["Host"]) == (32, "127.0.0.1")
    assert seen["Authorization"] == "Bearer of-the-machine", "the gateway asks for none itself"
    told = site.nginx.logged(lambda line: line["request_id"] == seen["X-Request-ID"])
    assert told["client"] == "127.0.0.1"


async def test_cloudflares_word_counts_when_it_is_cloudflares(site: Site) -> None:
    machine = await site.machine()
    asked = {"CF-Connecting-IP": "203.0.113.9"}
    for networks, expected in ((("127.0.0.0/8",), "203.0.113.9"), (("173.245.48.0/20",), "127.0.0.1")):
        await site.serve(server(machine), trusted_proxies=[IPv4Network(each) for each in networks])
        await site.ask(headers=asked)
        assert machine.seen[-1].headers["X-Forwarded-For"] == expected


async def test_api_keys(site: Site) -> None:
    machine = await site.machine()
    await site.serve(server(machine), api_keys={"team": API_KEY, "other": "k" * 16})
    wrong = [
        None,
        f"Bearer {API_KEY[:-1]}",
        f"Bearer {API_KEY}x",
        f"Bearer {API_KEY.upper()}",
        f"Basic {API_KEY}",
        API_KEY,
    ]
    wrong += [f"Bearer {API_KEY.replace('.', 'x')}", f"x Bearer {API_KEY}"]
    for each in wrong:
        status, headers, told = await site.ask(headers={"Authorization": each} if each else None)
        assert (status, headers["WWW-Authenticate"], told["error"]["code"]) == (401, "Bearer", "invalid_api_key"), each
    assert machine.seen == []
    for name, scheme, key in (("team", "Bearer", API_KEY), ("other", "bearer", "k" * 16)):
        status, headers, _ = await site.ask(headers={"Authorization": f"{scheme} {key}"})
        assert (status, machine.seen[-1].headers.get("Authorization")) == (200, None)
        request = headers["X-Request-ID"]
        assert site.nginx.logged(lambda line, request=request: line["request_id"] == request)["api_key"] == name
    assert (await site.ask(path="/health"))[0] == 200, "monitors have no key"
    await site.serve(api_keys={"team": API_KEY})
    assert (await site.ask())[0] == 401
    assert (await site.ask(headers={"Authorization": f"Bearer {API_KEY}"}))[0] == 503


async def test_a_request_that_outlives_an_old_process_is_cut_and_in_the_log_as_json_too(site: Site) -> None:
    site.nginx.longest = 1
    machine = await site.machine()
    await site.serve(server(machine))
    held = asyncio.create_task(site.ask("POST", "/hold", data=b"x"))
    await until(lambda: len(machine.seen) == 1, "the request")
    await site.serve()
    with pytest.raises(aiohttp.ClientConnectionError):
        await held
    site.nginx.logged(lambda line: line["status"] == 0)


async def test_logs_tell_no_query_token_or_body(site: Site) -> None:
    await site.serve(server(await site.machine()), dead(), api_keys={"team": API_KEY})
    headers = {"Authorization": f"Bearer {API_KEY}", "Cookie": "session=s3cr3t-cookie"}
    path = '/v1/"quoted"?token=s3cr3t-query'
    for each in (headers, {"Authorization": "Bearer s3cr3t-wrong"}):
        await site.ask("POST", path, data=b"s3cr3t-body" * 5000, headers=each)
    line = site.nginx.logged(lambda line: line["status"] == 200)
    assert (line["method"], line["path"], line["api_key"], line["bytes"] > 0) == (
        "POST", "/v1/%22quoted%22", "team", True,
    )  # fmt: skip
    assert line["seconds"] >= 0
    assert site.nginx.logged(lambda line: line["status"] == 401)["method"] == "POST"
    logs = site.nginx.all_logs()
    assert "s3cr3t" not in logs
    assert API_KEY not in logs


async def test_a_client_certificate_is_asked_for(site: Site) -> None:
    ours, strange = Authority("ours"), Authority("strange")
    machine = await site.machine()
    await site.serve(server(machine), client_ca=ours.pem)
    for authority, expected in ((None, 400), (strange, 400), (ours, 200)):
        trust = site.nginx.trust()
        if authority:
            trust.load_cert_chain(*client_files(site.nginx.folder, authority))
        status, _, told = await site.ask(ssl=trust)
        assert status == expected
        if expected == 400:
            assert told["error"]["code"] == "client_certificate"
    assert len(machine.seen) == 1


async def test_a_body_that_is_too_large_and_plain_http_are_told(site: Site) -> None:
    await site.serve(server(await site.machine()))
    status, _, told = await site.ask("POST", data=b"x", headers={"Content-Length": str(65 << 20)})
    assert (status, told["error"]["code"]) == (413, "request_too_large")
    async with site.client.get(site.nginx.url("/").replace("https", "http")) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, "bad_request")
    assert (await site.ask(path="/.hybridnet/401"))[2]["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("request_line", "header", "expected"),
    [
        ("TRACE / HTTP/1.1", "Accept: */*", (405, "method_not_allowed")),
        ("POST / HTTP/1.1", "Transfer-Encoding: gzip", (501, "not_implemented")),
        ("GET / HTTP/3.0", "Accept: */*", (505, "http_version")),
        ("GET / HTTP/1.1", "Host: twice", (400, "bad_request")),
    ],
)
async def test_what_is_no_request_for_a_machine_is_told_as_json(
    site: Site, request_line: str, header: str, expected: tuple[int, str]
) -> None:
    machine = await site.machine()
    await site.serve(server(machine))
    reader, writer = await asyncio.open_connection("127.0.0.1", site.nginx.port, ssl=site.nginx.trust())
    writer.write(f"{request_line}\r\nHost: localhost\r\n{header}\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).decode().partition("\r\n\r\n")
    writer.close()
    assert (int(head.split()[1]), json.loads(body)["error"]["code"]) == expected
    assert "Content-Type: application/json" in head
    assert machine.seen == []


async def test_tls(site: Site) -> None:
    await site.serve()

    def greet(trust: ssl.SSLContext, name: str) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", site.nginx.port), 5)
        try:
            return trust.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise

    trust = site.nginx.trust()
    trust.set_alpn_protocols(["h2", "http/1.1"])
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        trust.minimum_version = trust.maximum_version = version
        with contextlib.closing(await asyncio.to_thread(greet, trust, "localhost")) as found:
            assert found.selected_alpn_protocol() == "h2"
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        await asyncio.to_thread(greet, trust, "other.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        await asyncio.to_thread(greet, ssl.create_default_context(cadata=Authority().pem), "localhost")

    def old_client(version: str) -> str:
        command = ["openssl", "s_client", version, "-cipher", "DEFAULT:@SECLEVEL=0"]
        command += ["-connect", f"127.0.0.1:{site.nginx.port}"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    for version in ("-tls1", "-tls1_1"):
        assert "alert protocol version" in await asyncio.to_thread(old_client, version)
    assert "Cipher is ECDHE" in await asyncio.to_thread(old_client, "-tls1_2")
