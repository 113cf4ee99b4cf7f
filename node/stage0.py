"""Stage 0: takes signed releases and keeps the newest good one running (docs/control-plane.md)."""

from __future__ import annotations

import asyncio
import base64
import compileall
import contextlib
import hashlib
import hmac
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
WIREGUARD = Path(os.environ.get("HYBRIDNET_WIREGUARD", "/etc/wireguard/wg0.conf"))
LIMIT = 4 << 20  # bytes of an archive
PATIENCE = 25.0  # seconds that a release may be silent
TRIES = 2  # questions through the tunnel before those on the internet
PROBATION = 60.0  # seconds from the first beat until a release is good, if there is another one to go back to


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def has(number: int, mark: str) -> bool:
    return (RELEASES / str(number) / mark).exists()


def numbers() -> list[int]:
    """The releases on disk, newest first."""
    return sorted((int(place.name) for place in RELEASES.iterdir() if place.name.isdigit()), reverse=True)


def signing_key(config: Mapping[str, str]) -> str:
    """The stack's public key (base64): the one that has taken the place of first boot's, if there is one."""
    with contextlib.suppress(OSError, ValueError):
        newer = (RELEASES.parent / "signing.pub").read_text().strip()
        if len(base64.b64decode(newer, validate=True)) == 32:
            return newer
    return config["signing_public_key"]


def store(key: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
    """Verify a release and keep it: HTTP status and reason. Never an older number."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    def verify(key: str, signature: str, message: bytes) -> None:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(key)).verify(base64.b64decode(signature), message)

    try:
        number, signature = int(headers["X-Hybridnet-Number"]), headers["X-Hybridnet-Signature"]
        message = f"hybridnet release 1\n{number}\n{hashlib.sha256(body).hexdigest()}\n".encode()
        for handover in headers.get("X-Hybridnet-Keys", "").split():  # from each of the stack's keys to the next
            newer, proof = handover.split(":")
            with contextlib.suppress(InvalidSignature):
                verify(key, proof, f"hybridnet signing 1\n{newer}\n".encode())
                key = newer
        verify(key, signature, message)
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


def doorway(name: str, control: str) -> urllib.request.Request:
    """The question to the gateway on the internet, with the proof that this machine has its tunnel's key."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    lines = (line.partition("=") for line in WIREGUARD.read_text().splitlines())
    found = {field.strip(): value.strip() for field, _, value in lines}
    private, public = (base64.b64decode(found[field]) for field in ("PrivateKey", "PublicKey"))
    shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    proof = hmac.digest(hmac.digest(shared, b"hybridnet join 1\n", "sha256"), b"", "sha256")
    place = found["Endpoint"].rpartition(":")[0] + ":" + control.rpartition(":")[2]
    shown = {"X-Hybridnet-Name": name, "X-Hybridnet-Possession": base64.b64encode(proof).decode()}
    return urllib.request.Request(f"https://{place}/v1/release", headers=shown)


def fetch(key: str, name: str, control: str, seconds: float) -> bool:
    """Ask the gateway for that long: whether a release came. What has no tunnel yet shows its join token.

    What has one asks on the internet, too, when none came through it: the gateway may have another key by now.
    """
    tls, end = ssl.create_default_context(cafile=CONFIG / "ca.pem"), time.monotonic() + seconds
    ways, token, asked = [urllib.request.Request(f"https://{control}/v1/release")], CONFIG / "token", 0
    if token.exists():
        ways[0].add_header("Authorization", f"Bearer {token.read_text().strip()}")
    while time.monotonic() < end:
        if asked >= TRIES and len(ways) == 1 and not token.exists():
            with contextlib.suppress(OSError, KeyError, ValueError):
                ways.append(doorway(name, control))
        for way in ways:
            asked += 1
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(way, timeout=10, context=tls) as answer,
            ):
                if store(key, dict(answer.headers), answer.read(LIMIT))[0] == 201:
                    return True
        time.sleep(2)
    return False


def run(number: int, role: str, listener: socket.socket | None) -> tuple[float, str]:
    """Run a release until it ends or is silent for too long: the seconds since its first beat, and how it ended."""
    place, since, why = RELEASES / str(number), 0.0, ""
    wait = 40 if role == "pool" else 10  # which drains and leaves when its machine shuts down
    pulse, other = os.pipe()
    fds = [other, *([listener.fileno()] if listener else [])]
    child = subprocess.Popen([sys.executable, "-m", "node", role, *map(str, fds)], cwd=place, pass_fds=fds)
    try:
        os.close(other)
        while True:
            if not select.select([pulse], [], [], PATIENCE)[0]:
                wait, why = 1, f"it hung for {PATIENCE:.0f} s"
                break
            if not os.read(pulse, 64):
                break
            since = since or time.monotonic()
            old = [n for n in numbers() if n != number and has(n, "good") and not has(n, "bad")]
            if not has(number, "good") and (not old or time.monotonic() - since > PROBATION):
                (place / "good").touch()
                for each in [n for n in numbers() if n < number and n not in old[:1]]:
                    shutil.rmtree(RELEASES / str(each))
    finally:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(wait)
        child.kill()
        child.wait()
        os.close(pulse)
    return time.monotonic() - since if since else 0.0, why or f"it ended with status {child.returncode}"


def stop(*_: object) -> NoReturn:
    sys.exit()


def main() -> NoReturn:
    signal.signal(signal.SIGTERM, stop)
    config: dict[str, str] = json.loads((CONFIG / "config.json").read_text())
    role, control = config["role"], config["control"]
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
            key = signing_key(config)
            came = asyncio.run(serve(key, listener, pause)) if listener else fetch(key, config["name"], control, pause)
            if came or not number:
                continue
        say(f"release {number} starts")
        lived, why = run(number, role, listener)
        say(f"release {number}, {lived:.0f} s after its first beat: {why}")
        if lived and any(n > number and failures[n] < 3 and not has(n, "bad") for n in numbers()):
            continue  # with what it made room for
        failures[number] = 0 if lived > 60 else failures[number] + 1
        if not has(number, "good") and any(has(n, "good") for n in found):
            (RELEASES / str(number) / "bad").write_text(why)
            say(f"release {number} failed and is not run again")


if __name__ == "__main__":
    main()
