"""A real nginx on loopback, from the host or from the distribution's package, which is unpacked and not installed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from node.gateway.serving.conf import LOG, PID, STREAM_SECONDS, Pems, Server, render
from overlay.fields import Source
from tests.node.serving import Authority
from tests.node.support import wait_for

_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def find_nginx(folder: Path) -> Path:
    """nginx's program; what is not on the host is unpacked in ``folder``. Skips the test where it cannot be had."""
    found = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found:
        return Path(found)
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        pytest.skip("needs nginx, and this host has no apt-get to get it with")
    download = ["apt-get", "-qq", "download", "nginx"]
    if subprocess.run(download, cwd=folder, capture_output=True, check=False).returncode:
        subprocess.run(["apt-get", "-qq", "update"], capture_output=True, check=False)
        done = subprocess.run(download, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"needs nginx, and apt-get cannot download it: {done.stderr.strip()[-200:]}")
    (package,) = folder.glob("nginx_*.deb")
    subprocess.run(["dpkg", "-x", str(package), str(folder / "unpacked")], check=True)
    return folder / "unpacked" / "usr" / "sbin" / "nginx"


def free_port() -> int:
    """A port that stays free while nobody asks for it by its number: the kernel gives out higher ones (ip(7))."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(first // 2, first)
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return port


class RealNginx:
    """nginx with configurations as a gateway's service renders them, at a port of 127.0.0.1 and with its files here."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.authority = Authority()
        self.longest = STREAM_SECONDS
        """How long, in seconds, an old process lets requests go on."""
        self._program = program
        self._conf = folder / "nginx.conf"
        self._child: subprocess.Popen[bytes] | None = None
        certificate, private_key = self.authority.issue()
        self.pems = Pems(folder / "tls.crt", folder / "tls.key", None)
        self.pems.certificate.write_text(certificate)
        self.pems.private_key.write_text(private_key)

    def place(self, text: str) -> str:
        """``text`` with other places for what only root may have on a gateway."""
        for old, new in (
            ("listen 443 ", f"listen 127.0.0.1:{self.port} "),
            ("    listen [::]:443 ssl http2;\n", ""),
            ("user www-data;", "user root;"),
            (f"worker_shutdown_timeout {STREAM_SECONDS}s;", f"worker_shutdown_timeout {self.longest}s;"),
            (str(LOG), str(self.folder)),
            (str(PID), str(self.folder / "pid")),
            ("http {\n", "http {\n" + "".join(f"{each}_temp_path {self.folder / each};\n" for each in _TEMPORARY)),
        ):
            assert old in text
            text = text.replace(old, new)
        return text

    def configure(
        self,
        servers: Sequence[Server] = (),
        api_keys: Mapping[str, str] | None = None,
        trusted_proxies: Sequence[Source] = (),
        client_ca: str | None = None,
    ) -> None:
        """Write the configuration, and go on with it if nginx runs."""
        pems = self.pems
        if client_ca:
            pems = Pems(pems.certificate, pems.private_key, self.folder / "client-ca.crt")
            (self.folder / "client-ca.crt").write_text(client_ca)
        self._conf.write_text(self.place(render(servers, pems, api_keys or {}, trusted_proxies)))
        if self._child:
            self.reload()

    def test(self, text: str) -> str:
        """What ``nginx -t`` has against a configuration; nothing if it takes it."""
        path = self.folder / "tested.conf"
        path.write_text(text)
        done = subprocess.run(
            [str(self._program), "-t", "-q", "-c", str(path)], capture_output=True, text=True, check=False
        )
        return done.stderr or ("" if done.returncode == 0 else "refused")

    def is_started(self) -> bool:
        return self._child is not None

    def start(self) -> None:
        command = [str(self._program), "-c", str(self._conf), "-g", "daemon off;"]
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("nginx", lambda: bool(self._workers()) and self._listens())

    def reload(self) -> None:
        """Go on with the configuration on disk; returns when no old process takes requests any more."""
        assert self._child
        before = self._workers()
        self._child.send_signal(signal.SIGHUP)
        wait_for("new processes", lambda: bool(self._workers() - before))
        wait_for("the old ones' end", lambda: all(map(self._is_ending, before)))

    def stop(self) -> None:
        if self._child:
            self._child.terminate()
            self._child.wait(60)

    def log(self) -> list[dict[str, Any]]:
        """The whole lines of the access log."""
        *lines, _ = (self.folder / "inference.log").read_text().split("\n")
        return list(map(json.loads, lines))

    def logged(self, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The access log's line that ``found`` is true of; it is written after the answer."""
        wait_for("a line in the log", lambda: any(map(found, self.log())))
        return next(filter(found, self.log()))

    def all_logs(self) -> str:
        return "".join(path.read_text() for path in self.folder.glob("*.log"))

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.authority.pem)

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.port}{path}"

    def _workers(self) -> set[int]:
        assert self._child
        assert self._child.poll() is None, self.all_logs()
        children = Path(f"/proc/{self._child.pid}/task/{self._child.pid}/children").read_text()
        return {int(each) for each in children.split()}

    def _is_ending(self, worker: int) -> bool:
        with contextlib.suppress(OSError):
            return b"shutting down" in Path(f"/proc/{worker}/cmdline").read_bytes()
        return True

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


def client_files(folder: Path, authority: Authority) -> tuple[Path, Path]:
    """A client's certificate and key as files."""
    certificate, private_key = authority.issue("client")
    paths = folder / "client.crt", folder / "client.key"
    for path, text in zip(paths, (certificate, private_key), strict=True):
        path.write_text(text)
    return paths


@contextlib.contextmanager
def running(program: Path, folder: Path) -> Generator[RealNginx]:
    """An nginx that has not been started."""
    made = RealNginx(program, folder)
    try:
        yield made
    finally:
        made.stop()
