"""Stage 0: takes signed releases and keeps the newest good one running (docs/control-plane.md)."""

from __future__ import annotations

import asyncio
import base64
import compileall
import contextlib
import hashlib
import io
import json
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

RELEASES = Path(os.environ.get("STATE_DIRECTORY", "/var/lib/hybridnet")) / "releases"
CONFIG = Path(os.environ.get("CONFIGURATION_DIRECTORY", "/etc/hybridnet"))
LIMIT = 4 << 20  # bytes of an archive
PATIENCE = 30.0  # seconds that a release may be silent


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def has(number: int, mark: str) -> bool:
    return (RELEASES / str(number) / mark).exists()


def numbers() -> list[int]:
    """The releases on disk, newest first."""
    return sorted((int(place.name) for place in RELEASES.iterdir() if place.name.isdigit()), reverse=True)


def store(key: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
    """Verify a release and keep it: HTTP status and reason. Never an older number."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        number, signature = int(headers["X-Hybridnet-Number"]), headers["X-Hybridnet-Signature"]
        message = f"hybridnet release 1\n{number}\n{hashlib.sha256(body).hexdigest()}\n".encode()
        Ed25519PublicKey.from_public_bytes(base64.b64decode(key)).verify(base64.b64decode(signature), message)
    except (InvalidSignature, KeyError, ValueError):
        return 403, "wrong signature"
    place, highest = RELEASES / str(number), max(numbers(), default=0)
    if number <= highest:
        if not (place / "archive").exists() or (place / "archive").read_bytes() != body:
            return 409, f"release {highest} is here"
        return (409, "this release failed here") if has(number, "bad") else (200, "same")
    new = RELEASES / "new"
    shutil.rmtree(new, ignore_errors=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(new)
    except (tarfile.TarError, OSError, EOFError) as error:
        return 400, f"unreadable archive: {error}"
    compileall.compile_dir(new, quiet=2)
    (new / "archive").write_bytes(body)
    (new / "signature").write_text(signature)
    os.sync()
    new.rename(place)
    os.sync()
    return 201, "taken"


async def serve(key: str, listener: socket.socket, seconds: float) -> bool:
    """Answer on the control port for that long: whether a release came."""
    from aiohttp import web

    came = asyncio.Event()

    async def put(request: web.Request) -> web.Response:
        status, reason = store(key, request.headers, await asyncio.wait_for(request.read(), PATIENCE))
        if status == 201:
            came.set()
        return web.json_response({"status": status, "reason": reason}, status=status)

    async def get(_: web.Request) -> web.Response:
        status = {"schema_version": 1, "stage": "stage0", "healthy": False, "release": None, "roster": None}
        return web.json_response({**status, "newest_release": max(numbers(), default=0)})

    app = web.Application(client_max_size=LIMIT)
    app.add_routes([web.put("/v1/release", put), web.get("/v1/status", get)])
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(CONFIG / "tls.crt", CONFIG / "tls.key")
    runner = web.AppRunner(app, access_log=None, auto_decompress=False)
    await runner.setup()
    await web.SockSite(runner, listener.dup(), ssl_context=tls, backlog=1024).start()
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(came.wait(), seconds)
    await runner.cleanup()
    return came.is_set()


def fetch(key: str, control: str, seconds: float) -> bool:
    """Ask the gateway for that long: whether a release came. What has no tunnel yet shows its join token."""
    tls, end = ssl.create_default_context(cafile=CONFIG / "ca.pem"), time.monotonic() + seconds
    request, token = urllib.request.Request(f"https://{control}/v1/release"), CONFIG / "token"
    if token.exists():
        request.add_header("Authorization", f"Bearer {token.read_text().strip()}")
    while time.monotonic() < end:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(request, timeout=10, context=tls) as answer,
        ):
            if store(key, dict(answer.headers), answer.read(LIMIT))[0] == 201:
                return True
        time.sleep(2)
    return False


def run(number: int, role: str, listener: socket.socket | None) -> float:
    """Run a release until it ends or is silent for too long: the seconds since it became healthy."""
    place, since = RELEASES / str(number), 0.0
    pulse, other = os.pipe()
    fds = [other, *([listener.fileno()] if listener else [])]
    child = subprocess.Popen([sys.executable, "-m", "node", role, *map(str, fds)], cwd=place, pass_fds=fds)
    try:
        os.close(other)
        while select.select([pulse], [], [], PATIENCE)[0] and os.read(pulse, 64):
            if not since:
                since = time.monotonic()
                (place / "good").touch()
                for old in [n for n in numbers() if n < number and has(n, "good")][1:]:
                    shutil.rmtree(RELEASES / str(old))
        return time.monotonic() - since if since else 0.0
    finally:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(40 if role == "pool" else 10)  # which drains and leaves when its machine shuts down
        child.kill()
        child.wait()
        os.close(pulse)


def stop(*_: object) -> NoReturn:
    sys.exit()


def main() -> NoReturn:
    signal.signal(signal.SIGTERM, stop)
    config: dict[str, str] = json.loads((CONFIG / "config.json").read_text())
    role, key, control = config["role"], config["signing_public_key"], config["control"]
    RELEASES.mkdir(exist_ok=True)
    listener, failures = None, Counter[int]()
    if role == "gateway":
        address = ("", int(control.rpartition(":")[2]))
        listener = socket.create_server(address, family=socket.AF_INET6, backlog=1024, dualstack_ipv6=True)
    while True:
        found = [n for n in numbers() if not has(n, "bad")]
        number = min(found, key=lambda n: (failures[n] // 3, -n), default=0)
        pause = 2.0 ** min(failures[number], 6) - 1 if number else 3600.0
        if pause:
            came = asyncio.run(serve(key, listener, pause)) if listener else fetch(key, control, pause)
            if came or not number:
                continue
        say(f"release {number} starts")
        lived = run(number, role, listener)
        say(f"release {number} ended {lived:.0f} s after it was healthy")
        failures[number] = 0 if lived > 60 else failures[number] + 1
        if not has(number, "good") and any(has(n, "good") for n in found):
            (RELEASES / str(number) / "bad").touch()


if __name__ == "__main__":
    main()
