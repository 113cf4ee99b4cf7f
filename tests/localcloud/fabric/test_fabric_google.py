"""Google's public keys on the local internet, and whom machines take for Google."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from localcloud.cloud import GOOGLE_ADDRESS
from localcloud.fabric.authority import GOOGLE_APIS, Authority
from localcloud.fabric.google import PATH, GoogleServer
from localcloud.spec import Rule
from tests.localcloud.fabric.machines import World
from tests.localcloud.fabric.worlds import ANYWHERE, HETZNER

pytestmark = pytest.mark.localcloud

URL = f"https://{GOOGLE_APIS}{PATH}"
READ = f"import urllib.request; print(urllib.request.urlopen('{URL}', timeout=20).read().decode())"
CURL = ("curl", "-s", "-m", "8", "-o", "/dev/null", "-w", "%{http_code}")


@pytest.fixture
def google(world: World) -> Iterator[GoogleServer]:
    servers = GoogleServer(world.cloud)
    servers.follow()
    yield servers
    servers.close()


@pytest.mark.parametrize("node", ["hetzner-gw", "aws-1", "gcp-1"])
def test_a_machine_reads_the_keys_with_what_it_trusts_anyhow(world: World, google: GoogleServer, node: str) -> None:
    done = world.on(node, "python3", "-c", READ)
    assert done.status == 0, done.stderr
    assert json.loads(done.stdout) == Authority(world.cloud).key_set()
    assert world.on(node, "curl", "-sf", "-m", "20", URL).stdout == done.stdout.strip()
    folder = f"openssl s_client -no-CAfile -CApath /etc/ssl/certs -verify_return_error -connect {GOOGLE_APIS}:443"
    assert world.on(node, "sh", "-c", f"{folder} </dev/null").status == 0, "by the folder as well as by the bundle"


def test_nobody_else_is_trusted_and_nothing_else_served(world: World, google: GoogleServer) -> None:
    elsewhere = ("--cacert", "/etc/ssl/certs/ISRG_Root_X1.pem", "--capath", "/nowhere", URL)
    assert world.on("aws-1", *CURL, *elsewhere).stdout == "000"
    assert world.on("aws-1", *CURL, f"https://{GOOGLE_ADDRESS}{PATH}").stdout == "000", "the certificate is of the name"
    assert world.on("aws-1", *CURL, f"https://{GOOGLE_APIS}/").stdout == "404"


def test_a_connection_that_says_nothing_keeps_nobody_waiting(world: World, google: GoogleServer) -> None:
    silent = world.on("aws-1", "bash", "-c", f"exec 3<>/dev/tcp/{GOOGLE_ADDRESS}/443; {' '.join(CURL)} {URL}")
    assert silent.stdout == "200"


def test_a_firewall_that_lets_nothing_out_lets_nothing_out_there(world: World, google: GoogleServer) -> None:
    overlay = Rule("udp", None, ANYWHERE)
    world.apply(replace(world.specs[HETZNER.id], egress=(overlay,)))
    assert world.on("hetzner-gw", *CURL, URL).stdout == "000"
    world.apply()
    assert world.on("hetzner-gw", *CURL, URL).stdout == "200"


def test_packages_of_certificates_keep_it(world: World, google: GoogleServer) -> None:
    assert world.on("gcp-1", "update-ca-certificates", "--fresh").status == 0
    assert world.on("gcp-1", "curl", "-sf", "-m", "20", URL).status == 0
    assert world.on("gcp-1", "python3", "-c", READ).status == 0
