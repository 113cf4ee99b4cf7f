"""nginx's configuration: that nginx itself and two linters take every variant, and that nothing gets into it."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from node.gateway.serving.conf import Pems, Server, render, servers_of
from tests.node.real_nginx import RealNginx, running
from tests.node.serving import API_KEY

PRIMARY = Server(IPv4Address("10.100.1.1"), 8000, 10, backup=False, max_conns=32)
BACKUP = Server(IPv4Address("10.100.2.1"), 65535, 1000, backup=True, max_conns=0)
MANY = tuple(
    Server(IPv4Address("10.101.0.1") + number, 8000, 5, backup=number % 2 == 1, max_conns=number % 3)
    for number in range(10_000)
)
SERVERS = {"none": (), "one": (PRIMARY,), "both": (PRIMARY, BACKUP), "backups": (BACKUP,), "many": MANY}
KEYS = {"no-keys": {}, "keys": {"team-a": API_KEY, "team-b": "A" * 256, "team-c": "a" * 256}}
PROXIES = {"direct": (), "proxied": (IPv4Network("173.245.48.0/20"), IPv6Network("2400:cb00::/32"))}
VARIANTS = list(itertools.product(SERVERS, KEYS, PROXIES, ("any-client", "client-ca")))
PEMS = Pems(Path("/a/tls.crt"), Path("/a/tls.key"), None)


@pytest.fixture
def nginx(nginx_program: Path, tmp_path: Path) -> Iterator[RealNginx]:
    with running(nginx_program, tmp_path) as made:
        yield made


def rendered(nginx: RealNginx, servers: str, keys: str, proxies: str, client: str) -> str:
    pems = replace(nginx.pems, client_ca=nginx.folder / "tls.crt" if client == "client-ca" else None)
    return nginx.place(render(SERVERS[servers], pems, KEYS[keys], PROXIES[proxies]))


def test_nginx_takes_every_variant(nginx: RealNginx) -> None:
    for variant in VARIANTS:
        assert nginx.test(rendered(nginx, *variant)) == "", variant
    assert "unknown directive" in nginx.test(rendered(nginx, *VARIANTS[0]) + "x;")


CROSSPLANE = "import crossplane, json, sys; print(json.dumps([crossplane.parse(p)['errors'] for p in sys.argv[1:]]))"


def linted(nginx: RealNginx, texts: Sequence[str]) -> list[tuple[list[Any], list[Any]]]:
    """What gixy and crossplane find in each of the texts; each is started once for all of them."""
    paths = [nginx.folder / f"linted-{number}.conf" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    gixy = subprocess.run(
        [str(Path(sys.executable).parent / "gixy"), "-f", "json", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not gixy.stderr
    issues = json.loads(gixy.stdout)
    crossplane = subprocess.run(
        [sys.executable, "-c", CROSSPLANE, *map(str, paths)], capture_output=True, text=True, check=True
    )
    errors = json.loads(crossplane.stdout)
    found = [[issue for issue in issues if issue["path"] == str(path)] for path in paths]
    assert sum(map(len, found)) == len(issues), "each is of one of the files"
    return list(zip(found, errors, strict=True))


def test_linters_find_nothing(nginx: RealNginx) -> None:
    variants = [variant for variant in VARIANTS if variant[0] != "many"]
    bad = rendered(nginx, "one", "keys", "proxied", "client-ca")
    *found, forged, unparsed = linted(
        nginx,
        [
            *(rendered(nginx, *variant) for variant in variants),
            bad.replace("proxy_set_header Host $host;", "proxy_set_header Host $http_host;"),
            bad.replace("proxy_buffering off;", "proxy_buffering of;"),
        ],
    )
    assert {variant: each for variant, each in zip(variants, found, strict=True) if each != ([], [])} == {}
    assert forged[0]
    assert unparsed[1]


def test_the_same_machines_make_the_same_text_in_any_order() -> None:
    assert render((PRIMARY, BACKUP), PEMS, {"a": API_KEY, "b": "b" * 16}, ()) == render(
        (BACKUP, PRIMARY), PEMS, {"b": "b" * 16, "a": API_KEY}, ()
    )


def test_the_machines_are_read_back() -> None:
    for servers in SERVERS.values():
        assert servers_of(render(servers, PEMS, {}, ())) == {(each.address, each.port) for each in servers}


def test_backups_alone_are_no_backups() -> None:
    assert " backup;" in render((PRIMARY, BACKUP), PEMS, {}, ())
    assert " backup;" not in render((BACKUP,), PEMS, {}, ())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("address", "10.0.0.1; } evil {"),
        ("address", "inference.example"),
        ("address", "::1"),
        ("port", "8000; server 1.2.3.4"),
        ("port", 0),
        ("port", 65536),
        ("port", True),
        ("weight", 0),
        ("weight", 1001),
        ("weight", "5 backup"),
        ("max_conns", -1),
        ("max_conns", "1;"),
    ],
)
def test_a_server_that_is_none_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        render((replace(PRIMARY, **{name: value}),), PEMS, {}, ())


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ('a"; } evil {', API_KEY),
        ("a;", API_KEY),
        ("", API_KEY),
        ("$remote_addr", API_KEY),
        ("a", 'x"; default b; # 012345678901234567890'),
        ("a", "x" * 15),
        ("a", "$http_authorization_0123456789"),
        ("a", ".*.*.*.*.*.*.*.*.*.*.*.*"),
        ("a", "x" * 20 + "\n"),
    ],
)
def test_a_key_that_is_none_is_refused_and_not_shown(name: str, key: str) -> None:
    with pytest.raises(ValueError, match=r"API key") as caught:
        render((PRIMARY,), PEMS, {name: key}, ())
    assert not key or key not in str(caught.value)


def test_other_values_that_are_none_are_refused() -> None:
    for path in ("/a b", "/a;", "relative", "/a\n", "/a{}", '/"'):
        with pytest.raises(ValueError, match="plain path"):
            render((), replace(PEMS, private_key=Path(path)), {}, ())
    with pytest.raises(ValueError, match="does not appear"):
        render((), PEMS, {}, ("0.0.0.0/0; evil",))  # type: ignore[arg-type]
