"""A small stack behind Cloudflare, on a local cloud of its own: who reaches the gateway's port, and who is believed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
import yaml

from localcloud.cloud import EDGE_ADDRESS
from localcloud.provider.clouds.cloudflare.origin import authority_certificate
from localcloud.provider.world import World
from tests.scenes.scene import PREFIX, Scene, wait_for

pytestmark = pytest.mark.localcloud

NAME = "llm.example.com"
CLIENT = "203.0.113.77"
SETTINGS = {
    "sites": {"hetzner": {"cloud": "hetzner", "subnet": "10.100.1.0/24"}},
    "spokes": {"hetzner-1": {"site": "hetzner"}},
    "pools": {},
    "loadBalancer": {
        "enabled": True,
        "certificate": "cloudflare",
        "cloudflare": {"zoneId": "0123456789abcdef" * 2, "hostname": NAME},
    },
}
HEALTHY = """\
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

HTTPServer(("", 8000), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def cloudflare(tmp_path_factory: pytest.TempPathFactory) -> Generator[Scene]:
    """One gateway and a spoke that answers everything with 200."""
    directory = tmp_path_factory.mktemp("cloudflare")
    scene = Scene(directory / "cloud")
    document = scene.settings()
    document["config"].update({f"{PREFIX}{key}": value for key, value in SETTINGS.items()})
    scene.config_file.write_text(yaml.safe_dump(document))
    try:
        scene.up()
        scene.exec("hetzner-1", "systemd-run", "--quiet", "--unit", "server", "python3", "-c", HEALTHY)
        wait_for("an answer at the edge", lambda: status_of(scene, "edge", "/health") == 200, 60)
        yield scene
    finally:
        scene.run("down")


def ask(scene: Scene, place: str, path: str, *options: str) -> subprocess.CompletedProcess[str]:
    """curl at a place on the internet, which takes the gateway for the name; it prints the answer's status."""
    address = scene.outputs()["wg_gateway_ip"]
    curl = ["curl", "-s", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}", "--resolve", f"{NAME}:443:{address}"]
    return scene.run("run", "--from", place, "--", *curl, *options, f"https://{NAME}{path}", check=False)


def status_of(scene: Scene, place: str, path: str, *options: str) -> int:
    """The answer's status; 0 without one."""
    return int(ask(scene, place, path, "-k", *options).stdout or 0)


def clients(scene: Scene) -> dict[str, str]:
    """Who asked for a path, as nginx has written it down."""
    log = scene.exec("hetzner-gw", "cat", "/var/log/nginx/inference.log")
    return {line["path"]: line["client"] for line in map(json.loads, log.splitlines())}


def test_the_port_answers_the_edge_and_nobody_else(cloudflare: Scene) -> None:
    assert status_of(cloudflare, "edge", "/health") == 200
    for place in ("internet", "desk"):
        assert ask(cloudflare, place, "/health", "-k").returncode == 28, "nothing comes back: curl's time is up"


def test_the_certificate_is_what_cloudflare_trusts_for_the_name(cloudflare: Scene, tmp_path: Path) -> None:
    authority = tmp_path / "authority.pem"
    authority.write_text(authority_certificate(World.parse((cloudflare.directory / "world.json").read_text())) or "")
    trusting = ask(cloudflare, "edge", "/health", "--cacert", str(authority))
    assert (trusting.returncode, trusting.stdout) == (0, "200")
    assert ask(cloudflare, "edge", "/health").returncode == 60, "nobody else trusts it"


def test_the_client_is_whom_the_edge_speaks_for_and_nobody_else_speaks_for_others(cloudflare: Scene) -> None:
    header = f"CF-Connecting-IP: {CLIENT}"
    assert status_of(cloudflare, "edge", "/v1/for-a-client", "-H", header) == 200
    assert status_of(cloudflare, "edge", "/v1/for-itself") == 200
    curl = ["curl", "-sSk", "--fail", "-o", "/dev/null", "-H", header, "https://10.100.0.1/v1/from-a-spoke"]
    cloudflare.exec("hetzner-1", *curl)
    wanted = {"/v1/for-a-client": CLIENT, "/v1/for-itself": EDGE_ADDRESS, "/v1/from-a-spoke": "10.100.1.1"}
    wait_for("all three in the log", lambda: wanted.keys() <= clients(cloudflare).keys(), 10)
    found = clients(cloudflare)
    assert {path: found[path] for path in wanted} == wanted


def test_what_is_asked_for_stays_as_it_is(cloudflare: Scene) -> None:
    words = ["preview", "--stack", cloudflare.stack, "--config-file", str(cloudflare.config_file)]
    changes = cloudflare.run(*words).stdout
    assert "unchanged" in changes
    for name in ("cloudflare", "hetzner-gw-firewall", "hetzner-gw-credentials", "roster"):
        assert name not in changes
