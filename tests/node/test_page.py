"""The status page's routes: who is shown it, what it may load, and how often the status is made."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from components.release import build
from node.gateway.page import FRESH_SECONDS, Page, document, is_own_host
from node.gateway.service import Service
from tests import statuses
from tests.node.pools import PoolGateway
from tests.node.support import Time

FOLDER = Path(__file__).parents[2] / "node/gateway/page"


@asynccontextmanager
async def asked(page: Page) -> AsyncGenerator[aiohttp.ClientSession]:
    """A session with the page's address as its base, until the block ends."""
    app = web.Application()
    app.add_routes(page.routes())
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}", auto_decompress=False) as session:
            yield session
    finally:
        await runner.cleanup()


@pytest.fixture
def may_see() -> set[str]:
    return {"127.0.0.1"}


def page(may_see: set[str], time: Time | None = None) -> tuple[Page, list[int]]:
    """A page, and a list that grows with each status it makes."""
    made: list[int] = []

    def status() -> dict[str, Any]:
        made.append(1)
        return statuses.status(time=float(len(made)))

    return Page(status, may_see.__contains__, lambda: {"gw", "gw.hetzner.wg.internal"}, (time or Time()).ticks), made


async def test_the_page_may_load_nothing_but_its_own_script_style_and_status(may_see: set[str]) -> None:
    made, _ = page(may_see)
    async with asked(made) as session, session.get("/") as answer:
        html, headers = await answer.text(), answer.headers
    policy = dict(each.split(" ", 1) for each in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    for tag in ("script", "style"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'", "nothing but this one, and nothing inline"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers


def test_the_page_names_no_other_place_and_makes_no_html_of_text() -> None:
    texts = {path.name: path.read_text() for path in FOLDER.iterdir() if path.suffix in (".html", ".css", ".js")}
    assert len(texts) > 5
    for name, text in texts.items():
        urls = set(re.findall(r"https?://[\w.]+", text)) - {"http://www.w3.org"}
        assert urls == set(), name
        assert not re.search(r"innerHTML|outerHTML\s*=|insertAdjacentHTML|document\.write|eval\(|new Function", text), (
            name
        )
        assert not re.search(r"<[^>]*\son[a-z]+=", text), f"{name}: handlers are no attributes"
        assert "style=" not in text, name


def test_the_release_has_the_whole_page_and_another_build_tells_it_apart(tmp_path: Path) -> None:
    packed = gzip.decompress(build().data)
    for path in FOLDER.iterdir():
        if path.suffix in (".html", ".css", ".js"):
            assert f"node/gateway/page/{path.name}".encode() in packed
            (tmp_path / path.name).write_bytes(path.read_bytes())
    assert document(tmp_path) == document()
    with (tmp_path / "map.js").open("a") as file:
        file.write("// another\n")
    assert document(tmp_path).build != document().build


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("10.100.0.1:9586", True),
        ("10.100.0.1", True),
        ("[fd00::1]:9586", True),
        ("localhost:19586", True),
        ("gw.hetzner.wg.internal:9586", True),
        ("GW", True),
        ("rebound.example:9586", False),
        ("gw.hetzner.wg.internal.example", False),
        ("10.100.0.1.example", False),
        ("", False),
        (None, False),
        ("[", False),
    ],
)
def test_a_page_of_another_site_whose_name_leads_here_is_shown_nothing(host: str | None, is_own: bool) -> None:
    assert is_own_host(host, {"gw", "gw.hetzner.wg.internal"}) is is_own


@pytest.mark.parametrize("path", ["/", "/status.json"])
async def test_whoever_asks_for_another_host_or_may_not_see_the_network_is_told_so_and_no_more(
    path: str, may_see: set[str]
) -> None:
    made, looks = page(may_see)
    async with asked(made) as session:
        async with session.get(path, headers={"Host": "rebound.example"}) as answer:
            assert answer.status == 421
        may_see.clear()
        async with session.get(path) as answer:
            assert answer.status == 403
            assert "administrators" in await answer.text()
    assert looks == []


async def test_however_many_look_the_status_is_made_once_in_a_while(may_see: set[str]) -> None:
    time = Time()
    made, looks = page(may_see, time)
    async with asked(made) as session:
        for _ in range(5):
            async with session.get("/status.json", headers={"Accept-Encoding": "identity"}) as answer:
                assert (await answer.json())["time"] == 1.0
        time.go(FRESH_SECONDS)
        async with session.get("/status.json", headers={"Accept-Encoding": "identity"}) as answer:
            assert (await answer.json())["time"] == 2.0
    assert len(looks) == 2


async def test_a_look_is_packed_for_those_who_can_unpack_it_and_holds_no_connection(may_see: set[str]) -> None:
    made, _ = page(may_see)
    async with asked(made) as session:
        async with session.get("/status.json", headers={"Accept-Encoding": "gzip"}) as answer:
            packed = await answer.read()
            assert answer.headers["Content-Encoding"] == "gzip"
            assert answer.headers["Connection"] == "close"
        async with session.get("/status.json", headers={"Accept-Encoding": "identity"}) as answer:
            assert gzip.decompress(packed) == await answer.read()
            assert answer.headers["X-Hybridnet-Page"] == document().build


async def test_a_gateways_own_status_has_all_that_the_page_and_the_tests_of_it_speak_of(gateway: PoolGateway) -> None:
    service: Service = gateway.service
    real = service.status(with_peers=True)
    shown = statuses.status()
    assert shown.keys() <= real.keys()
    assert shown["peers"][0].keys() == real["peers"][0].keys()
    assert shown["pools"]["aws-burst"].keys() == next(iter(real["pools"].values())).keys()
    assert shown["gateway"].keys() == real["gateway"].keys()
    site = next(iter(real["sites"].values()))
    assert site.keys() == shown["sites"]["aws"].keys()
