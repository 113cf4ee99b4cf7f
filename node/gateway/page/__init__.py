"""The status page: one HTML page of the network, and the status that it asks for every second.

It is for administrators alone where the roster has groups. Everything it needs is in the page, and its policy lets it
load nothing else.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiohttp import web

from node.gateway.pool_api import source

FRESH_SECONDS = 0.7
"""However many look, the status is made anew no sooner than that."""
_SMALL = 2000
"""Bytes that are not worth packing."""
_SCRIPTS = ("words.js", "model.js", "map.js", "tables.js", "live.js")
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Document:
    """The page as it is sent, its Content-Security-Policy, and what tells it from that of another release."""

    html: str
    policy: str
    build: str


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def document(folder: Path = Path(__file__).parent) -> Document:
    """The page, put together from its parts in ``folder``."""
    style = (folder / "style.css").read_text("utf-8")
    script = "\n".join((folder / name).read_text("utf-8") for name in _SCRIPTS)
    frame = (folder / "page.html").read_text("utf-8")
    build = hashlib.sha256("\n".join((frame, style, script)).encode()).hexdigest()[:16]
    policy = {
        "default-src": "'none'",
        "script-src": f"'sha256-{_digest(script)}'",
        "style-src": f"'sha256-{_digest(style)}'",
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    html = frame.replace("@BUILD@", build).replace("@STYLE@", style).replace("@SCRIPT@", script)
    return Document(html, "; ".join(f"{name} {value}" for name, value in policy.items()), build)


def is_own_host(host: str | None, names: Collection[str]) -> bool:
    """Whether a request's Host header says what only this gateway, or nobody in particular, is called.

    A page of another site whose name leads here (DNS rebinding) has that name in the header. An address, or localhost
    at the end of an SSH forwarding, is nobody's name.
    """
    name = (host or "").lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if name == "localhost" or name in names:
        return True
    try:
        return bool(ip_address(name))
    except ValueError:
        return False


class Page:
    """The routes of the page, which shows ``status()`` to those who ``may_see`` it: called with an overlay address.

    ``host_names`` are what the gateway is called in the overlay; ``ticks`` is monotonic, in seconds.
    """

    def __init__(
        self,
        status: Callable[[], dict[str, Any]],
        may_see: Callable[[str], bool],
        host_names: Callable[[], Collection[str]],
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._status = status
        self._may_see = may_see
        self._host_names = host_names
        self._ticks = ticks
        self._document = document()
        self._making = asyncio.Lock()
        self._made: tuple[float, bytes, bytes] | None = None

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/", self._tell_page), web.get("/status.json", self._tell_status)]

    def _check(self, request: web.Request) -> web.Response | None:
        """The refusal, if one is due. To be compared with None: aiohttp 3.8's responses are false while empty."""
        if not is_own_host(request.headers.get("Host"), self._host_names()):
            return self._told(421, "This gateway has another name: ask for its status page by its overlay address.")
        if not self._may_see(source(request)):
            return self._told(403, "Only administrators are shown the network: members of a group that reaches all.")
        return None

    @staticmethod
    def _told(status: int, text: str) -> web.Response:
        return web.Response(status=status, text=f"{text}\n", headers=_HEADERS)

    async def _tell_page(self, request: web.Request) -> web.Response:
        refusal = self._check(request)
        if refusal is not None:
            return refusal
        headers = {**_HEADERS, "Content-Security-Policy": self._document.policy}
        return web.Response(text=self._document.html, content_type="text/html", headers=headers)

    async def _tell_status(self, request: web.Request) -> web.Response:
        refusal = self._check(request)
        if refusal is not None:
            return refusal
        plain, packed = await self._current()
        headers = {**_HEADERS, "X-Hybridnet-Page": self._document.build, "Vary": "Accept-Encoding"}
        is_packed = bool(packed) and "gzip" in request.headers.get("Accept-Encoding", "")
        if is_packed:
            headers["Content-Encoding"] = "gzip"
        answer = web.Response(body=packed if is_packed else plain, content_type="application/json", headers=headers)
        # So that whoever looks for hours holds no place among the connections, and no connection ends amid a look.
        answer.force_close()
        return answer

    async def _current(self) -> tuple[bytes, bytes]:
        """The status as JSON, and the same packed, which is empty where that is not worth it."""
        async with self._making:
            now = self._ticks()
            if self._made is None or now - self._made[0] >= FRESH_SECONDS:
                found = self._status()
                self._made = now, *await asyncio.to_thread(_packed, found)
            return self._made[1], self._made[2]


def _packed(found: dict[str, Any]) -> tuple[bytes, bytes]:
    plain = json.dumps(found, separators=(",", ":")).encode()
    return plain, gzip.compress(plain, 1) if len(plain) > _SMALL else b""
